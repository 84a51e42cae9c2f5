"""How fast photographs come that stay files: from single files, from a pack, cropped at random.

Beside `bench data`, which measures sets that are decoded once. Here decoding is part of every step
of training, so what matters is how near reading comes to the decoder's own speed. All is measured
on one core and in turns, as there.
"""

import contextlib
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from reprise.bench_data import BOUND, RESIZE, _decode, measure, simclr_like
from reprise.data import decode, origin, pack
from reprise.data.base import Split
from reprise.data.cropping import of_augment, of_recipe
from reprise.data.photo_files import Files, Names, look
from reprise.data.photos import PhotoSet
from reprise.data.sets.image_folder import ENDINGS
from reprise.data.transforms import augment
from reprise.errors import DataError
from reprise.settings.deit3_augment import RecipeAugment
from reprise.training.run import processor
from reprise.training.seeding import Draws, Key

FILES, PACKED = "reader, from single files", "reader, from a pack"
CROPS, ALL = "reader, random crops of whole photographs", "the same, and augmentation"
VIEWS, COPIES = "reader, two crops of each", "reader, three simple crops of each"
KEY = Key(("bench", "photos"))


@dataclass(frozen=True)
class Contest:
    """What is timed by name; each call takes all ``images``."""

    calls: dict[str, Callable[[], object]]
    images: int


def find(root: Path, images: int) -> tuple[list[str], PhotoSet]:
    """Return paths of some photographs below a folder, spread evenly, and a set of them.

    Those that cannot be decoded are left out. DataError where there is none.
    """
    every = sorted(str(path) for path in root.rglob("*") if path.suffix.lower() in ENDINGS)
    if not every:
        raise DataError(f"{root}: no photograph below it ({', '.join(ENDINGS)})")
    some = origin.evenly(every, images)
    looked = look(some)
    paths = [some[place] for place in looked.kept]
    if not paths:
        raise DataError(f"{root}: none of {len(some)} photographs below it can be decoded")
    names = Names.of([os.path.relpath(path, root) for path in paths])
    labels = torch.zeros(len(paths), dtype=torch.int64)
    store = Files(root, names)
    found = looked.digests, looked.extents, store
    return paths, PhotoSet("bench", "train", ("photo",), "bench", 0, labels, *found)


def contest(paths: list[str], files: PhotoSet, size: int, home: Path) -> Contest:
    """Return what is timed; the photographs are packed below ``home`` for it."""
    files.size = size
    pack.write(home, files, lambda _: None)
    store = pack.find(Split("bench", "train", home, files.classes, files.digest))
    assert store is not None
    packed = PhotoSet(**{**vars(files), "store": store})
    contents = [decode.read(path) for path in paths]
    every, settings = torch.arange(len(paths)), simclr_like(size)
    # Crops are the reader's; what is left to the batch are flips, colours and blur.
    batched = settings.model_copy(update={"crop_scale": (1.0, 1.0)})

    def crops(views: int = 1) -> torch.Tensor:
        draws = [Draws(KEY.fold(view), len(paths)) for view in range(views)]
        return packed.crops(every, of_augment(settings), draws)[0]

    def copies() -> torch.Tensor:
        often = every.repeat_interleave(3)
        simple = of_recipe(RecipeAugment(size=size, crop="src"))
        return packed.crops(often, simple, [Draws(KEY, len(often))])[0][0]

    return Contest(
        {
            BOUND: lambda: _decode(contents),
            RESIZE: lambda: _decode(contents, size),
            FILES: lambda: files.fetch(every),
            PACKED: lambda: packed.fetch(every),
            CROPS: lambda: crops()[0],
            ALL: lambda: augment(crops()[0], batched, Draws(KEY, len(paths))),
            VIEWS: lambda: crops(2),
            COPIES: copies,
        },
        len(paths),
    )


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Keep this process, whatever threads it starts, on one of the cores that it may use."""
    before, threads = os.sched_getaffinity(0), torch.get_num_threads()
    os.sched_setaffinity(0, {min(before)})
    torch.set_num_threads(1)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
        torch.set_num_threads(threads)


def show(root: Path, size: int, images: int, seconds: float) -> None:
    """Measure, and print images/s of one core: medians of the rounds, and shares of the bound."""
    paths, files = find(root, images)
    with tempfile.TemporaryDirectory() as home, one_core():
        timed = contest(paths, files, size, Path(home))
        taken = measure(timed.calls, seconds)
    height, width = np.median(files.extents, axis=0)
    console = Console()
    console.print(
        f"{timed.images} photographs of {root} (median {width:.0f}x{height:.0f} pixels), to "
        f"{size}x{size}; {processor(torch.device('cpu'))}; medians of {len(taken[BOUND])} rounds"
    )
    table = Table("one core", "images/s", "slowest to fastest", "of pure decoding")
    for name, times in taken.items():
        rates = sorted(timed.images / one for one in times)
        # Round by round, so that a machine whose speed drifts does not tilt the comparison.
        share = statistics.median(b / own for b, own in zip(taken[BOUND], times, strict=True))
        spread = f"{rates[0]:,.0f} to {rates[-1]:,.0f}"
        table.add_row(name, f"{statistics.median(rates):,.0f}", spread, f"{100 * share:.0f} %")
    console.print(table)
