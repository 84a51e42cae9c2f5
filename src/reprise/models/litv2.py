"""LITv2 (arXiv 2205.13213): a pyramid of convolutional feed-forward blocks with HiLo attention.

    import reprise.models.litv2  # registers litv2_s, litv2_m and litv2_b with timm
    model = timm.create_model("litv2_s", num_classes=10)
    maps = timm.create_model("litv2_s", features_only=True)(images)  # strides 4, 8, 16, 32

Four stages. The first two have no attention; the third has HiLo with windows of 2x2 and 9/10 of the
heads (cut off) in Lo-Fi; the fourth has plain attention. A 3x3 depthwise convolution inside every
feed-forward layer sees neighbours and, by its zero padding, the position: nothing else encodes it.
Between stages tokens are merged (`reprise.models.merging`). Maps are [B, H, W, C] throughout.

Printed for ImageNet-1k at 224 pixels: 28 / 49 / 87 M parameters, 3.7 / 7.5 / 13.2 G multiply-adds,
82.0 / 83.3 / 83.6 % top-1, with drop path 0.2 / 0.3 / 0.5 in training.
"""

import math
from collections.abc import Sequence
from typing import Any, cast

import torch.nn.functional as F
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import ClassifierHead, DropPath, PatchEmbed, calculate_drop_path_rates
from timm.models import (
    build_model_with_cfg,
    checkpoint_seq,
    generate_default_cfgs,
    register_model,
)
from timm.models._features import feature_take_indices
from torch import Tensor, nn

from reprise.errors import ConfigError
from reprise.models import mechanisms, merging
from reprise.models.hilo import HiLo, Pointwise

NO_ATTENTION, PLAIN_ATTENTION = 0, 1  # window sizes that are none
MLP_RATIO = 4
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "litv2_s": {"embed_dim": 96, "depths": (2, 2, 6, 2), "num_heads": (3, 6, 12, 24)},
    "litv2_m": {"embed_dim": 96, "depths": (2, 2, 18, 2), "num_heads": (3, 6, 12, 24)},
    "litv2_b": {"embed_dim": 128, "depths": (2, 2, 18, 2), "num_heads": (4, 8, 16, 32)},
}


class ConvFFN(nn.Module):
    """Linear, 3x3 depthwise convolution, GELU, linear; without the convolution a plain MLP."""

    def __init__(self, dim: int, depthwise: bool = True) -> None:
        super().__init__()
        hidden = MLP_RATIO * dim
        self.fc1 = Pointwise(dim, hidden)
        self.dwconv = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden) if depthwise else None
        self.fc2 = Pointwise(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc1(x)
        if self.dwconv is not None:
            x = self.dwconv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return cast(Tensor, self.fc2(F.gelu(x)))


class Block(nn.Module):
    """Attention, if there is any, and ConvFFN, each on normalised input and added to it."""

    def __init__(self, dim: int, attn: nn.Module | None, depthwise: bool, drop_path: float) -> None:
        super().__init__()
        self.attn = attn
        self.norm1 = nn.LayerNorm(dim) if attn is not None else None
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = ConvFFN(dim, depthwise)
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        if self.attn is not None and self.norm1 is not None:
            size = x.shape[1:3]
            mixed = self.attn(self.norm1(x).flatten(1, 2), (size[0], size[1]))
            x = x + self.drop_path(mixed.unflatten(1, size))
        return x + cast(Tensor, self.drop_path(self.mlp(self.norm2(x))))


class Stage(nn.Module):
    """Blocks at one resolution, and the merging to the next where there is one."""

    def __init__(self, blocks: Sequence[nn.Module], downsample: nn.Module | None) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)
        self.downsample = downsample

    def merged(self, x: Tensor) -> Tensor:
        """Return the next stage's map."""
        return x if self.downsample is None else cast(Tensor, self.downsample(x))


class LITv2(nn.Module):
    """The model, of any size, with the switches of the paper's ablations.

    ``window_sizes`` has one number a stage: 0 for no attention, 1 for plain attention, else the
    side of HiLo's windows. ``attention`` names what stands in HiLo's place there (see
    `reprise.models.mechanisms`, which takes ``attention_args``). ``depthwise``: the convolution in
    the feed-forward layers. ``relative_position``: a learned relative position bias in plain
    attention, as LITv1 has it; with it, and with mechanisms made for one number of tokens, the
    model takes images of ``img_size`` only; otherwise of any size, padded to whole patches.
    ``deformable``: offsets in token merging.
    """

    def __init__(
        self,
        img_size: int | tuple[int, int] = 224,
        in_chans: int = 3,
        num_classes: int = 1000,
        global_pool: str = "avg",
        patch_size: int = 4,
        embed_dim: int = 96,
        depths: Sequence[int] = (2, 2, 6, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        window_sizes: Sequence[int] = (0, 0, 2, 1),
        alpha: float = 0.9,
        qkv_bias: bool = True,
        attention: str = "hilo",
        attention_args: dict[str, Any] | None = None,
        depthwise: bool = True,
        relative_position: bool = False,
        deformable: bool = True,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        if not len(depths) == len(num_heads) == len(window_sizes):
            raise ConfigError(
                f"LITv2: depths {tuple(depths)}, num_heads {tuple(num_heads)} and window_sizes "
                f"{tuple(window_sizes)} must have one number for each stage"
            )
        self.num_classes, self.in_chans, self.output_fmt = num_classes, in_chans, "NHWC"
        self.grad_checkpointing = False
        self.patch_embed = PatchEmbed(
            img_size=None,
            patch_size=patch_size,
            in_chans=in_chans,
            embed_dim=embed_dim,
            norm_layer=nn.LayerNorm,
            output_fmt="NHWC",
            dynamic_img_pad=True,
        )
        sides = (img_size, img_size) if isinstance(img_size, int) else img_size
        rates = calculate_drop_path_rates(drop_path_rate, list(depths), stagewise=True)
        last = len(depths) - 1
        stages, self.feature_info = [], []
        for i, stage_rates in enumerate(cast(list[list[float]], rates)):
            dim = embed_dim * 2**i
            place = {"dim": dim, "num_heads": num_heads[i], "qkv_bias": qkv_bias}
            place["size"] = tuple(math.ceil(side / patch_size) // 2**i for side in sides)
            blocks = []
            for index, rate in enumerate(stage_rates):
                attn = _attention(
                    window_sizes[i],
                    attention,
                    alpha,
                    relative_position,
                    attention_args or {},
                    {**place, "index": index},
                )
                blocks.append(Block(dim, attn, depthwise, rate))
            merge = merging.Merging(dim, 2 * dim, deformable) if i < last else None
            stages.append(Stage(blocks, merge))
            self.feature_info.append(
                {"num_chs": dim, "reduction": patch_size * 2**i, "module": f"layers.{i}.blocks"}
            )
        self.layers = nn.ModuleList(stages)
        self.num_features = self.head_hidden_size = embed_dim * 2**last
        self.norm: nn.Module = nn.LayerNorm(self.num_features)
        self.head = ClassifierHead(
            self.num_features, num_classes, global_pool, drop_rate, input_fmt="NHWC"
        )
        self.apply(_initialise)

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the normalised last map [B, H, W, C] of images [B, in_chans, height, width]."""
        x = self.patch_embed(x)
        for stage in self.stages:
            x = stage.merged(self._blocks(stage, x))
        return cast(Tensor, self.norm(x))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return scores [B, classes] of a map [B, H, W, C], or its mean [B, C]."""
        return cast(Tensor, self.head(x, pre_logits=pre_logits))

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Return the maps of stages, before merging, as timm's models do."""
        if output_fmt not in ("NCHW", "NHWC"):
            raise ConfigError(f"output_fmt {output_fmt!r}: must be NCHW or NHWC")
        taken, highest = feature_take_indices(len(self.layers), indices)
        last = len(self.layers) - 1
        maps = []
        x = self.patch_embed(x)
        for i, stage in enumerate(self.stages[: highest + 1] if stop_early else self.stages):
            x = self._blocks(stage, x)
            if i in taken:
                shown = self.norm(x) if norm and i == last else x
                maps.append(shown.permute(0, 3, 1, 2) if output_fmt == "NCHW" else shown)
            x = stage.merged(x)
        if intermediates_only:
            return maps
        return (x if stop_early and highest < last else self.norm(x)), maps

    @property
    def stages(self) -> list[Stage]:
        """The stages that are left, as what they are."""
        return cast(list[Stage], list(self.layers))

    def _blocks(self, stage: Stage, x: Tensor) -> Tensor:
        if self.grad_checkpointing and self.training:
            return cast(Tensor, checkpoint_seq(stage.blocks, x))
        return cast(Tensor, stage.blocks(x))

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop what maps of the stages ``indices`` do not need; return the stages."""
        taken, highest = feature_take_indices(len(self.layers), indices)
        self.layers = self.layers[: highest + 1]
        self.stages[highest].downsample = None
        if prune_norm:
            self.norm = nn.Identity()
        if prune_head:
            self.reset_classifier(0, "")
        return taken

    def get_classifier(self) -> nn.Module:
        return cast(nn.Module, self.head.fc)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Give it a new classifier, or none with 0."""
        self.num_classes = num_classes
        self.head.reset(num_classes, pool_type=global_pool)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        self.grad_checkpointing = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Return timm's groups of layers, for learning rates that differ by depth."""
        last = (99999,)  # merging comes behind its stage's blocks, the norm behind all
        blocks = [
            (r"^layers\.(\d+)\.downsample", last),
            (r"^layers\.(\d+)\.blocks\.(\d+)", None),
        ]
        stages = [(r"^layers\.(\d+)", None)] if coarse else blocks
        return {"stem": r"^patch_embed", "blocks": [*stages, (r"^norm", last)]}


def _attention(
    window: int,
    name: str,
    alpha: float,
    relative_position: bool,
    args: dict[str, Any],
    place: dict[str, Any],
) -> nn.Module | None:
    """Return a block's attention: ``name`` stands where windows are larger than 1."""
    if window == NO_ATTENTION:
        return None
    if window == PLAIN_ATTENTION and not relative_position:
        return mechanisms.build("hilo", window_size=window, **place)  # as the authors store it
    if window == PLAIN_ATTENTION or name == "msa":
        return mechanisms.build("msa", relative_position=relative_position, **place)
    if name == "hilo":
        return mechanisms.build("hilo", window_size=window, alpha=alpha, **place)
    return mechanisms.build(name, **place, **args)


def _initialise(module: nn.Module) -> None:
    """Linear layers: normal of std 0.02. Depthwise convolutions: He's, by what leaves them."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d) and module.groups == module.out_channels > 1:
        nn.init.normal_(module.weight, std=math.sqrt(2 / module.weight[0].numel()))
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def official_multiply_adds(model: LITv2, size: int) -> int:
    """Return multiply-adds of an image of ``size`` pixels, as the authors' `flops()` counts them.

    Norms and biases of convolutions are counted, softmax, GELU, sampling and biases of linear maps
    are not. Only for the paper's own blocks: ConvFFN, HiLo and deformable merging.
    """
    patch = model.patch_embed.patch_size[0]
    side, dim = math.ceil(size / patch), int(model.patch_embed.proj.out_channels)
    patches = side**2
    total: int = patches * dim * (model.in_chans * patch**2 + 1)
    for stage in model.stages:
        for block in cast(list[Block], list(stage.blocks)):
            hidden = MLP_RATIO * dim
            total += side**2 * ((9 + 1) * hidden + 2 * dim * hidden + dim)
            if isinstance(block.attn, HiLo):
                total += side**2 * dim + block.attn.multiply_adds(side, side)
        if stage.downsample is not None:
            side //= 2
            total += merging.multiply_adds(dim, 2 * dim, side, side)
            dim *= 2
    # The last norm's tokens are counted as if each stage halved them.
    total += dim * (patches // 2 ** len(model.stages)) + dim * model.num_classes
    return total


def checkpoint_filter_fn(state_dict: dict[str, Any], model: nn.Module) -> dict[str, Tensor]:
    """Return weights under this file's names, from the authors' files or from our own.

    The authors' differ in two names: `mlp.dwconv.dwconv` and `head`. The training loop's container
    (`model`) is opened.
    """
    weights = state_dict.get("model", state_dict)
    named = {}
    for name, tensor in weights.items():
        name = name.removeprefix("module.").replace("mlp.dwconv.dwconv.", "mlp.dwconv.")
        if name in ("head.weight", "head.bias"):
            name = name.replace("head.", "head.fc.")
        named[name] = tensor
    return named


def _cfg(**changes: Any) -> dict[str, Any]:
    return {
        "url": "",
        "num_classes": 1000,
        "input_size": (3, 224, 224),
        "pool_size": (7, 7),
        "crop_pct": 0.875,
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": "patch_embed.proj",
        "classifier": "head.fc",
        "paper_name": "LITv2",
        "paper_ids": "arXiv:2205.13213",
        "origin_url": "https://github.com/ziplab/LITv2",
        "license": "apache-2.0",
        **changes,
    }


# No addresses of weights: the authors' files are pickles, which `reprise convert litv2` makes safe;
# then `pretrained_cfg_overlay={"file": ...}` loads them.
default_cfgs = generate_default_cfgs({name: _cfg() for name in ARCHITECTURES})


def _create(variant: str, pretrained: bool, args: dict[str, Any]) -> LITv2:
    return build_model_with_cfg(
        LITv2,
        variant,
        pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,
        feature_cfg={"out_indices": (0, 1, 2, 3), "feature_cls": "getter"},
        **{**ARCHITECTURES[variant], **args},
    )


@register_model
def litv2_s(pretrained: bool = False, **kwargs: Any) -> LITv2:
    """Small: 27.8 M parameters."""
    return _create("litv2_s", pretrained, kwargs)


@register_model
def litv2_m(pretrained: bool = False, **kwargs: Any) -> LITv2:
    """Medium: 48.8 M parameters, three times as deep in the third stage."""
    return _create("litv2_m", pretrained, kwargs)


@register_model
def litv2_b(pretrained: bool = False, **kwargs: Any) -> LITv2:
    """Base: 86.5 M parameters, wider."""
    return _create("litv2_b", pretrained, kwargs)
