"""Arithmetic in whole numbers that float32 holds exactly: the same bytes on any processor.

Sums of products stay below 2^24, and are divided by powers of two only.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FULL = 256  # a weight of one
PHOTO = 28  # side of a photograph, pixels


def between(drawn: Tensor, low: Tensor | int, high: Tensor | int) -> Tensor:
    """Turn numbers in [0, 1), float64, into whole ones from low to high, both included, int64."""
    return low + (drawn * (high - low + 1)).long()


def divided(values: Tensor, by: int) -> Tensor:
    """Divide whole numbers, float32, by a power of two, halves rounded up, in place."""
    return values.add_(by // 2).mul_(1 / by).floor_()


def resampling(side: int) -> Tensor:
    """Return antialiased bilinear resizing of a photograph's axis to side: float32 [side, 28].

    The weights are whole numbers, and every row sums to FULL.
    """
    scale = PHOTO / side
    centre = (np.arange(side) + 0.5) * scale
    distance = np.abs(np.arange(PHOTO) + 0.5 - centre[:, None])
    weights = np.clip(1 - distance / max(scale, 1.0), 0, None)
    weights = cast(NDArray[np.float64], weights / weights.sum(1, keepdims=True))
    whole = np.rint(weights * FULL)
    whole[np.arange(side), whole.argmax(1)] += FULL - whole.sum(1)
    return torch.from_numpy(whole).float()


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute in one thread: on a busy machine two wait for each other at every step."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
