"""Metrics that depend on sums over images alone: their bootstrap adds rows up instead of gathering.

A resample of images is how often each is drawn. Where a metric is a function of the sum of its
statistics' rows, those of all resamples are one matrix product, some twenty times as fast.
"""

import functools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from reprise import reduce
from reprise.captions import corpus
from reprise.reduce import Statistics

BLOCK = 8_000_000  # drawn numbers in memory at once


@functools.lru_cache(maxsize=2)
def draws(n: int, resamples: int) -> NDArray[np.uint16]:
    """Return how often each of n images is in each resample, uint16 [resamples, n]."""
    generator = np.random.default_rng(0)
    counts = np.empty((resamples, n), np.uint16)
    for row in counts:
        row[:] = np.bincount(generator.integers(n, size=n), minlength=n)
    return counts


def values(name: str, statistics: Statistics, resamples: int) -> NDArray[np.float64] | None:
    """Return a metric of each resample, float64 [resamples]; None where it needs more than sums."""
    columns = _columns(name, statistics)
    if columns is None:
        return None
    n = len(columns)
    sums = np.concatenate(
        [
            part.astype(np.float64) @ columns
            for part in np.array_split(draws(n, resamples), -(-resamples * n // BLOCK))
        ]
    )
    if columns.shape[1] == 1:  # a mean of one number an image
        return np.array([reduce.apply(name, row) for row in sums / n])
    return np.array([reduce.apply(name, row[None]) for row in sums])


def _columns(name: str, statistics: Statistics) -> NDArray[np.float64] | None:
    """Return what is to be summed, [n, c], such that the metric of the sums is that of the rows."""
    family, _, own = name.rpartition(".")
    if family in ("", "captions") and own in ("mean", "image_mean", "image_mean_points"):
        return np.asarray(statistics, np.float64)[:, None]
    if name.startswith("dense.confusion."):  # pixel counts of the whole set are sums over images
        return np.asarray(statistics, np.float64).reshape(len(statistics), -1)
    for kind, columns in _CORPUS.items():
        if family == "captions" and own.startswith(kind):
            return columns(np.asarray(statistics, np.float64))
    return None


def _meteor(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """An image that is perfect adds no chunk; what the reducer drops from rows is dropped here."""
    rows = rows.copy()
    rows[corpus.perfect(rows), corpus.CHUNKS] = 0.0
    return rows


_CORPUS: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "bleu_": lambda rows: rows,
    "meteor": _meteor,
}
