"""Index-addressable data sets: prepared once, verified by content whenever they are loaded.

A prepared set is a folder of .npy arrays and a `manifest.json`, written last, that holds the
SHA-256 of each. Every module in `reprise.data.sets` gives `make(folder, args, log)`.
"""

import hashlib
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reprise import registry
from reprise.errors import DataError
from reprise.files import write_atomic
from reprise.provenance import digest_of
from reprise.training.seeding import Key

MANIFEST = "manifest.json"


class ImageSet(ABC):
    """Labelled images by index; the order is fixed, so an index always means the same image."""

    name: str
    split: str
    classes: tuple[str, ...]
    digest: str
    labels: Tensor

    @property
    @abstractmethod
    def channels(self) -> int:
        """Channels of an image: 1 for grey, 3 for colour."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of images."""

    @abstractmethod
    def fetch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return uint8 images [B, C, H, W] and int64 labels [B] at int64 indices [B]."""


@dataclass
class ArraySet(ImageSet):
    """Images held in memory: uint8 [N, C, H, W]; labels int64 [N]."""

    name: str
    split: str
    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    digest: str

    @property
    def channels(self) -> int:
        return int(self.images.shape[1])

    def __len__(self) -> int:
        return len(self.images)

    def fetch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        return self.images[indices], self.labels[indices]


@dataclass(frozen=True)
class Made:
    """What a data set's module makes: per split images uint8 [N, C, H, W] and labels [N]."""

    splits: Mapping[str, tuple[NDArray[np.uint8], NDArray[np.int64]]]
    classes: tuple[str, ...]
    source: str


def few_labels(labels: Tensor, count_or_share: int | float, key: Key) -> Tensor:
    """Return sorted indices of a random, class-balanced part of labels int64 [N].

    An int is how many images in all; a float in 0..1 a share of all. Classes get equal numbers,
    the first ones get one more where it does not divide. Raises DataError where a class is too
    small or no class would get any.
    """
    total = count_or_share
    if isinstance(total, float):
        if not 0 < total <= 1:
            raise DataError(f"labels = {total}: a share must lie in 0..1; write a count as 10000")
        total = round(total * len(labels))
    classes = labels.unique(sorted=True)
    if total < len(classes):
        raise DataError(f"labels = {total}: fewer than one for each of {len(classes)} classes")
    chosen = []
    for number, label in enumerate(classes.tolist()):
        members = (labels == label).nonzero().flatten()
        wanted = total // len(classes) + (number < total % len(classes))
        if wanted > len(members):
            raise DataError(
                f"labels = {count_or_share}: needs {wanted} of class {label}, "
                f"which has {len(members)}; ask for at most {len(members) * len(classes)}"
            )
        order = torch.randperm(len(members), generator=key.fold("class", label).generator())
        chosen.append(members[order[:wanted]])
    return torch.cat(chosen).sort().values


def prepare(
    name: str, root: Path, args: Mapping[str, Any], log: Callable[[str], None] = print
) -> Path:
    """Make ``root/<name>/`` unless it is there, whole and made with the same args; return it.

    Raises DataError that says what was tried and how to place the files by hand.
    """
    module, folder = registry.load("data set", name), root / name
    if _is_current(folder, args):
        log(f"data set {name}: already in {folder}")
        return folder
    made: Made = module.make(folder, dict(args), log)
    files = {}
    for split, (images, labels) in made.splits.items():
        for kind, array in (("images", images), ("labels", labels)):
            packed = io.BytesIO()
            np.save(packed, array)
            write_atomic(folder / f"{split}-{kind}.npy", packed.getvalue())
            files[f"{split}-{kind}.npy"] = hashlib.sha256(packed.getvalue()).hexdigest()
    content = {"name": name, "args": dict(args), "files": files, "classes": list(made.classes)}
    # The digest leaves out the source: the same bytes are the same data, wherever they came from.
    counts = {split: len(labels) for split, (_, labels) in made.splits.items()}
    manifest = {**content, "counts": counts, "source": made.source, "digest": digest_of(content)}
    write_atomic(folder / MANIFEST, json.dumps(manifest, indent=2) + "\n")
    log(f"data set {name}: {counts} from {made.source}, in {folder}")
    return folder


def _is_current(folder: Path, args: Mapping[str, Any]) -> bool:
    try:
        manifest = _read_manifest(folder)
        for file in manifest["files"]:
            _verified(folder, file, manifest)
    except DataError:
        return False
    return bool(manifest["args"] == dict(args))


def _read_manifest(folder: Path) -> dict[str, Any]:
    file = folder / MANIFEST
    if not file.is_file():
        raise DataError(f"{file}: no such file; {_mend(folder.name)}")
    try:
        manifest: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{file}: not valid JSON ({error}); {_mend(folder.name)}") from None
    return manifest


def _mend(name: str) -> str:
    return f"`python -m reprise data {name}` makes it"


def _verified(folder: Path, file: str, manifest: Mapping[str, Any]) -> bytes:
    """Return a file's bytes; raise DataError where they are not those of the manifest."""
    path = folder / file
    if not path.is_file():
        raise DataError(f"{path}: no such file; {_mend(folder.name)}")
    content = path.read_bytes()
    found, expected = hashlib.sha256(content).hexdigest(), manifest["files"].get(file)
    if found != expected:
        raise DataError(
            f"{path}: altered since it was prepared (SHA-256 {found[:12]}, expected "
            f"{str(expected)[:12]}); delete it, then {_mend(folder.name)} again"
        )
    return content


def load(name: str, split: str, root: Path, args: Mapping[str, Any]) -> ImageSet:
    """Load a split of a prepared set into memory; its bytes are checked first.

    Raises DataError naming the file that is missing or altered, and how to mend it.
    """
    folder = root / name
    manifest = _read_manifest(folder)
    if manifest["args"] != dict(args):
        raise DataError(
            f"{folder}: prepared with {manifest['args']}, needed with {dict(args)}; "
            f"{_mend(name)} again"
        )
    if split not in manifest["counts"]:
        known = ", ".join(sorted(manifest["counts"]))
        raise DataError(f"data set {name} has no split {split!r}; known: {known}")
    images, labels = (
        torch.from_numpy(np.load(io.BytesIO(_verified(folder, f"{split}-{kind}.npy", manifest))))
        for kind in ("images", "labels")
    )
    digest = digest_of({"set": manifest["digest"], "split": split})
    return ArraySet(name, split, images, labels, tuple(manifest["classes"]), digest)
