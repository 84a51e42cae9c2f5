"""Claims that are asked of the printed numbers alone."""

import functools
from dataclasses import replace
from pathlib import Path

import fabricated
import pytest

from reprise import claims
from reprise.config import Project, load_project
from reprise.plan import ClaimsJob
from reprise.settings.claims import Claim

ROOT = Path(__file__).parents[2]


@functools.cache
def here() -> Project:
    """The papers of this repository, read once."""
    return load_project(ROOT, "smoke")


@pytest.mark.parametrize(
    ("key", "verdict", "effect"),
    [
        ("C7-swin-t", "holds in print", 81.4 - 81.3),
        ("C7-convnext-b", "holds in print", 0.0),  # as good as is enough
        ("C7-convnext-384", "holds in print", 85.0 - 85.1),  # within the margin of 0.3
        ("C7-masked-l", "fails in print", 84.9 - 85.9),
    ],
)
def test_printed_numbers_decide(key: str, verdict: str, effect: float) -> None:
    job = ClaimsJob(here(), "deit3")
    found = claims._as_json(claims._examine(job, key, job.claims[key]))
    assert (found["verdict"], found["seeds"]) == (verdict, [])
    assert found["effect"] == pytest.approx(effect)
    assert found["unit"] == "points"
    assert found["basis"] == "asked of the printed numbers alone; nothing was run for it"
    assert found["p"] is None
    assert found["against_print"] is None, "it is the printed number itself"
    assert not any(cell["runs"] for cell in found["cells"])


def test_no_run_is_wanted_for_them() -> None:
    job = ClaimsJob(here(), "deit3")
    rows = {row.label for row, _, _ in job.cells()}
    assert "Swin-T-224" not in rows
    assert "the whole recipe" in rows


def toy_claim(job: ClaimsJob, printed: bool) -> Claim:
    """A claim that a printed row is better than one that was not printed."""
    table = job.project.paper("toy").tables[fabricated.TABLE]
    known = [row.label for row in table.rows if row.published]
    others = [row.label for row in table.rows if not row.published]
    return Claim.model_validate(
        {
            "statement": "a is better",
            "source": "nowhere",
            "table": fabricated.TABLE,
            "column": next(iter(table.metrics)),
            "printed": printed,
            "test": {"kind": "greater", "better": known[0], "worse": others[0]},
        }
    )


def test_what_was_not_printed_is_not_decided(tmp_path: Path) -> None:
    fabricated.workspace(tmp_path)
    job = ClaimsJob(load_project(tmp_path, "tiny"), "toy")
    found = claims._as_json(claims._examine(job, "T", toy_claim(job, printed=True)))
    assert found["verdict"] == "not run"
    assert "not printed" in found["basis"]


def test_a_changed_printed_number_makes_the_claims_stale(tmp_path: Path) -> None:
    fabricated.workspace(tmp_path)
    project = load_project(tmp_path, "tiny")
    job = ClaimsJob(project, "toy")
    table = project.paper("toy").tables[fabricated.TABLE]
    file = tmp_path / "params/published/toy" / f"{table.published}.csv"

    def digest(printed: bool) -> str:
        paper = project.paper("toy").model_copy(update={"claims": {"P": toy_claim(job, printed)}})
        return ClaimsJob(replace(project, papers={"toy": paper}), "toy").digest

    before = digest(True), digest(False)
    file.write_text(file.read_text().replace("\n", "\r\n"))
    assert digest(True) != before[0]
    assert digest(False) != before[1], "a claim of ours is set beside the printed effect"
