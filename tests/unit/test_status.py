"""Judging what is built: by digest, with the reason, and never better than what it rests on."""

import io
import json
from dataclasses import replace

import fabricated
import pytest
import yaml

from reprise import plan, provenance, status, tables
from reprise.config import Dataset


@pytest.fixture
def project(tmp_path):
    """A workspace in which every headline run was evaluated; weights and tables are missing."""
    project = fabricated.workspace(tmp_path)
    fabricated.fabricate_all(project)
    for job in plan.run_jobs(project, headline_only=True):
        job.outputs[0].write_bytes(b"weights")
    return project


def states(project):
    return {f"{item.step} {item.key}": item.state for item in status.summary(project)}


def reasons(project):
    return {f"{item.step} {item.key}": item.why for item in status.summary(project)}


def build_table(project):
    job = fabricated.table_job(project)
    for path in job.outputs:
        fabricated.write_json(path, {"digest": job.digest})


def test_matching_digests_are_current_and_sweeps_are_missing(project):
    build_table(project)
    found = states(project)
    assert found["train learned seed 0"] == "current"
    assert found["evaluate learned seed 0"] == "current"
    assert found["table main"] == "current"
    assert found["train swept seed 0"] == "missing"
    assert found["data digits"] == "missing"


def test_changed_setting_is_named_and_makes_what_follows_stale(project, tmp_path):
    build_table(project)
    paper = tmp_path / "params/papers/toy.yaml"
    paper.write_text(paper.read_text().replace("steps: 40", "steps: 50"))
    edited = fabricated.load_project(tmp_path, "tiny")
    assert states(edited)["train learned seed 0"] == "stale"
    assert states(edited)["train plain seed 0"] == "current"
    assert reasons(edited)["train learned seed 0"].startswith("changed: steps 40 -> 50, ")
    assert reasons(edited)["evaluate learned seed 0"] == "train learned seed 0 is stale"
    assert reasons(edited)["table main"] == "evaluate learned seed 0 is stale"


def test_changed_source_is_named(project):
    job = plan.run_jobs(project)[0]
    meta = json.loads((job.folder / "meta.json").read_text())
    package = provenance.__file__.removesuffix("provenance.py")
    files = {str(p).removeprefix(package): provenance.digest_of_file(p) for p in job.sources}
    meta |= {"digest": "0" * 64, "sources": files | {"training/optim.py": "0" * 64}}
    fabricated.write_json(job.folder / "meta.json", meta)
    assert reasons(project)[f"train {job.name} seed 0"] == "changed: source training/optim.py"


def test_other_data_than_a_run_was_made_from_makes_it_stale(project):
    manifest = project.data_root / "digits" / "manifest.json"
    fabricated.write_json(manifest, {"name": "digits", "args": {}, "digest": "a" * 64})
    assert states(project)["data digits"] == "current"
    assert reasons(project)["train learned seed 0"] == "data set digits changed"
    for job in plan.run_jobs(project, headline_only=True):
        for path in (job.folder / "meta.json", *job.eval_folder.glob("*.json")):
            made = json.loads(path.read_text())
            split = made["data"]["split"]
            made["data"]["digest"] = provenance.digest_of({"set": "a" * 64, "split": split})
            fabricated.write_json(path, made)
    assert states(project)["evaluate learned seed 0"] == "current"


def test_a_table_takes_nothing_that_was_made_from_other_data(project):
    """Sweep rows are no input of the workflow, so their data may change without its noticing."""
    swept = next(job for job in plan.run_jobs(project) if job.name == "swept")
    fabricated.fabricate(swept)
    table = fabricated.table_job(project)
    cells = {row["label"]: row["cells"] for row in tables.assemble(table)["rows"]}
    assert cells["swept"]["probe_top1"]["status"] == "measured"
    manifest = project.data_root / "digits" / "manifest.json"
    fabricated.write_json(manifest, {"name": "digits", "args": {}, "digest": "a" * 64})
    cells = {row["label"]: row["cells"] for row in tables.assemble(table)["rows"]}
    for row in ("swept", "learned"):
        status_there = cells[row]["probe_top1"]["status"]
        assert status_there == f"not run: toy/{row} seed 0 is stale: data set digits changed"
    for path in (swept.folder / "meta.json", *swept.eval_folder.glob("*.json")):
        made = json.loads(path.read_text())
        split = made["data"]["split"]
        made["data"]["digest"] = provenance.digest_of({"set": "a" * 64, "split": split})
        fabricated.write_json(path, made)
    cells = {row["label"]: row["cells"] for row in tables.assemble(table)["rows"]}
    assert cells["swept"]["probe_top1"]["status"] == "measured"


def test_a_damaged_manifest_is_named_with_its_remedy(project):
    manifest = project.data_root / "digits" / "manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text('{"name": "digi')
    assert states(project)["data digits"] == "stale"
    for step in ("data digits", "train learned seed 0"):
        assert (
            reasons(project)[step] == f"{manifest} is damaged: delete it, and the data set is "
            "prepared again"
        )
    status.print_status(project, io.StringIO())


def test_a_table_is_stale_once_its_sweep_rows_come_or_go(project):
    table = fabricated.table_job(project)
    tables.build(table)
    assert states(project)["table main"] == "current"
    swept = next(job for job in plan.run_jobs(project) if job.name == "swept")
    fabricated.fabricate(swept)
    swept.outputs[0].write_bytes(b"weights")
    assert reasons(project)["table main"] == "sweep rows were finished since"
    tables.build(table)
    assert states(project)["table main"] == "current"
    (swept.eval_folder / "probe.npz").unlink()
    assert reasons(project)["table main"] == "sweep rows changed since"


def test_damaged_or_absent_files_are_never_current(project):
    job = next(job for job in plan.run_jobs(project) if job.name == "learned")
    (job.eval_folder / "knn.json").write_text("{")
    assert states(project)["evaluate learned seed 0"] == "stale"
    (job.eval_folder / "knn.npz").unlink()
    assert states(project)["evaluate learned seed 0"] == "missing"
    (job.folder / "meta.json").write_text("")
    assert reasons(project)["train learned seed 0"] == "meta.json is unreadable"


def test_sweep_rows_enter_a_table_only_while_they_are_current(project, tmp_path):
    table = fabricated.table_job(project)
    assert status.current_sweeps(table) == []
    swept = next(job for job in plan.run_jobs(project) if job.name == "swept")
    fabricated.fabricate(swept)
    swept.outputs[0].write_bytes(b"weights")
    assert status.current_sweeps(table) == swept.eval_outputs
    paper = tmp_path / "params/papers/toy.yaml"
    paper.write_text(paper.read_text().replace("steps: 20", "steps: 30"))
    edited = fabricated.load_project(tmp_path, "tiny")
    assert status.current_sweeps(fabricated.table_job(edited)) == []


def test_data_that_sweeps_alone_read_are_told_apart(tmp_path):
    project = fabricated.workspace(tmp_path)
    for name, more in (("paper", "papers/toy.yaml"), ("scale", "scales/tiny.yaml")):
        file = tmp_path / "params" / more
        made = yaml.safe_load(file.read_text())
        if name == "paper":
            made["runs"]["swept"]["data"] = "others"
        else:
            made["datasets"]["others"] = {"name": "digits", "folder": "other_digits"}
        file.write_text(yaml.safe_dump(made))
    project = fabricated.load_project(tmp_path, "tiny")
    data = [(item.key, item.headline) for item in status.summary(project) if item.step == "data"]
    assert data == [("digits", True), ("other_digits", False)]


def test_a_variable_that_data_need_is_named_until_they_are_prepared(project, monkeypatch):
    monkeypatch.delenv("TOY_PHOTOS", raising=False)
    photos = Dataset(name="image_folder", args={"root": "${TOY_PHOTOS}/mine", "size": 8})
    scale = project.scale.model_copy(update={"datasets": {"photos": photos}})
    project = replace(project, scale=scale)

    def told():
        stream = io.StringIO()
        status.print_status(project, stream)
        return [line.strip() for line in stream.getvalue().splitlines() if "needs" in line]

    assert told() == ["needs: TOY_PHOTOS (not set), for data image_folder"]
    fabricated.write_json(project.data_root / "image_folder/manifest.json", {"digest": ""})
    assert told() == []
    (project.data_root / "image_folder/manifest.json").unlink()
    monkeypatch.setenv("TOY_PHOTOS", "/somewhere")
    assert told() == []


def test_printed_status_counts_each_step_of_each_paper(project):
    stream = io.StringIO()
    status.print_status(project, stream)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "Reprise, scale tiny: made-up numbers for a test"
    counts = {line[:22].strip(): line[22:].split() for line in lines[2:]}
    assert counts["toy train"] == ["3", "3", "0", "0"]
    assert counts["toy train (sweeps)"] == ["1", "0", "0", "1"]
    assert counts["toy table"] == ["1", "0", "0", "1"]
