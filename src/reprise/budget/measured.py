"""How long finished trainings and evaluations took, beside what was planned."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from reprise import results
from reprise.budget.catalogue import Catalogue
from reprise.budget.items import Item, Items
from reprise.budget.machines import Speed, machine_of
from reprise.config import Project
from reprise.plan import RunJob
from reprise.results import ResultError


@dataclass(frozen=True)
class Compared:
    """Seconds that finished items took, and those that they were planned to take."""

    taken: float
    planned: float


def compare(
    project: Project,
    items: Items,
    planned: Mapping[str, float],
    speed: Speed,
    catalogue: Catalogue,
) -> Compared | None:
    """Return both of what is finished among items; None where nothing is.

    ``planned`` are seconds by item, and ``catalogue`` has the names of machines. Evaluations of a
    run count where all of them are among the items, since they share features and the first to
    want those is the one that takes the time.
    """
    taken, ours = 0.0, 0.0
    found = False
    for group in _groups(project, items):
        both = [seconds(project, item, speed, catalogue) for item in group if _is_timed(item)]
        if not both or any(one is None for one in both):
            continue
        found = True
        taken += sum(one for one in both if one is not None)
        ours += sum(planned[item.key] for item in group)
    return Compared(taken, ours) if found else None


def _groups(project: Project, items: Items) -> Iterator[list[Item]]:
    """Yield each training that has steps, and all evaluations of each run that has all of them."""
    evaluations: dict[tuple[str, int], list[Item]] = {}
    for item in items.values():
        if item.kind == "training" and item.images:
            yield [item]
        elif item.kind == "evaluation":
            evaluations.setdefault((item.run, item.seed), []).append(item)
    for (run, _), group in evaluations.items():
        wanted = project.run(*run.split("/")).evaluate
        if {item.what for item in group if _is_timed(item)} == set(wanted):
            yield group


def _is_timed(item: Item) -> bool:
    """Whether an item has seconds of its own: features and probes are within evaluations."""
    return not item.key.startswith(("features ", "probe "))


def seconds(project: Project, item: Item, speed: Speed, catalogue: Catalogue) -> float | None:
    """Return the GPU seconds (or job seconds, on this machine) that a finished item took.

    None where it is not there, was of another length, or was computed on something else than the
    plan is made for. Whether its settings have changed since otherwise is not asked.
    """
    slug, _, name = item.run.partition("/")
    job = RunJob(project, slug, name, item.seed)
    try:
        meta = results.read_meta(job)
        if meta["steps"] != job.run.steps or meta.get("batch_size") != job.run.batch_size:
            return None
        if machine_of(meta, catalogue) != speed.name:
            return None
        if item.kind == "training":
            return float(meta["wall_seconds"]) * int(meta.get("processes", 1))
        return float(results.read_evaluation(job, item.what)["seconds"])
    except ResultError:
        return None
