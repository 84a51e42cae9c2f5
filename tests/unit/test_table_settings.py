"""Columns of settings and of printed values alone, printed words, and detectable effects."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from fabricated import (
    PUBLISHED,
    TABLE,
    correctness,
    fabricate_all,
    table_job,
    workspace,
)
from pages import page, squeezed
from statsmodels.stats.power import TTestPower

from reprise import cells, published, tables
from reprise.config import Json, Project, load_project
from reprise.errors import ConfigError
from reprise.plan import RunJob, TableJob
from reprise.report import build
from reprise.tracking import content

SETTINGS: Json = {
    "optimiser": {"label": "optimiser", "setting": "optim.name", "unit": ""},
    "lr": {"label": "learning rate", "setting": "optim.lr", "unit": ""},
    "steps": {"label": "steps", "setting": "steps", "unit": ""},
}
TOP5: Json = {"top5": {"label": "top-5", "printed": True}}
WORDS = """"Learned, 800 ep",optimiser,LAMB | LARS,text,none,none,https://example.org/s,seen
"Learned, 800 ep",steps,1.6e5,none,none,none,https://example.org/s,seen
"Learned, 800 ep",top5,93.0,%,Some Photos,test,https://example.org/toy,seen
Other ViT-B,optimiser,SGD,text,none,none,https://example.org/s,inferred
"""


def edited(root: Path, **parts: Any) -> Project:
    """Lay something over the toy paper's main table, and its runs over those there, and load."""
    file = root / "params/papers/toy.yaml"
    paper = yaml.safe_load(file.read_text())
    runs, metrics = parts.pop("runs", {}), parts.pop("metrics", {})
    paper["tables"][TABLE] |= parts
    paper["tables"][TABLE]["metrics"] |= metrics
    for name, own in runs.items():
        paper["runs"][name] |= own
    file.write_text(yaml.safe_dump(paper, sort_keys=False))
    return load_project(root, "tiny")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """The main table with three columns of settings and one that only the paper has."""
    workspace(tmp_path)
    (tmp_path / "params/published/toy/toy.csv").write_text(PUBLISHED + WORDS)
    project = edited(tmp_path, metrics=SETTINGS | TOP5, detectable=True)
    fabricate_all(project)
    tables.build(table_job(project))
    return project


def built(project: Project) -> Json:
    return tables.load(table_job(project).outputs[2])


def cell(table: Json, label: str, key: str) -> Json:
    return next(row for row in table["rows"] if row["label"] == label)["cells"][key]


# --- what a column of settings says ----------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("steps", "1234567"),
        ("batch_size", "8"),
        ("optim.name", "adamw"),
        ("optim.lr", "0.00025"),
        ("optim.eps", "1e-08"),
        ("optim.betas", "0.9, 0.95"),
        ("optim.clip_norm", "no"),
        ("optim.warmup_steps", "no"),
        ("evaluate", "probe, knn"),
        ("compile", "yes"),
        ("headline", "no"),
        ("objective.label_smoothing", "no"),  # at the default of the method's settings
        ("objective.mixup", "no"),  # another method's
        ("augment.size.of", "no"),
    ],
)
def test_a_setting_is_told_as_it_stands(tmp_path: Path, path: str, text: str) -> None:
    workspace(tmp_path)
    own = {"steps": 1_234_567, "compile": True, "optim": {"lr": 2.5e-4}}
    project = edited(tmp_path, runs={"swept": own})
    reading = cells._read_setting(project.run("toy", "swept"), path)
    assert (reading.text, reading.status, reading.measured) == (text, "as set", {})


def test_settings_are_of_the_rows_run_with_the_scale_laid_over(project: Project) -> None:
    scale = project.root / "params/scales/tiny.yaml"
    over = {"papers": {"toy": {"runs": {"learned": {"optim": {"name": "lamb", "lr": 0.5}}}}}}
    scale.write_text(yaml.safe_dump({**yaml.safe_load(scale.read_text()), **over}))
    again = edited(project.root)
    job = table_job(again)
    rows = {row.label: row for row in job.table.rows}
    assert cells.read_cell(job, rows["learned"], "lr").text == "0.5"
    assert cells.read_cell(job, rows["learned"], "optimiser").text == "lamb"
    assert cells.read_cell(job, rows["plain"], "optimiser").text == "adamw"
    elsewhere = rows["plain"].model_copy(update={"runs": {"lr": "learned"}})
    assert cells.read_cell(job, elsewhere, "lr").text == "0.5"
    assert cells.read_cell(job, elsewhere, "optimiser").text == "adamw"


def test_a_row_shows_settings_whether_or_not_it_was_run(project: Project) -> None:
    table = built(project)
    swept = cell(table, "swept", "steps")
    assert (swept["text"], swept["status"], swept["ours"], swept["gain"]) == (
        "20",
        "as set",
        None,
        None,
    )
    assert cell(table, "swept", "probe_top1")["status"].startswith("not run")
    assert cell(table, "plain", "steps")["text"] == "no"
    only_printed = cell(table, "printed only", "optimiser")
    assert (only_printed["text"], only_printed["status"]) == (None, "published only")


@pytest.mark.parametrize(("path", "meant"), [("optim.naem", "optim.name"), ("step", "steps")])
def test_a_setting_that_no_run_has_is_refused(project: Project, path: str, meant: str) -> None:
    """It would read as "no" in every row."""
    wrong = {"lr": {"label": "rate", "setting": path, "unit": ""}}
    with pytest.raises(ConfigError, match=f"unknown setting '{path}'.*did you mean '{meant}'") as e:
        edited(project.root, metrics=wrong)
    assert "toy.yaml: tables.main.metrics.lr.setting" in str(e.value)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ({"setting": "steps", "metric": "top1"}, "metric goes with evaluator or benchmark"),
        ({"printed": True, "metric": "top1"}, "metric goes with evaluator or benchmark"),
        ({"printed": True, "times": 1000}, "times goes with benchmark"),
        ({"benchmark": "b", "metric": "gmacs", "times": 0}, "times = 0"),
        ({"printed": True, "setting": "steps"}, "give exactly one of"),
        ({"printed": False}, "give exactly one of"),
    ],
)
def test_a_column_has_one_source(project: Project, column: Json, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        edited(project.root, metrics={"lr": {"label": "rate", **column}})


# --- digests ---------------------------------------------------------------------------------


def of_settings(root: Path, **runs: Json) -> TableJob:
    """A table of settings alone, of the run learned."""
    rows = [
        {"label": "learned", "run": "learned"},
        {"label": "printed", "published": "Other ViT-B"},
    ]
    file = root / "params/papers/toy.yaml"
    paper = yaml.safe_load(file.read_text())
    paper["tables"][TABLE] |= {"metrics": SETTINGS, "rows": rows, "baseline": None}
    file.write_text(yaml.safe_dump(paper, sort_keys=False))
    return table_job(edited(root, runs=runs))


def test_a_table_of_settings_waits_for_no_run_and_follows_what_it_shows(tmp_path: Path) -> None:
    workspace(tmp_path)
    job = of_settings(tmp_path)
    assert (job.run_jobs, job.inputs, list(job.evaluations())) == ([], [], [])
    assert of_settings(tmp_path).digest == job.digest
    assert of_settings(tmp_path, plain={"optim": {"lr": 9.0}}).digest == job.digest
    changed = of_settings(tmp_path, learned={"optim": {"lr": 9.0}})
    assert changed.digest != job.digest
    tables.build(changed)
    assert cell(built(changed.project), "learned", "lr")["text"] == "9"
    assert of_settings(tmp_path, learned={"optim": {"lr": 1e-3}}).digest == job.digest


def test_a_stale_table_of_settings_is_not_shown(tmp_path: Path) -> None:
    workspace(tmp_path)
    tables.build(of_settings(tmp_path))
    assert "stale, made by other settings" not in page(load_project(tmp_path, "tiny")).words
    of_settings(tmp_path, learned={"optim": {"lr": 9.0}})
    assert "stale, made by other settings" in page(load_project(tmp_path, "tiny")).words


def test_columns_of_printed_values_ask_for_no_run(project: Project) -> None:
    job = of_settings(project.root)
    file = project.root / "params/papers/toy.yaml"
    paper = yaml.safe_load(file.read_text())
    paper["tables"][TABLE]["metrics"] = TOP5
    file.write_text(yaml.safe_dump(paper, sort_keys=False))
    alone = table_job(load_project(project.root, "tiny"))
    assert (alone.run_jobs, alone.inputs) == ([], [])
    assert "settings" not in alone.evidence
    assert list(job.evidence["settings"]) == ["toy/learned"]


# --- printed words ---------------------------------------------------------------------------


def written(folder: Path, *lines: str) -> published.Cells:
    file = folder / "words.csv"
    file.write_text("\n".join([",".join(published.COLUMNS), *lines]) + "\n")
    return published.read(file)


def test_printed_words_are_words_where_their_unit_says_so(tmp_path: Path) -> None:
    found = written(
        tmp_path, "A,loss,BCE,text,none,none,s,seen", "A,lr,3.0e-3,none,none,none,s,seen"
    )
    assert (found["A", "loss"].value, found["A", "loss"].text) == (None, "BCE")
    assert (found["A", "lr"].value, found["A", "lr"].text) == (0.003, "3.0e-3")
    seven = written(tmp_path, "A,depth,7/0.5,text,none,none,s,seen")
    assert seven["A", "depth"].text == "7/0.5"


@pytest.mark.parametrize(
    "line",
    ["A,loss,BCE,none,none,none,s,seen", "A,loss,,text,none,none,s,seen", "A,x,nan,%,n,n,s,seen"],
)
def test_a_word_elsewhere_and_an_empty_one_are_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(ConfigError, match=r"words\.csv, line 2: value = .*expected a number"):
        written(tmp_path, line)


# --- as people and programs see it -----------------------------------------------------------


def test_markdown_shows_settings_words_and_printed_columns(project: Project) -> None:
    text = table_job(project).outputs[1].read_text()
    (head,) = (line for line in text.splitlines() if line.startswith("| row | probe (%), pub"))
    assert head.endswith(
        "| optimiser, published | optimiser, ours | learning rate | steps, published | "
        "steps, ours | top-5 (%), published |"
    )
    rows = {line.split(" | ")[0]: line for line in text.split("## ")[0].splitlines()}
    assert rows["| learned (printed: Learned, 800 ep)"].endswith(
        "| LAMB \\| LARS | adamw | 0.001 | 1.6e5 | 40 | 93.0 |"
    )
    assert rows["| plain"].endswith("|  | adamw | 0.001 |  | no |  |")
    assert rows["| printed only"].endswith("| SGD |  |  |  |  |  |")
    assert "published only" not in text, "an empty cell of a printed column lacks nothing of ours"
    assert "as set" not in text
    widths = {
        line.replace("\\|", "").count("|")
        for line in text.split("## ")[0].splitlines()
        if line.startswith("|")
    }
    assert widths == {head.count("|")}
    gains = text.split("## Paired gain")[1].split("##")[0]
    assert "| row | probe (%) | 20-NN (%) |" in gains, "settings have no gains"


def test_csv_holds_words_and_numbers(project: Project) -> None:
    text = table_job(project).outputs[0].read_text()
    lines = {(line["row"], line["metric"]): line for line in csv.DictReader(text.splitlines())}
    line = lines["learned", "optimiser"]
    assert (line["published"], line["ours"], line["status"]) == ("LAMB | LARS", "adamw", "as set")
    assert (line["ci_low"], line["gain"], line["seeds"], line["n"]) == ("", "", "0", "")
    line = lines["learned", "top5"]
    assert (line["published"], line["ours"], line["status"]) == ("93.0", "", "published only")
    assert lines["plain", "steps"]["ours"] == "no"


def test_the_page_shows_settings_words_and_printed_columns(project: Project) -> None:
    text = build.build(project).read_text()
    made = page(project)
    words = squeezed(made.words)
    assert "LAMB | LARS adamw 0.001 1.6e5 40 93.0" in words
    assert "optimiser learning rate steps top-5 (%)" in words, "no unit, no brackets"
    assert "None" not in words
    values = [td.get("data-value") for td in made.all("td") if "data-value" in td]
    assert {"0.001", "40", "160000.0", "93.0"} <= set(values), "numbers sort"
    assert not {"adamw", "no", "LAMB | LARS", "None"} & set(values)
    spans = [int(th["colspan"] or 1) for th in made.all("th") if "colspan" in th]
    table = [span for span in spans if span < 90]
    assert table == [2, 1, 2, 1, 2, 1], "printed and ours, or one of the two"
    tr = text.split("<tbody>")[1].split("</tr>")[0]
    assert tr.count("<td") == sum(table), "every row has as many cells as the head"


def test_the_projections_grid_has_words_in_their_columns(project: Project) -> None:
    grid = content.grid(built(project))
    assert grid["optimiser, published"] == [None, None, "LAMB | LARS", None, "SGD"]
    assert grid["optimiser, ours"] == ["adamw"] * 4 + [None]
    assert grid["steps, ours"] == ["no", "no", "40", "20", None]
    assert grid["steps, published"] == [None, None, 160_000.0, None, None]
    assert grid["top-5, published"] == [None, None, 93.0, None, None]
    assert {len(values) for values in grid.values()} == {5}
    assert not {"top-5, seeds", "steps, seeds", "top-5, ours"} & set(grid)
    json.dumps(grid)


# --- what a gain could have shown ------------------------------------------------------------


def from_images(ours: np.ndarray, base: np.ndarray) -> float:
    """The half-width of a normal interval, scaled to a power of 80 %; by hand."""
    apart = ours.astype(float) - base
    return (1.959964 + 0.841621) * 100 * apart.std() / np.sqrt(len(apart))


def test_one_seeds_detectable_gain_follows_from_the_images(project: Project) -> None:
    found = cell(built(project), "learned", "probe_top1")["detectable"]
    ours, base = (correctness(name, "probe", 0) for name in ("learned", "plain"))
    assert found == pytest.approx(from_images(ours, base), rel=0.03)
    assert cell(built(project), "plain", "probe_top1")["detectable"] is None
    assert cell(built(project), "learned", "optimiser")["detectable"] is None


def test_three_seeds_detectable_gain_is_the_t_tests(tmp_path: Path) -> None:
    project = workspace(tmp_path, seeds=(0, 1, 2))
    fabricate_all(project)
    tables.build(table_job(project))
    apart = [
        100 * (correctness("learned", "probe", s).mean() - correctness("plain", "probe", s).mean())
        for s in range(3)
    ]
    size = TTestPower().solve_power(nobs=3, alpha=0.025, power=0.8, alternative="larger")
    expected = float(np.ravel(size)[0]) * np.std(apart, ddof=1)
    found = cell(built(project), "learned", "probe_top1")["detectable"]
    assert found == pytest.approx(expected, rel=1e-3)
    (project.results / "toy/eval/learned/seed1/probe.json").unlink()
    tables.build(table_job(project))
    partial = cell(built(project), "learned", "probe_top1")
    assert partial["seeds"] == [0, 2]
    halved = sum(correctness("learned", "probe", s).astype(float) for s in (0, 2)) / 2
    against = sum(correctness("plain", "probe", s).astype(float) for s in (0, 2)) / 2
    assert partial["detectable"] == pytest.approx(from_images(halved, against), rel=0.05)


def test_a_single_measurement_detects_nothing(project: Project) -> None:
    for name, value in (("plain", 20.0), ("learned", 12.0)):
        path = RunJob(project, "toy", name, 0).eval_folder / "probe.json"
        document = json.loads(path.read_text())
        document["metrics"][0] |= {"value": value, "n": 1, "reduce": "mean"}
        path.write_text(json.dumps(document))
        np.savez(path.with_suffix(".npz"), top1=np.array([value]))
    tables.build(table_job(project))
    made = cell(built(project), "learned", "probe_top1")
    assert made["gain"]["value"] == -8
    assert made["detectable"] is None
    assert "-8.0 |" in table_job(project).outputs[1].read_text()


def test_detectable_gains_stand_beside_gains_only_where_asked_for(project: Project) -> None:
    found = cell(built(project), "learned", "probe_top1")
    told = f"detectable {found['detectable']:.1f}"
    markdown_file = table_job(project).outputs[1]
    text = markdown_file.read_text()
    assert f"], {told} |" in text
    assert "detectable: the true gain whose interval would lie clear of zero in four" in text
    assert told in squeezed(page(project).words)
    lines = csv.DictReader(table_job(project).outputs[0].read_text().splitlines())
    known = {(line["row"], line["metric"]): line["detectable"] for line in lines}
    assert float(known["learned", "probe_top1"]) == found["detectable"]
    assert known["plain", "probe_top1"] == ""
    without = edited(project.root, detectable=False)
    tables.build(table_job(without))
    assert "detectable" not in markdown_file.read_text()
    assert "detectable" not in page(without).words


def test_other_test_images_give_no_detectable_gain(project: Project) -> None:
    path = RunJob(project, "toy", "plain", 0).eval_folder / "probe.json"
    path.write_text(path.read_text().replace("e" * 64, "f" * 64))
    tables.build(table_job(project))
    made = cell(built(project), "learned", "probe_top1")
    assert (made["gain"], made["detectable"]) == (None, None)
