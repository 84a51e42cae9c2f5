"""The claims ledger: verdicts, missing cells, few seeds, files, and mistakes in the YAML."""

import functools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from fabricated import N, fabricate_all, workspace, write_json
from scipy import stats
from statsmodels.stats.power import TTestPower

from reprise import claims, plan, power, status
from reprise import ledger as render
from reprise.config import Project, load_project
from reprise.errors import ConfigError
from reprise.plan import BenchmarkJob, ClaimsJob, RunJob, TableJob
from reprise.results import ResultError

ROOT = Path(__file__).parents[2]
SEEDS = (0, 1, 2)


@functools.cache
def here() -> Project:
    """The papers of this repository, read once."""
    return load_project(ROOT, "smoke")


def greater(better: Any, worse: Any, **more: Any) -> dict[str, Any]:
    return claim({"kind": "greater", "better": better, "worse": worse}, **more)


def claim(test: dict[str, Any], **more: Any) -> dict[str, Any]:
    defaults = {"table": "main", "column": "probe_top1"}
    return {"statement": "It is so.", "source": "page 1", **defaults, "test": test, **more}


def with_claims(
    root: Path,
    written: dict[str, Any],
    seeds: tuple[int, ...] = SEEDS,
    result: bool = True,
    benchmark: bool = False,
) -> Project:
    """Write the toy workspace with claims and made-up runs of every seed."""
    workspace(root, seeds, result)
    file = root / "params/papers/toy.yaml"
    paper = yaml.safe_load(file.read_text())
    paper["claims"] = written
    if benchmark:
        paper["benchmarks"] = {"step": {"runs": ["plain", "learned"], "seconds": 1}}
        column = {"label": "cost", "benchmark": "step", "metric": "macs", "unit": "M"}
        paper["tables"]["main"]["metrics"]["macs"] = column
    file.write_text(yaml.safe_dump(paper, sort_keys=False))
    project = load_project(root, "tiny")
    fabricate_all(project)
    return project


def score(project: Project, run: str, right: dict[int, int], evaluator: str = "probe") -> None:
    """Let a run have so many right answers of N with each seed, the first of the test images."""
    for seed, count in right.items():
        folder = RunJob(project, "toy", run, seed).eval_folder
        document = json.loads((folder / f"{evaluator}.json").read_text())
        document["metrics"][0]["value"] = 100 * count / N
        write_json(folder / f"{evaluator}.json", document)
        np.savez(folder / f"{evaluator}.npz", top1=(np.arange(N) < count).astype(np.uint8))


def scores(project: Project, plain: list[int], learned: list[int]) -> None:
    score(project, "plain", dict(enumerate(plain)))
    score(project, "learned", dict(enumerate(learned)))


def count_macs(project: Project, plain: float, learned: float) -> None:
    """Write a benchmark of counts: one number a run, without noise."""
    job = BenchmarkJob(project, "toy", "step")
    numbers = {"plain": plain, "learned": learned}
    record = {
        run: [
            {"metric": "macs", "value": number, "n": 1, "reduce": "mean", "statistics": f"{run}/m"}
        ]
        for run, number in numbers.items()
    }
    top = {"digest": job.digest, "machine": {}, "command": "python -m reprise benchmark toy/step"}
    write_json(job.outputs[0], {**top, "runs": record})
    np.savez(job.outputs[1], **{f"{run}/m": np.array([number]) for run, number in numbers.items()})


def time_rounds(project: Project, plain: np.ndarray, learned: np.ndarray) -> None:
    """Write a benchmark of timings: one number a round and run."""
    count_macs(project, 1, 1)
    job = BenchmarkJob(project, "toy", "step")
    record = json.loads(job.outputs[0].read_text())
    rounds = {"plain": plain, "learned": learned}
    for run, values in rounds.items():
        record["runs"][run][0] |= {
            "value": float(np.median(values)),
            "n": len(values),
            "reduce": "median",
        }
    write_json(job.outputs[0], record)
    np.savez(job.outputs[1], **{f"{run}/m": values for run, values in rounds.items()})


def ledger(project: Project) -> dict[str, dict[str, Any]]:
    job = ClaimsJob(project, "toy")
    claims.build(job)
    return {one["id"]: one for one in claims.load(job.outputs[0])["claims"]}


# --- three seeds -----------------------------------------------------------------------------


def test_three_seeds_support_contradict_or_leave_open(tmp_path: Path) -> None:
    both = {"up": greater("learned", "plain"), "down": greater("plain", "learned")}
    project = with_claims(tmp_path, both)
    plain, learned = [200, 210, 190], [261, 270, 252]
    scores(project, plain, learned)
    found = ledger(project)
    up, down = found["up"], found["down"]
    assert (up["verdict"], up["direction"]) == ("supported", "same way")
    assert (down["verdict"], down["direction"]) == ("contradicted", "other way")
    gains = np.subtract(learned, plain) * 100 / N
    p = stats.ttest_rel(learned, plain, alternative="greater").pvalue
    assert up["p"] == down["p_against"] == pytest.approx(p)
    assert up["p_holm"] == pytest.approx(min(1, 2 * p))
    assert up["effect"] == pytest.approx(gains.mean())
    assert up["interval"] == pytest.approx(
        stats.t.interval(0.95, 2, loc=gains.mean(), scale=stats.sem(gains))
    )
    assert (up["unit"], up["seeds"], up["n"]) == ("points", [0, 1, 2], N)
    assert (render.seeds(up), render.samples(up)) == ("3", f"{N:,} samples")
    assert up["cells"][0]["values"] == {str(seed): 100 * learned[seed] / N for seed in SEEDS}
    assert up["basis"] == "paired one-sided t over 3 seeds; Holm over the paper's 2 tests"
    solved = TTestPower().solve_power(nobs=3, alpha=0.05 / 2, power=0.8, alternative="larger")
    assert up["smallest_detectable"] == pytest.approx(
        float(np.ravel(solved)[0]) * gains.std(ddof=1), rel=1e-3
    ), "beside a supported claim, too, at the level that Holm would have left for it"
    assert (up["detectable_over"], up["bound"], up["margin"]) == ("seeds", "> 0", 0)


def test_inconclusive_says_what_could_have_been_found(tmp_path: Path) -> None:
    project = with_claims(tmp_path, {"C1": greater("learned", "plain")})
    plain, learned = [200, 210, 190], [214, 202, 196]
    scores(project, plain, learned)
    one = ledger(project)["C1"]
    assert (one["verdict"], one["direction"]) == ("inconclusive", "within noise")
    gains = np.subtract(learned, plain) * 100 / N
    standardised = TTestPower().solve_power(nobs=3, alpha=0.05, power=0.8, alternative="larger")
    assert one["smallest_detectable"] == pytest.approx(standardised * gains.std(ddof=1), rel=1e-4)


def test_the_reach_is_at_the_level_that_holm_left(tmp_path: Path) -> None:
    noisy = {f"C{i}": greater("learned", "plain", margin=i) for i in range(4)}
    project = with_claims(tmp_path, {"sure": greater("learned", "raw | pixels"), **noisy})
    score(project, "pixels", {0: 2, 1: 3, 2: 1})
    scores(project, [200, 210, 190], [214, 202, 196])
    found = ledger(project)
    assert found["sure"]["verdict"] == "supported"
    gains = np.array([14, -8, 6]) * 100 / N
    standardised = TTestPower().solve_power(nobs=3, alpha=0.05 / 4, power=0.8, alternative="larger")
    assert found["C0"]["smallest_detectable"] == pytest.approx(
        standardised * gains.std(ddof=1), rel=1e-3
    )


def test_a_conjunction_hangs_on_its_weakest_part(tmp_path: Path) -> None:
    project = with_claims(tmp_path, {"C1": greater("learned", ["plain", "raw | pixels"])})
    scores(project, [100, 105, 98], [300, 310, 295])
    score(project, "pixels", {0: 299, 1: 308, 2: 297})
    one = ledger(project)["C1"]
    assert one["verdict"] == "inconclusive"
    assert one["effect"] == pytest.approx(100 / N * (1 + 2 - 2) / 3)
    assert [part["label"] for part in one["parts"]] == [
        "[learned] - [plain]",
        "[learned] - [raw | pixels]",
    ]
    assert one["parts"][0]["interval"][0] > 0
    assert "the weakest of 2 inequalities" in one["basis"]
    assert one["effect_of"] == "[learned] - [raw | pixels]"
    assert render.effect(one).endswith("points ([learned] - [raw | pixels])")


def test_a_margin_moves_the_bound(tmp_path: Path) -> None:
    near = {"kind": "within", "a": "learned", "b": "plain"}
    written = {"C1": greater("learned", "plain", margin=20), "C2": claim(near, margin=20)}
    project = with_claims(tmp_path, written)
    scores(project, [200, 210, 190], [261, 270, 252])
    found = ledger(project)
    assert render.asked(found["C2"]) == "within 20 points"
    one = found["C1"]
    assert (one["verdict"], one["asks"]) == ("contradicted", "[learned] - [plain] > 20")
    assert one["effect"] == pytest.approx(100 / N * 61, abs=0.2), "the effect is shown as it is"


def test_equal_effects_of_all_seeds_have_no_spread_to_test_against(tmp_path: Path) -> None:
    project = with_claims(tmp_path, {"C1": greater("learned", "plain")})
    scores(project, [200, 210, 190], [203, 213, 193])
    one = ledger(project)["C1"]
    assert (one["verdict"], one["p"], one["smallest_detectable"]) == ("inconclusive", 1.0, None)
    assert "no spread" in one["basis"]


# --- fewer than three seeds ------------------------------------------------------------------


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_fewer_than_three_seeds_never_support(tmp_path: Path, seeds: tuple[int, ...]) -> None:
    both = {"up": greater("learned", "plain"), "down": greater("plain", "learned")}
    project = with_claims(tmp_path, both, seeds)
    for seed in seeds:
        score(project, "plain", {seed: 10})
        score(project, "learned", {seed: 390})
    found = ledger(project)
    assert {one["verdict"] for one in found.values()} == {"this run only"}
    assert found["up"]["direction"] == "same way"
    assert found["down"]["direction"] == "other way"
    assert found["up"]["p"] is None
    assert f"{len(seeds)} seed" in found["up"]["basis"]
    assert "400 test images" in found["up"]["basis"]


def test_one_seed_within_the_noise_of_the_test_images_says_so(tmp_path: Path) -> None:
    project = with_claims(tmp_path, {"C1": greater("learned", "plain")}, (0,))
    score(project, "plain", {0: 300})
    score(project, "learned", {0: 302})
    one = ledger(project)["C1"]
    assert one["direction"] == "within noise"
    # Two images differ, so the resampled difference is a count of about Poisson(2) images.
    assert one["interval"] == pytest.approx([0, 100 / N * stats.poisson.ppf(0.975, 2)])
    error = np.diff(one["interval"])[0] / (2 * stats.norm.ppf(0.975))
    assert one["smallest_detectable"] == pytest.approx(
        error * (stats.norm.ppf(0.95) + stats.norm.ppf(0.8))
    )
    assert one["detectable_over"] == "test images"


def test_of_few_seeds_the_part_with_the_worst_interval_is_shown(tmp_path: Path) -> None:
    """A small but sure gain is better evidence than a larger one that is not sure."""
    project = with_claims(tmp_path, {"C1": greater("learned", ["plain", "raw | pixels"])}, (0,))
    score(project, "learned", {0: 302})
    score(project, "plain", {0: 300})
    folder = RunJob(project, "toy", "pixels", 0).eval_folder
    scattered = np.roll(np.arange(N) < 299, 60).astype(np.uint8)
    document = json.loads((folder / "probe.json").read_text())
    document["metrics"][0]["value"] = 100 * scattered.mean()
    write_json(folder / "probe.json", document)
    np.savez(folder / "probe.npz", top1=scattered)
    one = ledger(project)["C1"]
    assert one["effect_of"] == "[learned] - [raw | pixels]"
    assert one["interval"][0] < min(0, one["parts"][0]["interval"][0])


@pytest.mark.parametrize("kind", ["greater", "ratio"])
def test_rounds_of_a_benchmark_are_one_run(tmp_path: Path, kind: str) -> None:
    faster: dict[str, Any] = {"kind": "greater", "better": "learned", "worse": "plain"}
    if kind == "ratio":
        faster = {"kind": "ratio_at_least", "a": "learned", "b": "plain", "bound": 1}
    project = with_claims(tmp_path, {"C9": claim(faster, column="macs")}, benchmark=True)
    plain, learned = np.array([10.0, 12.0, 11.0]), np.array([13.0, 16.0, 15.0])
    time_rounds(project, plain, learned)
    one = ledger(project)["C9"]
    assert (one["verdict"], one["direction"], one["n"]) == ("this run only", "same way", 3)
    rounds = learned - plain if kind == "greater" else np.log(learned / plain)
    whole = 15 - 11 if kind == "greater" else np.log(15 / 11)
    half = stats.t.ppf(0.975, 2) * rounds.std(ddof=1) / np.sqrt(3)
    expected = np.array([whole - half, whole + half])
    assert one["interval"] == pytest.approx(expected if kind == "greater" else np.exp(expected))
    assert "one benchmark on one machine, 3 rounds" in one["basis"]
    assert one["detectable_over"] == "rounds of the benchmark"
    assert (render.seeds(one), render.samples(one)) == ("", "3 rounds"), "it varies with no seed"
    solved = TTestPower().solve_power(nobs=3, alpha=0.05, power=0.8, alternative="larger")
    reach = float(np.ravel(solved)[0]) * rounds.std(ddof=1)
    assert one["smallest_detectable"] == pytest.approx(
        reach if kind == "greater" else np.exp(reach), rel=1e-3
    )


def test_cells_of_other_test_images_do_not_pair(tmp_path: Path) -> None:
    project = with_claims(tmp_path, {"C1": greater("learned", "plain")}, (0,))
    path = RunJob(project, "toy", "plain", 0).eval_folder / "probe.json"
    path.write_text(path.read_text().replace("e" * 64, "f" * 64))
    one = ledger(project)["C1"]
    assert (one["verdict"], one["interval"]) == ("this run only", None)
    assert one["direction"] == "same way, noise not measured"


def test_seeds_that_not_all_cells_have_do_not_count(tmp_path: Path) -> None:
    project = with_claims(tmp_path, {"C1": greater("learned", "plain")})
    (RunJob(project, "toy", "plain", 1).eval_folder / "probe.json").unlink()
    one = ledger(project)["C1"]
    assert (one["verdict"], one["seeds"]) == ("this run only", [0, 2])
    assert "plain, probe_top1: partial: seed 1 not run" in one["basis"]
    for seed in (0, 2):
        (RunJob(project, "toy", "learned", seed).eval_folder / "probe.json").unlink()
    one = ledger(project)["C1"]
    assert one["verdict"] == "not run"
    assert "no seed is common" in one["basis"]


# --- cells without numbers, counts, logarithms -----------------------------------------------


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("printed only", "printed only, probe_top1: published only"),
        (
            "swept",
            "swept, probe_top1: not run: sweep row, build with `snakemake --cores all sweeps`",
        ),
    ],
)
def test_a_missing_cell_is_named(tmp_path: Path, row: str, why: str) -> None:
    project = with_claims(tmp_path, {"C1": greater("learned", ["plain", row])})
    one = ledger(project)["C1"]
    assert (one["verdict"], one["effect"], one["direction"]) == ("not run", None, None)
    assert one["basis"] == why
    assert one["cells"][1]["values"], "what was measured is shown all the same"


@pytest.mark.parametrize(
    ("numbers", "verdict"), [((3.0, 2.0), "supported"), ((2.0, 3.0), "contradicted")]
)
@pytest.mark.parametrize("seeds", [(0,), SEEDS])
def test_counts_are_decided_exactly(
    tmp_path: Path, numbers: tuple[float, float], verdict: str, seeds: tuple[int, ...]
) -> None:
    cheaper = greater("learned", "plain", column="macs")
    cheaper["test"]["lower_is_better"] = True
    project = with_claims(tmp_path, {"C9": cheaper}, seeds, benchmark=True)
    count_macs(project, *numbers)
    one = ledger(project)["C9"]
    assert (one["verdict"], one["p"], one["unit"]) == (verdict, None, "M")
    assert one["effect"] == pytest.approx(numbers[0] - numbers[1])
    assert one["interval"] == [one["effect"]] * 2
    assert one["basis"].startswith("exact: counted")
    assert render.effect(one) == f"{one['effect']:+.3g} M", "a count has no interval"
    assert (render.seeds(one), render.samples(one)) == ("", ""), "nor seeds"
    assert "scale tiny, counted; cells of" in "\n".join(render.details(one))


@pytest.mark.parametrize(("bound", "verdict"), [(1.7, "supported"), (1.71, "contradicted")])
def test_a_ratio_on_its_bound_holds(tmp_path: Path, bound: float, verdict: str) -> None:
    ratio = claim({"kind": "ratio_at_least", "a": "plain", "b": "learned", "bound": bound})
    project = with_claims(tmp_path, {"C9": {**ratio, "column": "macs"}}, benchmark=True)
    count_macs(project, 3.4, 2.0)
    one = ledger(project)["C9"]
    assert (one["verdict"], one["unit"]) == (verdict, "x")
    assert one["effect"] == pytest.approx(1.7)


def test_no_worse_means_by_no_more_than_the_margin(tmp_path: Path) -> None:
    test = {"kind": "not_worse", "cells": "learned", "than": "plain"}
    written = {f"C{margin}": claim(test, margin=margin) for margin in (2, 5)}
    project = with_claims(tmp_path, written)
    scores(project, [200, 210, 190], [188, 198, 179])  # three points lower
    found = ledger(project)
    assert (found["C2"]["verdict"], found["C5"]["verdict"]) == ("contradicted", "supported")
    assert render.asked(found["C5"]) == ">= -5 points"
    assert found["C5"]["asks"] == "[learned] - [plain] >= -5"


def test_a_ratio_may_be_asked_of_several(tmp_path: Path) -> None:
    test = {"kind": "ratio_at_least", "a": "learned", "b": ["plain", "raw | pixels"], "bound": 1}
    project = with_claims(tmp_path, {"C1": claim(test)})
    scores(project, [200, 210, 190], [261, 270, 252])
    score(project, "pixels", {0: 130, 1: 136, 2: 127})
    one = ledger(project)["C1"]
    assert one["verdict"] == "supported"
    assert [part["effect"] for part in one["parts"]] == [
        pytest.approx(np.exp(np.log(np.divide([261, 270, 252], worse)).mean()))
        for worse in ([200, 210, 190], [130, 136, 127])
    ]


def test_what_cannot_be_tested_is_there_with_its_reason(tmp_path: Path) -> None:
    untested = {"statement": "It is so.", "source": "page 1", "untested": "nobody can see it"}
    project = with_claims(tmp_path, {"C0": untested, "C1": greater("learned", "plain")})
    found = ledger(project)
    one = found["C0"]
    assert (one["verdict"], one["basis"], one["kind"]) == ("not tested", "nobody can see it", None)
    assert (one["cells"], one["effect"], one["seeds"]) == ([], None, [])
    assert found["C1"]["p_holm"] == found["C1"]["p"], "it takes no part in the correction"
    text = ClaimsJob(project, "toy").outputs[1].read_text()
    assert "| C0: It is so. | not tested |" in text
    assert "- **not tested**: nobody can see it" in text


def test_exact_claims_are_not_counted_among_the_tests(tmp_path: Path) -> None:
    written = {"C1": greater("learned", "plain"), "C9": greater("plain", "learned", column="macs")}
    project = with_claims(tmp_path, written, benchmark=True)
    count_macs(project, 3.0, 2.0)
    one = ledger(project)["C1"]
    assert one["p_holm"] == one["p"]
    assert claims.load(ClaimsJob(project, "toy").outputs[0])["tested"] == 1


def test_a_zero_has_no_logarithm(tmp_path: Path) -> None:
    test = {"kind": "ratio_at_least", "a": "learned", "b": "plain", "bound": 2}
    project = with_claims(tmp_path, {"C1": claim(test)})
    score(project, "plain", {0: 0})
    one = ledger(project)["C1"]
    assert one["verdict"] == "inconclusive"
    assert "plain is not above zero" in one["basis"]


def test_a_resample_without_a_logarithm_leaves_the_noise_unmeasured(tmp_path: Path) -> None:
    """One hit of 400: every third resample has none; the ledger is whole all the same."""
    test = {"kind": "ratio_at_least", "a": "learned", "b": "plain", "bound": 2}
    written = {"C1": claim(test), "C2": greater("learned", "plain")}
    project = with_claims(tmp_path, written, (0,))
    score(project, "plain", {0: 1})
    one = ledger(project)["C1"]
    assert (one["verdict"], one["direction"]) == ("this run only", "same way, noise not measured")
    assert (one["interval"], one["smallest_detectable"]) == (None, None)
    assert one["effect"] == pytest.approx(one["cells"][0]["values"]["0"] / (100 / N))
    assert "noise not measured: plain is not above zero" in one["basis"]
    assert ledger(project)["C2"]["interval"] is not None


# --- files, plan, status, command line -------------------------------------------------------


def test_files_are_whole_plain_and_repeatable(tmp_path: Path) -> None:
    written = {"C1": greater("learned", "plain"), "C2": greater("plain", "printed only")}
    project = with_claims(tmp_path, written, (0,), result=False)
    job = ClaimsJob(project, "toy")
    ledger(project)
    before = [path.read_bytes() for path in job.outputs]
    whole = json.loads(before[0], parse_constant=lambda word: pytest.fail(f"{word} in JSON"))
    assert whole["scale"]["result"] is False
    assert {one["scale"]["scale"] for one in whole["claims"]} == {"tiny"}
    text = before[1].decode()
    assert "**plumbing check, not a result**" in text
    assert "this run only: same way" in text
    assert "Fewer than three seeds are insufficient to support or contradict" in text
    assert "scale tiny, seed 0, 400 samples; cells of main (probe_top1): learned; plain" in text
    assert "| C2: It is so. | not run |" in text
    ledger(project)
    assert [path.read_bytes() for path in job.outputs] == before


def test_a_damaged_evaluation_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    project = with_claims(tmp_path, {"C1": greater("learned", "plain")})
    path = RunJob(project, "toy", "plain", 1).eval_folder / "probe.npz"
    path.write_bytes(b"")
    with pytest.raises(ResultError, match=str(path)):
        ledger(project)
    assert not any(path.exists() for path in ClaimsJob(project, "toy").outputs)


def test_inputs_are_the_files_behind_the_cells(tmp_path: Path) -> None:
    cost = greater("plain", "learned", column="macs")
    written = {"C1": greater("learned", "swept"), "C9": cost}
    project = with_claims(tmp_path, written, (0,), benchmark=True)
    found = {str(p.relative_to(project.results)) for p in ClaimsJob(project, "toy").inputs}
    assert found == {
        "toy/bench/step.json",
        "toy/bench/step.npz",
        "toy/eval/learned/seed0/probe.json",
        "toy/eval/learned/seed0/probe.npz",
        "toy/runs/learned/seed0/meta.json",
    }


def test_the_digest_follows_claims_cells_and_evidence(tmp_path: Path) -> None:
    project = with_claims(tmp_path, {"C1": greater("learned", "plain")})
    file = tmp_path / "params/papers/toy.yaml"
    text, before = file.read_text(), ClaimsJob(project, "toy").digest
    for old, new, moves in (
        ("It is so.", "It is not.", True),
        ("steps: 40", "steps: 41", True),
        ("label: probe", "label: linear probe", True),
        ("Everything is made up.", "All is made up.", False),
    ):
        file.write_text(text.replace(old, new, 1))
        after = ClaimsJob(load_project(tmp_path, "tiny"), "toy").digest
        assert (after != before) is moves, f"{old} -> {new}"


def test_the_digest_follows_what_is_said_of_the_scale(tmp_path: Path) -> None:
    """It stands in the file, and decides what print is compared with."""
    project = with_claims(tmp_path, {"C1": greater("learned", "plain")})
    file = tmp_path / "params/scales/tiny.yaml"
    scale = yaml.safe_load(file.read_text())
    photos = {"name": "digits", "printed_as": ["Some Photos"]}
    found = []
    for change in (
        {},
        {"about": "other words"},
        {"result": False},
        {"as_printed": True},
        {"datasets": {"photos": photos}},
    ):
        file.write_text(yaml.safe_dump({**scale, **change}))
        edited = load_project(tmp_path, "tiny")
        found.append((ClaimsJob(edited, "toy").digest, TableJob(edited, "toy", "main").digest))
        run, before = RunJob(edited, "toy", "learned", 0), RunJob(project, "toy", "learned", 0)
        assert run.digest == before.digest, "nothing has to be trained anew"
        assert run.eval_digest("probe") == before.eval_digest("probe")
    for kind in zip(*found, strict=True):
        assert len(set(kind)) == len(found)


def test_status_counts_a_papers_claims_once(tmp_path: Path) -> None:
    project = with_claims(tmp_path, {"C1": greater("learned", "plain")}, (0,))
    for job in plan.run_jobs(project, headline_only=True):
        job.outputs[0].write_bytes(b"weights")

    def item(project: Project) -> status.Item:
        return next(one for one in status.summary(project) if one.step == "claims")

    assert item(project).state == "missing"
    ledger(project)
    assert item(project).state == "current"
    paper = tmp_path / "params/papers/toy.yaml"
    paper.write_text(paper.read_text().replace("It is so.", "It is not."))
    stale = item(load_project(tmp_path, "tiny"))
    assert (stale.state, stale.why) == ("stale", "the claims, their cells or their sources changed")


def test_a_paper_without_claims_has_no_job(tmp_path: Path) -> None:
    assert plan.claims_jobs(workspace(tmp_path)) == []


def test_the_verb_builds_and_names_mistakes(tmp_path: Path) -> None:
    project = with_claims(tmp_path, {"C1": greater("learned", "plain")})
    job = ClaimsJob(project, "toy")

    def reprise(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "reprise", "claims", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    done = reprise("toy", "--expect", job.digest)
    assert done.returncode == 0, done.stderr
    assert all(path.is_file() for path in job.outputs)
    assert "changed after the plan" in reprise("toy", "--expect", "0" * 64).stderr
    assert "unknown paper 'toys' (did you mean 'toy'?)" in reprise("toys").stderr


# --- mistakes in the YAML --------------------------------------------------------------------

WITHIN = {"kind": "within", "a": "learned", "b": "plain"}
NOT_WORSE = {"kind": "not_worse", "cells": "learned", "than": "plain"}
GROWTH = {"kind": "growth_exponent_below", "cells": ["plain", "learned"], "x": [1, 2], "bound": 1}
PEAK = {"kind": "interior_maximum", "cells": ["plain", "learned", "swept"], "peak": "plain"}


@pytest.mark.parametrize(
    ("written", "key", "said"),
    [
        (
            greater("lerned", "plain"),
            "test.better",
            "unknown row 'lerned' (did you mean 'learned'?",
        ),
        (greater("learned", ["plain", 3]), "test.worse.1", "a cell is a row's label or {table,"),
        (
            greater("learned", {"row": "plain", "column": "prob_top1"}),
            "test.worse",
            "unknown column 'prob_top1' (did you mean 'probe_top1'?); known: knn_top1, probe_top1",
        ),
        (greater("learned", "plain", table="mian"), "table", "unknown table 'mian' (did you mean"),
        (greater("learned", "plain", column=None), "", "'learned' has no column; give the claim"),
        (greater("learned", []), "test.worse", "at least 1 item"),
        (greater("learned", "plain", margin=-1), "margin = -1", "greater than or equal to 0"),
        (greater("learned", "plain", source=""), "source", "at least 1 character"),
        (greater("learned", "plain", confidence="sure"), "confidence", "'seen', 'seen_in_code'"),
        (greater("learned", "plain", sauce="x"), "sauce", "did you mean 'source'"),
        (claim({"kind": "greater", "better": "plain"}), "test.worse", "field required"),
        (claim({**WITHIN, "kind": "bigger"}), "test.kind", "'greater', 'not_worse', 'within'"),
        (claim(WITHIN), "", "within needs a margin above 0"),
        (claim(NOT_WORSE), "", "not_worse needs a margin above 0"),
        (claim(WITHIN, margin=1, untested="no"), "", "give either a test, or in untested why"),
        ({"statement": "x", "source": "y"}, "", "give either a test, or in untested why"),
        (claim(GROWTH, margin=1), "", "growth_exponent_below has a bound and takes no margin"),
        (claim({**GROWTH, "x": [1, 2, 3]}), "test", "one number for each cell"),
        (claim({**GROWTH, "x": [1, 0]}), "test.x.1", "greater than 0"),
        (claim(PEAK), "test", "peak must be one of learned"),
    ],
)
def test_a_mistake_names_file_key_and_what_is_allowed(
    tmp_path: Path, written: dict[str, Any], key: str, said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        with_claims(tmp_path, {"C1": written})
    text = str(caught.value)
    assert f"params/papers/toy.yaml: claims.C1{'.' * bool(key)}{key}" in text
    assert said in text


def test_cells_in_different_units_cannot_be_compared(tmp_path: Path) -> None:
    mixed = greater("learned", {"row": "plain", "column": "macs"})
    with pytest.raises(
        ConfigError, match=r"claims.C1.test: its cells are in different units: %, M"
    ):
        with_claims(tmp_path, {"C1": mixed}, benchmark=True)


def test_claims_of_the_papers_here_have_sources() -> None:
    papers = here().papers.values()
    written = [claim for paper in papers for claim in paper.claims.values()]
    assert len(written) >= 25
    assert all(one.statement and one.source for one in written)


# Statements of the papers by their number in the survey; how many each paper has.
STATEMENTS = {"can": 14, "capdec": 10, "deit3": 13, "litv2": 14}


@pytest.mark.parametrize("slug", STATEMENTS)
def test_every_statement_of_a_paper_is_tested_or_says_why_not(slug: str) -> None:
    paper = here().papers[slug]
    by_number: dict[str, list[Any]] = {}
    for key, one in paper.claims.items():
        by_number.setdefault(key.partition("-")[0], []).append(one)
    wanted = {f"C{number}" for number in range(1, STATEMENTS[slug] + 1)}
    assert wanted <= set(by_number), wanted - set(by_number)
    for ones in by_number.values():
        assert all(one.test is not None or len(one.untested) > 20 for one in ones)


def test_every_kind_of_test_is_asked_somewhere() -> None:
    papers = here().papers.values()
    tests = [one.test for paper in papers for one in paper.claims.values() if one.test]
    assert {test.kind for test in tests} == set(power.KINDS)
