"""Kills, signals and damage to checkpoints: the same bytes come out, or an error names the file."""

import logging
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable, Container
from pathlib import Path
from typing import Any

import pytest
import torch
from drill import STEPS, afresh, die, fingerprint, killed_in, make_fit, saved_after

from reprise.errors import Interrupted, RepriseError
from reprise.training import checkpoint

pytestmark = pytest.mark.quick

KILLS = 20
SAVES = range(0, STEPS, 3)
OFFSETS = 48  # and one kill before the file has its name, one after


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> str:
    fit = make_fit(tmp_path_factory.mktemp("straight"))
    fit.run()
    return fingerprint(fit)


# ---- 1. kill -9 at twenty random steps ----
def run_until(folder: Path, step: int, where: str, workers: int, saves: Container[int]) -> None:
    fit = make_fit(folder, workers=workers)
    saved_after(fit, saves)
    killed_in(fit, step, where)
    fit.run()


@pytest.mark.parametrize("workers", [(0,), (2,), (0, 1, 2)], ids=str)
def test_twenty_kills_change_nothing(
    tmp_path: Path, straight: str, workers: tuple[int, ...]
) -> None:
    """Before the gradients of a step or after its weights moved; workers may change on the way."""
    chance = random.Random(sum(workers))
    for number, step in enumerate(sorted(chance.sample(range(1, STEPS), KILLS))):
        where, own = chance.choice(["_backward", "_log"]), workers[number % len(workers)]
        assert afresh(run_until, tmp_path, step, where, own, SAVES) == -signal.SIGKILL
    last = make_fit(tmp_path, workers=workers[-1])
    assert last.run().resumed > 0
    assert fingerprint(last) == straight


# ---- 2. kill -9 while a checkpoint is written ----
def state(step: int) -> dict[str, Any]:
    return {"step": step, "weights": torch.full((5000,), float(step))}


def save_up_to(folder: Path, offset: int) -> None:
    """Save step 2, and die when so many bytes of the file are on their way to the disk."""
    real, written = checkpoint._Hashing.write, 0

    def write(self: checkpoint._Hashing, data: bytes) -> int:
        nonlocal written
        if written + len(data) > offset:
            self._stream.write(data[: offset - written])
            self._stream.flush()
            die()
        written += len(data)
        return real(self, data)

    setattr(checkpoint._Hashing, "write", write)  # noqa: B010
    checkpoint.save(folder, 2, state(2))


def save_up_to_the_name(folder: Path, named: bool) -> None:
    """Save step 2, and die just before the file gets its name, or just after."""
    real = Path.replace

    def replace(self: Path, target: Any) -> Path:
        last = Path(target).suffix == ".pt"
        if last and not named:
            die()
        done = real(self, target)
        if last:
            die()
        return done

    setattr(Path, "replace", replace)  # noqa: B010
    checkpoint.save(folder, 2, state(2))


def test_fifty_kills_while_writing_never_leave_a_part_under_the_name(tmp_path: Path) -> None:
    first = tmp_path / "first"
    size = checkpoint.save(first, 1, state(1)).stat().st_size
    offsets = (number * (size - 1) // (OFFSETS - 1) for number in range(OFFSETS))
    deaths: list[tuple[int, Callable[..., None], int]] = [(1, save_up_to, at) for at in offsets]
    deaths += [(1, save_up_to_the_name, False), (2, save_up_to_the_name, True)]
    for number, (newest, work, where) in enumerate(deaths):
        folder = shutil.copytree(first, tmp_path / str(number))
        assert afresh(work, folder, where) == -signal.SIGKILL
        assert len(list(folder.glob("step-*.pt"))) == newest
        for path in folder.glob("step-*.pt"):
            assert checkpoint.digest_of_file(path) == path.with_suffix(".sha256").read_text()
        found = checkpoint.load_newest(folder)
        assert found is not None
        assert found["step"] == newest
        assert torch.equal(found["weights"], state(newest)["weights"])
        checkpoint.save(folder, 3, state(3))  # what is left there is in nobody's way
        assert checkpoint.load_newest(folder)["step"] == 3  # type: ignore[index]


# ---- 3. a flipped bit, a lost end ----
@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state folder of a fit that was killed in step 30, with its two checkpoints."""
    folder = tmp_path_factory.mktemp("stopped")
    assert afresh(run_until, folder, 30, "_log", 0, (12, 24)) == -signal.SIGKILL
    assert [path.name for path in sorted(folder.glob("*.pt"))] == [
        "step-000000012.pt",
        "step-000000024.pt",
    ]
    return folder


def harmed(content: bytes, chance: random.Random) -> bytes:
    """Flip one bit, or cut the end off."""
    at = chance.randrange(len(content))
    if chance.random() < 0.3:
        return content[:at]
    return content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :]


def test_damage_is_found_named_and_passed_over(
    stopped: Path, tmp_path: Path, straight: str, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("reprise").propagate = True
    caplog.set_level("INFO", logger="reprise")
    folder = shutil.copytree(stopped, tmp_path / "state")
    older, newest = sorted(folder.glob("*.pt"))
    whole, chance = newest.read_bytes(), random.Random(3)
    for _ in range(30):
        newest.write_bytes(harmed(whole, chance))
        caplog.clear()
        found = checkpoint.load_newest(folder)
        assert found is not None
        assert found["step"] == 12
        assert f"{newest} is damaged" in caplog.text
    fit = make_fit(folder)
    fit.run()
    assert fingerprint(fit) == straight
    assert f"{newest} is damaged" in caplog.text
    for path in (*folder.glob("*.pt"), older):
        path.write_bytes(harmed(whole, chance))
    with pytest.raises(RepriseError, match=f"every checkpoint in {folder} is damaged"):
        make_fit(folder).run()


# ---- 5. a signal that asks to stop ----
def signalled(folder: Path, number: int) -> None:
    fit = make_fit(folder, workers=2)
    real = fit._backward

    def backward(*given: Any) -> Any:
        if fit.state.step == 17:
            os.kill(os.getpid(), number)
        return real(*given)

    setattr(fit, "_backward", backward)  # noqa: B010
    try:
        fit.run()
    except Interrupted as stop:
        sys.exit(stop.exit_code)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_at_the_step_boundary_and_asks_to_be_started_again(
    tmp_path: Path, straight: str, number: int
) -> None:
    assert afresh(signalled, tmp_path, number) == os.EX_TEMPFAIL
    saved = checkpoint.load_newest(tmp_path)
    assert saved is not None
    assert saved["step"] == 18  # the step in which the signal came is finished
    fit = make_fit(tmp_path)
    fit.run()
    assert fingerprint(fit) == straight
