"""What evaluators share: a context that gives features and predictions, and a result's shape."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reprise import reduce
from reprise.config import Json
from reprise.data.base import ImageSet, few_labels
from reprise.data.transforms import normalise
from reprise.plan import RunJob
from reprise.progress import bar
from reprise.training.distributed import World
from reprise.training.method import Method
from reprise.training.run import load_data, run_key
from reprise.training.seeding import Key

EVAL_BATCH = 500


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
    return Measured("top1", "percent_correct", (predicted == truth).astype(np.uint8))


class Context:
    """A trained method under evaluation, with what several evaluators would compute twice."""

    def __init__(self, job: RunJob, method: Method, world: World, state_folder: Path) -> None:
        self.job, self.method, self.world, self.state_folder = job, method, world, state_folder
        self._features: dict[tuple[str, str, int | float], tuple[NDArray[np.float32], Tensor]] = {}

    @property
    def key(self) -> Key:
        """Root of the random streams; the seed's, so every run gets the same few labels."""
        return run_key(self.job.run, self.job.seed)

    def data(self, alias: str, split: str) -> ImageSet:
        """Return a split of a data set of the scale."""
        return load_data(self.job.project, alias, split)

    def few(self, data: ImageSet, labels: int | float) -> Tensor:
        """Return the indices of a few labelled training images, the same for every run."""
        return few_labels(all_labels(data), labels, self.key.fold("few"))

    def forward(
        self, data: ImageSet, chosen: Tensor, function: Callable[[Tensor], Tensor], label: str
    ) -> Tensor:
        """Apply a function of normalised images [B, C, H, W] to chosen images, in batches."""
        augment, outputs = self.job.run.augment, []
        self.method.eval()
        with bar(f"{self.job.key} {label}", len(chosen)) as shown, torch.inference_mode():
            for part in chosen.split(EVAL_BATCH):
                images = data.fetch(part)[0].to(self.world.device)
                outputs.append(function(normalise(images, augment)).float().cpu())
                shown.advance(len(part))
        return torch.cat(outputs)

    def features(
        self, alias: str, split: str, labels: int | float = 1.0
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return frozen features [n, D] and labels [n] of a split, or of a few of its images."""
        if (alias, split, labels) not in self._features:
            data = self.data(alias, split)
            chosen = torch.arange(len(data)) if labels == 1.0 else self.few(data, labels)
            found = self.forward(data, chosen, self.method.features, f"features of {split}")
            self._features[alias, split, labels] = (found.numpy(), all_labels(data)[chosen])
        found_features, found_labels = self._features[alias, split, labels]
        return found_features, found_labels.numpy()


def all_labels(data: ImageSet) -> Tensor:
    """Return the labels int64 [N] of a whole split."""
    return data.labels
