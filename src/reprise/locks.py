"""Locks that a kill frees: flock on a small file that names its holder.

A lock file is never removed, so two processes can never hold two files of one name.
"""

import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from reprise.errors import RepriseError

POLL = 0.2  # seconds between two tries
TELL_EVERY = 30.0  # seconds between two lines to the user
# Environment variable under which a driver starts Snakemake as a part of its own work.
DRIVER_IS_PARENT = "REPRISE_DRIVER_IS_PARENT"


class LockedError(RepriseError):
    """Another process holds the lock; the message names it and says how to wait."""


def take(path: Path, what: str) -> TextIO:
    """Take the lock now; it is held until the returned file is closed or the process ends.

    The file is not inherited by programs that the process starts (PEP 446), so an orphaned job
    never keeps the lock of a driver that was killed. Raises LockedError naming the holder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stream.close()
        raise LockedError(
            f"{what} is locked by {_holder(path)}.\n"
            f"Wait until it ends, or stop it; killing it frees the lock ({path})."
        ) from None
    stream.truncate(0)
    since = datetime.now(UTC).isoformat(timespec="seconds")
    json.dump({"pid": os.getpid(), "host": socket.gethostname(), "since": since}, stream)
    stream.flush()
    return stream


def take_driver(root: Path) -> TextIO:
    """Take the lock of the one process that may change a workspace's results; see `take`."""
    return take(root / ".reprise" / "driver.lock", f"the workspace {root}")


def driver(root: Path) -> int | None:
    """Return the pid of the living process that drives a workspace, None where there is none."""
    file = root / ".reprise" / "driver.lock"
    try:
        holder = json.loads(file.read_text(encoding="utf-8"))
        if holder["host"] != socket.gethostname():
            return None
        os.kill(holder["pid"], 0)  # signal 0 only asks whether it lives
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return int(holder["pid"])


@contextmanager
def hold(path: Path, what: str, wait: bool = False) -> Iterator[None]:
    """Hold a lock for the length of a block.

    With ``wait`` it waits for its turn and tells on standard error for whom, once and then every
    30 s; without, it raises LockedError at once. ``what`` names the locked thing in messages.
    """
    with _take_in_turn(path, what) if wait else take(path, what):
        yield


def _take_in_turn(path: Path, what: str) -> TextIO:
    tell_at = time.monotonic()
    while True:
        with suppress(LockedError):
            return take(path, what)
        if time.monotonic() >= tell_at:
            print(f"{what}: waiting for {_holder(path)}", file=sys.stderr, flush=True)
            tell_at = time.monotonic() + TELL_EVERY
        time.sleep(POLL)


def _holder(path: Path) -> str:
    """Name a lock's holder in words; it may be between taking the lock and signing it."""
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
