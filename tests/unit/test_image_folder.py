"""Folders of images: decoded once in a fixed order, damaged files named, their place no matter."""

import copy
import io
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fabricated
import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torchvision.transforms import functional as TF

from reprise import plan, status
from reprise.config import load_project
from reprise.data import decode, origin
from reprise.data.base import ArraySet, load, prepare
from reprise.errors import ConfigError, DataError

SIZE = 16
CLASSES = ("n01", "n02", "n10")
COUNTS = {"train": 6, "val": 2}  # of each class
SHARED = Path(
    os.environ.get("REPRISE_SHARED_DATA", Path(__file__).parents[3] / "shared/data"),
    "tiny_imagenet50",
)


def silent(message: str) -> None:
    """Take a log line and drop it."""


def pixels(seed: int, width: int = SIZE, height: int = SIZE) -> np.ndarray[Any, Any]:
    """Return a smooth picture, uint8 [height, width, 3]."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR))


def save(path: Path, seed: int, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(seed)).save(path, **options)


def photographs(root: Path, ending: str = "png", seed: int = 0, backwards: bool = False) -> Path:
    """Write a miniature in the layout of ImageNet, in either order, with names of classes."""
    files = [
        (
            f"{split}/{name}/{name}_{number}.{ending}",
            seed + 100 * place + number + 50 * (len(split) % 2),
        )
        for split, count in COUNTS.items()
        for place, name in enumerate(CLASSES)
        for number in range(count)
    ]
    for name, content in files[::-1] if backwards else files:
        save(root / name, content)
    (root / "classes.tsv").write_text("0\tn01\tgoldfish, Carassius\n1\tn10\tbell pepper\n")
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return photographs(tmp_path / "photos")


def arguments(root: Path | str, **more: Any) -> dict[str, Any]:
    return {"root": str(root), "size": SIZE, **more}


def ready(root: Path, home: Path, log: Callable[[str], None] = silent, **more: Any) -> Path:
    return prepare("image_folder", home, arguments(root, **more), log)


def opened(split: str, root: Path | str, home: Path, **more: Any) -> ArraySet:
    found = load("image_folder", split, home, arguments(root, **more))
    assert isinstance(found, ArraySet)
    return found


def manifest(home: Path, folder: str = "image_folder") -> dict[str, Any]:
    content: dict[str, Any] = json.loads((home / folder / "manifest.json").read_text())
    return content


# --- what is read, and in which order ---------------------------------------------------------


def test_images_come_by_class_then_name_and_val_is_test(root: Path, tmp_path: Path) -> None:
    ready(root, tmp_path)
    train, test = (opened(split, root, tmp_path) for split in ("train", "test"))
    assert train.labels.tolist() == [0] * 6 + [1] * 6 + [2] * 6
    assert test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert train.classes == ("goldfish, Carassius", "n02", "bell pepper")
    assert (train.channels, train.size, train.images.dtype) == (3, SIZE, torch.uint8)
    for data, folder in ((train, "train"), (test, "val")):
        files = sorted((root / folder).glob("*/*"))
        for image, file in zip(data.images, files, strict=True):
            assert np.array_equal(image.permute(1, 2, 0).numpy(), np.asarray(Image.open(file)))


def test_the_order_in_which_files_were_made_does_not_matter(root: Path, tmp_path: Path) -> None:
    other = photographs(tmp_path / "other", backwards=True)
    ready(root, tmp_path / "a")
    ready(other, tmp_path / "b")
    assert manifest(tmp_path / "a") == manifest(tmp_path / "b")


def test_nested_folders_are_read_and_other_files_are_not(root: Path, tmp_path: Path) -> None:
    ready(root, tmp_path / "a")
    for name in CLASSES:  # as Tiny-ImageNet was published
        inner = root / "train" / name / "images"
        inner.mkdir()
        for file in (root / "train" / name).glob("*.png"):
            file.rename(inner / file.name)
    for stray in ("train/n01/n01_boxes.txt", "train/n01/._n01_0.png", "train/.DS_Store"):
        (root / stray).write_text("no image")
    (root / "train/.cache").mkdir()
    ready(root, tmp_path / "b")
    assert manifest(tmp_path / "a") == manifest(tmp_path / "b")


@pytest.mark.parametrize("ending", ["JPEG", "jpg", "bmp", "webp"])
def test_usual_endings_are_known(tmp_path: Path, ending: str) -> None:
    root = photographs(tmp_path / "photos", ending)
    ready(root, tmp_path)
    assert len(opened("train", root, tmp_path)) == 18


def test_several_processes_give_what_one_gives(root: Path) -> None:
    files = [str(path) for path in sorted(root.glob("*/*/*.png"))]
    Path(files[5]).write_bytes(b"damaged")
    parts = list(decode.decode_all(files, SIZE, workers=2, size_of_chunk=4))
    (whole,) = decode.decode_all(files, SIZE, workers=1)
    assert len(parts) == 6
    assert np.array_equal(np.concatenate([part.images for part in parts]), whole.images)
    assert np.concatenate([part.kept for part in parts]).tolist() == whole.kept.tolist()
    assert [fault for part in parts for fault in part.failed] == list(whole.failed)
    assert [place for place, _ in whole.failed] == [5]


PARENT = """
import multiprocessing, sys, time
from reprise.data.decode import decode_all
if __name__ == "__main__":
    parts = decode_all(sys.argv[1:] * 200, 16, workers=2, size_of_chunk=4)
    next(parts)
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    time.sleep(60)
"""


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_decoding_processes_end_with_a_killed_parent(root: Path, tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    command = [sys.executable, str(script), *map(str, root.glob("*/*/*.png"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        children = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(children) == 2
        assert all(map(lives, children))
        parent.send_signal(signal.SIGKILL)
    until = time.monotonic() + 10
    while any(map(lives, children)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(lives, children))


# --- sizes and modes --------------------------------------------------------------------------


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    packed = io.BytesIO()
    image.save(packed, kind, **options)
    return packed.getvalue()


@pytest.mark.parametrize(
    ("width", "height"), [(40, 30), (31, 57), (16, 23), (9, 12), (16, 16), (64, 64), (17, 16)]
)
def test_other_sizes_are_resized_and_cropped_as_torchvision_does(width: int, height: int) -> None:
    image = Image.fromarray(pixels(3, width, height))
    bicubic = TF.InterpolationMode.BICUBIC
    expected = TF.center_crop(TF.resize(image, SIZE, bicubic), [SIZE, SIZE])
    found = decode.decode(encoded(image), SIZE)
    assert np.array_equal(found.transpose(1, 2, 0), np.asarray(expected))


def test_grey_becomes_three_equal_channels() -> None:
    grey = Image.fromarray(pixels(1)).convert("L")
    for kind in ("PNG", "JPEG"):
        content = encoded(grey, kind, **({"quality": 95} if kind == "JPEG" else {}))
        found = decode.decode(content, SIZE)
        assert (found == np.asarray(Image.open(io.BytesIO(content)))).all()
    bits = grey.convert("1")
    assert (decode.decode(encoded(bits), SIZE) == np.asarray(bits) * np.uint8(255)).all()


def test_sixteen_bits_are_scaled_not_cut() -> None:
    deep = np.linspace(0, 65535, SIZE * SIZE).astype(np.uint16).reshape(SIZE, SIZE)
    for kind in ("PNG", "TIFF"):
        assert (decode.decode(encoded(Image.fromarray(deep), kind), SIZE) == deep >> 8).all()


def test_cmyk_becomes_rgb() -> None:
    image = Image.fromarray(pixels(2)).convert("CMYK")
    found = decode.decode(encoded(image, "JPEG", quality=95), SIZE).astype(int)
    assert abs(found.transpose(1, 2, 0) - pixels(2)).mean() < 4


def test_what_is_transparent_becomes_white() -> None:
    colours = pixels(4)
    alpha = np.zeros((SIZE, SIZE), np.uint8)
    alpha[: SIZE // 2] = 255
    whole = Image.fromarray(np.dstack([colours, alpha]))
    palette = Image.fromarray(np.repeat(np.arange(SIZE, dtype=np.uint8)[:, None], SIZE, 1), "P")
    palette.putpalette([value for shade in range(256) for value in (shade, 0, 255 - shade)])
    faded = encoded(palette, transparency=bytes([0] * 8 + [255] * 248))
    found = decode.decode(encoded(whole), SIZE).transpose(1, 2, 0)
    assert np.array_equal(found[: SIZE // 2], colours[: SIZE // 2])
    assert (found[SIZE // 2 :] == 255).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = decode.decode(faded, SIZE).transpose(1, 2, 0)
    assert (found[:8] == 255).all()
    assert (found[8:, 0, 0] == np.arange(8, SIZE)).all()
    assert (decode.decode(encoded(whole.convert("LA")), SIZE)[:, SIZE // 2 :] == 255).all()
    keyed = Image.new("RGB", (SIZE, SIZE), (10, 20, 30))
    assert (decode.decode(encoded(keyed, transparency=(10, 20, 30)), SIZE) == 255).all()


# --- damaged files ----------------------------------------------------------------------------


def harm(root: Path) -> list[str]:
    """Damage four training files in four ways; return their names below the root."""
    (root / "train/n01/n01_2.png").write_bytes(b"")
    (root / "train/n01/n01_4.png").write_text("<html>404</html>")
    whole = root / "train/n02/n02_0.png"
    whole.write_bytes(whole.read_bytes()[:-40])
    save(root / "train/n10/n10_9.JPEG", 9, quality=95)
    cut = root / "train/n10/n10_9.JPEG"
    cut.write_bytes(cut.read_bytes()[:-60])
    return [
        "train/n01/n01_2.png",
        "train/n01/n01_4.png",
        "train/n02/n02_0.png",
        "train/n10/n10_9.JPEG",
    ]


def test_damaged_files_are_named_counted_and_left_out(root: Path, tmp_path: Path) -> None:
    ready(root, tmp_path / "whole")
    names, said = harm(root), list[str]()
    ready(root, tmp_path, said.append, most_corrupt=0.25)
    lines = (tmp_path / "image_folder/quarantine.txt").read_text().splitlines()
    assert [line.partition("\t")[0] for line in lines] == names
    assert [line.partition("\t")[2] for line in lines][:2] == [
        "empty file",
        "not an image that Pillow knows",
    ]
    assert "truncated" in lines[3]
    splits = manifest(tmp_path)["splits"]
    assert (splits["train"]["count"], splits["train"]["quarantined"]) == (15, 4)
    assert "quarantined" not in splits["test"]
    assert "4 of 19 files of train/ cannot be decoded" in said
    train, before = (
        opened("train", root, tmp_path, most_corrupt=0.25),
        opened("train", "/nowhere", tmp_path / "whole"),
    )
    kept = [0, 1, 3, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17]
    assert torch.equal(train.images, before.images[kept])
    assert torch.equal(train.labels, before.labels[kept])


def test_too_many_damaged_files_fail_with_the_first_of_them(root: Path, tmp_path: Path) -> None:
    names = harm(root)
    with pytest.raises(DataError) as caught:
        ready(root, tmp_path, most_corrupt=0.15)
    for part in (
        "more than 15.00% of the 19 files of train/",
        f"{names[0]}: empty file",
        names[2],
        "args.most_corrupt",
    ):
        assert part in str(caught.value)
    with pytest.raises(DataError, match=r"more than 1\.00%"):
        ready(root, tmp_path)
    left = sorted(path.name for path in (tmp_path / "image_folder").iterdir())
    assert left == []


def test_a_list_of_damaged_files_goes_when_they_are_mended(root: Path, tmp_path: Path) -> None:
    harm(root)
    ready(root, tmp_path, most_corrupt=0.25)
    photographs(root)
    (root / "train/n10/n10_9.JPEG").unlink()
    ready(root, tmp_path)
    assert not (tmp_path / "image_folder/quarantine.txt").exists()


def test_a_file_that_cannot_be_read_is_no_damaged_image(root: Path, tmp_path: Path) -> None:
    (root / "train/n01/n01_7.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(DataError, match=r"n01_7\.png: cannot be read: No such file"):
        ready(root, tmp_path, most_corrupt=0.9)


# --- what is missing is said before anything is done ------------------------------------------


def without_val(root: Path) -> None:
    (root / "val").rename(root / "valid")


def without_a_class(root: Path) -> None:
    (root / "val/n02").rename(root / "val/n03")


def with_an_empty_class(root: Path) -> None:
    for split in ("train", "val"):
        (root / split / "n11").mkdir()


def without_classes(root: Path) -> None:
    (root / "train").rename(root / "old")
    (root / "train").mkdir()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without_val, r"photos/val: no such folder\. Expected are train/<class>/\*\.JPEG"),
        (without_a_class, r"1 only in train/ \(n02\), 1 only in val/ \(n03\)"),
        (with_an_empty_class, r"photos/train/n11: no image in it \(\.jpeg, \.jpg"),
        (without_classes, r"photos/train: no folder in it; expected is one for each class"),
    ],
)
def test_another_layout_is_refused_by_name(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path], None],
    said: str,
) -> None:
    monkeypatch.setattr(decode, "decode_all", lambda *_: pytest.fail("it began to decode"))
    change(root)
    with pytest.raises(DataError, match=said):
        ready(root, tmp_path)


def test_an_absent_root_is_told_with_how_to_set_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=r"absent: no such folder.*args\.root.*params/scales/"):
        ready(tmp_path / "absent", tmp_path)
    monkeypatch.delenv("REPRISE_PHOTOS", raising=False)
    for root in ("${REPRISE_PHOTOS}", "$REPRISE_PHOTOS/inner", "/data/${REPRISE_PHOTOS}/x"):
        said = r"variable REPRISE_PHOTOS is not set; `export REPRISE_PHOTOS=.*Expected are train/"
        with pytest.raises(DataError, match=said):
            ready(Path(root), tmp_path)


def test_a_full_disk_is_foreseen(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage())
    with pytest.raises(DataError, match=r"24 images of 16x16 need .* GB are free; set data_root"):
        ready(root, tmp_path)


class Usage:
    free = 1000


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"size": 16}, "root"),
        ({"root": "", "size": 16}, "root"),
        ({"root": "x", "size": 4}, "size"),
        ({"root": "x", "size": 16, "most_corrupt": 1.0}, "most_corrupt"),
    ],
)
def test_wrong_arguments_are_refused(tmp_path: Path, args: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=rf"'image_folder': args\.{said}: "):
        prepare("image_folder", tmp_path, args, silent)


# --- where the photographs lie is no part of what they are ------------------------------------


def test_the_digest_knows_nothing_of_the_root(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = photographs(tmp_path / "elsewhere/same")
    monkeypatch.setenv("REPRISE_PHOTOS", str(there.parent))
    ready(root, tmp_path / "a")
    args = arguments("${REPRISE_PHOTOS}/same")
    prepare("image_folder", tmp_path / "b", args, silent, "holiday")
    assert manifest(tmp_path / "a") == manifest(tmp_path / "b", "holiday")
    assert manifest(tmp_path / "a")["args"] == {"size": SIZE}
    here = opened("train", root, tmp_path / "a")
    found = load("image_folder", "train", tmp_path / "b", args, "holiday")
    assert (here.digest, here.name, found.name) == (found.digest, "image_folder", "holiday")


def test_a_moved_or_removed_root_makes_nothing_again(root: Path, tmp_path: Path) -> None:
    folder = ready(root, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    moved = root.rename(tmp_path / "moved")
    (moved / "README.txt").write_text("not there before")
    for place in (moved, root):  # where it is now, and where nothing is any more
        ready(place, tmp_path)
        assert len(opened("train", place, tmp_path)) == 18
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_other_photographs_at_the_root_are_noticed(root: Path, tmp_path: Path) -> None:
    ready(root, tmp_path)
    before = manifest(tmp_path)["digest"]
    other = photographs(tmp_path / "other", "JPEG", seed=7)
    with pytest.raises(DataError, match=r"prepared from other files than .*other holds now; run"):
        opened("train", other, tmp_path)
    said: list[str] = []
    ready(other, tmp_path, said.append)
    assert "prepared from other files" in said[0]
    assert manifest(tmp_path)["digest"] != before
    opened("train", other, tmp_path)


def test_a_glimpse_is_quick_and_sees_names_and_sizes(root: Path) -> None:
    args = arguments(root)
    first = origin.glimpse(args)
    (root / "README.md").write_text("words")
    (root / ".hidden").write_text("words")
    (root / "another.zip.part").write_text("half of it")
    assert origin.glimpse(args) == first
    (root / "val/n03").mkdir()
    other = origin.glimpse(args)
    assert other != first
    save(root / "val/n02/n02_0.png", 99)
    assert origin.glimpse(args) not in (first, other)
    assert origin.glimpse({"size": 3}) is None
    assert origin.glimpse(arguments(root / "absent")) is None


def test_evenly_takes_first_and_last() -> None:
    assert origin.evenly("abc", 8) == ["a", "b", "c"]
    assert origin.evenly(range(100), 3) == [0, 50, 99]  # type: ignore[arg-type]


def project_with(root: Path, photos: Path, **more: Any) -> Any:
    """Write the toy parameters with an image folder as their data."""
    fabricated.workspace(root)
    file = root / "params/scales/tiny.yaml"
    scale = yaml.safe_load(file.read_text())
    scale["datasets"]["photos"] = {"name": "image_folder", "args": arguments(photos), **more}
    file.write_text(yaml.safe_dump(scale))
    return load_project(root, "tiny")


def data_item(project: Any) -> status.Item:
    return next(item for item in status.summary(project) if item.step == "data")


def test_moving_the_photographs_makes_no_result_stale(root: Path, tmp_path: Path) -> None:
    project = project_with(tmp_path / "work", root, folder="holiday")
    dataset = project.dataset("photos")
    assert plan.data_folder(project, "photos") == project.data_root / "holiday"
    prepare("image_folder", project.data_root, dataset.args, silent, dataset.home)
    digests = [job.digest for job in plan.run_jobs(project)]
    assert data_item(project).state == "current"
    moved = root.rename(tmp_path / "moved")
    again = project_with(tmp_path / "work", moved, folder="holiday")
    assert [job.digest for job in plan.run_jobs(again)] == digests
    assert data_item(again).state == "current"
    other = photographs(tmp_path / "other", "bmp")
    changed = data_item(project_with(tmp_path / "work", other, folder="holiday"))
    assert (changed.state, "prepared from other files" in changed.why) == ("stale", True)
    renamed = project_with(tmp_path / "work", moved, folder="summer")
    assert data_item(renamed).state == "missing"
    assert plan.run_jobs(renamed)[0].digest != digests[0]


def test_two_folders_of_one_reader_are_kept_apart(root: Path, tmp_path: Path) -> None:
    other = photographs(tmp_path / "other", seed=7)
    for place, folder in ((root, "one"), (other, "two")):
        prepare("image_folder", tmp_path, arguments(place), silent, folder)
    one, two = (
        load("image_folder", "train", tmp_path, arguments(place), folder)
        for place, folder in ((root, "one"), (other, "two"))
    )
    assert one.digest != two.digest
    with pytest.raises(DataError, match=r"run `python -m reprise data three`"):
        load("image_folder", "train", tmp_path, arguments(root), "three")
    with pytest.raises(DataError, match="prepared by 'image_folder', not 'digits'"):
        load("digits", "train", tmp_path, {}, "one")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"folder": "digits"}, r"datasets\.photos\.folder = 'digits': is the name of another"),
        ({"folder": "../up"}, r"datasets\.photos\.folder = \"\.\./up\": string should match"),
        ({"folder": ".hidden"}, r"datasets\.photos\.folder = \"\.hidden\": string should match"),
        ({"foldr": "x"}, r"did you mean 'folder'"),
    ],
)
def test_a_wrong_folder_is_named(
    root: Path, tmp_path: Path, more: dict[str, str], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        project_with(tmp_path, root, **more)


def test_two_data_sets_in_one_folder_are_refused(root: Path, tmp_path: Path) -> None:
    project_with(tmp_path, root)
    file = tmp_path / "params/scales/tiny.yaml"
    scale = yaml.safe_load(file.read_text())
    scale["datasets"]["twin"] = copy.deepcopy(scale["datasets"]["photos"])
    file.write_text(yaml.safe_dump(scale))
    load_project(tmp_path, "tiny")  # the same under two names is one data set
    scale["datasets"]["twin"]["args"]["root"] = "elsewhere"
    file.write_text(yaml.safe_dump(scale))
    said = r"datasets\.twin\.folder = 'image_folder': is also that of datasets\.photos.*own"
    with pytest.raises(ConfigError, match=said):
        load_project(tmp_path, "tiny")


# --- memory -----------------------------------------------------------------------------------


def test_a_split_is_mapped_verified_and_safe_from_writes(root: Path, tmp_path: Path) -> None:
    folder = ready(root, tmp_path)
    train = opened("train", root, tmp_path)
    assert str(folder / "train-images.npy") in Path("/proc/self/maps").read_text()
    first = train.images[0].clone()
    train.images[0] = 255 - first
    assert torch.equal(opened("train", root, tmp_path).images[0], first)
    images, labels = train.fetch(torch.tensor([17, 1]))
    assert torch.equal(images[1], train.images[1])
    assert labels.tolist() == [2, 0]
    content = bytearray((folder / "train-images.npy").read_bytes())
    content[-1] ^= 1
    (folder / "train-images.npy").write_bytes(content)
    with pytest.raises(DataError, match=r"train-images\.npy: its content is not"):
        opened("train", root, tmp_path)


def test_what_a_killed_process_left_is_cleared_away(root: Path, tmp_path: Path) -> None:
    left = tmp_path / "image_folder/.train-images.npy.123.tmp"
    left.parent.mkdir()
    left.write_bytes(b"half")
    ready(root, tmp_path)
    assert not left.exists()


# --- the real slice ---------------------------------------------------------------------------


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no {SHARED} (set REPRISE_SHARED_DATA)")
def test_the_slice_of_tiny_imagenet_is_read_whole(tmp_path: Path) -> None:
    args = {"root": str(SHARED), "size": 64}
    prepare("image_folder", tmp_path, args, silent, "tiny_imagenet50")
    train, test = (
        load("image_folder", split, tmp_path, args, "tiny_imagenet50")
        for split in ("train", "test")
    )
    assert train.labels.bincount().tolist() == [200] * 50
    assert test.labels.bincount().tolist() == [50] * 50
    assert train.classes[0] == "goldfish, Carassius auratus"
    assert not (tmp_path / "tiny_imagenet50/quarantine.txt").exists()
    files = sorted(SHARED.glob("train/*/*.JPEG"))
    for place in (0, 4321, 9999):
        expected = np.asarray(Image.open(files[place]).convert("RGB"))
        image = train.fetch(torch.tensor([place]))[0][0]
        assert np.array_equal(image.permute(1, 2, 0).numpy(), expected)
    grey = 0
    for data in (train, test):
        for part in torch.arange(len(data)).split(1000):
            images = data.fetch(part)[0]
            same = (images[:, :1] == images).flatten(1).all(1)
            grey += int(same.sum())
    assert grey >= 262  # of mode L by the slice's README; a colour file may look grey, too
