"""All that rows, tables and papers need, as items: each training, pass and embedding once."""

from dataclasses import replace

from reprise.budget.catalogue import Catalogue
from reprise.budget.counts import Counts
from reprise.budget.evaluations import Evaluations
from reprise.budget.items import Item, Items, merged, one, optimiser_bytes
from reprise.budget.machines import pil_seconds
from reprise.budget.shapes import PLAIN
from reprise.budget.sizes import Sizes
from reprise.config import Project, Row, Run
from reprise.plan import BenchmarkJob, RunJob, TableJob, split_run

__all__ = ["Item", "Work"]

BLOCK = 64  # images of a batch that one process takes whole


class Work(Evaluations):
    """The items of a project's rows, tables and papers."""

    def __init__(self, project: Project, catalogue: Catalogue, counts: Counts) -> None:
        super().__init__(project, catalogue, counts)
        self._trained: dict[str, Items] = {}

    # ---- from tables to runs ----
    def of_table(self, job: TableJob) -> Items:
        """Return all that a table's cells need."""
        return merged(self.of_row(job, row) for row in job.table.rows)

    def of_row(self, job: TableJob, row: Row) -> Items:
        """Return all that a row's cells need, the runs that its own build on included."""
        parts: list[Items] = []
        for column, metric in job.table.metrics.items():
            if row.run is None or metric.printed or metric.setting is not None:
                continue
            slug, name = split_run(job.slug, row.runs.get(column, row.run))
            run = self.project.run(slug, name)
            if metric.benchmark is not None:
                parts.append(self.of_benchmark(BenchmarkJob(self.project, slug, metric.benchmark)))
            elif run.is_built:
                evaluator = row.evaluators.get(column, metric.evaluator)
                for seed in self.project.seeds(run):
                    run_job = RunJob(self.project, slug, name, seed)
                    parts.append(self.of_training(run_job))
                    if evaluator is not None and evaluator in run.evaluate:
                        parts.append(self.of_evaluation(run_job, evaluator))
        return merged(parts)

    def of_run(self, job: RunJob) -> Items:
        """Return a run's training with all before it, and all its evaluations."""
        evaluations = (self.of_evaluation(job, name) for name in job.run.evaluate)
        return merged((self.of_training(job), *evaluations))

    # ---- training ----
    def of_training(self, job: RunJob) -> Items:
        """Return a run's training and what it waits for: other runs, embeddings."""
        if job.key not in self._trained:
            before = [self.of_training(earlier) for earlier in job.earlier_jobs]
            own = self.training(job)
            if job.run.steps:
                before.append(self._embedded_for_training(job))
            self._trained[job.key] = merged([*before, one(own)])
        return self._trained[job.key]

    def training(self, job: RunJob) -> Item:
        """Return a run's own training alone."""
        run, name = job.run, f"{job.slug}/{job.name}"
        label = f"{run.steps:,} steps of {run.batch_size:,}" if run.steps else "weights as they are"
        item = Item(f"train {job.key}", "training", name, job.seed, label)
        data = self.data(run.data)
        if not run.steps:
            return replace(item, weights_bytes=4.0 * self._parameters(run, data))
        step, samples = self.counts.step(run, data), run.steps * run.batch_size
        return replace(
            item,
            flops=step.flops * samples,
            images=float(samples),
            host_seconds=samples * _host_seconds(run),
            spread=_spread(run),
            state_bytes=_state_bytes(run, step.parameters, step.trained),
            sample_bytes=step.saved_bytes,
            samples=run.batch_size // run.accumulate,
            weights_bytes=4.0 * step.parameters,
        )

    def _parameters(self, run: Run, data: Sizes) -> int:
        if run.augment is None:  # nothing that has weights of its own
            return 0
        return self.counts.forward(run, data, run.augment.size, run.augment.size).parameters

    # ---- embeddings ----
    def _embedded_for_training(self, job: RunJob) -> Items:
        """Return the embeddings of a frozen model that a run is trained on."""
        clip = job.used_jobs.get("clip")
        if clip is None:
            return {}
        source, offset = job.run.objective.get("source"), job.run.objective.get("offset", "none")
        parts = []
        if source == "image" or offset != "none":
            parts.append(self.embedded_images(clip, job.run.data, job.run.split))
        if source != "image" or offset != "none":
            style = str(job.run.objective.get("style", PLAIN))
            parts.append(self.embedded_texts(clip, job.run.data, job.run.split, style))
        return merged(parts)

    # ---- benchmarks ----
    def of_benchmark(self, job: BenchmarkJob) -> Items:
        """Return a benchmark's measuring time."""
        settings = job.benchmark
        passes = len(settings.runs) * (2 if settings.backward else 1)
        item = Item(
            f"benchmark {job.key}",
            "benchmark",
            job.key,
            0,
            f"{len(settings.runs)} runs in turns",
            seconds=settings.seconds * passes,
        )
        return one(item)


def _spread(run: Run) -> int:
    """Return over how many processes a batch can be spread.

    Pillow draws for whole blocks of images, and copies of images lie within one.
    """
    whole = _augmented_by_pillow(run) or run.objective.get("repeats", 1) > 1
    parts, rest = divmod(run.batch_size, (BLOCK if whole else 1) * run.accumulate)
    return max(1, parts) if not rest else 1


def _host_seconds(run: Run) -> float:
    """Return what a sample takes of one core while the accelerator waits: Pillow's augmentation."""
    return pil_seconds(int(run.objective["image"]["size"])) if _augmented_by_pillow(run) else 0.0


def _augmented_by_pillow(run: Run) -> bool:
    image = run.objective.get("image")
    return isinstance(image, dict) and image.get("backend") == "pil"


def _state_bytes(run: Run, parameters: int, trained: int) -> float:
    average = 4 * parameters if run.optim.ema_decay is not None else 0
    return 4.0 * (parameters - trained) + optimiser_bytes(run.optim.name) * trained + average
