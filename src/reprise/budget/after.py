"""What a finished training was planned to take, said beside what it took."""

import os

from reprise import results
from reprise.budget import catalogue, machines
from reprise.budget.counts import Counts
from reprise.budget.forecast import Forecaster
from reprise.budget.work import Work
from reprise.plan import RunJob
from reprise.progress import say


def say_cost(job: RunJob) -> None:
    """Tell in one line what a run was planned to take and took; say why where it cannot be told.

    A finished run is never failed for it, whatever cannot be counted.
    """
    if not job.run.steps or os.environ.get("RANK", "0") != "0":
        return
    try:
        line = cost_in_words(job)
    except Exception as error:
        line = f"no plan to compare with ({type(error).__name__}: {error})"
    say(f"{job.key}: {line}")


def cost_in_words(job: RunJob) -> str:
    """Return planned and taken seconds of a finished training, on the processes that it had."""
    meta, known = results.read_meta(job), catalogue.read(job.project.root)
    name = machines.machine_of(meta, known)
    if name is None:
        return f"no plan to compare with: {meta.get('processor')!r} is not in {catalogue.FILE}"
    speed = machines.choose(job.project, known, name)
    with Counts(job.project) as counts:
        work = Work(job.project, known, counts)
        item = work.training(job)
        planned = Forecaster(work, speed, 1).seconds(item) / int(meta.get("processes", 1))
    taken = float(meta["wall_seconds"])
    if not taken:
        return "took no time to compare with a plan"
    return (
        f"planned {_seconds(planned)}, took {_seconds(taken)} ({planned / taken:.2f}x); "
        f"{item.flops / taken / speed.peak / int(meta.get('processes', 1)):.0%} of "
        f"{speed.peak / 1e12:,.2f} TFLOP/s"
    )


def _seconds(value: float) -> str:
    return f"{value:,.0f} s" if value >= 10 else f"{value:.2g} s"
