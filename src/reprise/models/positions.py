"""Fixed position embeddings for plain vision transformers."""

import torch
from timm.layers import build_sincos2d_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn


def sincos_position(grid: tuple[int, int], width: int) -> Tensor:
    """Return fixed 2-D sine-cosine position embeddings [1, N, width]."""
    return build_sincos2d_pos_embed(list(grid), width).unsqueeze(0)


def fix_positions(vit: VisionTransformer) -> None:
    """Give a ViT fixed sine-cosine positions, which training does not move; prefix tokens get 0."""
    position = vit.pos_embed
    assert isinstance(position, nn.Parameter)
    fixed = sincos_position(vit.patch_embed.grid_size, vit.embed_dim)
    with torch.no_grad():
        position.zero_()[:, position.shape[1] - fixed.shape[1] :] = fixed
    position.requires_grad_(False)
