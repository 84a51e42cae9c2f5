"""The Python of README and docs runs as it stands: a file's blocks in order, in one process."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

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
