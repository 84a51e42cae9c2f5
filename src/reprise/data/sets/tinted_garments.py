"""TintedGarments: one Fashion-MNIST garment a scene, in colour, to be told from nine other kinds.

Colours, background, size, place and mirroring are drawn without a look at the photograph, so that
a scene's class, its photograph's, shows in the garment's shape and texture alone. Most garments
are brighter than what is behind them, in any hues; one in eight is darker.

Each photograph is in one scene at most. ``train`` and ``val`` are made of training photographs,
``test`` of test photographs. Domain ``nature`` takes them from the other end of the order in which
``town`` does: with one seed, and sizes that two times go into the 60,000, neither domain is
trained on a photograph that the other is trained or validated on. Classes take turns, so that
they are balanced in any run of scenes.

Pixels are computed as `reprise.data.scenes.whole` says: the same bytes on any processor.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from reprise.data import base
from reprise.data.base import ArraySet, ImageSet, Log, Prepared, Split, read_arrays, write_batches
from reprise.data.scenes import patterns
from reprise.data.scenes.domains import DOMAINS, TINTS, Domain
from reprise.data.scenes.whole import FULL, PHOTO, between, divided, one_thread, resampling
from reprise.data.sets.fashion_mnist import CLASSES
from reprise.errors import ConfigError
from reprise.progress import bar
from reprise.settings.base import Strict
from reprise.training.seeding import BLOCK, Draws, Key

SPLITS = ("train", "val", "test")
BATCH = 4 * BLOCK
SMALLEST, LARGEST, PARTS = 11, 19, 20  # a garment's side is 11 to 19 twentieths of the scene's
SOLID = 8  # a garment hides what is behind it where it is brighter than 1/SOLID of white
DEEPEST, PALEST = 48, 160  # 256ths of its tint that are left where a garment is darkest
STRAY = 40  # a colour's red, green and blue stray from its domain's tint by up to this
SHADE = 160  # 256ths of a colour, at most, that give way to black or to white
WASH = 160  # 256ths of a background, at most, that give way to a colour laid over it
THIN, THICK = 144, 224  # 256ths of both that then give way to black, or to white in a reverse
REVERSE = 1 / 8  # of the scenes show a dark garment before something bright
CANDIDATES = 4  # colours drawn for a garment: the first that stands out is taken
APART = 280  # it does where red, green and blue exceed the background's by this in sum
SCENE, COLOUR = 11, 5  # random numbers of a scene, and of each of its colours


class Args(Strict):
    """Which domain, of what size, and how many scenes: at least one of each class."""

    domain: Literal["town", "nature"] = Field("town", description="palette and backgrounds")
    size: int = Field(48, ge=PHOTO, le=96, description="side of the scenes, pixels")
    train: int = Field(24_000, ge=len(CLASSES), description="training scenes")
    val: int = Field(2_000, ge=len(CLASSES), description="scenes of other training photographs")
    test: int = Field(6_000, ge=len(CLASSES), description="scenes of test photographs")
    seed: int = Field(0, ge=0)


@dataclass(frozen=True)
class Looks:
    """How B scenes look, whatever garment they show: int64 [B] unless said otherwise.

    ``background`` is its number in the domain, ``across`` and ``down`` (pixels) where its texture
    is cut, ``wash`` [B, 3] the colour laid over it, ``share`` how thickly and ``veil`` how thick
    the black over both is, or the white where ``reverse`` (bool) says so (256ths). ``side``,
    ``top`` and ``left`` of the garment are in pixels; ``tint`` [B, 3] is its colour where it is
    brightest, and ``deep`` (256ths of it) where it is darkest. It may be ``mirrored`` (bool).
    Colours are red, green and blue, 0..255.
    """

    background: Tensor
    across: Tensor
    down: Tensor
    wash: Tensor
    share: Tensor
    veil: Tensor
    reverse: Tensor
    side: Tensor
    top: Tensor
    left: Tensor
    mirrored: Tensor
    deep: Tensor
    tint: Tensor

    def __len__(self) -> int:
        return len(self.side)


def prepare(folder: Path, args: Args, log: Log) -> Prepared:
    """Draw all splits from disjoint photographs. Raises ConfigError where there are too few."""
    base.prepare("fashion_mnist", folder.parent, {}, log)
    painter, splits = Painter(DOMAINS[args.domain], args.size), {}
    chosen = {split: photographs(folder.parent, split, args) for split in SPLITS}
    for split, (images, labels) in chosen.items():
        batches = _batches(painter, images, labels, scenes_key(args).fold(split))
        splits[split] = write_batches(folder, split, (3, args.size, args.size), batches)
    return Prepared("drawn from fashion_mnist", CLASSES, splits)


def load(split: Split, args: Args) -> ImageSet:
    """Map a split: images uint8 [N, 3, size, size]."""
    return read_arrays(split)


def scenes_key(args: Args) -> Key:
    """Return the root of all randomness in the scenes of a domain."""
    return Key(("tinted_garments", args.domain, args.seed))


def photographs(root: Path, split: str, args: Args) -> tuple[Tensor, Tensor]:
    """Return a split's photographs uint8 [N, 28, 28] and classes int64 [N] from below a data root.

    Photograph i is scene i's. Raises ConfigError where there are too few.
    """
    source = "test" if split == "test" else "train"
    data = cast(ArraySet, base.load("fashion_mnist", source, root, {}))
    order = in_turns(data.labels, Key(("tinted_garments", args.seed, source)))
    if args.domain == "nature":
        order = order.flip(0)
    first = args.val if split == "train" else 0  # the first of them are val's
    last = first + int(getattr(args, split))
    if last > len(order):
        raise ConfigError(
            f"data set 'tinted_garments': {last} scenes want a {source} photograph each, and "
            f"there are {len(order)}; lower {split}"
        )
    chosen = order[first:last]
    return data.images[chosen, 0], data.labels[chosen]


def in_turns(labels: Tensor, key: Key) -> Tensor:
    """Return indices int64 of labels int64 [N], classes in turns and each class in random order.

    Classes that are larger than the smallest one are cut to its size.
    """
    shuffled = torch.randperm(len(labels), generator=key.generator())
    members = [shuffled[labels[shuffled] == kind] for kind in range(len(CLASSES))]
    smallest = min(map(len, members))
    return torch.stack([some[:smallest] for some in members], 1).flatten()


def _batches(
    painter: "Painter", images: Tensor, labels: Tensor, key: Key
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    with one_thread(), bar(f"painting {painter.domain.name} {key.path[-1]}", len(images)) as shown:
        for start in range(0, len(images), BATCH):
            some = images[start : start + BATCH]
            looks = painter.draw(Draws(key, len(some), start))
            yield painter.paint(some, looks).numpy(), labels[start : start + BATCH].numpy()
            shown.advance(len(some))


class Painter:
    """Paints the scenes of one domain at one size."""

    def __init__(self, domain: Domain, size: int) -> None:
        self.domain, self.size = domain, size
        key = Key(("tinted_garments", domain.name))
        self._tints = torch.tensor([tint.colour for tint in domain.tints])
        made = [
            patterns.texture(background.pattern, size, key.fold("background", number))
            for number, background in enumerate(domain.backgrounds)
        ]
        textures = torch.stack(made)
        self._means = textures.long().sum((2, 3)) // textures[0, 0].numel()
        # [K, 3, H, W, size, size]: every window of every texture, as a view.
        self._windows = textures.unfold(2, size, 1).unfold(3, size, 1)
        self.smallest, self.largest = -(-SMALLEST * size // PARTS), LARGEST * size // PARTS
        # Rows of zeros on either side of each resampling matrix: a window into them places it.
        self._length = 2 * size + self.largest
        table = torch.zeros(self.largest - self.smallest + 1, self._length, PHOTO)
        for number, side in enumerate(range(self.smallest, self.largest + 1)):
            table[number, size : size + side] = resampling(side)
        self._table = table.view(-1, PHOTO)

    def draw(self, draws: Draws) -> Looks:
        """Draw how scenes look; photographs have no part in it."""
        drawn = draws.uniform("look", SCENE + (1 + CANDIDATES) * COLOUR).double()
        background, across, down, share, veil, reverse, side, top, left, mirrored, deep = drawn[
            :, :SCENE
        ].unbind(1)
        colours = drawn[:, SCENE:].view(-1, 1 + CANDIDATES, COLOUR)
        number = between(background, 0, len(self._means) - 1)
        wash, share = self._colours(colours[:, 0], -SHADE), between(share, 0, WASH)
        veil, dark = between(veil, THIN, THICK), reverse < REVERSE
        deep, side = between(deep, DEEPEST, PALEST), between(side, self.smallest, self.largest)
        ground = _mixed(self._means[number], wash, share.unsqueeze(1))
        ground = _mixed(ground, 255 * dark.unsqueeze(1), veil.unsqueeze(1))
        return Looks(
            background=number,
            across=between(across, 0, self.size // 2),
            down=between(down, 0, self.size // 2),
            wash=wash,
            share=share,
            veil=veil,
            reverse=dark,
            side=side,
            top=between(top, 0, self.size - side),
            left=between(left, 0, self.size - side),
            mirrored=mirrored < 1 / 2,
            deep=deep,
            tint=self._tint(colours[:, 1:], dark, deep, ground),
        )

    def paint(self, photos: Tensor, looks: Looks) -> Tensor:
        """Return scenes uint8 [B, 3, size, size] of photographs uint8 [B, 28, 28]."""
        behind = self._background(looks)
        grey = self._garments(photos.float(), looks)
        cover = (grey * SOLID).clamp_(max=FULL).unsqueeze(1)
        deep = looks.deep.float().view(-1, 1, 1)
        shade = divided(grey * (FULL - deep), FULL).add_(deep).unsqueeze(1)
        shown = divided(shade * looks.tint.float().view(-1, 3, 1, 1), FULL)
        return divided(shown.sub_(behind).mul_(cover), FULL).add_(behind).to(torch.uint8)

    def _tint(self, drawn: Tensor, dark: Tensor, deep: Tensor, ground: Tensor) -> Tensor:
        """Return garments' tints int64 [B, 3] by numbers in [0, 1), [B, CANDIDATES, COLOUR].

        They are paled, or dimmed where ``dark`` (bool [B]) says so, and stand out from ``ground``.
        """
        sign = 1 - 2 * dark.long().unsqueeze(1)
        paled, dimmed = (self._colours(drawn, low, low + SHADE) for low in (0, -SHADE))
        colours = torch.where(dark.view(-1, 1, 1), dimmed, paled)
        return _standing_out(colours, sign, deep, ground)

    def _colours(self, drawn: Tensor, low: int, high: int = SHADE) -> Tensor:
        """Return the domain's colours int64 [..., 3] by numbers in [0, 1), [..., COLOUR].

        From low to high 256ths of them give way to white, or to black where that is negative.
        """
        tint, shade = between(drawn[..., 0], 0, TINTS - 1), between(drawn[..., 1:2], low, high)
        pure = self._tints[tint] + between(drawn[..., 2:], -STRAY, STRAY)
        return _mixed(pure.clamp_(0, 255), 255 * (shade > 0), shade.abs())

    def _background(self, looks: Looks) -> Tensor:
        """Return backgrounds of whole numbers 0..255: float32 [B, 3, size, size]."""
        windows = self._windows[looks.background, :, looks.down, looks.across].float()
        share, veil, reverse = (
            part.float().view(-1, 1, 1, 1) for part in (looks.share, looks.veil, looks.reverse)
        )
        wash = looks.wash.float().view(-1, 3, 1, 1)
        washed = divided(windows.mul_(FULL - share).add_(wash * share), FULL)
        return divided(washed.mul_(FULL - veil).add_(255 * reverse * veil), FULL)

    def _garments(self, photos: Tensor, looks: Looks) -> Tensor:
        """Return each garment alone on black, of whole numbers 0..255: float32 [B, size, size]."""
        images = torch.where(looks.mirrored.view(-1, 1, 1), photos.flip(2), photos)
        rows, columns = (self._window(looks.side, at) for at in (looks.top, looks.left))
        # Sixteenths are kept between the two products: all sums stay below 2^24.
        across = divided(images @ columns.mT, FULL // 16)
        return divided(rows @ across, 16 * FULL)

    def _window(self, side: Tensor, at: Tensor) -> Tensor:
        """Return the matrices that resample to side [B] and shift by at: float32 [B, size, 28]."""
        first = (side - self.smallest) * self._length + self.size - at
        rows = first.unsqueeze(1) + torch.arange(self.size)
        return self._table.index_select(0, rows.flatten()).view(-1, self.size, PHOTO)


def _mixed(one: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """Return whole numbers, int64, between one and the other, of which share (256ths) is taken."""
    return (one * (FULL - share) + other * share) // FULL


def _standing_out(colours: Tensor, sign: Tensor, deep: Tensor, ground: Tensor) -> Tensor:
    """Return the first of each scene's colours int64 [B, C, 3] that stands out, [B, 3].

    It is brighter than the background's mean colour ``ground`` [B, 3] in the middle of a garment's
    shades, of which ``deep`` [B] is the darkest; darker where ``sign`` [B, 1] is -1 and not 1.
    Where none stands out, the one that comes nearest to it is taken.
    """
    middle = colours * (FULL + deep.view(-1, 1, 1)) // (2 * FULL)
    apart = (middle - ground.unsqueeze(1)).sum(2) * sign
    first = apart.clamp(max=APART).argmax(1)  # of equals the first
    return colours[torch.arange(len(colours)), first]
