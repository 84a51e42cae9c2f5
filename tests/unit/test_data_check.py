"""`reprise data --check`, `--pack`: every public layout is found, every fault named."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import photo_sets
import pytest
import torch
from typer.testing import CliRunner

from reprise import cli
from reprise.config import Dataset, Project
from reprise.data import base, check, pack, public, verbs
from reprise.data.annotated import MaskSet, ObjectSet
from reprise.data.captioned import CaptionedSet
from reprise.data.check import ABSENT, DIFFERS, OK, OPEN, Row
from reprise.data.photos import PhotoSet
from reprise.errors import ConfigError, DataError

STYLED = {
    "humorous": (["1_a.jpg", "2_b.jpg"], ["one", "two"]),
    "romantic": (["2_b.jpg", "1_a.jpg"], ["two", "one"]),
}


def styled(root: Path) -> Path:
    photo_sets.flickrstyle(root, STYLED)
    for number, name in enumerate(("1.jpg", "2.jpg")):
        photo_sets.jpeg(root / "images" / name, number)
    return root


def real(root: Path) -> Path:
    """Write labels of several right classes, or none, for each photograph of ImageNet's val."""
    photo_sets.imagenet_folders(root)
    (root / "real.json").write_text(json.dumps([[0], [], [1, 2], [1], [0], [2]]))
    return root


def v2(root: Path) -> Path:
    home = root / "imagenetv2-matched-frequency-format-val"
    return photo_sets.class_folders(home, ["0", "1", "10"], each=1).parent


def folders(name: str) -> Callable[[Path], Path]:
    return lambda root: photo_sets.class_folders(root / name, photo_sets.WNIDS[:2]).parent


# Of each public data set: how its miniature is written, and what is in that.
MINIATURES: dict[str, tuple[Callable[[Path], Path], dict[str, int], int]] = {
    "cifar10": (lambda root: photo_sets.cifar_binary(root, 10), {"train": 10, "test": 4}, 10),
    "cifar100": (lambda root: photo_sets.cifar_python(root, 100), {"train": 10, "test": 4}, 100),
    "flowers102": (photo_sets.flowers, {"train": 5, "test": 4}, 102),
    "stanford_cars": (photo_sets.cars, {"train": 5, "test": 3}, 3),
    "inaturalist2017": (
        lambda root: photo_sets.inaturalist(root, 2017),
        {"train": 5, "test": 2},
        3,
    ),
    "inaturalist2018": (photo_sets.inaturalist, {"train": 5, "test": 2}, 3),
    "inaturalist2019": (
        lambda root: photo_sets.inaturalist(root, 2019),
        {"train": 5, "test": 2},
        3,
    ),
    "imagenet": (photo_sets.imagenet_flat, {"train": 12, "test": 6}, 3),
    "imagenet_real": (real, {"test": 5}, 3),
    "imagenet21k": (folders("winter21_whole"), {"train": 4}, 2),
    "imagenet_v2": (v2, {"test": 3}, 3),
    "imagenet_a": (folders("imagenet-a"), {"test": 4}, 2),
    "imagenet_r": (folders("imagenet-r"), {"test": 4}, 2),
    "imagenet_sketch": (folders("sketch"), {"test": 4}, 2),
    "coco_captions": (
        lambda root: photo_sets.karpathy(root, "coco"),
        {"train": 3, "val": 1, "test": 1},
        1,
    ),
    "flickr30k": (
        lambda root: photo_sets.karpathy(root, "flickr30k"),
        {"train": 3, "val": 1, "test": 1},
        1,
    ),
    "flickrstyle10k": (styled, {"train": 2, "test": 0}, 1),
    "ade20k": (photo_sets.ade20k, {"train": 3, "test": 2}, 150),
    "coco_detection": (photo_sets.coco_detection, {"train": 2, "test": 1}, 2),
}


def arguments(name: str, root: Path) -> dict[str, Any]:
    args = {**public.by_name(name).args, "root": str(root)}
    if verbs._takes_size(public.by_name(name).reader):
        args["size"] = 16
    return args


def findings(name: str, root: Path, **said: Any) -> list[Row]:
    entry = public.by_name(name).model_copy(update=said)
    return check.check(entry.reader, arguments(name, root), entry, 50)


def verdicts(rows: list[Row]) -> dict[str, str]:
    return {row.what: row.verdict for row in rows}


def test_every_public_set_has_a_miniature() -> None:
    assert MINIATURES.keys() | {"flickr8k"} == public.entries().keys()


@pytest.mark.parametrize("name", MINIATURES)
def test_a_layout_is_found_and_wrong_counts_are_told(name: str, tmp_path: Path) -> None:
    write, counts, classes = MINIATURES[name]
    root = write(tmp_path / "root")
    rows = findings(name, root, counts=counts, classes=classes, class_list="", archives=())
    assert {row.verdict for row in rows} <= {OK, OPEN}, rows
    first = next(iter(counts))
    wrong = {**counts, first: counts[first] + 1}
    rows = findings(name, root, counts=wrong, classes=classes + 1, class_list="")
    assert verdicts(rows)[f"photographs, {first}"] == DIFFERS
    assert verdicts(rows)["classes"] == DIFFERS
    full = findings(name, root)  # as the real data set should be
    assert not check.show(name, full)


@pytest.mark.parametrize("name", MINIATURES)
def test_an_absent_set_is_told_with_its_layout(name: str, tmp_path: Path) -> None:
    rows = findings(name, tmp_path / "absent")
    assert [row.verdict for row in rows] == [ABSENT]
    assert "no such folder. Expected" in rows[0].found
    assert rows[0].expected == public.by_name(name).layout


def test_a_list_of_classes_is_compared(tmp_path: Path) -> None:
    root = folders("imagenet-a")(tmp_path)
    # ImageNet-A has neither of these, and 200 others.
    (row,) = (row for row in findings("imagenet_a", root) if row.what == "list of classes")
    assert row.verdict == DIFFERS
    assert "2 unknown: n01440764, n01443537; 200 lacking" in row.found
    (row,) = (
        row
        for row in findings("imagenet21k", folders("train")(tmp_path / "more"))
        if row.what == "list of classes"
    )
    assert (row.verdict, row.found) == (OK, "agrees"), "a part of all ids"


def test_corrupt_pictures_are_named(tmp_path: Path) -> None:
    root = photo_sets.imagenet_folders(tmp_path)
    bad = root / "train" / photo_sets.WNIDS[1] / f"{photo_sets.WNIDS[1]}_2.JPEG"
    bad.write_bytes(bad.read_bytes()[:200])
    row = findings("imagenet", root)[-1]
    assert row.verdict == DIFFERS
    assert row.found.startswith("17 of 18")
    assert str(bad) in row.found


def test_an_altered_archive_is_told(tmp_path: Path) -> None:
    root = photo_sets.flowers(tmp_path)
    rows = {row.what: row for row in findings("flowers102", root)}
    assert rows["setid.mat"].verdict == DIFFERS, "the miniature's is not the published one"
    assert rows["setid.mat"].expected == "MD5 a5357ecc9cb78c4bef273ce3793fc85c"
    assert rows["102flowers.tgz"].verdict == OPEN


@pytest.mark.parametrize(
    ("name", "file", "says"),
    [
        ("coco_captions", "val2014", "of the 5 photographs that the captions name are not there"),
        ("coco_detection", "val2017/000000000015.jpg", "1 of the 1 photos that annotations/"),
        ("flickrstyle10k", "images/2.jpg", "1 of the 2 photographs are not there: 2_b.jpg"),
        ("ade20k", "annotations/validation/ADE_val_00000002.png", "1 files without a partner"),
        ("imagenet_real", f"val/{photo_sets.WNIDS[2]}/ILSVRC2012_val_00000006.JPEG", "val/ has 5"),
        ("inaturalist2018", "train_val2018/Plantae/1/val0.jpg", "1 of the 2 photographs that val"),
    ],
)
def test_a_missing_file_is_named(tmp_path: Path, name: str, file: str, says: str) -> None:
    root = MINIATURES[name][0](tmp_path)
    (root / file).rename(tmp_path / "gone")
    rows = findings(name, root)
    assert rows[0].verdict == ABSENT
    assert says in rows[0].found
    assert not (root / "quarantine.txt").exists(), "nothing is written into the data"


# --- the readers that were there before, on the real layouts ------------------------------------


def ready(name: str, root: Path, home: Path, split: str, **more: Any) -> Any:
    args = {**arguments(name, root), **more}
    reader = public.by_name(name).reader
    base.prepare(reader, home, args, lambda _: None)
    return base.load(reader, split, home, args)


def test_ade20ks_own_layout_is_read(tmp_path: Path) -> None:
    root = photo_sets.ade20k(tmp_path / "root")
    data = ready("ade20k", root, tmp_path / "data", "train", short=16, canvas=[24, 24])
    assert isinstance(data, MaskSet)
    assert len(data.classes) == 150
    assert data.classes[149] == "thing 150, object"
    assert data.masks[0].unique().tolist() == [149, 255], "value 150 is the last class, 0 none"


def test_cocos_own_layouts_are_read(tmp_path: Path) -> None:
    root = photo_sets.karpathy(tmp_path / "captions", "coco")
    data = ready("coco_captions", root, tmp_path / "data", "train")
    assert isinstance(data, CaptionedSet)
    assert [data.captions(index)[0] for index in range(3)] == [
        f"photograph {number}, caption 0" for number in (0, 1, 2)
    ], "restval is trained on"
    root = photo_sets.coco_detection(tmp_path / "objects")
    objects = ready("coco_detection", root, tmp_path / "data", "test", short=16, canvas=[32, 32])
    assert isinstance(objects, ObjectSet)
    assert objects.classes == ("person", "toothbrush")
    assert objects.boxes[0, 0, 0] == 1


def shared(name: str) -> Path:
    folder = photo_sets.SHARED / name
    if not folder.is_dir():
        pytest.skip(f"no {name} in REPRISE_SHARED_DATA or ../shared/data")
    return folder


@pytest.mark.parametrize(
    ("name", "reader", "args", "counts"),
    [
        ("tiny_imagenet50", "image_folder", {"size": 64}, {"train": 10_000, "test": 2_500}),
        (
            "flickr8k_2000",
            "captioned_photos",
            {
                "layout": "karpathy",
                "images": "images",
                "files": "dataset_flickr8k_2000_karpathy.json",
            },
            {"train": 1_400, "val": 300, "test": 300},
        ),
        (
            "camvid",
            "mask_pairs",
            {
                "images": {"train": "images/train", "test": "images/val"},
                "masks": {"train": "masks/train", "test": "masks/val"},
                "classes": "classes.json",
                "ignore": [11],
                "short": 180,
            },
            {"train": 367, "test": 101},
        ),
        (
            "coco_mini",
            "coco_objects",
            {
                "images": {"train": "images/train", "test": "images/val"},
                "files": {"train": "instances_train.json", "test": "instances_val.json"},
                "short": 192,
            },
            {"train": 258, "test": 252},
        ),
    ],
)
def test_real_slices_are_found(
    name: str, reader: str, args: dict[str, Any], counts: dict[str, int]
) -> None:
    rows = check.check(reader, {"root": str(shared(name)), **args}, None, 10)
    found = {row.what: row.found for row in rows}
    for split, count in counts.items():
        assert found[f"photographs, {split}"] == f"{count:,}"
    assert rows[-1].verdict == OK


# --- the verbs ----------------------------------------------------------------------------------


def project(tmp_path: Path, **datasets: Dataset) -> Project:
    scale = SimpleNamespace(scale="tiny", datasets=datasets)
    return cast(Project, SimpleNamespace(scale=scale, data_root=tmp_path / "data"))


def imagenet(root: Path, keep: str = "files") -> Dataset:
    return Dataset(name="imagenet", args={"root": str(root), "size": 16, "keep": keep})


def test_a_set_is_packed_by_its_alias(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = photo_sets.imagenet_folders(tmp_path / "photos")
    tiny = project(tmp_path, labelled=imagenet(root))
    args = tiny.scale.datasets["labelled"].args
    verbs.prepare(tiny, verbs.find(tiny, "labelled"))
    before = base.load("imagenet", "train", tiny.data_root, args)
    verbs.pack_all(tiny, verbs.find(tiny, "labelled"))
    for split in ("train", "test"):
        data = base.load("imagenet", split, tiny.data_root, args)
        assert isinstance(data, PhotoSet)
        assert isinstance(data.store, pack.Pack)
    packed = base.load("imagenet", "train", tiny.data_root, args)
    chosen = torch.tensor([11, 3, 3, 0])
    for one, other in zip(packed.fetch(chosen), before.fetch(chosen), strict=True):
        assert torch.equal(one, other)
    lost = tmp_path / "data/imagenet/pack/train-00000.arrow"
    lost.unlink()
    monkeypatch.setattr(sys, "argv", ["reprise", "train", "can/can", "--scale=gpu"])
    with pytest.raises(DataError, match=r"no such file.*data imagenet --pack --scale=gpu`"):
        base.load("imagenet", "train", tiny.data_root, args)
    verbs.pack_all(tiny, verbs.find(tiny, "labelled"))
    assert lost.is_file(), "made again from the root"


def test_arrays_need_no_packing(tmp_path: Path) -> None:
    root = photo_sets.imagenet_folders(tmp_path / "photos")
    tiny = project(tmp_path, labelled=imagenet(root, "arrays"))
    with pytest.raises(DataError, match=r"there is nothing to pack \(args.keep: files"):
        verbs.pack_all(tiny, verbs.find(tiny, "labelled"))


def test_names_are_those_of_the_scale_then_the_public_ones(tmp_path: Path) -> None:
    tiny = project(tmp_path, labelled=imagenet(tmp_path), pets=Dataset(name="image_folder"))
    assert verbs.find(tiny, "labelled").entry == public.by_name("imagenet")
    assert verbs.find(tiny, "labelled", tmp_path / "x").args["root"] == str(tmp_path / "x")
    cifar = verbs.find(tiny, "cifar100")
    assert (cifar.reader, cifar.args["classes"]) == ("cifar", 100)
    assert cifar.args["root"] == str(tmp_path / "data/raw/cifar100")
    with pytest.raises(ConfigError, match=r"unknown data set 'imagenot' \(did you mean 'imagenet'"):
        verbs.find(tiny, "imagenot")
    with pytest.raises(ConfigError, match="only those of scale tiny are prepared"):
        verbs.prepare(tiny, cifar)
    with pytest.raises(ConfigError, match="nothing is known of where it is to be had"):
        verbs.fetch(verbs.find(tiny, "pets"), False)
    with pytest.raises(ConfigError, match="has no root"):
        verbs.look(verbs.find(tiny, "pets"), 10)


def test_ade20k_is_checked_where_it_was_unpacked(tmp_path: Path) -> None:
    home = photo_sets.ade20k(tmp_path / "raw")
    entry = public.by_name("ade20k")
    for root in (tmp_path / "raw", home):
        placed = verbs._placed({**entry.args, "root": str(root)}, entry)
        assert placed["root"] == str(home)
    assert verbs._outer(home, entry) == tmp_path / "raw", "where its archive is unpacked"


def test_the_command_line_checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    root = photo_sets.cifar_binary(tmp_path, 10)
    call = ["data", "cifar10", "--check", "--root", str(root)]
    done = CliRunner().invoke(cli.app, call, env={"COLUMNS": "200"})
    assert done.exit_code == 1
    said = [np.array(line.split("│")) for line in done.output.splitlines() if "│" in line]
    table = {line[1].strip(): [part.strip() for part in line[2:5]] for line in said}
    assert table["photographs, train"] == ["50,000", "10", "differs"]
    assert table["classes"] == ["10", "10", "ok"]
