"""Results pushed from one workspace and pulled into clones of it."""

import json
import shutil
import stat
from pathlib import Path

import pytest
import yaml
from moto.server import ThreadedMotoServer
from workspace import Workspace

from reprise import status

EDITED = [
    "claims can",
    "evaluate can/mae-time seed 0",
    "report",
    "table can/efficiency",
    "table can/few-shot",
    "table can/imagenet",
    "table can/robustness",
    "track: results into MLflow",
    "train can/mae-time seed 0",
]
STALE = len(EDITED) - 2  # the report and MLflow are not among the results that are judged


def results_of(workspace: Workspace) -> int:
    """Number of data sets, runs, evaluations, benchmarks, tables and ledgers that are built."""
    return sum(item.state != "missing" for item in status.summary(workspace.project))


@pytest.fixture(scope="module")
def pushed(built: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A built workspace whose results are in its own dvc-remote/ and recorded in git."""
    workspace = built.copy(tmp_path_factory.mktemp("pushed") / "workspace")
    said = workspace.reprise("push")
    assert "Commit dvc.lock" in said
    workspace.commit("results")
    assert workspace.run("git", "status", "--porcelain") == ""
    return workspace


@pytest.fixture(scope="module")
def pulled(pushed: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A clone that pulled; what it printed lies beside it."""
    clone = pushed.clone(tmp_path_factory.mktemp("pulled") / "workspace")
    (clone.root.parent / "said").write_text(clone.reprise("pull"))
    return clone


def test_pull_into_a_clone_leaves_nothing_to_do(pushed, pulled):
    said = (pulled.root.parent / "said").read_text()
    assert f"pulling from {pushed.root}/dvc-remote, beside git's origin" in said
    total = results_of(pushed)
    assert f"pulled: {total} of {total} results are current" in said
    assert (pulled.project.results / "report/index.html").is_file()
    assert (pulled.project.results / "mlflow.db").is_file()
    assert pulled.planned() == []
    weights = "can/runs/can/seed0/model.safetensors"
    ours, theirs = (w.project.results / weights for w in (pulled, pushed))
    assert ours.read_bytes() == theirs.read_bytes()


def test_edit_after_a_pull_lists_exactly_the_right_jobs(pulled, tmp_path):
    workspace = pulled.copy(tmp_path / "workspace")
    workspace.edit_mask_rate()
    assert workspace.planned() == EDITED
    workspace.edit("params/papers/can.yaml", "mask_rate: 0.5}", "mask_rate: 0.75}")
    assert workspace.planned() == []


def test_pull_blesses_no_result_of_other_settings(pushed, tmp_path):
    clone = pushed.clone(tmp_path / "workspace")
    clone.edit_mask_rate()
    said = clone.reprise("pull")
    assert "stale: train can/mae-time seed 0: changed: objective.mask_rate 0.75 -> 0.5" in said
    total = results_of(pushed)
    assert f"pulled: {total - STALE} of {total} results are current" in said
    assert clone.planned() == EDITED


def test_snakemakes_record_of_an_earlier_file_does_not_vouch_for_a_pulled_one(
    pushed, pulled, tmp_path
):
    sender = pushed.copy(tmp_path / "sender")
    meta = sender.project.results / "can/runs/can/seed0/meta.json"
    meta.write_text(meta.read_text().replace(json.loads(meta.read_text())["digest"], "0" * 64))
    assert "stale or missing" in sender.reprise("push")
    sender.commit("stale results")
    workspace = pulled.copy(tmp_path / "workspace")
    workspace.run("git", "pull", "--quiet", str(sender.root), "HEAD")
    assert workspace.planned() == []
    workspace.reprise("pull", "--remote", str(sender.root / "dvc-remote"))
    assert "train can/can seed 0" in workspace.planned()


def damage_weights(clone: Workspace, remote: Path) -> None:
    """Change one byte of a run's weights in a remote folder."""
    lock = yaml.safe_load((clone.root / "dvc.lock").read_text())
    listing = lock["stages"]["can@smoke"]["outs"][0]["md5"]
    files = json.loads((remote / "files/md5" / listing[:2] / listing[2:]).read_text())
    md5 = next(f["md5"] for f in files if f["relpath"] == "runs/can/seed0/model.safetensors")
    path = remote / "files/md5" / md5[:2] / md5[2:]
    path.chmod(path.stat().st_mode | stat.S_IWUSR)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_damaged_file_in_the_remote_is_named_and_not_taken(pushed, tmp_path):
    clone = pushed.clone(tmp_path / "workspace")
    remote = shutil.copytree(pushed.root / "dvc-remote", tmp_path / "remote")
    damage_weights(clone, remote)
    said = clone.reprise("pull", "--remote", str(remote), fails=True)
    assert "results/smoke/can/runs/can/seed0/model.safetensors" in said
    assert "1 files are absent or damaged" in said
    assert "Traceback" not in said
    assert not (clone.project.results / "can").exists()


def test_unpushed_results_are_never_overwritten(pushed, tmp_path):
    clone = pushed.clone(tmp_path / "workspace")
    mine = clone.project.results / "can/tables/imagenet.csv"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    said = clone.reprise("pull", fails=True)
    assert "never pushed" in said
    assert mine.read_text() == "mine"


def test_pull_without_anything_recorded_or_reachable_says_what_to_do(pushed, tmp_path):
    clone = pushed.clone(tmp_path / "workspace")
    clone.run("git", "remote", "set-url", "origin", "https://example.org/elsewhere.git")
    said = clone.reprise("pull", fails=True)
    assert "does not exist in this clone" in said
    assert "--remote" in said
    assert "no such folder" in clone.reprise("pull", "--remote", "nowhere", fails=True)
    (clone.root / "dvc.lock").unlink()
    assert "records no results at scale 'smoke'" in clone.reprise("pull", fails=True)
    assert "nothing is built" in clone.reprise("push", fails=True)


def test_push_and_pull_through_s3(pushed, tmp_path):
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    access = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    make_bucket = "import boto3; boto3.client('s3').create_bucket(Bucket='shared')"
    try:
        sender = pushed.copy(tmp_path / "sender")
        sender.run("python", "-c", make_bucket, **access)
        sender.run("dvc", "remote", "modify", "default", "url", "s3://shared/results")
        sender.reprise("push", **access)
        sender.commit("results on S3")
        clone = sender.clone(tmp_path / "workspace")
        clone.edit_mask_rate()  # so that the report, which takes a while, is not built
        said = clone.reprise("pull", **access)
    finally:
        server.stop()
    total = results_of(pushed)
    assert f"pulled: {total - STALE} of {total} results are current" in said
