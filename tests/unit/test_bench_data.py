"""Speed of decoding and augmentation: what is measured, on which images, and how it is told."""

import os
from pathlib import Path

import fabricated
import numpy as np
import pytest
from PIL import Image

from reprise import bench_data
from reprise.config import Project
from reprise.errors import ConfigError, DataError


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.delenv("REPRISE_SHARED_DATA", raising=False)
    return fabricated.workspace(tmp_path / "work")


def photographs(root: Path) -> Path:
    """Write 2 classes of 6 + 1 grey and coloured pictures, 24x20 pixels."""
    random = np.random.default_rng(0)
    for number in range(14):
        split = "train" if number < 12 else "val"
        file = root / split / f"n{number % 2}" / f"{number:02}.JPEG"
        file.parent.mkdir(parents=True, exist_ok=True)
        shape = (20, 24) if number % 3 else (20, 24, 3)
        Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8)).save(file)
    return root


def test_speeds_are_told_side_by_side(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = photographs(tmp_path / "photos")
    bench_data.show(project, str(root), None, 10, 0.0)
    said = capsys.readouterr().out
    assert "10 images of" in said
    assert "to 20x20" in said
    assert "medians of 5 rounds in turns" in said
    for name in (
        bench_data.BOUND,
        bench_data.RESIZE,
        bench_data.READ,
        bench_data.AUGMENT,
        "of the bound",
    ):
        assert name in said


def test_every_contender_does_all_images(project: Project, tmp_path: Path) -> None:
    source = bench_data.find(project, str(photographs(tmp_path / "photos")), 16, 5)
    assert len(source.paths) == 5
    calls, counts = bench_data.contenders(source)
    assert list(counts.values()) == [5, 5, 5, 5]
    (part,) = calls[bench_data.READ]()  # type: ignore[misc]
    assert part.images.shape == (5, 3, 16, 16)


def test_the_scales_own_images_come_first_then_the_shared_slice(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"tiny_imagenet50 in .*REPRISE_SHARED_DATA.*--root"):
        bench_data.find(project, None, None, 5)
    beside = photographs(tmp_path / "shared/data/tiny_imagenet50")
    assert bench_data.find(project, None, None, 5).root == beside
    elsewhere = photographs(tmp_path / "elsewhere/tiny_imagenet50")
    monkeypatch.setenv("REPRISE_SHARED_DATA", str(elsewhere.parent))
    assert bench_data.find(project, None, None, 5).root == elsewhere
    args = {"root": str(photographs(tmp_path / "own")), "size": 12}
    file = project.root / "params/scales/tiny.yaml"
    file.write_text(
        file.read_text().replace("name: digits", f"name: image_folder\n    args: {args}")
    )
    own = bench_data.find(fabricated.load_project(project.root, "tiny"), None, None, 5)
    assert (own.root, own.size) == (tmp_path / "own", 12)


def test_a_folder_without_images_is_refused(project: Project, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such folder\. Expected are train/"):
        bench_data.find(project, os.fspath(tmp_path / "nowhere"), None, 5)
