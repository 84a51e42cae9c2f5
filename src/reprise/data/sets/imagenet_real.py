"""ImageNet's validation photographs with reassessed labels (ReaL): several right ones, or none.

``real.json``, as its authors publish it, is a list with a list of class numbers for each validation
photograph, in the order of the numbers that end the photographs' names
(``ILSVRC2012_val_00000001.JPEG`` is the first). The photographs lie as `imagenet` reads them, of
which validation's alone are needed; WordNet ids in their order number the classes. Photographs
without a right label are left out, as in the authors' evaluation (Beyer et al., arXiv 2006.07159).
The only split is ``test``.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, from_numpy

from reprise.data import decode
from reprise.data.base import ArraySet, ImageSet, Log, Prepared, Split, read_arrays, write_batches
from reprise.data.sets import image_folder, imagenet
from reprise.errors import DataError
from reprise.files import atomic
from reprise.progress import bar

NUMBER = re.compile(r"(\d+)\.[A-Za-z]+$")
ANSWERS = "test-answers.npy"


class Args(image_folder.Args):
    """Where ImageNet lies, and the file of labels in it."""

    labels: str = Field("real.json", min_length=1, description="the authors' file, below root")


@dataclass(eq=False)
class RealSet(ArraySet):
    """Images with their right answers: int64 [N, most], class numbers and then -1."""

    answers: Tensor


def prepare(folder: Path, args: Args, log: Log) -> Prepared:
    """Decode the photographs that have a right label."""
    root, classes, listing = photographs(args)
    answers = read_answers(root / args.labels)
    numbers = np.array([_number(path, len(answers)) for path in listing.paths])
    _check(root, numbers, answers, len(classes))
    chosen = [place for place, number in enumerate(numbers) if answers[number]]
    log(f"{len(numbers) - len(chosen)} of {len(numbers)} photographs have no right label")
    quarantine = image_folder.Quarantine(root, args.most_corrupt)
    kept: list[int] = []
    count, files = write_batches(
        folder,
        "test",
        (3, args.size, args.size),
        _batches(listing, chosen, kept, args.size, quarantine),
    )
    with atomic(folder / ANSWERS) as stream:
        np.save(stream, _padded([answers[numbers[place]] for place in kept]))
    quarantine.write(folder)
    return Prepared(str(root), classes, {"test": (count, [*files, ANSWERS])}, quarantine.counts)


def load(split: Split, args: Args) -> ImageSet:
    """Map the photographs: a `RealSet`."""
    answers = from_numpy(np.load(split.folder / ANSWERS))
    return RealSet(**vars(read_arrays(split)), answers=answers)


def photographs(args: Args) -> tuple[Path, tuple[str, ...], image_folder.Listing]:
    """Return the root, the classes, and the validation photographs, in the order of their names."""
    of_val = imagenet.Args(root=args.root, size=args.size, splits=("test",))
    found = imagenet.survey(of_val)
    return found.root, found.classes, found.splits["test"]


def read_answers(path: Path) -> list[list[int]]:
    """Read real.json; DataError where it is no list of lists of class numbers."""
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {error}; expected is real.json of the ReaL labels") from None
    if not isinstance(found, list) or not all(
        isinstance(one, list) and all(type(label) is int and label >= 0 for label in one)
        for one in found
    ):
        raise DataError(f"{path}: expected is a list with a list of class numbers per photograph")
    return found


def _number(path: str, total: int) -> int:
    """Return the place in real.json of a photograph."""
    match = NUMBER.search(path)
    number = int(match[1]) if match else 0
    if not 1 <= number <= total:
        raise DataError(
            f"{path}: its name should end in a number from 1 to {total}, its place in real.json, "
            "as in ILSVRC2012_val_00000001.JPEG"
        )
    return number - 1


def _check(root: Path, numbers: NDArray[Any], answers: list[list[int]], classes: int) -> None:
    if len(set(numbers.tolist())) != len(numbers) or len(numbers) != len(answers):
        raise DataError(
            f"{root / 'val'}: {len(set(numbers.tolist()))} numbers of {len(numbers)} photographs, "
            f"but labels of {len(answers)}; every photograph must be there once"
        )
    largest = max((max(one) for one in answers if one), default=-1)
    if largest >= classes:
        raise DataError(f"{root}: labels name class {largest}, but there are {classes} folders")


def _batches(
    listing: image_folder.Listing,
    chosen: list[int],
    kept: list[int],
    size: int,
    quarantine: image_folder.Quarantine,
) -> Iterator[image_folder.Batch]:
    """Yield images and labels, and note in ``kept`` which photographs they are."""
    paths = [listing.paths[place] for place in chosen]
    with bar("decoding val/", len(paths)) as shown:
        for part in decode.decode_all(paths, size):
            for place, reason in part.failed:
                quarantine.add("test", paths[place], reason, len(paths))
            places = [chosen[place] for place in part.kept]
            kept += places
            yield part.images, listing.labels[places]
            shown.advance(len(part.kept) + len(part.failed))


def _padded(answers: list[list[int]]) -> NDArray[np.int64]:
    most = max(map(len, answers), default=1)
    return np.array([one + [-1] * (most - len(one)) for one in answers], np.int64)
