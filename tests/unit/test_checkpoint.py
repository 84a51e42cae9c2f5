"""Checkpoints: whole or refused, two kept, damage named and passed over."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from reprise.errors import RepriseError
from reprise.training import checkpoint


def state(step: int) -> dict[str, object]:
    return {"step": step, "weights": torch.full((100,), float(step)), "log": [{"loss": 1.5}]}


def test_round_trip_and_only_two_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, step, state(step))
    found = checkpoint.load_newest(tmp_path)
    assert found is not None
    assert found["step"] == 3
    assert torch.equal(found["weights"], torch.full((100,), 3.0))
    assert [path.name for path in sorted(tmp_path.glob("*.pt"))] == [
        "step-000000002.pt",
        "step-000000003.pt",
    ]
    assert len(list(tmp_path.glob("*.sha256"))) == 2


@pytest.mark.parametrize("harm", ["flip", "truncate", "no digest"])
def test_a_damaged_checkpoint_is_passed_over(
    tmp_path: Path, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint.save(tmp_path, 1, state(1))
    newest = checkpoint.save(tmp_path, 2, state(2))
    content = bytearray(newest.read_bytes())
    if harm == "flip":
        content[len(content) // 2] ^= 1
        newest.write_bytes(content)
    elif harm == "truncate":
        newest.write_bytes(content[:-10])
    else:
        newest.with_suffix(".sha256").unlink()
    import logging

    logging.getLogger("reprise").propagate = True
    with caplog.at_level("INFO", logger="reprise"):
        found = checkpoint.load_newest(tmp_path)
    assert found is not None
    assert found["step"] == 1
    assert str(newest) in caplog.text


def test_all_damaged_is_an_error_that_names_the_folder(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 1, state(1)).write_bytes(b"broken")
    with pytest.raises(RepriseError, match=str(tmp_path)):
        checkpoint.load_newest(tmp_path)


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert checkpoint.load_newest(tmp_path / "absent") is None


def test_a_full_disk_names_path_and_size_and_keeps_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint.save(tmp_path, 1, state(1))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RepriseError, match=r"step-000000002.pt.*No space left"):
        checkpoint.save(tmp_path, 2, state(2))
    monkeypatch.undo()
    found = checkpoint.load_newest(tmp_path)
    assert found is not None
    assert found["step"] == 1
    assert not list(tmp_path.glob("*.tmp"))


def test_a_kill_while_writing_never_leaves_a_partial_file(tmp_path: Path) -> None:
    """A writer is killed at many moments; the newest checkpoint always loads whole."""
    program = (
        "import sys, torch; from pathlib import Path; from reprise.training import checkpoint\n"
        "folder = Path(sys.argv[1]); print('ready', flush=True)\n"
        "for step in range(1, 10**6):\n"
        "    w = torch.full((200_000,), float(step))\n"
        "    checkpoint.save(folder, step, {'step': step, 'w': w})\n"
    )
    for number in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        child.stdout.readline()
        try:
            child.wait(0.05 + 0.037 * number)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.wait()
        found = checkpoint.load_newest(tmp_path)
        if found is not None:
            assert torch.equal(found["w"], torch.full((200_000,), float(found["step"])))
