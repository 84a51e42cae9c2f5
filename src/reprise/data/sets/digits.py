"""scikit-learn's digits: 1,797 scans of 8x8 pixels, enough to check plumbing without a network."""

from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from torch.nn import functional as F

from reprise.data.base import (
    ImageSet,
    Log,
    Prepared,
    Split,
    few_labels,
    read_arrays,
    write_arrays,
)
from reprise.settings.base import Strict
from reprise.training.seeding import Key

INK = 16  # the scans' darkest value
TEST = 360  # images in the test split, a fifth, evenly over the ten digits


class Args(Strict):
    """How the scans are enlarged."""

    size: int = Field(16, ge=8, description="side of the images, pixels")
    colour: bool = Field(False, description="each scan in a colour of its own, three channels")


def prepare(folder: Path, args: Args, log: Log) -> Prepared:
    """Enlarge the scans that ship with scikit-learn, bilinearly, and split them."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    scans = torch.from_numpy(digits.images).float().unsqueeze(1)
    enlarged = F.interpolate(scans, (args.size, args.size), mode="bilinear").mul_(255 / INK)
    if args.colour:
        generator = Key(("digits", "colour")).generator()
        enlarged = enlarged * torch.rand(len(enlarged), 3, 1, 1, generator=generator)
    images, labels = enlarged.round_().to(torch.uint8).numpy(), digits.target
    test = few_labels(torch.from_numpy(labels), TEST, Key(("digits", "test"))).numpy()
    train = np.setdiff1d(np.arange(len(labels)), test)
    splits = {
        split: write_arrays(folder, split, images[chosen], labels[chosen])
        for split, chosen in (("train", train), ("test", test))
    }
    return Prepared("scikit-learn", tuple(str(name) for name in digits.target_names), splits)


def load(split: Split, args: Args) -> ImageSet:
    """Read a split: images uint8 [N, 1, size, size], or of three channels."""
    return read_arrays(split)
