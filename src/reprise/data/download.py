"""Getting files: a chain of sources, downloads that resume and retry, Debian packages without root.

Nothing here decides what the content must be: callers verify it, so that no source is trusted.
"""

import contextlib
import http.client
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar
from urllib.parse import urlsplit

from reprise.errors import DataError
from reprise.progress import bar

Log = Callable[[str], None]
T = TypeVar("T")

ATTEMPTS = 3
BACK_OFF = 1.0  # seconds before the first retry, doubled before each further one
TIMEOUT = 15.0  # seconds without a byte
PACKAGE_TIMEOUT = 900.0  # seconds for one call of apt-get
CHUNK = 1 << 18


class Unavailable(Exception):
    """A source cannot serve; the message says why, and the next one is tried."""


class Broken(Exception):
    """What arrived is incomplete or damaged; another attempt may bring it whole."""


@dataclass(frozen=True)
class Source(Generic[T]):
    """A place to get something from; ``get`` raises Unavailable where it cannot."""

    name: str
    get: Callable[[], T]


def first_that_works(
    what: str, sources: Iterable[Source[T]], by_hand: str, log: Log
) -> tuple[str, T]:
    """Return (source name, what it served) of the first source that serves.

    Raises DataError that lists every source with why it failed, then ``by_hand``.
    """
    tried = []
    for source in sources:
        try:
            return source.name, source.get()
        except Unavailable as reason:
            tried.append(f"{source.name}: {reason}")
            log(f"{what}: {tried[-1]}")
    raise DataError("\n  - ".join([f"{what} could not be had. Tried:", *tried]) + f"\n{by_hand}")


def retry(action: Callable[[], T], log: Log) -> T:
    """Call an action again, after growing pauses, where it raises Broken.

    Raises Unavailable with the last reason when every attempt failed.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return action()
        except Broken as reason:
            if attempt == ATTEMPTS:
                raise Unavailable(f"{reason} ({ATTEMPTS} attempts)") from None
            pause = BACK_OFF * 2 ** (attempt - 1)
            log(f"{reason}; trying again in {pause:.0f} s")
            time.sleep(pause)
    raise AssertionError("unreachable")


def download(url: str, target: Path) -> None:
    """Bring an http(s) URL to target in one attempt, going on from what an earlier one left.

    The bytes gather in ``<target>.part``; where the server names the version of the file, another
    one begins anew. Raises Broken where another attempt may do better, Unavailable where the server
    says that it will not.
    """
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url}: not an http(s) URL")
    part, version = part_of(target), version_of(target)
    part.parent.mkdir(parents=True, exist_ok=True)
    done = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={done}-"} if done else {}
    if done and (known := _version(version, url)):
        headers["If-Range"] = known
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 (scheme checked above)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:  # noqa: S310
            if response.status != 206:
                done = 0
                _note_version(response, version, url)
            _receive(response, part, done)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the part is as long as the file, or longer
            part.unlink()
        kind = Broken if error.code in (408, 416, 429) or error.code >= 500 else Unavailable
        raise kind(f"{url}: HTTP {error.code} {error.reason}") from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, socket.gaierror):
            raise Unavailable(f"no address for {urlsplit(url).hostname}; no network?") from None
        raise Broken(f"{url}: {reason or repr(reason)}") from None
    part.replace(target)
    version.unlink(missing_ok=True)


def part_of(target: Path) -> Path:
    """Where the bytes of a file gather that is not there yet."""
    return target.with_name(target.name + ".part")


def version_of(target: Path) -> Path:
    """Where stands which version of a file the bytes that have gathered are of, if it is known."""
    return target.with_name(f".{target.name}.version")


def _note_version(response: http.client.HTTPResponse, file: Path, url: str) -> None:
    """Keep what a server calls the version that it begins to send; weak tags are of no use."""
    tag = response.headers["ETag"] or ""
    known = tag if tag.startswith('"') else response.headers["Last-Modified"]
    if known:
        file.write_text(f"{url}\n{known}", encoding="utf-8")
    else:
        file.unlink(missing_ok=True)


def _version(file: Path, url: str) -> str:
    """Return what a server called the version; empty for another server, which knows it not."""
    said = file.read_text(encoding="utf-8") if file.is_file() else ""
    where, _, known = said.partition("\n")
    return known if where == url else ""


def persist(url: str, target: Path, log: Log) -> None:
    """Bring a URL to target as `download` does, however often the connection is cut.

    Attempts that bring nothing new are counted, and only they: a file of 100 GB may be cut many
    times. Raises Unavailable after `ATTEMPTS` such, or where the server will not serve.
    """
    part, idle = part_of(target), 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            return download(url, target)
        except Broken as reason:
            after = part.stat().st_size if part.exists() else 0
            idle = 0 if after > before else idle + 1
            if idle >= ATTEMPTS:
                raise Unavailable(f"{reason} ({ATTEMPTS} attempts brought nothing new)") from None
            pause = BACK_OFF * 2**idle
            log(f"{reason}; going on from byte {after} in {pause:.0f} s")
            time.sleep(pause)


def _receive(response: http.client.HTTPResponse, part: Path, done: int) -> None:
    """Write a response behind the first ``done`` bytes; OSError where it ends too early."""
    length = response.headers["Content-Length"]
    total = done + int(length) if length else None
    with (
        part.open("r+b" if done else "wb") as stream,
        bar(part.stem.lstrip("."), total or 0, done, unit="B") as shown,
    ):
        stream.seek(done)
        while chunk := response.read(CHUNK):
            stream.write(chunk)
            done += len(chunk)
            shown.advance(len(chunk))
    if total is not None and done != total:
        raise OSError(f"the connection closed after {done} of {total} bytes")


def debian_package(package: str, folder: Path, log: Log) -> Path:
    """Download a Debian package and unpack it below folder, without root; return its tree.

    Raises Unavailable where apt-get or dpkg is absent or fails.
    """
    for program in ("apt-get", "dpkg"):
        if shutil.which(program) is None:
            raise Unavailable(f"this machine has no {program}")
    log(f"downloading Debian's package {package}")
    try:
        _run("apt-get", "download", package, folder=folder)
    except Unavailable as reason:
        if "Unable to locate package" not in str(reason):
            raise
        _download_with_own_lists(package, folder, log)
    tree = folder / "tree"
    _run("dpkg", "-x", str(next(folder.glob("*.deb"))), str(tree), folder=folder)
    return tree


def _download_with_own_lists(package: str, folder: Path, log: Log) -> None:
    """Fetch apt's package lists into folder, as a fresh machine or container has none."""
    log("apt-get has no list of packages: fetching the lists for this download alone")
    lists, cache = folder / "lists", folder / "cache"
    for path in (lists / "partial", cache / "archives" / "partial"):
        path.mkdir(parents=True)
    options = ("-o", f"Dir::State::lists={lists}", "-o", f"Dir::Cache={cache}")
    # One repository that fails must not stop us: whether the package is found decides.
    with contextlib.suppress(Unavailable):
        _run("apt-get", *options, "update", folder=folder)
    _run("apt-get", *options, "download", package, folder=folder)


def _run(*command: str, folder: Path) -> None:
    """Run a program in a folder; raise Unavailable with the last line that it wrote."""
    try:
        subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "LC_ALL": "C"},
            check=True,
            capture_output=True,
            text=True,
            timeout=PACKAGE_TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{command[0]} took more than {PACKAGE_TIMEOUT:.0f} s") from None
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout or "").strip().splitlines() or ["no message"]
        raise Unavailable(f"{command[0]} failed: {said[-1]}") from None
