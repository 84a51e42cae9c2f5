"""scikit-learn's digits with captions: the plumbing of captioning, checked without a network.

Splits as those of FashionScenes: ``clip`` (pairs), ``text``, ``val`` and ``test``, which share no
scan. A caption says the digit, how much ink it took and whether the scan is negative.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch.nn import functional as F

from reprise.data.base import ImageSet, Log, Prepared, Split, read_arrays, write_arrays
from reprise.data.captioned import PLAIN, CaptionedSet, read_texts, write_texts
from reprise.settings.base import Strict
from reprise.training.seeding import Key

INK = 16  # the scans' darkest value
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SHARES = {"clip": (0.0, 0.4), "text": (0.4, 0.8), "val": (0.8, 0.9), "test": (0.9, 1.0)}
WORDINGS = {
    PLAIN: (
        "a {ink} {name} on a {ground} ground.",
        "the number {name}, written in a {ink} hand.",
        "here is a {name}.",
    ),
    "poetic": ("a {ink} {name}, like a bird on {ground} snow.",),
    "humorous": ("a {ink} {name} that forgot the other digits at home.",),
}


class Args(Strict):
    """How the scans are enlarged."""

    size: int = Field(16, ge=8, description="side of the images, pixels")


def prepare(folder: Path, args: Args, log: Log) -> Prepared:
    """Enlarge the scans, turn every other one into its negative, and caption them."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    scans = torch.from_numpy(digits.images).float().unsqueeze(1)
    enlarged = F.interpolate(scans, (args.size, args.size), mode="bilinear").mul_(255 / INK)
    images, labels = enlarged.round_().to(torch.uint8).numpy(), digits.target
    images[1::2] = 255 - images[1::2]
    order = torch.randperm(len(labels), generator=Key(("captioned_digits",)).generator()).numpy()
    splits = {}
    for split, (low, high) in SHARES.items():
        chosen = order[round(low * len(order)) : round(high * len(order))]
        colour = np.repeat(images[chosen], 3, axis=1)
        count, files = write_arrays(folder, split, colour, labels[chosen])
        texts = _texts(digits.images[chosen], labels[chosen], chosen % 2 == 1)
        splits[split] = count, files + write_texts(folder, split, texts)
    return Prepared("scikit-learn", NAMES, splits)


def load(split: Split, args: Args) -> ImageSet:
    """Read a split: images uint8 [N, 3, size, size] with their captions."""
    plain = read_arrays(split)
    return CaptionedSet(**vars(plain), texts=read_texts(split.folder, split.split, WORDINGS))


def _texts(
    scans: NDArray[np.float64], labels: NDArray[np.int64], negative: NDArray[np.bool_]
) -> dict[str, list[list[str]]]:
    """Return the captions of scans [N, 8, 8], by style."""
    inks = np.where(scans.mean(axis=(1, 2)) > np.median(scans.mean(axis=(1, 2))), "bold", "thin")
    facts = [
        {"name": NAMES[label], "ink": str(ink), "ground": "white" if turned else "black"}
        for label, ink, turned in zip(labels.tolist(), inks, negative.tolist(), strict=True)
    ]
    return {
        style: [[wording.format(**fact) for wording in wordings] for fact in facts]
        for style, wordings in WORDINGS.items()
    }
