"""METEOR 1.5 as a process that stays alive over calls: its paraphrase table takes seconds to load.

Source: the protocol of `pycocoevalcap.meteor`, with the same jar and options; Denkowski and Lavie,
"Meteor Universal", WMT 2014.
"""

import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from reprise.captions import java
from reprise.captions.corpus import METEOR_COLUMNS
from reprise.captions.tokens import Tokens

SEPARATOR = " ||| "
PATIENCE = 1  # seconds that the process gets to end by itself; it has nothing to save


class Meteor:
    """A METEOR process; use it as a context manager, which ends the process whatever happens.

    It loads in the background from the ``with`` line on, so cutting captions into tokens inside
    the block costs no further time. One caller at a time; it is no thread's to share.
    """

    def __init__(self) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start the process; raise JavaError where Java or METEOR's files are absent."""
        if self._process is not None:
            raise java.JavaError("this METEOR is running already: one `with` block at a time")
        path = java.jar("meteor", "meteor-1.5.jar")
        java.jar("meteor/data", "paraphrase-en.gz")  # missed here, not in a trace of Java's
        options = ("-", "-", "-stdio", "-l", "en", "-norm")
        self._folder = tempfile.TemporaryDirectory(prefix="reprise-meteor-")
        temporary = f"-Djava.io.tmpdir={self._folder.name}"
        try:
            line = java.command("-Xmx2G", temporary, "-jar", path, *options)
            # Error output goes to a file: a pipe that nobody reads would stop the process when full
            with Path(self._folder.name, "stderr").open("wb") as stderr:
                self._process = subprocess.Popen(
                    line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr
                )
        except BaseException as error:
            self._folder.cleanup()
            if isinstance(error, OSError):
                raise java.JavaError(f"METEOR does not start: {error}") from None
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the process: the end of its input ends it, and a kill whatever stays longer."""
        process, self._process = self._process, None
        assert process is not None
        assert self._folder is not None
        with self._folder, process:
            try:
                process.communicate(timeout=PATIENCE if kind is None else 0)
            except (subprocess.TimeoutExpired, OSError, ValueError):
                pass  # it is still loading, or died
            finally:
                process.kill()

    def statistics(self, tokens: Tokens) -> NDArray[np.float64]:
        """Return METEOR's own statistics of every image, float64 [n, 23] of whole numbers.

        The best reference of an image is METEOR's choice. `reprise.captions.corpus` says what the
        columns are and makes the corpus score of any resample of rows. An empty candidate matches
        nothing and counts with the length of its first reference. Raises JavaError where the
        process is not running, died or answered something else.
        """
        rows = np.empty((len(tokens.ids), METEOR_COLUMNS))
        pairs = zip(tokens.candidates, tokens.references, strict=True)
        for row, (candidate, references) in zip(rows, pairs, strict=True):
            # As pycocoevalcap: METEOR's own separator and doubled spaces are taken out.
            texts = [
                text.replace("|||", "").replace("  ", " ") for text in (*references, candidate)
            ]
            row[:] = self._numbers(SEPARATOR.join(("SCORE", *texts)), METEOR_COLUMNS)
        return rows

    def scores(self, statistics: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return the jar's own corpus score and scores of images, float64 [n], from statistics.

        Nothing in a build needs it: it is what `reprise.captions.corpus.meteor` is tested against.
        """
        rows = (" ".join(map(str, row)) for row in statistics.tolist())
        self._write(SEPARATOR.join(("EVAL", *rows)))
        images = np.array([float(self._read()) for _ in statistics])
        return float(self._read()), images

    def _numbers(self, line: str, count: int) -> list[float]:
        self._write(line)
        answer = self._read()
        try:
            numbers = [float(word) for word in answer.split()]
        except ValueError:
            numbers = []
        if len(numbers) != count:
            raise java.JavaError(f"METEOR answered {answer!r} where {count} numbers are due")
        return numbers

    def _write(self, line: str) -> None:
        stdin = self._running().stdin
        assert stdin is not None
        try:
            stdin.write(f"{line}\n".encode())
            stdin.flush()
        except OSError:
            self._died()

    def _read(self) -> str:
        stdout = self._running().stdout
        assert stdout is not None
        answer = stdout.readline()
        if not answer.endswith(b"\n"):
            self._died()
        return answer.decode().strip()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise java.JavaError("METEOR is not running: use it inside `with Meteor() as meteor:`")
        return self._process

    def _died(self) -> NoReturn:
        assert self._folder is not None
        said = java.last_words(Path(self._folder.name, "stderr").read_bytes())
        raise java.JavaError(f"METEOR's process ended early: {said}")
