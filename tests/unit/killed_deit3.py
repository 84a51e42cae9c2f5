"""Trains runs of a workspace twice each, each time up to a kill -9 in a step of its own."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from reprise.config import load_project
from reprise.papers.deit3 import Recipe
from reprise.plan import RunJob
from reprise.training import loop
from reprise.training import run as training_run


def die_in_forward(call: int) -> None:
    """Have a forward pass, counted from 1, end this process at once."""
    real, calls = Recipe.forward, 0

    def forward(self: Recipe, *given: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(self, *given)

    setattr(Recipe, "forward", forward)  # noqa: B010


loop.CHECKPOINT_SECONDS = 0
project = load_project(Path(sys.argv[1]), "tiny")
for name in sys.argv[2:]:
    # In the third step, and in the fourth after the two that the checkpoint holds: the sixth.
    for call in (3, 4):
        child = os.fork()
        if not child:
            die_in_forward(call)
            training_run.train(RunJob(project, "toy", name, 0))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status))
