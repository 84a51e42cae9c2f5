"""The measurement of photographs that stay files: what is timed does what it says."""

import os
from pathlib import Path

import photo_sets
import pytest
import torch

from reprise import bench_photos
from reprise.bench_photos import ALL, COPIES, CROPS, FILES, PACKED, VIEWS
from reprise.errors import DataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    photo_sets.class_folders(tmp_path / "photos", ["a", "b"], each=5)
    (tmp_path / "photos/a/photo_1.jpg").write_bytes(b"harmed")
    return tmp_path / "photos"


def test_every_contender_makes_the_same_photographs(root: Path, tmp_path: Path) -> None:
    paths, files = bench_photos.find(root, 8)
    assert len(paths) == 7, "of eight, one is harmed"
    timed = bench_photos.contest(paths, files, 16, tmp_path / "home")
    made = {name: timed.calls[name]() for name in (FILES, PACKED)}
    (one, _), (other, _) = made.values()  # type: ignore[misc]
    assert one.shape == (timed.images, 3, 16, 16)
    assert torch.equal(one, other)
    cropped, augmented = timed.calls[CROPS](), timed.calls[ALL]()
    assert isinstance(cropped, torch.Tensor)
    assert isinstance(augmented, torch.Tensor)
    assert cropped.shape == augmented.shape == one.shape
    assert not torch.equal(cropped, one)
    views, copies = timed.calls[VIEWS](), timed.calls[COPIES]()
    assert isinstance(views, torch.Tensor)
    assert isinstance(copies, torch.Tensor)
    assert views.shape == (2, timed.images, 3, 16, 16)
    assert copies.shape == (3 * timed.images, 3, 16, 16)


def test_the_table_names_all_and_frees_the_cores(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = os.sched_getaffinity(0)
    bench_photos.show(root, 16, 4, 0.0)
    assert os.sched_getaffinity(0) == before
    said = capsys.readouterr().out
    for word in ("single files", "a pack", "random crops", "augmentation", "of pure decoding"):
        assert word in said
    assert "medians of 5 rounds" in " ".join(said.split())


def test_a_folder_without_photographs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no photograph below it"):
        bench_photos.find(tmp_path, 5)
