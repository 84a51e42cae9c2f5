"""What a method is to the engine: a module that turns a batch into named losses."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

from reprise.training.seeding import Draws


@dataclass(frozen=True)
class Batch:
    """One process's share of a step.

    views: float32 [B, C, H, W] each, normalised, one tensor per view that the method asks for.
    labels: int64 [B]. indices: int64 [B], positions in the data set.
    """

    views: tuple[Tensor, ...]
    labels: Tensor
    indices: Tensor


class Method(nn.Module, ABC):
    """A trainable method around an encoder (a timm model without classifier)."""

    num_views: int = 1
    # True where one sample's loss depends on the others of the batch (contrast): such a batch
    # cannot be split for gradient accumulation, and its features are gathered across processes.
    mixes_samples: bool = False
    encoder: nn.Module

    @abstractmethod
    def forward(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """Return scalar float32 losses; ``loss`` is the one that is minimised."""

    def features(self, images: Tensor) -> Tensor:
        """Return float [B, D] pooled features of normalised images [B, C, H, W], for probes."""
        pooled: Tensor = self.encoder(images)
        return pooled
