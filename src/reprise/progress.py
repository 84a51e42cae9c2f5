"""What a user sees of long work: a bar with speed and time left, and lines in a log file."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

LOGGER = logging.getLogger("reprise")
LINE_EVERY = 10.0  # seconds between lines where there is no terminal to draw a bar on


def say(message: str) -> None:
    """Tell the user one line, on the terminal and in the step's log file."""
    LOGGER.info(message)


def setup_logging(log_file: Path | None = None) -> None:
    """Send messages to standard error and, when given, to a log file (appended)."""
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
    LOGGER.handlers.clear()
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setFormatter(logging.Formatter("%(message)s"))
    LOGGER.addHandler(terminal)
    if log_file is not None:
        log_file.parent.mkdir(parents=True, exist_ok=True)
        file = logging.FileHandler(log_file, encoding="utf-8")
        file.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        LOGGER.addHandler(file)


class Bar:
    """A progress bar on a terminal; elsewhere a line now and then. Counts in samples."""

    def __init__(self, label: str, total: int, done: int = 0, unit: str = "img") -> None:
        self.label, self.total, self.done, self.unit = label, total, done, unit
        self._started, self._first, self._said = time.monotonic(), done, time.monotonic()
        self._bar = tqdm(
            desc=label,
            total=total,
            initial=done,
            unit=unit,
            unit_scale=True,
            dynamic_ncols=True,
            leave=False,
            disable=None,  # shown only on a terminal
            file=sys.stderr,
            mininterval=0.25,
        )

    @property
    def rate(self) -> float:
        """Samples per second since this process began on them."""
        return (self.done - self._first) / max(time.monotonic() - self._started, 1e-9)

    def advance(self, count: int, note: str = "") -> None:
        """Count finished samples; note is shown behind the bar."""
        self.done += count
        self._bar.update(count)
        if note:
            self._bar.set_postfix_str(note, refresh=False)
        now = time.monotonic()
        if self._bar.disable and now - self._said >= LINE_EVERY:
            self._said = now
            left = (self.total - self.done) / max(self.rate, 1e-9)
            percent = 100 * self.done / max(self.total, 1)
            speed = f"{self.rate:,.0f} {self.unit}/s"
            say(f"{self.label}: {percent:.0f} %, {speed}, {left:.0f} s left {note}".rstrip())


@contextmanager
def bar(label: str, total: int, done: int = 0, unit: str = "img") -> Iterator[Bar]:
    """Show progress through ``total`` samples, of which ``done`` are done already."""
    shown = Bar(label, total, done, unit)
    try:
        with logging_redirect_tqdm([LOGGER]):
            yield shown
    finally:
        shown._bar.close()
