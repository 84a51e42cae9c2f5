"""ReaL: photographs with several right labels, found by the numbers of their names."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from reprise.data import base
from reprise.data.sets.imagenet_real import RealSet
from reprise.errors import DataError
from reprise.evaluators.shifted import _right

# Class folders and, in the order of their photographs' numbers, right labels.
PLACES = ("n02", "n01", "n01", "n10", "n02", "n10")
ANSWERS = [[1], [], [0, 2], [2, 0, 1], [], [1]]


def photographs(root: Path, answers: Any = ANSWERS, places: tuple[str, ...] = PLACES) -> Path:
    """Write a miniature of ImageNet: each photograph is as bright as its number."""
    for name in sorted(set(places)):
        for split in ("train", "val"):
            (root / split / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(root / "train" / name / "any.png")
    for number, name in enumerate(places, start=1):
        file = root / "val" / name / f"ILSVRC2012_val_{number:08}.png"
        Image.new("RGB", (8, 8), (10 * number,) * 3).save(file)
    (root / "real.json").write_text(json.dumps(answers))
    return root


def ready(root: Path, home: Path, said: list[str] | None = None) -> RealSet:
    args = {"root": str(root), "size": 8}
    base.prepare("imagenet_real", home, args, (said if said is not None else []).append)
    found = base.load("imagenet_real", "test", home, args)
    assert isinstance(found, RealSet)
    return found


def test_photographs_have_their_numbers_labels_and_those_without_are_left_out(
    tmp_path: Path,
) -> None:
    said: list[str] = []
    data = ready(photographs(tmp_path / "photos"), tmp_path, said)
    numbers = [int(image.float().mean()) // 10 for image in data.images]
    assert numbers == [1, 3, 4, 6], "by name"
    answers = [[label for label in row if label >= 0] for row in data.answers.tolist()]
    assert answers == [ANSWERS[number - 1] for number in numbers]
    assert data.labels.tolist() == [1, 0, 2, 2]
    assert "2 of 6 photographs have no right label" in said


def test_any_of_the_right_labels_will_do(tmp_path: Path) -> None:
    data = ready(photographs(tmp_path / "photos"), tmp_path)
    assert _right(torch.tensor([1, 2, 1, 2]), data).tolist() == [True, True, True, False]
    assert _right(torch.tensor([0, 1, 0, 0]), data).tolist() == [False, False, True, False]


def test_validation_alone_will_do(tmp_path: Path) -> None:
    root = photographs(tmp_path / "photos")
    shutil.rmtree(root / "train")
    data = ready(root, tmp_path)
    assert len(data) == 4
    assert data.classes == tuple(sorted(set(PLACES)))


def test_images_of_one_label_are_right_as_ever() -> None:
    data = base.ArraySet(
        "x", "test", torch.zeros(3, 3, 8, 8), torch.tensor([0, 1, 1]), ("a", "b"), "digest"
    )
    right = _right(torch.tensor([0, 0, 1]), data)
    assert right.tolist() == [True, False, True]
    assert right.dtype == np.bool_


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        (ANSWERS[:-1], "its name should end in a number from 1 to 5"),
        ([*ANSWERS, [0]], "6 numbers of 6 photographs, but labels of 7"),
        ([[7], *ANSWERS[1:]], "labels name class 7, but there are 3 folders"),
        ({"a": 1}, "a list with a list of class numbers"),
        ([[-1], *ANSWERS[1:]], "a list with a list of class numbers"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path: Path, answers: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        ready(photographs(tmp_path / "photos", answers), tmp_path)


def test_missing_and_unreadable_labels_are_refused(tmp_path: Path) -> None:
    root = photographs(tmp_path / "photos")
    (root / "real.json").write_text("[[")
    with pytest.raises(DataError, match=r"real\.json: .*expected is real\.json of the ReaL"):
        ready(root, tmp_path)
    (root / "real.json").unlink()
    with pytest.raises(DataError, match=r"real\.json: .*No such file"):
        ready(root, tmp_path)


def test_two_photographs_of_one_number_are_refused(tmp_path: Path) -> None:
    root = photographs(tmp_path / "photos")
    file = root / "val/n01/ILSVRC2012_val_00000002.png"
    file.rename(file.with_name("other_00000003.jpg"))
    with pytest.raises(DataError, match="5 numbers of 6 photographs"):
        ready(root, tmp_path)
