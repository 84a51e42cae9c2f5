"""Photographs with captions, in the layouts in which public data sets keep them.

- ``karpathy``: one JSON for all splits, as Flickr8k, Flickr30k and COCO are usually divided.
- ``coco``: COCO's JSON of captions, one for each split.
- ``flickrstyle``: a JSON for each style (it may be the same); taken are the photographs that have
  a caption in every style. The official split of FlickrStyle10K was never released: a keyed draw
  makes a seventh of the photographs ``test``, which is 1,000 of the 7,000 published, and all
  others ``train``.

`reprise.captions.files` reads these files and says what is in them. The photographs are decoded
once and kept in the order of the files, square: their shorter side resized (bicubic, antialiased)
and their centre cropped, as CLIP prepares what it looks at. Their only label is 0, ``photo``.
Beside images and labels of a split there are its captions, as `reprise.data.captioned` keeps them:
of style ``captions``, or of the styles that ``files`` names.
"""

import gzip
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Literal, Self, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from reprise.captions.files import (
    STYLES,
    CaptionFile,
    read_coco,
    read_flickrstyle,
    read_karpathy,
)
from reprise.data import decode, origin
from reprise.data.base import ImageSet, Log, Prepared, Split, read_arrays, write_batches
from reprise.data.captioned import PLAIN, CaptionedSet, read_texts, write_texts
from reprise.data.sets import image_folder
from reprise.data.sets.image_folder import NAMED
from reprise.errors import DataError, unknown
from reprise.progress import bar
from reprise.settings.base import Strict
from reprise.training.seeding import Key

SPLITS = ("train", "val", "test")
REST = "restval"  # Karpathy's name for what COCO's validation images leave to training
TEST_SHARE = 7  # of FlickrStyle, one photograph of so many is for testing

EXPECTED = {
    "karpathy": "Expected are a folder of photographs (args.images) and one JSON of Karpathy's "
    "splits (args.files). https://cs.stanford.edu/people/karpathy/deepimagesent/ has those of "
    "Flickr8k, Flickr30k and COCO; the photographs are at "
    "https://shannon.cs.illinois.edu/DenotationGraph/ and https://cocodataset.org/#download.",
    "coco": "Expected are a folder of photographs (args.images), or one for each split, and for "
    "each split a JSON of captions in COCO's layout (args.files). COCO's own are at "
    "https://cocodataset.org/#download.",
    "flickrstyle": "Expected are a folder of photographs (args.images) and for each style a JSON "
    "list of objects with image_id, file_name, split and the style's captions (args.files). The "
    "captions of FlickrStyle10K are at https://zhegan27.github.io/Papers/FlickrStyle_v0.9.zip, "
    "its photographs at https://shannon.cs.illinois.edu/DenotationGraph/.",
}
NUMBERS = {"karpathy": ("cocoid", "imgid"), "coco": ("id",), "flickrstyle": ("image_id",)}

Batch = tuple[NDArray[np.uint8], NDArray[np.int64]]
Row = tuple[str, str, list[str]]  # of an image: file name, split, captions


class Args(Strict):
    """Where the photographs and their captions lie, and the side at which they are kept."""

    root: str = Field(
        min_length=1,
        description="folder of photographs and caption files; ${NAME} is an environment variable. "
        "Where it lies is in no digest",
    )
    layout: Literal["karpathy", "coco", "flickrstyle"]
    images: str | dict[str, str] = Field(
        description="folder of the photographs, below root; layout coco may have one for each split"
    )
    files: str | dict[str, str] = Field(
        description="caption file, below root (.json or .json.gz): one in layout karpathy, one for "
        "each split in layout coco, one for each style in layout flickrstyle"
    )
    size: int = Field(224, ge=8, description="side of the stored images, pixels")
    most_corrupt: float = Field(
        0.01,
        ge=0,
        lt=1,
        description="share of a split's photographs that may be unreadable or without a caption, "
        "and of a file's captions that may be empty",
    )
    restval_to_train: bool = Field(
        True, description="layout karpathy: train on split restval too, else it is left out"
    )
    seed: int = Field(0, ge=0, description="layout flickrstyle: of the draw of its test split")

    @model_validator(mode="after")
    def _fits_layout(self) -> Self:
        keys = {"coco": SPLITS, "flickrstyle": STYLES}.get(self.layout, ())
        files = {} if isinstance(self.files, str) else self.files
        if bool(files) != bool(keys) or not self.files:
            wanted = f"a file for each of some of {', '.join(keys)}" if keys else "one file"
            raise _wrong(f"files: layout {self.layout} needs {wanted}")
        for key in files:
            if key not in keys:
                kind = "split" if self.layout == "coco" else "style"
                raise _wrong(f"files: {unknown(kind, key, keys)}")
        if isinstance(self.images, str):
            return self
        if self.layout != "coco" or self.images.keys() != files.keys():
            raise _wrong("images: one folder, or in layout coco one for each split of files")
        return self


def _wrong(text: str) -> PydanticCustomError:
    return PydanticCustomError("layout", "{text}", {"text": text})


@dataclass(frozen=True)
class Photo:
    """A photograph: its file below the root, its split, its captions by style (maybe none)."""

    name: str
    split: str
    texts: dict[str, list[str]]

    @property
    def captioned(self) -> bool:
        """Whether it has a caption in every style."""
        return all(self.texts.values())


class Quarantine(image_folder.Quarantine):
    """Photographs that cannot be used, with the reason; too many of them are refused."""

    def add(self, split: str, path: str, reason: str, total: int) -> None:
        """Note one of ``total`` photographs of a split, by its path below the root; DataError
        where they are too many."""
        self.lines.append(f"{path}\t{' '.join(reason.split())}")
        self.counts[split] = self.counts.get(split, 0) + 1
        if self.counts[split] > self.most * total:
            first = "\n  ".join(line.replace("\t", ": ") for line in self.lines[:NAMED])
            raise DataError(
                f"{self.root}: more than {self.most:.2%} of the {total} photographs of split "
                f"{split} cannot be used. The first:\n  {first}\n"
                "Get them again, or allow more with args.most_corrupt."
            )


def prepare(folder: Path, args: Args, log: Log) -> Prepared:
    """Decode all splits to uint8 [N, 3, size, size], and write what is said of each photograph.

    What is damaged or has no caption is named and left out.
    """
    root = find(args)
    photos = read(root, args, log)
    _check_present(root, args, photos)
    _check_space(folder, len(photos), args.size)
    quarantine, splits = Quarantine(root, args.most_corrupt), {}
    for split in SPLITS:
        if some := [photo for photo in photos if photo.split == split]:
            splits[split] = _write(folder, split, some, args, quarantine)
    quarantine.write(folder)
    for split, count in quarantine.counts.items():
        log(f"{count} photographs of split {split} cannot be used: {image_folder.QUARANTINE}")
    return Prepared(str(root), ("photo",), splits, quarantine.counts)


def load(split: Split, args: Args) -> ImageSet:
    """Map a split's images and read their captions: a `CaptionedSet`."""
    texts = read_texts(split.folder, split.split, styles(args))
    return CaptionedSet(**vars(read_arrays(split)), texts=texts)


def styles(args: Args) -> tuple[str, ...]:
    """Return the styles of captions, in a fixed order."""
    return tuple(sorted(args.files)) if args.layout == "flickrstyle" else (PLAIN,)


def find(args: Args) -> Path:
    """Return the folder that args.root names.

    Where it, a folder of photographs or a caption file is not there, DataError says what is
    expected, where it is to be had, and how to set where it lies.
    """
    advice = _advice(args)
    try:
        root = origin.place(args.root)
    except DataError as error:
        raise DataError(f"{error}. {advice}") from None
    for needed in (root, *(root / name for name in _values(args.images))):
        if not needed.is_dir():
            raise DataError(f"{needed}: no such folder. {advice}")
    for needed in (root / name for name in _values(args.files)):
        if not needed.is_file():
            raise DataError(f"{needed}: no such file. {advice}")
    return root


def _advice(args: Args) -> str:
    return (
        f"{EXPECTED[args.layout]} args.root of the data set in params/scales/ says where they "
        "are; it may name an environment variable: ${NAME}."
    )


def _values(one_or_more: str | Mapping[str, str]) -> list[str]:
    return [one_or_more] if isinstance(one_or_more, str) else list(one_or_more.values())


# --- what is said of which photograph -----------------------------------------------------------


def read(root: Path, args: Args, log: Log) -> list[Photo]:
    """Return the photographs of all splits in the order of the caption files.

    Those that the files name without a caption are among them. Raises DataError as the readers of
    `reprise.captions.files`, where a photograph is named twice, and where there are none.
    """
    readers = {"karpathy": _karpathy, "coco": _coco, "flickrstyle": _flickrstyle}
    photos = readers[args.layout](root, args, log)
    _refuse_twice(root, (photo.name for photo in photos))
    found = Counter(photo.split for photo in photos)
    if not found.keys() & set(SPLITS):
        known = ", ".join(sorted(found)) or "no photograph"
        raise DataError(f"{root}: no photograph of {', '.join(SPLITS)}; there is: {known}")
    for split in sorted(found.keys() - set(SPLITS)):
        log(f"{found[split]} photographs of split {split} are left out")
    return photos


def _karpathy(root: Path, args: Args, log: Log) -> list[Photo]:
    path = root / cast(str, args.files)
    rows = _rows(read_karpathy(path, args.most_corrupt), args.layout)
    if not args.restval_to_train:  # the reader has called it train
        rest = {_name(entry) for entry in _entries(path) if entry["split"] == REST}
        rows = [(name, REST if name in rest else split, some) for name, split, some in rows]
    folder = cast(str, args.images)
    return [Photo(_below(folder, name), split, {PLAIN: some}) for name, split, some in rows]


def _coco(root: Path, args: Args, log: Log) -> list[Photo]:
    files, photos = cast(dict[str, str], args.files), []
    for split in SPLITS:
        if split in files:
            folder = args.images if isinstance(args.images, str) else args.images[split]
            found = read_coco(root / files[split], split, args.most_corrupt)
            rows = _rows(found, args.layout)
            photos += [Photo(_below(folder, name), split, {PLAIN: some}) for name, _, some in rows]
    return photos


def _flickrstyle(root: Path, args: Args, log: Log) -> list[Photo]:
    """Photographs in all styles, by the order of the first, with drawn splits."""
    files, said = cast(dict[str, str], args.files), dict[str, dict[str, list[str]]]()
    for style in styles(args):
        path = root / files[style]
        rows = _rows(read_flickrstyle(path, style, args.most_corrupt), args.layout)
        _refuse_twice(path, (name for name, _, _ in rows))
        said[style] = {name: some for name, _, some in rows}
    every = set.intersection(*(set(some) for some in said.values()))
    if left := len(set.union(*(set(some) for some in said.values()))) - len(every):
        log(f"{left} photographs that are not in the files of all styles are left out")
    test, folder = draw(every, args.seed), cast(str, args.images)
    return [
        Photo(
            _below(folder, name),
            "test" if name in test else "train",
            {style: said[style][name] for style in said},
        )
        for name in next(iter(said.values()))
        if name in every
    ]


def draw(names: Iterable[str], seed: int) -> set[str]:
    """Return a seventh of some file names, for testing: a function of the names and the seed.

    A name that comes or goes moves at most one of the others.
    """
    key = Key(("captioned_photos", "flickrstyle", seed))
    ranked = sorted(names, key=lambda name: key.fold(name).seed)
    return set(ranked[: round(len(ranked) / TEST_SHARE)])


def _rows(file: CaptionFile, layout: str) -> list[Row]:
    """Return a file's images, those without a caption last: their split and name are in it."""
    rows = [(image.file_name, image.split, list(image.captions)) for image in file.images]
    bare = set(file.bare)
    for entry in _entries(file.path) if bare else ():
        if next(entry[key] for key in NUMBERS[layout] if key in entry) in bare:
            split = entry.get("split", "")
            rows.append((_name(entry), "train" if split == REST else split, []))
    return rows


def _entries(path: Path) -> list[dict[str, Any]]:
    """Return the images of a caption file, which its reader has found to be well-formed."""
    content = path.read_bytes()
    value = json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)
    entries: list[dict[str, Any]] = value if isinstance(value, list) else value["images"]
    return entries


def _name(entry: Mapping[str, Any]) -> str:
    """Return an image's file name as the readers do."""
    if "filename" in entry:
        return f"{entry.get('filepath', '')}/{entry['filename']}".lstrip("/")
    return str(entry["file_name"])


def _below(folder: str, name: str) -> str:
    return str(PurePath(folder, name))


def _refuse_twice(where: Path, names: Iterable[str]) -> None:
    """Refuse a photograph that is named twice: it could be in two splits."""
    name, count = max(Counter(names).items(), key=lambda item: item[1], default=("", 0))
    if count > 1:
        raise DataError(f"{where}: the captions name the photograph {name} {count} times")


# --- the photographs ----------------------------------------------------------------------------


def _write(
    folder: Path, split: str, photos: list[Photo], args: Args, quarantine: Quarantine
) -> tuple[int, list[str]]:
    """Write the files of a split; return its count and their names."""
    texts: dict[str, list[list[str]]] = {style: [] for style in styles(args)}
    batches = _batches(split, photos, args.size, quarantine, texts)
    count, files = write_batches(folder, split, (3, args.size, args.size), batches)
    return count, files + write_texts(folder, split, texts)


def _batches(
    split: str,
    photos: list[Photo],
    size: int,
    quarantine: Quarantine,
    texts: dict[str, list[list[str]]],
) -> Iterator[Batch]:
    """Yield images and labels in order, and add the captions to texts.

    What has no caption or cannot be decoded goes into quarantine.
    """
    for photo in photos:
        if not photo.captioned:
            quarantine.add(split, photo.name, "no caption", len(photos))
    whole = [photo for photo in photos if photo.captioned]
    paths = [str(quarantine.root / photo.name) for photo in whole]
    with bar(f"decoding {split}", len(whole)) as shown:
        for part in decode.decode_all(paths, size):
            for place, reason in part.failed:
                quarantine.add(split, whole[place].name, reason, len(photos))
            for place in part.kept.tolist():
                for style, some in texts.items():
                    some.append(whole[place].texts[style])
            yield part.images, np.zeros(len(part.kept), np.int64)
            shown.advance(len(part.kept) + len(part.failed))


def _check_present(root: Path, args: Args, photos: list[Photo]) -> None:
    """Refuse before an hour of decoding a folder that lacks some of the photographs."""
    wanted = [photo.name for photo in photos if photo.captioned and photo.split in SPLITS]
    missing = [name for name in wanted if not (root / name).is_file()]
    if missing:
        first = "\n  ".join(missing[:NAMED])
        raise DataError(
            f"{root}: {len(missing)} of the {len(wanted)} photographs that the captions name are "
            f"not there. The first:\n  {first}\n{_advice(args)}"
        )


def _check_space(folder: Path, images: int, size: int) -> None:
    """Refuse before an hour of decoding what the disk cannot hold."""
    needed, free = images * 3 * size * size, shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"{folder}: {images} photographs of {size}x{size} need {needed / 1e9:.1f} GB, "
            f"and {free / 1e9:.1f} GB are free; set data_root in params/config.yaml elsewhere"
        )
