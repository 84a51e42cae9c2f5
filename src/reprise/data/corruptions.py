"""Corruptions of test images at graded strength: noise, blur, loss of contrast, occlusion.

Noise has the levels of ImageNet-C, contrast those of CIFAR-10-C (arXiv 1903.12261 and its public
code). Blur and occlusion are shares of the image's shorter side, so that a strength means the same
at any size; their levels are ours.

Random numbers come from the `Draws`, and every strength uses the same ones: an image's noise
grows from strength to strength, its occluded square grows about one place.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from reprise.data.transforms import BLUR_REACH, adjust_contrast, blur_matrices
from reprise.training.seeding import BLOCK, Draws

NOISE = (0.08, 0.12, 0.18, 0.26, 0.38)  # deviation, in units of a pixel's full range
BLUR = (0.02, 0.04, 0.06, 0.08, 0.10)  # sigma, share of the shorter side
CONTRAST = (0.75, 0.5, 0.4, 0.3, 0.15)  # factor on the difference from the image's mean grey
OCCLUSION = (0.2, 0.3, 0.4, 0.5, 0.6)  # side of the square, share of the shorter side


def corrupt(images: Tensor, name: str, strength: int, draws: Draws) -> Tensor:
    """Return corrupted images, uint8 [B, C, H, W] like ``images``, in colour or grey.

    Args:
        images: uint8 [B, C, H, W] on ``draws.device``, with B = ``draws.count``.
        name: a key of `CORRUPTIONS`.
        strength: 1 (weak) to 5 (strong).
        draws: the same ones give the same corruption, however the images are batched.

    Raises KeyError for another name and ValueError for another strength.
    """
    function, levels = CORRUPTIONS[name]
    if not 1 <= strength <= len(levels):
        raise ValueError(f"strength {strength} of {name}: must be 1 to {len(levels)}")
    parts = []
    # By blocks, so that the floating-point temporaries stay small for large images.
    for first in range(0, len(images), BLOCK):
        block = images[first : first + BLOCK]
        own = replace(draws, start=draws.start + first, count=len(block))
        pixels = function(block.float().div_(255), levels[strength - 1], own)
        parts.append(pixels.mul_(255).round_().clamp_(0, 255).to(torch.uint8))
    return torch.cat(parts)


def _noise(pixels: Tensor, deviation: float, draws: Draws) -> Tensor:
    """Add Gaussian noise, independent for every pixel and channel, to pixels in 0..1."""
    return pixels.add_(draws.normal("noise", *pixels.shape[1:]), alpha=deviation)


def _blur(pixels: Tensor, share: float, draws: Draws) -> Tensor:
    """Blur with a Gaussian; edges are reflected."""
    height, width = pixels.shape[-2:]
    sigma = share * min(height, width)
    radius = min(math.ceil(BLUR_REACH * sigma), min(height, width) - 1)
    level = torch.tensor([sigma], device=pixels.device)
    rows, columns = (blur_matrices(level, size, radius)[0] for size in (height, width))
    return rows @ pixels @ columns.T


def _contrast(pixels: Tensor, factor: float, draws: Draws) -> Tensor:
    """Move pixels in 0..1 towards their image's mean grey."""
    adjust_contrast(pixels, torch.full((len(pixels), 1, 1, 1), factor, device=pixels.device))
    return pixels


def _occlusion(pixels: Tensor, share: float, draws: Draws) -> Tensor:
    """Blank a square that lies inside the image to each channel's mean."""
    height, width = pixels.shape[-2:]
    side = max(1, round(share * min(height, width)))
    top, left = draws.uniform("occlusion", 2).unbind(1)
    rows = _inside(top, side, height).view(-1, 1, height, 1)
    columns = _inside(left, side, width).view(-1, 1, 1, width)
    return torch.where(rows & columns, pixels.mean((2, 3), keepdim=True), pixels)


def _inside(at: Tensor, side: int, size: int) -> Tensor:
    """Return bool [B, size]: the ``side`` pixels that begin at share ``at`` [B] of the room."""
    first = (at * (size - side + 1)).floor().unsqueeze(1)
    pixel = torch.arange(size, device=at.device)
    return (pixel >= first) & (pixel < first + side)


# Name -> function of (pixels float32 [B, C, H, W] in 0..1, level, draws), and its five levels.
CORRUPTIONS: dict[
    str, tuple[Callable[[Tensor, float, Draws], Tensor], tuple[float, float, float, float, float]]
] = {
    "noise": (_noise, NOISE),
    "blur": (_blur, BLUR),
    "contrast": (_contrast, CONTRAST),
    "occlusion": (_occlusion, OCCLUSION),
}
