"""From the statistics of images to the score of a corpus: BLEU and METEOR are no means of images.

Every function takes statistics whose first axis is the image, of the whole test set or any
resample of it, and returns the score in pycocoevalcap's unit: a fraction (1 is best), CIDEr up to
10. `scores` makes the statistics. Only numpy is imported, as by `reprise.reduce`.
"""

import functools
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Statistics = NDArray[np.generic]

ORDERS = 4  # n-grams of 1 to 4 words
# Columns of BLEU's statistics: matches of each order, n-grams of each order, candidate's length,
# closest reference's length; all in words, int64.
BLEU_COLUMNS = 2 * ORDERS + 2
# Columns of METEOR's own statistics (counts of words, as its jar prints them): lengths of candidate
# and reference; function words of both; for each of the four kinds of match (exact, stem, synonym,
# paraphrase) content words of both, then function words of both; chunks; matched words of both.
METEOR_COLUMNS = 23
CHUNKS = 20  # its column of chunks

# METEOR 1.5, English, ranking task (Denkowski and Lavie 2014, table 1; the jar's defaults).
ALPHA, BETA, GAMMA, DELTA = 0.85, 0.20, 0.60, 0.75
KINDS = (1.0, 0.6, 0.8, 0.6)  # weight of an exact, stem, synonym and paraphrase match


def bleu(statistics: Statistics, order: int) -> float:
    """Return corpus BLEU of n-grams up to an order (1 to 4) from int64 [n, 10].

    Source: `BleuScorer.compute_score` of pycocoevalcap 1.2, option "closest", with its small
    constants, so the whole test set gives its number to the last bit. ValueError for other shapes.
    """
    sums = [int(value) for value in _rows("BLEU", statistics, BLEU_COLUMNS).sum(axis=0)]
    correct, guessed = sums[:ORDERS], sums[ORDERS : 2 * ORDERS]
    candidate, reference = sums[2 * ORDERS :]
    product = 1.0
    for k in range(order):
        product *= (correct[k] + 1e-15) / (guessed[k] + 1e-9)
    ratio = (candidate + 1e-15) / (reference + 1e-9)
    # exp(1 - 1/ratio) is 0 for candidates of no word at all, where its argument is far below zero
    brevity = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    return float(product ** (1.0 / order)) * brevity


def meteor(statistics: Statistics) -> float:
    """Return corpus METEOR 1.5 from its own statistics, [n, 23] of whole numbers.

    Source: `MeteorStats.addStats` and `MeteorScorer.computeMetrics` of METEOR 1.5: counts are
    summed over images, then weighted, so it is not the mean of the images' scores. ValueError for
    other shapes.
    """
    rows = _rows("METEOR", statistics, METEOR_COLUMNS)
    sums = rows.sum(axis=0)
    # A candidate that is its reference word for word adds no chunk to the corpus.
    sums[CHUNKS] -= rows[perfect(rows), CHUNKS].sum()
    weights = np.array(KINDS)
    matches = sums[4:20].reshape(len(KINDS), 2, 2)  # [kind, content or function, candidate or ref.]
    weighted = DELTA * (weights @ matches[:, 0]) + (1 - DELTA) * (weights @ matches[:, 1])
    lengths = DELTA * (sums[0:2] - sums[2:4]) + (1 - DELTA) * sums[2:4]
    if not (weighted > 0).all():
        return 0.0  # the jar's answer where its own formula divides by zero
    precision, recall = weighted / lengths
    mean = 1.0 / ((1.0 - ALPHA) / precision + ALPHA / recall)
    fragments = 0.0 if perfect(sums[None])[0] else sums[20] / ((sums[21] + sums[22]) / 2)
    return max(float(mean * (1.0 - GAMMA * fragments**BETA)), 0.0)


def perfect(rows: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return bool [n]: all words of candidate and reference matched, in one chunk."""
    both = rows[:, 4:20].reshape(len(rows), 2 * len(KINDS), 2).sum(axis=1)
    perfect: NDArray[np.bool_] = (both == rows[:, 0:2]).all(axis=1) & (rows[:, 20] == 1)
    return perfect


def image_mean(statistics: Statistics) -> float:
    """Return the mean of one finite number per image, [n]: ROUGE-L, CIDEr, SPICE.

    For CIDEr a resample keeps the document frequencies of the whole test set, which are in the
    numbers: they belong to the measure, like a vocabulary, not to the sample. ValueError for
    other shapes and for numbers that are not finite.
    """
    numeric = statistics.ndim == 1 and statistics.size > 0 and statistics.dtype.kind in "fiu"
    if not numeric or not np.isfinite(statistics.astype(np.float64)).all():
        raise ValueError("image_mean needs a non-empty vector of finite numbers, one per image")
    return float(np.mean(statistics.astype(np.float64)))


def distance_of_means(statistics: Statistics) -> float:
    """Return the Euclidean distance of the means of two sets of embeddings, [n, 2, D]."""
    if statistics.ndim != 3 or statistics.shape[1] != 2 or not len(statistics):
        raise ValueError("distance_of_means needs pairs of embeddings [n, 2, D]")
    first, second = statistics.astype(np.float64).mean(axis=0)
    return float(np.linalg.norm(first - second))


def points(function: Callable[[Statistics], float], statistics: Statistics) -> float:
    """Return a score in points, as papers print it: 100 times the fraction."""
    return 100.0 * function(statistics)


def _rows(name: str, statistics: Statistics, columns: int) -> NDArray[np.float64]:
    """Return counts [n, columns] as float64, which holds them exactly."""
    counts = statistics.dtype.kind in "iuf" and statistics.shape[1:] == (columns,)
    rows = statistics.astype(np.float64) if counts else np.empty((0, columns))
    if len(rows) == 0 or not (rows >= 0).all():
        raise ValueError(f"{name} needs counts [n, {columns}] of n images, none negative")
    return rows


REDUCERS: dict[str, Callable[[Statistics], float]] = {
    **{f"bleu_{order}": functools.partial(bleu, order=order) for order in range(1, ORDERS + 1)},
    "meteor": meteor,
    "image_mean": image_mean,
}
REDUCERS |= {
    f"{name}_points": functools.partial(points, function) for name, function in REDUCERS.items()
}
REDUCERS["distance_of_means"] = distance_of_means
