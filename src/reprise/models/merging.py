"""Token merging between stages: four tokens become one of twice the width.

LITv2 merges where a layer finds it useful to look (deformable token merging, from LITv1,
arXiv 2105.14217): a 2x2 convolution of stride 2 whose taps are moved by predicted offsets. It is
written as one `grid_sample` and one linear map, which needs no compiled extension, runs in bf16 and
is 3 to 4 times as fast on a processor as `torchvision.ops.deform_conv2d`, whose results it equals.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TAPS = 4  # of a 2x2 kernel


def sample_taps(x: Tensor, offsets: Tensor) -> Tensor:
    """Return what the moved taps of a 2x2 kernel of stride 2 see: float32 [B, C * 4, h, w].

    x: [B, H, W, C]. offsets: [B, 8, h, w] in pixels, (down, right) for each tap, rows of taps
    first. Between pixels values are interpolated, outside the map they are 0. Positions are
    computed in float32: bf16 cannot tell neighbouring pixels apart at the far side of a map.
    """
    b, height, width, channels = x.shape
    h, w = offsets.shape[-2:]
    moved = offsets.float().reshape(b, 2, 2, 2, h, w)
    tap = torch.arange(2, device=x.device)
    rows = tap.view(2, 1, 1, 1) + 2 * torch.arange(h, device=x.device).view(h, 1)
    columns = tap.view(2, 1, 1) + 2 * torch.arange(w, device=x.device)
    # grid_sample's coordinates run from -1 to 1 between the outer edges of the outer pixels.
    down = (moved[:, :, :, 0] + rows + 0.5) * (2 / height) - 1
    right = (moved[:, :, :, 1] + columns + 0.5) * (2 / width) - 1
    grid = torch.stack([right, down], dim=-1).reshape(b, TAPS * h, w, 2)
    seen = F.grid_sample(x.permute(0, 3, 1, 2).float(), grid, align_corners=False)
    return seen.reshape(b, channels * TAPS, h, w)


class DeformableConv(nn.Conv2d):
    """A 2x2 convolution of stride 2, [B, H, W, C] to [B, H // 2, W // 2, O], with moved taps."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__(channels, outputs, kernel_size=2, stride=2)
        self.conv_offset = nn.Conv2d(channels, 2 * TAPS, kernel_size=2, stride=2)
        nn.init.zeros_(self.conv_offset.weight)
        assert self.conv_offset.bias is not None
        nn.init.zeros_(self.conv_offset.bias)

    def forward(self, x: Tensor) -> Tensor:
        offsets = self.conv_offset(x.permute(0, 3, 1, 2))
        h, w = offsets.shape[-2:]
        seen = sample_taps(x, offsets).to(x.dtype).flatten(2).transpose(1, 2)
        merged: Tensor = F.linear(seen, self.weight.flatten(1), self.bias).unflatten(1, (h, w))
        return merged


class PlainConv(nn.Conv2d):
    """The same without offsets."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__(channels, outputs, kernel_size=2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Merging(nn.Module):
    """Convolution, batch normalisation and GELU: [B, H, W, C] to [B, H // 2, W // 2, O]."""

    def __init__(self, channels: int, outputs: int, deformable: bool = True) -> None:
        super().__init__()
        convolution = DeformableConv if deformable else PlainConv
        self.dconv = convolution(channels, outputs)
        self.norm_layer = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        merged = self.norm_layer(self.dconv(x).permute(0, 3, 1, 2))
        return F.gelu(merged).permute(0, 2, 3, 1).contiguous()


def multiply_adds(channels: int, outputs: int, h: int, w: int) -> int:
    """Return those of deformable merging to h x w tokens, as the authors' `flops()` counts them.

    The offsets' convolution is counted with 12 outputs where it has 8. Sampling is not counted;
    biases of convolutions and the normalisation are.
    """
    offsets = 4 * channels * 12 + 12
    return (offsets + 4 * channels * outputs + outputs + outputs) * h * w
