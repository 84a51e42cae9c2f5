"""Batched augmentation of uint8 images held in memory.

Crop, resize, flip and blur are linear and separable, so together they are one small matrix per
sample and axis: out = rows @ image @ columns^T. Resizing uses the same antialiased bilinear
weights as torch's `interpolate(..., antialias=True)`, and crop boxes have whole-pixel corners, so
a crop equals torchvision's on the same box. The colour operations equal torchvision's too.

All random numbers come from the `Draws`, each part under a purpose of its own: a sample's result
depends neither on the rest of its batch nor on which other parts are on.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from reprise.errors import ConfigError
from reprise.settings.base import Augment
from reprise.training.seeding import BLOCK, Draws

LUMA = (0.2989, 0.587, 0.114)  # weights of red, green and blue in grey, as in torchvision
BLUR_REACH = 3  # the Gaussian is cut at this many times the largest sigma


def normalise(images: Tensor, augment: Augment) -> Tensor:
    """Return (images / 255 - mean) / std, resized to [B, C, size, size] where the side differs.

    ``images`` is uint8 [B, C, H, W]; the result is float32. Of each side the share ``test_crop`` is
    kept, in the middle. Raises ConfigError where ``mean`` or ``std`` has another number of values
    than one or C.
    """
    if augment.test_crop is not None:
        images = _middle(images, augment.test_crop)
    pixels = images.float()
    size = (augment.size, augment.size)
    if pixels.shape[-2:] != size:
        pixels = F.interpolate(pixels, size, mode="bilinear", antialias=True)
    return _standardise(pixels.div_(255), augment)


def _middle(images: Tensor, share: float) -> Tensor:
    for axis in (-2, -1):
        kept = round(share * images.shape[axis])
        images = images.narrow(axis, round((images.shape[axis] - kept) / 2), kept)
    return images


def augment(images: Tensor, settings: Augment, draws: Draws) -> Tensor:
    """Return an augmented, normalised view of each image: float32 [B, C, size, size].

    ``images`` is uint8 [B, C, H, W] on ``draws.device``, with B = ``draws.count``. The order is
    crop and resize, flip, blur, brightness, contrast, saturation, hue, grayscale; grey images skip
    the last three, and ``crop_scale: [1, 1]`` means no crop. (SimCLR shuffles the colour
    operations and blurs last; blurring first lets blur share the matrices, and differs from
    blurring last only where a colour is clipped and in hue.) Raises ConfigError as `normalise`.
    """
    # On a CPU, blocks keep the temporaries small: large ones go back to the system each time, and
    # their page faults then take longer than the arithmetic.
    step = BLOCK if images.device.type == "cpu" else max(1, len(images))
    parts = [
        _augment_block(
            images[first : first + step],
            settings,
            replace(draws, start=draws.start + first, count=min(step, draws.count - first)),
        )
        for first in range(0, len(images), step)
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _augment_block(images: Tensor, settings: Augment, draws: Draws) -> Tensor:
    pixels = _place(images, settings, draws).div_(255)
    if settings.jitter:
        _jitter(pixels, settings, draws)
    if settings.grayscale and pixels.shape[1] == 3:
        chosen = draws.uniform("grayscale", 1, 1, 1) < settings.grayscale
        pixels = torch.where(chosen, _grey(pixels), pixels)
    return _standardise(pixels, settings)


def _standardise(pixels: Tensor, settings: Augment) -> Tensor:
    """Subtract the mean and divide by the deviation of each channel, in place."""
    mean, std = (_per_channel(pixels, settings, name) for name in ("mean", "std"))
    return pixels.sub_(mean).div_(std)


def _per_channel(pixels: Tensor, settings: Augment, name: str) -> Tensor:
    values: tuple[float, ...] = getattr(settings, name)
    channels = pixels.shape[1]
    if len(values) not in (1, channels):
        raise ConfigError(
            f"augment.{name} has {len(values)} values for images of {channels} channels; "
            f"give one value for all channels, or {channels}"
        )
    return torch.tensor(values, device=pixels.device).view(-1, 1, 1)


def _place(images: Tensor, settings: Augment, draws: Draws) -> Tensor:
    """Crop, resize, flip and blur; returns float32 in 0..255, a new tensor."""
    height, width = images.shape[-2:]
    flip = draws.uniform("flip") < settings.flip if settings.flip else None
    resized = (height, width) != (settings.size, settings.size)
    cropped = settings.crop_scale != (1.0, 1.0)
    if not (resized or cropped or settings.blur):
        return _flip(images.float(), flip)
    boxes = crop_boxes(height, width, settings, draws) if cropped else _whole(height, width, draws)
    top, left, box_height, box_width = boxes
    rows = resize_matrices(top, box_height, height, settings.size)
    columns = resize_matrices(left, box_width, width, settings.size, flip)
    if settings.blur:
        _blur(rows, columns, settings, draws)
    return apply_matrices(images, rows, columns)


def _flip(pixels: Tensor, flip: Tensor | None) -> Tensor:
    """Mirror the chosen samples, in place."""
    if flip is not None:
        chosen = flip.nonzero().squeeze(1)
        pixels[chosen] = pixels[chosen].flip(-1)
    return pixels


def _whole(height: int, width: int, draws: Draws) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return boxes that cover the images, in the form of `crop_boxes`."""
    zero = torch.zeros(draws.count, device=draws.device)
    return zero, zero, zero + height, zero + width


def crop_boxes(
    height: int, width: int, settings: Augment, draws: Draws
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return (top, left, height, width) of random boxes in whole pixels, each float32 [B].

    The area is uniform in ``crop_scale`` times the image's. The ratio width / height is
    log-uniform in the part of ``crop_ratio`` with which that area fits into the image (torchvision
    draws again, up to ten times, until it fits). The place is uniform where the box fits.
    """
    area, ratio, down, across = draws.uniform("crop", 4).unbind(1)
    low, high = settings.crop_scale
    share = low + (high - low) * area
    # A box of this share fits where its log ratio is within -log(share) of the image's own.
    slack, own = -share.log(), math.log(width / height)
    first, last = (
        torch.full_like(share, math.log(bound)).clamp(own - slack, own + slack)
        for bound in settings.crop_ratio
    )
    stretch = (first + (last - first) * ratio).mul(0.5).exp()
    side = (share * (height * width)).sqrt()
    box_height = (side / stretch).round().clamp(1, height)
    box_width = (side * stretch).round().clamp(1, width)
    top = (down * (height - box_height + 1)).floor()
    left = (across * (width - box_width + 1)).floor()
    return top, left, box_height, box_width


def resize_matrices(
    start: Tensor, length: Tensor, source: int, target: int, flip: Tensor | None = None
) -> Tensor:
    """Return float32 [B, target, source]: antialiased bilinear resampling of one axis.

    Row i holds the weights with which output pixel i takes the input pixels of the box
    start..start+length ([B] each); rows sum to 1. Rows are reversed where ``flip`` (bool [B]).
    """
    device = start.device
    first, scale = start.unsqueeze(1), (length / target).unsqueeze(1)
    centre = first + scale * (torch.arange(target, device=device) + 0.5)
    if flip is not None:
        centre = torch.where(flip.unsqueeze(1), centre.flip(1), centre)
    pixel = torch.arange(source, device=device) + 0.5
    # A triangle as wide as an output pixel, or as an input pixel where that is wider.
    reach = scale.clamp(min=1).unsqueeze(2)
    weights = (pixel - centre.unsqueeze(2)).abs_().div_(reach).neg_().add_(1).clamp_(min=0)
    inside = (pixel > first) & (pixel < first + length.unsqueeze(1))
    weights.mul_(inside.unsqueeze(1))
    return weights.div_(weights.sum(2, keepdim=True))


def apply_matrices(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return rows @ image @ columns^T of every channel: float32 [B, C, Ho, Wo].

    ``images`` is [B, C, H, W], ``rows`` [B, Ho, H], ``columns`` [B, Wo, W].
    """
    batch, channels, height, width = images.shape
    flat = images.float().view(batch, channels * height, width)
    across = (flat @ columns.mT).view(batch, channels, height, -1)
    return rows.unsqueeze(1) @ across


def _blur(rows: Tensor, columns: Tensor, settings: Augment, draws: Draws) -> None:
    """Multiply a Gaussian into the matrices of the samples that are blurred, in place."""
    chance, width = draws.uniform("blur", 2).unbind(1)
    chosen = (chance < settings.blur).nonzero().squeeze(1)
    low, high = settings.blur_sigma
    radius = min(math.ceil(BLUR_REACH * high), settings.size - 1)
    blur = blur_matrices(low + (high - low) * width[chosen], settings.size, radius)
    rows[chosen] = blur @ rows[chosen]
    columns[chosen] = blur @ columns[chosen]


def blur_matrices(sigma: Tensor, size: int, radius: int) -> Tensor:
    """Return float32 [B, size, size]: Gaussian blur of one axis with reflected edges.

    ``sigma`` is [B], in pixels; the kernel has 2 radius + 1 taps, and radius < size.
    """
    distance = torch.arange(radius + 1, device=sigma.device)
    taps = (distance / sigma.unsqueeze(1)).square_().mul_(-0.5).exp_()
    taps = taps / (2 * taps.sum(1, keepdim=True) - 1)
    at = torch.arange(size, device=sigma.device)
    here, there = at.unsqueeze(1), at.unsqueeze(0)
    # Pixel `there` is met at its own place and at its mirror images beyond the two edges; a pixel
    # on an edge is its own mirror image and counts once.
    met = [(here - there).abs(), here + there, 2 * (size - 1) - here - there]
    once = [there >= 0, there > 0, there < size - 1]
    reach = distance.view(-1, 1, 1)
    basis = torch.stack([(m == reach) & o for m, o in zip(met, once, strict=True)]).sum(0)
    return (taps @ basis.float().view(radius + 1, -1)).view(-1, size, size)


def _jitter(pixels: Tensor, settings: Augment, draws: Draws) -> None:
    """Distort colours of some samples, in place; the others get factors that change nothing."""
    drawn = draws.uniform("jitter", 5).view(-1, 5, 1, 1, 1).unbind(1)
    chosen = drawn[0] < settings.jitter

    def factor(strength: float, at: Tensor) -> Tensor:
        low = max(0.0, 1 - strength)
        return torch.where(chosen, low + (1 + strength - low) * at, 1.0)

    if settings.brightness:
        adjust_brightness(pixels, factor(settings.brightness, drawn[1]))
    if settings.contrast:
        adjust_contrast(pixels, factor(settings.contrast, drawn[2]))
    if settings.saturation and pixels.shape[1] == 3:
        adjust_saturation(pixels, factor(settings.saturation, drawn[3]))
    if settings.hue and pixels.shape[1] == 3:
        turn = settings.hue * (2 * drawn[4] - 1)
        adjust_hue(pixels, torch.where(chosen, turn, 0.0))


def _channels(pixels: Tensor) -> list[Tensor]:
    """Return views of the channels of [B, C, H, W], each [B, 1, H, W]."""
    return [pixels[:, channel : channel + 1] for channel in range(pixels.shape[1])]


def _grey(pixels: Tensor) -> Tensor:
    """Return the brightness of [B, C, H, W] as [B, 1, H, W]; grey images are their own."""
    if pixels.shape[1] == 1:
        return pixels
    red, green, blue = _channels(pixels)
    return (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])


def adjust_brightness(pixels: Tensor, factor: Tensor) -> None:
    """Multiply pixels [B, C, H, W] in 0..1 by factor [B, 1, 1, 1], in place."""
    pixels.mul_(factor).clamp_(0, 1)


def adjust_contrast(pixels: Tensor, factor: Tensor) -> None:
    """Move pixels in 0..1 away from their image's mean grey by factor [B, 1, 1, 1], in place."""
    mean = _grey(pixels.mean((2, 3), keepdim=True))
    pixels.mul_(factor).add_((1 - factor) * mean).clamp_(0, 1)


def adjust_saturation(pixels: Tensor, factor: Tensor) -> None:
    """Move RGB pixels in 0..1 away from their own grey by factor [B, 1, 1, 1], in place."""
    grey = _grey(pixels)
    pixels.mul_(factor).add_(grey.mul_(1 - factor)).clamp_(0, 1)


def adjust_hue(pixels: Tensor, turn: Tensor) -> None:
    """Turn the hue of RGB pixels in 0..1 by turn [B, 1, 1, 1] (1 is a full circle), in place."""
    red, green, blue = _channels(pixels)
    value = pixels.amax(1, keepdim=True)
    chroma = value - pixels.amin(1, keepdim=True)
    width = chroma.clamp(min=1e-12)  # where chroma is 0, so is every difference below
    # Hue in sixths of a circle, by the largest channel: blue, else green, else red. Products with
    # a mask, as torch.where takes several times as long on a CPU.
    hue = (red - green).div_(width).add_(4)
    for top, difference, at in ((green, blue - red, 2), (red, green - blue, 0)):
        hue += (difference.div_(width).add_(at) - hue).mul_(value == top)
    hue.add_(6 * turn)
    hue.sub_((hue / 6).floor_(), alpha=6)
    # How far each channel falls below the largest, as a share of the chroma.
    torch.sub(value, (2 - (hue - 3).abs_()).clamp_(0, 1).mul_(chroma), out=red)
    torch.sub(value, ((hue - 2).abs_() - 1).clamp_(0, 1).mul_(chroma), out=green)
    torch.sub(value, ((hue - 4).abs_() - 1).clamp_(0, 1).mul_(chroma), out=blue)
