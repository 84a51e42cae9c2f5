"""Each attention mechanism against its definition, and against the printed parameters and FLOPs."""

import pytest
import torch
import torch.nn.functional as F
from timm.models.twins import LocallyGroupedAttn
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from reprise.errors import ConfigError
from reprise.models.mechanisms import MECHANISMS, Window, build, cut_windows_first

# Table 10: parameters in M, FLOPs (multiply-adds) in M.
PRINTED = {
    "msa": (2.36, 521.4),
    "cross-window": (2.37, 493.3),
    "performer": (2.36, 617.2),
    "linformer": (2.46, 616.6),
    "window": (2.36, 477.2),
    "shifted-window": (2.36, 477.2),
    "xca": (2.36, 481.7),
    "van": (1.83, 358.0),
    "hornet": (2.23, 436.5),
    "hilo": (2.20, 298.3),
    "sra": (4.72, 419.6),
}


def count(name: str, **args: object) -> tuple[int, float]:
    with torch.device("meta"):
        layer, x = build(name, 768, 12, **args), torch.empty(1, 196, 768)
    with FlopCounterMode(display=False) as counter:
        layer(x, (14, 14))
    return sum(p.numel() for p in layer.parameters()), counter.get_total_flops() / 2


@pytest.mark.parametrize("name", sorted(PRINTED))
def test_parameters_and_multiply_adds_are_the_printed_ones(name: str) -> None:
    parameters, multiply_adds = count(name)
    if name == "sra":
        multiply_adds += 5 * 49 * 768  # they count a layer norm as five operations a number
    assert parameters / 1e6 == pytest.approx(PRINTED[name][0], abs=0.005)
    assert multiply_adds / 1e6 == pytest.approx(PRINTED[name][1], abs=0.051)


def test_linformer_has_256_mixtures_since_128_would_not_be_the_printed_layer() -> None:
    parameters, multiply_adds = count("linformer", mixtures=128)
    assert parameters / 1e6 < 2.42
    assert multiply_adds / 1e6 < 540


def test_counts_of_those_that_are_not_in_the_table() -> None:
    assert count("pooled-sra")[1] == pytest.approx(332.7e6, abs=5e4)
    assert count("twins", index=0) == count("window")
    assert count("twins", index=1) == count("sra")
    assert count("swin", index=0) == count("window") == count("swin", index=1)


def layer_of(name: str, size: tuple[int, int], **args: object) -> nn.Module:
    torch.manual_seed(0)
    layer = build(name, 16, 4, size=size, **args)
    for parameter in layer.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=1.5 * parameter[0].numel() ** -0.5)
    return layer.eval()


@pytest.mark.parametrize("size", [(14, 14), (7, 7), (5, 9), (4, 4), (16, 3)])
@pytest.mark.parametrize("name", sorted(MECHANISMS))
def test_any_map_goes_in_and_the_same_comes_out(name: str, size: tuple[int, int]) -> None:
    for index in (0, 1):
        layer = layer_of(name, size, index=index)
        x = torch.randn(2, size[0] * size[1], 16, requires_grad=True)
        out = layer(x, size)
        assert out.shape == x.shape
        out.square().sum().backward()
        assert x.grad is not None
        assert x.grad.isfinite().all()
        assert all(p.grad is not None for p in layer.parameters())
        alone = layer(x[1:], size)
        torch.testing.assert_close(out[1:], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", sorted(MECHANISMS))
def test_fast_linear_computes_the_same_in_float32_and_runs_in_bf16(name: str) -> None:
    plain, fast = layer_of(name, (7, 7)), layer_of(name, (7, 7), fast_linear=True)
    x = torch.randn(2, 49, 16)
    expected = plain(x, (7, 7))
    torch.testing.assert_close(fast(x, (7, 7)), expected, rtol=1e-4, atol=1e-5)
    assert [n for n, _ in fast.named_parameters()] == [n for n, _ in plain.named_parameters()]
    for layer in (plain, fast):
        found = layer.to(torch.bfloat16)(x.to(torch.bfloat16), (7, 7))
        assert (found.float() - expected).abs().max() < 0.1 * expected.abs().max()


def by_hand(qkv: nn.Linear, x: Tensor, may_see: Tensor) -> Tensor:
    """Multi-head attention of x [N, 16] with a mask [N, N], before the output projection."""
    q, k, v = qkv(x).unflatten(-1, (3, 4, 4)).permute(1, 2, 0, 3)
    scores = (q @ k.mT / 2).masked_fill(~may_see, float("-inf"))
    return (scores.softmax(-1) @ v).transpose(0, 1).flatten(1)


def places(size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Rows and columns [N] of a map's tokens."""
    rows, columns = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    return rows.flatten(), columns.flatten()


def together(*groups: Tensor) -> Tensor:
    return torch.stack([group[:, None] == group for group in groups]).all(0)


@pytest.mark.parametrize("size", [(8, 12), (4, 8), (12, 4), (4, 4)])
@pytest.mark.parametrize("name", ["window", "shifted-window"])
def test_windows_are_a_mask_over_all_tokens(name: str, size: tuple[int, int]) -> None:
    """Shifted windows begin in the middle of the others, and do not wrap around the map."""
    layer = layer_of(name, size, window=4)
    rows, columns = places(size)
    shift = 2 if name == "shifted-window" and size != (4, 4) else 0
    mask = together((rows + shift) // 4, (columns + shift) // 4)
    x = torch.randn(1, len(rows), 16)
    expected = layer.proj(by_hand(layer.qkv, x[0], mask))
    torch.testing.assert_close(layer(x, size)[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(14, 14), (7, 21), (10, 5)])
def test_windows_cut_first_are_what_timm_has(size: tuple[int, int]) -> None:
    """Also where the map is no multiple of a window."""
    torch.manual_seed(0)
    plain, x = LocallyGroupedAttn(16, 4, ws=7), torch.randn(2, size[0] * size[1], 16)
    expected = plain(x, size)
    cut_windows_first(plain)
    assert type(plain) is Window
    torch.testing.assert_close(plain(x, size), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(4, 4), (4, 8), (8, 6)])
def test_cross_window_is_two_masks_and_a_convolution_of_values(size: tuple[int, int]) -> None:
    layer = layer_of("cross-window", size, stripe=2)
    rows, columns = places(size)
    x = torch.randn(1, len(rows), 16)
    halves = []
    for half, stripes in enumerate([columns // 2, rows // 2]):
        qkv = layer.qkv(x[0]).unflatten(-1, (3, 2, 8))[:, :, half]
        q, k, v = qkv.unflatten(-1, (2, 4)).permute(1, 2, 0, 3)
        scores = (q @ k.mT / 2).masked_fill(~together(stripes), float("-inf"))
        mixed = (scores.softmax(-1) @ v).transpose(0, 1).flatten(1)
        near = torch.zeros_like(mixed)
        for stripe in stripes.unique():  # each convolved alone, with zeros around it
            inside = stripes == stripe
            shape = (size[0], 2) if half == 0 else (2, size[1])
            image = qkv[inside, 2].unflatten(0, shape).permute(2, 0, 1)[None]
            near[inside] = layer.position[half](image)[0].flatten(1).T
        halves.append(mixed + near)
    expected = layer.proj(torch.cat(halves, -1))
    torch.testing.assert_close(layer(x, size)[0], expected, rtol=1e-4, atol=1e-5)


def test_linformer_mixes_tokens_before_attention() -> None:
    layer = layer_of("linformer", (3, 4), mixtures=5)
    x = torch.randn(1, 12, 16)
    q, k, v = layer.qkv(x[0]).unflatten(-1, (3, 4, 4)).permute(1, 2, 0, 3)
    k, v = layer.mix[0] @ k, layer.mix[1] @ v
    mixed = ((q @ k.mT / 2).softmax(-1) @ v).transpose(0, 1).flatten(1)
    torch.testing.assert_close(layer(x, (3, 4))[0], layer.proj(mixed), rtol=1e-4, atol=1e-5)
    with pytest.raises(ConfigError, match=r"made for a map of \(3, 4\) tokens, given \(2, 6\)"):
        layer(x, (2, 6))


def test_performer_approaches_softmax_with_many_features() -> None:
    """Random directions must be symmetric: those of a plain QR decomposition are not."""
    layer = layer_of("performer", (4, 4), features=20_000)
    q, k = 0.3 * torch.randn(2, 4, 16, 4)
    exact = (q @ k.mT / 2).softmax(-1)
    weights = layer._positive(q, (-1,)) @ layer._positive(k, (-1, -2)).mT
    weights = weights / weights.sum(-1, keepdim=True)
    assert (exact - 1 / 16).abs().max() > 0.02
    assert (weights - exact).abs().max() < 0.004


def test_performer_sums_its_keys_once() -> None:
    layer = layer_of("performer", (2, 3))
    x = torch.randn(1, 6, 16)
    q, k, v = layer.qkv(x).unflatten(-1, (3, 4, 4)).permute(2, 0, 3, 1, 4)
    weights = layer._positive(q, (-1,)) @ layer._positive(k, (-1, -2)).mT
    mixed = weights / weights.sum(-1, keepdim=True) @ v
    expected = layer.proj(mixed.transpose(1, 2).flatten(2))
    torch.testing.assert_close(layer(x, (2, 3)), expected, rtol=1e-4, atol=1e-5)


def test_reduced_attention_reads_the_map_in_its_order() -> None:
    """timm's layer gets rows and columns as meant: a transposed map would be pooled otherwise."""
    layer = layer_of("sra", (2, 6))
    x = torch.randn(1, 12, 16)
    image = x.transpose(1, 2).unflatten(2, (2, 6))
    short = layer.norm(layer.sr(image).flatten(2).transpose(1, 2))
    q = layer.q(x).unflatten(-1, (4, 4)).transpose(1, 2)
    k, v = layer.kv(short).unflatten(-1, (2, 4, 4)).permute(2, 0, 3, 1, 4)
    mixed = (q @ k.mT / 2).softmax(-1) @ v
    expected = layer.proj(mixed.transpose(1, 2).flatten(2))
    torch.testing.assert_close(layer(x, (2, 6)), expected, rtol=1e-4, atol=1e-5)


def test_channels_attend_to_channels() -> None:
    layer = layer_of("xca", (3, 3))
    x = torch.randn(1, 9, 16)
    q, k, v = layer.attn.qkv(x[0]).unflatten(-1, (3, 4, 4)).permute(1, 2, 3, 0)
    scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT * layer.attn.temperature
    mixed = (scores.softmax(-1) @ v).flatten(0, 1).T
    expected = layer.attn.proj(mixed)
    torch.testing.assert_close(layer(x, (3, 3))[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "reach"), [("van", 11), ("hornet", 3)])
def test_reach_of_the_convolutions(name: str, reach: int) -> None:
    """VAN: 2 of the 5x5 and 9 of the dilated 7x7; HorNet: one 7x7 before all gates."""
    size = (27, 27)
    layer = layer_of(name, size)
    x = torch.randn(1, 27 * 27, 16)
    moved = x.clone()
    moved[0, 13 * 27 + 13] += 10
    changed = (layer(x, size) - layer(moved, size)).abs().amax(-1).view(27, 27) > 1e-6
    rows, columns = (line.nonzero().flatten() for line in (changed.any(1), changed.any(0)))
    assert (int(rows.min()), int(rows.max())) == (13 - reach, 13 + reach)
    assert (int(columns.min()), int(columns.max())) == (13 - reach, 13 + reach)


def test_unknown_names_and_arguments_are_told_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'windw' \(did you mean 'window'\?\); known: cross-win"):
        build("windw", 16, 4)
    with pytest.raises(ConfigError, match=r"unknown argument of sra 'window'.*known: reduction"):
        build("sra", 16, 4, window=7)
    with pytest.raises(ConfigError, match="dim 16 must be a multiple of num_heads 3"):
        build("msa", 16, 3)
