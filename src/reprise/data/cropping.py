"""Random crops of whole photographs, cut before they are scaled.

An array of square images has lost the margins of its photographs, and what is finer than its
pixels: 8 % of a square of 256 pixels are 72 pixels wide. Where a data set keeps its files, a run
with ``whole_photographs: true`` has its crops cut by the reader, as the papers' own code does, and
the rest of its augmentation follows as ever. What is cut depends on the draws (on the CPU) and on
the photograph's size alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from reprise.errors import ConfigError
from reprise.settings.base import Augment
from reprise.settings.deit3_augment import RecipeAugment
from reprise.training.seeding import Draws

TRIES = 10  # as often a box is drawn, in timm and torchvision, before the largest one is taken


Places = Sequence[Sequence[int]]


class Crop(Protocol):
    """How a square of ``size`` pixels is cut from a photograph."""

    @property
    def size(self) -> int: ...
    def places(self, extents: Tensor, draws: Draws) -> Tensor:
        """Return int64 [B, k]: where to cut photographs of heights and widths int64 [B, 2]."""

    def cut(self, photo: Image.Image, places: Places) -> list[NDArray[np.uint8]]:
        """Return uint8 [size, size, 3] of an RGB photograph for each of some of `places`."""


@dataclass(frozen=True)
class ResizedCrop:
    """A box of random area and shape, resized: the "random resized crop" of all recipes.

    ``redrawn``: drawn as timm and torchvision do, else as `reprise.data.transforms` does.
    """

    size: int
    scale: tuple[float, float]
    ratio: tuple[float, float]
    redrawn: bool
    resampling: Image.Resampling

    def places(self, extents: Tensor, draws: Draws) -> Tensor:
        find = redrawn_boxes if self.redrawn else bounded_boxes
        return torch.stack(find(extents, self.scale, self.ratio, draws), 1).long()

    def cut(self, photo: Image.Image, places: Places) -> list[NDArray[np.uint8]]:
        found = []
        for top, left, height, width in places:
            box = photo.crop((left, top, left + width, top + height))
            found.append(np.asarray(box.resize((self.size, self.size), self.resampling)))
        return found


@dataclass(frozen=True)
class SimpleCrop:
    """DeiT III's simple random crop: the shorter side resized, reflected margins, then a square."""

    size: int
    padding: int

    def places(self, extents: Tensor, draws: Draws) -> Tensor:
        sides = (self.size * extents / extents.amin(1, keepdim=True)).long()
        room = sides + 2 * self.padding - self.size + 1
        return (draws.uniform("crop", 2) * room).long()

    def cut(self, photo: Image.Image, places: Places) -> list[NDArray[np.uint8]]:
        sides = [int(self.size * side / min(photo.size)) for side in photo.size]
        pixels = np.asarray(photo.resize((sides[0], sides[1]), Image.Resampling.BICUBIC))
        margin = (self.padding, self.padding)
        padded = np.pad(pixels, (margin, margin, (0, 0)), mode="reflect")
        return [padded[top : top + self.size, left : left + self.size] for top, left in places]


def of_augment(settings: Augment) -> Crop:
    """Return the crop of the loop's own augmentation; ConfigError where it has none."""
    if settings.crop_scale == (1.0, 1.0):
        raise ConfigError(
            "augment.crop_scale: nothing is cropped at random; remove whole_photographs, or crop"
        )
    low_high = settings.crop_scale, settings.crop_ratio
    return ResizedCrop(settings.size, *low_high, False, Image.Resampling.BILINEAR)


def of_recipe(image: RecipeAugment) -> Crop:
    """Return the crop of a recipe; ConfigError where it has none."""
    if image.crop == "none":
        raise ConfigError(
            "image.crop: nothing is cropped at random; remove whole_photographs, or crop"
        )
    if image.crop == "src":
        return SimpleCrop(image.size, image.padding)
    bicubic = Image.Resampling.BICUBIC
    return ResizedCrop(image.size, image.crop_scale, image.crop_ratio, True, bicubic)


Boxes = tuple[Tensor, Tensor, Tensor, Tensor]


def bounded_boxes(
    extents: Tensor, scale: tuple[float, float], ratio: tuple[float, float], draws: Draws
) -> Boxes:
    """Return (top, left, height, width) of random boxes in whole pixels, each float32 [B].

    ``extents`` [B, 2] are heights and widths. Distributed as `transforms.crop_boxes`, which takes
    images of one size: a ratio is drawn from those with which the area fits.
    """
    area, shape, down, across = draws.uniform("crop", 4).unbind(1)
    height, width = extents.float().unbind(1)
    share = scale[0] + (scale[1] - scale[0]) * area
    # A box of this share fits where its log ratio is within -log(share) of the photograph's own.
    slack, own = -share.log(), (width / height).log()
    first, last = (
        torch.minimum(
            torch.maximum(torch.full_like(own, math.log(bound)), own - slack), own + slack
        )
        for bound in ratio
    )
    stretch = (first + (last - first) * shape).mul(0.5).exp()
    side = (share * (height * width)).sqrt()
    box_height = torch.minimum((side / stretch).round().clamp(min=1), height)
    box_width = torch.minimum((side * stretch).round().clamp(min=1), width)
    top = (down * (height - box_height + 1)).floor()
    left = (across * (width - box_width + 1)).floor()
    return top, left, box_height, box_width


def redrawn_boxes(
    extents: Tensor, scale: tuple[float, float], ratio: tuple[float, float], draws: Draws
) -> Boxes:
    """Return (top, left, height, width) of random boxes in whole pixels, each float32 [B].

    ``extents`` [B, 2] are heights and widths. Distributed as timm's
    `RandomResizedCropAndInterpolation`: area uniform, ratio log-uniform, both drawn again until the
    box fits. After ten tries the whole image is taken, or as much of its centre as ``ratio`` lets.
    """
    drawn = draws.uniform("crop", 2 * TRIES + 2)
    area, shape, place = drawn.split([TRIES, TRIES, 2], dim=1)
    whole = extents.to(drawn)
    first, last = map(math.log, ratio)
    area = (scale[0] + (scale[1] - scale[0]) * area) * whole.prod(1, keepdim=True)
    stretch = (first + (last - first) * shape).exp()
    # From here on the last dimension is height, width. One more try, the last, always fits.
    tries = torch.stack([area / stretch, area * stretch], dim=2).sqrt().round()
    boxes = torch.cat([tries, _largest(whole, ratio).unsqueeze(1)], dim=1)
    taken = (boxes <= whole.unsqueeze(1)).all(2).int().argmax(dim=1)
    box = boxes[torch.arange(draws.count, device=drawn.device), taken]
    room = whole - box
    central = (taken == TRIES).unsqueeze(1)
    start = torch.where(central, room / 2, place * (room + 1)).floor()
    top, left, box_height, box_width = torch.cat([start, box], dim=1).unbind(1)
    return top, left, box_height, box_width


def _largest(whole: Tensor, ratio: tuple[float, float]) -> Tensor:
    """Return heights and widths of the largest boxes with a ratio (width / height) in bounds."""
    height, width = whole.unbind(1)
    low, high = ratio
    narrow, wide = width / height < low, width / height > high
    return torch.stack(
        [
            torch.where(narrow, (width / low).round(), height),
            torch.where(wide, (height * high).round(), width),
        ],
        dim=1,
    )
