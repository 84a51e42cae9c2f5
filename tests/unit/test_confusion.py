"""Pixel counts and what is made of them, against torchmetrics and by hand."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

import reprise.dense  # noqa: F401  (makes the reduce functions known)
from reprise import intervals, reduce, resampling
from reprise.dense import NAMES, REDUCERS, confusion

CLASSES = 5
IGNORE = 255

Masks = NDArray[np.uint8]


def masks(n: int = 12, seed: int = 0) -> tuple[Masks, Masks]:
    """Masks in which some pixels have no label, and predictions that are right for about half."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(CLASSES, size=(n, 9, 7)).astype(np.uint8)
    wrong = generator.integers(CLASSES, size=truth.shape).astype(np.uint8)
    predicted = np.where(generator.random(truth.shape) < 0.4, truth, wrong)
    truth[generator.random(truth.shape) < 0.2] = IGNORE
    return truth, predicted


def test_counts_are_those_of_a_plain_loop() -> None:
    truth, predicted = masks()
    counts = confusion.count(truth, predicted, CLASSES)
    assert counts.dtype == np.int32
    for image in range(len(truth)):
        for kind in range(CLASSES):
            shown = truth[image] == kind
            said = (predicted[image] == kind) & (truth[image] != IGNORE)
            by_hand = [(shown & said).sum(), shown.sum(), said.sum()]
            assert counts[image, :, kind].tolist() == by_hand


def test_metrics_are_torchmetrics() -> None:
    truth, predicted = masks()
    counts = confusion.count(truth, predicted, CLASSES)
    given = torch.from_numpy(predicted).long(), torch.from_numpy(truth).long()
    for name, theirs in (
        ("miou", MulticlassJaccardIndex(CLASSES, ignore_index=IGNORE)),
        ("mean_accuracy", MulticlassAccuracy(CLASSES, average="macro", ignore_index=IGNORE)),
        ("pixel_accuracy", MulticlassAccuracy(CLASSES, average="micro", ignore_index=IGNORE)),
    ):
        found = reduce.apply(f"dense.confusion.{name}", counts)
        assert found == pytest.approx(100 * theirs(*given).item(), rel=1e-5)
    each = MulticlassJaccardIndex(CLASSES, average="none", ignore_index=IGNORE)(*given)
    assert confusion.class_iou(counts) == pytest.approx(100 * each.numpy(), rel=1e-5)


def test_a_small_case_by_hand() -> None:
    """Class 0: 2 of 3 pixels found, 1 too many. Class 1: found, 1 too many. Class 2: missed.
    Class 3 is only predicted. Class 4 is nowhere and counts for nothing."""
    truth = np.array([[[0, 0, 0, 1], [2, 2, IGNORE, IGNORE]]], np.uint8)
    predicted = np.array([[[0, 0, 1, 1], [0, 3, 4, 1]]], np.uint8)
    counts = confusion.count(truth, predicted, CLASSES)
    assert counts.tolist() == [[[2, 1, 0, 0, 0], [3, 1, 2, 0, 0], [3, 2, 0, 1, 0]]]
    each = confusion.class_iou(counts)
    assert each[:4].tolist() == pytest.approx([50, 50, 0, 0])
    assert np.isnan(each[4])
    assert confusion.miou(counts) == pytest.approx(100 / 4)
    assert confusion.mean_accuracy(counts) == pytest.approx(100 * (2 / 3 + 1 + 0) / 3)
    assert confusion.pixel_accuracy(counts) == pytest.approx(100 * 3 / 6)


def test_a_resample_is_the_set_of_its_images() -> None:
    """Counts are added up over images, not averaged; and rows that are sums are as good."""
    truth, predicted = masks()
    counts = confusion.count(truth, predicted, CLASSES)
    chosen = np.random.default_rng(3).integers(len(truth), size=len(truth))
    one = np.concatenate(list(truth[chosen]))[None]
    other = np.concatenate(list(predicted[chosen]))[None]
    for name, function in confusion.REDUCERS.items():
        whole = function(confusion.count(one, other, CLASSES))
        assert reduce.apply(f"dense.confusion.{name}", counts[chosen]) == pytest.approx(whole)
        summed = counts[chosen].sum(axis=0, dtype=np.float64).reshape(1, -1)
        assert function(summed) == pytest.approx(whole)
    mean = np.mean([confusion.miou(image[None]) for image in counts])
    assert confusion.miou(counts) != pytest.approx(mean, rel=1e-3)


def test_intervals_resample_images() -> None:
    truth, predicted = masks()
    counts = confusion.count(truth, predicted, CLASSES)
    found = intervals.estimate("dense.confusion.miou", [counts])
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high
    assert found.kind == "test images, 1 seed"
    assert found.value == confusion.miou(counts)


def test_classes_that_are_nowhere_leave_nothing() -> None:
    assert np.isnan(confusion.miou(np.zeros((2, 3, 1), np.int32)))
    assert np.isnan(confusion.class_iou(np.zeros((2, 3, 2), np.int32))).all()


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((0, 3, 2), np.int32),
        np.zeros((4, 2, 3), np.int32),
        np.zeros((4, 7), np.int32),
        np.zeros(6, np.int32),
        np.array([["a", "b", "c"]]),
        np.array([[[2, 0], [1, 0], [5, 0]]]),  # more in both masks than in the true one
        np.array([[[-1, 0], [1, 0], [5, 0]]]),
    ],
)
@pytest.mark.parametrize("name", confusion.REDUCERS)
def test_what_is_no_counts_is_refused(name: str, wrong: NDArray[np.generic]) -> None:
    with pytest.raises(ValueError, match=name):
        confusion.REDUCERS[name](wrong)


def test_a_prediction_that_is_no_class_is_refused() -> None:
    truth = np.zeros((1, 2, 2), np.uint8)
    with pytest.raises(ValueError, match="values of 3 or more"):
        confusion.count(truth, truth + 3, 3)
    unlabelled = np.full_like(truth, IGNORE)
    assert not confusion.count(unlabelled, truth + 3, 3).any()


def test_all_functions_are_found_under_their_names() -> None:
    assert set(NAMES["confusion"]) == set(confusion.REDUCERS)
    assert reduce.is_per_image("dense.confusion.miou")
    assert "confusion.miou" in REDUCERS


@pytest.mark.parametrize("name", ["miou", "mean_accuracy", "pixel_accuracy"])
def test_resamples_by_sums_are_resamples_of_images(name: str) -> None:
    generator = np.random.default_rng(3)
    truth, found = generator.integers(0, 5, (2, 12, 16, 16)).astype(np.uint8)
    counts = confusion.count(truth, np.where(generator.random(truth.shape) < 0.6, truth, found), 5)
    fast = resampling.values(f"dense.confusion.{name}", counts, 20)
    times = resampling.draws(len(counts), 20)
    slow = [
        reduce.apply(f"dense.confusion.{name}", np.repeat(counts, row, axis=0)) for row in times
    ]
    np.testing.assert_allclose(fast, slow, rtol=1e-12)
