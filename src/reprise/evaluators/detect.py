"""Detection on test images: COCO's average precision of boxes, and of instance masks.

Overlaps are pycocotools', and so is the definition (`reprise.dense.precision`, tested to equal its
evaluation to the last bit). Verdicts on an image's detections are kept, so that average precision
can be resampled over images.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import ImageColor
from pycocotools import mask as coco
from torch import Tensor
from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks

import reprise.dense  # noqa: F401  (makes its reduce functions known)
from reprise.config import Json
from reprise.data.dense import Detection, detection
from reprise.dense.precision import Image, Verdicts, class_ap, match
from reprise.errors import ConfigError
from reprise.evaluators._base import Context, Measured, Result
from reprise.methods.detect import Detect
from reprise.progress import bar
from reprise.settings.evaluators import Detect as Settings
from reprise.training.loop import autocast, resolve_precision

EVERY = 1e10  # pixels; no object is larger
# Of each metric: which range of areas (all, small, medium, large), and which thresholds.
METRICS = {
    "ap": (0, slice(None)),
    "ap50": (0, slice(0, 1)),
    "ap75": (0, slice(5, 6)),
    "aps": (1, slice(None)),
    "apm": (2, slice(None)),
    "apl": (3, slice(None)),
}
SHOWN = 256  # least side of a picture, pixels: smaller images are enlarged by whole numbers
COLOURS = (
    *("red", "lime", "deepskyblue", "yellow", "magenta"),
    *("orange", "cyan", "white", "chartreuse", "violet"),
)
RLE = dict[str, Any]  # COCO's run lengths of a mask


@dataclass(frozen=True)
class Objects:
    """What is found in an image, by falling score, or what is there.

    ``boxes`` float64 [n, 4]: x0, y0, x1, y1; ``kinds`` int64 [n]; ``scores`` float32 [n], 1 of what
    is there; ``crowd`` bool [n]; ``masks``: n run lengths, None where there are no masks.
    """

    boxes: NDArray[np.float64]
    kinds: NDArray[np.int64]
    scores: NDArray[np.float32]
    crowd: NDArray[np.bool_]
    masks: list[RLE] | None = None

    @property
    def box_areas(self) -> NDArray[np.float64]:
        sides = self.boxes[:, 2:] - self.boxes[:, :2]
        return sides[:, 0] * sides[:, 1]

    @property
    def mask_areas(self) -> NDArray[np.float64]:
        return np.asarray(coco.area(self.masks or []), np.float64).reshape(-1)

    @property
    def areas(self) -> NDArray[np.float64]:
        """Those of the masks, where there are any."""
        return self.box_areas if self.masks is None else self.mask_areas


def evaluate(context: Context, settings: Settings, name: str) -> Result:
    """Find objects on a split, or on some of its images, and compare them with the true ones."""
    method = _detector(context, settings, name)
    data = detection(context.data(settings.data, settings.split))
    if data.names != method.names:
        raise ConfigError(
            f"evaluator {name!r}: {data.name!r} has the classes {', '.join(data.names)}, and "
            f"{context.job.key} was trained on {', '.join(method.names)}"
        )
    chosen = _spread(len(data), settings.images or len(data))
    started = time.monotonic()
    found = detect(context, method, data, chosen, settings, name)
    seconds = time.monotonic() - started
    there = [true_objects(data, int(index)) for index in chosen]
    kinds, started = len(data.names), time.monotonic()
    verdicts = {"": compare(found, there, kinds, settings.areas, masks=False)}
    outlined = [at for at, one in enumerate(there) if one.masks is not None]
    if settings.masks and outlined:
        parts = [found[at] for at in outlined], [there[at] for at in outlined]
        verdicts["mask_"] = compare(*parts, kinds, settings.areas, masks=True)
    metrics = [one for kind, own in verdicts.items() for one in measured(own, kind)]
    info = {
        "images": len(chosen),
        "images_with_masks": len(outlined) if settings.masks else None,
        "objects": sum(len(one.kinds) for one in there),
        "detections": sum(len(one.kinds) for one in found),
        "images_per_second": len(chosen) / seconds,
        "seconds_of_comparison": round(time.monotonic() - started, 3),
        "class_ap": _by_class(data.names, verdicts[""]),
    }
    pictures = dict[str, NDArray[np.uint8]]()
    if settings.pictures:
        some = _spread(len(chosen), settings.pictures)
        pictures = _pictures(data, chosen, found, some, settings)
        info["compared"] = {
            "indices": chosen[some].tolist(),
            "shared": list(pictures)[:2],
            "own": list(pictures)[2:],
            "legend": [[name, _colour(kind)] for kind, name in enumerate(data.names)],
        }
    return Result(data, metrics, pictures, info)


def _detector(context: Context, settings: Settings, name: str) -> Detect:
    """Return the method in its test mode; ConfigError where it does not find what is asked for."""
    method = context.method.eval()
    if not isinstance(method, Detect):
        raise ConfigError(f"{context.job.key}: its method detects no objects; remove {name!r}")
    if settings.masks and not method.has_masks:
        raise ConfigError(
            f"{context.job.key}: detector {method.settings.detector} finds no masks; evaluator "
            f"{name!r} asks for them with masks: true"
        )
    return method


def _spread(total: int, count: int) -> Tensor:
    """Return the indices int64 of so many images, or all, evenly spread, each once."""
    count = min(count, total)
    return torch.arange(count) * total // count


def detect(
    context: Context,
    method: Detect,
    data: Detection,
    chosen: Tensor,
    settings: Settings,
    label: str,
) -> list[Objects]:
    """Return what the method finds in images at indices int64 [n]."""
    device, found = context.world.device, list[Objects]()
    precision = resolve_precision(context.job.run.precision, device)
    with (
        bar(f"{context.job.key} {label}", len(chosen)) as shown,
        torch.inference_mode(),
        autocast(precision, device),
    ):
        for part in chosen.split(settings.batch_size):
            images = data.fetch(part)[0].to(device)
            found += map(_found, method.detect(images, data.extents[part]))
            shown.advance(len(part))
    return found


def _found(one: dict[str, Tensor]) -> Objects:
    order = one["scores"].argsort(descending=True, stable=True).cpu()
    kept = {name: values.cpu()[order] for name, values in one.items()}
    return Objects(
        np.asarray(kept["boxes"].double()),
        np.asarray(kept["labels"]),
        np.asarray(kept["scores"].float()),
        np.zeros(len(order), bool),
        run_lengths(kept["masks"]) if "masks" in kept else None,
    )


def true_objects(data: Detection, index: int) -> Objects:
    """Return an image's objects, crowds among them, with masks where all have outlines."""
    present = data.boxes[index, :, 0] >= 0
    boxes = data.boxes[index][present]
    masks = None
    if data.outlined[index]:
        height, width = data.extents[index].tolist()
        masks = run_lengths(data.instances(index)[:, :height, :width])
    return Objects(
        np.asarray(boxes[:, 1:].double()),
        np.asarray(boxes[:, 0].long()),
        np.ones(len(boxes), np.float32),
        np.asarray(data.crowd[index][present]),
        masks,
    )


def run_lengths(masks: Tensor) -> list[RLE]:
    """Return COCO's run lengths of masks [n, H, W] of 0 and 1."""
    columns = np.asfortranarray(masks.permute(1, 2, 0).to(torch.uint8).numpy())
    encoded: list[RLE] = coco.encode(columns) if len(masks) else []
    return encoded


def compare(
    found: Sequence[Objects],
    there: Sequence[Objects],
    kinds: int,
    areas: tuple[float, float],
    masks: bool,
) -> Verdicts:
    """Compare what is found in images with what is there, by boxes or by masks.

    ``areas`` (pixels) part small, medium and large objects. As in COCO the area of an object is
    that of its mask, where it has one, and of a detection that of the form compared.
    """
    small, large = areas
    sizes = [(0.0, EVERY), (0.0, small), (small, large), (large, EVERY)]
    images = [
        Image(
            mine.kinds,
            mine.scores,
            mine.mask_areas if masks else mine.box_areas,
            true.kinds,
            true.areas,
            true.crowd,
            overlaps(mine, true, masks),
        )
        for mine, true in zip(found, there, strict=True)
    ]
    return match(images, kinds, sizes)


def overlaps(found: Objects, there: Objects, masks: bool) -> NDArray[np.float64]:
    """Return pycocotools' intersections over union of boxes or masks, float64 [D, G]."""
    if not len(found.kinds) or not len(there.kinds):
        return np.zeros((len(found.kinds), len(there.kinds)))
    crowd = there.crowd.astype(np.uint8)
    if masks:
        return np.asarray(coco.iou(found.masks, there.masks, crowd))
    return np.asarray(coco.iou(_sides(found.boxes), _sides(there.boxes), crowd))


def _sides(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return boxes [n, 4] as x, y, width, height."""
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def measured(verdicts: Verdicts, kind: str) -> Iterator[Measured]:
    """Yield COCO's metrics, but those of sizes that no object has."""
    for metric, (size, thresholds) in METRICS.items():
        if verdicts.positives[:, size].any():
            rows = verdicts.statistics(size, thresholds)
            yield Measured(kind + metric, "dense.precision.ap", rows)


def _by_class(names: Sequence[str], verdicts: Verdicts) -> Json:
    """Return each class's average precision of boxes, in percent, None where it has no object."""
    values = class_ap(verdicts.statistics(0)).tolist()
    return {
        name: None if value != value else round(value, 2)
        for name, value in zip(names, values, strict=True)
    }


def _pictures(
    data: Detection, chosen: Tensor, found: Sequence[Objects], some: Tensor, settings: Settings
) -> dict[str, NDArray[np.uint8]]:
    """Return images, with what is there and with what is found, uint8 [k, H, W, 3] each."""
    plain, true, mine = (list[NDArray[np.uint8]]() for _ in range(3))
    for at in some.tolist():
        index = chosen[at : at + 1]
        image = data.fetch(index)[0][0]
        plain.append(np.asarray(image.expand(3, -1, -1).permute(1, 2, 0)))
        both = true_objects(data, int(index)), _above(found[at], settings.shown_score)
        if not settings.masks:
            both = replace(both[0], masks=None), replace(both[1], masks=None)
        for shown, objects in zip((true, mine), both, strict=True):
            shown.append(drawn(image, objects, data.names))
    label = f"found, score at least {settings.shown_score:g}"
    return {"image": np.stack(plain), "truth": np.stack(true), label: np.stack(mine)}


def _colour(kind: int) -> str:
    """Return the colour of a class as #rrggbb."""
    red, green, blue = ImageColor.getrgb(COLOURS[kind % len(COLOURS)])[:3]
    return f"#{red:02x}{green:02x}{blue:02x}"


def _above(found: Objects, score: float) -> Objects:
    kept = np.flatnonzero(found.scores >= score)
    masks = None if found.masks is None else [found.masks[at] for at in kept]
    return Objects(
        found.boxes[kept], found.kinds[kept], found.scores[kept], found.crowd[kept], masks
    )


def drawn(image: Tensor, objects: Objects, names: Sequence[str]) -> NDArray[np.uint8]:
    """Return an image uint8 [C, H, W] with objects' boxes, classes and masks, [H', W', 3]."""
    factor = max(1, -(-SHOWN // max(image.shape[1:])))
    picture = image.expand(3, -1, -1)
    colours = [COLOURS[kind % len(COLOURS)] for kind in objects.kinds]
    if objects.masks:
        height, width = objects.masks[0]["size"]
        masks = torch.from_numpy(coco.decode(objects.masks)).permute(2, 0, 1).bool()
        masks = F.pad(masks, (0, image.shape[2] - width, 0, image.shape[1] - height))
        picture = draw_segmentation_masks(picture, masks, alpha=0.4, colors=colours)
    large = picture.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
    if len(objects.kinds):
        boxes = torch.from_numpy(objects.boxes) * factor
        words = [
            names[kind] + (f" {score:.2f}" if score < 1 else "")
            for kind, score in zip(objects.kinds, objects.scores, strict=True)
        ]
        large = draw_bounding_boxes(large, boxes, words, colours, width=2)
    return np.asarray(large.permute(1, 2, 0))
