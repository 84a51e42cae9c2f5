"""What evaluators share: a context that gives features and predictions, and a result's shape."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reprise import reduce
from reprise.config import Json
from reprise.data.base import ImageSet, few_labels
from reprise.data.transforms import normalise
from reprise.errors import ConfigError
from reprise.plan import RunJob
from reprise.progress import bar
from reprise.settings.base import Augment
from reprise.training.distributed import World
from reprise.training.loop import autocast, resolve_precision
from reprise.training.method import Method
from reprise.training.run import load_data, run_key
from reprise.training.seeding import Key

# Images of one forward pass. On a CPU a small batch stays in its caches: measured at the demo's
# size, 64 images at a time are twice as fast as 500.
BATCH = {"cpu": 64, "cuda": 500}

T = TypeVar("T")


@dataclass(frozen=True)
class Measured:
    """One metric: its per-image statistics and the function that turns any resample into it."""

    metric: str
    reduce: str
    statistics: NDArray[np.generic]

    def record(self) -> Json:
        """Return the metric as JSON: name, value, n, and how to recompute it."""
        return {
            "metric": self.metric,
            "value": reduce.apply(self.reduce, self.statistics),
            "n": len(self.statistics),
            "reduce": self.reduce,
            "statistics": self.metric,
        }


@dataclass(frozen=True)
class Result:
    """What an evaluator yields: metrics, pictures (label -> uint8 arrays), and notes."""

    split: ImageSet
    metrics: list[Measured] = field(default_factory=list)
    pictures: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    info: Json = field(default_factory=dict)


def top1(predicted: NDArray[np.int64], truth: NDArray[np.int64]) -> Measured:
    """Return top-1 accuracy in percent, with one correct-or-not per image."""
    return correctness("top1", predicted == truth)


def correctness(metric: str, correct: NDArray[np.bool_]) -> Measured:
    """Return accuracy in percent from bool [n], or from [n, r] of n images classified r times."""
    how = "percent_correct" if correct.ndim == 1 else "percent_correct_repeated"
    return Measured(metric, how, correct.astype(np.uint8))


class FeatureStore:
    """Features of a split's images, each computed once, whoever asks for it and in what company."""

    def __init__(self, total: int) -> None:
        self._row = torch.full((total,), -1)  # of each image in the features, or -1
        self._features: Tensor | None = None

    def get(self, chosen: Tensor, compute: Callable[[Tensor], Tensor]) -> NDArray[np.float32]:
        """Return features [n, D] at indices int64 [n]; ``compute`` makes those still missing."""
        missing = chosen[self._row[chosen] < 0].unique()
        if len(missing):
            found, old = compute(missing), self._features
            self._row[missing] = torch.arange(len(missing)) + (0 if old is None else len(old))
            self._features = found if old is None else torch.cat([old, found])
        assert self._features is not None
        return np.asarray(self._features[self._row[chosen]])


class Context:
    """A trained method under evaluation, with what several evaluators would compute twice."""

    def __init__(self, job: RunJob, method: Method, world: World, state_folder: Path) -> None:
        self.job, self.method, self.world, self.state_folder = job, method, world, state_folder
        self._made: dict[Hashable, Any] = {}

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what ``make`` returned when the key was first asked for."""
        if key not in self._made:
            self._made[key] = make()
        made: T = self._made[key]
        return made

    @property
    def key(self) -> Key:
        """Root of the random streams; the seed's, so every run gets the same few labels."""
        return run_key(self.job.run, self.job.seed)

    @property
    def augment(self) -> Augment:
        """How the run's images are normalised; ConfigError where it takes none."""
        if self.job.run.augment is None:
            raise ConfigError(f"{self.job.key}: its method takes no images; remove this evaluator")
        return self.job.run.augment

    def data(self, alias: str, split: str) -> ImageSet:
        """Return a split of a data set of the scale."""
        return self.once(("data", alias, split), lambda: load_data(self.job.project, alias, split))

    def few(self, data: ImageSet, labels: int | float, draw: int = 0) -> Tensor:
        """Return the indices of a few labelled training images, the same for every run."""
        key = self.key.fold("few")
        return few_labels(all_labels(data), labels, key.fold("draw", draw) if draw else key)

    def forward(
        self, data: ImageSet, chosen: Tensor, function: Callable[[Tensor], Tensor], label: str
    ) -> Tensor:
        """Apply a function of normalised images [B, C, H, W] to chosen images, in batches.

        It computes in the run's precision; the result is float32, on the CPU.
        """
        augment, outputs, device = self.augment, [], self.world.device
        precision = resolve_precision(self.job.run.precision, device)
        self.method.eval()
        with (
            bar(f"{self.job.key} {label}", len(chosen)) as shown,
            torch.inference_mode(),
            autocast(precision, device),
        ):
            for part in chosen.split(BATCH[device.type]):
                images = data.fetch(part)[0].to(device)
                outputs.append(function(normalise(images, augment)).float().cpu())
                shown.advance(len(part))
        return torch.cat(outputs)

    def features(
        self, alias: str, split: str, labels: int | float = 1.0
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return frozen features [n, D] and labels [n] of a split, or of a few of its images."""
        data = self.data(alias, split)
        chosen = torch.arange(len(data)) if labels == 1.0 else self.few(data, labels)
        return self.features_at(alias, split, chosen), all_labels(data)[chosen].numpy()

    def features_at(self, alias: str, split: str, chosen: Tensor) -> NDArray[np.float32]:
        """Return frozen features [n, D] of the images of a split at indices int64 [n]."""
        data = self.data(alias, split)

        def compute(missing: Tensor) -> Tensor:
            return self.forward(data, missing, self.method.features, f"features of {split}")

        store = self.once(("features", alias, split), lambda: FeatureStore(len(data)))
        return store.get(chosen, compute)


def all_labels(data: ImageSet) -> Tensor:
    """Return the labels int64 [N] of a whole split."""
    return data.labels
