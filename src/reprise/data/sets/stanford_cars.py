"""Stanford Cars: photographs of 196 makes and models, with classes in MATLAB files.

``cars_train/*.jpg`` with ``devkit/cars_train_annos.mat``, ``cars_test/*.jpg`` with
``cars_test_annos_withlabels.mat`` (in the root or in ``devkit/``; the one of the same name without
`withlabels` has no classes), and the classes' names in ``devkit/cars_meta.mat``.
"""

from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

from reprise.data import photos
from reprise.data.base import ImageSet, Log, Prepared, Split
from reprise.data.photos import Listing, PhotoArgs, Survey
from reprise.errors import DataError

EXPECTED = (
    "Expected are cars_train/, cars_test/, devkit/cars_meta.mat, devkit/cars_train_annos.mat and "
    "cars_test_annos_withlabels.mat, in the root or in stanford_cars/. The original address is "
    "gone; copies are at https://www.kaggle.com/datasets/eduardo4jesus/stanford-cars-dataset "
    "(the test labels may have to be had apart)."
)
META, TRAIN, TEST = "cars_meta.mat", "cars_train_annos.mat", "cars_test_annos_withlabels.mat"


class Args(PhotoArgs):
    """Where the photographs lie, and how they are kept."""


def survey(args: Args) -> Survey:
    """Return the photographs of both splits; DataError where a file is not as expected."""
    root = photos.find(args.root, EXPECTED)
    home = root / "stanford_cars" if (root / "stanford_cars").is_dir() else root
    test = f"devkit/{TEST}" if (home / "devkit" / TEST).is_file() else TEST
    files = {"train": f"devkit/{TRAIN}", "test": test}
    photos.find(
        str(home.absolute()),
        EXPECTED,
        ("cars_train", "cars_test", "devkit"),
        (f"devkit/{META}", *files.values()),
    )
    names = _read(home / "devkit" / META, "class_names")
    classes = tuple(str(name) for name in names)
    splits = {}
    for split, file in files.items():
        listing = _listing(home, f"cars_{split}", home / file, len(classes))
        splits[split] = photos.present(root, listing, file, EXPECTED)
    return Survey(root, classes, splits)


def _read(path: Path, key: str) -> Any:
    try:
        return np.atleast_1d(scipy.io.loadmat(path, squeeze_me=True)[key])
    except KeyError:
        raise DataError(f"{path}: no {key!r} in it. {EXPECTED}") from None
    except Exception as error:  # SciPy raises errors of many kinds on what is no MATLAB file
        raise DataError(f"{path}: not a MATLAB file: {error}. {EXPECTED}") from None


def _listing(home: Path, folder: str, path: Path, classes: int) -> Listing:
    """Return a split's photographs in the order of its annotations."""
    rows = _read(path, "annotations")
    if "class" not in (rows.dtype.names or ()):
        raise DataError(f"{path}: its annotations have no class. {EXPECTED}")
    labels = np.array([int(row["class"]) for row in rows], np.int64) - 1
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise DataError(f"{path}: classes should be 1 to {classes}, as many as in {META}")
    return Listing([str(home / folder / str(row["fname"])) for row in rows], labels)


def prepare(folder: Path, args: Args, log: Log) -> Prepared:
    """Keep both splits; what cannot be decoded is named and left out."""
    return photos.prepare(folder, args, survey(args), log)


def load(split: Split, args: Args) -> ImageSet:
    """Map a split."""
    return photos.load(split, args)
