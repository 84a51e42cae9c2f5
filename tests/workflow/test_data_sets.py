"""Data sets in the workflow: those that build on others wait for them, each in its own folder."""

from pathlib import Path

import numpy as np
from PIL import Image
from workspace import Workspace

DATASETS = "datasets:\n"
SCENES = (
    "  plain: {name: fashion_mnist}\n  composed: {name: fashion_composites, args: {count: 64}}\n"
)


def photographs(root: Path, shade: int) -> Path:
    for split in ("train", "val"):
        for name in ("n1", "n2"):
            for number in range(3):
                file = root / split / name / f"{shade}-{number}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                pixels = np.full((8, 8, 3), shade + number, np.uint8)
                Image.fromarray(pixels).save(file)
    return root


def folder_of(alias: str, root: str) -> str:
    args = f"{{root: '{root}', size: 8}}"
    return f"  {alias}: {{name: image_folder, args: {args}, folder: {alias}}}\n"


def test_a_data_set_waits_for_the_one_it_is_made_from(empty: Workspace, tmp_path: Path) -> None:
    workspace = empty.copy(tmp_path / "workspace")
    workspace.edit("params/scales/smoke.yaml", DATASETS, DATASETS + SCENES)
    target = "data/fashion_composites/manifest.json"
    assert workspace.planned(target) == ["data fashion_composites", "data fashion_mnist"]
    workspace.edit("params/scales/smoke.yaml", SCENES.splitlines()[0] + "\n", "")
    assert workspace.planned(target) == ["data fashion_composites"]


def test_folders_of_images_move_and_change(empty: Workspace, tmp_path: Path) -> None:
    workspace = empty.copy(tmp_path / "workspace")
    root = photographs(tmp_path / "photos", 10)
    lines = folder_of("mini", "${MINI}") + folder_of("twin", str(photographs(tmp_path / "t", 90)))
    workspace.edit("params/scales/smoke.yaml", DATASETS, DATASETS + lines)
    targets = [f"data/{name}/manifest.json" for name in ("mini", "twin")]
    command = ("python", "-m", "snakemake", *targets, "--config", "scale=smoke", "--cores")

    said = workspace.run(*command, "2", fails=True)
    assert "environment variable MINI is not set" in said
    assert "Traceback" not in said
    workspace.run(*command, "2", MINI=str(root))
    digests = {(workspace.root / target).read_text() for target in targets}
    assert len(digests) == 2

    moved = root.rename(tmp_path / "moved")
    for place in (moved, root):  # where they are now, and where nothing is any more
        assert "Nothing to be done" in workspace.run(*command, "1", "-n", MINI=str(place))
    assert "Nothing to be done" in workspace.run(*command, "1", "-n")
    other = photographs(tmp_path / "other", 50)
    said = workspace.run(*command, "1", "-n", MINI=str(other))
    assert "data mini" in said
    assert "stale: data /mini: prepared from other files" in said
    assert "data twin" not in said
    workspace.run(*command, "1", MINI=str(other))
    assert (workspace.root / targets[0]).read_text() not in digests
    said = workspace.reprise("data", "mini", MINI=str(other))
    assert "data set mini: ready" in said
