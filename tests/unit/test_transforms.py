"""Augmentation against torchvision on the same boxes and factors, and against its own promises."""

import math

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from reprise.data import transforms
from reprise.data.transforms import augment, crop_boxes, normalise
from reprise.errors import ConfigError
from reprise.settings.base import Augment
from reprise.training.seeding import BLOCK, Draws, Key

KEY = Key(("test", 0))
PLAIN = {"mean": (0.0,), "std": (1.0,)}
ALL = Augment(
    size=20,
    crop_scale=(0.2, 1.0),
    flip=0.5,
    jitter=0.8,
    brightness=0.4,
    contrast=0.4,
    saturation=0.4,
    hue=0.1,
    grayscale=0.2,
    blur=0.5,
)


def photos(count: int = 6, channels: int = 3, height: int = 24, width: int = 24) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    shape = (count, channels, height, width)
    return torch.randint(0, 256, shape, generator=generator).to(torch.uint8)


def test_normalise_is_the_formula() -> None:
    images = photos()
    settings = Augment(size=24, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    found = normalise(images, settings)
    assert found.dtype == torch.float32
    for channel, (mean, std) in enumerate(zip(settings.mean, settings.std, strict=True)):
        expected = (images[:, channel].double() / 255 - mean) / std
        torch.testing.assert_close(found[:, channel].double(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [10, 31])
def test_normalise_resizes_as_torchvision_does(size: int) -> None:
    images = photos(height=24, width=16)
    found = normalise(images, Augment(size=size, **PLAIN))
    expected = tv.resize(images.float() / 255, [size, size], antialias=True)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("share", "height", "width"), [(0.875, 256, 256), (0.9, 31, 44)])
def test_the_middle_is_torchvisions(share: float, height: int, width: int) -> None:
    images = photos(height=height, width=width)
    kept = [round(share * height), round(share * width)]
    middle = tv.center_crop(images, kept)
    plain = Augment(size=224)
    cropped = plain.model_copy(update={"test_crop": share})
    assert torch.equal(normalise(images, cropped), normalise(middle, plain))
    if kept == [224, 224]:
        as_they_are = normalise(images, cropped)
        torch.testing.assert_close(as_they_are, (middle / 255 - 0.5) / 0.5, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [24, 10, 31])
def test_augment_with_everything_off_is_normalise(size: int) -> None:
    settings, images = Augment(size=size), photos()
    found = augment(images, settings, Draws(KEY, len(images)))
    torch.testing.assert_close(found, normalise(images, settings), rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [9, 20, 40])  # smaller than every box, between, larger
def test_crops_equal_torchvision_on_the_same_boxes(size: int) -> None:
    images = photos(height=24, width=30)
    settings, draws = Augment(size=size, crop_scale=(0.2, 1.0), **PLAIN), Draws(KEY, len(images))
    found = augment(images, settings, draws)
    boxes = torch.stack(crop_boxes(24, 30, settings, draws), dim=1).long().tolist()
    assert len({tuple(box) for box in boxes}) > 1
    for image, box, crop in zip(images, boxes, found, strict=True):
        expected = tv.resized_crop(image.float() / 255, *box, [size, size], antialias=True)
        torch.testing.assert_close(crop, expected, rtol=0, atol=1e-5)


def test_crop_boxes_lie_inside_and_have_the_stated_distribution() -> None:
    settings = Augment(size=8, crop_scale=(0.2, 0.8), crop_ratio=(0.5, 2.0))
    boxes = crop_boxes(200, 200, settings, Draws(KEY, 6400))
    top, left, height, width = (part.double() for part in boxes)
    assert all(torch.equal(part, part.round()) for part in (top, left, height, width))
    assert (top.min(), left.min()) == (0, 0)
    assert ((top + height).max(), (left + width).max()) == (200, 200)
    share = height * width / 200**2
    assert share.min() >= 0.195
    assert share.max() <= 0.805
    assert share.mean() == pytest.approx(0.5, abs=0.01)
    assert share.var() == pytest.approx(0.6**2 / 12, rel=0.05)
    ratio = (width / height).log()
    assert ratio.abs().max() <= math.log(2) + 0.02
    assert ratio.mean() == pytest.approx(0.0, abs=0.02)
    # Where every ratio fits (share below 1/2), it is log-uniform: variance (2 log 2)^2 / 12.
    assert ratio[share < 0.5].var() == pytest.approx((2 * math.log(2)) ** 2 / 12, rel=0.06)
    room = (height < 180) & (width < 180)
    places = torch.stack([top / (200 - height), left / (200 - width)])[:, room]
    assert places.mean(1).tolist() == pytest.approx([0.5, 0.5], abs=0.02)
    assert places.var(1).tolist() == pytest.approx([1 / 12, 1 / 12], rel=0.06)
    assert places.corrcoef()[0, 1] == pytest.approx(0.0, abs=0.07)


def test_every_place_of_a_box_is_equally_likely() -> None:
    settings = Augment(size=8, crop_scale=(0.36, 0.36), crop_ratio=(1.0, 1.0))
    top, left, height, width = crop_boxes(5, 5, settings, Draws(KEY, 1920))
    assert set(height.tolist()) == set(width.tolist()) == {3.0}
    counts = (3 * top + left).long().bincount(minlength=9)
    assert (counts - 1920 / 9).square().sum() / (1920 / 9) < 26  # chi-squared, 8 df, p = 0.001


def test_crop_boxes_of_long_images_fit_though_the_ratio_cannot() -> None:
    settings = Augment(size=8, crop_scale=(0.9, 1.0), crop_ratio=(0.75, 4 / 3))
    top, left, height, width = crop_boxes(20, 100, settings, Draws(KEY, 640))
    assert (top + height).max() <= 20
    assert (left + width).max() <= 100
    assert (height * width / 2000).min() >= 0.85


def test_flip_is_exact_and_as_frequent_as_asked() -> None:
    images = photos(640, channels=1, height=6, width=6)
    always = augment(images, Augment(size=6, flip=1.0), Draws(KEY, 640))
    assert torch.equal(always, normalise(images.flip(-1), Augment(size=6)))
    some = augment(images, Augment(size=6, flip=0.3), Draws(KEY, 640))
    flipped = (some == always).flatten(1).all(1)
    kept = (some == normalise(images, Augment(size=6))).flatten(1).all(1)
    assert torch.all(flipped ^ kept)
    assert flipped.float().mean() == pytest.approx(0.3, abs=0.09)  # 5 standard errors


def test_a_flipped_crop_is_the_mirror_image_of_the_crop() -> None:
    images, draws = photos(), Draws(KEY, 6)
    crop = {"size": 12, "crop_scale": (0.2, 1.0)}
    plain, flipped = (augment(images, Augment(**crop, flip=p), draws) for p in (0.0, 1.0))
    torch.testing.assert_close(flipped, plain.flip(-1), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("sigma", "side"), [(0.4, 24), (1.3, 24), (2.0, 7)])
def test_blur_equals_torchvision(sigma: float, side: int) -> None:
    images = photos(height=side, width=side)
    settings = Augment(size=side, blur=1.0, blur_sigma=(sigma, sigma), **PLAIN)
    found = augment(images, settings, Draws(KEY, len(images)))
    taps = 2 * min(math.ceil(3 * sigma), side - 1) + 1
    expected = tv.gaussian_blur(images.float() / 255, [taps, taps], [sigma, sigma])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_blur_takes_its_share_of_samples_and_its_range_of_sigma() -> None:
    impulse = torch.zeros(640, 1, 15, 15, dtype=torch.uint8)
    impulse[:, :, 7, 7] = 255
    settings = Augment(size=15, blur=0.6, blur_sigma=(0.5, 1.5), **PLAIN)
    peak = augment(impulse, settings, Draws(KEY, 640))[:, 0, 7, 7]
    blurred = peak < 0.999
    assert blurred.float().mean() == pytest.approx(0.6, abs=0.1)

    def height_of(sigma: float) -> float:
        taps = [math.exp(-0.5 * (k / sigma) ** 2) for k in range(-5, 6)]
        return (1 / sum(taps)) ** 2

    assert peak[blurred].max() <= height_of(0.5) + 1e-5
    assert peak[blurred].min() >= height_of(1.5) - 1e-5
    # Sigma is uniform, so half of the peaks lie above that of the middle sigma.
    assert (peak[blurred] > height_of(1.0)).float().mean() == pytest.approx(0.5, abs=0.13)


def factors() -> Tensor:
    return torch.tensor([0.0, 0.3, 0.9, 1.0, 1.4, 2.0]).view(-1, 1, 1, 1)


@pytest.mark.parametrize(
    ("name", "channels"),
    [("brightness", 1), ("brightness", 3), ("contrast", 1), ("contrast", 3), ("saturation", 3)],
)
def test_colour_operations_equal_torchvision(name: str, channels: int) -> None:
    pixels = photos(channels=channels).float() / 255
    found = pixels.clone()
    getattr(transforms, f"adjust_{name}")(found, factors())
    for image, factor, ours in zip(pixels, factors().flatten().tolist(), found, strict=True):
        expected = getattr(tv, f"adjust_{name}")(image, factor)
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)


def test_hue_equals_torchvision_also_for_ties_and_greys() -> None:
    turns = torch.tensor([-0.5, -0.2, 0.0, 0.1, 0.37, 0.5]).view(-1, 1, 1, 1)
    pixels = photos().float() / 255
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 0.5, 1.0])] * 3).T  # [3, 27]
    pixels[:, :, 0, :] = corners[:, :24]
    pixels[:, :, 1, :3] = corners[:, 24:]
    found = pixels.clone()
    transforms.adjust_hue(found, turns)
    for image, turn, ours in zip(pixels, turns.flatten().tolist(), found, strict=True):
        torch.testing.assert_close(ours, tv.adjust_hue(image, turn), rtol=0, atol=1e-5)


def test_jitter_is_torchvisions_operations_in_the_stated_order_and_ranges() -> None:
    images, draws = photos(128), Draws(KEY, 128)
    settings = Augment(
        size=24, jitter=0.7, brightness=0.4, contrast=1.5, saturation=0.3, hue=0.2, **PLAIN
    )
    found = augment(images, settings, draws)
    apply, *drawn = draws.uniform("jitter", 5).double().T.tolist()
    assert sum(p < 0.7 for p in apply) == pytest.approx(0.7 * 128, abs=26)
    for i, image in enumerate(images.float() / 255):
        expected = image
        if apply[i] < 0.7:
            b, c, s, h = (column[i] for column in drawn)
            expected = tv.adjust_brightness(expected, 0.6 + 0.8 * b)
            expected = tv.adjust_contrast(expected, 2.5 * c)  # 1 - 1.5 is cut at 0
            expected = tv.adjust_saturation(expected, 0.7 + 0.6 * s)
            expected = tv.adjust_hue(expected, 0.4 * h - 0.2)
        torch.testing.assert_close(found[i], expected, rtol=0, atol=2e-5)


def test_grayscale_equals_torchvision_for_its_share_of_samples() -> None:
    images = photos(640, height=5, width=5)
    settings = Augment(size=5, grayscale=0.25, **PLAIN)
    found = augment(images, settings, Draws(KEY, 640))
    grey = tv.rgb_to_grayscale(images.float() / 255, num_output_channels=3)
    is_grey = (found - grey).abs().flatten(1).amax(1) < 1e-5
    is_kept = (found - images.float() / 255).abs().flatten(1).amax(1) < 1e-5
    assert torch.all(is_grey ^ is_kept)
    assert is_grey.float().mean() == pytest.approx(0.25, abs=0.09)


def test_grey_images_get_brightness_and_contrast_alone() -> None:
    images, draws = photos(channels=1), Draws(KEY, 6)
    both = {"size": 24, "jitter": 1.0, "brightness": 0.4, "contrast": 0.4}
    found = augment(images, Augment(**both, saturation=1.0, hue=0.5, grayscale=1.0), draws)
    assert torch.equal(found, augment(images, Augment(**both), draws))
    assert not torch.allclose(found, normalise(images, Augment(size=24)))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_sample_does_not_depend_on_its_batch(channels: int) -> None:
    images = photos(3 * BLOCK, channels)
    whole = augment(images, ALL, Draws(KEY, 3 * BLOCK))
    assert whole.shape == (3 * BLOCK, channels, 20, 20)
    assert whole.dtype == torch.float32
    second = augment(images[BLOCK:], ALL, Draws(KEY, 2 * BLOCK, start=BLOCK))
    assert torch.equal(second, whole[BLOCK:])
    few = augment(images[:10], ALL, Draws(KEY, 10))
    torch.testing.assert_close(few, whole[:10], rtol=0, atol=1e-5)
    others = images.clone()
    others[1:] = 255 - others[1:]
    changed = augment(others, ALL, Draws(KEY, 3 * BLOCK))
    torch.testing.assert_close(changed[0], whole[0], rtol=0, atol=1e-5)
    assert not torch.allclose(changed[1], whole[1])


def test_the_same_draws_give_the_same_bytes_and_leave_the_images_alone() -> None:
    images = photos(100)
    before = images.clone()
    torch.manual_seed(1)
    first = augment(images, ALL, Draws(KEY, 100))
    torch.manual_seed(2)
    assert torch.equal(augment(images, ALL, Draws(KEY, 100)), first)
    assert torch.equal(images, before)
    other = augment(images, ALL, Draws(KEY.fold("view", 1), 100))
    assert (other != first).flatten(1).any(1).all()


def test_turning_a_part_on_leaves_the_draws_of_the_others() -> None:
    images, draws = photos(), Draws(KEY, 6)
    crop = {"size": 24, "crop_scale": (0.2, 1.0)}
    with_flip = augment(images, Augment(**crop, flip=0.5), draws)
    without = augment(images, Augment(**crop), draws)
    same = (with_flip - without).abs().flatten(1).amax(1) < 1e-5
    mirrored = (with_flip - without.flip(-1)).abs().flatten(1).amax(1) < 1e-5
    assert torch.all(same ^ mirrored)


@pytest.mark.parametrize("key", ["mean", "std"])
def test_the_wrong_number_of_means_is_refused_by_name(key: str) -> None:
    settings = Augment(size=24, **{key: (0.5, 0.5, 0.5)})
    message = rf"augment.{key} has 3 values for images of 1 channels"
    with pytest.raises(ConfigError, match=message):
        normalise(photos(channels=1), settings)
    with pytest.raises(ConfigError, match=message):
        augment(photos(channels=1), settings, Draws(KEY, 6))
