"""Fault drills: something is broken on purpose, and what must hold afterwards is asserted.

The table of them is docs/drills.md. `make drills` runs all, `-m quick` those of seconds.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
# The tiny methods and fabricated results of the unit tests, and the workspaces of the workflow's.
sys.path[:0] = [str(TESTS / "unit"), str(TESTS / "workflow")]

from limits import limit  # noqa: E402


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "quick: a drill of seconds")


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    """End a drill that hangs."""
    with limit():
        yield


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Compute on one thread, as forked processes must, and leave torch as it was."""
    torch = sys.modules.get("torch")  # drills of the workflow do without
    if torch is None:
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)
