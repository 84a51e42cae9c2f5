"""What DVC compares and draws: the tables' own numbers, in files that follow them."""

import csv
import json
from pathlib import Path

import pytest
from fabricated import fabricate_all, table_job, workspace

from reprise import metrics, tables
from reprise.config import Project
from reprise.plan import RunJob
from reprise.results import ResultError


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = workspace(tmp_path)
    fabricate_all(project)
    tables.build(table_job(project))
    return project


def files(project: Project) -> set[str]:
    folder = project.results / "toy"
    return {str(path.relative_to(folder)) for path in metrics._present(folder)}


def test_every_row_has_its_numbers_and_every_column_its_bars(project: Project) -> None:
    count = metrics.write(project, "toy")
    table = tables.load(table_job(project).outputs[2])
    learned = next(row for row in table["rows"] if row["label"] == "learned")
    ours = {key: cell["ours"]["value"] for key, cell in learned["cells"].items()}
    folder = project.results / "toy"
    assert json.loads((folder / "metrics/main/learned.json").read_text()) == ours
    assert files(project) == {
        *(f"metrics/main/{row}.json" for row in ("plain", "raw-pixels", "learned")),
        *(f"plots/tables/main-{column}.csv" for column in ("probe_top1", "knn_top1")),
        "plots/curves/learned-seed0.csv",
    }
    assert count == len(files(project))
    with (folder / "plots/tables/main-probe_top1.csv").open() as stream:
        bars = {line["row"]: line for line in csv.DictReader(stream)}
    assert float(bars["learned"]["ours"]) == ours["probe_top1"]
    assert float(bars["learned"]["low"]) < ours["probe_top1"] < float(bars["learned"]["high"])
    assert (bars["printed only"]["ours"], bars["printed only"]["published"]) == ("", "71.25")
    with (folder / "plots/curves/learned-seed0.csv").open() as stream:
        curve = list(csv.DictReader(stream))
    assert [int(line["step"]) for line in curve] == [10, 20, 30, 40]
    assert float(curve[0]["loss"]) == pytest.approx(0.23)


def test_files_follow_the_tables_and_stay_as_they_are_otherwise(project: Project) -> None:
    metrics.write(project, "toy")
    folder = project.results / "toy"
    kept = folder / "metrics/main/plain.json"
    before = kept.stat().st_mtime_ns
    (folder / "metrics/main/left.json").write_text("{}")
    (folder / "metrics/gone").mkdir()
    (folder / "metrics/main/learned.json").write_text('{"probe')
    metrics.write(project, "toy")
    assert kept.stat().st_mtime_ns == before
    assert "metrics/main/left.json" not in files(project)
    assert not (folder / "metrics/gone").exists()
    assert json.loads((folder / "metrics/main/learned.json").read_text())


def test_stale_table_and_run_are_left_out(project: Project) -> None:
    metrics.write(project, "toy")
    path = table_job(project).outputs[2]
    path.write_text(path.read_text().replace(table_job(project).digest, "0" * 64))
    meta = RunJob(project, "toy", "learned", 0).folder / "meta.json"
    meta.write_text(meta.read_text().replace(json.loads(meta.read_text())["digest"], "0" * 64))
    assert metrics.write(project, "toy") == 0
    assert files(project) == set()


def test_damaged_curve_is_named(project: Project) -> None:
    log = RunJob(project, "toy", "learned", 0).folder / "log.jsonl"
    log.write_text(log.read_text()[:-9])
    with pytest.raises(ResultError, match=r"log\.jsonl, line 4"):
        metrics.write(project, "toy")


def test_labels_that_are_alike_in_a_file_name_are_told_apart() -> None:
    labels = ["CAN", "can", "raw | pixels", "raw pixels", "..."]
    assert list(metrics._distinct(labels)) == ["CAN", "can-2", "raw-pixels", "raw-pixels-2", "row"]
    assert list(metrics._distinct(["a", "a", "a-2"])) == ["a", "a-2", "a-2-2"]
