"""Numbers of dense prediction. Their reduce functions are named ``dense.<module>.<function>``.

Whoever reads or writes such statistics imports this package, which makes the names known to
`reprise.reduce`. The modules themselves are imported where a function is called, so that an
evaluation depends on the one it uses alone.
"""

import functools
import importlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from reprise import reduce

NAMES = {"confusion": ("miou", "mean_accuracy", "pixel_accuracy"), "precision": ("ap",)}


def _apply(module: str, name: str, statistics: NDArray[np.generic]) -> float:
    found = importlib.import_module(f"{__name__}.{module}")
    value: float = found.REDUCERS[name](statistics)
    return value


REDUCERS: dict[str, Callable[[NDArray[np.generic]], float]] = {
    f"{module}.{name}": functools.partial(_apply, module, name)
    for module, names in NAMES.items()
    for name in names
}

reduce.FAMILIES["dense"] = __name__
