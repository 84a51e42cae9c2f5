"""A recipe's run that is killed and goes on ends in the bytes of one that was never stopped."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_recipes import job, prepared, write

from reprise.training import checkpoint
from reprise.training import run as training_run

# Every source of chance that a recipe has: order, crops and 3-Augment or RandAugment by Pillow,
# erasing, Mixup or CutMix, stochastic depth of both kinds, dropout, and an average of the weights.
RUNS: dict[str, dict[str, Any]] = {
    "three": {"objective": {"drop_path": 0.3, "mix_prob": 0.7}, "optim": {"ema_decay": 0.9}},
    "pillow": {
        "objective": {
            "image": {"policy": "rand", "backend": "pil", "jitter": 0.3, "erasing": 0.5},
            "loss": "ce",
            "label_smoothing": 0.1,
            "drop_path": 0.3,
            "drop_path_schedule": "linear",
            "dropout": 0.2,
        },
        "optim": {"name": "adamw", "clip_norm": 1.0},
    },
}


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


def test_kills_do_not_change_a_byte_of_a_recipes_run(tmp_path: Path) -> None:
    runs = {name: {**run, "steps": 8} for name, run in RUNS.items()}
    cut, straight = (prepared(write(tmp_path / name, runs)) for name in ("cut", "straight"))
    program = Path(__file__).with_name("killed_deit3.py")
    done = subprocess.run(
        [sys.executable, program, cut.root, *runs], stdout=subprocess.PIPE, check=True
    )
    assert done.stdout.split() == [b"-9"] * 2 * len(runs)
    for name in runs:
        one, whole = job(cut, name), job(straight, name)
        assert not one.folder.exists()
        state = training_run.state_folder(one, training_run.training_data(one).digest)
        saved = checkpoint.load_newest(state)
        assert saved is not None
        assert saved["step"] == 5
        training_run.train(one)
        training_run.train(whole)
        for file in ("model.safetensors", "log.jsonl"):
            assert (one.folder / file).read_bytes() == (whole.folder / file).read_bytes()
        assert json.loads((one.folder / "meta.json").read_text())["resumed"] == 2
        assert not state.exists()


def test_the_runs_that_are_killed_draw_anew_in_every_step(tmp_path: Path) -> None:
    """Else equal bytes would say nothing of the random numbers after a kill."""
    project = prepared(write(tmp_path, {"three": {**RUNS["three"], "steps": 1}}))
    fit = training_run.make_fit(job(project, "three"), training_run.World())
    batch = next(fit._batches())

    def loss(step: int) -> float:
        fit.key.fold("global", step, 0).seed_everything()
        with torch.no_grad():
            return float(fit.method.train()(batch, fit._draws(step).fold("method"))["loss"])

    assert loss(0) == loss(0)
    assert len({loss(step) for step in range(4)}) == 4
