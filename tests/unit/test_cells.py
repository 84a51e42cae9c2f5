"""An evaluation that stands without one of its metrics says why in the cell; it is no error."""

from pathlib import Path
from typing import Any

import pytest

from reprise import cells
from reprise.config import load_project
from reprise.plan import RunJob

ROOT = Path(__file__).parents[2]
RECORD = {"metrics": [{"metric": "cider"}], "info": {"not_run": {"bleu_1": "its files are absent"}}}
ALIKE = "of the images of captions none is known to be unseen in training"


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        ("cider", None),
        ("rouge_l", None),  # asked for and not there: whoever reads it complains
        ("bleu_1", "its files are absent"),
        ("spice", "caption leaves out spice at scale smoke"),
        ("unseen_spice", "caption leaves out unseen_spice at scale smoke"),
        ("unseen_cider", ALIKE),
        ("seen_bleu_4", ALIKE),
    ],
)
def test_a_metric_that_an_evaluation_lacks_has_a_reason(
    monkeypatch: pytest.MonkeyPatch, metric: str, said: str | None
) -> None:
    """Photographs, for one, do not say which of them show what training never met."""
    job = RunJob(load_project(ROOT, "smoke"), "capdec", "capdec", 0)
    monkeypatch.setattr(cells.results, "read_evaluation", lambda *_: RECORD)
    assert cells._not_measured(job, "caption", metric) == said


def test_a_part_that_was_scored_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    job = RunJob(load_project(ROOT, "smoke"), "capdec", "capdec", 0)
    record: dict[str, Any] = {"metrics": [{"metric": "unseen_cider"}], "info": {}}
    monkeypatch.setattr(cells.results, "read_evaluation", lambda *_: record)
    assert cells._not_measured(job, "caption", "unseen_cider") is None
