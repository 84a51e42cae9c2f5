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
import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess

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


class Crew:
    """Processes that carry out ``work`` on batches of one shape, uint8 [B, ...].

    They are forked, so ``work`` may be any function; not for platforms without fork. Each has a
    pipe of its own and no lock is shared, so that one which is killed holds up no other.
    """

    def __init__(
        self, work: Work, batch: tuple[int, ...], result: tuple[int, ...], processes: int
    ) -> None:
        self._batch, self._result = _shared(batch), _shared(result)
        self._links: list[Connection] = []
        self.processes: list[ForkProcess] = []
        context = multiprocessing.get_context("fork")
        for _ in range(processes):
            ours, theirs = context.Pipe()
            given = (theirs, work, self._batch, self._result, os.getpid())
            process = context.Process(target=_serve, args=given, daemon=True)
            process.start()
            theirs.close()  # else the end of that process would not be seen
            self._links.append(ours)
            self.processes.append(process)
        # Before multiprocessing asks them to end by a signal that they leave to us, and waits.
        atexit.register(self.close)

    def run(self, images: Bytes, keys: list[Key]) -> Bytes:
        """Return the result of a batch, one key for each of its blocks; valid until the next.

        RepriseError where one of the processes was killed; what one of them raises is raised here.
        """
        self._batch[:] = images
        blocks = list(zip(range(0, len(images), BLOCK), keys, strict=True))
        try:
            for number, link in enumerate(self._links):
                link.send(blocks[number :: len(self._links)])
            failures = [link.recv() for link in self._links]
        except (EOFError, OSError):
            self.close()
            raise RepriseError(
                "a process that augments images was killed, perhaps for want of memory. The same "
                "command goes on from the last checkpoint"
            ) from None
        for failure in filter(None, failures):
            raise failure
        return self._result

    def close(self) -> None:
        """End the processes."""
        atexit.unregister(self.close)
        for process in self.processes:
            process.kill()
            process.join()


def _shared(shape: tuple[int, ...]) -> Bytes:
    """Return an array that processes forked from this one share with it."""
    return np.frombuffer(mmap.mmap(-1, math.prod(shape)), np.uint8).reshape(shape)


# ---- in a process of the crew ----
def _serve(link: Connection, work: Work, batch: Bytes, result: Bytes, parent: int) -> None:
    """Do what is asked, block by block, and answer with what went wrong or None."""
    _live_with(parent)
    while True:
        blocks: list[tuple[int, Key]] = link.recv()
        failure = None
        try:
            for first, key in blocks:
                work(batch, result, first, key)
        except Exception as error:  # the parent's to raise
            failure = error
        link.send(failure)


def _live_with(parent: int) -> None:
    """Leave signals to the parent, which decides when to end, and end with it."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(AttributeError, OSError):  # Linux alone has it
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it died before it could be watched
