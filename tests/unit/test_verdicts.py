"""Effects and tests of claims against independent calculations, and their error rates."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import ttost_paired

from reprise import effects, intervals, power, reduce, verdicts
from reprise.effects import NotPositiveError
from reprise.results import Measured
from reprise.settings.claims import Claim, Place

ROOT = Path(__file__).parents[2]

A, B, C, D = np.array(
    [[75.0, 76.5, 74.25], [72.5, 74.0, 73.0], [60.0, 63.0, 61.5], [58.5, 60.0, 62.0]]
)
VALUES = {Place("t", row, "c"): value for row, value in zip("ABCD", (A, B, C, D), strict=True)}


def claim(test: dict[str, Any], margin: float = 0) -> Claim:
    defaults = {"statement": "", "source": "x", "table": "t", "column": "c", "margin": margin}
    return Claim.model_validate({**defaults, "test": test})


def slack(test: dict[str, Any], margin: float = 0) -> np.ndarray:
    return np.stack([part.slack for part in effects.parts(claim(test, margin), VALUES)])


# --- effects ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("test", "margin", "expected"),
    [
        ({"kind": "greater", "better": "A", "worse": ["B", "C"]}, 1, [A - B - 1, A - C - 1]),
        (
            {"kind": "greater", "better": "B", "worse": "A", "lower_is_better": True},
            0.5,
            [A - B - 0.5],
        ),
        ({"kind": "within", "a": "A", "b": "B"}, 3, [3 - (A - B), (A - B) + 3]),
        ({"kind": "not_worse", "cells": ["C", "D"], "than": "A"}, 20, [C - A + 20, D - A + 20]),
        (
            {"kind": "not_worse", "cells": "A", "than": ["C", "B"], "lower_is_better": True},
            5,
            [C - A + 5, B - A + 5],
        ),
        (
            {"kind": "ratio_at_least", "a": "A", "b": ["C", "B"], "bound": 1},
            0,
            [np.log(A / C), np.log(A / B)],
        ),
        (
            {"kind": "monotone", "cells": ["D", "C", "A"], "direction": "increasing"},
            0.25,
            [C - D - 0.25, A - C - 0.25],
        ),
        (
            {"kind": "monotone", "cells": ["A", "C", "D"], "direction": "decreasing"},
            0,
            [C - D, A - C],
        ),
        (
            {"kind": "interior_maximum", "cells": ["C", "A", "B", "D"], "peak": "B"},
            2,
            [B - C - 2, B - D - 2],
        ),
        ({"kind": "ratio_at_least", "a": "A", "b": "C", "bound": 1.1}, 0, [np.log(A / C / 1.1)]),
        (
            {"kind": "difference_of_differences", "a": "A", "b": "C", "c": "B", "d": "D"},
            1.5,
            [(A - C) - (B - D) - 1.5],
        ),
    ],
)
def test_slack_is_what_the_kind_says(
    test: dict[str, Any], margin: float, expected: list[np.ndarray]
) -> None:
    found = slack(test, margin)
    # Parts may stand in any order: a claim holds where all of them do.
    assert sorted(map(tuple, found.round(9))) == sorted(map(tuple, np.round(expected, 9)))


def test_growth_exponent_is_the_slope_of_logarithms() -> None:
    test = {"kind": "growth_exponent_below", "cells": ["D", "C", "A"], "x": [1, 4, 9], "bound": 1.5}
    expected = [
        np.polyfit(np.log([1, 4, 9]), np.log([D[seed], C[seed], A[seed]]), 1)[0]
        for seed in range(3)
    ]
    assert slack(test)[0] == pytest.approx(1.5 - np.array(expected))


def test_effects_of_replicates_are_those_of_each() -> None:
    one = claim({"kind": "growth_exponent_below", "cells": ["D", "A"], "x": [1, 2], "bound": 0})
    many = {place: np.stack([value, value + 1]) for place, value in VALUES.items()}
    (single,), (both,) = effects.parts(one, VALUES), effects.parts(one, many)
    assert both.effects.shape == (2, 3)
    assert both.effects[0] == pytest.approx(single.effects)


def test_what_is_asked_can_be_read() -> None:
    ratio = claim({"kind": "ratio_at_least", "a": "A", "b": "B", "bound": 1.7})
    assert effects.asks(ratio) == "[A] / [B] >= 1.7"
    within = claim({"kind": "within", "a": "A", "b": {"row": "B", "column": "d"}}, 0.5)
    assert effects.asks(within) == "[A] - [B (d)] < 0.5; [A] - [B (d)] > -0.5"
    elsewhere = {"row": "B", "table": "u"}
    greater = claim({"kind": "greater", "better": "A", "worse": elsewhere})
    assert effects.asks(greater) == "[A] - [B (u)] > 0"
    assert effects.shown(ratio, np.log(2.0)) == pytest.approx(2)
    assert (effects.unit(ratio, "%"), effects.unit(within, "%")) == ("x", "points")


def test_a_logarithm_of_zero_is_refused() -> None:
    values = {**VALUES, Place("t", "B", "c"): np.array([1.0, 0, 1])}
    with pytest.raises(NotPositiveError, match="B is not above zero"):
        effects.parts(claim({"kind": "ratio_at_least", "a": "A", "b": "B", "bound": 1}), values)


# --- tests -----------------------------------------------------------------------------------


def test_p_values_are_those_of_the_paired_t_test() -> None:
    for_it, against = verdicts.p_values(slack({"kind": "greater", "better": "A", "worse": "B"}))
    assert for_it == pytest.approx(stats.ttest_rel(A, B, alternative="greater").pvalue)
    assert against == pytest.approx(stats.ttest_rel(A, B, alternative="less").pvalue)


def test_within_is_two_one_sided_tests() -> None:
    for_it, against = verdicts.p_values(slack({"kind": "within", "a": "A", "b": "B"}, 3.5))
    assert for_it == pytest.approx(ttost_paired(A, B, -3.5, 3.5)[0])
    assert against == 1
    _, against = verdicts.p_values(slack({"kind": "within", "a": "A", "b": "B"}, 0.5))
    one_sided = stats.ttest_1samp(A - B, 0.5, alternative="greater").pvalue
    assert against == pytest.approx(2 * one_sided)


def test_parts_are_joined_by_the_largest_p_and_refuted_by_the_smallest() -> None:
    test = {"kind": "monotone", "cells": ["D", "C", "B", "A"], "direction": "increasing"}
    for_it, against = verdicts.p_values(slack(test))
    steps = [(C, D), (B, C), (A, B)]
    above = [stats.ttest_rel(*step, alternative="greater").pvalue for step in steps]
    under = [stats.ttest_rel(*step, alternative="less").pvalue for step in steps]
    assert for_it == pytest.approx(max(above))
    assert against == pytest.approx(min(1, 3 * min(under)))
    assert verdicts.weakest(slack(test)) == int(np.argmax(above))


@pytest.mark.filterwarnings("error")
def test_seeds_that_agree_divide_nothing_by_zero() -> None:
    flat = np.array([[0.3, 0.3, 0.1 + 0.2], [1.0, 2.0, 3.0]])
    assert verdicts.constant(flat).tolist() == [True, False]
    for_it, against = verdicts.p_values(flat)
    assert for_it == 1
    assert against == 1
    assert verdicts.p_values(np.zeros((1, 3)))[0] == 1


def test_holm_is_the_step_down_rule() -> None:
    assert verdicts.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert verdicts.holm([]) == []


@pytest.mark.parametrize(("seeds", "level"), [(3, 0.05), (3, 0.005), (5, 0.01), (10, 0.05)])
def test_smallest_detectable_effect(seeds: int, level: float) -> None:
    values = np.random.default_rng(seeds).normal(2, 0.7, seeds)
    expected = TTestPower().solve_power(nobs=seeds, alpha=level, power=0.8, alternative="larger")
    assert verdicts.smallest_detectable(values, level) == pytest.approx(
        float(np.ravel(expected)[0]) * values.std(ddof=1), rel=1e-3
    )


# --- the bootstrap over test images ----------------------------------------------------------


def measured(statistics: np.ndarray, how: str = "percent_correct") -> Measured:
    value = reduce.apply(how, statistics)
    return Measured(value, len(statistics), ("data", "test"), how, statistics)


def test_drawing_kinds_of_images_equals_drawing_images(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(1)
    easy = generator.random(500) < 0.5
    arrays = [(easy & (generator.random(500) < share)).astype(np.uint8) for share in (0.9, 0.8)]
    cells = [[measured(array)] for array in arrays]
    quick = verdicts.replicates(cells)
    monkeypatch.setattr(reduce, "MEANS", {})
    slow = verdicts.replicates(cells)
    assert (quick.shape, slow.shape) == ((50_000, 2, 1), (2000, 2, 1))
    covariance = 1e4 * np.cov(arrays, bias=True) / 500
    for drawn in (quick, slow):
        assert np.mean(drawn, axis=0)[:, 0] == pytest.approx([c[0].value for c in cells], abs=0.2)
        assert np.cov(drawn[:, :, 0].T) == pytest.approx(covariance, rel=0.12)


def test_many_kinds_are_drawn_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(3)
    cells = [[measured(generator.integers(0, 2, 200).astype(np.uint8))] * 2 for _ in range(3)]
    whole = verdicts.replicates(cells)
    monkeypatch.setattr(verdicts, "_HELD", 8 * 777)
    assert np.array_equal(verdicts.replicates(cells), whole)


def test_the_same_rows_are_drawn_for_every_cell_and_seed() -> None:
    values = np.random.default_rng(2).normal(5, 1, 60)
    cells = [[measured(values, "median")] * 2, [measured(values + 1, "median")] * 2]
    drawn = verdicts.replicates(cells)
    assert drawn.shape == (2000, 2, 2)
    assert drawn[:, 1] - drawn[:, 0] == pytest.approx(1)
    assert np.ptp(drawn[:, 0, 0]) > 0


# --- error rates -----------------------------------------------------------------------------

REPETITIONS, CLAIMS = 4000, 6


def rates(effect: float, margin: float = 0) -> dict[str, np.ndarray]:
    """Decide on six claims of three seeds, many times; effects vary by 1 from seed to seed."""
    drawn = np.random.default_rng(5).normal(effect, 1, (REPETITIONS, CLAIMS, 1, 3)) - margin
    single = np.stack(verdicts.p_values(drawn))
    corrected = power.holm_of_many(single)
    assert corrected[0, :3] == pytest.approx(np.array([verdicts.holm(p) for p in single[0, :3]]))
    return {"before": single <= verdicts.LEVEL, "after": corrected <= verdicts.LEVEL}


def test_without_a_difference_verdicts_are_as_rare_as_the_level_says() -> None:
    found = rates(0)
    supported, contradicted = found["before"].mean(axis=(1, 2))
    assert supported == pytest.approx(0.05, abs=0.006)
    assert contradicted == pytest.approx(0.05, abs=0.006)
    of_a_paper = found["before"].any(axis=2).mean(axis=1)
    assert of_a_paper == pytest.approx([1 - 0.95**CLAIMS] * 2, abs=0.025), "why it is corrected"
    of_a_paper = found["after"].any(axis=2).mean(axis=1)
    assert of_a_paper == pytest.approx([0.05, 0.05], abs=0.012)
    assert found["after"].mean(axis=(1, 2)).sum() < 0.03


@pytest.mark.parametrize("kind", power.KINDS)
def test_a_claim_of_any_kind_that_is_false_by_nothing_is_rarely_decided(kind: str) -> None:
    supported, contradicted = power.at_the_edge(kind, 3, REPETITIONS)
    assert supported == pytest.approx(0.05, abs=0.012)
    assert 0.01 < contradicted < 0.062, "less of a claim of several parts, which is corrected"


def test_the_simulation_finds_what_is_there() -> None:
    none, some = (power.of_a_paper(effect, CLAIMS, 3, 1000) for effect in (0.0, 12.0))
    assert none.any_supported < 0.08
    assert none.any_contradicted < 0.08
    assert some.supported_of_many > 0.99
    assert some.contradicted == 0
    lines = list(power.report(CLAIMS, 3, 100))
    assert sum(line.startswith("|") for line in lines) == 2 + len(power.KINDS) + 2 + 7


def test_a_claim_on_its_margin_is_rarely_supported() -> None:
    found = rates(2.0, margin=2.0)
    assert found["before"][0].mean() == pytest.approx(0.05, abs=0.006)


def test_equivalence_is_rarely_found_at_the_edge_of_the_margin() -> None:
    drawn = np.random.default_rng(6).normal(1, 0.3, (REPETITIONS, 3))
    parts = np.stack([1 - drawn, drawn + 1], axis=1)
    assert (verdicts.p_values(parts)[0] <= 0.05).mean() == pytest.approx(0.05, abs=0.012)
    close = parts + np.array([1, -1])[:, None]  # the same spread about a difference of zero
    assert (verdicts.p_values(close)[0] <= 0.05).mean() > 0.5


def test_a_conjunction_with_one_false_part_is_rarely_supported() -> None:
    means = np.array([[0.0], [9], [9]])
    drawn = np.random.default_rng(7).normal(means, 1, (REPETITIONS, 3, 3))
    assert (verdicts.p_values(drawn)[0] <= 0.05).mean() <= 0.06


def test_a_true_effect_of_the_smallest_detectable_size_is_found_in_four_of_five() -> None:
    unit = np.array([-1.0, 0, 1])
    effect = verdicts.smallest_detectable(unit, verdicts.LEVEL)
    found = rates(effect)
    assert found["before"][0].mean() == pytest.approx(0.8, abs=0.02)
    assert found["before"][1].sum() == 0
    assert rates(12)["after"][0].mean() > 0.8


def test_a_bootstrap_over_images_does_not_see_the_noise_of_seeds() -> None:
    """Two methods of equal worth whose accuracy moves by 0.5 points from seed to seed."""
    generator, apart = np.random.default_rng(8), 0
    for _ in range(100):
        shares = 0.8 + 0.005 * generator.normal(size=2)
        arrays = [(generator.random(10_000) < share).astype(np.uint8) for share in shares]
        drawn = verdicts.replicates([[measured(array)] for array in arrays])
        low, high = verdicts.percentiles(drawn[:, 0] - drawn[:, 1])
        apart += not low <= 0 <= high
    assert apart > 10, "with one seed twice as often as the 5 % that the interval suggests"


# --- the page on statistics ------------------------------------------------------------------


def test_the_worked_example_is_what_the_code_says() -> None:
    text = (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \d \| ([\d.]+) \| ([\d.]+) \| \+([\d.]+) \|$", text, re.MULTILINE)
    noise, none, shown = np.array(rows, float).T
    gains = noise - none
    assert gains == pytest.approx(shown)
    low, high = intervals.over_seeds(gains)
    assert (
        f"+{gains.mean():.1f} points. Their standard deviation is {gains.std(ddof=1):.2f}" in text
    )
    assert f"[+{low:.1f}, +{high:.1f}]" in text
    p = float(verdicts.p_values(gains[None])[0])
    assert f"one-sided p = {p:.4f}" in text
    assert f"multiplied by eight: {8 * p:.3f}" in text
    reach = verdicts.smallest_detectable(gains, 0.05 / 8)
    assert f"have to be {reach:.1f} points" in text
    (fifth,) = re.findall(r"effects \+([\d.]+), \+([\d.]+) and \+([\d.]+):", text)
    pairs = np.array(fifth, float)
    p = float(verdicts.p_values(pairs[None])[0])
    low, high = intervals.over_seeds(pairs)
    assert f"mean +{pairs.mean():.1f}, interval [−{-low:.1f}, +{high:.1f}], p = {p:.3f}" in text
    assert f"multiplied by four: {4 * p:.3f}" in text
    assert f"true effect of {verdicts.smallest_detectable(pairs, 0.05 / 7):.1f} points" in text


def test_the_table_of_the_smallest_detectable_effect_is_right() -> None:
    text = (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")
    for seeds in (3, 5):
        units = [
            intervals.detectable_errors(seeds, verdicts.LEVEL / claims) / np.sqrt(seeds)
            for claims in (1, 6, 12)
        ]
        assert f"| {seeds} | " + " | ".join(f"{unit:.1f}" for unit in units) + " |" in text
