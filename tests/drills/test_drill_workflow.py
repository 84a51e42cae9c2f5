"""The workflow on a small workspace: killed and second drivers, edits, clocks, what is absent."""

import hashlib
import json
import os
import random
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import small
from workspace import Workspace

from reprise.plan import RunJob

DATA = ["data photographs"]
LAST = ["report", "table toy/main", "track: results into MLflow"]


def of_run(name: str) -> list[str]:
    return [f"evaluate toy/{name} seed 0", f"train toy/{name} seed 0"]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The small workspace, built by plain Snakemake without a network; do not change it."""
    workspace = small.write(tmp_path_factory.mktemp("small") / "workspace")
    workspace.run(*small.without_network(), *snakemake("--cores", "2"))
    return workspace


@pytest.fixture
def copy(built: Workspace, tmp_path: Path) -> Workspace:
    return built.copy(tmp_path / "workspace")


def snakemake(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "snakemake", *arguments, "--config", "scale=smoke"]


def job(workspace: Workspace, name: str) -> RunJob:
    return RunJob(workspace.project, "toy", name, 0)


def done(said: str) -> list[str]:
    """Return the jobs that a run of Snakemake announced, sorted, without its target."""
    jobs = re.findall(r"^Job \d+: (.*)$", said, flags=re.MULTILINE)
    return sorted({one for one in jobs if not one.startswith(("all:", "toy:"))})


def wait_for(what: Callable[[], bool], process: "subprocess.Popen[bytes]") -> None:
    while not what():
        assert process.poll() is None, "it ended too early"
        time.sleep(0.02)


# ---- 12. no network ----
def test_everything_is_built_without_a_network(built: Workspace) -> None:
    if not small.without_network():
        pytest.skip("taking the network from a process is not allowed here")
    assert (built.project.results / "report/index.html").is_file()
    assert (built.project.results / "mlflow.db").is_file()
    table = json.loads((built.project.results / "toy/tables/main.json").read_text())
    assert [row["cells"]["top1"]["status"] for row in table["rows"]] == ["measured"] * 2
    assert built.planned() == []


# ---- 6. and 10. a killed driver, and a second one ----
def test_a_killed_driver_and_trainer_go_on_where_they_were(
    built: Workspace, copy: Workspace
) -> None:
    one = job(copy, "long")
    for path in (*one.outputs, *one.eval_outputs):
        path.unlink()
    train = [sys.executable, "-m", "reprise", "train", "toy/long", "--scale", "smoke"]
    trainer = subprocess.Popen(train, cwd=copy.root, env=copy.environment)
    state = copy.root / ".reprise/state"
    logs = "toy-long-*/log.jsonl"
    wait_for(lambda: any(file.stat().st_size for file in state.glob(logs)), trainer)
    trainer.send_signal(signal.SIGTERM)
    assert trainer.wait() == os.EX_TEMPFAIL
    kept = {path: path.read_bytes() for path in state.glob("toy-long-*/step-*")}
    assert kept

    log = copy.project.results / "logs/train/toy/long/seed0.log"
    log.unlink()
    holder, command = 0, snakemake("toy", "--cores", "1")
    with (copy.root / "said").open("w") as stream:
        driver = subprocess.Popen(command, cwd=copy.root, env=copy.environment, stderr=stream)
    try:
        wait_for(lambda: log.is_file() and "resumes at step" in log.read_text(), driver)
        holder = json.loads((state / "locks/toy-long-seed0.lock").read_text())["pid"]
        os.kill(holder, signal.SIGSTOP)  # it stays in the middle of its training
        said = copy.snakemake("--cores", "1", fails=True)
        assert f"locked by process {driver.pid} on " in said
        assert "Traceback" not in said
    finally:
        driver.kill()
        driver.wait()
        if holder:
            os.kill(holder, signal.SIGKILL)
    assert not any(path.exists() for path in one.outputs)
    assert kept.items() <= {path: path.read_bytes() for path in state.glob("toy-long-*/*")}.items()

    said = copy.run(*command)  # the same command: nothing to unlock, nothing finished is repeated
    assert done(said) == sorted([*of_run("long"), "table toy/main"])
    assert json.loads((one.folder / "meta.json").read_text())["resumed"] >= 1
    weights = one.outputs[0].relative_to(copy.root)
    assert (copy.root / weights).read_bytes() == (built.root / weights).read_bytes()
    assert not list(state.glob("toy-long-*"))


# ---- 7. one setting, one source, one photograph is changed ----
def test_a_changed_setting_reruns_what_depends_on_it_and_says_why(copy: Workspace) -> None:
    copy.edit(small.PAPER, "steps: 120", "steps: 121")
    said = copy.snakemake("-n")
    assert done(said) == sorted([*of_run("long"), *LAST])
    assert "stale: train toy/long seed 0: changed: steps 120 -> 121" in said


def test_a_changed_source_reruns_what_imports_it_and_says_why(copy: Workspace) -> None:
    path = copy.root / "src/reprise/papers/deit3.py"
    path.write_text(path.read_text() + "\n# edited\n")
    said = copy.snakemake("-n")
    assert done(said) == sorted([*of_run("long"), *of_run("short"), *LAST])
    for name in small.RUNS:
        assert f"stale: train toy/{name} seed 0: changed: source papers/deit3.py" in said


def test_a_changed_photograph_reruns_everything_and_says_why(copy: Workspace) -> None:
    folder = copy.root / "photographs/train"
    sizes = {(folder / name).stat().st_size for name in ("a/000.png", "b/001.png")}
    assert len(sizes) == 2, "the drill needs another size"
    shutil.copyfile(folder / "b/001.png", folder / "a/000.png")
    said = copy.snakemake("-n")
    assert done(said) == sorted([*DATA, *of_run("long"), *of_run("short"), *LAST])
    assert "stale: data /photographs: prepared from other files" in said


# ---- 16. clocks ----
@pytest.mark.parametrize("hours", [-24 * 365 * 5, 24 * 365 * 5])
def test_other_dates_of_any_file_make_nothing_stale(copy: Workspace, hours: int) -> None:
    """As after a copy, a checkout, or a clock that was set: inputs, results, one of each."""
    then = time.time() + 3600 * hours
    inputs = [path for top in ("src", "params", "photographs") for path in files(copy.root / top)]
    results = [path for top in ("results", "data") for path in files(copy.root / top)]
    for path in results:
        os.utime(path, (then, then))
    assert copy.planned() == []
    for path in random.Random(16).sample(inputs + results, len(inputs + results) // 2):
        os.utime(path)
    assert copy.planned() == []


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in str(path)]


# ---- 8. a damaged object of DVC's cache ----
def test_a_damaged_object_of_the_cache_is_named_and_not_taken(copy: Workspace) -> None:
    """With its mode left as it is: DVC trusts a file there that nobody may write to."""
    copy.reprise("push")
    weights = job(copy, "short").outputs[0]
    whole = weights.read_bytes()
    md5 = hashlib.md5(whole).hexdigest()
    cached = copy.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    mode = cached.stat().st_mode
    cached.chmod(mode | stat.S_IWUSR)
    cached.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    cached.chmod(mode)
    shutil.rmtree(copy.project.results / "toy")
    said = copy.reprise("pull")
    assert "damaged in DVC's cache" in said
    assert "results/smoke/toy/runs/short/seed0/model.safetensors" in said
    assert weights.read_bytes() == whole
    assert done(copy.snakemake("-n")) == []


# ---- 12. no MLflow ----
def test_without_mlflow_all_else_is_built(copy: Workspace, tmp_path: Path) -> None:
    """On one core, where what is tried before the report would keep it from being built."""
    stub = tmp_path / "stub/mlflow"
    stub.mkdir(parents=True)
    (stub / "__init__.py").write_text("raise ModuleNotFoundError('No module named mlflow')\n")
    results = copy.project.results
    for name in ("mlflow.tracked", "report/index.html", "toy/tables/main.md"):
        (results / name).unlink()
    with (copy.root / "src/reprise/track.py").open("a") as stream:
        stream.write(f"# {'-' * 1_000_000}\n")  # of equals, the greedy scheduler takes the larger
    path = f"{tmp_path / 'stub'}{os.pathsep}{copy.environment['PYTHONPATH']}"
    command = snakemake("--cores", "1", "--scheduler", "greedy")
    said = copy.run(*command, fails=True, PYTHONPATH=path)
    assert "No module named mlflow" in said
    assert (results / "toy/tables/main.md").is_file()
    assert (results / "report/index.html").is_file()
    assert not (results / "mlflow.tracked").exists()
    assert done(copy.snakemake("--cores", "1")) == ["track: results into MLflow"]
