"""HiLo attention (arXiv 2205.13213): high frequencies in small windows, low ones over a pooled map.

The heads are split in two. Hi-Fi heads attend within windows of s x s tokens and so see edges and
texture; Lo-Fi heads attend from every token to the average of every window and so see the whole
map at 1/s^2 of the keys. Each branch has its own projections; their outputs stand side by side.

    layer = HiLo(dim=768, num_heads=12, window_size=2, alpha=0.9)
    y = layer(torch.randn(16, 14, 14, 768))  # any height and width, channels last

What makes it fast, as measured on a processor (torch 2.14, 14x14 tokens, width 768, batch 16):

- A linear map of a channels-last map is a 1x1 convolution, which oneDNN runs at 107 GFLOP/s a core
  in fp32 where the matrix product behind `F.linear` reaches 96 (217 and 202 in bf16), where
  batch and width are large.
- Queries, keys and values are computed before windows are cut, so only the Hi-Fi share of the
  channels is moved, once, with its tokens in front: then no other copy is needed.
- `avg_pool2d` on the channels-last view takes 0.6 ms; a mean over a reshaped map takes 16.
- Fused attention loses on few keys: see `attend`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reprise.errors import ConfigError

# From so many images and channels on, oneDNN's convolutions beat matrix products on a processor;
# below they lose 5 % and more.
MANY, WIDE = 16, 384
TINY = 16  # keys up to which plain attention is the fastest in any precision
FEW = 256  # ... and on a processor in bf16, where fused attention is slow, above all backwards


def split_heads(num_heads: int, alpha: float) -> tuple[int, int]:
    """Return the numbers of Lo-Fi and Hi-Fi heads: ``alpha`` of the heads, cut off, are Lo-Fi."""
    lofi = int(num_heads * alpha)
    return lofi, num_heads - lofi


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return softmax(q k' / sqrt(d)) v for q [..., N, d] and k, v [..., M, d], strided or not.

    torch's fused attention, unless keys are few: it works in blocks of many, and for four keys
    takes 2.3 times as long as two plain products (measured on a processor).
    """
    keys, d = k.shape[-2:]
    few_in_bf16 = keys <= FEW and q.dtype == torch.bfloat16 and q.device.type == "cpu"
    if keys > TINY and not few_in_bf16:
        if q.dim() == 4:
            return F.scaled_dot_product_attention(q, k, v)
        return F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
    batch = q.shape[:-2]
    q, k, v = (t.reshape(-1, *t.shape[-2:]) for t in (q, k, v))
    # Scores are [keys, queries]: a softmax over rows is vectorised along the queries.
    scores = torch.baddbmm(q.new_empty(1), k, q.mT, beta=0, alpha=d**-0.5)
    out: Tensor = torch.bmm(scores.softmax(dim=1).mT, v).unflatten(0, batch)
    return out


class Pointwise(nn.Linear):
    """`nn.Linear` for channels-last maps, computed the fastest way for device and batch."""

    def forward(self, x: Tensor) -> Tensor:
        large = x.dim() > 2 and x.shape[0] >= MANY and self.in_features >= WIDE
        if not large or x.device.type != "cpu" or x.dtype not in (torch.float32, torch.bfloat16):
            return F.linear(x, self.weight, self.bias)
        pixels = x.reshape(x.shape[0], 1, -1, x.shape[-1]).permute(0, 3, 1, 2)
        out = F.conv2d(pixels, self.weight[:, :, None, None], self.bias)
        return out.permute(0, 2, 3, 1).reshape(*x.shape[:-1], -1)


class HiLo(nn.Module):
    """Attention from [B, H, W, C] to [B, H, W, C], for any H and W.

    ``window_size`` s is the side of a Hi-Fi window and of a Lo-Fi average; with 1 all heads are
    Lo-Fi and nothing is pooled, which is plain attention, whatever ``alpha``. With ``alpha`` 0 only
    windows exist, with 1 only the pooled map. A map that s does not divide is padded with zeros at
    the right and below; the padding takes part as keys, as in the authors' dense models.

    Parameters are named as in the authors' files: l_q, l_kv, l_proj, h_qkv, h_proj.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int = 8,
        window_size: int = 2,
        alpha: float = 0.5,
        qkv_bias: bool = True,
    ) -> None:
        super().__init__()
        if dim % num_heads:
            raise ConfigError(f"HiLo: dim {dim} must be a multiple of num_heads {num_heads}")
        if window_size < 1 or not 0 <= alpha <= 1:
            raise ConfigError(
                f"HiLo: window_size {window_size} must be 1 or more, alpha {alpha} in 0..1"
            )
        self.window_size, self.head_dim = window_size, dim // num_heads
        everything = 1.0 if window_size == 1 else alpha
        self.lofi_heads, self.hifi_heads = split_heads(num_heads, everything)
        lofi, hifi = self.lofi_heads * self.head_dim, self.hifi_heads * self.head_dim
        if lofi:
            self.l_q = Pointwise(dim, lofi, bias=qkv_bias)
            self.l_kv = Pointwise(dim, 2 * lofi, bias=qkv_bias)
            self.l_proj = Pointwise(lofi, lofi)
        if hifi:
            self.h_qkv = Pointwise(dim, 3 * hifi, bias=qkv_bias)
            self.h_proj = Pointwise(hifi, hifi)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        below, right = -height % self.window_size, -width % self.window_size
        padded = F.pad(x, (0, 0, 0, right, 0, below)) if below or right else x
        branches = []
        if self.hifi_heads:
            branches.append(self.h_proj(self._hifi(padded)[:, :height, :width]))
        if self.lofi_heads:
            branches.append(self.l_proj(self._lofi(x, padded)))
        return torch.cat(branches, dim=-1) if len(branches) > 1 else branches[0]

    def _hifi(self, x: Tensor) -> Tensor:
        """Attend within windows of [B, H, W, C]; returns [B, H, W, heads * d] before h_proj."""
        b, height, width, _ = x.shape
        s, heads, d = self.window_size, self.hifi_heads, self.head_dim
        rows, columns = height // s, width // s
        qkv = self.h_qkv(x).reshape(b, rows, s, columns, s, 3, heads, d)
        # Tokens of a window lead, so that rows of channels are copied in long runs; heads and
        # windows, which then are neighbours, become one batch without another copy.
        qkv = qkv.permute(5, 2, 4, 6, 0, 1, 3, 7).reshape(3, s * s, -1, d)
        q, k, v = qkv.transpose(1, 2).unbind(0)
        out = attend(q, k, v).reshape(heads, b, rows, columns, s, s, d)
        return out.permute(1, 2, 4, 3, 5, 0, 6).reshape(b, height, width, heads * d)

    def _lofi(self, x: Tensor, padded: Tensor) -> Tensor:
        """Attend from [B, H, W, C] to the averages of its windows; returns it before l_proj."""
        b, height, width, _ = x.shape
        heads, d = self.lofi_heads, self.head_dim
        pooled = padded
        if self.window_size > 1:
            pooled = F.avg_pool2d(padded.permute(0, 3, 1, 2), self.window_size)
            pooled = pooled.permute(0, 2, 3, 1)
        q = self.l_q(x).reshape(b, -1, heads, d).transpose(1, 2)
        k, v = self.l_kv(pooled).reshape(b, -1, 2, heads, d).permute(2, 0, 3, 1, 4).unbind(0)
        return attend(q, k, v).transpose(1, 2).reshape(b, height, width, heads * d)

    def multiply_adds(self, height: int, width: int) -> int:
        """Return those of one map by the authors' formula, which counts padded tokens, too.

        Softmax, pooling and biases are not counted.
        """
        s = self.window_size
        windows = -(-height // s) * -(-width // s)
        n, dim = windows * s * s, (self.lofi_heads + self.hifi_heads) * self.head_dim
        lofi, hifi = self.lofi_heads * self.head_dim, self.hifi_heads * self.head_dim
        in_windows = 3 * n * dim * hifi + 2 * n * s * s * hifi + n * hifi**2
        pooled = n * dim * lofi + 2 * windows * dim * lofi + 2 * n * windows * lofi + n * lofi**2
        return in_windows + pooled
