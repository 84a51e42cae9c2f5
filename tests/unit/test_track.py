"""The projection into MLflow: the tables' own numbers, once each, whatever interrupts it."""

import json
import os
import shutil
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from fabricated import add_costs, fabricate, fabricate_all, table_job, workspace, write_json
from mlflow import MlflowClient
from mlflow.entities import Run

from reprise import claims, ledger, provenance, tables, track
from reprise.config import Project, load_project
from reprise.plan import ClaimsJob, RunJob, run_jobs
from reprise.results import ResultError
from reprise.tracking import store


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh database, made once: MLflow takes more than a second for it."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    track.connect(track.Store(f"sqlite:///{path}", path, path.parent))
    return path


@pytest.fixture(autouse=True)
def _own_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def finished(root: Path, empty_store: Path | None, **options: Any) -> Project:
    project = workspace(root, **options)
    fabricate_all(project)
    for job in run_jobs(project, headline_only=True):
        (job.folder / "model.safetensors").write_bytes(b"weights of " + job.name.encode())
    tables.build(table_job(project))
    if empty_store:
        shutil.copy(empty_store, project.results / "mlflow.db")
    return project


@pytest.fixture
def project(tmp_path: Path, empty_store: Path) -> Project:
    return finished(tmp_path / "a workspace", empty_store)


def client_of(project: Project) -> MlflowClient:
    return MlflowClient(track.store_of(project).uri)


def runs_of(project: Project) -> list[Run]:
    client = client_of(project)
    experiment = client.get_experiment_by_name("toy")
    return list(client.search_runs([experiment.experiment_id]))


def parent_of(project: Project) -> Run:
    (parent,) = (run for run in runs_of(project) if "mlflow.parentRunId" not in run.data.tags)
    return parent


def child_of(project: Project, label: str) -> Run:
    (run,) = (run for run in runs_of(project) if run.data.tags.get("reprise.row") == label)
    return run


def counts(**expected: int) -> dict[str, int]:
    """The toy paper's second table is never built, so one is always skipped."""
    words = ("created", "replaced", "unchanged", "skipped", "removed")
    return {**dict.fromkeys(words, 0), "skipped": 1, **expected}


def assert_whole(project: Project, children: int = 3) -> None:
    runs = runs_of(project)
    parent = parent_of(project)
    assert len(runs) == 1 + children
    assert parent.data.tags["reprise.complete"] == str(children)
    assert {run.data.tags.get("mlflow.parentRunId") for run in runs if run is not parent} <= {
        parent.info.run_id,
        None,
    }


def test_the_store_holds_the_tables_own_numbers(tmp_path: Path) -> None:
    project = finished(tmp_path / "a workspace", None)
    (project.results / ".mlflow-left-by-a-kill").mkdir()
    assert track.project_into_mlflow(project) == counts(created=1)
    assert_whole(project)
    table = tables.load(table_job(project).outputs[2])
    for row in table["rows"]:
        measured = {key: cell["runs"] for key, cell in row["cells"].items() if cell["runs"]}
        if measured:
            metrics = child_of(project, row["label"]).data.metrics
            for key, (made,) in measured.items():
                assert metrics[key] == made["value"]
    assert not list(project.results.glob(".*")), "nothing is left of making the store"


def test_a_child_has_its_curves_settings_data_and_files(project: Project) -> None:
    track.project_into_mlflow(project)
    client, run = client_of(project), child_of(project, "learned")
    job = RunJob(project, "toy", "learned", 0)
    lines = [json.loads(line) for line in (job.folder / "log.jsonl").read_text().splitlines()]
    for term in ("loss", "loss_ce", "lr"):
        history = client.get_metric_history(run.info.run_id, term)
        assert [(m.step, m.value) for m in history] == [(li["step"], li[term]) for li in lines]
    assert run.data.params["config.optim.lr"] == "0.001"
    assert run.data.params["seed"] == "0"
    tags = run.data.tags
    assert (tags["scale"], tags["seed"], tags["reprise.run"]) == ("tiny", "0", "toy/learned")
    assert tags["reprise.run_digest"] == job.digest
    assert tags["mlflow.source.git.commit"].startswith("c0ffee")
    assert "result" not in tags
    assert tags["reprise.config_digest"] == provenance.digest_of(job.spec)
    assert tags["reprise.data_digest"] == "d" * 64
    assert tags["mlflow.source.name"] == "python -m reprise train toy/learned --seed 0"
    weights = job.folder / "model.safetensors"
    assert project.root / tags["reprise.weights"] == weights
    assert tags["reprise.weights_sha256"] == provenance.digest_of_file(weights)
    data = {
        (one.dataset.name, one.dataset.digest, one.tags[0].value)
        for one in run.inputs.dataset_inputs
    }
    assert data == {
        ("digits", "d" * 36, "training: train"),
        ("digits", "e" * 36, "evaluation: test"),
    }
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert files == {"log.jsonl", "meta.json", "pictures"}
    shown = {file.path for file in client.list_artifacts(run.info.run_id, "pictures")}
    assert shown == {"pictures/originals.png", "pictures/masked.png"}
    assert (run.info.end_time - run.info.start_time) == 12_500


def test_a_parent_has_the_tables_files_and_grid(project: Project) -> None:
    track.project_into_mlflow(project)
    client, parent = client_of(project), parent_of(project)
    files = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert files == {"main.csv", "main.md", "main.json", "main-grid.json"}
    folder = Path(parent.info.artifact_uri.removeprefix("file://").replace("%20", " "))
    assert folder.is_relative_to(project.results / "mlflow-artifacts/toy")
    assert (folder / "main.csv").read_bytes() == table_job(project).outputs[0].read_bytes()
    grid = json.loads((folder / "main-grid.json").read_text())
    learned = dict(zip(grid["columns"], grid["data"][2], strict=True))
    table = tables.load(table_job(project).outputs[2])
    cell = table["rows"][2]["cells"]["probe_top1"]
    assert learned["probe, published"] == 76.0
    assert learned["probe, ours"] == cell["ours"]["value"]
    assert learned["probe, gain low"] == cell["gain"]["low"]
    assert learned["scale"] == "tiny"
    assert "main-grid.json" in parent.data.tags["mlflow.loggedArtifacts"], "the UI shows a table"
    assert "# Toy methods compared" in parent.data.tags["mlflow.note.content"]


def test_twice_changes_nothing(project: Project) -> None:
    track.project_into_mlflow(project)
    before = {run.info.run_id for run in runs_of(project)}
    assert track.project_into_mlflow(project) == counts(unchanged=1)
    assert {run.info.run_id for run in runs_of(project)} == before


def test_a_changed_result_replaces_its_runs(project: Project) -> None:
    track.project_into_mlflow(project)
    before = {run.info.run_id for run in runs_of(project)}
    fabricate(RunJob(project, "toy", "swept", 0))
    tables.build(table_job(project))
    assert track.project_into_mlflow(project) == counts(replaced=1)
    assert_whole(project, children=4)
    assert not before & {run.info.run_id for run in runs_of(project)}
    assert track.project_into_mlflow(project) == counts(unchanged=1)


def test_a_changed_curve_replaces_too(project: Project) -> None:
    track.project_into_mlflow(project)
    log = RunJob(project, "toy", "learned", 0).folder / "log.jsonl"
    log.write_text(log.read_text().replace('"lr": 0.001', '"lr": 0.002'))
    assert track.project_into_mlflow(project) == counts(replaced=1)


STORE_CALLS = (
    *("create_experiment", "create_run", "delete_run", "set_tag", "set_terminated"),
    *("log_batch", "log_inputs", "log_artifact", "log_artifacts", "log_table"),
)


def killed_before(call: int, project: Project) -> int:
    """Project in a process that kills itself before its n-th call of the store; return its end."""
    process = os.fork()
    if process:
        return os.waitpid(process, 0)[1]
    made = 0

    def dying(method: Any) -> Any:
        def counted(*arguments: Any, **more: Any) -> Any:
            nonlocal made
            made += 1
            if made == call:
                os.kill(os.getpid(), signal.SIGKILL)
            return method(*arguments, **more)

        return counted

    for name in STORE_CALLS:
        setattr(MlflowClient, name, dying(getattr(MlflowClient, name)))
    try:
        track.project_into_mlflow(project)
    finally:
        os._exit(0)


@pytest.mark.parametrize("call", [1, 2, 3, 7, 8, 12, 20, 28])
def test_a_projection_that_is_killed_is_made_whole(project: Project, call: int) -> None:
    assert killed_before(call, project) == signal.SIGKILL
    made = track.project_into_mlflow(project)
    assert made in (counts(created=1), counts(replaced=1))
    assert_whole(project)
    for label in ("plain", "learned"):
        assert child_of(project, label).info.status == "FINISHED"
    history = client_of(project).get_metric_history(
        child_of(project, "learned").info.run_id, "loss"
    )
    assert [one.step for one in history] == [10, 20, 30, 40]
    assert track.project_into_mlflow(project) == counts(unchanged=1)


@pytest.mark.parametrize("call", [1, 2, 5, 9])
def test_a_replacement_that_is_killed_is_made_whole(project: Project, call: int) -> None:
    track.project_into_mlflow(project)
    fabricate(RunJob(project, "toy", "swept", 0))
    tables.build(table_job(project))
    assert killed_before(call, project) == signal.SIGKILL
    track.project_into_mlflow(project)
    assert_whole(project, children=4)
    assert track.project_into_mlflow(project) == counts(unchanged=1)


def test_a_lost_child_is_noticed(project: Project) -> None:
    track.project_into_mlflow(project)
    client_of(project).delete_run(child_of(project, "learned").info.run_id)
    assert track.project_into_mlflow(project) == counts(replaced=1)
    assert_whole(project)


def test_a_restored_old_run_is_noticed(project: Project) -> None:
    track.project_into_mlflow(project)
    old = child_of(project, "learned").info.run_id
    fabricate(RunJob(project, "toy", "swept", 0))
    tables.build(table_job(project))
    track.project_into_mlflow(project)
    client_of(project).restore_run(old)
    assert track.project_into_mlflow(project) == counts(replaced=1)
    assert_whole(project, children=4)


def test_a_moved_workspace_is_projected_anew(project: Project) -> None:
    track.project_into_mlflow(project)
    new_root = project.root.parent / "moved"
    shutil.move(project.root, new_root)
    moved = load_project(new_root, "tiny")
    assert track.project_into_mlflow(moved) == counts(created=1)
    assert_whole(moved)
    folder = parent_of(moved).info.artifact_uri.removeprefix("file://")
    assert Path(folder, "main.csv").is_file()
    assert folder.startswith(str(new_root))


def test_rebuild_starts_from_nothing(project: Project) -> None:
    track.project_into_mlflow(project)
    before = {run.info.run_id for run in runs_of(project)}
    assert track.project_into_mlflow(project, rebuild=True) == counts(created=1)
    assert_whole(project)
    assert not before & {run.info.run_id for run in runs_of(project)}
    assert len(list((project.results / "mlflow-artifacts/toy").iterdir())) == 4


def test_a_damaged_store_is_named_and_rebuild_mends_it(project: Project) -> None:
    database = project.results / "mlflow.db"
    database.write_bytes(b"not a database, whatever its name says" * 50)
    with pytest.raises(track.TrackingError, match="track --rebuild") as caught:
        track.project_into_mlflow(project)
    assert str(database) in str(caught.value)
    assert track.project_into_mlflow(project, rebuild=True) == counts(created=1)


def test_stale_and_unbuilt_tables_are_left_out(project: Project) -> None:
    path = table_job(project).outputs[2]
    path.write_text(path.read_text().replace(table_job(project).digest, "0" * 64))
    assert track.project_into_mlflow(project) == counts(skipped=2)


def test_a_truncated_file_is_named(project: Project) -> None:
    path = RunJob(project, "toy", "learned", 0).folder / "log.jsonl"
    path.write_text(path.read_text()[:-10])
    with pytest.raises(ResultError, match=r"log\.jsonl, line 4"):
        track.project_into_mlflow(project)


def test_a_missing_file_is_named(project: Project) -> None:
    (RunJob(project, "toy", "learned", 0).folder / "log.jsonl").unlink()
    with pytest.raises(ResultError, match=r"learned/seed0/log\.jsonl: not readable"):
        track.project_into_mlflow(project)


def test_every_seed_is_a_child(tmp_path: Path, empty_store: Path) -> None:
    project = finished(tmp_path, empty_store, seeds=(0, 1), result=False)
    track.project_into_mlflow(project)
    assert_whole(project, children=6)
    assert {run.data.tags["result"] for run in runs_of(project)} == {"plumbing"}
    seeds = [run.data.tags["seed"] for run in runs_of(project) if "seed" in run.data.tags]
    assert sorted(seeds) == ["0", "0", "0", "1", "1", "1"]


def test_settings_beyond_mlflows_limits_are_cut(project: Project) -> None:
    job = RunJob(project, "toy", "learned", 0)
    meta = json.loads((job.folder / "meta.json").read_text())
    meta["spec"]["long"] = "x" * 7000
    meta["spec"]["odd key: a=b"] = None
    meta["spec"]["many"] = {f"key{n}": n for n in range(150)}
    write_json(job.folder / "meta.json", meta)
    track.project_into_mlflow(project)
    params = child_of(project, "learned").data.params
    assert len(params["long"]) == 6000
    assert params["odd key_ a_b"] == "null"
    assert params["many.key149"] == "149"


def test_a_long_curve_is_logged_whole(project: Project) -> None:
    log = RunJob(project, "toy", "learned", 0).folder / "log.jsonl"
    log.write_text("".join(f'{{"step": {n}, "loss": {n / 7}}}\n' for n in range(1, 2502)))
    track.project_into_mlflow(project)
    run = child_of(project, "learned").info.run_id
    assert len(client_of(project).get_metric_history(run, "loss")) == 2501


def test_the_users_own_store_is_honoured(
    project: Project, tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere.db"
    shutil.copy(empty_store, elsewhere)
    (project.results / "mlflow.db").unlink()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{elsewhere}")
    monkeypatch.chdir(tmp_path)
    assert track.project_into_mlflow(project) == counts(created=1)
    client_of(project).delete_experiment(parent_of(project).info.experiment_id)
    assert track.project_into_mlflow(project, rebuild=True) == counts(replaced=1)
    assert_whole(project)
    assert not (project.results / "mlflow.db").exists()
    with pytest.raises(track.TrackingError, match="MLFLOW_TRACKING_URI is set: look at sqlite"):
        track.ui(project, 5000)


def test_ui_serves_this_scales_store_on_loopback(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(store.os, "execve", lambda *arguments: seen.extend(arguments))
    track.ui(project, 5055)
    program, command, environment = seen
    assert program == command[0] == sys.executable
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--port") + 1] == "5055"
    uri = command[command.index("--backend-store-uri") + 1]
    assert uri == f"sqlite:///{project.results / 'mlflow.db'}"
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_ui_without_a_store_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(track.TrackingError, match="reprise track --scale tiny"):
        track.ui(workspace(tmp_path), 5000)


def test_row_that_was_never_trained_shows_what_its_steps_cost(project: Project) -> None:
    project = add_costs(project.root)
    tables.build(table_job(project, "cost"))
    made = track.project_into_mlflow(project)
    assert made["created"] == 2
    heavy = child_of(project, "heavy")
    assert heavy.data.metrics == {"speed": 450.0}
    assert heavy.data.tags["reprise.run"] == "toy/heavy"
    assert track.project_into_mlflow(project)["unchanged"] == 2


def test_verdicts_are_tags_of_the_table_and_of_the_rows_that_they_rest_on(
    project: Project,
) -> None:
    file = project.root / "params/papers/toy.yaml"
    paper = yaml.safe_load(file.read_text())
    test = {"kind": "greater", "better": "learned", "worse": "plain"}
    place = {"table": "main", "column": "probe_top1"}
    paper["claims"] = {"C1": {"statement": "So.", "source": "page 1", **place, "test": test}}
    file.write_text(yaml.safe_dump(paper, sort_keys=False))
    claimed = load_project(project.root, "tiny")
    track.project_into_mlflow(claimed)
    assert "claim.C1" not in parent_of(claimed).data.tags, "no ledger is built yet"
    job = ClaimsJob(claimed, "toy")
    claims.build(job)
    (found,) = json.loads(job.outputs[0].read_text())["claims"]
    assert track.project_into_mlflow(claimed) == counts(replaced=1)
    told = ledger.verdict(found)
    assert told.startswith("this run only")
    for run in (parent_of(claimed), *(child_of(claimed, row) for row in ("plain", "learned"))):
        assert run.data.tags["claim.C1"] == told
    assert "claim.C1" not in child_of(claimed, "raw | pixels").data.tags


def test_a_table_that_params_no_longer_have_leaves_the_store(project: Project) -> None:
    project = add_costs(project.root)
    tables.build(table_job(project, "cost"))
    track.project_into_mlflow(project)
    file = project.root / "params/papers/toy.yaml"
    paper = yaml.safe_load(file.read_text())
    del paper["tables"]["cost"]
    file.write_text(yaml.safe_dump(paper, sort_keys=False))
    assert track.project_into_mlflow(load_project(project.root, "tiny")) == counts(
        unchanged=1, removed=1
    )
    assert_whole(project)


def test_a_server_that_is_not_there_is_named(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(track.TrackingError, match="is the server running") as caught:
        track.project_into_mlflow(project)
    assert address in str(caught.value)
