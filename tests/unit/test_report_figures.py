"""Tables drawn as figures: what is drawn, where on the axis, and what a parameter file may ask."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fabricated import fabricate, table_job, workspace
from matplotlib.axes import Axes
from pages import chromium, opened, page, squeezed

from reprise import markdown, tables
from reprise.config import Project, load_project
from reprise.errors import ConfigError
from reprise.plan import run_jobs
from reprise.report import build, figures, plots

PLOT = {"x": "noise $variance", "log": True, "y": ["probe_top1"], "mark": {"chosen": 0.016}}
PLACES = {"plain": 0.0, "learned": 0.01, "swept": 1}


def edited(root: Path, plot: dict[str, Any] | None, places: dict[str, float]) -> Project:
    """The toy workspace with a plot, and an x at some of its rows."""
    file = root / "params/papers/toy.yaml"
    raw = yaml.safe_load(file.read_text())
    table = raw["tables"]["main"]
    table["plot"] = plot
    for row in table["rows"]:
        row.pop("x", None)
        if row["label"] in places:
            row["x"] = places[row["label"]]
    file.write_text(yaml.safe_dump(raw, sort_keys=False))
    return load_project(root, "tiny")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    workspace(tmp_path)
    project = edited(tmp_path, PLOT, PLACES)
    for job in run_jobs(project):
        fabricate(job)
    tables.build(table_job(project))
    return project


def figure_of(project: Project) -> figures.Figure:
    job = table_job(project)
    made = figures.of_table(job.table, tables.load(job.outputs[2]))
    assert made is not None
    return made


def axes_of(monkeypatch: pytest.MonkeyPatch, project: Project) -> list[Axes]:
    """The matplotlib axes that a figure's panels were drawn in."""
    drawn: list[Axes] = []

    def remembered(*labels: Any) -> Any:
        figure, axes = plots.small_axes(*labels)
        drawn.append(axes)
        return figure, axes

    monkeypatch.setattr(figures, "small_axes", remembered)
    figure_of(project)
    return drawn


def ours(project: Project, label: str) -> dict:
    table = tables.load(table_job(project).outputs[2])
    row = next(row for row in table["rows"] if row["label"] == label)
    return row["cells"]["probe_top1"]["ours"]


def test_the_figure_stands_above_its_table_and_says_what_it_shows(project: Project) -> None:
    text = build.build(project).read_text()
    section = text[text.index('<section id="toy-main"') :]
    assert section.index("<svg") < section.index("<table")
    words = [a["aria-label"] for a in page(project).all("svg") if a.get("role") == "img"]
    shown = [markdown.interval(ours(project, label), "%") for label in PLACES]
    level = markdown.interval(ours(project, "raw | pixels"), "%")
    assert words[:2] == [
        f"probe, ours (%) over noise $variance, ours: 0: {shown[0]}; 0.01: {shown[1]}; "
        f"1: {shown[2]}. Level of raw | pixels: {level}. Mark chosen at 0.016.",
        "probe, published: another scale (%) over noise $variance. Published: 0.01: 76.0. "
        "Mark chosen at 0.016.",
    ]


def test_the_legend_names_ours_printed_and_levels(project: Project) -> None:
    legend = figure_of(project).legend
    assert [key.label for key in legend] == [
        *("ours", "95 % interval", "published", "raw | pixels"),
    ]
    assert [key.dot for key in legend] == [plots.COLOURS[0], None, "none", None]
    assert [key.bar for key in legend] == [False, True, False, False]
    assert legend[3].dashes, "a level is dashed"
    assert "ours 95 % interval published raw | pixels probe, ours" in squeezed(page(project).words)


def test_zero_has_a_place_on_a_logarithmic_axis(
    monkeypatch: pytest.MonkeyPatch, project: Project
) -> None:
    axes, _ = axes_of(monkeypatch, project)
    assert axes.get_xscale() == "symlog"
    assert axes.xaxis.get_transform().linthresh == pytest.approx(0.005)
    low, high = axes.get_xlim()
    assert low < 0 < 1 < high
    labels = [axes.xaxis.get_major_formatter()(tick) for tick in axes.get_xticks()]
    assert labels == ["0", "0.01", "0.1", "1"]
    places = [axes.transData.transform((x, 0))[0] for x in (low, 0, 0.01, 1, high)]
    assert places == sorted(places)
    assert min(b - a for a, b in itertools.pairwise(places)) > 4, "apart, in pixels"
    figure = figure_of(project).panels[0].svg
    assert ">0</text>" in figure
    assert ">0.1</text>" in figure
    assert "$variance</text>" in figure, "a dollar sign is no formula"
    assert ">chosen</text>" in figure


def test_points_intervals_printed_levels_and_marks_are_drawn(
    monkeypatch: pytest.MonkeyPatch, project: Project
) -> None:
    axes, of_print = axes_of(monkeypatch, project)
    lines = {tuple(line.get_xdata()): line for line in axes.get_lines()}
    values = [ours(project, label)["value"] for label in PLACES]
    points = lines[0.0, 0.01, 1.0]
    assert list(points.get_ydata()) == values
    for label, x in PLACES.items():
        bar = lines[x, x]
        assert list(bar.get_ydata()) == [ours(project, label)[end] for end in ("low", "high")]
    printed = next(one for one in of_print.get_lines() if list(one.get_xdata()) == [0.01])
    assert (0.01,) not in lines, "a number of another scale has axes of its own"
    assert (list(printed.get_ydata()), printed.get_markerfacecolor()) == ([76.0], "none")
    level = lines[0, 1]  # in shares of the axes
    assert list(level.get_ydata()) == [ours(project, "raw | pixels")["value"]] * 2
    assert level.is_dashed()
    assert lines[0.016, 0.016].is_dashed()


def test_every_column_has_axes_of_its_own_over_the_same_range(
    monkeypatch: pytest.MonkeyPatch, project: Project
) -> None:
    both = edited(project.root, {**PLOT, "y": ["knn_top1", "probe_top1"]}, PLACES)
    assert len({axes.get_xlim() for axes in axes_of(monkeypatch, both)}) == 1
    titles = ["20-NN", "probe, ours", "probe, published: another scale"]
    assert [panel.title for panel in figure_of(both).panels] == titles
    ids = [set(re.findall(r' id="([\w-]+)"', panel.svg)) for panel in figure_of(both).panels]
    assert all(ids)
    assert not ids[0] & ids[1], "clip paths of two figures must not share a name"


@pytest.mark.parametrize(
    ("plot", "places", "scale", "ticks"),
    [
        ({"log": False}, {"plain": -1, "learned": 3}, "linear", None),
        ({"log": True}, {"plain": 0.01, "learned": 100}, "log", [0.01, 0.1, 1, 10, 100]),
        ({"log": True}, {"plain": 2, "learned": 7}, "log", [2, 5]),
        ({"log": True}, {"plain": 3, "learned": 3}, "log", [3]),
        ({"log": True}, {"plain": 1e-8, "learned": 1}, "log", [1e-8, 1e-6, 1e-4, 1e-2, 1]),
        ({"log": True, "mark": {"0": 0}}, {"plain": 1, "learned": 10}, "symlog", [0, 1, 10]),
        ({"log": False}, {"plain": 5, "learned": 5}, "linear", None),
    ],
)
def test_axes_fit_their_places(
    monkeypatch: pytest.MonkeyPatch,
    project: Project,
    plot: dict,
    places: dict,
    scale: str,
    ticks: list[float] | None,
) -> None:
    axes, _ = axes_of(monkeypatch, edited(project.root, {**PLOT, "mark": {}, **plot}, places))
    assert axes.get_xscale() == scale
    low, high = axes.get_xlim()
    assert all(low < x < high for x in places.values())
    if ticks:
        assert list(axes.get_xticks()) == pytest.approx(ticks)


def test_rows_that_are_not_built_are_left_out(tmp_path: Path) -> None:
    workspace(tmp_path)
    project = edited(tmp_path, PLOT, PLACES)
    tables.build(table_job(project))
    assert figures.of_table(table_job(project).table, built(project)) is None
    assert not page(project).all("figure")
    for job in run_jobs(project, headline_only=True):
        fabricate(job)
    tables.build(table_job(project))
    panel, _ = figure_of(project).panels
    assert "0: " in panel.svg
    assert "; 1: " not in panel.svg, "the sweep's row has no number yet"


def built(project: Project) -> dict:
    return tables.load(table_job(project).outputs[2])


def test_an_interval_need_not_hold_its_value_nor_be_there(project: Project) -> None:
    table = built(project)
    for row, ends in zip(table["rows"], ((99.0, 99.5), (None, None), (1.0, 2.0)), strict=False):
        row["cells"]["probe_top1"]["ours"].update(zip(("low", "high"), ends, strict=True))
    made = figures.of_table(table_job(project).table, table)
    assert made is not None
    assert "[99.0, 99.5]" in made.panels[0].svg


def test_labels_are_escaped(project: Project) -> None:
    plot = {**PLOT, "x": '<i>"x"</i>', "mark": {"<u>here</u>": 0.1}}
    text = build.build(edited(project.root, plot, PLACES)).read_text()
    assert "<i>" not in text
    assert "<u>" not in text
    assert "&lt;u&gt;here&lt;/u&gt;" in text


def test_a_plot_makes_no_table_stale(project: Project) -> None:
    before = table_job(project).digest
    without = edited(project.root, None, {})
    assert table_job(without).digest == before
    assert "stale, made by other settings" not in page(without).words


@pytest.mark.parametrize(
    ("plot", "places", "said"),
    [
        ({"y": ["probe_top"]}, PLACES, "y: unknown column 'probe_top' (did you mean 'probe_top1'?"),
        ({"y": []}, PLACES, "plot.y = []: "),
        ({"x": ""}, PLACES, 'plot.x = "": '),
        ({"logs": True}, PLACES, "did you mean 'log'"),
        ({}, {"plain": 0}, "needs at least two rows with an x, and 1 has one"),
        ({}, {}, "needs at least two rows with an x, and none has one"),
        ({}, {"plain": -1, "learned": 1}, "log: every x and mark must be 0 or more"),
        ({"mark": {"a": -1}}, PLACES, "log: every x and mark must be 0 or more"),
        ({}, {"plain": 0, "learned": 0}, "log: at least one x must be above 0"),
        ({"mark": {"a": float("inf")}}, PLACES, "plot.mark.a = Infinity"),
        ({}, {**PLACES, "plain": float("nan")}, "rows.0.x = NaN"),
    ],
)
def test_a_plot_that_cannot_be_drawn_is_named(
    tmp_path: Path, plot: dict, places: dict, said: str
) -> None:
    workspace(tmp_path)
    with pytest.raises(ConfigError) as error:
        edited(tmp_path, {**PLOT, **plot}, places)
    assert said in str(error.value)
    assert "params/papers/toy.yaml: tables.main." in str(error.value)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as made:
        yield made


@pytest.mark.parametrize(("width", "a_row"), [(390, 1), (1600, 3)])
def test_at_most_three_axes_stand_in_a_row(
    browser: Any, project: Project, width: int, a_row: int
) -> None:
    plot = {**PLOT, "y": ["probe_top1", "knn_top1", "probe_top1"]}
    tab, heard = opened(browser, build.build(edited(project.root, plot, PLACES)), width)
    assert not heard
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    tops = [one.bounding_box()["y"] for one in tab.locator("#toy-main .panels figure").all()]
    assert len(tops) == 5
    assert tops.count(tops[0]) == a_row


def test_printed_numbers_of_the_same_scale_share_the_axes(
    monkeypatch: pytest.MonkeyPatch, project: Project
) -> None:
    table = built(project)
    row = next(row for row in table["rows"] if row["label"] == "learned")
    row["cells"]["probe_top1"]["against_print"].update(difference=0.5, tolerance=1.0)
    (panel,) = drawn(project, table).panels
    assert panel.title == "probe"
    assert "Published: 0.01: 76.0" in panel.svg


def test_counts_have_no_bars_and_the_legend_promises_none(project: Project) -> None:
    table = built(project)
    for ours in filter(None, (row["cells"]["probe_top1"]["ours"] for row in table["rows"])):
        ours.update(low=None, high=None)
    assert not any(key.bar for key in drawn(project, table).legend)


def drawn(project: Project, table: dict) -> figures.Figure:
    made = figures.of_table(table_job(project).table, table)
    assert made is not None
    return made


@pytest.fixture
def kinds(project: Project) -> Project:
    """Two quantities of two kinds each, in a table whose rows all have a place."""
    file = project.root / "params/papers/toy.yaml"
    raw = yaml.safe_load(file.read_text())
    table = raw["tables"]["main"]
    for name, evaluator in (("knn", "knn"), ("probe", "probe")):
        for kind in ("<MSA>", "HiLo"):
            column = {"label": f"{kind}, {name}", "evaluator": evaluator, "metric": "top1"}
            table["metrics"][f"{name}_{kind}"] = column
    named = ["knn_<MSA>", "knn_HiLo", "probe_HiLo", "probe_<MSA>"]
    table["plot"] = {**PLOT, "y": named, "mark": {}}
    table["rows"] = [row for row in table["rows"] if row.get("run")]
    for place, row in enumerate(table["rows"]):
        row["x"] = 10**place
    file.write_text(yaml.safe_dump(raw, sort_keys=False))
    edited = load_project(project.root, "tiny")
    tables.build(table_job(edited))
    return edited


def test_columns_of_one_quantity_are_lines_in_the_same_axes(
    monkeypatch: pytest.MonkeyPatch, kinds: Project
) -> None:
    made = figure_of(kinds)
    assert [panel.title for panel in made.panels] == ["knn", "probe"]
    assert [key.label for key in made.legend] == ["<MSA>", "HiLo", "95 % interval"]
    assert made.legend[0].colour != made.legend[1].colour
    for axes in axes_of(monkeypatch, kinds):
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
        lines = [line for line in axes.get_lines() if len(set(line.get_xdata())) > 1]
        names = {text.get_text(): text for text in axes.texts}
        assert {line.get_color() for line in lines} == {
            key.colour for key in made.legend if not key.bar
        }
        assert {one.get_color() for one in names.values()} == {plots.INK}, "read on any page"
        dots = [line for line in axes.get_lines() if line.get_transform() == axes.transAxes]
        at = {dot.get_ydata()[0]: dot.get_color() for dot in dots}
        beside = {at[text.get_position()[1]] for text in names.values()}
        assert beside == {line.get_color() for line in lines}
        heights = sorted(text.get_position()[1] for text in names.values())
        assert heights[1] - heights[0] >= figures._APART, "two names do not touch"
    assert "&lt;MSA&gt;: 1: " in made.panels[0].svg


def test_a_number_that_is_not_positive_keeps_the_axis_linear(
    monkeypatch: pytest.MonkeyPatch, kinds: Project
) -> None:
    table = built(kinds)
    table["rows"][0]["cells"]["knn_HiLo"]["ours"]["value"] = 0.0
    monkeypatch.setattr(tables, "load", lambda _: table)
    assert [axes.get_yscale() for axes in axes_of(monkeypatch, kinds)] == ["linear", "log"]


@pytest.mark.parametrize("width", [390, 1400])
def test_wide_axes_fit_the_page(browser: Any, kinds: Project, width: int) -> None:
    tab, heard = opened(browser, build.build(kinds), width)
    assert not heard
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    shown = tab.locator("#toy-main .panels figure").first.bounding_box()["width"]
    assert shown > min(width - 60, 450)
