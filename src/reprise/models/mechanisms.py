"""The attention mechanisms that HiLo is compared with, behind one interface.

    layer = build("sra", dim=768, num_heads=12)
    y = layer(x, (14, 14))  # x and y: [B, 14 * 14, 768]

Softmax attention is torch's fused one everywhere (HiLo's choice is in `reprise.models.hilo`), so
what is compared is the mechanism; and windows are cut into memory of their own. What each is, with
parameters and multiply-adds at 196 tokens, width 768 and 12 heads, and how that differs from what
the paper timed (its Table 10):

==============  =====================================================  ======  =======  ===========
name            keys and values of a query                             params  M m-adds  from
==============  =====================================================  ======  =======  ===========
msa             all tokens                                             2.36 M    521.4  timm
window          its 7x7 window, no position bias                       2.36 M    477.2  timm, Twins
shifted-window  the same, windows shifted by 3 and masked              2.36 M    477.2  here
swin            `window` in even layers, `shifted-window` in odd ones
cross-window    a stripe 7 wide: half of the heads down, half across   2.37 M    493.3  here
sra             all tokens after a 2x2 convolution of stride 2         4.72 M    419.4  timm, PVTv2
pooled-sra      all tokens averaged to 7x7, then a 1x1 convolution     2.95 M    332.7  timm, PVTv2
twins           `window` in even layers, `sra` in odd ones                              timm, Twins
linformer       256 learned mixtures of the tokens                     2.46 M    616.6  here
performer       all tokens, softmax by 256 random features             2.36 M    617.2  here
xca             channels attend to channels                            2.36 M    481.7  timm, XCiT
van             none: a large depthwise convolution gates              1.83 M    358.0  here
hornet          none: four orders of gated depthwise convolution       2.23 M    436.5  here
hilo            a 2x2 window (2 heads), windows' averages (10 heads)   2.20 M    298.3  here
==============  =====================================================  ======  =======  ===========

- All have biases in queries, keys and values, as HiLo has, except linformer and performer, whose
  printed parameters leave none over.
- The notes on the authors' benchmark say 128 mixtures for Linformer; only 256 gives the printed
  parameters and multiply-adds, so 256 it is.
- `swin`, `pooled-sra` and `twins` are not in Table 10. Pooling without any convolution is HiLo's
  `alpha` 1.
- HiLo's linear maps are 1x1 convolutions, which are faster on a processor; the others' are what
  timm has, unless ``fast_linear`` gives them HiLo's.
- DAT, Focal and QuadTree are not here: each is more than a page of code.
"""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from timm.layers import Attention, RelPosBias
from timm.models.pvt_v2 import Attention as ReducedAttention
from timm.models.twins import GlobalSubSampleAttn, LocallyGroupedAttn
from timm.models.xcit import XCA
from torch import Tensor, nn

from reprise.errors import ConfigError, unknown
from reprise.models.hilo import HiLo, Pointwise

Size = tuple[int, int]  # height and width, in tokens


class HiLoTokens(HiLo):
    """HiLo for [B, N, C]."""

    def forward(self, x: Tensor, size: Size | None = None) -> Tensor:
        assert size is not None
        return super().forward(x.unflatten(1, size)).flatten(1, 2)


class MSA(nn.Module):
    """timm's attention, with a relative position bias if ``grid`` says for which map."""

    def __init__(self, dim: int, num_heads: int, qkv_bias: bool, grid: Size | None) -> None:
        super().__init__()
        self.attn = Attention(dim, num_heads, qkv_bias=qkv_bias)
        self.position = RelPosBias(grid, num_heads) if grid is not None else None

    def forward(self, x: Tensor, size: Size) -> Tensor:
        bias = None if self.position is None else self.position.get_bias().to(x.dtype)
        return cast(Tensor, self.attn(x, attn_mask=bias))


class Channels(nn.Module):
    """timm's cross-covariance attention, on fused attention."""

    def __init__(self, dim: int, num_heads: int, qkv_bias: bool) -> None:
        super().__init__()
        self.attn = XCA(dim, num_heads, qkv_bias=qkv_bias)
        self.attn.fused_attn = True  # timm has it, but off by default

    def forward(self, x: Tensor, size: Size) -> Tensor:
        return cast(Tensor, self.attn(x))


def _windows(x: Tensor, window: Size) -> Tensor:
    """Cut [B, H, W, C] into [B, windows, tokens of a window, C]."""
    b, height, width, channels = x.shape
    down, right = window
    x = x.reshape(b, height // down, down, width // right, right, channels)
    return x.transpose(2, 3).reshape(b, -1, down * right, channels)


def _map(windows: Tensor, window: Size, size: Size) -> Tensor:
    """Join windows back into [B, H, W, C]."""
    (down, right), (height, width) = window, size
    x = windows.reshape(-1, height // down, width // right, down, right, windows.shape[-1])
    return x.transpose(2, 3).reshape(-1, height, width, windows.shape[-1])


def _padded(x: Tensor, size: Size, multiple: int) -> Tensor:
    """Return [B, N, C] as [B, H, W, C] with zeros right and below to a multiple."""
    height, width = size
    return F.pad(x.unflatten(1, size), (0, 0, 0, -width % multiple, 0, -height % multiple))


class Window(LocallyGroupedAttn):
    """timm's windowed attention, with windows cut into memory of their own before the linear map.

    timm hands a strided view to the map, with which a processor computes window by window: its own
    layer takes 2.4 times as long in fp32 and many times as long in bf16.
    """

    def forward(self, x: Tensor, size: Size) -> Tensor:
        grid, window = _padded(x, size, self.ws), (self.ws, self.ws)
        qkv = self.qkv(_windows(grid, window)).unflatten(-1, (3, self.num_heads, -1))
        q, k, v = qkv.permute(3, 0, 1, 4, 2, 5).unbind(0)
        dropout = self.attn_drop.p if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
        back = _map(mixed.transpose(2, 3).flatten(3), window, (grid.shape[1], grid.shape[2]))
        back = self.proj(back[:, : size[0], : size[1]].flatten(1, 2))
        return cast(Tensor, self.proj_drop(back))


def cut_windows_first(model: nn.Module) -> None:
    """Let timm's windowed attention within a model compute as `Window` does; results are equal."""
    for module in model.modules():
        if type(module) is LocallyGroupedAttn:
            module.__class__ = Window


class ShiftedWindow(nn.Module):
    """Windows shifted by half their side (Swin): where the map wraps around, a mask separates."""

    def __init__(self, dim: int, num_heads: int, qkv_bias: bool, window: int) -> None:
        super().__init__()
        self.num_heads, self.window, self.shift = num_heads, window, window // 2
        self.qkv, self.proj = nn.Linear(dim, 3 * dim, bias=qkv_bias), nn.Linear(dim, dim)

    def forward(self, x: Tensor, size: Size) -> Tensor:
        grid = _padded(x, size, self.window)
        whole, window = (grid.shape[1], grid.shape[2]), (self.window, self.window)
        shift = 0 if whole == window else self.shift  # nothing to share in a single window
        rolled = grid.roll((-shift, -shift), (1, 2))
        qkv = self.qkv(_windows(rolled, window)).unflatten(-1, (3, self.num_heads, -1))
        q, k, v = qkv.permute(3, 0, 1, 4, 2, 5).unbind(0)
        mask = self._mask(whole, x.device) if shift else None
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        back = _map(mixed.transpose(2, 3).flatten(3), window, whole)
        back = back.roll((shift, shift), (1, 2))[:, : size[0], : size[1]]
        return cast(Tensor, self.proj(back.flatten(1, 2)))

    def _mask(self, whole: Size, device: torch.device) -> Tensor:
        """Return bool [windows, 1, tokens, tokens]: which were neighbours before rolling."""
        sides = []
        for length in whole:
            # 0 for the body, 1 for the last whole window, 2 for what came round the edge.
            place = torch.arange(length, device=device)
            sides.append((place >= length - self.window).long() + (place >= length - self.shift))
        region = (3 * sides[0][:, None] + sides[1]).view(1, *whole, 1)
        region = _windows(region, (self.window, self.window)).squeeze(-1)
        return region[0, :, None, :, None] == region[0, :, None, None, :]


class CrossWindow(nn.Module):
    """Half of the heads attend within vertical stripes, half within horizontal ones (CSWin).

    A depthwise convolution of the values within each stripe adds the position.
    """

    def __init__(self, dim: int, num_heads: int, qkv_bias: bool, stripe: int) -> None:
        super().__init__()
        if num_heads % 2:
            raise ConfigError(f"cross-window: num_heads {num_heads} must be even")
        self.num_heads, self.stripe = num_heads // 2, stripe
        self.qkv, self.proj = nn.Linear(dim, 3 * dim, bias=qkv_bias), nn.Linear(dim, dim)
        self.position = nn.ModuleList(
            nn.Conv2d(dim // 2, dim // 2, 3, padding=1, groups=dim // 2) for _ in range(2)
        )

    def forward(self, x: Tensor, size: Size) -> Tensor:
        grid = _padded(x, size, self.stripe)
        whole = (grid.shape[1], grid.shape[2])
        halves = self.qkv(grid).unflatten(-1, (3, 2, -1)).unbind(-2)
        vertical = self._stripes(halves[0], (whole[0], self.stripe), self.position[0])
        horizontal = self._stripes(halves[1], (self.stripe, whole[1]), self.position[1])
        both = torch.cat([vertical, horizontal], dim=-1)[:, : size[0], : size[1]]
        return cast(Tensor, self.proj(both.flatten(1, 2)))

    def _stripes(self, qkv: Tensor, stripe: Size, position: nn.Module) -> Tensor:
        """Attend within stripes of qkv [B, H, W, 3, C / 2]; returns [B, H, W, C / 2]."""
        whole = (qkv.shape[1], qkv.shape[2])
        cut = _windows(qkv.flatten(3), stripe).unflatten(-1, (3, self.num_heads, -1))
        q, k, v = cut.permute(3, 0, 1, 4, 2, 5).flatten(1, 2).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        images = v.transpose(1, 2).flatten(2).transpose(1, 2).unflatten(2, stripe)
        near = position(images).flatten(2).transpose(1, 2)
        return _map((mixed + near).unflatten(0, cut.shape[:2]), stripe, whole)


class Linformer(nn.Module):
    """Keys and values are learned mixtures of all tokens: for one number of tokens only."""

    def __init__(self, dim: int, num_heads: int, grid: Size, mixtures: int) -> None:
        super().__init__()
        self.num_heads, self.grid = num_heads, grid
        self.qkv, self.proj = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim)
        tokens = grid[0] * grid[1]
        bound = 1 / math.sqrt(mixtures)
        self.mix = nn.Parameter(torch.empty(2, mixtures, tokens).uniform_(-bound, bound))

    def forward(self, x: Tensor, size: Size) -> Tensor:
        if size != self.grid:
            raise ConfigError(f"linformer: made for a map of {self.grid} tokens, given {size}")
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        k, v = torch.matmul(self.mix[0], k), torch.matmul(self.mix[1], v)
        q, k, v = (t.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for t in (q, k, v))
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return cast(Tensor, self.proj(mixed))


class Performer(nn.Module):
    """Softmax by positive random features (FAVOR+), so that all keys are summed up once."""

    features: Tensor

    def __init__(self, dim: int, num_heads: int, features: int) -> None:
        super().__init__()
        self.num_heads, d = num_heads, dim // num_heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim)
        # Orthogonal directions, a block of d at a time, with the lengths of normal vectors.
        blocks = [nn.init.orthogonal_(torch.empty(d, d)) for _ in range(-(-features // d))]
        lengths = torch.randn(features, d).norm(dim=1, keepdim=True)
        self.register_buffer("features", lengths * torch.cat(blocks)[:features])

    def forward(self, x: Tensor, size: Size) -> Tensor:
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = (self._positive(t, over) for t, over in ((qkv[0], (-1,)), (qkv[1], (-1, -2))))
        context = torch.matmul(k.mT, qkv[2])
        norm = torch.matmul(q, k.sum(dim=-2, keepdim=True).mT)
        mixed = (torch.matmul(q, context) / norm).transpose(1, 2).flatten(2)
        return cast(Tensor, self.proj(mixed))

    def _positive(self, x: Tensor, over: tuple[int, ...]) -> Tensor:
        """Return features of exp(q k' / sqrt(d)), less their largest exponent ``over`` dims."""
        x = x * x.shape[-1] ** -0.25
        exponent = torch.matmul(x, self.features.to(x.dtype).mT) - x.square().sum(-1, True) / 2
        largest = exponent.detach().amax(dim=over, keepdim=True)
        return (exponent - largest).exp() + 1e-4


class LargeKernel(nn.Module):
    """VAN: a 5x5 and a dilated 7x7 depthwise convolution gate the tokens."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.before, self.after = nn.Conv2d(dim, dim, 1), nn.Conv2d(dim, dim, 1)
        self.near = nn.Conv2d(dim, dim, 5, padding=2, groups=dim)
        self.far = nn.Conv2d(dim, dim, 7, padding=9, groups=dim, dilation=3)
        self.mix = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor, size: Size) -> Tensor:
        grid = F.gelu(self.before(x.unflatten(1, size).permute(0, 3, 1, 2)))
        gate = self.mix(self.far(self.near(grid)))
        return cast(Tensor, self.after(grid * gate).flatten(2).transpose(1, 2))


class GatedConv(nn.Module):
    """HorNet's recursive gated convolution of order 4: each order twice as wide as the last."""

    def __init__(self, dim: int, order: int = 4, scale: float = 1 / 3) -> None:
        super().__init__()
        self.widths, self.scale = [dim // 2**i for i in reversed(range(order))], scale
        self.before, self.after = nn.Conv2d(dim, 2 * dim, 1), nn.Conv2d(dim, dim, 1)
        total = sum(self.widths)
        self.near = nn.Conv2d(total, total, 7, padding=3, groups=total)
        self.widen = nn.ModuleList(
            nn.Conv2d(a, b, 1) for a, b in zip(self.widths, self.widths[1:], strict=False)
        )

    def forward(self, x: Tensor, size: Size) -> Tensor:
        both = self.before(x.unflatten(1, size).permute(0, 3, 1, 2))
        first, rest = both.split([self.widths[0], sum(self.widths)], dim=1)
        gates = (self.near(rest) * self.scale).split(self.widths, dim=1)
        out = first * gates[0]
        for widen, gate in zip(self.widen, gates[1:], strict=True):
            out = widen(out) * gate
        return cast(Tensor, self.after(out).flatten(2).transpose(1, 2))


@dataclass(frozen=True)
class Place:
    """Where a layer stands: its width, heads and biases, its map, and which of its stage it is."""

    dim: int
    num_heads: int
    qkv_bias: bool
    size: Size
    index: int


def _hilo(at: Place, window_size: int = 2, alpha: float = 0.9) -> nn.Module:
    return HiLoTokens(at.dim, at.num_heads, window_size, alpha, at.qkv_bias)


def _msa(at: Place, relative_position: bool = False) -> nn.Module:
    return MSA(at.dim, at.num_heads, at.qkv_bias, at.size if relative_position else None)


def _window(at: Place, window: int = 7) -> nn.Module:
    return Window(at.dim, at.num_heads, ws=window)


def _shifted_window(at: Place, window: int = 7) -> nn.Module:
    return ShiftedWindow(at.dim, at.num_heads, at.qkv_bias, window)


def _swin(at: Place, window: int = 7) -> nn.Module:
    return _window(at, window) if at.index % 2 == 0 else _shifted_window(at, window)


def _cross_window(at: Place, stripe: int = 7) -> nn.Module:
    return CrossWindow(at.dim, at.num_heads, at.qkv_bias, stripe)


def _sra(at: Place, reduction: int = 2) -> nn.Module:
    return ReducedAttention(at.dim, at.num_heads, sr_ratio=reduction, qkv_bias=at.qkv_bias)


def _pooled_sra(at: Place) -> nn.Module:
    return ReducedAttention(at.dim, at.num_heads, linear_attn=True, qkv_bias=at.qkv_bias)


def _twins(at: Place, window: int = 7, reduction: int = 2) -> nn.Module:
    if at.index % 2 == 0:
        return _window(at, window)
    return GlobalSubSampleAttn(at.dim, at.num_heads, sr_ratio=reduction)


def _linformer(at: Place, mixtures: int = 256) -> nn.Module:
    return Linformer(at.dim, at.num_heads, at.size, mixtures)


def _performer(at: Place, features: int = 256) -> nn.Module:
    return Performer(at.dim, at.num_heads, features)


def _xca(at: Place) -> nn.Module:
    return Channels(at.dim, at.num_heads, at.qkv_bias)


def _van(at: Place) -> nn.Module:
    return LargeKernel(at.dim)


def _hornet(at: Place) -> nn.Module:
    return GatedConv(at.dim)


MECHANISMS: dict[str, Callable[..., nn.Module]] = {
    "msa": _msa,
    "window": _window,
    "shifted-window": _shifted_window,
    "swin": _swin,
    "cross-window": _cross_window,
    "sra": _sra,
    "pooled-sra": _pooled_sra,
    "twins": _twins,
    "linformer": _linformer,
    "performer": _performer,
    "xca": _xca,
    "van": _van,
    "hornet": _hornet,
    "hilo": _hilo,
}


def build(
    name: str,
    dim: int,
    num_heads: int,
    *,
    size: Size = (14, 14),
    index: int = 0,
    qkv_bias: bool = True,
    fast_linear: bool = False,
    **args: Any,
) -> nn.Module:
    """Return a mechanism as a module from x [B, N, C] and its (height, width) to [B, N, C].

    ``size``: the map, for mechanisms made for one number of tokens. ``index``: the layer's number
    in its stage, for those that alternate. ``fast_linear``: compute all linear maps as HiLo does,
    with the same weights and results. ``args``: what the mechanism has of its own, such as
    ``window``. Raises ConfigError where it has no such thing.
    """
    if name not in MECHANISMS:
        raise ConfigError(unknown("attention mechanism", name, MECHANISMS))
    make = MECHANISMS[name]
    known = list(inspect.signature(make).parameters)[1:]
    for given in args:
        if given not in known:
            raise ConfigError(unknown(f"argument of {name}", given, known))
    if dim % num_heads:
        raise ConfigError(f"{name}: dim {dim} must be a multiple of num_heads {num_heads}")
    layer = make(Place(dim, num_heads, qkv_bias, size, index), **args)
    for module in layer.modules() if fast_linear else ():
        if type(module) is nn.Linear:
            module.__class__ = Pointwise  # differs in nothing but how it computes
    return layer
