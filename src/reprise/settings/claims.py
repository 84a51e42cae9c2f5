"""Claims: what a paper says about cells of its tables, each as a test that can also fail.

A cell is a row's label where the claim names table and column once, else {table, row, column}.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from reprise.errors import unknown
from reprise.settings.base import Strict

if TYPE_CHECKING:
    from reprise.settings.project import Table


class Cell(Strict):
    """One cell of one table; what is not given stands at the claim."""

    row: str = Field(description="label of the row")
    table: str | None = None
    column: str | None = None


class Place(NamedTuple):
    """Where a cell stands, complete."""

    table: str
    row: str
    column: str


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return {"row": value}
    if not isinstance(value, dict | Cell):
        raise PydanticCustomError("cell", "a cell is a row's label or {table, row, column}")
    return value


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else [value]


CellRef = Annotated[Cell, BeforeValidator(_cell, json_schema_input_type=str | Cell)]
OneOrMore = Annotated[
    tuple[CellRef, ...],
    BeforeValidator(_listed, json_schema_input_type=str | Cell | list[str | Cell]),
    Field(min_length=1),
]


class _Test(Strict):
    """A test: its fields that are cells are what it compares."""

    def named_cells(self) -> Iterator[tuple[str, Cell]]:
        """Yield (key, cell) of every cell as it is written, in the order of the fields."""
        for key in type(self).model_fields:
            value = getattr(self, key)
            for one in value if isinstance(value, tuple) else (value,):
                if isinstance(one, Cell):
                    yield key, one


class Greater(_Test):
    """``better - worse > margin``, against every cell of ``worse``."""

    kind: Literal["greater"]
    better: CellRef
    worse: OneOrMore
    lower_is_better: bool = Field(False, description="true: worse - better > margin")


class NotWorse(_Test):
    """``cell - than >= -margin``, every cell against every one of ``than``: on par or better."""

    kind: Literal["not_worse"]
    cells: OneOrMore
    than: OneOrMore
    lower_is_better: bool = Field(False, description="true: than - cell >= -margin")


class Within(_Test):
    """``|a - b| < margin``: the two are as good as equal."""

    kind: Literal["within"]
    a: CellRef
    b: CellRef


class Monotone(_Test):
    """Every step along the cells goes the same way, by more than the margin."""

    kind: Literal["monotone"]
    cells: tuple[CellRef, ...] = Field(min_length=2)
    direction: Literal["increasing", "decreasing"]


class InteriorMaximum(_Test):
    """The peak exceeds the first and the last cell by more than the margin."""

    kind: Literal["interior_maximum"]
    cells: tuple[CellRef, ...] = Field(min_length=3)
    peak: CellRef = Field(description="one of the cells, neither the first nor the last")

    @model_validator(mode="after")
    def _inside(self) -> Self:
        inner = self.cells[1:-1]
        if self.peak not in inner:
            names = ", ".join(cell.row for cell in inner)
            raise PydanticCustomError("peak", "peak must be one of {names}", {"names": names})
        return self


class RatioAtLeast(_Test):
    """``a / b >= bound``, against every cell of ``b``."""

    kind: Literal["ratio_at_least"]
    a: CellRef
    b: OneOrMore
    bound: float = Field(gt=0)


class DifferenceOfDifferences(_Test):
    """``(a - b) - (c - d) > margin``: one gain is larger than another."""

    kind: Literal["difference_of_differences"]
    a: CellRef
    b: CellRef
    c: CellRef
    d: CellRef


class GrowthExponentBelow(_Test):
    """The slope of log(value) over log(x) is below the bound."""

    kind: Literal["growth_exponent_below"]
    cells: tuple[CellRef, ...] = Field(min_length=2)
    x: tuple[Annotated[float, Field(gt=0)], ...] = Field(description="one number for each cell")
    bound: float

    @model_validator(mode="after")
    def _pairs(self) -> Self:
        if len(self.x) != len(self.cells) or len(set(self.x)) != len(self.x):
            raise PydanticCustomError("x", "x must hold one number for each cell, no two equal")
        return self


Test = Annotated[
    Greater
    | NotWorse
    | Within
    | Monotone
    | InteriorMaximum
    | RatioAtLeast
    | DifferenceOfDifferences
    | GrowthExponentBelow,
    Field(discriminator="kind"),
]


class Claim(Strict):
    """A statement of a paper with its source, and the test that decides whether it holds here.

    What cannot be tested here has a reason instead of a test, so that it is not forgotten.
    """

    statement: str
    source: str = Field(min_length=1)
    confidence: Literal["seen", "seen_in_code", "inferred", "derived"] | None = None
    note: str = Field("", description="where the test here differs from what the paper says")
    table: str | None = Field(None, description="table of the cells that name none")
    column: str | None = Field(None, description="column of the cells that name none")
    test: Test | None = None
    untested: str = Field("", description="instead of a test: why there can be none here")
    printed: bool = Field(
        False, description="true: asked of the printed numbers of its cells, not of ours"
    )
    margin: float = Field(0.0, ge=0, description="in the column's unit")
    beside_print: bool = Field(
        True,
        description="false: the numbers printed in its cells are not of this comparison (other "
        "sizes or lengths), so no printed effect is made of them",
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.test is None) != bool(self.untested):
            raise PydanticCustomError(
                "test", "give either a test, or in untested why there is none"
            )
        for _, cell in self.named_cells():
            for name in ("table", "column"):
                if getattr(cell, name) is None and getattr(self, name) is None:
                    raise PydanticCustomError(
                        "cell",
                        "{row} has no {name}; give the claim or the cell one",
                        {"row": repr(cell.row), "name": name},
                    )
        # Printed numbers have no noise, so among them "not worse" may mean just that.
        needs = (Within,) if self.printed else (Within, NotWorse)
        if isinstance(self.test, needs) and not self.margin:
            kind = self.test.kind
            raise PydanticCustomError("margin", "{kind} needs a margin above 0", {"kind": kind})
        if isinstance(self.test, RatioAtLeast | GrowthExponentBelow) and self.margin:
            raise PydanticCustomError(
                "margin", "{kind} has a bound and takes no margin", {"kind": self.test.kind}
            )
        return self

    def named_cells(self) -> Iterator[tuple[str, Cell]]:
        """Yield (key, cell) of every cell as it is written; none where there is no test."""
        if self.test is not None:
            yield from self.test.named_cells()

    def place(self, cell: Cell) -> Place:
        """Return where a cell of the test stands, with the claim's table and column by default."""
        table, column = cell.table or self.table, cell.column or self.column
        assert table is not None
        assert column is not None
        return Place(table, cell.row, column)

    def places(self) -> list[Place]:
        """Return where every cell that the test reads stands, each once."""
        return list(dict.fromkeys(self.place(cell) for _, cell in self.named_cells()))


def wrong_references(
    claim: Claim, tables: "Mapping[str, Table]"
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield (key below the claim, what is wrong) of what the claim names and its paper lacks."""
    units: dict[str, None] = {}
    for key, written in claim.named_cells():
        place = claim.place(written)
        here = {
            name: ("test", key) if getattr(written, name) else (name,) for name in Place._fields
        }
        if place.table not in tables:
            yield here["table"], unknown("table", place.table, tables)
            continue
        table = tables[place.table]
        labels = [row.label for row in table.rows]
        if place.row not in labels:
            yield here["row"], unknown("row", place.row, labels)
        if place.column in table.metrics:
            units[table.metrics[place.column].unit] = None
        else:
            yield here["column"], unknown("column", place.column, table.metrics)
    if len(units) > 1:
        yield ("test",), f"its cells are in different units: {', '.join(units)}"
