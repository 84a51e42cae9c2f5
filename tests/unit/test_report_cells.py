"""From every cell of the report to its run's configuration, its curve, and the command for it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from fabricated import (
    add_costs,
    fabricate,
    fabricate_all,
    fabricate_benchmark,
    table_job,
    workspace,
)
from pages import Page

from reprise import markdown, tables
from reprise.config import Json, Project, load_project
from reprise.plan import BenchmarkJob, RunJob, TableJob, run_jobs
from reprise.report import build, origins


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = workspace(tmp_path)
    fabricate_all(project)
    tables.build(table_job(project))
    return project


def origins_of(project: Project) -> Json:
    """Return the data that the page carries for its panels."""
    text = build.build(project).read_text()
    (found,) = re.findall(r'<script type="application/json" id="origins">(.*?)</script>', text)
    made: Json = json.loads(found)
    return made


def command(cell: Json, what: str) -> str:
    (found,) = (text for said, text in cell["rerun"] if said == what)
    return str(found)


def test_every_cell_of_a_run_opens_a_panel_and_no_other(project: Project) -> None:
    text = build.build(project).read_text()
    buttons = [a["data-cell"] for a in Page(text).all("button") if "data-cell" in a]
    wanted = [
        f"toy/main/{row}/{column}" for row in range(4) for column in ("probe_top1", "knn_top1")
    ]
    assert buttons == wanted, "the printed row has no run"
    assert list(origins_of(project)["cells"]) == wanted


def test_a_panel_says_the_numbers_of_its_cell(project: Project) -> None:
    cell = origins_of(project)["cells"]["toy/main/2/probe_top1"]
    made = tables.load(table_job(project).outputs[2])["rows"][2]["cells"]["probe_top1"]
    facts = dict(cell["facts"])
    assert cell["title"] == "learned: probe"
    assert cell["table"] == "Table 9: Toy methods compared"
    assert facts["ours"] == f"{markdown.interval(made['ours'], '%')} %"
    assert facts["how sure"] == "95 % interval: test images, 1 seed"
    gain = markdown.interval(made["gain"], "%", sign=True)
    assert facts["paired gain over plain"] == f"{gain} points (test images, 1 seed)"
    assert facts["scale, seeds"] == f"tiny; seed 0: {markdown.number(made['ours']['value'], '%')}"
    assert facts["samples"] == "400"
    assert facts["published"] == "76.0 % (Learned, 800 ep; Some Photos, test)"
    assert facts["its source"] == "https://example.org/toy?a=1&b=2 (seen)"
    assert "status" not in facts


def test_a_panel_has_the_resolved_configuration_curve_and_files(project: Project) -> None:
    found = origins_of(project)
    cell = found["cells"]["toy/main/2/knn_top1"]
    assert (cell["run"], cell["evaluator"]) == ("toy/learned", "toy/classify"), "the row's own"
    config = yaml.safe_load(found["runs"]["toy/learned"]["config"])
    job = RunJob(project, "toy", "learned", 0)
    assert {key: config[key] for key in job.spec["config"]} == job.spec["config"]
    assert (config["scale"], config["threads"]) == ("tiny", 1)
    assert config["dataset"] == job.spec["dataset"]
    assert yaml.safe_load(found["evaluators"]["toy/classify"])["kind"] == "classify"
    seed = found["runs"]["toy/learned"]["seeds"]["0"]
    assert seed["curves"]["loss"] == [[10, 0.23], [20, 0.115], [30, 0.076667], [40, 0.0575]]
    assert "lr" not in seed["curves"]
    assert seed["commands"][0] == "python -m reprise train toy/learned --seed 0"
    assert dict(seed["facts"])["digest"] == job.digest[:12]
    report = project.results / "report"
    for _, link in seed["files"]:
        assert (report / link).exists(), link
    assert (report / dict(seed["files"])["curve (log.jsonl)"]).resolve() == job.folder / "log.jsonl"


def test_long_curves_are_thinned_out_and_keep_their_ends() -> None:
    log = [{"step": step, "loss": 1 / step, "note": "x"} for step in range(1, 1001)]
    (points,) = origins._curves(log).values()
    assert len(points) == 60
    assert (points[0], points[-1]) == ((1, 1.0), (1000, 0.001))
    assert origins._curves(log[:1]) == {"loss": [(1, 1.0)]}


def test_the_command_trains_and_evaluates_this_run_alone(project: Project) -> None:
    cell = origins_of(project)["cells"]["toy/main/2/probe_top1"]
    target = "snakemake results/tiny/toy/eval/learned/seed0/probe.json --cores all"
    again = f"{target} --config scale=tiny --forcerun"
    said = command(cell, "train the run and evaluate it again")
    assert said == f"{again} results/tiny/toy/runs/learned/seed0/meta.json"
    said = command(cell, "evaluate it, weights kept, again")
    assert said == f"{again} results/tiny/toy/eval/learned/seed0/probe.json"
    assert command(cell, "then put it into the table") == (
        "python -m reprise table toy/main --scale tiny"
    )


def test_what_is_not_there_is_built_and_not_forced(project: Project) -> None:
    found = origins_of(project)
    cell = found["cells"]["toy/main/3/probe_top1"]
    assert dict(cell["facts"])["status"].startswith("not run: sweep row")
    said = command(cell, "train the run and evaluate it")
    assert said.startswith("snakemake results/tiny/toy/eval/swept/seed0/probe.json --cores all")
    assert "--forcerun" not in said
    assert "steps: 20" in found["runs"]["toy/swept"]["config"], "configured, though never run"
    assert found["runs"]["toy/swept"]["seeds"] == {}
    cell = found["cells"]["toy/main/1/knn_top1"]
    assert cell["rerun"] == [], "pixels has no such evaluator"
    assert dict(cell["facts"])["status"] == "not measured: pixels has no knn"
    assert "evaluator" not in cell


def test_all_seeds_of_a_cell_are_made_again(tmp_path: Path) -> None:
    project = workspace(tmp_path, seeds=(0, 1, 2))
    fabricate_all(project)
    tables.build(table_job(project))
    cell = origins_of(project)["cells"]["toy/main/0/probe_top1"]
    said = command(cell, "make the run and evaluate it again")
    assert len(re.findall(r"eval/plain/seed[012]/probe\.json", said)) == 3
    assert len(re.findall(r"runs/plain/seed[012]/meta\.json", said)) == 3
    assert cell["seeds"] == [0, 1, 2]
    assert dict(cell["facts"])["scale, seeds"].count("seed ") == 3


def test_a_benchmark_is_measured_again(tmp_path: Path) -> None:
    workspace(tmp_path)
    project = add_costs(tmp_path)
    fabricate_all(project)
    tables.build(TableJob(project, "toy", "cost"))
    found = origins_of(project)
    cell = found["cells"]["toy/cost/1/speed"]
    assert command(cell, "measure it again") == (
        "snakemake results/tiny/toy/bench/step.json --cores all --config scale=tiny "
        "--forcerun results/tiny/toy/bench/step.json"
    )
    facts = dict(cell["facts"])
    assert facts["rounds"] == "3"
    assert facts["how sure"] == "95 % interval: t over 3 repeated measurements"
    assert (facts["scale"], "scale, seeds" in facts) == ("tiny", False), "it has no seed"
    assert yaml.safe_load(found["benchmarks"]["toy/step"]["config"])["runs"] == ["learned", "heavy"]
    assert found["runs"]["toy/heavy"]["seeds"] == {}, "never trained"


def test_only_numbers_of_seeds_are_marked_with_their_number(tmp_path: Path) -> None:
    workspace(tmp_path, seeds=(0, 1, 2))
    project = add_costs(tmp_path)
    for job in run_jobs(project):
        fabricate(job)
    cost, main = (tables.assemble(TableJob(project, "toy", name)) for name in ("cost", "main"))
    text = markdown.render(cost)
    assert re.search(r"^\| learned \| 1,000 \[[^|]*\] \|$", text, re.MULTILINE)
    assert "ours: counted, or measured by a benchmark, without seeds [95 % interval: t over" in text
    assert not re.search(r"\d seed|seeds: \d", text)
    text = markdown.render(main)
    assert "seeds: 3" in text
    assert "] (1 seed) |" in text, "the sweep row's"
    speed = {"speed": cost["columns"][0], "probe": main["columns"][0]}
    known = {"seeds": [0], "stale": True}
    said = {name: markdown.of_reference(known, column) for name, column in speed.items()}
    assert said == {"speed": "stale", "probe": "1 seed, stale"}


def settings_of(project: Project, change: Any) -> Project:
    file = project.root / "params/papers/toy.yaml"
    paper = yaml.safe_load(file.read_text())
    change(paper)
    file.write_text(yaml.safe_dump(paper, sort_keys=False))
    return load_project(project.root, "tiny")


def test_a_setting_has_a_configuration_and_nothing_to_run(project: Project) -> None:
    def change(paper: Json) -> None:
        metrics = paper["tables"]["main"]["metrics"]
        metrics["steps"] = {"label": "steps", "setting": "steps", "unit": ""}
        metrics["wall"] = {"label": "time", "meta": "wall_seconds", "unit": "s"}
        metrics["top5"] = {"label": "top-5", "printed": True}

    edited = settings_of(project, change)
    tables.build(table_job(edited))
    cells = origins_of(edited)["cells"]
    assert cells["toy/main/2/steps"]["rerun"] == []
    assert dict(cells["toy/main/2/steps"]["facts"]) == {"as set": "40"}
    said = command(cells["toy/main/2/wall"], "train the run again")
    meta = "results/tiny/toy/runs/learned/seed0/meta.json"
    assert said == f"snakemake {meta} --cores all --config scale=tiny --forcerun {meta}"
    assert "toy/main/2/top5" not in cells, "printed alone"


def test_what_is_there_for_its_cost_alone_cannot_be_made(project: Project) -> None:
    def change(paper: Json) -> None:
        paper["runs"]["swept"] |= {"kind": "cost", "evaluate": []}

    edited = settings_of(project, change)
    row = edited.paper("toy").tables["main"].rows[3]
    assert origins.rerun(table_job(edited), row, "probe_top1") == []


def test_nothing_in_the_data_can_end_its_script(project: Project) -> None:
    def change(paper: Json) -> None:
        paper["runs"]["learned"]["about"] = "</script><b>&amp; <!-- "

    edited = settings_of(project, change)
    assert origins_of(edited)["runs"]["toy/learned"]["about"] == "</script><b>&amp; <!-- "
    assert "</script><b>" not in build.build(edited).read_text()


def test_results_outside_the_workspace_are_named_whole(project: Project, tmp_path: Path) -> None:
    file = project.root / "params/config.yaml"
    elsewhere = tmp_path.parent / f"{tmp_path.name}-results"
    file.write_text(
        yaml.safe_dump({"scale": "tiny", "papers": ["toy"], "results_root": str(elsewhere)})
    )
    moved = load_project(project.root, "tiny")
    ((_, said), *_) = origins.rerun(
        table_job(moved), moved.paper("toy").tables["main"].rows[0], "probe_top1"
    )
    assert f"snakemake {elsewhere}/tiny/toy/eval/plain/seed0/probe.json --cores all" in said


def test_a_damaged_benchmark_is_named(tmp_path: Path) -> None:
    workspace(tmp_path)
    project = add_costs(tmp_path)
    job = BenchmarkJob(project, "toy", "step")
    fabricate_benchmark(job)
    assert "1 benchmark" in build.build(project).read_text()
    job.outputs[0].write_text("{")
    with pytest.raises(Exception, match=str(job.outputs[0])):
        build.build(project)
