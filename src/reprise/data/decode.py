"""Image files to arrays of one size, in as many processes as there are processors.

Nothing here imports torch, so that a decoding process starts in a fraction of a second.
"""

import functools
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from reprise.data.parallel import in_order
from reprise.errors import DataError

CHUNK_BYTES = 1 << 23  # pixels that one call hands back
CHUNK_FILES = 256
FEW = 2000  # files that are decoded sooner than a pool has started
WHITE = (255, 255, 255)


@dataclass(frozen=True)
class Decoded:
    """Consecutive files, decoded: images uint8 [n, 3, size, size] of those at ``kept`` [n].

    ``failed`` holds the place and the reason of each of the others.
    """

    images: NDArray[np.uint8]
    kept: NDArray[np.int64]
    failed: tuple[tuple[int, str], ...]


def decode_all(
    paths: Sequence[str], size: int, workers: int | None = None, size_of_chunk: int | None = None
) -> Iterator[Decoded]:
    """Yield the decoded files in the order of paths, whatever the number of processes.

    ``workers`` are as many as there are processors where it is None. Little more than two chunks
    a worker are in memory at any time. Raises DataError where a file cannot be read at all.
    """
    step = size_of_chunk or max(1, min(CHUNK_FILES, CHUNK_BYTES // (3 * size * size)))
    few = FEW if size_of_chunk is None else 0
    yield from in_order(functools.partial(_decode, size), paths, step, few, workers)


def _decode(size: int, paths: Sequence[str], first: int) -> Decoded:
    return decode_chunk(paths, size, first)


def decode_chunk(paths: Sequence[str], size: int, first: int = 0) -> Decoded:
    """Decode files one after the other; ``first`` is the place of the first among all.

    Raises DataError where a file cannot be read, which says nothing about its content.
    """
    pixels = np.empty((len(paths), 3, size, size), np.uint8)
    kept: list[int] = []
    failed: list[tuple[int, str]] = []
    for place, path in enumerate(paths, first):
        content = read(path)
        try:
            pixels[len(kept)] = decode(content, size)
        except MemoryError:
            raise
        except UnidentifiedImageError:
            failed.append((place, "not an image that Pillow knows"))
        except Exception as error:  # each decoder raises what it likes on damaged files
            failed.append((place, f"{error}" or type(error).__name__))
        else:
            kept.append(place)
    return Decoded(pixels[: len(kept)], np.array(kept, np.int64), tuple(failed))


def read(path: str) -> bytes:
    """Return a file's bytes; raise DataError naming it where they cannot be read."""
    try:
        # Four system calls, where Path.read_bytes needs eight: a tenth of decoding a small image.
        handle = os.open(path, os.O_RDONLY)
        try:
            parts, left = [], os.fstat(handle).st_size
            while left and (part := os.read(handle, left)):
                parts.append(part)
                left -= len(part)
            return b"".join(parts)
        finally:
            os.close(handle)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None


def decode(content: bytes, size: int) -> NDArray[np.uint8]:
    """Return an image file's pixels, uint8 [3, size, size].

    Another size is met by resizing the shorter side (bicubic, antialiased) and cropping the
    centre. Grey and CMYK become RGB, what is transparent white. Rotation tags are not followed,
    as is usual for ImageNet. Raises whatever Pillow does where the file is damaged.
    """
    if not content:
        raise ValueError("empty file")
    image: Image.Image = Image.open(io.BytesIO(content))
    if image.mode != "RGB" or image.has_transparency_data:
        image = as_rgb(image)
    if image.size != (size, size):
        image = fit(image, size)
    # Pillow lays out each line as its reds, greens and blues: they need no further shuffling.
    lines = np.frombuffer(image.tobytes("raw", "RGB;L"), np.uint8)
    return lines.reshape(size, 3, size).swapaxes(0, 1)


def as_rgb(image: Image.Image) -> Image.Image:
    """Return an image of any mode as RGB."""
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.new("RGB", image.size, WHITE)
        image.paste(layer, mask=layer.getchannel("A"))
    elif image.mode.startswith("I"):  # 16 bits a pixel, which Pillow would cut off at 255
        grey = np.asarray(image).astype(np.int64) >> 8
        image = Image.fromarray(grey.clip(0, 255).astype(np.uint8))
    return image if image.mode == "RGB" else image.convert("RGB")


def fit(image: Image.Image, size: int) -> Image.Image:
    """Return an RGB image's centre, size x size, its shorter side resized to that.

    Sides and corners are rounded as torchvision's Resize and CenterCrop round them.
    """
    shorter = min(image.size)
    if shorter != size:
        width, height = (int(size * side / shorter) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (round((side - size) / 2) for side in image.size)
    return image.crop((left, top, left + size, top + size))
