"""FlickrStyle10K as it is published: a text and a list of photographs for each style.

The archive `FlickrStyle_v0.9.zip` has ``humor/funny_train.txt`` and ``romantic/romantic_train.txt``
with a caption on each line, and beside each a ``train.p``, a pickle that lists the photographs of
the lines in their order; it is read without running what may be in it (`reprise.data.pickles`).
The photographs are those of Flickr30k (or of Flickr8k, which has other endings of the same names).

From these a JSON is written into the prepared folder, and all else is as `captioned_photos` does
it in layout ``flickrstyle``: photographs with a caption in both styles, a keyed seventh of them
for testing, since the official split was never released.
"""

import json
import re
from pathlib import Path
from typing import Any

from pydantic import Field

from reprise.data import photos, pickles
from reprise.data.base import ImageSet, Log, Prepared, Split
from reprise.data.sets import captioned_photos
from reprise.errors import DataError
from reprise.files import write_atomic
from reprise.settings.base import Strict

STYLES = {
    "humorous": ("humor", "funny_train.txt"),
    "romantic": ("romantic", "romantic_train.txt"),
}
LIST, MADE = "train.p", "flickrstyle.json"
NUMBER = re.compile(r"^\d+")
EXPECTED = (
    "Expected are the photographs of Flickr30k or Flickr8k (args.images) and the folder of "
    "FlickrStyle_v0.9.zip (args.release) with humor/funny_train.txt, romantic/romantic_train.txt "
    "and a train.p beside each. https://zhegan27.github.io/Papers/FlickrStyle_v0.9.zip has the "
    "captions, https://shannon.cs.illinois.edu/DenotationGraph/ the photographs, on request."
)


class Args(Strict):
    """Where photographs and captions lie, and the side at which photographs are kept."""

    root: str = Field(
        min_length=1,
        description="folder of both; ${NAME} is an environment variable. Where it lies is in no "
        "digest",
    )
    images: str = Field("images", description="folder of the photographs, below root")
    release: str = Field("FlickrStyle_v0.9", description="folder of the captions, below root")
    size: int = Field(224, ge=8, description="side of the stored images, pixels")
    most_corrupt: float = Field(
        0.01, ge=0, lt=1, description="share of the photographs that may be unfit for use"
    )
    seed: int = Field(0, ge=0, description="of the draw of the test split")


def prepare(folder: Path, args: Args, log: Log) -> Prepared:
    """Write the captions as JSON and decode the photographs; what is damaged is left out."""
    entries = read(args)
    write_atomic(folder / MADE, json.dumps(entries, indent=1) + "\n")
    log(f"{folder / MADE}: {len(entries)} photographs with captions in both styles")
    return captioned_photos.prepare(folder, delegate(args, folder), log)


def load(split: Split, args: Args) -> ImageSet:
    """Map a split's images and read their captions: a `CaptionedSet`."""
    return captioned_photos.load(split, delegate(args, split.folder))


def delegate(args: Args, folder: Path) -> captioned_photos.Args:
    """Return what `captioned_photos` is told: the JSON lies in the prepared folder."""
    made = str((folder / MADE).absolute())
    return captioned_photos.Args(
        root=args.root,
        layout="flickrstyle",
        images=args.images,
        files=dict.fromkeys(STYLES, made),
        size=args.size,
        most_corrupt=args.most_corrupt,
        seed=args.seed,
    )


def read(args: Args) -> list[dict[str, Any]]:
    """Return an entry for each photograph that has a caption in both styles.

    DataError where a file is absent, or has another number of captions than of photographs.
    """
    root = photos.find(args.root, EXPECTED, (args.images, args.release))
    home = root / args.release
    needed = [f"{folder}/{name}" for folder, text in STYLES.values() for name in (text, LIST)]
    photos.find(str(home.absolute()), EXPECTED, files=tuple(needed))
    said = {style: _captions(home / folder, text) for style, (folder, text) in STYLES.items()}
    files = _by_number(root / args.images)
    both = [name for name in said["humorous"] if name in said["romantic"]]
    entries = []
    for place, name in enumerate(both):
        # Flickr8k's 1007129816_e794419615.jpg is Flickr30k's 1007129816.jpg.
        there = name if (root / args.images / name).is_file() else files.get(_number(name), name)
        captions = {style: said[style][name] for style in STYLES}
        entries.append({"image_id": place, "file_name": there, "split": "train", **captions})
    if not entries:
        raise DataError(f"{home}: no photograph has a caption in both styles. {EXPECTED}")
    return entries


def _captions(folder: Path, text: str) -> dict[str, str]:
    """Return a style's captions by the photograph's name."""
    names = pickles.read(folder / LIST)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{folder / LIST}: expected is a list of names of photographs")
    # A few lines are no UTF-8.
    lines = (folder / text).read_text(encoding="windows-1252", errors="replace").split("\n")
    captions = [line.strip() for line in lines if line.strip()]
    if len(captions) != len(names):
        raise DataError(
            f"{folder / text}: {len(captions)} captions, but {LIST} names {len(names)} photographs"
        )
    return {Path(name).name: caption for name, caption in zip(names, captions, strict=True)}


def _number(name: str) -> str:
    match = NUMBER.match(name)
    return match[0] if match else name


def _by_number(folder: Path) -> dict[str, str]:
    """Return the photographs' names by the number that they begin with."""
    return {_number(path.name): path.name for path in sorted(folder.iterdir()) if path.is_file()}
