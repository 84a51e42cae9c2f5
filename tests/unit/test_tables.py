"""Tables: right numbers, right intervals, honest empty cells, damaged files named."""

import csv
import json
import math
import time
from pathlib import Path

import numpy as np
import pytest
from fabricated import TABLE, correctness, fabricate, fabricate_all, table_job, workspace
from scipy import stats

from reprise import intervals, reduce, tables
from reprise.config import Project, load_project
from reprise.errors import ConfigError, RepriseError
from reprise.plan import RunJob
from reprise.results import Measured, ResultError


def built(project: Project, name: str = TABLE) -> dict:
    job = table_job(project, name)
    tables.build(job)
    return tables.load(job.outputs[2])


def cell(table: dict, label: str, key: str = "probe_top1") -> dict:
    return next(row for row in table["rows"] if row["label"] == label)["cells"][key]


def run(project: Project, name: str, seed: int = 0) -> RunJob:
    return RunJob(project, "toy", name, seed)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = workspace(tmp_path)
    fabricate_all(project)
    return project


# --- numbers and intervals -------------------------------------------------------------------


def test_percent_correct_is_the_share_of_ones() -> None:
    assert reduce.apply("percent_correct", np.array([1, 1, 0, 1], np.uint8)) == 75.0


@pytest.mark.parametrize("bad", [np.array([], np.uint8), np.array([0, 2]), np.ones((2, 2))])
def test_percent_correct_refuses_what_is_not_correctness(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="zeros and ones"):
        reduce.apply("percent_correct", bad)


def test_unknown_reducer_is_named_with_the_nearest_known_one() -> None:
    with pytest.raises(ConfigError, match="did you mean 'percent_correct'"):
        reduce.apply("percent_corect", np.ones(3))


@pytest.mark.parametrize(("n", "right"), [(10_000, 8_123), (360, 330), (7, 7)])
def test_one_seed_interval_is_the_binomial_one(n: int, right: int) -> None:
    made = intervals.estimate("percent_correct", [np.arange(n) < right])
    low, high = 100 * stats.binom.ppf([0.025, 0.975], n, right / n) / n
    assert (made.low, made.high) == pytest.approx((low, high))
    assert made.value == pytest.approx(100 * right / n)
    assert made.kind == "test images, 1 seed"


def test_paired_interval_is_that_of_the_per_image_differences() -> None:
    ours, base = correctness("learned", "probe", 0), correctness("plain", "probe", 0)
    made = intervals.estimate("percent_correct", [ours], [base])
    difference = 100 * (ours.astype(float) - base)
    drawn = stats.bootstrap(
        (difference,), np.mean, method="percentile", n_resamples=9999, random_state=0, batch=1000
    ).confidence_interval
    assert (made.low, made.high) == pytest.approx((drawn.low, drawn.high), abs=0.5)
    apart = intervals.estimate("percent_correct", [ours], [np.roll(base, 1)])
    assert apart.value == pytest.approx(made.value)
    correlated = intervals.estimate("percent_correct", [ours], [ours ^ (np.arange(len(ours)) < 8)])
    assert correlated.high - correlated.low < (made.high - made.low) / 3


def test_two_seeds_are_averaged_image_by_image() -> None:
    a, b = correctness("learned", "probe", 0), correctness("learned", "probe", 1)
    made = intervals.estimate("percent_correct", [a, b])
    score = 50.0 * (a.astype(float) + b)
    half = 1.96 * score.std() / math.sqrt(len(score))
    assert made.value == pytest.approx(score.mean())
    assert (made.low, made.high) == pytest.approx((made.value - half, made.value + half), abs=0.3)
    assert made.kind == "test images, 2 seeds"


def test_three_seeds_give_a_t_interval_over_seeds() -> None:
    arrays = [correctness("learned", "probe", seed) for seed in range(3)]
    values = [100 * array.mean() for array in arrays]
    made = intervals.estimate("percent_correct", arrays)
    expected = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    assert (made.low, made.high) == pytest.approx(expected)
    assert made.kind == "t over 3 seeds"


def test_a_metric_without_a_closed_form_is_resampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(reduce.REDUCERS, "median", lambda array: float(np.median(array)))
    monkeypatch.setattr(intervals, "RESAMPLES", 400)
    values = np.random.default_rng(0).normal(5, 1, 300)
    made = intervals.estimate("median", [values])
    drawn = stats.bootstrap(
        (values,), np.median, method="percentile", n_resamples=2000, random_state=0
    ).confidence_interval
    assert (made.low, made.high) == pytest.approx((drawn.low, drawn.high), abs=0.06)
    shifted = intervals.estimate("median", [values + 3], [values])
    assert (shifted.low, shifted.value, shifted.high) == pytest.approx((3, 3, 3))


def test_sides_that_do_not_pair_are_refused() -> None:
    with pytest.raises(ValueError, match="same seeds and test images"):
        intervals.estimate("percent_correct", [np.ones(3)], [np.ones(4)])
    with pytest.raises(ValueError, match="same seeds and test images"):
        intervals.estimate("percent_correct", [np.ones(3)], [np.ones(3), np.ones(3)])


# --- cells -----------------------------------------------------------------------------------


def test_a_cell_is_what_the_run_measured_with_its_provenance(project: Project) -> None:
    made = cell(built(project), "learned")
    ours, base = correctness("learned", "probe", 0), correctness("plain", "probe", 0)
    assert made["ours"]["value"] == pytest.approx(100 * ours.mean())
    assert made["gain"]["value"] == pytest.approx(100 * (ours.mean() - base.mean()))
    assert made["published"]["text"] == "76.0"
    assert (made["seeds"], made["n"], made["status"]) == ([0], 400, "measured")
    (one,) = made["runs"]
    assert one["run_digest"] == run(project, "learned").digest
    assert one["commands"] == [
        "python -m reprise train toy/learned --seed 0",
        "python -m reprise evaluate toy/learned --seed 0",
    ]


def test_a_row_may_take_a_column_from_another_evaluator(project: Project) -> None:
    made = cell(built(project), "learned", "knn_top1")
    assert made["runs"][0]["evaluator"] == "classify"
    assert made["ours"]["value"] == pytest.approx(
        100 * correctness("learned", "classify", 0).mean()
    )


def test_published_numbers_never_fill_a_cell_of_ours(project: Project) -> None:
    made = cell(built(project), "printed only")
    assert (made["ours"], made["gain"], made["status"]) == (None, None, "published only")
    assert made["published"]["value"] == 71.25


@pytest.mark.parametrize(
    ("label", "key", "status"),
    [
        ("raw | pixels", "knn_top1", "not measured: pixels has no knn"),
        ("swept", "probe_top1", "not run: sweep row, build with `snakemake --cores all sweeps`"),
    ],
)
def test_an_empty_cell_says_why(project: Project, label: str, key: str, status: str) -> None:
    made = cell(built(project), label, key)
    assert (made["ours"], made["status"]) == (None, status)


def test_a_sweep_row_that_was_run_is_shown(project: Project) -> None:
    fabricate(run(project, "swept"))
    assert cell(built(project), "swept")["status"] == "measured"


def test_a_missing_file_is_named(project: Project) -> None:
    (run(project, "learned").eval_folder / "probe.npz").unlink()
    status = cell(built(project), "learned")["status"]
    assert status == "not run: toy/learned seed 0 has no probe.npz"


def test_a_stale_evaluation_is_not_shown(project: Project) -> None:
    path = run(project, "learned").eval_folder / "probe.json"
    path.write_text(
        path.read_text().replace(run(project, "learned").eval_digest("probe"), "0" * 64)
    )
    made = cell(built(project), "learned")
    assert made["ours"] is None
    assert made["status"].startswith("not run: probe.json of toy/learned seed 0 is stale")


def test_editing_a_run_makes_its_cell_stale(project: Project, tmp_path: Path) -> None:
    paper = tmp_path / "params/papers/toy.yaml"
    paper.write_text(paper.read_text().replace("steps: 40", "steps: 41"))
    table = built(load_project(tmp_path, "tiny"))
    assert "stale" in cell(table, "learned")["status"]
    assert cell(table, "plain")["status"] == "measured"


def test_a_missing_baseline_leaves_the_numbers_and_takes_the_gains(project: Project) -> None:
    (run(project, "plain").eval_folder / "probe.json").unlink()
    made = cell(built(project), "learned")
    assert made["ours"] is not None
    assert made["gain"] is None


def test_other_test_images_give_no_paired_gain(project: Project) -> None:
    path = run(project, "plain").eval_folder / "probe.json"
    path.write_text(path.read_text().replace("e" * 64, "f" * 64))
    assert cell(built(project), "learned")["gain"] is None


def test_three_seeds_of_which_one_is_missing(tmp_path: Path) -> None:
    project = workspace(tmp_path, seeds=(0, 1, 2))
    fabricate_all(project)
    complete = cell(built(project), "learned")
    assert complete["ours"]["kind"] == complete["gain"]["kind"] == "t over 3 seeds"
    gains = [
        100 * (correctness("learned", "probe", s).mean() - correctness("plain", "probe", s).mean())
        for s in range(3)
    ]
    expected = stats.t.interval(0.95, 2, loc=np.mean(gains), scale=stats.sem(gains))
    assert (complete["gain"]["low"], complete["gain"]["high"]) == pytest.approx(expected)
    (run(project, "learned", 1).eval_folder / "probe.json").unlink()
    partial = cell(built(project), "learned")
    assert partial["seeds"] == [0, 2]
    assert partial["ours"]["kind"] == "test images, 2 seeds"
    assert partial["status"].startswith("partial: seed 1 not run: toy/learned seed 1 has no")


# --- damaged files ---------------------------------------------------------------------------


def damage_json(path: Path, **changes: object) -> None:
    document = json.loads(path.read_text())
    document["metrics"][0].update(changes)
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"value": 99.0}, "top1 = 99.0, but the statistics in probe.npz give"),
        ({"value": float("nan")}, "top1 = nan, but"),
        ({"value": "77"}, "value = '77' is not allowed"),
        ({"n": 399}, "says n = 399"),
        ({"metric": "top5"}, "has no metric 'top1'"),
        ({"statistics": "top7"}, "has no array"),
        ({"reduce": "percent_wrong"}, "unknown reduce function 'percent_wrong'"),
    ],
)
def test_a_contradiction_is_refused(project: Project, changes: dict, message: str) -> None:
    damage_json(run(project, "learned").eval_folder / "probe.json", **changes)
    with pytest.raises(ResultError, match=message) as caught:
        tables.build(table_job(project))
    assert "eval/learned/seed0/probe" in str(caught.value)


@pytest.mark.parametrize("name", ["probe.json", "probe.npz"])
@pytest.mark.parametrize("left", [0, 30, 200])
def test_a_truncated_file_is_named(project: Project, name: str, left: int) -> None:
    path = run(project, "learned").eval_folder / name
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(ResultError, match=str(path)):
        tables.build(table_job(project))


def test_nothing_is_left_behind_by_a_failed_build(project: Project) -> None:
    damage_json(run(project, "learned").eval_folder / "probe.json", value=1.0)
    with pytest.raises(ResultError):
        tables.build(table_job(project))
    assert not list(project.results.glob("toy/tables/*"))


# --- the three files -------------------------------------------------------------------------


def test_csv_and_json_hold_the_same_numbers(project: Project) -> None:
    table = built(project)
    text = table_job(project).outputs[0].read_text()
    lines = {(line["row"], line["metric"]): line for line in csv.DictReader(text.splitlines())}
    assert len(lines) == 9, "a line per row and column, without the empty cells of printed rows"
    for row in table["rows"]:
        for key, value in row["cells"].items():
            line = lines.get((row["label"], key))
            if line is not None and value["ours"]:
                assert float(line["ours"]) == value["ours"]["value"]
                assert float(line["ci_low"]) == value["ours"]["low"]
    line = lines["learned", "probe_top1"]
    assert line["published"] == "76.0"
    assert line["run_digests"] == run(project, "learned").digest[:12]
    assert line["deviations"] == "Classified, not looked up. | Everything is made up."
    assert (line["seeds"], line["n"], line["scale"]) == ("1", "400", "tiny")


def test_markdown_says_scale_seeds_and_reasons(project: Project) -> None:
    built(project)
    text = table_job(project).outputs[1].read_text()
    assert "scale tiny: made-up numbers for a test; seeds: 1" in text
    assert "not a result" not in text
    assert "| raw \\| pixels |" in text
    assert "- swept, probe: not run: sweep row" in text
    widths = {line.replace("\\|", "").count("|") for line in text.splitlines() if "|" in line[:1]}
    assert widths == {4, 5}, "every line of a Markdown table has as many cells as its head"


def test_plumbing_scales_say_so(tmp_path: Path) -> None:
    project = workspace(tmp_path, result=False)
    fabricate_all(project)
    assert built(project)["scale"]["result"] is False
    assert "**plumbing check, not a result**" in table_job(project).outputs[1].read_text()


def test_building_twice_gives_the_same_bytes(project: Project) -> None:
    built(project)
    before = [path.read_bytes() for path in table_job(project).outputs]
    built(project)
    assert [path.read_bytes() for path in table_job(project).outputs] == before


def test_loading_a_truncated_table_names_it(project: Project) -> None:
    built(project)
    path = table_job(project).outputs[2]
    path.write_text(path.read_text()[:100])
    with pytest.raises(RepriseError, match=str(path)):
        tables.load(path)


def test_the_intervals_of_a_demo_sized_table_are_a_matter_of_a_second() -> None:
    arrays = list(np.random.default_rng(0).random((40, 10_000)) < 0.8)
    start = time.perf_counter()
    for array in arrays:
        intervals.estimate("percent_correct", [array])
        intervals.estimate("percent_correct", [array], [arrays[0]])
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    ("data", "kind"),
    [(("digest", "test"), "test images, 1 seed"), (("", ""), "repeated measurements, 1 seed")],
)
def test_a_plain_mean_says_what_it_is_over(data: tuple[str, str], kind: str) -> None:
    measured = {0: Measured(3.5, 8, data, "mean", np.arange(8.0))}
    found = tables._estimate(measured, "")
    assert found is not None
    assert found.kind == kind
