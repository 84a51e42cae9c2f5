"""Tinted digits: the grey scans, each times a colour of its own, in the same splits."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from reprise.data.base import ImageSet, load, prepare
from reprise.errors import DataError

GREY = {"size": 8}
TINTED = {"size": 8, "colour": True}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    prepare("digits", root, GREY, lambda _: None)
    prepare("digits", root, TINTED, lambda _: None, "tinted")
    return root


def tinted(root: Path, split: str = "train") -> ImageSet:
    return load("digits", split, root, TINTED, "tinted")


def whole(data: ImageSet) -> tuple[Tensor, Tensor]:
    return data.fetch(torch.arange(len(data)))


@pytest.mark.parametrize("split", ["train", "test"])
def test_each_image_is_the_scan_in_one_colour(root: Path, split: str) -> None:
    """Least squares finds the colour of each image and leaves rounding alone."""
    grey, labels = whole(load("digits", split, root, GREY))
    coloured, same = whole(tinted(root, split))
    assert coloured.dtype == torch.uint8
    assert coloured.shape == (len(grey), 3, 8, 8)
    assert torch.equal(labels, same)
    ink, paint = grey.double().flatten(2), coloured.double().flatten(2)
    colours = (ink * paint).sum(2) / (ink * ink).sum(2)
    # Both were rounded, and so the colour that is found is a little off.
    assert (paint - colours[..., None] * ink).abs().max() < 1.25
    assert colours.min() >= 0
    assert colours.max() < 1.01
    assert colours.mean(0).tolist() == pytest.approx([0.5] * 3, abs=0.05)
    assert colours.std(0).tolist() == pytest.approx([12**-0.5] * 3, abs=0.03), "uniform"
    assert torch.corrcoef(colours.T).fill_diagonal_(0).abs().max() < 0.15


def test_colours_tell_nothing_of_the_digit(root: Path) -> None:
    images, labels = whole(tinted(root))
    brightest = images.amax((2, 3)).double()
    of_digit = torch.stack([brightest[labels == digit].mean(0) for digit in range(10)])
    assert of_digit.std(0).max() < 15  # of 255; the standard error of a mean is 6


def test_they_are_the_same_everywhere(root: Path, tmp_path: Path) -> None:
    prepare("digits", tmp_path, TINTED, lambda _: None)
    again = load("digits", "train", tmp_path, TINTED)
    assert torch.equal(whole(tinted(root))[0], whole(again)[0])
    assert tinted(root).digest == again.digest


def test_tint_is_part_of_what_the_data_are(root: Path) -> None:
    assert tinted(root).digest != load("digits", "train", root, GREY).digest
    assert tinted(root).channels == 3
    assert load("digits", "train", root, GREY).channels == 1
    with pytest.raises(DataError, match="tinted"):
        load("digits", "train", root, GREY, "tinted")
