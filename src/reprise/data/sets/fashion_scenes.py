"""FashionScenes: coloured scenes of one to three Fashion-MNIST garments, each with captions.

Four splits: ``clip`` (pairs of image and captions), ``text`` (the same; text-only training uses
the captions alone), ``val`` and ``test``. No photograph is in two of them, in either domain;
``test`` is made of test photographs, and it alone shows the pairs of class and tint that
`world.held_out` names. A scene's label is the class of its largest garment.

Of each split there are, beside images and labels: ``masks.npy``, ``boxes.npy``, ``counts.npy``
and ``unseen.npy`` as `SceneSet` has them, ``photos.npy`` (int64 [N, 3], each garment's photograph,
-1 where there is none; test scenes count in the test photographs, all others in the training
ones), and three JSON files: ``captions.json`` is a list of N lists of five plain captions,
``poetic.json`` and ``humorous.json`` are such lists of two in a style, each scene on its line.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from reprise.data import base
from reprise.data.base import ArraySet, ImageSet, Log, Prepared, Split, read_arrays, write_batches
from reprise.data.captioned import PLAIN, CaptionedSet, read_texts, write_texts
from reprise.data.scenes.domains import DOMAINS
from reprise.data.scenes.language import NUMBERS, STYLES, caption
from reprise.data.scenes.render import Pictures, Renderer
from reprise.data.scenes.whole import one_thread
from reprise.data.scenes.world import Photographs, Scenes, World
from reprise.data.sets.fashion_mnist import CLASSES
from reprise.files import atomic
from reprise.progress import bar
from reprise.settings.base import Strict
from reprise.training.seeding import BLOCK, Draws

SPLITS = ("clip", "text", "val", "test")
# The part of the training photographs of each class that a split is made of.
SHARES = {"clip": (0.0, 0.45), "text": (0.45, 0.9), "val": (0.9, 1.0)}
EACH = {PLAIN: 5, **dict.fromkeys(STYLES, 2)}  # captions of a scene, by style
ARRAYS = ("masks", "boxes", "counts", "unseen", "photos")  # beside images and labels
BATCH = 4 * BLOCK


class Args(Strict):
    """Which domain, of what size, and how many scenes."""

    domain: Literal["town", "nature", "both"] = Field(
        "town", description="both: batches of 256 scenes of the one and the other in turns"
    )
    size: int = Field(48, ge=28, le=96, description="side of the scenes, pixels")
    clip: int = Field(20_000, gt=0, description="scenes of the split of pairs")
    text: int = Field(20_000, gt=0, description="scenes of the split of captions alone")
    val: int = Field(1_000, gt=0)
    test: int = Field(1_000, gt=0)
    seed: int = Field(0, ge=0)


@dataclass(eq=False)
class SceneSet(CaptionedSet):
    """A split: a `CaptionedSet` of images uint8 [N, 3, size, size], with what is said and seen.

    ``masks`` uint8 [N, size, size]: 0, or class + 1; ``boxes`` int16 [N, 3, 5]: class, x0, y0, x1,
    y1 (pixels, the last two outside) of what is seen of each garment, -1 where there is none;
    ``counts`` int64 [N]: boxes of each scene; ``unseen`` bool [N]: it shows a class in a tint that
    no scene of another split does; ``photos`` int64 [N, 3]. Captions are in the styles
    ``captions`` (plain), ``poetic`` and ``humorous``.
    """

    masks: Tensor
    boxes: Tensor
    counts: Tensor
    unseen: Tensor
    photos: Tensor


@dataclass
class Gathered:
    """What a split's files are made of beside its images, batch by batch."""

    arrays: dict[str, list[Tensor]] = field(default_factory=dict)
    texts: dict[str, list[list[str]]] = field(default_factory=lambda: {style: [] for style in EACH})

    def add(self, scenes: Scenes, pictures: Pictures, texts: dict[str, list[list[str]]]) -> None:
        """Take what a batch has."""
        arrays = (pictures.masks, pictures.boxes, pictures.counts, scenes.unseen, scenes.photo)
        for name, array in zip(ARRAYS, arrays, strict=True):
            self.arrays.setdefault(name, []).append(array)
        for style, some in texts.items():
            self.texts[style].extend(some)

    def write(self, folder: Path, split: str) -> list[str]:
        """Write the files; return their names."""
        files = []
        for name, parts in self.arrays.items():
            files.append(f"{split}-{name}.npy")
            with atomic(folder / files[-1]) as stream:
                np.save(stream, torch.cat(parts).numpy())
        return files + write_texts(folder, split, self.texts)


def prepare(folder: Path, args: Args, log: Log) -> Prepared:
    """Draw all splits from disjoint photographs."""
    base.prepare("fashion_mnist", folder.parent, {}, log)
    domains = list(DOMAINS.values()) if args.domain == "both" else [DOMAINS[args.domain]]
    worlds, splits = [World(domain, args.size, args.seed) for domain in domains], {}
    for split in SPLITS:
        photos, gathered = photographs(folder.parent, split), Gathered()
        batches = _batches(worlds, photos, split, getattr(args, split), gathered)
        shape = (3, args.size, args.size)
        count, files = write_batches(folder, split, shape, batches)
        splits[split] = count, files + gathered.write(folder, split)
    return Prepared("drawn from fashion_mnist", CLASSES, splits)


def load(split: Split, args: Args) -> ImageSet:
    """Map a split's images and read the rest: a `SceneSet`."""
    plain = read_arrays(split)
    arrays: dict[str, Any] = {
        name: torch.from_numpy(np.load(split.folder / f"{split.split}-{name}.npy", mmap_mode="c"))
        for name in ARRAYS
    }
    texts = read_texts(split.folder, split.split, EACH)
    return SceneSet(**vars(plain), texts=texts, **arrays)


def photographs(root: Path, split: str) -> Photographs:
    """Return the photographs that a split's scenes are made of, from below the data root."""
    source = "test" if split == "test" else "train"
    data = cast(ArraySet, base.load("fashion_mnist", source, root, {}))
    low, high = SHARES.get(split, (0.0, 1.0))
    return Photographs.share(data.images[:, 0], data.labels, low, high)


def describe(world: World, scenes: Scenes, split: str, start: int) -> dict[str, list[list[str]]]:
    """Return the captions of scenes start..start+B of a split, by style."""
    draws = Draws(world.key.fold(split), len(scenes), start)
    rows, texts = scenes.rows(), {}
    for style, each in EACH.items():
        drawn = draws.uniform(style, each, NUMBERS).double().tolist()
        name = "" if style == PLAIN else style
        texts[style] = [
            [caption(row, world.domain, numbers, name) for numbers in some]
            for row, some in zip(rows, drawn, strict=True)
        ]
    return texts


def _batches(
    worlds: list[World],
    photos: Photographs,
    split: str,
    count: int,
    gathered: Gathered,
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    renderers = [Renderer(world.domain, world.size) for world in worlds]
    name = " and ".join(world.domain.name for world in worlds)
    with one_thread(), bar(f"drawing {name} {split}", count) as shown:
        for start in range(0, count, BATCH):
            number, turn = min(BATCH, count - start), start // BATCH % len(worlds)
            world, renderer = worlds[turn], renderers[turn]
            scenes = world.draw(photos, split, start, number, every=split == "test")
            pictures = renderer.draw(photos, scenes)
            gathered.add(scenes, pictures, describe(world, scenes, split, start))
            yield pictures.images.numpy(), scenes.labels.numpy()
            shown.advance(number)
