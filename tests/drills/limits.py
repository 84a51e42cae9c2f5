"""How long a drill may take."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

SECONDS = 60  # of one drill
BUILD_SECONDS = 120  # of the small workspace that the drills of the workflow share
# A machine that is slow or busy may be given more: REPRISE_DRILL_SLOWNESS=5 allows five times that.
SLOWNESS = float(os.environ.get("REPRISE_DRILL_SLOWNESS", "1"))


@contextmanager
def limit(seconds: float = SECONDS) -> Iterator[None]:
    """Fail what takes longer than a drill may."""

    def too_long(_number: int, _frame: object) -> None:
        pytest.fail(f"it took more than {seconds * SLOWNESS:.0f} s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, seconds * SLOWNESS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
