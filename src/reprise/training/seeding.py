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
    """Random numbers for samples start..start+count of a step's global batch."""

    key: Key
    count: int
    start: int = 0
    device: torch.device | str = "cpu"

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
        # Whole blocks are drawn even where the samples begin or end inside of one, so that what a
        # sample meets depends neither on its process nor on the batch size.
        first, last = self.start // BLOCK, (self.start + self.count - 1) // BLOCK
        blocks = []
        for number in range(first, last + 1):
            generator = self.key.fold(purpose, number).generator(self.device)
            blocks.append(kind(BLOCK, *shape, generator=generator, device=self.device))
        drawn = blocks[0] if len(blocks) == 1 else torch.cat(blocks)
        begin = self.start - first * BLOCK
        return drawn[begin : begin + self.count]


def share_of_batch(batch_size: int, rank: int, world: int) -> tuple[int, int]:
    """Return (start, count) of a process's part of the global batch.

    Raises ConfigError where the batch cannot be split evenly.
    """
    if batch_size % world:
        raise ConfigError(f"batch_size = {batch_size}: must be a multiple of {world} processes")
    count = batch_size // world
    return rank * count, count


def on_block(draws: Draws, what: str) -> None:
    """Refuse samples that begin inside a block, for what draws block by block.

    Raises ConfigError.
    """
    if draws.start % BLOCK:
        raise ConfigError(
            f"{what} {BLOCK} images at a time: batch_size must be a multiple of {BLOCK} x "
            "processes, so that every image meets the same at any number of processes"
        )


REPEATING = "repeated augmentation copies the first of"


def repeated(count: int, copies: int) -> Tensor:
    """Return which of a batch's samples stand where, int64 [count]: each ``copies`` times.

    Every block shows its first samples, so that a batch spread over processes is the same as on
    one. As in the official sampler an epoch so shows a share of 1 / copies of the samples.
    """
    places = torch.arange(count)
    start = places - places % BLOCK
    return start + (places - start) // copies


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
    """Return a cached keyed permutation; four are kept (a batch can span two epochs)."""
    if (total, key) not in _PERMUTATIONS:
        while len(_PERMUTATIONS) >= 4:
            del _PERMUTATIONS[next(iter(_PERMUTATIONS))]
        _PERMUTATIONS[total, key] = torch.randperm(total, generator=key.generator())
    return _PERMUTATIONS[total, key]
