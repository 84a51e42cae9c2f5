"""The image arrays that evaluators leave behind, as PNG strips."""

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reprise import results
from reprise.config import Json
from reprise.plan import RunJob
from reprise.results import ResultError

_HEIGHT = 96  # images are enlarged to at least so many pixels
_GAP = 6  # transparent pixels between two images
_LARGE = 512  # a single image with longer sides is a picture by itself, such as a contact sheet


@dataclass(frozen=True)
class Strip:
    """Images of one kind side by side, such as all reconstructions.

    large: it is one image of more than thumbnail size, to be shown as wide as the page allows.
    """

    array: str
    label: str
    count: int
    png: bytes
    large: bool = False


def strips(job: RunJob, evaluator: str, evaluation: Json) -> Iterator[Strip]:
    """Yield the strips of an evaluation, in its order; none where it drew no pictures.

    Raises ResultError naming the file where an array is missing or is no row of images.
    """
    pictures = evaluation.get("pictures", [])
    if not pictures:
        return
    path = job.eval_folder / f"{evaluator}.npz"
    arrays = results.read_arrays(path, [picture["array"] for picture in pictures])
    for picture in pictures:
        name = picture["array"]
        try:
            sheet = strip(arrays[name])
        except ValueError as error:
            raise ResultError(f"{path}: {name}: {error}") from None
        yield Strip(
            name, _label(job, picture["label"]), len(arrays[name]), sheet, _is_large(arrays[name])
        )


def strip(images: NDArray[np.generic]) -> bytes:
    """Return a PNG of uint8 [k, H, W] or [k, H, W, 3] side by side, enlarged pixel by pixel.

    Raises ValueError for arrays of other shapes or types.
    """
    if problem := wrong(images):
        raise ValueError(problem)
    times = factor(images.shape[1], _HEIGHT)
    enlarged = images.repeat(times, axis=1).repeat(times, axis=2)
    if len(enlarged) == 1:  # no gap, so no transparency either
        return png(enlarged[0])
    tiles = [Image.fromarray(one).convert("RGBA") for one in enlarged]
    width, height = tiles[0].size
    sheet = Image.new("RGBA", (len(tiles) * (width + _GAP) - _GAP, height), (0, 0, 0, 0))
    for index, tile in enumerate(tiles):
        sheet.paste(tile, (index * (width + _GAP), 0))
    return _as_png(sheet)


def wrong(images: NDArray[np.generic]) -> str:
    """Return why an array is no row of images, or nothing where it is one."""
    pictures = images.ndim in (3, 4) and images.shape[3:] in ((), (3,)) and images.size
    if images.dtype == np.uint8 and pictures:
        return ""
    return f"expected uint8 [k, H, W] or [k, H, W, 3], got {images.dtype} {list(images.shape)}"


def factor(side: int, least: int) -> int:
    """Return the whole number by which a side is enlarged to at least so many pixels, 1 or more."""
    return max(1, -(-least // side))


def png(image: NDArray[np.generic]) -> bytes:
    """Return a PNG of one image, uint8 [H, W] or [H, W, 3], as it is."""
    return _as_png(Image.fromarray(image))


def webp(image: Image.Image, exact: bool) -> bytes:
    """Return a WebP of an image, exactly as it is or compressed as photographs are."""
    stream = io.BytesIO()
    image.save(stream, format="WebP", lossless=exact, quality=85)
    return stream.getvalue()


def _label(job: RunJob, label: str) -> str:
    """Return what pictures are called, "noisy" only where the run's method adds noise."""
    return label.removesuffix(", noisy") if job.run.objective.get("sigma_max") == 0 else label


def _is_large(images: NDArray[np.generic]) -> bool:
    return len(images) == 1 and min(images.shape[1:3]) > _LARGE


def _as_png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format="PNG", optimize=True)
    return stream.getvalue()
