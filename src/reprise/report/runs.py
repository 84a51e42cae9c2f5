"""The finished runs that the report shows: their files, read once, and what they cost."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from reprise import results
from reprise.config import Json, Project
from reprise.plan import RunJob, run_jobs

_NOT_CURVES = {"step", "images", "lr"}


@dataclass(frozen=True)
class FinishedRun:
    """A run whose files are there and current, with its curve and what its evaluators wrote."""

    job: RunJob
    meta: Json
    log: list[Json]
    evaluations: dict[str, Json]

    @property
    def key(self) -> str:
        """Name in the page: 'paper/run'."""
        return f"{self.job.slug}/{self.job.name}"

    @property
    def anchor(self) -> str:
        """Where in the page this run's provenance stands."""
        return f"run-{self.job.slug}-{self.job.name}-{self.job.seed}"

    @property
    def training_seconds(self) -> float:
        return float(self.meta["wall_seconds"])

    @property
    def evaluation_seconds(self) -> float:
        return float(sum(one["seconds"] for one in self.evaluations.values()))

    @property
    def cores(self) -> int:
        """Cores that it kept busy: threads of each process."""
        return int(self.meta["threads"]) * int(self.meta.get("processes") or 1)

    @property
    def core_seconds(self) -> float:
        """Seconds times cores, of training and evaluation (which is always one process)."""
        threads = int(self.meta["threads"])
        return self.training_seconds * self.cores + self.evaluation_seconds * threads

    @property
    def commit(self) -> str:
        """The commit that the run was made from; empty outside a repository."""
        git = self.meta.get("git") or {}
        return str(git.get("commit", ""))[:10] + (", edited" if git.get("dirty") else "")

    @property
    def machine(self) -> str:
        meta = self.meta
        threads = f"{meta['threads']} thread{'' if meta['threads'] == 1 else 's'}"
        processor = meta.get("processor") or "unnamed processor"
        return f"{processor}, {meta['device']}, {meta['precision']}, {threads}"

    @property
    def commands(self) -> list[str]:
        """The commands that made this run and its evaluations."""
        made = (one["command"] for one in self.evaluations.values())
        return list(dict.fromkeys([self.meta["command"], *made]))


def finished_runs(project: Project) -> Mapping[str, list[FinishedRun]]:
    """Return every paper's finished and current runs, in the order of the files.

    Raises ResultError naming the file where one is damaged.
    """
    found: dict[str, list[FinishedRun]] = {slug: [] for slug in project.papers}
    for job in run_jobs(project):
        if not (job.folder / "meta.json").is_file():
            continue
        meta = results.read_meta(job)
        if meta["digest"] == job.digest:
            log = results.read_log(job.folder / "log.jsonl")
            found[job.slug].append(FinishedRun(job, meta, log, dict(_evaluations(job))))
    return found


def _evaluations(job: RunJob) -> Iterator[tuple[str, Json]]:
    for name in job.run.evaluate:
        if (job.eval_folder / f"{name}.json").is_file():
            evaluation = results.read_evaluation(job, name)
            if evaluation["digest"] == job.eval_digest(name):
                yield name, evaluation


def is_curve(key: str, value: object) -> bool:
    """Say whether an entry of a log is a point of a curve: a finite number, no learning rate."""
    if key in _NOT_CURVES or isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return math.isfinite(value)
