"""Augmentation by timm: that it is timm's, that its randomness is keyed, and what is refused."""

import random

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from timm.data import create_transform
from torch import Tensor
from torchvision import transforms
from torchvision.transforms import functional as tv

from reprise.data import pil_augment
from reprise.data.three_augment import recipe_augment
from reprise.errors import ConfigError
from reprise.settings.deit3_augment import RecipeAugment
from reprise.training.seeding import BLOCK, Draws, Key

KEY = Key(("test", 0))
THREE = RecipeAugment(size=24, backend="pil")
RAND = RecipeAugment(size=24, backend="pil", policy="rand", jitter=0)
BICUBIC = transforms.InterpolationMode.BICUBIC


def photos(count: int = 70, channels: int = 3, height: int = 28, width: int = 24) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (count, channels, height, width), generator=generator)
    return images.float() / 255


def by_hand(pixels: Tensor, transform: transforms.Compose) -> Tensor:
    """Return what a pipeline makes of all images, seeded at each block: uint8."""
    done = []
    for number, image in enumerate(pixels):
        if number % BLOCK == 0:
            pil_augment.seed(KEY.fold("pil", number // BLOCK))
        done.append(transform(tv.to_pil_image((image * 255).round().byte())))
    return torch.stack([tv.pil_to_tensor(one) for one in done])


def without_tensors(**settings: object) -> transforms.Compose:
    """Return timm's own training pipeline, but for its last two steps."""
    whole = create_transform(24, is_training=True, interpolation="bicubic", **settings)
    return transforms.Compose(whole.transforms[:-2])


@pytest.mark.parametrize("policy", ["three", "rand", "none"])
def test_it_is_timms_pipeline(policy: str) -> None:
    settings = {"three": THREE, "rand": RAND}.get(
        policy, RecipeAugment(size=24, backend="pil", policy="none")
    )
    timms = {
        "three": {"auto_augment": "3a", "color_jitter": 0.3},
        "rand": {"auto_augment": "rand-m9-mstd0.5-inc1"},
        "none": {"color_jitter": 0.3},
    }
    found = recipe_augment(photos(), settings, Draws(KEY, 70))
    assert found.dtype == torch.float32
    assert found.is_contiguous()
    with pil_augment.kept_generators():
        expected = by_hand(photos(), without_tensors(**timms[policy]))
    assert torch.equal(found, expected / 255)


def test_every_setting_reaches_timm() -> None:
    settings = RecipeAugment(
        size=24,
        crop_scale=(0.5, 0.9),
        crop_ratio=(0.9, 1.1),
        flip=0.9,
        policy="rand",
        jitter=0.2,
        rand_magnitude=5,
        rand_std=0.25,
        rand_layers=3,
        mean=(0.1, 0.2, 0.3),
        backend="pil",
    )
    crop, flip, policy, jitter = pil_augment.pipeline(settings, 3)
    assert (crop.scale, crop.ratio, crop.size) == ((0.5, 0.9), (0.9, 1.1), (24, 24))
    assert crop.interpolation == BICUBIC
    assert flip.p == 0.9
    assert policy.num_layers == 3
    assert {(one.magnitude, one.magnitude_std, one.prob) for one in policy.ops} == {(5, 0.25, 0.5)}
    assert {one.kwargs["fillcolor"] for one in policy.ops} == {(26, 51, 76)}
    assert {one.kwargs["resample"] for one in policy.ops} == {Image.Resampling.BICUBIC}
    assert "SolarizeIncreasing" in {one.name for one in policy.ops}
    # timm alone would leave it out beside RandAugment.
    assert (jitter.brightness, jitter.contrast, jitter.saturation) == ((0.8, 1.2),) * 3
    assert jitter.hue is None


def test_nothing_is_done_that_is_off() -> None:
    settings = RecipeAugment(size=24, crop="none", flip=0, policy="none", jitter=0, backend="pil")
    pixels = photos(height=24)
    assert torch.equal(recipe_augment(pixels, settings, Draws(KEY, 70)), pixels)
    small = RecipeAugment(size=16, crop="none", flip=0, policy="none", jitter=0, backend="pil")
    found = recipe_augment(photos(), small, Draws(KEY, 70))
    resized = by_hand(photos(), transforms.Resize((16, 16), BICUBIC))
    assert torch.equal(found, resized / 255)


def test_simple_crop_is_torchvisions() -> None:
    settings = RecipeAugment(
        size=24, crop="src", padding=3, flip=0.5, policy="none", jitter=0, backend="pil"
    )
    found = recipe_augment(photos(), settings, Draws(KEY, 70))
    steps = [
        transforms.Resize(24, BICUBIC),
        transforms.RandomCrop(24, padding=3, padding_mode="reflect"),
        transforms.RandomHorizontalFlip(0.5),
    ]
    with pil_augment.kept_generators():
        assert torch.equal(found, by_hand(photos(), transforms.Compose(steps)) / 255)


def test_three_is_the_papers() -> None:
    """Whole grayscale, threshold 128, a radius of 0.1 to 2, no matter what timm calls them."""
    ramp = torch.arange(256).view(1, 16, 16).expand(3, -1, -1) / 255
    ramp = torch.stack([ramp[0], ramp[1].T, ramp[2].flip(0)])
    settings = RecipeAugment(size=16, crop="none", flip=0, jitter=0, backend="pil")
    found = recipe_augment(ramp.expand(300, -1, -1, -1), settings, Draws(KEY, 300))
    image = tv.to_pil_image((255 * ramp).round().byte())
    grey = tv.pil_to_tensor(tv.rgb_to_grayscale(image, num_output_channels=3)) / 255
    solar = torch.where(ramp < 127.5 / 255, ramp, 1 - ramp)
    is_grey = (found == grey).flatten(1).all(1)
    is_solar = (found - solar).abs().flatten(1).amax(1) < 1e-6
    assert not torch.any(is_grey & is_solar)
    assert [int(is_grey.sum()), int(is_solar.sum())] == pytest.approx([100, 100], abs=30)
    # One operation and no more: what is left is a blur, which moves no pixel of a ramp far.
    assert (found[~is_grey & ~is_solar] - ramp).abs().mean() < 0.06


def test_an_operation_that_keeps_no_bits_makes_an_image_black() -> None:
    """timm asks Pillow for it at magnitude 10, which Pillow refuses from version 13 on."""
    policy = pil_augment.pipeline(RAND, 3)[2]
    (operation,) = (one for one in policy.ops if one.name == "PosterizeIncreasing")
    operation = type(operation)(
        "PosterizeIncreasing", 1.0, 10, operation.hparams | {"magnitude_std": 0}
    )
    pil_augment._mend_posterize(type(policy)([operation]))
    image = Image.new("RGB", (3, 2), (200, 100, 50))
    assert operation(image).getcolors() == [(6, (0, 0, 0))]
    operation.magnitude = 6  # int(4 - 2.4) of 8 bits are kept
    assert operation(image).getcolors() == [(6, (192, 64, 0))]


@pytest.mark.parametrize("settings", [THREE, RAND, RAND.model_copy(update={"erasing": 0.5})])
def test_a_sample_is_a_function_of_its_key_and_place(settings: RecipeAugment) -> None:
    pixels = photos(3 * BLOCK)
    whole = recipe_augment(pixels, settings, Draws(KEY, 3 * BLOCK))
    second = recipe_augment(pixels[BLOCK:], settings, Draws(KEY, 2 * BLOCK, start=BLOCK))
    assert torch.equal(second, whole[BLOCK:])
    assert torch.equal(recipe_augment(pixels[:10], settings, Draws(KEY, 10)), whole[:10])
    other = recipe_augment(pixels, settings, Draws(KEY.fold("other"), 3 * BLOCK))
    assert (other != whole).flatten(1).any(1).float().mean() > 0.9
    # Blocks are drawn apart: the same images in two of them become different ones.
    same = recipe_augment(pixels[:1].expand(2 * BLOCK, -1, -1, -1), settings, Draws(KEY, 2 * BLOCK))
    assert not torch.equal(same[:BLOCK], same[BLOCK:])


def test_other_users_of_the_generators_notice_nothing() -> None:
    def drawn() -> tuple[float, float, float]:
        return random.random(), np.random.rand(), torch.rand(1).item()

    settings = RAND.model_copy(update={"erasing": 0.5})
    pil_augment.seed(Key(("mine",)))
    expected = drawn()
    pil_augment.seed(Key(("mine",)))
    recipe_augment(photos(), settings, Draws(KEY, 70))
    assert drawn() == expected
    pil_augment.seed(Key(("mine",)))
    with pytest.raises(ZeroDivisionError), pil_augment.kept_generators():
        raise ZeroDivisionError(drawn())
    assert drawn() == expected


@pytest.mark.parametrize("settings", [THREE, RAND])
def test_grey_images_stay_grey(settings: RecipeAugment) -> None:
    one_mean = settings.model_copy(update={"mean": (0.5,)})
    found = recipe_augment(photos(channels=1), one_mean, Draws(KEY, 70))
    assert found.shape == (70, 1, 24, 24)
    assert found.std() > 0.1


@pytest.mark.parametrize("backend", ["batched", "pil"])
def test_erasing_leaves_normal_noise_in_rectangles(backend: str) -> None:
    settings = RecipeAugment(size=24, backend=backend)
    draws, pixels = Draws(KEY, 640), photos(640)
    kept = recipe_augment(pixels, settings, draws)
    erasing = settings.model_copy(update={"erasing": 0.25})
    found = recipe_augment(pixels, erasing, draws)
    changed = ((found - kept).abs() > 1e-5).any(1)
    erased = changed.flatten(1).any(1)
    assert erased.float().mean() == pytest.approx(0.25, abs=0.09)  # 5 standard errors
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (settings.mean, settings.std))
    noise = []
    for image, mask in zip(found[erased], changed[erased], strict=True):
        rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
        box = mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert box.float().mean() > 0.99  # a rectangle
        assert 0.01 < box.numel() / 24**2 < 0.4
        noise.append(((image - mean) / std)[:, mask].flatten())
    values = torch.cat(noise)
    assert values.mean() == pytest.approx(0, abs=0.03)
    assert values.std() == pytest.approx(1, abs=0.03)


def test_means_of_other_channels_are_refused_where_they_are_needed() -> None:
    message = "mean has 3 values for images of 1 channels; give one value for all channels, or 1"
    grey = photos(channels=1)
    for settings in (RAND, THREE.model_copy(update={"erasing": 0.1})):
        with pytest.raises(ConfigError, match=message):
            recipe_augment(grey, settings, Draws(KEY, 70))
    recipe_augment(grey, THREE, Draws(KEY, 70))  # uses none


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"policy": "rand"}, "policy: rand needs backend: pil"),
        ({"backend": "pil", "blur_sigma": (0.1, 1.0)}, "backend: pil takes no blur_sigma"),
        ({"backend": "pil", "solarize_threshold": 0.3}, "backend: pil takes no blur_sigma or sol"),
        ({"crop": "src", "padding": 8}, "crop: src needs padding below size"),
        ({"crop_scale": (1.0, 0.08)}, "crop_scale must be two numbers 0 < low <= high"),
        ({"blur_sigma": (0.0, 2.0)}, "blur_sigma must be two numbers"),
        ({"crop": "rcc"}, "'rrc', 'src' or 'none'"),
        ({"erase": 0.25}, "did you mean 'erasing'"),
    ],
)
def test_settings_that_cannot_be_are_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        RecipeAugment(size=8, **given)


def test_defaults_are_the_papers() -> None:
    settings = RecipeAugment(size=224)
    assert (settings.policy, settings.crop, settings.flip) == ("three", "rrc", 0.5)
    assert (settings.crop_scale, settings.jitter) == ((0.08, 1.0), 0.3)
    assert (settings.blur_sigma, settings.padding) == ((0.1, 2.0), 4)
    assert round(255 * settings.solarize_threshold) == 128
    assert settings.erasing == 0
    RecipeAugment(size=24, policy="none", backend="pil", blur_sigma=(0.1, 1.0))  # not used
