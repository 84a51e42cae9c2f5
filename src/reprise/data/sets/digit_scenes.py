"""Scenes of one or two of scikit-learn's digits with masks and boxes: plumbing of dense prediction.

A digit fills half of a scene's width and height; the second, where there is one, stands beside the
first. Splits are those of `reprise.data.sets.digits`: no scan is in both.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as coco
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from reprise.data import annotated
from reprise.data.annotated import ObjectSet
from reprise.data.base import ImageSet, Log, Prepared, Split, few_labels, read_arrays, write_arrays
from reprise.data.sets.digits import INK, TEST
from reprise.settings.base import Strict
from reprise.training.seeding import Key

MOST = 2  # objects of a scene
SEEN = 0.25  # of full ink: from here on a pixel is a digit's
ARRAYS = ("boxes", "masks")


class Args(Strict):
    """Size of the scenes."""

    size: int = Field(32, ge=16, multiple_of=2, description="side, pixels")


@dataclass(frozen=True)
class Drawn:
    """Scenes uint8 [N, 3, S, S], their masks uint8 [N, S, S] and boxes float32 [N, 2, 5]."""

    images: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    boxes: NDArray[np.float32]


def prepare(folder: Path, args: Args, log: Log) -> Prepared:
    """Draw a scene for each scan, whose class is its label."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    labels = torch.from_numpy(digits.target)
    test = few_labels(labels, TEST, Key(("digits", "test")))
    train = torch.from_numpy(np.setdiff1d(np.arange(len(labels)), test.numpy()))
    scans, splits = torch.from_numpy(digits.images).float() / INK, {}
    for split, chosen in (("train", train), ("test", test)):
        key = Key(("digits", "scenes", split))
        drawn = draw(scans[chosen], labels[chosen], args.size, key)
        count, files = write_arrays(folder, split, drawn.images, labels[chosen].numpy())
        dense = {name: getattr(drawn, name) for name in ARRAYS}
        splits[split] = count, files + annotated.write(folder, split, dense)
    return Prepared("scikit-learn", tuple(str(name) for name in digits.target_names), splits)


def draw(scans: Tensor, labels: Tensor, size: int, key: Key) -> Drawn:
    """Put each scan [8, 8] into a scene, half of them with another one beside it."""
    generator, half = key.generator(), size // 2
    enlarged = F.interpolate(scans.unsqueeze(1), (half, half), mode="bilinear")[:, 0]
    second = torch.randperm(len(scans), generator=generator)
    both = torch.rand(len(scans), generator=generator) < 0.5
    tops = torch.randint(0, half + 1, (len(scans), MOST), generator=generator)
    colours = 0.4 + 0.6 * torch.rand(len(scans), MOST, 3, generator=generator)
    pixels = torch.zeros(len(scans), 3, size, size)
    masks = torch.zeros(len(scans), size, size, dtype=torch.uint8)
    boxes = torch.full((len(scans), MOST, 5), -1.0)
    for n in range(len(scans)):
        for place, scan in enumerate([n, int(second[n])][: 1 + int(both[n])]):
            rows = slice(int(tops[n, place]), int(tops[n, place]) + half)
            columns = slice(place * half, (place + 1) * half)
            pixels[n, :, rows, columns] = colours[n, place, :, None, None] * enlarged[scan]
            seen = enlarged[scan] >= SEEN
            masks[n, rows, columns] = seen * (labels[scan] + 1).to(torch.uint8)
            down, across = seen.any(1).nonzero().squeeze(1), seen.any(0).nonzero().squeeze(1)
            x, y = columns.start, rows.start
            sides = (x + across[0], y + down[0], x + across[-1] + 1, y + down[-1] + 1)
            boxes[n, place] = torch.tensor([int(labels[scan]), *map(int, sides)])
    images = pixels.mul_(255).round_().to(torch.uint8)
    return Drawn(images.numpy(), masks.numpy(), boxes.numpy())


def load(split: Split, args: Args) -> ImageSet:
    """Read a split: an `ObjectSet` with semantic masks."""
    plain, dense = read_arrays(split), annotated.read(split, *ARRAYS)
    outlines = [
        _outline(mask, box)
        for mask, boxes in zip(dense["masks"], dense["boxes"], strict=True)
        for box in boxes
    ]
    areas = torch.tensor([float(coco.area(one)) if one else 0.0 for one in outlines])
    codes = [one["counts"] if one else b"" for one in outlines]
    return ObjectSet(
        **vars(plain),
        boxes=dense["boxes"],
        masks=dense["masks"],
        mask_names=("background", *plain.classes),
        crowd=torch.zeros(len(plain), MOST, dtype=torch.bool),
        areas=areas.view(len(plain), MOST),
        extents=torch.tensor(dense["masks"].shape[1:]).expand(len(plain), 2),
        outlined=torch.ones(len(plain), dtype=torch.bool),
        starts=torch.tensor([0, *map(len, codes)]).cumsum(0),
        codes=torch.frombuffer(bytearray(b"".join(codes)), dtype=torch.uint8),
    )


def _outline(mask: Tensor, box: Tensor) -> dict[str, Any] | None:
    """Return COCO's run lengths of a digit: its class's pixels of a mask [S, S] within its box."""
    kind, x0, y0, x1, y1 = box.long().tolist()
    if kind < 0:
        return None
    own = torch.zeros_like(mask)
    own[y0:y1, x0:x1] = mask[y0:y1, x0:x1] == kind + 1
    return cast(dict[str, Any], coco.encode(np.asfortranarray(own.numpy())))
