"""From a claim's effects to what may be said of it: tests, their correction, and their reach.

docs/statistics.md says in plain words what is done here and why.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests

from reprise import intervals, reduce
from reprise.results import Measured

LEVEL = 0.05  # of all false `supported` of a paper together, and of all false `contradicted`
# Cheap, so as many as make the ends those of a table's exact interval, to a few hundredths.
RESAMPLES_OF_MEANS = 50_000
_HELD = 10_000_000  # counts of resampled kinds in memory at a time, 80 MB
FEWEST_SEEDS = intervals.FEWEST_SEEDS_FOR_T

Array = NDArray[np.float64]


def constant(slack: Array) -> NDArray[np.bool_]:
    """Say of each part, last axis = seeds, whether all seeds agree up to rounding."""
    spread = np.ptp(slack, axis=-1)
    return np.asarray(spread <= 1e-12 + 1e-9 * np.abs(slack).max(axis=-1))


def p_values(slack: Array) -> tuple[Array, Array]:
    """Return the p-values for and against a claim whose parts must all lie above zero.

    Args:
        slack: [..., parts, seeds], three seeds or more, paired.

    Returns p [...] for "all parts are above zero" (the largest of the parts' one-sided p-values:
    an intersection-union test) and for "some part is below zero" (the smallest, times the number
    of parts). A part on which all seeds agree has no spread to test against; its p-values are 1.
    """
    flat = constant(slack)
    # A tiny ramp keeps such parts from dividing by zero; their result is replaced below.
    safe = np.where(flat[..., None], np.arange(slack.shape[-1], dtype=float), slack)
    above = np.where(flat, 1, stats.ttest_1samp(safe, 0, axis=-1, alternative="greater").pvalue)
    under = np.where(flat, 1, stats.ttest_1samp(safe, 0, axis=-1, alternative="less").pvalue)
    return above.max(axis=-1), np.minimum(1, under.shape[-1] * under.min(axis=-1))


def weakest(slack: Array) -> int:
    """Return the part on which a claim hangs: with the largest p-value, or the least slack.

    ``slack`` is [parts, seeds]; its values decide alone where seeds are few or agree.
    """
    if slack.shape[-1] >= FEWEST_SEEDS and not constant(slack).any():
        return int(np.argmax([p_values(one[None])[0] for one in slack]))
    return int(slack.mean(axis=-1).argmin())


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number by Holm's method, in the same order."""
    return [float(one) for one in multipletests(p, LEVEL, method="holm")[1]] if len(p) else []


def smallest_detectable(effects: Array, level: float) -> float:
    """Return how far beyond its bound a true effect must lie to be found with 80 % probability.

    Args:
        effects: [seeds], of which the standard deviation is taken as the true one.
        level: of the one-sided paired t-test.

    From the noncentral t distribution, in the unit of the effects.
    """
    return intervals.detectable_over_seeds(effects, level)


def detectable_beside(ends: tuple[float, float], rounds: int | None) -> float:
    """Return the effect that a one-sided test would find with 80 % probability, of one seed.

    Args:
        ends: of the 95 % interval, in the unit of the effects, over test images (its width is
            taken as a normal distribution's) or over rounds (as Student's t).
        rounds: how many; None for test images.

    The noise of another seed, or of another day, is not in it.
    """
    spread = stats.norm if rounds is None else stats.t(rounds - 1)
    error = float((ends[1] - ends[0]) / (2 * spread.ppf(0.5 + intervals.LEVEL / 2)))
    if rounds is None:
        return float((stats.norm.isf(LEVEL) + stats.norm.ppf(intervals.POWER)) * error)
    return error * intervals.detectable_errors(rounds, LEVEL)


def replicates(cells: Sequence[Sequence[Measured]]) -> Array:
    """Return [replicates, cells, seeds] values of cells on the same resampled rows.

    Args:
        cells: for every cell one measurement per seed, all with statistics of the same n rows
            (test images, or rounds of a benchmark).
    """
    generator = np.random.default_rng(0)
    flat = [measured for seeds in cells for measured in seeds]
    n, shape = len(flat[0].statistics), (-1, len(cells), len(cells[0]))
    if all(measured.reduce in reduce.MEANS for measured in flat):
        return _of_means(generator, flat, n).reshape(shape)
    made = []
    for _ in range(intervals.RESAMPLES):
        chosen = generator.integers(n, size=n)
        made.append([reduce.apply(one.reduce, one.statistics[chosen]) for one in flat])
    return np.array(made).reshape(shape)


def _of_means(generator: np.random.Generator, flat: Sequence[Measured], n: int) -> Array:
    """The same for means of whole numbers: images with equal scores everywhere are drawn by their
    count instead of one by one. There are few such kinds, or thousands of several seeds' repeated
    draws: so only some replicates are held at a time."""
    scores, factors = zip(*(reduce.MEANS[one.reduce](one.statistics) for one in flat), strict=True)
    kinds, counts = np.unique(np.stack(scores, axis=-1), axis=0, return_counts=True)
    at_once = max(1, _HELD // len(kinds))
    sums = [
        generator.multinomial(n, counts / n, size=min(at_once, RESAMPLES_OF_MEANS - done)) @ kinds
        for done in range(0, RESAMPLES_OF_MEANS, at_once)
    ]
    values: Any = np.concatenate(sums) * np.array(factors) / n
    return np.asarray(values, np.float64)


def percentiles(effects: Array) -> tuple[float, float]:
    """Return the 95 % interval of replicates [replicates, seeds], averaged over seeds."""
    tails = [0.5 - intervals.LEVEL / 2, 0.5 + intervals.LEVEL / 2]
    low, high = np.quantile(effects.mean(axis=-1), tails)
    return float(low), float(high)
