"""Detection: losses, places of boxes and masks, and evaluation, against torchvision and COCO."""

import contextlib
import copy
import io
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from pydantic import ValidationError
from tiny import TinyMethod
from torch import Tensor
from torchvision.models.detection import MaskRCNN, RetinaNet

import reprise.dense  # noqa: F401  (makes its reduce functions known)
from reprise import reduce, untrained
from reprise.config import Run
from reprise.data.base import ArraySet, ImageSet
from reprise.data.dense import Detection
from reprise.errors import ConfigError
from reprise.evaluators import detect as evaluator
from reprise.evaluators._base import Context, Result
from reprise.evaluators.detect import Objects
from reprise.methods import detect
from reprise.methods.detect import Detect, augment
from reprise.plan import RunJob
from reprise.settings.base import Optim
from reprise.settings.detect import Settings
from reprise.settings.evaluators import Detect as EvalSettings
from reprise.training.distributed import World
from reprise.training.loop import Fit, FitSettings
from reprise.training.method import Batch, StandIn
from reprise.training.seeding import Draws, Key

NAMES = ("red", "green", "blue")
HEIGHT, WIDTH = 32, 48  # of the canvas
EXTENTS = ((32, 48), (32, 32), (24, 48))
LITV2: dict[str, Any] = {
    "name": "litv2_s",
    "args": {"embed_dim": 12, "depths": [1, 2, 1], "num_heads": [1, 4, 4]},
}
LITV2["args"]["window_sizes"] = [0, 2, 1]
COMMON: dict[str, Any] = {
    "levels": [1, 2],
    "normalised": [1, 2],
    "channels": 16,
    "extra": "none",
    "anchor_sizes": [[8, 12], [16, 24]],
    "cost_size": [32, 64],
}
DETECTORS: dict[str, dict[str, Any]] = {
    "retinanet": {**COMMON, "detector": "retinanet", "head_convs": 1},
    "mask_rcnn": {
        **COMMON,
        "detector": "mask_rcnn",
        "levels": [0, 1],
        **{"rois": 32, "proposals": 50, "test_proposals": 20, "sampled_anchors": 32},
        **{"box_width": 32, "mask_convs": 1, "mask_width": 8, "roi_scale": 64},
    },
}
STILL = {"flip": 0, "scale": [1, 1]}
EACH = pytest.mark.parametrize("detector", DETECTORS)
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")  # pycocotools'


def painted(n: int = 12, outlined: bool = True, crowds: bool = True) -> Detection:
    """Photos of several extents with rectangles in the colours of their classes on black.

    Every fourth photo is empty; every fifth has a crowd first, which is in white.
    """
    generator = np.random.default_rng(0)
    images = np.zeros((n, 3, HEIGHT, WIDTH), np.uint8)
    boxes = np.full((n, 3, 5), -1, np.float32)
    crowd = np.zeros((n, 3), bool)
    masks: list[list[np.ndarray]] = [[] for _ in range(n)]
    extents = np.array([EXTENTS[i % len(EXTENTS)] for i in range(n)])
    for i in range(n):
        height, width = extents[i]
        for k in range(0 if i % 4 == 3 else 1 + i % 2):
            kind = int(generator.integers(3))
            x0 = int(generator.integers(0, width // 2 - 10)) + k * width // 2
            y0 = int(generator.integers(0, height - 14))
            x1, y1 = x0 + int(generator.integers(8, 11)), y0 + int(generator.integers(8, 14))
            crowd[i, k] = crowds and i % 5 == 0 and k == 0
            images[i, slice(None) if crowd[i, k] else kind, y0:y1, x0:x1] = 255
            boxes[i, k] = kind, x0, y0, x1, y1
            mask = np.zeros((HEIGHT, WIDTH), np.uint8)
            mask[y0:y1, x0:x1] = 1
            masks[i].append(mask)
    labels = torch.zeros(n, dtype=torch.long)
    data = ArraySet("painted", "train", torch.from_numpy(images), labels, NAMES, "digest")
    empty = torch.zeros(0, HEIGHT, WIDTH, dtype=torch.uint8)
    return Detection(
        cast(ImageSet, data),
        NAMES,
        torch.from_numpy(boxes),
        torch.from_numpy(crowd),
        torch.from_numpy(extents),
        # The photos with an odd number have no outlines, if not all have.
        torch.arange(n) % 2 < (2 if outlined else 1),
        lambda i: torch.from_numpy(np.stack(masks[i])) if masks[i] else empty,
    )


def run_of(detector: str, **objective: Any) -> Run:
    return Run.model_validate(
        {
            "method": "detect",
            "data": "dense",
            "model": LITV2,
            "objective": DETECTORS[detector] | objective,
            "augment": None,
            "optim": {"lr": 1e-3},
            "steps": 1,
            "batch_size": 4,
            "precision": "fp32",
        }
    )


def make(detector: str, data: Detection | None = None, **objective: Any) -> Detect:
    torch.manual_seed(0)
    method = detect.build(run_of(detector, **objective), StandIn(NAMES, 3))
    if data is not None:
        method.attach(cast(RunJob, SimpleNamespace(run=None, seed=0)), data)
        method.samples(data, torch.device("cpu"))
    return method


def batch_of(data: Detection, method: Detect, count: int) -> Batch:
    indices = torch.arange(count)
    images, boxes = data.fetch(method.chosen[indices])
    return Batch((images,), boxes, indices)


def draws(count: int, seed: int = 0) -> Draws:
    return Draws(Key(("test", seed)), count)


# ---- training ----
@EACH
def test_losses_are_those_of_torchvisions_own_model(detector: str) -> None:
    """The same layers in a detector whose images torchvision prepares itself: all of one extent."""
    data = painted()
    method = make(detector, data, **STILL).train()
    data.extents[:] = torch.tensor([HEIGHT, WIDTH])
    batch, inner = batch_of(data, method, 8), cast(Any, method.detector)
    args: dict[str, Any] = {"min_size": HEIGHT, "max_size": WIDTH, "size_divisible": 32}
    if detector == "retinanet":
        theirs: Any = RetinaNet(
            inner.backbone, 3, head=inner.head, anchor_generator=inner.anchor_generator, **args
        )
    else:
        settings = DETECTORS["mask_rcnn"]
        theirs = MaskRCNN(
            inner.backbone,
            rpn_anchor_generator=inner.rpn.anchor_generator,
            rpn_head=inner.rpn.head,
            rpn_batch_size_per_image=settings["sampled_anchors"],
            rpn_pre_nms_top_n_train=settings["proposals"],
            rpn_post_nms_top_n_train=settings["proposals"],
            box_roi_pool=inner.roi_heads.box_roi_pool,
            box_head=inner.roi_heads.box_head,
            box_predictor=inner.roi_heads.box_predictor,
            box_batch_size_per_image=settings["rois"],
            mask_roi_pool=inner.roi_heads.mask_roi_pool,
            mask_head=inner.roi_heads.mask_head,
            mask_predictor=inner.roi_heads.mask_predictor,
            **args,
        )
    # It draws a size for each image, even of one; its samplers draw from the same numbers.
    theirs.transform.torch_choice = lambda sizes: sizes[0]
    background = int(detector == "mask_rcnn")
    targets = []
    for i in range(8):
        kept = (data.boxes[i, :, 0] >= 0) & ~data.crowd[i]
        masks = data.instances(i)[kept[: len(data.instances(i))]]
        boxes = data.boxes[i][kept]
        labels = boxes[:, 0].long() + background
        targets.append({"boxes": boxes[:, 1:], "labels": labels, "masks": masks})
    torch.manual_seed(1)
    expected = theirs.train()([image / 255 for image in batch.views[0]], targets)
    torch.manual_seed(1)
    found = method(batch, draws(8))
    assert found.keys() == {"loss", *expected}
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)
    torch.testing.assert_close(found["loss"], sum(expected.values()))


@EACH
def test_no_image_is_resized_and_each_is_padded_once(detector: str) -> None:
    data = painted()
    method = make(detector, data, **STILL)
    seen: list[Tensor] = []
    inner = cast(Any, method.detector)
    inner.backbone.register_forward_pre_hook(lambda _module, given: seen.append(given[0]))
    method.train()(batch_of(data, method, 3), draws(3))
    method.eval().detect(data.fetch(torch.arange(3))[0], data.extents[:3])
    for given in seen:
        assert given.shape == (3, 3, 32, 64)  # 48 columns and, for a stride of 32, 16 more
        mean, std = (
            torch.tensor(v).view(3, 1, 1)
            for v in (Settings.model_fields["mean"].default, Settings.model_fields["std"].default)
        )
        image = data.fetch(torch.arange(3))[0][2, :, :24, :48] / 255
        torch.testing.assert_close(given[2, :, :24, :48], (image - mean) / std)
        assert not given[2, :, 24:].any()
        assert not given[2, :, :, 48:].any()


@EACH
def test_a_step_reaches_every_weight(detector: str) -> None:
    data = painted()
    more = {"levels": [1, 2], "extra": "convs", "anchor_sizes": [[8], [16], [24], [32]]}
    method = make(detector, data, **more).train()
    found = method(batch_of(data, method, 12), draws(12))
    found["loss"].backward()
    still = [
        name
        for name, weight in method.named_parameters()
        if weight.requires_grad and (weight.grad is None or not weight.grad.isfinite().all())
    ]
    assert not still
    names = [name for name, weight in method.named_parameters() if not weight.requires_grad]
    assert names == ["encoder.norm.weight", "encoder.norm.bias"]
    assert len({*method.state_dict()}) == len({t.data_ptr() for t in method.state_dict().values()})


@EACH
def test_photos_without_objects_and_of_crowds_alone_are_trained_on(detector: str) -> None:
    data = painted()
    data.boxes[:] = -1
    method = make(detector, data).train()
    found = method(batch_of(data, method, 4), draws(4))
    found["loss"].backward()
    assert found["loss"].isfinite()
    crowds = painted()
    crowds.crowd[:] = True
    _, targets = make(detector, crowds).targets(batch_of(crowds, make(detector, crowds), 4))
    assert [len(target["boxes"]) for target in targets] == [0, 0, 0, 0]


@EACH
def test_losses_are_computed_in_float32_under_autocast(detector: str) -> None:
    data = painted()
    method = make(detector, data, **STILL).train()
    batch = batch_of(data, method, 6)
    torch.manual_seed(1)
    exact = method(batch, draws(6))
    torch.manual_seed(1)
    with torch.autocast("cpu", torch.bfloat16):
        found = method(batch, draws(6))
    assert {value.dtype for value in found.values()} == {torch.float32}
    torch.testing.assert_close(found["loss"], exact["loss"], rtol=0.05, atol=0)


def test_a_copy_of_the_method_copies_no_data() -> None:
    method = make("retinanet", painted())
    copied = copy.deepcopy(method)
    assert copied.dense() is method.dense()
    batch = batch_of(method.dense(), method, 4)
    torch.manual_seed(0)
    expected = method.train()(batch, draws(4))
    with torch.no_grad():
        for weight in method.parameters():
            weight.zero_()
    torch.testing.assert_close(copied.train()(batch, draws(4)), expected)  # by its own encoder


@EACH
def test_a_step_is_the_same_twice_with_deterministic_algorithms(
    detector: str, tmp_path: Path
) -> None:
    def weights(number: int) -> list[Tensor]:
        data = painted(crowds=False)
        method = make(detector, data, scale=[0.8, 1.2])
        samples = method.samples(data, torch.device("cpu"))
        settings = FitSettings(steps=2, batch_size=4, optim=Optim(lr=1e-2), augment=None)
        folder = tmp_path / str(number)
        Fit(method, samples, settings, Key(("fit",)), folder, World(), "twice").run()
        return [*method.state_dict().values()]

    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        first, second = weights(0), weights(1)
    finally:
        torch.use_deterministic_algorithms(before)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def bounds(marked: Tensor) -> list[int]:
    """Return x0, y0, x1, y1 of what is True in [H, W]."""
    rows, columns = (torch.nonzero(marked.any(dim)).squeeze(1).tolist() for dim in (1, 0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


@pytest.mark.parametrize("objective", [{"flip": 1}, {"scale": [0.5, 2.5], "flip": 0.5}], ids=str)
def test_boxes_and_masks_move_with_what_they_are_around(objective: dict[str, Any]) -> None:
    data = painted(24)
    method = make("mask_rcnn", data)
    images, targets = method.targets(batch_of(data, method, 24))
    settings = Settings.model_validate(DETECTORS["mask_rcnn"] | objective)
    moved, changed = augment(images, targets, settings, draws(24))
    objects = 0
    for before, image, target in zip(images, moved, changed, strict=True):
        if objective == {"flip": 1}:
            torch.testing.assert_close(image, before.flip(2))
        columns = torch.arange(image.shape[2])
        middle = image.shape[2] / 2
        for box, label, mask in zip(
            target["boxes"], target["labels"], target["masks"], strict=True
        ):
            # One object of a photo is in its left half, the other in its right one.
            left = bool((box[0] + box[2]) / 2 < middle)
            half = (columns < middle) == left
            colour = image[int(label) - 1] - image.sum(0) + image[int(label) - 1] > 0.5
            np.testing.assert_allclose(box, bounds(colour & half), atol=1.01)
            np.testing.assert_allclose(box, bounds(mask > 0), atol=1.01)
            objects += 1
    assert objects > 15
    sizes = {tuple(image.shape[1:]) for image in moved}
    assert len(sizes) > 6 if "scale" in objective else sizes == {*EXTENTS}


def test_a_sample_meets_the_same_augmentation_in_any_batch() -> None:
    data = painted()
    method = make("retinanet", data, scale=[0.5, 2])
    images, targets = method.targets(batch_of(data, method, 6))
    whole = augment(images, targets, method.settings, draws(6))
    part = augment(images[:2], targets[:2], method.settings, draws(2))
    for a, b in zip(whole[0][:2], part[0], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_a_share_of_the_labels_is_of_whole_photos_and_finds_its_masks() -> None:
    data = painted(40)
    tenth, half = (make("mask_rcnn", data, images=share).chosen for share in (0.1, 0.5))
    assert (len(tenth), len(half)) == (4, 20)
    assert {*tenth.tolist()} < {*half.tolist()}
    method = make("mask_rcnn", data, images=0.5)
    samples = method.samples(data, torch.device("cpu"))
    assert len(samples) == 20
    indices = torch.tensor([19, 3, 7])
    images, boxes = samples.fetch(indices)
    photos, targets = method.targets(Batch((images,), boxes, indices))
    for own, photo, target in zip(half[indices].tolist(), photos, targets, strict=True):
        assert photo.shape[1:] == tuple(data.extents[own].tolist())
        for box, mask in zip(target["boxes"], target["masks"], strict=True):
            assert bounds(mask > 0) == box.tolist()


def test_mask_rcnn_leaves_out_photos_without_outlines() -> None:
    data = painted(outlined=False)
    assert make("mask_rcnn", data).chosen.tolist() == [0, 2, 4, 6, 8, 10]
    assert len(make("retinanet", data).chosen) == 12
    data.outlined[:] = False
    with pytest.raises(ConfigError, match=r"no image with outlines.*detector: retinanet"):
        make("mask_rcnn", data)


def test_grey_is_the_luminance() -> None:
    method = detect.build(
        run_of("retinanet", grey=True, mean=[0.5], std=[0.25]).model_copy(
            update={
                "model": run_of("retinanet").model.model_copy(
                    update={"args": {**LITV2["args"], "in_chans": 1}}
                )
            }
        ),
        StandIn(NAMES, 3),
    )
    image = torch.tensor([255, 0, 100], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 32, 32)
    grey = method.pixels(image)
    assert grey.shape == (1, 1, 32, 32)
    assert grey[0, 0, 0, 0].item() == pytest.approx(0.2989 + 0.114 * 100 / 255, abs=1e-5)


@pytest.mark.parametrize(
    ("objective", "words"),
    [
        ({"anchor_sizes": [[8]]}, "1 lists of sizes, but the pyramid has 2 maps"),
        ({"anchor_sizes": [[8], [8, 9]]}, "as many sizes for every map"),
        ({"levels": [0, 2]}, "consecutive"),
        ({"levels": [2, 4], "anchor_sizes": [[8], [8]]}, "less than 4"),
        ({"mean": [0.5]}, "as many numbers"),
        ({"scale": [2, 1]}, "0 < low <= high"),
        ({"head_convs": 5}, "less than or equal to 4"),
        ({"ancor_sizes": []}, "did you mean 'anchor_sizes'"),
    ],
)
def test_wrong_settings_are_named(objective: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Settings.model_validate(DETECTORS["retinanet"] | objective)


def test_an_encoder_that_does_not_fit_is_named() -> None:
    with pytest.raises(ConfigError, match=r"in_chans: 1.*grey: true"):
        detect.build(run_of("retinanet", grey=True, mean=[0], std=[1]), StandIn(NAMES, 3))
    args = {"img_size": 28, "patch_size": 7, "embed_dim": 8, "depth": 4, "num_heads": 1}
    model = {"name": "vit_small_patch16_224", "args": {**args, "dynamic_img_size": True}}
    run = Run.model_validate(run_of("retinanet").model_dump() | {"model": model})
    with pytest.raises(ConfigError, match=r"strides of \[3.5, 7.0\].*whole ones"):
        detect.build(run, StandIn(NAMES, 3))


# ---- costs ----
def test_multiply_adds_are_counted_without_computing() -> None:
    def count(detector: str, **objective: Any) -> float:
        return untrained.count(run_of(detector, **objective), 3).multiply_adds

    # 32 x 64 pixels: maps of 4 x 8 and 2 x 4; two towers have one more convolution each.
    more = count("retinanet", head_convs=2) - count("retinanet")
    assert more == 2 * (32 + 8) * 9 * 16 * 16
    # Ten more boxes of 7 x 7 cells and 16 channels: two linear layers, classes and sides.
    more = count("mask_rcnn", test_proposals=30) - count("mask_rcnn")
    assert more == 10 * (16 * 49 * 32 + 32 * 32 + 32 * (4 + 16))
    # Ten more masks of 14 x 14: a convolution, its doubling, and a map of each of four classes.
    more = count("mask_rcnn") - count("mask_rcnn", detections=90)
    assert more == 10 * 14 * 14 * (9 * 16 * 8 + 4 * 8 * 8 + 4 * 8 * 4)


PAPER: dict[str, dict[str, Any]] = {
    "retinanet": {"detector": "retinanet"},
    "mask_rcnn": {
        **{"detector": "mask_rcnn", "levels": [0, 1, 2, 3], "extra": "pool"},
        "anchor_sizes": [[32], [64], [128], [256], [512]],
    },
}


@pytest.mark.parametrize(
    ("detector", "window", "millions", "printed"),
    [
        ("retinanet", 2, 38, 242),
        ("retinanet", 4, 38, 230),
        ("mask_rcnn", 2, 47, 261),
        ("mask_rcnn", 4, 47, 249),
    ],
)
def test_costs_at_the_papers_size_are_those_printed(
    detector: str, window: int, millions: int, printed: int
) -> None:
    """LITv2-S at 800 x 1280 (Table 2); the authors leave out the deformable convolutions."""
    model = {"name": "litv2_s", "args": {"window_sizes": [0, 0, window, 1]}}
    run = Run.model_validate(
        run_of(detector).model_dump() | {"model": model, "objective": PAPER[detector]}
    )
    counted = untrained.count(run, 80)
    assert round(counted.parameters / 1e6) == millions
    assert counted.multiply_adds / 1e9 == pytest.approx(printed, rel=0.016)


@EACH
def test_what_is_timed_is_the_whole_network(detector: str) -> None:
    method = untrained.drawn(run_of(detector), 3, torch.device("cpu")).eval()
    called = {name: 0 for name, module in method.named_modules() if not [*module.children()]}
    for name, module in method.named_modules():
        if name in called:
            module.register_forward_hook(lambda *_, name=name: called.update({name: 1}))
    given = detect.example(run_of(detector), 2, torch.device("cpu"))
    assert given.shape == (2, 3, 32, 64)
    with torch.inference_mode():
        untrained.inference(method)[0](given)
    idle = {name for name, times in called.items() if not times}
    allowed = ("encoder.norm", "encoder.head", "detector.transform", "anchor_generator", "rpn")
    assert not [name for name in idle if not any(part in name for part in allowed)]


# ---- evaluation ----
def context_of(method: Any, data: Detection) -> Context:
    job = SimpleNamespace(run=run_of("retinanet"), key="paper/run seed 0")
    return cast(
        Context,
        SimpleNamespace(job=job, method=method, world=World(), data=lambda _alias, _split: data),
    )


def evaluated(method: Any, data: Detection, **settings: Any) -> Result:
    asked = EvalSettings(kind="detect", data="dense", areas=(90, 120), batch_size=5, **settings)
    return evaluator.evaluate(context_of(method, data), asked, "detect")


def values(result: Result) -> dict[str, float]:
    return {one.metric: reduce.apply(one.reduce, one.statistics) for one in result.metrics}


def random_found(data: Detection, masks: bool) -> list[dict[str, Tensor]]:
    """Return the true objects moved a little, and others anywhere."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for index in range(len(data)):
        boxes = data.boxes[index][data.boxes[index, :, 0] >= 0]
        moved = boxes[:, 1:] + torch.randint(-2, 3, boxes[:, 1:].shape, generator=generator)
        corner = 16 * torch.rand(4, 2, generator=generator)
        others = torch.cat([corner, corner + 4 + 10 * torch.rand(4, 2, generator=generator)], 1)
        places = torch.cat([moved, others]).clamp(0, 24)
        places[:, 2:] = places[:, 2:].maximum(places[:, :2] + 2)
        kinds = torch.randint(0, 3, (len(places),), generator=generator)
        kinds[: len(boxes)] = boxes[:, 0].long()
        # Few different scores: many are equal.
        scores = (torch.randint(1, 5, (len(places),), generator=generator) / 5).float()
        one = {"boxes": places, "labels": kinds, "scores": scores.sort(descending=True).values}
        if masks:
            height, width = data.extents[index].tolist()
            one["masks"] = torch.zeros(len(places), height, width, dtype=torch.bool)
            for mask, (x0, y0, x1, y1) in zip(one["masks"], places.long().tolist(), strict=True):
                mask[y0:y1, x0:x1] = True
        found.append(one)
    return found


class Fixed(Detect):
    """A detector that finds what it is told."""

    def __init__(self, detector: str, found: list[dict[str, Tensor]]) -> None:
        settings = Settings.model_validate(DETECTORS[detector])
        super().__init__(make(detector).encoder, NAMES, settings)
        self.found = iter(found)

    def detect(self, images: Tensor, extents: Tensor) -> list[dict[str, Tensor]]:
        return [next(self.found) for _ in images]


def of_coco(data: Detection, found: list[dict[str, Tensor]], kind: str) -> list[float]:
    """Return AP, AP50, AP75, APs, APm, APl in percent, as COCO's own evaluation has them."""
    images = [{"id": i, "height": 0, "width": 0} for i in range(len(data))]
    true: list[dict[str, Any]] = []
    mine: list[dict[str, Any]] = []
    for i in range(len(data)):
        there = evaluator.true_objects(data, i)
        for at, kind_of in enumerate(there.kinds):
            x0, y0, x1, y1 = there.boxes[at]
            true.append(
                {"image_id": i, "category_id": int(kind_of), "iscrowd": int(there.crowd[at])}
            )
            true[-1] |= {"bbox": [x0, y0, x1 - x0, y1 - y0], "id": len(true)}
            assert there.masks is not None
            true[-1] |= {"segmentation": there.masks[at], "area": there.mask_areas[at]}
        for at in range(len(found[i]["scores"])):
            x0, y0, x1, y1 = found[i]["boxes"][at].double().tolist()
            label, score = int(found[i]["labels"][at]), float(found[i]["scores"][at])
            mine.append({"image_id": i, "category_id": label, "score": score})
            mine[-1] |= {"id": len(mine), "bbox": [x0, y0, x1 - x0, y1 - y0], "iscrowd": 0}
            mine[-1]["area"] = (x1 - x0) * (y1 - y0)
            if kind == "segm":
                rle = evaluator.run_lengths(found[i]["masks"][at : at + 1])[0]
                mine[-1] |= {"segmentation": rle, "area": float(evaluator.coco.area(rle))}
    sets = []
    with contextlib.redirect_stdout(io.StringIO()):
        for annotations in (true, mine):
            one = COCO()
            categories = [{"id": k} for k in range(len(NAMES))]
            one.dataset = {"images": images, "annotations": annotations, "categories": categories}
            one.createIndex()
            sets.append(one)
        judged = COCOeval(*sets, kind)
        judged.params.areaRng = [[0, 1e10], [0, 90], [90, 120], [120, 1e10]]
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    return [100 * float(value) for value in judged.stats[:6]]


def test_metrics_are_cocos_for_boxes_and_masks() -> None:
    data = painted(40)
    found = random_found(data, masks=True)
    result = evaluated(Fixed("mask_rcnn", found), data, masks=True)
    got = values(result)
    names = ["ap", "ap50", "ap75", "aps", "apm", "apl"]
    for kind, prefix in (("bbox", ""), ("segm", "mask_")):
        expected = of_coco(data, found, kind)
        assert [got[prefix + name] for name in names] == pytest.approx(expected, rel=1e-14)
        assert 0 < min(expected) < max(expected) < 100
    assert {len(one.statistics) for one in result.metrics} == {40}
    assert result.info["objects"] == int((data.boxes[:, :, 0] >= 0).sum())
    assert result.info["class_ap"].keys() == {*NAMES}


def test_the_truth_is_perfect_but_for_crowds_which_count_for_nothing() -> None:
    data = painted(20)
    found = []
    for index in range(20):
        own = data.boxes[index][data.boxes[index, :, 0] >= 0]
        scores = torch.full((len(own),), 0.9)
        found.append({"boxes": own[:, 1:], "labels": own[:, 0].long(), "scores": scores})
    assert {round(v, 9) for v in values(evaluated(Fixed("retinanet", found), data)).values()} == {
        100
    }


def test_images_without_outlines_are_left_out_of_masks_alone() -> None:
    whole, part = painted(20), painted(20, outlined=False)
    found = random_found(whole, masks=True)
    result = evaluated(Fixed("mask_rcnn", found), part, masks=True)
    assert {one.metric: len(one.statistics) for one in result.metrics}["ap"] == 20
    assert {one.metric: len(one.statistics) for one in result.metrics}["mask_ap"] == 10
    assert result.info["images_with_masks"] == 10
    even = torch.arange(0, 20, 2)
    parts = {name: getattr(whole, name)[even] for name in ("boxes", "crowd", "extents", "outlined")}
    images = cast(ArraySet, whole.data).images[even]
    fewer = ArraySet("painted", "train", images, torch.zeros(10), NAMES, "digest")
    outlines = {"outlines": lambda index: whole.instances(2 * index)}
    data = Detection(cast(ImageSet, fewer), NAMES, **parts, **outlines)
    expected = values(evaluated(Fixed("mask_rcnn", found[::2]), data, masks=True))
    assert values(result)["mask_ap"] == expected["mask_ap"]


def test_sizes_that_no_object_has_are_no_metrics() -> None:
    data = painted(8)
    data.boxes[:] = -1
    data.outlined[:] = False
    found = random_found(data, masks=False)
    result = evaluated(Fixed("retinanet", found), data)
    assert result.metrics == []
    assert result.info["detections"] == 32
    assert set(result.info["class_ap"].values()) == {None}


@EACH
def test_pictures_show_true_and_found_objects(detector: str) -> None:
    data = painted(12)
    found = random_found(data, masks=detector == "mask_rcnn")
    masks = detector == "mask_rcnn"
    result = evaluated(Fixed(detector, found), data, masks=masks, pictures=5, shown_score=0.7)
    image, true, mine = result.pictures.values()
    assert [*result.pictures] == ["image", "truth", "found, score at least 0.7"]
    compared = result.info["compared"]
    assert [*compared["shared"], *compared["own"]] == [*result.pictures]
    assert len(compared["indices"]) == len(image) == len(true)
    assert true.shape == mine.shape == (5, 192, 288, 3)
    assert true.dtype == np.uint8
    plain = evaluator.drawn(data.fetch(torch.tensor([3]))[0][0], nothing(), NAMES)
    assert not plain.any()  # an empty photo
    assert evaluator.true_objects(data, 3).kinds.size == 0
    assert (true != mine).any()
    assert not evaluated(Fixed(detector, found), data).pictures


def test_a_drawn_object_has_its_box_and_its_mask() -> None:
    data = painted(20, crowds=False)
    index = int((data.boxes[:, 0, 0] == 2).nonzero()[0])  # blue, where its mask is another blue
    image = data.fetch(torch.tensor([index]))[0][0]
    objects = evaluator.true_objects(data, index)
    x0, _, x1, y1 = (6 * objects.boxes[0]).astype(int)
    plain = evaluator.drawn(image, replace(objects, masks=None), NAMES)
    shown = evaluator.drawn(image, objects, NAMES)
    inside, edge = (slice(y1 - 12, y1 - 4), slice(x0 + 4, x1 - 4)), (y1 - 1, slice(x0, x1))
    assert (plain[inside] == (0, 0, 255)).all()
    assert (shown[inside] == (0, int(0.4 * 191), 255)).all()
    assert (shown[edge] == (0, 191, 255)).all()
    assert not shown[y1 + 4 :].any()


def nothing() -> Objects:
    none = np.zeros(0)
    return Objects(np.zeros((0, 4)), none.astype(int), none.astype(np.float32), none.astype(bool))


def test_some_images_are_evenly_spread() -> None:
    data = painted(20)
    result = evaluated(Fixed("retinanet", random_found(data, masks=False)), data, images=5)
    assert {len(one.statistics) for one in result.metrics} == {5}
    expected = sum(len(evaluator.true_objects(data, i).kinds) for i in (0, 4, 8, 12, 16))
    assert result.info["objects"] == expected


def test_what_cannot_be_evaluated_is_named() -> None:
    data = painted(4)
    with pytest.raises(ConfigError, match=r"detects no objects; remove 'detect'"):
        evaluated(TinyMethod(), data)
    with pytest.raises(ConfigError, match=r"retinanet finds no masks.*masks: true"):
        evaluated(make("retinanet"), data, masks=True)
    other = make("retinanet")
    other.names = ("cat", "dog", "cow")
    with pytest.raises(ConfigError, match=r"red, green, blue.*was trained on cat, dog, cow"):
        evaluated(other, data)


@EACH
def test_a_short_training_finds_painted_objects(detector: str, tmp_path: Path) -> None:
    data = painted(64, crowds=False)
    method = make(detector, data, scale=[0.9, 1.1])
    samples = method.samples(data, torch.device("cpu"))
    before = values(evaluated(method, data))["ap50"]
    settings = FitSettings(
        steps=100, batch_size=8, optim=Optim(lr=5e-3, clip_norm=5.0), augment=None, log_every=50
    )
    Fit(method, samples, settings, Key(("fit",)), tmp_path, World(), "tiny").run()
    after = values(evaluated(method, data, masks=detector == "mask_rcnn"))
    assert after["ap50"] > before + 10
    if detector == "mask_rcnn":
        assert after["mask_ap50"] > 10
