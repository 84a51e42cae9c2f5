"""From per-image statistics to a metric: the one place where a number is made.

Evaluators write the statistics and name the function; tables, intervals and claims apply the same
function, so no number can mean one thing in one place and another elsewhere.
"""

import importlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from reprise.errors import ConfigError, unknown

Statistics = NDArray[np.generic]


def percent_correct(statistics: Statistics) -> float:
    """Return 100 * mean of uint8 [n] correctness (1: right, 0: wrong), in percent.

    Raises ValueError for any other shape, for no image at all and for values besides 0 and 1.
    """
    return _percent_of_ones("percent_correct", "vector", statistics, 1)


def percent_correct_repeated(statistics: Statistics) -> float:
    """Return 100 * mean of uint8 [n, r] correctness: n images, each classified r times; percent.

    The r may be draws of training labels or corruptions of the image: they belong to the image,
    and a resample takes or leaves them together. Raises ValueError as `percent_correct`.
    """
    return _percent_of_ones("percent_correct_repeated", "matrix", statistics, 2)


def mean(statistics: Statistics) -> float:
    """Return the mean of numbers [n], in their own unit; ValueError where one is not finite."""
    return float(_finite_vector("mean", statistics).mean())


def median(statistics: Statistics) -> float:
    """Return the median of numbers [n], in their own unit; ValueError where one is not finite."""
    return float(np.median(_finite_vector("median", statistics)))


def _percent_of_ones(name: str, shape: str, statistics: Statistics, dimensions: int) -> float:
    ones = np.isin(statistics, (0, 1)).all()
    if statistics.ndim != dimensions or statistics.size == 0 or not ones:
        raise ValueError(f"{name} needs a non-empty {shape} of zeros and ones")
    return 100.0 * float(np.count_nonzero(statistics)) / statistics.size


def _finite_vector(name: str, statistics: Statistics) -> NDArray[np.float64]:
    numeric = statistics.dtype.kind in "fiu" and statistics.ndim == 1 and statistics.size > 0
    values = statistics.astype(np.float64) if numeric else np.array([np.nan])
    if not np.isfinite(values).all():
        raise ValueError(f"{name} needs a non-empty vector of finite numbers")
    return values


REDUCERS: dict[str, Callable[[Statistics], float]] = {
    "percent_correct": percent_correct,
    "percent_correct_repeated": percent_correct_repeated,
    "mean": mean,
    "median": median,
}

# Reducers whose n rows are test images; the rows of all others are measurements of one thing.
PER_IMAGE = frozenset({"percent_correct", "percent_correct_repeated"})

# Reducers that are a factor times the mean of whole numbers, one per image: the bootstrap of such
# a metric has a distribution in closed form, and needs no drawing. Each entry turns statistics
# into those numbers, int64 [n], and the factor.
MEANS: dict[str, Callable[[Statistics], tuple[NDArray[np.int64], float]]] = {
    "percent_correct": lambda array: (array.astype(np.int64), 100.0),
    "percent_correct_repeated": lambda array: (
        array.astype(np.int64).sum(axis=1),
        100.0 / array.shape[1],
    ),
}


# Where else functions are found: `captions.bleu_4` is `REDUCERS["bleu_4"]` of that module. Whoever
# writes such statistics imports the module, so its content is in the digest of the evaluation.
FAMILIES = {"captions": "reprise.captions.corpus"}


def apply(name: str, statistics: Statistics) -> float:
    """Return the metric that the named function makes of statistics, first axis = test image.

    Raises ConfigError where no function has that name.
    """
    known, own = REDUCERS, name
    family, dot, rest = name.partition(".")
    if dot and family in FAMILIES:
        known, own = importlib.import_module(FAMILIES[family]).REDUCERS, rest
    if own not in known:
        raise ConfigError(unknown("reduce function", name, known))
    return known[own](statistics)


def is_per_image(name: str) -> bool:
    """Say whether a function's n rows are test images, not measurements of one thing."""
    return name in PER_IMAGE or name.partition(".")[0] in FAMILIES
