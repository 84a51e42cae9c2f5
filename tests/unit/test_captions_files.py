"""Caption files: each layout read into one structure, every mistake named with its place."""

import gzip
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import captioned
import pytest

from reprise.captions.files import (
    STYLES,
    Captioned,
    CaptionFile,
    read_coco,
    read_flickrstyle,
    read_karpathy,
    read_results,
)
from reprise.errors import DataError

Write = Callable[[Any], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(content: Any) -> Path:
        path = tmp_path / "captions.json"
        path.write_text(json.dumps(content), encoding="utf-8")
        return path

    return written


def coco() -> dict[str, Any]:
    return {
        "images": [
            {"id": 9, "file_name": "nine.jpg", "split": "train"},
            {"id": 4, "file_name": "four.jpg", "split": "val"},
        ],
        "annotations": [
            {"id": 0, "image_id": 4, "caption": "A dog ."},
            {"id": 1, "image_id": 9, "caption": "Ein Café."},
            {"id": 2, "image_id": 4, "caption": "Two dogs"},
        ],
    }


def karpathy() -> dict[str, Any]:
    return {
        "images": [
            {
                "filename": "nine.jpg",
                "imgid": 0,
                "split": "train",
                "sentences": [{"raw": "Ein Café.", "tokens": ["ein", "café"]}],
            },
            {
                "filename": "four.jpg",
                "imgid": 1,
                "split": "val",
                "sentences": [{"raw": "A dog ."}, {"raw": "Two dogs"}],
            },
        ]
    }


def flickrstyle() -> list[dict[str, Any]]:
    return [
        {
            "image_id": 9,
            "file_name": "nine.jpg",
            "split": "train",
            "humorous": "a cup laughs .",
            "romantic": "a cup in love .",
            "factual": ["Ein Café.", "A cup ."],
        }
    ]


EXPECTED = (
    Captioned(9, "nine.jpg", ("Ein Café.",), "train"),
    Captioned(4, "four.jpg", ("A dog .", "Two dogs"), "val"),
)


def test_coco(write: Write) -> None:
    path = write(coco())
    assert read_coco(path) == CaptionFile(path, EXPECTED)
    assert read_coco(path).split("val") == EXPECTED[1:]
    with pytest.raises(DataError, match=r"no image of split 'test'; it has: train, val"):
        read_coco(path).split("test")


def test_cocos_own_files_do_not_say_their_split(write: Write) -> None:
    content = coco()
    for image in content["images"]:
        del image["split"]
    path = write(content)
    assert {image.split for image in read_coco(path, "test").images} == {"test"}
    with pytest.raises(DataError, match=r"images\[0\]\.split: expected text, found None"):
        read_coco(path)


def test_karpathy(write: Write) -> None:
    found = read_karpathy(write(karpathy())).images
    assert [(i.file_name, i.captions, i.split) for i in found] == [
        (i.file_name, i.captions, i.split) for i in EXPECTED
    ]
    assert [image.image_id for image in found] == [0, 1]


def test_karpathys_coco_has_other_ids_folders_and_a_rest(write: Write) -> None:
    content = karpathy()
    content["images"][0] |= {"cocoid": 391895, "filepath": "val2014", "split": "restval"}
    found = read_karpathy(write(content)).images[0]
    assert (found.image_id, found.file_name) == (391895, "val2014/nine.jpg")
    assert found.split == "train"


def test_flickrstyle(write: Write) -> None:
    path = write(flickrstyle())
    assert read_flickrstyle(path, "romantic").images == (
        Captioned(9, "nine.jpg", ("a cup in love .",), "train"),
    )
    assert read_flickrstyle(path, "factual").images[0].captions == ("Ein Café.", "A cup .")
    with pytest.raises(DataError, match="style 'sad' is none of humorous, romantic, factual"):
        read_flickrstyle(path, "sad")


def test_results(write: Write) -> None:
    path = write([{"image_id": 9, "caption": "a cup"}, {"image_id": 4, "caption": ""}])
    assert read_results(path) == {9: "a cup", 4: ""}
    with pytest.raises(DataError, match="image 9 stands there twice"):
        read_results(write([{"image_id": 9, "caption": "a"}, {"image_id": 9, "caption": "b"}]))


def test_gzipped_files(tmp_path: Path) -> None:
    path = tmp_path / "captions.json.gz"
    path.write_bytes(gzip.compress(json.dumps(coco()).encode()))
    assert read_coco(path).images == EXPECTED
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match=r"captions\.json\.gz: not readable as JSON"):
        read_coco(path)


# --- empty captions ---------------------------------------------------------------------------


def test_empty_captions_are_set_aside_and_counted(write: Write) -> None:
    content = coco()
    content["annotations"][2]["caption"] = " \n"
    path = write(content)
    found = read_coco(path, most_empty=0.5)
    assert found.empty == ("annotations[2].caption (image 4)",)
    assert found.images[1].captions == ("A dog .",)
    assert found.bare == ()
    with pytest.raises(DataError, match=r"1 of 3 captions are empty, more than 1\.00%.*\[2\]"):
        read_coco(path)


def test_images_without_a_caption_are_counted(write: Write) -> None:
    content = coco()
    del content["annotations"][1]
    found = read_coco(write(content))
    assert found.bare == (9,)
    assert [image.image_id for image in found.images] == [4]
    content = karpathy()
    content["images"][0]["sentences"][0]["raw"] = ""
    found = read_karpathy(write(content), most_empty=0.5)
    assert found.empty == ("images[0].sentences[0].raw (image 0)",)
    assert found.bare == (0,)
    with pytest.raises(DataError, match="no image has a caption"):
        read_coco(write({"images": content["images"][:0], "annotations": []}))


# --- mistakes ---------------------------------------------------------------------------------


def change(content: Any, path: tuple[str | int, ...], value: Any) -> Any:
    """Return content with another value at a place, or without it where the value is None."""
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    if value is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return content


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("images",), None, r"\(COCO captions\): images: expected a list of objects, found None"),
        (("images", 1), 3, r"images\[1\]: expected an object, found 3"),
        (("images", 1, "id"), None, r"images\[1\]\.id: expected a whole number or text"),
        (("images", 1, "id"), True, r"images\[1\]\.id: expected a whole number or text"),
        (("images", 1, "id"), 9, "image 9 stands there twice"),
        (("images", 0, "file_name"), None, r"images\[0\]\.file_name: expected text, found None"),
        (("annotations", 0, "caption"), 5, r"annotations\[0\]\.caption: expected text, found 5"),
        (("annotations", 0, "image_id"), 7, r"image_id: expected the id of one of the images"),
    ],
)
def test_mistakes_in_coco(
    write: Write, place: tuple[str | int, ...], value: Any, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_coco(write(change(coco(), place, value)))


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("images", 1, "sentences"), None, r"images\[1\]\.sentences: expected a list of objects"),
        (
            ("images", 1, "sentences", 1, "raw"),
            None,
            r"\(Karpathy's captions\): images\[1\]\.sentences\[1\]\.raw: expected text",
        ),
        (("images", 1, "imgid"), 0, "image 0 stands there twice"),
        (("images", 1, "split"), "", r"images\[1\]\.split: expected text, found ''"),
    ],
)
def test_mistakes_in_karpathys(
    write: Write, place: tuple[str | int, ...], value: Any, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_karpathy(write(change(karpathy(), place, value)))


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ((0, "humorous"), None, r"\[0\]\.humorous: expected a caption or a list of captions"),
        ((0, "humorous"), ["a", 1], r"\[0\]\.humorous: expected a caption or a list of captions"),
        ((0,), "x" * 200, r"\[0\]: expected an object, found 'x{76}\.\.\."),
    ],
)
def test_mistakes_in_flickrstyle(
    write: Write, place: tuple[str | int, ...], value: Any, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_flickrstyle(write(change(flickrstyle(), place, value)), "humorous")


def test_files_that_are_no_captions(write: Write, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.json: no such file; COCO captions are expected"):
        read_coco(tmp_path / "absent.json")
    with pytest.raises(DataError, match="the file: expected an object, found"):
        read_coco(write([]))
    with pytest.raises(DataError, match="the file: expected a list of objects, found"):
        read_flickrstyle(write({}), "humorous")
    path = write(0)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match="not readable as JSON"):
        read_karpathy(path)


# --- the real slice ---------------------------------------------------------------------------

needs_slice = pytest.mark.skipif(
    not captioned.FLICKR8K.is_dir(), reason=f"no {captioned.FLICKR8K} (set REPRISE_SHARED_DATA)"
)
COUNTS = {"train": 1400, "val": 300, "test": 300}


@needs_slice
def test_both_layouts_of_the_slice_say_the_same() -> None:
    root = captioned.FLICKR8K
    one = read_karpathy(root / "dataset_flickr8k_2000_karpathy.json")
    parts = [read_coco(root / f"captions_{split}.json") for split in COUNTS]
    other = [image for part in parts for image in part.images]
    assert Counter(image.split for image in one.images) == COUNTS
    assert {i.file_name: (i.captions, i.split) for i in one.images} == {
        i.file_name: (i.captions, i.split) for i in other
    }
    assert {len(image.captions) for image in other} == {5}
    assert not any((file.empty, file.bare) != ((), ()) for file in (one, *parts))
    assert all((root / "images" / image.file_name).is_file() for image in other)


@needs_slice
def test_styles_of_the_slice_belong_to_its_images() -> None:
    root = captioned.FLICKR8K
    known = {
        i.image_id: i
        for s in ("train", "val")
        for i in read_coco(root / f"captions_{s}.json").images
    }
    for style in STYLES:
        found = read_flickrstyle(root / "flickrstyle.json", style).images
        assert len(found) == 1700
        assert {len(image.captions) for image in found} == {5 if style == "factual" else 1}
        for image in found:
            plain = known[image.image_id]
            assert (image.file_name, image.split) == (plain.file_name, plain.split)
            assert style != "factual" or image.captions == plain.captions
