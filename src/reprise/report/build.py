"""Gathers tables, curves, pictures and provenance into one self-contained HTML page."""

import base64
import json
import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from reprise import ledger, markdown
from reprise.config import Json, Project, Table
from reprise.files import write_atomic
from reprise.plan import ClaimsJob, TableJob, run_jobs, table_jobs
from reprise.report import (
    asmarkdown,
    captions,
    dense,
    figures,
    forest,
    origins,
    pictures,
    plots,
    summary,
    words,
)
from reprise.report.gather import Gathered
from reprise.report.runs import FinishedRun
from reprise.report.summary import Summary

_HERE = Path(__file__).parent
# Evaluators without pictures; others have a setting that says how many, or always draw some.
_NUMBERS_ALONE = {
    "linear_probe",
    "knn",
    "finetune",
    "transfer",
    "classify",
    "retrieval",
    "gap",
    "shifted",
}


def inputs(project: Project) -> list[Path]:
    """Return the files of headline tables and runs that the report reads."""
    files = [job.outputs[2] for job in table_jobs(project, headline_only=True)]
    for job in run_jobs(project, headline_only=True):
        files += [job.folder / "meta.json", job.folder / "log.jsonl"]
        evaluators = project.paper(job.slug).evaluators
        for name in job.run.evaluate:
            files.append(job.eval_folder / f"{name}.json")
            if getattr(evaluators[name], "pictures", evaluators[name].kind not in _NUMBERS_ALONE):
                files.append(job.eval_folder / f"{name}.npz")
    return files


def build(project: Project) -> Path:
    """Write results/<scale>/report/index.html and report.md; return the path of the page.

    Shows whatever is finished and current; tables and runs that are not are named as such. Raises
    ResultError where a file is damaged.
    """
    folder, shown = project.results / "report", Gathered(project)
    built = time.strftime("%Y-%m-%d %H:%M")
    page, text = _page(shown, built), asmarkdown.render(shown, built)
    write_atomic(folder / "report.md", text)
    write_atomic(folder / "index.html", page)
    return folder / "index.html"


def render(project: Project) -> str:
    """Return the whole page as text."""
    return _page(Gathered(project), time.strftime("%Y-%m-%d %H:%M"))


def _page(shown: Gathered, built: str) -> str:
    project, summaries = shown.project, summary.of_papers(shown)
    every_run = [run for found in shown.runs.values() for run in found]
    evaluated = [(run.job, run.evaluations) for run in every_run]
    compared = dense.galleries(table_jobs(project), evaluated)
    tables = [
        {**_table(shown, job), "compared": compared[job.slug, job.name]}
        for job in table_jobs(project)
    ]
    of_cells = [(one["job"], one["table"], one["reference"]) for one in tables if one["table"]]
    template = _environment().get_template("template.html")
    return template.render(
        scale=project.scale,
        style=_beside("style.css"),
        script=_beside("script.js"),
        built=built,
        everything=summary.of_all(summaries),
        origin=_origin(every_run),
        papers=[_paper(shown, slug, summaries[slug], tables) for slug in shown.runs],
        origins=_json(origins.collect(project, of_cells, every_run)),
    )


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        data_uri=_data_uri,
        number=markdown.number,
        interval=markdown.interval,
        duration=words.duration,
        minutes=words.minutes,
        count=words.count,
        counts=words.counts,
    )
    environment.globals.update(
        words=words,
        cell_id=origins.cell_id,
        beside_print=markdown.beside_print,
        draw_effect=forest.drawing,
        short=_short,
    )
    return environment


def _beside(name: str) -> Markup:
    return Markup((_HERE / name).read_text(encoding="utf-8"))  # noqa: S704 (our files)


def _json(value: Json) -> Markup:
    """Return JSON that can stand in a <script>: no character of it can end one."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 (escaped above)


def _short(printed: str) -> str:
    """Return a table's name in the paper without what is said about it: 'Table 1'."""
    return re.split(r" \(|; |, ", printed, maxsplit=1)[0]


def _origin(runs: Sequence[FinishedRun]) -> Json:
    """Return on what, from what and with what the runs were made: for the opening of the page."""
    versions: dict[str, set[str]] = {}
    for run in runs:
        for name, version in run.meta["versions"].items():
            versions.setdefault(name, set()).add(version)
    return {
        "versions": {name: ", ".join(sorted(found)) for name, found in versions.items()},
        "machines": list(dict.fromkeys(run.machine for run in runs)),
        "commits": list(dict.fromkeys(run.commit for run in runs if run.commit)),
    }


def _paper(shown: Gathered, slug: str, summarised: Summary, tables: Sequence[Json]) -> Json:
    paper, runs = shown.project.paper(slug), shown.runs[slug]
    trained = [run for run in runs if run.log]
    styles = {name: n for n, name in enumerate(dict.fromkeys(run.job.name for run in trained))}
    curves = [
        plots.Curve(run.job.name, run.job.seed, styles[run.job.name], run.log) for run in trained
    ]
    first_seeds = {run.job.name: run for run in reversed(runs)}
    beneath_tables = {
        source for one in tables for gallery in one["compared"] for source in gallery.sources
    }
    own = [one for one in tables if one["job"].slug == slug]
    return {
        "paper": paper,
        "summary": summarised,
        "tables": [one for one in own if one["table"] or one["compared"]],
        "absent": [one for one in own if not (one["table"] or one["compared"])],
        "claims": [_claims(shown, slug, own)] if paper.claims else [],
        "strengths": _strengths(runs, styles),
        "curves": list({curve.run: curve for curve in curves}.values()),
        "panels": _shown(plots.panels(curves)),
        "captions": captions.galleries(
            slug, paper.tables.values(), [(run.job, run.evaluations) for run in runs]
        ),
        "galleries": [
            gallery
            for run in runs
            if run in first_seeds.values()
            for gallery in _galleries(run, beneath_tables)
        ],
        "runs": runs,
    }


def _table(gathered: Gathered, job: TableJob) -> Json:
    """Return a table for the template, or why there is none to show."""
    shown: dict[str, Any] = {
        "job": job,
        "name": job.name,
        "definition": job.table,
        "table": None,
        "reference": {},
        "words": _searched(job),
    }
    table = gathered.tables.get((job.slug, job.name))
    if table is None:
        return {**shown, "status": _why_no_table(job)}
    printed, compared = markdown.printed_columns(table), markdown.compared_columns(table)
    known = gathered.known_cells(job)
    by_column: dict[str, list[Json]] = {}
    for (_, column), cell in known.items():
        by_column.setdefault(column, []).append(cell)
    rows = [{**row, "index": index} for index, row in enumerate(table["rows"])]
    return {
        **shown,
        "status": "",
        "table": table,
        "figure": _figure(gathered, job, table),
        "reference": known,
        "columns": [
            {
                **column,
                "alone": column["printed"],
                "printed": column["printed"] or column["key"] in printed,
                "compared": column["key"] in compared,
                **_of_reference(by_column.get(column["key"], ())),
            }
            for column in table["columns"]
        ],
        "groups": [
            [row for row in rows if row["run"]],
            [row for row in rows if not row["run"]],
        ],
        "legend": markdown.legend(table),
        "deviations": markdown.deviations(table),
        "statuses": markdown.statuses(table),
        "sources": markdown.sources(table),
    }


def _of_reference(cells: Sequence[Json]) -> Json:
    """Return what the head of a column says of the reference; single cells say what differs."""
    return {
        "known": bool(cells),
        "known_seeds": max((len(cell["seeds"]) for cell in cells), default=0),
        "all_stale": bool(cells) and all(cell["stale"] for cell in cells),
    }


def _why_no_table(job: TableJob) -> str:
    if job.outputs[2].is_file():
        return "stale, made by other settings, sources or data: build again"
    return "not built yet" + (
        "" if job.table.headline else ": sweep table, build with `snakemake sweeps`"
    )


def _searched(job: TableJob) -> str:
    """Return the words by which a table is found in the contents."""
    labels = [row.label for row in job.table.rows]
    columns = [metric.label for metric in job.table.metrics.values()]
    return " ".join((job.table.printed, job.table.title, *labels, *columns)).lower()


def _figure(shown: Gathered, job: TableJob, table: Json) -> Json | None:
    """Return the figure that a table asks for, for the template."""
    figure = figures.of_table(_marked(shown, job), table)
    if figure is None:
        return None
    return {"legend": figure.legend, "panels": _shown(figure.panels)}


def _marked(shown: Gathered, job: TableJob) -> Table:
    """Return a table whose figure also marks what other tables measured, where they are built."""
    plot = job.table.plot
    if plot is None:
        return job.table
    marks = dict(plot.mark)
    for label, cell in plot.measured.items():
        built = shown.tables.get((job.slug, cell.table))
        if built is None:
            continue
        rows = {row["label"]: row["cells"] for row in built["rows"]}
        ours = rows.get(cell.row, {}).get(cell.column, {}).get("ours")
        if ours:
            marks[label] = ours["value"] ** cell.power
    return job.table.model_copy(update={"plot": plot.model_copy(update={"mark": marks})})


def _shown(panels: Sequence[plots.Panel]) -> list[Json]:
    """Return panels for the template."""
    return [
        {"title": panel.title, "svg": Markup(panel.svg)}  # noqa: S704 (escaped by plots)
        for panel in panels
    ]


def _claims(shown: Gathered, slug: str, tables: Sequence[Json]) -> Json:
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
                "samples": _samples(one),
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


def _samples(claim: Json) -> str:
    """Return of how many images or rounds each number is, empty where they differ or are one."""
    if not claim["seeds"] or (claim["n"] or 1) == 1:
        return ""
    measured = any("benchmark" in made for cell in claim["cells"] for made in cell["runs"])
    return f"{claim['n']:,} {'rounds' if measured else 'samples'}"


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
        "effect": ledger.effect(one),
        "seeds": one["seeds"],
        "stale": one["stale"],
    }


def _strengths(runs: Sequence[FinishedRun], styles: Mapping[str, int]) -> Json:
    """Return curves of accuracy over the strength of corruptions, a run's first seed each."""
    shown: dict[str, plots.Curve] = {}
    numbers = dict(styles)  # runs that were not trained have no training curve, and so no style yet
    for run in runs:
        for evaluation in run.evaluations.values():
            if evaluation["kind"] == "robustness" and run.job.name not in shown:
                lines = plots.strength_lines(evaluation)
                style = numbers.setdefault(run.job.name, len(numbers))
                shown[run.job.name] = plots.Curve(run.job.name, run.job.seed, style, lines)
    curves = list(shown.values())
    return {"curves": curves, "panels": _shown(plots.strength_panels(curves))}


def _galleries(
    run: FinishedRun, beneath_tables: Collection[tuple[str, str, str]]
) -> Iterator[Json]:
    """Yield the pictures that a run's evaluators drew, but for those shown with other runs'."""
    for name, evaluation in run.evaluations.items():
        drawn = {**evaluation, "pictures": captions.other_pictures(evaluation)}
        if (run.job.slug, run.job.name, name) in beneath_tables:
            drawn["pictures"] = dense.other_pictures(drawn)
        if strips := list(pictures.strips(run.job, name, drawn)):
            yield {"run": run, "strips": strips}


def _data_uri(image: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64," + base64.b64encode(image).decode()
