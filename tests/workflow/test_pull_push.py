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
TABLE = "can/denoising"
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


def kept(pushed: Workspace, name: str) -> Path:
    """Return where a store of DVC, its cache or a remote, keeps a file of CAN's results."""
    lock = yaml.safe_load((pushed.root / "dvc.lock").read_text())
    md5 = lock["stages"]["can@smoke"]["outs"][0]["md5"]
    listing = pushed.root / "dvc-remote/files/md5" / md5[:2] / md5[2:]
    files = json.loads(listing.read_text())
    found = next(file["md5"] for file in files if file["relpath"] == name)
    return Path("files/md5", found[:2], found[2:])


def damage(path: Path) -> None:
    """Change the last byte of a file, which stays as read-only as DVC made it."""
    mode = path.stat().st_mode
    path.chmod(mode | stat.S_IWUSR)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    path.chmod(mode)


def test_damaged_files_of_remote_and_cache_are_named_and_not_taken(pushed, tmp_path):
    clone = pushed.clone(tmp_path / "workspace")
    remote = shutil.copytree(pushed.root / "dvc-remote", tmp_path / "remote")
    weights, curve = (f"runs/can/seed0/{name}" for name in ("model.safetensors", "log.jsonl"))
    damage(remote / kept(pushed, weights))
    said = clone.reprise("pull", "can", "--remote", str(remote), fails=True)
    assert f"results/smoke/can/{weights}" in said
    assert "1 files are absent or damaged" in said
    assert "Traceback" not in said
    assert not (clone.project.results / "can").exists()

    damage(clone.root / ".dvc/cache" / kept(pushed, curve))
    said = clone.reprise("pull", "can")
    assert "damaged in DVC's cache, and not used from there (1)" in said
    assert f"results/smoke/can/{curve}" in said
    ours, theirs = (w.project.results / "can" / curve for w in (clone, pushed))
    assert ours.read_bytes() == theirs.read_bytes()
    assert clone.planned("can") == []
    assert not (clone.project.results / "capdec").exists()


def test_damaged_cache_is_not_sent(pushed, tmp_path):
    sender = pushed.copy(tmp_path / "sender")
    name = "runs/can/seed0/model.safetensors"
    damage(sender.root / ".dvc/cache" / kept(pushed, name))
    remote = tmp_path / "remote"
    sender.run("dvc", "remote", "modify", "default", "url", str(remote))
    said = sender.reprise("push", TABLE)
    assert f"results/smoke/can/{name}" in said
    sent = (remote / kept(pushed, name)).read_bytes()
    assert sent == (sender.project.results / "can" / name).read_bytes()


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
    assert "records no results of scale smoke" in clone.reprise("pull", fails=True)
    assert "nothing is built" in clone.reprise("push", fails=True)


def test_a_table_is_pushed_and_pulled_with_its_paper_through_s3(pushed, tmp_path):
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
        sender.reprise("push", TABLE, **access)
        sender.commit("a table on S3")
        clone = sender.clone(tmp_path / "workspace")
        said = clone.reprise("pull", TABLE, **access)
    finally:
        server.stop()
    items = [item for item in status.summary(clone.project) if item.state != "missing"]
    assert f"pulled: {len(items)} of {len(items)} results are current" in said
    assert {item.paper for item in items if item.step != "data"} == {"can"}
    assert clone.planned("can") == []
    assert "CAN" in clone.reprise("show", TABLE)


def test_dvc_and_snakemake_agree_on_what_is_up_to_date(copy):
    repro = ("dvc", "repro", "--single-item", "can@smoke")
    assert "Nothing to be done" in copy.run(*repro), "DVC asks after Snakemake"
    assert "up to date" in copy.run("dvc", "status", "can@smoke")
    copy.edit("params/papers/can.yaml", "title: What each part", "title: What every part")
    assert "can@smoke" in copy.run("dvc", "status", "can@smoke")
    said = copy.run(*repro)
    assert f"table {TABLE}" in said
    assert "train can/" not in said
    assert copy.planned("can") == [], "Snakemake asks after DVC"
    assert "up to date" in copy.run("dvc", "status", "can@smoke")


def test_dvc_shows_numbers_curves_and_what_changed(pushed, tmp_path):
    workspace = pushed.copy(tmp_path / "workspace")
    workspace.edit("params/config.yaml", "scale: demo", "scale: smoke")
    workspace.commit("DVC looks at scale smoke")
    workspace.edit_mask_rate()
    row = "results/smoke/can/metrics/imagenet/CAN.json"
    numbers = json.loads((workspace.root / row).read_text())
    (workspace.root / row).write_text(json.dumps({**numbers, "linear_top1": 99.5}))
    (shown,) = lines_with(row, workspace.run("dvc", "metrics", "show", "--md"))
    assert "99.5" in shown
    (changed,) = lines_with(row, workspace.run("dvc", "metrics", "diff", "--md"))
    assert [word.strip() for word in changed.split("|")[2:5]] == [
        "linear_top1",
        str(round(numbers["linear_top1"], 5)),
        "99.5",
    ]
    changed = "\n".join(lines_with("mask_rate", workspace.run("dvc", "params", "diff")))
    assert "runs.mae-time.objective.mask_rate" in changed
    workspace.run("dvc", "plots", "show")
    page = (workspace.root / "dvc_plots/index.html").read_text()
    assert "results/smoke/can/plots/curves/can-seed0.csv" in page
    assert "raw pixels" in page


def lines_with(word: str, said: str) -> list[str]:
    return [line for line in said.splitlines() if word in line]
