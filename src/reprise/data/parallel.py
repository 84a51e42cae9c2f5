"""Work on many files in fresh processes, with its results in order.

Nothing here imports torch, so that a process starts in a fraction of a second, as long as the
module of the function that it is to run imports none.
"""

import multiprocessing
import os
import signal
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from reprise.errors import DataError

Item = TypeVar("Item")
Result = TypeVar("Result")
Work = Callable[[Sequence[Item], int], Result]


def in_order(
    work: Work[Item, Result],
    items: Sequence[Item],
    step: int,
    few: int = 0,
    workers: int | None = None,
) -> Iterator[Result]:
    """Yield ``work(items[start : start + step], start)`` for start = 0, step, ..., in order.

    ``workers`` are as many as there are processors where it is None; so ``few`` items or one
    chunk are done in this process. Little more than two results a worker are in memory at any
    time. What the work raises is raised here; DataError where a process is killed.
    """
    starts = range(0, len(items), step)
    workers = min(workers or len(os.sched_getaffinity(0)), len(starts))
    if workers <= 1 or len(items) <= few:
        for start in starts:
            yield work(items[start : start + step], start)
        return
    # Fresh processes: a fork would copy whatever threads hold locks in this one.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start_worker) as pool:
        try:
            waiting: deque[Future[Result]] = deque()
            for start in starts:
                waiting.append(pool.submit(work, items[start : start + step], start))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise DataError(
                "a process that decoded images was killed, perhaps for lack of memory; "
                "run the same command again"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and end with it however it ends, kill -9 included."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")  # Pillow's, on odd metadata: they name no file
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
