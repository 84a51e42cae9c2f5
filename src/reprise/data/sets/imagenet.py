"""ImageNet-1k (ILSVRC 2012) in the layouts in which it is kept.

- ``train/<wnid>/*.JPEG``, and below the folder of Kaggle's archive ``ILSVRC/Data/CLS-LOC/`` too.
- ``val/<wnid>/*.JPEG``, or all photographs in ``val/`` as ImageNet publishes them. Their classes
  are then in the development kit (``ILSVRC2012_devkit_t12/data/``: the ground truth and the table
  that numbers the WordNet ids) or in Kaggle's ``LOC_val_solution.csv``.

Classes are WordNet ids, numbered in their order; ``val`` becomes the split ``test``, in the order
of its photographs' names, so that all layouts make the same data set.
"""

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import scipy.io
from pydantic import Field

from reprise.data import photos
from reprise.data.base import ImageSet, Log, Prepared, Split
from reprise.data.photos import Listing, PhotoArgs, Survey
from reprise.data.sets.image_folder import ENDINGS, NAMED, list_files
from reprise.errors import DataError

EXPECTED = (
    "Expected are train/<wnid>/*.JPEG, and val/<wnid>/*.JPEG or val/*.JPEG with "
    "ILSVRC2012_devkit_t12/ or LOC_val_solution.csv beside it. Register at "
    "https://image-net.org/download.php."
)
KAGGLE = "ILSVRC/Data/CLS-LOC"
KITS = ("ILSVRC2012_devkit_t12/data", "devkit/data", "data")
TRUTH, META, SOLUTION = "ILSVRC2012_validation_ground_truth.txt", "meta.mat", "LOC_val_solution.csv"


class Args(PhotoArgs):
    """Where ImageNet lies, and how it is kept."""

    keep: Literal["files", "arrays"] = Field(
        "files", description="decode when fetched, or once for all (250 GB at 256 pixels)"
    )
    splits: tuple[Literal["train", "test"], ...] = Field(
        ("train", "test"),
        min_length=1,
        description="[test]: the 50,000 of val/ alone (6 GB), for released weights",
    )


def survey(args: Args) -> Survey:
    """Return the photographs of both splits; DataError where their layout is none of the known."""
    root = photos.find(args.root, EXPECTED)
    base = root / KAGGLE if (root / KAGGLE).is_dir() else root
    names = {"train": "train", "test": "val"}
    photos.find(str(base.absolute()), EXPECTED, tuple(names[split] for split in args.splits))
    classes = photos.folders(base / "train") if "train" in args.splits else []
    if "train" in args.splits and not classes:
        raise DataError(f"{base / 'train'}: no folder in it. {EXPECTED}")
    found: dict[str, Listing] = {}
    if classes:
        found["train"] = list_files(base / "train", classes)
    if "test" in args.splits:
        classes, found["test"] = _validation(root, base / "val", classes)
    return Survey(root, tuple(classes), found)


def prepare(folder: Path, args: Args, log: Log) -> Prepared:
    """Keep both splits; what cannot be decoded is named and left out."""
    return photos.prepare(folder, args, survey(args), log)


def load(split: Split, args: Args) -> ImageSet:
    """Map a split."""
    return photos.load(split, args)


def _validation(root: Path, folder: Path, known: list[str]) -> tuple[list[str], Listing]:
    """Return classes, and the validation photographs in the order of their names.

    The classes must be those ``known`` from train/, if any are.
    """
    found = photos.folders(folder)
    if found:
        classes = _same(folder, found, known)
        listing = list_files(folder, classes)
        paths, numbers = listing.paths, listing.labels.tolist()
    else:
        with os.scandir(folder) as entries:
            paths = [e.path for e in entries if e.name.lower().endswith(ENDINGS)]
        if not paths:
            raise DataError(f"{folder}: no photograph and no folder in it. {EXPECTED}")
        wnids = _truth(root, sorted(map(_stem, paths)))
        classes = _same(root, sorted(set(wnids.values())), known)
        place = {name: number for number, name in enumerate(classes)}
        numbers = [place[wnids[_stem(path)]] for path in paths]
    order = sorted(range(len(paths)), key=lambda at: _stem(paths[at]))
    return classes, Listing([paths[at] for at in order], np.array(numbers, np.int64)[order])


def _stem(path: str) -> str:
    return Path(path).stem


def _same(where: Path, found: list[str], known: list[str]) -> list[str]:
    if known and found != known:
        odd = sorted(set(found) ^ set(known))
        raise DataError(
            f"{where}: train/ has {len(known)} classes, val {len(found)}; only one of the two "
            f"has {', '.join(odd[:NAMED])}"
        )
    return found


# --- classes of photographs that lie in one folder ----------------------------------------------


def _truth(root: Path, names: list[str]) -> Mapping[str, str]:
    """Return the WordNet id of each photograph, by its name without ending, in their order."""
    for kit in KITS:
        if (root / kit / TRUTH).is_file():
            return _from_kit(root / kit, names)
    if (root / SOLUTION).is_file():
        return _from_solution(root / SOLUTION, names)
    raise DataError(
        f"{root}: val/ has no class folders, and there is no {KITS[0]}/{TRUTH} and no {SOLUTION}. "
        f"{EXPECTED}"
    )


def _from_kit(kit: Path, names: list[str]) -> Mapping[str, str]:
    ids = kit_ids(kit / META)
    text = (kit / TRUTH).read_text(encoding="ascii").split()
    if len(text) != len(names):
        raise DataError(f"{kit / TRUTH}: {len(text)} lines, but {len(names)} photographs in val/")
    strange = sorted({number for number in text if not number.isdigit() or int(number) not in ids})
    if strange:
        raise DataError(f"{kit / TRUTH}: {META} knows no class {', '.join(strange[:NAMED])}")
    # Line n is of ILSVRC2012_val_<n>; names have zeros before the number, so they sort by it.
    return {name: ids[int(number)] for name, number in zip(names, text, strict=True)}


def kit_ids(path: Path) -> dict[int, str]:
    """Return the WordNet ids by the number that the development kit gives to each class.

    DataError where the file is no such table. Inner nodes of WordNet have numbers, too, and are
    left out.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file. {EXPECTED}")
    try:
        rows = scipy.io.loadmat(path, squeeze_me=True)["synsets"]
        leaves = [row for row in rows if int(row["num_children"]) == 0]
        return {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in leaves}
    except Exception as error:  # SciPy raises errors of many kinds on what is no MATLAB file
        raise DataError(f"{path}: not ImageNet's table of classes: {error}") from None


def _from_solution(path: Path, names: list[str]) -> Mapping[str, str]:
    with path.open(encoding="utf-8", newline="") as stream:
        said = {
            row["ImageId"]: row["PredictionString"].split(" ", 1)[0]
            for row in csv.DictReader(stream)
            if row.get("ImageId") and row.get("PredictionString")
        }
    missing = [name for name in names if name not in said]
    if missing:
        raise DataError(f"{path}: says nothing of {', '.join(missing[:NAMED])}")
    return {name: said[name] for name in names}
