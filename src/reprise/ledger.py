"""Renders the claims ledger (the JSON object of `reprise.claims`) as Markdown for people."""

from collections.abc import Iterator

from reprise.config import Json
from reprise.markdown import interval, number, pipe_table, scale_line

HEAD = ["claim", "verdict here", "effect [95 %]", "p after Holm", "smallest detectable", "seeds"]


def render(ledger: Json) -> str:
    """Return the whole Markdown page of a paper's claims."""
    paragraphs = [
        "# Claims",
        f"{ledger['paper_title']} (arXiv {ledger['arxiv']})",
        scale_line(ledger),
    ]
    if not ledger["scale"]["result"]:
        paragraphs.append("**plumbing check, not a result**")
    paragraphs.append("\n".join(pipe_table(HEAD, [_row(one) for one in ledger["claims"]])))
    paragraphs += legend(ledger)
    for one in ledger["claims"]:
        paragraphs += [f"## {one['id']}", "\n".join(f"- {line}" for line in details(one))]
    return "\n\n".join(paragraphs) + "\n"


def legend(ledger: Json) -> list[str]:
    """Return what the columns of a ledger are, a sentence each."""
    lines = ["effect: of the part of the claim with the least evidence, over the seeds in common."]
    if ledger["tested"]:
        lines.append(
            f"Holm: corrected for the {ledger['tested']} tests of this paper, level "
            f"{ledger['level']:g} for each direction."
        )
    if any(one["smallest_detectable"] for one in ledger["claims"]):
        lines.append(
            "smallest detectable: how far beyond what the claim asks the true effect must lie to "
            "be found in four of five repetitions with as many seeds."
        )
    if any(one["verdict"] == "this run only" for one in ledger["claims"]):
        lines.append("Fewer than three seeds never support or contradict a claim.")
    return lines


def verdict(one: Json) -> str:
    """Return a claim's verdict in words, for few seeds with where they point."""
    shown = f"{one['verdict']}: {one['direction']}"
    return shown if one["verdict"] == "this run only" else str(one["verdict"])


def effect(one: Json) -> str:
    """Return a claim's effect with its interval and unit, empty where there is none."""
    return "" if one["effect"] is None else _quantity(one["effect"], one["interval"], one["unit"])


def details(one: Json) -> Iterator[str]:
    """Yield all that is known of a claim, a line each."""
    known = f" ({one['confidence']})" if one["confidence"] else ""
    yield f"says: {one['statement']} Source: {one['source']}{known}"
    yield f"tested as {one['kind'].replace('_', ' ')}: {one['asks']}"
    for part in one["parts"]:
        yield f"{part['label']}: {_quantity(part['effect'], part['interval'], one['unit'])}"
    yield f"**{verdict(one)}**: {one['basis']}"
    if one["note"]:
        yield f"note: {one['note']}"


def _row(one: Json) -> list[str]:
    reach = one["smallest_detectable"]
    return [
        f"{one['id']}: {one['statement']}",
        verdict(one),
        effect(one),
        _p(one),
        "" if reach is None else _with_unit(number(reach, _format(one["unit"])), one["unit"]),
        str(len(one["seeds"])),
    ]


def _p(one: Json) -> str:
    """The p-value of the direction that the verdict is about; without one, of the claim's own."""
    p = one["p_against_holm" if one["verdict"] == "contradicted" else "p_holm"]
    return "" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _quantity(value: float, ends: list[float] | None, unit: str) -> str:
    low, high = ends or (None, None)
    estimate = {"value": value, "low": low, "high": high}
    signed = unit not in ("x", "")
    return _with_unit(interval(estimate, _format(unit), sign=signed), unit)


def _with_unit(text: str, unit: str) -> str:
    return f"{text} {unit}".strip()


def _format(unit: str) -> str:
    return "%" if unit == "points" else unit
