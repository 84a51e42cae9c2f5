"""What a method is to the engine: a module that turns a batch into named losses."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from reprise.data.cropping import Crop, of_augment
from reprise.settings.base import Augment
from reprise.training.seeding import Draws

if TYPE_CHECKING:  # plan and data are what a method is given, not what it computes
    from reprise.data.base import ImageSet
    from reprise.plan import RunJob


class Subject(Protocol):
    """What a method's size depends on; an `ImageSet` has it, and benchmarks make one up."""

    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def channels(self) -> int: ...


@dataclass(frozen=True)
class StandIn:
    """A subject where there are no data: for the cost of steps, which no label changes."""

    classes: tuple[str, ...]
    channels: int


@dataclass(frozen=True)
class Batch:
    """One process's share of a step.

    views: float32 [B, C, H, W] each, normalised, one tensor per view that the method asks for; of
    a run without augmentation one tensor, the samples as they are. labels: int64 [B], or [B, ...]
    where a sample's label is several numbers, such as a caption's tokens. indices: int64 [B],
    positions in the data set.
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
    # How often each sample stands in a batch, where `cut` leaves that to the loop.
    copies: int = 1
    # Name of the part that a run starting from another one's weights takes over (`init_from`).
    carries: str = "encoder"
    encoder: nn.Module

    def attach(self, job: "RunJob", data: "ImageSet") -> None:
        """Take what else it needs of its run and training data; once, after it is built."""

    def samples(self, data: "ImageSet", device: torch.device) -> "ImageSet":
        """Return what the loop trains on; other than the data where samples are not images."""
        return data

    def cut(self, augment: Augment) -> Crop:
        """Leave random crops to the loop, which cuts them from whole photographs; return how.

        Called once, before training; the views then are crops. Raises ConfigError where neither
        the loop's augmentation nor the method's own crops at random.
        """
        return of_augment(augment)

    def weight(self, batch: Batch) -> Tensor:
        """Return how much a batch's loss counts beside other parts of a step: by its samples.

        A scalar. A step that is split over processes or passes then has the mean over all of it,
        also where a loss is a mean over something that samples have more or less of.
        """
        return torch.tensor(len(batch.labels))

    @abstractmethod
    def forward(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """Return scalar float32 losses; ``loss`` is the one that is minimised."""

    def retract(self) -> None:
        """Take back what the last forward pass in training moved other than buffers, if anything.

        Called where its loss is not finite: the state that is saved is the one before the step.
        """

    def features(self, images: Tensor) -> Tensor:
        """Return float [B, D] pooled features of normalised images [B, C, H, W], for probes."""
        pooled: Tensor = self.encoder(images)
        return pooled
