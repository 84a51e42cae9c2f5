"""Photographs that stay files, and packed ones: the same samples, checked as they are read."""

import dataclasses
import json
import pickle
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import photo_sets
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import functional as TF

from reprise.data import base, cropping, pack, photo_files, photos, transforms
from reprise.data.base import ArraySet
from reprise.data.photos import PhotoSet
from reprise.data.sets import imagenet
from reprise.errors import DataError
from reprise.settings.base import Augment
from reprise.training.seeding import BLOCK, Draws, Key, batch_indices

SIZE = 24
KEY = Key(("photos", 0))


def silent(message: str) -> None:
    """Take a log line and drop it."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return photo_sets.imagenet_folders(tmp_path / "photos")


def arguments(root: Path, **more: Any) -> dict[str, Any]:
    return {"root": str(root), "size": SIZE, **more}


def ready(root: Path, home: Path, split: str = "train", **more: Any) -> Any:
    args = arguments(root, **more)
    base.prepare("imagenet", home, args, silent)
    return base.load("imagenet", split, home, args)


def packed(root: Path, home: Path, split: str = "train") -> PhotoSet:
    """Pack a prepared split and load it again."""
    pack.write(home / "imagenet", ready(root, home, split), silent)
    data = ready(root, home, split)
    assert isinstance(data, PhotoSet)
    assert isinstance(data.store, pack.Pack)
    return data


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack, "FILE_ROWS", 5)
    monkeypatch.setattr(pack, "BATCH_ROWS", 2)


# --- the same samples, however they are kept ----------------------------------------------------


@pytest.mark.usefixtures("small_files")
@pytest.mark.parametrize("split", ["train", "test"])
def test_files_arrays_and_packs_hand_out_the_same_samples(
    root: Path, tmp_path: Path, split: str
) -> None:
    arrays = ready(root, tmp_path / "a", split, keep="arrays")
    files = ready(root, tmp_path / "b", split)
    pack_of = packed(root, tmp_path / "b", split)
    assert isinstance(arrays, ArraySet)
    assert isinstance(files.store, photo_files.Files)
    assert (len(files), files.channels, files.size) == (len(arrays), 3, SIZE)
    for step in range(3):  # across an epoch's end
        chosen = batch_indices(len(arrays), 8, step, KEY)
        expected, labels = arrays.fetch(chosen)
        for data in (files, pack_of):
            found, numbers = data.fetch(chosen)
            assert torch.equal(found, expected)
            assert torch.equal(numbers, labels)
            assert found.is_contiguous(), "as batched augmentation wants it"
    assert pack_of.digest == files.digest, "packing makes nothing stale"
    assert pack_of.classes == files.classes


@pytest.mark.usefixtures("small_files")
def test_a_packed_data_set_needs_its_root_no_longer(root: Path, tmp_path: Path) -> None:
    expected = packed(root, tmp_path / "data").fetch(torch.arange(12))[0]
    root.rename(tmp_path / "elsewhere")
    moved = (tmp_path / "data").rename(tmp_path / "cluster")
    data = base.load("imagenet", "train", moved, arguments(root))
    assert torch.equal(data.fetch(torch.arange(12))[0], expected)
    test = base.load("imagenet", "test", moved, arguments(root))  # was not packed
    with pytest.raises(DataError, match=r"ILSVRC2012_val_00000001.JPEG: cannot be read"):
        test.fetch(torch.tensor([0]))


class Steps(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    def __init__(self, data: PhotoSet) -> None:
        self.data = data

    def __getitem__(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.data.fetch(batch_indices(len(self.data), 5, step, KEY))


@pytest.mark.usefixtures("small_files")
def test_workers_of_a_loader_read_the_same(root: Path, tmp_path: Path) -> None:
    data = packed(root, tmp_path)
    alone = [Steps(data)[step] for step in range(4)]  # maps files before the workers start
    loader = DataLoader(Steps(data), batch_size=None, sampler=range(4), num_workers=2)
    for (images, labels), (expected, numbers) in zip(loader, alone, strict=True):
        assert torch.equal(images, expected)
        assert torch.equal(labels, numbers)


def test_a_set_is_pickled_without_its_open_files(root: Path, tmp_path: Path) -> None:
    data = packed(root, tmp_path)
    expected = data.fetch(torch.arange(4))[0]
    assert data.store._open, "a file is mapped"
    again = pickle.loads(pickle.dumps(data))
    assert not again.store._open
    assert torch.equal(again.fetch(torch.arange(4))[0], expected)


# --- packing ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_files")
def test_packing_goes_on_where_it_was_cut(root: Path, tmp_path: Path) -> None:
    expected = packed(root, tmp_path).fetch(torch.arange(12))[0]
    home = tmp_path / "imagenet" / "pack"
    files = sorted(home.glob("train-*.arrow"))
    assert [file.name for file in files] == [f"train-{n:05}.arrow" for n in range(3)]
    (home / "train.json").unlink()
    files[1].unlink()
    files[2].write_bytes(b"cut off")
    before = files[0].stat().st_mtime_ns
    assert ready(root, tmp_path).store.root == root, "an unfinished pack is not used"
    assert torch.equal(packed(root, tmp_path).fetch(torch.arange(12))[0], expected)
    assert files[0].stat().st_mtime_ns == before, "what is whole is kept"


@pytest.mark.usefixtures("small_files")
def test_an_incomplete_or_foreign_pack_is_refused(root: Path, tmp_path: Path) -> None:
    packed(root, tmp_path)
    home = tmp_path / "imagenet" / "pack"
    (home / "train-00001.arrow").unlink()
    with pytest.raises(DataError, match=r"train-00001.arrow: no such file, though train.json"):
        ready(root, tmp_path)
    says = json.loads((home / "train.json").read_text())
    (home / "train.json").write_text(json.dumps({**says, "digest": "another"}))
    with pytest.raises(DataError, match=r"packed from other data than were prepared; remove"):
        ready(root, tmp_path)


def test_a_disk_that_is_too_small_is_refused_before_packing(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = ready(root, tmp_path)
    bytes_of_all = sum(path.stat().st_size for path in (root / "train").rglob("*.JPEG"))
    for free, fits in ((bytes_of_all, True), (bytes_of_all - 1, False)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=free))
        if fits:
            pack._check_space(tmp_path, data)
            continue
        with pytest.raises(DataError, match="12 photographs of split train need about"):
            pack.write(tmp_path / "imagenet", data, silent)
    assert not [*tmp_path.rglob("*.arrow")]


def test_a_harmed_pack_is_found_when_it_is_read(root: Path, tmp_path: Path) -> None:
    data = packed(root, tmp_path)
    file = tmp_path / "imagenet" / "pack" / "train-00000.arrow"
    content = data.store.read(7)
    whole = file.read_bytes()
    at = whole.index(content) + len(content) // 2
    file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    again = ready(root, tmp_path)
    again.fetch(torch.tensor([6, 8]))
    with pytest.raises(DataError, match=r"train-00000.arrow, row 7: its content is not what"):
        again.fetch(torch.tensor([7]))


# --- damage -------------------------------------------------------------------------------------


def test_a_split_without_its_index_says_what_makes_it(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready(root, tmp_path)
    split = base.Split("imagenet", "absent", tmp_path / "imagenet", (), "")
    monkeypatch.setattr(sys, "argv", ["reprise", "train", "can/can", "--scale", "gpu"])
    with pytest.raises(DataError, match=r"absent-.*npy.* data imagenet --scale gpu`"):
        photos.load(split, imagenet.Args(**arguments(root)))


def test_an_exchanged_photograph_is_named_when_it_is_read(root: Path, tmp_path: Path) -> None:
    data = ready(root, tmp_path)
    file = root / "train" / photo_sets.WNIDS[1] / f"{photo_sets.WNIDS[1]}_2.JPEG"
    photo_sets.jpeg(file, 77)
    data.fetch(torch.tensor([5]))
    with pytest.raises(DataError, match=f"{file}: its content is not what was prepared"):
        data.fetch(torch.tensor([5, 6]))
    file.unlink()
    with pytest.raises(DataError, match=f"{file}: cannot be read: No such file"):
        data.fetch(torch.tensor([6]))


@pytest.mark.parametrize("keep", ["files", "arrays"])
def test_damaged_photographs_are_left_out_alike(root: Path, tmp_path: Path, keep: str) -> None:
    bad = root / "train" / photo_sets.WNIDS[0]
    whole = (bad / f"{bad.name}_1.JPEG").read_bytes()
    (bad / f"{bad.name}_1.JPEG").write_bytes(whole[: len(whole) // 2])
    (bad / f"{bad.name}_3.JPEG").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"2 of 12 in split train cannot be used"):
        ready(root, tmp_path, keep=keep)
    lines = (tmp_path / "imagenet" / "quarantine.txt").read_text().splitlines()
    assert [line.split("\t")[1] for line in lines] == [
        f"train/{bad.name}/{bad.name}_{number}.JPEG" for number in (1, 3)
    ]
    data = ready(root, tmp_path, keep=keep, most_corrupt=0.2)
    assert data.labels.tolist() == [0] * 2 + [1] * 4 + [2] * 4
    assert (
        json.loads((tmp_path / "imagenet/manifest.json").read_text())["splits"]["train"][
            "quarantined"
        ]
        == 2
    )
    (tmp_path / "again").mkdir()
    other = "arrays" if keep == "files" else "files"
    same = ready(root, tmp_path / "again", keep=other, most_corrupt=0.2)
    assert torch.equal(data.fetch(torch.arange(10))[0], same.fetch(torch.arange(10))[0])


def test_grey_and_transparent_photographs_become_rgb(root: Path, tmp_path: Path) -> None:
    folder = root / "train" / photo_sets.WNIDS[0]
    grey = Image.fromarray(photo_sets.picture(5)).convert("L")
    grey.save(folder / f"{folder.name}_0.JPEG", "JPEG")
    clear = Image.new("RGBA", (30, 30), (0, 0, 0, 0))
    clear.save(
        folder / f"{folder.name}_1.JPEG", "PNG"
    )  # one of ImageNet's is a PNG by another name
    data, settings = ready(root, tmp_path), Augment(size=8, crop_scale=(0.2, 1))
    for images in (
        data.fetch(torch.tensor([0, 1]))[0],
        crops(data, torch.tensor([0, 1]), settings),
    ):
        assert torch.equal(images[0, 0], images[0, 2])
        assert bool((images[1] == 255).all()), "what is transparent is white"


def test_many_files_are_looked_through_by_several_processes(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = sorted(str(path) for path in root.rglob("*.JPEG"))
    alone = [*photo_files.look_all(paths)]
    monkeypatch.setattr(photo_files, "FEW", 0)
    monkeypatch.setattr(photo_files, "CHUNK_FILES", 5)
    parts = [*photo_files.look_all(paths, workers=2)]
    assert len(parts) == 4
    for name in ("digests", "extents", "kept"):
        joined = np.concatenate([getattr(part, name) for part in parts])
        assert np.array_equal(joined, getattr(alone[0], name))
    assert alone[0].extents[0].tolist() == [*photo_sets.WIDE[::-1]]


# --- random crops of whole photographs ----------------------------------------------------------


def crops(data: PhotoSet, chosen: torch.Tensor, settings: Augment, start: int = 0) -> torch.Tensor:
    views = [Draws(KEY, len(chosen), start)]
    return data.crops(chosen, cropping.of_augment(settings), views)[0][0]


def boxes_of(extents: torch.Tensor, settings: Augment) -> torch.Tensor:
    return cropping.of_augment(settings).places(extents, Draws(KEY, len(extents)))


def test_a_crop_equals_torchvisions_on_the_same_box(root: Path, tmp_path: Path) -> None:
    data, settings = ready(root, tmp_path), Augment(size=16, crop_scale=(0.2, 1.0))
    chosen = torch.arange(len(data))
    found = crops(data, chosen, settings)
    extents = torch.from_numpy(data.extents.astype(np.int64))
    boxes = boxes_of(extents, settings)
    paths = sorted((root / "train").rglob("*.JPEG"))
    for image, path, box in zip(found, paths, boxes.tolist(), strict=True):
        with Image.open(path) as photo:
            expected = TF.resized_crop(photo, *box, [16, 16], TF.InterpolationMode.BILINEAR)
        assert torch.equal(image, TF.pil_to_tensor(expected))
    assert found.is_contiguous()
    sharper = dataclasses.replace(
        cropping.of_augment(settings), resampling=Image.Resampling.BICUBIC
    )
    other = data.crops(chosen, sharper, [Draws(KEY, len(data))])[0][0]
    assert not torch.equal(other, found)


def test_a_crop_is_a_function_of_key_and_sample(root: Path, tmp_path: Path) -> None:
    data, settings = ready(root, tmp_path), Augment(size=8, crop_scale=(0.08, 1.0))
    chosen = batch_indices(len(data), 2 * BLOCK, 3, KEY)
    whole = crops(data, chosen, settings)
    halves = [crops(data, chosen[n : n + BLOCK], settings, n) for n in (0, BLOCK)]
    assert torch.equal(torch.cat(halves), whole), "two processes meet the same crops as one"
    assert torch.equal(crops(packed(root, tmp_path), chosen, settings), whole)
    twice = (chosen == chosen[0]).nonzero().squeeze(1)
    assert len(twice) > 1
    assert not torch.equal(whole[twice[0]], whole[twice[1]]), "places have crops of their own"


@pytest.mark.parametrize(("height", "width"), [(32, 32), (300, 400), (500, 90)])
@pytest.mark.parametrize("scale", [(0.08, 1.0), (0.35, 0.8)])
def test_boxes_are_those_of_the_batched_augmentation(
    height: int, width: int, scale: tuple[float, float]
) -> None:
    settings, draws = Augment(size=8, crop_scale=scale), Draws(KEY, 500)
    extents = torch.tensor([[height, width]]).expand(500, 2)
    found = boxes_of(extents, settings)
    expected = torch.stack(transforms.crop_boxes(height, width, settings, draws), 1).long()
    assert (found != expected).float().mean() < 0.01, "but for roundings of logarithms"
    assert (found - expected).abs().max() <= 1


def test_boxes_lie_in_photographs_of_any_size() -> None:
    sides = torch.randint(1, 700, (2000, 2), generator=torch.Generator().manual_seed(0))
    boxes = boxes_of(sides, Augment(size=8, crop_scale=(0.05, 1)))
    top, left, height, width = boxes.unbind(1)
    assert bool((boxes[:, 2:] >= 1).all() and (boxes >= 0).all())
    assert bool((top + height <= sides[:, 0]).all() and (left + width <= sides[:, 1]).all())


# --- real photographs ---------------------------------------------------------------------------


@pytest.mark.skipif(
    not (photo_sets.SHARED / "tiny_imagenet50").is_dir(),
    reason="no tiny_imagenet50 in REPRISE_SHARED_DATA or ../shared/data",
)
def test_real_photographs_are_the_same_in_all_three(tmp_path: Path) -> None:
    root = tmp_path / "some"
    for split in ("train", "val"):
        for folder in sorted((photo_sets.SHARED / "tiny_imagenet50" / split).iterdir())[:3]:
            (root / split / folder.name).mkdir(parents=True)
            for file in sorted(folder.iterdir())[:20]:
                (root / split / folder.name / file.name).symlink_to(file)
    chosen = torch.arange(60)
    arrays = ready(root, tmp_path / "a", keep="arrays")
    files = ready(root, tmp_path / "b").fetch(chosen)[0]
    assert torch.equal(files, arrays.images)
    assert torch.equal(packed(root, tmp_path / "b").fetch(chosen)[0], files)
