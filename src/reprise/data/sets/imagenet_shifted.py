"""Test sets of ImageNet's classes from elsewhere: ImageNet-V2, -A, -R and -Sketch.

Each class has a folder, in the root or in the folder that the archive unpacks to. V2 names them by
ImageNet's class numbers, 0 to 999, the others by WordNet id; -A and -R have 200 of the 1,000. All
become WordNet ids in their order, by which `shifted` finds a classifier's outputs. The only split
is ``test``.
"""

from pathlib import Path
from typing import Literal

from reprise.data import photos, wordnet
from reprise.data.base import ImageSet, Log, Prepared, Split
from reprise.data.photos import Listing, PhotoArgs, Survey
from reprise.data.sets.image_folder import NAMED, list_files
from reprise.errors import DataError

FOLDERS = {
    "v2": "imagenetv2-matched-frequency-format-val",
    "a": "imagenet-a",
    "r": "imagenet-r",
    "sketch": "sketch",
}
PAGES = {
    "v2": "https://github.com/modestyachts/ImageNetV2",
    "a": "https://github.com/hendrycks/natural-adv-examples",
    "r": "https://github.com/hendrycks/imagenet-r",
    "sketch": "https://github.com/HaohanWang/ImageNet-Sketch",
}


class Args(PhotoArgs):
    """Which of the sets, where it lies, and how it is kept."""

    variant: Literal["v2", "a", "r", "sketch"]


def expected(variant: str) -> str:
    """Return what the layout should be, in words."""
    named = "class numbers 0 to 999" if variant == "v2" else "WordNet ids"
    return (
        f"Expected are folders named by {named}, in the root or in {FOLDERS[variant]}/. "
        f"{PAGES[variant]} has them."
    )


def survey(args: Args) -> Survey:
    """Return the photographs; DataError for a folder that is none of ImageNet's classes."""
    root = photos.find(args.root, expected(args.variant))
    home = root / FOLDERS[args.variant]
    home = home if home.is_dir() else root
    found, known = photos.folders(home), wordnet.synsets("1k")
    wnids = {_wnid(name, known): name for name in found}
    if strange := sorted({name for name in found if _wnid(name, known) not in known}):
        raise DataError(
            f"{home}: no class of ImageNet is named {', '.join(strange[:NAMED])}. "
            f"{expected(args.variant)}"
        )
    if not found or len(wnids) < len(found):
        odd = "two folders are of one class" if found else "no folder in it"
        raise DataError(f"{home}: {odd}. {expected(args.variant)}")
    classes = sorted(wnids)
    listing = list_files(home, [wnids[wnid] for wnid in classes])
    return Survey(root, tuple(classes), {"test": Listing(listing.paths, listing.labels)})


def _wnid(name: str, known: tuple[str, ...]) -> str:
    """Return the WordNet id that a folder's name means, if it is a class number."""
    return known[int(name)] if name.isdigit() and int(name) < len(known) else name


def prepare(folder: Path, args: Args, log: Log) -> Prepared:
    """Keep the photographs; what cannot be decoded is named and left out.

    A copy without some of the classes is said to be one: a classifier is asked to choose among
    those that are there, which is easier.
    """
    found = survey(args)
    wanted = wordnet.synsets(args.variant if args.variant in ("a", "r") else "1k")
    if lacking := sorted(set(wanted) - set(found.classes)):
        log(
            f"{found.root}: not the published set: {len(lacking)} of its {len(wanted)} classes are "
            f"absent ({', '.join(lacking[:NAMED])}), so that accuracy on it will be too high"
        )
    return photos.prepare(folder, args, found, log)


def load(split: Split, args: Args) -> ImageSet:
    """Map the split ``test``."""
    return photos.load(split, args)
