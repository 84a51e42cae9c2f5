"""A table as rows of words: printed, ours and the reference side by side, metric by metric.

`report.md` and the terminal show the same grid; the page shows the same numbers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from reprise import markdown
from reprise.config import Json
from reprise.report.gather import Known

PUBLISHED, OURS, BESIDE, GAIN = "published", "ours", "beside print", "gain"
REFERENCE = "reference"


@dataclass(frozen=True)
class Column:
    """One column of words: which numbers of which metric."""

    key: str
    label: str
    unit: str
    kind: str

    @property
    def metric(self) -> str:
        """The metric with its unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label


@dataclass(frozen=True)
class Grid:
    """A table's rows in words; each has its label first, then a text for every column."""

    columns: list[Column]
    rows: list[list[str]]

    def chosen(self, places: Sequence[int]) -> "Grid":
        """Return the same rows with some of the columns alone, by their place."""
        return Grid(
            [self.columns[place] for place in places],
            [[row[0], *(row[1 + place] for place in places)] for row in self.rows],
        )


def of_table(table: Json, known: Known) -> Grid:
    """Return a table's grid; a kind of number that no row has, has no column.

    Args:
        table: as `reprise.tables` wrote it.
        known: the reference's cells, of `reprise.reference.cells`.
    """
    columns = list(_columns(table, known))
    rows = [
        [row["label"], *(_words(table, row, column, known) for column in columns)]
        for row in table["rows"]
    ]
    return Grid(columns, rows)


def ours(cell: Json, unit: str, row: Json, seeds: int) -> str:
    """Return a cell's own number with its interval, or in a word why there is none."""
    if cell["ours"]:
        notes = [] if cell["status"] == "measured" else ["partial"]
        if len(cell["seeds"]) != seeds:
            notes.append(_seeds(cell["seeds"]))
        return markdown.interval(cell["ours"], unit) + (f" ({', '.join(notes)})" if notes else "")
    if cell["text"] is not None:
        return str(cell["text"])
    return str(cell["status"]).partition(":")[0] if row["run"] else ""


def _columns(table: Json, known: Known) -> Iterator[Column]:
    printed, compared = markdown.printed_columns(table), markdown.compared_columns(table)
    cells = [row["cells"] for row in table["rows"]]
    for one in table["columns"]:
        key, alone = one["key"], one["printed"]
        kinds = {
            PUBLISHED: alone or key in printed,
            OURS: not alone,
            BESIDE: key in compared,
            GAIN: any(cell[key]["gain"] for cell in cells),
            REFERENCE: any(column == key for _, column in known),
        }
        for kind, shown in kinds.items():
            if shown:
                yield Column(key, one["label"], one["unit"], kind)


def _words(table: Json, row: Json, column: Column, known: Known) -> str:
    cell = row["cells"][column.key]
    if column.kind == PUBLISHED:
        return str(cell["published"]["text"]) if cell["published"] else ""
    if column.kind == OURS:
        return ours(cell, column.unit, row, table["seeds"])
    if column.kind == BESIDE:
        return markdown.beside_print(cell)
    if column.kind == GAIN:
        return markdown.gain(cell, column.unit, table)
    found = known.get((row["label"], column.key))
    if found is None:
        return ""
    stale = ", stale" if found["stale"] else ""
    return f"{markdown.interval(found['ours'], column.unit)} ({_seeds(found['seeds'])}{stale})"


def _seeds(seeds: Sequence[int]) -> str:
    return f"{len(seeds)} seed{'' if len(seeds) == 1 else 's'}"
