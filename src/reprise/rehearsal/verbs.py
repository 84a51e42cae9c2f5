"""The verbs that compute, as a rehearsal does them: each is that of every scale, made short."""

import math

import torch
from torch import nn

from reprise import bench, bench_forward, bench_step
from reprise.evaluators import _runner
from reprise.plan import BenchmarkJob, RunJob
from reprise.rehearsal import stand_ins
from reprise.training import loop, run

ROUNDS = 2  # of a benchmark; intervals need more than one


def train(job: RunJob) -> None:
    """Train a run, with random weights where it starts from released ones."""
    stand_ins.make(job)
    shorten()
    run.train(job)


def evaluate(job: RunJob) -> None:
    """Evaluate a run, and delete the random weights that it alone was built from."""
    stand_ins.make(job)
    shorten()
    _runner.evaluate(job)
    stand_ins.discard(job)


def benchmark(job: BenchmarkJob) -> None:
    """Measure a benchmark in few rounds; steps update by plain gradient descent.

    All contenders are there at once, and five ViT-L with the moments of their optimisers are more
    than 24 GB. That optimisers work is seen where the runs are trained.
    """
    shorten()
    setattr(bench_step, "build_optimizer", _plain_descent)  # noqa: B010
    bench.run(job)


def _plain_descent(method: nn.Module, _: object) -> torch.optim.Optimizer:
    return torch.optim.SGD(method.parameters(), lr=1e-6)


def shorten() -> None:
    """Let this process save no state between steps, and measure no longer than it must.

    On a slow machine every step would be followed by a checkpoint, of 8 GB for a ViT-H with LAMB;
    a step that is killed begins anew.
    """
    loop.CHECKPOINT_SECONDS = math.inf
    bench_forward.FEWEST_ROUNDS = bench_step.FEWEST_ROUNDS = ROUNDS
