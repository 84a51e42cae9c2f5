"""CAN: contrast, masked autoencoding and noise prediction in one objective (arXiv 2210.16870).

Two views of each image lose half of their patches and get Gaussian noise on the rest; one ViT
encodes what is left. Mean-pooled tokens are contrasted across views; a light decoder predicts the
pixels of the dropped patches and the noise on the kept ones. MAE, SimCLR and the paper's ablations
are settings of this one objective (`reprise.settings.can`):

    SimCLR: mask_rate 0, only weight_contrast.     MAE: views 1, only weight_reconstruct.

Two extensions, which the paper does without, are settings, too: contrast against a momentum copy
of the encoder, and dropped patches told by a token instead of their pixels.

Where the two public codes disagree, this file follows the paper's figures (the noise level is told
to every decoder token, patches alone are pooled), and where those do not say, what the objective
needs: the clean pixels are the reconstruction target, and the raw noise, which still carries its
level, is the denoising target.
"""

import copy
import math
from collections.abc import Sequence

import timm
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from reprise.config import Run
from reprise.models.positions import fix_positions, sincos_position
from reprise.settings.can import Settings
from reprise.training import distributed
from reprise.training.method import Batch, Method, Subject
from reprise.training.seeding import Draws


def patchify(images: Tensor, patch: int) -> Tensor:
    """Cut [B, C, H, W] into [B, N, C * patch * patch], rows of patches first.

    A patch's values are in the order of a patch-embedding convolution's weights (C, row, column).
    """
    b, c, h, w = images.shape
    grid = images.reshape(b, c, h // patch, patch, w // patch, patch)
    return grid.permute(0, 2, 4, 1, 3, 5).reshape(b, -1, c * patch * patch)


def unpatchify(patches: Tensor, patch: int, channels: int) -> Tensor:
    """Join [B, N, C * patch * patch] of a square image back into [B, C, H, W]."""
    side = math.isqrt(patches.shape[1])
    grid = patches.reshape(-1, side, side, channels, patch, patch)
    return grid.permute(0, 3, 1, 4, 2, 5).reshape(-1, channels, side * patch, side * patch)


def take(tokens: Tensor, index: Tensor) -> Tensor:
    """Return tokens [B, N, D] at index [B, K] as [B, K, D]."""
    return tokens.gather(1, index.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))


def random_keep(order: Tensor, mask_rate: float) -> tuple[Tensor, Tensor]:
    """Split patches by uniform random numbers [B, N] into kept and dropped indices.

    Returns int64 [B, K] and [B, N - K] with K = N (1 - mask_rate), rounded.
    """
    total = order.shape[1]
    kept = round(total * (1 - mask_rate))
    if kept == total:
        everything = torch.arange(total, device=order.device).expand(order.shape)
        return everything, everything[:, :0]
    shuffled = order.argsort(dim=1)
    return shuffled[:, :kept], shuffled[:, kept:]


def info_nce(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Contrast two views [B, D] with in-batch negatives from all processes.

    The mean over both views and all images of -log( exp(u.u'/t) / sum over the other 2n - 1 ),
    with unit-length u; the sample itself is left out of the sum, its other view is not.
    """
    first, second = F.normalize(first.float(), dim=1), F.normalize(second.float(), dim=1)
    everyone = torch.cat([distributed.gather(first), distributed.gather(second)])
    logits = torch.cat([first, second]) @ everyone.T / temperature
    batch, total = len(first), len(everyone) // 2
    own = distributed.rank() * batch + torch.arange(batch, device=first.device)
    itself, partner = torch.cat([own, own + total]), torch.cat([own + total, own])
    logits = logits.scatter(1, itself.unsqueeze(1), float("-inf"))
    return F.cross_entropy(logits, partner)


def info_nce_to_keys(query: Tensor, key: Tensor, temperature: float) -> Tensor:
    """Contrast queries [B, D] with a momentum encoder's keys [B, D] of the other view.

    The mean over images of -log( exp(q.k/t) / sum over the keys of all processes ), unit-length
    vectors (MoCo v3, arXiv 2104.02057, without its factor of 2t).
    """
    query, key = F.normalize(query.float(), dim=1), F.normalize(key.float(), dim=1)
    logits = query @ distributed.gather(key).T / temperature
    own = distributed.rank() * len(query) + torch.arange(len(query), device=query.device)
    return F.cross_entropy(logits, own)


class NoiseLevel(nn.Module):
    """Embeds a noise level: sinusoids of the rescaled level, then two linear layers.

    The level is scaled to 0..1000 first: at the paper's sigma of at most 0.05 the plain sinusoids
    would be almost constant, and telling the decoder the level would tell it nothing.
    """

    def __init__(self, width: int, sigma_max: float) -> None:
        super().__init__()
        self.scale = 1000.0 / sigma_max
        half = width // 2
        rates = torch.exp(-math.log(10_000.0) * torch.arange(half) / half)
        self.register_buffer("rates", rates, persistent=False)
        self.mlp = nn.Sequential(nn.Linear(2 * half, width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, sigma: Tensor) -> Tensor:
        """Embed levels [B] as [B, 1, width]."""
        angle = self.scale * sigma.unsqueeze(1) * self.get_buffer("rates")
        embedded: Tensor = self.mlp(torch.cat([angle.sin(), angle.cos()], dim=1))
        return embedded.unsqueeze(1)


class Tokenizer(nn.Module):
    """Names a patch by the nearest of some random directions, after a random projection.

    Nothing is trained (the quantiser of BEST-RQ, arXiv 2202.01855): the patch less its mean is
    projected to 16 numbers, whose nearest direction is the token. A blank patch is token 0.
    """

    def __init__(self, patch_values: int, vocabulary: int, width: int = 16) -> None:
        super().__init__()
        self.register_buffer("projection", torch.randn(patch_values, width))
        self.register_buffer("directions", F.normalize(torch.randn(width, vocabulary), dim=0))

    @torch.no_grad()
    def forward(self, patches: Tensor) -> Tensor:
        """Return the tokens int64 [B, N] of patches [B, N, P]."""
        centred = (patches - patches.mean(dim=-1, keepdim=True)).float()
        return (centred @ self.get_buffer("projection") @ self.get_buffer("directions")).argmax(-1)


class Decoder(nn.Module):
    """A light ViT: encoded tokens in their places, mask tokens elsewhere -> one vector a patch.

    One output serves both targets: pixels where a patch was dropped, noise where it was kept.
    """

    def __init__(
        self, encoder_width: int, grid: tuple[int, int], outputs: int, settings: Settings
    ) -> None:
        super().__init__()
        width = settings.decoder_width
        self.embed = nn.Linear(encoder_width, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.register_buffer("position", sincos_position(grid, width), persistent=False)
        self.blocks = nn.Sequential(
            *(
                Block(width, settings.decoder_heads, qkv_bias=True)
                for _ in range(settings.decoder_depth)
            )
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, outputs)
        nn.init.normal_(self.mask_token, std=0.02)
        self.noise_level = (
            NoiseLevel(width, settings.sigma_max)
            if settings.sigma_embedding and settings.sigma_max
            else None
        )

    def forward(self, tokens: Tensor, keep: Tensor, sigma: Tensor) -> Tensor:
        """Decode tokens [B, K, D] kept at [B, K] under noise [B] into [B, N, outputs]."""
        x = self.embed(tokens)
        position = self.get_buffer("position")
        mask = self.mask_token.to(x.dtype).expand(len(x), position.shape[1], -1)
        x = mask.scatter(1, keep.unsqueeze(-1).expand(-1, -1, x.shape[-1]), x) + position
        if self.noise_level is not None:
            x = x + self.noise_level(sigma)
        decoded: Tensor = self.head(self.norm(self.blocks(x)))
        return decoded


def encode(vit: VisionTransformer, patches: Tensor, keep: Tensor) -> Tensor:
    """Encode kept patches [B, K, C p p], which stand at [B, K], into tokens [B, K, D].

    Only kept patches are embedded: the encoder never sees a dropped one.
    """
    weights = vit.patch_embed.proj
    x = F.linear(patches, weights.weight.flatten(1), weights.bias)
    prefix = vit.num_prefix_tokens
    assert vit.pos_embed is not None
    prefix_position, position = vit.pos_embed[:, :prefix], vit.pos_embed[:, prefix:]
    x = x + take(position.expand(len(x), -1, -1), keep)
    if vit.cls_token is not None:
        first = (vit.cls_token + prefix_position).expand(len(x), -1, -1)
        x = torch.cat([first.to(x.dtype), x], dim=1)
    encoded: Tensor = vit.norm(vit.blocks(vit.norm_pre(x)))
    return encoded[:, prefix:]


def projection_head(width: int, settings: Settings) -> nn.Sequential:
    """Linear layers of the given widths with ReLU (and BatchNorm, if set) between them."""
    layers: list[nn.Module] = []
    for size in settings.projection[:-1]:
        layers.append(nn.Linear(width, size))
        if settings.projection_norm == "batch":
            layers.append(nn.BatchNorm1d(size))
        layers.append(nn.ReLU())
        width = size
    return nn.Sequential(*layers, nn.Linear(width, settings.projection[-1]))


class CAN(Method):
    """The objective; see the module's docstring."""

    encoder: VisionTransformer

    def __init__(self, encoder: VisionTransformer, channels: int, settings: Settings) -> None:
        super().__init__()
        self.encoder, self.settings, self.channels = encoder, settings, channels
        self.num_views = settings.views
        self.mixes_samples = settings.weight_contrast > 0
        self.patch = encoder.patch_embed.patch_size[0]
        grid = encoder.patch_embed.grid_size
        self.patches = grid[0] * grid[1]
        fix_positions(encoder)
        # Parts that more arms of an ablation have come first, so that arms of one seed start from
        # the same weights.
        self.projection = (
            projection_head(encoder.embed_dim, settings) if self.mixes_samples else None
        )
        self.decoder, self.tokenizer = self._make_decoder(grid)
        self.followers = self._make_followers()
        self._left: list[Tensor] = []  # what the copies were before they last moved

    def _make_decoder(self, grid: tuple[int, int]) -> tuple[Decoder | None, Tokenizer | None]:
        """Return the decoder, which says tokens first where there are any, then pixels or noise."""
        settings, pixels = self.settings, self.channels * self.patch**2
        if not (settings.weight_reconstruct or settings.weight_denoise):
            return None, None
        tokenizer, outputs = None, pixels
        if settings.target == "tokens":
            tokenizer = Tokenizer(pixels, settings.vocabulary)
            outputs = settings.vocabulary + (pixels if settings.weight_denoise else 0)
        return Decoder(self.encoder.embed_dim, grid, outputs, settings), tokenizer

    def _make_followers(self) -> nn.ModuleList | None:
        """Return the momentum copies of encoder and projection, where contrast uses them."""
        if self.settings.momentum is None:
            return None
        assert self.projection is not None  # settings ask for contrast
        copies = nn.ModuleList([copy.deepcopy(self.encoder), copy.deepcopy(self.projection)])
        return copies.requires_grad_(False)

    def forward(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        clean, keep, drop, sigma, noise = self._corrupt(batch.views, draws)
        seen = take(clean, keep) + noise
        tokens = encode(self.encoder, seen, keep)
        losses: dict[str, Tensor] = {}
        if self.projection is not None:
            losses["loss_contrast"] = self._contrast(tokens, seen, keep)
        if self.decoder is not None:
            decoded = self.decoder(tokens, keep, sigma).float()
            losses |= self._decoder_losses(decoded, clean, keep, drop, noise)
        return {"loss": self._weigh(losses), **losses}

    def _contrast(self, tokens: Tensor, seen: Tensor, keep: Tensor) -> Tensor:
        assert self.projection is not None
        temperature = self.settings.temperature
        first, second = self.projection(tokens.mean(dim=1)).chunk(2)
        if self.followers is None:
            return info_nce(first, second, temperature)
        with torch.no_grad():
            self._follow()
            encoder, projection = self.followers
            assert isinstance(encoder, VisionTransformer)
            keys = projection(encode(encoder, seen, keep).mean(dim=1))
            first_key, second_key = keys.chunk(2)
        one = info_nce_to_keys(first, second_key, temperature)
        return (one + info_nce_to_keys(second, first_key, temperature)) / 2

    def _follow(self) -> None:
        """Move the copies towards the trained modules, once before each training step.

        They move into new storage, and the old one stays until they move again, for `retract`:
        that takes as much memory as they do, but nothing is copied.
        """
        if not self.training:
            return
        assert self.followers is not None
        assert self.projection is not None
        assert self.settings.momentum is not None
        mine: list[Tensor] = list(self.followers.parameters())
        theirs: list[Tensor] = [*self.encoder.parameters(), *self.projection.parameters()]
        moved = torch._foreach_lerp(mine, theirs, 1 - self.settings.momentum)
        self._left = [copied.data for copied in mine]
        self._place(moved)

    def _place(self, values: Sequence[Tensor]) -> None:
        assert self.followers is not None
        for copied, value in zip(self.followers.parameters(), values, strict=True):
            copied.data = value

    def retract(self) -> None:
        """Move the copies back."""
        if self._left:
            self._place(self._left)
            self._left = []

    def _corrupt(
        self, views: tuple[Tensor, ...], draws: Draws
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Choose patches and noise for the stacked views.

        Returns clean patches [VB, N, P], kept [VB, K] and dropped [VB, N - K] indices, noise
        levels [VB] and the noise itself [VB, K, P].
        """
        clean = patchify(torch.cat(views), self.patch)
        per_view = [draws.fold("view", view) for view in range(len(views))]
        order = torch.cat([own.uniform("mask", self.patches) for own in per_view])
        keep, drop = random_keep(order, self.settings.mask_rate)
        sigma = torch.cat([own.uniform("sigma") for own in per_view]) * self.settings.sigma_max
        if not self.settings.sigma_max:
            return clean, keep, drop, sigma, torch.zeros((), device=clean.device)
        shape = (keep.shape[1], clean.shape[2])
        unit = torch.cat([own.normal("noise", *shape) for own in per_view])
        return clean, keep, drop, sigma, unit * sigma[:, None, None]

    def _decoder_losses(
        self, decoded: Tensor, clean: Tensor, keep: Tensor, drop: Tensor, noise: Tensor
    ) -> dict[str, Tensor]:
        losses = {}
        if self.tokenizer is not None:
            scores, decoded = decoded.tensor_split([self.settings.vocabulary], dim=-1)
            truth = self.tokenizer(take(clean, drop))
            losses["loss_reconstruct"] = F.cross_entropy(take(scores, drop).mT, truth)
        elif self.settings.weight_reconstruct:
            target = take(clean, drop)
            if self.settings.normalise_target:
                deviation, mean = torch.std_mean(target, dim=-1, keepdim=True)
                target = (target - mean) / (deviation + 1e-3)
            losses["loss_reconstruct"] = F.mse_loss(take(decoded, drop), target)
        if self.settings.weight_denoise:
            losses["loss_denoise"] = F.mse_loss(take(decoded, keep), noise)
        return losses

    def _weigh(self, losses: dict[str, Tensor]) -> Tensor:
        weights = {
            "loss_contrast": self.settings.weight_contrast,
            "loss_reconstruct": self.settings.weight_reconstruct,
            "loss_denoise": self.settings.weight_denoise,
        }
        return torch.stack([weights[name] * value for name, value in losses.items()]).sum()

    @torch.no_grad()
    def gallery(self, images: Tensor, draws: Draws) -> dict[str, Tensor]:
        """Return pictures [B, C, H, W] of one view: original, what the encoder sees, rebuilt.

        Dropped patches are zero (mid-grey) in the second; in the third, kept patches are shown as
        they are and dropped ones as the decoder fills them in.
        """
        if self.decoder is None or self.tokenizer is not None:
            return {"original": images}
        clean, keep, drop, sigma, noise = self._corrupt((images,), draws)
        noisy = take(clean, keep) + noise
        decoded = self.decoder(encode(self.encoder, noisy, keep), keep, sigma)

        def place(patches: Tensor, index: Tensor, over: Tensor) -> Tensor:
            where = index.unsqueeze(-1).expand(-1, -1, patches.shape[-1])
            return unpatchify(over.scatter(1, where, patches), self.patch, self.channels)

        return {
            "original": images,
            "kept patches, noisy": place(noisy, keep, torch.zeros_like(clean)),
            "reconstruction": place(take(decoded.to(clean.dtype), drop), drop, clean),
        }


def build(run: Run, data: Subject) -> CAN:
    """Build the method of a run from its settings (weights from torch's global generator)."""
    encoder = timm.create_model(run.model.name, num_classes=0, **run.model.args)
    if not isinstance(encoder, VisionTransformer):
        raise TypeError(f"CAN needs a plain ViT, {run.model.name} is {type(encoder).__name__}")
    return CAN(encoder, data.channels, Settings.model_validate(run.objective))
