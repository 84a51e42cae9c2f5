"""Tables for the template, each with its figure and what the reference knows of its cells."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from reprise import markdown
from reprise.config import Json, Table
from reprise.plan import TableJob
from reprise.report import figures, plots, words
from reprise.report.gather import Gathered


def shown_table(gathered: Gathered, job: TableJob) -> Json:
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
                "here": _heading(table, column),
                **_of_reference(column, by_column.get(column["key"], ())),
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


def _heading(table: Json, column: Json) -> str:
    """Return what stands below "ours" in a column's head: the scale, with seeds if any."""
    scale = str(table["scale"]["scale"])
    if column["setting"]:
        return ""
    seeds = words.count(table["seeds"], "seed")
    return f"{scale}, {seeds}" if markdown.has_seeds(column) else scale


def _of_reference(column: Json, cells: Sequence[Json]) -> Json:
    """Return what the head of a column says of the reference; single cells say what differs."""
    common: Json = {
        "seeds": max((cell["seeds"] for cell in cells), key=len, default=[]),
        "stale": bool(cells) and all(cell["stale"] for cell in cells),
    }
    return {
        "known": bool(cells),
        "known_seeds": len(common["seeds"]),
        "all_stale": common["stale"],
        "there": markdown.of_reference(common, column),
    }


def _why_no_table(job: TableJob) -> str:
    if job.outputs[2].is_file():
        return "stale, made by other settings, sources or data: build again"
    return "not built yet" + (
        "" if job.table.headline else ": sweep table, build with `snakemake --cores all sweeps`"
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
    return {"legend": figure.legend, "panels": shown_panels(figure.panels)}


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


def shown_panels(panels: Sequence[plots.Panel]) -> list[Json]:
    """Return panels for the template."""
    return [
        {"title": panel.title, "svg": Markup(panel.svg)}  # noqa: S704 (escaped by plots)
        for panel in panels
    ]
