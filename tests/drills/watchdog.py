"""Ends a pytest that no longer answers, and every process that its drills have started.

Pytest's own alarm ends a drill that waits in Python. One that hangs in a library's code, or keeps
processes that do, is ended from outside:

    python watchdog.py <pid of pytest> <mark>

reads from its standard input how many seconds from now it is to wait, 0 for ever, and what comes
last counts. When that time is over, or standard input has ended, what carries the mark is killed.
"""

import contextlib
import os
import select
import signal
import sys
import time
from pathlib import Path

NAME = "DRILLS_OF"  # of the variable in the environment of all that drills start
LAST_WORDS = 10.0  # seconds for pytest to print where it hung


def carriers(mark: str) -> list[int]:
    """Return the processes that were started with the mark in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            if f"{NAME}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def kill_all(mark: str) -> None:
    """Kill all that carry the mark, and what they start meanwhile."""
    for _ in range(100):
        left = carriers(mark)
        if not left:
            return
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def watch(pid: int, mark: str) -> None:
    """Wait for as long as we are told to, then kill."""
    pytest, seconds = os.pidfd_open(pid), 0.0  # which never means another process
    while select.select([0], [], [], seconds or None)[0]:
        told = os.read(0, 4096).split()
        if not told:  # pytest has ended, or its drills have
            kill_all(mark)
            return
        seconds = float(told[-1])
    kill_all(mark)
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pytest, signal.SIGABRT)  # it prints the stacks of its threads
        time.sleep(LAST_WORDS)
        signal.pidfd_send_signal(pytest, signal.SIGKILL)


if __name__ == "__main__":
    watch(int(sys.argv[1]), sys.argv[2])
