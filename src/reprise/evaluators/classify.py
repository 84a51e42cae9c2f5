"""Top-1 accuracy of a run that was trained as a classifier."""

import torch

from reprise.errors import ConfigError
from reprise.evaluators._base import Context, Result, top1
from reprise.methods.supervised import Supervised
from reprise.settings.evaluators import Classify


def evaluate(context: Context, settings: Classify, name: str) -> Result:
    """Score the run's own head on the test split."""
    return score(context, context.method, settings.data, name)


def score(context: Context, method: torch.nn.Module, alias: str, name: str) -> Result:
    """Score a classifier on the test split of a data set."""
    if not isinstance(method, Supervised):
        raise ConfigError(
            f"{context.job.key}: evaluator {name!r} needs a run with a classification head "
            "(method: supervised); use linear_probe or finetune for this one"
        )
    data, classifier = context.data(alias, "test"), method.eval()
    scores = context.forward(data, torch.arange(len(data)), classifier.logits, name)
    return Result(data, [top1(scores.argmax(dim=1).numpy(), data.labels.numpy())])
