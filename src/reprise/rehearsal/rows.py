"""Says of every row of every table whether its steps ran, and what they took."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, cast

from reprise.config import Json, Project, load_project
from reprise.files import write_atomic
from reprise.plan import BenchmarkJob, RunJob, TableJob, split_run
from reprise.rehearsal.project import PREFIX, home, representatives

Status = Literal[
    "passed", "missing", "stale", "no weights named", "listed for its settings", "printed alone"
]


@dataclass(frozen=True)
class Line:
    """One row of one table, with a run that it shows; ``by`` is the run rehearsed for it.

    ``step_seconds`` is the mean of the steps, of which the first one warms up; for runs that are
    never trained, what the benchmark took for a step or a forward pass.
    """

    table: str
    row: str
    run: str
    by: str
    status: Status
    parameters: float | None = None
    peak_memory_mb: float | None = None
    step_seconds: float | None = None


def lines(project: Project) -> list[Line]:
    """Return a line for every row and run of a scale, from what its rehearsal left."""
    scale = load_project(project.root, project.scale.scale.removeprefix(PREFIX))
    stands_for = representatives(scale)
    found = [
        line
        for slug, paper in scale.papers.items()
        for name in paper.tables
        for line in _of_table(project, TableJob(scale, slug, name), stands_for)
    ]
    shown = {line.by for line in found}
    for slug, paper in scale.papers.items():  # runs that no table shows, such as a CLIP
        for name in paper.runs:
            by = f"{slug}/{stands_for[slug, name]}"
            if by not in shown:
                shown.add(by)
                found.append(_line(project, "", "", f"{slug}/{name}", by))
    return found


def _of_table(
    project: Project, job: TableJob, stands_for: dict[tuple[str, str], str]
) -> Iterator[Line]:
    table = f"{job.slug}/{job.name}"
    for row in job.table.rows:
        named = dict.fromkeys([*([row.run] if row.run else []), *row.runs.values()])
        if not named:
            yield Line(table, row.label, "", "", "printed alone")
        for other in named:
            slug, name = split_run(job.slug, other)
            by = f"{slug}/{stands_for[slug, name]}"
            yield _line(project, table, row.label, f"{slug}/{name}", by)


def _line(project: Project, table: str, row: str, run: str, by: str) -> Line:
    slug, name = split_run("", by)
    its = project.run(slug, name)
    if its.kind == "cost":
        return _measured(project, table, row, run, by)
    if not its.is_built:
        return Line(table, row, run, by, "no weights named")
    job = RunJob(project, slug, name, project.seeds(its)[0])
    meta = _read(job.folder / "meta.json")
    if not meta:
        return Line(table, row, run, by, "missing")
    return Line(
        table,
        row,
        run,
        by,
        _status(job, meta),
        meta["parameters"],
        meta["peak_memory_mb"],
        round(meta["wall_seconds"] / meta["steps"], 3) if meta["steps"] else None,
    )


def _status(job: RunJob, meta: Json) -> Status:
    """Say whether a run and all its evaluations are there, and made by the present settings."""
    records = {name: _read(job.eval_folder / f"{name}.json") for name in job.run.evaluate}
    if not all(records.values()):
        return "missing"
    current = meta["digest"] == job.digest and all(
        record["digest"] == job.eval_digest(name) for name, record in records.items()
    )
    return "passed" if current else "stale"


def _measured(project: Project, table: str, row: str, run: str, by: str) -> Line:
    """Return the line of a run that is never trained, from the benchmarks that measure it."""
    slug, name = split_run("", by)
    its = project.paper(slug).benchmarks
    jobs = [BenchmarkJob(project, slug, key) for key, one in its.items() if name in one.runs]
    if not jobs:
        return Line(table, row, run, by, "listed for its settings")
    records = [_read(job.outputs[0]) for job in jobs]
    if not all(records):
        return Line(table, row, run, by, "missing")
    same = [record["digest"] == job.digest for job, record in zip(jobs, records, strict=True)]
    values = {
        metric["metric"]: metric["value"] for record in records for metric in record["runs"][name]
    }
    million, speed = values.get("params_m"), values.get("images_per_second")
    sizes = [record["batch_sizes"] for record in records if "batch_sizes" in record]
    batch = sizes[-1][name] if sizes else project.run(slug, name).batch_size
    return Line(
        table,
        row,
        run,
        by,
        "passed" if all(same) else "stale",
        million and million * 1e6,
        values.get("train_memory_mb", values.get("test_memory_mb")),
        speed and round(batch / speed, 3),
    )


def _read(file: Path) -> Json:
    try:
        return cast(Json, json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


# --- what is shown ------------------------------------------------------------------------------


def write(project: Project, seconds: float | None = None) -> str:
    """Write rehearsal.json and .md below the rehearsal's folder; return the latter's text.

    ``seconds`` is how long it took in all, where one call did it.
    """
    found = lines(project)
    scale = project.scale.scale.removeprefix(PREFIX)
    record = {
        "rehearsal_of": scale,
        "result": False,
        "seconds": seconds and round(seconds, 1),
        "rows": [asdict(line) for line in found],
    }
    text = "\n".join(_text(scale, found, seconds)) + "\n"
    write_atomic(home(project) / "rehearsal.json", json.dumps(record, indent=1) + "\n")
    write_atomic(home(project) / "rehearsal.md", text)
    return text


def _text(scale: str, found: list[Line], seconds: float | None) -> Iterator[str]:
    yield f"# Rehearsal of scale {scale}: no number here is a result"
    yield ""
    yield "| row | run | status | parameters, M | peak memory, MB | step, s |"
    yield "|---|---|---|---:|---:|---:|"
    for line in found:
        place = f"{line.table}: {line.row}" if line.table else "(in no table)"
        run = line.run + (f", as {line.by}" if line.by != line.run else "")
        numbers = (
            _number(line.parameters and line.parameters / 1e6, 1),
            _number(line.peak_memory_mb, 0),
            _number(line.step_seconds, 2),
        )
        yield f"| {place} | {run} | {line.status} | {' | '.join(numbers)} |"
    yield ""
    counts = Counter(line.status for line in found)
    yield ", ".join(f"{count} {status}" for status, count in counts.most_common())
    runs = {line.by for line in found if line.by}
    yield f"{len({line.run for line in found if line.run})} runs, as {len(runs)} that differ"
    if seconds is not None:
        yield f"{seconds / 60:.1f} minutes in all"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"
