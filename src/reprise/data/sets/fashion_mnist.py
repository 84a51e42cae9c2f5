"""Fashion-MNIST: 70,000 grey 28x28 photographs of ten kinds of garments (Xiao et al., 2017)."""

import functools
import gzip
import hashlib
import os
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reprise.data.base import ImageSet, Log, Prepared, Split, read_arrays, write_arrays
from reprise.data.download import (
    Broken,
    Source,
    Unavailable,
    debian_package,
    download,
    first_that_works,
    retry,
)
from reprise.errors import DataError
from reprise.files import write_atomic
from reprise.settings.base import Strict

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
# SHA-256 of the uncompressed files: repackagers compress them anew, so the .gz digests differ.
SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
SPLITS = {"train": ("train", 60_000), "test": ("t10k", 10_000)}  # our name: theirs, and its count
VARIABLE = "REPRISE_FASHION_MNIST"
PACKAGE = "dataset-fashion-mnist"
PACKAGE_FOLDER = "usr/share/datasets/fashion-mnist"

Contents = dict[str, bytes]  # uncompressed, verified, by the names above


class Args(Strict):
    """There is nothing to choose."""


def prepare(folder: Path, args: Args, log: Log) -> Prepared:
    """Get the four files from the first source that serves them, and unpack them to arrays."""
    raw = folder / "raw"
    source, contents = first_that_works("Fashion-MNIST", _sources(raw, log), _by_hand(raw), log)
    log(f"Fashion-MNIST: from {source}")
    splits = {}
    for split, (prefix, count) in SPLITS.items():
        images = _array(contents, f"{prefix}-images-idx3-ubyte", (count, 28, 28))
        labels = _array(contents, f"{prefix}-labels-idx1-ubyte", (count,))
        splits[split] = write_arrays(folder, split, images[:, None], labels)
    return Prepared(source, CLASSES, splits)


def load(split: Split, args: Args) -> ImageSet:
    """Read a split: images uint8 [N, 1, 28, 28]."""
    return read_arrays(split)


def _sources(raw: Path, log: Log) -> Iterator[Source[Contents]]:
    """Yield the places to look, nearest first; what is downloaded stays in raw."""
    folders = [raw, Path("/", PACKAGE_FOLDER)]
    if os.environ.get(VARIABLE):
        folders.insert(0, Path(os.environ[VARIABLE]))
    for folder in folders:
        yield Source(f"the copy in {folder}", functools.partial(_from_folder, folder))
    from torchvision.datasets import FashionMNIST  # takes seconds to import, so only here

    for mirror in FashionMNIST.mirrors:
        get = functools.partial(_from_mirror, mirror, raw, log)
        yield Source(f"torchvision's mirror {mirror}", get)
    yield Source(f"Debian's package {PACKAGE}", functools.partial(_from_debian, raw, log))


def _by_hand(raw: Path) -> str:
    files = "\n  ".join(SHA256)
    return (
        f"To place it by hand, put these four files (plain, or compressed as .gz) into {raw}, or "
        f"into a folder named by the environment variable {VARIABLE}:\n  {files}\n"
        "and run `python -m reprise data fashion_mnist`. They are published at "
        "https://github.com/zalandoresearch/fashion-mnist"
    )


def _from_folder(folder: Path) -> Contents:
    contents = {}
    for name in SHA256:
        found = [path for path in (folder / f"{name}.gz", folder / name) if path.is_file()]
        if not found:
            raise Unavailable(f"no file {name}.gz or {name}")
        try:
            contents[name] = read_verified(found[0], name, str(found[0]))
        except Broken as reason:
            raise Unavailable(str(reason)) from None
    return contents


def _from_mirror(mirror: str, raw: Path, log: Log) -> Contents:
    def get(name: str) -> bytes:
        url, fresh = f"{mirror}{name}.gz", raw / f".{name}.gz"
        download(url, fresh)
        try:
            content = read_verified(fresh, name, url)
            fresh.replace(raw / f"{name}.gz")
        finally:
            fresh.unlink(missing_ok=True)
        return content

    return {name: retry(functools.partial(get, name), log) for name in SHA256}


def _from_debian(raw: Path, log: Log) -> Contents:
    with tempfile.TemporaryDirectory() as folder:
        unpacked = debian_package(PACKAGE, Path(folder), log) / PACKAGE_FOLDER
        contents = _from_folder(unpacked)
        for name in SHA256:
            write_atomic(raw / f"{name}.gz", (unpacked / f"{name}.gz").read_bytes())
    return contents


def read_verified(path: Path, name: str, origin: str) -> bytes:
    """Return the uncompressed content of one of the four files, plain or gzip.

    ``origin`` names it in messages. Raises Broken where it is no whole gzip file, Unavailable
    where its content is not the published one.
    """
    content = path.read_bytes()
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise Broken(f"{origin}: not a whole gzip file ({error})") from None
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256[name]:
        raise Unavailable(
            f"{origin}: refused, its uncompressed content is not {name} "
            f"(SHA-256 expected {SHA256[name]}, found {found})"
        )
    return content


def _array(contents: Contents, name: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    array = parse_idx(contents[name], name)
    if array.shape != shape:
        raise DataError(f"{name}: expected an array of shape {shape}, found {array.shape}")
    return array


def parse_idx(content: bytes, name: str) -> NDArray[np.uint8]:
    """Return the array of an IDX file of unsigned bytes: magic 0 0 8 n, n sizes, then the values.

    Raises DataError naming the file where it is something else.
    """
    kind, axes = content[:3], content[3] if len(content) > 3 else 0
    if kind != b"\0\0\x08":
        raise DataError(f"{name}: not an IDX file of bytes (it begins with {content[:4].hex()})")
    shape = tuple(np.frombuffer(content, ">u4", axes, offset=4).tolist())
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * axes)
    if values.size != np.prod(shape, dtype=np.int64):
        raise DataError(f"{name}: {values.size} values do not fill the shape {shape} it states")
    return values.reshape(shape)
