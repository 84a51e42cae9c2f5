"""Seeding: numbers are a function of (seed, purpose, sample), never of how the work is shared."""

import hashlib
import random

import numpy as np
import pytest
import torch
from torch import Tensor

from reprise.errors import ConfigError
from reprise.training.seeding import BLOCK, Draws, Key, batch_indices, on_block, share_of_batch

KEY = Key(("run", 0))


def test_a_seed_is_the_documented_hash_of_the_path() -> None:
    text = b"str:run\x1fint:7"
    expected = int.from_bytes(hashlib.sha256(text).digest()[:8], "little") >> 1
    assert Key(("run", 7)).seed == expected
    assert Key(("run",)).fold(7).seed == expected
    assert Key(("run", "7")).seed != expected


@pytest.mark.parametrize("kind", ["uniform", "normal"])
@pytest.mark.parametrize("world", [2, 4])
def test_numbers_do_not_depend_on_how_many_processes_share_a_batch(kind: str, world: int) -> None:
    whole = getattr(Draws(KEY, 4 * BLOCK), kind)("noise", 3)
    parts = []
    for rank in range(world):
        start, count = share_of_batch(4 * BLOCK, rank, world)
        parts.append(getattr(Draws(KEY, count, start), kind)("noise", 3))
    assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize("count", [1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK])
def test_numbers_do_not_depend_on_the_batch_size(count: int) -> None:
    whole = Draws(KEY, 5 * BLOCK).normal("noise", 2, 2)
    part = Draws(KEY, count).normal("noise", 2, 2)
    assert part.shape == (count, 2, 2)
    assert part.dtype == torch.float32
    assert torch.equal(part, whole[:count])


def test_purposes_keys_and_blocks_have_streams_of_their_own() -> None:
    draws = Draws(KEY, 2 * BLOCK)
    streams: list[Tensor] = [
        draws.uniform("crop"),
        draws.uniform("flip"),
        draws.fold("view", 1).uniform("crop"),
        Draws(KEY.fold("step", 1), 2 * BLOCK).uniform("crop"),
    ]
    halves = [half for stream in streams for half in stream.split(BLOCK)]
    for i, one in enumerate(halves):
        for other in halves[i + 1 :]:
            assert not torch.equal(one, other)


def test_uniform_and_normal_have_their_moments() -> None:
    draws = Draws(KEY, 100 * BLOCK)
    uniform, normal = draws.uniform("u", 10), draws.normal("n", 10)
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert uniform.mean() == pytest.approx(0.5, abs=0.006)  # 5 standard errors of 64,000
    assert normal.mean() == pytest.approx(0.0, abs=0.02)
    assert normal.std() == pytest.approx(1.0, abs=0.014)


@pytest.mark.parametrize(("start", "count"), [(2, 2), (10, 54), (60, 10), (63, 66), (64, 1)])
def test_numbers_of_samples_inside_a_block_are_theirs(start: int, count: int) -> None:
    whole = Draws(KEY, 3 * BLOCK).normal("noise", 3)
    assert torch.equal(Draws(KEY, count, start).normal("noise", 3), whole[start : start + count])


def test_what_draws_by_blocks_refuses_samples_inside_one() -> None:
    on_block(Draws(KEY, 5, start=2 * BLOCK), "this draws for")
    with pytest.raises(ConfigError, match="this draws for 64 images at a time: batch_size must"):
        on_block(Draws(KEY, 5, start=10), "this draws for")


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    assert share_of_batch(100, 0, 1) == (0, 100)
    with pytest.raises(ConfigError, match="must be a multiple of 3 processes"):
        share_of_batch(100, 0, 3)


@pytest.mark.parametrize(("total", "batch"), [(10, 4), (10, 10), (7, 25), (64, 1)])
def test_every_sample_is_used_equally_often(total: int, batch: int) -> None:
    steps = total  # so that a whole number of epochs passes
    used = torch.cat([batch_indices(total, batch, step, KEY) for step in range(steps)])
    assert used.dtype == torch.int64
    assert used.bincount(minlength=total).tolist() == [batch] * total
    for epoch in used.split(total):
        assert sorted(epoch.tolist()) == list(range(total))


def test_a_step_does_not_depend_on_the_steps_before_it() -> None:
    forward = [batch_indices(10, 4, step, KEY) for step in range(20)]
    backward = [batch_indices(10, 4, step, KEY) for step in reversed(range(20))]
    assert all(torch.equal(*pair) for pair in zip(forward, reversed(backward), strict=True))


def test_the_row_of_samples_does_not_depend_on_the_batch_size() -> None:
    small = torch.cat([batch_indices(10, 3, step, KEY) for step in range(10)])
    large = torch.cat([batch_indices(10, 15, step, KEY) for step in range(2)])
    assert torch.equal(small, large)


def test_epochs_and_keys_are_shuffled_differently() -> None:
    orders = [batch_indices(50, 50, step, KEY.fold(seed)) for step in (0, 1) for seed in (0, 1)]
    for i, one in enumerate(orders):
        assert not torch.equal(one, torch.arange(50))
        assert all(not torch.equal(one, other) for other in orders[i + 1 :])


def test_seed_everything_fixes_the_three_global_generators() -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), np.random.rand(), torch.rand(1).item()

    KEY.seed_everything()
    first = draw()
    assert draw() != first
    KEY.seed_everything()
    assert draw() == first
    KEY.fold(1).seed_everything()
    assert draw() != first
