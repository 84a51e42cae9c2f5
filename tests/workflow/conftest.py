"""Workspaces for the tests. The built one is made once; tests that change anything work on a
copy, which knows what was done in it because Snakemake's records hold relative paths.
"""

import shutil
from pathlib import Path

import pytest
from workspace import REPOSITORY, TRACKED, Workspace


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
def first_output() -> list[str]:
    """What the build of `built` printed, for the test of it."""
    return []


@pytest.fixture(scope="session")
def built(
    empty: Workspace, first_output: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Workspace:
    """A workspace in which scale smoke was built by plain Snakemake; do not change it."""
    workspace = empty.copy(tmp_path_factory.mktemp("built") / "workspace")
    first_output.append(workspace.snakemake("--cores", "all"))
    return workspace


@pytest.fixture
def copy(built: Workspace, tmp_path: Path) -> Workspace:
    """A built workspace to change at will."""
    return built.copy(tmp_path / "workspace")
