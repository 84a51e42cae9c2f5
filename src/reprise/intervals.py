"""95 % intervals of a metric and of the difference of two, and the words that say what they cover.

One or two seeds: percentile bootstrap over test images, which leaves out how far another seed would
have moved the number; over repeated measurements, such as the rounds of a benchmark, the same, or
Student's t where they are few. Three or more seeds: Student's t over seeds. A single number of one
or two seeds has no interval.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats
from scipy.special import stdtrit

from reprise import reduce, resampling
from reprise.reduce import Statistics

LEVEL = 0.95
FEWEST_SEEDS_FOR_T = 3
# Of fewer measurements not even the range holds the true median in 95 of 100 cases: 1 - 2 / 2^n.
FEWEST_TO_RESAMPLE = 6
RESAMPLES = 2000  # for metrics without a closed form
SINGLE = "a single measurement"
POWER = 0.8  # with which a test shall find an effect
# Units of what cannot be negative; a percentage cannot be above 100 either.
FROM_ZERO = ("points", "images/s", "maps/s", "MB", "GB", "G", "M", "M/image", "s", "x", "x CAN")


@dataclass(frozen=True)
class Estimate:
    """A value with its interval; ``kind`` says in words what the interval covers.

    ``low`` and ``high`` are None where there is nothing to resample, and ``kind`` then says so.
    """

    value: float
    low: float | None
    high: float | None
    kind: str


def estimate(name: str, ours: Sequence[Statistics], against: Sequence[Statistics] = ()) -> Estimate:
    """Return the metric averaged over seeds, or its paired gain, with a 95 % interval.

    Args:
        name: a function of `reprise.reduce`.
        ours: statistics, one array per seed, first axis = test image or measurement.
        against: the same for the other side of a difference: same seeds, same images, in the same
            order; empty for the metric itself.

    Raises ValueError where the two sides do not pair.
    """
    shapes = {(len(ours), len(array)) for array in (*ours, *against)}
    if not ours or len(shapes) != 1 or len(against) not in (0, len(ours)):
        raise ValueError("a paired interval needs the same seeds and test images on both sides")
    values = _per_seed(name, ours, against)
    value, seeds = float(np.mean(values)), len(ours)
    if seeds >= FEWEST_SEEDS_FOR_T:
        return Estimate(value, *over_seeds(values), f"t over {seeds} seeds")
    if len(ours[0]) == 1:
        return Estimate(value, None, None, SINGLE + f" of each of {seeds} seeds" * (seeds > 1))
    of_seeds = f"{seeds} seed{'s' * (seeds > 1)}"
    n, per_image = len(ours[0]), reduce.is_per_image(name)
    if not per_image and n < FEWEST_TO_RESAMPLE:
        single = _mean_rows(ours) - (_mean_rows(against) if against else 0.0)
        low, high = over_few(single, value)
        return Estimate(value, low, high, f"t over {n} repeated measurements, {of_seeds}")
    low, high = _over_images_exactly(name, ours, against) or _over_images(name, ours, against)
    what = "test images" if per_image else "repeated measurements"
    return Estimate(value, low, high, f"{what}, {of_seeds}")


def within_range(found: Estimate, unit: str) -> Estimate:
    """Return an estimate of a metric, not of a difference, without values that it cannot have.

    The truth is none of them, so the interval holds it as often as before.
    """
    if found.low is None or found.high is None or unit not in ("%", *FROM_ZERO):
        return found
    high = min(found.high, 100.0) if unit == "%" else found.high
    return replace(found, low=max(found.low, 0.0), high=high)


def _per_seed(
    name: str, ours: Sequence[Statistics], against: Sequence[Statistics]
) -> NDArray[np.float64]:
    values = np.array([reduce.apply(name, array) for array in ours])
    if against:
        values -= np.array([reduce.apply(name, array) for array in against])
    return values


def _mean_rows(seeds: Sequence[Statistics]) -> NDArray[np.float64]:
    """Return the single measurements [n], averaged over seeds."""
    rows = np.stack([np.asarray(array, np.float64) for array in seeds])
    mean: NDArray[np.float64] = rows.mean(axis=0)
    return mean


def over_seeds(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the ends of Student's t interval of values [seeds], in their unit."""
    # Seeds that agree exactly leave no width, not even that of rounding in the deviation.
    error = 0.0 if (values == values[0]).all() else values.std(ddof=1) / np.sqrt(len(values))
    half = stdtrit(len(values) - 1, 0.5 + LEVEL / 2) * error
    return float(values.mean() - half), float(values.mean() + half)


def over_few(single: NDArray[np.float64], value: float) -> tuple[float, float]:
    """Return the ends of an interval about a value, from its few single measurements [n].

    Student's t, about the value instead of the mean (it may be their median): of three normal
    measurements it holds the truth in 95 of 100 cases, where a bootstrap does in 75.
    """
    flat = (single == single[0]).all()
    error = 0.0 if flat else single.std(ddof=1) / np.sqrt(len(single))
    half = float(stdtrit(len(single) - 1, 0.5 + LEVEL / 2) * error)
    return value - half, value + half


def smallest_detectable(gain: Estimate, effects: NDArray[np.float64]) -> float | None:
    """Return the true gain whose 95 % interval would lie clear of zero with 80 % probability.

    ``effects`` [seeds] are the gain's of each seed. From three seeds on by their spread; else from
    the width of the interval over test images, taken as a normal distribution's. None where the
    gain has no interval.
    """
    if len(effects) >= FEWEST_SEEDS_FOR_T:
        return detectable_over_seeds(effects, (1 - LEVEL) / 2)
    if gain.low is None or gain.high is None:
        return None
    reach = stats.norm.ppf(0.5 + LEVEL / 2)
    error = (gain.high - gain.low) / (2 * reach)
    return float((reach + stats.norm.ppf(POWER)) * error)


def detectable_over_seeds(effects: NDArray[np.float64], level: float) -> float:
    """Return the shift that a one-sided paired t-test at a level finds with 80 % probability.

    The standard deviation of effects [seeds] is taken as the true one; from the noncentral t
    distribution, in the unit of the effects.
    """
    n = len(effects)
    return float(detectable_errors(n, level) * effects.std(ddof=1) / np.sqrt(n))


def detectable_errors(n: int, level: float) -> float:
    """Return the same shift in standard errors of the mean of n effects."""
    critical = stats.t.isf(level, n - 1)

    def missing_power(shift: float) -> float:
        return POWER - float(stats.nct.sf(critical, n - 1, shift))

    above = 1.0
    while missing_power(above) > 0:
        above *= 2
    return float(optimize.brentq(missing_power, 0, above))


def _over_images_exactly(
    name: str, ours: Sequence[Statistics], against: Sequence[Statistics]
) -> tuple[float, float] | None:
    """Percentiles of the bootstrap of a mean of whole numbers, without drawing.

    A resampled sum is the sum of n independent draws from the images' scores, so its distribution
    is the scores' own, convolved n times with itself: a power in Fourier space. Returns None where
    the metric is no such mean, or the two sides count in different units (another r).
    """
    if name not in reduce.MEANS:
        return None
    mine = [reduce.MEANS[name](array) for array in ours]
    theirs = [reduce.MEANS[name](array) for array in against]
    factor = mine[0][1]
    if any(other != factor for _, other in (*mine, *theirs)):
        return None
    scores = sum(score for score, _ in mine) - sum(score for score, _ in theirs)
    assert isinstance(scores, np.ndarray)
    n, lowest = len(scores), int(scores.min())
    share = np.bincount(scores - lowest) / n
    width = n * (len(share) - 1) + 1
    density = np.fft.irfft(np.fft.rfft(share, width) ** n, width)
    sums = np.searchsorted(np.cumsum(density), [0.5 - LEVEL / 2, 0.5 + LEVEL / 2]) + n * lowest
    low, high = factor * sums / (n * len(ours))
    return float(low), float(high)


def _over_images(
    name: str, ours: Sequence[Statistics], against: Sequence[Statistics]
) -> tuple[float, float]:
    """Percentiles over resampled rows, the same rows on both sides and for all seeds."""
    replicates = _by_sums(name, ours, against)
    if replicates is None:
        generator = np.random.default_rng(0)
        n = len(ours[0])
        replicates = np.empty(RESAMPLES)
        for number in range(RESAMPLES):
            chosen = generator.integers(n, size=n)
            values = _per_seed(name, [a[chosen] for a in ours], [a[chosen] for a in against])
            replicates[number] = values.mean()
    low, high = np.quantile(replicates, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    return float(low), float(high)


def _by_sums(
    name: str, ours: Sequence[Statistics], against: Sequence[Statistics]
) -> NDArray[np.float64] | None:
    """The same replicates, by sums of rows; None where the metric needs more than those."""
    mine = [resampling.values(name, array, RESAMPLES) for array in ours]
    theirs = [resampling.values(name, array, RESAMPLES) for array in against]
    if any(values is None for values in (*mine, *theirs)):
        return None
    gain: NDArray[np.float64] = np.mean(np.array(mine, float), axis=0)
    return gain - np.mean(np.array(theirs, float), axis=0) if theirs else gain
