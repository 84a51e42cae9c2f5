"""Counts by architecture: each distinct one is counted once and kept in the state folder.

So a second plan is made without importing torch. What costs nothing (rates, probabilities, losses)
is no part of an architecture.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, cast

from reprise import provenance, registry
from reprise.budget.shapes import Passed, Step, Subject
from reprise.budget.sizes import Sizes
from reprise.config import Json, Project, Run
from reprise.files import write_atomic
from reprise.progress import say
from reprise.settings.base import Augment

SAY_EVERY = 2.0  # seconds
CLASSES = 10  # where their number is not known

# Settings of methods that no count depends on.
_COSTLESS = {
    *("label_smoothing", "mixup", "cutmix", "mix_prob", "loss", "drop_path", "dropout", "repeats"),
    *("drop_path_schedule", "test_crop", "weights", "temperature", "noise_variance", "normalise"),
    *("offset", "target", "source", "style", "styles", "images", "flip", "jitter", "hue", "mean"),
    *("std", "beams", "score_threshold", "suppression", "candidates", "sinkhorn_epsilon"),
}
_ON_OR_OFF = ("weight_contrast", "weight_reconstruct", "weight_denoise", "sigma_max", "momentum")
_OF_IMAGES = {"size"}  # of a recipe's augmentation
_STYLES = {"style", "styles"}  # say that a method reads captions


class Counts:
    """Counts of a project's runs; `save` keeps what was counted anew."""

    def __init__(self, project: Project) -> None:
        self._file = project.state_root / "counts.json"
        self._said = time.monotonic()
        self._known: Json = self._read()
        self._counted = self._saved = 0  # anew
        self._sources: dict[str, str] = {}

    def step(self, run: Run, data: Sizes) -> Step:
        """Return the counts of one sample's share of a training step."""
        subject = self._subject(data)

        def count() -> Step:
            from reprise.budget.counting import count_step, outline

            return count_step(run, outline(run, subject), subject)

        return Step(**self._once("step", run, asdict(subject), count))

    def forward(self, run: Run, data: Sizes, height: int, width: int) -> Passed:
        """Return the counts of one image's inference, head included."""
        subject = self._subject(data)

        def count() -> Passed:
            from reprise.budget.counting import count_pass, outline

            return count_pass(run, outline(run, subject), height, width)

        about = {**asdict(subject), "height": height, "width": width}
        return Passed(**self._once("forward", run, about, count))

    def text(self, run: Run, data: Sizes) -> Passed:
        """Return the counts of one text's embedding by a CLIP."""
        subject = self._subject(data)

        def count() -> Passed:
            from reprise.budget.counting import count_text, outline

            return count_text(outline(run, subject))

        return Passed(**self._once("text", run, {}, count))

    def finetuning(self, run: Run, data: Sizes, augment: Augment) -> Step:
        """Return the counts of a step that trains a run's encoder with a new linear head."""
        subject = self._subject(data)

        def count() -> Step:
            from reprise.budget.counting import count_finetuning

            return count_finetuning(run, subject, augment)

        about = {**asdict(subject), "size": augment.size}
        return Step(**self._once("finetuning", run, about, count))

    def width(self, run: Run, data: Sizes, height: int, width: int) -> int:
        """Return how many numbers a run's features of an image are."""
        subject = self._subject(data)

        def count() -> int:
            from reprise.budget.counting import feature_width, outline

            return feature_width(run, outline(run, subject), height, width)

        return int(self._once("width", run, {"height": height, "width": width}, count)["value"])

    def __enter__(self) -> "Counts":
        return self

    def __exit__(self, *_: object) -> None:
        self.save()

    def save(self) -> None:
        """Keep what was counted, for the next plan."""
        if self._counted > self._saved:
            write_atomic(self._file, json.dumps(self._known))
            self._saved = self._counted

    def _subject(self, data: Sizes) -> Subject:
        return Subject(data.classes or CLASSES, data.height or 0, data.width or 0)

    def _once(self, what: str, run: Run, about: Json, count: Callable[[], Any]) -> Json:
        key = provenance.digest_of(
            {"what": what, "run": architecture(run), **about, "code": self._code(run.method)}
        )
        if key not in self._known:
            self._say(run)
            made = count()
            self._known[key] = {"value": made} if isinstance(made, int) else asdict(made)
            self._counted += 1
        return cast(Json, self._known[key])

    def _say(self, run: Run) -> None:
        """Tell now and then what is being counted; how many there are is known at the end."""
        now = time.monotonic()
        if now - self._said >= SAY_EVERY:
            self._said = now
            self.save()
            say(f"counting operations: {self._counted} architectures done, now {run.model.name}")

    def _code(self, method: str) -> str:
        """Digest of the code that counts and of the method that is counted."""
        if method not in self._sources:
            files = provenance.sources(
                "reprise.budget.counting", registry.module_path("method", method)
            )
            self._sources[method] = provenance.digest_of_sources(files)
        return self._sources[method]

    def _read(self) -> Json:
        try:
            known = json.loads(self._file.read_text())
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}


def architecture(run: Run) -> Json:
    """Return the settings of a run that its counts depend on."""
    kept: Json = {}
    for name, value in run.objective.items():
        if name in _ON_OR_OFF:
            kept[name] = bool(value)
        elif name == "image" and isinstance(value, dict):
            kept[name] = {key: value[key] for key in sorted(_OF_IMAGES & value.keys())}
        elif name not in _COSTLESS and value is not None:
            kept[name] = value
    return {
        "method": run.method,
        "model": run.model.model_dump(mode="json"),
        "objective": kept,
        "size": None if run.augment is None else run.augment.size,
        "captions": bool(_STYLES & run.objective.keys()),
    }
