"""Reducers and intervals against brute force, and single measurements wherever they are shown."""

import csv
import itertools
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fabricated import fabricate_all, table_job, workspace
from scipy import stats
from statsmodels.stats.power import TTestPower

from reprise import intervals, markdown, reduce, tables
from reprise.config import Project
from reprise.plan import RunJob
from reprise.report import build
from reprise.tracking import content


def ones(*shape: int, share: float = 0.7, seed: int = 0) -> np.ndarray:
    """Return uint8 zeros and ones; the images differ in how hard they are."""
    generator = np.random.default_rng(seed)
    hard = generator.beta(share * 4, 4 - share * 4, (shape[0], *(1,) * (len(shape) - 1)))
    return (generator.random(shape) < hard).astype(np.uint8)


# --- reducers --------------------------------------------------------------------------------


def test_repeated_correctness_is_the_mean_over_images_and_repeats() -> None:
    array = np.array([[1, 1, 0], [0, 0, 1]], np.uint8)
    assert reduce.apply("percent_correct_repeated", array) == 50.0
    single = ones(50, 1)
    assert reduce.apply("percent_correct_repeated", single) == reduce.apply(
        "percent_correct", single[:, 0]
    )


@pytest.mark.parametrize(
    "bad", [np.ones(3, np.uint8), np.ones((0, 2)), np.ones((2, 0)), np.array([[0, 2]])]
)
def test_repeated_correctness_refuses_other_statistics(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="non-empty matrix of zeros and ones"):
        reduce.apply("percent_correct_repeated", bad)


def test_mean_and_median_keep_the_unit() -> None:
    values = np.array([3.0, 1.0, 5.0, 100.0])
    assert reduce.apply("mean", values) == 27.25
    assert reduce.apply("median", values) == 4.0
    assert reduce.apply("mean", np.array([7], np.int64)) == 7.0


@pytest.mark.parametrize("name", ["mean", "median"])
@pytest.mark.parametrize(
    "bad", [np.array([]), np.array([1.0, np.nan]), np.ones((2, 2)), np.array(["1"]), np.array(3.0)]
)
def test_mean_and_median_refuse_what_is_no_number(name: str, bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match=f"{name} needs a non-empty vector of finite numbers"):
        reduce.apply(name, bad)


@pytest.mark.parametrize("name", list(reduce.MEANS))
def test_whole_scores_times_the_factor_are_the_metric(name: str) -> None:
    array = ones(40) if name == "percent_correct" else ones(40, 6)
    scores, factor = reduce.MEANS[name](array)
    assert scores.dtype == np.int64
    assert len(scores) == 40
    assert factor * scores.mean() == pytest.approx(reduce.apply(name, array))


# --- intervals -------------------------------------------------------------------------------


def every_resample(name: str, ours: list[np.ndarray], against: list[np.ndarray]) -> np.ndarray:
    """Return the metric of all n^n resamples of n images, sorted: the bootstrap itself."""
    n = len(ours[0])
    values = []
    for chosen in itertools.product(range(n), repeat=n):
        rows = list(chosen)
        value = np.mean([reduce.apply(name, array[rows]) for array in ours])
        if against:
            value -= np.mean([reduce.apply(name, array[rows]) for array in against])
        values.append(value)
    return np.sort(values)


@pytest.mark.parametrize("seeds", [1, 2])
@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("shape", [(5,), (5, 1), (5, 4)])
def test_the_closed_form_is_the_bootstrap(shape: tuple[int, ...], paired: bool, seeds: int) -> None:
    name = "percent_correct" if len(shape) == 1 else "percent_correct_repeated"
    ours = [ones(*shape, share=0.6, seed=seed) for seed in range(seeds)]
    against = [ones(*shape, share=0.4, seed=9 + seed) for seed in range(seeds if paired else 0)]
    made = intervals.estimate(name, ours, against)
    values = every_resample(name, ours, against)
    expected = [values[math.ceil(level * len(values)) - 1] for level in (0.025, 0.975)]
    assert (made.low, made.high) == pytest.approx(expected)
    assert made.low < made.value < made.high


def test_repeats_of_an_image_are_resampled_together() -> None:
    """Images are the units: repeating every measurement ten times must not narrow the interval."""
    single = ones(300)
    repeated = np.repeat(single[:, None], 10, axis=1)
    once = intervals.estimate("percent_correct", [single])
    assert intervals.estimate("percent_correct_repeated", [repeated]) == once
    drawn = stats.bootstrap(
        (ones(300, 8).mean(axis=1) * 100,), np.mean, method="percentile", random_state=0
    ).confidence_interval
    made = intervals.estimate("percent_correct_repeated", [ones(300, 8)])
    assert (made.low, made.high) == pytest.approx((drawn.low, drawn.high), abs=0.25)


def test_sides_with_another_number_of_repeats_are_resampled() -> None:
    made = intervals.estimate("percent_correct_repeated", [ones(200, 3)], [ones(200, 2, seed=1)])
    difference = 100 * (ones(200, 3).mean(axis=1) - ones(200, 2, seed=1).mean(axis=1))
    half = 1.96 * difference.std() / math.sqrt(200)
    assert made.value == pytest.approx(difference.mean())
    assert (made.low, made.high) == pytest.approx((made.value - half, made.value + half), abs=1.0)


def test_a_probe_of_ten_draws_on_ten_thousand_images_is_quick() -> None:
    ours, against = ones(10_000, 10), ones(10_000, 10, seed=1)
    start = time.process_time()
    intervals.estimate("percent_correct_repeated", [ours], [against])
    assert time.process_time() - start < 1


def test_timings_are_called_measurements_not_images() -> None:
    values = np.random.default_rng(0).normal(5, 1, 30)
    made = intervals.estimate("median", [values])
    assert made.kind == "repeated measurements, 1 seed"
    assert made.low < made.value < made.high
    assert intervals.estimate("mean", [values, values]).kind == "repeated measurements, 2 seeds"


@pytest.mark.parametrize("n", [2, 3, 5])
def test_few_measurements_have_students_interval(n: int) -> None:
    values = np.random.default_rng(n).normal(5, 1, n)
    made = intervals.estimate("mean", [values])
    expected = stats.t.interval(0.95, n - 1, loc=values.mean(), scale=stats.sem(values))
    assert (made.low, made.high) == pytest.approx(expected)
    assert made.kind == f"t over {n} repeated measurements, 1 seed"
    half = (made.high - made.low) / 2
    middle = intervals.estimate("median", [values])
    assert (middle.low, middle.high) == pytest.approx(
        (np.median(values) - half, np.median(values) + half)
    )
    gain = intervals.estimate("median", [values + 2], [values])
    assert gain.low == pytest.approx(2)
    assert gain.high == pytest.approx(2), "what both share cancels"


def test_of_three_rounds_a_bootstrap_would_promise_too_much() -> None:
    generator = np.random.default_rng(3)
    held = resampled = 0
    for values in generator.normal(0, 1, (1500, 3)):
        made = intervals.estimate("median", [values])
        held += made.low <= 0 <= made.high
        resampled += values.min() <= 0 <= values.max()  # no resample leaves the range
    assert held / 1500 == pytest.approx(0.95, abs=0.02)
    assert resampled / 1500 == pytest.approx(0.75, abs=0.04)


@pytest.mark.parametrize("name", ["mean", "median", "percent_correct"])
def test_a_single_measurement_has_no_interval(name: str) -> None:
    one, other = np.array([1.0]), np.array([0.0])
    made = intervals.estimate(name, [one])
    assert made == intervals.Estimate(reduce.apply(name, one), None, None, "a single measurement")
    two = intervals.estimate(name, [one, other])
    assert (two.low, two.high) == (None, None)
    assert two.kind == "a single measurement of each of 2 seeds"
    gain = intervals.estimate(name, [one], [other])
    assert (gain.low, gain.high, gain.kind) == (None, None, "a single measurement")


@pytest.mark.parametrize(
    ("unit", "ends"),
    [("%", (0.0, 100.0)), ("s", (0.0, 160.0)), ("images/s", (0.0, 160.0)), ("", (-20.0, 160.0))],
)
def test_no_interval_goes_beyond_what_can_be(unit: str, ends: tuple[float, float]) -> None:
    wide = intervals.Estimate(70.0, -20.0, 160.0, "t over 3 seeds")
    found = intervals.within_range(wide, unit)
    assert (found.low, found.high, found.value, found.kind) == (*ends, 70.0, wide.kind)
    alone = intervals.Estimate(70.0, None, None, intervals.SINGLE)
    assert intervals.within_range(alone, unit) == alone


def test_three_single_measurements_give_a_t_interval() -> None:
    made = intervals.estimate("mean", [np.array([value]) for value in (12.0, 12.5, 14.0)])
    expected = stats.t.interval(
        0.95, 2, loc=np.mean([12, 12.5, 14]), scale=stats.sem([12, 12.5, 14])
    )
    assert (made.low, made.high) == pytest.approx(expected)
    assert made.kind == "t over 3 seeds"


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1234.567, 0.0])
def test_seeds_that_agree_leave_no_width(value: float) -> None:
    made = intervals.estimate("mean", [np.array([value])] * 3)
    assert made.low == made.value == made.high == pytest.approx(value)


# --- the smallest gain that could be told from none -------------------------------------------


@pytest.mark.parametrize("seeds", [3, 5, 12])
def test_over_seeds_the_detectable_gain_is_the_paired_t_tests(seeds: int) -> None:
    """Of a 95 % interval: 2.5 % on the side where the gain lies."""
    effects = np.random.default_rng(seeds).normal(0.4, 1.3, seeds)
    gain = intervals.Estimate(0.4, 0.1, 0.7, "t over seeds")  # its ends play no part
    solved = TTestPower().solve_power(nobs=seeds, alpha=0.025, power=0.8, alternative="larger")
    found = intervals.smallest_detectable(gain, effects)
    assert found == pytest.approx(float(np.ravel(solved)[0]) * effects.std(ddof=1), rel=1e-3)
    assert intervals.smallest_detectable(gain, 10 * effects + 3) == pytest.approx(10 * found)
    assert found > intervals.over_seeds(effects)[1] - effects.mean(), "wider than the interval"


def test_a_true_gain_of_the_detectable_size_is_found_over_seeds_in_four_of_five() -> None:
    generator = np.random.default_rng(1)
    unit = np.array([-1.0, 0.0, 1.0])  # of deviation 1
    size = intervals.smallest_detectable(intervals.Estimate(0, None, None, ""), unit)
    drawn = generator.normal(size, 1, (4000, 3))
    clear = sum(intervals.over_seeds(values)[0] > 0 for values in drawn)
    assert clear / len(drawn) == pytest.approx(0.8, abs=0.02)


def test_a_true_gain_of_the_detectable_size_is_found_over_images_in_four_of_five() -> None:
    """Pairs of classifiers that truly differ by what one interval says it could detect."""
    generator, n = np.random.default_rng(2), 600

    def pair(gain: float) -> tuple[np.ndarray, np.ndarray]:
        """A fifth of the images is told apart by one of the two alone."""
        kind = generator.random(n)
        ours, base = kind < 0.1 + gain / 200, (kind >= 0.1 + gain / 200) & (kind < 0.2)
        both = generator.random(n) < 0.6
        return (ours | (~base & both)).astype(np.uint8), (base | (~ours & both)).astype(np.uint8)

    ours, base = pair(0.0)
    none = intervals.estimate("percent_correct", [ours], [base])
    size = intervals.smallest_detectable(none, np.array([none.value]))
    assert size is not None
    assert 3 < size < 8
    found = [intervals.estimate("percent_correct", [a], [b]) for a, b in map(pair, [size] * 400)]
    assert np.mean([one.value for one in found]) == pytest.approx(size, abs=0.3)
    assert np.mean([one.low > 0 for one in found]) == pytest.approx(0.8, abs=0.07)


def test_without_an_interval_nothing_is_known_to_be_detectable() -> None:
    alone = intervals.Estimate(1.5, None, None, intervals.SINGLE)
    assert intervals.smallest_detectable(alone, np.array([1.5])) is None
    assert intervals.smallest_detectable(alone, np.array([1.0, 2.0])) is None
    assert intervals.smallest_detectable(alone, np.array([1.0, 1.5, 2.0])) is not None


# --- numbers for people ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (83.44, "%", "83.4"),
        (-0.04, "%", "0.0"),
        (1234.5, "images/s", "1,234"),
        (999.96, "images/s", "1,000"),
        (567.83, "images/s", "567.8"),
        (99.96, "MB", "100"),
        (18.44, "MB", "18.4"),
        (4.5678, "GFLOP", "4.57"),
        (0.012345, "GFLOP", "0.0123"),
        (12_345_678.0, "s", "12,345,678"),
        (0, "s", "0"),
        (16, "images", "16"),
        (-1500.4, "s", "-1,500"),
    ],
)
def test_numbers_are_for_people(value: float, unit: str, text: str) -> None:
    assert markdown.number(value, unit) == text


def test_gains_are_signed_and_values_without_interval_stand_alone() -> None:
    assert markdown.number(1234.5, "images/s", sign=True) == "+1,234"
    assert markdown.number(-0.02, "%", sign=True) == "-0.0", "below zero, if only just"
    assert [markdown.number(zero, "%", sign=True) for zero in (0.0, -0.0)] == ["+0.0"] * 2
    assert markdown.number(-0.02, "%") == "0.0"


@pytest.mark.parametrize(
    ("difference", "shown"),
    [
        (-0.497, "-0.497 (± 0.5)"),
        (-0.5043, "-0.504 (± 0.5)"),
        (0.5, "+0.5 (± 0.5)"),
        (3, "+3 (± 0.5)"),
    ],
)
def test_a_difference_never_looks_as_large_as_what_is_allowed(
    difference: float, shown: str
) -> None:
    found = {"word": "so", "difference": difference, "tolerance": 0.5}
    assert markdown.beside_print({"against_print": found}) == f"so, {shown}"
    alone = {"value": 12.34, "low": None, "high": None, "kind": "a single measurement"}
    assert markdown.interval(alone, "s") == "12.3"
    assert markdown.interval(alone, "s", sign=True) == "+12.3"
    assert markdown.interval({**alone, "low": 11.0, "high": 13.0}, "s") == "12.3 [11, 13]"


# --- a column of single measurements, from the files to every view ---------------------------


SECONDS = {"plain": 20.0, "pixels": 1250.5, "learned": 12.34}


@pytest.fixture
def timed(tmp_path: Path) -> Project:
    """A workspace in which column probe_top1 holds one number of seconds a run."""
    project = workspace(tmp_path)
    fabricate_all(project)
    for name, value in SECONDS.items():
        path = RunJob(project, "toy", name, 0).eval_folder / "probe.json"
        document = json.loads(path.read_text())
        document["metrics"][0] |= {"value": value, "n": 1, "reduce": "mean"}
        path.write_text(json.dumps(document))
        np.savez(path.with_suffix(".npz"), top1=np.array([value]))
    tables.build(table_job(project))
    return project


def table_of(project: Project) -> dict[str, Any]:
    return tables.load(table_job(project).outputs[2])


def test_a_table_says_which_numbers_have_no_interval(timed: Project) -> None:
    row = next(row for row in table_of(timed)["rows"] if row["label"] == "learned")
    cell = row["cells"]["probe_top1"]
    assert cell["ours"] == {
        "value": 12.34,
        "low": None,
        "high": None,
        "kind": "a single measurement",
    }
    assert cell["gain"]["value"] == pytest.approx(-7.66)
    assert cell["gain"]["low"] is None
    csv_file, markdown_file, _ = table_job(timed).outputs
    lines = {
        (line["row"], line["metric"]): line
        for line in csv.DictReader(csv_file.read_text().splitlines())
    }
    line = lines["learned", "probe_top1"]
    assert (line["ours"], line["ci_low"], line["ci_high"]) == ("12.34", "", "")
    assert (line["interval"], line["gain_low"]) == ("a single measurement", "")
    assert lines["plain", "knn_top1"]["ci_low"] != ""
    text = markdown_file.read_text()
    assert "| learned (printed: Learned, 800 ep) | 76.0 | 12.3 |" in text
    assert "| learned | -7.7 |" in text
    assert "95 % interval: test images, 1 seed]." in text
    assert "A number without an interval is a single measurement." in text


def test_a_table_of_single_measurements_alone_has_a_legend(timed: Project) -> None:
    table = table_of(timed)
    for row in table["rows"]:
        row["cells"]["knn_top1"] |= {"ours": None, "gain": None}
    assert markdown.legend(table) == [
        "ours: mean over seeds.",
        "gain: paired, over plain.",
        "Printed numbers are of a different scale than ours, and are not compared.",
        "A number without an interval is a single measurement.",
    ]
    assert "## Paired gain over plain" in markdown.render(table)


def test_the_page_shows_a_single_measurement_without_brackets(timed: Project) -> None:
    text = build.build(timed).read_text()
    (cell,) = (part for part in text.split("<td") if 'data-value="12.34"' in part)
    assert "<b>12.3</b>" in cell
    assert "[" not in cell
    assert "None" not in cell
    assert 'class="gain"' in cell, "no interval is none clear of zero"
    assert "paired gain over the baseline, a single measurement" in cell


def test_the_projection_leaves_out_bounds_that_no_number_has(timed: Project) -> None:
    grid = content.grid(table_of(timed))
    assert grid["probe, ours"][:3] == [20.0, 1250.5, 12.34]
    assert "probe, ours low" not in grid
    assert "probe, gain high" not in grid
    assert "20-NN, ours low" in grid
