"""The benchmark of training steps: its numbers fit together, and what it cannot measure it says."""

import shutil
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from reprise import bench_training
from reprise.cli import app
from reprise.config import Project, load_project
from reprise.errors import RepriseError

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def smoke(tmp_path: Path) -> Project:
    shutil.copytree(REPOSITORY / "params", tmp_path / "params")
    return load_project(tmp_path, "smoke")


def test_steps_are_measured_and_what_cannot_be_is_named(
    smoke: Project, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    keys = ["can/can", "capdec/capdec", "deit3/deit3"]
    found = bench_training.steps(smoke, keys, 0.01, 8)
    assert [one.key for one in found.steps] == ["can/can", "deit3/deit3"]
    for one in found.steps:
        assert (one.images, one.of_batch) == (8, 64)
        assert one.seconds > 0
        assert one.memory_gb > one.planned_gb > 0  # of a processor: the whole process
        assert one.images_per_second == pytest.approx(8 / one.seconds)
        assert one.record(2.0)["utilisation"] == pytest.approx(one.flops / one.seconds / 2)
    bench_training.print_table(found)
    assert "planned" in capsys.readouterr().out
    assert "capdec/capdec: trains on no images alone" in caplog.text
    with pytest.raises(RepriseError, match="no run was measured"):
        bench_training.steps(smoke, ["capdec/capdec"], 0.01, 8)


def test_fewer_images_are_tried_where_memory_is_short(
    smoke: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def little(_run: object, images: int, *_: object) -> tuple[float, float]:
        if images > 4:
            raise torch.OutOfMemoryError
        return 0.5, 1.0

    monkeypatch.setattr(bench_training, "_timed_steps", little)
    (one,) = bench_training.steps(smoke, ["can/can"], 0.01, 64).steps
    assert one.images == 4
    assert one.images_per_second == 8


def test_the_verb_prints_json(smoke: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_training, "_timed_steps", lambda *_: (0.5, 1.0))
    monkeypatch.setenv("REPRISE_ROOT", str(smoke.root))
    done = CliRunner().invoke(
        app, ["bench", "training", "can/can", "--scale", "smoke", "--images", "8", "--json"]
    )
    assert done.exit_code == 0, done.output
    assert '"images_per_second": 16.0' in done.stdout
