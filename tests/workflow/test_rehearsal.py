"""CapDec's rehearsal at scale gpu, by command: GPT-2 small, a CLIP, every evaluator and table.

Weights are random and photographs generated, so nothing is downloaded and nothing comes out that
says anything of the method.
"""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from workspace import Workspace

from reprise.config import Project, load_project
from reprise.plan import RunJob, table_jobs
from reprise.rehearsal.rows import lines

SCALE = "rehearsal/gpu"
CONFIG = ("--config", "scale=gpu", "rehearse=true")
DISK = 8e9  # bytes that the temporary folder must hold
# Weights by the papers' and libraries' own numbers: OpenAI's ViT-B/32; GPT-2 small, with what
# ClipCap's mapper of eight blocks has beside it.
CLIP, GPT2 = 151_277_313, 124_439_808

pytestmark = pytest.mark.skipif(
    "REPRISE_REHEARSAL" not in os.environ,
    reason="some minutes and 8 GB in a temporary folder: set REPRISE_REHEARSAL=1 to run it",
)


@pytest.fixture(scope="module")
def built(empty: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A workspace in which CapDec was rehearsed, with nothing set up and no network."""
    folder = tmp_path_factory.mktemp("rehearsal")
    if shutil.disk_usage(folder).free < DISK:
        pytest.skip(f"{folder} holds less than {DISK / 1e9:.0f} GB")
    try:
        workspace = empty.copy(folder / "workspace")
        hub = {"HF_HOME": str(folder / "hub"), "HF_HUB_OFFLINE": "1"}
        workspace.run("snakemake", "capdec", "--cores", "2", *CONFIG, **hub)
        yield workspace
    finally:
        shutil.rmtree(folder)


def rehearsal(workspace: Workspace) -> Project:
    return load_project(workspace.root, SCALE)


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def meta(workspace: Workspace, run: str) -> dict[str, Any]:
    found: dict[str, Any] = read(
        RunJob(rehearsal(workspace), "capdec", run, 0).folder / "meta.json"
    )
    return found


def test_every_row_passed(built: Workspace) -> None:
    found = [line for line in lines(rehearsal(built)) if line.run.startswith("capdec/")]
    assert len({line.run for line in found}) > 20
    assert {line.status for line in found} == {"passed"}
    said = built.run("snakemake", "capdec", "-n", "--cores", "2", *CONFIG)
    assert "Nothing to be done" in said


def test_the_models_have_their_published_sizes(built: Workspace) -> None:
    assert meta(built, "clip")["parameters"] == CLIP
    project = rehearsal(built)
    prefix, width = project.run("capdec", "capdec").objective["prefix"], 768
    of_mapper = meta(built, "capdec")["parameters"] - GPT2
    block = 4 * width**2 + 2 * 2 * width**2  # attention and an MLP of ratio 2, without biases
    linear = 512 * prefix * width
    assert 8 * block + linear < of_mapper < 1.01 * (8 * block + linear) + 2 * prefix * width
    assert meta(built, "mlp")["parameters"] != meta(built, "capdec")["parameters"]


def test_two_steps_are_trained(built: Workspace) -> None:
    project = rehearsal(built)
    for run in ("capdec", "clipcap", "romantic-text"):
        job = RunJob(project, "capdec", run, 0)
        log = (job.folder / "log.jsonl").read_text(encoding="utf-8")
        losses = [json.loads(line)["loss"] for line in log.splitlines()]
        assert len(losses) == 2
        # Random words of so many: chance is the logarithm of their number, 10.8.
        assert np.isfinite(losses).all()
        assert 9 < losses[0] < 13
        assert meta(built, run)["steps"] == 2
    assert meta(built, "clip")["steps"] == 0


def test_all_is_below_its_own_folder_and_marked(built: Workspace) -> None:
    results = built.root / "results"
    assert [path.name for path in results.iterdir()] == ["rehearsal"]
    assert not (built.root / "data").exists()
    records = [*results.glob("rehearsal/gpu/capdec/**/*.json")]
    assert len(records) > 40
    for record in map(read, records):
        scale = record["scale"]
        assert scale == SCALE or (scale["scale"] == SCALE and scale["result"] is False)
    for job in table_jobs(rehearsal(built)):
        if job.slug == "capdec":
            text = next(path for path in job.outputs if path.suffix == ".md").read_text()
            assert "REHEARSAL" in text
    # Weights go with the last step that reads them; they would fill a disk.
    assert not [*results.glob("rehearsal/gpu/capdec/runs/**/*.safetensors")]


@pytest.mark.parametrize("verb", ["snapshot", "push", "pull"])
def test_it_is_refused_as_a_result(built: Workspace, verb: str) -> None:
    said = built.run("python", "-m", "reprise", verb, "--scale", SCALE, fails=True)
    assert "is a rehearsal" in said
    assert not (built.root / "results/reference").exists()
