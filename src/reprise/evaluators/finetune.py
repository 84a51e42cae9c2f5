"""Finetuning: the pretrained encoder and a new linear head, trained on all or a few labels."""

import copy
import re

from timm.layers import DropPath
from torch import nn

from reprise.errors import ConfigError
from reprise.evaluators._base import Context, Result
from reprise.evaluators.classify import score
from reprise.methods.supervised import Supervised
from reprise.settings.evaluators import Finetune
from reprise.settings.supervised import Settings
from reprise.training.loop import Fit, FitSettings


def evaluate(context: Context, settings: Finetune, name: str) -> Result:
    """Train on class-balanced labels with the engine's loop (resumable), score on the test split.

    The random streams are those of the seed, so every run is finetuned on the same labels, in the
    same order and with the same crops.
    """
    data = context.data(settings.data, "train")
    subset = None if settings.labels == 1.0 else context.few(data, settings.labels)
    key = context.key.fold("finetune")
    key.fold("head").seed_everything()
    head = Settings(label_smoothing=settings.label_smoothing)
    encoder = copy.deepcopy(context.method.encoder)
    if settings.drop_path is not None:
        set_drop_path(encoder, settings.drop_path, name)
    classifier = Supervised(encoder, len(data.classes), head)
    fit = Fit(
        classifier,
        data,
        fit_settings(settings, context.job.run.precision),
        key,
        context.state_folder / name,
        context.world,
        f"{context.job.key} {name}",
        subset,
    )
    state = fit.run()
    result = score(context, classifier, settings.data, name)
    labels = len(data) if subset is None else len(subset)
    met = min(labels, settings.steps * settings.batch_size)  # a short finetuning meets fewer
    result.info.update(
        train_labels=labels,
        train_labels_met=met,
        steps=state.step,
        train_seconds=round(state.seconds, 3),
    )
    return result


def set_drop_path(encoder: nn.Module, rate: float, name: str) -> None:
    """Give all blocks of an encoder the same stochastic depth, as DeiT III's recipe does.

    ``name`` is the evaluator's. ConfigError where a rate above 0 finds no block that has any.
    """
    places = [
        (block, place)
        for block in encoder.modules()
        for place, part in block.named_children()
        if isinstance(part, DropPath) or _stands_for_one(place, part)
    ]
    for block, place in places:
        setattr(block, place, DropPath(rate))
    if rate and not places:
        raise ConfigError(
            f"evaluator {name!r}: drop_path = {rate:g}: {type(encoder).__name__} has no block with "
            "stochastic depth; set it to 0, or leave it out"
        )


def _stands_for_one(place: str, part: nn.Module) -> bool:
    """Say whether a part is what timm's blocks have for stochastic depth of rate 0."""
    return isinstance(part, nn.Identity) and bool(re.fullmatch(r"drop_path\d*", place))


def fit_settings(settings: Finetune, precision: str) -> FitSettings:
    """Return what the loop must know of a finetuning."""
    return FitSettings(
        steps=settings.steps,
        batch_size=settings.batch_size,
        optim=settings.optim,
        augment=settings.augment,
        accumulate=settings.accumulate or 1,
        precision=precision,
        whole_photographs=bool(settings.whole_photographs),
    )
