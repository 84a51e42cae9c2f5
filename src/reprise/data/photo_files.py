"""Photographs that stay files: what is known of each of them, and where their bytes come from.

Nothing here imports torch, so that a process which looks through files starts in a fraction of a
second.
"""

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from reprise.data import decode
from reprise.data.parallel import in_order
from reprise.errors import DataError

DIGEST_BYTES = 16  # of a photograph's SHA-256 that are kept
CHUNK_FILES = 256
FEW = 1000  # files that are looked through sooner than a pool has started
SMALLEST = (1, 1)  # asks libjpeg for an eighth of the size: the whole file is read all the same


@dataclass(frozen=True)
class Looked:
    """Consecutive files: what is known of those at ``kept`` int64 [n].

    ``digests`` uint8 [n, `DIGEST_BYTES`], ``extents`` int32 [n, 2]: height and width in pixels.
    ``failed`` holds the place and the reason of each of the others.
    """

    digests: NDArray[np.uint8]
    extents: NDArray[np.int32]
    kept: NDArray[np.int64]
    failed: tuple[tuple[int, str], ...]


def look_all(paths: Sequence[str], workers: int | None = None) -> Iterator[Looked]:
    """Yield what is known of image files, in the order of paths, by several processes.

    Each file is read as a whole and decoded once, so that a damaged one is found now. Raises
    DataError where a file cannot be read at all.
    """
    yield from in_order(look, paths, CHUNK_FILES, FEW, workers)


def look(paths: Sequence[str], first: int = 0) -> Looked:
    """Look through files one after the other; ``first`` is the place of the first among all."""
    digests, extents, kept = list[bytes](), list[tuple[int, int]](), list[int]()
    failed: list[tuple[int, str]] = []
    for place, path in enumerate(paths, first):
        content = decode.read(path)
        try:
            extent = _extent(content)
        except MemoryError:
            raise
        except UnidentifiedImageError:
            failed.append((place, "not an image that Pillow knows"))
        except Exception as error:  # each decoder raises what it likes on damaged files
            failed.append((place, f"{error}" or type(error).__name__))
        else:
            kept.append(place)
            digests.append(digest(content))
            extents.append(extent)
    return Looked(
        np.frombuffer(b"".join(digests), np.uint8).reshape(-1, DIGEST_BYTES),
        np.array(extents, np.int32).reshape(-1, 2),
        np.array(kept, np.int64),
        tuple(failed),
    )


def _extent(content: bytes) -> tuple[int, int]:
    """Return height and width of an image that can be decoded; raise what Pillow does."""
    if not content:
        raise ValueError("empty file")
    image: Image.Image = Image.open(io.BytesIO(content))
    width, height = image.size
    image.draft("RGB", SMALLEST)
    image.load()
    return height, width


def digest(content: bytes) -> bytes:
    """Return the first `DIGEST_BYTES` of a SHA-256."""
    return hashlib.sha256(content).digest()[:DIGEST_BYTES]


class Store(Protocol):
    """Where the bytes of a split's photographs come from."""

    def __len__(self) -> int: ...
    def name(self, index: int) -> str:
        """Return what a message calls a photograph."""

    def read(self, index: int) -> bytes:
        """Return a photograph's bytes; DataError where they cannot be read."""


@dataclass(frozen=True)
class Names:
    """Strings in one array that can be mapped: ``text`` uint8 [bytes], ``ends`` int64 [N]."""

    text: NDArray[np.uint8]
    ends: NDArray[np.int64]

    @classmethod
    def of(cls, names: Sequence[str]) -> "Names":
        """Pack strings."""
        parts = [name.encode("utf-8", "surrogateescape") for name in names]
        ends = np.cumsum([len(part) for part in parts], dtype=np.int64)
        return cls(np.frombuffer(b"".join(parts), np.uint8), ends.reshape(-1))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> str:
        start = int(self.ends[index - 1]) if index else 0
        return self.text[start : int(self.ends[index])].tobytes().decode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class Files:
    """A `Store` of files below a folder."""

    root: Path
    names: Names

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        return str(self.root / self.names[index])

    def read(self, index: int) -> bytes:
        return decode.read(self.name(index))


def checked(store: Store, index: int, expected: bytes) -> bytes:
    """Return a photograph's bytes; DataError naming it where they are not what was prepared."""
    content = store.read(index)
    if digest(content) != expected:
        raise DataError(
            f"{store.name(index)}: its content is not what was prepared (SHA-256 begins with "
            f"{digest(content).hex()}, expected {expected.hex()}); bring it back (a packed file: "
            "remove it and pack again), or remove manifest.json and prepare the data set again"
        )
    return content
