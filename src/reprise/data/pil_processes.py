"""Blocks of a batch of images, worked on by several processes.

For an accelerator that would wait for one core. The processes are forked once; they share the
memory of the batch and of its result with us, and are told numbers alone. A block is what random
numbers are drawn for, so nothing depends on how many processes there are.
"""

import atexit
import contextlib
import ctypes
import math
import mmap
import multiprocessing.context
import os
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import numpy as np
from numpy.typing import NDArray

from reprise.errors import RepriseError
from reprise.training.seeding import BLOCK, Key

Bytes = NDArray[np.uint8]
# Fills the result of the samples from a number on, as many as a block has, by a key.
Work = Callable[[Bytes, Bytes, int, Key], None]
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of <sys/prctl.h>


def cores() -> int:
    """Return how many cores this process may use, an equal share beside others of `torchrun`.

    By its affinity: a container's quota of time is not seen.
    """
    known = getattr(os, "sched_getaffinity", None)
    found = len(known(0)) if known else os.cpu_count() or 1
    return max(1, found // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


class _Process(multiprocessing.context.ForkProcess):
    """Ends when the pool asks it to, though it leaves signals to us."""

    def terminate(self) -> None:
        self.kill()


class _Forks(multiprocessing.context.ForkContext):
    Process = _Process


class Crew:
    """Processes that carry out ``work`` on batches of one shape, uint8 [B, ...].

    ``processes`` are made when the first batch comes, by a fork, so ``work`` may be any function.
    Not for platforms without fork.
    """

    def __init__(
        self, work: Work, batch: tuple[int, ...], result: tuple[int, ...], processes: int
    ) -> None:
        self._batch, self._result = _shared(batch), _shared(result)
        self._pool = ProcessPoolExecutor(
            processes,
            _Forks(),
            _begin,
            (work, self._batch, self._result, os.getpid()),
        )
        # Else the end of this process would wait for theirs.
        atexit.register(self.close)

    def run(self, images: Bytes, keys: list[Key]) -> Bytes:
        """Return the result of a batch, one key for each of its blocks; valid until the next.

        RepriseError where one of the processes was killed.
        """
        self._batch[:] = images
        try:
            list(self._pool.map(_carry_out, range(0, len(images), BLOCK), keys))
        except BrokenProcessPool:
            raise RepriseError(
                "a process that augments images was killed, perhaps for want of memory. The same "
                "command goes on from the last checkpoint"
            ) from None
        return self._result

    def close(self) -> None:
        """Let the processes end."""
        atexit.unregister(self.close)
        processes = list((self._pool._processes or {}).values())
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.kill()  # a queue that is closed first would never tell them


def _shared(shape: tuple[int, ...]) -> Bytes:
    """Return an array that processes forked from this one share with it."""
    return np.frombuffer(mmap.mmap(-1, math.prod(shape)), np.uint8).reshape(shape)


# ---- in a process of the crew ----
_task: tuple[Work, Bytes, Bytes]


def _begin(work: Work, batch: Bytes, result: Bytes, parent: int) -> None:
    """Leave signals to the parent, which decides when to end, and end with it."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(AttributeError, OSError):  # Linux alone has it
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it died before it could be watched
    global _task
    _task = work, batch, result


def _carry_out(first: int, key: Key) -> None:
    work, batch, result = _task
    work(batch, result, first, key)
