"""Claims for the template: verdicts and effects in words, cells by the names of their panels."""

from collections.abc import Iterator, Sequence

from reprise import ledger, markdown
from reprise.config import Json
from reprise.plan import ClaimsJob
from reprise.report import origins, summary
from reprise.report.gather import Gathered


def shown_claims(shown: Gathered, slug: str, tables: Sequence[Json]) -> Json:
    """Return a paper's claims for the template, or why there are none to show."""
    made = shown.ledgers.get(slug)
    if made is None:
        there = ClaimsJob(shown.project, slug).outputs[0].is_file()
        why = "stale, of other settings or results: build again" if there else "not examined yet"
        return {"status": why, "claims": [], "legend": [], "counts": []}
    known = shown.known_claims[slug]
    return {
        "status": "",
        "counts": summary.counts(made["claims"]),
        "compared": any(one.get("against_print") for one in made["claims"]),
        "reach": any(one["smallest_detectable"] is not None for one in made["claims"]),
        "legend": ledger.legend(made),
        "claims": [
            {
                **one,
                "outcome": summary.key(summary.outcome(one)),
                "shown_verdict": ledger.verdict(one),
                "shown_effect": ledger.effect(one),
                "details": list(ledger.details(one)),
                "asked": ledger.asked(one),
                "reach": _reach(one),
                "counted_seeds": ledger.seeds(one),
                "samples": ledger.samples(one),
                "compared": ledger.printed(one),
                "links": list(_links(slug, one, tables)),
                "known": _known_claim(known.get(one["id"])),
            }
            for one in made["claims"]
        ],
    }


def _reach(claim: Json) -> str:
    """Return the smallest detectable effect of a claim with its unit, empty where it has none."""
    reach, unit = claim["smallest_detectable"], claim["unit"]
    shown = "%" if unit == "points" else unit
    return "" if reach is None else f"{markdown.number(reach, shown)} {unit}".strip()


def _links(slug: str, claim: Json, tables: Sequence[Json]) -> Iterator[Json]:
    """Yield a claim's cells, each with the name of its panel where the page has it."""
    found = {shown["name"]: shown for shown in tables}
    for cell in claim["cells"]:
        shown = found[cell["table"]]
        metric = shown["definition"].metrics[cell["column"]]
        values = cell["values"].values()
        each = ", ".join(markdown.number(value, metric.unit) for value in values)
        yield {
            "row": cell["row"],
            "label": metric.label,
            "shown": f"{each} {metric.unit}".strip() if each else cell["status"],
            "id": _panel_of(slug, shown, cell["row"], cell["column"]),
        }


def _panel_of(slug: str, shown: Json, label: str, column: str) -> str:
    """Return the name of a cell's panel, nothing where it has none: not built, or only printed."""
    if not shown["table"] or shown["definition"].metrics[column].printed:
        return ""
    for place, row in enumerate(shown["table"]["rows"]):
        if row["label"] == label and row["run"]:
            return origins.cell_id(slug, shown["name"], place, column)
    return ""


def _known_claim(one: Json | None) -> Json | None:
    """Return the reference's verdict on a claim, in words."""
    if one is None:
        return None
    return {
        "verdict": ledger.verdict(one),
        "outcome": summary.key(summary.outcome(one)),
        "said": ledger.known(one),
    }
