"""Randomness as a function of (seed, purpose, step, sample), never of history.

A `Key` is a path of names and numbers, hashed to a generator seed. `Draws` gives random numbers
for the samples of one batch in fixed blocks of the global batch, so the numbers a sample meets do
not depend on how many processes share the batch, nor on what was drawn before.
"""

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reprise.errors import ConfigError

BLOCK = 64  # samples that share one generator: few enough to split a batch over processes


@dataclass(frozen=True)
class Key:
    """A named point in the tree of random streams; `fold` descends it."""

    path: tuple[int | str, ...]

    def fold(self, *parts: int | str) -> "Key":
        """Return the key below this one at parts."""
        return Key((*self.path, *parts))

    @property
    def seed(self) -> int:
        """A 63-bit generator seed, the same on every machine."""
        text = "\x1f".join(f"{type(part).__name__}:{part}" for part in self.path)
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1

    def generator(self, device: torch.device | str = "cpu") -> torch.Generator:
        """Return a fresh generator at this key's seed."""
        generator = torch.Generator(device)
        generator.manual_seed(self.seed)
        return generator

    def seed_everything(self) -> None:
        """Seed the global generators of Python, NumPy and torch, for libraries that use them."""
        random.seed(self.seed)
        np.random.seed(self.seed % 2**32)
        torch.manual_seed(self.seed)


@dataclass(frozen=True)
class Draws:
    """Random numbers for samples start..start+count of a step's global batch.

    ``start`` must lie on a block boundary, which `share_of_batch` sees to.
    """

    key: Key
    count: int
    start: int = 0
    device: torch.device | str = "cpu"

    def __post_init__(self) -> None:
        if self.start % BLOCK:
            raise ValueError(f"start {self.start} is not a multiple of the block size {BLOCK}")

    def fold(self, *parts: int | str) -> "Draws":
        """Return draws for the same samples below another key."""
        return Draws(self.key.fold(*parts), self.count, self.start, self.device)

    def uniform(self, purpose: str, *shape: int) -> Tensor:
        """Return float32 [count, *shape], uniform in [0, 1)."""
        return self._draw(purpose, shape, torch.rand)

    def normal(self, purpose: str, *shape: int) -> Tensor:
        """Return float32 [count, *shape], standard normal."""
        return self._draw(purpose, shape, torch.randn)

    def _draw(self, purpose: str, shape: tuple[int, ...], kind: Callable[..., Tensor]) -> Tensor:
        if torch.device(self.device).type == "meta":  # shapes only, for counting operations
            return kind(self.count, *shape, device="meta")
        blocks = []
        for first in range(0, self.count, BLOCK):
            generator = self.key.fold(purpose, (self.start + first) // BLOCK).generator(self.device)
            # A whole block is drawn even where the batch ends inside it, so that a sample's
            # numbers do not depend on the batch size either.
            block = kind(BLOCK, *shape, generator=generator, device=self.device)
            blocks.append(block[: self.count - first])
        return blocks[0] if len(blocks) == 1 else torch.cat(blocks)


def share_of_batch(batch_size: int, rank: int, world: int) -> tuple[int, int]:
    """Return (start, count) of a process's part of the global batch, on block boundaries.

    Raises ConfigError where the batch cannot be split so.
    """
    if world == 1:
        return 0, batch_size
    if batch_size % (world * BLOCK):
        raise ConfigError(
            f"batch_size = {batch_size}: must be a multiple of {BLOCK} x {world} processes, "
            "so that every sample meets the same random numbers at any number of processes"
        )
    count = batch_size // world
    return rank * count, count


def batch_indices(total: int, batch_size: int, step: int, key: Key) -> Tensor:
    """Return int64 [batch_size]: the samples of a step; epochs are shuffled and never cut short.

    The step's samples are consecutive in an endless row of keyed permutations, so that every
    sample is used equally often, whatever the batch size.
    """
    first = step * batch_size
    parts, taken = [], 0
    while taken < batch_size:
        epoch, offset = divmod(first + taken, total)
        order = _permutation(total, key.fold("epoch", epoch))
        part = order[offset : offset + batch_size - taken]
        parts.append(part)
        taken += len(part)
    return torch.cat(parts)


_PERMUTATIONS: dict[tuple[int, Key], Tensor] = {}


def _permutation(total: int, key: Key) -> Tensor:
    """Return a cached keyed permutation; the two newest are kept (a batch can span two epochs)."""
    if (total, key) not in _PERMUTATIONS:
        while len(_PERMUTATIONS) >= 4:
            del _PERMUTATIONS[next(iter(_PERMUTATIONS))]
        _PERMUTATIONS[total, key] = torch.randperm(total, generator=key.generator())
    return _PERMUTATIONS[total, key]
