"""What the runs of a table's row measured for one of its columns: numbers by seed, or why not.

Tables, claims and the reference results all read cells here, so that none of them can mean another
number by the same name.
"""

from typing import Any

from reprise import results
from reprise.config import Json, Metric, Row, Run
from reprise.data import present
from reprise.plan import SWEEP_ROW, BenchmarkJob, RunJob, TableJob, split_run
from reprise.results import Measured
from reprise.settings.evaluators import Caption

MEASURED = "measured"
PUBLISHED_ONLY = "published only"
AS_SET = "as set"
NO_WEIGHTS = "names no released weights"
# Metrics of a part of the images, which only some data sets tell from the rest.
PARTS = ("unseen_", "seen_")


class Reading:
    """What the runs of a row give for one column: numbers by seed, and why others are missing."""

    def __init__(self, status: str = "") -> None:
        self.measured: dict[int, Measured] = {}
        self.provenance: list[Json] = []
        self.missing: dict[int, str] = {}
        self.text: str | None = None  # of a column of settings, which has words for numbers
        self._status = status

    @property
    def status(self) -> str:
        """`measured`, `published only`, or `not run`, `not measured`, `partial` with the reason."""
        if self._status:
            return self._status
        if not self.missing:
            return MEASURED
        reasons = "; ".join(dict.fromkeys(self.missing.values()))
        if not self.measured:
            return f"not run: {reasons}"
        return f"partial: seed {', '.join(map(str, self.missing))} not run: {reasons}"


def is_count(reading: Reading) -> bool:
    """Say whether a cell holds a count, such as FLOPs: of a benchmark, and not repeated there."""
    single = all(measured.n == 1 for measured in reading.measured.values())
    return single and all("benchmark" in made for made in reading.provenance)


def read_cell(job: TableJob, row: Row, column: str) -> Reading:
    """Return what a row's run measured for a column: a number per seed, and why others lack."""
    metric = job.table.metrics[column]
    if row.run is None or metric.printed:
        return Reading(PUBLISHED_ONLY)
    slug, name = split_run(job.slug, row.runs.get(column, row.run))
    if metric.setting is not None:
        return _read_setting(job.project.run(slug, name), metric.setting)
    if metric.benchmark is not None:
        return _read_benchmark(job, metric, name)
    run = job.project.run(slug, name)
    if run.kind == "cost":
        return Reading("not measured: only what its steps cost is")
    if not run.is_built:
        return Reading(
            f"not run: scale {job.project.scale.scale} {NO_WEIGHTS} for it "
            f"(papers.{slug}.runs.{name}.objective.weights)"
        )
    evaluator = row.evaluators.get(column, metric.evaluator)
    if evaluator is not None and evaluator not in run.evaluate:
        return Reading(f"not measured: {name} has no {evaluator}")
    reading = Reading()
    for seed in job.project.seeds(run):
        run_job = RunJob(job.project, slug, name, seed)
        why = _why_not(run_job, evaluator)
        if why is not None:
            reading.missing[seed] = why
        elif evaluator is None:
            assert metric.meta is not None
            reading.measured[seed] = results.read_meta_number(run_job, metric.meta)
            reading.provenance.append(_provenance_of_run(run_job, reading.measured[seed]))
        else:
            assert metric.metric is not None
            absent = _not_measured(run_job, evaluator, metric.metric)
            if absent is not None:
                return Reading(f"not measured: {absent}")
            reading.measured[seed] = results.read_metric(run_job, evaluator, metric.metric)
            reading.provenance.append(_provenance(run_job, evaluator, reading.measured[seed]))
    return reading


def _read_setting(run: Run, path: str) -> Reading:
    """Return a value of a run's settings; what a run has not, its recipe goes without."""
    value: Any = run.model_dump(mode="json")
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    reading = Reading(AS_SET)
    reading.text = "yes" if value is True else _said(value) if value else "no"
    return reading


def _said(value: Any) -> str:
    """Return a value that is on, for people: whole numbers whole, others with six digits."""
    if isinstance(value, list):
        return ", ".join(map(_said, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _not_measured(run_job: RunJob, evaluator: str, metric: str) -> str | None:
    """Say why a finished evaluation has not this one of its metrics; None where it should."""
    settings = run_job.project.paper(run_job.slug).evaluators[evaluator]
    if isinstance(settings, Caption) and settings.leaves_out(metric):
        return f"{evaluator} leaves out {metric} at scale {run_job.project.scale.scale}"
    record = results.read_evaluation(run_job, evaluator)
    reason: str | None = record.get("info", {}).get("not_run", {}).get(metric)
    if metric.startswith(PARTS) and metric not in [one.get("metric") for one in record["metrics"]]:
        return f"of the images of {settings.data} none is known to be unseen in training"
    return reason


def _why_not(run_job: RunJob, evaluator: str | None) -> str | None:
    """Say why a run, or an evaluation of it, has no number to show; None where it has."""
    meta = run_job.folder / "meta.json"
    files = [meta]
    if evaluator is not None:
        stem = run_job.eval_folder / evaluator
        files = [stem.with_suffix(".json"), stem.with_suffix(".npz"), meta]
    for path in files:
        if not path.is_file():
            if not run_job.run.headline:
                return SWEEP_ROW
            return f"{run_job.key} has no {path.name}"
    if evaluator is None:
        found, wanted = results.read_meta(run_job)["digest"], run_job.digest
    else:
        found = results.read_evaluation(run_job, evaluator)["digest"]
        wanted = run_job.eval_digest(evaluator)
    if found != wanted:
        return f"{files[0].name} of {run_job.key} is stale, of other settings or sources"
    return _of_other_data(run_job, evaluator) or None


def _of_other_data(run_job: RunJob, evaluator: str | None) -> str:
    """Say whether a result, or a run that it builds on, was made from other data than are here.

    Digests have only what settings say of data: other photographs at the same place are the same.
    """
    records = [results.read_meta(run_job)]
    if evaluator is not None:
        records.append(results.read_evaluation(run_job, evaluator))
    for record in records:
        if why := present.why_other(run_job.project, record["data"]):
            return f"{run_job.key} is stale: {why}"
    finished = (job for job in run_job.earlier_jobs if (job.folder / "meta.json").is_file())
    return next(filter(None, (_of_other_data(job, None) for job in finished)), "")


def _read_benchmark(job: TableJob, metric: Metric, run: str) -> Reading:
    """Read a benchmark's number of a run; it has no seed, and counts as the scale's first."""
    assert metric.benchmark is not None
    assert metric.metric is not None
    bench, seed = BenchmarkJob(job.project, job.slug, metric.benchmark), job.project.scale.seeds[0]
    if run not in bench.benchmark.runs:
        return Reading(f"not measured: {run} is not in benchmark {metric.benchmark}")
    reading = Reading()
    if any(not path.is_file() for path in bench.outputs):
        reading.missing[seed] = f"benchmark {bench.key} is not built"
    elif results.read_benchmark(bench)["digest"] != bench.digest:
        reading.missing[seed] = f"benchmark {bench.key} is stale, of other settings or sources"
    else:
        found = results.read_benchmark_metric(bench, run, metric.metric)
        reading.measured[seed] = found if metric.times == 1 else found.times(metric.times)
        reading.provenance.append(
            {
                "run": f"{job.slug}/{run}",
                "seed": seed,
                "benchmark": metric.benchmark,
                "value": reading.measured[seed].value,
                "run_digest": bench.digest,
                "eval_digest": bench.digest,
                "commands": [results.read_benchmark(bench)["command"]],
            }
        )
    return reading


def _provenance(run_job: RunJob, evaluator: str, measured: Measured) -> Json:
    """Return what says how one seed's number came about, with the commands that make it anew."""
    evaluation = results.read_evaluation(run_job, evaluator)
    return {
        "run": f"{run_job.slug}/{run_job.name}",
        "seed": run_job.seed,
        "evaluator": evaluator,
        "value": measured.value,
        "run_digest": evaluation["run_digest"],
        "eval_digest": evaluation["digest"],
        "commands": [results.read_meta(run_job)["command"], evaluation["command"]],
    }


def _provenance_of_run(run_job: RunJob, measured: Measured) -> Json:
    meta = results.read_meta(run_job)
    return {
        "run": f"{run_job.slug}/{run_job.name}",
        "seed": run_job.seed,
        "value": measured.value,
        "run_digest": meta["digest"],
        "eval_digest": meta["digest"],
        "commands": [meta["command"]],
    }
