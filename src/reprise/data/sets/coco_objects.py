"""Photos with boxes and outlines of objects, in COCO's JSON for detection.

Each split has a folder of photos and an ``instances_*.json``; category ids, which have gaps, become
the classes 0 .. K-1 in their order. An object's outline is a list of polygons or, of crowds, run
lengths; a photo may lack some. With ``semantic``, photos may have a mask of all pixels besides.

Photos, boxes, outlines and masks are scaled once to one canvas (`reprise.data.canvas`). Beside
images and labels of a split there are the arrays that `ObjectSet` has.
"""

import json
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from reprise.data import annotated, outlines, parallel
from reprise.data.annotated import SPLITS, CanvasArgs, ObjectSet, growing, read, write, wrong
from reprise.data.base import ImageSet, Log, Prepared, Split, read_arrays, write_batches
from reprise.data.canvas import FEW, NAMED, Findings, Unfit, check_space
from reprise.data.outlines import Outline, Scene, SceneDecoder, Scenes
from reprise.data.sets.mask_pairs import classes_in, table_of
from reprise.errors import DataError
from reprise.files import write_atomic
from reprise.progress import bar

EXPECTED = (
    "Expected are for each split a folder of photos (args.images) and a JSON of instances in "
    "COCO's layout (args.files): images with id, file_name, width and height, annotations with "
    "image_id, category_id, bbox and segmentation, and categories with id and name. COCO's own are "
    "at https://cocodataset.org/#download. args.root of the data set in params/scales/ says where "
    "they are; it may name an environment variable: ${NAME}."
)
NEEDED: dict[str, dict[str, type]] = {
    "images": {"id": int, "file_name": str, "width": int, "height": int},
    "annotations": {"image_id": int, "category_id": int},
    "categories": {"id": int, "name": str},
}
ARRAYS = ("boxes", "crowd", "areas", "extents", "outlined", "starts", "codes")
CLIPPED, EMPTY, NO_MASK = "boxes clipped to the photo", "no object", "no semantic mask"
ROUNDING = 1e-6  # pixels that a box may be outside for the rounding of sums

Batch = tuple[NDArray[np.uint8], NDArray[np.int64]]


class Args(CanvasArgs):
    """Where photos and annotations lie, and what size is kept."""

    files: dict[str, str] = Field(description="JSON of instances of each split, below root")
    semantic: dict[str, str] = Field(
        {},
        description="folder of semantic masks of each split, below root: named as the photos, "
        ".png; a photo may lack one",
    )
    semantic_classes: str | list[str] = Field(
        [], description="what their values mean: names, or a file, as `classes` of mask_pairs"
    )
    semantic_ignore: list[int] = Field([0, 255], description="values of pixels without a class")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.images.keys() != self.files.keys():
            raise wrong("files: one for each split of images")
        if len(set(self.files.values())) < len(self.files):
            raise wrong("files: two splits have the same")
        if self.semantic and self.semantic.keys() != self.images.keys():
            raise wrong("semantic: a folder for each split of images")
        if bool(self.semantic) != bool(self.semantic_classes):
            raise wrong("semantic and semantic_classes: both or none")
        return self


@dataclass(frozen=True)
class Object:
    """What is said of an object: class, box x0, y0, x1, y1 and area in pixels of the photo."""

    kind: int
    box: tuple[float, float, float, float]
    area: float
    crowd: bool
    outline: Outline | None


@dataclass(frozen=True)
class Photo:
    """A photo's file below the root, its size, and its objects."""

    name: str
    height: int
    width: int
    objects: tuple[Object, ...]


@dataclass
class Gathered:
    """What a split's files are made of beside its images, photo by photo."""

    photos: list[Photo] = field(default_factory=list)
    extents: list[tuple[int, int]] = field(default_factory=list)
    codes: list[list[bytes]] = field(default_factory=list)

    def add(self, photos: list[Photo], part: Scenes) -> None:
        """Take what a batch has."""
        self.photos += photos
        self.extents += [(height, width) for height, width in part.extents.tolist()]
        self.codes += part.codes

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all of `ARRAYS`, as `ObjectSet` has them."""
        shape = len(self.photos), max([1, *(len(photo.objects) for photo in self.photos)])
        boxes, crowd = np.full((*shape, 5), -1, np.float32), np.zeros(shape, np.bool_)
        areas, lengths = np.zeros(shape, np.float32), np.zeros(shape, np.int64)
        for n, (photo, (height, width)) in enumerate(zip(self.photos, self.extents, strict=True)):
            down, across = height / photo.height, width / photo.width
            for k, one in enumerate(photo.objects):
                boxes[n, k] = one.kind, *np.multiply(one.box, [across, down, across, down])
                crowd[n, k], areas[n, k] = one.crowd, one.area * down * across
                lengths[n, k] = len(self.codes[n][k])
        return {
            "boxes": boxes,
            "crowd": crowd,
            "areas": areas,
            "extents": np.array(self.extents, np.int64).reshape(-1, 2),
            "outlined": np.array(
                [all(one.outline for one in photo.objects) for photo in self.photos], np.bool_
            ),
            "starts": np.concatenate([[0], lengths.ravel().cumsum()]),
            "codes": np.frombuffer(b"".join(chain(*self.codes)) + b"\0", np.uint8),
        }


def prepare(folder: Path, args: Args, log: Log) -> Prepared:
    """Decode all splits to one canvas; what is damaged is named and left out."""
    root = find(args)
    contents = {
        split: read_json(root / args.files[split]) for split in SPLITS if split in args.files
    }
    categories = _categories(root, args, contents)
    findings = Findings(root, folder, args.most_corrupt)
    photos = {
        split: _photos(root, split, content, list(categories), args, findings)
        for split, content in contents.items()
    }
    for split, content in contents.items():
        findings.check(split, len(content["images"]))
    _refuse_shared(root, photos)
    masks = (
        classes_in(root, args.semantic_classes, 0, args.semantic_ignore) if args.semantic else {}
    )
    every = [str(root / photo.name) for some in photos.values() for photo in some]
    canvas = args.choose(every)
    check_space(folder, len(every), canvas, 3 + bool(args.semantic))
    decoder, splits = SceneDecoder(canvas, table_of(masks, args.semantic_ignore)), {}
    for split, some in photos.items():
        splits[split] = _write(folder, split, some, args, decoder, tuple(masks.values()), findings)
        findings.check(split, len(contents[split]["images"]))
    findings.write()
    for line in findings.summary():
        log(line)
    return Prepared(str(root), tuple(categories.values()), splits, findings.counts)


def load(split: Split, args: Args) -> ImageSet:
    """Map a split: an `ObjectSet`."""
    more: dict[str, Any] = dict(read(split, *ARRAYS))
    if args.semantic:
        names = json.loads((split.folder / f"{split.split}-mask_names.json").read_bytes())
        more |= {**read(split, "masks"), "mask_names": tuple(names)}
    return ObjectSet(**vars(read_arrays(split)), **more)


def find(args: Args) -> Path:
    """Return the folder that args.root names; DataError says what is expected, and where it is to
    be had, where it or something below it is not there."""
    folders, files = (*args.images.values(), *args.semantic.values()), [*args.files.values()]
    if isinstance(args.semantic_classes, str):
        files.append(args.semantic_classes)
    return annotated.find(args.root, folders, files, EXPECTED)


# --- what is said of which photo ----------------------------------------------------------------


def read_json(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Return a JSON of instances; DataError where it lacks what every entry must have."""
    try:
        content: Any = json.loads(path.read_bytes())
    except ValueError as error:
        raise DataError(f"{path}: not JSON: {error}. {EXPECTED}") from None
    for part, needed in NEEDED.items():
        entries = content.get(part) if isinstance(content, dict) else None
        if not isinstance(entries, list):
            raise DataError(f"{path}: no list {part!r} in it. {EXPECTED}")
        for place, entry in enumerate(entries):
            for key, kind in needed.items():
                if not isinstance(entry, dict) or type(entry.get(key)) is not kind:
                    raise DataError(
                        f"{path}: {part}[{place}] has no {key} that is {kind.__name__}. {EXPECTED}"
                    )
    if not content["images"]:
        raise DataError(f"{path}: no image in it. {EXPECTED}")
    found: dict[str, list[dict[str, Any]]] = content
    return found


def _categories(root: Path, args: Args, contents: Mapping[str, Any]) -> dict[int, str]:
    """Return the categories' names by id, in order; DataError where splits differ in them."""
    first: dict[int, str] = {}
    for split, content in contents.items():
        path = root / args.files[split]
        pairs = sorted((one["id"], one["name"]) for one in content["categories"])
        found = dict(pairs)
        if not pairs or len(found) < len(pairs):
            raise DataError(f"{path}: no categories in it, or two with one id. {EXPECTED}")
        first = first or found
        if found != first:
            odd = [f"{id_} {name}" for id_, name in set(found.items()) ^ set(first.items())]
            raise DataError(
                f"{path}: its categories are not those of {next(iter(contents))}: "
                f"{', '.join(sorted(odd)[:10])}"
            )
    return first


def _photos(
    root: Path,
    split: str,
    content: Mapping[str, list[dict[str, Any]]],
    ids: list[int],
    args: Args,
    findings: Findings,
) -> list[Photo]:
    """Return the photos of a split in the order of its JSON; what is unfit is left out."""
    said = _by_image(split, content, args, findings)
    times = Counter(entry["id"] for entry in content["images"])
    names = Counter(entry["file_name"] for entry in content["images"])
    kinds, photos = {id_: kind for kind, id_ in enumerate(ids)}, []
    for entry in content["images"]:
        name = f"{args.images[split]}/{entry['file_name']}"
        try:
            if times[entry["id"]] > 1:
                raise Unfit("image id twice", f"image {entry['id']}")
            if names[entry["file_name"]] > 1:
                raise Unfit("named twice", f"image {entry['id']} and another")
            if min(entry["height"], entry["width"]) < 1:
                raise Unfit("sizes differ", f"said {entry['width']}x{entry['height']}")
            objects = [_object(one, entry, kinds) for one in said.get(entry["id"], [])]
            if not (root / name).is_file():
                raise Unfit("no such file")
        except Unfit as error:
            findings.add(split, name, error.kind, error.detail)
            continue
        _note(split, name, said.get(entry["id"], []), entry, findings)
        photos.append(Photo(name, entry["height"], entry["width"], tuple(objects)))
    return photos


def _refuse_shared(root: Path, photos: Mapping[str, list[Photo]]) -> None:
    """Refuse photos that are in two splits: what is tested would have been trained on."""
    times = Counter(photo.name for some in photos.values() for photo in some)
    if shared := sorted(name for name, count in times.items() if count > 1):
        first = "\n  ".join(shared[:NAMED])
        raise DataError(f"{root}: {len(shared)} photos are in two splits. The first:\n  {first}")


def _by_image(
    split: str, content: Mapping[str, list[dict[str, Any]]], args: Args, findings: Findings
) -> dict[int, list[dict[str, Any]]]:
    """Return the annotations of each image; those of none are counted as damage."""
    known = {entry["id"] for entry in content["images"]}
    said: dict[int, list[dict[str, Any]]] = {}
    for place, one in enumerate(content["annotations"]):
        if one["image_id"] in known:
            said.setdefault(one["image_id"], []).append(one)
        else:
            detail = f"annotation {one.get('id', place)}: image {one['image_id']}"
            findings.add(split, args.files[split], "annotation of an unknown image", detail)
    return said


def _object(one: Mapping[str, Any], entry: Mapping[str, Any], kinds: Mapping[int, int]) -> Object:
    """Return an object of an image; Unfit where its annotation cannot be used."""
    which = f"annotation {one['id']}: " if "id" in one else ""
    if one["category_id"] not in kinds:
        raise Unfit("unknown category", f"{which}category {one['category_id']}")
    width, height = entry["width"], entry["height"]
    left, top, across, down = _bbox(one, which)
    box = max(left, 0.0), max(top, 0.0), min(left + across, width), min(top + down, height)
    if box[0] >= box[2] or box[1] >= box[3]:
        raise Unfit("box outside the photo", f"{which}bbox {one['bbox']} on {width}x{height}")
    try:
        outline = outlines.parse(one.get("segmentation"), height, width)
    except Unfit as error:
        raise Unfit(error.kind, f"{which}{error.detail}") from None
    area: Any = one.get("area")
    if not (_is_number(area) and area > 0):
        area = across * down
    return Object(kinds[one["category_id"]], box, float(area), bool(one.get("iscrowd")), outline)


def _bbox(one: Mapping[str, Any], which: str) -> tuple[float, float, float, float]:
    bbox = one.get("bbox")
    if not (isinstance(bbox, list) and len(bbox) == 4 and all(map(_is_number, bbox))):
        raise Unfit("malformed box", f"{which}bbox {bbox}")
    left, top, across, down = map(float, bbox)
    if across <= 0 or down <= 0:
        raise Unfit("box of no area", f"{which}bbox {bbox}")
    return left, top, across, down


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _note(
    split: str,
    name: str,
    said: list[dict[str, Any]],
    entry: Mapping[str, Any],
    findings: Findings,
) -> None:
    """Note a photo without an object, and boxes that were clipped."""
    if not said:
        findings.note(split, name, EMPTY)
    clipped = 0
    for one in said:
        left, top, across, down = one["bbox"]
        over = max(left + across - entry["width"], top + down - entry["height"], -left, -top)
        clipped += over > ROUNDING
    if clipped:
        findings.note(split, name, CLIPPED, f"{clipped} of {len(said)}", clipped)


# --- photos -------------------------------------------------------------------------------------


def _write(
    folder: Path,
    split: str,
    photos: list[Photo],
    args: Args,
    decoder: SceneDecoder,
    mask_names: tuple[str, ...],
    findings: Findings,
) -> tuple[int, list[str]]:
    """Write the files of a split; return its count and their names."""
    size, gathered = (decoder.canvas.height, decoder.canvas.width), Gathered()
    scenes = [_scene(findings, split, photo, args) for photo in photos]
    name, masks = f"{split}-masks.npy", list[str]()
    with growing(folder / name, size) if args.semantic else nullcontext() as add_masks:

        def batches() -> Iterator[Batch]:
            with bar(f"decoding {split}", len(photos)) as shown:
                for part in parallel.in_order(decoder, scenes, decoder.canvas.chunk, FEW):
                    for one in part.failed:
                        findings.add(split, photos[one.place].name, one.kind, one.detail)
                    own = [photos[place] for place in part.kept]
                    gathered.add(own, part)
                    if add_masks:
                        add_masks(part.masks)
                    yield part.images, np.array([_label(photo) for photo in own], np.int64)
                    shown.advance(len(part.kept) + len(part.failed))

        count, files = write_batches(folder, split, (3, *size), batches())
    if args.semantic:
        masks = [name, f"{split}-mask_names.json"]
        write_atomic(folder / masks[1], json.dumps(mask_names))
    return count, [*files, *write(folder, split, gathered.arrays()), *masks]


def _scene(findings: Findings, split: str, photo: Photo, args: Args) -> Scene:
    """Return what a decoder needs of a photo; one without a semantic mask is noted."""
    mask = None
    if args.semantic:
        path = findings.root / args.semantic[split] / f"{Path(photo.name).stem}.png"
        mask = str(path) if path.is_file() else None
        if mask is None:
            findings.note(split, photo.name, NO_MASK)
    drawn = tuple(one.outline for one in photo.objects)
    file = os.path.join(findings.root, photo.name)  # noqa: PTH118 (many of them)
    return Scene(file, photo.height, photo.width, drawn, mask)


def _label(photo: Photo) -> int:
    """Return the class of the largest box, -1 where there is none."""

    def size(one: Object) -> float:
        left, top, right, bottom = one.box
        return (right - left) * (bottom - top)

    return max(photo.objects, key=size).kind if photo.objects else -1
