"""LITv2 against its printed sizes, the authors' layout and torchvision's deformable convolution."""

from pathlib import Path

import litv2_official as official
import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.ops import deform_conv2d

from reprise.errors import ConfigError
from reprise.models import litv2, mechanisms, merging
from reprise.models.hilo import HiLo
from reprise.models.litv2 import LITv2, official_multiply_adds

SMALL = {"patch_size": 2, "embed_dim": 16, "depths": (1, 1, 2, 1), "num_heads": (1, 2, 4, 4)}


def small(**args: object) -> LITv2:
    torch.manual_seed(0)
    return timm.create_model("litv2_s", **{**SMALL, "num_classes": 7, **args})


@pytest.mark.parametrize(
    ("name", "parameters", "at_224", "at_384"),
    [
        ("litv2_s", 27_844_000, 3.7344, 11.2252),
        ("litv2_m", 48_830_368, 7.4792, 22.6507),
        ("litv2_b", 86_520_704, 13.1936, 39.7095),
    ],
)
def test_sizes_are_the_papers(name: str, parameters: int, at_224: float, at_384: float) -> None:
    """Printed: 28 / 49 / 87 M parameters, 3.7 / 7.5 / 13.2 G, and 39.7 G for B at 384 pixels."""
    with torch.device("meta"):
        model = timm.create_model(name)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert official_multiply_adds(model, 224) / 1e9 == pytest.approx(at_224, abs=6e-5)
    assert official_multiply_adds(model, 384) / 1e9 == pytest.approx(at_384, abs=6e-5)


@pytest.mark.parametrize(
    ("alpha", "parameters", "printed"),
    [
        (0.0, 28_089_760, 3.965),
        (0.2, 27_844_000, 3.881),
        (0.4, 27_696_544, 3.815),
        (0.5, 27_647_392, 3.769),
        (0.7, 27_696_544, 3.742),
        (1.0, 28_089_760, 3.746),
    ],
)
def test_sizes_of_the_alpha_sweep(alpha: float, parameters: int, printed: float) -> None:
    with torch.device("meta"):
        model = timm.create_model("litv2_s", alpha=alpha)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert official_multiply_adds(model, 224) / 1e9 == pytest.approx(printed, abs=6e-4)


def test_official_count_is_the_meta_count_and_what_that_leaves_out() -> None:
    """Norms, biases of convolutions, and four offset channels that the authors count twice."""
    with torch.device("meta"):
        model, image = timm.create_model("litv2_s"), torch.empty(1, 3, 224, 224)
    with FlopCounterMode(display=False) as counter:
        model(image)
    counted = counter.get_total_flops() / 2
    left_out = 56**2 * 96 + 56**2 // 16 * 768  # norms of patches and, by their formula, of the end
    for side, dim, depth, norms in [
        (56, 96, 2, 1),
        (28, 192, 2, 1),
        (14, 384, 6, 2),
        (7, 768, 2, 2),
    ]:
        left_out += depth * side**2 * (4 * dim + norms * dim)
        if dim < 768:
            left_out += (side // 2) ** 2 * (4 * dim * 4 + 12 + 2 * dim + 2 * dim)
    assert counted + left_out == official_multiply_adds(model, 224)


def test_equals_the_model_written_out_from_the_authors_names(tmp_path: Path) -> None:
    """Every weight of a file in their layout is used where it belongs, loaded strictly by timm."""
    weights = official.weights(classes=10)
    torch.save({"model": weights}, tmp_path / "litv2_s.pth")
    model = timm.create_model(
        "litv2_s",
        num_classes=10,
        pretrained=True,
        pretrained_cfg_overlay={"file": str(tmp_path / "litv2_s.pth"), "num_classes": 10},
    ).eval()
    images = torch.randn(2, 3, 64, 128)
    with torch.inference_mode():
        found, expected = model(images), official.forward(weights, images)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_the_filter_keeps_our_own_names() -> None:
    model = small()
    state = model.state_dict()
    again = litv2.checkpoint_filter_fn(dict(state), model)
    assert list(again) == list(state)
    model.load_state_dict(again, strict=True)


@pytest.mark.parametrize("size", [(64, 64), (48, 80), (33, 50), (16, 16)])
def test_takes_images_of_any_size(size: tuple[int, int]) -> None:
    model = small().eval()
    images = torch.randn(2, 3, *size)
    maps = model.forward_features(images)
    assert maps.shape == (2, -(-size[0] // 2) // 8, -(-size[1] // 2) // 8, 128)
    scores = model(images)
    torch.testing.assert_close(model.forward_head(maps), scores)
    torch.testing.assert_close(scores, model.head.fc(maps.mean((1, 2))))
    alone = torch.cat([model(image[None]) for image in images])
    torch.testing.assert_close(scores, alone, rtol=1e-4, atol=1e-5)


def test_timms_interface() -> None:
    images = torch.randn(2, 1, 32, 32)
    model = small(in_chans=1).eval()
    assert model(images).shape == (2, 7)
    assert model.get_classifier().out_features == 7
    pooled = model.forward_head(model.forward_features(images), pre_logits=True)
    assert pooled.shape == (2, model.num_features)
    model.reset_classifier(0)
    torch.testing.assert_close(model(images), pooled)
    model.reset_classifier(3)
    assert model(images).shape == (2, 3)
    assert small(in_chans=1, num_classes=0)(images).shape == (2, 128)
    assert {"litv2_s", "litv2_m", "litv2_b"} <= set(timm.list_models("litv2*"))


@pytest.mark.parametrize("indices", [(0, 1, 2, 3), (1, 3), (2,)])
def test_features_are_the_stages_maps(indices: tuple[int, ...]) -> None:
    model = small().eval()
    backbone = small(features_only=True, out_indices=indices).eval()
    images = torch.randn(2, 3, 64, 32)
    maps = backbone(images)
    assert backbone.feature_info.channels() == [16 * 2**i for i in indices]
    assert backbone.feature_info.reduction() == [2 * 2**i for i in indices]
    expected, x = [], model.patch_embed(images)
    for i, stage in enumerate(model.layers):
        x = stage.blocks(x)
        expected += [x.permute(0, 3, 1, 2)] if i in indices else []
        x = stage.merged(x)
    for found, wanted in zip(maps, expected, strict=True):
        torch.testing.assert_close(found, wanted)
    final, every = model.forward_intermediates(images, norm=True, output_fmt="NHWC")
    torch.testing.assert_close(final, model.forward_features(images))
    torch.testing.assert_close(every[-1], final)


def test_drop_path_grows_with_depth_and_is_off_in_evaluation() -> None:
    model = small(drop_path_rate=0.5)
    rates = [block.drop_path for stage in model.layers for block in stage.blocks]
    assert isinstance(rates[0], nn.Identity)
    assert [drop.drop_prob for drop in rates[1:]] == pytest.approx([0.125, 0.25, 0.375, 0.5])
    images = torch.randn(4, 3, 32, 32)
    assert not torch.equal(model(images), model(images))
    model.eval()
    assert torch.equal(model(images), model(images))


def test_checkpointing_changes_nothing() -> None:
    model, images = small(), torch.randn(2, 3, 32, 32)
    gradients = []
    for enable in (False, True):
        model.zero_grad()
        model.set_grad_checkpointing(enable)
        model(images).sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    torch.testing.assert_close(gradients[0], gradients[1])


def test_every_parameter_learns() -> None:
    model, images = small(), torch.randn(4, 3, 64, 64)
    model(images).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("precision", ["bf16 weights", "autocast"])
def test_runs_in_bf16(precision: str) -> None:
    model, images = small().eval(), torch.randn(2, 3, 64, 64)
    expected = model(images)
    if precision == "autocast":
        with torch.autocast("cpu", torch.bfloat16):
            found = model(images)
    else:
        found = model.to(torch.bfloat16)(images.to(torch.bfloat16))
    assert found.dtype == torch.bfloat16
    assert (found.float() - expected).abs().max() < 0.05 * expected.abs().max()


@pytest.mark.parametrize("name", sorted(mechanisms.MECHANISMS))
def test_other_attention_in_hilos_place(name: str) -> None:
    """The third stage's attention is the named one, the fourth keeps plain attention."""
    model = small(attention=name, img_size=32)
    assert isinstance(model.layers[3].blocks[0].attn, HiLo)
    kinds = {type(block.attn) for block in model.layers[2].blocks}
    twice = [mechanisms.build(name, 64, 4, size=(4, 4), index=i) for i in range(2)]
    assert kinds == {type(layer) for layer in twice}
    model(torch.randn(2, 3, 32, 32)).sum().backward()
    assert all(p.grad is not None for p in model.layers[2].blocks.parameters())


def test_arguments_reach_the_mechanism() -> None:
    model = small(attention="window", attention_args={"window": 3})
    assert model.layers[2].blocks[0].attn.ws == 3
    with pytest.raises(ConfigError, match="unknown argument of window 'windows'"):
        small(attention="window", attention_args={"windows": 3})
    with pytest.raises(ConfigError, match="unknown attention mechanism 'hillo'"):
        small(attention="hillo")


def test_architecture_steps() -> None:
    """From LITv1 on: plain MLPs and position bias; ConvFFN; no position bias; HiLo."""
    first = small(attention="msa", depthwise=False, relative_position=True, img_size=32)
    second = small(attention="msa", relative_position=True, img_size=32)
    third, last = small(attention="msa"), small()
    images = torch.randn(2, 3, 32, 32)
    assert all(model(images).shape == (2, 7) for model in (first, second, third, last))
    names = [{name for name, _ in model.named_parameters()} for model in (first, second, third)]
    assert not any("dwconv" in name for name in names[0])
    assert any("dwconv" in name for name in names[1])
    positions = {name for name in names[1] if "position" in name}
    assert {name.split(".")[1] for name in positions} == {"2", "3"}
    assert not any("position" in name for name in names[2])


def test_position_bias_moves_attention_by_distance_alone() -> None:
    layer = mechanisms.build("msa", 16, 2, size=(3, 3), relative_position=True)
    with torch.no_grad():
        table = layer.position.relative_position_bias_table
        table.zero_()
        table[7] = 50.0  # one step: all look at the same neighbour, where there is one
        x = torch.randn(1, 9, 16)
        values = layer.attn.qkv(x)[0, :, 32:]
        out = layer(x, (3, 3))[0]
    matches = [
        j
        for i in range(9)
        for j in range(9)
        if torch.allclose(out[i], layer.attn.proj(values[j]), atol=1e-4)
    ]
    assert len(matches) == 6


def test_refuses_stages_that_do_not_match() -> None:
    with pytest.raises(ConfigError, match="one number for each stage"):
        small(depths=(1, 1, 1))


def deformed(x: Tensor, offsets: Tensor, layer: nn.Conv2d) -> Tensor:
    """torchvision's form of the same: x [B, H, W, C] to [B, h, w, O]."""
    image = x.permute(0, 3, 1, 2).contiguous()
    out = deform_conv2d(image, offsets, layer.weight, layer.bias, stride=2)
    return out.permute(0, 2, 3, 1)


def deformable(channels: int, offset: float) -> merging.DeformableConv:
    """A layer whose offsets are of about so many pixels."""
    torch.manual_seed(1)
    layer = merging.DeformableConv(channels, 5)
    nn.init.normal_(layer.conv_offset.weight, std=offset * (4 * channels) ** -0.5)
    nn.init.normal_(layer.conv_offset.bias, std=offset)
    return layer


@pytest.mark.parametrize("offset", [0.3, 3.0, 30.0])
@pytest.mark.parametrize("size", [(8, 6), (7, 9), (2, 2), (1, 3)])
def test_deformable_convolution_equals_torchvisions(size: tuple[int, int], offset: float) -> None:
    """Also where taps leave the map, by a bit and altogether, and for sides that are odd."""
    if min(size) < 2:
        with pytest.raises(RuntimeError, match=r"[Kk]ernel size"):
            deformable(4, offset)(torch.randn(1, *size, 4))
        return
    layer = deformable(4, offset)
    results = []
    for forward in (layer, lambda x: deformed(x, layer.conv_offset(x.permute(0, 3, 1, 2)), layer)):
        torch.manual_seed(2)
        x = torch.randn(3, *size, 4, requires_grad=True)
        layer.zero_grad()
        out = forward(x)
        (out * torch.randn(out.shape)).sum().backward()
        results.append([out.detach(), x.grad, *(p.grad.clone() for p in layer.parameters())])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=2e-4)


def test_taps_on_the_very_border() -> None:
    """Whole-pixel offsets to just inside, on and beyond the edges; the rest is exact, too."""
    layer = merging.DeformableConv(2, 3)
    x = torch.randn(1, 4, 4, 2)
    for shift in (-3.0, -2.0, -1.5, -1.0, 0.0, 1.0, 1.999, 2.0, 2.5, 3.0):
        offsets = torch.full((1, 8, 2, 2), shift)
        nn.init.constant_(layer.conv_offset.bias, shift)
        torch.testing.assert_close(layer(x), deformed(x, offsets, layer), rtol=1e-4, atol=1e-5)


def test_without_offsets_it_is_a_strided_convolution() -> None:
    layer = merging.DeformableConv(6, 8)
    assert not layer.conv_offset.weight.any()
    x = torch.randn(2, 8, 10, 6)
    plain = F.conv2d(x.permute(0, 3, 1, 2), layer.weight, layer.bias, stride=2)
    torch.testing.assert_close(layer(x), plain.permute(0, 2, 3, 1), rtol=1e-4, atol=1e-5)
    same = merging.PlainConv(6, 8)
    same.load_state_dict({"weight": layer.weight, "bias": layer.bias})
    torch.testing.assert_close(same(x), plain.permute(0, 2, 3, 1))


def test_merging_in_bf16_knows_where_it_looks() -> None:
    """bf16 has 8 bits: positions computed in it would be off by half a pixel at 100 pixels."""
    layer = merging.Merging(8, 16).eval()
    nn.init.normal_(layer.dconv.conv_offset.bias)
    x = torch.randn(1, 128, 128, 8).to(torch.bfloat16)
    expected = layer(x.float())
    found = layer.to(torch.bfloat16)(x)
    assert found.dtype == torch.bfloat16
    assert (found.float() - expected).abs().max() < 0.1


def test_plain_merging_has_no_offsets() -> None:
    model = small(deformable=False)
    assert not any("conv_offset" in name for name, _ in model.named_parameters())
    assert model(torch.randn(1, 3, 32, 32)).shape == (1, 7)
