"""What is said after a training: planned beside taken, or why not; never a failure."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from fabricated import fabricate
from test_budget import ROOT, Given, project  # noqa: F401  (a fixture)

from reprise.budget import after, catalogue, machines
from reprise.config import Project
from reprise.plan import RunJob
from reprise.progress import LOGGER


@pytest.fixture
def job(project: Project, monkeypatch: pytest.MonkeyPatch) -> RunJob:  # noqa: F811
    """A finished run of 12.5 s, 320 GFLOP by given counts, on a processor of 0.1 TFLOP/s."""
    (project.root / "params/catalogue.yaml").write_text(
        (ROOT / "params/catalogue.yaml").read_text()
    )
    made = RunJob(project, "toy", "learned", 0)
    fabricate(made)
    monkeypatch.setattr(after, "Counts", Given)
    monkeypatch.setattr(machines, "measured_peak", lambda project: 1e11)
    return made


def said(job: RunJob, caplog: pytest.LogCaptureFixture) -> str:
    LOGGER.addHandler(caplog.handler)
    try:
        with caplog.at_level(logging.INFO, logger=LOGGER.name):
            after.say_cost(job)
    finally:
        LOGGER.removeHandler(caplog.handler)
    return caplog.text


def rewrite(job: RunJob, **values: Any) -> None:
    file = job.folder / "meta.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def test_planned_and_taken_stand_side_by_side(
    job: RunJob, caplog: pytest.LogCaptureFixture
) -> None:
    share = catalogue.read(ROOT).machines["here"].utilisation
    planned = 320e9 / (1e11 * share)
    assert f"planned {planned:.0f} s, took 12 s ({planned / 12.5:.2f}x); 26% of 0.10" in said(
        job, caplog
    )


def test_processes_share_the_work(job: RunJob, caplog: pytest.LogCaptureFixture) -> None:
    rewrite(job, device="cuda:0", processor="NVIDIA H100 80GB HBM3", processes=2)
    share = catalogue.read(ROOT).machines["h100"].utilisation
    seconds = 320e9 / (989e12 * share) / 2
    assert f"planned {seconds:.2g} s, took 12 s" in said(job, caplog)


def test_an_unknown_gpu_is_named(job: RunJob, caplog: pytest.LogCaptureFixture) -> None:
    rewrite(job, device="cuda:0", processor="Some GPU 9000")
    assert "no plan to compare with: 'Some GPU 9000' is not in" in said(job, caplog)


def test_what_cannot_be_counted_fails_no_finished_run(
    job: RunJob, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise NotImplementedError("its samples are no images")

    monkeypatch.setattr(Given, "step", fail)
    words = said(job, caplog)
    assert "no plan to compare with (NotImplementedError: its samples are no images)" in words


def test_only_the_first_process_speaks(
    job: RunJob, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    assert said(job, caplog) == ""


def test_a_missing_catalogue_is_no_failure(
    job: RunJob, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    (job.project.root / "params/catalogue.yaml").unlink()
    assert "no plan to compare with" in said(job, caplog)
