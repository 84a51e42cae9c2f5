"""Scenes of digits: their masks, boxes and outlines say the same, and splits share no scan."""

from pathlib import Path

import pytest
import torch

from reprise.data.base import load, prepare
from reprise.data.dense import Detection, Segmentation, detection, segmentation


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("data")
    prepare("digit_scenes", place, {"size": 32}, lambda _: None)
    return place


def both(home: Path, split: str) -> tuple[Segmentation, Detection]:
    data = load("digit_scenes", split, home, {"size": 32})
    return segmentation(data), detection(data)


@pytest.mark.parametrize(("split", "count"), [("train", 1437), ("test", 360)])
def test_masks_boxes_and_outlines_agree(home: Path, split: str, count: int) -> None:
    masks, objects = both(home, split)
    assert len(masks) == len(objects) == count
    assert masks.names == ("background", *map(str, range(10)))
    for index in range(0, count, 7):
        own, boxes = objects.instances(index), objects.boxes[index]
        present = boxes[boxes[:, 0] >= 0]
        assert 1 <= len(present) == len(own)
        assert present[0, 0] == masks.labels[index]
        total = torch.zeros(32, 32, dtype=torch.uint8)
        for mask, (kind, *sides) in zip(own, present.long().tolist(), strict=True):
            rows, columns = mask.any(1).nonzero().squeeze(1), mask.any(0).nonzero().squeeze(1)
            assert sides == [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
            total += mask * (kind + 1)
        assert torch.equal(total, masks.masks[index])
        assert objects.areas(index).tolist() == own.sum((1, 2)).tolist()


def test_pixels_of_a_digit_are_those_with_ink(home: Path) -> None:
    masks, _ = both(home, "test")
    images, labelled = masks.fetch(torch.arange(20))
    bright = images.amax(1)
    assert bright[labelled > 0].min() > bright[labelled == 0].float().mean()
    assert (labelled > 0).float().mean() > 0.1


def test_half_of_the_scenes_show_two(home: Path) -> None:
    _, objects = both(home, "train")
    assert 0.4 < (objects.boxes[:, 1, 0] >= 0).float().mean() < 0.6
