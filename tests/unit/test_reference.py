"""Reference results: what a snapshot holds, when it is refused, and when it counts as stale."""

import csv
import errno
import json

import pytest
import yaml
from fabricated import TABLE, fabricate, table_job, workspace

from reprise import reference
from reprise.config import Project, load_project
from reprise.errors import StaleError
from reprise.files import write_atomic
from reprise.plan import run_jobs
from reprise.results import ResultError


@pytest.fixture
def project(tmp_path) -> Project:
    """A workspace with one seed, whose reference has three; everything is built."""
    workspace(tmp_path)
    scale = tmp_path / "params/scales/tiny.yaml"
    scale.write_text(
        yaml.safe_dump({**yaml.safe_load(scale.read_text()), "reference_seeds": [0, 1, 2]})
    )
    project = load_project(tmp_path, "tiny")
    for job in run_jobs(project.for_reference()):
        fabricate(job)
    return project


def test_sweeps_have_one_seed_and_headline_rows_the_reference_seeds(project):
    seeds = {}
    for job in run_jobs(project.for_reference()):
        seeds.setdefault(job.name, []).append(job.seed)
    assert seeds == {"plain": [0, 1, 2], "pixels": [0, 1, 2], "learned": [0, 1, 2], "swept": [0]}
    assert [job.seed for job in run_jobs(project)] == [0, 0, 0, 0]


def test_snapshot_holds_every_number_with_the_commands_that_make_it(project):
    folder = reference.snapshot(project)
    assert folder == project.root / "results/reference/tiny"
    assert "seeds 0, 1, 2, sweep rows seed 0" in (folder / "README.md").read_text()
    with (folder / "toy/tables/main.csv").open() as stream:
        lines = {(line["row"], line["metric"]): line for line in csv.DictReader(stream)}
    learned = lines["learned", "probe_top1"]
    assert learned["seeds"] == "3"
    for seed in (0, 1, 2):
        assert f"python -m reprise train toy/learned --seed {seed}" in learned["commands"]
        assert f"python -m reprise evaluate toy/learned --seed {seed}" in learned["commands"]
    assert lines["swept", "probe_top1"]["seeds"] == "1"
    markdown = (folder / "toy/tables/main.md").read_text()
    assert "  - `python -m reprise evaluate toy/swept --seed 0`" in markdown


def test_a_reference_of_counts_alone_says_that_nothing_was_trained(project):
    for job in run_jobs(project.for_reference()):
        for file in job.eval_outputs:
            file.unlink()
    said = reference._what_ran(project)
    assert "nothing was trained" in said
    assert "snapshot --scale tiny --partial" in said
    assert "seeds" not in said


def test_snapshot_is_refused_where_a_cell_has_no_number_and_leaves_the_old_one(project):
    folder = reference.snapshot(project)
    before = {path: path.read_bytes() for path in folder.rglob("*.*")}
    job = next(j for j in run_jobs(project.for_reference()) if (j.name, j.seed) == ("learned", 2))
    (job.eval_folder / "probe.json").unlink()
    with pytest.raises(StaleError, match="toy/main, learned, probe_top1: partial: seed 2 not run"):
        reference.snapshot(project)
    assert {path: path.read_bytes() for path in folder.rglob("*.*")} == before


@pytest.mark.parametrize("at", [1, 3, 7])
def test_a_snapshot_that_cannot_be_written_leaves_the_old_one(project, monkeypatch, at):
    folder = reference.snapshot(project)
    before = {path: path.read_bytes() for path in folder.rglob("*.*")}
    calls = []

    def full(path, content):
        calls.append(path)
        if len(calls) == at:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write_atomic(path, content)

    monkeypatch.setattr(reference, "write_atomic", full)
    with pytest.raises(OSError, match="No space left"):
        reference.snapshot(project)
    assert {path: path.read_bytes() for path in folder.rglob("*.*")} == before
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def test_a_damaged_reference_is_in_git(project):
    file = reference.snapshot(project) / "toy/tables/main.json"
    file.write_text("{")
    with pytest.raises(ResultError, match=f"`git checkout -- {file}` brings it back"):
        reference.cells(table_job(project))


def test_cells_are_stale_where_what_they_were_made_from_changed(project):
    assert reference.cells(table_job(project)) == {}
    reference.snapshot(project)
    known = reference.cells(table_job(project))
    assert known["learned", "probe_top1"]["seeds"] == [0, 1, 2]
    assert not any(cell["stale"] for cell in known.values())
    paper = project.root / "params/papers/toy.yaml"
    raw = yaml.safe_load(paper.read_text())
    raw["runs"]["learned"]["steps"] = 50
    raw["evaluators"]["knn"]["neighbours"] = 5
    paper.write_text(yaml.safe_dump(raw, sort_keys=False))
    edited = load_project(project.root, "tiny")
    stale = {key for key, cell in reference.cells(table_job(edited)).items() if cell["stale"]}
    assert stale == {
        ("plain", "knn_top1"),
        ("swept", "knn_top1"),
        ("learned", "probe_top1"),
        ("learned", "knn_top1"),
    }


def test_a_reference_to_a_run_that_is_gone_is_stale(project):
    reference.snapshot(project)
    file = reference.table_file(table_job(project))
    table = json.loads(file.read_text())
    row = next(row for row in table["rows"] if row["label"] == "learned")
    row["cells"]["probe_top1"]["runs"][0]["run"] = "toy/gone"
    file.write_text(json.dumps(table))
    known = reference.cells(table_job(project, TABLE))
    assert known["learned", "probe_top1"]["stale"]
