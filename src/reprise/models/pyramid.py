"""Four maps of an image from any backbone, each half as fine as the one before, for dense heads.

A plain vision transformer has maps of one size only: those of four of its blocks are made finer and
coarser by few layers (BEiT and MAE with UperNet, and DeiT III after them). Models of stages give
their maps as they are; where they have fewer than four, the last is pooled.

    pyramid = Pyramid(encoder)          # holds its own layers alone
    finest, *others = pyramid(encoder, images)
"""

import math
from collections.abc import Collection
from itertools import pairwise
from typing import Any, cast

import torch.nn.functional as F
from timm.layers import LayerNorm2d
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from reprise.errors import ConfigError

LEVELS = 4
# After these shares of a transformer's blocks its maps are taken, the coarsest last: blocks 4, 6, 8
# and 12 of twelve, 8, 12, 16 and 24 of 24, as in the XCiT code that DeiT III's segmentation uses.
SHARES = (1 / 3, 1 / 2, 2 / 3, 1)
# Layers of an encoder behind its last map. They get no gradient here.
BEHIND = ("norm", "fc_norm", "head")


class Pyramid(nn.Module):
    """The layers between an encoder and a head that wants four maps.

    ``channels`` and ``strides`` (pixels of the image per step of the map, not whole where a patch
    of 7 pixels is parted) are those of the maps, finest first. ``multiple``: images are padded on
    the right and below to sides that are a multiple of it, so that each map has exactly twice the
    sides of the next.
    """

    def __init__(self, encoder: nn.Module, normalised: Collection[int] = ()) -> None:
        """``normalised`` are the maps, from 0 for the finest, that get a LayerNorm of their own.

        The encoder is only read, except that layers which no map needs are no longer trained.
        Raises ConfigError where it is neither a plain ViT of any image size nor has such stages.
        """
        super().__init__()
        plain = isinstance(encoder, VisionTransformer)
        make = _of_plain if plain else _of_stages
        self.taken, widths, self.strides, layers = make(cast(Any, encoder))
        self.channels: list[int] = widths
        self.layers = nn.ModuleList(layers)
        self.norms = nn.ModuleList(
            LayerNorm2d(width) if level in normalised else nn.Identity()
            for level, width in enumerate(self.channels)
        )
        self.multiple = math.ceil(self.strides[-1])
        for name in BEHIND:
            part = getattr(encoder, name, None)
            if isinstance(part, nn.Module):
                part.requires_grad_(False)

    def forward(self, encoder: nn.Module, images: Tensor) -> list[Tensor]:
        """Return maps [B, channels, H / stride, W / stride], finest first, of images [B, C, h, w].

        H and W are h and w made multiples of ``multiple`` by zeros on the right and below, which in
        normalised images are the mean colour.
        """
        height, width = images.shape[2:]
        images = F.pad(images, (0, -width % self.multiple, 0, -height % self.multiple))
        # On a CPU the backward pass of torch's fused attention takes longest where tokens are few.
        fused = not self.training or images.device.type != "cpu"
        for module in encoder.modules():
            if hasattr(module, "fused_attn"):
                cast(Any, module).fused_attn = fused
        found = cast(Any, encoder).forward_intermediates(
            images, indices=sorted(set(self.taken)), intermediates_only=True
        )
        by_index = dict(zip(sorted(set(self.taken)), found, strict=True))
        return [
            norm(layer(by_index[index]))
            for index, layer, norm in zip(self.taken, self.layers, self.norms, strict=True)
        ]


Parts = tuple[list[int], list[int], list[float], list[nn.Module]]


def _of_plain(vit: VisionTransformer) -> Parts:
    """Return of each map: the block it is of, its width, its stride, and the layers to it."""
    if not vit.dynamic_img_size:
        raise ConfigError(
            "a plain ViT gives maps of any image only with model.args: {dynamic_img_size: true}"
        )
    patch, width, depth = vit.patch_embed.patch_size[0], vit.embed_dim, len(vit.blocks)

    def double() -> nn.Module:
        return nn.ConvTranspose2d(width, width, kernel_size=2, stride=2)

    layers: list[nn.Module] = [
        nn.Sequential(double(), nn.BatchNorm2d(width), nn.GELU(), double()),
        double(),
        nn.Identity(),
        nn.MaxPool2d(2),
    ]
    taken = [max(0, round(share * depth) - 1) for share in SHARES]
    return taken, [width] * LEVELS, [patch / 4, patch / 2, float(patch), 2.0 * patch], layers


def _of_stages(encoder: Any) -> Parts:
    """Return the same of a model of stages, which timm's ``feature_info`` describes."""
    stages = getattr(encoder, "feature_info", None)
    if not isinstance(stages, list) or not hasattr(encoder, "forward_intermediates"):
        raise ConfigError(f"{type(encoder).__name__} has no maps of stages to make a pyramid of")
    first = max(0, len(stages) - LEVELS)
    taken = list(range(first, len(stages)))
    channels = [int(stage["num_chs"]) for stage in stages[first:]]
    strides = [float(stage["reduction"]) for stage in stages[first:]]
    if any(fine * 2 != coarse for fine, coarse in pairwise(strides)):
        raise ConfigError(f"{type(encoder).__name__} has stages of strides {strides}, not doubling")
    layers: list[nn.Module] = [nn.Identity() for _ in taken]
    for pooled in range(1, LEVELS - len(taken) + 1):
        taken.append(taken[-1])
        channels.append(channels[-1])
        strides.append(2 * strides[-1])
        layers.append(nn.MaxPool2d(2**pooled))
    return taken, channels, strides, layers
