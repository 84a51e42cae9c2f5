"""The augmentations of DeiT III as batched tensor code; timm's on Pillow images beside them.

In the paper's order: random resized crop or simple random crop, flip, exactly one of {grayscale,
solarize, Gaussian blur} (3-Augment), then brightness, contrast and saturation in random order.

Each step is Pillow's arithmetic without its rounding. Pillow rounds to 8 bits after each pass of a
filter, and drops the fraction after each of the three colour operations: its images are 1.3/255
darker on average, and a pixel differs by up to 1.2/255 after the crop and 7/255 at the end. Crop,
resize and flip are one matrix per sample and axis. Pillow cuts at black and white after each pass,
and so does this: left out, as where blur shares these matrices, black and white noise would differ
by 35/255, since bicubic resampling overshoots. Rows are resampled first, as Pillow does; from
version 13 on not where a crop loses much more height than width, which at equal sizes none does.

All random numbers come from the `Draws`, and samples are drawn as timm draws them: a random crop
whose box does not fit is drawn again, which makes large boxes rarer than in `transforms`.
"""

import math
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from reprise.data import pil_augment
from reprise.data.cropping import Boxes, redrawn_boxes
from reprise.data.transforms import LUMA
from reprise.settings.deit3_augment import RecipeAugment
from reprise.training.seeding import BLOCK, Draws

PLANNED = 4 * BLOCK  # samples whose augmentation is found together, on a CPU
BICUBIC_REACH = 2  # the kernel ends here
GRAYSCALE, SOLARIZE, BLUR, NONE = range(4)
BLUR_PASSES = 3  # Pillow's Gaussian is so many box blurs
# The six orders of brightness, contrast and saturation.
BRIGHTNESS, CONTRAST, SATURATION = range(3)
ORDERS = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))


@torch.no_grad()
def recipe_augment(pixels: Tensor, settings: RecipeAugment, draws: Draws) -> Tensor:
    """Return augmented images in 0..1, not normalised: float32 [B, C, size, size].

    ``pixels`` is float32 [B, C, H, W] in 0..1 on ``draws.device``, with B = ``draws.count`` and C 1
    or 3; grey images have no saturation, and grayscale leaves them as they are. Erased pixels
    alone are outside 0..1, since they are normal noise after normalising. Precision does not
    depend on autocast. Raises ConfigError where a mean or std does not fit the channels.
    """
    if pixels.is_meta:  # shapes only, for counting operations
        return pixels.new_empty((*pixels.shape[:2], settings.size, settings.size))
    with torch.autocast(pixels.device.type, enabled=False):
        if settings.backend == "pil":
            augmented = pil_augment.augment(pixels, settings, draws)
        else:
            augmented = _augment(pixels, settings, draws)
    if settings.erasing:
        pil_augment.erase(augmented, settings, draws)
    return augmented


class _Plan(NamedTuple):
    """What becomes of each sample; its tensors have the samples first."""

    rows: Tensor  # float32 [B, size, H]
    columns: Tensor  # float32 [B, size, W]
    chosen: Tensor  # int64 [B], of the three
    radius: Tensor  # float32 [B], of blur
    colours: Tensor  # float32 [B, N, C, C], a matrix over the channels for each of N operations
    towards_mean: Tensor  # float32 [B, N], how far each operation goes to the image's mean grey


def _augment(pixels: Tensor, settings: RecipeAugment, draws: Draws) -> Tensor:
    result = pixels.new_empty((*pixels.shape[:2], settings.size, settings.size))
    # On a CPU, pixels are changed a block at a time, as in `transforms.augment`; what becomes of
    # them is found for some blocks together, since it is small and every operation costs its call.
    on_cpu = pixels.device.type == "cpu"
    many, few = (PLANNED, BLOCK) if on_cpu else (max(1, len(pixels)),) * 2
    for first in range(0, len(pixels), many):
        own = replace(draws, start=draws.start + first, count=min(many, draws.count - first))
        plan = _plan(pixels, settings, own)
        for start in range(0, own.count, few):
            part = slice(first + start, min(first + start + few, first + own.count))
            mine = _Plan(*(values[start : start + few] for values in plan))
            _carry_out(mine, pixels[part], result[part], settings)
    return result


def _plan(pixels: Tensor, settings: RecipeAugment, draws: Draws) -> _Plan:
    _, channels, height, width = pixels.shape
    chosen, radius = choices(settings, draws)
    return _Plan(
        *matrices(height, width, settings, draws),
        chosen,
        radius,
        *_colours(channels, chosen, settings, draws),
    )


def _carry_out(plan: _Plan, pixels: Tensor, result: Tensor, settings: RecipeAugment) -> None:
    """Write augmented pixels into ``result``."""
    torch.clamp(resample(pixels, plan.rows, plan.columns), 0, 1, out=result)
    _solarize(result, plan.chosen, settings)
    _blur(result, plan.chosen, plan.radius)
    _recolour(result, plan.colours, plan.towards_mean)


def matrices(
    height: int, width: int, settings: RecipeAugment, draws: Draws
) -> tuple[Tensor, Tensor]:
    """Return what crops, resizes and flips: float32 [B, size, H] for rows, [B, size, W]."""
    size, flip = settings.size, draws.uniform("flip") < settings.flip
    if settings.crop == "src":
        return simple_crop(height, width, settings, draws, flip)
    if settings.crop == "rrc":
        top, left, box_height, box_width = crop_boxes(height, width, settings, draws)
    else:
        top = left = torch.zeros(draws.count, device=draws.device)
        box_height, box_width = top + height, left + width
    rows = bicubic_matrices(top, box_height, height, size)
    return rows, bicubic_matrices(left, box_width, width, size, flip)


def crop_boxes(height: int, width: int, settings: RecipeAugment, draws: Draws) -> Boxes:
    """Return (top, left, height, width) of random boxes in whole pixels, each float32 [B].

    Distributed as timm's, see `cropping.redrawn_boxes`.
    """
    extents = torch.tensor([[height, width]], device=draws.device).expand(draws.count, 2)
    return redrawn_boxes(extents, settings.crop_scale, settings.crop_ratio, draws)


def simple_crop(
    height: int, width: int, settings: RecipeAugment, draws: Draws, flip: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the matrices of the paper's simple random crop: [B, size, H] and [B, size, W].

    The shorter side is resized to ``size``, both are padded by reflection, and a square of that
    size is taken from anywhere in it.
    """
    size, shorter = settings.size, min(height, width)
    down, across = draws.uniform("crop", 2).unbind(1)
    rows = _padded_crop(height, int(size * height / shorter), settings, down)
    columns = _padded_crop(width, int(size * width / shorter), settings, across)
    return rows, torch.where(flip.view(-1, 1, 1), columns.flip(1), columns)


def _padded_crop(source: int, resized: int, settings: RecipeAugment, place: Tensor) -> Tensor:
    """Return [B, size, source]: one axis resized, padded, and cut at a place [B] in 0..1."""
    zero = torch.zeros(1, device=place.device)
    whole = bicubic_matrices(zero, zero + source, source, resized)[0]
    start = (place * (resized + 2 * settings.padding - settings.size + 1)).long()
    at = start.unsqueeze(1) + torch.arange(settings.size, device=place.device) - settings.padding
    at = at.abs()
    return whole[torch.where(at < resized, at, 2 * (resized - 1) - at)]


def bicubic_matrices(
    start: Tensor, length: Tensor, source: int, target: int, flip: Tensor | None = None
) -> Tensor:
    """Return float32 [B, target, source]: antialiased bicubic resampling of one axis, as Pillow's.

    Row i holds the weights with which output pixel i takes the input pixels of the box
    start..start+length ([B] each); rows sum to 1. Rows are reversed where ``flip`` (bool [B]).
    """
    device = start.device
    first, scale = start.unsqueeze(1), (length / target).unsqueeze(1)
    centre = first + scale * (torch.arange(target, device=device) + 0.5)
    if flip is not None:
        centre = torch.where(flip.unsqueeze(1), centre.flip(1), centre)
    # The kernel is as wide as output pixels, or as input pixels where those are wider. Only pixels
    # within its reach are computed, few of a row.
    reach = scale.clamp(min=1)
    count = math.ceil(2 * BICUBIC_REACH * max(1.0, source / target))
    lowest = (centre - BICUBIC_REACH * reach + 0.5).floor()
    pixel = lowest.unsqueeze(2) + torch.arange(count, device=device)
    weights = _bicubic((pixel + 0.5 - centre.unsqueeze(2)) / reach.unsqueeze(2))
    inside = (pixel >= first.unsqueeze(2)) & (pixel < (first + length.unsqueeze(1)).unsqueeze(2))
    weights.mul_(inside)
    weights.div_(weights.sum(2, keepdim=True))
    rows = torch.zeros(len(start), target, source, device=device)
    return rows.scatter_add_(2, pixel.clamp_(0, source - 1).long(), weights)


def _bicubic(distance: Tensor) -> Tensor:
    """Return the cubic convolution kernel with a = -1/2, which is Pillow's, at distances."""
    distance = distance.abs()
    outer, inner = (2 - distance).clamp_(min=0), (1 - distance).clamp_(min=0)
    # Of the piece from 1 to 2, continued, and what the piece from 0 to 1 has more.
    return outer.square().mul_(outer - 1).div_(2).add_(inner.square().mul_(1 - 2 * inner))


def resample(pixels: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return rows @ image @ columns^T, cut to 0..1 in between as in Pillow: [B, C, Ho, Wo].

    ``pixels`` is float32 [B, C, H, W], ``rows`` [B, Ho, H], ``columns`` [B, Wo, W]. The result is a
    view in another order: with channels side by side in a row, both products are large ones.
    """
    batch, channels, height, width = pixels.shape
    across = pixels.reshape(batch, channels * height, width) @ columns.mT
    beside = pixels.new_empty(batch, height, channels, columns.shape[1])
    torch.clamp(across.view(batch, channels, height, -1).transpose(1, 2), 0, 1, out=beside)
    down = rows @ beside.view(batch, height, -1)
    return down.view(batch, rows.shape[1], channels, -1).transpose(1, 2)


def choices(settings: RecipeAugment, draws: Draws) -> tuple[Tensor, Tensor]:
    """Return each sample's operation of the three, int64 [B], and its blur radius, float32 [B]."""
    which, radius = draws.uniform("three", 2).unbind(1)
    low, high = settings.blur_sigma
    chosen = (3 * which).long() if settings.policy == "three" else torch.full_like(which, NONE)
    return chosen, low + (high - low) * radius


def _solarize(pixels: Tensor, chosen: Tensor, settings: RecipeAugment) -> None:
    at = (chosen == SOLARIZE).nonzero().squeeze(1)
    if len(at):
        some = solarize(pixels.index_select(0, at), settings.solarize_threshold)
        pixels.index_copy_(0, at, some)


def _blur(pixels: Tensor, chosen: Tensor, radius: Tensor) -> None:
    at = (chosen == BLUR).nonzero().squeeze(1)
    if len(at):
        blur = box_blur_matrices(radius[at], pixels.shape[-1])
        pixels.index_copy_(0, at, resample(pixels.index_select(0, at), blur, blur))


def solarize(pixels: Tensor, threshold: float) -> Tensor:
    """Return pixels in 0..1, inverted where they are not below a threshold.

    Rounded to 8 bits, as Pillow sees them: so the threshold is half a level lower.
    """
    level = (round(255 * threshold) - 0.5) / 255
    # |0 - x| or |1 - x|: torch.where takes several times as long on a CPU.
    return pixels.clone().ge_(level).sub_(pixels).abs_()


def box_blur_matrices(radius: Tensor, size: int) -> Tensor:
    """Return float32 [B, size, size]: Pillow's Gaussian blur of one axis.

    ``radius`` is [B], the standard deviation in pixels. Pillow blurs by a box three times, with a
    part of a pixel at the box's ends (Gwosdek et al., 2011), and repeats the pixels of an edge.
    """
    variance = radius.square() / BLUR_PASSES
    whole = ((12 * variance + 1).sqrt().sub(1) / 2).floor()
    part = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance)
    reach = (whole + part / (6 * (variance - (whole + 1).square()))).view(-1, 1, 1)
    at = torch.arange(size, device=radius.device)
    box = (reach + 1 - (at.unsqueeze(1) - at).abs()).clamp_(0, 1)
    beyond = (reach.squeeze(2) - at).clamp_(min=0)  # what lies before the first pixel, and its twin
    box[:, :, 0] += beyond
    box[:, :, -1] += beyond.flip(1)
    box /= 2 * reach + 1
    return box @ box @ box


def factors(settings: RecipeAugment, draws: Draws) -> tuple[Tensor, Tensor]:
    """Return the order of the colour operations, int64 [B, 3], and their factors, float32 [B, 3].

    Column k of the first is the operation (BRIGHTNESS, CONTRAST, SATURATION) at position k of the
    order; column k of the second is the factor of operation k. As torchvision's ColorJitter draws.
    """
    order, *factor = draws.uniform("jitter", 4).unbind(1)
    low, high = max(0.0, 1 - settings.jitter), 1 + settings.jitter
    orders = torch.tensor(ORDERS, device=order.device)
    return orders[(len(ORDERS) * order).long()], low + (high - low) * torch.stack(factor, dim=1)


def _colours(
    channels: int, chosen: Tensor, settings: RecipeAugment, draws: Draws
) -> tuple[Tensor, Tensor]:
    """Return the colour operations in each sample's order, as `_Plan` has them.

    Each is x -> factor x + (1 - factor) y, with y black, the image's mean grey, or the pixel's own
    grey: a matrix over the channels, and a share of the mean. So samples of different orders need
    no parting, and grayscale is a matrix more. A grey image has no saturation.
    """
    device = chosen.device
    same, grey = torch.eye(channels, device=device), luma(channels, device).expand(channels, -1)
    start = torch.where((chosen == GRAYSCALE).view(-1, 1, 1, 1), grey, same)
    if not settings.jitter:
        count = int(settings.policy == "three")
        return start[:, :count], torch.zeros(len(chosen), count, device=device)
    orders, drawn = factors(settings, draws)
    factor = drawn.gather(1, orders)
    if channels == 1:
        factor = torch.where(orders == SATURATION, 1.0, factor)
    rest = 1 - factor
    colours = factor.view(-1, 3, 1, 1) * same
    colours += (rest * (orders == SATURATION)).view(-1, 3, 1, 1) * grey
    colours[:, :1] = colours[:, :1] @ start
    return colours, rest * (orders == CONTRAST)


def _recolour(pixels: Tensor, colours: Tensor, towards_mean: Tensor) -> None:
    """Carry out the operations of `_colours`, in place."""
    flat = pixels.view(*pixels.shape[:2], -1)
    weights = luma(pixels.shape[1], pixels.device)
    for colour, share in zip(colours.unbind(1), towards_mean.unbind(1), strict=True):
        mean = (share * (flat.mean(2) @ weights)).view(-1, 1, 1)
        torch.clamp(torch.baddbmm(mean, colour, flat), 0, 1, out=flat)


def luma(channels: int, device: torch.device) -> Tensor:
    """Return the share of each channel in a pixel's grey, float32 [C]."""
    return torch.tensor(LUMA if channels == 3 else (1.0,), device=device)
