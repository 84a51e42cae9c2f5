"""A printed number beside ours: compared at the same scale alone, and apart from any verdict."""

import json
from pathlib import Path
from typing import Any

import fabricated
import numpy as np
import pytest
import yaml
from scipy import stats

from reprise import agreement, claims, tables
from reprise.config import Project, load_project
from reprise.plan import BenchmarkJob, ClaimsJob, RunJob

SEEDS = (0, 1, 2)
CLAIM = {
    "statement": "It is so.",
    "source": "page 1",
    "table": "main",
    "column": "probe_top1",
    "test": {"kind": "greater", "better": "learned", "worse": "plain"},
}
PRINTED = """row,metric,value,unit,dataset,split,source,confidence
"Learned, 800 ep",probe_top1,76.0,%,Some Photos,test,https://example.org,seen
Plain,probe_top1,61.5,%,Some Photos,test,https://example.org,seen
Other ViT-B,probe_top1,71.25,%,Some Photos,test,https://example.org,seen
"Learned, 800 ep",macs,3.7,M,none (a count),none,https://example.org,seen
Plain,macs,2,M,none (a count),none,https://example.org,seen
"Learned, 800 ep",speed,1471,images/s,none (a timing),one GPU,https://example.org,seen
"""


def project_of(
    root: Path, seeds: tuple[int, ...] = SEEDS, claim: dict[str, Any] | None = None, **scale: Any
) -> Project:
    """Write the toy workspace with printed numbers of two rows, and what the scale says of itself.

    ``photos`` in scale are what its data set `photos` is printed as.
    """
    fabricated.workspace(root, seeds)
    paper_file, scale_file = root / "params/papers/toy.yaml", root / "params/scales/tiny.yaml"
    paper, given = (yaml.safe_load(file.read_text()) for file in (paper_file, scale_file))
    table = paper["tables"]["main"]
    table["rows"][0]["published"] = "Plain"
    paper["benchmarks"] = {"step": {"runs": ["plain", "learned"], "seconds": 1}}
    for key, unit in (("macs", "M"), ("speed", "images/s")):
        column = {"label": key, "benchmark": "step", "metric": key, "unit": unit}
        table["metrics"][key] = column
    paper["claims"] = {"C1": claim or CLAIM}
    photos = scale.pop("photos", None)
    given |= scale
    if photos:
        given["datasets"]["photos"]["printed_as"] = photos
    paper_file.write_text(yaml.safe_dump(paper, sort_keys=False))
    scale_file.write_text(yaml.safe_dump(given, sort_keys=False))
    (root / "params/published/toy/toy.csv").write_text(PRINTED)
    project = load_project(root, "tiny")
    fabricated.fabricate_all(project)
    bench(project)
    return project


def bench(project: Project, macs: float = 3.72) -> None:
    """Write a benchmark with a count and three rounds of a timing for each run."""
    job = BenchmarkJob(project, "toy", "step")
    numbers = {"plain": (2.4, [10.0, 11.0, 12.0]), "learned": (macs, [20.0, 21.0, 23.0])}
    arrays, runs = {}, {}
    for run, (count, rounds) in numbers.items():
        arrays |= {f"{run}/m": np.array([count]), f"{run}/s": np.array(rounds)}
        runs[run] = [
            {"metric": "macs", "value": count, "n": 1, "reduce": "mean", "statistics": f"{run}/m"},
            {
                "metric": "speed",
                "value": rounds[1],
                "n": 3,
                "reduce": "median",
                "statistics": f"{run}/s",
            },
        ]
    record = {"digest": job.digest, "machine": {}, "command": "x", "runs": runs}
    fabricated.write_json(job.outputs[0], record)
    np.savez(job.outputs[1], **arrays)


def cell(project: Project, row: str, column: str) -> dict[str, Any]:
    table = tables.assemble(fabricated.table_job(project))
    cells: dict[str, Any] = next(one for one in table["rows"] if one["label"] == row)["cells"]
    return cells[column]


def accuracies(project: Project) -> np.ndarray:
    files = [RunJob(project, "toy", "learned", seed).eval_folder / "probe.json" for seed in SEEDS]
    return np.array([json.loads(file.read_text())["metrics"][0]["value"] for file in files])


@pytest.mark.parametrize(
    ("scale", "why"),
    [
        ({}, "trained at scale tiny"),
        ({"photos": ["Some Photos"]}, "trained at scale tiny"),
        (
            {"as_printed": True},
            "the data set `photos` of scale tiny is not known to be Some Photos",
        ),
        (
            {"as_printed": True, "photos": ["Other Photos"]},
            "the data set `photos` of scale tiny is not known to be Some Photos",
        ),
    ],
)
def test_a_score_of_another_scale_is_not_compared(
    tmp_path: Path, scale: dict[str, Any], why: str
) -> None:
    found = cell(project_of(tmp_path, **scale), "learned", "probe_top1")["against_print"]
    assert (found["word"], found["why"], found["printed"]) == ("different scale", why, 76.0)
    assert (found["difference"], found["tolerance"]) == (None, None)


def test_at_the_same_scale_the_tolerance_is_from_the_spread_over_seeds(tmp_path: Path) -> None:
    project = project_of(tmp_path, as_printed=True, photos=["Some Photos"])
    found = cell(project, "learned", "probe_top1")["against_print"]
    ours = accuracies(project)
    # Where one more seed of three normal ones lies, and half a unit of the last printed digit.
    spread = stats.t.ppf(0.975, 2) * ours.std(ddof=1) * np.sqrt(1 + 1 / 3)
    assert found["tolerance"] == pytest.approx(spread + 0.05)
    assert found["difference"] == pytest.approx(ours.mean() - 76)
    assert found["word"] == ("agrees" if abs(ours.mean() - 76) <= spread + 0.05 else "differs")


def test_few_seeds_measure_no_spread(tmp_path: Path) -> None:
    project = project_of(tmp_path, (0,), as_printed=True, photos=["Some Photos"])
    found = cell(project, "learned", "probe_top1")["against_print"]
    assert (found["word"], found["tolerance"]) == ("spread not known", None)
    assert found["difference"] is not None


def test_one_more_run_of_the_same_kind_agrees_in_95_of_100_cases() -> None:
    drawn = np.random.default_rng(4).normal(70, 0.8, (4000, 4))
    agrees = [
        abs(ours[:3].mean() - ours[3]) <= agreement._spread(ours[:3], exact=False) for ours in drawn
    ]
    assert np.mean(agrees) == pytest.approx(0.95, abs=0.012)


@pytest.mark.parametrize(
    ("macs", "word"), [(3.72, "agrees"), (3.75, "agrees"), (3.751, "differs"), (3.6, "differs")]
)
def test_a_count_agrees_within_rounding_in_print(tmp_path: Path, macs: float, word: str) -> None:
    project = project_of(tmp_path, (0,))
    bench(project, macs)
    found = cell(project, "learned", "macs")["against_print"]
    assert (found["word"], found["tolerance"]) == (word, pytest.approx(0.05))
    assert found["difference"] == pytest.approx(macs - 3.7)


def test_a_count_of_a_model_that_the_scale_resizes_is_not_compared(tmp_path: Path) -> None:
    project = project_of(tmp_path, (0,))
    assert cell(project, "learned", "macs")["against_print"]["word"] == "agrees"
    file = tmp_path / "params/scales/tiny.yaml"
    scale = yaml.safe_load(file.read_text())
    small = {"model": {"args": {"depth": 2}}}
    for over, word in (({"optim": {"lr": 1e-2}}, "agrees"), (small, "different scale")):
        laid = {"papers": {"toy": {"runs": {"learned": over}}}}
        file.write_text(yaml.safe_dump({**scale, **laid}))
        project = load_project(tmp_path, "tiny")
        bench(project)
        found = cell(project, "learned", "macs")["against_print"]
        assert found["word"] == word, over
    assert found["why"] == "learned has another size at scale tiny"


def test_a_timing_belongs_to_its_machine(tmp_path: Path) -> None:
    project = project_of(tmp_path, as_printed=True, photos=["Some Photos"])
    found = cell(project, "learned", "speed")["against_print"]
    assert (found["word"], found["why"]) == ("different scale", "measured on another machine")


def test_released_weights_have_no_spread() -> None:
    alone = agreement._spread(np.array([82.0]), exact=True)
    assert alone == 0


def test_files_show_the_column_where_something_is_compared(tmp_path: Path) -> None:
    project = project_of(tmp_path, (0,))
    job = fabricated.table_job(project)
    tables.build(job)
    text = job.outputs[1].read_text()
    assert "macs (M), published | macs (M), ours | macs (M), beside print |" in text
    assert "probe (%), beside print" not in text
    assert "| 3.7 | 3.72 | agrees, +0.02 (± 0.05) |" in text
    assert "| 2 | 2.4 | agrees, +0.4 (± 0.5) |" in text
    assert "beside print: ours less the printed number" in text
    header, *lines = job.outputs[0].read_text().splitlines()
    assert ",against_print,print_difference,print_tolerance," in header
    assert any("agrees,0.02" in line for line in lines)


# --- claims ----------------------------------------------------------------------------------


def claim_of(project: Project) -> dict[str, Any]:
    (one,) = claims.assemble(ClaimsJob(project, "toy"))["claims"]
    return dict(one)


def test_a_claims_printed_effect_stands_beside_ours(tmp_path: Path) -> None:
    one = claim_of(project_of(tmp_path))
    found = one["against_print"]
    assert found["printed"] == pytest.approx(76.0 - 61.5)
    assert (found["word"], found["why"]) == ("different scale", "trained at scale tiny")
    assert agreement.said(found, one["unit"]) == "+14.5 points: different scale"


def test_verdict_and_agreement_are_two_things(tmp_path: Path) -> None:
    """The same results, once beside a printed effect like theirs and once beside another."""
    project = project_of(tmp_path, as_printed=True, photos=["Some Photos"])
    near = claim_of(project)
    file = tmp_path / "params/published/toy/toy.csv"
    file.write_text(PRINTED.replace("61.5", "11.5"))
    far = claim_of(project)
    assert near["verdict"] == far["verdict"]
    assert (near["against_print"]["word"], far["against_print"]["word"]) == ("agrees", "differs")
    effects = np.array(near["parts"][0]["per_seed"])
    spread = stats.t.ppf(0.975, 2) * effects.std(ddof=1) * np.sqrt(1 + 1 / 3)
    assert near["against_print"]["tolerance"] == pytest.approx(spread + 0.05 + 0.05)


def test_a_ratio_is_compared_as_a_ratio(tmp_path: Path) -> None:
    test = {"kind": "ratio_at_least", "a": "learned", "b": "plain", "bound": 1}
    one = claim_of(project_of(tmp_path, (0,), {**CLAIM, "column": "macs", "test": test}))
    found = one["against_print"]
    assert found["printed"] == pytest.approx(3.7 / 2)
    assert found["difference"] == pytest.approx(3.72 / 2.4 - 3.7 / 2)
    # Both printed numbers at once at the end of their rounding, as logarithms add.
    assert found["tolerance"] == pytest.approx(3.75 / 3.7 * 2.5 / 2 * 3.7 / 2 - 3.7 / 2)
    assert agreement.said(found, "x") == "1.85 x: agrees (difference -0.3, tolerance 0.49)"


@pytest.mark.parametrize(
    "changes",
    [
        {"printed": True},
        {"beside_print": False},
        {"test": {"kind": "greater", "better": "learned", "worse": "raw | pixels"}},
    ],
)
def test_without_a_printed_effect_there_is_nothing_to_compare(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    assert claim_of(project_of(tmp_path, claim={**CLAIM, **changes}))["against_print"] is None


def test_what_was_not_run_shows_the_printed_effect_alone(tmp_path: Path) -> None:
    project = project_of(tmp_path)
    for seed in SEEDS:
        (RunJob(project, "toy", "plain", seed).eval_folder / "probe.json").unlink()
    one = claim_of(project)
    assert one["verdict"] == "not run"
    assert agreement.said(one["against_print"], one["unit"]) == "+14.5 points: not run here"
