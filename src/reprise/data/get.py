"""Fetches public data sets: resumed where a connection was cut, checked, from the next mirror.

Each archive of a data set is brought to its root (`download.persist`), compared with the published
MD5 and unpacked; ``.got.json`` in the root notes what is done, with the SHA-256 of what came, so
that the same command goes on where it stopped. No code of an archive is run, and nothing of it is
written outside the root.
"""

import hashlib
import json
import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reprise.data.download import (
    Log,
    Source,
    Unavailable,
    first_that_works,
    part_of,
    persist,
    version_of,
)
from reprise.data.public import Archive, Entry
from reprise.errors import DataError
from reprise.files import write_atomic
from reprise.progress import bar

RECORD = ".got.json"
BLOCK = 1 << 20
ROOM = 2.2  # times the size of an archive that must be free: itself, and what it unpacks to


def get(entry: Entry, root: Path, log: Log, keep_archives: bool = False) -> None:
    """Bring a data set to its root, or what of it is not there yet.

    Archives are removed once they are unpacked unless ``keep_archives``. Raises DataError where
    the data set is not to be had without registering, saying where and how; where no mirror
    serves what was published; where the disk is too small.
    """
    terms = f"{entry.licence} (allows {entry.allows})"
    if entry.by_hand:
        raise DataError(
            f"{entry.title} is not fetched: {entry.by_hand}.\nLicence: {terms}. Put it into "
            f"{root}, as\n  {entry.layout}\n"
            f"and run `python -m reprise data {entry.name} --check --root {root}`."
        )
    log(f"{entry.title}, about {entry.gigabytes:g} GB. Licence: {terms}, {entry.page}")
    root.mkdir(parents=True, exist_ok=True)
    done = _record(root)
    for archive in entry.archives:
        if archive.name in done and _is_there(root, archive):
            log(f"{archive.name}: done before")
            continue
        sha256 = fetch(archive, root, log)
        if archive.into is not None:
            unpack(root / archive.name, root / archive.into, log)
            if not _is_there(root, archive):
                raise DataError(
                    f"{root / archive.name}: unpacked, but {', '.join(archive.makes)} is not in it"
                )
            if not keep_archives:
                (root / archive.name).unlink()
        done[archive.name] = {"sha256": sha256, "md5": archive.md5 or None}
        write_atomic(root / RECORD, json.dumps(done, indent=2) + "\n")
    log(f"{entry.title}: in {root}; `python -m reprise data {entry.name} --check` looks at it")


def _record(root: Path) -> dict[str, Any]:
    file = root / RECORD
    found: dict[str, Any] = json.loads(file.read_bytes()) if file.is_file() else {}
    return found


def _is_there(root: Path, archive: Archive) -> bool:
    folder = root if archive.into is None else root / archive.into
    return all((folder / name).exists() for name in archive.makes)


def fetch(archive: Archive, root: Path, log: Log) -> str:
    """Bring an archive to the root from the first address that serves it; return its SHA-256.

    One that lies there already is taken where its content is the published one. Raises DataError
    listing every address with why it failed.
    """
    target = root / archive.name
    if not target.is_file():
        _check_space(root, archive)

    def here() -> str:
        if not target.is_file():
            raise Unavailable("no such file")
        return _verified(target, archive.md5)

    def from_(url: str) -> Callable[[], str]:
        def download() -> str:
            if not archive.md5:
                _begin(target, url)
            persist(url, target, log)
            _note(target).unlink(missing_ok=True)
            return _verified(target, archive.md5)

        return download

    sources = [Source(f"the file {target}", here)] if target.is_file() else []
    sources += [Source(url, from_(url)) for url in archive.urls]
    by_hand = f"Put {archive.name} into {root} by hand, and run the same command again."
    source, sha256 = first_that_works(archive.name, sources, by_hand, log)
    checked = f"MD5 {archive.md5}" if archive.md5 else f"no digest is published; SHA-256 {sha256}"
    log(f"{archive.name}: from {source} ({checked})")
    return sha256


def _begin(target: Path, url: str) -> None:
    """Drop what was begun from another address, or of a file that the server would not know again:
    without a digest, a mixture could not be told."""
    note = _note(target)
    same = note.is_file() and note.read_text(encoding="utf-8") == url
    if not same or not version_of(target).is_file():
        part_of(target).unlink(missing_ok=True)
    note.write_text(url, encoding="utf-8")


def _note(target: Path) -> Path:
    return target.with_name(f".{target.name}.from")


def _verified(path: Path, md5: str) -> str:
    """Return the SHA-256 of a file; Unavailable, and the file is removed, where its MD5 differs."""
    found, sha256 = digests(path)
    if md5 and found != md5:
        path.unlink()
        raise Unavailable(f"refused, its content is not the published one (MD5 {found}, not {md5})")
    return sha256


def digests(path: Path) -> tuple[str, str]:
    """Return MD5 and SHA-256 of a file."""
    one, other = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    with (
        path.open("rb") as stream,
        bar(f"checking {path.name}", path.stat().st_size, unit="B") as b,
    ):
        while block := stream.read(BLOCK):
            one.update(block)
            other.update(block)
            b.advance(len(block))
    return one.hexdigest(), other.hexdigest()


def _check_space(root: Path, archive: Archive) -> None:
    part = part_of(root / archive.name)
    begun = part.stat().st_size / 1e9 if part.is_file() else 0.0
    needed = archive.gigabytes * ROOM - begun
    free = shutil.disk_usage(root).free / 1e9
    if needed > free:
        raise DataError(
            f"{root}: {archive.name} needs about {needed:.0f} GB more with what it "
            f"unpacks to, and {free:.0f} GB are free; choose another place with --root"
        )


def unpack(archive: Path, folder: Path, log: Log) -> None:
    """Unpack a .tar, .tar.gz, .tgz or .zip into a folder; DataError where it is damaged.

    Links, devices, and paths out of the folder are refused.
    """
    log(f"unpacking {archive.name}")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if archive.suffix == ".zip":
            _unzip(archive, folder)
        else:
            _untar(archive, folder)
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{archive}: cannot be unpacked into {folder}: {error}; remove it and run the same "
            "command again"
        ) from None


def _untar(archive: Path, folder: Path) -> None:
    size = archive.stat().st_size
    with (
        archive.open("rb") as stream,
        bar(f"unpacking {archive.name}", size, unit="B") as shown,
        tarfile.open(fileobj=stream, mode="r:*") as tar,
    ):
        for member in tar:
            if not (member.isreg() or member.isdir()):  # a chain of links can lead out of a folder
                raise tarfile.TarError(f"{member.name} is a link or a device")
            tar.extract(member, folder, set_attrs=False, filter="data")
            shown.advance(stream.tell() - shown.done)
        # The archive ends before its file does: what follows has gzip's checksum of it all.
        while tar.fileobj is not None and tar.fileobj.read(BLOCK):
            pass


def _unzip(archive: Path, folder: Path) -> None:
    inside = os.path.realpath(folder)
    with zipfile.ZipFile(archive) as content:
        members = content.infolist()
        with bar(f"unpacking {archive.name}", len(members), unit="file") as shown:
            for member in members:
                target = os.path.realpath(folder / member.filename)
                if os.path.commonpath([inside, target]) != inside:
                    raise zipfile.BadZipFile(f"{member.filename} would lie outside")
                content.extract(member, folder)
                shown.advance(1)
