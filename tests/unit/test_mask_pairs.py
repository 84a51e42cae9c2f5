"""Photos with masks: layouts, scaling by hand, and every kind of damage found and named."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import captioned
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import functional as TF

from reprise.data import canvas, parallel
from reprise.data.annotated import MaskSet
from reprise.data.base import load, prepare
from reprise.data.canvas import IGNORE, Canvas, Pair, PairDecoder
from reprise.data.dense import detection, segmentation
from reprise.data.sets import mask_pairs
from reprise.errors import ConfigError, DataError

CAMVID = captioned.SHARED / "camvid"
NAMES = ["sky", "road", "tree"]
SIDES = ((40, 30), (40, 30), (30, 40), (60, 30), (52, 39))  # width, height
ADE = "Idx\tRatio\tTrain\tVal\tStuff\tName\n1\t0.2\t9\t9\t1\twall\n2\t0.1\t9\t9\t0\tbed , cot\n"


def silent(message: str) -> None:
    """Take a log line and drop it."""


def photo(path: Path, seed: int, size: tuple[int, int]) -> None:
    """Save a smooth picture."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(coarse).resize(size, Image.Resampling.BILINEAR).save(path)


def mask(path: Path, seed: int, size: tuple[int, int], values: list[int]) -> NDArray[np.uint8]:
    """Save a mask of random values."""
    drawn = np.random.default_rng(seed).choice(values, size[::-1]).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(drawn).save(path)
    return drawn


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """CamVid's layout: five training pairs and two for validation, 3 classes and 9 to ignore."""
    folder = tmp_path / "street"
    for split, count in (("train", 5), ("val", 2)):
        for number in range(count):
            photo(folder / f"images/{split}/{number}.png", number, SIDES[number])
            mask(folder / f"masks/{split}/{number}.png", number, SIDES[number], [0, 1, 2, 9])
    listed = [{"id": value, "name": name} for value, name in enumerate(NAMES)]
    content = {"classes": [*listed, {"id": 9, "name": "nothing"}]}
    (folder / "classes.json").write_text(json.dumps(content))
    return folder


def arguments(root: Path | str, **more: Any) -> dict[str, Any]:
    return {
        "root": str(root),
        "images": {"train": "images/train", "test": "images/val"},
        "masks": {"train": "masks/train", "test": "masks/val"},
        "classes": "classes.json",
        "ignore": [9],
        "short": 15,
        **more,
    }


def ready(
    home: Path, args: dict[str, Any], log: Callable[[str], None] = silent
) -> dict[str, MaskSet]:
    """Prepare a data set and open all its splits."""
    prepare("mask_pairs", home, args, log)
    splits = {}
    for split in args["images"]:
        found = load("mask_pairs", split, home, args)
        assert isinstance(found, MaskSet)
        splits[split] = found
    return splits


def manifest(home: Path) -> Any:
    return json.loads((home / "mask_pairs/manifest.json").read_text())


def test_photos_and_masks_are_scaled_onto_one_canvas(root: Path, tmp_path: Path) -> None:
    splits = ready(tmp_path, arguments(root))
    data = segmentation(splits["train"])
    assert data.names == tuple(NAMES)
    assert len(data) == 5
    assert len(splits["test"]) == 2
    # 40x30 halved; 30x40 likewise; 60x30 halved; 52x39 to a shorter side of 15.
    assert data.extents.tolist() == [[15, 20], [15, 20], [20, 15], [15, 30], [15, 20]]
    images, masks = data.fetch(torch.arange(5))
    assert images.shape == (5, 3, 20, 30)
    assert masks.shape == (5, 20, 30)
    assert images.dtype == masks.dtype == torch.uint8
    for number, (height, width) in enumerate(data.extents.tolist()):
        source = Image.open(root / f"images/train/{number}.png")
        wanted = TF.pil_to_tensor(TF.resize(source, [height, width], antialias=True))
        assert torch.equal(images[number, :, :height, :width], wanted)
        outside = torch.ones(20, 30, dtype=torch.bool)
        outside[:height, :width] = False
        assert (images[number][:, outside] == 0).all()
        assert (masks[number][outside] == IGNORE).all()


def test_halved_masks_and_photos_are_those_worked_out_by_hand(root: Path, tmp_path: Path) -> None:
    data = ready(tmp_path, arguments(root))["train"]
    stored = np.asarray(Image.open(root / "masks/train/0.png"))
    wanted = stored[1::2, 1::2].astype(int)  # the pixel at the centre of each two by two
    wanted[wanted == 9] = IGNORE
    assert np.array_equal(data.masks[0, :15, :20].numpy(), wanted)
    # A triangle of two pixels to either side, antialiased: 1, 3, 3, 1 eighths, in both directions.
    pixels = np.asarray(Image.open(root / "images/train/0.png")).astype(float)
    weights = np.array([1, 3, 3, 1]) / 8
    square = pixels[5:9, 7:11]  # around row 3, column 4 of the smaller one
    value = np.einsum("i,j,ijc->c", weights, weights, square)
    assert np.abs(data.images[0, :, 3, 4].numpy() - value).max() <= 1


def test_labels_are_the_most_frequent_classes(root: Path, tmp_path: Path) -> None:
    size = SIDES[0]
    drawn = np.full(size[::-1], 9, np.uint8)
    drawn[:2], drawn[2:8] = 1, 2
    Image.fromarray(drawn).save(root / "masks/train/0.png")
    assert ready(tmp_path, arguments(root))["train"].labels[0] == 2


def test_ade20k_is_read_with_its_offset_and_palette(tmp_path: Path) -> None:
    root, size = tmp_path / "ade", (20, 16)
    for split in ("training", "validation"):
        photo(root / f"images/{split}/a.jpg", 1, size)
        drawn = mask(root / f"annotations/{split}/a.png", 2, size, [0, 1, 2])
        with_palette = Image.fromarray(drawn)
        with_palette.putpalette(list(range(256)) * 3)
        with_palette.save(root / f"annotations/{split}/a.png")
    args = {
        "root": str(root),
        "images": {"train": "images/training", "test": "images/validation"},
        "masks": {"train": "annotations/training", "test": "annotations/validation"},
        "ignore": [0],
        "short": 16,
        "canvas": [16, 20],
    }
    (root / "objectInfo150.txt").write_text(ADE)
    data = ready(tmp_path, {**args, "classes": "objectInfo150.txt"})["train"]
    assert data.classes == ("wall", "bed , cot")
    assert np.array_equal(data.masks[0].numpy(), np.where(drawn == 0, IGNORE, drawn - 1))
    # The same from a list of names, in a file or in the parameters.
    (root / "names.txt").write_text("wall\nbed\n")
    for classes in ("names.txt", ["wall", "bed"]):
        again = ready(tmp_path, {**args, "classes": classes, "offset": 1})["train"]
        assert again.classes == ("wall", "bed")
        assert torch.equal(again.masks, data.masks)


def test_a_photo_that_does_not_fit_its_canvas_is_scaled_further() -> None:
    small = Canvas(15, 20, 20)
    assert small.extent(30, 40) == (15, 20)
    assert small.extent(40, 30) == (20, 15)
    assert small.extent(30, 60) == (10, 20)  # 15 x 30 would be too wide
    assert small.extent(1, 4000) == (1, 20)
    assert small.extent(10, 12) == (15, 18)  # small ones are enlarged


def test_masks_of_16_bits_and_of_one_are_read(root: Path, tmp_path: Path) -> None:
    path = root / "masks/train/0.png"
    drawn = np.asarray(Image.open(path))
    Image.fromarray(drawn.astype(np.uint16)).save(path)
    as_bytes = ready(tmp_path, arguments(root))["train"].masks[0].clone()
    Image.fromarray(drawn).save(path)
    assert torch.equal(ready(tmp_path / "more", arguments(root))["train"].masks[0], as_bytes)
    Image.fromarray(drawn % 2 == 1).save(path)
    ones = ready(tmp_path / "ones", arguments(root))["train"].masks[0, :15, :20]
    assert np.array_equal(ones.numpy(), drawn[1::2, 1::2] % 2)


def damage(root: Path, kind: str) -> None:
    """Spoil training pair 1 (or what belongs to it)."""
    image, labels = root / "images/train/1.png", root / "masks/train/1.png"
    drawn = np.asarray(Image.open(labels)).copy()
    match kind:
        case "unknown label values":
            drawn[drawn == 7] = 0
            drawn[0, :3], drawn[1, 0] = 7, 200
            Image.fromarray(drawn).save(labels)
        case "16 bits":
            wide = drawn.astype(np.uint16)
            wide[0, :2] = 60_000
            Image.fromarray(wide).save(labels)
        case "sizes differ":
            Image.fromarray(drawn[:-1]).save(labels)
        case "no mask":
            labels.unlink()
        case "no photo":
            image.unlink()
        case "two files of one name":
            photo(root / "images/train/1.jpg", 0, SIDES[1])
        case "not a mask":
            Image.fromarray(np.stack([drawn] * 3, 2)).save(labels)
        case "not an image":
            image.write_text("this is no image")
        case "empty":
            labels.write_bytes(b"")
        case "cut off":
            image.write_bytes(image.read_bytes()[:-60])


KINDS = {
    "unknown label values": "1.png: unknown label values: 1.png: 7 (3 pixels), 200 (1 pixels)",
    "16 bits": "1.png: unknown label values: 1.png: 60000 (2 pixels)",
    "sizes differ": "1.png: sizes differ: photo 40x30, mask 40x29",
    "no mask": "images/train/1.png: no mask: none of this name in masks/train/",
    "no photo": "masks/train/1.png: no photo: none of this name in images/train/",
    "two files of one name": "two files of one name",
    "not a mask": "1.png: not a mask: pixels of mode RGB",
    "not an image": "1.png: unreadable: 1.png: not an image that Pillow knows",
    "empty": "1.png: unreadable: 1.png: empty file",
    "cut off": "1.png: unreadable: 1.png: ",
}


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_refused_by_name_or_left_out_and_counted(
    kind: str, root: Path, tmp_path: Path
) -> None:
    whole = ready(tmp_path / "whole", arguments(root))["train"]
    damage(root, kind)
    with pytest.raises(DataError) as caught:
        ready(tmp_path, arguments(root))
    said = str(caught.value)
    assert KINDS[kind] in said
    assert "1 of 5 in split train" in said
    assert "most_corrupt" in said
    assert not (tmp_path / "mask_pairs/manifest.json").exists()
    assert "train/1." in (tmp_path / "mask_pairs/quarantine.txt").read_text()
    lines: list[str] = []
    args = arguments(root, most_corrupt=0.2, canvas=[20, 30])
    data = ready(tmp_path, args, lines.append)["train"]
    assert manifest(tmp_path)["splits"]["train"]["quarantined"] == 1
    assert manifest(tmp_path)["splits"]["test"].get("quarantined", 0) == 0
    assert any("1 left out of split train" in line for line in lines)
    sound = [0, 2, 3, 4]
    assert torch.equal(data.images, whole.images[sound])
    assert torch.equal(data.masks, whole.masks[sound])
    assert torch.equal(data.extents, whole.extents[sound])


def test_the_first_ten_are_named_and_all_are_counted(tmp_path: Path) -> None:
    root = tmp_path / "many"
    for number in range(14):
        photo(root / f"images/{number:02}.png", number, (16, 16))
        mask(root / f"masks/{number:02}.png", number, (16, 16), [0, 1])
    for number in range(12):
        mask(root / f"masks/{number:02}.png", number, (16, 16), [5] if number < 8 else [0])
    for number in range(8, 12):
        (root / f"masks/{number:02}.png").unlink()
    args = arguments(root, images={"train": "images"}, masks={"train": "masks"}, classes=["a", "b"])
    with pytest.raises(DataError, match=r"4 of 14 in split train .*no mask: 4"):
        ready(tmp_path, args)  # found before anything is decoded
    with pytest.raises(DataError) as caught:
        ready(tmp_path, {**args, "most_corrupt": 0.4})
    said = str(caught.value)
    assert "12 of 14 in split train cannot be used, more than 40.00%" in said
    assert "unknown label values: 8, no mask: 4" in said
    assert said.count("\n  ") == 10
    assert len((tmp_path / "mask_pairs/quarantine.txt").read_text().splitlines()) == 12


def test_a_mask_without_any_label_is_kept_and_noted(root: Path, tmp_path: Path) -> None:
    mask(root / "masks/train/2.png", 0, SIDES[2], [9])
    lines: list[str] = []
    data = ready(tmp_path, arguments(root), lines.append)["train"]
    assert len(data) == 5
    assert data.labels[2] == -1
    assert (data.masks[2] == IGNORE).all()
    assert (tmp_path / "mask_pairs/notes.txt").read_text() == (
        "train\timages/train/2.png\tno pixel has a class\t\n"
    )
    assert any("no pixel has a class: 1" in line for line in lines)


def test_many_processes_decode_the_same(root: Path) -> None:
    table = mask_pairs.table_of(dict(enumerate(NAMES)), [9])
    damage(root, "sizes differ")
    decoder = PairDecoder(Canvas(15, 20, 30), table)
    files = [str(root / f"{{}}/train/{number}.png") for number in range(5)]
    pairs = [Pair(file.format("images"), file.format("masks")) for file in files]
    one, several = (
        list(parallel.in_order(decoder, pairs, 2, workers=workers)) for workers in (1, 2)
    )
    assert [part.kept for part in one] == [part.kept for part in several] == [(0,), (2, 3), (4,)]
    assert [part.failed for part in one] == [part.failed for part in several]
    for here, there in zip(one, several, strict=True):
        assert np.array_equal(here.images, there.images)
        assert np.array_equal(here.masks, there.masks)
        assert np.array_equal(here.extents, there.extents)


def test_a_file_that_cannot_be_read_is_no_damaged_one(root: Path) -> None:
    decoder = PairDecoder(Canvas(15, 20, 30), mask_pairs.table_of(dict(enumerate(NAMES)), [9]))
    pairs = [Pair(str(root / f"images/train/{n}.png"), str(root / "gone.png")) for n in range(3)]
    for workers in (1, 2):
        with pytest.raises(DataError, match=r"gone.png: cannot be read"):
            list(parallel.in_order(decoder, pairs, 2, workers=workers))


def test_where_the_data_lie_is_in_no_digest(root: Path, tmp_path: Path) -> None:
    ready(tmp_path / "here", arguments(root))
    root.rename(tmp_path / "moved")
    ready(tmp_path / "there", arguments(tmp_path / "moved"))
    assert manifest(tmp_path / "here") == manifest(tmp_path / "there")


@pytest.mark.parametrize(
    ("missing", "named"),
    [("images/train", "images/train: no such folder"), ("classes.json", "no such file")],
)
def test_a_missing_part_is_named_with_what_is_expected(
    missing: str, named: str, root: Path, tmp_path: Path
) -> None:
    (root / missing).rename(tmp_path / "away")
    with pytest.raises(DataError, match=rf"{named}.*a folder of photos"):
        ready(tmp_path, arguments(root))
    with pytest.raises(DataError, match="REPRISE_NOWHERE is not set"):
        ready(tmp_path, arguments("${REPRISE_NOWHERE}"))


def test_a_split_without_a_photo_is_refused(root: Path, tmp_path: Path) -> None:
    (root / "images/empty").mkdir()
    (root / "masks/empty").mkdir()
    more = {"images": {"train": "images/empty"}, "masks": {"train": "masks/empty"}}
    with pytest.raises(DataError, match="no photo in it"):
        ready(tmp_path, arguments(root, **more))


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("[]", "not a list of classes"),
        ('{"classes": [{"id": 0}]}', "not a list of classes"),
        ('{"classes": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}', "the value of another"),
        ('{"classes": [{"id": 9, "name": "a"}]}', "0 classes"),
        ('{"classes": [{"id": -1, "name": "a"}]}', "1 classes"),
    ],
)
def test_a_wrong_list_of_classes_is_named(
    content: str, named: str, root: Path, tmp_path: Path
) -> None:
    (root / "classes.json").write_text(content)
    with pytest.raises(DataError, match=rf"classes.json: .*{named}"):
        ready(tmp_path, arguments(root))


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"masks": {"train": "masks/train"}}, "masks: a folder for each split"),
        ({"images": {"train": "a", "tset": "b"}}, "did you mean 'test'"),
        ({"images": {"train": "a", "test": "a"}}, "two splits have the same folder"),
        ({"canvas": [10, 40]}, "at least short = 15"),
        ({"shorter": 15}, "did you mean 'short'"),
    ],
)
def test_arguments_that_do_not_fit_are_named(
    more: dict[str, Any], named: str, root: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=named):
        ready(tmp_path, arguments(root, **more))


def test_a_disk_too_small_is_refused_before_decoding(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 7 * 4 * 20 * 30 - 1})
    monkeypatch.setattr(canvas.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(DataError, match="7 photos of 30x20"):
        ready(tmp_path, arguments(root))


def test_masks_alone_have_no_boxes(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'mask_pairs' has no boxes"):
        detection(ready(tmp_path, arguments(root))["train"])


@pytest.mark.skipif(not CAMVID.is_dir(), reason=f"no {CAMVID} (set REPRISE_SHARED_DATA)")
def test_camvid_is_read_whole(tmp_path: Path) -> None:
    """367 and 101 frames of 240x180 at their own size, 11 classes, nothing left out."""
    splits = ready(tmp_path, arguments(CAMVID, ignore=[11], short=180, canvas=[180, 240]))
    assert {split: len(data) for split, data in splits.items()} == {"train": 367, "test": 101}
    assert "quarantined" not in json.dumps(manifest(tmp_path))
    listed = json.loads((CAMVID / "classes.json").read_text())["classes"]
    for data in splits.values():
        assert data.classes == tuple(one["name"] for one in listed[:11])
        assert data.images.shape[1:] == (3, 180, 240)
    # The share of pixels of each class, both splits together, is the one that the set comes with.
    masks = torch.cat([data.masks.flatten() for data in splits.values()])
    shares = masks.bincount(minlength=256) / len(masks)
    wanted = torch.tensor([one["pixel_share"] for one in listed])
    assert (shares[[*range(11), IGNORE]] - wanted).abs().max() < 0.02
    last = sorted((CAMVID / "images/val").iterdir())[-1]
    truth = np.asarray(Image.open(CAMVID / f"masks/val/{last.stem}.png")).astype(int)
    assert np.array_equal(splits["test"].masks[100], np.where(truth == 11, IGNORE, truth))
    pixels = np.asarray(Image.open(last).convert("RGB"))
    assert np.array_equal(splits["test"].images[100].permute(1, 2, 0), pixels)
