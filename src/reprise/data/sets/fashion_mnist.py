"""Fashion-MNIST: 70,000 photographs of garments, 28x28, grey, ten classes.

Fetched from whichever works: a copy that is there already, torchvision's mirrors, Debian's package
(without root). Whatever the source, the content must have the digests below; they are of the
uncompressed files, since Debian compresses them anew.
"""

import gzip
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprise.data.base import Made
from reprise.data.download import download
from reprise.errors import DataError

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
SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
DEBIAN_PACKAGE = "dataset-fashion-mnist"
DEBIAN_FOLDER = Path("usr/share/datasets/fashion-mnist")

Log = Callable[[str], None]
Files = dict[str, bytes]


def make(folder: Path, args: dict[str, Any], log: Log) -> Made:
    """Fetch the four files from the first source that has them all, with the right content."""
    failures = []
    for source, fetch in _sources(folder, log):
        try:
            files = fetch()
            _verify(files, source)
        except (DataError, OSError, subprocess.SubprocessError) as error:
            failures.append(f"  {source}: {error}")
            log(f"Fashion-MNIST is not to be had from {source}: {error}")
            continue
        splits = {"train": _split(files, "train"), "test": _split(files, "t10k")}
        return Made(splits, CLASSES, source)
    raise DataError(
        "Fashion-MNIST could not be fetched. Tried:\n"
        + "\n".join(failures)
        + f"\nTo place it by hand, put these four files (each with or without .gz) into "
        f"{folder / 'raw'}, or into a folder that REPRISE_FASHION_MNIST names: " + ", ".join(SHA256)
    )


def _sources(folder: Path, log: Log) -> Iterator[tuple[str, Callable[[], Files]]]:
    """Yield (name, function that returns the four files) in the order they are tried."""
    places = [folder / "raw", Path("/") / DEBIAN_FOLDER]
    if named := os.environ.get("REPRISE_FASHION_MNIST"):
        places.insert(0, Path(named))
    for place in places:
        yield str(place), lambda place=place: _from_folder(place)  # type: ignore[misc]
    yield "torchvision's mirrors", lambda: _from_mirrors(folder / "raw", log)
    yield f"Debian's package {DEBIAN_PACKAGE}", lambda: _from_debian(log)


def _from_folder(place: Path) -> Files:
    if not place.is_dir():
        raise DataError("no such folder")
    return {name: _read(place, name) for name in SHA256}


def _read(place: Path, name: str) -> bytes:
    plain, packed = place / name, place / f"{name}.gz"
    if plain.is_file():
        return plain.read_bytes()
    if not packed.is_file():
        raise DataError(f"{plain} is missing")
    try:
        return gzip.decompress(packed.read_bytes())
    except (gzip.BadGzipFile, EOFError) as error:
        raise DataError(f"{packed} is broken: {error}") from None


def _from_mirrors(raw: Path, log: Log) -> Files:
    # Importing torchvision takes seconds; only this source needs it.
    from torchvision.datasets import FashionMNIST

    for name in SHA256:
        urls = [f"{mirror}{name}.gz" for mirror in FashionMNIST.mirrors]
        download(urls, raw / f"{name}.gz", log, check=gzip.decompress)
    return _from_folder(raw)


def _from_debian(log: Log) -> Files:
    """Download the package as any user can, and unpack it in a temporary folder."""
    for tool in ("apt-get", "dpkg"):
        if shutil.which(tool) is None:
            raise DataError(f"{tool} is not on this machine")
    log(f"fetching Debian's package {DEBIAN_PACKAGE} (31 MB)")
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        _call(["apt-get", "-q", "download", DEBIAN_PACKAGE], place)
        found = sorted(place.glob("*.deb"))
        if not found:
            raise DataError("apt-get downloaded nothing")
        _call(["dpkg", "-x", str(found[0]), "unpacked"], place)
        return _from_folder(place / "unpacked" / DEBIAN_FOLDER)


def _call(command: list[str], place: Path) -> None:
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=300)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise DataError(f"`{' '.join(command)}` failed: {' '.join(last) or done.returncode}")


def _verify(files: Files, source: str) -> None:
    for name, content in files.items():
        found = hashlib.sha256(content).hexdigest()
        if found != SHA256[name]:
            raise DataError(
                f"{name} from {source} is not the published file: its SHA-256 is {found}, "
                f"expected {SHA256[name]}; remove that copy"
            )


def _split(files: Files, prefix: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    images = parse_idx(files[f"{prefix}-images-idx3-ubyte"])
    labels = parse_idx(files[f"{prefix}-labels-idx1-ubyte"])
    return images[:, None], labels.astype(np.int64)


def parse_idx(content: bytes) -> NDArray[np.uint8]:
    """Return the array of an IDX file of unsigned bytes; raise DataError where it is malformed."""
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        raise DataError(f"not an IDX file of unsigned bytes: it begins with {content[:4].hex()}")
    dimensions = content[3]
    shape = np.frombuffer(content, ">u4", count=dimensions, offset=4).astype(int)
    start = 4 + 4 * dimensions
    if len(content) - start != int(np.prod(shape)):
        raise DataError(f"IDX file says {shape.tolist()} but holds {len(content) - start} bytes")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
