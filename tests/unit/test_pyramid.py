"""Four maps of every kind of encoder: sizes, and values against the encoder's own."""

from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

import reprise.models.litv2  # noqa: F401  (registers its models)
from reprise.errors import ConfigError
from reprise.models.pyramid import Pyramid

# CAN's ViT, without class token and for grey images; DeiT III's, with one; LITv2 of three stages
# and of four.
CAN: dict[str, Any] = {
    "model_name": "vit_base_patch16_224",
    "img_size": 28,
    "patch_size": 7,
    "in_chans": 1,
    "embed_dim": 32,
    "depth": 4,
    "num_heads": 2,
    "class_token": False,
    "global_pool": "avg",
    "fc_norm": False,
    "dynamic_img_size": True,
}
DEIT3: dict[str, Any] = {
    "model_name": "deit3_small_patch16_224",
    "img_size": 24,
    "patch_size": 8,
    "embed_dim": 32,
    "depth": 3,
    "num_heads": 2,
    "dynamic_img_size": True,
}
LITV2: dict[str, Any] = {
    "model_name": "litv2_s",
    "embed_dim": 12,
    "depths": [1, 2, 1],
    "num_heads": [1, 4, 4],
    "window_sizes": [0, 2, 1],
}
WHOLE: dict[str, Any] = {**LITV2, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 4, 4]}
WHOLE["window_sizes"] = [0, 0, 2, 1]

KINDS = [
    (CAN, [32] * 4, [1.75, 3.5, 7, 14], 14),
    (DEIT3, [32] * 4, [2, 4, 8, 16], 16),
    (LITV2, [12, 24, 48, 48], [4, 8, 16, 32], 32),
    (WHOLE, [12, 24, 48, 96], [4, 8, 16, 32], 32),
]


def make(args: dict[str, Any]) -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model(num_classes=0, **args)


def images(args: dict[str, Any], height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, args.get("in_chans", 3), height, width, generator=generator)


@pytest.mark.parametrize(("args", "channels", "strides", "multiple"), KINDS)
@pytest.mark.parametrize(("height", "width"), [(64, 64), (61, 35), (28, 97)])
def test_maps_have_the_sizes_that_are_said(
    args: dict[str, Any],
    channels: list[int],
    strides: list[float],
    multiple: int,
    height: int,
    width: int,
) -> None:
    encoder = make(args)
    pyramid = Pyramid(encoder)
    assert (pyramid.channels, pyramid.strides, pyramid.multiple) == (channels, strides, multiple)
    maps = pyramid(encoder, images(args, height, width))
    for one, count, stride in zip(maps, channels, strides, strict=True):
        sides = [-(-side // multiple) * multiple / stride for side in (height, width)]
        assert list(one.shape) == [2, count, *sides]


def test_an_image_is_padded_on_the_right_and_below() -> None:
    encoder = make(DEIT3)
    pyramid, given = Pyramid(encoder).eval(), images(DEIT3, 30, 17)
    padded = F.pad(given, (0, 15, 0, 2))
    for one, other in zip(pyramid(encoder, given), pyramid(encoder, padded), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("args", [CAN, DEIT3])
def test_a_plain_transformers_map_is_that_of_its_patches(args: dict[str, Any]) -> None:
    """The third is a block's own output without class token; the last is pooled from the end."""
    encoder = make(args).eval()
    side = 8
    given = images(args, side * args["patch_size"], side * args["patch_size"])
    pyramid = Pyramid(encoder).eval()
    tokens = encoder._pos_embed(encoder.patch_embed(given))  # type: ignore[operator]
    outputs = []
    for block in encoder.blocks:  # type: ignore[union-attr]
        tokens = block(tokens)
        outputs.append(tokens[:, encoder.num_prefix_tokens :])
    third, last = pyramid(encoder, given)[2:]
    by_hand = outputs[pyramid.taken[2]].mT.reshape(2, 32, side, side)
    assert torch.allclose(third, by_hand, atol=1e-5)
    end = outputs[-1].mT.reshape(2, 32, side // 2, 2, side // 2, 2).amax((3, 5))
    assert torch.allclose(last, end, atol=1e-5)


@pytest.mark.parametrize(
    ("depth", "taken"),
    [(12, [3, 5, 7, 11]), (24, [7, 11, 15, 23]), (4, [0, 1, 2, 3]), (1, [0, 0, 0, 0])],
)
def test_which_blocks_of_a_transformer_are_taken(depth: int, taken: list[int]) -> None:
    assert Pyramid(make({**DEIT3, "depth": depth})).taken == taken


def test_maps_of_stages_are_the_encoders_and_the_missing_one_is_pooled() -> None:
    encoder = make(LITV2).eval()
    given = images(LITV2, 64, 64)
    own = encoder.forward_intermediates(given, intermediates_only=True)  # type: ignore[operator]
    maps = Pyramid(encoder)(encoder, given)
    assert all(torch.equal(one, other) for one, other in zip(maps[:3], own, strict=True))
    assert torch.equal(maps[3], F.max_pool2d(own[2], 2))


def test_norms_are_of_the_maps_that_ask_for_them() -> None:
    encoder = make(WHOLE).eval()
    plain, normed = Pyramid(encoder), Pyramid(encoder, normalised=(1, 3))
    given = images(WHOLE, 64, 64)
    for level, (one, other) in enumerate(
        zip(plain(encoder, given), normed(encoder, given), strict=True)
    ):
        moved = F.layer_norm(one.permute(0, 2, 3, 1), one.shape[1:2], eps=1e-6)
        wanted = moved.permute(0, 3, 1, 2) if level in (1, 3) else one
        assert torch.allclose(other, wanted, atol=1e-5)


@pytest.mark.parametrize("args", [CAN, DEIT3, LITV2, WHOLE])
def test_every_weight_that_is_trained_gets_a_gradient(args: dict[str, Any]) -> None:
    """Else several processes could not train it; and the encoder is no part of the pyramid."""
    encoder = make(args)
    pyramid = Pyramid(encoder)
    maps = pyramid(encoder, images(args, 64, 64))
    torch.stack([one.square().sum() for one in maps]).sum().backward()
    for module in (encoder, pyramid):
        for name, parameter in module.named_parameters():
            assert (parameter.grad is not None) == parameter.requires_grad, name
    own = {id(parameter) for parameter in encoder.parameters()}
    assert not any(id(parameter) in own for parameter in pyramid.parameters())
    frozen = [n for n, p in encoder.named_parameters() if not p.requires_grad]
    assert frozen == ["norm.weight", "norm.bias"]


def test_encoders_that_have_no_such_maps_are_refused() -> None:
    with pytest.raises(ConfigError, match="dynamic_img_size: true"):
        Pyramid(make({**DEIT3, "dynamic_img_size": False}))
    with pytest.raises(ConfigError, match="Linear has no maps of stages"):
        Pyramid(nn.Linear(2, 2))
