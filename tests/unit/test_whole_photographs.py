"""Crops that are cut from whole photographs: where, from what, and how often in a batch."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import photo_sets
import pytest
import torch
from PIL import Image
from test_deit3 import CLASSES, run_of
from test_loop import equal, make_fit, weights
from tiny import TinyMethod, photos
from torch import Tensor
from torchvision.transforms import InterpolationMode, functional

from reprise.data import base, cropping, three_augment
from reprise.data.photos import PhotoSet
from reprise.data.transforms import normalise
from reprise.errors import ConfigError
from reprise.papers import deit3
from reprise.settings.base import Augment, Optim
from reprise.settings.deit3_augment import RecipeAugment
from reprise.training.distributed import World
from reprise.training.loop import Fit, FitSettings
from reprise.training.method import Batch, StandIn
from reprise.training.seeding import BLOCK, Draws, Key, batch_indices, repeated
from reprise.training.steps import Steps

KEY = Key(("whole",))
PLAIN = RecipeAugment(size=16, flip=0, policy="none", jitter=0)
AUGMENT = Augment(size=8, crop_scale=(0.2, 1.0))


@pytest.fixture
def data(tmp_path: Path) -> PhotoSet:
    args = {"root": str(photo_sets.imagenet_folders(tmp_path / "photos")), "size": 24}
    base.prepare("imagenet", tmp_path / "data", args, lambda _: None)
    found = base.load("imagenet", "train", tmp_path / "data", args)
    assert isinstance(found, PhotoSet)
    return found


# --- where ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [(3 / 4, 4 / 3), (0.9, 1.0)])
def test_redrawn_boxes_are_those_of_images_of_one_size(ratio: tuple[float, float]) -> None:
    sides = torch.tensor([[300, 400], [90, 500], [500, 90], [33, 33]])
    extents = sides.repeat(100, 1)
    draws, recipe = Draws(KEY, len(extents)), RecipeAugment(size=16, crop_ratio=ratio)
    found = cropping.of_recipe(recipe).places(extents, draws)
    for place, (height, width) in enumerate(sides.tolist()):
        boxes = three_augment.crop_boxes(height, width, recipe, draws)
        expected = torch.stack(boxes, 1).long()[place::4]
        assert torch.equal(found[place::4], expected)


@pytest.mark.parametrize("extent", [(28, 40), (36, 26), (16, 16)])
def test_a_simple_crop_is_torchvisions_at_the_same_place(extent: tuple[int, int]) -> None:
    photo = Image.fromarray(photo_sets.picture(3, extent[1], extent[0]))
    crop = cropping.of_recipe(PLAIN.model_copy(update={"crop": "src"}))
    places = crop.places(torch.tensor([extent]).expand(640, 2), Draws(KEY, 640))
    resized = functional.resize(photo, 16, InterpolationMode.BICUBIC)
    padded = functional.pad(resized, [4, 4, 4, 4], padding_mode="reflect")
    room = [padded.height - 16, padded.width - 16]
    assert places.amin(0).tolist() == [0, 0]
    assert places.amax(0).tolist() == room, "as far as torchvision's, and no farther"
    for top, left in places[:9].tolist():
        expected = functional.crop(padded, top, left, 16, 16)
        assert np.array_equal(crop.cut(photo, [(top, left)])[0], np.asarray(expected))


@pytest.mark.parametrize("kind", ["src", "rrc"])
def test_a_crop_is_that_of_the_batched_recipe(kind: str) -> None:
    """Of images of one size, up to Pillow's rounding."""
    settings = PLAIN.model_copy(update={"crop": kind})
    images = [photo_sets.picture(n) for n in range(6)]
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255
    batched = three_augment.recipe_augment(pixels, settings, Draws(KEY, 6))
    crop = cropping.of_recipe(settings)
    places = crop.places(torch.tensor([images[0].shape[:2]]).expand(6, 2), Draws(KEY, 6))
    for image, place, expected in zip(images, places.tolist(), batched, strict=True):
        (cut,) = crop.cut(Image.fromarray(image), [place])
        pixels = torch.from_numpy(cut.copy()).permute(2, 0, 1) / 255
        assert (pixels - expected).abs().max() < 1.3 / 255


# --- what a step meets ---------------------------------------------------------------------------


class TwoViews(TinyMethod):
    num_views = 2

    def forward(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        grey = tuple(view.mean(1, keepdim=True) for view in batch.views)
        return super().forward(dataclasses.replace(batch, views=grey), draws)


def test_views_are_crops_and_are_not_cropped_again(tmp_path: Path, data: PhotoSet) -> None:
    method = TwoViews()
    fit = make_fit(tmp_path, data, method=method, augment=AUGMENT, whole_photographs=True)
    batch = next(fit._batches())
    views = [Draws(Key(("test", "step", 0)), 64).fold("view", view) for view in (0, 1)]
    images, labels = data.crops(batch.indices, cropping.of_augment(AUGMENT), views)
    assert images.shape == (2, 64, 3, 8, 8)
    assert not torch.equal(images[0], images[1])
    for view in (0, 1):
        assert torch.equal(batch.views[view], normalise(images[view], AUGMENT))
    assert torch.equal(batch.labels, labels)


def recipe_fit(folder: Path, data: PhotoSet, **objective: Any) -> Fit:
    image = PLAIN.model_dump(mode="json")
    run = run_of(**{"image": image, "repeats": 3, **objective})
    torch.manual_seed(0)
    method = deit3.build(run, StandIn(CLASSES, 3))
    settings = FitSettings(
        steps=2, batch_size=64, optim=Optim(lr=1e-3), augment=run.augment, whole_photographs=True
    )
    return Fit(method, data, settings, Key(("test",)), folder, World(), "deit3/run")


@pytest.mark.parametrize("backend", ["batched", "pil"])
def test_a_recipe_meets_each_photograph_three_times_cropped_anew(
    tmp_path: Path, data: PhotoSet, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = recipe_fit(tmp_path, data, image={**PLAIN.model_dump(), "backend": backend})
    batch: Batch = next(fit._batches())
    drawn = batch_indices(len(data), 64, 0, Key(("test", "order")))
    assert torch.equal(batch.indices, drawn[repeated(64, 3)])
    assert torch.equal(batch.labels, data.labels[batch.indices])
    crops = batch.views[0]
    assert crops.shape == (64, 3, 16, 16), "of the recipe's size, not of the data's"
    assert not torch.equal(crops[0], crops[1])
    met: list[Tensor] = []
    method = fit.method
    assert isinstance(method, deit3.Recipe)
    monkeypatch.setattr(method, "mixed", lambda images, labels: met.append(images) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        method(batch, Draws(KEY, 64))
    assert torch.allclose(met[0], method.normalised(crops), atol=1e-5), "nothing more is cropped"


def test_loader_processes_change_nothing(tmp_path: Path, data: PhotoSet) -> None:
    found = []
    for name, workers in (("alone", 0), ("workers", 2)):
        method = TwoViews()
        fit = make_fit(
            tmp_path / name,
            data,
            method=method,
            augment=AUGMENT,
            whole_photographs=True,
            workers=workers,
            steps=4,
        )
        fit.run()
        found.append(weights(fit))
    assert equal(*found)


def test_two_processes_share_the_batch_of_one(data: PhotoSet) -> None:
    def step(rank: int, size: int) -> tuple[Tensor, ...]:
        world = World(rank=rank, size=size)
        steps = Steps(data, None, 2 * BLOCK, Key(("test",)), world)
        steps.cut(cropping.of_recipe(PLAIN), 1, 3)
        found: tuple[Tensor, ...] = steps[1]
        return found

    indices, images, labels = step(0, 1)
    halves = [step(rank, 2) for rank in (0, 1)]
    assert torch.equal(torch.cat([half[0] for half in halves]), indices)
    assert torch.equal(torch.cat([half[1] for half in halves], 1), images)
    assert torch.equal(torch.cat([half[2] for half in halves]), labels)


# --- mistakes ------------------------------------------------------------------------------------


def test_arrays_have_no_whole_photographs(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"keeps no photographs but arrays; with args\.keep: files"
    ):
        make_fit(tmp_path, photos(), augment=AUGMENT, whole_photographs=True)


def test_without_a_random_crop_nothing_can_be_cut(tmp_path: Path, data: PhotoSet) -> None:
    with pytest.raises(ConfigError, match=r"augment\.crop_scale: nothing is cropped"):
        make_fit(tmp_path, data, augment=Augment(size=8), whole_photographs=True)
    with pytest.raises(ConfigError, match=r"image\.crop: nothing is cropped"):
        recipe_fit(tmp_path, data, image={**PLAIN.model_dump(), "crop": "none"})
    with pytest.raises(ConfigError, match="takes no images"):
        make_fit(tmp_path, data, augment=None, whole_photographs=True)
