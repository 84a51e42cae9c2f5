"""Average precision as COCO defines it, from what each image adds to it.

COCO's own code (`pycocotools.cocoeval`) matches the detections of an image with its objects and
then reads, class by class, the precision at 101 recalls off the curve of all images' detections in
the order of their scores. Its matching is a loop in Python over images, classes, sizes, thresholds,
detections and objects; `match` does all but the detections at once. An image's statistics are the
verdicts on its detections, their places in the order and its number of objects, so the curve of any
resample can be drawn. Both halves equal COCO's to the last bit. Only numpy is imported, as by
`reprise.reduce`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

Statistics = NDArray[np.generic]
Rows = NDArray[np.void]  # statistics that are known to be what `Verdicts.statistics` makes

THRESHOLDS = np.linspace(0.5, 0.95, 10)  # of the intersection over union, for a match
RECALLS = np.linspace(0.0, 1.0, 101)
WRONG, RIGHT, NEITHER = (
    0,
    1,
    2,
)  # what a detection is; crowds and objects of other sizes are neither
NONE = -1  # class where an image has no further detection
BLOCK = 4_000_000  # numbers of one array in memory at once

Sizes = Sequence[tuple[float, float]]  # ranges of areas, pixels, both ends included


@dataclass(frozen=True)
class Image:
    """The detections [D] and objects [G] of an image.

    Detections are in the order of falling ``scores``, at most a hundred of a class. ``overlaps``
    [D, G] are intersections over union, with a ``crowd`` object over the detection alone. Areas
    are in pixels.
    """

    kinds: NDArray[np.int64]
    scores: NDArray[np.float32]
    areas: NDArray[np.float64]
    object_kinds: NDArray[np.int64]
    object_areas: NDArray[np.float64]
    crowd: NDArray[np.bool_]
    overlaps: NDArray[np.float64]


@dataclass(frozen=True)
class Verdicts:
    """What the detections of all images are: one row each, image by image.

    ``image``, ``kind`` int64 [N]; ``scores`` float32 [N]; ``states`` uint8 [N, A, T]: WRONG, RIGHT
    or NEITHER in each range of areas at each threshold. ``positives`` uint16 [images, A, classes]
    are the objects to be found.
    """

    image: NDArray[np.int64]
    kind: NDArray[np.int64]
    scores: NDArray[np.float32]
    states: NDArray[np.uint8]
    positives: NDArray[np.uint16]

    def statistics(self, size: int, thresholds: slice = slice(None)) -> Rows:
        """Return an image's statistics in one range of areas, a structured array [images].

        ``kind`` int16 [D], NONE behind an image's last detection; ``rank`` uint32 [D]: its place
        by falling score among all images', equal where scores are; ``state`` uint8 [D, T];
        ``positives`` uint16 [classes]. Detections that are NEITHER at every threshold are left out.
        """
        ranks = np.unique(-self.scores, return_inverse=True)[1].reshape(-1)
        states = self.states[:, size, thresholds]
        # They stay in their order, which decides between equal scores.
        kept = np.flatnonzero((states != NEITHER).any(axis=1))
        each = np.bincount(self.image[kept], minlength=len(self.positives))
        place = np.arange(len(kept)) - np.repeat(np.cumsum(each) - each, each)
        most, classes = max(1, int(each.max(initial=0))), self.positives.shape[2]
        fields: list[Any] = [("kind", np.int16, (most,)), ("rank", np.uint32, (most,))]
        fields += [("state", np.uint8, (most, states.shape[1]))]
        rows = np.zeros(len(self.positives), [*fields, ("positives", np.uint16, (classes,))])
        rows["kind"] = NONE
        at = self.image[kept], place
        rows["kind"][at], rows["rank"][at] = self.kind[kept], ranks[kept]
        rows["state"][at] = states[kept]
        rows["positives"] = self.positives[:, size]
        return rows


def match(images: Sequence[Image], classes: int, sizes: Sizes) -> Verdicts:
    """Match detections with objects as COCO does, in each range of areas at each threshold.

    In the order of its score a detection takes the free object of its class that it overlaps most,
    the last of equals, if that is enough; one that is to be found before one that is not. A crowd
    is never taken. What matches an object that is not to be found is NEITHER, as is a detection
    without a match outside the range. Source: `COCOeval.evaluateImg` of pycocotools 2.0.11.
    """
    limits = np.array(sizes)
    counts = [len(image.scores) for image in images]
    outside = _outside(_joined([image.areas for image in images], np.float64), limits)
    unmatched = np.where(outside.T[..., None], NEITHER, WRONG).astype(np.uint8)
    states = np.repeat(unmatched, len(THRESHOLDS), axis=2)
    starts = np.cumsum([0, *counts])
    for chosen in _blocks(images, len(limits)):
        found = _matched([images[index] for index in chosen], limits)
        for index, own in zip(chosen, found, strict=True):
            states[starts[index] : starts[index + 1]] = own
    return Verdicts(
        np.repeat(np.arange(len(images)), counts),
        _joined([image.kinds for image in images], np.int64),
        _joined([image.scores for image in images], np.float32),
        states,
        _positives(images, classes, limits),
    )


def _positives(
    images: Sequence[Image], classes: int, limits: NDArray[np.float64]
) -> NDArray[np.uint16]:
    """Return the numbers of objects to be found, uint16 [images, A, classes]."""
    counts = [len(image.crowd) for image in images]
    kinds = _joined([image.object_kinds for image in images], np.int64)
    crowd = _joined([image.crowd for image in images], np.bool_)
    areas = _joined([image.object_areas for image in images], np.float64)
    cells = np.repeat(np.arange(len(images)), counts) * classes + kinds
    shape = (len(images), classes)
    each = [
        np.bincount(cells[wanted], minlength=shape[0] * classes).reshape(shape)
        for wanted in ~(crowd | _outside(areas, limits))
    ]
    return np.stack(each, axis=1).astype(np.uint16)


def _joined(parts: Sequence[NDArray[Any]], kind: type) -> NDArray[Any]:
    return np.concatenate([np.zeros(0, kind), *parts])


def _outside(areas: NDArray[np.float64], limits: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return bool [A, ...]: areas outside each range."""
    outside: NDArray[np.bool_] = (areas < limits[:, :1]) | (areas > limits[:, 1:])
    return outside


def _blocks(images: Sequence[Image], sizes: int) -> Iterator[list[int]]:
    """Yield images alike in their numbers, as many as may be in memory at once.

    Those without detection or object, where nothing can match, are in none.
    """
    block: list[int] = []
    both = [index for index, image in enumerate(images) if image.overlaps.size]
    for index in sorted(both, key=lambda i: images[i].overlaps.shape[::-1]):
        cells = sizes * len(THRESHOLDS) * len(images[index].crowd)
        if block and (len(block) + 1) * cells > BLOCK:
            yield block
            block = []
        block.append(index)
    if block:
        yield block


def _matched(images: Sequence[Image], limits: NDArray[np.float64]) -> list[NDArray[np.uint8]]:
    """Return the states uint8 [D, A, T] of each image's detections."""
    most = max(len(image.scores) for image in images)
    objects = max(len(image.crowd) for image in images)
    overlaps = np.full((len(images), most, objects), -1.0)
    crowd = np.zeros((len(images), 1, 1, objects), bool)
    other = np.zeros((len(images), len(limits), 1, objects), bool)
    outside = np.zeros((len(images), len(limits), most), bool)
    for at, image in enumerate(images):
        count, own = image.overlaps.shape
        same = image.kinds[:, None] == image.object_kinds
        overlaps[at, :count, :own] = np.where(same, image.overlaps, -1.0)
        crowd[at, ..., :own] = image.crowd
        other[at, :, 0, :own] = image.crowd | _outside(image.object_areas, limits)
        outside[at, :, :count] = _outside(image.areas, limits)
    enough = np.minimum(THRESHOLDS, 1 - 1e-10)[:, None]
    taken = np.zeros((len(images), len(limits), len(THRESHOLDS), objects), bool)
    states = np.empty((len(images), most, len(limits), len(THRESHOLDS)), np.uint8)
    for number in range(most):
        overlap = overlaps[:, number, None, None, :]
        free = (overlap >= enough) & (~taken | crowd)
        wanted = free & ~other
        found = np.logical_or.reduce(wanted, axis=-1)
        usable = np.where(found[..., None], wanted, free)
        matched = np.logical_or.reduce(usable, axis=-1)
        best = objects - 1 - np.where(usable, overlap, -1.0)[..., ::-1].argmax(axis=-1)
        taken |= matched[..., None] & (np.arange(objects) == best[..., None])
        unmatched = np.where(outside[:, :, number, None], NEITHER, WRONG)
        states[:, number] = np.where(found, RIGHT, np.where(matched, NEITHER, unmatched))
    return [states[at, : len(image.scores)] for at, image in enumerate(images)]


def ap(statistics: Statistics) -> float:
    """Return average precision, in percent, of images' statistics (see `Verdicts.statistics`).

    It is the mean over thresholds, recalls and the classes that have an object to be found; 0 where
    none has. Source: `COCOeval.accumulate` and `summarize` of pycocotools 2.0.11. ValueError for
    other arrays.
    """
    curves = precisions(statistics)
    return 100.0 * float(np.mean(curves[curves > -1])) if (curves > -1).any() else 0.0


def class_ap(statistics: Statistics) -> NDArray[np.float64]:
    """Return each class's average precision, float64 [classes], in percent; NaN: no object."""
    curves = precisions(statistics)
    means: NDArray[np.float64] = 100.0 * curves.mean(axis=(0, 1))
    means[curves[0, 0] < 0] = np.nan
    return means


def precisions(statistics: Statistics) -> NDArray[np.float64]:
    """Return precision at each recall, float64 [T, 101, classes]; -1 for classes without object.

    Along the curve, recall rises where a detection is right, and the best precision at any higher
    recall is that of another right one. So only those are looked at: the j-th has recall
    j / objects.
    """
    rows = cast(Rows, statistics)
    names = ("kind", "rank", "state", "positives")
    if rows.dtype.names != names or rows.ndim != 1:
        raise ValueError("ap needs statistics of images as `match` makes them")
    positives = rows["positives"].sum(axis=0, dtype=np.int64)
    kinds, right, wrong = _in_order(rows, positives)
    thresholds = right.shape[1]
    curves = np.full((thresholds, len(RECALLS), len(positives)), -1.0)
    ends = np.searchsorted(kinds, np.arange(len(positives) + 1))
    for kind in np.flatnonzero(positives):
        own = slice(ends[kind], ends[kind + 1])
        true = np.cumsum(right[own], axis=0, dtype=np.float64)
        false = np.cumsum(wrong[own], axis=0, dtype=np.float64)
        best = np.zeros((thresholds, positives[kind] + 1))
        row, threshold = np.nonzero(right[own])
        j = true[row, threshold]
        best[threshold, j.astype(np.int64) - 1] = j / (false[row, threshold] + j + np.spacing(1))
        best = np.maximum.accumulate(best[:, ::-1], axis=1)[:, ::-1]
        reached = np.arange(1, positives[kind] + 1) / positives[kind]
        curves[:, :, kind] = best[:, np.searchsorted(reached, RECALLS)]
    return curves


def _in_order(
    rows: Rows, positives: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return classes int64 [N] and what is right and wrong, bool [N, T], by class and score."""
    kinds = rows["kind"].reshape(-1)
    kept = np.flatnonzero(kinds != NONE)
    kept = kept[positives[kinds[kept]] > 0]
    ranks = rows["rank"].reshape(-1)[kept].astype(np.int64)
    keys = (kinds[kept].astype(np.int64) << 32) | ranks
    order = np.argsort(keys, kind="stable")
    states = rows["state"].reshape(len(kinds), -1)[kept[order]]
    return keys[order] >> 32, states == RIGHT, states == WRONG


REDUCERS: dict[str, Callable[[Statistics], float]] = {"ap": ap}
