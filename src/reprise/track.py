"""Projects finished results into MLflow, for viewing only: nothing here is ever read back.

Experiment = paper, parent run = table, child run = row x seed. A table whose files are those that
its parent run was made from is left alone; any other is made anew, so that a projection that was
interrupted, or repeated, ends in the same store.
"""

import json
import logging
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

# Before mlflow is imported: no reports to its makers, no chatter, and no connection that outlives
# its use, since a rebuild puts another file under the database's name.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ.setdefault("MLFLOW_CONFIGURE_LOGGING", "false")
os.environ.setdefault("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")
logging.getLogger("mlflow").setLevel(logging.ERROR)
logging.getLogger("alembic").setLevel(logging.ERROR)

from mlflow import MlflowClient  # noqa: E402
from mlflow.entities import (  # noqa: E402
    Dataset,
    DatasetInput,
    InputTag,
    Metric,
    Param,
    Run,
)
from mlflow.exceptions import MlflowException  # noqa: E402
from sqlalchemy.exc import SQLAlchemyError  # noqa: E402

from reprise import locks, markdown, provenance, results, tables  # noqa: E402
from reprise.config import Json, Project  # noqa: E402
from reprise.errors import RepriseError  # noqa: E402
from reprise.plan import RunJob, TableJob, split_run, table_jobs  # noqa: E402
from reprise.progress import say  # noqa: E402
from reprise.report import pictures  # noqa: E402

# Limits of MLflow's stores; a batch must also stay below a megabyte.
_METRICS_PER_BATCH = 1000
_PARAMS_PER_BATCH = 100
_VALUE_LENGTH = 6000
_NOTE_LENGTH = 8000
_DIGEST_LENGTH = 36
_MOST_RUNS = 50_000

_KEY, _DIGEST, _COMPLETE = "reprise.key", "reprise.digest", "reprise.complete"


class TrackingError(RepriseError):
    """The tracking store cannot be used."""


@dataclass(frozen=True)
class Store:
    """Where the projection goes: a database of this scale, or a tracking server."""

    uri: str
    database: Path | None
    artifacts: Path | None

    def location(self, slug: str) -> str | None:
        """Where a paper's artifacts lie; None leaves the choice to the server."""
        return None if self.artifacts is None else (self.artifacts / slug).as_uri()


def store_of(project: Project) -> Store:
    """Return the store that MLFLOW_TRACKING_URI names, or this scale's own SQLite database."""
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if uri:
        return Store(uri, None, None)
    database = project.results / "mlflow.db"
    return Store(f"sqlite:///{database}", database, project.results / "mlflow-artifacts")


def project_into_mlflow(project: Project, rebuild: bool = False) -> dict[str, int]:
    """Bring the store in line with the finished tables; return how many were what.

    Counts: ``created``, ``replaced``, ``unchanged``, and ``skipped`` (not built, or stale). With
    ``rebuild`` every table is made anew, and the scale's own database first removed; so it is too
    where the workspace was moved, as MLflow writes absolute paths. Raises TrackingError where the
    store cannot be used and ResultError where a result file is damaged.
    """
    store = store_of(project)
    counts = {"created": 0, "replaced": 0, "unchanged": 0, "skipped": 0}
    with locks.hold(project.root / ".reprise" / "mlflow.lock", "the MLflow store", wait=True):
        if store.database and (rebuild or _was_moved(store)):
            _remove(store)
        client = _client(store)
        for job in table_jobs(project):
            table = _finished(job)
            done = _project(client, store, job, table, rebuild) if table else "skipped"
            counts[done] += 1
    return counts


def ui(project: Project, port: int) -> NoReturn:
    """Become MLflow's server on 127.0.0.1, showing this scale's store.

    Raises TrackingError where MLFLOW_TRACKING_URI names a server, and where nothing is there yet.
    """
    store = store_of(project)
    if store.database is None:
        raise TrackingError(f"MLFLOW_TRACKING_URI is set: look at {store.uri}, or unset it")
    if not store.database.is_file():
        raise TrackingError(
            f"{store.database}: no such store yet; make it with `python -m reprise track "
            f"--scale {project.scale.scale}`"
        )
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "1", "--backend-store-uri", store.uri]
    command += ["--default-artifact-root", f"{store.artifacts}", "--no-serve-artifacts"]
    # The view is named, as the server opens with one for chatbots.
    address = f"http://127.0.0.1:{port}/#/experiments?workflowType=machine_learning"
    say(f"MLflow: {address} (Ctrl+C ends it)")
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    os.execve(sys.executable, command, environment)  # noqa: S606 (no shell is wanted)


def _client(store: Store) -> MlflowClient:
    """Open the store; a new database gets its name when it is whole, for a kill may come."""
    try:
        if store.database and not store.database.is_file():
            _create(store.database)
        client = MlflowClient(store.uri)
        client.search_experiments(max_results=1)
    except (MlflowException, SQLAlchemyError) as error:
        mend = "make it anew with `python -m reprise track --rebuild`" if store.database else ""
        raise TrackingError(f"{store.uri}: not a usable MLflow store: {error}\n{mend}") from None
    return client


def _create(database: Path) -> None:
    database.parent.mkdir(parents=True, exist_ok=True)
    for left_by_a_kill in database.parent.glob(".mlflow-*"):
        shutil.rmtree(left_by_a_kill)
    # Always another name: mlflow remembers the stores that it opened, and would not fill it again.
    with tempfile.TemporaryDirectory(prefix=".mlflow-", dir=database.parent) as folder:
        new = Path(folder) / database.name
        MlflowClient(f"sqlite:///{new}").search_experiments(max_results=1)
        new.replace(database)


def _was_moved(store: Store) -> bool:
    """Say whether the database's experiments keep their artifacts elsewhere than they now lie."""
    if store.database is None or not store.database.is_file():
        return False
    experiments = _client(store).search_experiments(filter_string="name != 'Default'")
    return any(one.artifact_location != store.location(one.name) for one in experiments)


def _remove(store: Store) -> None:
    if store.database and store.artifacts:
        store.database.unlink(missing_ok=True)
        shutil.rmtree(store.artifacts, ignore_errors=True)


def _finished(job: TableJob) -> Json | None:
    """Return a table that is built and current, or None."""
    path = job.outputs[2]
    if not path.is_file():
        return None
    table = tables.load(path)
    return table if table["digest"] == job.digest else None


def _project(client: MlflowClient, store: Store, job: TableJob, table: Json, rebuild: bool) -> str:
    """Bring one table's runs in line with its files; return what was done."""
    key = f"{job.project.scale.scale}/{job.slug}/{job.name}"
    digest = _digest(job, table)
    experiment = _experiment(client, store, job.slug)
    found = client.search_runs([experiment], f"tags.`{_KEY}` = '{key}'", max_results=_MOST_RUNS)
    if not rebuild and _is_complete(found, digest):
        return "unchanged"
    for run in found:
        client.delete_run(run.info.run_id)
    marks = {_KEY: key, "scale": table["scale"]["scale"], "reprise.table": job.name}
    if not table["scale"]["result"]:
        marks["result"] = "plumbing"
    parent = _parent(client, experiment, job, table, {**marks, _DIGEST: digest})
    children = 0
    for row, run_job in _children(job, table):
        _child(client, experiment, row, run_job, {**marks, "mlflow.parentRunId": parent})
        children += 1
    client.set_tag(parent, _COMPLETE, str(children))
    return "replaced" if found else "created"


def _is_complete(found: Sequence[Run], digest: str) -> bool:
    """Say whether a table's runs are one finished parent of this digest and all its children."""
    parents = [run for run in found if run.data.tags.get(_DIGEST) == digest]
    if len(parents) != 1:
        return False
    (parent,) = parents
    children = [
        run for run in found if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id
    ]
    complete = parent.data.tags.get(_COMPLETE) == str(len(children))
    return complete and len(found) == 1 + len(children)


def _digest(job: TableJob, table: Json) -> str:
    """Return one digest of every file that is projected, and of how it is projected."""
    runs = _runs(job, table)
    files = [*job.outputs, *(path for run in runs for path in _run_files(run))]
    files += [run.eval_folder / f"{name}.npz" for run in runs for name, _ in _pictures(run)]
    return provenance.digest_of(
        {str(path.relative_to(job.project.results)): _file_digest(path) for path in files}
        | {"projected by": _file_digest(Path(__file__))}
    )


def _file_digest(path: Path) -> str:
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


def _pictures(run: RunJob) -> Iterator[tuple[str, Json]]:
    """Yield the current evaluations of a run that drew pictures."""
    for name in run.run.evaluate:
        if (run.eval_folder / f"{name}.json").is_file():
            evaluation = results.read_evaluation(run, name)
            if evaluation.get("pictures") and evaluation["digest"] == run.eval_digest(name):
                yield name, evaluation


def _experiment(client: MlflowClient, store: Store, slug: str) -> str:
    found = client.get_experiment_by_name(slug)
    if found is None:
        return str(client.create_experiment(slug, store.location(slug)))
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def _parent(
    client: MlflowClient, experiment: str, job: TableJob, table: Json, tags: Mapping[str, str]
) -> str:
    """Create the run of a table, with its files, the grid that the UI shows, and pictures."""
    note = markdown.render(table)[:_NOTE_LENGTH]
    name = f"{table['printed']}: {table['title']}"
    run = client.create_run(
        experiment, tags={**tags, "mlflow.note.content": note}, run_name=name
    ).info.run_id
    for path in job.outputs:
        client.log_artifact(run, str(path))
    client.log_table(run, _grid(table), f"{job.name}-grid.json")
    with tempfile.TemporaryDirectory() as folder:
        for made in _runs(job, table):
            for name, evaluation in _pictures(made):
                for strip in pictures.strips(made, name, evaluation):
                    path = Path(folder) / f"{made.name}-seed{made.seed}-{_name(strip.array)}.png"
                    path.write_bytes(strip.png)
                    client.log_artifact(run, str(path), "pictures")
    client.set_terminated(run)
    return str(run)


def _printed(number: Json | None) -> Any:
    """Return a printed number, or word where it is one; None where nothing was printed."""
    if number is None:
        return None
    return number["text"] if number["value"] is None else number["value"]


def _grid(table: Json) -> dict[str, list[Any]]:
    """Return the table as columns of equal length: what was printed, ours, interval and gain."""
    grid: dict[str, list[Any]] = {"row": [row["label"] for row in table["rows"]]}
    for column in table["columns"]:
        cells = [row["cells"][column["key"]] for row in table["rows"]]
        label = column["label"]
        if column["key"] in markdown.printed_columns(table):
            grid[f"{label}, published"] = [_printed(cell["published"]) for cell in cells]
        if column["setting"]:
            grid[f"{label}, ours"] = [cell["text"] for cell in cells]
        if column["setting"] or column["printed"]:
            continue
        for part, name in (("ours", "ours"), ("gain", "gain")):
            for key, suffix in (("value", ""), ("low", " low"), ("high", " high")):
                values = [(cell[part] or {}).get(key) for cell in cells]
                if any(value is not None for value in values):
                    grid[f"{label}, {name}{suffix}"] = values
        grid[f"{label}, seeds"] = [len(cell["seeds"]) for cell in cells]
    grid["scale"] = [table["scale"]["scale"]] * len(table["rows"])
    return grid


def _child(
    client: MlflowClient, experiment: str, row: Json, job: RunJob, tags: Mapping[str, str]
) -> None:
    """Create the run of a row and seed: curves, measured values, settings, data and files."""
    if not _was_trained(row, job):
        _cost_child(client, experiment, row, job, tags)
        return
    meta = results.read_meta(job)
    ended = int((job.folder / "meta.json").stat().st_mtime * 1000)
    commit = (meta.get("git") or {}).get("commit")
    own = {
        "seed": str(job.seed),
        "reprise.row": row["label"],
        "reprise.run": row["run"],
        "reprise.run_digest": meta["digest"],
        **({"mlflow.source.git.commit": commit} if commit else {}),
    }
    run = client.create_run(
        experiment,
        start_time=ended - int(meta["wall_seconds"] * 1000),
        tags={**tags, **own},
        run_name=f"{row['label']}, seed {job.seed}",
    ).info.run_id
    metrics = [*_curves(job, ended), *_values(row, job.seed, ended)]
    for batch in _batches(metrics, _METRICS_PER_BATCH):
        client.log_batch(run, metrics=batch)
    for params in _batches(_params(meta), _PARAMS_PER_BATCH):
        client.log_batch(run, params=params)
    client.log_inputs(run, [_dataset(meta)])
    for path in _run_files(job):
        client.log_artifact(run, str(path))
    client.set_terminated(run, end_time=ended)


def _cost_child(
    client: MlflowClient, experiment: str, row: Json, job: RunJob, tags: Mapping[str, str]
) -> None:
    """Create the run of a row that was never trained: what a benchmark measured of it."""
    own = {"reprise.row": row["label"], "reprise.run": row["run"]}
    run = client.create_run(experiment, tags={**tags, **own}, run_name=row["label"]).info
    client.log_batch(run.run_id, metrics=list(_values(row, job.seed, run.start_time)))
    client.set_terminated(run.run_id)


def _curves(job: RunJob, time: int) -> Iterator[Metric]:
    for line in results.read_log(job.folder / "log.jsonl"):
        for key, value in line.items():
            if key not in ("step", "images") and isinstance(value, (int, float)):
                yield Metric(_name(key), float(value), time, line["step"])


def _values(row: Json, seed: int, time: int) -> Iterator[Metric]:
    for key, cell in row["cells"].items():
        for made in cell["runs"]:
            if made["seed"] == seed:
                yield Metric(_name(key), made["value"], time, 0)


def _params(meta: Json) -> list[Param]:
    return [
        Param(_name(key)[:250], value[:_VALUE_LENGTH]) for key, value in _flat(meta.get("spec", {}))
    ]


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield dotted keys and values of a nested mapping; lists stay whole, as JSON."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    elif path:
        yield path, value if isinstance(value, str) else json.dumps(value)


def _name(key: str) -> str:
    """Return a key in the characters that MLflow allows in names."""
    return re.sub(r"[^\w.\- ]", "_", key)


def _dataset(meta: Json) -> DatasetInput:
    data = meta["data"]
    digest, split = str(data.get("digest"))[:_DIGEST_LENGTH], str(data.get("split"))
    source = json.dumps({"name": data.get("name"), "split": split})
    dataset = Dataset(str(data.get("name")), digest, "local", source)
    return DatasetInput(dataset, [InputTag("mlflow.data.context", split)])


def _batches(entries: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for first in range(0, len(entries), size):
        yield entries[first : first + size]
