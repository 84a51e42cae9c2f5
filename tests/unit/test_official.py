"""Released weights as a run: left alone where none are named, else taken as they are."""

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from pages import page, squeezed
from tiny_recipes import SIDE, job, official_layout, prepared, released, write

from reprise import bench, plan, tables, track
from reprise.cli_shared import run_job
from reprise.config import Json, Project
from reprise.data.base import load
from reprise.errors import ConfigError
from reprise.evaluators import _runner
from reprise.plan import BenchmarkJob, TableJob
from reprise.status import print_status
from reprise.training import run as training_run

OFFICIAL: Json = {"kind": "official", "evaluate": ["classify"], "headline": False}
TABLES: Json = {
    "main": {
        "title": "Released and untrained",
        "printed": "Table 1",
        "metrics": {
            "top1": {"label": "top-1", "evaluator": "classify", "metric": "top1"},
            "seconds": {"label": "training", "meta": "wall_seconds", "unit": "s"},
            "params": {"label": "size", "benchmark": "models", "metric": "params_m", "unit": "M"},
            "crop": {"label": "crop", "setting": "objective.image.crop", "unit": ""},
        },
        "rows": [
            {"label": "released", "run": "official"},
            {"label": "untrained", "run": "plain"},
        ],
    }
}
BENCHMARKS = {
    "models": {"kind": "forward", "runs": ["official", "plain"], "seconds": 0, "classes": 10}
}


def workspace(root: Path, weights: Path | None = None, **own: Any) -> Project:
    named = {"objective": {"weights": str(weights)}} if weights else {}
    runs = {"official": {**OFFICIAL, **named, **own}, "plain": {"evaluate": ["classify"]}}
    return write(root, runs, tables=TABLES, benchmarks=BENCHMARKS)


def names(project: Project) -> set[str]:
    return {one.name for one in plan.run_jobs(project)}


def said_by(project: Project, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "reprise", *arguments],
        cwd=project.root,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


# --- where no weights are named ---------------------------------------------------------------


def test_released_weights_are_not_trained(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"runs\.official.*kind: official goes with steps: 0"):
        workspace(tmp_path, steps=1)


def test_without_weights_it_is_not_built(tmp_path: Path) -> None:
    without = workspace(tmp_path / "a")
    assert not without.run("toy", "official").is_built
    assert names(without) == {"plain"}
    assert {run.name for run in TableJob(without, "toy", "main").run_jobs} == {"plain"}
    stream = io.StringIO()
    print_status(without, stream)
    assert "sweeps" not in stream.getvalue(), "nothing asks for it"
    with_some = workspace(tmp_path / "b", Path("some.pth"))
    assert with_some.run("toy", "official").is_built
    assert names(with_some) == {"plain", "official"}


@pytest.mark.parametrize("verb", ["train", "evaluate", "replay"])
def test_asking_for_it_says_what_to_set(tmp_path: Path, verb: str) -> None:
    project = workspace(tmp_path)
    with pytest.raises(ConfigError, match="names no released weights"):
        run_job(project, "toy/official", None)
    code, said = said_by(project, verb, "toy/official")
    assert code == 1
    assert "error: toy/official: scale tiny names no released weights for it" in said
    assert "papers.toy.runs.official.objective.weights in params/scales/tiny.yaml" in said
    assert "Traceback" not in said


def test_its_cells_say_so_and_what_was_counted_is_shown_everywhere(tmp_path: Path) -> None:
    """Its model is benchmarked with any weights, so its row has numbers but no run."""
    project = workspace(tmp_path)
    bench.run(BenchmarkJob(project, "toy", "models"))
    table_job = TableJob(project, "toy", "main")
    tables.build(table_job)
    table = tables.load(table_job.outputs[2])
    made = table["rows"][0]["cells"]
    why = "scale tiny names no released weights for it (papers.toy.runs.official.objective.weights)"
    for key in ("top1", "seconds"):
        assert (made[key]["ours"], made[key]["status"]) == (None, f"not run: {why}")
    expected = sum(parameter.numel() for parameter in released().parameters()) / 1e6
    assert made["params"]["ours"]["value"] == pytest.approx(expected)
    assert made["crop"]["text"] == "rrc"
    text = table_job.outputs[1].read_text()
    assert "| released | not run | not run |" in text
    assert f"- released, top-1: not run: {why}" in text
    assert f"not run: {why}" in squeezed(page(project).words)
    assert track.project_into_mlflow(project)["created"] == 1
    assert track.project_into_mlflow(project)["unchanged"] == 1


# --- where they are ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A checkpoint in the authors' layout, taken and evaluated; `train` by command."""
    root = tmp_path_factory.mktemp("workspace")
    file = root / "official weights.pth"
    torch.save({"model": official_layout(released())}, file)
    project = prepared(workspace(root, file))
    code, said = said_by(project, "train", "toy/official")
    assert code == 0, said
    _runner.evaluate(job(project, "official"))
    yield project
    torch.use_deterministic_algorithms(False)


def test_no_step_is_trained_and_the_weights_are_the_files(built: Project) -> None:
    one = job(built, "official")
    meta = json.loads((one.folder / "meta.json").read_text())
    assert (meta["kind"], meta["steps"], meta["images_per_second"]) == ("official", 0, None)
    assert meta["digest"] == one.digest
    assert meta["spec"]["config"]["objective"]["weights"].endswith("official weights.pth")
    assert (one.folder / "log.jsonl").read_text() == ""
    kept = safetensors.torch.load_file(one.folder / "model.safetensors")
    given = released().state_dict()
    assert len(kept) == len(given)
    for name, value in given.items():
        own = name if name.startswith("head.") else f"encoder.{name}"
        assert torch.equal(kept[own], value), name


def test_its_score_is_the_released_models(built: Project) -> None:
    """That of timm's own model, on test images resized and normalised here."""
    data = load("digits", "test", built.data_root, {"size": 24, "colour": True})
    images, labels = data.fetch(torch.arange(len(data)))
    pixels = F.interpolate(images / 255, (SIDE, SIDE), mode="bicubic", antialias=True).clamp(0, 1)
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).view(2, 3, 1, 1)
    with torch.inference_mode():
        said = released()((pixels - mean) / std).argmax(1)
    file = job(built, "official").eval_folder / "classify.json"
    statistics = np.load(file.with_suffix(".npz"))["top1"]
    assert (statistics == (said == labels).numpy()).mean() > 0.995
    assert len(said.unique()) > 1
    assert json.loads(file.read_text())["metrics"][0]["value"] == pytest.approx(
        100 * statistics.mean()
    )


def test_a_second_call_finds_it_done(built: Project) -> None:
    one = job(built, "official")
    before = [path.stat().st_mtime_ns for path in one.outputs]
    training_run.train(one)
    assert [path.stat().st_mtime_ns for path in one.outputs] == before


def test_a_table_and_the_projection_show_it(built: Project) -> None:
    bench.run(BenchmarkJob(built, "toy", "models"))
    table_job = TableJob(built, "toy", "main")
    tables.build(table_job)
    row, other = tables.load(table_job.outputs[2])["rows"]
    assert row["cells"]["top1"]["status"] == "measured"
    assert row["cells"]["top1"]["ours"]["value"] == pytest.approx(
        json.loads((job(built, "official").eval_folder / "classify.json").read_text())["metrics"][
            0
        ]["value"]
    )
    assert other["cells"]["top1"]["status"] == "not run: toy/plain seed 0 has no classify.json"
    assert other["cells"]["params"]["status"] == "measured"
    # The untrained row has a benchmark's number and no run yet; that is no damage.
    assert track.project_into_mlflow(built)["created"] == 1


def test_other_weights_are_another_run(built: Project, tmp_path: Path) -> None:
    here = job(built, "official")
    elsewhere = job(workspace(tmp_path, Path("other.pth")), "official")
    assert elsewhere.digest != here.digest
    assert elsewhere.eval_digest("classify") != here.eval_digest("classify")


def test_weights_of_other_classes_are_refused_and_nothing_is_left(
    built: Project, tmp_path: Path
) -> None:
    file = tmp_path / "seven.pth"
    torch.save({"model": official_layout(released(classes=7))}, file)
    project = prepared(workspace(tmp_path, file))
    one = job(project, "official")
    with pytest.raises(ConfigError, match=r"head\.bias has shape \(7,\) instead of \(10,\)"):
        training_run.train(one)
    assert not any(path.exists() for path in one.outputs)
