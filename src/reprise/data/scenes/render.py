"""Draws scenes from photographs: pixels, masks and boxes, a batch at a time, in whole numbers."""

from dataclasses import dataclass

import torch
from torch import Tensor

from reprise.data.scenes import patterns
from reprise.data.scenes.domains import Domain
from reprise.data.scenes.patterns import UNIT
from reprise.data.scenes.whole import FULL, PHOTO, divided, resampling
from reprise.data.scenes.world import SIDES, SLOTS, Photographs, Scenes
from reprise.training.seeding import Key

DARKEST = 144  # 256ths of a garment's tint that are left where its photograph is black
SOLID = 6  # a garment hides what is behind it where it is brighter than 1/SOLID of white


@dataclass(frozen=True)
class Pictures:
    """B rendered scenes.

    ``images`` uint8 [B, 3, size, size]; ``masks`` uint8 [B, size, size], 0 or class + 1 of the
    garment that covers at least half of a pixel, the foremost of several; ``boxes`` int16
    [B, 3, 5]: class, x0, y0, x1, y1 of what is seen of each garment (x1 and y1 are outside), -1
    after the last one; ``counts`` int64 [B]: boxes of each scene.
    """

    images: Tensor
    masks: Tensor
    boxes: Tensor
    counts: Tensor


class Renderer:
    """Draws the scenes of one domain at one size."""

    def __init__(self, domain: Domain, size: int) -> None:
        self.size = size
        key = Key(("fashion_scenes", domain.name))
        self._tints = torch.tensor([tint.colour for tint in domain.tints]).float()
        made = [
            patterns.texture(background.pattern, size, key.fold("background", number))
            for number, background in enumerate(domain.backgrounds)
        ]
        # [K, 3, H, W, size, size]: every window of every texture, as a view.
        self._windows = torch.stack(made).unfold(2, size, 1).unfold(3, size, 1)
        self._smallest = min(low for sizes in SIDES for low, _ in sizes) * size // UNIT
        self._largest = max(high for sizes in SIDES for _, high in sizes) * size // UNIT
        # Rows of zeros on either side of each resampling matrix: a window into them places it.
        self._length = 2 * size + self._largest
        table = torch.zeros(self._largest - self._smallest + 1, self._length, PHOTO)
        for number, side in enumerate(range(self._smallest, self._largest + 1)):
            table[number, size : size + side] = resampling(side)
        self._table = table.view(-1, PHOTO)

    def draw(self, photos: Photographs, scenes: Scenes) -> Pictures:
        """Return the pictures of scenes; ``photos`` are those that the scenes were drawn for."""
        pixels = self._background(scenes)
        owner = torch.zeros(len(scenes), self.size, self.size, dtype=torch.uint8)
        ranks = torch.arange(SLOTS).expand(len(scenes), -1)
        order = torch.where(scenes.reverse.bool().unsqueeze(1), SLOTS - 1 - ranks, ranks)
        tints = scenes.tint.gather(1, scenes.entity.clamp(min=0))
        for rank in range(SLOTS):  # from the hindmost to the foremost
            scene = (scenes.photo.gather(1, order[:, rank : rank + 1]) >= 0).squeeze(1).nonzero()
            scene = scene.squeeze(1)
            slot = order[scene, rank]
            grey = self._garments(photos, scenes, scene, slot)
            cover = (grey * SOLID).clamp_(max=FULL)
            tint = self._tints[tints[scene, slot]].view(-1, 3, 1, 1)
            pixels[scene] = _lay(pixels[scene], grey, cover, tint)
            mine = (slot + 1).to(torch.uint8).view(-1, 1, 1)
            owner[scene] = torch.where(cover >= FULL // 2, mine, owner[scene])
        return _pictures(pixels, owner, scenes.garment_kind)

    def _background(self, scenes: Scenes) -> Tensor:
        """Return backgrounds of whole numbers 0..255: float32 [B, 3, size, size]."""
        windows = self._windows[scenes.background, :, scenes.down, scenes.across].float()
        return divided(windows.mul_(scenes.light.view(-1, 1, 1, 1)), FULL)

    def _garments(self, photos: Photographs, scenes: Scenes, scene: Tensor, slot: Tensor) -> Tensor:
        """Return each garment [G] alone on black, of whole numbers 0..255: [G, size, size]."""
        side = scenes.side[scene, slot]
        rows = self._window(side, scenes.top[scene, slot])
        columns = self._window(side, scenes.left[scene, slot])
        images = photos.images[scenes.photo[scene, slot]].float()
        # Sixteenths are kept between the two products: all sums stay below 2^24.
        across = divided(images @ columns.mT, FULL // 16)
        return divided(rows @ across, 16 * FULL)

    def _window(self, side: Tensor, at: Tensor) -> Tensor:
        """Return the matrices that resample to side [G] and shift by at: float32 [G, size, 28]."""
        first = (side - self._smallest) * self._length + self.size - at
        rows = first.unsqueeze(1) + torch.arange(self.size)
        return self._table.index_select(0, rows.flatten()).view(-1, self.size, PHOTO)


def _lay(behind: Tensor, grey: Tensor, cover: Tensor, tint: Tensor) -> Tensor:
    """Return grey [G, size, size] in its tint [G, 3, 1, 1] laid on scenes [G, 3, size, size]."""
    shade = divided(grey * (FULL - DARKEST), FULL).add_(DARKEST).unsqueeze(1)
    shown = divided(shade * tint, FULL)
    return divided(shown.sub_(behind).mul_(cover.unsqueeze(1)), FULL).add_(behind)


def _pictures(pixels: Tensor, owner: Tensor, kind: Tensor) -> Pictures:
    """Turn pixels, and the slot + 1 whose garment is seen at each, into pictures."""
    names = torch.cat([torch.zeros_like(kind[:, :1]), kind + 1], 1).to(torch.uint8)
    masks = names.gather(1, owner.flatten(1).long()).view_as(owner)
    seen = owner.unsqueeze(1) == torch.arange(1, SLOTS + 1, dtype=torch.uint8).view(1, -1, 1, 1)
    boxes = torch.stack([kind, *_extent(seen.any(2)), *_extent(seen.any(3))], 2)
    boxes = boxes[:, :, [0, 1, 3, 2, 4]]
    some = seen.flatten(2).any(2)
    # A garment that nothing is seen of would leave a gap: those that are seen come first.
    order = (~some).long().argsort(dim=1, stable=True)
    boxes = boxes.masked_fill(~some.unsqueeze(2), -1)
    boxes = boxes.gather(1, order.unsqueeze(2).expand_as(boxes))
    return Pictures(pixels.to(torch.uint8), masks, boxes.to(torch.int16), some.sum(1))


def _extent(line: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first true place of bool [B, 3, size] and the one after the last: [B, 3] each."""
    values = line.to(torch.uint8)
    return values.argmax(2), line.shape[2] - values.flip(2).argmax(2)
