"""Folders of images, one per class: ``{train,val}/<class>/*.JPEG``, as ImageNet is usually kept.

The files are decoded once, to arrays of one size that are mapped and never read as a whole.
Classes are numbered in the order of their folders' names, ``val`` becomes the split ``test``.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from reprise.data import decode, origin
from reprise.data.base import ImageSet, Log, Prepared, Split, read_arrays, write_batches
from reprise.errors import DataError
from reprise.files import write_atomic
from reprise.progress import bar
from reprise.settings.base import Strict

SPLITS = {"train": "train", "test": "val"}  # our name: that of the folder
ENDINGS = (".jpeg", ".jpg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
QUARANTINE = "quarantine.txt"
NAMED = 5  # files or classes that a message names

Batch = tuple[NDArray[np.uint8], NDArray[np.int64]]


class Args(Strict):
    """Where the images lie, and the side at which they are kept."""

    root: str = Field(
        min_length=1,
        description="folder of train/ and val/; ${NAME} is an environment variable. Where it lies "
        "is in no digest",
    )
    size: int = Field(ge=8, description="side of the stored images, pixels")
    most_corrupt: float = Field(
        0.01, ge=0, lt=1, description="share of a split's files that may be unreadable"
    )


@dataclass(frozen=True)
class Listing:
    """The files of a split in their fixed order, with their class numbers."""

    paths: list[str]
    labels: NDArray[np.int64]


@dataclass
class Quarantine:
    """Files that could not be decoded, with the reason; too many of them are refused."""

    root: Path
    most: float
    lines: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, split: str, path: str, reason: str, total: int) -> None:
        """Note one of ``total`` files of a split; DataError where they are too many."""
        self.lines.append(f"{Path(path).relative_to(self.root)}\t{' '.join(reason.split())}")
        self.counts[split] = self.counts.get(split, 0) + 1
        if self.counts[split] > self.most * total:
            first = "\n  ".join(line.replace("\t", ": ") for line in self.lines[:NAMED])
            raise DataError(
                f"{self.root}: more than {self.most:.2%} of the {total} files of "
                f"{SPLITS[split]}/ cannot be decoded. The first:\n  {first}\n"
                "Get them again, or allow more with args.most_corrupt."
            )

    def write(self, folder: Path) -> None:
        """Write the list of the files that were left out, where there are any."""
        (folder / QUARANTINE).unlink(missing_ok=True)
        if not self.lines:
            return
        text = "".join(f"{line}\n" for line in self.lines)
        write_atomic(folder / QUARANTINE, text.encode("utf-8", "backslashreplace"))


def prepare(folder: Path, args: Args, log: Log) -> Prepared:
    """Decode both splits to uint8 [N, 3, size, size]; what is damaged is named and left out."""
    root = find(args.root)
    classes = class_folders(root)
    listings = {split: list_files(root / name, classes) for split, name in SPLITS.items()}
    _check_space(folder, sum(len(one.paths) for one in listings.values()), args.size)
    quarantine = Quarantine(root, args.most_corrupt)
    splits = {
        split: write_batches(
            folder, split, (3, args.size, args.size), _batches(split, listing, args, quarantine)
        )
        for split, listing in listings.items()
    }
    quarantine.write(folder)
    for split, count in quarantine.counts.items():
        log(f"{count} of {len(listings[split].paths)} files of {SPLITS[split]}/ cannot be decoded")
    return Prepared(str(root), class_names(root, classes), splits, quarantine.counts)


def load(split: Split, args: Args) -> ImageSet:
    """Map a split: images uint8 [N, 3, size, size]."""
    return read_arrays(split)


def find(root: str) -> Path:
    """Return the folder that args.root names; DataError says what it should hold, and how to set
    it, where it does not hold train/ and val/."""
    advice = (
        "Expected are train/<class>/*.JPEG and val/<class>/*.JPEG (or .png, ...). "
        "args.root of the data set in params/scales/ says where they are; "
        "it may name an environment variable: ${NAME}."
    )
    try:
        folder = origin.place(root)
    except DataError as error:
        raise DataError(f"{error}. {advice}") from None
    for needed in (folder, *(folder / name for name in SPLITS.values())):
        if not needed.is_dir():
            raise DataError(f"{needed}: no such folder. {advice}")
    return folder


def class_folders(root: Path) -> list[str]:
    """Return the sorted names of the class folders, which both splits must have in common."""
    train, val = (_folders(root / name) for name in SPLITS.values())
    if not train:
        raise DataError(f"{root / 'train'}: no folder in it; expected is one for each class")
    if train != val:
        one, other = sorted(set(train) - set(val)), sorted(set(val) - set(train))
        raise DataError(
            f"{root}: train/ and val/ have different classes: {len(one)} only in train/ "
            f"({', '.join(one[:NAMED])}), {len(other)} only in val/ ({', '.join(other[:NAMED])})"
        )
    return train


def _folders(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))


def list_files(folder: Path, classes: list[str]) -> Listing:
    """Return the image files of a split by class, then by path; DataError for an empty class."""
    paths: list[str] = []
    counts = []
    for name in classes:
        found = sorted(_images(folder / name))
        if not found:
            raise DataError(f"{folder / name}: no image in it ({', '.join(ENDINGS)})")
        paths += found
        counts.append(len(found))
    return Listing(paths, np.repeat(np.arange(len(classes)), counts))


def _images(folder: Path) -> Iterator[str]:
    """Yield the image files below a folder; hidden ones are left by other systems."""
    for place, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if name.lower().endswith(ENDINGS) and not name.startswith("."):
                yield os.path.join(place, name)  # noqa: PTH118 (a million of them)


def class_names(root: Path, classes: list[str]) -> tuple[str, ...]:
    """Return names for people: the last column of classes.tsv, found by the one before it.

    Where that file or a line of it is missing, the folder's name stands.
    """
    file = root / "classes.tsv"
    words: dict[str, str] = {}
    if file.is_file():
        for line in file.read_text(encoding="utf-8").splitlines():
            *_, name, word = ["", *line.split("\t")]
            words[name] = word
    return tuple(words.get(name, name) for name in classes)


def _batches(split: str, listing: Listing, args: Args, quarantine: Quarantine) -> Iterator[Batch]:
    """Yield images and labels in order, and quarantine what cannot be decoded."""
    total = len(listing.paths)
    with bar(f"decoding {SPLITS[split]}/", total) as shown:
        for part in decode.decode_all(listing.paths, args.size):
            for place, reason in part.failed:
                quarantine.add(split, listing.paths[place], reason, total)
            yield part.images, listing.labels[part.kept]
            shown.advance(len(part.kept) + len(part.failed))


def _check_space(folder: Path, images: int, size: int) -> None:
    """Refuse before an hour of decoding what the disk cannot hold."""
    needed, free = images * 3 * size * size, shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"{folder}: {images} images of {size}x{size} need {needed / 1e9:.1f} GB, "
            f"and {free / 1e9:.1f} GB are free; set data_root in params/config.yaml elsewhere"
        )
