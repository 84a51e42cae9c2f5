"""The same augmentations by timm and torchvision, image by image on Pillow images.

This is what such recipes are trained with, 8-bit rounding included. Beside crop and flip timm has
3-Augment (``auto_augment='3a'``) and RandAugment; simple random crop is torchvision's. Where
timm's defaults are not the paper's (colour jitter 0.4, bilinear), the paper's are given here.

On a GPU, several processes share the blocks of a batch.

The libraries draw from the global generators of Python, NumPy and torch. Those are seeded for each
block of samples and left as they were found: what a sample meets is a function of the key and its
place in the batch alone, and nothing else that draws from them notices.
"""

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from typing import cast

import numpy as np
import torch
from PIL import Image
from timm.data.auto_augment import RandAugment
from timm.data.auto_augment import posterize as timm_posterize
from timm.data.random_erasing import RandomErasing
from timm.data.transforms_factory import transforms_imagenet_train
from torch import Tensor
from torchvision.transforms import InterpolationMode, RandomCrop, RandomHorizontalFlip, Resize

from reprise.data.pil_processes import Bytes, Crew, cores
from reprise.errors import ConfigError
from reprise.settings.deit3_augment import RecipeAugment
from reprise.training.seeding import BLOCK, Draws, Key, on_block

Step = Callable[[Image.Image], Image.Image]
POLICIES = {"three": "3a", "rand": "rand-m{magnitude}-n{layers}-mstd{std}-inc1", "none": None}


def augment(pixels: Tensor, settings: RecipeAugment, draws: Draws) -> Tensor:
    """Return augmented images in 0..1 (multiples of 1/255): float32 [B, C, size, size].

    ``pixels`` is float32 [B, C, H, W] in 0..1, rounded to 8 bits here. Raises ConfigError where
    RandAugment's fill does not fit the channels, or images begin inside a block.
    """
    on_block(draws, "Pillow's augmentation draws for")
    steps = pipeline(settings, pixels.shape[1])
    images = (pixels * 255).round_().byte().permute(0, 2, 3, 1).squeeze(3).cpu().numpy()
    # Pillow wants each image's rows in one piece.
    images = np.ascontiguousarray(images)
    size = (len(images), settings.size, settings.size, *images.shape[3:])
    first = draws.start // BLOCK
    keys = [draws.key.fold("pil", first + n) for n in range(-(-len(images) // BLOCK))]
    processes = helpers(pixels, len(keys))
    if processes > 1:
        done = crew(settings, images.shape, size, processes).run(images, keys)
    else:
        done = np.empty(size, np.uint8)
        with kept_generators():
            for number, key in enumerate(keys):
                augment_block(steps, images, done, number * BLOCK, key)
    found = torch.from_numpy(done).view(*done.shape[:3], -1).permute(0, 3, 1, 2)
    moved = found.to(pixels.device)  # a byte a value
    return moved.to(torch.float32, memory_format=torch.contiguous_format).div_(255)


def augment_block(steps: Sequence[Step], images: Bytes, done: Bytes, first: int, key: Key) -> None:
    """Augment a block of images uint8 [B, H, W(, C)], from number ``first`` on, into ``done``."""
    seed(key)
    for number in range(first, min(first + BLOCK, len(images))):
        image = Image.fromarray(images[number])
        for step in steps:
            image = step(image)
        done[number] = np.asarray(image)


def helpers(pixels: Tensor, blocks: int) -> int:
    """Return how many processes augment: beside a GPU cores are idle, else other jobs have them."""
    return min(cores(), blocks) if pixels.is_cuda else 1


_crews: dict[tuple[object, ...], Crew] = {}


def crew(
    settings: RecipeAugment, images: tuple[int, ...], done: tuple[int, ...], processes: int
) -> Crew:
    """Return the processes for batches of a shape; those for another one end."""
    wanted = settings, images, processes
    if wanted not in _crews:
        while _crews:
            _crews.popitem()[1].close()
        steps = pipeline(settings, images[3] if len(images) > 3 else 1)
        _crews[wanted] = Crew(partial(augment_block, steps), images, done, processes)
    return _crews[wanted]


@lru_cache(maxsize=8)
def pipeline(settings: RecipeAugment, channels: int) -> tuple[Step, ...]:
    """Return what is done to an image of so many channels, in order; from Pillow's to Pillow's."""
    policy = POLICIES[settings.policy]
    if policy is not None:
        policy = policy.format(
            magnitude=settings.rand_magnitude, layers=settings.rand_layers, std=settings.rand_std
        )
    # RandAugment fills with the mean, so only there must it fit.
    mean = per_channel(settings, "mean", channels) if settings.policy == "rand" else settings.mean
    placing, colouring, _ = transforms_imagenet_train(
        settings.size,
        scale=settings.crop_scale,
        ratio=settings.crop_ratio,
        hflip=settings.flip,
        color_jitter=cast(float, settings.jitter or None),  # None leaves it out
        force_color_jitter=True,
        auto_augment=policy,
        interpolation="bicubic",
        mean=mean,
        separate=True,
    )
    if settings.policy == "rand":
        _mend_posterize(colouring.transforms[0])
    if settings.crop == "rrc":
        return (*placing.transforms, *colouring.transforms)
    return (*_crop(settings), RandomHorizontalFlip(settings.flip), *colouring.transforms)


def _crop(settings: RecipeAugment) -> tuple[Step, ...]:
    """Return simple random crop, or resizing alone."""
    size, bicubic = settings.size, InterpolationMode.BICUBIC
    if settings.crop == "none":
        return (Resize((size, size), bicubic),)
    place = RandomCrop(size, padding=settings.padding, padding_mode="reflect")
    return Resize(size, bicubic), place


def _mend_posterize(policy: RandAugment) -> None:
    """Let an operation that keeps no bits make an image black, as before Pillow 13.

    timm asks for it at magnitude 10, and Pillow now refuses.
    """

    def posterize(image: Image.Image, bits: int, **others: object) -> Image.Image:
        if bits == 0:
            return Image.new(image.mode, image.size)
        return cast(Image.Image, timm_posterize(image, bits, **others))

    for operation in policy.ops:
        if operation.aug_fn is timm_posterize:
            operation.aug_fn = posterize


def per_channel(settings: RecipeAugment, name: str, channels: int) -> tuple[float, ...]:
    """Return ``mean`` or ``std`` for each channel; ConfigError where it is for others."""
    values: tuple[float, ...] = getattr(settings, name)
    if len(values) not in (1, channels):
        raise ConfigError(
            f"{name} has {len(values)} values for images of {channels} channels; give one value "
            f"for all channels, or {channels}"
        )
    return values * (channels // len(values))


def erase(pixels: Tensor, settings: RecipeAugment, draws: Draws) -> None:
    """Fill a random rectangle of some samples with noise, in place (timm, mode ``pixel``).

    Pixels are normalised, erased and brought back, so that the noise is normal in the method's
    normalised images; it is outside 0..1 in part. Raises ConfigError where mean or std does not
    fit the channels, or images begin inside a block.
    """
    on_block(draws, "random erasing draws for")
    mean, std = (
        torch.tensor(per_channel(settings, name, pixels.shape[1]), device=pixels.device)
        for name in ("mean", "std")
    )
    mean, std = mean.view(-1, 1, 1), std.view(-1, 1, 1)
    erasing = RandomErasing(settings.erasing, mode="pixel", device="cpu")
    pixels.sub_(mean).div_(std)
    with kept_generators():
        for number, block in enumerate(pixels.split(BLOCK)):
            seed(draws.key.fold("erasing", draws.start // BLOCK + number))
            erasing(block)
    pixels.mul_(std).add_(mean)


@contextlib.contextmanager
def kept_generators() -> Iterator[None]:
    """Leave the global generators of Python, NumPy and torch (on the CPU) as they were found."""
    states = random.getstate(), np.random.get_state(), torch.default_generator.get_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.default_generator.set_state(states[2])


def seed(key: Key) -> None:
    """Seed the global generators; of torch's the CPU's alone, as no other is drawn from here."""
    random.seed(key.seed)
    np.random.seed(key.seed % 2**32)
    torch.default_generator.manual_seed(key.seed)
