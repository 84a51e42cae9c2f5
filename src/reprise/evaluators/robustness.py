"""Robustness: the linear probe of clean images, scored on corrupted test images.

The probe is the one of `linear_probe`, on the same training labels: where both have the same
settings it is fitted once. All runs of a seed meet the same corrupted images.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reprise.data.base import ArraySet, ImageSet
from reprise.data.corruptions import CORRUPTIONS, corrupt
from reprise.evaluators._base import Context, Measured, Result, correctness
from reprise.evaluators.linear_probe import Fitted, about, fitted
from reprise.settings.evaluators import Robustness
from reprise.training.seeding import Draws


@dataclass(frozen=True)
class Images:
    """The chosen test images, uint8 [n, C, H, W], with what corrupts them."""

    data: ImageSet
    chosen: Tensor
    images: Tensor
    labels: Tensor
    draws: Draws

    def corrupted(self, name: str, strength: int) -> ArraySet:
        """Return the images under a corruption, as a data set."""
        made = corrupt(self.images, name, strength, self.draws)
        data = self.data
        return ArraySet(data.name, data.split, made, self.labels, data.classes, data.digest)


def evaluate(context: Context, settings: Robustness, name: str) -> Result:
    """Score on clean images and on each corruption at each strength.

    Metrics, all in percent: ``clean``; ``noise``, ``blur``, ``contrast``, ``occlusion`` (over all
    strengths); ``mean`` (over all corruptions and strengths); ``noise_1`` and so on.
    """
    (probe,) = fitted(context, settings)
    shown = _images(context, settings)
    features = context.features_at(settings.data, "test", shown.chosen)
    clean = correctness("clean", probe.correct(features, shown.labels.numpy()))
    found, pictures = {}, {}
    for corruption in CORRUPTIONS:
        found[corruption], strip = _scored(context, probe, shown, corruption, settings)
        if settings.pictures:
            label = f"{corruption}: clean, then strength 1 to {settings.strengths}"
            pictures[label] = strip
    info = {**about([probe]), "images": len(shown.chosen), "strengths": settings.strengths}
    return Result(shown.data, [clean, *_metrics(found)], pictures, info)


def _images(context: Context, settings: Robustness) -> Images:
    data = context.data(settings.data, "test")
    count = min(settings.images, len(data))
    chosen = torch.arange(count) * len(data) // count  # evenly spread, each once
    images, labels = data.fetch(chosen)
    return Images(data, chosen, images, labels, Draws(context.key.fold("corruptions"), count))


def _scored(
    context: Context, probe: Fitted, shown: Images, corruption: str, settings: Robustness
) -> tuple[NDArray[np.bool_], NDArray[np.uint8]]:
    """Return correctness, bool [n, strengths], and the pictures: each image, then its corruptions.

    Pictures are uint8 [k, H, W], in colour [k, H, W, 3].
    """
    count = min(settings.pictures, len(shown.images))
    spread = torch.arange(count) * len(shown.images) // max(count, 1)
    columns, pictures = [], [shown.images[spread]]
    for strength in range(1, settings.strengths + 1):
        data = shown.corrupted(corruption, strength)
        label = f"{corruption} {strength}"
        found = context.forward(data, torch.arange(len(data)), context.method.features, label)
        columns.append(probe.correct(found.numpy(), data.labels.numpy()))
        pictures.append(data.images[spread])
    strip = torch.stack(pictures, dim=1).flatten(0, 1).permute(0, 2, 3, 1).numpy()
    return np.stack(columns, axis=1), strip[..., 0] if strip.shape[-1] == 1 else strip


def _metrics(found: dict[str, NDArray[np.bool_]]) -> list[Measured]:
    """Return the metrics of correctness [n, strengths] by corruption, the broadest first."""
    return [
        correctness("mean", np.concatenate(list(found.values()), axis=1)),
        *(correctness(corruption, correct) for corruption, correct in found.items()),
        *(
            correctness(f"{corruption}_{strength}", column)
            for corruption, correct in found.items()
            for strength, column in enumerate(correct.T, 1)
        ),
    ]
