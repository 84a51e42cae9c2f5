"""Photos with objects to one canvas: outlines as polygons or run lengths, kept as COCO keeps them.

Nothing here imports torch, so that a decoding process starts in a fraction of a second.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

from reprise.data.canvas import (
    IGNORE,
    Canvas,
    Failure,
    Unfit,
    check_same_size,
    open_mask,
    open_photo,
    place_mask,
    place_photo,
    try_all,
)

MALFORMED = "malformed outline"


@dataclass(frozen=True)
class Outline:
    """Polygons [x, y, x, y, ...] in pixels of the photo, or lengths of runs of 0, 1, 0, ... down
    its columns. One of them is empty."""

    polygons: tuple[tuple[float, ...], ...] = ()
    runs: tuple[int, ...] = ()


def parse(segmentation: Any, height: int, width: int) -> Outline | None:
    """Return an outline as COCO's JSON has it, None where there is none.

    Raises Unfit where it is neither a list of polygons of three corners or more, nor run lengths,
    compressed or not, of just this size.
    """
    if not segmentation:
        return None
    if isinstance(segmentation, list):
        polygons = tuple(tuple(corners) for corners in segmentation if isinstance(corners, list))
        if len(polygons) < len(segmentation) or not all(map(_is_polygon, polygons)):
            raise Unfit(MALFORMED, "a polygon without three corners of two numbers each")
        return Outline(polygons=polygons)
    if not isinstance(segmentation, dict):
        raise Unfit(MALFORMED, "neither polygons nor run lengths")
    if segmentation.get("size") != [height, width]:
        size = segmentation.get("size")
        raise Unfit(MALFORMED, f"run lengths for a size of {size}, not {[height, width]}")
    counts = segmentation.get("counts")
    runs: Any = unpack(counts) if isinstance(counts, str) else counts
    whole = isinstance(runs, list) and all(type(run) is int and run >= 0 for run in runs)
    if not whole or sum(runs) != height * width:
        raise Unfit(MALFORMED, f"run lengths that do not add up to {height} x {width} pixels")
    return Outline(runs=tuple(runs))


def _is_polygon(corners: Sequence[Any]) -> bool:
    return (
        len(corners) >= 6
        and len(corners) % 2 == 0
        and all(type(one) in (int, float) and math.isfinite(one) for one in corners)
    )


def unpack(text: str) -> list[int]:
    """Return the run lengths that COCO compresses to text; none where it is no such text.

    Each number is in groups of five bits, lowest first, a sixth bit saying that more follow and
    the highest of the last group the sign; from the fourth on, what is coded is the difference to
    the run before the last one (pycocotools' `rleToString`). That library decodes what is cut off
    to arbitrary pixels.
    """
    runs: list[int] = []
    number = shift = 0
    for char in text.encode():
        group = char - 48
        if not 0 <= group < 64:
            return []
        number |= (group & 31) << shift
        shift += 5
        if not group & 32:
            if group & 16:
                number -= 1 << shift
            runs.append(number + (runs[-2] if len(runs) > 2 else 0))
            number = shift = 0
    return [] if shift else runs


def draw(outline: Outline, height: int, width: int, extent: tuple[int, int]) -> NDArray[np.uint8]:
    """Return uint8 ``extent``, 0 or 1: what an outline on a photo of this size encloses there.

    Corners of polygons are scaled before they are drawn, run lengths after (nearest pixel).
    """
    if outline.polygons:
        scale = np.array([extent[1] / width, extent[0] / height])
        corners = [
            (np.array(one).reshape(-1, 2) * scale).ravel().tolist() for one in outline.polygons
        ]
        drawn: NDArray[np.uint8] = coco.decode(coco.merge(coco.frPyObjects(corners, *extent)))
        return drawn
    values = (np.arange(len(outline.runs)) % 2).astype(np.uint8)
    pixels = np.ascontiguousarray(np.repeat(values, outline.runs).reshape(width, height).T)
    small = Image.fromarray(pixels).resize(extent[::-1], Image.Resampling.NEAREST)
    return np.asarray(small)


@dataclass(frozen=True)
class Scene:
    """A photo's file, its height and width as the annotations say them, its objects' outlines, and
    the file of its semantic mask."""

    photo: str
    height: int
    width: int
    outlines: tuple[Outline | None, ...]
    mask: str | None = None


@dataclass(frozen=True)
class Scenes:
    """Decoded scenes: images uint8 [n, 3, H, W], extents int64 [n, 2], ``codes`` of each scene's
    outlines (compressed run lengths at the size of the canvas, empty where there is none), masks
    uint8 [n, H, W] of those at ``kept`` [n], and why others are not among them."""

    images: NDArray[np.uint8]
    extents: NDArray[np.int64]
    codes: list[list[bytes]]
    masks: NDArray[np.uint8]
    kept: tuple[int, ...]
    failed: tuple[Failure, ...]


@dataclass(frozen=True)
class SceneDecoder:
    """Decodes scenes to a canvas; ``table`` has the class of each value of a semantic mask."""

    canvas: Canvas
    table: NDArray[np.int16]

    def __call__(self, scenes: Sequence[Scene], first: int = 0) -> Scenes:
        """Decode scenes one after the other; ``first`` is the place of the first among all."""
        size = (self.canvas.height, self.canvas.width)
        images = np.zeros((len(scenes), 3, *size), np.uint8)
        masks = np.full((len(scenes), *size), IGNORE, np.uint8)
        extents, codes = np.zeros((len(scenes), 2), np.int64), list[list[bytes]]()

        def decode_one(scene: Scene, row: int) -> None:
            photo = open_photo(scene.photo)
            if photo.size != (scene.width, scene.height):
                said = f"{scene.width}x{scene.height}"
                raise Unfit("sizes differ", f"photo {photo.width}x{photo.height}, said {said}")
            classes = open_mask(scene.mask, self.table) if scene.mask else None
            if classes is not None:
                check_same_size(photo, classes)
            extents[row] = extent = place_photo(photo, self.canvas, images[row])
            if classes is not None:
                place_mask(classes, extent, masks[row])
            codes.append([self._code(one, scene, extent) for one in scene.outlines])

        kept, failed = try_all(scenes, first, decode_one)
        count = len(kept)
        return Scenes(images[:count], extents[:count], codes, masks[:count], kept, failed)

    def _code(self, outline: Outline | None, scene: Scene, extent: tuple[int, int]) -> bytes:
        if outline is None:
            return b""
        pixels = np.zeros((self.canvas.height, self.canvas.width), np.uint8, order="F")
        pixels[: extent[0], : extent[1]] = draw(outline, scene.height, scene.width, extent)
        code: bytes = coco.encode(pixels)["counts"]
        return code
