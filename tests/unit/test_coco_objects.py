"""COCO's objects: boxes, polygons and crowds scaled by hand, and every kind of damage named."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import captioned
import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco
from pycocotools.coco import COCO

from reprise.data import outlines, parallel
from reprise.data.annotated import ObjectSet
from reprise.data.base import load, prepare
from reprise.data.canvas import IGNORE, Canvas, Unfit
from reprise.data.dense import detection, segmentation
from reprise.data.outlines import Scene, SceneDecoder
from reprise.errors import ConfigError, DataError

MINI = captioned.SHARED / "coco_mini"
SIDES = ((40, 30), (30, 40), (40, 30), (40, 30))  # width, height
SHORT, CANVAS = 15, [20, 20]  # all are halved
CATEGORIES = [{"id": 7, "name": "dog"}, {"id": 2, "name": "cat"}, {"id": 90, "name": "kite"}]


def silent(message: str) -> None:
    """Take a log line and drop it."""


def rectangle(left: float, top: float, right: float, bottom: float) -> list[float]:
    return [left, top, right, top, right, bottom, left, bottom]


def crowd_mask() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A crowd of two blocks on a photo of 40x30."""
    drawn = np.zeros((30, 40), np.uint8)
    drawn[4:10, 6:20] = drawn[20:28, 30:38] = 1
    return drawn


def runs_of(drawn: np.ndarray[Any, np.dtype[np.uint8]]) -> list[int]:
    """Return run lengths down the columns, the first of zeros."""
    flat = [0, *drawn.T.ravel().tolist(), -1]
    edges = [0, *(at for at in range(1, len(flat)) if flat[at] != flat[at - 1])]
    runs = np.diff(edges).tolist()
    return [runs[0] - 1, *runs[1:]]


def annotation(number: int, image: int, category: int, bbox: list[float], **more: Any) -> Any:
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": bbox,
        "area": bbox[2] * bbox[3],
        "segmentation": [],
        "iscrowd": 0,
        **more,
    }


def instances() -> dict[str, Any]:
    """Image 10: a polygon in two parts and a crowd; 11: a box alone; 12: nothing; 13: a box."""
    images = [
        {"id": 10 + n, "file_name": f"{n}.png", "width": width, "height": height}
        for n, (width, height) in enumerate(SIDES)
    ]
    parts = [rectangle(4, 6, 12, 14), rectangle(20, 6, 24, 10)]
    runs = {"size": [30, 40], "counts": runs_of(crowd_mask())}
    annotations = [
        annotation(1, 10, 7, [4, 6, 20, 8], segmentation=parts, area=80.0),
        annotation(2, 10, 90, [6, 4, 32, 24], segmentation=runs, iscrowd=1),
        annotation(3, 11, 2, [1.5, 3.0, 10.0, 21.0]),
        annotation(4, 13, 7, [0, 0, 40, 30], segmentation=[rectangle(0, 0, 40, 30)]),
        annotation(5, 13, 2, [10, 10, 4, 4], segmentation=[rectangle(10, 10, 14, 14)]),
    ]
    return {"images": images, "annotations": annotations, "categories": CATEGORIES}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two splits in COCO's layout, of the same four photos each."""
    folder = tmp_path / "photos"
    for split in ("train", "val"):
        (folder / split).mkdir(parents=True)
        for number, size in enumerate(SIDES):
            coarse = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize(size).save(folder / f"{split}/{number}.png")
        write(folder, split, instances())
    return folder


def write(root: Path, split: str, content: Any) -> None:
    (root / f"instances_{split}.json").write_text(json.dumps(content))


def arguments(root: Path | str, **more: Any) -> dict[str, Any]:
    return {
        "root": str(root),
        "images": {"train": "train", "test": "val"},
        "files": {"train": "instances_train.json", "test": "instances_val.json"},
        "short": SHORT,
        "canvas": CANVAS,
        **more,
    }


def ready(
    home: Path, args: dict[str, Any], log: Callable[[str], None] = silent
) -> dict[str, ObjectSet]:
    """Prepare a data set and open all its splits."""
    prepare("coco_objects", home, args, log)
    splits = {}
    for split in args["images"]:
        found = load("coco_objects", split, home, args)
        assert isinstance(found, ObjectSet)
        splits[split] = found
    return splits


def manifest(home: Path) -> Any:
    return json.loads((home / "coco_objects/manifest.json").read_text())


def test_boxes_are_scaled_and_categories_numbered_in_their_order(
    root: Path, tmp_path: Path
) -> None:
    data = detection(ready(tmp_path, arguments(root))["train"])
    assert data.names == ("cat", "dog", "kite")  # ids 2, 7 and 90
    images, boxes = data.fetch(torch.tensor([0, 1, 2, 3]))
    assert images.shape == (4, 3, 20, 20)
    assert boxes.dtype == torch.float32
    none = [-1.0] * 5
    assert boxes.tolist() == [
        [[1, 2, 3, 12, 7], [2, 3, 2, 19, 14]],
        [[0, 0.75, 1.5, 5.75, 12], none],
        [none, none],
        [[1, 0, 0, 20, 15], [0, 5, 5, 7, 7]],
    ]
    assert data.crowd.tolist() == [[False, True], [False] * 2, [False] * 2, [False] * 2]
    assert data.extents.tolist() == [[15, 20], [20, 15], [15, 20], [15, 20]]
    assert data.outlined.tolist() == [True, False, True, True]
    assert data.areas(0).tolist() == [20, 32 * 24 / 4]
    assert data.areas(2).shape == (0,)
    assert data.labels.tolist() == [2, 0, -1, 1]  # of the largest box, -1 where there is none


def test_outlines_are_scaled_as_worked_out_by_hand(root: Path, tmp_path: Path) -> None:
    data = detection(ready(tmp_path, arguments(root))["train"])
    polygons, crowd = data.instances(0)
    wanted = torch.zeros(20, 20, dtype=torch.uint8)
    wanted[3:7, 2:6] = wanted[3:5, 10:12] = 1
    assert torch.equal(polygons, wanted)
    wanted = torch.zeros(20, 20, dtype=torch.uint8)
    wanted[2:5, 3:10] = wanted[10:14, 15:19] = 1
    assert torch.equal(crowd, wanted)
    whole, small = data.instances(3)
    assert whole[:15].all()
    assert not whole[15:].any()
    assert small.sum() == 4
    assert small[5:7, 5:7].all()
    assert data.instances(2).shape == (0, 20, 20)
    with pytest.raises(ValueError, match=r"image 1: not all its objects have a mask"):
        data.instances(1)


def test_compressed_run_lengths_are_the_same(root: Path, tmp_path: Path) -> None:
    content = instances()
    code = coco.encode(np.asfortranarray(crowd_mask()))
    content["annotations"][1]["segmentation"]["counts"] = code["counts"].decode()
    write(root, "val", content)
    splits = ready(tmp_path, arguments(root))
    for index in (0, 3):
        one, other = (detection(data).instances(index) for data in splits.values())
        assert torch.equal(one, other)


def test_run_lengths_are_unpacked_as_the_library_packs_them() -> None:
    draw = np.random.default_rng(0)
    for density in (0.02, 0.5, 0.98):
        drawn = (draw.random((37, 61)) < density).astype(np.uint8)
        text = coco.encode(np.asfortranarray(drawn))["counts"].decode()
        assert outlines.unpack(text) == runs_of(drawn)
    assert outlines.unpack("") == outlines.unpack("é") == outlines.unpack("o") == []


def test_no_box_needs_the_canvas_to_be_given(root: Path, tmp_path: Path) -> None:
    args = arguments(root)
    del args["canvas"]
    assert ready(tmp_path, args)["test"].images.shape == (4, 3, 20, 20)


def without(content: Any, **more: Any) -> Any:
    """Return annotation 3 (of image 11) with something else in it."""
    content["annotations"][2].update(more)
    return content


def damaged(kind: str, root: Path) -> Any:
    """Return the training annotations with image 11 (1.png) spoiled."""
    content = copy.deepcopy(instances())
    match kind:
        case "unknown category":
            return without(content, category_id=3)
        case "box of no area":
            return without(content, bbox=[3, 3, 0, 5])
        case "box outside the photo":
            return without(content, bbox=[30, 3, 5, 5])  # the photo is 30 wide
        case "malformed box":
            return without(content, bbox=[3, 3, float("nan"), 5])
        case "odd polygon":
            return without(content, segmentation=[[1, 1, 5, 1, 5, 5, 1]])
        case "small polygon":
            return without(content, segmentation=[[1, 1, 5, 5]])
        case "runs of another size":
            return without(content, segmentation={"size": [30, 40], "counts": [1200]})
        case "runs too short":
            return without(content, segmentation={"size": [40, 30], "counts": [100, 20]})
        case "packed too short":
            return without(content, segmentation={"size": [40, 30], "counts": "5"})
        case "text":
            return without(content, segmentation="polygon")
        case "sizes differ":
            content["images"][1]["width"] = 31
        case "no such file":
            (root / "train/1.png").unlink()
        case "unreadable":
            (root / "train/1.png").write_bytes(b"no image")
    return content


KINDS = {
    "unknown category": "unknown category: annotation 3: category 3",
    "box of no area": "box of no area: annotation 3: bbox [3, 3, 0, 5]",
    "box outside the photo": "box outside the photo: annotation 3: bbox [30, 3, 5, 5] on 30x40",
    "malformed box": "malformed box: annotation 3: bbox [3, 3, nan, 5]",
    "odd polygon": "malformed outline: annotation 3: a polygon without three corners",
    "small polygon": "malformed outline: annotation 3: a polygon without three corners",
    "runs of another size": "malformed outline: annotation 3: run lengths for a size of [30, 40]",
    "runs too short": "malformed outline: annotation 3: run lengths that do not add up",
    "packed too short": "malformed outline: annotation 3: run lengths that do not add up",
    "text": "malformed outline: annotation 3: neither polygons nor run lengths",
    "sizes differ": "sizes differ: photo 30x40, said 31x40",
    "no such file": "no such file",
    "unreadable": "unreadable: 1.png: not an image that Pillow knows",
}


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_refused_by_name_or_left_out_and_counted(
    kind: str, root: Path, tmp_path: Path
) -> None:
    whole = ready(tmp_path / "whole", arguments(root))["train"]
    write(root, "train", damaged(kind, root))
    with pytest.raises(DataError) as caught:
        ready(tmp_path, arguments(root))
    said = str(caught.value)
    assert f"train/1.png: {KINDS[kind]}" in said
    assert "1 of 4 in split train" in said
    assert "most_corrupt" in said
    assert not (tmp_path / "coco_objects/manifest.json").exists()
    data = ready(tmp_path, arguments(root, most_corrupt=0.3))["train"]
    assert manifest(tmp_path)["splits"]["train"]["quarantined"] == 1
    assert "quarantined" not in manifest(tmp_path)["splits"]["test"]
    assert (tmp_path / "coco_objects/quarantine.txt").read_text().startswith("train\ttrain/1.png\t")
    sound = [0, 2, 3]
    for part in ("images", "labels", "boxes", "crowd", "areas", "extents", "outlined"):
        assert torch.equal(getattr(data, part), getattr(whole, part)[sound]), part
    for index, other in enumerate(sound):
        assert torch.equal(data.instances(index), whole.instances(other))


def test_ids_and_names_that_are_there_twice_are_left_out(root: Path, tmp_path: Path) -> None:
    content = instances()
    content["images"][2]["id"] = 11
    content["images"][3]["file_name"] = "0.png"
    write(root, "train", content)
    with pytest.raises(DataError) as caught:
        ready(tmp_path, arguments(root))
    said = str(caught.value)
    assert "image id twice: 2" in said
    assert "named twice: 2" in said
    assert "train/1.png: image id twice: image 11" in said
    assert "train/0.png: named twice" in said


def test_a_photo_in_two_splits_is_refused(root: Path, tmp_path: Path) -> None:
    args = arguments(root, images={"train": "train", "test": "train"})
    with pytest.raises(DataError, match=r"4 photos are in two splits.*\n  train/0.png"):
        ready(tmp_path, args)


def test_annotations_of_unknown_images_are_counted(root: Path, tmp_path: Path) -> None:
    content = instances()
    content["annotations"][2]["image_id"] = 99
    write(root, "train", content)
    with pytest.raises(DataError, match=r"annotation of an unknown image: annotation 3: image 99"):
        ready(tmp_path, arguments(root))
    data = ready(tmp_path, arguments(root, most_corrupt=0.3))["train"]
    assert manifest(tmp_path)["splits"]["train"]["quarantined"] == 1
    assert len(data) == 4
    assert (data.boxes[1] == -1).all()


def test_boxes_partly_outside_are_clipped_and_photos_without_objects_kept(
    root: Path, tmp_path: Path
) -> None:
    content = instances()
    content["annotations"][2]["bbox"] = [-4, 30, 20, 20]
    write(root, "train", content)
    lines: list[str] = []
    data = ready(tmp_path, arguments(root), lines.append)["train"]
    assert data.boxes[1, 0].tolist() == [0, 0, 15, 8, 20]
    assert len(data) == 4
    assert (tmp_path / "coco_objects/notes.txt").read_text().splitlines()[:2] == [
        "train\ttrain/1.png\tboxes clipped to the photo\t1 of 1",
        "train\ttrain/2.png\tno object\t",
    ]
    (said,) = (line for line in lines if line.startswith("noted in split train"))
    assert "boxes clipped to the photo: 1" in said
    assert "no object: 1" in said


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("nothing", "not JSON"),
        ([], "no list 'images'"),
        ({**instances(), "annotations": None}, "no list 'annotations'"),
        ({**instances(), "images": []}, "no image in it"),
        ({**instances(), "categories": []}, "no categories in it"),
        ({**instances(), "categories": [*CATEGORIES, CATEGORIES[0]]}, "two with one id"),
        ({**instances(), "images": [{"id": 1}]}, r"images\[0\] has no file_name that is str"),
        ({**instances(), "categories": CATEGORIES[:2]}, "not those of train: 90 kite"),
    ],
)
def test_a_malformed_file_is_named(content: Any, named: str, root: Path, tmp_path: Path) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    (root / "instances_val.json").write_text(text)
    with pytest.raises(DataError, match=rf"instances_val.json: .*{named}"):
        ready(tmp_path, arguments(root))


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"files": {"train": "instances_train.json"}}, "files: one for each split"),
        ({"files": {"train": "a.json", "test": "a.json"}}, "two splits have the same"),
        ({"semantic": {"train": "a", "test": "b"}}, "semantic and semantic_classes"),
        ({"semantic": {"train": "a"}, "semantic_classes": ["a"]}, "semantic: a folder for each"),
        ({"canvas": [14, 20]}, "at least short = 15"),
    ],
)
def test_arguments_that_do_not_fit_are_named(
    more: dict[str, Any], named: str, root: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=named):
        ready(tmp_path, arguments(root, **more))


def test_what_is_missing_is_named_with_what_is_expected(root: Path, tmp_path: Path) -> None:
    (root / "instances_val.json").unlink()
    with pytest.raises(DataError, match=r"instances_val.json: no such file.*COCO's layout"):
        ready(tmp_path, arguments(root))
    with pytest.raises(DataError, match=r"elsewhere: no such folder.*COCO's layout"):
        ready(tmp_path, arguments(root / "elsewhere"))


def test_semantic_masks_are_read_where_there_are_any(root: Path, tmp_path: Path) -> None:
    plain = ready(tmp_path / "plain", arguments(root))["train"]
    with pytest.raises(ConfigError, match="has no semantic masks"):
        segmentation(plain)
    drawn = np.random.default_rng(0).choice([0, 2, 90], (30, 40)).astype(np.uint8)
    for split in ("train", "val"):
        (root / f"semantic/{split}").mkdir(parents=True)
        Image.fromarray(drawn).save(root / f"semantic/{split}/0.png")
    (root / "classes.json").write_text('{"classes": {"0": "none", "2": "cat", "90": "kite"}}')
    more = {
        "semantic": {"train": "semantic/train", "test": "semantic/val"},
        "semantic_classes": "classes.json",
    }
    data = ready(tmp_path, arguments(root, **more))["train"]
    masks = segmentation(data)
    assert masks.names == ("cat", "kite")
    assert detection(data).names == ("cat", "dog", "kite")
    wanted = np.select([drawn == 2, drawn == 90], [0, 1], IGNORE)[1::2, 1::2]
    assert np.array_equal(masks.fetch(torch.tensor([0]))[1][0, :15], wanted)
    assert (masks.masks[1:] == IGNORE).all()
    assert (tmp_path / "coco_objects/notes.txt").read_text().count("no semantic mask") == 6
    drawn[0, 0] = 5
    Image.fromarray(drawn).save(root / "semantic/train/0.png")
    with pytest.raises(DataError, match=r"unknown label values: 0.png: 5 \(1 pixels\)"):
        ready(tmp_path / "bad", arguments(root, **more))


def test_many_processes_decode_the_same(root: Path) -> None:
    decoder = SceneDecoder(Canvas(SHORT, 20, 20), np.zeros(1 << 16, np.int16))
    outline = outlines.parse([rectangle(4, 6, 12, 14)], 30, 40)
    scenes = [
        Scene(str(root / f"train/{n}.png"), height, width, (outline, None))
        for n, (width, height) in enumerate(SIDES)
    ]
    one, several = (
        list(parallel.in_order(decoder, scenes, 3, workers=workers)) for workers in (1, 2)
    )
    assert [part.kept for part in one] == [part.kept for part in several] == [(0, 1, 2), (3,)]
    for here, there in zip(one, several, strict=True):
        assert np.array_equal(here.images, there.images)
        assert here.codes == there.codes


def test_an_outline_that_is_none_is_told_from_a_wrong_one() -> None:
    for nothing in (None, [], {}):
        assert outlines.parse(nothing, 4, 4) is None
    for wrong in ([[]], [1, 2, 3, 4, 5, 6], {"size": [4, 4]}, {"size": [4, 4], "counts": [17, -1]}):
        with pytest.raises(Unfit):
            outlines.parse(wrong, 4, 4)


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, ObjectSet]]:
    """The real slice at its own size: the longer side of all photos is 384."""
    if not MINI.is_dir():
        pytest.skip(f"no {MINI} (set REPRISE_SHARED_DATA)")
    home = tmp_path_factory.mktemp("mini")
    more = {
        "images": {"train": "images/train", "test": "images/val"},
        "semantic": {"train": "semantic/train", "test": "semantic/val"},
        "semantic_classes": "semantic_classes.json",
    }
    return home, ready(home, arguments(MINI, short=384, canvas=[384, 384], **more))


def test_the_real_slice_is_read_whole(mini: tuple[Path, dict[str, ObjectSet]]) -> None:
    home, splits = mini
    assert {split: len(data) for split, data in splits.items()} == {"train": 258, "test": 252}
    assert "quarantined" not in json.dumps(manifest(home))
    for (split, data), name in zip(splits.items(), ("train", "val"), strict=True):
        content = json.loads((MINI / f"instances_{name}.json").read_text())
        assert int((data.boxes[..., 0] >= 0).sum()) == len(content["annotations"])
        assert int(data.crowd.sum()) == sum(one["iscrowd"] for one in content["annotations"])
        assert len(data.classes) == 80
        assert data.classes[0] == "person"
        bare = {one["image_id"] for one in content["annotations"] if not one["segmentation"]}
        wanted = [one["id"] not in bare for one in content["images"]]
        assert data.outlined.tolist() == wanted, split
        labelled = (segmentation(data).masks != IGNORE).flatten(1).any(1)
        assert int(labelled.sum()) == 100


def test_the_real_slice_has_the_masks_that_pycocotools_makes(
    mini: tuple[Path, dict[str, ObjectSet]],
) -> None:
    data, truth = mini[1]["test"], COCO(str(MINI / "instances_val.json"))
    ids, kinds = [one["id"] for one in truth.dataset["images"]], sorted(truth.cats)
    crowds = 0
    for index in data.outlined.nonzero().flatten().tolist():
        said = truth.imgToAnns[ids[index]]
        height, width = data.extents[index].tolist()
        masks = data.instances(index)
        assert len(masks) == len(said)
        for own, box, one in zip(masks, data.boxes[index], said, strict=False):
            assert np.array_equal(own[:height, :width].numpy(), truth.annToMask(one))
            x, y, w, h = one["bbox"]
            assert box.tolist() == pytest.approx(
                [kinds.index(one["category_id"]), x, y, min(x + w, width), min(y + h, height)],
                abs=1e-3,
            )
            crowds += one["iscrowd"]
    assert crowds == 10
