"""Projects finished results into MLflow, and into files that DVC compares (`reprise.metrics`).

They are for viewing only: nothing here is ever read back.

Experiment = paper, parent run = table, child run = row x seed. A table whose files are those that
its parent run was made from is left alone; any other is made anew, so that a projection that was
interrupted, or repeated, ends in the same store.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

from reprise.tracking.store import (  # isort: skip (before mlflow: it sets how mlflow behaves)
    Store,
    TrackingError,
    connect,
    remove,
    store_of,
    ui,
    was_moved,
)
from mlflow import MlflowClient
from mlflow.entities import Run

from reprise import locks, markdown, metrics, provenance, results
from reprise.config import Json, Project
from reprise.plan import RunJob, TableJob, claims_jobs, split_run, table_jobs
from reprise.report import pictures
from reprise.tracking import content

__all__ = ["Store", "TrackingError", "connect", "project_into_mlflow", "store_of", "ui"]

# Limits of MLflow's stores: entries of one call, which must also stay below a megabyte.
_METRICS_PER_BATCH = 900
_PARAMS_PER_BATCH = 100
_NOTE_LENGTH = 8000
_MOST_RUNS = 50_000

_KEY, _DIGEST, _COMPLETE = "reprise.key", "reprise.digest", "reprise.complete"
_PARENT = "mlflow.parentRunId"


def project_into_mlflow(project: Project, rebuild: bool = False) -> dict[str, int]:
    """Bring the store in line with the finished tables; return how many were what.

    Counts: ``created``, ``replaced``, ``unchanged``, ``skipped`` (not built, or stale), and
    ``removed`` (no longer in params/). With ``rebuild`` every table is made anew, and the scale's
    own database first removed; so it is too where the workspace was moved, as MLflow writes
    absolute paths. Raises TrackingError where the store cannot be used and ResultError where a
    result file is damaged.
    """
    store = store_of(project)
    with locks.hold(project.root / ".reprise" / "mlflow.lock", "the MLflow store", wait=True):
        for slug in project.papers:
            metrics.write(project, slug)
        if store.database and (rebuild or was_moved(store)):
            remove(store)
        return _Projection(project, store, connect(store), rebuild).make()


@dataclass
class _Projection:
    """One pass over all tables, and what several of them need."""

    project: Project
    store: Store
    client: MlflowClient
    rebuild: bool
    claims: dict[str, list[Json]] = field(init=False)
    code: str = field(init=False)  # digest of how results are projected
    strips: dict[str, list[tuple[str, bytes]]] = field(default_factory=dict)  # by run and seed
    weights: dict[str, dict[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.claims = {job.slug: metrics.finished_claims(job) for job in claims_jobs(self.project)}
        self.code = provenance.digest_of_sources(provenance.sources("reprise.track"))

    def make(self) -> dict[str, int]:
        counts = dict.fromkeys(("created", "replaced", "unchanged", "skipped", "removed"), 0)
        for slug in self.project.papers:
            jobs = [job for job in table_jobs(self.project) if job.slug == slug]
            experiment = self._experiment(slug)
            found = self._found(experiment, slug)
            for job in jobs:
                counts[self._table(experiment, job, found.pop(_key(job), []))] += 1
            for runs in found.values():
                self._delete(runs)
                counts["removed"] += 1
        return counts

    def _experiment(self, slug: str) -> str:
        found = self.client.get_experiment_by_name(slug)
        if found is None:
            return str(self.client.create_experiment(slug, self.store.location(slug)))
        if found.lifecycle_stage == "deleted":
            self.client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def _found(self, experiment: str, slug: str) -> dict[str, list[Run]]:
        """Return the runs of a paper that the store holds at this scale, by their table's key."""
        like = f"tags.`{_KEY}` LIKE '{self.project.scale.scale}/{slug}/%'"
        tables: dict[str, list[Run]] = {}
        for run in self.client.search_runs([experiment], like, max_results=_MOST_RUNS):
            tables.setdefault(run.data.tags[_KEY], []).append(run)
        return tables

    def _delete(self, runs: Sequence[Run]) -> None:
        for run in runs:
            self.client.delete_run(run.info.run_id)

    def _table(self, experiment: str, job: TableJob, found: Sequence[Run]) -> str:
        """Bring one table's runs in line with its files; return what was done."""
        table = metrics.finished(job)
        if table is None:
            return "skipped"
        digest = self._digest(job, table)
        if not self.rebuild and _is_complete(found, digest):
            return "unchanged"
        self._delete(found)
        marks = {_KEY: _key(job), "scale": table["scale"]["scale"], "reprise.table": job.name}
        if not table["scale"]["result"]:
            marks["result"] = "plumbing"
        parent = self._parent(experiment, job, table, {**marks, _DIGEST: digest})
        children = list(_children(job, table))
        for row, run_job in children:
            told = content.verdicts(self._claimed(job), job.name, row["label"])
            self._child(experiment, row, run_job, {**marks, **told, _PARENT: parent})
        self.client.set_tag(parent, _COMPLETE, str(len(children)))
        return "replaced" if found else "created"

    def _claimed(self, job: TableJob) -> list[Json]:
        return self.claims.get(job.slug, [])

    def _digest(self, job: TableJob, table: Json) -> str:
        """Return one digest of all that is projected, and of how it is projected."""
        runs = _runs(job, table)
        files = [*job.outputs, *(path for run in runs for path in _run_files(run))]
        files += [run.eval_folder / f"{name}.npz" for run in runs for name, _ in _pictures(run)]
        return provenance.digest_of(
            {
                **{str(path.relative_to(self.project.results)): _digest_of(path) for path in files},
                "verdicts": {
                    row["label"]: content.verdicts(self._claimed(job), job.name, row["label"])
                    for row in table["rows"]
                },
                "projected by": self.code,
            }
        )

    def _parent(self, experiment: str, job: TableJob, table: Json, marks: Mapping[str, str]) -> str:
        """Create the run of a table, with its files and the grid that the UI shows."""
        own = {
            "reprise.table_digest": table["digest"],
            "mlflow.note.content": markdown.render(table)[:_NOTE_LENGTH],
        }
        told = content.verdicts(self._claimed(job), job.name)
        title = f"{table['printed']}: {table['title']}"
        created = self.client.create_run(experiment, tags={**marks, **told, **own}, run_name=title)
        run = str(created.info.run_id)
        for path in job.outputs:
            self.client.log_artifact(run, str(path))
        self.client.log_table(run, content.grid(table), f"{job.name}-grid.json")
        self.client.set_terminated(run)
        return run

    def _child(self, experiment: str, row: Json, job: RunJob, marks: Mapping[str, str]) -> None:
        """Create the run of a row and seed: curves, measured values, settings, data and files."""
        own = {**marks, "reprise.row": row["label"], "reprise.run": row["run"]}
        if not _was_trained(row, job):
            self._cost_child(experiment, row, job, own)
            return
        meta = results.read_meta(job)
        ended = int((job.folder / "meta.json").stat().st_mtime * 1000)
        if job.key not in self.weights:
            self.weights[job.key] = content.weights_tags(job)
        own |= {"seed": str(job.seed), **content.provenance_tags(meta), **self.weights[job.key]}
        created = self.client.create_run(
            experiment,
            start_time=ended - int(meta["wall_seconds"] * 1000),
            tags=own,
            run_name=f"{row['label']}, seed {job.seed}",
        )
        run = created.info.run_id
        numbers = [*content.curves(job, ended), *content.values(row, job.seed, ended)]
        for some, settings in zip_longest(
            content.batches(numbers, _METRICS_PER_BATCH),
            content.batches(content.params(meta), _PARAMS_PER_BATCH),
            fillvalue=(),
        ):
            self.client.log_batch(run, metrics=some, params=settings)
        self.client.log_inputs(run, content.datasets(meta, _evaluations(row, job)))
        for path in _run_files(job):
            self.client.log_artifact(run, str(path))
        self._log_pictures(run, job)
        self.client.set_terminated(run, end_time=ended)

    def _cost_child(self, experiment: str, row: Json, job: RunJob, own: Mapping[str, str]) -> None:
        """Create the run of a row that was never trained: what a benchmark measured of it."""
        run = self.client.create_run(experiment, tags=dict(own), run_name=row["label"]).info
        measured = list(content.values(row, job.seed, run.start_time))
        self.client.log_batch(run.run_id, metrics=measured)
        self.client.set_terminated(run.run_id)

    def _log_pictures(self, run: str, job: RunJob) -> None:
        """Log the strips of pictures that evaluators drew of a run; each is rendered once."""
        if job.key not in self.strips:
            self.strips[job.key] = [
                (f"{content.name(strip.array)}.png", strip.png)
                for name, evaluation in _pictures(job)
                for strip in pictures.strips(job, name, evaluation)
            ]
        if not self.strips[job.key]:
            return
        with tempfile.TemporaryDirectory() as folder:
            for name, png in self.strips[job.key]:
                Path(folder, name).write_bytes(png)
            self.client.log_artifacts(run, folder, "pictures")


def _key(job: TableJob) -> str:
    return f"{job.project.scale.scale}/{job.slug}/{job.name}"


def _is_complete(found: Sequence[Run], digest: str) -> bool:
    """Say whether a table's runs are one finished parent of this digest and all its children."""
    parents = [run for run in found if run.data.tags.get(_DIGEST) == digest]
    if len(parents) != 1:
        return False
    (parent,) = parents
    children = [run for run in found if run.data.tags.get(_PARENT) == parent.info.run_id]
    complete = parent.data.tags.get(_COMPLETE) == str(len(children))
    return complete and len(found) == 1 + len(children)


def _digest_of(path: Path) -> str:
    try:
        return provenance.digest_of_file(path)
    except OSError as error:
        raise TrackingError(f"{path}: not readable ({error}); build it again") from None


def _run_files(run: RunJob) -> list[Path]:
    return [run.folder / "meta.json", run.folder / "log.jsonl"]


def _children(job: TableJob, table: Json) -> Iterator[tuple[Json, RunJob]]:
    """Yield each row with a run and each of its seeds that a cell was measured with."""
    for row in table["rows"]:
        seeds = {made["seed"] for cell in row["cells"].values() for made in cell["runs"]}
        for seed in sorted(seeds):
            yield row, RunJob(job.project, *split_run(job.slug, row["run"]), seed)


def _runs(job: TableJob, table: Json) -> list[RunJob]:
    """Return every trained run and seed of a table once."""
    found = {run.key: run for row, run in _children(job, table) if _was_trained(row, run)}
    return list(found.values())


def _was_trained(row: Json, job: RunJob) -> bool:
    """Say whether a row's run has files of its own, or is only measured in a benchmark."""
    made = (one for cell in row["cells"].values() for one in cell["runs"])
    own = (one for one in made if (one["run"], one["seed"]) == (row["run"], job.seed))
    if any("benchmark" not in one for one in own):
        return True
    return job.run.is_built and (job.folder / "meta.json").is_file()


def _evaluations(row: Json, job: RunJob) -> list[Json]:
    """Return the evaluations of a row's own run that its cells were read from."""
    made = [one for cell in row["cells"].values() for one in cell["runs"]]
    names = {
        one.get("evaluator") for one in made if (one["run"], one["seed"]) == (row["run"], job.seed)
    }
    return [results.read_evaluation(job, name) for name in job.run.evaluate if name in names]


def _pictures(run: RunJob) -> Iterator[tuple[str, Json]]:
    """Yield the current evaluations of a run that drew pictures."""
    for name in run.run.evaluate:
        if (run.eval_folder / f"{name}.json").is_file():
            evaluation = results.read_evaluation(run, name)
            if evaluation.get("pictures") and evaluation["digest"] == run.eval_digest(name):
                yield name, evaluation
