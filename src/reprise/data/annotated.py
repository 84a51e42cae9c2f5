"""Images with a class of every pixel, or with boxes and outlines of objects: sets and their files.

Images are uint8 [N, 3, H, W] on one canvas, as `reprise.data.canvas` puts them there.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as coco
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError
from torch import Tensor

from reprise.data import origin
from reprise.data.base import ArraySet, Split
from reprise.data.canvas import Canvas, around
from reprise.errors import DataError, unknown
from reprise.files import atomic
from reprise.settings.base import Strict

SPLITS = ("train", "val", "test")


class CanvasArgs(Strict):
    """What readers of photos on a canvas have in common: where they lie, and what size is kept."""

    root: str = Field(
        min_length=1,
        description="folder of all; ${NAME} is an environment variable. Where it lies is in no "
        "digest",
    )
    images: dict[str, str] = Field(
        min_length=1, description="folder of the photos of each split, below root"
    )
    short: int = Field(ge=8, description="shorter side that the photos are scaled to, pixels")
    canvas: tuple[int, int] | None = Field(
        None,
        description="height and width that all photos are kept at; one that does not fit is scaled "
        "further. Default: what holds all of them",
    )
    most_corrupt: float = Field(
        0.01, ge=0, lt=1, description="share of a split's photos that may be unfit for use"
    )

    @model_validator(mode="after")
    def _fits_canvas(self) -> Self:
        for split in self.images:
            if split not in SPLITS:
                raise wrong(f"images: {unknown('split', split, SPLITS)}")
        if self.canvas and min(self.canvas) < self.short:
            raise wrong(f"canvas: its sides must be at least short = {self.short}")
        return self

    def choose(self, paths: Sequence[str]) -> Canvas:
        """Return the canvas that is given, or the smallest one for the photos."""
        return Canvas(self.short, *self.canvas) if self.canvas else around(paths, self.short)


def wrong(text: str) -> PydanticCustomError:
    """Return what a validator of arguments raises."""
    return PydanticCustomError("layout", "{text}", {"text": text})


def find(root: str, folders: Iterable[str], files: Iterable[str], expected: str) -> Path:
    """Return the folder that a ``root`` names, which must hold some folders and files.

    DataError names what is not there, with what is ``expected``.
    """
    try:
        home = origin.place(root)
    except DataError as error:
        raise DataError(f"{error}. {expected}") from None
    for needed in (home, *(home / name for name in folders)):
        if not needed.is_dir():
            raise DataError(f"{needed}: no such folder. {expected}")
    for needed in (home / name for name in files):
        if not needed.is_file():
            raise DataError(f"{needed}: no such file. {expected}")
    return home


@dataclass(eq=False)
class MaskSet(ArraySet):
    """An `ArraySet` of images uint8 [N, 3, H, W] on one canvas, with the classes of their pixels.

    ``masks`` uint8 [N, H, W]: numbers of ``classes``, or `canvas.IGNORE`; ``extents`` int64
    [N, 2]: height and width of each photo. An image's label is the class that most of its pixels
    have, -1 where none has a class.
    """

    masks: Tensor
    extents: Tensor


@dataclass(eq=False)
class ObjectSet(ArraySet):
    """An `ArraySet` of images uint8 [N, 3, H, W] on one canvas, with boxes of their objects.

    ``boxes`` float32 [N, K, 5]: class, x0, y0, x1, y1 in pixels of the canvas (the last two
    outside), all -1 after an image's last object; ``crowd`` bool [N, K]; ``areas`` float32 [N, K]
    as the annotations give them, in pixels of the canvas; ``extents`` int64 [N, 2]; ``outlined``
    bool [N]: all objects of the image have an outline. ``starts`` int64 [N * K + 1] says where in
    ``codes`` uint8 [bytes] the outline of object k of image n begins, at n * K + k: COCO's
    compressed run lengths at the size of the canvas. ``masks`` uint8 [N, H, W], where the data have
    semantic masks, are numbers of ``mask_names``, or `canvas.IGNORE`. An image's label is the
    class of its largest box, -1 where it has none.
    """

    boxes: Tensor
    crowd: Tensor
    areas: Tensor
    extents: Tensor
    outlined: Tensor
    starts: Tensor
    codes: Tensor
    masks: Tensor | None = None
    mask_names: tuple[str, ...] = ()

    def instances(self, index: int) -> Tensor:
        """Return uint8 [k, H, W] of the k objects of an image, 0 or 1, in the order of its boxes;
        all 0 for an object without an outline."""
        count = int((self.boxes[index, :, 0] >= 0).sum())
        height, width = self.images.shape[2:]
        masks = torch.zeros(count, height, width, dtype=torch.uint8)
        first = index * self.boxes.shape[1]
        for at in range(count):
            start, end = self.starts[first + at : first + at + 2].tolist()
            if code := self.codes[start:end].numpy().tobytes():
                masks[at] = torch.from_numpy(coco.decode({"size": [height, width], "counts": code}))
        return masks


@contextmanager
def growing(path: Path, shape: tuple[int, ...]) -> Iterator[Callable[[NDArray[np.uint8]], None]]:
    """Write a .npy file of uint8 [n, *shape] part by part; the file is whole or absent.

    Yields the function that takes a part; n need not be known before.
    """
    with atomic(path) as stream:
        count, start = 0, _write_header(stream, (0, *shape))

        def add(part: NDArray[np.uint8]) -> None:
            nonlocal count
            stream.write(np.ascontiguousarray(part).data)
            count += len(part)

        yield add
        stream.seek(0)
        if _write_header(stream, (count, *shape)) != start:
            raise AssertionError("numpy left no room in the header for the number of rows")


def _write_header(stream: BinaryIO, shape: tuple[int, ...]) -> int:
    """Write the .npy header of a uint8 array; return where its values begin."""
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.tell()


def write(folder: Path, split: str, arrays: dict[str, NDArray[Any]]) -> list[str]:
    """Write arrays of a split, each ``<split>-<name>.npy``; return the files' names."""
    files = []
    for name, array in arrays.items():
        files.append(f"{split}-{name}.npy")
        with atomic(folder / files[-1]) as stream:
            np.save(stream, array)
    return files


def read(split: Split, *names: str) -> dict[str, Tensor]:
    """Map arrays of a split, by name; writing to one changes a copy of the page, never a file."""
    return {
        name: torch.from_numpy(np.load(split.folder / f"{split.split}-{name}.npy", mmap_mode="c"))
        for name in names
    }
