"""iNaturalist 2017, 2018 and 2019: COCO-like JSON beside folders of photographs.

``train<year>.json`` and ``val<year>.json`` name the photographs below the root
(``train_val2018/Plantae/7477/<id>.jpg``) and their categories, which become classes in the order
of their ids. ``val`` becomes the split ``test``, as it is used in the papers.
"""

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from reprise.data import photos
from reprise.data.base import ImageSet, Log, Prepared, Split
from reprise.data.photos import Listing, PhotoArgs, Survey
from reprise.errors import DataError

PARTS = {"train": "train", "test": "val"}  # our name: that in the files' names
NEEDED = {
    "images": ("id", "file_name"),
    "annotations": ("image_id", "category_id"),
    "categories": ("id", "name"),
}


class Args(PhotoArgs):
    """Which year, where it lies, and how it is kept."""

    year: Literal[2017, 2018, 2019]
    keep: Literal["files", "arrays"] = Field(
        "files", description="decode when fetched, or once for all (70 GB at 224 pixels)"
    )


def expected(year: int) -> str:
    """Return what the layout should be, in words."""
    folder = "train_val_images" if year == 2017 else f"train_val{year}"
    return (
        f"Expected are train{year}.json, val{year}.json and {folder}/. "
        f"https://github.com/visipedia/inat_comp/tree/master/{year} has them."
    )


def survey(args: Args) -> Survey:
    """Return the photographs of both splits; DataError where a file is not as expected."""
    files = {split: f"{part}{args.year}.json" for split, part in PARTS.items()}
    root = photos.find(args.root, expected(args.year), files=tuple(files.values()))
    contents = {split: _read(root / file, args.year) for split, file in files.items()}
    categories = {split: _categories(contents[split]) for split in files}
    if categories["train"] != categories["test"]:
        raise DataError(f"{root}: {files['train']} and {files['test']} have different categories")
    place = {id_: number for number, id_ in enumerate(categories["train"])}
    splits = {}
    for split, content in contents.items():
        listing = _listing(root, files[split], content, place)
        splits[split] = photos.present(root, listing, files[split], expected(args.year))
    return Survey(root, tuple(categories["train"].values()), splits)


def _read(path: Path, year: int) -> dict[str, list[dict[str, Any]]]:
    try:
        content: Any = json.loads(path.read_bytes())
    except ValueError as error:
        raise DataError(f"{path}: not JSON: {error}") from None
    for part, keys in NEEDED.items():
        entries = content.get(part) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not entries:
            raise DataError(f"{path}: no list {part!r} in it. {expected(year)}")
        for place, entry in enumerate(entries):
            if not isinstance(entry, dict) or any(key not in entry for key in keys):
                raise DataError(f"{path}: {part}[{place}] lacks one of {', '.join(keys)}")
    found: dict[str, list[dict[str, Any]]] = content
    return found


def _categories(content: dict[str, list[dict[str, Any]]]) -> dict[int, str]:
    """Return the categories' names by id, in the order of the ids."""
    return {
        int(one["id"]): str(one["name"])
        for one in sorted(content["categories"], key=lambda one: int(one["id"]))
    }


def _listing(
    root: Path, file: str, content: dict[str, list[dict[str, Any]]], place: dict[int, int]
) -> Listing:
    """Return the photographs in the order of the file, each with the class of its annotation."""
    kinds: dict[int, int] = {}
    for one in content["annotations"]:
        if one["category_id"] not in place or kinds.get(one["image_id"]) not in (
            None,
            one["category_id"],
        ):
            raise DataError(
                f"{root / file}: image {one['image_id']} has an unknown category or two of them"
            )
        kinds[one["image_id"]] = one["category_id"]
    bare = [entry["id"] for entry in content["images"] if entry["id"] not in kinds]
    if bare:
        raise DataError(f"{root / file}: {len(bare)} images have no category, the first: {bare[0]}")
    labels = [place[kinds[entry["id"]]] for entry in content["images"]]
    paths = [str(root / entry["file_name"]) for entry in content["images"]]
    return Listing(paths, np.array(labels, np.int64))


def prepare(folder: Path, args: Args, log: Log) -> Prepared:
    """Keep both splits; what cannot be decoded is named and left out."""
    return photos.prepare(folder, args, survey(args), log)


def load(split: Split, args: Args) -> ImageSet:
    """Map a split."""
    return photos.load(split, args)
