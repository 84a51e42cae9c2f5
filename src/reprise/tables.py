"""Builds a table: the printed numbers beside those that runs here made.

The JSON holds all that the report and MLflow show; the CSV is for other programs, the Markdown for
people. A printed number never fills a cell of ours.
"""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from reprise import agreement, intervals, markdown, published, results
from reprise.cells import Reading, read_cell
from reprise.config import Json
from reprise.files import write_atomic
from reprise.intervals import Estimate
from reprise.plan import TableJob, split_run
from reprise.results import Measured

CSV_COLUMNS = (
    "row",
    "metric",
    "published",
    "published_source",
    "published_confidence",
    "against_print",
    "print_difference",
    "print_tolerance",
    "ours",
    "ci_low",
    "ci_high",
    "interval",
    "gain",
    "gain_low",
    "gain_high",
    "detectable",
    "seeds",
    "n",
    "scale",
    "status",
    "run_digests",
    "deviations",
    "commands",
)


def build(job: TableJob) -> None:
    """Write tables/<table>.csv, .md and .json of a table, each whole or not at all.

    Raises ResultError where an evaluation is damaged or its number is not the one its statistics
    give, ConfigError where the published CSV is wrong. What was not run is said in the cell.
    """
    table = assemble(job)
    csv_file, markdown_file, json_file = job.outputs
    write_atomic(csv_file, as_csv(table))
    write_atomic(markdown_file, markdown.render(table))
    write_atomic(json_file, json.dumps(table, indent=1, ensure_ascii=False) + "\n")


def load(path: Path) -> Json:
    """Read a table's JSON; raise ResultError where it is damaged."""
    return results.read_json(path, ("paper", "table", "digest", "scale", "columns", "rows"))


def assemble(job: TableJob) -> Json:
    """Return a table as one JSON object: what it is, its columns, and its rows of cells."""
    table, scale = job.table, job.project.scale
    paper = job.project.paper(job.slug)
    return {
        "paper": job.slug,
        "paper_title": paper.title,
        "arxiv": paper.arxiv,
        "table": job.name,
        "title": table.title,
        "printed": table.printed,
        "about": table.about,
        "headline": table.headline,
        "digest": job.digest,
        "scale": {"scale": scale.scale, "about": scale.about, "result": scale.result},
        "seeds": len(scale.seeds),
        "baseline": table.baseline,
        "detectable": table.detectable,
        "published_file": _published_file(job),
        "columns": [{"key": key, **metric.model_dump()} for key, metric in table.metrics.items()],
        "rows": _rows(job),
        "deviations": list(table.deviations),
    }


def _rows(job: TableJob) -> list[Json]:
    """Return the rows with their cells; gains refer to the baseline row's numbers."""
    table = job.table
    printed = published.of_table(job.project, job.slug, job.name)
    readings = [{key: read_cell(job, row, key) for key in table.metrics} for row in table.rows]
    labels = [row.label for row in table.rows]
    baseline = readings[labels.index(table.baseline)] if table.baseline else None
    rows = []
    for row, reading in zip(table.rows, readings, strict=True):
        against = {} if baseline is None or reading is baseline else baseline
        cells = {
            key: {
                **_cell(
                    table.metrics[key].unit,
                    printed.get((row.published or "", key)),
                    reading[key],
                    against.get(key),
                ),
                "against_print": agreement.of_cell(job, row, key, reading[key], printed),
            }
            for key in table.metrics
        }
        rows.append(
            {
                "label": row.label,
                "run": None if row.run is None else "/".join(split_run(job.slug, row.run)),
                "published_row": row.published,
                "deviations": list(row.deviations),
                "cells": cells,
            }
        )
    return rows


def _cell(
    unit: str, number: published.Published | None, ours: Reading, base: Reading | None
) -> Json:
    estimate = _estimate(ours.measured, unit)
    gain = _gain(ours.measured, base.measured) if base else None
    return {
        "published": asdict(number) if number else None,
        "ours": asdict(estimate) if estimate else None,
        "text": ours.text,
        "gain": asdict(gain) if gain else None,
        "detectable": _detectable(gain, ours.measured, base.measured) if gain and base else None,
        "seeds": sorted(ours.measured),
        "n": next((measured.n for measured in ours.measured.values()), None),
        "status": ours.status,
        "runs": ours.provenance,
    }


def _estimate(measured: Mapping[int, Measured], unit: str) -> Estimate | None:
    if not measured:
        return None
    first = next(iter(measured.values()))
    found = intervals.estimate(first.reduce, [one.statistics for one in measured.values()])
    return intervals.within_range(_in_words(found, first), unit)


def _in_words(found: Estimate, first: Measured) -> Estimate:
    """Say of an evaluation what its intervals are over, also where the metric is a plain mean."""
    if not first.of_images:
        return found
    return replace(found, kind=found.kind.replace("repeated measurements", "test images"))


def _gain(ours: Mapping[int, Measured], base: Mapping[int, Measured]) -> Estimate | None:
    """Return the difference over the seeds that both have, on the same test images."""
    seeds = [seed for seed in ours if seed in base]
    pairs = [(ours[seed], base[seed]) for seed in seeds]
    if not pairs or any((a.data, a.n, a.reduce) != (b.data, b.n, b.reduce) for a, b in pairs):
        return None
    mine, theirs = zip(*pairs, strict=True)
    found = intervals.estimate(
        mine[0].reduce, [one.statistics for one in mine], [one.statistics for one in theirs]
    )
    return _in_words(found, mine[0])


def _detectable(
    gain: Estimate, ours: Mapping[int, Measured], base: Mapping[int, Measured]
) -> float | None:
    """Return the true gain that this many seeds or images would find in four cases of five."""
    values = [ours[seed].value - base[seed].value for seed in ours if seed in base]
    return intervals.smallest_detectable(gain, np.array(values))


def _published_file(job: TableJob) -> str | None:
    path = job.published_file
    return None if path is None else str(path.relative_to(job.project.root))


def as_csv(table: Json) -> str:
    """Return a table as CSV, a line per row and metric that was printed or can be measured."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in table["rows"]:
        for key, cell in row["cells"].items():
            if row["run"] or cell["published"]:
                writer.writerow(_csv_line(table, row, key, cell))
    return stream.getvalue()


def _csv_line(table: Json, row: Json, key: str, cell: Json) -> Json:
    parts = ("published", "ours", "gain", "against_print")
    printed, ours, gain, beside = (cell[part] or {} for part in parts)
    deviations = [*row["deviations"], *table["deviations"]] if row["run"] else row["deviations"]
    digests = dict.fromkeys(made["run_digest"][:12] for made in cell["runs"])
    return {
        "row": row["label"],
        "metric": key,
        "published": printed.get("text"),
        "published_source": printed.get("source"),
        "published_confidence": printed.get("confidence"),
        "against_print": beside.get("word"),
        "print_difference": beside.get("difference"),
        "print_tolerance": beside.get("tolerance"),
        "ours": ours.get("value", cell["text"]),
        "ci_low": ours.get("low"),
        "ci_high": ours.get("high"),
        "interval": ours.get("kind"),
        "gain": gain.get("value"),
        "gain_low": gain.get("low"),
        "gain_high": gain.get("high"),
        "detectable": cell["detectable"],
        "seeds": len(cell["seeds"]),
        "n": cell["n"],
        "scale": table["scale"]["scale"],
        "status": cell["status"],
        "run_digests": " ".join(digests),
        "deviations": " | ".join(deviations),
        "commands": " && ".join(
            dict.fromkeys(command for made in cell["runs"] for command in made["commands"])
        ),
    }
