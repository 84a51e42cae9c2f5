"""Segmentation: augmentation, loss and evaluation against plain calculations."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tiny import TinyMethod, photos
from torch import Tensor

from reprise.config import Run, load_project
from reprise.data.base import ArraySet, ImageSet
from reprise.data.dense import IGNORE, Segmentation
from reprise.errors import ConfigError
from reprise.evaluators import segment as evaluator
from reprise.evaluators._base import BATCH, Context, Result
from reprise.methods import segment
from reprise.methods.segment import Segment, augment
from reprise.models.positions import sincos_position
from reprise.plan import RunJob
from reprise.settings.base import Optim
from reprise.settings.evaluators import Segment as EvalSettings
from reprise.settings.segment import Settings
from reprise.training.distributed import World
from reprise.training.loop import Fit, FitSettings
from reprise.training.method import Batch, Method, StandIn
from reprise.training.seeding import Draws, Key

REPO = Path(__file__).parents[2]
NAMES = ("nothing", "sky", "road / way", "car")
STEP = 60  # in grey levels, from one class's pixels to the next one's
HEIGHT, WIDTH = 24, 40  # of the canvas
VIT: dict[str, Any] = {
    "img_size": 24,
    "patch_size": 8,
    "embed_dim": 32,
    "depth": 3,
    "num_heads": 2,
    "dynamic_img_size": True,
}
DEIT3 = {"name": "deit3_small_patch16_224", "args": VIT}
LITV2 = {
    "name": "litv2_s",
    "args": {"embed_dim": 12, "depths": [1, 2, 1], "num_heads": [1, 4, 4]},
}
LITV2["args"]["window_sizes"] = [0, 2, 1]  # type: ignore[index]
HEADS: dict[str, dict[str, Any]] = {
    "upernet": {"head": "upernet", "channels": 16, "auxiliary": 0.4, "auxiliary_channels": 8},
    "fpn": {"head": "fpn", "channels": 16, "fpn_channels": 64},
}
PLAIN = {"crop": 24, "scale": (1, 1), "flip": 0, "dropout": 0}


def painted(n: int = 12, channels: int = 3, whole: bool = False) -> Segmentation:
    """Photos of several extents, of which every pixel shows its class in its grey level."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randint(0, len(NAMES), (n, 3, 5), generator=generator).to(torch.uint8)
    masks = coarse.repeat_interleave(8, 1).repeat_interleave(8, 2)
    images = (masks * STEP).unsqueeze(1).repeat(1, channels, 1, 1)
    extents = torch.tensor([[HEIGHT, WIDTH], [HEIGHT, 33], [17, 25]])[torch.arange(n) % 3]
    if whole:
        extents = extents[:1].expand(n, 2)
    for image, mask, (height, width) in zip(images, masks, extents.tolist(), strict=True):
        image[:, height:], image[:, :, width:] = 255, 255
        mask[height:], mask[:, width:] = IGNORE, IGNORE
    data = ArraySet("painted", "train", images, torch.zeros(n).long(), ("a",), "digest")
    return Segmentation(cast(ImageSet, data), NAMES, masks, extents)


def run_of(model: dict[str, Any] = DEIT3, batch_size: int = 4, **objective: Any) -> Run:
    return Run.model_validate(
        {
            "method": "segment",
            "data": "dense",
            "model": model,
            "objective": {**PLAIN, **objective},
            "augment": None,
            "optim": {"lr": 1e-3},
            "steps": 1,
            "batch_size": batch_size,
        }
    )


def make(head: str = "upernet", model: dict[str, Any] = DEIT3, **objective: Any) -> Segment:
    torch.manual_seed(0)
    method = segment.build(run_of(model, **{**HEADS[head], **objective}), painted())
    with torch.no_grad():  # scores that differ clearly between classes
        method.classifier.weight.normal_()
    return method


def draws(n: int = 12, number: int = 0) -> Draws:
    return Draws(Key(("test", number)), n)


def plan(**over: Any) -> Settings:
    return Settings.model_validate({"head": "fpn", "crop": 24, **over})


@pytest.mark.parametrize("scale", [(0.5, 0.5), (0.8, 0.8), (1, 1), (1.7, 1.7), (0.5, 2.0)])
@pytest.mark.parametrize("flip", [0, 0.5, 1])
def test_image_and_mask_stay_aligned(scale: tuple[float, float], flip: float) -> None:
    """Where a pixel and its neighbours have one class, the image shows that class there."""
    data, settings = painted(), plan(scale=scale, flip=flip)
    images, masks, inside = augment(
        data.data.images,
        data.masks,
        data.extents,
        settings,
        draws(),  # type: ignore[attr-defined]
    )
    assert images.shape == (12, 3, 24, 24)
    assert masks.shape == inside.shape == (12, 24, 24)
    alike = torch.ones_like(masks[:, 1:-1, 1:-1], dtype=torch.bool)
    for down in range(3):
        for across in range(3):
            beside = masks[:, down : down + 22, across : across + 22]
            alike &= beside == masks[:, 1:-1, 1:-1]
    alike &= inside[:, 1:-1, 1:-1]
    wanted = masks[:, 1:-1, 1:-1].float() * STEP / 255
    assert alike.float().mean() > 0.1
    assert torch.allclose(images[:, 0, 1:-1, 1:-1][alike], wanted[alike], atol=1e-5)
    assert torch.equal(images[:, 0], images[:, 2])


def test_no_label_is_made_up() -> None:
    """Beyond a photo there is none, and within it each is one of the photo's own."""
    data = painted()
    for number in range(5):
        _, masks, inside = augment(
            data.data.images,  # type: ignore[attr-defined]
            data.masks,
            data.extents,
            plan(scale=(0.5, 2.0), crop=32),
            draws(number=number),
        )
        assert torch.equal(masks == IGNORE, ~inside)
        for one, given in zip(masks, data.masks, strict=True):
            assert set(one.unique().tolist()) <= {*given.unique().tolist(), IGNORE}
        # A photo lies top left, whether it was mirrored or not.
        assert inside[:, 0, 0].all()
        assert torch.equal(inside, inside[:, :, :1] & inside[:, :1])


@pytest.mark.parametrize("flip", [0, 1])
def test_a_crop_of_scale_one_is_a_piece_of_the_photo(flip: int) -> None:
    data, found = painted(), set()
    images, masks, _ = augment(
        data.data.images,  # type: ignore[attr-defined]
        data.masks,
        data.extents,
        plan(scale=(1, 1), flip=flip, crop=16),
        draws(),
    )
    for index, (height, width) in enumerate(data.extents.tolist()):
        whole, mask = data.fetch(torch.tensor([index]))
        whole, mask = whole[0, :, :height, :width] / 255, mask[0, :height, :width]
        if flip:
            whole, mask = whole.flip(2), mask.flip(1)
        places = [
            (top, left)
            for top in range(height - 15)
            for left in range(width - 15)
            if torch.equal(mask[top : top + 16, left : left + 16], masks[index])
            and torch.allclose(whole[:, top : top + 16, left : left + 16], images[index], atol=1e-6)
        ]
        assert places, index
        found.add(places[0])
    assert len(found) > 4  # they differ


def test_every_place_is_drawn() -> None:
    """The first and the last possible column of a photo, and each between."""
    length, place = torch.full((1000,), 10.0), torch.arange(1000) / 1000
    at = segment.centres(length, torch.ones(1000), place, 6, None)
    first, count = at[:, 0].unique(return_counts=True)
    assert first.tolist() == [0.5, 1.5, 2.5, 3.5, 4.5]
    assert count.tolist() == [200] * 5
    assert (at[:, -1] < 10).all()


def test_colours_are_distorted_in_range_and_not_for_all_images() -> None:
    data = painted()
    given = data.data.images, data.masks, data.extents  # type: ignore[attr-defined]
    plain, masks, _ = augment(*given, plan(), draws())
    other, same, _ = augment(*given, plan(jitter=0.5, hue=0.1), draws())
    assert torch.equal(masks, same)
    changed = (plain != other).flatten(1).any(1)
    assert 0 < changed.sum() < len(changed)
    assert ((other >= 0) & (other <= 1)).all()


def test_brightness_is_added_where_it_is_set() -> None:
    """Uniform in both directions, for half of the images; otherwise nothing is drawn anew."""
    grey = torch.full((1000, 3, 1, 1), 0.5)
    segment.distort(images := grey.clone(), plan(brightness=0.125), draws(1000))
    shift = (images - grey)[:, :, 0, 0]
    assert torch.allclose(shift, shift[:, :1].expand(-1, 3), atol=1e-6)
    moved = shift[:, 0].abs() > 1e-6
    assert 440 < moved.sum() < 560
    assert 0.12 < shift.max() <= 0.125
    assert -0.125 <= shift.min() < -0.12
    assert (shift[moved, 0] > 0).float().mean() == pytest.approx(0.5, abs=0.08)
    white = torch.ones(1000, 1, 1, 1)
    segment.distort(white, plan(brightness=0.125), draws(1000))
    assert white.max() == 1
    # The same images, by the same share of what each may be; a mean grey is right to 1e-4.
    segment.distort(times := grey.clone(), plan(brightness=None, jitter=0.25), draws(1000))
    assert torch.allclose(times, images, atol=1e-4)
    given = pixels_of(data := painted()), data.masks, data.extents
    whole = [augment(*given, plan(brightness=value), draws())[0] for value in (None, 0.0, 0.2)]
    assert torch.equal(whole[0], whole[1])
    assert not torch.equal(whole[0], whole[2])


def pixels_of(data: Segmentation) -> Tensor:
    return cast(Any, data.data).images


@pytest.mark.parametrize(("head", "model"), [("upernet", DEIT3), ("fpn", LITV2), ("fpn", DEIT3)])
def test_the_loss_is_the_cross_entropy_of_labelled_pixels(head: str, model: dict[str, Any]) -> None:
    data = painted(n=3)
    method = make(head, model).eval()
    method.extents = data.extents
    order = torch.tensor([2, 0, 1])
    pixels, masks = data.fetch(order)
    pixels, masks = pixels[..., :24].contiguous(), masks[..., :24].contiguous()
    method.extents = data.extents.clamp(max=24)
    losses = method(Batch((pixels,), masks, order), draws(3))
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (method.settings.mean, method.settings.std))

    def by_hand(scores: Tensor) -> float:
        total, count = 0.0, 0
        for i in range(3):
            for y in range(24):
                for x in range(24):
                    kind = int(masks[i, y, x])
                    if kind != IGNORE:
                        total -= torch.log_softmax(scores[i, :, y, x].double(), 0)[kind].item()
                        count += 1
        return total / count

    height_width = method.extents[order]
    inside = torch.zeros(3, 1, 24, 24)
    for i, (height, width) in enumerate(height_width.tolist()):
        inside[i, :, :height, :width] = 1
    images = (pixels / 255 - mean) / std * inside
    main = by_hand(method.logits(images))
    assert (masks == IGNORE).any()
    if head == "fpn":
        assert losses["loss"].item() == pytest.approx(main, rel=1e-5)
        return
    assert method.auxiliary is not None
    beside = method.auxiliary(method.pyramid(method.encoder, images)[2])
    beside = torch.nn.functional.interpolate(beside, (32, 32), mode="bilinear")[..., :24, :24]
    extra = by_hand(beside)
    assert losses["auxiliary"].item() == pytest.approx(extra, rel=1e-5)
    assert losses["loss"].item() == pytest.approx(main + 0.4 * extra, rel=1e-5)


def test_a_batch_without_any_label_has_no_loss() -> None:
    data, method = painted(n=4), make("fpn")
    empty = torch.full_like(data.masks, IGNORE)
    loss = method(Batch((pixels_of(data),), empty, torch.arange(4)), draws(4))["loss"]
    assert loss.item() == 0
    loss.backward()


def test_a_grey_encoder_sees_luminance() -> None:
    grey = {**DEIT3, "args": {**VIT, "in_chans": 1}}
    method = make("fpn", grey, grey=True, mean=(0.25,), std=(0.5,))
    pixels = torch.rand(2, 3, 8, 8)
    by_hand = 0.299 * pixels[:, :1] + 0.587 * pixels[:, 1:2] + 0.114 * pixels[:, 2:]
    assert torch.allclose(method.prepared(pixels), (by_hand - 0.25) / 0.5, atol=1e-3)


def test_fixed_positions_are_cans() -> None:
    method = make("fpn", fixed_positions=True)
    position = cast(Any, method.encoder).pos_embed
    assert torch.equal(position, sincos_position((3, 3), 32))
    assert not position.requires_grad


def test_the_encoder_is_stored_once_and_under_its_own_name() -> None:
    for head, model in (("upernet", DEIT3), ("fpn", LITV2)):
        method = make(head, model)
        names = {name.partition(".")[0] for name in method.state_dict()}
        assert names <= {"encoder", "pyramid", "head", "classifier", "auxiliary"}
        assert len({id(p) for p in method.parameters()}) == len(list(method.parameters()))
        assert method.mixes_samples == (head == "upernet")


def attached(images: float, seed: int = 0) -> tuple[Segment, ImageSet]:
    method = make("fpn", images=images)
    job = SimpleNamespace(seed=seed, run=None, key="toy/run")
    method.attach(cast(RunJob, job), painted())
    return method, method.samples(painted(), torch.device("cpu"))


def test_a_share_of_the_labels_is_nested_and_keeps_extents_with_images() -> None:
    half, quarter = attached(0.5), attached(0.25)
    chosen = [cast(Any, samples).chosen for _, samples in (half, quarter)]
    assert [len(one) for one in chosen] == [6, 3]
    assert set(chosen[1].tolist()) < set(chosen[0].tolist())
    method, samples = half
    assert len(samples) == 6
    assert method.extents is not None
    assert torch.equal(method.extents, painted().extents[chosen[0]])
    images, masks = samples.fetch(torch.tensor([4, 1]))
    assert torch.equal(masks, painted().masks[chosen[0][[4, 1]]])
    assert torch.equal(images, pixels_of(painted())[chosen[0][[4, 1]]])
    assert not torch.equal(cast(Any, attached(0.5, seed=1)[1]).chosen, chosen[0])
    assert len(attached(1.0)[1]) == 12


@pytest.mark.parametrize(("head", "model"), [("upernet", DEIT3), ("fpn", LITV2)])
def test_a_few_steps_learn(head: str, model: dict[str, Any], tmp_path: Path) -> None:
    torch.manual_seed(0)
    objective = {**HEADS[head], "scale": (0.8, 1.2), "flip": 0.5, "mean": [0.5], "std": [0.5]}
    method = segment.build(run_of(model, **objective), painted())
    job = SimpleNamespace(seed=0, run=None, key="toy/run")
    method.attach(cast(RunJob, job), painted())
    samples = method.samples(painted(), torch.device("cpu"))
    settings = FitSettings(100, 6, Optim(lr=4e-3, warmup_steps=5), None, log_every=1)
    fit = Fit(method, samples, settings, Key(("test",)), tmp_path, World(), "toy/run")
    log = fit.run().log
    first, last = (np.mean([line["loss"] for line in log[part]]) for part in PARTS)
    assert last < 0.6 * first


PARTS = (slice(5), slice(-5, None))


class Here(Context):
    """A context around a method and data in memory."""

    def __init__(self, method: Method, data: ImageSet) -> None:
        job = SimpleNamespace(key="toy/run", run=SimpleNamespace(precision="fp32"))
        super().__init__(cast(RunJob, job), method, World(), Path())
        self.given = data

    def data(self, alias: str, split: str) -> ImageSet:
        return self.given


def evaluated(method: Method, data: ImageSet, **over: Any) -> Result:
    settings = EvalSettings.model_validate({"kind": "segment", "data": "dense", **over})
    return evaluator.evaluate(Here(method, data), settings, "segment")


@pytest.mark.parametrize(("head", "model"), [("upernet", DEIT3), ("fpn", LITV2)])
def test_an_evaluation_is_a_plain_loop(head: str, model: dict[str, Any]) -> None:
    """Image by image, within the photo alone, pixel by pixel."""
    data, method = painted(), make(head, model).eval()
    union, both, shown = (np.zeros(len(NAMES)) for _ in range(3))
    for index, (height, width) in enumerate(data.extents.tolist()):
        photo = pixels_of(data)[index : index + 1, :, :height, :width] / 255
        with torch.no_grad():
            found = method.logits(method.prepared(photo)).argmax(1)[0]
        truth = data.masks[index, :height, :width]
        for kind in range(len(NAMES)):
            both[kind] += ((found == kind) & (truth == kind)).sum()
            union[kind] += ((found == kind) | (truth == kind)).sum()
            shown[kind] += (truth == kind).sum()
    result = evaluated(method, data, pictures=3)
    values = {one.metric: one.record()["value"] for one in result.metrics}
    assert values["miou"] == pytest.approx(100 * (both / union)[union > 0].mean())
    assert values["mean_accuracy"] == pytest.approx(100 * (both / shown).mean())
    assert values["pixel_accuracy"] == pytest.approx(100 * both.sum() / shown.sum())
    assert 5 < values["pixel_accuracy"] < 95
    each = result.info["class_iou"]
    assert list(each) == list(NAMES)
    assert each["car"] == pytest.approx(100 * both[3] / union[3], abs=1e-3)
    assert [one.statistics.shape for one in result.metrics] == [(12, 3, 4)] * 3
    assert [picture.shape for picture in result.pictures.values()] == [(3, HEIGHT, WIDTH, 3)] * 3


def test_classes_that_many_images_show_have_metrics_of_their_own() -> None:
    data, method = painted(n=60), make("fpn").eval()
    result = evaluated(method, data)
    own = {one.metric: one for one in result.metrics}
    assert set(own) == {
        *("miou", "mean_accuracy", "pixel_accuracy"),
        *("iou_nothing", "iou_sky", "iou_road_way", "iou_car"),
    }
    assert own["iou_road_way"].record()["value"] == pytest.approx(
        result.info["class_iou"]["road / way"], abs=1e-3
    )


def test_some_images_are_spread_over_the_split() -> None:
    result = evaluated(make("fpn").eval(), painted(), images=4)
    assert result.info["images"] == len(result.metrics[0].statistics) == 4
    every_third = evaluated(make("fpn").eval(), painted()).metrics[0].statistics[::3]
    assert np.array_equal(result.metrics[0].statistics, every_third)


@pytest.mark.parametrize("side", [1, 7, 8, 9, 20, 21])
@pytest.mark.parametrize(("window", "stride"), [(8, 8), (8, 5), (8, 1)])
def test_windows_cover_each_pixel(side: int, window: int, stride: int) -> None:
    found = evaluator.starts(side, window, stride)
    covered = {at for start in found for at in range(start, min(start + window, side))}
    assert covered == set(range(side))
    assert len(set(found)) == len(found)
    assert max(found) + window <= max(side, window)


def windows(**over: Any) -> EvalSettings:
    return EvalSettings.model_validate({"kind": "segment", "data": "dense", **over})


def test_overlapping_windows_are_averaged() -> None:
    """Against sums pixel by pixel; what is the same in all windows comes back as it was."""
    images = torch.randn(2, 3, 13, 21)
    settings = windows(window=8, stride=5)
    same = evaluator.in_windows(lambda x: x, images, settings)
    assert torch.allclose(same, images, atol=1e-6)

    def of_window(x: Tensor) -> Tensor:
        return x - x.mean(dim=(2, 3), keepdim=True)

    total, times = torch.zeros_like(images), torch.zeros(13, 21)
    for top in (0, 5):
        for left in (0, 5, 10, 13):
            part = images[:, :, top : top + 8, left : left + 8]
            total[:, :, top : top + 8, left : left + 8] += of_window(part)
            times[top : top + 8, left : left + 8] += 1
    found = evaluator.in_windows(of_window, images, settings)
    assert torch.allclose(found, total / times, atol=1e-6)
    assert times.min() == 1
    assert times.max() == 4


def softmax_of(logits: Callable[[Tensor], Tensor], images: Tensor, side: tuple[int, int]) -> Tensor:
    scaled = torch.nn.functional.interpolate(images, side, mode="bilinear", antialias=True)
    found = torch.nn.functional.interpolate(logits(scaled), images.shape[2:], mode="bilinear")
    return found.softmax(1)


def test_scales_and_mirrors_are_averaged_as_probabilities() -> None:
    method, images = make("fpn").eval(), torch.randn(2, 3, 24, 40)
    with torch.no_grad():
        found = evaluator.class_scores(method.logits, images, windows(scales=(0.5, 1), flip=True))
        parts = [softmax_of(method.logits, images, side) for side in ((12, 20), (24, 40))]
        mirrored = [
            softmax_of(method.logits, images.flip(3), side).flip(3) for side in ((12, 20), (24, 40))
        ]
    by_hand = (parts[0] + parts[1] + mirrored[0] + mirrored[1]) / 4
    assert torch.allclose(found, by_hand, atol=1e-4)
    assert not torch.allclose(parts[1], mirrored[1], atol=1e-2)


def test_windows_and_scales_reach_the_evaluation() -> None:
    method, data = make("fpn").eval(), painted(whole=True)
    plain = evaluated(method, data).metrics[0].statistics
    cut = evaluated(method, data, window=16, stride=8).metrics[0].statistics
    several = evaluated(method, data, scales=(0.5, 1.0, 1.5), flip=True).metrics[0].statistics
    assert not np.array_equal(plain, cut)
    assert not np.array_equal(plain, several)
    assert plain[:, 1].sum() == cut[:, 1].sum() == several[:, 1].sum()


PASSES: list[tuple[str, str, str, tuple[int, int], int]] = [
    # What is tested at a scale, the largest extent there, and how many images a pass may have.
    ("demo", "can", "segment", (64, 64), 500),
    ("demo", "deit3", "segment", (64, 64), 500),
    ("demo", "deit3", "segment-multi", (64, 64), 500),
    ("demo", "litv2", "segment", (64, 64), 500),
    ("gpu", "can", "segment", (180, 240), 101),  # all of CamVid's for validation
    ("gpu", "deit3", "segment", (180, 240), 101),
    ("gpu", "deit3", "segment-multi", (180, 240), 101),
    ("gpu", "litv2", "segment", (180, 240), 101),
]


@pytest.mark.parametrize(("scale", "paper", "name", "extent", "images"), PASSES)
def test_small_scales_are_tested_in_passes_as_large_as_ever(
    scale: str, paper: str, name: str, extent: tuple[int, int], images: int
) -> None:
    """All test images of these sets, or as many as a pass of any evaluation has on the device."""
    settings = load_project(REPO, scale).papers[paper].evaluators[name]
    assert isinstance(settings, EvalSettings)
    for most in BATCH.values():
        at_once = evaluator.images_at_once(*extent, settings, most)
        assert min(at_once, images) == min(most, images)


@pytest.mark.parametrize(("name", "images"), [("segment", 38), ("segment-multi", 12)])
def test_a_pass_at_the_papers_size_fits_a_gpu(name: str, images: int) -> None:
    """Photographs of 683x512 pixels, tested at up to 1.75 times that, 3.2 kB for each pixel."""
    settings = load_project(REPO, "paper").papers["deit3"].evaluators[name]
    assert isinstance(settings, EvalSettings)
    assert evaluator.images_at_once(512, 683, settings, 500) == images
    pixels = images * 512 * 683 * max(settings.scales) ** 2
    assert 3200 * pixels < 45e9
    assert evaluator.images_at_once(512, 683, settings, 4) == 4
    assert evaluator.images_at_once(5000, 5000, settings, 500) == 1


def test_smaller_passes_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    method, data = make("fpn").eval(), painted()
    several = {"scales": (0.5, 1.5), "flip": True}
    whole = evaluated(method, data, **several).metrics[0].statistics
    passes: list[int] = []

    def noted(logits: Any, images: Tensor, settings: EvalSettings) -> Tensor:
        passes.append(len(images))
        return class_scores(logits, images, settings)

    class_scores = evaluator.class_scores
    monkeypatch.setattr(evaluator, "class_scores", noted)
    monkeypatch.setattr(evaluator, "PIXELS", 3 * HEIGHT * WIDTH * 1.5**2)
    found = evaluated(method, data, **several).metrics[0].statistics
    assert passes == [4, 3, 1, 3, 1]  # four photos of each extent, the smallest first
    assert np.array_equal(found, whole)


def test_masks_are_shown_over_their_images_in_fixed_colours() -> None:
    colours = evaluator.palette()
    assert colours[:6].tolist() == [
        [0, 0, 0],
        [128, 0, 0],
        [0, 128, 0],
        [128, 128, 0],
        [0, 0, 128],
        [128, 0, 128],
    ]
    assert len({tuple(colour) for colour in colours.tolist()}) == 256
    images = np.full((1, 1, 3, 3), 100, np.uint8)
    masks = np.array([[[0, 2, IGNORE]]], np.uint8)
    shown = evaluator.overlaid(images, masks)
    assert shown[0, 0].tolist() == [[40] * 3, [40, 117, 40], [100] * 3]


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"batch_size": 1}, "at least two images"),
        ({"model": {**DEIT3, "args": {**VIT, "in_chans": 1}}}, "in_chans: 3"),
        ({"mean": (0.5, 0.5), "std": (0.5, 0.5)}, "in mean and std"),
        ({"grey": True}, "in_chans: 1"),
        ({"model": {**DEIT3, "args": {**VIT, "dynamic_img_size": False}}}, "dynamic_img_size"),
        ({"model": LITV2, "fixed_positions": True}, "no plain ViT"),
    ],
)
def test_a_run_that_cannot_be_built_says_why(wrong: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        segment.build(run_of(**{**HEADS["upernet"], **wrong}), painted())


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"fpn_channels": 48}, "multiple of 32"),
        ({"fpn_channels": 32}, "and more"),
        ({"scale": (2, 0.5)}, "low <= high"),
        ({"std": (0.0,), "mean": (0.0,)}, "above 0"),
        ({"mean": (0.1,)}, "as many numbers"),
        ({"images": 0}, "greater than 0"),
        ({"images": 1.5}, "less than or equal to 1"),
        ({"head": "unet"}, "'upernet' or 'fpn'"),
        ({"window": 3}, "unknown key 'window'"),
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, Any], match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        plan(**wrong)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"window": 8}, "go together"),
        ({"stride": 8}, "go together"),
        ({"window": 8, "stride": 9}, "at most window"),
        ({"scales": ()}, "at least 1"),
        ({"scales": (0,)}, "greater than 0"),
    ],
)
def test_windows_that_leave_gaps_are_refused(wrong: dict[str, Any], match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        windows(**wrong)


def test_an_evaluation_of_other_classes_or_methods_is_refused() -> None:
    other = painted()
    other.names = ("nothing", "sky", "road / way", "bus")
    with pytest.raises(ConfigError, match=r"'painted' has the classes nothing, sky, .*bus"):
        evaluated(make("fpn"), other)
    with pytest.raises(ConfigError, match="segments no images; remove 'segment'"):
        evaluated(TinyMethod(), painted())
    with pytest.raises(ConfigError, match="has no semantic masks"):
        evaluated(make("fpn"), photos())


LARGE = {"upernet": {"channels": 512, "auxiliary": 0.4}, "fpn": {"channels": 256}}


@pytest.mark.parametrize(
    ("head", "name", "printed"),
    [
        ("fpn", "litv2_s", "31.45"),  # the authors' README; the paper prints 31, 52 and 90
        ("fpn", "litv2_m", "52"),
        ("fpn", "litv2_b", "90"),
        ("upernet", "deit3_base_patch16_224", "127.7"),
        ("upernet", "deit3_large_patch16_224", "353.6"),
    ],
)
def test_papers_models_have_the_printed_number_of_parameters(
    head: str, name: str, printed: str
) -> None:
    """In millions; DeiT III's positions are printed for 512 pixels, 828 more than at 224."""
    plain = head == "upernet"
    model = {"name": name, "args": {"dynamic_img_size": True} if plain else {}}
    with torch.device("meta"):
        run = run_of(model, head=head, **LARGE[head])
        method = segment.build(run, StandIn(tuple(map(str, range(150))), 3))
    count = sum(parameter.numel() for parameter in method.parameters())
    if plain:
        count += (32**2 - 14**2) * int(cast(Any, method.encoder).embed_dim)
    digits = len(printed.partition(".")[2])
    assert f"{count / 1e6:.{digits}f}" == printed


def test_a_stand_in_has_as_many_outputs_as_classes() -> None:
    """For what a step costs, without data."""
    method = segment.build(run_of(**HEADS["fpn"]), StandIn(tuple("abcde"), 3))
    assert method.logits(torch.zeros(1, 3, 20, 28)).shape == (1, 5, 20, 28)
