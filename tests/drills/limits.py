"""How long a drill may take: it is there to end what hangs, and not to measure."""

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import watchdog

# What drills share, a drill itself and what it leaves to be done have so long each, where the
# machine does nothing else; they take seconds (docs/drills.md). A busy machine is given more by
# itself, a slow one by REPRISE_DRILL_SLOWNESS=5, which allows five times this.
QUICK_SECONDS = 300.0
SECONDS = 1800.0  # of those that are not quick
SLOWNESS = float(os.environ.get("REPRISE_DRILL_SLOWNESS", "1"))
GRACE = 60.0  # after which one that the alarm did not end is ended from outside


def allowed(seconds: float) -> float:
    """Return how long it may take now: so many times longer as there are processes for a core."""
    return seconds * SLOWNESS * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


class Limits:
    """The mark of all processes that the drills of this pytest start, and who watches them."""

    def __init__(self) -> None:
        self.mark = f"{os.getpid()}-{secrets.token_hex(8)}"
        command = [sys.executable, "-S", watchdog.__file__, str(os.getpid()), self.mark]
        self._watch = subprocess.Popen(command, stdin=subprocess.PIPE)
        os.environ[watchdog.NAME] = self.mark

    def close(self) -> None:
        """Have all that is left killed."""
        del os.environ[watchdog.NAME]
        self._watch.communicate()

    @contextmanager
    def limit(self, seconds: float, grace: float = GRACE) -> Iterator[None]:
        """Fail what takes longer, and kill the processes that it started."""

        def too_long(_number: int, _frame: object) -> None:
            watchdog.kill_all(self.mark)
            pytest.fail(f"it took more than {seconds:.0f} s, and its processes were killed")

        before = signal.signal(signal.SIGALRM, too_long)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        self._tell(seconds + grace)
        try:
            yield
        finally:
            self._tell(0)
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    def _tell(self, seconds: float) -> None:
        assert self._watch.stdin is not None
        self._watch.stdin.write(f"{seconds}\n".encode())
        self._watch.stdin.flush()
