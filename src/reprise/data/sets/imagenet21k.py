"""ImageNet-21k: a folder of photographs for each class, by WordNet id.

The release of winter 2021 (`winter21_whole.tar.gz`) holds one archive a class; each is to be
unpacked to a folder of its name. The folders lie in the root, in ``winter21_whole/`` or in
``train/``. There is no official split: all photographs are ``train``, unless ``val/`` has folders
of some of the same classes, as in the processed ImageNet-21K-P; it becomes ``test``.
"""

from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from reprise.data import photos
from reprise.data.base import ImageSet, Log, Prepared, Split
from reprise.data.photos import Listing, PhotoArgs, Survey
from reprise.data.sets.image_folder import NAMED, list_files
from reprise.errors import DataError

EXPECTED = (
    "Expected are <wnid>/*.JPEG in the root, in winter21_whole/ or in train/ (the archive of each "
    "class unpacked to a folder of its name). Register at https://image-net.org/download.php."
)
PLACES = ("winter21_whole", "imagenet21k_train", "train", ".")
HELD_OUT = ("imagenet21k_val", "val")


class Args(PhotoArgs):
    """Where ImageNet-21k lies, and how it is kept."""

    keep: Literal["files", "arrays"] = Field(
        "files", description="decode when fetched, or once for all (2 TB at 224 pixels)"
    )


def survey(args: Args) -> Survey:
    """Return the photographs of all classes; DataError where there are none, or only archives."""
    root = photos.find(args.root, EXPECTED)
    train = next(root / place for place in PLACES if (root / place).is_dir())
    classes = [name for name in photos.folders(train) if _is_wnid(name)]
    if not classes:
        archives = len([*train.glob("n*.tar")])
        left = f"; {archives} archives in it are not unpacked" if archives else ""
        raise DataError(f"{train}: no folder in it that is named by a WordNet id{left}. {EXPECTED}")
    splits = {"train": list_files(train, classes)}
    for place in HELD_OUT:
        if train != root and (root / place).is_dir():
            splits["test"] = _held_out(root / place, classes)
            break
    return Survey(root, tuple(classes), splits)


def _is_wnid(name: str) -> bool:
    return len(name) == 9 and name[0] == "n" and name[1:].isdigit()


def _held_out(folder: Path, classes: list[str]) -> Listing:
    found = photos.folders(folder)
    if strange := sorted(set(found) - set(classes)):
        raise DataError(f"{folder}: train has no class {', '.join(strange[:NAMED])}")
    place = np.array([classes.index(name) for name in found])
    listing = list_files(folder, found)
    return Listing(listing.paths, place[listing.labels])


def prepare(folder: Path, args: Args, log: Log) -> Prepared:
    """Keep all photographs; what cannot be decoded is named and left out."""
    return photos.prepare(folder, args, survey(args), log)


def load(split: Split, args: Args) -> ImageSet:
    """Map a split."""
    return photos.load(split, args)
