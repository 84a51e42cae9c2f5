"""Which runs a scale gives another size than the paper's, and so whatever is counted of them."""

import functools
import json
from pathlib import Path
from typing import Any

from reprise.config import Json, Project, overlay, read_yaml, resolve_runs

# What a scale may lay over a run that changes its size.
_SIZE = ("method", "model", "objective")


def resized(project: Project, slug: str) -> frozenset[str]:
    """Return the runs of a paper whose size is not what the paper's own file says."""
    file = project.root / "params" / "papers" / f"{slug}.yaml"
    laid_over = (project.scale.papers.get(slug) or {}).get("runs") or {}
    over = json.dumps(laid_over, sort_keys=True)
    return _changed_in_size(file, file.stat().st_mtime_ns, over)


@functools.lru_cache(maxsize=16)
def _changed_in_size(file: Path, _changed: int, over: str) -> frozenset[str]:
    own = read_yaml(file).get("runs", {})
    as_written, _ = resolve_runs(own, str(file))
    as_run, _ = resolve_runs(overlay(own, json.loads(over)), str(file))
    return frozenset(
        name for name, run in as_run.items() if _size(run) != _size(as_written.get(name, {}))
    )


def _size(run: Json) -> Json:
    image: Any = (run.get("augment") or {}).get("size")
    return {**{key: run.get(key) for key in _SIZE}, "image": image}
