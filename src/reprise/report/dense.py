"""Predictions of several runs on the same images, side by side beneath the table that scores them.

An evaluator says in its record what can be compared: `info.compared`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, Field, ValidationError

from reprise import results
from reprise.config import Json
from reprise.plan import RunJob, TableJob, split_run
from reprise.report import pictures, repaint
from reprise.results import ResultError

MOST = 8  # images of a gallery
BUDGET = 3_000_000  # bytes of all galleries of the page, a third more in the page's letters
_IMAGE = "image"  # the shared array that is the image itself, not something about it
_SIDE = 128  # images are enlarged to at least so many pixels
_LONGEST = 480  # photographs are shrunk to at most so many pixels
_TITLES = {
    "segment": "The class of every pixel: truth and predictions side by side",
    "detect": "Objects: truth and what was found, side by side",
}


class Compared(BaseModel):
    """``info.compared`` of an evaluation's record.

    Arrays ``shared`` are the same for every run, those in ``own`` the run's; each holds a picture
    per index, an image's number in its split. ``legend`` has the colour of each class.
    """

    indices: tuple[int, ...]
    shared: tuple[str, ...]
    own: tuple[str, ...] = Field(min_length=1)
    legend: tuple[tuple[str, Annotated[str, Field(pattern="^#[0-9a-fA-F]{6}$")]], ...]


@dataclass(frozen=True)
class Picture:
    """An image as it is stored, and the size at which it is shown."""

    webp: bytes
    width: int
    height: int
    enlarged: bool


@dataclass(frozen=True)
class Shown:
    """A picture with its words; None where the run has none of this image."""

    label: str
    alt: str
    picture: Picture | None


@dataclass(frozen=True)
class Card:
    """One image, what is true of it and each run's prediction, in the order of the rows."""

    name: str
    shown: list[Shown]

    @property
    def size(self) -> int:
        return sum(len(one.picture.webp) for one in self.shown if one.picture)

    @property
    def width(self) -> int:
        """That of the widest picture, in the page's pixels."""
        return max((one.picture.width for one in self.shown if one.picture), default=0)


@dataclass(frozen=True)
class Gallery:
    """What the rows of a table predict for some of the ``images`` that were drawn.

    ``kind`` is the evaluator's, and ``own`` names what it made of an image. ``sources`` are the
    (paper, run, evaluator) whose pictures these are.
    """

    kind: str
    own: tuple[str, ...]
    data: str
    split: str
    legend: repaint.Legend
    images: int
    cards: list[Card]
    sources: frozenset[tuple[str, str, str]]

    @property
    def title(self) -> str:
        """What the pictures show, in words."""
        return _TITLES.get(self.kind, "Predictions side by side")


Evaluated = tuple[RunJob, Mapping[str, Json]]
Galleries = dict[tuple[str, str], list[Gallery]]


@dataclass
class _Record:
    """One run's predictions: its place in the table, its record, and the file of its pictures."""

    label: str
    job: RunJob
    evaluator: str
    evaluation: Json
    said: Compared
    arrays: dict[str, NDArray[np.generic]] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return self.job.eval_folder / f"{self.evaluator}.npz"

    @property
    def data(self) -> Json:
        data: Json = self.evaluation["data"]
        return data

    @property
    def alike(self) -> object:
        """What must be equal for pictures to stand side by side."""
        where = (self.data.get("digest"), self.data.get("split"))
        return (self.evaluation["kind"], where, self.said.shared, self.said.own, self.said.legend)

    def picture(self, array: str, index: int) -> Picture | None:
        """Return a picture of an image; raise ResultError where the file is damaged."""
        if index not in self.said.indices:
            return None
        if not self.arrays:
            self.arrays = self._read()
        at = self.said.indices.index(index)
        shown = self.arrays[array][at]
        if _IMAGE in self.arrays and array != _IMAGE:
            image, kind = self.arrays[_IMAGE][at], self.evaluation["kind"]
            shown = repaint.repainted(kind, self.said.legend, image, shown)
        return _picture(shown, self._least)

    @property
    def _least(self) -> int:
        """Least side to show, so that an image is as large as one that was enlarged to draw on."""
        sizes: list[tuple[int, ...]] = [one.shape[1:3] for one in self.arrays.values()]
        return max([_SIDE, *(min(size) for size in sizes if max(size) <= _LONGEST)])

    def _read(self) -> dict[str, NDArray[np.generic]]:
        arrays = dict(results.read_arrays(self.path, [*self.said.shared, *self.said.own]))
        for name, images in arrays.items():
            problem = pictures.wrong(images)
            if not problem and len(images) != len(self.said.indices):
                problem = f"{len(images)} images for {len(self.said.indices)} indices"
            if problem:
                raise ResultError(f"{self.path}: {name}: {problem}")
        return arrays


def galleries(tables: Iterable[TableJob], runs: Sequence[Evaluated]) -> Galleries:
    """Return the galleries of each (paper, table) whose columns read evaluators with pictures.

    A table has one for every evaluator of its columns, more where the rows' data or classes differ.
    All of the page share `BUDGET` evenly; each shows one image at least.

    Args:
        tables: those of the page.
        runs: the finished runs of all papers, by seed, each with its evaluations by name. The first
            seed that has an evaluation stands for its run.

    Raises ResultError naming the file where a record or its pictures are damaged.
    """
    finished: dict[tuple[str, str, str], tuple[RunJob, Json]] = {}
    for job, evaluations in runs:
        for name, evaluation in evaluations.items():
            finished.setdefault((job.slug, job.name, name), (job, evaluation))
    found = {
        (job.slug, job.name): [
            group for records in _records(job, finished).values() for group in _comparable(records)
        ]
        for job in tables
    }
    share = BUDGET // max(1, sum(map(len, found.values())))
    return {
        table: [_gallery(records, share) for records in groups] for table, groups in found.items()
    }


def other_pictures(evaluation: Json) -> list[Json]:
    """Return the pictures of an evaluation less those that galleries show."""
    shown: list[Json] = evaluation.get("pictures", [])
    compared = _of(evaluation)
    if not isinstance(compared, dict):
        return shown
    names = {*compared["shared"], *compared["own"]}
    return [picture for picture in shown if picture["array"] not in names]


def _of(evaluation: Json) -> object:
    """Return what can be compared of an evaluation, unchecked; None where there is nothing."""
    return (evaluation.get("info") or {}).get("compared")


def _records(
    job: TableJob, finished: Mapping[tuple[str, str, str], tuple[RunJob, Json]]
) -> dict[str, list[_Record]]:
    """Return evaluator of a column -> the records that the rows have in its columns, row by row."""
    found: dict[str, list[_Record]] = {}
    for row in job.table.rows:
        cells: dict[str, dict[tuple[str, str, str], str]] = {}
        for column, metric in job.table.metrics.items():
            if row.run is not None and metric.evaluator is not None:
                run = split_run(job.slug, row.runs.get(column, row.run))
                source = (*run, row.evaluators.get(column, metric.evaluator))
                if source in finished and _of(finished[source][1]) is not None:
                    cells.setdefault(metric.evaluator, {}).setdefault(source, metric.label)
        for evaluator, sources in cells.items():
            for source, column in sources.items():
                label = f"{row.label}, {column}" if len(sources) > 1 else row.label
                record = _record(label, *finished[source], source[2])
                if record.said.indices:
                    found.setdefault(evaluator, []).append(record)
    return found


def _record(label: str, job: RunJob, evaluation: Json, evaluator: str) -> _Record:
    try:
        said = Compared.model_validate(_of(evaluation))
    except ValidationError as error:
        wrong = error.errors()[0]
        key = ".".join(str(part) for part in ("info", "compared", *wrong["loc"]))
        path = job.eval_folder / f"{evaluator}.json"
        raise ResultError(f"{path}: {key}: {wrong['msg']}") from None
    return _Record(label, job, evaluator, evaluation, said)


def _comparable(records: Iterable[_Record]) -> list[list[_Record]]:
    """Return records in groups of the same images, arrays and classes."""
    groups: dict[object, list[_Record]] = {}
    for record in records:
        groups.setdefault(record.alike, []).append(record)
    return list(groups.values())


def _gallery(records: Sequence[_Record], share: int) -> Gallery:
    first = records[0]
    indices = list(dict.fromkeys(index for one in records for index in one.said.indices))
    count = min(MOST, len(indices))
    cards: list[Card] = []
    for place in range(count):  # evenly spread
        card = _card(records, indices[place * len(indices) // count])
        if cards and sum(one.size for one in cards) + card.size > share:
            break
        cards.append(card)
    return Gallery(
        first.evaluation["kind"],
        first.said.own,
        str(first.data.get("name")),
        _split(first),
        repaint.recoloured(first.evaluation["kind"], first.said.legend),
        len(indices),
        cards,
        frozenset((one.job.slug, one.job.name, one.evaluator) for one in records),
    )


def _split(record: _Record) -> str:
    return str(record.data.get("split"))


def _card(records: Sequence[_Record], index: int) -> Card:
    name = f"{_split(records[0])} image {index}"
    return Card(name, [*_shared(records, index, name), *_own(records, index, name)])


def _shared(records: Sequence[_Record], index: int, name: str) -> Iterator[Shown]:
    """Yield what is the same for all, from the first run that has this image."""
    record = next(one for one in records if index in one.said.indices)
    for array in record.said.shared:
        alt = name if array == _IMAGE else f"{array} of {name}"
        yield Shown(array, alt, record.picture(array, index))


def _own(records: Sequence[_Record], index: int, name: str) -> Iterator[Shown]:
    """Yield each run's own pictures; the array is named where there are several of a run."""
    for record in records:
        alone = len(record.said.own) == 1
        for array in record.said.own:
            alt = f"{'prediction' if alone else array} of {record.label} for {name}"
            label = record.label if alone else f"{record.label}: {array}"
            yield Shown(label, alt, record.picture(array, index))


def _picture(image: NDArray[np.generic], least: int = _SIDE) -> Picture:
    """Return an image exactly as it is where it is small; a photograph shrunk and compressed."""
    height, width = image.shape[:2]
    factor = pictures.factor(min(height, width), least)
    made = Image.fromarray(image)
    made.thumbnail((_LONGEST, _LONGEST))  # never larger than it is
    size = (factor * made.width, factor * made.height)
    return Picture(pictures.webp(made, exact=factor > 1), *size, factor > 1)
