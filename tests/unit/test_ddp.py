"""Two and four processes against one, for every paper's step; and the loss of one of them."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import ddp_methods
import pytest
import torch

from reprise.training.seeding import Draws, Key, share_of_batch

# A sum over processes adds in another order than one process does: differences are those of
# float32, which three steps of momentum enlarge.
LOSS, WEIGHTS = {"rel": 1e-4, "abs": 1e-5}, {"rtol": 1e-3, "atol": 5e-5}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what came out of 1, 2 and 4 processes, and of a killed one."""
    folder = tmp_path_factory.mktemp("ddp")
    program = Path(ddp_methods.__file__)
    subprocess.run([sys.executable, program, folder], check=True, timeout=300)
    return folder


def read(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(folder / f"{name}.pt", weights_only=True)
    return found


@pytest.mark.parametrize("processes", ddp_methods.WORLDS[1:])
@pytest.mark.parametrize("name", ddp_methods.CASES)
def test_processes_equal_one(made: Path, name: str, processes: int) -> None:
    one, several = read(made, "1")[name], read(made, str(processes))[name]
    assert len(one["log"]) == ddp_methods.STEPS
    for a, b in zip(one["log"], several["log"], strict=True):
        assert b["loss"] == pytest.approx(a["loss"], **LOSS)
    assert one["weights"].keys() == several["weights"].keys()
    for part, value in one["weights"].items():
        torch.testing.assert_close(several["weights"][part], value, **WEIGHTS, msg=part)


def test_weights_moved(made: Path) -> None:
    """What is compared above is not what every training begins with."""
    for name, found in read(made, "1").items():
        losses = [line["loss"] for line in found["log"]]
        assert max(losses) - min(losses) > 5 * LOSS["rel"] * losses[0], name


def test_small_batches_can_be_shared() -> None:
    """Dense runs have batches of 16, which eight GPUs should share."""
    assert [share_of_batch(16, rank, 8) for rank in range(8)] == [(2 * k, 2) for k in range(8)]
    one, part = Draws(Key(("a",)), 16).normal("x", 3), Draws(Key(("a",)), 2, 4).normal("x", 3)
    assert torch.equal(part, one[4:6])


def test_the_loss_of_a_process_costs_no_more_than_a_step(made: Path) -> None:
    """The others end, too; started again, all go on and end in the bytes of a whole training."""
    assert (made / "signal.txt").read_text() == "SIGKILL"
    whole, resumed = read(made, "whole"), read(made, "killed")
    assert (whole["resumed"], resumed["resumed"]) == (0, 1)
    assert resumed["log"] == whole["log"]
    for part, value in whole["weights"].items():
        assert torch.equal(resumed["weights"][part], value), part
