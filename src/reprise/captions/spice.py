"""SPICE, where the user has put its files: it is never fetched from here.

Source: `pycocoevalcap.spice`; Anderson et al., "SPICE", ECCV 2016. Its parser is the Stanford one,
whose models (300 MB) pycocoevalcap does not bring along.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reprise.captions import java
from reprise.captions.tokens import Tokens

FILES = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")
# Its serialization library looks into Java's own classes, which Java 17 and later must be told.
OPENED = tuple(
    f"--add-opens=java.base/{package}=ALL-UNNAMED"
    for package in (
        "java.io",
        "java.lang",
        "java.math",
        "java.net",
        "java.nio",
        "java.text",
        "java.time",
        "java.util",
        "java.util.concurrent",
    )
)


def absence() -> str | None:
    """Return why SPICE cannot run here, None where its files are present."""
    missing = []
    for name in FILES:
        try:
            java.jar("spice/lib", name)
        except java.JavaError:
            missing.append(name)
    if not missing:
        return None
    return f"{' and '.join(missing)} not in pycocoevalcap/spice/lib (never downloaded by us)"


def spice(tokens: Tokens) -> NDArray[np.float64]:
    """Return SPICE's F score of every image, float64 [n], 0 to 1.

    The corpus score is their mean. Where neither side has anything to compare SPICE says none, and
    the image counts 0 (pycocoevalcap would make the corpus NaN). Its cache is left out: it needs a
    native library, and saves time only on captions seen before. Raises JavaError where SPICE fails.
    """
    items = [
        {"image_id": place, "test": candidate, "refs": list(references)}
        for place, (candidate, references) in enumerate(
            zip(tokens.candidates, tokens.references, strict=True)
        )
    ]
    with tempfile.TemporaryDirectory(prefix="reprise-spice-") as name:
        folder = Path(name)
        (folder / "in.json").write_text(json.dumps(items), encoding="utf-8")
        memory = ("-Xmx8G", f"-Djava.io.tmpdir={folder}")
        files = (folder / "in.json", "-out", folder / "out.json", "-silent")
        jar = java.jar("spice", "spice-1.0.jar")
        java.run("SPICE", java.command(*OPENED, *memory, "-jar", jar, *files))
        return _scores(folder / "out.json", len(items))


def _scores(path: Path, count: int) -> NDArray[np.float64]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        scores = {item["image_id"]: item["scores"]["All"]["f"] for item in found}
        values = np.array([scores[place] for place in range(count)], dtype=np.float64)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise java.JavaError(f"SPICE left no scores that can be read: {error!r}") from None
    return np.nan_to_num(values, nan=0.0)
