"""From pixels to mIoU: what an image's masks agree on is counted, and the counts are added up.

An image's statistics are three numbers per class, in pixels that have a label: those of the class
in both masks, in the true one, in the predicted one. IoU and accuracies of any set of images follow
from the sums. Only numpy is imported, as by `reprise.reduce`.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Statistics = NDArray[np.generic]
Sums = NDArray[np.float64]

KINDS = 3  # pixels of a class in both masks, in the truth, in the prediction


def count(
    truth: NDArray[np.uint8], predicted: NDArray[np.uint8], classes: int
) -> NDArray[np.int32]:
    """Return the pixels int32 [B, 3, classes] of masks uint8 [B, H, W].

    Pixels whose truth is ``classes`` or more, such as those without a label, are left out, whatever
    is predicted there. Raises ValueError where a prediction that counts is no class.
    """
    counts = np.zeros((len(truth), KINDS, classes), np.int32)
    kinds = classes + 1  # the last one: no class
    for own, *masks in zip(counts, truth, predicted, strict=True):
        rows, columns = (np.minimum(mask, classes).astype(np.intp) for mask in masks)
        cells = np.bincount((rows * kinds + columns).ravel(), minlength=kinds**2)
        table = cells.reshape(kinds, kinds)[:classes]
        if table[:, classes].any():
            raise ValueError(f"a predicted mask has values of {classes} or more")
        own[:] = table.diagonal(), table.sum(axis=1), table[:, :classes].sum(axis=0)
    return counts


def miou(statistics: Statistics) -> float:
    """Return the mean over classes of intersection over union, in percent.

    ``statistics`` are counts [n, 3, classes] of n images, or these in rows [n, 3 * classes]. As in
    mmsegmentation, pixels of all images are added up first, and a class that is in no truth and no
    prediction is left out of the mean; NaN where that leaves none. ValueError for other shapes.
    """
    both, truth, predicted = _sums("miou", statistics)
    return _mean_share(both, truth + predicted - both)


def mean_accuracy(statistics: Statistics) -> float:
    """Return the mean over the classes that the truth has of the pixels found, in percent."""
    both, truth, _ = _sums("mean_accuracy", statistics)
    return _mean_share(both, truth)


def pixel_accuracy(statistics: Statistics) -> float:
    """Return the share of labelled pixels whose class is found, in percent."""
    both, truth, _ = _sums("pixel_accuracy", statistics)
    return _mean_share(both.sum(keepdims=True), truth.sum(keepdims=True))


def class_iou(statistics: Statistics) -> Sums:
    """Return each class's intersection over union, float64 [classes], in percent; NaN: absent."""
    both, truth, predicted = _sums("class_iou", statistics)
    return _shares(both, truth + predicted - both)


def _sums(name: str, statistics: Statistics) -> Sums:
    """Return the counts of all images together, float64 [3, classes], which holds them exactly."""
    fits = statistics.ndim in (2, 3) and len(statistics) > 0 and statistics.dtype.kind in "iuf"
    fits = fits and (statistics.shape[1] == KINDS or statistics.ndim == 2)
    if not fits or statistics[0].size == 0 or statistics[0].size % KINDS:
        raise ValueError(f"{name} needs pixel counts [n, {KINDS}, classes] of n images")
    sums: Sums = statistics.sum(axis=0, dtype=np.float64).reshape(KINDS, -1)
    if (sums[0] > sums[1:]).any() or (sums < 0).any():
        raise ValueError(f"{name}: more pixels in both masks than in one of them")
    return sums


def _shares(part: Sums, whole: Sums) -> Sums:
    shares = np.full_like(part, np.nan)
    np.divide(100.0 * part, whole, out=shares, where=whole > 0)
    return shares


def _mean_share(part: Sums, whole: Sums) -> float:
    shares = _shares(part, whole)
    present = shares[~np.isnan(shares)]
    return float(present.mean()) if len(present) else float("nan")


REDUCERS: dict[str, Callable[[Statistics], float]] = {
    "miou": miou,
    "mean_accuracy": mean_accuracy,
    "pixel_accuracy": pixel_accuracy,
}
