"""Where every cell comes from, for the panel that opens on it: the run's resolved configuration,
curve and files, each seed's number, and the command that makes just this cell again.

It is one JSON object in the page; what many cells share (a run, an evaluator) stands in it once.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from reprise import markdown, results
from reprise.config import Json, Metric, Project, Row
from reprise.plan import BenchmarkJob, RunJob, TableJob, dataset_spec, given, split_run
from reprise.plan.runs import NOT_SCIENCE
from reprise.report.gather import Known
from reprise.report.runs import FinishedRun, is_curve

_POINTS = 60  # of a curve; more would not be seen at the panel's size


def cell_id(slug: str, table: str, row: int, column: str) -> str:
    """Return the name of a cell in the page: of its button, and of its entry in `collect`."""
    return f"{slug}/{table}/{row}/{column}"


def collect(
    project: Project,
    shown: Sequence[tuple[TableJob, Json, Known]],
    finished: Sequence[FinishedRun],
) -> Json:
    """Return what the panels of all cells show.

    Args:
        shown: the built tables of the page, each with its reference's cells.
        finished: the runs that are there and current.
    """
    cells: Json = {}
    for job, table, known in shown:
        cells.update(_cells(job, table, known))
    used: dict[str, dict[str, None]] = {name: {} for name in ("run", "evaluator", "benchmark")}
    for cell in cells.values():
        for kind, names in used.items():
            if kind in cell:
                names[cell[kind]] = None
    by_run: dict[str, list[FinishedRun]] = {}
    for one in finished:
        by_run.setdefault(one.key, []).append(one)
    return {
        "cells": cells,
        "runs": {name: _run(project, name, by_run.get(name, ())) for name in used["run"]},
        "evaluators": {name: _evaluator(project, name) for name in used["evaluator"]},
        "benchmarks": {name: _benchmark(project, name) for name in used["benchmark"]},
    }


def rerun(job: TableJob, row: Row, column: str) -> list[tuple[str, str]]:
    """Return (what it does, command) of what makes one cell again; none where nothing can.

    The first trains and evaluates: data and the runs it builds on are made where they are absent.
    """
    metric = job.table.metrics[column]
    if row.run is None or metric.printed or metric.setting is not None:
        return []
    slug, name = split_run(job.slug, row.runs.get(column, row.run))
    if metric.benchmark is not None:
        bench = BenchmarkJob(job.project, job.slug, metric.benchmark)
        if name not in bench.benchmark.runs:
            return []
        files, makers = [bench.outputs[0]], [("measure it", [bench.outputs[0]])]
    else:
        run = job.project.run(slug, name)
        evaluator = row.evaluators.get(column, metric.evaluator)
        if not run.is_built or (evaluator is not None and evaluator not in run.evaluate):
            return []
        jobs = [RunJob(job.project, slug, name, seed) for seed in job.project.seeds(run)]
        weights = [one.folder / "meta.json" for one in jobs]
        files = weights
        verb = "train" if run.steps else "make"
        makers = [(f"{verb} the run", weights)]
        if evaluator is not None:
            files = [one.eval_folder / f"{evaluator}.json" for one in jobs]
            makers = [
                (f"{verb} the run and evaluate it", weights),
                ("evaluate it, weights kept,", files),
            ]
    return [*_commands(job.project, files, makers), _into_table(job)]


def _commands(
    project: Project, files: Sequence[Path], makers: Sequence[tuple[str, Sequence[Path]]]
) -> Iterator[tuple[str, str]]:
    """Yield the commands that make files: by a step that starts them anew, or at all."""
    target = f"snakemake {_paths(project, files)} --cores all --config scale={project.scale.scale}"
    if not all(file.is_file() for file in files):
        yield makers[0][0], target
        return
    for what, step in makers:
        yield f"{what} again", f"{target} --forcerun {_paths(project, step)}"


def _into_table(job: TableJob) -> tuple[str, str]:
    scale = job.project.scale.scale
    command = f"python -m reprise table {job.slug}/{job.name} --scale {scale}"
    return "then put it into the table", command


def _paths(project: Project, files: Sequence[Path]) -> str:
    """Return files as rules name them: relative to the workspace where they lie inside."""
    root = project.root
    shown = (file.relative_to(root) if file.is_relative_to(root) else file for file in files)
    return " ".join(map(str, shown))


def _cells(job: TableJob, table: Json, known: Known) -> Iterator[tuple[str, Json]]:
    columns = {column["key"]: column for column in table["columns"]}
    for index, (row, made) in enumerate(zip(job.table.rows, table["rows"], strict=True)):
        for key, cell in made["cells"].items():
            metric = job.table.metrics[key]
            if row.run is None or metric.printed:
                continue
            yield (
                cell_id(job.slug, job.name, index, key),
                {
                    "title": f"{row.label}: {columns[key]['label']}",
                    "table": f"{table['printed']}: {table['title']}",
                    "facts": list(_facts(table, columns[key], cell, known.get((row.label, key)))),
                    "seeds": cell["seeds"],
                    "rerun": rerun(job, row, key),
                    **_source(job, row, key, metric),
                },
            )


def _source(job: TableJob, row: Row, column: str, metric: Metric) -> Json:
    """Return what fills a cell: the run, with the evaluator or benchmark that measures it."""
    assert row.run is not None
    slug, name = split_run(job.slug, row.runs.get(column, row.run))
    found = {"run": f"{slug}/{name}"}
    if metric.benchmark is not None:
        return {**found, "benchmark": f"{job.slug}/{metric.benchmark}"}
    evaluator = row.evaluators.get(column, metric.evaluator)
    if evaluator is not None and evaluator in job.project.run(slug, name).evaluate:
        return {**found, "evaluator": f"{slug}/{evaluator}"}
    return found


def _facts(table: Json, column: Json, cell: Json, known: Json | None) -> Iterator[tuple[str, str]]:
    """Yield (name, words) of all that is known of a cell's numbers."""
    unit, scale = column["unit"], table["scale"]["scale"]
    if cell["text"] is not None:
        yield "as set", str(cell["text"])
    if ours := cell["ours"]:
        yield "ours", _with_unit(markdown.interval(ours, unit), unit)
        kind = markdown.covered(ours["kind"], column)
        covers = f"95 % interval: {kind}" if ours["low"] is not None else kind
        yield "how sure", covers
    if gain := cell["gain"]:
        shown = _with_unit(markdown.interval(gain, unit, sign=True), _difference(unit))
        kind = markdown.covered(gain["kind"], column)
        yield f"paired gain over {table['baseline']}", f"{shown} ({kind})"
    if cell["detectable"] is not None:
        reach = markdown.number(cell["detectable"], unit)
        yield "smallest detectable gain", _with_unit(reach, _difference(unit))
    if cell["ours"] and not markdown.has_seeds(column):
        yield "scale", scale
    elif cell["ours"]:
        seeds = {made["seed"]: made["value"] for made in cell["runs"]}
        each = "; ".join(f"seed {k}: {markdown.number(v, unit)}" for k, v in seeds.items())
        yield "scale, seeds", f"{scale}; {each}"
    if cell["ours"] and cell["n"] and cell["n"] > 1:
        yield ("rounds" if column["benchmark"] else "samples"), f"{cell['n']:,}"
    if printed := cell["published"]:
        where = f"{printed['row']}; {printed['dataset']}, {printed['split']}"
        yield "published", f"{_with_unit(printed['text'], unit)} ({where})"
        yield "its source", f"{printed['source']} ({printed['confidence']})"
    if beside := cell.get("against_print"):
        why = f" ({beside['why']})" if beside["why"] else ""
        yield "ours beside print", f"{markdown.beside_print(cell)}{why}"
    if known:
        said = markdown.of_reference(known, column)
        stale = ": made by other settings, sources or data" if known["stale"] else ""
        shown = _with_unit(markdown.interval(known["ours"], unit), unit)
        yield "reference", f"{shown} ({said}{stale})" if said else shown
    if cell["status"] not in ("measured", "as set"):
        yield "status", cell["status"]


def _with_unit(text: str, unit: str) -> str:
    return f"{text} {unit}".strip()


def _difference(unit: str) -> str:
    return "points" if unit == "%" else unit


def _run(project: Project, name: str, finished: Sequence[FinishedRun]) -> Json:
    slug, run_name = split_run("", name)
    run = project.run(slug, run_name)
    dataset = project.scale.datasets.get(run.data)
    config = {
        "scale": project.scale.scale,
        "threads": run.threads or project.scale.threads,
        **given(run.model_dump(mode="json", exclude=NOT_SCIENCE)),
        **({"dataset": dataset_spec(dataset)} if dataset else {}),
    }
    return {
        "about": run.about,
        "config": _yaml(config),
        "seeds": {str(one.job.seed): _seed(project, one) for one in finished},
    }


def _seed(project: Project, run: FinishedRun) -> Json:
    meta = run.meta
    speed = meta.get("images_per_second")
    facts = {
        "digest": meta["digest"][:12],
        "commit": run.commit,
        "machine": run.machine,
        "steps": f"{meta['steps']:,}",
        "training": f"{run.training_seconds:.1f} s",
        "evaluation": f"{run.evaluation_seconds:.1f} s, {len(run.evaluations)} evaluators",
        "speed": f"{speed:,.0f} images/s" if speed else "",
    }
    return {
        "anchor": run.anchor,
        "facts": [(key, value) for key, value in facts.items() if value],
        "commands": run.commands,
        "curves": _curves(run.log),
        "files": _files(project, run),
    }


def _curves(log: Sequence[Json]) -> Json:
    """Return {term: [[step, value], ...]} of a log, thinned out, and rounded to five digits."""
    terms = dict.fromkeys(
        key for line in log for key, value in line.items() if is_curve(key, value)
    )
    found: Json = {}
    for term in terms:
        points = [(line["step"], line[term]) for line in log if is_curve(term, line.get(term))]
        last = len(points) - 1
        kept = sorted({round(i * last / (_POINTS - 1)) for i in range(_POINTS)})
        found[term] = [(points[i][0], float(f"{points[i][1]:.5g}")) for i in kept]
    return found


def _files(project: Project, run: FinishedRun) -> list[tuple[str, str]]:
    """Return (name, link from the report's folder) of a run's files, as far as they are there."""
    job, logs = run.job, project.results / "logs"
    step = f"{job.slug}/{job.name}/seed{job.seed}.log"
    named = {
        "configuration and provenance (meta.json)": job.folder / "meta.json",
        "curve (log.jsonl)": job.folder / "log.jsonl",
        "messages of the training": logs / "train" / step,
        "messages of the evaluation": logs / "evaluate" / step,
        "evaluations": job.eval_folder,
    }
    return [(name, _link(project, path)) for name, path in named.items() if path.exists()]


def _link(project: Project, path: Path) -> str:
    return Path(os.path.relpath(path, project.results / "report")).as_posix()


def _evaluator(project: Project, name: str) -> str:
    slug, evaluator = split_run("", name)
    settings = project.paper(slug).evaluators[evaluator]
    dataset = project.scale.datasets.get(settings.data)
    spec = given(settings.model_dump(mode="json"))
    return _yaml({**spec, **({"dataset": dataset_spec(dataset)} if dataset else {})})


def _benchmark(project: Project, name: str) -> Json:
    slug, benchmark = split_run("", name)
    job = BenchmarkJob(project, slug, benchmark)
    config = {"threads": job.threads, **given(job.benchmark.model_dump(mode="json"))}
    facts: list[tuple[str, str]] = []
    files: list[tuple[str, str]] = []
    if all(path.is_file() for path in job.outputs):
        record = results.read_benchmark(job)
        machine = {
            key: value for key, value in record["machine"].items() if value not in ([], None)
        }
        facts = [("digest", record["digest"][:12]), *((k, _said(v)) for k, v in machine.items())]
        files = [(job.outputs[0].name, _link(project, job.outputs[0]))]
        messages = project.results / "logs" / "benchmark" / slug / f"{benchmark}.log"
        if messages.is_file():
            files.append(("messages", _link(project, messages)))
    return {"config": _yaml(config), "facts": facts, "files": files}


def _said(value: Any) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


def _yaml(value: Json) -> str:
    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, default_flow_style=None))
