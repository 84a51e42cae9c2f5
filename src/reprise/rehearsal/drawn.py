"""What the miniatures of data sets are made of: noise that follows from the names of files."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reprise.files import write_atomic
from reprise.provenance import digest_of

CAPTIONS = 5  # of an image
WORDS = (
    *("a", "the", "two", "dog", "cat", "man", "woman", "child", "boat", "bicycle", "horse"),
    *("red", "small", "old", "wet", "rides", "runs", "sits", "jumps", "near", "over", "beside"),
    *("water", "street", "grass", "fence", "snow"),
)


def noise(name: str) -> np.random.Generator:
    """Return random numbers that follow from a file's name."""
    return np.random.default_rng(int(digest_of(name)[:15], 16))


def pixels(name: str, height: int, width: int) -> NDArray[np.uint8]:
    """Return large patches of colour, uint8 [height, width, 3]."""
    coarse = noise(name).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def photo(file: Path, height: int, width: int | None = None) -> None:
    """Write a photograph, a third wider than high where its width is not given."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(file.name, height, width or height * 4 // 3)).save(file)


def mask(file: Path, height: int, width: int, values: Iterable[int]) -> None:
    """Write a mask of large patches of some of the values."""
    drawn = noise(file.name).choice(np.array(list(values), np.uint8), (3, 4))
    file.parent.mkdir(parents=True, exist_ok=True)
    patch = np.ones((-(-height // 3), -(-width // 4)), np.uint8)
    Image.fromarray(np.kron(drawn, patch)[:height, :width]).save(file)


def sentence(number: int) -> str:
    """Return five to ten words."""
    return " ".join(noise(f"sentence {number}").choice(WORDS, 5 + number % 6)) + "."


def sentences(image: int) -> list[str]:
    """Return the captions of an image."""
    return [sentence(CAPTIONS * image + number) for number in range(CAPTIONS)]


def json_file(file: Path, value: object) -> None:
    """Write a JSON file."""
    write_atomic(file, json.dumps(value))
