"""Images whose labels are dense: a class of every pixel, or a box and an outline of every object.

`segmentation` and `detection` turn the data sets that have such labels into the two forms that
methods and evaluators know, whatever file layout or drawing they come from.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from reprise.data.annotated import MaskSet, ObjectSet
from reprise.data.base import Derived, ImageSet
from reprise.data.canvas import IGNORE
from reprise.data.sets.fashion_scenes import SceneSet
from reprise.errors import ConfigError
from reprise.training.seeding import Key

__all__ = ["IGNORE", "Detection", "Segmentation", "Some", "detection", "segmentation", "some"]

BACKGROUND = "background"


@dataclass(eq=False)
class Segmentation(Derived):
    """Images uint8 [N, C, H, W] of ``data`` with a class of every pixel.

    ``names`` are those of the mask values 0 .. len - 1; ``masks`` uint8 [N, H, W] are `IGNORE`
    where a pixel has no label or is outside the photo; ``extents`` int64 [N, 2] are height and
    width of each photo, which lies top left on its canvas.
    """

    data: ImageSet
    names: tuple[str, ...]
    masks: Tensor
    extents: Tensor

    def fetch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return images uint8 [B, C, H, W] and masks uint8 [B, H, W] at indices int64 [B]."""
        return self.data.fetch(indices)[0], self.masks[indices]


@dataclass(eq=False)
class Detection(Derived):
    """Images uint8 [N, C, H, W] of ``data`` with a box of every object.

    ``names`` are those of the object classes; ``boxes`` float32 [N, K, 5]: class, x0, y0, x1, y1
    in pixels of the canvas, the last two outside, and class -1 where there is no object, always
    after the last one; ``crowd`` bool [N, K]: the box is around many objects, which are neither
    right nor wrong to find; ``extents`` as of `Segmentation`; ``outlined`` bool [N]: all objects
    of the image have an instance mask. ``outlines`` makes the masks of one image; ``annotated``
    float32 [N, K] are areas of objects in pixels of the canvas, where the data say them.
    """

    data: ImageSet
    names: tuple[str, ...]
    boxes: Tensor
    crowd: Tensor
    extents: Tensor
    outlined: Tensor
    outlines: Callable[[int], Tensor]
    annotated: Tensor | None = None

    def fetch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return images uint8 [B, C, H, W] and boxes float32 [B, K, 5] at indices int64 [B]."""
        return self.data.fetch(indices)[0], self.boxes[indices]

    def instances(self, index: int) -> Tensor:
        """Return uint8 [k, H, W], 0 or 1: a mask of each of an image's k objects, as its boxes.

        Raises ValueError where the image is not ``outlined``.
        """
        if not self.outlined[index]:
            raise ValueError(f"{self.name}, image {index}: not all its objects have a mask")
        return self.outlines(index)

    def areas(self, index: int) -> Tensor:
        """Return float32 [k]: the areas of an image's objects in pixels of the canvas.

        They are the annotated ones, as COCO takes them, or else those of the instance masks.
        """
        if self.annotated is None:
            return self.instances(index).sum((1, 2)).float()
        return self.annotated[index, : int((self.boxes[index, :, 0] >= 0).sum())]


@dataclass(eq=False)
class Some(Derived):
    """Chosen images of another set, int64 [n]: index i here is ``chosen[i]`` there."""

    data: ImageSet
    chosen: Tensor

    labels = property(lambda self: self.data.labels[self.chosen])

    def __len__(self) -> int:
        return len(self.chosen)

    def fetch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the other set has at the chosen indices."""
        return self.data.fetch(self.chosen[indices])


def segmentation(data: ImageSet) -> Segmentation:
    """Return a data set with its masks; ConfigError where it has none.

    A scene's masks have ``background`` before the classes of garments.
    """
    if isinstance(data, Segmentation):
        return data
    if isinstance(data, SceneSet):
        return Segmentation(data, (BACKGROUND, *data.classes), data.masks, _whole(data.masks))
    if isinstance(data, ObjectSet) and data.masks is not None:
        return Segmentation(data, data.mask_names, data.masks, data.extents)
    if isinstance(data, MaskSet):
        return Segmentation(data, data.classes, data.masks, data.extents)
    raise ConfigError(f"data set {data.name!r} has no semantic masks")


def detection(data: ImageSet) -> Detection:
    """Return a data set with its boxes and instance masks; ConfigError where it has none.

    A scene keeps one mask for all its garments, so a garment's own mask is where the scene's mask
    shows its class within its box: two garments of one class share the pixels where their boxes
    overlap.
    """
    if isinstance(data, Detection):
        return data
    if isinstance(data, SceneSet):
        boxes = data.boxes.float()
        return Detection(
            data,
            data.classes,
            boxes,
            torch.zeros(boxes.shape[:2], dtype=torch.bool),
            _whole(data.masks),
            torch.ones(len(data), dtype=torch.bool),
            lambda index: _garments(data.masks[index], data.boxes[index]),
        )
    if isinstance(data, ObjectSet):
        return Detection(
            data,
            data.classes,
            data.boxes,
            data.crowd,
            data.extents,
            data.outlined,
            data.instances,
            data.areas,
        )
    raise ConfigError(f"data set {data.name!r} has no boxes of objects")


def _whole(masks: Tensor) -> Tensor:
    """Return the extents int64 [N, 2] of photos that fill their canvas."""
    return torch.tensor(masks.shape[1:]).expand(len(masks), 2)


def _garments(mask: Tensor, boxes: Tensor) -> Tensor:
    """Return uint8 [k, H, W] of the garments of a scene, from its mask [H, W] and boxes [K, 5]."""
    present = boxes[boxes[:, 0] >= 0].long()
    masks = torch.zeros(len(present), *mask.shape, dtype=torch.uint8)
    for own, (kind, x0, y0, x1, y1) in zip(masks, present.tolist(), strict=True):
        own[y0:y1, x0:x1] = mask[y0:y1, x0:x1] == kind + 1
    return masks


def some(total: int, share: float, key: Key) -> Tensor:
    """Return sorted int64 indices of a share of ``total`` images, at least one.

    With one key, a smaller share lies within a larger one. ConfigError unless 0 < share <= 1.
    """
    if not 0 < share <= 1:
        raise ConfigError(f"share of labels = {share!r}: must be above 0 and at most 1")
    order = torch.randperm(total, generator=key.generator())
    return order[: max(1, round(share * total))].sort().values
