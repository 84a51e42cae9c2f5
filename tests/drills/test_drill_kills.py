"""Kills, signals and damage to checkpoints: the same bytes come out, or an error names the file."""

import logging
import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from drill import STEPS, die, fingerprint, forked, killed_in, make_fit

from reprise.errors import Interrupted, RepriseError
from reprise.training import checkpoint, loop

pytestmark = pytest.mark.quick

KILLS = 20
OFFSETS = 48  # and one kill before the file has its name, one after


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> str:
    fit = make_fit(tmp_path_factory.mktemp("straight"))
    fit.run()
    return fingerprint(fit)


# ---- 1. kill -9 at twenty random steps ----
@pytest.mark.parametrize("workers", [(0,), (2,), (0, 1, 2)], ids=str)
def test_twenty_kills_change_nothing(
    tmp_path: Path, straight: str, monkeypatch: pytest.MonkeyPatch, workers: tuple[int, ...]
) -> None:
    """Before the gradients of a step or after its weights moved; workers may change on the way."""
    chance = random.Random(sum(workers))
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.03)
    for number, step in enumerate(sorted(chance.sample(range(1, STEPS), KILLS))):
        fit = make_fit(tmp_path, workers=workers[number % len(workers)])
        killed_in(fit, step, chance.choice(["_backward", "_log"]))
        assert forked(fit.run) == -signal.SIGKILL
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
    deaths: list[tuple[int, Callable[[Path], None]]] = [
        (1, lambda folder, at=offset: save_up_to(folder, at))
        for offset in (number * (size - 1) // (OFFSETS - 1) for number in range(OFFSETS))
    ]
    deaths.append((1, lambda folder: save_up_to_the_name(folder, named=False)))
    deaths.append((2, lambda folder: save_up_to_the_name(folder, named=True)))
    for number, (newest, work) in enumerate(deaths):
        folder = shutil.copytree(first, tmp_path / str(number))
        assert forked(lambda work=work, folder=folder: work(folder)) == -signal.SIGKILL
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
    fit = make_fit(folder)
    real = fit._pause

    def save_often(signals: Any) -> None:
        fit._saved_at = -1e9 if fit.state.step in (12, 24) else fit._saved_at
        real(signals)

    setattr(fit, "_pause", save_often)  # noqa: B010
    killed_in(fit, 30, "_log")
    assert forked(fit.run) == -signal.SIGKILL
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
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_at_the_step_boundary_and_asks_to_be_started_again(
    tmp_path: Path, straight: str, number: int
) -> None:
    def work() -> None:
        fit = make_fit(tmp_path, workers=2)
        real = fit._backward

        def signalled(*given: Any) -> Any:
            if fit.state.step == 17:
                os.kill(os.getpid(), number)
            return real(*given)

        setattr(fit, "_backward", signalled)  # noqa: B010
        try:
            fit.run()
        except Interrupted as stop:
            os._exit(stop.exit_code)

    assert forked(work) == os.EX_TEMPFAIL
    saved = checkpoint.load_newest(tmp_path)
    assert saved is not None
    assert saved["step"] == 18  # the step in which the signal came is finished
    fit = make_fit(tmp_path)
    fit.run()
    assert fingerprint(fit) == straight
