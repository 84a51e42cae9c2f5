"""How fast images come: decoding against the decoder's own bound, and batched augmentation.

Everything runs in one thread and in turns, so that what is said is per core, and a machine whose
speed drifts, or that others use, slows all of it alike.
"""

import contextlib
import io
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor

from reprise.config import Project
from reprise.data import decode, origin
from reprise.data.sets import image_folder
from reprise.data.transforms import augment
from reprise.errors import ConfigError
from reprise.progress import bar
from reprise.settings.base import Augment
from reprise.training.run import processor
from reprise.training.seeding import Draws, Key

READER = "image_folder"
SHARED = "tiny_imagenet50"  # folder in $REPRISE_SHARED_DATA or ../shared/data
FEWEST_ROUNDS = 5
BATCH = 256
BOUND, RESIZE = "Pillow, decoding in memory", "the same, and resizing"
READ, AUGMENT = "reader, file to array", "augmentation"


@dataclass(frozen=True)
class Source:
    """Some images of a folder, spread evenly over its training split."""

    root: Path
    paths: list[str]
    size: int


def find(project: Project, root: str | None, size: int | None, images: int) -> Source:
    """Return the images to measure: of ``root``, else of the scale, else of the shared slice.

    Where no size is given it is the scale's, or the shorter side of the first image. Raises
    DataError where the folder has not the expected layout, ConfigError where there is none.
    """
    datasets = [one for one in project.scale.datasets.values() if one.name == READER]
    if root is None and datasets:
        root, size = str(datasets[0].args["root"]), size or int(datasets[0].args["size"])
    folder = image_folder.find(root or str(_shared(project)))
    listing = image_folder.list_files(folder / "train", image_folder.class_folders(folder))
    paths = origin.evenly(listing.paths, images)
    if size is None:
        with Image.open(paths[0]) as first:
            size = min(first.size)
    return Source(folder, paths, size)


def _shared(project: Project) -> Path:
    places = [Path(os.environ[name]) for name in ("REPRISE_SHARED_DATA",) if os.environ.get(name)]
    for place in (*places, project.root.parent / "shared/data"):
        if (place / SHARED).is_dir():
            return place / SHARED
    raise ConfigError(
        f"scale {project.scale.scale} has no data set of {READER}, and there is no {SHARED} in "
        "$REPRISE_SHARED_DATA or ../shared/data: name a folder of images with --root"
    )


def simclr_like(size: int) -> Augment:
    """Return every part of SimCLR's augmentation at its usual strength."""
    return Augment(
        size=size,
        crop_scale=(0.08, 1.0),
        flip=0.5,
        jitter=0.8,
        brightness=0.8,
        contrast=0.8,
        saturation=0.8,
        hue=0.2,
        grayscale=0.2,
        blur=0.5,
    )


def contenders(source: Source) -> tuple[dict[str, Callable[[], object]], dict[str, int]]:
    """Return what is timed by name, and how many images one call of each takes."""
    contents = [decode.read(path) for path in source.paths]
    parts = list(decode.decode_all(source.paths, source.size, workers=1))
    images = torch.cat([torch.from_numpy(part.images) for part in parts])[: 4 * BATCH]
    calls: dict[str, Callable[[], object]] = {
        BOUND: lambda: _decode(contents),
        RESIZE: lambda: _decode(contents, source.size),
        READ: lambda: list(decode.decode_all(source.paths, source.size, workers=1)),
        AUGMENT: lambda: _augment(images, simclr_like(source.size)),
    }
    return calls, dict.fromkeys(calls, len(contents)) | {AUGMENT: len(images)}


def _decode(contents: list[bytes], size: int | None = None) -> None:
    for content in contents:
        with contextlib.suppress(Exception):  # a damaged file costs the reader as much
            image = Image.open(io.BytesIO(content))
            image.load()
            if size is not None and image.size != (size, size):
                decode.fit(image.convert("RGB"), size)


def _augment(images: Tensor, settings: Augment) -> None:
    for number, batch in enumerate(images.split(BATCH)):
        augment(batch, settings, Draws(Key(("bench", number)), len(batch)))


def measure(calls: Mapping[str, Callable[[], object]], seconds: float) -> dict[str, list[float]]:
    """Return the seconds of each call in turns, for about so many seconds in all."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    until, rounds = time.perf_counter() + seconds, 0
    with bar("benchmark", int(seconds), unit="s") as shown:
        while time.perf_counter() < until or rounds < FEWEST_ROUNDS:
            rounds += 1
            for name, call in calls.items():
                started = time.perf_counter()
                call()
                taken[name].append(time.perf_counter() - started)
            left = max(0.0, until - time.perf_counter())
            shown.advance(max(0, int(seconds - left) - shown.done))
    return taken


def show(project: Project, root: str | None, size: int | None, images: int, seconds: float) -> None:
    """Measure decoding and augmentation, and print images/s per core: medians of the rounds."""
    torch.set_num_threads(1)
    source = find(project, root, size, images)
    calls, counts = contenders(source)
    taken = measure(calls, seconds)
    console = Console()
    console.print(
        f"{len(source.paths)} images of {source.root}, to {source.size}x{source.size}; "
        f"{processor(torch.device('cpu'))}; medians of {len(taken[BOUND])} rounds in turns"
    )
    table = Table("one core", "images/s", "slowest to fastest", "of the bound")
    # Round by round, so that a machine whose speed drifts does not tilt the comparison.
    shares = {
        name: statistics.median(b / own for b, own in zip(taken[BOUND], taken[name], strict=True))
        for name in (BOUND, RESIZE, READ)
    }
    for name, times in taken.items():
        rates = sorted(counts[name] / one for one in times)
        spread = f"{rates[0]:,.0f} to {rates[-1]:,.0f}"
        share = f"{100 * shares[name]:.0f} %" if name in shares else ""
        table.add_row(name, f"{statistics.median(rates):,.0f}", spread, share)
    console.print(table)
