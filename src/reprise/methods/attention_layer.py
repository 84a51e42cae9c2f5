"""A single attention layer on tokens [B, N, C] of a square map, for its cost.

``model.name`` is a mechanism of `reprise.models.mechanisms`, ``model.args`` what it is told beside
width and heads; ``augment.size`` is the side of the map in tokens.
"""

import math

import torch
from torch import Tensor, nn

from reprise.config import Run
from reprise.errors import ConfigError
from reprise.models import mechanisms
from reprise.settings.attention_layer import Settings
from reprise.training.method import Batch, Method, Subject
from reprise.training.seeding import Draws


class AttentionLayer(Method):
    """A layer; its loss is the mean of its outputs, which makes every gradient be computed."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.encoder = layer

    def features(self, tokens: Tensor) -> Tensor:
        """Return float [B, N, C] for tokens [B, N, C], row by row of a square map."""
        side = math.isqrt(tokens.shape[1])
        mixed: Tensor = self.encoder(tokens, (side, side))
        return mixed

    def forward(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        return {"loss": self.features(batch.views[0]).mean(dtype=torch.float32)}


def example(run: Run, batch: int, device: torch.device) -> Tensor:
    """Return random tokens float32 [B, N, C] that want a gradient, as within a network."""
    shape = (batch, _side(run) ** 2, Settings.model_validate(run.objective).width)
    return torch.randn(shape, device=device, requires_grad=True)


def build(run: Run, data: Subject) -> AttentionLayer:
    """Build the layer of a run from its settings."""
    settings, side = Settings.model_validate(run.objective), _side(run)
    args = {"size": (side, side), **run.model.args}
    return AttentionLayer(mechanisms.build(run.model.name, settings.width, settings.heads, **args))


def _side(run: Run) -> int:
    if run.augment is None:
        raise ConfigError("attention_layer needs augment.size, the side of the map in tokens")
    return run.augment.size
