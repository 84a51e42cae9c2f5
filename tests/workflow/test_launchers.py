"""What the profiles submit to Slurm, and a run through it on two pretended nodes."""

import json
import os
import re
from pathlib import Path

import fake_slurm
import pytest
import yaml
from workspace import REPOSITORY, Workspace

PROFILES = REPOSITORY / "workflow/profiles"
META = "results/smoke/can/runs/can/seed0/meta.json"
FAST = ("--slurm-init-seconds-before-status-checks", "1", "--seconds-between-status-checks", "1")


class Cluster:
    """A workspace on a pretended cluster."""

    def __init__(self, workspace: Workspace, folder: Path) -> None:
        self.workspace, self.folder = workspace, folder
        fake_slurm.install(folder / "bin")

    def snakemake(self, profile: str, *arguments: str, fails: bool = False, **more: str) -> str:
        command = ("snakemake", "--profile", f"workflow/profiles/{profile}", *arguments, *FAST)
        environment = {
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{self.workspace.environment['PATH']}",
            "FAKE_SLURM": str(self.folder),
            **more,
        }
        config = ("--config", "scale=smoke")
        return self.workspace.run(*command, *config, fails=fails, **environment)

    def calls(self, command: str) -> list[list[str]]:
        lines = (self.folder / "calls.jsonl").read_text().splitlines()
        return [line[1:] for line in map(json.loads, lines) if line[0] == command]


@pytest.fixture
def cluster(copy: Workspace, tmp_path: Path) -> Cluster:
    (tmp_path / "cluster").mkdir()
    return Cluster(copy, tmp_path / "cluster")


def test_every_profile_starts_train_by_exec() -> None:
    """A shell between Slurm and torchrun would end at the signal, and the run be killed."""
    for file in PROFILES.glob("*/profile.yaml"):
        train = yaml.safe_load(file.read_text())["set-resources"]["train"]
        assert train["launcher"].startswith("exec "), file


def test_no_option_of_a_verb_is_taken_for_one_of_torchrun() -> None:
    """Verbs have --log, which torchrun would call ambiguous among its own."""
    texts = [file.read_text() for file in PROFILES.glob("*/profile.yaml")]
    texts.append((REPOSITORY / "workflow/launchers/nodes.sh").read_text())
    started = [line for text in texts for line in text.splitlines() if " -m " in f" {line}"]
    mine = [line for line in started if "reprise" in line and "python -m" not in line]
    assert len(mine) == 3
    assert all("-m -- reprise" in line for line in mine)


def test_nodes_tasks_and_launcher_agree() -> None:
    text = (PROFILES / "slurm-nodes/profile.yaml").read_text()
    train = yaml.safe_load(text)["set-resources"]["train"]
    nodes = re.search(r"--nodes=(\d+)", train["launcher"])
    assert nodes is not None
    assert train["nodes"] == train["tasks"] == int(nodes[1])
    assert f"--cpus-per-task={train['cpus_per_task']} " in train["launcher"]
    assert f"--gres={train['gres']} " in train["launcher"]


def test_slurm_is_asked_for_what_the_profile_says(cluster: Cluster) -> None:
    """One call of sbatch for a run and one for a data set; a launcher makes nothing else stale."""
    data = "data/digits_tinted/manifest.json"
    said = cluster.snakemake(
        *("slurm", META, data, "--forcerun", META, data, "--retries", "0"),
        fails=True,
        FAKE_SLURM_ONLY="note",
    )
    calls = {
        next(rule for rule in ("train", "data") if f"rule_{rule}" in " ".join(call)): call
        for call in cluster.calls("sbatch")
    }
    assert calls.keys() == {"train", "data"}, said
    run = calls["train"]
    assert run[run.index("-t") + 1] == "1440"
    assert run[run.index("--mem") + 1] == "240000"
    assert {"--gpus=4", "--cpus-per-task=32", "--requeue", "--signal=TERM@300"} <= {*run}
    assert not [one for one in calls["data"] if one.startswith(("--gpus", "--signal"))]
    assert "--cpus-per-task=16" in calls["data"]


@pytest.mark.skipif(
    "REPRISE_REHEARSAL" not in os.environ,
    reason="a minute: set REPRISE_REHEARSAL=1 to run it",
)
def test_a_run_through_slurm_trains_on_two_nodes(cluster: Cluster) -> None:
    """From sbatch through srun and a torchrun on each node to one run of two processes."""
    # Two processes share a batch in blocks of 64.
    cluster.workspace.edit("params/scales/smoke.yaml", "batch_size: 64", "batch_size: 128")
    cluster.snakemake("slurm-nodes", META, "--forcerun", META, PROCESSES="1")
    (batch,) = cluster.calls("sbatch")
    assert {"--nodes=2", "--ntasks=2", "--gres=gpu:8", "--requeue"} <= {*batch}
    assert not [one for one in batch if one.startswith(("--gpus", "--ntasks-per-gpu"))]
    (step,) = cluster.calls("srun")
    assert {"--nodes=2", "--ntasks-per-node=1", "--kill-on-bad-exit=1"} <= {*step}
    meta = json.loads((cluster.workspace.root / META).read_text())
    assert meta["processes"] == 2
