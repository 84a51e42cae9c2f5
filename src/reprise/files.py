"""Files that are either whole or absent, whatever kills the process that writes them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Name a file in the errors of writing to it, in which the system names none."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside path; publish it under path's name when the block succeeds.

    The bytes are on the disk before the name is: temporary name, fsync, rename, fsync of the
    folder. Raises OSError (disk full, read-only) with nothing left under either name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with named(path), temporary.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a whole file, or nothing; text is UTF-8."""
    with atomic(path) as stream:
        stream.write(content.encode() if isinstance(content, str) else content)
