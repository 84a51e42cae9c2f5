"""Workspaces for the tests. The built one is made once; tests that change anything work on a
copy, which knows what was done in it because Snakemake's records hold relative paths.
"""

import fcntl
import os
import shutil
from pathlib import Path

import pytest
from workspace import REPOSITORY, TRACKED, Workspace

OUTPUT = "output.txt"


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace in which nothing was built; do not change it."""
    root = tmp_path_factory.mktemp("empty") / "workspace"
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in TRACKED:
        source, target = REPOSITORY / name, root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=ignore)
        else:
            shutil.copy2(source, target)
    workspace = Workspace(root)
    workspace.run("git", "init", "--quiet")
    workspace.commit("start")
    return workspace


@pytest.fixture(scope="session")
def built(empty: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace in which scale smoke was built by plain Snakemake; do not change it.

    Of several test processes (pytest -n) the first builds it, and the others wait.
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    folder /= "built"
    folder.mkdir(exist_ok=True)
    workspace, said = Workspace(folder / "workspace"), folder / OUTPUT
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not said.exists():
            shutil.rmtree(workspace.root, ignore_errors=True)  # of one that failed
            output = empty.copy(workspace.root).snakemake("--cores", "all")
            said.write_text(output, encoding="utf-8")
    return workspace


@pytest.fixture(scope="session")
def first_output(built: Workspace) -> str:
    """What the build of `built` printed, for the test of it."""
    return (built.root.parent / OUTPUT).read_text(encoding="utf-8")


@pytest.fixture
def copy(built: Workspace, tmp_path: Path) -> Workspace:
    """A built workspace to change at will."""
    return built.copy(tmp_path / "workspace")
