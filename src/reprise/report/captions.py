"""Captions of the same images by several runs, image by image."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from reprise import results
from reprise.config import Json, Table
from reprise.plan import RunJob
from reprise.report import pictures, rows
from reprise.results import ResultError

ARRAY = "image"  # the array of a caption evaluator that holds its items' images
_SIDE = 144  # images are enlarged to at least so many pixels


class Item(BaseModel):
    """An image of an evaluation's record; ``unseen`` is None where the question does not arise."""

    index: int
    references: tuple[str, ...]
    caption: str
    unseen: bool | None = None


class Captions(BaseModel):
    """``info.captions`` of an evaluation's record; ``beams`` is None where each run has its own."""

    style: str
    beams: int | None = None
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Picture:
    """An image as it is stored, and the size at which it is shown."""

    png: bytes
    width: int
    height: int
    enlarged: bool


@dataclass(frozen=True)
class Card:
    """One image with its references and each run's caption, None where the run has none."""

    index: int
    picture: Picture
    references: tuple[str, ...]
    unseen: bool
    captions: list[tuple[str, str | None]]

    @property
    def alt(self) -> str:
        return next(iter(self.references), f"image {self.index}")


@dataclass(frozen=True)
class Gallery:
    """What every run with one evaluator says of its images, which are of a data set's split."""

    data: str
    split: str
    style: str
    beams: int | None
    cards: list[Card]


@dataclass(frozen=True)
class _Record:
    """One run's captions, and the file of their images."""

    label: str
    said: Captions
    arrays: Path

    @property
    def items(self) -> dict[int, Item]:
        return {item.index: item for item in self.said.items}


Evaluated = tuple[RunJob, Mapping[str, Json]]


def galleries(slug: str, tables: Iterable[Table], runs: Sequence[Evaluated]) -> list[Gallery]:
    """Return a gallery for each caption evaluator of a paper that shows any image.

    Args:
        slug: the paper.
        tables: its tables; their rows name the runs and give their order.
        runs: its finished runs, by seed, each with its evaluations by name.

    Raises ResultError naming the file where a record or its images are damaged.
    """
    labels = rows.labels(slug, tables)
    order = {run: number for number, run in enumerate(labels)}
    ranked = sorted(runs, key=lambda one: order.get((one[0].slug, one[0].name), len(order)))
    found: dict[str, dict[str, tuple[RunJob, Json]]] = {}
    for job, evaluations in ranked:
        for name, evaluation in evaluations.items():
            if _of(evaluation) is not None:
                found.setdefault(name, {}).setdefault(job.name, (job, evaluation))  # first seed
    made = [_gallery(name, list(by_run.values()), labels) for name, by_run in found.items()]
    return [gallery for gallery in made if gallery.cards]


def other_pictures(evaluation: Json) -> list[Json]:
    """Return the pictures of an evaluation less those that its gallery of captions shows."""
    shown: list[Json] = evaluation.get("pictures", [])
    if _of(evaluation) is None:
        return shown
    return [picture for picture in shown if picture["array"] != ARRAY]


def _of(evaluation: Json) -> object:
    """Return the captions of an evaluation, unchecked; None where it has none."""
    return (evaluation.get("info") or {}).get("captions")


def _gallery(name: str, found: Sequence[tuple[RunJob, Json]], labels: rows.Labels) -> Gallery:
    names = rows.told_apart([(job.slug, job.name) for job, _ in found], labels)
    records = [
        _record(job, name, evaluation, names[job.slug, job.name]) for job, evaluation in found
    ]
    first, data = records[0].said, found[0][1]["data"]
    cards = list(_cards(records))
    return Gallery(str(data.get("name")), str(data.get("split")), first.style, first.beams, cards)


def _record(job: RunJob, name: str, evaluation: Json, label: str) -> _Record:
    path = job.eval_folder / f"{name}.json"
    try:
        said = Captions.model_validate(_of(evaluation))
    except ValidationError as error:
        wrong = error.errors()[0]
        key = ".".join(str(part) for part in ("info", "captions", *wrong["loc"]))
        raise ResultError(f"{path}: {key}: {wrong['msg']}") from None
    return _Record(label, said, path.with_suffix(".npz"))


def _cards(records: Sequence[_Record]) -> Iterator[Card]:
    """Yield a card for every image, in the order in which the records have them."""
    items = [record.items for record in records]
    known: set[int] = set()
    for record in records:
        if all(item.index in known for item in record.said.items):
            continue  # most often all runs have the images of the first
        images = _images(record)
        for place, item in enumerate(record.said.items):
            if item.index not in known:
                known.add(item.index)
                captions = [
                    (other.label, own[item.index].caption if item.index in own else None)
                    for other, own in zip(records, items, strict=True)
                ]
                shown = _picture(images[place])
                yield Card(item.index, shown, item.references, bool(item.unseen), captions)


def _images(record: _Record) -> NDArray[np.generic]:
    images = results.read_arrays(record.arrays, [ARRAY])[ARRAY]
    problem = pictures.wrong(images)
    if not problem and len(images) != len(record.said.items):
        problem = f"{len(images)} images for {len(record.said.items)} captions"
    if problem:
        raise ResultError(f"{record.arrays}: {ARRAY}: {problem}")
    return images


def _picture(image: NDArray[np.generic]) -> Picture:
    height, width = image.shape[:2]
    factor = pictures.factor(min(height, width), _SIDE)
    return Picture(pictures.png(image), factor * width, factor * height, factor > 1)
