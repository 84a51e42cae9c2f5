"""A table drawn as a figure: each of its columns over the number that a row stands for.

Ours are dots with their intervals, printed numbers hollow dots; a row of ours without a place on
the x axis is a level across the axes.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from reprise import markdown
from reprise.config import Json, Table
from reprise.report.plots import COLOURS, DASHES, INK, Panel, as_svg, small_axes, style
from reprise.settings.project import Plot

_DECADES = 6  # more ticks than these on a logarithmic axis would touch


@dataclass(frozen=True)
class Key:
    """An entry of the legend; ``dot`` is its marker's fill, None where it has no marker."""

    label: str
    colour: str
    dashes: str = ""
    line: bool = True
    dot: str | None = None


@dataclass(frozen=True)
class Figure:
    """The panels of a table's figure, with one legend for all."""

    legend: list[Key]
    panels: list[Panel]


@dataclass(frozen=True)
class _Level:
    """A row without a place on the x axis."""

    label: str
    cells: Json
    style: int

    @property
    def colour(self) -> str:
        return COLOURS[1 + self.style % (len(COLOURS) - 1)]

    @property
    def dashes(self) -> str:
        """SVG dash pattern, never a full line: that is ours."""
        return DASHES[1 + self.style % (len(DASHES) - 1)]


@dataclass(frozen=True)
class _Column:
    """What one panel draws: (x, row label, cell) of rows by x, and levels, all with a number."""

    key: str
    label: str
    unit: str
    ours: list[tuple[float, str, Json]]
    printed: list[tuple[float, str, Json]]
    levels: list[_Level]


def of_table(table: Table, made: Json) -> Figure | None:
    """Return the figure of a built table; None where it has no plot, or no number of ours yet."""
    plot = table.plot
    if plot is None:
        return None
    columns = [column for column in _columns(table, plot, made) if column.ours]
    if not columns:
        return None
    places = [row.x for row in table.rows if row.x is not None]
    name = f"{made['paper']} {made['table']}"
    return Figure(
        list(_legend(columns)), [_panel(plot, places, column, name) for column in columns]
    )


def _columns(table: Table, plot: Plot, made: Json) -> Iterator[_Column]:
    rows = list(zip(table.rows, made["rows"], strict=True))
    placed = [(row.x, row.label, one["cells"]) for row, one in rows if row.x is not None]
    placed.sort(key=lambda point: point[0])
    others = [(row.label, one["cells"]) for row, one in rows if row.x is None and row.run]
    levels = [_Level(label, cells, number) for number, (label, cells) in enumerate(others)]
    for key in plot.y:
        yield _Column(
            key,
            table.metrics[key].label,
            table.metrics[key].unit,
            [(x, label, cells[key]) for x, label, cells in placed if cells[key]["ours"]],
            [(x, label, cells[key]) for x, label, cells in placed if cells[key]["published"]],
            [level for level in levels if level.cells[key]["ours"]],
        )


def _legend(columns: Sequence[_Column]) -> Iterator[Key]:
    yield Key("ours", COLOURS[0], dot=COLOURS[0])
    if any(column.printed for column in columns):
        yield Key("published", "currentColor", line=False, dot="none")
    for level in dict.fromkeys(
        (level.label, level.colour, level.dashes) for column in columns for level in column.levels
    ):
        yield Key(*level)


def _panel(plot: Plot, places: Sequence[float], column: _Column, name: str) -> Panel:
    with style(f"{name} {column.key}"):
        figure, axes = small_axes(plot.x, column.unit)
        _set_x_axis(axes, plot, places)
        _draw(axes, column)
        _mark(axes, plot)
        return Panel(column.label, as_svg(figure, " ".join(_told(plot, column))))


def _draw(axes: Axes, column: _Column) -> None:
    for level in column.levels:
        dashes = (0, tuple(float(part) for part in level.dashes.split()))
        value = level.cells[column.key]["ours"]["value"]
        axes.axhline(value, color=level.colour, linewidth=1.6, linestyle=dashes)
    ours = [(x, cell["ours"]) for x, _, cell in column.ours]
    for x, one in ours:
        if one["low"] is not None:  # no axes.errorbar: an interval need not hold its value
            ends = [one["low"], one["high"]]
            axes.plot([x, x], ends, color=COLOURS[0], linewidth=1.2, marker="_", markersize=5)
    values = [one["value"] for _, one in ours]
    axes.plot([x for x, _ in ours], values, color=COLOURS[0], linewidth=1.6, marker="o")
    printed = [cell["published"]["value"] for _, _, cell in column.printed]
    (dots,) = axes.plot([x for x, _, _ in column.printed], printed, color=INK, linestyle="")
    dots.set(marker="o", markerfacecolor="none", markersize=6)


def _mark(axes: Axes, plot: Plot) -> None:
    """Draw the marks, each with its label above the axes, a line of text higher than the last."""
    transform = axes.get_xaxis_transform()  # x in data, y as a share of the axes
    left, right = axes.get_window_extent().intervalx
    for number, (label, x) in enumerate(plot.mark.items()):
        axes.axvline(x, color=INK, alpha=0.6, linewidth=1.2, linestyle=(0, (5, 2)))
        share = (axes.transData.transform((x, 0))[0] - left) / (right - left)
        text = axes.text(x, 1.02 + 0.08 * number, label, transform=transform, parse_math=False)
        side = "left" if share < 0.25 else "right" if share > 0.75 else "center"
        text.set(ha=side, va="bottom", fontsize=8, color=INK)


def _set_x_axis(axes: Axes, plot: Plot, places: Sequence[float]) -> None:
    """Scale the axis to all places and marks, drawn or not, so that panels share it."""
    shown = [*places, *plot.mark.values()]
    low, high = min(shown), max(shown)
    if not plot.log:
        pad = 0.05 * (high - low) or 1.0
        axes.set_xlim(low - pad, high + pad)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
        return
    threshold = min(x for x in places if x > 0) / 2
    if low == 0:
        axes.set_xscale("symlog", linthresh=threshold, linscale=0.5)
        axes.set_xlim(-threshold / 3, high * 1.3)
        ticks = [0.0, *_decades(2 * threshold, high)]
    else:
        axes.set_xscale("log")
        axes.set_xlim(low / 1.3, high * 1.3)
        ticks = _decades(low, high)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _decades(low: float, high: float) -> list[float]:
    """Return ticks in [low / 1.3, high * 1.3]: powers of ten, or their 1, 2, 5 on short axes."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    step = math.ceil(len(exponents) / _DECADES)
    for steps, factors in ((step, (1,)), (1, (1, 2, 5))):
        ticks = [factor * 10.0**exponent for exponent in exponents[::steps] for factor in factors]
        inside = [tick for tick in ticks if low / 1.3 <= tick <= high * 1.3]
        if len(inside) > 1:
            break
    return inside or sorted({low, high})


def _told(plot: Plot, column: _Column) -> Iterator[str]:
    """Yield the sentences that say what a panel shows."""
    unit = column.unit
    ours = (f"{x:g}: {markdown.interval(cell['ours'], unit)}" for x, _, cell in column.ours)
    yield f"{column.label} ({unit}) over {plot.x}, ours: {'; '.join(ours)}."
    if column.printed:
        printed = (f"{x:g}: {cell['published']['text']}" for x, _, cell in column.printed)
        yield f"Published: {'; '.join(printed)}."
    for level in column.levels:
        yield f"Level of {level.label}: {markdown.interval(level.cells[column.key]['ours'], unit)}."
    for label, x in plot.mark.items():
        yield f"Mark {label} at {x:g}."
