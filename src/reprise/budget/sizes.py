"""How many images of what size a scale's data sets have, and what they take on disk.

From the manifest where a data set is prepared, else from the settings of a reader that makes its
images, else from the catalogue. What none of them says is unknown and stays so.
"""

from dataclasses import dataclass, field
from typing import Any

from reprise import registry
from reprise.budget.catalogue import Catalogue, Data
from reprise.config import Dataset, Json, Project
from reprise.results import ResultError, read_json

# Counts of a split in the settings of readers that make their images. Of composites there are a
# thirtieth as many test images.
_SPLITS = ("train", "clip", "text", "val", "test")
_TEST_SHARE = 30
INDEXED = 128  # bytes of a photograph's entry in the index of a set that stays files


@dataclass(frozen=True)
class Sizes:
    """A data set: images of each split, classes, channels, sides in pixels; None is not known."""

    home: str
    counts: dict[str, int] = field(default_factory=dict)
    classes: int | None = None
    channels: int = 3
    height: int | None = None
    width: int | None = None
    captions: int = 0
    as_files: bool = False
    download_gb: float | None = None
    source: str = "not known"

    def images(self, split: str) -> int | None:
        """Images of a split; a set of one split for all is trained and tested on it."""
        return self.counts.get(split)

    @property
    def prepared_bytes(self) -> float | None:
        """Bytes that are kept of all images: uint8, decoded, or an index of their files."""
        if not self.counts or self.height is None or self.width is None:
            return None
        each = INDEXED if self.as_files else self.channels * self.height * self.width
        return float(sum(self.counts.values())) * each


def of(project: Project, catalogue: Catalogue, alias: str) -> Sizes:
    """Return what is known of the data set behind an alias."""
    dataset = project.dataset(alias)
    known = catalogue.data(dataset)
    manifest = _manifest(project, dataset)
    args = _settings(dataset)
    counts, source = _counts(manifest, args, known)
    height, width = _sides(args, known)
    classes = None if known is None else known.classes
    if manifest.get("classes"):
        classes = len(manifest["classes"])
    return Sizes(
        dataset.home,
        counts,
        classes,
        _channels(args, known),
        height,
        width,
        0 if known is None else known.captions,
        args.get("keep") == "files",
        _download_gb(args, counts, known),
        source,
    )


def _settings(dataset: Dataset) -> dict[str, Any]:
    """Return a reader's settings, with its defaults; as given where they are not valid yet."""
    try:
        module = registry.load("data set", dataset.name)
        found: dict[str, Any] = module.Args.model_validate(dict(dataset.args)).model_dump()
    except ValueError:  # pydantic's; a root that is not set is no concern here
        return dict(dataset.args)
    return found


def _manifest(project: Project, dataset: Dataset) -> Json:
    try:
        return read_json(project.data_root / dataset.home / "manifest.json")
    except ResultError:
        return {}


def _counts(manifest: Json, args: dict[str, Any], known: Data | None) -> tuple[dict[str, int], str]:
    if "splits" in manifest:
        return {name: one["count"] for name, one in manifest["splits"].items()}, "prepared"
    made = {name: args[name] for name in _SPLITS if isinstance(args.get(name), int)}
    if isinstance(args.get("count"), int):
        made = {"train": args["count"], "test": args["count"] // _TEST_SHARE}
    if made:
        return made, "settings"
    if known is not None and known.splits:
        asked = args.get("splits") or known.splits
        return {name: count for name, count in known.splits.items() if name in asked}, "catalogue"
    return {}, "not known"


def _download_gb(args: dict[str, Any], counts: dict[str, int], known: Data | None) -> float | None:
    """Return what is fetched; of a set whose splits are asked for alone, by their share of it."""
    if known is None or known.download_gb is None:
        return None
    parts = "splits" in args and counts.keys() < known.splits.keys()
    share = sum(counts.values()) / sum(known.splits.values()) if parts else 1.0
    return known.download_gb * share


def _sides(args: dict[str, Any], known: Data | None) -> tuple[int | None, int | None]:
    canvas = args.get("canvas")
    if isinstance(canvas, (list, tuple)) and len(canvas) == 2:
        return int(canvas[0]), int(canvas[1])
    side = args.get("size") or (None if known is None else known.side)
    return side, side


def _channels(args: dict[str, Any], known: Data | None) -> int:
    if args.get("colour"):
        return 3
    return 3 if known is None else known.channels
