"""Checkpoints that are whole or refused: digest beside each, two kept, the newest valid one used.

They live in a state folder outside every declared output, keyed by a run's digest, so that an
edited run never resumes an old one and no workflow tool deletes them.
"""

import hashlib
import shutil
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch

from reprise.errors import RepriseError
from reprise.files import atomic, write_atomic
from reprise.progress import say
from reprise.provenance import digest_of_file

KEEP = 2


class _Hashing:
    """A stream that hashes what passes through it, so that a checkpoint is read only once."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self.sha = stream, hashlib.sha256()
        self.refused: OSError | None = None

    def write(self, data: bytes) -> int:
        self.sha.update(data)
        try:
            return self._stream.write(data)
        except OSError as error:
            self.refused = error
            raise

    def flush(self) -> None:
        self._stream.flush()


def _digest_file(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _all(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*.pt"), reverse=True)


def save(folder: Path, step: int, state: dict[str, Any]) -> Path:
    """Write the state after ``step`` finished steps; keep this one and the one before.

    Raises RepriseError naming the folder and the bytes needed when the disk refuses.
    """
    path = folder / f"step-{step:09d}.pt"
    try:
        with atomic(path) as stream:
            hashing = _Hashing(stream)
            try:
                torch.save(state, cast(BinaryIO, hashing))
            except RuntimeError as error:  # what torch's writer says in place of the disk's refusal
                raise hashing.refused or error from None
            # The digest is there before the name is: a checkpoint without one is never seen.
            write_atomic(_digest_file(path), hashing.sha.hexdigest())
    except OSError as error:
        need = sum(t.numel() * t.element_size() for t in _tensors(state))
        raise RepriseError(
            f"cannot write the checkpoint {path} (about {need / 1e6:,.0f} MB): "
            f"{error.strerror}; earlier checkpoints are intact, free some space and run again"
        ) from error
    for old in _all(folder)[KEEP:]:
        old.unlink()
        _digest_file(old).unlink(missing_ok=True)
    return path


def _tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [tensor for part in value for tensor in _tensors(part)]
    return []


def load_newest(folder: Path, device: torch.device | str = "cpu") -> dict[str, Any] | None:
    """Return the newest state whose bytes are whole, or None where there is no checkpoint.

    A damaged one is named and passed over. Raises RepriseError when all are damaged.
    """
    paths = _all(folder)
    for path in paths:
        expected = _digest_file(path)
        if not expected.is_file() or digest_of_file(path) != expected.read_text().strip():
            say(f"checkpoint {path} is damaged (its SHA-256 differs): trying the one before")
            continue
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        return state
    if paths:
        raise RepriseError(
            f"every checkpoint in {folder} is damaged; delete that folder to train from the start"
        )
    return None


def tidy(folder: Path) -> None:
    """Delete what a kill in the middle of a write left; only while nobody writes there."""
    for left in folder.glob(".step-*.tmp"):
        left.unlink(missing_ok=True)


def remove(folder: Path) -> None:
    """Delete a state folder after its results are published."""
    shutil.rmtree(folder, ignore_errors=True)
