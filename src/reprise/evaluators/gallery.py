"""Pictures of what a method sees and makes; the report shows them."""

from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reprise.data.transforms import normalise
from reprise.errors import ConfigError
from reprise.evaluators._base import Context, Result
from reprise.settings.base import Augment
from reprise.settings.evaluators import Gallery
from reprise.training.seeding import Draws


@runtime_checkable
class HasGallery(Protocol):
    """A method that can show its work."""

    def gallery(self, images: Tensor, draws: Draws) -> dict[str, Tensor]:
        """Return label -> normalised pictures [B, C, H, W]."""
        ...


def evaluate(context: Context, settings: Gallery, name: str) -> Result:
    """Show the first test images, spread evenly over the split, through the method."""
    method = context.method.eval()
    if not isinstance(method, HasGallery):
        raise ConfigError(f"{context.job.key}: its method has no pictures for {name!r}; remove it")
    data = context.data(settings.data, "test")
    chosen = torch.linspace(0, len(data) - 1, settings.images).long()
    augment = context.augment
    images = normalise(data.fetch(chosen)[0].to(context.world.device), augment)
    draws = Draws(context.key.fold("gallery"), len(chosen), device=context.world.device)
    shown = method.gallery(images, draws)
    return Result(data, pictures={label: to_uint8(x, augment) for label, x in shown.items()})


def to_uint8(images: Tensor, augment: Augment) -> NDArray[np.uint8]:
    """Return normalised images [B, C, H, W] as uint8 [B, H, W], or [B, H, W, 3] in colour."""
    mean = torch.tensor(augment.mean, device=images.device).view(1, -1, 1, 1)
    std = torch.tensor(augment.std, device=images.device).view(1, -1, 1, 1)
    pixels = ((images * std + mean).clamp(0, 1) * 255).round().to(torch.uint8).cpu()
    pixels = pixels.permute(0, 2, 3, 1)
    return np.asarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)
