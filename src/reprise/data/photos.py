"""Labelled photographs of any number and size, as readers of public data sets find them.

A reader says which files a split has and of which class they are (`Survey`); what is kept of them
is the same for all readers:

- ``keep: arrays``: they are decoded once, to arrays that are mapped, as `image_folder` keeps them.
- ``keep: files``: they stay JPEG files (ImageNet-21k would be 2 TB of pixels) and are decoded when
  they are fetched. An index holds each one's name, class, size and SHA-256, so that the data set
  has a digest, an index always means the same photograph, and a file that was exchanged is found
  when it is read. `reprise.data.pack` can put the bytes into few large files.

Both hand out the same pixels. A photograph that stays a file can also be cropped at random before
it is scaled (`PhotoSet.crops`), which square arrays no longer allow.
"""

import io
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field
from torch import Tensor
from torch.utils.data import get_worker_info

from reprise.data import decode, origin, pack
from reprise.data.base import ImageSet, Log, Prepared, Split, read_arrays, write_batches
from reprise.data.canvas import Findings
from reprise.data.cropping import Crop
from reprise.data.photo_files import DIGEST_BYTES, Files, Names, Store, checked, look_all
from reprise.data.sets.image_folder import NAMED, Batch, Listing
from reprise.errors import DataError, at_scale
from reprise.files import atomic
from reprise.progress import bar
from reprise.settings.base import Strict
from reprise.training.seeding import Draws

__all__ = ["Listing", "PhotoArgs", "PhotoSet", "Survey", "find", "load", "prepare", "present"]

# Arrays of a split that is kept as files. What the files are called is no part of what they are:
# the same photographs in folders of another layout have the same digest.
INDEX, CALLED = ("digests", "extents", "labels"), ("names", "ends")
UNREADABLE = "cannot be decoded"

T = TypeVar("T")


class PhotoArgs(Strict):
    """Where the photographs lie, and how they are kept."""

    root: str = Field(
        min_length=1,
        description="folder of the data set; ${NAME} is an environment variable. Where it lies is "
        "in no digest",
    )
    size: int = Field(ge=8, description="side of the images that are handed out, pixels")
    keep: Literal["files", "arrays"] = Field(
        "arrays", description="decode when fetched, or once for all"
    )
    most_corrupt: float = Field(
        0.01, ge=0, lt=1, description="share of a split's files that may be unreadable"
    )


@dataclass(frozen=True)
class Survey:
    """What lies at a root: names of the classes, and the files of each split (absolute paths)."""

    root: Path
    classes: tuple[str, ...]
    splits: Mapping[str, Listing] = field(default_factory=dict)


def find(
    root: str, expected: str, folders: tuple[str, ...] = (), files: tuple[str, ...] = ()
) -> Path:
    """Return the folder that args.root names; it must hold some folders and files.

    DataError names what is not there and says what is ``expected`` and how to set where it lies.
    """
    advice = (
        f"{expected} args.root of the data set in params/scales/ says where they are; it may name "
        "an environment variable: ${NAME}."
    )
    try:
        home = origin.place(root)
    except DataError as error:
        raise DataError(f"{error}. {advice}") from None
    for needed in (home, *(home / name for name in folders)):
        if not needed.is_dir():
            raise DataError(f"{needed}: no such folder. {advice}")
    for needed in (home / name for name in files):
        if not needed.is_file():
            raise DataError(f"{needed}: no such file. {advice}")
    return home


def present(root: Path, listing: Listing, named_by: str, expected: str) -> Listing:
    """Return a listing all of whose files are there; DataError names the first that are not."""
    missing = [path for path in listing.paths if not os.path.isfile(path)]  # noqa: PTH113 (many)
    if missing:
        first = "\n  ".join(os.path.relpath(path, root) for path in missing[:NAMED])
        raise DataError(
            f"{root}: {len(missing)} of the {len(listing.paths)} photographs that {named_by} names "
            f"are not there. The first:\n  {first}\n{expected}"
        )
    return listing


def folders(folder: Path) -> list[str]:
    """Return the sorted names of the folders in a folder; hidden ones are of other systems."""
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))


def prepare(folder: Path, args: PhotoArgs, survey: Survey, log: Log) -> Prepared:
    """Keep all splits as ``args.keep`` says; what cannot be decoded is named and left out."""
    findings, splits = Findings(survey.root, folder, args.most_corrupt), {}
    write = _write_arrays if args.keep == "arrays" else _write_index
    _check_space(folder, args, sum(len(one.paths) for one in survey.splits.values()))
    for split, listing in survey.splits.items():
        splits[split] = write(folder, split, listing, args, findings)
        findings.check(split, len(listing.paths))
    findings.write()
    for line in findings.summary():
        log(line)
    return Prepared(str(survey.root), survey.classes, splits, findings.counts)


def load(split: Split, args: PhotoArgs) -> ImageSet:
    """Map a split: an `ArraySet`, or a `PhotoSet` whose photographs stay files."""
    if args.keep == "arrays":
        return read_arrays(split)
    digests, extents, labels = (_mapped(split, part) for part in INDEX)
    store: Store | None = pack.find(split)
    if store is None:
        names = Names(*(_mapped(split, part) for part in CALLED))
        store = Files(origin.place(args.root), names)
    return PhotoSet(
        split.name,
        split.split,
        split.classes,
        split.digest,
        args.size,
        torch.from_numpy(np.array(labels)),
        digests,
        extents,
        store,
    )


def _mapped(split: Split, part: str) -> NDArray[Any]:
    path = split.folder / f"{split.split}-{part}.npy"
    if not path.is_file():
        raise DataError(
            f"{path}: no such file; remove {split.folder / 'manifest.json'} and run "
            f"`python -m reprise data {split.name}{at_scale()}`"
        )
    array: NDArray[Any] = np.load(path, mmap_mode="r")
    return array


@dataclass(eq=False)
class PhotoSet:
    """An `ImageSet` whose N photographs are decoded when they are fetched.

    ``digests`` uint8 [N, `DIGEST_BYTES`] and ``extents`` int32 [N, 2] (height, width) are those of
    the files; their bytes come from ``store`` and are compared with the digests.
    """

    name: str
    split: str
    classes: tuple[str, ...]
    digest: str
    size: int
    labels: Tensor
    digests: NDArray[np.uint8]
    extents: NDArray[np.int32]
    store: Store

    channels = 3

    def __len__(self) -> int:
        return len(self.labels)

    def content(self, index: int) -> bytes:
        """Return a photograph's file; DataError naming it where it is another than prepared."""
        return checked(self.store, index, self.digests[index].tobytes())

    def fetch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return images uint8 [B, 3, size, size] and labels int64 [B] at indices int64 [B].

        The shorter side is resized (bicubic, antialiased) and the centre cropped. Raises DataError
        naming a file that is not what was prepared.
        """
        made = np.empty((len(indices), 3, self.size, self.size), np.uint8)

        def square(one: tuple[int, int]) -> None:
            place, index = one
            made[place] = self._square(index)

        _together(square, list(enumerate(indices.tolist())))
        return torch.from_numpy(made), self.labels[indices]

    def crops(self, indices: Tensor, crop: Crop, views: Sequence[Draws]) -> tuple[Tensor, Tensor]:
        """Return random crops of whole photographs: uint8 [V, B, 3, S, S], and labels int64 [B].

        One view for each of the ``views``' draws; S is ``crop.size``. A photograph that stands in
        the batch several times is decoded once. Raises DataError as `fetch`.
        """
        chosen = [int(index) for index in indices]
        extents = torch.from_numpy(self.extents[chosen].astype(np.int64))
        places = [crop.places(extents, draws).tolist() for draws in views]
        made = np.empty((len(views), len(chosen), 3, crop.size, crop.size), np.uint8)
        copies: dict[int, list[int]] = {}
        for at, index in enumerate(chosen):
            copies.setdefault(index, []).append(at)

        def cut(one: tuple[int, list[int]]) -> None:
            index, everywhere = one
            wanted = [(view, at) for view in range(len(views)) for at in everywhere]
            found = crop.cut(self._opened(index), [places[view][at] for view, at in wanted])
            for (view, at), pixels in zip(wanted, found, strict=True):
                made[view, at] = pixels.transpose(2, 0, 1)

        _together(cut, list(copies.items()))
        return torch.from_numpy(made), self.labels[indices]

    def _square(self, index: int) -> NDArray[np.uint8]:
        try:
            return decode.decode(self.content(index), self.size)
        except (OSError, ValueError, SyntaxError) as error:
            raise self._undecodable(index, error) from None

    def _opened(self, index: int) -> Image.Image:
        """Return a whole photograph as RGB."""
        try:
            image: Image.Image = Image.open(io.BytesIO(self.content(index)))
            image.load()
        except (OSError, ValueError, SyntaxError) as error:
            raise self._undecodable(index, error) from None
        return decode.as_rgb(image)

    def _undecodable(self, index: int, error: Exception) -> DataError:
        return DataError(
            f"{self.store.name(index)}: {error}, though it was decoded when the data set was "
            "prepared; is it another version of Pillow?"
        )


def _together(work: Callable[[T], None], items: Sequence[T]) -> None:
    """Do the work of every item, by several threads.

    Pillow and SHA-256 let other threads run. A worker of a data loader is one of many already.
    """
    threads = min(len(os.sched_getaffinity(0)), len(items))
    if threads < 2 or get_worker_info() is not None:
        for item in items:
            work(item)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, items))  # raises what the work raised


# --- writing ------------------------------------------------------------------------------------


def _write_arrays(
    folder: Path, split: str, listing: Listing, args: PhotoArgs, findings: Findings
) -> tuple[int, list[str]]:
    """Write a split's pixels; return its count and files."""

    def batches() -> Iterator[Batch]:
        with bar(f"decoding {split}", len(listing.paths)) as shown:
            for part in decode.decode_all(listing.paths, args.size):
                _note(split, listing, part.failed, findings)
                yield part.images, listing.labels[part.kept]
                shown.advance(len(part.kept) + len(part.failed))

    return write_batches(folder, split, (3, args.size, args.size), batches())


def _write_index(
    folder: Path, split: str, listing: Listing, args: PhotoArgs, findings: Findings
) -> tuple[int, list[str]]:
    """Write what is known of a split's files; return its count and files."""
    parts = []
    with bar(f"looking through {split}", len(listing.paths)) as shown:
        for part in look_all(listing.paths):
            _note(split, listing, part.failed, findings)
            parts.append(part)
            shown.advance(len(part.kept) + len(part.failed))
    kept = np.concatenate([part.kept for part in parts])
    names = Names.of([os.path.relpath(listing.paths[place], findings.root) for place in kept])
    arrays: tuple[NDArray[Any], ...] = (
        np.concatenate([part.digests for part in parts]).reshape(-1, DIGEST_BYTES),
        np.concatenate([part.extents for part in parts]),
        listing.labels[kept].astype(np.int64),
        names.text,
        names.ends,
    )
    files = [f"{split}-{part}.npy" for part in (*INDEX, *CALLED)]
    for file, array in zip(files, arrays, strict=True):
        with atomic(folder / file) as stream:
            np.save(stream, array)
    return len(kept), files[: len(INDEX)]


def _note(
    split: str, listing: Listing, failed: tuple[tuple[int, str], ...], findings: Findings
) -> None:
    for place, reason in failed:
        path = os.path.relpath(listing.paths[place], findings.root)
        findings.add(split, path, UNREADABLE, " ".join(reason.split()))


def _check_space(folder: Path, args: PhotoArgs, images: int) -> None:
    """Refuse before an hour of decoding what the disk cannot hold."""
    each = 3 * args.size**2 if args.keep == "arrays" else 128  # bytes; an index is small
    needed, free = images * each, shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"{folder}: {images} images of {args.size}x{args.size} need {needed / 1e9:.1f} GB, and "
            f"{free / 1e9:.1f} GB are free; set data_root in params/config.yaml elsewhere, or "
            "args.keep: files"
        )
