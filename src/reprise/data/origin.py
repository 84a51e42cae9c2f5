"""Where the files that a data set is made from lie, as against what they are.

Of a data set's arguments, those in `WHERE` say where: they may differ from machine to machine and
belong to no digest. So that another set of photographs at a place is not taken for the one that
was prepared, a glimpse of what lies there is kept beside the manifest and compared.

Nothing here imports torch: the workflow and `status` ask these questions before every run.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from reprise.errors import DataError
from reprise.files import write_atomic

WHERE = frozenset({"root"})
GLIMPSE = "glimpse.txt"
SAMPLE = 8  # entries of a folder that a glimpse looks into, spread evenly
DEPTH = 4  # levels of folders below the root that a glimpse may reach
# Files beside the data that may be lost when it is copied.
PAPERS = ("readme", "licen")


def what(args: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that say what a data set is."""
    return {key: value for key, value in args.items() if key not in WHERE}


def place(root: str) -> Path:
    """Return the folder that a ``root`` names; a relative one is below the workspace.

    Environment variables, written ``${NAME}``, are filled in; DataError where one is not set.
    """
    filled = os.path.expandvars(root)
    if "$" in filled:
        name = filled.partition("$")[2].strip("{").partition("}")[0].partition("/")[0]
        raise DataError(
            f"root = {root}: the environment variable {name} is not set; "
            f"`export {name}=/path/to/the/folder` sets it"
        )
    return Path(os.environ.get("REPRISE_ROOT", "."), filled).expanduser()


def glimpse(args: Mapping[str, Any]) -> str | None:
    """Return a digest of names and some file sizes at ``args["root"]``, None where it is absent.

    It takes milliseconds however many files there are, as it looks into a few folders only; it
    tells another data set, size or version from the same one elsewhere, not a single new file.
    """
    if "root" not in args:
        return None
    try:
        folder = place(str(args["root"]))
        sha = hashlib.sha256()
        for part in _look(folder, DEPTH):
            sha.update(os.fsencode(part) + b"\0")
    except (DataError, OSError):
        return None
    return sha.hexdigest()


def _look(folder: Path, depth: int) -> Iterator[str]:
    """Yield the names in a folder, and what a few of its files and folders hold."""
    names = sorted(
        path.name
        for path in folder.iterdir()
        if not path.name.lower().startswith((".", *PAPERS)) and path.suffix != ".part"
    )
    yield from names
    for name in evenly(names, SAMPLE):
        path = folder / name
        if not path.is_dir():
            yield str(path.stat().st_size)
        elif depth:
            yield from _look(path, depth - 1)


def evenly(items: Sequence[str], most: int) -> list[str]:
    """Return at most so many of the items, spread evenly, first and last among them."""
    if len(items) <= most:
        return list(items)
    return [items[round(at * (len(items) - 1) / (most - 1))] for at in range(most)]


def record(folder: Path, seen: str | None) -> None:
    """Keep a glimpse beside the data set that was prepared from there."""
    if seen is not None:
        write_atomic(folder / GLIMPSE, seen + "\n")


def seen(folder: Path, args: Mapping[str, Any]) -> str | None:
    """Return the glimpse of the root, or the one kept in a prepared folder where it is absent."""
    now = glimpse(args)
    return _recorded(folder) if now is None else now


def differs(folder: Path, args: Mapping[str, Any]) -> str:
    """Say that the root holds something else than was prepared; empty where it does not.

    An absent root says nothing: what is prepared no longer needs it.
    """
    before, now = _recorded(folder), glimpse(args)
    if before is None or now is None or before == now:
        return ""
    return f"prepared from other files than {place(str(args['root']))} holds now"


def _recorded(folder: Path) -> str | None:
    file = folder / GLIMPSE
    return file.read_text(encoding="utf-8").strip() if file.is_file() else None
