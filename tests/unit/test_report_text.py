"""What the page says in short, report.md and the terminal: the same numbers in other clothes."""

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from fabricated import fabricate, fabricate_all, table_job, workspace
from rich.console import Console

from reprise import claims, markdown, reference, tables
from reprise.config import Json, Project, load_project
from reprise.errors import ConfigError, StaleError
from reprise.plan import ClaimsJob, run_jobs
from reprise.report import build, forest, gather, grid, runs, summary, terminal, words

CLAIMS = {
    key: {
        "statement": f"Claim | {key}.",
        "source": "https://example.org/toy",
        "table": "main",
        "column": "probe_top1",
        "test": {"kind": "greater", "better": better, "worse": worse},
    }
    for key, better, worse in (
        ("A", "learned", "plain"),
        ("B", "plain", "learned"),
        ("C", "swept", "plain"),
    )
}


def toy(root: Path) -> Project:
    """A toy workspace with claims and a reference of three seeds; its own has one, no sweeps."""
    workspace(root)
    for name, more in (
        ("scales/tiny", {"reference_seeds": [0, 1, 2]}),
        ("papers/toy", {"claims": CLAIMS}),
    ):
        file = root / f"params/{name}.yaml"
        file.write_text(
            yaml.safe_dump({**yaml.safe_load(file.read_text()), **more}, sort_keys=False)
        )
    project = load_project(root, "tiny")
    for job in run_jobs(project.for_reference()):
        fabricate(job)
    reference.snapshot(project)
    for job in run_jobs(project):
        if not job.run.headline:
            (job.folder / "meta.json").unlink()
    tables.build(table_job(project))
    claims.build(ClaimsJob(project, "toy"))
    return project


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return toy(tmp_path_factory.mktemp("toy"))


def printed(project: Project, name: str, width: int = 160, commands: bool = False) -> str:
    stream = io.StringIO()
    terminal.show(project, name, Console(file=stream, width=width), commands)
    return stream.getvalue()


def squeezed(text: str) -> str:
    return re.sub(r"\s+", " ", text)


# --- the opening ---------------------------------------------------------------------------------


def of_toy(project: Project) -> summary.Summary:
    return summary.of_paper(gather.Gathered(project), "toy")


def test_claims_are_counted_by_where_they_fell(project: Project) -> None:
    found = of_toy(project)
    assert [(one.outcome, one.number) for one in found.here] == [
        ("same way", 1),
        ("other way", 1),
        ("not run", 1),
    ]
    assert {one.outcome: one.number for one in found.known}["supported"] == 1
    assert found.known_seeds == 3
    assert found.claims == 3


def test_what_noise_was_not_measured_points_all_the_same() -> None:
    claim = {"verdict": "this run only", "direction": "other way, noise not measured"}
    assert summary.outcome(claim) == "other way"
    assert [
        one.label for one in summary.counts([claim, {"verdict": "new", "direction": None}])
    ] == [
        "this run only: other way",
        "new",
    ]


def test_costs_are_seconds_times_the_cores_that_were_busy(project: Project) -> None:
    run = runs.finished_runs(project)["toy"][-1]
    assert (run.job.name, run.training_seconds, run.evaluation_seconds) == ("learned", 12.5, 6.0)
    assert run.core_seconds == 18.5
    wide = replace(run, meta={**run.meta, "threads": 2, "processes": 3})
    assert wide.core_seconds == 12.5 * 6 + 6.0 * 2, "evaluation is one process"
    assert of_toy(project).cost == summary.Cost(37.5, 10.5, 0.0, 48.0)


def test_all_papers_together_are_their_sum(project: Project) -> None:
    one = of_toy(project)
    both = summary.of_all({"a": one, "b": one})
    assert (both.runs, both.tables, both.of_tables) == (2 * one.runs, 2, 4)
    assert both.cost.core_seconds == 96.0
    assert [(count.outcome, count.number) for count in both.here] == [
        ("same way", 2),
        ("other way", 2),
        ("not run", 2),
    ]
    assert summary.of_all({}).cost.seconds == 0


@pytest.mark.parametrize(
    ("seconds", "text"), [(3, "0.1"), (570, "9.5"), (600, "10"), (80_400, "1,340")]
)
def test_minutes_are_short(seconds: float, text: str) -> None:
    assert words.minutes(seconds) == text


# --- a claim drawn -------------------------------------------------------------------------------


def drawn(part: Json) -> str:
    claim = {"effect": part["effect"], "parts": [{"label": "a - b", **part}]}
    return str(forest.drawing(claim))


def place(text: str, mark: str, key: str) -> float:
    (found,) = re.findall(rf'<{mark}[^>]* {key}="([-\d.]+)"', text)
    return float(found)


def test_a_claim_is_drawn_on_the_side_where_its_effect_lies() -> None:
    part = {"effect": 2.0, "interval": [1.0, 4.0], "bound": 0.0, "below": False, "per_seed": [2.0]}
    text = drawn(part)
    left, right = (
        place(text, 'line class="interval"', "x1"),
        place(text, 'line class="interval"', "x2"),
    )
    bound, dot = place(text, 'line class="bound"', "x1"), place(text, "circle", "cx")
    assert bound < left < dot < right
    assert place(text, 'rect class="side"', "x") == bound
    assert "seed" not in text, "one seed is the effect itself"
    below = drawn({**part, "below": True, "per_seed": [1.5, 2.5]})
    assert place(below, 'rect class="side"', "x") == 0
    assert place(below, 'rect class="side"', "width") == bound
    assert below.count('class="seed"') == 2


@pytest.mark.parametrize("effect", [-7.5, 0.5, 7.5])
def test_a_claim_of_equality_is_drawn_with_both_bounds(effect: float) -> None:
    numbers = {"label": "a - b", "effect": effect, "interval": None, "per_seed": [effect]}
    parts = [{**numbers, "bound": 2.0, "below": True}, {**numbers, "bound": -2.0, "below": False}]
    text = str(forest.drawing({"effect": effect, "parts": parts}))
    left, width = (place(text, 'rect class="side"', key) for key in ("x", "width"))
    inside = left < place(text, "circle", "cx") < left + width
    assert inside == (abs(effect) < 2)
    assert text.count('class="bound"') == 2


def test_a_claim_without_a_number_or_a_width_is_drawn_as_it_is() -> None:
    assert forest.drawing({"effect": None, "parts": []}) is None
    part = {"effect": 0.0, "interval": None, "bound": 0.0, "below": False, "per_seed": [0.0]}
    assert place(drawn(part), "circle", "cx") == place(drawn(part), 'line class="bound"', "x1")


# --- the grid ------------------------------------------------------------------------------------


def test_the_grid_has_a_column_for_each_kind_of_number_that_there_is(project: Project) -> None:
    job = table_job(project)
    table = tables.load(job.outputs[2])
    made = grid.of_table(table, reference.cells(job))
    kinds = [(column.key, column.kind) for column in made.columns]
    assert kinds == [
        ("probe_top1", "published"),
        ("probe_top1", "ours"),
        ("probe_top1", "gain"),
        ("probe_top1", "reference"),
        ("knn_top1", "ours"),
        ("knn_top1", "gain"),
        ("knn_top1", "reference"),
    ]
    assert [column.kind for column in grid.of_table(table, {}).columns].count("reference") == 0
    by_label = {row[0]: row[1:] for row in made.rows}
    cell = table["rows"][2]["cells"]["probe_top1"]
    assert by_label["learned (printed: Learned, 800 ep)"][:3] == [
        "76.0",
        markdown.interval(cell["ours"], "%"),
        markdown.interval(cell["gain"], "%", sign=True),
    ]
    assert by_label["learned (printed: Learned, 800 ep)"][3].endswith("(3 seeds)")
    assert by_label["swept"][:2] == ["", "not run"]
    assert by_label["printed only"][:2] == ["71.25", ""]
    assert made.chosen([4, 6]).rows[0] == [made.rows[0][0], made.rows[0][5], made.rows[0][7]]
    assert [column.key for column in made.chosen([3, 4]).columns] == ["probe_top1", "knn_top1"]


# --- report.md -----------------------------------------------------------------------------------


def test_the_markdown_file_stands_beside_the_page_and_has_every_number(project: Project) -> None:
    text = (build.build(project).parent / "report.md").read_text()
    assert text.startswith("# Reprise: published numbers beside ours, scale tiny\n")
    assert "- cost: 0.8 minutes of jobs (37.5 s of training, 10.5 s of evaluation)" in text
    assert "| [toy](#toy) | 3 | 0.8 | 1 this run only: same way, 1 this run only: other way" in text
    table = tables.load(table_job(project).outputs[2])
    for row in table["rows"]:
        for cell in row["cells"].values():
            if cell["ours"]:
                assert markdown.interval(cell["ours"], "%") in text
    assert "A: Claim \\| A." in text
    assert "- learned: Classified, not looked up." in text
    assert "- Everything is made up." in text
    assert "### Figure 2: A table of a sweep\n\nNot built." in text
    assert "`python -m reprise train toy/learned --seed 0`" in text
    levels = [len(found) for found in re.findall(r"^(#+) ", text, re.MULTILINE)]
    assert levels[0] == 1
    assert set(levels[1:]) == {2, 3}
    pipes = {
        line.replace("\\|", "").count("|") for line in text.splitlines() if line.startswith("| A")
    }
    assert pipes == {8}, "a bar in a statement ends no cell"


def test_the_markdown_file_of_plumbing_says_so(tmp_path: Path) -> None:
    page = build.build(workspace(tmp_path, result=False))
    assert "**Plumbing only, not a result.**" in (page.parent / "report.md").read_text()


# --- the terminal --------------------------------------------------------------------------------


def test_show_opens_with_what_was_run_and_what_there_is_to_show(project: Project) -> None:
    said = squeezed(printed(project, ""))
    assert "Scale tiny: made-up numbers for a test; 1 seed 3 runs, 1 of them trained" in said
    assert "1 of 2 tables built 0.8 minutes of jobs" in said
    assert "toy 0.8 1 this run only: same way" in said
    assert "toy/main Table 9 Toy methods compared built" in said
    assert "toy/extra Figure 2 A table of a sweep not built, a sweep" in said


def test_show_prints_every_number_of_a_table_whatever_the_width(project: Project) -> None:
    job = table_job(project)
    made = grid.of_table(tables.load(job.outputs[2]), reference.cells(job))
    for width in (200, 80):
        said = printed(project, "toy/main", width)
        assert max(map(len, said.splitlines())) <= width
        for row in made.rows:
            assert all(text in said for text in row[1:]), f"{row} is broken at width {width}"
    assert printed(project, "toy/main", 80).count("raw | pixels") > 1, "in parts"
    assert printed(project, "toy/main", 200).count("raw | pixels") == 1
    assert "deviates: Everything is made up." in printed(project, "toy/main")


def test_parts_of_a_table_have_whole_words_and_no_empty_rows() -> None:
    columns = [
        grid.Column({"key": key, "label": label, "unit": "M"}, grid.OURS)
        for key, label in (("a", "multiply-adds of it"), ("b", "speed"))
    ]
    rows = [["one", "1", ""], ["two", "", "2 " * 10], ["neither", "", ""]]
    parts = list(terminal._parts(grid.Grid(columns, rows), 30))
    assert [part.rows for part in parts] == [[["one", "1"]], [["two", "2 " * 10]]]
    stream = io.StringIO()
    Console(file=stream, width=30).print(terminal._drawn(parts[0]))
    assert "multiply-adds" in stream.getvalue()
    whole = list(terminal._parts(grid.Grid(columns, rows), 80))
    assert [part.rows for part in whole] == [rows]


def test_show_prints_what_makes_each_cell_again(project: Project) -> None:
    said = printed(project, "toy/main", 300, commands=True)
    assert "learned: probe" in said
    assert "snakemake results/tiny/toy/eval/learned/seed0/probe.json --cores all" in said
    assert "snakemake" not in printed(project, "toy/main", 300).replace(
        "`snakemake --cores all sweeps`", ""
    )


def test_show_prints_claims_and_a_whole_paper(project: Project) -> None:
    said = squeezed(printed(project, "toy/claims", 200))
    assert "Claims of toy: 1 this run only: same way" in said
    assert "A: Claim | A. this run only: same way" in said
    assert "supported" in said, "the reference's verdict"
    whole = squeezed(printed(project, "toy", 200))
    for part in (
        "A toy <paper> (arXiv 0000.00000)",
        "Claims of toy",
        "Table 9: Toy methods compared",
    ):
        assert part in whole
    assert "Figure 2: A table of a sweep: not built, a sweep" in whole


def test_show_names_what_is_unknown_or_not_built(tmp_path: Path) -> None:
    project = workspace(tmp_path)
    with pytest.raises(ConfigError, match="did you mean 'main'"):
        printed(project, "toy/mainn")
    with pytest.raises(ConfigError, match="paper"):
        printed(project, "tyo")
    with pytest.raises(ConfigError, match="has no claims"):
        printed(project, "toy/claims")
    with pytest.raises(StaleError, match=r"is not built.*reprise table toy/main --scale tiny"):
        printed(project, "toy/main")
    fabricate_all(project)
    tables.build(table_job(project))
    path = table_job(project).outputs[2]
    path.write_text(path.read_text().replace(table_job(project).digest, "0" * 64))
    with pytest.raises(StaleError, match="of other settings or results"):
        printed(project, "toy/main")
    assert "stale" in printed(project, "")
