"""Whether the data that a result was made from are those that are here.

Nothing here imports torch: `status` and the tables ask this of every result.
"""

import functools
import json
from pathlib import Path
from typing import Any

from reprise import provenance
from reprise.config import Json, Project

MANIFEST = "manifest.json"


def why_other(project: Project, made_from: Json) -> str:
    """Say why the data here are not those of a result; empty where they are, or are absent.

    Absent data say nothing, so that results made elsewhere can be pulled without their data.

    Args:
        made_from: ``data`` of a meta.json or of an evaluation's JSON.
    """
    file = project.data_root / str(made_from["name"]) / MANIFEST
    if not file.is_file():
        return ""
    digest = digest_of(file)
    if digest is None:
        return unreadable(file)
    present = provenance.digest_of({"set": digest, "split": made_from["split"]})
    return "" if present == made_from["digest"] else f"data set {made_from['name']} changed"


def digest_of(manifest: Path) -> str | None:
    """Return the digest of a prepared data set; None where its manifest is absent or damaged."""
    try:
        return _read(manifest, manifest.stat().st_mtime_ns)
    except OSError:
        return None


@functools.lru_cache(maxsize=64)
def _read(manifest: Path, _changed: int) -> str | None:
    try:
        value: Any = json.loads(manifest.read_text(encoding="utf-8"))
    except ValueError:
        return None
    found = value.get("digest") if isinstance(value, dict) else None
    return found if isinstance(found, str) else None


def unreadable(manifest: Path) -> str:
    """Say of a damaged manifest how it is mended."""
    return f"{manifest} is damaged: delete it, and the data set is prepared again"
