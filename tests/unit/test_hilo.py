"""HiLo against a slow calculation in float64 with a loop over heads, windows and queries."""

import shutil

import pytest
import torch
from timm.layers import Attention
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from reprise.errors import ConfigError
from reprise.models import hilo
from reprise.models.hilo import HiLo, Pointwise, attend, split_heads


@pytest.fixture(params=["products", "convolutions"])
def either_form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test with linear maps in both of their forms, at sizes that would take the first."""
    if request.param == "convolutions":
        monkeypatch.setattr(hilo, "MANY", 1)
        monkeypatch.setattr(hilo, "WIDE", 1)


def linear(layer: nn.Linear, x: Tensor) -> Tensor:
    out = x @ layer.weight.detach().double().T
    return out if layer.bias is None else out + layer.bias.detach().double()


def softmax_attention(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """One query [d] over keys and values [M, d]."""
    weights = ((keys @ query) / query.numel() ** 0.5).exp()
    return (weights / weights.sum()) @ values


def slow(layer: HiLo, x: Tensor) -> Tensor:
    """HiLo of x [B, H, W, C] as the paper describes it, token by token."""
    x = x.double()
    s, d = layer.window_size, layer.head_dim
    height, width = x.shape[1:3]
    padded_height, padded_width = (-(-n // s) * s for n in (height, width))
    images = []
    for image in x:
        padded = torch.zeros(padded_height, padded_width, x.shape[3], dtype=torch.float64)
        padded[:height, :width] = image
        branches = []
        if layer.hifi_heads:
            qkv = linear(layer.h_qkv, padded).view(padded_height, padded_width, 3, -1, d)
            mixed = torch.zeros(height, width, layer.hifi_heads, d, dtype=torch.float64)
            for row in range(height):
                for column in range(width):
                    top, left = row // s * s, column // s * s
                    window = qkv[top : top + s, left : left + s].reshape(s * s, 3, -1, d)
                    for head in range(layer.hifi_heads):
                        mixed[row, column, head] = softmax_attention(
                            qkv[row, column, 0, head], window[:, 1, head], window[:, 2, head]
                        )
            branches.append(linear(layer.h_proj, mixed.flatten(2)))
        if layer.lofi_heads:
            averages = [
                padded[top : top + s, left : left + s].reshape(s * s, -1).mean(0)
                for top in range(0, padded_height, s)
                for left in range(0, padded_width, s)
            ]
            kv = linear(layer.l_kv, torch.stack(averages)).view(len(averages), 2, -1, d)
            q = linear(layer.l_q, image).view(height, width, -1, d)
            mixed = torch.zeros(height, width, layer.lofi_heads, d, dtype=torch.float64)
            for row in range(height):
                for column in range(width):
                    for head in range(layer.lofi_heads):
                        mixed[row, column, head] = softmax_attention(
                            q[row, column, head], kv[:, 0, head], kv[:, 1, head]
                        )
            branches.append(linear(layer.l_proj, mixed.flatten(2)))
        images.append(torch.cat(branches, dim=-1))
    return torch.stack(images)


def make(dim: int, heads: int, s: int, alpha: float, bias: bool = True, seed: int = 0) -> HiLo:
    """A layer whose attention is far from uniform, and whose biases matter."""
    torch.manual_seed(seed)
    layer = HiLo(dim, heads, s, alpha, bias)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5 if parameter.dim() == 1 else 2 * dim**-0.5)
    return layer


SHAPES = [(1, 1), (2, 2), (4, 6), (5, 7), (8, 8), (3, 10), (9, 4)]
GRID = [
    (size, s, alpha)
    for size in SHAPES
    for s in (1, 2, 3, 4, 5)
    for alpha in (0.0, 0.3, 0.5, 0.9, 1.0)
]


@pytest.mark.usefixtures("either_form")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_equals_the_slow_calculation_for_all_shapes_windows_and_alphas(dtype: torch.dtype) -> None:
    tolerance = {torch.float64: 1e-10, torch.float32: 2e-5, torch.bfloat16: 0.06}[dtype]
    for number, ((height, width), s, alpha) in enumerate(GRID):
        layer = make(16, 4, s, alpha, bias=number % 3 > 0, seed=number).to(dtype)
        x = torch.randn(2, height, width, 16).to(dtype)
        out = layer(x)
        assert out.dtype == dtype
        expected = slow(layer, x)
        error = (out.double() - expected).abs().max() / expected.abs().max()
        assert error < tolerance, (height, width, s, alpha)


@pytest.mark.parametrize("heads", [1, 2, 3, 12])
def test_equals_the_slow_calculation_for_other_heads(heads: int) -> None:
    layer = make(heads * 8, heads, 2, 0.5).double()
    x = torch.randn(1, 4, 4, heads * 8, dtype=torch.float64)
    torch.testing.assert_close(layer(x), slow(layer, x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("heads", "alpha", "lofi", "hifi"),
    [
        (12, 0.0, 0, 12),
        (12, 0.2, 2, 10),
        (12, 0.4, 4, 8),
        (12, 0.5, 6, 6),
        (12, 0.7, 8, 4),
        (12, 0.9, 10, 2),
        (12, 1.0, 12, 0),
        (16, 0.9, 14, 2),
    ],
)
def test_head_split_is_cut_off(heads: int, alpha: float, lofi: int, hifi: int) -> None:
    assert split_heads(heads, alpha) == (lofi, hifi)
    layer = HiLo(32 * heads, heads, 2, alpha)
    assert (layer.lofi_heads, layer.hifi_heads) == (lofi, hifi)


def test_parameters_have_the_official_names_and_shapes() -> None:
    shapes = {name: tuple(p.shape) for name, p in HiLo(384, 12, 2, 0.9).named_parameters()}
    assert shapes == {
        "l_q.weight": (320, 384),
        "l_q.bias": (320,),
        "l_kv.weight": (640, 384),
        "l_kv.bias": (640,),
        "l_proj.weight": (320, 320),
        "l_proj.bias": (320,),
        "h_qkv.weight": (192, 384),
        "h_qkv.bias": (192,),
        "h_proj.weight": (64, 64),
        "h_proj.bias": (64,),
    }
    assert "l_q.bias" not in dict(HiLo(384, 12, 2, 0.9, qkv_bias=False).named_parameters())


def test_window_of_one_is_plain_attention_whatever_alpha() -> None:
    reference = Attention(32, 4, qkv_bias=True)
    for alpha in (0.0, 0.5, 1.0):
        layer = HiLo(32, 4, 1, alpha)
        q, k, v = reference.qkv.weight.chunk(3)
        bq, bk, bv = reference.qkv.bias.chunk(3)
        layer.l_q.load_state_dict({"weight": q, "bias": bq})
        layer.l_kv.load_state_dict({"weight": torch.cat([k, v]), "bias": torch.cat([bk, bv])})
        layer.l_proj.load_state_dict(reference.proj.state_dict())
        assert layer.hifi_heads == 0
        x = torch.randn(2, 5, 7, 32)
        torch.testing.assert_close(layer(x).flatten(1, 2), reference(x.flatten(1, 2)))


def test_alpha_zero_is_attention_in_windows_alone() -> None:
    for alpha in (0.0, 0.2):  # int(4 * 0.2) is 0, too
        layer = make(32, 4, 2, alpha)
        assert not hasattr(layer, "l_q")
        x = torch.randn(1, 6, 6, 32)
        moved = x.clone()
        moved[:, 2:4, 2:4] += 1
        changed = (layer(x) != layer(moved)).any(-1)[0]
        expected = torch.zeros(6, 6, dtype=torch.bool)
        expected[2:4, 2:4] = True
        assert torch.equal(changed, expected)


def test_alpha_one_sees_windows_only_through_their_averages() -> None:
    layer = make(32, 4, 2, 1.0)
    assert not hasattr(layer, "h_qkv")
    x = torch.randn(1, 6, 6, 32)
    swapped = x.clone()
    swapped[:, 0, 0], swapped[:, 1, 1] = x[:, 1, 1], x[:, 0, 0]  # the average stays
    before, after = layer(x), layer(swapped)
    torch.testing.assert_close(before[:, 2:], after[:, 2:], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(before[:, 0, 0], after[:, 1, 1], rtol=1e-4, atol=1e-5)
    moved = x.clone()
    moved[:, 0, 0] += 1
    assert (layer(moved)[:, 5, 5] - before[:, 5, 5]).abs().max() > 1e-3


@pytest.mark.parametrize(("size", "s", "alpha"), [((3, 5), 2, 0.5), ((6, 6), 1, 0.5)])
def test_gradients(size: tuple[int, int], s: int, alpha: float) -> None:
    """Both forms of attention: few keys, and with 6x6 keys of a window of one the fused one."""
    layer = make(8, 2, s, alpha).double()
    x = torch.randn(1, *size, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, *layer.parameters()))


@pytest.mark.usefixtures("either_form")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_of_the_fast_forms_equal_those_in_float64(dtype: torch.dtype) -> None:
    fast = make(64, 4, 2, 0.5).to(dtype)
    exact = make(64, 4, 2, 0.5).double()
    exact.load_state_dict(fast.state_dict())
    x = torch.randn(2, 10, 9, 64).to(dtype)
    weights = torch.randn(2, 10, 9, 64)
    inputs = [x.clone().requires_grad_(), x.double().requires_grad_()]
    for layer, given in zip((fast, exact), inputs, strict=True):
        (layer(given) * weights.to(given.dtype)).sum().backward()
    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    both = zip([inputs[0], *fast.parameters()], [inputs[1], *exact.parameters()], strict=True)
    for found, expected in ((a.grad, b.grad) for a, b in both):
        assert found is not None
        assert expected is not None
        assert found.dtype == dtype
        # A bias of keys moves all scores of a query alike: its gradient is 0, so compare norms.
        error = (found.double() - expected).norm() / expected.norm()
        assert error < tolerance


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("keys", [1, 4, 16, 17, 49, 256, 257])
def test_attention_is_the_same_in_either_form(keys: int, dtype: torch.dtype) -> None:
    torch.manual_seed(keys)
    q, k, v = (torch.randn(2, 3, n, 8).to(dtype) for n in (11, keys, keys))
    scores = (q.double() @ k.double().mT / 8**0.5).exp()
    expected = scores / scores.sum(-1, keepdim=True) @ v.double()
    tolerance = 1e-5 if dtype == torch.float32 else 0.03
    for four in (attend(q, k, v), attend(q[0], k[0], v[0])[None]):
        assert (four.double() - expected[: len(four)]).abs().max() < tolerance


def test_large_scores_do_not_overflow() -> None:
    q, k, v = torch.full((1, 4, 8), 100.0), torch.full((1, 4, 8), 100.0), torch.randn(1, 4, 8)
    k[:, 1:] = -100.0
    torch.testing.assert_close(attend(q, k, v), v[:, :1].expand(1, 4, 8))


@pytest.mark.usefixtures("either_form")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_pointwise_is_a_linear_layer(dtype: torch.dtype) -> None:
    layer = Pointwise(6, 5).to(dtype)
    for shape in [(2, 3, 4, 6), (1, 1, 1, 6), (5, 3, 6), (7, 6), (6,)]:
        x = torch.randn(shape).to(dtype)
        expected = nn.functional.linear(x.double(), layer.weight.double(), layer.bias.double())
        tolerance = 0.05 if dtype == torch.bfloat16 else 1e-5
        assert layer(x).shape == expected.shape
        assert torch.allclose(layer(x).double(), expected, atol=tolerance)


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_images_of_a_batch_do_not_mix(batch: int) -> None:
    layer = make(24, 3, 2, 0.7)
    x = torch.randn(batch, 7, 6, 24)
    alone = torch.cat([layer(image[None]) for image in x])
    torch.testing.assert_close(layer(x), alone, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("either_form")
def test_takes_maps_whose_memory_is_in_another_order() -> None:
    layer = make(24, 3, 2, 0.7)
    x = torch.randn(2, 24, 6, 8).permute(0, 2, 3, 1)
    torch.testing.assert_close(layer(x), layer(x.contiguous()))


def test_window_size_changes_no_parameter() -> None:
    small, large = HiLo(32, 4, 2, 0.5), HiLo(32, 4, 4, 0.5)
    large.load_state_dict(small.state_dict(), strict=True)


def test_runs_under_autocast_with_float32_weights() -> None:
    layer, x = make(32, 4, 2, 0.5), torch.randn(2, 6, 6, 32)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x)
    assert out.dtype == torch.bfloat16
    assert (out.float() - layer(x)).abs().max() < 0.1 * layer(x).abs().max()


def test_multiply_adds_follow_the_authors_formula() -> None:
    """Targets computed from the official formulas; the first is the paper's benchmark layer."""
    assert HiLo(768, 12, 2, 0.9).multiply_adds(14, 14) == 298_296_320
    assert HiLo(384, 12, 2, 0.5).multiply_adds(14, 14) == 83_467_776
    assert HiLo(384, 12, 4, 0.9).multiply_adds(14, 14) == pytest.approx(84.7e6, abs=5e4)
    assert HiLo(384, 12, 2, 0.9).multiply_adds(32, 32) == pytest.approx(541.6e6, abs=5e4)
    assert sum(p.numel() for p in HiLo(768, 12, 2, 0.9).parameters()) == 2_198_528


@pytest.mark.parametrize(("s", "alpha"), [(1, 0.5), (2, 0.0), (2, 0.9), (2, 1.0), (7, 0.5)])
def test_multiply_adds_are_those_that_are_counted(s: int, alpha: float) -> None:
    with torch.device("meta"):
        layer, x = HiLo(96, 4, s, alpha), torch.empty(3, 14, 14, 96)
    with FlopCounterMode(display=False) as counter:
        layer(x)
    assert counter.get_total_flops() == 2 * 3 * layer.multiply_adds(14, 14)


def test_padding_costs_the_authors_more_than_it_costs_here() -> None:
    """Queries of padded tokens are not computed in Lo-Fi, as nobody reads them."""
    with torch.device("meta"):
        layer, x = HiLo(96, 4, 4, 1.0), torch.empty(1, 13, 13, 96)
    with FlopCounterMode(display=False) as counter:
        layer(x)
    assert counter.get_total_flops() < 2 * layer.multiply_adds(13, 13)


@pytest.mark.parametrize(
    "args", [(30, 4, 2, 0.5), (32, 4, 0, 0.5), (32, 4, 2, 1.1), (32, 4, 2, -0.1)]
)
def test_refuses_what_cannot_be(args: tuple[int, int, int, float]) -> None:
    with pytest.raises(ConfigError, match="HiLo"):
        HiLo(*args)


@pytest.mark.usefixtures("either_form")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_is_one_graph_to_the_compiler(dtype: torch.dtype) -> None:
    for s, alpha, size in [(2, 0.9, (14, 14)), (2, 0.5, (5, 7)), (1, 0.5, (6, 6))]:
        torch.compiler.reset()
        layer, x = make(40, 10, s, alpha).to(dtype), torch.randn(2, *size, 40).to(dtype)
        graph = torch.compile(layer, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(graph(x), layer(x))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_compiled_it_computes_the_same() -> None:
    layer, x = make(40, 10, 2, 0.9), torch.randn(2, 8, 8, 40)
    compiled = torch.compile(layer, fullgraph=True, dynamic=False)
    torch.testing.assert_close(compiled(x), layer(x), rtol=1e-4, atol=1e-4)


def test_large_maps_take_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    convolved = []
    original = hilo.F.conv2d
    monkeypatch.setattr(hilo.F, "conv2d", lambda *a: convolved.append(1) or original(*a))
    for shape in [(15, 2, 2, 384), (16, 384)]:
        Pointwise(384, 8)(torch.randn(shape))
    Pointwise(383, 8)(torch.randn(16, 4, 383))
    assert not convolved
    Pointwise(384, 8)(torch.randn(16, 2, 2, 384))
    assert convolved


def test_few_and_many_keys_take_different_forms(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the tests above have tested both."""
    fused = []
    original = hilo.F.scaled_dot_product_attention
    monkeypatch.setattr(
        hilo.F, "scaled_dot_product_attention", lambda *a: fused.append(1) or original(*a)
    )
    for keys, dtype in [(16, torch.float32), (49, torch.bfloat16)]:
        attend(*(torch.randn(1, keys, 8).to(dtype) for _ in range(3)))
    assert not fused
    for keys, dtype in [(17, torch.float32), (257, torch.bfloat16)]:
        attend(*(torch.randn(1, keys, 8).to(dtype) for _ in range(3)))
    assert len(fused) == 2
