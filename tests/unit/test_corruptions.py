"""Corruptions against torchvision and against their own promises, in colour and in grey."""

import pytest
import torch
from torch import Tensor
from torchvision.transforms import functional as tv

from reprise.data.corruptions import (
    BLUR,
    CONTRAST,
    CORRUPTIONS,
    NOISE,
    OCCLUSION,
    corrupt,
)
from reprise.training.seeding import BLOCK, Draws, Key

KEY = Key(("test", 0))
STRENGTHS = range(1, 6)
SHAPES = [(1, 28, 28), (3, 24, 36), (3, 5, 4)]


def photos(count: int, channels: int, height: int, width: int) -> Tensor:
    """Return smooth random images, so that no corruption leaves them as they are."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(count, channels, 4, 4, generator=generator) * 255
    return tv.resize(coarse, [height, width], antialias=True).round().to(torch.uint8)


def flat(count: int, level: int, channels: int = 1, size: int = 20) -> Tensor:
    return torch.full((count, channels, size, size), level, dtype=torch.uint8)


def as_uint8(pixels: Tensor) -> Tensor:
    return (pixels * 255).round().clamp(0, 255)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("strength", STRENGTHS)
def test_blur_is_torchvisions(shape: tuple[int, int, int], strength: int) -> None:
    images = photos(7, *shape)
    sigma = BLUR[strength - 1] * min(shape[1:])
    # Three deviations to each side, as far as a reflection can reach.
    taps = 2 * min(int(-(-3 * sigma // 1)), min(shape[1:]) - 1) + 1
    expected = as_uint8(tv.gaussian_blur(images.double() / 255, [taps, taps], [sigma, sigma]))
    found = corrupt(images, "blur", strength, Draws(KEY, 7)).double()
    assert (found - expected).abs().max() <= 1  # where a half is rounded
    assert (found == expected).double().mean() > 0.999


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("strength", STRENGTHS)
def test_contrast_is_torchvisions(shape: tuple[int, int, int], strength: int) -> None:
    images = photos(7, *shape)
    factor = CONTRAST[strength - 1]
    expected = as_uint8(tv.adjust_contrast(images.double() / 255, factor))
    found = corrupt(images, "contrast", strength, Draws(KEY, 7)).double()
    assert (found - expected).abs().max() <= 1
    assert (found == expected).double().mean() > 0.99
    assert found.std() < images.double().std()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("strength", STRENGTHS)
def test_noise_is_gaussian_of_the_stated_deviation(channels: int, strength: int) -> None:
    """On mid-grey, against the normal distribution clipped to the range of a pixel."""
    found = corrupt(flat(400, 128, channels), "noise", strength, Draws(KEY, 400)).double()
    ideal = torch.distributions.Normal(128.0, 255 * NOISE[strength - 1])
    for level in (64.5, 100.5, 128.5, 160.5, 250.5):
        share = (found < level).double().mean().item()
        assert share == pytest.approx(ideal.cdf(torch.tensor(level)).item(), abs=0.005)
    pixels = (found - 128).flatten(1)
    neighbours = (pixels[:, 1:] * pixels[:, :-1]).mean() / pixels.square().mean()
    assert neighbours.abs() < 0.01
    assert len(found.unique(dim=0)) == 400


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("strength", STRENGTHS)
def test_occlusion_blanks_one_square_to_the_mean(
    shape: tuple[int, int, int], strength: int
) -> None:
    images = photos(40, *shape)
    side = max(1, round(OCCLUSION[strength - 1] * min(shape[1:])))
    found = corrupt(images, "occlusion", strength, Draws(KEY, 40))
    for before, after in zip(images, found, strict=True):
        mean = before.double().mean((1, 2)).round().to(torch.uint8)
        squares = []
        for top in range(shape[1] - side + 1):
            for left in range(shape[2] - side + 1):
                expected = before.clone()
                expected[:, top : top + side, left : left + side] = mean.view(-1, 1, 1)
                squares.append(expected)
        assert any(torch.equal(after, expected) for expected in squares)


def test_every_place_of_the_square_is_equally_likely() -> None:
    count, images = 6400, torch.zeros(6400, 1, 5, 5, dtype=torch.uint8)
    images[:, :, ::2] = 200  # rows that the mean differs from, all of them
    found = corrupt(images, "occlusion", 3, Draws(KEY, count))  # side 2 of 5: 4 x 4 places
    changed = (found != images).squeeze(1)
    assert (changed.sum((1, 2)) == 4).all()
    counts = changed.flatten(1).int().argmax(1).bincount(minlength=25)
    counts = counts.view(5, 5)[:4, :4].double()
    assert counts.sum() == count
    expected = count / 16
    assert ((counts - expected).square() / expected).sum() < 37.7  # chi-squared, 15 df, p = 0.001


@pytest.mark.parametrize("name", list(CORRUPTIONS))
def test_stronger_is_further_from_the_image(name: str) -> None:
    images = photos(64, 1, 28, 28)
    away = [
        (corrupt(images, name, strength, Draws(KEY, 64)).double() - images).square().mean().item()
        for strength in STRENGTHS
    ]
    assert away[0] > 0
    assert away == sorted(away)
    assert len(set(away)) == len(away)


@pytest.mark.parametrize("name", list(CORRUPTIONS))
def test_an_image_meets_the_same_corruption_in_any_batch(name: str) -> None:
    images = photos(BLOCK * 2 + 9, 3, 12, 12)
    before = images.clone()
    whole = corrupt(images, name, 2, Draws(KEY, len(images)))
    assert torch.equal(images, before)
    assert (whole.shape, whole.dtype) == (images.shape, torch.uint8)
    tail = corrupt(images[BLOCK:], name, 2, Draws(KEY, BLOCK + 9, start=BLOCK))
    assert torch.equal(tail, whole[BLOCK:])
    few = corrupt(images[:5], name, 2, Draws(KEY, 5))
    assert torch.equal(few, whole[:5])


def test_noise_grows_from_strength_to_strength() -> None:
    """The same draw at every strength, where no pixel is clipped."""
    weak, strong = (
        corrupt(flat(64, 128), "noise", strength, Draws(KEY, 64)).double() - 128
        for strength in (1, 2)
    )
    inside = (strong.abs() < 127) & (weak.abs() < 127)
    assert (strong / NOISE[1] - weak / NOISE[0])[inside].abs().max() < 0.5 / 0.12 + 0.5 / 0.08 + 0.1


def test_other_draws_are_another_corruption() -> None:
    images = photos(64, 1, 28, 28)
    for name in ("noise", "occlusion"):
        made = [corrupt(images, name, 2, Draws(KEY.fold(k), 64)) for k in (0, 1)]
        assert not torch.equal(*made)


@pytest.mark.parametrize("strength", [-1, 0, 6])
def test_other_strengths_are_refused(strength: int) -> None:
    with pytest.raises(ValueError, match="must be 1 to 5"):
        corrupt(photos(1, 1, 8, 8), "noise", strength, Draws(KEY, 1))
    with pytest.raises(KeyError):
        corrupt(photos(1, 1, 8, 8), "fog", 1, Draws(KEY, 1))
