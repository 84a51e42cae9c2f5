"""Renders the claims ledger (the JSON object of `reprise.claims`) as Markdown for people."""

from collections.abc import Iterator

from reprise import agreement
from reprise.config import Json
from reprise.markdown import interval, number, pipe_table, scale_line

HEAD = [
    "claim",
    "verdict here",
    "asked",
    "effect [95 %]",
    "p after Holm",
    "smallest detectable",
    "seeds",
    "measured over",
    "beside the printed effect",
]
THIS_RUN = "this run only"


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
    claims = ledger["claims"]
    lines = [
        "effect: of the part of the claim with the least evidence, over the seeds in common; a "
        "count has no interval."
    ]
    if ledger["tested"]:
        lines.append(
            f"Holm: corrected for the {ledger['tested']} tests of this paper, level "
            f"{ledger['level']:g} for each direction."
        )
    if any(one["smallest_detectable"] for one in claims):
        lines.append(
            "smallest detectable: how far beyond what is asked the true effect must lie to be "
            "found in four of five repetitions with as many seeds (of a ratio, by what factor)."
        )
    if any(one["verdict"] == THIS_RUN for one in claims):
        lines.append(
            "Fewer than three seeds are insufficient to support or contradict a claim, and so is "
            "one benchmark on one machine: such a verdict says where this run points, and its "
            "interval and smallest detectable effect leave out the noise of another seed or day."
        )
    if any(one.get("against_print") for one in claims):
        lines.append(
            "beside the printed effect: what the printed numbers give for the same effect. It is "
            "compared with ours only at the same scale, and is no part of the verdict."
        )
    return lines


def verdict(one: Json) -> str:
    """Return a claim's verdict in words, for few seeds with where they point."""
    shown = f"{one['verdict']}: {one['direction']}"
    return shown if one["verdict"] == THIS_RUN else str(one["verdict"])


def asked(one: Json) -> str:
    """Return what the effect of a claim must be, such as '> 0 points'; empty without an effect."""
    if not one.get("bound"):
        return ""
    both = one["kind"] == "within"  # of which the shown part is one side
    return _with_unit(f"within {one['margin']:g}" if both else one["bound"], one["unit"])


def effect(one: Json) -> str:
    """Return a claim's effect with interval and unit, and of several which; or nothing."""
    if one["effect"] is None:
        return ""
    shown = _quantity(one["effect"], one["interval"], one["unit"])
    several = len({part["label"] for part in one["parts"]}) > 1
    return f"{shown} ({one['effect_of']})" if several and one.get("effect_of") else shown


def printed(one: Json) -> str:
    """Return a claim's printed effect and how ours compares, empty where nothing was printed."""
    return agreement.said(one.get("against_print"), one["unit"])


def seeds(one: Json) -> str:
    """Return the number of a claim's seeds; nothing of counts and timings, which have none."""
    return "" if one["n"] == 1 or _timed(one) else str(len(one["seeds"]))


def samples(one: Json) -> str:
    """Return of how many images or rounds each number is; empty where they differ, or counts."""
    if not one["seeds"] or (one["n"] or 1) == 1:
        return ""
    return f"{one['n']:,} {'rounds' if _timed(one) else 'samples'}"


def known(one: Json) -> str:
    """Return what the reference knows of a claim: effect, seeds, and whether it is stale."""
    count = seeds(one)
    said = [
        effect(one),
        f"{count} seed{'s' * (count != '1')}" if count else "",
        "stale" if one["stale"] else "",
    ]
    return ", ".join(filter(None, said))


def _timed(one: Json) -> bool:
    return any("benchmark" in made for cell in one["cells"] for made in cell["runs"])


def details(one: Json) -> Iterator[str]:
    """Yield all that is known of a claim, a line each."""
    known = f" ({one['confidence']})" if one["confidence"] else ""
    yield f"says: {one['statement']} Source: {one['source']}{known}"
    if one["kind"]:
        yield f"tested as {one['kind'].replace('_', ' ')}: {one['asks']}"
    shown: set[str] = set()
    for part in one["parts"]:
        # Both sides of a margin have one effect, which is said once.
        line = f"{part['label']}: {_quantity(part['effect'], part['interval'], one['unit'])}"
        if line not in shown:
            shown.add(line)
            yield line
    yield f"**{verdict(one)}**: {one['basis']}"
    yield from _made_of(one)
    if comparison := one.get("against_print"):
        why = f" ({comparison['why']})" if comparison["why"] else ""
        yield f"beside the printed effect, {printed(one)}{why}"
    if one["note"]:
        yield f"note: {one['note']}"


def _made_of(one: Json) -> Iterator[str]:
    """Yield one line on the numbers behind a claim: scale, seeds, samples and cells."""
    cells = [cell for cell in one["cells"] if cell["values"]]
    if not cells or not one["seeds"]:
        return
    made = [f"scale {one['scale']['scale']}"]
    if seeds(one):
        made.append(f"seed {', '.join(map(str, one['seeds']))}")
    made.append(samples(one) or ("counted" if one["n"] == 1 else "cells of several sizes"))
    tables = ", ".join(dict.fromkeys(f"{cell['table']} ({cell['column']})" for cell in cells))
    rows = "; ".join(dict.fromkeys(cell["row"] for cell in cells))
    yield f"{', '.join(made)}; cells of {tables}: {rows}"


def _row(one: Json) -> list[str]:
    reach = one["smallest_detectable"]
    return [
        f"{one['id']}: {one['statement']}",
        verdict(one),
        asked(one),
        effect(one),
        _p(one),
        "" if reach is None else _with_unit(number(reach, _format(one["unit"])), one["unit"]),
        seeds(one),
        samples(one),
        printed(one),
    ]


def _p(one: Json) -> str:
    """The p-value of the direction that the verdict is about; without one, of the claim's own."""
    p = one["p_against_holm" if one["verdict"] == "contradicted" else "p_holm"]
    return "" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _quantity(value: float, ends: list[float] | None, unit: str) -> str:
    low, high = ends if ends and ends[0] != ends[1] else (None, None)
    estimate = {"value": value, "low": low, "high": high}
    signed = unit not in ("x", "")
    return _with_unit(interval(estimate, _format(unit), sign=signed), unit)


def _with_unit(text: str, unit: str) -> str:
    return f"{text} {unit}".strip()


def _format(unit: str) -> str:
    return "%" if unit == "points" else unit
