"""CIFAR-10 and CIFAR-100: photographs of 32x32 pixels in colour.

The binary version is read where it is there, else the Python version, whose pickles are read
without running what may be in them (`reprise.data.pickles`); both make the same data set. Of
CIFAR-100's two labels the fine one is taken.
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from reprise.data import photos, pickles
from reprise.data.base import ImageSet, Log, Prepared, Split, read_arrays, write_arrays
from reprise.errors import DataError
from reprise.settings.base import Strict

SIDE, PIXELS = 32, 3 * 32 * 32
TEN = tuple(f"data_batch_{number}" for number in range(1, 6))
# By number of classes: the folder that the archive unpacks to, the files of each split, the file
# of the classes' names; bytes before an image, and the key of the labels, in the other version.
BINARY: dict[int, tuple[str, dict[str, tuple[str, ...]], str, int]] = {
    10: (
        "cifar-10-batches-bin",
        {"train": tuple(f"{name}.bin" for name in TEN), "test": ("test_batch.bin",)},
        "batches.meta.txt",
        1,
    ),
    100: (
        "cifar-100-binary",
        {"train": ("train.bin",), "test": ("test.bin",)},
        "fine_label_names.txt",
        2,
    ),
}
PYTHON: dict[int, tuple[str, dict[str, tuple[str, ...]], str, str]] = {
    10: ("cifar-10-batches-py", {"train": TEN, "test": ("test_batch",)}, "batches.meta", "labels"),
    100: ("cifar-100-python", {"train": ("train",), "test": ("test",)}, "meta", "fine_labels"),
}
NAMES = {"labels": "label_names", "fine_labels": "fine_label_names"}

Part = tuple[NDArray[np.uint8], NDArray[np.int64]]


class Args(Strict):
    """Which of the two, and where it lies."""

    root: str = Field(
        min_length=1,
        description="folder that the archive was unpacked in; ${NAME} is an environment variable. "
        "Where it lies is in no digest",
    )
    classes: Literal[10, 100]


def expected(classes: int) -> str:
    """Return what the layout should be, in words."""
    return (
        f"Expected is {BINARY[classes][0]}/ or {PYTHON[classes][0]}/, as the archives of "
        "https://www.cs.toronto.edu/~kriz/cifar.html unpack to."
    )


def prepare(folder: Path, args: Args, log: Log) -> Prepared:
    """Write both splits as arrays uint8 [N, 3, 32, 32]; DataError where a file is damaged."""
    home, names, contents = read(args)
    splits = {
        split: write_arrays(folder, split, images, labels)
        for split, (images, labels) in contents.items()
    }
    return Prepared(str(home), names, splits)


def load(split: Split, args: Args) -> ImageSet:
    """Map a split: images uint8 [N, 3, 32, 32]."""
    return read_arrays(split)


def read(args: Args) -> tuple[Path, tuple[str, ...], dict[str, Part]]:
    """Return the folder, the classes' names, and images and labels of each split."""
    root = photos.find(args.root, expected(args.classes))
    for of, reader in ((BINARY[args.classes], _binary), (PYTHON[args.classes], _python)):
        folder, splits, meta, how = of
        for home in (root / folder, root):
            if (home / meta).is_file():
                names, parts = reader(home, splits, meta, how)
                return home, _checked(home, meta, names, args.classes, parts), parts
    raise DataError(f"{root}: no CIFAR-{args.classes} in it. {expected(args.classes)}")


def _checked(
    home: Path, meta: str, names: list[str], classes: int, parts: dict[str, Part]
) -> tuple[str, ...]:
    if len(names) != classes:
        raise DataError(f"{home / meta}: {len(names)} names of classes, expected {classes}")
    for split, (_, labels) in parts.items():
        if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
            raise DataError(f"{home}: a label of split {split} is not below {classes}")
    return tuple(names)


def _binary(
    home: Path, splits: dict[str, tuple[str, ...]], meta: str, before: Any
) -> tuple[list[str], dict[str, Part]]:
    """Read the binary version; the label is the last of the bytes ``before`` each image."""
    names = (home / meta).read_text(encoding="ascii").split()
    return names, {
        split: _joined([_records(home / file, int(before)) for file in files])
        for split, files in splits.items()
    }


def _records(path: Path, before: int) -> Part:
    try:
        content = np.fromfile(path, np.uint8)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    if not len(content) or len(content) % (before + PIXELS):
        raise DataError(
            f"{path}: {len(content)} bytes are no whole number of images of {before + PIXELS}"
        )
    rows = content.reshape(-1, before + PIXELS)
    return rows[:, before:].reshape(-1, 3, SIDE, SIDE), rows[:, before - 1].astype(np.int64)


def _python(
    home: Path, splits: dict[str, tuple[str, ...]], meta: str, key: Any
) -> tuple[list[str], dict[str, Part]]:
    """Read the Python version."""
    names = _of(home / meta, pickles.read(home / meta), NAMES[key])
    return list(names), {
        split: _joined([_pickled(home / file, key) for file in files])
        for split, files in splits.items()
    }


def _pickled(path: Path, key: str) -> Part:
    content = pickles.read(path)
    images, labels = np.asarray(_of(path, content, "data")), np.asarray(_of(path, content, key))
    if images.dtype != np.uint8 or images.shape != (len(labels), PIXELS) or not len(labels):
        raise DataError(
            f"{path}: {len(labels)} labels and an array {images.dtype} {list(images.shape)}; "
            f"expected is uint8 [labels, {PIXELS}]"
        )
    return images.reshape(-1, 3, SIDE, SIDE), labels.astype(np.int64)


def _of(path: Path, content: Any, key: str) -> Any:
    if not isinstance(content, dict) or key not in content:
        raise DataError(f"{path}: no {key!r} in it; is it another file of CIFAR's Python version?")
    return content[key]


def _joined(parts: list[Part]) -> Part:
    images, labels = zip(*parts, strict=True)
    return np.concatenate(images), np.concatenate(labels)
