"""Detection and instance segmentation: torchvision's RetinaNet or Mask R-CNN on an encoder's maps.

Region proposals, anchors, losses and suppression are all torchvision's, as is the feature pyramid
over the encoder's maps. Images reach the method as they are; boxes and masks are flipped and scaled
with them here, and the detector pads them, but never resizes them. A run that starts from another
one's weights takes its encoder.
"""

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform, resize_boxes
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

import reprise.models.litv2  # noqa: F401  (registers its models with timm)
from reprise.config import Run
from reprise.data.base import ImageSet
from reprise.data.dense import Detection, Some, detection, some
from reprise.data.transforms import LUMA
from reprise.errors import ConfigError
from reprise.models.pyramid import Pyramid
from reprise.plan import RunJob
from reprise.settings.detect import Settings
from reprise.training.method import Batch, Method, Subject
from reprise.training.run import run_key
from reprise.training.seeding import Draws

BOX_CELLS, MASK_CELLS = 7, 14  # side of what is read off the maps for a box and for its mask
Target = dict[str, Tensor]


@contextlib.contextmanager
def any_order(allowed: bool) -> Iterator[None]:
    """Let torch add up in any order, where that is ``allowed``, whatever it was told before."""
    before = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    if allowed:
        torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned)


class Backbone(nn.Module):
    """From normalised images to the maps of a feature pyramid, finest first, by name."""

    def __init__(self, encoder: nn.Module, settings: Settings) -> None:
        super().__init__()
        self._encoder = [encoder]  # the method's, whose weights are not here once more
        self.levels, self.out_channels = settings.levels, settings.channels
        self.pyramid = Pyramid(encoder, settings.normalised)
        channels = [self.pyramid.channels[level] for level in self.levels]
        extra = {
            "none": lambda: None,
            "pool": LastLevelMaxPool,
            "convs": lambda: LastLevelP6P7(channels[-1], settings.channels),
        }[settings.extra]()
        self.fpn = FeaturePyramidNetwork(channels, settings.channels, extra)

    @property
    def names(self) -> list[str]:
        """Names of the maps that are no extra ones."""
        return [str(level) for level in self.levels]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return float32 maps: anchors take the type of maps, and bf16 cannot hold places."""
        maps = self.pyramid(self._encoder[0], images)
        taken = OrderedDict((name, maps[int(name)]) for name in self.names)
        return {name: found.float() for name, found in self.fpn(taken).items()}


class AsTheyAre(GeneralizedRCNNTransform):  # type: ignore[misc]
    """torchvision's preparation of images, but for the resizing: it normalises and pads."""

    def resize(self, image: Tensor, target: Target | None = None) -> tuple[Tensor, Target | None]:
        return image, target


class Detect(Method):
    """An encoder with a detector; ``names`` are those of the classes, numbered from 0."""

    dense: Callable[[], Detection]  # the data that it is trained on

    def __init__(self, encoder: nn.Module, names: Sequence[str], settings: Settings) -> None:
        super().__init__()
        self.encoder, self.names, self.settings = encoder, tuple(names), settings
        self.detector = _detector(encoder, len(names), settings)
        self.first_class = 1 if settings.detector == "mask_rcnn" else 0  # 0 is its background
        self.chosen = torch.zeros(0, dtype=torch.long)  # images of the data that it is trained on

    @property
    def has_masks(self) -> bool:
        """Whether it finds instance masks."""
        return self.settings.detector == "mask_rcnn"

    def attach(self, job: RunJob, data: ImageSet) -> None:
        """Note which images a share of the labels are: the same for all runs of a seed."""
        self.share_key = run_key(job.run, job.seed).fold("labels")

    def samples(self, data: ImageSet, device: torch.device) -> ImageSet:
        """Return images with their boxes, of the share of the data that it is trained on.

        Mask R-CNN leaves out images with an object that has no outline; ConfigError where that
        leaves none.
        """
        dense = detection(data)
        self.chosen = some(len(dense), self.settings.images, self.share_key)
        if self.has_masks:
            self.chosen = self.chosen[dense.outlined[self.chosen]]
            if not len(self.chosen):
                raise ConfigError(
                    f"data set {data.name!r} has no image with outlines of its objects, which "
                    "mask_rcnn is trained on; take detector: retinanet"
                )
        # A function, since a copy of the method, such as an average of its weights, shall not
        # copy the data.
        self.dense = lambda: dense
        return Some(dense, self.chosen)

    def forward(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """Return torchvision's losses and their sum.

        ``batch.views[0]`` are images uint8 [B, C, H, W], its labels boxes float32 [B, K, 5].
        """
        images, targets = self.targets(batch)
        images, targets = augment(images, targets, self.settings, draws)
        losses: dict[str, Tensor] = self._detected(images, targets)
        return {"loss": torch.stack(list(losses.values())).sum(), **losses}

    def _detected(self, images: list[Tensor], targets: list[Target] | None = None) -> Any:
        """Return what torchvision's detector says: losses of ``targets``, else what it finds.

        Of what reads regions off maps torchvision has, for a GPU, a fast form whose gradients are
        added up in any order, and one in order that is compiled for new numbers of boxes.
        """
        with any_order(self.has_masks and images[0].is_cuda):
            return self.detector(images, targets)

    def targets(self, batch: Batch) -> tuple[list[Tensor], list[Target]]:
        """Return photos in 0..1, without the canvas beyond them, and torchvision's targets.

        Crowds are left out: an anchor there is none of an object.
        """
        data, device = self.dense(), batch.labels.device
        images, targets = [], []
        places = self.chosen[batch.indices.cpu()].tolist()
        for pixels, rows, index in zip(
            self.pixels(batch.views[0]), batch.labels, places, strict=True
        ):
            height, width = data.extents[index].tolist()
            kept = (rows[:, 0] >= 0) & ~data.crowd[index].to(device)
            labels = rows[kept, 0].long() + self.first_class
            target = {"boxes": rows[kept, 1:].float(), "labels": labels}
            if self.has_masks:
                masks = data.instances(index).to(device)
                target["masks"] = masks[kept[: len(masks)], :height, :width]
            images.append(pixels[:, :height, :width])
            targets.append(target)
        return images, targets

    def pixels(self, images: Tensor) -> Tensor:
        """Return float32 [B, C, H, W] in 0..1 of uint8 ones, made grey if the encoder wants it."""
        pixels = images.float() / 255
        if self.settings.grey and pixels.shape[1] == len(LUMA):
            weights = torch.tensor(LUMA, device=pixels.device).view(1, -1, 1, 1)
            pixels = (pixels * weights).sum(1, keepdim=True)
        return pixels

    def detect(self, images: Tensor, extents: Tensor) -> list[Target]:
        """Return what is found on photos uint8 [B, C, H, W] of extents int64 [B, 2], in eval mode.

        Each has ``boxes`` float32 [n, 4] (x0, y0, x1, y1, pixels), ``labels`` int64 [n], ``scores``
        float32 [n], falling, and of Mask R-CNN ``masks`` bool [n, h, w] of the photo.
        """
        photos = [
            image[:, :height, :width]
            for image, (height, width) in zip(self.pixels(images), extents.tolist(), strict=True)
        ]
        found: list[Target] = self._detected(photos)
        for one in found:
            one["labels"] = one["labels"] - self.first_class
            if self.has_masks:
                one["masks"] = one["masks"][:, 0] >= 0.5
        return found

    def logits(self, images: Tensor) -> Tensor:
        """Return the detector's raw class scores of images in 0..1, [B, C, H, W], for their cost.

        All that it computes before its last suppression: of Mask R-CNN both heads on its proposals,
        of which the first `detections` have masks. On the meta device, where no box has a place,
        it has as many proposals as it may have at test.
        """
        detector = cast(Any, self.detector)
        prepared, _ = detector.transform(list(images))
        maps = detector.backbone(prepared.tensors)
        if not self.has_masks:
            outputs: dict[str, Tensor] = detector.head(list(maps.values()))
            return outputs["cls_logits"]
        heads = detector.roi_heads
        if images.is_meta:
            detector.rpn.head(list(maps.values()))
            boxes, masks = self._cells(len(images), next(iter(maps.values())))
        else:
            proposals, _ = detector.rpn(prepared, maps)
            boxes = heads.box_roi_pool(maps, proposals, prepared.image_sizes)
            fewer = [one[: self.settings.detections] for one in proposals]
            masks = heads.mask_roi_pool(maps, fewer, prepared.image_sizes)
        scores: Tensor = heads.box_predictor(heads.box_head(boxes))[0]
        heads.mask_predictor(heads.mask_head(masks))
        return scores

    def _cells(self, images: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return what as many boxes as may be read off maps, for their classes and their masks."""
        width = self.settings.channels
        boxes = like.new_empty(images * self.settings.test_proposals, width, BOX_CELLS, BOX_CELLS)
        masks = like.new_empty(images * self.settings.detections, width, MASK_CELLS, MASK_CELLS)
        return boxes, masks


@torch.no_grad()
def augment(
    images: list[Tensor], targets: list[Target], settings: Settings, draws: Draws
) -> tuple[list[Tensor], list[Target]]:
    """Return photos [C, h, w] and their targets, some flipped, each scaled by a factor of its own.

    Photos are resampled bilinearly, antialiased, masks to the nearest pixel.
    """
    drawn, (low, high) = draws.uniform("place", 2), settings.scale
    factors = (low + (high - low) * drawn[:, 0]).tolist()
    flips = (drawn[:, 1] < settings.flip).tolist()
    made = [
        scaled(*(flipped(image, target) if flip else (image, target)), factor)
        for image, target, factor, flip in zip(images, targets, factors, flips, strict=True)
    ]
    return [image for image, _ in made], [target for _, target in made]


def flipped(image: Tensor, target: Target) -> tuple[Tensor, Target]:
    """Return a photo [C, h, w] and its target, left and right exchanged."""
    x0, y0, x1, y1 = target["boxes"].unbind(1)
    width = image.shape[2]
    changed = {**target, "boxes": torch.stack([width - x1, y0, width - x0, y1], dim=1)}
    if "masks" in target:
        changed["masks"] = target["masks"].flip(2)
    return image.flip(2), changed


def scaled(image: Tensor, target: Target, factor: float) -> tuple[Tensor, Target]:
    """Return a photo [C, h, w] of factor times its sides, in whole pixels, and its target."""
    old = list(image.shape[1:])
    new = [max(1, round(side * factor)) for side in old]
    if new == old:
        return image, target
    image = F.interpolate(image[None], new, mode="bilinear", antialias=True)[0]
    changed = {**target, "boxes": resize_boxes(target["boxes"], old, new)}
    if "masks" in target:
        masks = F.interpolate(target["masks"][:, None].float(), new, mode="nearest-exact")
        changed["masks"] = masks[:, 0].to(torch.uint8)
    return image, changed


def _detector(encoder: nn.Module, classes: int, settings: Settings) -> nn.Module:
    """Return torchvision's detector; ConfigError where anchors cannot lie on the maps."""
    backbone = Backbone(encoder, settings)
    taken = [backbone.pyramid.strides[level] for level in settings.levels]
    if any(stride != int(stride) for stride in taken):
        raise ConfigError(
            f"levels: the encoder's maps have strides of {taken} pixels, and torchvision's anchors "
            "need whole ones; take coarser levels, or another encoder"
        )
    anchors = AnchorGenerator(
        settings.anchor_sizes, (settings.aspect_ratios,) * len(settings.anchor_sizes)
    )
    make = _retinanet if settings.detector == "retinanet" else _mask_rcnn
    detector = make(backbone, classes, anchors, settings)
    detector.transform = AsTheyAre(
        1, 1, list(settings.mean), list(settings.std), size_divisible=backbone.pyramid.multiple
    )
    return detector


def _retinanet(
    backbone: Backbone, classes: int, anchors: AnchorGenerator, settings: Settings
) -> nn.Module:
    head = RetinaNetHead(settings.channels, anchors.num_anchors_per_location()[0], classes)
    for part in (head.classification_head, head.regression_head):
        part.conv = part.conv[: settings.head_convs]
    head.register_forward_hook(_in_float32)
    model: nn.Module = RetinaNet(
        backbone,
        classes,
        anchor_generator=anchors,
        head=head,
        score_thresh=settings.score_threshold,
        nms_thresh=settings.suppression,
        detections_per_img=settings.detections,
        topk_candidates=settings.candidates,
    )
    return model


def _mask_rcnn(
    backbone: Backbone, classes: int, anchors: AnchorGenerator, settings: Settings
) -> nn.Module:
    width, cells = settings.channels, settings.channels * BOX_CELLS**2
    layers = (settings.mask_width,) * settings.mask_convs
    model: nn.Module = MaskRCNN(
        backbone,
        rpn_anchor_generator=anchors,
        rpn_pre_nms_top_n_train=settings.proposals,
        rpn_post_nms_top_n_train=settings.proposals,
        rpn_pre_nms_top_n_test=settings.test_proposals,
        rpn_post_nms_top_n_test=settings.test_proposals,
        rpn_batch_size_per_image=settings.sampled_anchors,
        box_roi_pool=_pool(backbone, BOX_CELLS, settings),
        box_head=TwoMLPHead(cells, settings.box_width),
        box_predictor=FastRCNNPredictor(settings.box_width, classes + 1),
        box_score_thresh=settings.score_threshold,
        box_nms_thresh=settings.suppression,
        box_detections_per_img=settings.detections,
        box_batch_size_per_image=settings.rois,
        mask_roi_pool=_pool(backbone, MASK_CELLS, settings),
        mask_head=MaskRCNNHeads(width, layers, 1),
        mask_predictor=MaskRCNNPredictor(settings.mask_width, settings.mask_width, classes + 1),
    )
    for name in ("rpn.head", "roi_heads.box_predictor", "roi_heads.mask_predictor"):
        model.get_submodule(name).register_forward_hook(_in_float32)
    return model


def _pool(backbone: Backbone, cells: int, settings: Settings) -> MultiScaleRoIAlign:
    return MultiScaleRoIAlign(
        backbone.names, cells, settings.roi_samples, canonical_scale=settings.roi_scale
    )


def _in_float32(_module: nn.Module, _given: Any, output: Any) -> Any:
    """Return a head's outputs in float32: losses and boxes are not computed in bf16."""
    if isinstance(output, Tensor):
        return output.float()
    if isinstance(output, dict):
        return {name: one.float() for name, one in output.items()}
    return type(output)(_in_float32(_module, _given, one) for one in output)


def example(run: Run, batch: int, device: torch.device) -> Tensor:
    """Return images in 0..1 for `Detect.logits`, made up, of the size that costs are given at."""
    settings = Settings.model_validate(run.objective)
    channels = int(run.model.args.get("in_chans", 3))
    return torch.rand(batch, channels, *settings.cost_size, device=device)


def build(run: Run, data: Subject) -> Detect:
    """Build the encoder and the detector of a run; ConfigError where they do not fit the data."""
    settings = Settings.model_validate(run.objective)
    channels = 1 if settings.grey else data.channels
    seen = int(run.model.args.get("in_chans", 3))
    if seen != channels or len(settings.mean) not in (1, channels):
        raise ConfigError(
            f"the encoder sees images of {channels} channel{'s' * (channels > 1)}: set model.args: "
            f"{{in_chans: {channels}}} and give so many numbers, or one, in mean and std"
            + (" (grey: true makes images of one channel)" if data.channels > 1 else "")
        )
    encoder = timm.create_model(run.model.name, num_classes=0, **run.model.args)
    return Detect(encoder, data.classes, settings)
