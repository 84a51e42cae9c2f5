"""Photos of different shapes on one canvas, with the classes of their pixels.

A photo is scaled, its shape kept, and put top left on a canvas of black; its extent is how much
of the canvas that is. Photos are resized bilinear and antialiased, masks to the nearest pixel.

Nothing here imports torch, so that a decoding process starts in a fraction of a second.
"""

import io
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from reprise.data import decode
from reprise.errors import DataError
from reprise.files import write_atomic

IGNORE = 255  # class of pixels without a label
UNKNOWN = -1  # in a table of values: no class has this value
VALUES = 1 << 16  # of a mask's pixels, 8 or 16 bits
CHUNK_BYTES = 1 << 24  # pixels that one call hands back
FEW = 500  # photos that are decoded sooner than a pool has started
QUARANTINE, NOTES = "quarantine.txt", "notes.txt"
NAMED = 10  # files that a message names
UNREADABLE = "unreadable"

Item = TypeVar("Item")


@dataclass(frozen=True)
class Canvas:
    """Where photos go: the shorter side that they are scaled to, height and width in pixels."""

    short: int
    height: int
    width: int

    def extent(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width of a photo of this size on the canvas.

        A photo that would not fit with its shorter side at ``short`` is scaled further, until it
        does.
        """
        own = scaled(height, width, self.short)
        if own[0] > self.height or own[1] > self.width:
            ratio = min(self.height / height, self.width / width)
            own = round(height * ratio), round(width * ratio)
        return min(self.height, max(1, own[0])), min(self.width, max(1, own[1]))

    @property
    def chunk(self) -> int:
        """How many photos with their masks one call takes."""
        return max(1, CHUNK_BYTES // (4 * self.height * self.width))


def scaled(height: int, width: int, short: int) -> tuple[int, int]:
    """Return height and width with the shorter one at ``short``, rounded to whole pixels."""
    return round(height * short / min(height, width)), round(width * short / min(height, width))


def around(paths: Sequence[str], short: int) -> Canvas:
    """Return the smallest canvas for the photos, by their files' headers; it holds the shorter
    side at least. Unreadable files are passed over."""
    height = width = short
    for path in paths:
        try:
            with Image.open(path) as image:
                own = scaled(image.height, image.width, short)
        except OSError:
            continue
        height, width = max(height, own[0]), max(width, own[1])
    return Canvas(short, height, width)


def check_space(folder: Path, photos: int, canvas: Canvas, layers: int = 4) -> None:
    """Refuse before an hour of decoding what the disk cannot hold: photos, and masks with them.

    ``layers`` are the bytes of a pixel.
    """
    needed, free = photos * layers * canvas.height * canvas.width, shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"{folder}: {photos} photos of {canvas.width}x{canvas.height} with their labels need "
            f"{needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free; set data_root in "
            "params/config.yaml elsewhere"
        )


# --- what is wrong with which file --------------------------------------------------------------


class Unfit(Exception):
    """A file cannot be used: a kind of damage, and what exactly."""

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(kind, detail)
        self.kind, self.detail = kind, detail


@dataclass(frozen=True)
class Failure:
    """One of many items that could not be used: its place, and what is wrong."""

    place: int
    kind: str
    detail: str


def try_all(
    items: Sequence[Item], first: int, work: Callable[[Item, int], None]
) -> tuple[tuple[int, ...], tuple[Failure, ...]]:
    """Call ``work(item, row)``, rows counting the sound items; return their places, and failures.

    ``first`` is the place of the first item. Raises DataError where a file cannot be read at all,
    which says nothing about its content.
    """
    kept, failed = list[int](), list[Failure]()
    for place, item in enumerate(items, first):
        try:
            work(item, len(kept))
        except Unfit as error:
            failed.append(Failure(place, error.kind, error.detail))
        else:
            kept.append(place)
    return tuple(kept), tuple(failed)


@dataclass
class Findings:
    """What is wrong with the files of a data set, by file; too much of it is refused.

    ``damaged`` lines are of files that were left out, ``noted`` ones of files that were used.
    """

    root: Path
    folder: Path
    most: float
    damaged: list[str] = field(default_factory=list)
    noted: list[str] = field(default_factory=list)
    kinds: dict[str, Counter[str]] = field(default_factory=dict)
    notes: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, split: str, path: str, kind: str, detail: str = "") -> None:
        """Leave a file out."""
        self.damaged.append(_line(split, path, kind, detail))
        self.kinds.setdefault(split, Counter())[kind] += 1

    def note(self, split: str, path: str, kind: str, detail: str = "", count: int = 1) -> None:
        """Use a file, and say what is odd about it; ``count`` is how often it is."""
        self.noted.append(_line(split, path, kind, detail))
        self.notes.setdefault(split, Counter())[kind] += count

    @property
    def counts(self) -> dict[str, int]:
        """Files left out, by split."""
        return {split: kinds.total() for split, kinds in self.kinds.items()}

    def check(self, split: str, total: int) -> None:
        """Refuse a split of ``total`` files where too many of them are damaged (DataError)."""
        count = self.counts.get(split, 0)
        if count <= self.most * total:
            return
        self.write()
        lines = [line for line in self.damaged if line.startswith(f"{split}\t")][:NAMED]
        first = "\n  ".join(": ".join(filter(None, line.split("\t")[1:])) for line in lines)
        raise DataError(
            f"{self.root}: {count} of {total} in split {split} cannot be used, more than "
            f"{self.most:.2%} ({_counted(self.kinds[split])}). The first:\n  {first}\n"
            f"{self.folder / QUARANTINE} lists all. Mend them, or allow more with "
            "args.most_corrupt; what cannot be used is then left out and counted."
        )

    def write(self) -> None:
        """Write the lists of files left out and of what is odd, where there are any."""
        for name, lines in ((QUARANTINE, self.damaged), (NOTES, self.noted)):
            (self.folder / name).unlink(missing_ok=True)
            if lines:
                text = "".join(f"{line}\n" for line in lines)
                write_atomic(self.folder / name, text.encode("utf-8", "backslashreplace"))

    def summary(self) -> Iterator[str]:
        """Yield a sentence for each split with something left out or noted."""
        for split, kinds in self.kinds.items():
            yield f"{kinds.total()} left out of split {split} ({_counted(kinds)}): {QUARANTINE}"
        for split, kinds in self.notes.items():
            yield f"noted in split {split}: {_counted(kinds)}; {NOTES} lists them"


def _line(split: str, path: str, kind: str, detail: str) -> str:
    return "\t".join((split, path, kind, " ".join(detail.split())))


def _counted(kinds: Counter[str]) -> str:
    return ", ".join(f"{kind}: {count}" for kind, count in kinds.most_common())


# --- decoding -----------------------------------------------------------------------------------


def open_photo(path: str) -> Image.Image:
    """Return a photo in RGB, decoded. Rotation tags are not followed, as labels do not follow
    them either. Raises Unfit where it is damaged, DataError where it cannot be read."""
    return _open(path, decode.as_rgb)


def _open(path: str, finish: Callable[[Image.Image], Image.Image]) -> Image.Image:
    content = decode.read(path)
    name = Path(path).name
    try:
        if not content:
            raise ValueError("empty file")
        image = Image.open(io.BytesIO(content))
        image.load()
        return finish(image)
    except (MemoryError, Unfit):
        raise
    except UnidentifiedImageError:
        raise Unfit(UNREADABLE, f"{name}: not an image that Pillow knows") from None
    except Exception as error:  # each decoder raises what it likes on damaged files
        raise Unfit(UNREADABLE, f"{name}: {error or type(error).__name__}") from None


def place_photo(image: Image.Image, canvas: Canvas, pixels: NDArray[np.uint8]) -> tuple[int, int]:
    """Put an RGB photo on pixels uint8 [3, H, W], which are black; return its extent."""
    height, width = canvas.extent(image.height, image.width)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    pixels[:, :height, :width] = np.asarray(image).transpose(2, 0, 1)
    return height, width


def place_mask(
    classes: NDArray[np.uint8], extent: tuple[int, int], pixels: NDArray[np.uint8]
) -> None:
    """Put a mask uint8 [h, w] on pixels uint8 [H, W], resized to the nearest pixel."""
    height, width = extent
    if classes.shape != extent:
        image = Image.fromarray(classes).resize((width, height), Image.Resampling.NEAREST)
        classes = np.asarray(image)
    pixels[:height, :width] = classes


def open_mask(path: str, table: NDArray[np.int16]) -> NDArray[np.uint8]:
    """Return a mask file's classes, uint8 [h, w], by a table int16 [`VALUES`] of its values.

    Raises Unfit where it is damaged, has colours instead of numbers, or values of no class.
    """
    image = _open(path, _numbers)
    values = np.asarray(image)
    if values.dtype != np.uint8:
        outside = (values < 0) | (values >= VALUES)
        values = np.where(outside, VALUES, values).astype(np.int64)
        table = np.append(table, np.int16(UNKNOWN))
    classes = table[values]
    if (bad := classes == UNKNOWN).any():
        found = zip(*np.unique(np.asarray(image)[bad], return_counts=True), strict=True)
        said = ", ".join(f"{value} ({count} pixels)" for value, count in found)
        raise Unfit("unknown label values", f"{Path(path).name}: {said}")
    known: NDArray[np.uint8] = classes.astype(np.uint8)
    return known


def _numbers(image: Image.Image) -> Image.Image:
    """Return an image whose pixels are numbers: grey, or the places in a palette."""
    if image.mode == "1":
        return image.convert("L").point(lambda value: value // 255)
    if image.mode not in ("L", "P") and not image.mode.startswith("I"):
        raise Unfit("not a mask", f"pixels of mode {image.mode}, expected is one number a pixel")
    return image


def check_same_size(photo: Image.Image, classes: NDArray[np.uint8]) -> None:
    """Raise Unfit where a photo and its mask [h, w] differ in size."""
    if classes.shape != (photo.height, photo.width):
        height, width = classes.shape
        raise Unfit("sizes differ", f"photo {photo.width}x{photo.height}, mask {width}x{height}")


@dataclass(frozen=True)
class Pair:
    """A photo's file and its mask's."""

    photo: str
    mask: str


@dataclass(frozen=True)
class Pairs:
    """Decoded pairs: images uint8 [n, 3, H, W], masks uint8 [n, H, W], extents int64 [n, 2] of
    those at ``kept`` [n], and why others are not among them."""

    images: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    extents: NDArray[np.int64]
    kept: tuple[int, ...]
    failed: tuple[Failure, ...]


@dataclass(frozen=True)
class PairDecoder:
    """Decodes pairs to a canvas; ``table`` int16 [`VALUES`] has the class of each mask value."""

    canvas: Canvas
    table: NDArray[np.int16]

    def __call__(self, pairs: Sequence[Pair], first: int = 0) -> Pairs:
        """Decode pairs one after the other; ``first`` is the place of the first among all."""
        size = (self.canvas.height, self.canvas.width)
        images = np.zeros((len(pairs), 3, *size), np.uint8)
        masks = np.full((len(pairs), *size), IGNORE, np.uint8)
        extents = np.zeros((len(pairs), 2), np.int64)

        def decode_one(pair: Pair, row: int) -> None:
            photo, classes = open_photo(pair.photo), open_mask(pair.mask, self.table)
            check_same_size(photo, classes)
            extent = place_photo(photo, self.canvas, images[row])
            place_mask(classes, extent, masks[row])
            extents[row] = extent

        kept, failed = try_all(pairs, first, decode_one)
        count = len(kept)
        return Pairs(images[:count], masks[:count], extents[:count], kept, failed)
