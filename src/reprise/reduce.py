"""From per-image statistics to a metric: the one place where a number is made.

Evaluators write the statistics and name the function; tables, intervals and claims apply the same
function, so no number can mean one thing in one place and another elsewhere.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from reprise.errors import ConfigError, unknown

Statistics = NDArray[np.generic]


def percent_correct(statistics: Statistics) -> float:
    """Return 100 * mean of uint8 [n] correctness (1: right, 0: wrong), in percent.

    Raises ValueError for any other shape, for no image at all and for values besides 0 and 1.
    """
    if statistics.ndim != 1 or statistics.size == 0 or not np.isin(statistics, (0, 1)).all():
        raise ValueError("percent_correct needs a non-empty vector of zeros and ones")
    return 100.0 * float(np.count_nonzero(statistics)) / statistics.size


REDUCERS: dict[str, Callable[[Statistics], float]] = {"percent_correct": percent_correct}

# Reducers that are this factor times the mean of whole numbers, one per image: the bootstrap of
# such a metric has a distribution in closed form, and needs no drawing.
MEANS: dict[str, float] = {"percent_correct": 100.0}


def apply(name: str, statistics: Statistics) -> float:
    """Return the metric that the named function makes of statistics, first axis = test image.

    Raises ConfigError where no function has that name.
    """
    if name not in REDUCERS:
        raise ConfigError(unknown("reduce function", name, REDUCERS))
    return REDUCERS[name](statistics)
