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
    """One column of words: which numbers of which metric, a column of the table's JSON."""

    metric_of: Json
    kind: str

    @property
    def key(self) -> str:
        """The metric's name in the table's cells."""
        return str(self.metric_of["key"])

    @property
    def unit(self) -> str:
        """The metric's unit; empty where it has none."""
        return str(self.metric_of["unit"])

    @property
    def metric(self) -> str:
        """The metric with its unit."""
        label = str(self.metric_of["label"])
        return f"{label} ({self.unit})" if self.unit else label


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

    def filled(self) -> "Grid":
        """Return it without the rows that have nothing but their label."""
        return Grid(self.columns, [row for row in self.rows if any(row[1:])])


def of_table(table: Json, known: Known) -> Grid:
    """Return a table's grid; a kind of number that no row has, has no column.

    Args:
        table: as `reprise.tables` wrote it.
        known: the reference's cells, of `reprise.reference.cells`.
    """
    columns = list(_columns(table, known))
    rows = [
        [markdown.row_name(row), *(_words(table, row, column, known) for column in columns)]
        for row in table["rows"]
    ]
    return Grid(columns, rows)


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
                yield Column(one, kind)


def _words(table: Json, row: Json, column: Column, known: Known) -> str:
    cell = row["cells"][column.key]
    if column.kind == PUBLISHED:
        return str(cell["published"]["text"]) if cell["published"] else ""
    if column.kind == OURS:
        return markdown.ours(row, cell, column.metric_of, table["seeds"])
    if column.kind == BESIDE:
        return markdown.beside_print(cell)
    if column.kind == GAIN:
        return markdown.gain(cell, column.unit, table)
    found = known.get((row["label"], column.key))
    if found is None:
        return ""
    said = markdown.of_reference(found, column.metric_of)
    return markdown.interval(found["ours"], column.unit) + (f" ({said})" if said else "")
