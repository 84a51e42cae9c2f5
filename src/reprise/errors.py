"""The errors a user can mend. The command line prints their text without a traceback."""

import difflib
import sys
from collections.abc import Iterable


class RepriseError(Exception):
    """Something is wrong with what the user gave us; the message says what and how to mend it."""


class ConfigError(RepriseError):
    """A parameter file does not say what it must."""


class DataError(RepriseError):
    """A data set is absent, malformed or altered."""


class StaleError(RepriseError):
    """A file was made by other settings, sources or data than the present ones."""


class NonFiniteError(RepriseError):
    """Training met a loss that is not a finite number."""


class Interrupted(Exception):
    """A signal asked the process to stop; its state is saved and the same command resumes it."""

    exit_code = 75  # EX_TEMPFAIL: "try again", told apart from failures by schedulers and tests


def at_scale() -> str:
    """Return ``" --scale x"`` where this command line was given one, for commands to type next."""
    words = sys.argv[1:]
    for place, word in enumerate(words):
        if word == "--scale":
            return " ".join(["", *words[place : place + 2]])
        if word.startswith("--scale="):
            return f" {word}"
    return ""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the closest known word, or an empty string."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def unknown(kind: str, word: str, known: Iterable[str]) -> str:
    """Return a message that names an unknown word, the nearest known one and all allowed ones."""
    names = sorted(known)
    return f"unknown {kind} {word!r}{nearest(word, names)}; known: {', '.join(names) or 'none'}"
