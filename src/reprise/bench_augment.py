"""How fast recipes augment: batched tensor code against timm's pipelines on Pillow images.

All do the same to the same images, from pixels in 0..1 to pixels in 0..1, in one thread and in
turns. timm's 3-Augment is also measured as timm alone has it, from Pillow images that are already
there to normalised tensors, so that what is ours around it cannot make it slow.
"""

import statistics
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from timm.data import create_transform
from torch import Tensor

from reprise.bench_data import measure
from reprise.data.three_augment import recipe_augment
from reprise.settings.deit3_augment import RecipeAugment
from reprise.training.run import processor, set_determinism
from reprise.training.seeding import Draws, Key

TARGET = 3  # times the images/s of timm's 3-Augment
LARGEST_SHARE = 15  # % of a training step that augmentation may take
BATCHED, TIMM = "3-Augment, batched", "3-Augment, timm alone"
PILLOW, RAND = "3-Augment, Pillow", "RandAugment, Pillow"
STEP = "training step"


def recipes(size: int) -> dict[str, RecipeAugment]:
    """Return what is compared, by name; apart from 3-Augment, DeiT's of 2021."""
    rand = RecipeAugment(size=size, policy="rand", jitter=0, erasing=0.25, backend="pil")
    return {
        BATCHED: RecipeAugment(size=size),
        PILLOW: RecipeAugment(size=size, backend="pil"),
        RAND: rand,
    }


def contenders(size: int, images: int) -> dict[str, Callable[[], object]]:
    """Return what is timed by name; each call augments all images."""
    random = torch.Generator().manual_seed(0)
    bytes_ = torch.randint(0, 256, (images, 3, size, size), generator=random).byte()
    pixels, draws = bytes_.float() / 255, Draws(Key(("bench",)), images)
    calls: dict[str, Callable[[], object]] = {
        name: partial(recipe_augment, pixels, recipe, draws)
        for name, recipe in recipes(size).items()
    }
    pictures = [Image.fromarray(one) for one in bytes_.permute(0, 2, 3, 1).contiguous().numpy()]
    calls[TIMM] = lambda: timm_alone(pictures, size)
    return calls


def timm_alone(pictures: list[Image.Image], size: int) -> Tensor:
    """Return normalised tensors [B, 3, size, size] of Pillow images, by timm's 3-Augment."""
    augment = create_transform(
        size, is_training=True, auto_augment="3a", color_jitter=0.3, interpolation="bicubic"
    )
    return torch.stack([augment(picture) for picture in pictures])


def show(
    size: int = 48,
    images: int = 256,
    seconds: float = 20.0,
    step: Callable[[], object] | None = None,
    step_seconds: float | None = None,
) -> None:
    """Print images/s of each pipeline, and how many times faster the batched one is.

    ``step`` does a training step of so many images without augmenting them, and takes its turns
    with the others; or ``step_seconds`` says how long one takes. Then the share of augmentation in
    a whole step is printed, too.
    """
    set_determinism(1)
    calls = contenders(size, images)
    names = list(calls)
    if step is not None:
        calls[STEP] = step
    for call in calls.values():  # a first call takes longer
        call()
    taken = measure(calls, seconds)
    rounds = len(taken[BATCHED])
    if step is None and step_seconds is not None:
        taken[STEP] = [step_seconds] * rounds
    console = Console()
    console.print(
        f"{images} images of {size}x{size} to {size}x{size}; torch {torch.__version__}, "
        f"{processor(torch.device('cpu'))}; medians of {rounds} rounds in turns"
    )
    console.print(_table(names, images, taken))
    # Round by round, so that a machine whose speed drifts does not tilt the comparison.
    ratios = {name: ratio(taken, name) for name in (TIMM, PILLOW)}
    least = min(ratios.values())
    reached = "reaches" if least >= TARGET else "does not reach"
    console.print(
        f"Batched 3-Augment has {ratios[TIMM]:.1f}x the images/s of timm's alone and "
        f"{ratios[PILLOW]:.1f}x of our Pillow backend's, which {reached} {TARGET}x."
    )
    if STEP in taken:
        _tell_shares(console, taken, names)


def ratio(taken: Mapping[str, list[float]], name: str) -> float:
    """Return the median over rounds of how many times longer a call took than the batched one."""
    return statistics.median(
        other / batched for other, batched in zip(taken[name], taken[BATCHED], strict=True)
    )


def _table(names: list[str], images: int, taken: Mapping[str, list[float]]) -> Table:
    table = Table("one core", "images/s", "5 to 95 %")
    for name in names:
        low, middle, high = np.quantile(images / np.array(taken[name]), [0.05, 0.5, 0.95])
        table.add_row(name, f"{middle:,.0f}", f"{low:,.0f} to {high:,.0f}")
    return table


def _tell_shares(console: Console, taken: Mapping[str, list[float]], names: list[str]) -> None:
    middle = 1000 * statistics.median(taken[STEP])
    console.print(f"Of a training step ({middle:,.0f} ms without it), augmentation takes")
    for name in names:
        share = 100 * statistics.median(
            own / (own + rest) for own, rest in zip(taken[name], taken[STEP], strict=True)
        )
        held = "within" if share <= LARGEST_SHARE else "above"
        console.print(f"{name}: {share:.1f} %, {held} {LARGEST_SHARE} %")
