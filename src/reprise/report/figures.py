"""A table drawn as a figure: each of its columns over the number that a row stands for.

Ours are dots with their intervals, printed numbers hollow dots; a row of ours without a place on
the x axis is a level across the axes. Printed numbers of another scale have axes of their own.
Columns of the same quantity, such as one for each kind of layer, are lines in the same axes.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator

from reprise import markdown
from reprise.config import Json, Table
from reprise.report.plots import COLOURS, DASHES, INK, WIDE, Panel, as_svg, small_axes, style
from reprise.settings.project import Plot

_BAR = "95 % interval"
_UNITS = {"G": "billions (G)", "M": "millions (M)"}  # what a unit says by itself to few
_APART = 0.06  # least distance of two lines' names, as a share of the axes
_DECADES = 6  # more ticks than these on a logarithmic axis would touch


@dataclass(frozen=True)
class Key:
    """An entry of the legend.

    ``dot`` is its marker's fill, None where it has no marker; ``bar``: it is that of intervals.
    """

    label: str
    colour: str
    dashes: str = ""
    line: bool = True
    dot: str | None = None
    bar: bool = False


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
class _Line:
    """A column that shares its axes; ``number`` is its name's place, for colour and dashes."""

    name: str
    number: int
    points: list[tuple[float, Json]]

    @property
    def colour(self) -> str:
        return COLOURS[self.number % len(COLOURS)]

    @property
    def dashes(self) -> str:
        return DASHES[self.number // 2 % len(DASHES)]


@dataclass(frozen=True)
class _Quantity:
    """Columns of one quantity as lines in the same axes."""

    title: str
    unit: str
    lines: list[_Line]


@dataclass(frozen=True)
class _Column:
    """What one panel draws: (x, row label, cell) of rows by x, and levels, all with a number.

    ``quantity`` is equal for columns that may share axes; ``compared``: ours with the printed.
    """

    key: str
    label: str
    unit: str
    quantity: tuple[str | None, ...]
    compared: bool
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
    groups = _groups(columns)
    together = list(_together([group for group in groups if len(group) > 1], table.title))
    alone = [part for group in groups if len(group) == 1 for part in _told_apart(group[0])]
    return Figure(
        [*_legend_of_lines(together), *_legend(alone)],
        [
            *(_panel_of_lines(plot, places, one, name) for one in together),
            *(_panel(plot, places, column, name) for column in alone),
        ],
    )


def _columns(table: Table, plot: Plot, made: Json) -> Iterator[_Column]:
    rows = list(zip(table.rows, made["rows"], strict=True))
    placed = [(row.x, row.label, one["cells"]) for row, one in rows if row.x is not None]
    placed.sort(key=lambda point: point[0])
    others = [(row.label, one["cells"]) for row, one in rows if row.x is None and row.run]
    levels = [_Level(label, cells, number) for number, (label, cells) in enumerate(others)]
    compared = markdown.compared_columns(made)
    for key in plot.y:
        metric = table.metrics[key]
        yield _Column(
            key,
            metric.label,
            metric.unit,
            (metric.evaluator, metric.benchmark, metric.metric, metric.unit),
            key in compared,
            [(x, label, cells[key]) for x, label, cells in placed if cells[key]["ours"]],
            [(x, label, cells[key]) for x, label, cells in placed if cells[key]["published"]],
            [level for level in levels if level.cells[key]["ours"]],
        )


def _groups(columns: Sequence[_Column]) -> list[list[_Column]]:
    """Return columns by quantity; those with printed numbers or levels stay alone."""
    groups: dict[object, list[_Column]] = {}
    for number, column in enumerate(columns):
        alone = column.printed or column.levels
        groups.setdefault(number if alone else column.quantity, []).append(column)
    return list(groups.values())


def _together(groups: Sequence[Sequence[_Column]], title: str) -> Iterator[_Quantity]:
    """Yield what shares axes. A line keeps its number from panel to panel.

    A label such as "MSA, speed" names the line and the quantity; without a comma the table's title
    is the quantity's.
    """
    numbers: dict[str, int] = {}
    for group in groups:
        lines = []
        for column in group:
            name, _, quantity = column.label.partition(", ")
            points = [(x, cell["ours"]) for x, _, cell in column.ours]
            lines.append(_Line(name, numbers.setdefault(name, len(numbers)), points))
        yield _Quantity(quantity or title, group[0].unit, lines)


def _told_apart(column: _Column) -> Iterator[_Column]:
    """Yield a column as it is, or ours and the printed apart where they are not compared."""
    if column.compared or not column.printed:
        yield column
        return
    yield replace(column, label=f"{column.label}, ours", printed=[])
    yield replace(column, label=f"{column.label}, published: another scale", ours=[], levels=[])


def _legend_of_lines(quantities: Sequence[_Quantity]) -> Iterator[Key]:
    lines = {line.name: line for one in quantities for line in one.lines}
    for line in lines.values():
        yield Key(line.name, line.colour, line.dashes, dot=line.colour)
    if any(_has_bar(ours) for line in lines.values() for _, ours in line.points):
        yield Key(_BAR, "currentColor", line=False, bar=True)


def _has_bar(ours: Json) -> bool:
    return ours["low"] is not None


def _legend(columns: Sequence[_Column]) -> Iterator[Key]:
    if not columns:
        return
    yield Key("ours", COLOURS[0], dot=COLOURS[0])
    if any(_has_bar(cell["ours"]) for column in columns for _, _, cell in column.ours):
        yield Key(_BAR, COLOURS[0], line=False, bar=True)
    if any(column.printed for column in columns):
        yield Key("published", "currentColor", line=False, dot="none")
    for level in dict.fromkeys(
        (level.label, level.colour, level.dashes) for column in columns for level in column.levels
    ):
        yield Key(*level)


def _panel(plot: Plot, places: Sequence[float], column: _Column, name: str) -> Panel:
    with style(f"{name} {column.key}"):
        figure, axes = small_axes(plot.x, _UNITS.get(column.unit, column.unit))
        _set_x_axis(axes, plot, places)
        _draw(axes, column)
        _mark(axes, plot)
        return Panel(column.label, as_svg(figure, " ".join(_told(plot, column))))


def _panel_of_lines(plot: Plot, places: Sequence[float], quantity: _Quantity, name: str) -> Panel:
    told = [f"{quantity.title} ({quantity.unit}) over {plot.x}."]
    with style(f"{name} {quantity.title}"):
        unit = _UNITS.get(quantity.unit, quantity.unit)
        figure, axes = small_axes(plot.x, unit, WIDE)
        _set_x_axis(axes, plot, places)
        for line in quantity.lines:
            _draw_points(axes, line.points, line.colour, line.dashes)
            shown = (f"{x:g}: {markdown.interval(one, quantity.unit)}" for x, one in line.points)
            told.append(f"{line.name}: {'; '.join(shown)}.")
        if plot.log and all(one["value"] > 0 for line in quantity.lines for _, one in line.points):
            axes.set_yscale("log")
            low, high = axes.get_ylim()
            plain = FuncFormatter(lambda value, _: f"{value:g}")
            axes.yaxis.set_major_formatter(plain)
            axes.yaxis.set_minor_formatter(plain if high < 10 * low else NullFormatter())
        _name_lines(axes, quantity.lines)
        _mark(axes, plot)
        return Panel(quantity.title, as_svg(figure, " ".join(told), "wide"))


def _name_lines(axes: Axes, lines: Sequence[_Line]) -> None:
    """Write each line's name beside its end, moved up where it would touch the one below."""
    axes.autoscale_view()  # or else the axes do not have their range yet
    to_share = axes.transData + axes.transAxes.inverted()
    ends = [
        (to_share.transform((x, one["value"]))[1], line)
        for line in lines
        for x, one in line.points[-1:]
    ]
    least = -_APART
    for share, line in sorted(ends, key=lambda end: end[0]):
        least = max(share, least + _APART)
        # The text is in ink, which can be read on any page; a dot has the line's colour.
        (dot,) = axes.plot([1.025], [least], color=line.colour, transform=axes.transAxes)
        dot.set(marker="o", markersize=5, clip_on=False)
        text = axes.text(1.045, least, line.name, transform=axes.transAxes, parse_math=False)
        text.set(va="center", color=INK)


def _draw_points(
    axes: Axes, points: Sequence[tuple[float, Json]], colour: str, dashes: str = ""
) -> None:
    """Draw ours as a line of dots with their intervals."""
    for x, one in points:
        if _has_bar(one):  # no axes.errorbar: an interval need not hold its value
            ends = [one["low"], one["high"]]
            axes.plot([x, x], ends, color=colour, linewidth=1.2, marker="_", markersize=5)
    pattern = (0, tuple(float(part) for part in dashes.split()) or None)
    values = [one["value"] for _, one in points]
    (line,) = axes.plot([x for x, _ in points], values, color=colour, linestyle=pattern)
    line.set(linewidth=1.6, marker="o")


def _draw(axes: Axes, column: _Column) -> None:
    for level in column.levels:
        dashes = (0, tuple(float(part) for part in level.dashes.split()))
        value = level.cells[column.key]["ours"]["value"]
        axes.axhline(value, color=level.colour, linewidth=1.6, linestyle=dashes)
    _draw_points(axes, [(x, cell["ours"]) for x, _, cell in column.ours], COLOURS[0])
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
    ours = [f"{x:g}: {markdown.interval(cell['ours'], unit)}" for x, _, cell in column.ours]
    said = f", ours: {'; '.join(ours)}" if ours else ""
    yield f"{column.label} ({unit}) over {plot.x}{said}."
    if column.printed:
        printed = (f"{x:g}: {cell['published']['text']}" for x, _, cell in column.printed)
        yield f"Published: {'; '.join(printed)}."
    for level in column.levels:
        yield f"Level of {level.label}: {markdown.interval(level.cells[column.key]['ours'], unit)}."
    for label, x in plot.mark.items():
        yield f"Mark {label} at {x:g}."
