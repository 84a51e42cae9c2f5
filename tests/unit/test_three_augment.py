"""Batched augmentation against Pillow, on the same draws, and against timm in distribution."""

import math
import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter, ImageOps
from scipy.stats import binom, ks_2samp
from timm.data.transforms import RandomResizedCropAndInterpolation
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as tv

from reprise.data import three_augment as three
from reprise.data.three_augment import recipe_augment
from reprise.settings.deit3_augment import RecipeAugment
from reprise.training.seeding import BLOCK, Draws, Key

KEY = Key(("test", 0))
OFF = {"crop": "none", "flip": 0, "policy": "none", "jitter": 0}
BICUBIC = InterpolationMode.BICUBIC
# Differences from Pillow, in 1/255. Pillow rounds twice in resizing, six times in blurring; and
# drops the fraction after each of three colour operations, of which the later ones amplify it.
RESIZED, BLURRED, ALL = 1.2, 3.2, 7.5


def photos(count: int = 6, channels: int = 3, height: int = 24, width: int = 24) -> Tensor:
    """Return uint8 noise, every other image black and white alone: what overshoots most."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (count, channels, height, width), generator=generator)
    images[1::2] = 255 * (images[1::2] > 127)
    return images.byte()


def scenes(side: int = 32) -> Tensor:
    """Return three uint8 images: a coloured ramp, a disc before a background, soft noise."""
    down, across = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    ramp = torch.stack([down * 7, across * 7, 255 - down * 3 - across * 3])
    disc = ((down - side / 3) ** 2 + (across - side / 2) ** 2 < (side / 4) ** 2).int()
    colours = torch.tensor([[250, 40], [30, 200], [90, 120]]).view(3, 2, 1, 1)
    soft = torch.rand(3, 6, 6, generator=torch.Generator().manual_seed(2)) * 255
    soft = tv.resize(soft, [side, side], BICUBIC).clamp(0, 255)
    return torch.stack([ramp, colours[:, 0] * disc + colours[:, 1] * (1 - disc), soft]).byte()


def pixels_of(images: Tensor) -> Tensor:
    return images.float() / 255


def picture(image: Tensor) -> Image.Image:
    return tv.to_pil_image(image)


def levels(image: Image.Image) -> Tensor:
    return tv.pil_to_tensor(image).float()


def worst(found: Tensor, expected: Image.Image) -> float:
    """Return the largest difference in 1/255."""
    return (255 * found - levels(expected)).abs().max().item()


def flips(settings: RecipeAugment, draws: Draws) -> list[bool]:
    return (draws.uniform("flip") < settings.flip).tolist()


def whole_numbers(parts: tuple[Tensor, ...]) -> list[list[int]]:
    return torch.stack(parts, dim=1).int().tolist()


@pytest.mark.parametrize(("size", "sides"), [(20, (37, 48)), (48, (48, 48)), (70, (37, 48))])
def test_crops_equal_pillow_on_the_same_boxes(size: int, sides: tuple[int, int]) -> None:
    images, draws = photos(128, 3, *sides), Draws(KEY, 128)
    settings = RecipeAugment(size=size, policy="none", jitter=0)
    found = recipe_augment(pixels_of(images), settings, draws)
    boxes = whole_numbers(three.crop_boxes(*sides, settings, draws))
    compared = 0
    for image, box, flip, ours in zip(images, boxes, flips(settings, draws), found, strict=True):
        if box[2] > max(size, box[3]):
            continue  # of what loses more height than width, Pillow 13 resizes the height first
        expected = tv.resized_crop(picture(image), *box, [size, size], BICUBIC)
        assert worst(ours, tv.hflip(expected) if flip else expected) < RESIZED
        compared += 1
    assert compared > 60


def timm_boxes(height: int, width: int, settings: RecipeAugment, count: int) -> np.ndarray:
    random.seed(0)
    image = Image.new("RGB", (width, height))
    draw = RandomResizedCropAndInterpolation.get_params
    scale, ratio = settings.crop_scale, settings.crop_ratio
    return np.array([draw(image, scale, ratio) for _ in range(count)])


@pytest.mark.parametrize(
    ("sides", "scale"), [((48, 48), (0.08, 1.0)), ((20, 60), (0.3, 1.0)), ((60, 20), (0.5, 1.0))]
)
def test_boxes_are_distributed_as_timms(sides: tuple[int, int], scale: tuple[float, float]) -> None:
    """The long images need their tenth try, and beyond, for one box in ten and more."""
    settings = RecipeAugment(size=32, crop_scale=scale)
    ours = np.array(whole_numbers(three.crop_boxes(*sides, settings, Draws(KEY, 6400))))
    theirs = timm_boxes(*sides, settings, 6400)
    assert np.all(ours[:, :2] + ours[:, 2:] <= sides)
    for mine, other in zip(ours.T, theirs.T, strict=True):
        assert ks_2samp(mine, other).pvalue > 1e-3
    for share in (np.prod(ours[:, 2:], axis=1), np.prod(theirs[:, 2:], axis=1)):
        assert share.min() >= 0.95 * min(scale[0], 0.4) * math.prod(sides)
    assert ks_2samp(ours[:, 2] * ours[:, 3], theirs[:, 2] * theirs[:, 3]).pvalue > 1e-3


def test_boxes_that_fit_seldom_are_rare() -> None:
    """Of a square image the share s fits with chance -log(s) / log(4/3) where s > 3/4."""
    settings = RecipeAugment(size=32)
    _, _, height, width = three.crop_boxes(400, 400, settings, Draws(KEY, 6400))
    large = (height * width / 400**2 > 0.75).float().mean().item()
    fits = 1 - (0.75 - 0.75 * math.log(0.75))  # integral of -log(s) from 3/4 to 1
    fits /= math.log(4 / 3)
    assert large == pytest.approx(fits / (0.75 - 0.08 + fits), abs=0.02)


def test_boxes_that_never_fit_are_the_largest_in_the_centre() -> None:
    settings = RecipeAugment(size=8, crop_scale=(1.0, 1.0), crop_ratio=(0.5, 2.0))
    assert whole_numbers(three.crop_boxes(10, 45, settings, Draws(KEY, 2))) == [[0, 12, 10, 20]] * 2
    assert whole_numbers(three.crop_boxes(45, 10, settings, Draws(KEY, 2))) == [[12, 0, 20, 10]] * 2
    thin = RecipeAugment(size=8, crop_scale=(1.0, 1.0), crop_ratio=(3.0, 4.0))
    assert whole_numbers(three.crop_boxes(30, 30, thin, Draws(KEY, 1))) == [[10, 0, 10, 30]]
    within = RecipeAugment(size=8, crop_scale=(1.0, 1.0), crop_ratio=(2.9, 3.1))
    boxes = whole_numbers(three.crop_boxes(10, 30, within, Draws(KEY, 64)))
    assert [0, 0, 10, 30] in boxes


@pytest.mark.parametrize("sides", [(24, 24), (24, 37), (40, 30)])
def test_simple_crop_equals_torchvision_at_the_same_place(sides: tuple[int, int]) -> None:
    images, draws = photos(64, 3, *sides), Draws(KEY, 64)
    settings = RecipeAugment(size=24, crop="src", padding=3, policy="none", jitter=0)
    found = recipe_augment(pixels_of(images), settings, draws)
    places, seen = draws.uniform("crop", 2).tolist(), set()
    for image, place, flip, ours in zip(images, places, flips(settings, draws), found, strict=True):
        resized = tv.resize(picture(image), 24, BICUBIC)
        padded = tv.pad(resized, 3, padding_mode="reflect")
        room = padded.height - 24, padded.width - 24
        top, left = (int(at * (free + 1)) for at, free in zip(place, room, strict=True))
        seen.add((top, left))
        expected = tv.crop(padded, top, left, 24, 24)
        assert worst(ours, tv.hflip(expected) if flip else expected) < RESIZED
    assert len(seen) > 20
    assert {min(one) for one in zip(*seen, strict=True)} == {0}
    if sides == (24, 24):
        assert {max(one) for one in zip(*seen, strict=True)} == {6}


def test_no_crop_is_resizing_alone_and_nothing_where_the_size_agrees() -> None:
    images = photos(height=30, width=24)
    found = recipe_augment(pixels_of(images), RecipeAugment(size=36, **OFF), Draws(KEY, 6))
    for image, ours in zip(images, found, strict=True):
        assert worst(ours, picture(image).resize((36, 36), Image.Resampling.BICUBIC)) < RESIZED
    same = pixels_of(photos())
    assert torch.equal(recipe_augment(same, RecipeAugment(size=24, **OFF), Draws(KEY, 6)), same)


def test_flip_is_exact_and_as_frequent_as_asked() -> None:
    pixels = pixels_of(photos(640, height=6, width=6))
    found = recipe_augment(pixels, RecipeAugment(size=6, **OFF | {"flip": 0.3}), Draws(KEY, 640))
    flipped = (found == pixels.flip(-1)).flatten(1).all(1)
    kept = (found == pixels).flatten(1).all(1)
    assert torch.all(flipped ^ kept)
    assert flipped.float().mean() == pytest.approx(0.3, abs=0.09)  # 5 standard errors


@pytest.mark.parametrize("side", [7, 24])
@pytest.mark.parametrize("radius", [0.1, 0.45, 0.8, 1.0, 1.5, 2.0])
def test_blur_equals_pillow(radius: float, side: int) -> None:
    images = photos(24, height=side, width=side)
    matrices = three.box_blur_matrices(torch.full((24,), radius), side)
    torch.testing.assert_close(matrices.sum(2), torch.ones(24, side))
    found = three.resample(pixels_of(images), matrices, matrices)
    for image, ours in zip(images, found, strict=True):
        assert worst(ours, picture(image).filter(ImageFilter.GaussianBlur(radius))) < BLURRED


@pytest.mark.parametrize("threshold", [128, 1, 200])
def test_solarize_equals_pillow_at_every_level(threshold: int) -> None:
    every = torch.arange(256).view(1, 1, 16, 16).byte()
    expected = levels(ImageOps.solarize(picture(every[0]), threshold))
    for rounding in (-0.4, 0.0, 0.4):  # what Pillow would have rounded away
        found = 255 * three.solarize((every.float() + rounding) / 255, threshold / 255)[0]
        assert (found - expected).abs().max() < 0.401


def test_grayscale_equals_pillow() -> None:
    images = photos(60)[::2]
    settings = RecipeAugment(size=24, **OFF | {"policy": "three"})
    draws = Draws(KEY, 30)
    found = recipe_augment(pixels_of(images), settings, draws)
    chosen = three.choices(settings, draws)[0] == three.GRAYSCALE
    assert 2 < chosen.sum() < 28
    for image, ours, grey in zip(images, found, chosen.tolist(), strict=True):
        if grey:
            expected = tv.rgb_to_grayscale(picture(image), num_output_channels=3)
            assert worst(ours, expected) < 0.55
            assert torch.equal(ours[0], ours[2])
        else:
            assert (ours[0] - ours[2]).abs().max() > 0.1


ADJUST: dict[int, Callable[[Image.Image, float], Image.Image]] = {
    three.BRIGHTNESS: tv.adjust_brightness,
    three.CONTRAST: tv.adjust_contrast,
    three.SATURATION: tv.adjust_saturation,
}


def jittered(image: Image.Image, order: list[int], factors: list[float]) -> Image.Image:
    for operation in order:
        image = ADJUST[operation](image, factors[operation])
    return image


@pytest.mark.parametrize(("channels", "strength"), [(3, 0.3), (3, 0.9), (1, 0.3)])
def test_jitter_equals_torchvision_in_the_same_order(channels: int, strength: float) -> None:
    images, draws = photos(192, channels), Draws(KEY, 192)
    settings = RecipeAugment(size=24, **OFF | {"jitter": strength})
    found = recipe_augment(pixels_of(images), settings, draws)
    orders, factors = (part.tolist() for part in three.factors(settings, draws))
    assert len(set(map(tuple, orders))) == 6
    darker = []
    for image, order, factor, ours in zip(images, orders, factors, found, strict=True):
        expected = jittered(picture(image), order, factor)
        assert worst(ours, expected) < (4.5 if strength == 0.3 else 9)
        darker.append((255 * ours - levels(expected)).mean().item())
    # Half a level is lost at each fraction that is dropped, but none at black and white.
    assert 0.3 < np.mean(darker) < 1.5


def test_orders_and_factors_are_distributed_as_torchvisions() -> None:
    orders, factors = three.factors(RecipeAugment(size=8, jitter=0.3), Draws(KEY, 6400))
    counts = torch.unique(orders, dim=0, return_counts=True)[1]
    assert len(counts) == 6
    assert torch.equal(orders.sort(dim=1).values, torch.arange(3).expand(6400, 3))
    chi = ((counts - 6400 / 6).square() / (6400 / 6)).sum()
    assert chi < 20.5  # 5 degrees of freedom, p = 0.001
    for column in factors.double().T:
        assert ks_2samp(column.numpy(), np.random.default_rng(0).uniform(0.7, 1.3, 6400)).pvalue > (
            1e-3
        )
    assert factors.T.corrcoef().triu(1).abs().max() < 0.05
    strong = three.factors(RecipeAugment(size=8, jitter=1.0), Draws(KEY, 640))[1]
    assert 0 <= strong.min() < 0.05


def test_the_whole_of_it_equals_pillow_step_by_step() -> None:
    images, draws, settings = photos(192, 3, 32, 32), Draws(KEY, 192), RecipeAugment(size=32)
    found = recipe_augment(pixels_of(images), settings, draws)
    boxes = whole_numbers(three.crop_boxes(32, 32, settings, draws))
    chosen, radius = (part.tolist() for part in three.choices(settings, draws))
    orders, factors = (part.tolist() for part in three.factors(settings, draws))
    flipped = flips(settings, draws)
    differences = []
    for i, image in enumerate(images):
        expected = tv.resized_crop(picture(image), *boxes[i], [32, 32], BICUBIC)
        expected = tv.hflip(expected) if flipped[i] else expected
        if chosen[i] == three.GRAYSCALE:
            expected = tv.rgb_to_grayscale(expected, num_output_channels=3)
        elif chosen[i] == three.SOLARIZE:
            expected = ImageOps.solarize(expected, 128)
        else:
            expected = expected.filter(ImageFilter.GaussianBlur(radius[i]))
        expected = jittered(expected, orders[i], factors[i])
        assert worst(found[i], expected) < ALL
        differences.append((255 * found[i] - levels(expected)).abs().mean().item())
    assert np.mean(differences) < 1.6
    assert found.min() >= 0
    assert found.max() <= 1


# Against timm's own pipeline, of which only the distribution can be compared.

DRAWN = 3072


def both(image: Tensor, **settings: object) -> tuple[Tensor, Tensor]:
    """Return one image augmented so many times, batched and by timm, float32 in 1/255."""
    pixels = pixels_of(image).expand(DRAWN, -1, -1, -1)
    size = image.shape[-1]
    return tuple(
        255
        * recipe_augment(
            pixels,
            RecipeAugment(size=size, backend=backend, **settings),
            Draws(Key((backend,)), DRAWN),
        )
        for backend in ("batched", "pil")
    )


def test_each_of_the_three_is_as_frequent() -> None:
    image = scenes()[0]
    grey = levels(tv.rgb_to_grayscale(picture(image), num_output_channels=3))
    solar = levels(ImageOps.solarize(picture(image), 128))
    low, high = binom(DRAWN, 1 / 3).ppf([1e-4, 1 - 1e-4])
    for found in both(image, **OFF | {"policy": "three"}):
        is_grey, is_solar = ((found - one).abs().flatten(1).amax(1) < 0.6 for one in (grey, solar))
        rest = found[~is_grey & ~is_solar]
        # Others are blurred: of the disc's background nothing is gone, and of this ramp little.
        assert ((rest - image).abs().flatten(1).mean(1) < 12).all()
        for count in (is_grey.sum(), is_solar.sum(), len(rest)):
            assert low <= count <= high


def test_blur_radii_are_distributed_alike() -> None:
    impulse = torch.zeros(3, 15, 15, dtype=torch.uint8)
    impulse[:, 7, 7] = 255
    peaks = []
    for found in both(impulse, **OFF | {"policy": "three"}):
        peak = found[:, :, 7, 7]
        # A solarised impulse is black, and a grey one stays as it is.
        peaks.append(peak[(peak[:, 0] > 5) & (peak[:, 0] < 250), 0].numpy())
    assert ks_2samp(*peaks).pvalue > 1e-3
    # Between the peaks of radius 2 and of a radius that rounds to none.
    assert [min(one) for one in peaks] == pytest.approx([255 / (2 * math.pi * 4)] * 2, abs=2)


TONES = {"red", "green", "blue", "dark", "bright"}


def statistics_of(found: Tensor) -> dict[str, np.ndarray]:
    """Return numbers of each augmented image: tone, colour, contrast, sharpness, place."""
    red, green, blue = found.unbind(1)
    grey = found.mean(1)
    flat = grey.flatten(1)
    side = found.shape[-1]
    moment = (grey - grey.mean((1, 2), keepdim=True)) * torch.arange(side)
    values = {
        "red": red.mean((1, 2)),
        "green": green.mean((1, 2)),
        "blue": blue.mean((1, 2)),
        "colour": (found.amax(1) - found.amin(1)).mean((1, 2)),
        "contrast": flat.std(1),
        "dark": flat.quantile(0.1, dim=1),
        "bright": flat.quantile(0.9, dim=1),
        "edges": (grey[:, :, 1:] - grey[:, :, :-1]).abs().mean((1, 2)),
        "side": moment.mean((1, 2)),
    }
    return {name: value.numpy() for name, value in values.items()}


def beyond(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return how far values must move for Kolmogorov and Smirnov's test to find no difference.

    0 where it finds none (p = 0.001 on either side): rounding moves values a little, and in point
    masses, such as the colour of grey images, by nothing; so no shift of all of them is right.
    """
    ours, theirs = np.sort(ours), np.sort(theirs)
    apart = math.ceil(math.sqrt(-math.log(1e-3) / len(ours)) * len(ours))
    above, below = ours[:-apart] - theirs[apart:], theirs[:-apart] - ours[apart:]
    return max(above.max(), below.max(), 0.0)


@pytest.mark.parametrize(("number", "crop"), [(0, "rrc"), (1, "rrc"), (2, "rrc"), (1, "src")])
def test_augmented_images_are_distributed_as_timms(number: int, crop: str) -> None:
    """But for the fractions that Pillow drops, which make tones darker, and not differences."""
    batched, pillow = both(scenes()[number], crop=crop)
    theirs = statistics_of(pillow)
    for name, mine in statistics_of(batched).items():
        other, lost = theirs[name], 1.5 if name in TONES else 0.25
        assert beyond(mine, other) <= lost, name
        error = math.sqrt((mine.var() + other.var()) / DRAWN)
        assert abs(mine.mean() - other.mean()) < lost + 4 * error, name


# What every augmentation promises.

PICKY = RecipeAugment(size=20, erasing=0.25)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("crop", ["rrc", "src", "none"])
def test_a_sample_does_not_depend_on_its_batch(channels: int, crop: str) -> None:
    pixels = pixels_of(photos(5 * BLOCK, channels))
    settings = RecipeAugment(size=20, crop=crop, erasing=0.25, mean=(0.5,), std=(0.25,))
    whole = recipe_augment(pixels, settings, Draws(KEY, 5 * BLOCK))
    assert whole.shape == (5 * BLOCK, channels, 20, 20)
    assert whole.dtype == torch.float32
    for first, count in ((1, 2), (3, 2), (4, 1)):
        start, stop = first * BLOCK, (first + count) * BLOCK
        part = recipe_augment(pixels[start:stop], settings, Draws(KEY, count * BLOCK, start))
        assert torch.equal(part, whole[start:stop])
    few = recipe_augment(pixels[:10], settings, Draws(KEY, 10))
    torch.testing.assert_close(few, whole[:10], rtol=0, atol=1e-5)


def test_one_image_alone_meets_any_of_the_three() -> None:
    pixels = pixels_of(photos(1))
    settings = RecipeAugment(size=24)
    chosen = set()
    for number in range(12):
        draws = Draws(Key((number,)), 1)
        chosen.add(three.choices(settings, draws)[0].item())
        assert torch.isfinite(recipe_augment(pixels, settings, draws)).all()
    assert chosen == {three.GRAYSCALE, three.SOLARIZE, three.BLUR}


def test_the_same_draws_give_the_same_bytes_and_disturb_nothing() -> None:
    pixels = pixels_of(photos(100))
    before = pixels.clone()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    first = recipe_augment(pixels, PICKY, Draws(KEY, 100))
    drawn = random.random(), np.random.rand(), torch.rand(1).item()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    assert drawn == (random.random(), np.random.rand(), torch.rand(1).item())
    assert torch.equal(recipe_augment(pixels, PICKY, Draws(KEY, 100)), first)
    assert torch.equal(pixels, before)
    other = recipe_augment(pixels, PICKY, Draws(KEY.fold("view", 1), 100))
    assert (other != first).flatten(1).any(1).all()


def test_turning_a_part_off_leaves_the_draws_of_the_others() -> None:
    pixels, draws = pixels_of(photos()), Draws(KEY, 6)
    plain = recipe_augment(pixels, RecipeAugment(size=24, policy="none", jitter=0), draws)
    no_flip = recipe_augment(pixels, RecipeAugment(size=24, policy="none", jitter=0, flip=0), draws)
    same = (plain - no_flip).abs().flatten(1).amax(1) < 1e-5
    mirrored = (plain - no_flip.flip(-1)).abs().flatten(1).amax(1) < 1e-5
    assert torch.all(same ^ mirrored)


@pytest.mark.parametrize("backend", ["batched", "pil"])
def test_autocast_and_gradients_change_nothing(backend: str) -> None:
    """In bf16 a pixel would keep no more than eight bits through every product."""
    pixels, settings = pixels_of(photos(70)), PICKY.model_copy(update={"backend": backend})
    expected = recipe_augment(pixels, settings, Draws(KEY, 70))
    with torch.autocast("cpu", torch.bfloat16):
        found = recipe_augment(pixels.requires_grad_(), settings, Draws(KEY, 70))
    assert torch.equal(found, expected)
    assert not found.requires_grad


def test_strided_pixels_are_taken_too() -> None:
    pixels = pixels_of(photos(8, height=30, width=24))
    turned = recipe_augment(pixels.mT, RecipeAugment(size=24), Draws(KEY, 8))
    assert torch.equal(
        turned, recipe_augment(pixels.mT.contiguous(), RecipeAugment(size=24), Draws(KEY, 8))
    )


def test_shapes_alone_are_given_where_operations_are_counted() -> None:
    pixels = torch.empty(5, 3, 30, 24, device="meta")
    found = recipe_augment(pixels, PICKY, Draws(KEY, 5, device="meta"))
    assert found.is_meta
    assert found.shape == (5, 3, 20, 20)
