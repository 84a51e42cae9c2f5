"""Average precision against pycocotools, on whole sets and on resamples of their images."""

import contextlib
import io
import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from reprise.dense import precision
from reprise.dense.precision import NEITHER, NONE, RIGHT, WRONG, Image, Verdicts, ap, match

ALL = (0.0, 1e10)
SIZES = (ALL, (0.0, 300.0), (300.0, 600.0), (600.0, 1e10))
NAMES = ("all", "small", "medium", "large")
COLUMNS = {  # of COCOeval's stats: range of areas, thresholds
    0: (0, slice(None)),
    1: (0, slice(0, 1)),
    2: (0, slice(5, 6)),
    3: (1, slice(None)),
    4: (2, slice(None)),
    5: (3, slice(None)),
}
Annotations = list[dict[str, Any]]


def scene(seed: int, images: int = 30, classes: int = 5, most: int = 6) -> tuple[Annotations, ...]:
    """Return objects and detections in COCO's form: ties, crowds, empty images, absent classes."""
    generator = np.random.default_rng(seed)
    objects: Annotations = []
    found: Annotations = []

    def box() -> list[float]:
        corner, sides = generator.integers(0, 40, 2), generator.integers(8, 36, 2)
        return [float(x) for x in (*corner, *sides)]

    def add(into: Annotations, image: int, kind: int, bbox: list[float], **more: Any) -> None:
        known = {"id": len(into) + 1, "image_id": image, "category_id": kind, "bbox": bbox}
        into.append({**known, "area": bbox[2] * bbox[3], "iscrowd": 0, **more})

    for image in range(images):
        for _ in range(int(generator.integers(0, most))):
            # The last class has no object, the one before no detection.
            kind, bbox = int(generator.integers(classes - 1)), box()
            add(objects, image, kind, bbox, iscrowd=int(generator.random() < 0.15))
            for _ in range(int(generator.integers(0, 3)) if kind < classes - 2 else 0):
                near = [float(x) for x in np.array(bbox) + generator.integers(-2, 3, 4)]
                add(found, image, kind, near, score=float(np.float32(generator.integers(9) / 8)))
        for _ in range(int(generator.integers(0, most))):
            kind = int(generator.choice([*range(classes - 2), classes - 1]))
            add(found, image, kind, box(), score=float(np.float32(generator.integers(9) / 8)))
    return objects, found


def coco_stats(objects: Annotations, found: Annotations, images: int, classes: int) -> COCOeval:
    """Evaluate with COCO's own code."""
    sets = []
    for annotations in (objects, found):
        one = COCO()
        one.dataset = {
            "images": [{"id": image} for image in range(images)],
            "categories": [{"id": kind} for kind in range(classes)],
            "annotations": [dict(annotation) for annotation in annotations],
        }
        with contextlib.redirect_stdout(io.StringIO()):
            one.createIndex()
        sets.append(one)
    evaluated = COCOeval(*sets, "bbox")
    evaluated.params.areaRng, evaluated.params.areaRngLbl = [list(s) for s in SIZES], list(NAMES)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluated.evaluate()
        evaluated.accumulate()
        evaluated.summarize()
    return evaluated


def images_of(objects: Annotations, found: Annotations, count: int) -> list[Image]:
    made = []
    for number in range(count):
        own = [a for a in objects if a["image_id"] == number]
        mine = sorted((a for a in found if a["image_id"] == number), key=lambda a: -a["score"])
        crowd = np.array([a["iscrowd"] for a in own], bool)
        overlaps = np.zeros((len(mine), len(own)))
        if mine and own:
            boxes = [[a["bbox"] for a in side] for side in (mine, own)]
            overlaps = coco_mask.iou(*boxes, crowd.astype(int).tolist())
        kinds, areas = (
            [np.array([a[name] for a in side], kind) for side in (mine, own)]
            for name, kind in (("category_id", np.int64), ("area", np.float64))
        )
        scores = np.array([a["score"] for a in mine], np.float32)
        made.append(Image(kinds[0], scores, areas[0], kinds[1], areas[1], crowd, overlaps))
    return made


def verdicts_of(objects: Annotations, found: Annotations, images: int, classes: int) -> Verdicts:
    return match(images_of(objects, found, images), classes, SIZES)


@pytest.mark.parametrize("seed", range(8))
def test_every_average_precision_is_cocos_to_the_last_bit(seed: int) -> None:
    objects, found = scene(seed)
    expected = coco_stats(objects, found, 30, 5).stats
    verdicts = verdicts_of(objects, found, 30, 5)
    ours = [ap(verdicts.statistics(*column)) / 100 for column in COLUMNS.values()]
    assert ours == [pytest.approx(value, abs=0, rel=4e-16) for value in expected[:6]]
    assert len({*ours}) == 6


@pytest.mark.parametrize("seed", range(4))
def test_curves_are_cocos(seed: int) -> None:
    objects, found = scene(seed)
    expected = coco_stats(objects, found, 30, 5).eval["precision"]  # [T, R, K, A, M]
    verdicts = verdicts_of(objects, found, 30, 5)
    for size in range(len(SIZES)):
        curves = precision.precisions(verdicts.statistics(size))
        np.testing.assert_array_equal(curves, expected[:, :, :, size, 2])
    assert (curves[:, :, 4] == -1).all()
    assert (curves[:, :, 3] == 0).all()


@pytest.mark.parametrize("seed", range(4))
def test_a_resample_is_what_coco_says_of_those_images(seed: int) -> None:
    objects, found = scene(seed)
    drawn = np.random.default_rng(seed).integers(30, size=30)
    copies = []
    for annotations in (objects, found):
        copies.append(
            [
                {**annotation, "image_id": place}
                for place, image in enumerate(drawn)
                for annotation in annotations
                if annotation["image_id"] == image
            ]
        )
        for number, annotation in enumerate(copies[-1]):
            annotation["id"] = number + 1
    expected = coco_stats(copies[0], copies[1], 30, 5).stats
    rows = verdicts_of(objects, found, 30, 5)
    ours = [ap(rows.statistics(*column)[drawn]) / 100 for column in COLUMNS.values()]
    np.testing.assert_allclose(ours, expected[:6], rtol=1e-12)


def test_a_class_that_a_resample_lacks_is_left_out() -> None:
    objects, found = scene(1)
    rows = verdicts_of(objects, found, 30, 5).statistics(0)
    without = np.flatnonzero(rows["positives"][:, 0] == 0)
    kept = precision.class_ap(rows[without])
    assert np.isnan(kept[:2]).tolist() == [True, False]
    assert ap(rows[without]) == pytest.approx(np.nanmean(kept))


def test_the_matching_by_hand() -> None:
    """Two objects and a crowd of class 1; IoU 0.7 with the first, or with the crowd alone."""
    overlaps = np.array([[0.7, 0.0, 0.0]] * 3 + [[0.0, 0.0, 0.9], [0.0, 0.0, 0.8]])
    one = Image(
        kinds=np.array([1, 2, 1, 1, 1]),
        scores=np.array([0.9, 0.85, 0.8, 0.7, 0.6], np.float32),
        areas=np.full(5, 100.0),
        object_kinds=np.array([1, 1, 1]),
        object_areas=np.full(3, 100.0),
        crowd=np.array([False, False, True]),
        overlaps=overlaps,
    )
    none = np.zeros(0)
    empty = Image(
        *(none.astype(int), none.astype(np.float32), none, none.astype(int), none),
        *(none.astype(bool), np.zeros((0, 0))),
    )
    found = match([one, empty], classes=3, sizes=[ALL])
    # IoU 0.5: another class finds nothing there, nor does a second detection; crowds do not count.
    assert found.states[:, 0, 0].tolist() == [RIGHT, WRONG, WRONG, NEITHER, NEITHER]
    assert found.states[:, 0, 5].tolist() == [WRONG, WRONG, WRONG, NEITHER, NEITHER]  # IoU 0.75
    assert found.positives[:, 0].tolist() == [[0, 2, 0], [0, 0, 0]]
    # Half of the objects are found, with the highest score: 51 of 101 recalls have precision 1.
    assert ap(found.statistics(0, slice(0, 1))) == pytest.approx(100 * 51 / 101)
    rows = found.statistics(0, slice(0, 1))
    assert rows["kind"].tolist() == [[1, 2, 1], [NONE] * 3]  # what is neither is not kept


def test_nothing_found_and_nothing_to_be_found() -> None:
    objects, found = scene(0)
    assert ap(verdicts_of(objects, [], 30, 5).statistics(0)) == 0.0
    assert coco_stats(objects, found[:1], 30, 5).stats[0] < 0.02
    assert ap(verdicts_of([], found, 30, 5).statistics(0)) == 0.0
    empty = verdicts_of([], [], 3, 5).statistics(0)
    assert (len(empty), ap(empty)) == (3, 0.0)


@pytest.mark.parametrize("bad", [np.zeros(3), np.zeros((2, 4), np.uint8)])
def test_other_arrays_are_refused(bad: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match="statistics of images"):
        ap(bad)


def test_blocks_of_memory_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    objects, found = scene(2)
    whole = verdicts_of(objects, found, 30, 5)
    monkeypatch.setattr(precision, "BLOCK", 500)
    parts = verdicts_of(objects, found, 30, 5)
    np.testing.assert_array_equal(whole.states, parts.states)


def test_statistics_survive_a_file() -> None:
    rows = verdicts_of(*scene(3), 30, 5).statistics(0)
    stream = io.BytesIO()
    np.savez_compressed(stream, ap=rows)
    stream.seek(0)
    again = np.load(stream, allow_pickle=False)["ap"]
    assert ap(again) == ap(rows)


def test_matching_is_faster_than_cocos() -> None:
    objects, found = scene(4, images=150, most=10)
    images = images_of(objects, found, 150)
    started = time.process_time()
    coco_stats(objects, found, 150, 5)
    middle = time.process_time()
    ap(match(images, 5, SIZES).statistics(0))
    assert time.process_time() - middle < (middle - started) / 2
