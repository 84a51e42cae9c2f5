"""Lists of ImageNet's classes by WordNet id, as timm keeps them; timm itself is not imported."""

import functools
import importlib.util
from pathlib import Path

from reprise.errors import DataError

LISTS = {
    "1k": "imagenet_synsets.txt",
    "a": "imagenet_a_synsets.txt",
    "r": "imagenet_r_synsets.txt",
    "21k": "imagenet22k_synsets.txt",
}


@functools.cache
def synsets(which: str) -> tuple[str, ...]:
    """Return the sorted ids of ImageNet-1k (``1k``), -A (``a``), -R (``r``) or all (``21k``).

    DataError where timm is not installed.
    """
    spec = importlib.util.find_spec("timm")
    if spec is None or spec.origin is None:
        raise DataError("ImageNet's class lists come with timm, which is not installed")
    file = Path(spec.origin).parent / "data" / "_info" / LISTS[which]
    return tuple(sorted(file.read_text(encoding="utf-8").split()))
