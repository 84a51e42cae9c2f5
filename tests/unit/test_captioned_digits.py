"""Captioned digits: what is said of a scan is what it shows, and no scan is in two splits."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from reprise.data.base import load, prepare
from reprise.data.captioned import CaptionedSet
from reprise.data.sets.captioned_digits import NAMES
from reprise.errors import ConfigError

SPLITS = {"clip": 719, "text": 719, "val": 179, "test": 180}


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, CaptionedSet]:
    root, found = tmp_path_factory.mktemp("data"), {}
    prepare("captioned_digits", root, {}, lambda _: None)
    for split in SPLITS:
        data = load("captioned_digits", split, root, {})
        assert isinstance(data, CaptionedSet)
        found[split] = data
    return found


def test_splits_hold_every_scan_once(splits: dict[str, CaptionedSet]) -> None:
    assert {split: len(data) for split, data in splits.items()} == SPLITS
    images = torch.cat([data.images for data in splits.values()]).flatten(1)
    # A negative is the scan again, so every scan is counted the right way round.
    turned = torch.tensor(
        ["white" in data.captions(i)[0] for data in splits.values() for i in range(len(data))]
    )
    images[turned] = 255 - images[turned]
    scans = torch.from_numpy(load_digits().images).float().unsqueeze(1)
    larger = torch.nn.functional.interpolate(scans, (16, 16), mode="bilinear") * 255 / 16
    expected = larger.expand(-1, 3, -1, -1).flatten(1)
    rows = {tuple(row) for row in images.tolist()}
    assert rows == {tuple(row) for row in expected.round().int().tolist()}
    assert len(images) == len(scans)


def test_captions_are_true(splits: dict[str, CaptionedSet]) -> None:
    for data in splits.values():
        for index in range(0, len(data), 7):
            name = NAMES[int(data.labels[index])]
            edge = float(data.images[index, :, :, 0].float().mean())
            ground = "white" if edge > 127 else "black"
            plain = data.captions(index)
            assert plain[0].startswith(("a bold", "a thin"))
            assert plain[0].endswith(f" {name} on a {ground} ground.")
            assert plain[2] == f"here is a {name}."
            assert f" {name}, like a bird on {ground} snow" in data.captions(index, "poetic")[0]
            assert [len(data.captions(index, style)) for style in data.styles] == [3, 1, 1]


def test_a_bold_digit_took_more_ink_than_half_of_its_split(splits: dict[str, CaptionedSet]) -> None:
    for data in splits.values():
        ink, bold = [], []
        for index in range(len(data)):
            first, image = data.captions(index)[0], data.images[index, 0].float()
            ink.append(float((255 - image if "white" in first else image).mean()))
            bold.append("bold" in first)
        chosen = np.array(bold)
        assert 0.4 < chosen.mean() <= 0.5
        assert np.array(ink)[chosen].min() > np.array(ink)[~chosen].max() - 0.5  # of rounded pixels


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="data set 'captioned_digits': args"):
        prepare("captioned_digits", tmp_path, {"size": 4}, lambda _: None)
