"""Index-addressable data sets: prepared once, verified by content whenever they are loaded.

Each data set is a module in `reprise.data.sets` with the members of `SetModule`. `prepare` lets it
write its files and then writes `manifest.json`, which lists every file with its SHA-256; `load`
checks those before it hands out a split. The manifest says nothing of where the data came from
(`source.txt` does) nor of where they lie, so that it, and all that is made from it, is the same
whatever served and wherever.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from reprise import registry
from reprise.data import origin
from reprise.data.cropping import Crop
from reprise.errors import ConfigError, DataError, at_scale, unknown
from reprise.files import atomic, write_atomic
from reprise.locks import hold
from reprise.provenance import digest_of, digest_of_file
from reprise.settings.base import Strict
from reprise.training.seeding import Draws, Key

Log = Callable[[str], None]


class ImageSet(Protocol):
    """One split of labelled square images; an index always means the same image."""

    @property
    def name(self) -> str: ...
    @property
    def split(self) -> str: ...
    @property
    def digest(self) -> str:
        """Digest of the content, the same wherever and from whatever source it was prepared."""

    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def channels(self) -> int:
        """Channels of an image: 1 for grey, 3 for colour."""

    @property
    def size(self) -> int:
        """Side of an image, pixels."""

    @property
    def labels(self) -> Tensor:
        """Class numbers of all images, int64 [N]."""

    def __len__(self) -> int: ...
    def fetch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return images uint8 [B, C, H, W] and labels int64 [B] at indices int64 [B]."""


@runtime_checkable
class Photographs(Protocol):
    """An `ImageSet` of photographs that are whole until they are fetched."""

    def crops(self, indices: Tensor, crop: Crop, views: Sequence[Draws]) -> tuple[Tensor, Tensor]:
        """Return random crops uint8 [V, B, C, S, S] at indices int64 [B], and labels int64 [B]."""


@dataclass(eq=False)
class ArraySet:
    """An `ImageSet` in memory or mapped: images uint8 [N, C, H, W], labels int64 [N]."""

    name: str
    split: str
    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    digest: str

    @property
    def channels(self) -> int:
        return self.images.shape[1]

    @property
    def size(self) -> int:
        return self.images.shape[3]

    def __len__(self) -> int:
        return len(self.labels)

    def fetch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        return self.images[indices], self.labels[indices]


class Derived:
    """An `ImageSet` made from another one: all but `fetch` is that one's, unless redefined."""

    data: ImageSet

    name = property(lambda self: self.data.name)
    split = property(lambda self: self.data.split)
    digest = property(lambda self: self.data.digest)
    classes = property(lambda self: self.data.classes)
    channels = property(lambda self: self.data.channels)
    size = property(lambda self: self.data.size)
    labels = property(lambda self: self.data.labels)

    def __len__(self) -> int:
        return len(self.data)


class SplitFiles(Strict):
    """What the manifest says of a split: samples, SHA-256 of its files, source files left out."""

    count: int
    files: dict[str, str]
    quarantined: int = 0


class Manifest(Strict):
    """`manifest.json` of a prepared data set; ``digest`` is that of all the rest.

    ``name`` is the reader's and ``args`` lack those that say where the source lies.
    """

    name: str
    args: dict[str, Any]
    classes: tuple[str, ...]
    splits: dict[str, SplitFiles]
    digest: str


@dataclass(frozen=True)
class Prepared:
    """What a data set's module made: whence, and (count, file names) of each split.

    ``quarantined`` counts, by split, the source files that could not be read and were left out.
    """

    source: str
    classes: tuple[str, ...]
    splits: Mapping[str, tuple[int, list[str]]]
    quarantined: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Split:
    """A split whose files are verified, for a data set's module to read.

    ``name`` is the data set's folder below the data root.
    """

    name: str
    split: str
    folder: Path
    classes: tuple[str, ...]
    digest: str


class SetModule(Protocol):
    """What a module in `reprise.data.sets` defines; ``Args`` checks the scale's ``args``."""

    Args: type[Strict]

    def prepare(self, folder: Path, args: Any, log: Log) -> Prepared:
        """Write the files into folder, each whole or not at all; DataError where that fails."""

    def load(self, split: Split, args: Any) -> ImageSet:
        """Read a verified split."""


def prepare(
    name: str, root: Path, args: Mapping[str, Any], log: Log = print, folder: str | None = None
) -> Path:
    """Make ``root/<folder>/`` unless it is there, whole and made with these args; return it.

    ``folder`` is the data set's name where it is not given. ``manifest.json`` is written last, so
    its presence means that all else is there. Safe to call from several processes at once. Raises
    DataError where the data cannot be had, ConfigError where the name or an argument is wrong.
    """
    module, settings = _module(name, args)
    home = root / (folder or name)
    if not _is_current(home, name, args, log):
        with hold(root / f".{home.name}.lock", f"data set {home.name!r}", wait=True):
            # Another process may have made it while this one waited.
            if not _is_current(home, name, args, log):
                home.mkdir(parents=True, exist_ok=True)
                for left in home.glob(".*.tmp"):  # by a killed process; it may be large
                    left.unlink()
                seen = origin.glimpse(args)
                prepared = module.prepare(home, settings, log)
                origin.record(home, seen)
                _publish(home, name, args, prepared)
    log(f"data set {home.name}: ready in {home}")
    return home


def load(
    name: str, split: str, root: Path, args: Mapping[str, Any], folder: str | None = None
) -> ImageSet:
    """Read a split of the data set prepared in ``root/<folder>/`` (default: its name).

    Raises DataError naming the file that is absent, altered or made with other args, with the
    command that mends it; ConfigError where the name or an argument is wrong.
    """
    module, settings = _module(name, args)
    home = root / (folder or name)
    manifest = _read_manifest(home, name, args)
    if split not in manifest.splits:
        raise DataError(unknown(f"split of data set {home.name!r}", split, manifest.splits))
    _verify(home, manifest.splits[split].files)
    digest = digest_of({"set": manifest.digest, "split": split})
    return module.load(Split(home.name, split, home, manifest.classes, digest), settings)


def _module(name: str, args: Mapping[str, Any]) -> tuple[SetModule, Strict]:
    module = cast(SetModule, registry.load("data set", name))
    try:
        return module, module.Args.model_validate(dict(args))
    except ValidationError as error:
        wrong = error.errors()[0]
        place = ".".join(["args", *map(str, wrong["loc"])])
        raise ConfigError(f"data set {name!r}: {place}: {wrong['msg']}") from None


def _mend(folder: Path) -> str:
    return f"run `python -m reprise data {folder.name}{at_scale()}` to make it again"


def _read_manifest(folder: Path, name: str, args: Mapping[str, Any]) -> Manifest:
    path = folder / "manifest.json"
    if not path.is_file():
        raise DataError(
            f"{path}: no such file, so data set {folder.name!r} is not prepared; "
            f"run `python -m reprise data {folder.name}{at_scale()}`"
        )
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except ValidationError:
        raise DataError(f"{path}: not a manifest of this version; {_mend(folder)}") from None
    if manifest.name != name:
        raise DataError(f"{path}: prepared by {manifest.name!r}, not {name!r}; {_mend(folder)}")
    wanted = origin.what(args)
    if manifest.args != wanted:
        raise DataError(
            f"{path}: prepared with args {manifest.args}, needed with {wanted}; {_mend(folder)}"
        )
    if why := origin.differs(folder, args):
        raise DataError(f"{folder}: {why}; {_mend(folder)}")
    return manifest


def _verify(folder: Path, files: Mapping[str, str]) -> None:
    for file, expected in files.items():
        path = folder / file
        if not path.is_file():
            raise DataError(f"{path}: no such file, though manifest.json lists it; {_mend(folder)}")
        found = digest_of_file(path)
        if found != expected:
            raise DataError(
                f"{path}: its content is not what was prepared "
                f"(SHA-256 expected {expected}, found {found}); {_mend(folder)}"
            )


def _is_current(folder: Path, name: str, args: Mapping[str, Any], log: Log) -> bool:
    if not (folder / "manifest.json").is_file():
        return False
    try:
        for split in _read_manifest(folder, name, args).splits.values():
            _verify(folder, split.files)
    except DataError as error:
        log(f"{error}; making it again")
        return False
    return True


def _publish(folder: Path, name: str, args: Mapping[str, Any], prepared: Prepared) -> None:
    """Write the manifest of what a module made."""
    splits: dict[str, dict[str, Any]] = {
        split: {"count": count, "files": {file: digest_of_file(folder / file) for file in files}}
        for split, (count, files) in prepared.splits.items()
    }
    for split, count in prepared.quarantined.items():
        if count:  # left out where it is 0, so that whole data sets keep their digest
            splits[split]["quarantined"] = count
    content = {
        "name": name,
        "args": origin.what(args),
        "classes": prepared.classes,
        "splits": splits,
    }
    manifest = Manifest.model_validate({**content, "digest": digest_of(content)})
    text = manifest.model_dump_json(indent=2, exclude_defaults=True)
    write_atomic(folder / "source.txt", prepared.source + "\n")
    write_atomic(folder / "manifest.json", text + "\n")


def write_arrays(
    folder: Path, split: str, images: NDArray[np.uint8], labels: NDArray[Any]
) -> tuple[int, list[str]]:
    """Write images uint8 [N, C, H, W] and labels [N] of a split; return its count and files."""
    return write_batches(folder, split, images.shape[1:], [(images, labels)])


def write_batches(
    folder: Path,
    split: str,
    shape: tuple[int, ...],
    batches: Iterable[tuple[NDArray[np.uint8], NDArray[Any]]],
) -> tuple[int, list[str]]:
    """Write a split as `write_arrays` does, from batches of images [B, *shape] and labels [B].

    Only one batch is in memory at a time, and the number of images need not be known before.
    """
    files = [f"{split}-images.npy", f"{split}-labels.npy"]
    numbers = [np.zeros(0, np.int64)]
    with atomic(folder / files[0]) as stream:
        start = _write_header(stream, (0, *shape))
        for images, labels in batches:
            stream.write(np.ascontiguousarray(images).data)
            numbers.append(labels.astype(np.int64))
        labels = np.concatenate(numbers)
        stream.seek(0)
        if _write_header(stream, (len(labels), *shape)) != start:
            raise AssertionError("numpy left no room in the header for the number of images")
    with atomic(folder / files[1]) as stream:
        np.save(stream, labels)
    return len(labels), files


def _write_header(stream: BinaryIO, shape: tuple[int, ...]) -> int:
    """Write the .npy header of a uint8 array; return where its values begin."""
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.tell()


def read_arrays(split: Split) -> ArraySet:
    """Map what `write_arrays` wrote: the system reads the pages that are used, and may drop them.

    The mapping is private: writing to the tensor changes a copy of the page, never the file.
    """
    images, labels = (
        torch.from_numpy(np.load(split.folder / f"{split.split}-{part}.npy", mmap_mode="c"))
        for part in ("images", "labels")
    )
    return ArraySet(split.name, split.split, images, labels, split.classes, split.digest)


def few_labels(labels: Tensor, count_or_share: int | float, key: Key) -> Tensor:
    """Return a class-balanced random subset of indices, int64, sorted, a function of the key.

    An int is the number of images in all, spread evenly over the classes of labels int64 [N]; a
    float in (0, 1] is a share of every class. Remainders go to classes chosen by the key. With
    one key, a smaller subset lies within a larger one up to those remainders. Raises ConfigError
    where a class would get no image or has too few.
    """
    classes, sizes = labels.unique(return_counts=True)
    quotas = _quotas(sizes, count_or_share, key)
    for number, size, quota in zip(*(t.tolist() for t in (classes, sizes, quotas)), strict=True):
        if not 1 <= quota <= size:
            raise ConfigError(
                f"labels = {count_or_share!r}: class {number} would get {quota} of its {size} "
                f"images; with {len(classes)} classes an int must be between {len(classes)} and "
                f"{len(classes) * int(sizes.min())}, and a float a share of all, at most 1.0"
            )
    chosen = []
    for number, quota in zip(classes.tolist(), quotas.tolist(), strict=True):
        members = (labels == number).nonzero().squeeze(1)
        order = torch.randperm(len(members), generator=key.fold("class", number).generator())
        chosen.append(members[order[:quota]])
    return torch.cat(chosen).sort().values


def _quotas(sizes: Tensor, count_or_share: int | float, key: Key) -> Tensor:
    """Return how many images of each class to take, int64 [K]: largest remainders win."""
    if isinstance(count_or_share, int):
        total = count_or_share
        wanted = torch.full(sizes.shape, total / len(sizes), dtype=torch.float64)
    else:
        total = round(count_or_share * int(sizes.sum()))
        wanted = sizes.double() * count_or_share
    quotas = wanted.floor().long()
    order = torch.randperm(len(sizes), generator=key.fold("remainder").generator())
    remainders = (wanted - quotas)[order]
    left = total - int(quotas.sum())
    quotas[order[remainders.argsort(descending=True, stable=True)[:left]]] += 1
    return quotas
