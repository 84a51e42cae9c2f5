"""Evaluations as items, by the kind of their settings; another kind is said not to be counted."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from reprise.budget.encodings import Encodings
from reprise.budget.items import Item, Items, merged, one, optimiser_bytes, passes
from reprise.budget.shapes import CAPTION_TOKENS, PLAIN
from reprise.budget.sizes import Sizes
from reprise.plan import RunJob
from reprise.settings import evaluators as kinds

PROBE_ITERATIONS = 100  # of a probe's solver, which stops when little changes
PROBE_COPIES = 3  # of features (as they are, held out, scaled) and of scores, float32
CORRUPTIONS = 4  # noise, blur, contrast, occlusion


class Evaluations(Encodings):
    """Evaluations of a project's runs, with the passes that they need."""

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
                yield one(self._finetuned(job, settings, own))
            case kinds.Classify():
                yield one(replace(own, **self.images(job, data, "test")))
            case kinds.Shifted():
                yield one(replace(own, **self.images(job, data, settings.split)))
            case kinds.Spectrum():
                found = self.images(job, data, settings.split, most=settings.images)
                yield one(replace(own, **found))
            case kinds.Segment():
                yield one(self._segmented(job, settings, own))
            case kinds.Detect():
                yield one(self._detected(job, settings, own))
            case kinds.Caption():
                yield from self._captioned(job, settings, own)
            case kinds.Retrieval():
                yield self.embedded_images(job, settings.data, settings.split)
                yield self.embedded_texts(job, settings.data, settings.split, settings.style)
            case kinds.Gap():
                clip = job.used("clip")
                yield self.embedded_images(clip, settings.data, settings.split)
                yield self.embedded_texts(clip, settings.data, settings.split, settings.style)
            case kinds.Gallery() | kinds.Sheet():
                yield one(own)  # a few pictures
            case _:
                yield one(replace(own, notes=(f"evaluator {settings.kind}: not counted",)))

    def _probed(
        self, job: RunJob, settings: kinds.LinearProbe | kinds.Robustness | kinds.Knn, own: Item
    ) -> Iterator[Items]:
        data = self.data(settings.data)
        total = data.images("train")
        labels = _labels(settings.labels, total)
        draws = settings.draws if isinstance(settings, kinds.LinearProbe) else 1
        wanted = None if labels is None else min(labels * draws, total or labels * draws)
        yield one(self.features(job, settings.data, "train", wanted))
        yield one(self.features(job, settings.data, "test"))
        if isinstance(settings, kinds.Robustness):
            times = CORRUPTIONS * settings.strengths
            found = self.images(job, data, "test", most=settings.images)
            own = replace(own, flops=found["flops"] * times, images=found["images"] * times)
        if isinstance(settings, kinds.Probe) and labels is not None:
            fields = [getattr(settings, name) for name in kinds.Probe.model_fields]
            probe = Item(
                f"probe {job.key} {fields} {draws}",
                "evaluation",
                own.run,
                own.seed,
                f"logistic regression on {labels:,} labels",
                probe_flops=draws * self._probe_flops(job, settings, labels, data),
                state_bytes=PROBE_COPIES * 4 * labels * (self._width(job) + (data.classes or 0)),
            )
            yield one(probe)
        yield one(own)

    def _probe_flops(self, job: RunJob, settings: kinds.Probe, labels: int, data: Sizes) -> float:
        """Return FLOPs: each candidate on four fifths of the labels, the chosen one on all."""
        candidates = len(settings.inverse_regularisation)
        fits = 1 + (0.8 * candidates if candidates > 1 else 0)
        iterations = min(settings.max_iter, PROBE_ITERATIONS)
        return fits * iterations * 4.0 * labels * self._width(job) * (data.classes or 0)

    def _width(self, job: RunJob) -> int:
        """Return the width of a run's features."""
        assert job.run.augment is not None
        size = job.run.augment.size
        return self.counts.width(job.run, self.data(job.run.data), size, size)

    def _finetuned(self, job: RunJob, settings: kinds.Finetune | kinds.Transfer, own: Item) -> Item:
        data, run = self.data(settings.data), job.run
        step = self.counts.finetuning(run, data, settings.augment)
        samples = settings.steps * settings.batch_size
        size = settings.augment.size if isinstance(settings, kinds.Transfer) else None
        test = self.images(job, data, "test", size=size)
        return replace(
            own,
            flops=step.flops * samples + test["flops"],
            images=samples + test["images"],
            state_bytes=optimiser_bytes(settings.optim.name) * step.trained,
            sample_bytes=step.saved_bytes,
            samples=settings.batch_size // (settings.accumulate or 1),
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
        return replace(own, **passes(data, settings.split, flops, most=settings.images))

    def _segmented_once(self, job: RunJob, height: int, width: int) -> float:
        return self.counts.forward(job.run, self.data(job.run.data), height, width).flops

    def _detected(self, job: RunJob, settings: kinds.Detect, own: Item) -> Item:
        data = self.data(settings.data)
        if data.height is None or data.width is None:
            return replace(own, notes=(f"{data.home}: size not known, so not counted",))
        flops = self._segmented_once(job, data.height, data.width)
        return replace(own, **passes(data, settings.split, flops, most=settings.images))

    def _captioned(self, job: RunJob, settings: kinds.Caption, own: Item) -> Iterator[Items]:
        data, run, clip = self.data(settings.data), job.run, job.used("clip")
        if settings.source == "image":
            yield self.embedded_images(clip, settings.data, settings.split)
        else:
            yield self.embedded_texts(clip, settings.data, settings.split, settings.style)
        if "prefix" not in run.objective:  # looked up among training captions, not said
            style = str(run.objective.get("style", PLAIN))
            yield self.embedded_texts(clip, run.data, run.split, style)
            yield one(own)
            return
        position = self.counts.forward(run, self.data(run.data), 0, 0).flops
        beams = settings.beams or int(run.objective["beams"])
        tokens = int(run.objective["prefix"]) + min(CAPTION_TOKENS, int(run.objective["longest"]))
        yield one(replace(own, **passes(data, settings.split, position * beams * tokens)))


def _labels(wanted: int | float, total: int | None) -> int | None:
    if isinstance(wanted, int):
        return wanted
    return None if total is None else round(wanted * total)
