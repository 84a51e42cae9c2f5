"""Grey scenes of several garments each, composed from Fashion-MNIST's photographs.

The demo's stand-in for uncurated photographs (the paper pretrains on JFT-300M, which is private):
one to four garments of long-tailed classes, of any size and brightness, cut off and overlapping,
before a smooth background. A scene's label is the class of its largest garment; it only fills the
place of labels, and pretraining does not use it.

Pixels are computed in whole numbers that float32 holds exactly, so that every processor, with any
number of threads, makes the same bytes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from reprise.data import base
from reprise.data.base import ArraySet, ImageSet, Log, Prepared, Split, read_arrays, write_batches
from reprise.data.sets.fashion_mnist import CLASSES
from reprise.progress import bar
from reprise.settings.base import Strict
from reprise.training.seeding import BLOCK, Draws, Key

PHOTO = 28  # side of a photograph, pixels
SMALLEST, LARGEST = 14, 33  # sides of a garment in a scene: 0.5 to 1.2 of the photograph's
MOST = 4  # garments in a scene
CUT = 4  # a garment may lie outside by this part of its side
TEST_SHARE = 30  # training scenes to one test scene
BATCH = 4 * BLOCK
FULL = 256  # a weight of one
COVERING = 2 / 3  # of the garments hide what is behind them
SHADE, SWING = 112, 48  # the background's largest brightness, and how far it may vary from it
SOFT = 3  # a garment covers what is behind it where it is brighter than 1/SOFT of white
SCENE, GARMENT = 12, 7  # random numbers of a scene, and of each of its garments
WAVES = 3  # points of the background's grid along a side


class Args(Strict):
    """How many scenes of what size."""

    size: int = Field(40, ge=PHOTO, description="side of the scenes, pixels")
    count: int = Field(60_000, gt=0, description="training scenes; the test split has a thirtieth")
    seed: int = Field(0, ge=0)


@dataclass(frozen=True)
class Photographs:
    """A split of Fashion-MNIST, uint8 [N, 28, 28] sorted by class, and where each class lies."""

    images: Tensor
    starts: Tensor
    counts: Tensor

    @classmethod
    def of(cls, data: ArraySet) -> "Photographs":
        """Sort a split by class; photographs of one class stay in their order."""
        order = data.labels.argsort(stable=True)
        counts = data.labels.bincount(minlength=len(CLASSES))
        return cls(data.images[order, 0], counts.cumsum(0) - counts, counts)


@dataclass(frozen=True)
class Garments:
    """Where and how each of MOST garments is put into each of B scenes, int64 [B, MOST].

    ``kind`` is the class, ``photo`` the place among the sorted photographs, ``side``, ``top`` and
    ``left`` are in pixels, ``bright`` is 128 to 256 for half to full. ``covers`` (bool) is true
    where the garment hides what is behind it and false where the brighter one of both is seen;
    ``present`` (bool) is false after the scene's last garment.
    """

    kind: Tensor
    photo: Tensor
    side: Tensor
    top: Tensor
    left: Tensor
    bright: Tensor
    covers: Tensor
    present: Tensor

    @property
    def labels(self) -> Tensor:
        """Class of the largest garment of each scene, the first of equals, int64 [B]."""
        largest = (self.side * self.present).argmax(1, keepdim=True)
        return self.kind.gather(1, largest).squeeze(1)


def prepare(folder: Path, args: Args, log: Log) -> Prepared:
    """Compose both splits; the training photographs are in training scenes only."""
    name, root = "fashion_mnist", folder.parent
    base.prepare(name, root, {}, log)
    composer, splits = Composer(args.size, args.seed), {}
    for split, count in (("train", args.count), ("test", max(1, args.count // TEST_SHARE))):
        photos = Photographs.of(cast(ArraySet, base.load(name, split, root, {})))
        batches = _batches(composer, photos, split, count)
        splits[split] = write_batches(folder, split, (1, args.size, args.size), batches)
    return Prepared("composed from fashion_mnist", CLASSES, splits)


def load(split: Split, args: Args) -> ImageSet:
    """Map a split: images uint8 [N, 1, size, size]."""
    return read_arrays(split)


def _batches(
    composer: "Composer", photos: Photographs, split: str, count: int
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    with one_thread(), bar(f"composing {split}", count) as shown:
        for start in range(0, count, BATCH):
            images, labels = composer.compose(photos, split, start, min(BATCH, count - start))
            yield images.numpy(), labels.numpy()
            shown.advance(len(images))


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute in one thread: on a busy machine two wait for each other at every step."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Composer:
    """Composes scenes of one size; what scene i of a split shows is a function of the seed."""

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.key = size, Key(("fashion_composites", seed))
        self._frequency = class_frequencies(self.key)
        self._waves = _quantised(_interpolation(WAVES, size), FULL // 4)
        # Rows of zeros on either side of each resampling matrix: a window into them places it.
        self._before, self._length = size, 2 * size + LARGEST
        table = torch.zeros(LARGEST - SMALLEST + 1, self._length, PHOTO)
        for number, side in enumerate(range(SMALLEST, LARGEST + 1)):
            weights = _quantised(resampling(side), FULL)
            table[number, self._before : self._before + side] = weights
        self._table = table.view(-1, PHOTO)

    def compose(
        self, photos: Photographs, split: str, start: int, count: int
    ) -> tuple[Tensor, Tensor]:
        """Return scenes start..start+count: uint8 [count, 1, size, size], labels int64 [count].

        ``start`` is a multiple of `reprise.training.seeding.BLOCK`.
        """
        draws = Draws(self.key.fold(split), count, start)
        drawn = draws.uniform("scene", SCENE + MOST * GARMENT).double()
        garments = self._place(drawn, photos)
        scenes = self._background(drawn)
        # By place in the scene: all first garments, then all second ones on top of them.
        scene, slot = garments.present.nonzero().unbind(1)
        by_slot = slot.argsort(stable=True)
        scene, slot = scene[by_slot], slot[by_slot]
        pixels = self._resample(photos, garments, scene, slot)
        for number, part in enumerate(pixels.split(slot.bincount().tolist())):
            chosen = scene[slot == number]
            scenes[chosen] = _lay(
                scenes[chosen],
                part,
                garments.bright[chosen, number],
                garments.covers[chosen, number],
            )
        return scenes.to(torch.uint8).unsqueeze(1), garments.labels

    def _place(self, drawn: Tensor, photos: Photographs) -> Garments:
        """Turn random numbers float64 [B, SCENE + MOST * GARMENT] into garments."""
        count = _whole(drawn[:, 0], 1, MOST)
        kind, photo, side, top, left, bright, covers = (
            drawn[:, SCENE:].view(-1, MOST, GARMENT).unbind(2)
        )
        kinds = torch.searchsorted(self._frequency, kind.contiguous(), right=True).clamp_(
            max=len(CLASSES) - 1
        )
        sides = _whole(side, SMALLEST, LARGEST)
        slack = sides // CUT
        return Garments(
            kind=kinds,
            photo=photos.starts[kinds] + (photo * photos.counts[kinds]).long(),
            side=sides,
            top=_whole(top, -slack, self.size - sides + slack),
            left=_whole(left, -slack, self.size - sides + slack),
            bright=_whole(bright, FULL // 2, FULL),
            covers=covers < COVERING,
            present=torch.arange(MOST) < count.unsqueeze(1),
        )

    def _background(self, drawn: Tensor) -> Tensor:
        """Return smooth backgrounds of whole numbers 0..255: float32 [B, size, size].

        One shade, which a coarse grid makes lighter or darker in places.
        """
        shade, swing = _whole(drawn[:, 1:2], 0, SHADE), _whole(drawn[:, 2:3], 0, SWING)
        grid = (shade + _whole(drawn[:, 3:SCENE], -swing, swing)).clamp_(0, 255)
        coarse = grid.float().view(-1, WAVES, WAVES)
        return _divided(self._waves @ coarse @ self._waves.T, (FULL // 4) ** 2)

    def _resample(
        self, photos: Photographs, garments: Garments, scene: Tensor, slot: Tensor
    ) -> Tensor:
        """Return each garment [G] alone on black, of whole numbers 0..255: [G, size, size]."""
        side = garments.side[scene, slot]
        rows = self._window(side, garments.top[scene, slot])
        columns = self._window(side, garments.left[scene, slot])
        images = photos.images[garments.photo[scene, slot]].float()
        # Sixteenths are kept between the two products: all sums stay below 2^24.
        across = _divided(images @ columns.mT, FULL // 16)
        return _divided(rows @ across, 16 * FULL)

    def _window(self, side: Tensor, at: Tensor) -> Tensor:
        """Return the matrices that resample to side [G] and shift by at: float32 [G, size, 28]."""
        first = (side - SMALLEST) * self._length + self._before - at
        rows = first.unsqueeze(1) + torch.arange(self.size)
        return self._table.index_select(0, rows.flatten()).view(-1, self.size, PHOTO)


def class_frequencies(key: Key) -> Tensor:
    """Return cumulative class probabilities, float64 [10]: 1/(k+1) in an order that is drawn."""
    order = torch.randperm(len(CLASSES), generator=key.fold("classes").generator())
    weights = 1 / (1 + order.double())
    return weights.cumsum(0) / weights.sum()


def resampling(side: int) -> NDArray[np.float64]:
    """Return [side, 28]: weights of antialiased bilinear resizing of a photograph's axis."""
    scale = PHOTO / side
    centre = (np.arange(side) + 0.5) * scale
    distance = np.abs(np.arange(PHOTO) + 0.5 - centre[:, None])
    weights = np.clip(1 - distance / max(scale, 1.0), 0, None)
    return cast(NDArray[np.float64], weights / weights.sum(1, keepdims=True))


def _interpolation(points: int, size: int) -> NDArray[np.float64]:
    """Return [size, points]: linear interpolation between points spread from edge to edge."""
    at = np.linspace(0, points - 1, size)
    weights = np.clip(1 - np.abs(at[:, None] - np.arange(points)), 0, None)
    return cast(NDArray[np.float64], weights)


def _quantised(weights: NDArray[np.float64], one: int) -> Tensor:
    """Return weights as whole numbers, float32, whose rows sum to ``one`` exactly."""
    whole = np.rint(weights * one)
    rows = np.arange(len(whole))
    whole[rows, whole.argmax(1)] += one - whole.sum(1)
    return torch.from_numpy(whole).float()


def _whole(drawn: Tensor, low: Tensor | int, high: Tensor | int) -> Tensor:
    """Turn numbers in [0, 1), float64, into whole ones from low to high, both included."""
    return low + (drawn * (high - low + 1)).long()


def _divided(values: Tensor, by: int) -> Tensor:
    """Divide whole numbers by a power of two, halves rounded up, in place."""
    return values.add_(by // 2).mul_(1 / by).floor_()


def _lay(behind: Tensor, garment: Tensor, bright: Tensor, covers: Tensor) -> Tensor:
    """Return garments [n, size, size] laid on scenes, all of whole numbers 0..255."""
    shown = _divided(garment * bright.view(-1, 1, 1), FULL)
    over = garment.mul_(SOFT).clamp_(max=FULL)
    # Where the brighter one is seen, it covers wholly or not at all.
    brighter = (shown > behind) * FULL
    over = torch.where(covers.view(-1, 1, 1), over, brighter)
    return _divided(shown.sub_(behind).mul_(over), FULL).add_(behind)
