"""Top-1 of a classifier on a test set of another kind, such as ImageNet-A or sketches.

Such sets hold some of the classes that the classifier tells apart; the others' scores are left out,
as is usual for them. Where an image has several right answers (`RealSet`), any of them will do.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reprise.data.base import ImageSet
from reprise.errors import ConfigError
from reprise.evaluators._base import Context, Result, correctness
from reprise.methods.supervised import Supervised
from reprise.settings.evaluators import Shifted
from reprise.training.run import training_data


def evaluate(context: Context, settings: Shifted, name: str) -> Result:
    """Score the run's own head among the classes that the data have."""
    classifier = context.method
    if not isinstance(classifier, Supervised):
        raise ConfigError(
            f"{context.job.key}: evaluator {name!r} needs a run with a classification head"
        )
    data = context.data(settings.data, settings.split)
    known = list(training_data(context.job).classes)
    strange = sorted(set(data.classes) - set(known))
    if strange:
        raise ConfigError(
            f"{context.job.key}: evaluator {name!r}: the classifier knows no class "
            f"{', '.join(strange[:5])} of {settings.data}; classes are matched by folder name"
        )
    columns = torch.tensor([known.index(one) for one in data.classes])
    scores = context.forward(data, torch.arange(len(data)), classifier.logits, name)
    return Result(data, [correctness("top1", _right(scores[:, columns].argmax(dim=1), data))])


def _right(predicted: Tensor, data: ImageSet) -> NDArray[np.bool_]:
    """Return whether each class is an image's, or one of those it has: bool [N]."""
    answers: Tensor = getattr(data, "answers", data.labels[:, None])
    return np.asarray((predicted[:, None] == answers).any(dim=1))
