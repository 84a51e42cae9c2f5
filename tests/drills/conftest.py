"""Fault drills: something is broken on purpose, and what must hold afterwards is asserted.

The table of them is docs/drills.md. `make drills` runs all, `-m quick` those of seconds.
"""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
# The tiny methods and fabricated results of the unit tests, and the workspaces of the workflow's.
sys.path[:0] = [str(TESTS / "unit"), str(TESTS / "workflow")]

from limits import QUICK_SECONDS, SECONDS, Limits, allowed  # noqa: E402

LIMITS = pytest.StashKey[Limits]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "quick: a drill of seconds")


def pytest_unconfigure(config: pytest.Config) -> None:
    if LIMITS in config.stash:
        config.stash[LIMITS].close()


def bounds(item: pytest.Item) -> AbstractContextManager[None]:
    stash = item.config.stash
    if LIMITS not in stash:
        stash[LIMITS] = Limits()
    quick = item.get_closest_marker("quick") is not None
    return stash[LIMITS].limit(allowed(QUICK_SECONDS if quick else SECONDS))


# Each is bounded by itself: the fixtures that drills share, a drill, and what it leaves to be done.
@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    with bounds(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    with bounds(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    with bounds(item):
        return (yield)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Compute on one thread, in what drills share too, and leave torch as it was."""
    torch = sys.modules.get("torch")  # drills of the workflow do without
    if torch is None:
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Undo what a run sets for its whole process."""
    yield
    if torch := sys.modules.get("torch"):
        torch.use_deterministic_algorithms(False)
