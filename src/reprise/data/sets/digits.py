"""1,797 scanned digits that ship with scikit-learn, enlarged; the data of the `smoke` scale."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from reprise.data.base import Made

TEST = 400


def make(folder: Path, args: dict[str, Any], log: Callable[[str], None]) -> Made:
    """Enlarge the 8x8 scans to ``args['size']`` (default 16); the last 400 are the test split."""
    from sklearn.datasets import load_digits

    digits, size = load_digits(), int(args.get("size", 16))
    grey = (digits.images * (255 / 16)).round().astype(np.uint8)
    enlarged = [
        Image.fromarray(scan).resize((size, size), Image.Resampling.BILINEAR) for scan in grey
    ]
    images = np.stack([np.asarray(scan) for scan in enlarged])[:, None]
    labels = digits.target.astype(np.int64)
    splits = {
        "train": (images[:-TEST], labels[:-TEST]),
        "test": (images[-TEST:], labels[-TEST:]),
    }
    return Made(splits, tuple("0123456789"), "scikit-learn")
