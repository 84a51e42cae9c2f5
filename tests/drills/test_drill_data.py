"""Damaged data: named, refused or set aside, and never a silent part of a result."""

import random
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_recipes
from drill import afresh, fingerprint, killed_in, make_fit, saved_after
from PIL import Image
from torch import Tensor

from reprise.data.base import Derived, ImageSet, load, prepare
from reprise.errors import DataError
from reprise.training import run as training_run

pytestmark = pytest.mark.quick


# ---- 8. a flipped bit in what was prepared ----
def test_training_refuses_a_shard_with_a_flipped_bit_and_names_it(tmp_path: Path) -> None:
    project = tiny_recipes.prepared(tiny_recipes.write(tmp_path, {"run": {"steps": 2}}))
    job, chance = tiny_recipes.job(project, "run"), random.Random(8)
    shard = project.data_root / "digits/train-images.npy"
    whole = shard.read_bytes()
    for _ in range(5):
        content, at = bytearray(whole), chance.randrange(len(whole))
        content[at] ^= 1 << chance.randrange(8)
        shard.write_bytes(content)
        with pytest.raises(DataError, match=f"{shard}: its content is not what was prepared"):
            training_run.train(job)
    assert not job.folder.exists()
    tiny_recipes.prepared(project)  # `reprise data digits` makes it again
    assert shard.read_bytes() == whole
    training_run.train(job)
    assert all(path.is_file() for path in job.outputs)


# ---- 9. photographs that are none ----
class Grey(Derived):
    """Photographs as the tiny classifier wants them: one channel."""

    def __init__(self, data: ImageSet) -> None:
        self.data = data

    def fetch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        images, labels = self.data.fetch(indices)
        return images[:, :1].contiguous(), labels


def photographs(root: Path, bad: int) -> None:
    """Write 120 training and 8 test photographs of four classes; cut some of the first short."""
    numbers = np.random.default_rng(0)
    for split, count in (("train", 120), ("val", 8)):
        for number in range(count):
            file = root / split / "abcd"[number % 4] / f"{number:03}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(numbers.integers(0, 256, (8, 8, 3), np.uint8)).save(file, quality=95)
            if split == "train" and number % 30 == 7 and bad > 0:
                file.write_bytes(file.read_bytes()[:-50])
                bad -= 1


def run_to_step_20(folder: Path, data: Path, args: dict[str, Any]) -> None:
    fit = make_fit(folder, data=Grey(load("image_folder", "train", data, args)))
    saved_after(fit, range(20))
    killed_in(fit, 20, "_log")
    fit.run()


def test_bad_photographs_are_counted_and_the_order_is_kept_over_kills(tmp_path: Path) -> None:
    root = tmp_path / "photographs"
    photographs(root, bad=3)
    args = {"root": str(root), "size": 8, "most_corrupt": 0.03}
    folder = prepare("image_folder", tmp_path / "data", args, lambda _: None)
    names = [line.split("\t")[0] for line in (folder / "quarantine.txt").read_text().splitlines()]
    assert names == ["train/b/037.jpg", "train/d/007.jpg", "train/d/067.jpg"]
    data = Grey(load("image_folder", "train", tmp_path / "data", args))
    assert len(data) == 117
    straight = make_fit(tmp_path / "straight", data=data)
    straight.run()

    assert afresh(run_to_step_20, tmp_path / "cut", tmp_path / "data", args) == -signal.SIGKILL
    again = prepare("image_folder", tmp_path / "again", args, lambda _: None)
    assert (again / "manifest.json").read_bytes() == (folder / "manifest.json").read_bytes()
    anew = Grey(load("image_folder", "train", tmp_path / "again", args))
    cut = make_fit(tmp_path / "cut", data=anew)
    assert cut.run().resumed == 1
    assert fingerprint(cut) == fingerprint(straight)


def test_too_many_bad_photographs_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "photographs"
    photographs(root, bad=4)
    args = {"root": str(root), "size": 8, "most_corrupt": 0.03}
    with pytest.raises(DataError, match=r"more than 3\.00% of the 120 files of train/"):
        prepare("image_folder", tmp_path / "data", args, lambda _: None)
    assert not (tmp_path / "data/image_folder/manifest.json").exists()
