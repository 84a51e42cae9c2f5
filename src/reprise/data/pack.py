"""Photographs in few large files, for clusters whose file systems dislike millions of small ones.

A split that is kept as files (`reprise.data.photos`) is copied, byte by byte and in its order, into
Arrow files of a fixed number of rows, so that an index says in which file, batch and row its
photograph lies: order remains a function of seed and step, and any photograph is read by itself
from a mapped file. Since the bytes are the same and are compared with the same digests, so are the
data set's digest and all results: packing makes nothing stale. Once it is packed, ``root`` is no
longer needed.

`<data set>/pack/<split>-00000.arrow`, ...; `<split>.json`, written last, says that all are there.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reprise.data.base import Log, Split
from reprise.data.photo_files import DIGEST_BYTES, checked
from reprise.errors import DataError, at_scale
from reprise.files import atomic, write_atomic
from reprise.progress import bar

if TYPE_CHECKING:
    from reprise.data.photos import PhotoSet

FOLDER = "pack"
FILE_ROWS, BATCH_ROWS = 8192, 1024  # rows of a file (about 1 GB of ImageNet), and of a batch in it
SAMPLE = 64  # photographs by whose size that of all is estimated


def write(folder: Path, data: "PhotoSet", log: Log) -> Path:
    """Pack a split into ``folder/pack``; files that are there and whole are kept; return it.

    Raises DataError where a photograph is not what was prepared, or the disk is too small.
    """
    home = folder / FOLDER
    home.mkdir(parents=True, exist_ok=True)
    _check_space(home, data)
    files = [f"{data.split}-{number:05}.arrow" for number in range(-(-len(data) // FILE_ROWS))]
    with bar(f"packing {data.split}", len(data)) as shown:
        for number, file in enumerate(files):
            rows = range(number * FILE_ROWS, min((number + 1) * FILE_ROWS, len(data)))
            if not _is_whole(home / file, data.digest, rows):
                _write_file(home / file, data, rows)
            shown.advance(len(rows))
    says: dict[str, Any] = {
        "digest": data.digest,
        "rows": len(data),
        "file_rows": FILE_ROWS,
        "batch_rows": BATCH_ROWS,
        "files": files,
    }
    write_atomic(home / f"{data.split}.json", json.dumps(says, indent=2) + "\n")
    log(f"{home}: {len(data)} photographs of split {data.split} in {len(files)} files")
    return home


def _check_space(home: Path, data: "PhotoSet") -> None:
    """Refuse before an hour of copying what the disk cannot hold, by the size of some of it."""
    some = range(0, len(data), max(1, len(data) // SAMPLE))
    each = sum(len(data.store.read(index)) for index in some) / max(1, len(some))
    there = sum(file.stat().st_size for file in home.glob(f"{data.split}-*.arrow"))
    needed, free = each * len(data) - there, shutil.disk_usage(home).free
    if needed > free:
        raise DataError(
            f"{home}: {len(data)} photographs of split {data.split} need about "
            f"{needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free; set data_root in "
            "params/config.yaml elsewhere"
        )


def _write_file(path: Path, data: "PhotoSet", rows: range) -> None:
    import pyarrow as pa  # takes a while to import, so only where it is needed

    schema = pa.schema(
        [
            ("name", pa.string()),
            ("label", pa.int64()),
            ("digest", pa.binary(DIGEST_BYTES)),
            ("content", pa.large_binary()),
        ],
        {
            "digest": data.digest,
            "first": str(rows.start),
            "rows": str(len(rows)),
            "batch_rows": str(BATCH_ROWS),
        },
    )
    with atomic(path) as stream, pa.ipc.new_file(stream, schema) as writer:
        for some in _batches(rows):
            columns = [
                [data.store.name(index) for index in some],
                data.labels[some.start : some.stop].tolist(),
                [data.digests[index].tobytes() for index in some],
                [checked(data.store, index, data.digests[index].tobytes()) for index in some],
            ]
            arrays = [pa.array(one, of.type) for one, of in zip(columns, schema, strict=True)]
            writer.write_batch(pa.record_batch(arrays, schema=schema))


def _batches(rows: range) -> Iterator[range]:
    for start in range(rows.start, rows.stop, BATCH_ROWS):
        yield range(start, min(start + BATCH_ROWS, rows.stop))


def _is_whole(path: Path, digest: str, rows: range) -> bool:
    """Say whether a file was published for these rows: a file has its name once it is whole."""
    if not path.is_file():
        return False
    import pyarrow as pa

    try:
        with pa.memory_map(str(path)) as mapped:
            says = pa.ipc.open_file(mapped).schema.metadata or {}
    except (OSError, pa.ArrowInvalid):
        return False
    return dict(says) == {
        b"digest": digest.encode(),
        b"first": str(rows.start).encode(),
        b"rows": str(len(rows)).encode(),
        b"batch_rows": str(BATCH_ROWS).encode(),
    }


def find(split: Split) -> "Pack | None":
    """Return the pack of a split, None where it is not packed.

    Raises DataError where the pack is of other data than were prepared, or lacks a file.
    """
    home = split.folder / FOLDER
    says_so = home / f"{split.split}.json"
    if not says_so.is_file():
        return None
    says: dict[str, Any] = json.loads(says_so.read_bytes())
    again = f"remove {home} or run `python -m reprise data {split.name} --pack{at_scale()}`"
    if says["digest"] != split.digest:
        raise DataError(f"{says_so}: packed from other data than were prepared; {again}")
    for file in says["files"]:
        if not (home / file).is_file():
            raise DataError(f"{home / file}: no such file, though {says_so.name} lists it; {again}")
    return Pack(home, tuple(says["files"]), says["rows"], says["file_rows"], says["batch_rows"])


@dataclass
class Pack:
    """A `Store` of packed photographs; files are mapped when they are first read from."""

    home: Path
    files: tuple[str, ...]
    rows: int
    file_rows: int
    batch_rows: int
    _open: dict[int, Any] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return self.rows

    def name(self, index: int) -> str:
        file, row = divmod(index, self.file_rows)
        return f"{self.home / self.files[file]}, row {row}"

    def read(self, index: int) -> bytes:
        file, row = divmod(index, self.file_rows)
        try:
            batch, at = divmod(row, self.batch_rows)
            found: bytes = self._contents(file).chunk(batch)[at].as_py()
        except (OSError, ValueError, IndexError) as error:  # Arrow's errors are of these
            raise DataError(f"{self.name(index)}: cannot be read: {error}") from None
        return found

    def _contents(self, file: int) -> Any:
        """Return a file's column of bytes: views of the mapped file, which threads may share."""
        if file not in self._open:
            import pyarrow as pa

            mapped = pa.memory_map(str(self.home / self.files[file]))
            self._open[file] = pa.ipc.open_file(mapped).read_all().column("content")
        return self._open[file]

    def __getstate__(self) -> dict[str, Any]:
        """Leave mapped files behind: another process maps them itself."""
        return {**vars(self), "_open": {}}
