"""Finetuning on other data than a run was trained on, at a size and normalisation of its own.

The run's method may prepare its images itself; here its encoder alone is taken over.
"""

from typing import cast

from reprise.evaluators import finetune
from reprise.evaluators._base import Context, Result
from reprise.models.attention import choose_attention
from reprise.settings.base import Augment
from reprise.settings.evaluators import Finetune, Transfer


class OwnSize(Context):
    """A context that prepares test images as the finetuning prepared those it trained on."""

    def __init__(self, context: Context, augment: Augment) -> None:
        super().__init__(context.job, context.method, context.world, context.state_folder)
        self._own = augment

    @property
    def augment(self) -> Augment:
        return self._own


def evaluate(context: Context, settings: Transfer, name: str) -> Result:
    """Train the encoder and a new head as `finetune` does, and score on the test split."""
    choose_attention(context.method.encoder, context.world.device)  # as in training
    own = OwnSize(context, settings.augment)
    return finetune.evaluate(own, cast(Finetune, settings), name)
