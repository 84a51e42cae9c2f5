"""Oxford Flowers-102: ``jpg/image_00001.jpg``, ..., with classes and splits in MATLAB files.

``imagelabels.mat`` has the class of each photograph, counted from 1, and ``setid.mat`` the numbers
of those in each split. Transfer is usually trained on training and validation photographs
together, 2,040, and tested on the other 6,149.
"""

from pathlib import Path

import numpy as np
import scipy.io
from numpy.typing import NDArray
from pydantic import Field

from reprise.data import photos
from reprise.data.base import ImageSet, Log, Prepared, Split
from reprise.data.photos import Listing, PhotoArgs, Survey
from reprise.errors import DataError

EXPECTED = (
    "Expected are jpg/image_00001.jpg, ..., imagelabels.mat and setid.mat, in the root or in "
    "flowers-102/. https://www.robots.ox.ac.uk/~vgg/data/flowers/102/ has them."
)
LABELS, SPLITS = "imagelabels.mat", "setid.mat"
PARTS = {"train": "trnid", "val": "valid", "test": "tstid"}


class Args(PhotoArgs):
    """Where the photographs lie, how they are kept, and what is trained on."""

    val_to_train: bool = Field(True, description="train on the validation photographs, too")


def survey(args: Args) -> Survey:
    """Return the photographs of the splits; DataError where a file is not as expected."""
    from torchvision.datasets import Flowers102  # it has the names; takes seconds to import

    root = photos.find(args.root, EXPECTED)
    home = root / "flowers-102" if (root / "flowers-102").is_dir() else root
    photos.find(str(home.absolute()), EXPECTED, ("jpg",), (LABELS, SPLITS))
    labels = _read(home / LABELS, "labels") - 1
    numbers = {split: _read(home / SPLITS, key) for split, key in PARTS.items()}
    classes = tuple(Flowers102.classes)
    _check(home, labels, numbers, len(classes))
    if args.val_to_train:
        numbers["train"] = np.sort(np.concatenate([numbers["train"], numbers.pop("val")]))
    splits = {}
    for split, some in numbers.items():
        paths = [str(home / "jpg" / f"image_{number:05}.jpg") for number in some]
        listing = Listing(paths, labels[some - 1])
        splits[split] = photos.present(root, listing, SPLITS, EXPECTED)
    return Survey(root, classes, splits)


def _read(path: Path, key: str) -> NDArray[np.int64]:
    try:
        found = scipy.io.loadmat(path)[key]
        return np.asarray(found, np.int64).ravel()
    except KeyError:
        raise DataError(f"{path}: no {key!r} in it. {EXPECTED}") from None
    except Exception as error:  # SciPy raises errors of many kinds on what is no MATLAB file
        raise DataError(f"{path}: not a MATLAB file: {error}. {EXPECTED}") from None


def _check(
    home: Path, labels: NDArray[np.int64], numbers: dict[str, NDArray[np.int64]], classes: int
) -> None:
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise DataError(f"{home / LABELS}: classes should be 1 to {classes}")
    every = np.concatenate(list(numbers.values()))
    if len(set(every.tolist())) < len(every):
        raise DataError(f"{home / SPLITS}: a photograph is in two splits")
    if len(every) and not 1 <= every.min() <= every.max() <= len(labels):
        raise DataError(
            f"{home / SPLITS}: photographs should be 1 to {len(labels)}, as in {LABELS}"
        )


def prepare(folder: Path, args: Args, log: Log) -> Prepared:
    """Keep the splits; what cannot be decoded is named and left out."""
    return photos.prepare(folder, args, survey(args), log)


def load(split: Split, args: Args) -> ImageSet:
    """Map a split."""
    return photos.load(split, args)
