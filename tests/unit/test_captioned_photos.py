"""Captioned photographs: each layout read, every caption with its photograph, damage named."""

import gzip
import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import captioned
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional as TF

from reprise.data import decode
from reprise.data.base import load, prepare
from reprise.data.captioned import CaptionedSet, read_texts, write_texts
from reprise.data.sets import captioned_photos
from reprise.errors import ConfigError, DataError

SIZE = 16
SIDES = ((40, 30), (31, 57), (16, 16), (19, 23), (64, 20), (9, 12))
NAMES = tuple(f"photo{number}.png" for number in range(8))
SPLITS = ("train", "train", "val", "restval", "test", "train", "val", "train")
LAYOUTS = ("karpathy", "coco", "flickrstyle")


def silent(message: str) -> None:
    """Take a log line and drop it."""


def photograph(path: Path, seed: int) -> None:
    """Save a smooth picture; its sides depend on the seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    size = SIDES[seed % len(SIDES)]
    Image.fromarray(coarse).resize(size, Image.Resampling.BILINEAR).save(path)


def as_clip_sees(path: Path) -> torch.Tensor:
    """Return a photograph's pixels, uint8 [3, SIZE, SIZE], by torchvision."""
    image = TF.resize(Image.open(path), SIZE, TF.InterpolationMode.BICUBIC, antialias=True)
    pixels: torch.Tensor = TF.pil_to_tensor(TF.center_crop(image, [SIZE, SIZE]))
    return pixels


def sentences(number: int) -> list[str]:
    """Return one to three captions of a photograph that no other has."""
    return [f'Ein "Café", {number}.{place} .' for place in range(1 + number % 3)]


def karpathy() -> dict[str, Any]:
    images = [
        {"filename": name, "imgid": number, "split": split, "sentences": raw(sentences(number))}
        for number, (name, split) in enumerate(zip(NAMES, SPLITS, strict=True))
    ]
    return {"images": images, "dataset": "made up"}


def raw(texts: Iterable[str]) -> list[dict[str, Any]]:
    return [{"raw": text, "tokens": text.split()} for text in texts]


def coco(split: str) -> dict[str, Any]:
    """Return a split in COCO's layout, where training is on the rest too."""
    numbers = [n for n, own in enumerate(SPLITS) if own.replace("restval", "train") == split]
    said = [(number, text) for number in numbers for text in sentences(number)]
    return {
        "images": [{"id": 100 + number, "file_name": NAMES[number]} for number in numbers],
        "annotations": [
            {"id": at, "image_id": 100 + number, "caption": text}
            for at, (number, text) in enumerate(said)
        ],
    }


def styled(numbers: Iterable[int] = range(8), said: str = "in love .") -> list[dict[str, Any]]:
    return [
        {
            "image_id": 100 + number,
            "file_name": NAMES[number],
            "split": "train",
            "romantic": f"{number} {said}",
            "humorous": f"{number} laughs .",
        }
        for number in numbers
    ]


def write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of eight photographs and their captions in all layouts."""
    folder = tmp_path / "photos"
    for number, name in enumerate(NAMES):
        photograph(folder / "images" / name, number)
    write(folder / "karpathy.json", karpathy())
    for split in ("train", "val", "test"):
        write(folder / f"{split}.json", coco(split))
    write(folder / "styles.json", styled())
    return folder


def arguments(root: Path | str, layout: str = "karpathy", **more: Any) -> dict[str, Any]:
    files: dict[str, Any] = {
        "karpathy": "karpathy.json",
        "coco": {split: f"{split}.json" for split in ("train", "val", "test")},
        "flickrstyle": dict.fromkeys(("romantic", "humorous"), "styles.json"),
    }
    return {
        "root": str(root),
        "layout": layout,
        "images": "images",
        "files": files[layout],
        "size": SIZE,
        **more,
    }


def ready(
    home: Path, args: dict[str, Any], log: Callable[[str], None] = silent
) -> dict[str, CaptionedSet]:
    """Prepare a data set and open all its splits."""
    prepare("captioned_photos", home, args, log)
    splits = {}
    for split in manifest(home)["splits"]:
        found = load("captioned_photos", split, home, args)
        assert isinstance(found, CaptionedSet)
        splits[split] = found
    return splits


def manifest(home: Path) -> Any:
    return json.loads((home / "captioned_photos/manifest.json").read_text())


def texts_of(splits: dict[str, CaptionedSet]) -> dict[str, dict[str, list[list[str]]]]:
    return {split: data.texts for split, data in splits.items()}


def named(numbers: Iterable[int]) -> dict[str, list[list[str]]]:
    return {"captions": [sentences(number) for number in numbers]}


WHOLE = {"train": (0, 1, 3, 5, 7), "val": (2, 6), "test": (4,)}
WHOLE_TEXTS = {split: named(numbers) for split, numbers in WHOLE.items()}


# --- captions on disk and in memory -----------------------------------------------------------


def test_captions_are_written_an_image_a_line(tmp_path: Path) -> None:
    texts = {"captions": [["a", 'b "é"'], ["c"]], "poetic": [["d"], ["e\nf"]]}
    assert write_texts(tmp_path, "val", texts) == ["val-captions.json", "val-poetic.json"]
    assert (tmp_path / "val-captions.json").read_bytes() == (
        b'[\n["a", "b \\"\\u00e9\\""],\n["c"]\n]\n'
    )
    assert (tmp_path / "val-poetic.json").read_bytes() == b'[\n["d"],\n["e\\nf"]\n]\n'
    assert read_texts(tmp_path, "val", texts) == texts
    assert read_texts(tmp_path, "val", ["poetic"]) == {"poetic": texts["poetic"]}


def test_captions_are_found_by_index_and_style() -> None:
    images, labels = torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64)
    texts = {"captions": [["a", "b"], ["c"]], "poetic": [["d"], ["e"]]}
    data = CaptionedSet("toys", "val", images, labels, ("photo",), "0" * 64, texts)
    assert data.styles == ("captions", "poetic")
    assert data.captions(0) == ["a", "b"]
    assert data.captions(1, "poetic") == ["e"]
    said = r"style of data set 'toys' 'poetik' \(did you mean 'poetic'\?\); known: captions, poetic"
    with pytest.raises(ConfigError, match=said):
        data.captions(0, "poetik")


# --- layouts ----------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["karpathy", "coco"])
def test_each_photograph_has_its_captions(root: Path, tmp_path: Path, layout: str) -> None:
    splits = ready(tmp_path, arguments(root, layout))
    assert list(splits) == ["train", "val", "test"]
    assert texts_of(splits) == WHOLE_TEXTS
    for split, data in splits.items():
        expected = [as_clip_sees(root / "images" / NAMES[number]) for number in WHOLE[split]]
        assert torch.equal(data.images, torch.stack(expected))
        assert (data.images.dtype, data.labels.dtype) == (torch.uint8, torch.int64)
        assert data.labels.tolist() == [0] * len(WHOLE[split])
        assert (data.classes, data.styles) == (("photo",), ("captions",))
        assert data.captions(0) == sentences(WHOLE[split][0])


def test_both_layouts_make_the_same_files(root: Path, tmp_path: Path) -> None:
    for layout in ("karpathy", "coco"):
        ready(tmp_path / layout, arguments(root, layout))
    one, other = (manifest(tmp_path / layout)["splits"] for layout in ("karpathy", "coco"))
    assert one == other


def test_the_rest_may_be_left_out_of_training(root: Path, tmp_path: Path) -> None:
    said = list[str]()
    splits = ready(tmp_path, arguments(root, restval_to_train=False), said.append)
    assert texts_of(splits) == {**WHOLE_TEXTS, "train": named((0, 1, 5, 7))}
    assert "1 photographs of split restval are left out" in said


def test_karpathys_coco_names_folders(root: Path, tmp_path: Path) -> None:
    content = karpathy()
    for number, image in enumerate(content["images"]):
        image |= {"filepath": f"part{number % 2}", "cocoid": 1000 - number}
        target = root / f"images/part{number % 2}" / image["filename"]
        target.parent.mkdir(exist_ok=True)
        (root / "images" / image["filename"]).rename(target)
    (root / "karpathy.json").unlink()
    (root / "karpathy.json.gz").write_bytes(gzip.compress(json.dumps(content).encode()))
    for home, rest in (("a", True), ("b", False)):
        args = arguments(root, files="karpathy.json.gz", restval_to_train=rest)
        splits = ready(tmp_path / home, args)
        assert texts_of(splits)["train"] == named((0, 1, 3, 5, 7) if rest else (0, 1, 5, 7))
    assert torch.equal(splits["val"].images[1], as_clip_sees(root / "images/part0/photo6.png"))


def test_cocos_splits_may_have_folders_and_some_be_absent(root: Path, tmp_path: Path) -> None:
    (root / "images").rename(root / "train2017")
    photograph(root / "val2017" / NAMES[2], 12)
    photograph(root / "val2017" / NAMES[6], 16)
    folders = {"train": "train2017", "val": "val2017"}
    files = {"val": "val.json", "train": "train.json"}
    splits = ready(tmp_path, arguments(root, "coco", images=folders, files=files))
    assert texts_of(splits) == {split: WHOLE_TEXTS[split] for split in ("train", "val")}
    assert torch.equal(splits["val"].images[0], as_clip_sees(root / "val2017" / NAMES[2]))
    assert torch.equal(splits["train"].images[0], as_clip_sees(root / "train2017" / NAMES[0]))


def test_photographs_in_all_styles_are_divided(root: Path, tmp_path: Path) -> None:
    write(root / "funny.json", styled((7, 6, 5, 4, 3, 2, 1)))
    files = {"romantic": "styles.json", "humorous": "funny.json"}
    said = list[str]()
    splits = ready(tmp_path, arguments(root, "flickrstyle", files=files), said.append)
    assert "1 photographs that are not in the files of all styles are left out" in said
    assert {split: len(data) for split, data in splits.items()} == {"train": 6, "test": 1}
    numbers = {
        split: [int(some[0].split()[0]) for some in data.texts["humorous"]]
        for split, data in splits.items()
    }
    assert sorted(numbers["train"] + numbers["test"]) == [1, 2, 3, 4, 5, 6, 7]
    assert numbers["train"] == sorted(numbers["train"], reverse=True)  # as the file has them
    for split, data in splits.items():
        assert data.styles == ("humorous", "romantic")
        for index, number in enumerate(numbers[split]):
            assert data.captions(index, "humorous") == [f"{number} laughs ."]
            assert data.captions(index, "romantic") == [f"{number} in love ."]
            expected = as_clip_sees(root / "images" / NAMES[number])
            assert torch.equal(data.images[index], expected)
    with pytest.raises(ConfigError, match=r"'captions'.*known: humorous, romantic"):
        splits["test"].captions(0)


def test_the_draw_depends_on_names_and_seed_alone() -> None:
    names = [f"{number}_{number * 7919 % 1000:03}.jpg" for number in range(7000)]
    test = captioned_photos.draw(names, 0)
    assert len(test) == 1000
    assert captioned_photos.draw(names[::-1], 0) == test
    assert 90 < len(test & captioned_photos.draw(names, 1)) < 200  # 143 by chance
    assert len(test ^ captioned_photos.draw([*names, "new.jpg"], 0)) <= 2
    # Taken down once, so that no later change moves a photograph from test to training unseen.
    digest = hashlib.sha256("\n".join(sorted(test)).encode()).hexdigest()
    assert digest.startswith("c523ee602b306503")


# --- damage -----------------------------------------------------------------------------------


def without(number: int) -> dict[str, dict[str, list[list[str]]]]:
    """Return the captions of all splits but for one photograph."""
    return {split: named(n for n in some if n != number) for split, some in WHOLE.items()}


@pytest.mark.parametrize("chunk", [256, 2])
def test_damaged_files_are_named_and_left_out(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(decode, "CHUNK_FILES", chunk)
    (root / "images" / NAMES[3]).write_bytes(b"no image")
    said = list[str]()
    splits = ready(tmp_path, arguments(root, most_corrupt=0.2), said.append)
    assert texts_of(splits) == without(3)
    for place, number in enumerate((0, 1, 5, 7)):
        assert torch.equal(
            splits["train"].images[place], as_clip_sees(root / "images" / NAMES[number])
        )
    lines = (tmp_path / "captioned_photos/quarantine.txt").read_text()
    assert lines == "images/photo3.png\tnot an image that Pillow knows\n"
    counts = {
        split: some.get("quarantined", 0) for split, some in manifest(tmp_path)["splits"].items()
    }
    assert counts == {"train": 1, "val": 0, "test": 0}
    assert "1 photographs of split train cannot be used: quarantine.txt" in said


def test_too_much_damage_is_refused(root: Path, tmp_path: Path) -> None:
    (root / "images" / NAMES[3]).write_bytes(b"")
    said = r"photos: more than 1\.00% of the 5 photographs of split train cannot be used"
    with pytest.raises(DataError, match=said) as caught:
        ready(tmp_path, arguments(root))
    assert "images/photo3.png: empty file" in str(caught.value)
    assert "args.most_corrupt" in str(caught.value)
    assert list((tmp_path / "captioned_photos").iterdir()) == []


def test_empty_captions_are_left_out(root: Path, tmp_path: Path) -> None:
    content = karpathy()
    content["images"][2]["sentences"][1]["raw"] = " "
    write(root / "karpathy.json", content)
    splits = ready(tmp_path, arguments(root, most_corrupt=0.2))
    assert splits["val"].texts == {"captions": [[sentences(2)[0], sentences(2)[2]], sentences(6)]}
    assert not (tmp_path / "captioned_photos/quarantine.txt").exists()
    with pytest.raises(DataError, match=r"karpathy\.json .*: 1 of 15 captions are empty"):
        ready(tmp_path, arguments(root))


def silenced(root: Path, layout: str) -> None:
    """Take away all captions of photograph 3, and its file, which is then not needed."""
    if layout == "karpathy":
        content = karpathy()
        content["images"][3]["sentences"] = raw([""])
        write(root / "karpathy.json", content)
    elif layout == "coco":
        parts = coco("train")
        parts["annotations"] = [a for a in parts["annotations"] if a["image_id"] != 103]
        write(root / "train.json", parts)
    else:
        entries = styled()
        entries[3]["humorous"] = []
        write(root / "styles.json", entries)
    (root / "images" / NAMES[3]).unlink()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_photographs_without_a_caption_are_counted(root: Path, tmp_path: Path, layout: str) -> None:
    silenced(root, layout)
    splits = ready(tmp_path, arguments(root, layout, most_corrupt=0.2))
    lines = (tmp_path / "captioned_photos/quarantine.txt").read_text()
    assert lines == "images/photo3.png\tno caption\n"
    assert manifest(tmp_path)["splits"]["train"]["quarantined"] == 1
    if layout == "flickrstyle":
        assert sum(map(len, splits.values())) == 7
    else:
        assert texts_of(splits) == without(3)
    with pytest.raises(DataError, match=r"more than 1\.00%"):
        ready(tmp_path, arguments(root, layout))


def test_the_rest_without_a_caption_stays_left_out(root: Path, tmp_path: Path) -> None:
    silenced(root, "karpathy")
    args = arguments(root, restval_to_train=False, most_corrupt=0.2)
    assert texts_of(ready(tmp_path, args)) == without(3)
    assert not (tmp_path / "captioned_photos/quarantine.txt").exists()


# --- what is missing is said before anything is done ------------------------------------------


def rename_images(root: Path) -> None:
    (root / "images").rename(root / "pictures")


def remove_captions(root: Path) -> None:
    for name in ("karpathy.json", "val.json", "styles.json"):
        (root / name).unlink()


def remove_photographs(root: Path) -> None:
    for number in (1, 5):
        (root / "images" / NAMES[number]).unlink()


WHERE = {"karpathy": "karpathy/deepimagesent", "coco": "cocodataset.org", "flickrstyle": "v0.9.zip"}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (rename_images, r"photos/images: no such folder\. Expected are a folder of photographs"),
        (remove_captions, r"photos/\w+\.json: no such file\. Expected are a folder of photographs"),
        (
            remove_photographs,
            r"photos: 2 of the 8 photographs that the captions name are not there\. The first:\n"
            r"  images/photo1\.png\n  images/photo5\.png\nExpected are",
        ),
    ],
)
def test_what_is_missing_is_named(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    layout: str,
    change: Callable[[Path], None],
    said: str,
) -> None:
    monkeypatch.setattr(decode, "decode_all", lambda *_: pytest.fail("it began to decode"))
    change(root)
    with pytest.raises(DataError, match=said) as caught:
        ready(tmp_path, arguments(root, layout))
    for part in (WHERE[layout], "args.images", "args.files", "args.root", "params/scales/"):
        assert part in str(caught.value)


def test_an_absent_root_is_told_with_how_to_set_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=r"absent: no such folder.*args\.root.*params/scales/"):
        ready(tmp_path, arguments(tmp_path / "absent"))
    monkeypatch.delenv("REPRISE_PHOTOS", raising=False)
    said = r"variable REPRISE_PHOTOS is not set; `export REPRISE_PHOTOS=.*Expected are"
    with pytest.raises(DataError, match=said):
        ready(tmp_path, arguments("${REPRISE_PHOTOS}"))


def test_a_photograph_named_twice_is_refused(root: Path, tmp_path: Path) -> None:
    content = karpathy()
    content["images"][4]["filename"] = NAMES[0]
    write(root / "karpathy.json", content)
    with pytest.raises(DataError, match=r"name the photograph images/photo0\.png 2 times"):
        ready(tmp_path, arguments(root))
    entries = styled()
    entries[4]["file_name"] = NAMES[0]
    write(root / "styles.json", entries)
    with pytest.raises(
        DataError, match=r"styles\.json: .* name the photograph photo0\.png 2 times"
    ):
        ready(tmp_path, arguments(root, "flickrstyle"))


def test_other_splits_are_left_out(root: Path, tmp_path: Path) -> None:
    content = karpathy()
    content["images"][4]["split"] = "extra"
    write(root / "karpathy.json", content)
    said = list[str]()
    splits = ready(tmp_path, arguments(root), said.append)
    assert texts_of(splits) == {split: WHOLE_TEXTS[split] for split in ("train", "val")}
    assert "1 photographs of split extra are left out" in said
    for image in content["images"]:
        image["split"] = "extra"
    write(root / "karpathy.json", content)
    with pytest.raises(DataError, match=r"no photograph of train, val, test; there is: extra"):
        ready(tmp_path / "none", arguments(root))


def test_a_full_disk_is_foreseen(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage())
    with pytest.raises(DataError, match=r"8 photographs of 16x16 need .* GB are free"):
        ready(tmp_path, arguments(root))


class Usage:
    free = 1000


STYLED = {"layout": "flickrstyle"}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"root": ""}, "root"),
        ({"layout": "flickr"}, "layout"),
        ({"size": 4}, "size"),
        ({"most_corrupt": 1.0}, "most_corrupt"),
        ({"seed": -1}, "seed"),
        ({"files": {}}, "files: layout karpathy needs one file"),
        ({"files": {"train": "a"}}, "files: layout karpathy needs one file"),
        ({"layout": "coco"}, "files: layout coco needs a file for each of some of train, val"),
        ({"layout": "coco", "files": {}}, "files: layout coco needs a file for each"),
        ({"layout": "coco", "files": {"tests": "a"}}, r"files: unknown split 'tests' \(did you"),
        ({**STYLED, "files": {"romance": "a"}}, "files: unknown style 'romance'"),
        ({**STYLED, "files": {"romantic": "a"}, "images": {"romantic": "b"}}, "images: one folder"),
        (
            {"layout": "coco", "files": {"train": "a"}, "images": {"val": "b"}},
            "images: one folder, or in layout coco one for each split of files",
        ),
    ],
)
def test_wrong_arguments_are_refused(tmp_path: Path, more: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=rf"'captioned_photos': args[.:] ?{said}"):
        prepare("captioned_photos", tmp_path, {**arguments("x"), **more}, silent)


# --- the same bytes ---------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
def test_preparing_twice_and_elsewhere_gives_the_same_bytes(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    ready(tmp_path / "a", arguments(root, layout))
    moved = root.rename(tmp_path / "moved")
    monkeypatch.setenv("REPRISE_PHOTOS", str(moved.parent))
    args = arguments("${REPRISE_PHOTOS}/moved", layout)
    if layout != "karpathy":  # the order of a mapping says nothing
        args["files"] = dict(reversed(args["files"].items()))
    ready(tmp_path / "b", args)
    assert manifest(tmp_path / "a") == manifest(tmp_path / "b")
    one, other = (
        {file.name: file.read_bytes() for file in (tmp_path / home / "captioned_photos").iterdir()}
        for home in ("a", "b")
    )
    assert one.keys() == other.keys()
    different = {name for name in one if one[name] != other[name]}
    assert different <= {"source.txt", "manifest.json"}  # the latter by the order of its args


# --- the real slice ---------------------------------------------------------------------------

needs_slice = pytest.mark.skipif(
    not captioned.FLICKR8K.is_dir(), reason=f"no {captioned.FLICKR8K} (set REPRISE_SHARED_DATA)"
)


def slice_args(layout: str, files: Any) -> dict[str, Any]:
    return arguments(captioned.FLICKR8K, layout, files=files, size=32)


@needs_slice
def test_flickr8k_in_karpathys_layout(tmp_path: Path) -> None:
    splits = ready(tmp_path, slice_args("karpathy", "dataset_flickr8k_2000_karpathy.json"))
    assert {split: len(data) for split, data in splits.items()} == {
        "train": 1400,
        "val": 300,
        "test": 300,
    }
    assert all({len(some) for some in data.texts["captions"]} == {5} for data in splits.values())
    listed = json.loads((captioned.FLICKR8K / "captions_test.json").read_text())
    for index in (0, 150, 299):
        image = listed["images"][index]
        said = [a["caption"] for a in listed["annotations"] if a["image_id"] == image["id"]]
        assert splits["test"].captions(index) == said
        photo = Image.open(captioned.FLICKR8K / "images" / image["file_name"])
        expected = TF.pil_to_tensor(TF.resize(photo, 32, TF.InterpolationMode.BICUBIC))
        assert torch.equal(splits["test"].images[index], expected)


@needs_slice
def test_flickrstyle_of_the_slice(tmp_path: Path) -> None:
    files = dict.fromkeys(("romantic", "humorous"), "flickrstyle.json")
    splits = ready(tmp_path, slice_args("flickrstyle", files))
    assert {split: len(data) for split, data in splits.items()} == {"train": 1457, "test": 243}
    written = json.loads((captioned.FLICKR8K / "flickrstyle.json").read_text())
    known = {(entry["romantic"], entry["humorous"]) for entry in written}
    for data in splits.values():
        for index in range(len(data)):
            (romantic,), (humorous,) = (data.captions(index, s) for s in ("romantic", "humorous"))
            assert (romantic, humorous) in known
