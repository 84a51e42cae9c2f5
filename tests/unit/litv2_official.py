"""LITv2 files in the authors' layout, and what such a model computes, both written from its facts.

Nothing here comes from `reprise.models`: names and shapes are those of the authors' files, and the
forward pass is spelled out with torch's functions and torchvision's deformable convolution.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import deform_conv2d

HEAD_DIM = 32
SMALL = (96, (2, 2, 6, 2))
LOFI = {96: 10, 128: 14}  # heads of the third stage, of 12 and 16


def shapes(dim: int, depths: tuple[int, ...], lofi: int, classes: int = 1000) -> dict[str, tuple]:
    """Return name -> shape of a released file with ``lofi`` Lo-Fi heads in its third stage."""
    found: dict[str, tuple] = {
        "patch_embed.proj.weight": (dim, 3, 4, 4),
        "patch_embed.proj.bias": (dim,),
        "patch_embed.norm.weight": (dim,),
        "patch_embed.norm.bias": (dim,),
    }

    def layer(name: str, *shape: int) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = shape, shape[:1]

    for stage, depth in enumerate(depths):
        c = dim * 2**stage
        for block in range(depth):
            at = f"layers.{stage}.blocks.{block}"
            if stage >= 2:
                low = lofi * HEAD_DIM if stage == 2 else c
                layer(f"{at}.norm1", c)
                if low:
                    layer(f"{at}.attn.l_q", low, c)
                    layer(f"{at}.attn.l_kv", 2 * low, c)
                    layer(f"{at}.attn.l_proj", low, low)
                if c - low:
                    layer(f"{at}.attn.h_qkv", 3 * (c - low), c)
                    layer(f"{at}.attn.h_proj", c - low, c - low)
            layer(f"{at}.norm2", c)
            layer(f"{at}.mlp.fc1", 4 * c, c)
            layer(f"{at}.mlp.dwconv.dwconv", 4 * c, 1, 3, 3)
            layer(f"{at}.mlp.fc2", c, 4 * c)
        if stage < 3:
            at = f"layers.{stage}.downsample"
            layer(f"{at}.dconv", 2 * c, c, 2, 2)
            layer(f"{at}.dconv.conv_offset", 8, c, 2, 2)
            layer(f"{at}.norm_layer", 2 * c)
            found[f"{at}.norm_layer.running_mean"] = (2 * c,)
            found[f"{at}.norm_layer.running_var"] = (2 * c,)
            found[f"{at}.norm_layer.num_batches_tracked"] = ()
    layer("norm", 8 * dim)
    layer("head", classes, 8 * dim)
    return found


def weights(
    dim: int = SMALL[0],
    depths: tuple[int, ...] = SMALL[1],
    lofi: int | None = None,
    classes: int = 1000,
) -> dict[str, Tensor]:
    """Return random weights of which every one matters, offsets of about a pixel among them."""
    generator = torch.Generator().manual_seed(0)
    made = {}
    for name, shape in shapes(dim, depths, LOFI[dim] if lofi is None else lofi, classes).items():
        if name.endswith("num_batches_tracked"):
            made[name] = torch.tensor(7)
            continue
        value = torch.randn(shape, generator=generator)
        if len(shape) > 1:
            value *= value[0].numel() ** -0.5
        elif name.endswith("running_var") or ("norm" in name and name.endswith("weight")):
            value = 1 + 0.2 * value.tanh()
        else:
            value *= 0.3
        made[name] = value
    return made


def forward(w: dict[str, Tensor], images: Tensor, depths: tuple[int, ...] = SMALL[1]) -> Tensor:
    """Return scores of images whose sides are multiples of 64."""

    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"])

    x = F.conv2d(images, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=4)
    x = norm(x.permute(0, 2, 3, 1), "patch_embed.norm")
    for stage, depth in enumerate(depths):
        for block in range(depth):
            at = f"layers.{stage}.blocks.{block}"
            if stage >= 2:
                y = norm(x, f"{at}.norm1")
                x = x + _hilo(y, w, f"{at}.attn", 2 if stage == 2 else 1, linear)
            y = linear(norm(x, f"{at}.norm2"), f"{at}.mlp.fc1").permute(0, 3, 1, 2)
            kernel = f"{at}.mlp.dwconv.dwconv"
            y = F.conv2d(
                y, w[f"{kernel}.weight"], w[f"{kernel}.bias"], padding=1, groups=y.shape[1]
            )
            x = x + linear(F.gelu(y).permute(0, 2, 3, 1), f"{at}.mlp.fc2")
        if stage < 3:
            at = f"layers.{stage}.downsample"
            y = x.permute(0, 3, 1, 2).contiguous()
            offset = f"{at}.dconv.conv_offset"
            moved = F.conv2d(y, w[f"{offset}.weight"], w[f"{offset}.bias"], stride=2)
            kernel = f"{at}.dconv"
            y = deform_conv2d(y, moved, w[f"{kernel}.weight"], w[f"{kernel}.bias"], stride=2)
            bn = {
                part: w[f"{at}.norm_layer.{part}"]
                for part in ("running_mean", "running_var", "weight", "bias")
            }
            x = F.gelu(F.batch_norm(y, **bn)).permute(0, 2, 3, 1)
    return linear(norm(x, "norm").mean((1, 2)), "head")


def _hilo(x: Tensor, w: dict[str, Tensor], at: str, s: int, linear) -> Tensor:
    """HiLo with a mask instead of windows: each token sees all, but for the other windows' -inf."""
    b, height, width, _ = x.shape
    branches = []

    def heads(y: Tensor) -> Tensor:
        return y.reshape(b, -1, y.shape[-1] // HEAD_DIM, HEAD_DIM).transpose(1, 2)

    def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | float) -> Tensor:
        scores = q @ k.mT / HEAD_DIM**0.5 + mask
        return (scores.softmax(-1) @ v).transpose(1, 2).reshape(b, height, width, -1)

    if f"{at}.h_qkv.weight" in w:
        rows, columns = torch.arange(height) // s, torch.arange(width) // s
        window = (rows[:, None] * width + columns).flatten()
        mask = torch.zeros(len(window), len(window))
        mask[window[:, None] != window] = float("-inf")
        q, k, v = (heads(part) for part in linear(x, f"{at}.h_qkv").chunk(3, -1))
        branches.append(linear(attend(q, k, v, mask), f"{at}.h_proj"))
    if f"{at}.l_q.weight" in w:
        pooled = x.reshape(b, height // s, s, width // s, s, -1).mean((2, 4))
        k, v = (heads(part) for part in linear(pooled, f"{at}.l_kv").chunk(2, -1))
        branches.append(linear(attend(heads(linear(x, f"{at}.l_q")), k, v, 0.0), f"{at}.l_proj"))
    return torch.cat(branches, -1)
