"""Semantic segmentation of test images: mIoU, mean and pixel accuracy from pixels counted.

Images are cut into windows where the settings say so, at one scale or several, mirrored too; scores
of overlapping windows are averaged, then probabilities over scales and mirrors (as in
mmsegmentation). Counts are kept for each image, so that every metric can be resampled over images.
"""

import re
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

import reprise.dense  # noqa: F401  (makes its reduce functions known)
from reprise.config import Json
from reprise.data.dense import IGNORE, Segmentation, segmentation
from reprise.dense import confusion
from reprise.errors import ConfigError
from reprise.evaluators._base import BATCH, Context, Measured, Result
from reprise.methods.segment import Segment
from reprise.progress import bar
from reprise.settings.evaluators import Segment as Settings
from reprise.training.loop import autocast, resolve_precision

# A class has a metric of its own where so many images show it: a resample without it, of which no
# IoU could be told, is then as good as impossible.
FEWEST = 20
OPACITY = 0.6  # of a mask that is shown over its image
# Pixels of the images of one pass, at the largest scale that they are tested at. UperNet on ViT-L
# with 150 classes takes 3.2 kB for each in fp32 (counted on a processor), so 43 GB of a GPU's 80.
PIXELS = 13_500_000


def evaluate(context: Context, settings: Settings, name: str) -> Result:
    """Segment a split, or some of its images, and count pixels."""
    method = context.method.eval()
    if not isinstance(method, Segment):
        raise ConfigError(f"{context.job.key}: its method segments no images; remove {name!r}")
    data = segmentation(context.data(settings.data, settings.split))
    if data.names != method.names:
        raise ConfigError(
            f"evaluator {name!r}: {data.name!r} has the classes {', '.join(data.names)}, and "
            f"{context.job.key} was trained on {', '.join(method.names)}"
        )
    chosen = _spread(len(data), settings.images or len(data))
    started = time.monotonic()
    predicted = predict(context, method, data, chosen, settings, name)
    seconds = time.monotonic() - started
    truth = np.asarray(data.masks[chosen])
    counts = confusion.count(truth, np.asarray(predicted), len(data.names))
    info = {
        "images": len(chosen),
        "images_per_second": len(chosen) / seconds,
        "class_iou": _by_class(data.names, confusion.class_iou(counts)),
    }
    pictures = dict[str, NDArray[np.uint8]]()
    if settings.pictures:
        some = _spread(len(chosen), settings.pictures)
        pictures = _pictures(data, chosen[some], predicted[some])
        colours = palette()[: len(data.names)].tolist()
        info["compared"] = {
            "indices": chosen[some].tolist(),
            "shared": ["image", "truth"],
            "own": ["prediction"],
            "legend": [
                [name, "#{:02x}{:02x}{:02x}".format(*colour)]
                for name, colour in zip(data.names, colours, strict=True)
            ],
        }
    return Result(data, _metrics(counts, data.names), pictures, info)


def predict(
    context: Context,
    method: Segment,
    data: Segmentation,
    chosen: Tensor,
    settings: Settings,
    label: str,
) -> Tensor:
    """Return masks uint8 [n, H, W] of images at indices int64 [n], `IGNORE` beyond the photos."""
    device = context.world.device
    precision = resolve_precision(context.job.run.precision, device)
    masks = torch.full((len(chosen), *data.masks.shape[1:]), IGNORE, dtype=torch.uint8)
    with (
        bar(f"{context.job.key} {label}", len(chosen)) as shown,
        torch.inference_mode(),
        autocast(precision, device),
    ):
        for (height, width), places in _of_one_extent(data.extents[chosen]):
            most = images_at_once(height, width, settings, BATCH[device.type])
            for part in places.split(most):
                pixels = data.fetch(chosen[part])[0][..., :height, :width]
                images = method.prepared(pixels.to(device).float() / 255)
                scores = class_scores(method.logits, images, settings)
                masks[part, :height, :width] = scores.argmax(dim=1).to(torch.uint8).cpu()
                shown.advance(len(part))
    return masks


def images_at_once(height: int, width: int, settings: Settings, most: int) -> int:
    """Return how many images of an extent are in one pass: at least one, at most ``most``."""
    largest = max(1.0, *settings.scales)  # scores are resampled to the image's own size
    return max(1, min(most, int(PIXELS / (height * width * largest**2))))


def class_scores(logits: Callable[[Tensor], Tensor], images: Tensor, settings: Settings) -> Tensor:
    """Return float32 [B, classes, H, W] of normalised images [B, C, H, W] of one extent.

    Logits of a single scale without mirrors; otherwise probabilities, averaged.
    """
    ways = [
        (scale, flip) for scale in settings.scales for flip in (False, True)[: 1 + settings.flip]
    ]
    if len(ways) == 1 and ways[0][0] == 1:
        return in_windows(logits, images, settings)
    size = (images.shape[2], images.shape[3])
    total = torch.zeros((), device=images.device)
    for scale, flip in ways:
        sides = [max(1, round(scale * side)) for side in size]
        scaled = F.interpolate(images, sides, mode="bilinear", align_corners=False, antialias=True)
        found = in_windows(logits, scaled.flip(3) if flip else scaled, settings)
        found = found.flip(3) if flip else found
        found = F.interpolate(found, size, mode="bilinear", align_corners=False)
        total = total + found.softmax(dim=1)
    return total / len(ways)


def in_windows(logits: Callable[[Tensor], Tensor], images: Tensor, settings: Settings) -> Tensor:
    """Return logits [B, classes, H, W], averaged where windows overlap."""
    if settings.window is None:
        return logits(images)
    assert settings.stride is not None
    height, width = images.shape[2:]
    places = [
        (slice(top, top + settings.window), slice(left, left + settings.window))
        for top in starts(height, settings.window, settings.stride)
        for left in starts(width, settings.window, settings.stride)
    ]
    total, times = torch.zeros(()), torch.zeros(height, width, device=images.device)
    for number, (rows, columns) in enumerate(places):
        found = logits(images[:, :, rows, columns])
        if number == 0:
            total = found.new_zeros(len(images), found.shape[1], height, width)
        total[:, :, rows, columns] += found
        times[rows, columns] += 1
    return total / times


def starts(side: int, window: int, stride: int) -> list[int]:
    """Return where windows begin on a side: every ``stride`` pixels, the last at the far end."""
    last = max(0, side - window)
    return [*range(0, last, stride), last]


def _spread(total: int, count: int) -> Tensor:
    """Return the indices int64 of so many images, or all, evenly spread, each once."""
    count = min(count, total)
    return torch.arange(count) * total // count


def _of_one_extent(extents: Tensor) -> Iterator[tuple[tuple[int, int], Tensor]]:
    """Yield each (height, width) of extents int64 [n, 2] with the places int64 that have it."""
    kinds, which = extents.unique(dim=0, return_inverse=True)
    for number, (height, width) in enumerate(kinds.tolist()):
        yield (height, width), (which == number).nonzero().squeeze(1)


def _metrics(counts: NDArray[np.int32], names: tuple[str, ...]) -> list[Measured]:
    """Return the metrics of counts [n, 3, classes], the broadest first."""
    found = [Measured(name, f"dense.confusion.{name}", counts) for name in confusion.REDUCERS]
    for index, name in enumerate(names):
        own = counts[:, :, index : index + 1]
        if np.count_nonzero(own[:, 1]) >= FEWEST:
            found.append(Measured(f"iou_{_word(name)}", "dense.confusion.miou", own))
    return found


def _word(name: str) -> str:
    """Return a class's name as it stands in a metric's: letters and digits, with underscores."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _by_class(names: tuple[str, ...], shares: NDArray[np.float64]) -> Json:
    """Return class -> percent, None where it is neither shown nor predicted."""
    return {
        name: None if np.isnan(share) else round(float(share), 3)
        for name, share in zip(names, shares, strict=True)
    }


def _pictures(
    data: Segmentation, chosen: Tensor, predicted: Tensor
) -> dict[str, NDArray[np.uint8]]:
    """Return images, and over them truth and prediction, uint8 [k, H, W, 3] each."""
    images = np.asarray(data.fetch(chosen)[0].permute(0, 2, 3, 1))
    images = np.repeat(images, 3, axis=3) if images.shape[3] == 1 else images
    truth, found = np.asarray(data.masks[chosen]), np.asarray(predicted)
    return {
        "image": images,
        "truth": overlaid(images, truth),
        "prediction": overlaid(images, found),
    }


def overlaid(images: NDArray[np.uint8], masks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return images uint8 [k, H, W, 3] under the colours of masks uint8 [k, H, W].

    The first class keeps the image darkened; what has no label is the image itself.
    """
    mixed = (1 - OPACITY) * images + OPACITY * palette()[masks]
    shown = np.where((masks == IGNORE)[..., None], images, mixed)
    return shown.round().astype(np.uint8)


def palette() -> NDArray[np.uint8]:
    """Return a colour for each of 256 classes, uint8 [256, 3]: those of Pascal VOC, black first.

    Bits 0, 1 and 2 of a class's number are the highest bits of red, green and blue; the next three
    bits the next ones.
    """
    number, colours = np.arange(256), np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (((number >> channel) & 1) << (7 - bit)).astype(np.uint8)
        number >>= 3
    return colours
