"""Index-addressable data sets: prepared once, verified by content whenever they are loaded.

Each data set is a module in `reprise.data.sets` with the members of `SetModule`. `prepare` lets it
write its files and then writes `manifest.json`, which lists every file with its SHA-256; `load`
checks those before it hands out a split. The manifest says nothing of where the data came from
(`source.txt` does), so that it, and all that is made from it, is the same whatever served.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from reprise import registry
from reprise.errors import ConfigError, DataError, unknown
from reprise.files import atomic, write_atomic
from reprise.locks import hold
from reprise.provenance import digest_of, digest_of_file
from reprise.settings.base import Strict
from reprise.training.seeding import Key

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


@dataclass(eq=False)
class ArraySet:
    """An `ImageSet` in memory: images uint8 [N, C, H, W], labels int64 [N]."""

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


class SplitFiles(Strict):
    """What the manifest says of a split: number of samples, SHA-256 of each of its files."""

    count: int
    files: dict[str, str]


class Manifest(Strict):
    """`manifest.json` of a prepared data set; ``digest`` is that of all the rest."""

    name: str
    args: dict[str, Any]
    classes: tuple[str, ...]
    splits: dict[str, SplitFiles]
    digest: str


@dataclass(frozen=True)
class Prepared:
    """What a data set's module made: whence, and (count, file names) of each split."""

    source: str
    classes: tuple[str, ...]
    splits: Mapping[str, tuple[int, list[str]]]


@dataclass(frozen=True)
class Split:
    """A split whose files are verified, for a data set's module to read."""

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


def prepare(name: str, root: Path, args: Mapping[str, Any], log: Log = print) -> Path:
    """Make ``root/<name>/`` unless it is there, whole and made with these args; return it.

    ``manifest.json`` is written last, so its presence means that all else is there. Safe to call
    from several processes at once. Raises DataError where the data cannot be had, ConfigError
    where the name or an argument is wrong.
    """
    module, settings = _module(name, args)
    folder = root / name
    if not _is_current(folder, args, log):
        with hold(root / f".{name}.lock", f"data set {name!r}", wait=True):
            # Another process may have made it while this one waited.
            if not _is_current(folder, args, log):
                folder.mkdir(parents=True, exist_ok=True)
                _publish(folder, args, module.prepare(folder, settings, log))
    log(f"data set {name}: ready in {folder}")
    return folder


def load(name: str, split: str, root: Path, args: Mapping[str, Any]) -> ImageSet:
    """Read a split of a prepared data set.

    Raises DataError naming the file that is absent, altered or made with other args, with the
    command that mends it; ConfigError where the name or an argument is wrong.
    """
    module, settings = _module(name, args)
    folder = root / name
    manifest = _read_manifest(folder, args)
    if split not in manifest.splits:
        raise DataError(unknown(f"split of data set {name!r}", split, manifest.splits))
    _verify(folder, manifest.splits[split].files)
    digest = digest_of({"set": manifest.digest, "split": split})
    return module.load(Split(name, split, folder, manifest.classes, digest), settings)


def _module(name: str, args: Mapping[str, Any]) -> tuple[SetModule, Strict]:
    module = cast(SetModule, registry.load("data set", name))
    try:
        return module, module.Args.model_validate(dict(args))
    except ValidationError as error:
        wrong = error.errors()[0]
        place = ".".join(["args", *map(str, wrong["loc"])])
        raise ConfigError(f"data set {name!r}: {place}: {wrong['msg']}") from None


def _mend(folder: Path) -> str:
    return f"run `python -m reprise data {folder.name}` to make it again"


def _read_manifest(folder: Path, args: Mapping[str, Any]) -> Manifest:
    path = folder / "manifest.json"
    if not path.is_file():
        raise DataError(
            f"{path}: no such file, so data set {folder.name!r} is not prepared; "
            f"run `python -m reprise data {folder.name}`"
        )
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except ValidationError:
        raise DataError(f"{path}: not a manifest of this version; {_mend(folder)}") from None
    if manifest.args != dict(args):
        raise DataError(
            f"{path}: prepared with args {manifest.args}, needed with {dict(args)}; {_mend(folder)}"
        )
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


def _is_current(folder: Path, args: Mapping[str, Any], log: Log) -> bool:
    if not (folder / "manifest.json").is_file():
        return False
    try:
        for split in _read_manifest(folder, args).splits.values():
            _verify(folder, split.files)
    except DataError as error:
        log(f"{error}; making it again")
        return False
    return True


def _publish(folder: Path, args: Mapping[str, Any], prepared: Prepared) -> None:
    """Write the manifest of what a module made."""
    splits = {
        split: {"count": count, "files": {file: digest_of_file(folder / file) for file in files}}
        for split, (count, files) in prepared.splits.items()
    }
    content = {"name": folder.name, "args": args, "classes": prepared.classes, "splits": splits}
    manifest = Manifest.model_validate({**content, "digest": digest_of(content)})
    write_atomic(folder / "source.txt", prepared.source + "\n")
    write_atomic(folder / "manifest.json", manifest.model_dump_json(indent=2) + "\n")


def write_arrays(
    folder: Path, split: str, images: NDArray[np.uint8], labels: NDArray[Any]
) -> tuple[int, list[str]]:
    """Write images uint8 [N, C, H, W] and labels [N] of a split; return its count and files."""
    arrays: dict[str, NDArray[Any]] = {"images": images, "labels": labels.astype(np.int64)}
    for part, array in arrays.items():
        with atomic(folder / f"{split}-{part}.npy") as stream:
            np.save(stream, array)
    return len(labels), [f"{split}-{part}.npy" for part in arrays]


def read_arrays(split: Split) -> ArraySet:
    """Read what `write_arrays` wrote."""
    images, labels = (
        torch.from_numpy(np.load(split.folder / f"{split.split}-{part}.npy"))
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
