"""Reads the numbers that papers printed: `params/published/<slug>/<table>.csv`."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from reprise.config import Project
from reprise.errors import ConfigError, unknown

COLUMNS = ("row", "metric", "value", "unit", "dataset", "split", "source", "confidence")

# How a number became known: read in the paper, read in code, deduced, computed by us.
CONFIDENCES = ("seen", "seen_in_code", "inferred", "derived")


@dataclass(frozen=True)
class Published:
    """A printed number; ``text`` keeps its digits as printed (68.0, not 68).

    With unit ``text`` it is a printed word, such as an optimiser's name, and has no value.
    """

    row: str
    metric: str
    value: float | None
    text: str
    unit: str
    dataset: str
    split: str
    source: str
    confidence: str


Cells = dict[tuple[str, str], Published]


def read(path: Path) -> Cells:
    """Return (row, metric) -> published number; raise ConfigError naming the line that is wrong."""
    cells: Cells = {}
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise ConfigError(f"{path}: the first line must be {','.join(COLUMNS)}")
            for entry in reader:
                number = _number(entry, f"{path}, line {reader.line_num}")
                if (number.row, number.metric) in cells:
                    raise ConfigError(
                        f"{path}, line {reader.line_num}: row {number.row!r} has {number.metric} "
                        "twice; keep one"
                    )
                cells[number.row, number.metric] = number
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path}: not readable as CSV: {error}") from None
    return cells


def _number(entry: dict[str, str | None], where: str) -> Published:
    text = {key: (value or "").strip() for key, value in entry.items() if key in COLUMNS}
    if len(entry) != len(COLUMNS) or None in entry.values():
        raise ConfigError(f"{where}: expected {len(COLUMNS)} values; quote those with a comma")
    for key in ("row", "metric", "source"):
        if not text[key]:
            raise ConfigError(f"{where}: {key} is empty; every printed number needs one")
    if text["confidence"] not in CONFIDENCES:
        raise ConfigError(f"{where}: {unknown('confidence', text['confidence'], CONFIDENCES)}")
    printed = text.pop("value")
    if text["unit"] == "text" and printed:
        return Published(value=None, text=printed, **text)
    try:
        value = float(printed)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError(f"{where}: value = {printed!r}: expected a number")
    return Published(value=value, text=printed, **text)


def of_table(project: Project, slug: str, name: str) -> Cells:
    """Return the printed numbers of a table, none where it names no CSV.

    Raises ConfigError where a row of the table names a printed row that the CSV does not have.
    """
    table = project.paper(slug).tables[name]
    folder = project.root / "params" / "published" / slug
    cells = read(folder / f"{table.published}.csv") if table.published else {}
    rows = {row for row, _ in cells}
    for index, row in enumerate(table.rows):
        if row.published is not None and row.published not in rows:
            raise ConfigError(
                f"params/papers/{slug}.yaml: tables.{name}.rows.{index}.published: "
                f"{unknown('printed row', row.published, rows)}"
            )
    return cells
