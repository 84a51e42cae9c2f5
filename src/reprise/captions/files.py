"""Caption files in the layouts of public data sets, read into one simple structure.

COCO captions, Karpathy's splits (COCO, Flickr8k, Flickr30k) and FlickrStyle; each may be gzipped.
"""

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reprise.captions.tokens import ImageId
from reprise.errors import DataError

STYLES = ("humorous", "romantic", "factual")
MOST_EMPTY = 0.01  # share of a file's captions that may be empty
NAMED = 5  # empty captions in a message

# An image before its captions are sifted: id, file name, split, captions with their places.
Row = tuple[ImageId, str, str, list[tuple[str, str]]]


@dataclass(frozen=True)
class Captioned:
    """An image with its captions, as written: none empty, at least one."""

    image_id: ImageId
    file_name: str
    captions: tuple[str, ...]
    split: str


@dataclass(frozen=True)
class CaptionFile:
    """The images of a file that have captions, in its order, and what was left out of it.

    ``empty`` says of each caption without text where it stands; ``bare`` are images without any
    caption (left).
    """

    path: Path
    images: tuple[Captioned, ...]
    empty: tuple[str, ...] = ()
    bare: tuple[ImageId, ...] = ()

    def split(self, name: str) -> tuple[Captioned, ...]:
        """Return the images of a split; DataError where there are none."""
        found = tuple(image for image in self.images if image.split == name)
        if not found:
            known = ", ".join(sorted({image.split for image in self.images}))
            raise DataError(f"{self.path}: no image of split {name!r}; it has: {known}")
        return found


def read_coco(path: Path, split: str | None = None, most_empty: float = MOST_EMPTY) -> CaptionFile:
    """Read COCO captions: ``images`` with id and file_name, ``annotations`` with image_id, caption.

    Args:
        path: a .json or .json.gz.
        split: of all images; without it each image names its own under "split", which COCO's own
            files do not.
        most_empty: share of the captions that may be empty.

    Raises DataError naming the file, the key and what was expected.
    """
    file = _File(path, "COCO captions")
    top = file.object(file.load(), "the file")
    captions: dict[ImageId, list[tuple[str, str]]] = {}
    entries: dict[ImageId, tuple[str, str]] = {}
    for where, image in file.objects(top, "images"):
        number = file.image_id(image, "id", where)
        if number in entries:
            raise file.twice(number)
        own = split if split is not None else file.text(image, "split", where)
        entries[number] = (file.text(image, "file_name", where), own)
        captions[number] = []
    for where, annotation in file.objects(top, "annotations"):
        number = file.image_id(annotation, "image_id", where)
        if number not in captions:
            raise file.wrong(f"{where}.image_id", "the id of one of the images", number)
        caption = file.text(annotation, "caption", where, empty=True)
        captions[number].append((f"{where}.caption", caption))
    rows = ((number, *entry, captions[number]) for number, entry in entries.items())
    return file.sift(rows, most_empty)


def read_karpathy(path: Path, most_empty: float = MOST_EMPTY) -> CaptionFile:
    """Read Karpathy's layout: ``images`` with filename, split, sentences (raw), imgid or cocoid.

    COCO's id and subfolder ("cocoid", "filepath") are taken where present; "restval" is training
    data, as everyone who trains on this split uses it. Arguments and errors as `read_coco`.
    """
    file = _File(path, "Karpathy's captions")
    rows: list[Row] = []
    for where, image in file.objects(file.object(file.load(), "the file"), "images"):
        number = file.image_id(image, "cocoid" if "cocoid" in image else "imgid", where)
        name = file.text(image, "filename", where)
        folder = file.text(image, "filepath", where, empty=True) if "filepath" in image else ""
        split = file.text(image, "split", where)
        captions = [
            (f"{place}.raw", file.text(sentence, "raw", place, empty=True))
            for place, sentence in file.objects(image, "sentences", f"{where}.")
        ]
        split = "train" if split == "restval" else split
        rows.append((number, f"{folder}/{name}".lstrip("/"), split, captions))
    return file.sift(rows, most_empty)


def read_flickrstyle(path: Path, style: str, most_empty: float = MOST_EMPTY) -> CaptionFile:
    """Read one style of FlickrStyle: a list of image_id, file_name, split and a key per style.

    Args:
        path: a .json or .json.gz.
        style: "humorous", "romantic" or "factual"; its key holds a caption or a list of them.
        most_empty: as `read_coco`.

    Raises DataError naming the file, the key and what was expected.
    """
    if style not in STYLES:
        raise DataError(f"{path}: style {style!r} is none of {', '.join(STYLES)}")
    file = _File(path, "FlickrStyle captions")
    rows: list[Row] = []
    for where, image in file.objects({"": file.load()}, ""):
        number = file.image_id(image, "image_id", where)
        said = image.get(style)
        several = [said] if isinstance(said, str) else said
        if not isinstance(several, list) or not all(isinstance(one, str) for one in several):
            raise file.wrong(f"{where}.{style}", "a caption or a list of captions", said)
        captions = [(f"{where}.{style}", caption) for caption in several]
        name, split = (file.text(image, key, where) for key in ("file_name", "split"))
        rows.append((number, name, split, captions))
    return file.sift(rows, most_empty)


def read_results(path: Path) -> dict[ImageId, str]:
    """Read captions to be scored in COCO's results layout: a list of image_id and caption.

    An empty caption is one: it scores 0. Raises DataError as `read_coco`, and for an image that
    has two captions.
    """
    file = _File(path, "COCO caption results")
    found: dict[ImageId, str] = {}
    for where, entry in file.objects({"": file.load()}, ""):
        number = file.image_id(entry, "image_id", where)
        if number in found:
            raise file.twice(number)
        found[number] = file.text(entry, "caption", where, empty=True)
    return found


class _File:
    """A JSON file under reading: every complaint names it, the key and what was expected."""

    def __init__(self, path: Path, layout: str) -> None:
        self.path, self.layout = path, layout

    def load(self) -> object:
        try:
            content = self.path.read_bytes()
            if self.path.suffix == ".gz":
                content = gzip.decompress(content)
            value: object = json.loads(content)
        except FileNotFoundError:
            raise DataError(
                f"{self.path}: no such file; {self.layout} are expected there"
            ) from None
        except (OSError, EOFError, ValueError) as error:
            raise DataError(f"{self.path}: not readable as JSON ({error})") from None
        return value

    def wrong(self, key: str, expected: str, found: object) -> DataError:
        shown = repr(found) if len(repr(found)) < 80 else f"{repr(found)[:77]}..."
        return DataError(f"{self.path} ({self.layout}): {key}: expected {expected}, found {shown}")

    def twice(self, number: ImageId) -> DataError:
        return DataError(f"{self.path} ({self.layout}): image {number!r} stands there twice")

    def object(self, value: object, key: str) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            raise self.wrong(key, "an object", value)
        return value

    def objects(
        self, parent: Mapping[str, Any], key: str, before: str = ""
    ) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield the objects of the list under a key, each with its place for messages."""
        value = parent.get(key)
        if not isinstance(value, list):
            raise self.wrong(f"{before}{key}" or "the file", "a list of objects", value)
        for number, entry in enumerate(value):
            where = f"{before}{key}[{number}]"
            yield where, self.object(entry, where)

    def text(self, parent: Mapping[str, Any], key: str, where: str, empty: bool = False) -> str:
        value = parent.get(key)
        if not isinstance(value, str) or not (value or empty):
            raise self.wrong(f"{where}.{key}", "text", value)
        return value

    def image_id(self, parent: Mapping[str, Any], key: str, where: str) -> ImageId:
        value = parent.get(key)
        if not isinstance(value, (int, str)) or isinstance(value, bool):
            raise self.wrong(f"{where}.{key}", "a whole number or text", value)
        return value

    def sift(
        self,
        rows: Iterable[Row],
        most_empty: float,
    ) -> CaptionFile:
        """Set aside empty captions and images without any; DataError where they are too many."""
        images, bare, empty = list[Captioned](), list[ImageId](), list[str]()
        seen, total = set[ImageId](), 0
        for number, name, split, captions in rows:
            if number in seen:
                raise self.twice(number)
            seen.add(number)
            total += len(captions)
            kept = tuple(text for _, text in captions if text.strip())
            empty += [f"{place} (image {number!r})" for place, text in captions if not text.strip()]
            if kept:
                images.append(Captioned(number, name, kept, split))
            else:
                bare.append(number)
        if len(empty) > most_empty * total:
            first = ", ".join(empty[:NAMED])
            raise DataError(
                f"{self.path} ({self.layout}): {len(empty)} of {total} captions are empty, more "
                f"than {most_empty:.2%}. The first: {first}"
            )
        if not images:
            raise DataError(f"{self.path} ({self.layout}): no image has a caption")
        return CaptionFile(self.path, tuple(images), tuple(empty), tuple(bare))
