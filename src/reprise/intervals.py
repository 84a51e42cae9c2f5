"""95 % intervals of a metric and of the difference of two, and the words that say what they cover.

One or two seeds: percentile bootstrap over test images, which leaves out how far another seed
would have moved the number. Three or more: Student's t over seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from reprise import reduce
from reprise.reduce import Statistics

LEVEL = 0.95
FEWEST_SEEDS_FOR_T = 3
RESAMPLES = 2000  # for metrics without a closed form


@dataclass(frozen=True)
class Estimate:
    """A value with its interval; ``kind`` says in words what the interval covers."""

    value: float
    low: float
    high: float
    kind: str


def estimate(name: str, ours: Sequence[Statistics], against: Sequence[Statistics] = ()) -> Estimate:
    """Return the metric averaged over seeds, or its paired gain, with a 95 % interval.

    Args:
        name: a function of `reprise.reduce`.
        ours: per-image statistics, one array per seed, first axis = test image.
        against: the same for the other side of a difference: same seeds, same images, in the same
            order; empty for the metric itself.

    Raises ValueError where the two sides do not pair.
    """
    shapes = {(len(ours), len(array)) for array in (*ours, *against)}
    if not ours or len(shapes) != 1 or len(against) not in (0, len(ours)):
        raise ValueError("a paired interval needs the same seeds and test images on both sides")
    values = _per_seed(name, ours, against)
    value = float(np.mean(values))
    if len(ours) >= FEWEST_SEEDS_FOR_T:
        low, high = _over_seeds(values)
        return Estimate(value, low, high, f"t over {len(ours)} seeds")
    if name in reduce.MEANS:
        low, high = _over_images_exactly(ours, against, reduce.MEANS[name])
    else:
        low, high = _over_images(name, ours, against)
    return Estimate(value, low, high, f"test images, {len(ours)} seed{'s' * (len(ours) > 1)}")


def _per_seed(
    name: str, ours: Sequence[Statistics], against: Sequence[Statistics]
) -> NDArray[np.float64]:
    values = np.array([reduce.apply(name, array) for array in ours])
    if against:
        values -= np.array([reduce.apply(name, array) for array in against])
    return values


def _over_seeds(values: NDArray[np.float64]) -> tuple[float, float]:
    error = values.std(ddof=1) / np.sqrt(len(values))
    half = stdtrit(len(values) - 1, 0.5 + LEVEL / 2) * error
    return float(values.mean() - half), float(values.mean() + half)


def _over_images_exactly(
    ours: Sequence[Statistics], against: Sequence[Statistics], factor: float
) -> tuple[float, float]:
    """Percentiles of the bootstrap of a mean of whole numbers, without drawing.

    A resampled sum is the sum of n independent draws from the images' scores, so its distribution
    is the scores' own, convolved n times with itself: a power in Fourier space.
    """
    scores = np.sum([np.asarray(array, np.int64) for array in ours], axis=0)
    if against:
        scores = scores - np.sum([np.asarray(array, np.int64) for array in against], axis=0)
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
    """Percentiles over resampled test images, the same images on both sides and for all seeds."""
    generator = np.random.default_rng(0)
    n = len(ours[0])
    replicates = []
    for _ in range(RESAMPLES):
        chosen = generator.integers(n, size=n)
        values = _per_seed(name, [a[chosen] for a in ours], [a[chosen] for a in against])
        replicates.append(values.mean())
    low, high = np.quantile(replicates, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    return float(low), float(high)
