"""All that rows, tables and papers need, as items: each training, pass and embedding once.

Items are named by what they are, so that those which several rows share are one. What a data set's
unknown size leaves uncounted is said in an item's notes.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from reprise.budget import sizes
from reprise.budget.catalogue import Catalogue
from reprise.budget.counts import Counts
from reprise.budget.machines import PROBE_FLOPS, pil_seconds
from reprise.budget.sizes import Sizes
from reprise.config import Json, Project, Row, Run
from reprise.plan import BenchmarkJob, RunJob, TableJob, split_run
from reprise.settings import evaluators as kinds

PLAIN = "captions"  # the style of captions that have none
CAPTION_TOKENS = 24  # of a caption that is said
PROBE_ITERATIONS = 100  # of a probe's solver, which stops when little changes
CORRUPTIONS = 4  # noise, blur, contrast, occlusion
BLOCK = 64  # images of a batch that one process takes whole


@dataclass(frozen=True)
class Item:
    """One thing to compute; ``key`` names it, ``run`` is 'paper/run' and the same for a benchmark.

    ``flops`` and ``images`` are the accelerator's; ``host_seconds`` is what it waits for a core of
    its own, ``cpu_seconds`` what one core computes without it, ``seconds`` a fixed measuring time.
    It can be spread over at most ``spread`` GPUs.
    """

    key: str
    kind: str  # training, evaluation, embeddings, benchmark
    run: str
    seed: int
    what: str
    flops: float = 0.0
    images: float = 0.0
    host_seconds: float = 0.0
    cpu_seconds: float = 0.0
    seconds: float = 0.0
    spread: int = 1
    state_bytes: float = 0.0  # weights, gradients, optimiser
    sample_bytes: float = 0.0  # kept for the backward pass, of one sample, float32
    samples: int = 0  # of a forward pass on one GPU
    weights_bytes: float = 0.0  # of the finished model
    notes: tuple[str, ...] = ()

    def larger(self, other: "Item") -> "Item":
        """Return this item with the larger of both numbers: of features, whoever wants more."""
        return self if (self.flops, self.cpu_seconds) >= (other.flops, other.cpu_seconds) else other


Items = dict[str, Item]


def merged(parts: Iterable[Items]) -> Items:
    """Return the items of several rows, each once."""
    found: Items = {}
    for part in parts:
        for key, item in part.items():
            found[key] = item.larger(found[key]) if key in found else item
    return found


class Work:
    """The items of a project's rows, tables and papers."""

    def __init__(self, project: Project, catalogue: Catalogue, counts: Counts) -> None:
        self.project, self.catalogue, self.counts = project, catalogue, counts
        self._sizes: dict[str, Sizes] = {}
        self._trained: dict[str, Items] = {}

    def data(self, alias: str) -> Sizes:
        """Return what is known of the data set behind an alias."""
        if alias not in self._sizes:
            self._sizes[alias] = sizes.of(self.project, self.catalogue, alias)
        return self._sizes[alias]

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
            self._trained[job.key] = merged([*before, {own.key: own}])
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
            parts.append(self._embedded_images(clip, job.run.data, job.run.split))
        if source != "image" or offset != "none":
            style = str(job.run.objective.get("style", PLAIN))
            parts.append(self._embedded_texts(clip, job.run.data, job.run.split, style))
        return merged(parts)

    def _embedded_images(self, clip: RunJob, alias: str, split: str) -> Items:
        data, size = self.data(alias), clip.run.augment.size if clip.run.augment else 0
        passed = self.counts.forward(clip.run, self.data(clip.run.data), size, size)
        return _one(
            Item(
                f"embed {clip.key} {data.home} {split} images",
                "embeddings",
                f"{clip.slug}/{clip.name}",
                clip.seed,
                f"images of {data.home}, {split}",
                **_passes(data, split, passed.flops),
            )
        )

    def _embedded_texts(self, clip: RunJob, alias: str, split: str, style: str) -> Items:
        data = self.data(alias)
        passed = self.counts.text(clip.run, self.data(clip.run.data))
        return _one(
            Item(
                f"embed {clip.key} {data.home} {split} {style}",
                "embeddings",
                f"{clip.slug}/{clip.name}",
                clip.seed,
                f"{style} of {data.home}, {split}",
                **_passes(data, split, passed.flops, data.captions or 1),
            )
        )

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
        return {item.key: item}

    # ---- evaluations ----
    def of_evaluation(self, job: RunJob, name: str) -> Items:
        """Return an evaluation of a run, with the features and embeddings that it reads."""
        settings = self.project.paper(job.slug).evaluators[name]
        own = Item(
            f"evaluate {job.key} {name}", "evaluation", f"{job.slug}/{job.name}", job.seed, name
        )
        return merged(self._evaluation(job, settings, own))

    def _evaluation(self, job: RunJob, settings: Any, own: Item) -> Iterator[Items]:
        """Yield the items of an evaluation, by its settings' kind; others are said not to count."""
        data = self.data(settings.data)
        match settings:
            case kinds.LinearProbe() | kinds.Robustness() | kinds.Knn():
                yield from self._probed(job, settings, own)
            case kinds.Finetune() | kinds.Transfer():
                yield _one(self._finetuned(job, settings, own))
            case kinds.Classify():
                yield _one(replace(own, **self._images(job, data, "test")))
            case kinds.Shifted():
                yield _one(replace(own, **self._images(job, data, settings.split)))
            case kinds.Spectrum():
                found = self._images(job, data, settings.split, most=settings.images)
                yield _one(replace(own, **found))
            case kinds.Segment():
                yield _one(self._segmented(job, settings, own))
            case kinds.Detect():
                yield _one(self._detected(job, settings, own))
            case kinds.Caption():
                yield from self._captioned(job, settings, own)
            case kinds.Retrieval():
                yield self._embedded_images(job, settings.data, settings.split)
                yield self._embedded_texts(job, settings.data, settings.split, settings.style)
            case kinds.Gap():
                clip = job.used("clip")
                yield self._embedded_images(clip, settings.data, settings.split)
                yield self._embedded_texts(clip, settings.data, settings.split, settings.style)
            case kinds.Gallery() | kinds.Sheet():
                yield _one(own)  # a few pictures
            case _:
                yield _one(replace(own, notes=(f"evaluator {settings.kind}: not counted",)))

    def _images(
        self, job: RunJob, data: Sizes, split: str, most: int | None = None, size: int | None = None
    ) -> Json:
        """Return the passes of a split's images, head included, as they reach the run's method."""
        assert job.run.augment is not None
        size = size or job.run.augment.size
        flops = self.counts.forward(job.run, self.data(job.run.data), size, size).flops
        return _passes(data, split, flops, most=most)

    def _features(self, job: RunJob, alias: str, split: str, most: int | None = None) -> Item:
        """Return the passes of features of a split, or of as many images of it as are wanted."""
        data = self.data(alias)
        return Item(
            f"features {job.key} {data.home} {split}",
            "evaluation",
            f"{job.slug}/{job.name}",
            job.seed,
            f"features of {data.home}, {split}",
            **self._images(job, data, split, most),
        )

    def _probed(
        self, job: RunJob, settings: kinds.LinearProbe | kinds.Robustness | kinds.Knn, own: Item
    ) -> Iterator[Items]:
        data = self.data(settings.data)
        total = data.images("train")
        labels = _labels(settings.labels, total)
        draws = settings.draws if isinstance(settings, kinds.LinearProbe) else 1
        wanted = None if labels is None else min(labels * draws, total or labels * draws)
        yield _one(self._features(job, settings.data, "train", wanted))
        yield _one(self._features(job, settings.data, "test"))
        if isinstance(settings, kinds.Robustness):
            times = CORRUPTIONS * settings.strengths
            found = self._images(job, data, "test", most=settings.images)
            own = replace(own, flops=found["flops"] * times, images=found["images"] * times)
        if isinstance(settings, kinds.Probe) and labels is not None:
            fields = [getattr(settings, name) for name in kinds.Probe.model_fields]
            probe = Item(
                f"probe {job.key} {fields} {draws}",
                "evaluation",
                own.run,
                own.seed,
                f"logistic regression on {labels:,} labels",
                cpu_seconds=draws * self._probe_seconds(job, settings, labels, data),
            )
            yield _one(probe)
        yield _one(own)

    def _probe_seconds(self, job: RunJob, settings: kinds.Probe, labels: int, data: Sizes) -> float:
        """Return a core's seconds: each candidate on four fifths of the labels, the last on all."""
        assert job.run.augment is not None
        size = job.run.augment.size
        width = self.counts.width(job.run, self.data(job.run.data), size, size)
        candidates = len(settings.inverse_regularisation)
        fits = 1 + (0.8 * candidates if candidates > 1 else 0)
        iterations = min(settings.max_iter, PROBE_ITERATIONS)
        return fits * iterations * 4.0 * labels * width * (data.classes or 0) / PROBE_FLOPS

    def _finetuned(self, job: RunJob, settings: kinds.Finetune | kinds.Transfer, own: Item) -> Item:
        data, run = self.data(settings.data), job.run
        step = self.counts.finetuning(run, data, settings.augment)
        samples = settings.steps * settings.batch_size
        size = settings.augment.size if isinstance(settings, kinds.Transfer) else None
        test = self._images(job, data, "test", size=size)
        return replace(
            own,
            flops=step.flops * samples + test["flops"],
            images=samples + test["images"],
            state_bytes=_optimiser_bytes(settings.optim.name) * step.trained,
            sample_bytes=step.saved_bytes,
            samples=settings.batch_size,
            notes=test["notes"],
        )

    def _segmented(self, job: RunJob, settings: kinds.Segment, own: Item) -> Item:
        data = self.data(settings.data)
        if data.height is None or data.width is None:
            return replace(own, notes=(f"{data.home}: size not known, so not counted",))
        flops = 0.0
        for scale in settings.scales:
            height, width = round(scale * data.height), round(scale * data.width)
            if settings.window is None:
                flops += self._segmented_once(job, height, width)
            else:
                assert settings.stride is not None
                down, across = (
                    1 + math.ceil(max(0, side - settings.window) / settings.stride)
                    for side in (height, width)
                )
                flops += down * across * self._segmented_once(job, settings.window, settings.window)
        flops *= 2 if settings.flip else 1
        return replace(own, **_passes(data, settings.split, flops, most=settings.images))

    def _segmented_once(self, job: RunJob, height: int, width: int) -> float:
        return self.counts.forward(job.run, self.data(job.run.data), height, width).flops

    def _detected(self, job: RunJob, settings: kinds.Detect, own: Item) -> Item:
        data = self.data(settings.data)
        if data.height is None or data.width is None:
            return replace(own, notes=(f"{data.home}: size not known, so not counted",))
        flops = self._segmented_once(job, data.height, data.width)
        return replace(own, **_passes(data, settings.split, flops, most=settings.images))

    def _captioned(self, job: RunJob, settings: kinds.Caption, own: Item) -> Iterator[Items]:
        data, run, clip = self.data(settings.data), job.run, job.used("clip")
        if settings.source == "image":
            yield self._embedded_images(clip, settings.data, settings.split)
        else:
            yield self._embedded_texts(clip, settings.data, settings.split, settings.style)
        if "prefix" not in run.objective:  # looked up among training captions, not said
            style = str(run.objective.get("style", PLAIN))
            yield self._embedded_texts(clip, run.data, run.split, style)
            yield _one(own)
            return
        position = self.counts.forward(run, self.data(run.data), 0, 0).flops
        beams = settings.beams or int(run.objective["beams"])
        tokens = int(run.objective["prefix"]) + min(CAPTION_TOKENS, int(run.objective["longest"]))
        yield _one(replace(own, **_passes(data, settings.split, position * beams * tokens)))


def _one(item: Item) -> Items:
    return {item.key: item}


def _passes(data: Sizes, split: str, flops: float, times: int = 1, most: int | None = None) -> Json:
    """Return FLOPs and images of a split's passes, or a note that its size is not known."""
    images = data.images(split)
    if images is None and most is None:
        note = f"{data.home}: number of images of {split} not known, so not counted"
        return {"flops": 0.0, "images": 0.0, "notes": (note,)}
    total = times * min(one for one in (images, most) if one is not None)
    return {"flops": flops * total, "images": float(total), "notes": ()}


def _labels(wanted: int | float, total: int | None) -> int | None:
    if isinstance(wanted, int):
        return wanted
    return None if total is None else round(wanted * total)


def _spread(run: Run) -> int:
    """Return over how many processes a batch can be spread: whole blocks of images."""
    blocks, rest = divmod(run.batch_size, BLOCK * run.accumulate)
    return max(1, blocks) if not rest else 1


def gpus_used(item: Item, gpus: int) -> int:
    """Return how many of so many GPUs an item keeps busy: those among which its batch divides."""
    return max(n for n in range(1, min(gpus, item.spread) + 1) if item.spread % n == 0)


def _host_seconds(run: Run) -> float:
    """Return what a sample takes of one core while the accelerator waits: Pillow's augmentation."""
    image = run.objective.get("image")
    if isinstance(image, dict) and image.get("backend") == "pil":
        return pil_seconds(int(image["size"]))
    return 0.0


def _optimiser_bytes(name: str) -> int:
    """Bytes of a trained weight: itself, its gradient, and one or two moments, float32."""
    return 4 * (3 if name == "sgd" else 4)


def _state_bytes(run: Run, parameters: int, trained: int) -> float:
    average = 4 * parameters if run.optim.ema_decay is not None else 0
    return 4.0 * (parameters - trained) + _optimiser_bytes(run.optim.name) * trained + average
