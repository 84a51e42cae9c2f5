"""Digests: what a result was made from, so that anything stale can be told from what is current."""

import ast
import functools
import hashlib
import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# What these modules do is wholly in the resolved configuration or in the words a user sees, so a
# change to them cannot change a number; all else that a step imports is its science. The models in
# reprise.settings are plumbing, too: every value of theirs, defaults included, is in the digest.
PLUMBING = frozenset(
    f"reprise.{name}"
    for name in (
        "config",
        "yamlfile",
        "settings",
        "errors",
        "registry",
        "provenance",
        "paths",
        "plan",
        "progress",
        "locks",
        "files",
        "data.download",
        "data.origin",
    )
)

EQUAL = "equal_sources.yaml"  # changes of source files that no result depends on
ABSENT = "absent"  # in that list: what was no file


def digest_of(value: Any) -> str:
    """Return the SHA-256 of a JSON value, independent of key order and white space."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def digest_of_file(path: Path, block: int = 1 << 20) -> str:
    """Return the SHA-256 of a file's bytes."""
    sha = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(block):
            sha.update(chunk)
    return sha.hexdigest()


@functools.cache
def _file_of(module: str) -> Path | None:
    """Return the file of a module of ours without importing its package (and with it torch)."""
    path = Path(__file__).parent.joinpath(*module.split(".")[1:])
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return file
    return None


@functools.cache
def _imports(path: Path) -> tuple[str, ...]:
    """Return the modules of ours that a file names in an import, wherever in the file it stands."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return tuple(sorted(name for name in names if name.split(".")[0] == "reprise"))


def _is_plumbing(module: str) -> bool:
    return module in PLUMBING or module.rpartition(".")[0] in PLUMBING


def sources(*modules: str) -> list[Path]:
    """Return the files of ours that modules import, directly or not, less the plumbing, sorted."""
    todo, seen = list(modules), set[str]()
    files: set[Path] = set()
    while todo:
        module = todo.pop()
        if module in seen or _is_plumbing(module):
            continue
        seen.add(module)
        path = _file_of(module)
        if path is None:
            continue
        if path.name != "__init__.py":
            files.add(path)
        todo.extend(_imports(path))
    return sorted(files)


def digest_of_sources(files: Iterable[Path]) -> str:
    """Return one digest of source files, by their place in the package and their content."""
    package = Path(__file__).parent
    named = [(str(path.relative_to(package)), path) for path in files]
    digests = {name: as_before(name, digest_of_file(path)) for name, path in named}
    return digest_of({name: one for name, one in digests.items() if one != ABSENT})


def as_before(name: str, digest: str) -> str:
    """Return the digest of the oldest content of a source file that computes the same.

    `ABSENT` where there was no such file, and nothing else of it is used than before.

    ``name`` is its place in the package, ``digest`` its content's. See `equal_sources.yaml`.
    """
    earlier = _earlier()
    while (name, digest) in earlier:
        digest = earlier[name, digest]
    return digest


@functools.cache
def _earlier() -> dict[tuple[str, str], str]:
    import yaml

    listed = yaml.safe_load((Path(__file__).parent / EQUAL).read_text(encoding="utf-8")) or []
    return {(one["file"], one["is"]): one["was"] for one in listed}


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that can move a number."""
    names = (
        *("torch", "torchvision", "timm", "open_clip_torch", "transformers", "tokenizers"),
        *("pycocoevalcap", "numpy", "pillow", "scikit-learn", "scipy", "reprise"),
    )
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def git_state(root: Path) -> dict[str, Any]:
    """Return the commit and whether tracked files differ from it; empty outside a repository."""

    def git(*args: str) -> str:
        done = subprocess.run(["git", *args], cwd=root, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        return {
            "commit": git("rev-parse", "HEAD"),
            "dirty": bool(git("status", "--porcelain", "--untracked-files=no")),
        }
    except (OSError, subprocess.CalledProcessError):
        return {}
