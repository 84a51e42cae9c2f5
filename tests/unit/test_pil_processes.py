"""Augmentation by several processes: the same pixels, and an end in every case."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from reprise.data import pil_augment, pil_processes
from reprise.data.three_augment import recipe_augment
from reprise.errors import RepriseError
from reprise.settings.deit3_augment import RecipeAugment
from reprise.training.seeding import BLOCK, Draws, Key

KEY = Key(("test", 0))
RAND = RecipeAugment(size=24, backend="pil", policy="rand", jitter=0)
THREE = RecipeAugment(size=24, backend="pil")
# A crew of two, one batch, and their numbers; then what the arguments say.
PROGRAM = """
import atexit, multiprocessing.util, os, signal, sys, time
import torch
from reprise.data import pil_augment
from reprise.data.three_augment import recipe_augment
from reprise.settings.deit3_augment import RecipeAugment
from reprise.training.seeding import Draws, Key

pil_augment.helpers = lambda pixels, blocks: 2
settings = RecipeAugment(size=24, backend="pil", policy="rand", jitter=0)
recipe_augment(torch.rand(128, 3, 28, 28), settings, Draws(Key(("test",)), 128))
(crew,) = pil_augment._crews.values()
print(*(process.pid for process in crew.processes), flush=True)
if sys.argv[1] == "end":
    sys.exit(0)
if sys.argv[1] == "short end":  # as the command line does
    atexit._run_exitfuncs()
    os._exit(0)
if sys.argv[1] == "at once":  # nothing between the pool's end and the wait for its processes
    crew.close()
    multiprocessing.util._exit_function()
    os._exit(0)
if sys.argv[1] == "one lost":
    crew.processes[0].kill()
    sys.exit(0)
time.sleep(60)
"""


@pytest.fixture
def by_two(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(pil_augment, "helpers", lambda pixels, blocks: 2)
    yield
    while pil_augment._crews:
        pil_augment._crews.popitem()[1].close()


def photos(count: int, channels: int = 3) -> torch.Tensor:
    return torch.rand(count, channels, 28, 26, generator=torch.Generator().manual_seed(count))


@pytest.mark.parametrize("settings", [RAND, THREE], ids=["rand", "three"])
def test_pixels_are_those_of_one_process(
    settings: RecipeAugment, monkeypatch: pytest.MonkeyPatch, by_two: None
) -> None:
    count = 2 * BLOCK + 7  # the last block is short
    batches = [(photos(count), Draws(KEY.fold(step), count)) for step in range(3)]
    shared = [recipe_augment(pixels, settings, draws) for pixels, draws in batches]
    monkeypatch.setattr(pil_augment, "helpers", lambda pixels, blocks: 1)
    alone = [recipe_augment(pixels, settings, draws) for pixels, draws in batches]
    assert all(torch.equal(one, other) for one, other in zip(shared, alone, strict=True))


def test_a_share_of_a_batch_and_another_shape(
    monkeypatch: pytest.MonkeyPatch, by_two: None
) -> None:
    grey, whole = photos(3 * BLOCK, channels=1), Draws(KEY, 3 * BLOCK)
    late = Draws(KEY, 2 * BLOCK, start=BLOCK)
    settings = RecipeAugment(size=24, backend="pil", policy="rand", jitter=0, mean=(0.3,))
    found = recipe_augment(grey, settings, whole)
    assert torch.equal(recipe_augment(grey[BLOCK:], settings, late), found[BLOCK:])
    assert len(pil_augment._crews) == 1, "the crew of the other shape ended"


def test_a_killed_process_is_named_and_does_not_hang(by_two: None) -> None:
    recipe_augment(photos(128), RAND, Draws(KEY, 128))
    (crew,) = pil_augment._crews.values()
    crew.processes[0].kill()
    with pytest.raises(RepriseError, match="killed"):
        recipe_augment(photos(128), RAND, Draws(KEY, 128))


def test_what_one_of_them_raises_is_raised_here() -> None:
    def work(batch: object, result: object, first: int, key: Key) -> None:
        if first == BLOCK:
            raise ValueError("a broken image")

    crew = pil_processes.Crew(work, (2 * BLOCK, 4), (2 * BLOCK, 4), 2)
    with pytest.raises(ValueError, match="a broken image"):
        crew.run(np.zeros((2 * BLOCK, 4), np.uint8), [KEY, KEY])
    crew.close()


def test_they_leave_signals_to_the_parent(by_two: None) -> None:
    before = recipe_augment(photos(128), RAND, Draws(KEY, 128))
    (crew,) = pil_augment._crews.values()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        for process in crew.processes:
            assert process.pid is not None
            os.kill(process.pid, number)
    time.sleep(0.1)
    assert torch.equal(recipe_augment(photos(128), RAND, Draws(KEY, 128)), before)


def lives(number: int) -> bool:
    """Say whether a process is there, but for its number, which its parent may still ask for."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("how", ["end", "short end", "at once", "one lost", "killed"])
def test_they_end_with_the_process_that_made_them(how: str) -> None:
    source = str(Path(pil_processes.__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, how],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": source},
    )
    assert process.stdout is not None
    crew = [int(number) for number in process.stdout.readline().split()]
    assert len(crew) == 2
    if how == "killed":
        process.kill()
    assert process.wait(timeout=60) == (-signal.SIGKILL if how == "killed" else 0)
    limit = time.monotonic() + 20
    while any(lives(number) for number in crew):
        assert time.monotonic() < limit, "a process of the crew outlives its parent"
        time.sleep(0.05)


def test_cores_are_shared_between_processes_of_a_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    assert pil_processes.cores() == 16
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert pil_processes.cores() == 2
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "64")
    assert pil_processes.cores() == 1
