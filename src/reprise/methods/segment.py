"""Semantic segmentation: an encoder's four maps, a head on them, a class of every pixel.

The heads are segmentation_models_pytorch's: UPerNet (arXiv 1807.10221) and Semantic FPN (arXiv
1901.02446). Images and masks reach the method as they are, and are augmented together here: scaled,
cropped within the photo, flipped. A run that starts from another one's weights takes its encoder.
"""

from collections.abc import Sequence
from typing import cast

import timm
import torch
import torch.nn.functional as F
from segmentation_models_pytorch.base.initialization import initialize_decoder, initialize_head
from segmentation_models_pytorch.base.modules import Conv2dReLU
from segmentation_models_pytorch.decoders.fpn.decoder import FPNDecoder
from segmentation_models_pytorch.decoders.upernet.decoder import UPerNetDecoder
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

import reprise.models.litv2  # noqa: F401  (registers its models with timm)
from reprise.config import Run
from reprise.data.base import ImageSet
from reprise.data.dense import IGNORE, Some, segmentation, some
from reprise.data.transforms import (
    LUMA,
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    apply_matrices,
)
from reprise.errors import ConfigError
from reprise.models.positions import fix_positions
from reprise.models.pyramid import LEVELS, Pyramid
from reprise.plan import RunJob
from reprise.settings.segment import Settings
from reprise.training import distributed
from reprise.training.method import Batch, Method, StandIn, Subject
from reprise.training.run import run_key
from reprise.training.seeding import Draws

AUXILIARY_MAP = 2  # the encoder's own resolution, of a plain ViT
EVERY = 4  # pixel counts in the curve of training
FEWEST = 1e-6  # labelled pixels on average over processes; where none is, the sum is 0, too


class Segment(Method):
    """An encoder with a head; ``names`` are those of the classes, in the order of mask values."""

    def __init__(self, encoder: nn.Module, names: Sequence[str], settings: Settings) -> None:
        super().__init__()
        self.encoder, self.names, self.settings = encoder, tuple(names), settings
        own_norms = range(LEVELS) if settings.head == "fpn" else ()  # UPerNet's are in its head
        self.pyramid = Pyramid(encoder, own_norms)
        self.head = _head(self.pyramid.channels, settings)
        width = settings.channels if settings.head == "upernet" else settings.fpn_channels
        self.classifier = _classifier(width, len(names))
        self.auxiliary: nn.Module | None = None
        if settings.auxiliary:
            width = self.pyramid.channels[AUXILIARY_MAP]
            self.auxiliary = _auxiliary(width, len(names), settings)
        # Batch norm makes an image's loss depend on the others of its batch. What an encoder has of
        # it is treated as in its own training.
        own = (part for part in self.children() if part is not encoder)
        self.mixes_samples = any(
            isinstance(layer, nn.BatchNorm2d) for part in own for layer in part.modules()
        )
        self.extents: Tensor | None = None  # int64 [N, 2], of the photos that it is trained on

    def attach(self, job: RunJob, data: ImageSet) -> None:
        """Note which images a share of the labels are: the same for all runs of a seed."""
        self.share_key = run_key(job.run, job.seed).fold("labels")
        if not (self.mixes_samples and distributed.is_distributed()):
            return
        if distributed.pick_device(job.project.config.device).type == "cpu":
            raise ConfigError(
                f"{job.key}: its batch norm cannot be shared between processes without a GPU; "
                "train it in one process"
            )
        for name, part in self.named_children():
            if part is not self.encoder:
                setattr(self, name, nn.SyncBatchNorm.convert_sync_batchnorm(part))

    def samples(self, data: ImageSet, device: torch.device) -> ImageSet:
        """Return images with their masks, of the share of the data that it is trained on."""
        dense = segmentation(data)
        chosen = some(len(dense), self.settings.images, self.share_key)
        self.extents = dense.extents[chosen]
        return Some(dense, chosen)

    def forward(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """Return the losses and the share of labelled pixels that are right, in percent.

        The latter is of every fourth pixel of every fourth row, since it is only to be looked at.
        ``batch.views[0]`` are images uint8 [B, C, H, W], its labels masks uint8 [B, H, W].
        """
        pixels = batch.views[0]
        extents = None if self.extents is None else self.extents[batch.indices]
        cut, masks, inside = augment(pixels, batch.labels, extents, self.settings, draws)
        images = self.prepared(cut) * inside.unsqueeze(1)  # beyond a photo the mean colour
        maps = self.pyramid(self.encoder, images)
        scores = self._upsampled(self._coarse(maps), images)
        losses = {"loss": cross_entropy(scores, masks)}
        if self.auxiliary is not None:
            beside = self._upsampled(self.auxiliary(maps[AUXILIARY_MAP]), images)
            losses["auxiliary"] = cross_entropy(beside, masks)
            losses["loss"] = losses["loss"] + self.settings.auxiliary * losses["auxiliary"]
        return {**losses, "pixels": _right(scores.detach(), masks)}

    def prepared(self, pixels: Tensor) -> Tensor:
        """Return normalised float32 [B, C, H, W] of images in 0..1, made grey if it wants them."""
        if self.settings.grey and pixels.shape[1] == len(LUMA):
            weights = torch.tensor(LUMA, device=pixels.device).view(1, -1, 1, 1)
            pixels = (pixels * weights).sum(1, keepdim=True)
        return normalised(pixels, self.settings)

    def logits(self, images: Tensor) -> Tensor:
        """Return float32 [B, classes, H, W] of normalised images [B, C, H, W] of any size."""
        maps = self.pyramid(self.encoder, images)
        return self._upsampled(self._coarse(maps), images)

    def _coarse(self, maps: list[Tensor]) -> Tensor:
        """Return scores of the size of the finest map."""
        before = [maps[0]] * 2 if self.settings.head == "upernet" else []  # it skips the first two
        scores: Tensor = self.classifier(self.head(before + maps))
        return scores

    def _upsampled(self, scores: Tensor, images: Tensor) -> Tensor:
        """Return float32 scores of every pixel of images, which the maps saw padded."""
        height, width = images.shape[2:]
        multiple = self.pyramid.multiple
        padded = (height + -height % multiple, width + -width % multiple)
        fine = F.interpolate(scores.float(), padded, mode="bilinear", align_corners=False)
        return fine[..., :height, :width]


def _head(channels: list[int], settings: Settings) -> nn.Module:
    """Return a head without classifier, on maps of these widths."""
    if settings.head == "upernet":
        decoder = UPerNetDecoder([0, 0, *channels], decoder_channels=settings.channels)
        head = nn.Sequential(decoder, nn.Dropout2d(settings.dropout))
    else:
        head = FPNDecoder(
            channels,
            pyramid_channels=settings.channels,
            segmentation_channels=settings.fpn_channels,
            dropout=settings.dropout,
        )
        # Semantic FPN has a convolution behind each map of its pyramid, which the library leaves
        # out; with it, LITv2's models have the printed number of parameters.
        width = settings.channels
        for level, block in enumerate(head.seg_blocks):
            smooth = nn.Conv2d(width, width, kernel_size=3, padding=1)
            head.seg_blocks[level] = nn.Sequential(smooth, block)
    initialize_decoder(head)
    return cast(nn.Module, head)


def _auxiliary(width: int, classes: int, settings: Settings) -> nn.Module:
    """Return the second head of mmsegmentation's UPerNet: a convolution and a classifier."""
    inner = settings.auxiliary_channels
    layer = Conv2dReLU(width, inner, kernel_size=3, padding=1, use_norm="batchnorm")
    initialize_decoder(layer)
    return nn.Sequential(layer, nn.Dropout2d(settings.dropout), _classifier(inner, classes))


def _classifier(width: int, classes: int) -> nn.Module:
    layer = nn.Conv2d(width, classes, kernel_size=1)
    initialize_head(layer)
    return layer


def cross_entropy(scores: Tensor, masks: Tensor) -> Tensor:
    """Return the mean over labelled pixels, 0 where there is none.

    ``scores`` float32 [B, classes, H, W]; ``masks`` uint8 [B, H, W], `IGNORE` without a label. Of
    several processes each divides by their mean number of labelled pixels, so that the mean of
    their losses, and of their gradients, is that over all pixels.
    """
    total = F.cross_entropy(scores, masks.long(), ignore_index=IGNORE, reduction="sum")
    labelled = (masks != IGNORE).sum()
    if distributed.is_distributed():
        return total / distributed.average(labelled.float()).clamp(min=FEWEST)
    return total / labelled.clamp(min=1)


def _right(scores: Tensor, masks: Tensor) -> Tensor:
    some, truth = scores[..., ::EVERY, ::EVERY], masks[:, ::EVERY, ::EVERY]
    labelled = truth != IGNORE
    right = (some.argmax(dim=1) == truth) & labelled
    return 100 * right.sum() / labelled.sum().clamp(min=1)


def normalised(pixels: Tensor, settings: Settings) -> Tensor:
    """Return (pixels - mean) / std of float32 [B, C, H, W] in 0..1."""
    mean, std = (
        torch.tensor(values, device=pixels.device).view(1, -1, 1, 1)
        for values in (settings.mean, settings.std)
    )
    return (pixels - mean) / std


@torch.no_grad()
def augment(
    pixels: Tensor, masks: Tensor, extents: Tensor | None, settings: Settings, draws: Draws
) -> tuple[Tensor, Tensor, Tensor]:
    """Return images float32 [B, C, crop, crop] in 0..1, their masks, and what of them is photo.

    Masks are uint8 and the last is bool, both [B, crop, crop]. Photos uint8 [B, C, H, W] with masks
    uint8 [B, H, W], of ``extents`` int64 [B, 2] (height and width; None: the whole canvas), are
    scaled by a factor of ``scale``; a square is cut from anywhere in them, and some are flipped. A
    photo that is then smaller lies top left, and beyond it masks are `IGNORE`. Images are resampled
    bilinearly, antialiased; a pixel of a mask is that in which its centre lies, so that no label is
    made up.
    """
    height, width = pixels.shape[2:]
    if extents is None:
        extents = torch.tensor([[height, width]]).expand(len(pixels), 2)
    drawn, (low, high) = draws.uniform("place", 4), settings.scale
    factor, lengths = low + (high - low) * drawn[:, 0], extents.to(drawn.device).float()
    flip = drawn[:, 3] < settings.flip
    down = centres(lengths[:, 0], factor, drawn[:, 1], settings.crop, None)
    across = centres(lengths[:, 1], factor, drawn[:, 2], settings.crop, flip)
    with torch.autocast(pixels.device.type, enabled=False):
        rows = matrices(down, lengths[:, 0], factor, height)
        columns = matrices(across, lengths[:, 1], factor, width)
        images = apply_matrices(pixels, rows, columns).div_(255)
        if settings.jitter or settings.hue or settings.brightness:
            distort(images, settings, draws)
    rows_in, columns_in = _inside(down, lengths[:, 0]), _inside(across, lengths[:, 1])
    inside = rows_in.unsqueeze(2) & columns_in.unsqueeze(1)
    return images, nearest(masks, down, across).masked_fill(~inside, IGNORE), inside


def centres(
    length: Tensor, factor: Tensor, place: Tensor, crop: int, flip: Tensor | None
) -> Tensor:
    """Return where the centres of a crop's pixels lie on one axis of photos, float32 [B, crop].

    In pixels of the photo, whose first centre is at 1/2. ``length`` [B] of photos, which ``factor``
    enlarges; ``place`` [B] in 0..1 is where a crop lies that fits in, rounded to whole pixels of
    the enlarged photo. Positions from ``length`` on, or below 0 where the axis is flipped (bool
    [B]), are beyond the photo.
    """
    room = (length - crop / factor).clamp(min=0)
    start = torch.minimum((place * (room * factor + 1)).floor() / factor, room)
    steps = (torch.arange(crop, device=length.device) + 0.5) / factor.unsqueeze(1)
    at = start.unsqueeze(1) + steps
    if flip is None:
        return at
    return torch.where(flip.unsqueeze(1), length.unsqueeze(1) - at, at)


def matrices(at: Tensor, length: Tensor, factor: Tensor, source: int) -> Tensor:
    """Return float32 [B, crop, source]: weights of the pixels of one axis at positions [B, crop].

    A triangle as wide as a pixel of the crop, or as one of the photo where that is wider. Rows sum
    to 1, or are 0 beyond the photo.
    """
    pixel = torch.arange(source, device=at.device) + 0.5
    reach = (1 / factor).clamp(min=1).view(-1, 1, 1)
    weights = (pixel - at.unsqueeze(2)).abs_().div_(reach).neg_().add_(1).clamp_(min=0)
    weights.mul_(pixel < length.view(-1, 1, 1))
    total = weights.sum(2, keepdim=True)
    return weights.div_(total.clamp_(min=1e-6)).mul_(_inside(at, length).unsqueeze(2))


def nearest(masks: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Return masks uint8 [B, crop, crop] at positions [B, crop] of both axes."""
    rows = down.clamp(0, masks.shape[1] - 1).long()
    columns = across.clamp(0, masks.shape[2] - 1).long()
    sample = torch.arange(len(masks), device=masks.device).view(-1, 1, 1)
    return masks[sample, rows.unsqueeze(2), columns.unsqueeze(1)]


def _inside(at: Tensor, length: Tensor) -> Tensor:
    return (at >= 0) & (at < length.unsqueeze(1))


def distort(images: Tensor, settings: Settings, draws: Draws) -> None:
    """Distort the colours of images in 0..1, in place: each property for half of the images.

    Contrast is about an image's mean grey and saturation about a pixel's own, as in torchvision,
    where mmsegmentation multiplies pixels, and the saturation of HSV; it also lets contrast come
    last in half of the images.
    """
    drawn = draws.uniform("colour", 2, 4, 1, 1, 1)
    chosen, amount = drawn[:, 0] < 0.5, 2 * drawn[:, 1] - 1
    factors = torch.where(chosen, 1 + settings.jitter * amount, 1.0).unbind(1)
    if settings.brightness is None:
        adjust_brightness(images, factors[0])
    else:
        shift = torch.where(chosen[:, 0], settings.brightness * amount[:, 0], 0.0)
        images.add_(shift).clamp_(0, 1)
    adjust_contrast(images, factors[1])
    if images.shape[1] == len(LUMA):
        adjust_saturation(images, factors[2])
        adjust_hue(images, torch.where(chosen[:, 3], settings.hue * amount[:, 3], 0.0))


def build(run: Run, data: Subject) -> Segment:
    """Build the encoder and the head of a run; ConfigError where they do not fit the data."""
    settings = Settings.model_validate(run.objective)
    if settings.head == "upernet" and run.batch_size < 2 * run.accumulate:
        raise ConfigError(
            f"batch_size = {run.batch_size}: head: upernet needs at least two images in every "
            "forward pass, since it normalises a map of one pixel over them"
        )
    channels = 1 if settings.grey else data.channels
    seen = int(run.model.args.get("in_chans", 3))
    if seen != channels or len(settings.mean) not in (1, channels):
        raise ConfigError(
            f"the encoder sees images of {channels} channel{'s' * (channels > 1)}: set model.args: "
            f"{{in_chans: {channels}}} and give so many numbers, or one, in mean and std"
            + (" (grey: true makes images of one channel)" if data.channels > 1 else "")
        )
    encoder = timm.create_model(run.model.name, num_classes=0, **run.model.args)
    if settings.fixed_positions:
        if not isinstance(encoder, VisionTransformer):
            raise ConfigError(f"fixed_positions: {run.model.name} is no plain ViT; set it to false")
        fix_positions(encoder)
    if isinstance(data, StandIn):
        return Segment(encoder, data.classes, settings)
    return Segment(encoder, segmentation(cast(ImageSet, data)).names, settings)
