"""The Python of README and docs runs as it stands: a file's blocks in order, in one process; the
settings for own photographs are such as the demo's scale takes.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from reprise.config import load_project

ROOT = Path(__file__).parents[2]
# Outlines with "..." in them, which show a shape and are no programs.
OUTLINES = {"docs/adding-a-paper.md"}
FILES = sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
    if "```python" in path.read_text(encoding="utf-8")
)


def blocks(file: str) -> list[str]:
    text = (ROOT / file).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def test_the_library_is_documented() -> None:
    assert len(blocks("docs/library.md")) >= 8
    assert set(FILES) >= OUTLINES


@pytest.mark.parametrize("file", [file for file in FILES if file not in OUTLINES])
def test_python_of_the_documentation_runs(file: str, tmp_path: Path) -> None:
    script = tmp_path / "blocks.py"
    script.write_text("\n".join(blocks(file)), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def lay_over(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Return base with the keys of over changed, those of its inner mappings one by one."""
    inner = {
        key: lay_over(base[key], value)
        for key, value in over.items()
        if isinstance(value, dict) and isinstance(base.get(key), dict) and "name" not in value
    }
    return base | over | inner


def test_settings_for_own_photographs_are_those_of_a_scale(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "params", tmp_path / "params")
    text = (ROOT / "docs/datasets.md").read_text(encoding="utf-8")
    section = text.partition("## Own photographs\n")[2].partition("\n## ")[0]
    (block,) = re.findall(r"^```yaml\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)
    scales = tmp_path / "params/scales"
    demo = yaml.safe_load((scales / "demo.yaml").read_text(encoding="utf-8"))
    mine = lay_over(demo, {"scale": "mine", **yaml.safe_load(block)})
    (scales / "mine.yaml").write_text(yaml.safe_dump(mine), encoding="utf-8")
    project = load_project(tmp_path, "mine")
    run = project.run("can", "can")
    photos = project.dataset(run.data)
    assert (photos.name, photos.folder) == ("image_folder", "mine")
    assert run.augment is not None
    assert photos.args["size"] == run.augment.size == run.model.args["img_size"]
    assert run.model.args["in_chans"] == 3
    assert run.model.args["depth"] == 4, "the demo's"
    evaluators = project.paper("can").evaluators
    assert [evaluators[name].labels for name in run.evaluate] == [1.0, 1.0]
