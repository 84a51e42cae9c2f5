"""Dense labels of any data set: masks, boxes and instances of scenes, and shares of labels."""

import pytest
import torch

from reprise.data.base import ArraySet
from reprise.data.dense import Some, detection, segmentation, some
from reprise.data.sets.fashion_scenes import SceneSet
from reprise.errors import ConfigError
from reprise.training.seeding import Key

KEY = Key((0, "labels"))


def scenes() -> SceneSet:
    """Two scenes of 6x8 pixels: two garments of one class that overlap, and a single one."""
    masks = torch.zeros(2, 6, 8, dtype=torch.uint8)
    masks[0, 1:4, 1:5] = 2
    masks[0, 2:6, 3:8] = 2
    masks[1, 0:2, 0:2] = 1
    boxes = torch.full((2, 3, 5), -1, dtype=torch.int16)
    boxes[0, 0] = torch.tensor([1, 1, 1, 5, 4])
    boxes[0, 1] = torch.tensor([1, 3, 2, 8, 6])
    boxes[1, 0] = torch.tensor([0, 0, 0, 2, 2])
    return SceneSet(
        name="scenes",
        split="clip",
        images=torch.arange(2 * 3 * 6 * 8).remainder(256).to(torch.uint8).view(2, 3, 6, 8),
        labels=torch.tensor([1, 0]),
        classes=("shirt", "shoe"),
        digest="d",
        texts={},
        masks=masks,
        boxes=boxes,
        counts=torch.tensor([2, 1]),
        unseen=torch.zeros(2, dtype=torch.bool),
        photos=torch.zeros(2, 3, dtype=torch.int64),
    )


def test_scenes_have_a_background_before_their_classes() -> None:
    data = scenes()
    found = segmentation(data)
    assert found.names == ("background", "shirt", "shoe")
    assert found.extents.tolist() == [[6, 8]] * 2
    images, masks = found.fetch(torch.tensor([1, 0]))
    assert torch.equal(images, data.images[[1, 0]])
    assert torch.equal(masks, data.masks[[1, 0]])
    assert segmentation(found) is found


def test_a_view_is_the_image_set_it_shows() -> None:
    data = scenes()
    for view in (segmentation(data), detection(data), Some(data, torch.tensor([0, 1]))):
        for member in ("name", "split", "digest", "classes", "channels", "size"):
            assert getattr(view, member) == getattr(data, member)
        assert torch.equal(view.labels, data.labels)
        assert len(view) == 2


def test_scenes_have_boxes_and_a_mask_of_each_garment() -> None:
    data = scenes()
    found = detection(data)
    assert found.names == ("shirt", "shoe")
    assert detection(found) is found
    assert torch.equal(found.fetch(torch.tensor([0]))[1], data.boxes[:1].float())
    assert not found.crowd.any()
    assert found.crowd.shape == (2, 3)
    assert found.outlined.all()
    first, second = found.instances(0)
    wanted = torch.zeros(6, 8, dtype=torch.uint8)
    wanted[1:4, 1:5] = 1
    assert torch.equal(first, wanted)
    wanted = torch.zeros(6, 8, dtype=torch.uint8)
    wanted[2:6, 3:8] = 1
    assert torch.equal(second, wanted)
    assert found.areas(0).tolist() == [12, 20]
    assert found.areas(1).tolist() == [4]


def test_a_set_without_dense_labels_is_refused_by_name() -> None:
    plain = ArraySet("digits", "train", torch.zeros(1, 1, 2, 2), torch.zeros(1), ("a",), "d")
    with pytest.raises(ConfigError, match="'digits' has no semantic masks"):
        segmentation(plain)
    with pytest.raises(ConfigError, match="'digits' has no boxes"):
        detection(plain)


def test_shares_are_nested_sorted_and_a_function_of_the_key() -> None:
    small, large = some(1000, 0.1, KEY), some(1000, 0.35, KEY)
    assert len(small) == 100
    assert len(large) == 350
    assert set(small.tolist()) < set(large.tolist())
    assert torch.equal(small, small.sort().values)
    assert torch.equal(small, some(1000, 0.1, KEY))
    assert not torch.equal(small, some(1000, 0.1, Key((1, "labels"))))
    assert torch.equal(some(7, 1.0, KEY), torch.arange(7))
    assert len(some(7, 0.01, KEY)) == 1
    for wrong in (0.0, -0.5, 1.5):
        with pytest.raises(ConfigError, match="share of labels"):
            some(10, wrong, KEY)


def test_some_images_are_those_chosen() -> None:
    data = segmentation(scenes())
    view = Some(data, torch.tensor([1]))
    assert len(view) == 1
    assert view.labels.tolist() == [0]
    for own, wanted in zip(
        view.fetch(torch.tensor([0])), data.fetch(torch.tensor([1])), strict=True
    ):
        assert torch.equal(own, wanted)
