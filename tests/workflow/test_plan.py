"""What Snakemake plans before it runs anything, and what it refuses to start."""

import os
from collections import Counter

import pytest
import yaml
from workspace import REPOSITORY

from reprise import locks, plan
from reprise.config import load_project

SCALES = sorted(path.stem for path in (REPOSITORY / "params/scales").glob("*.yaml"))


def steps(jobs):
    return dict(Counter(job.split()[0].rstrip(":") for job in jobs))


def test_empty_workspace_plans_every_step_of_every_headline_run(empty):
    runs = [job for job in plan.run_jobs(empty.project) if job.run.headline]
    tables = plan.table_jobs(empty.project, headline_only=True)
    assert steps(empty.planned()) == {
        "data": len({dataset.home for dataset in empty.project.scale.datasets.values()}),
        "train": len(runs),
        "evaluate": len([job for job in runs if job.run.evaluate]),
        "benchmark": len(plan.benchmark_jobs(empty.project, headline_only=True)),
        "table": len(tables),
        "claims": len(empty.project.papers),
        "report": 1,
        "track": 1,
    }


def test_target_of_a_paper_plans_its_tables_but_no_report(empty):
    jobs = steps(empty.planned("can"))
    assert jobs["table"] == len(empty.project.paper("can").tables)
    assert "report" not in jobs
    assert "track" not in jobs


@pytest.mark.parametrize("scale", SCALES)
def test_every_scale_can_be_planned(empty, scale):
    said = empty.snakemake("-n", config=f"scale={scale}")
    assert f"Reprise, scale {scale}: " in said
    assert said.index("Reprise, scale") < said.index("Job stats:")
    # No such variable is set in a test's environment.
    assert ("needs: REPRISE_IMAGENET (not set), for data imagenet" in said) == (scale == "paper")


def test_bad_value_stops_before_any_job_and_names_file_and_key(empty, tmp_path):
    workspace = empty.copy(tmp_path / "workspace")
    workspace.edit("params/papers/can.yaml", "mask_rate: 0.5", "mask_rate: 1.5")
    said = workspace.snakemake("--cores", "all", fails=True)
    assert f"{workspace.root}/params/papers/can.yaml: runs.can.objective.mask_rate = 1.5" in said
    assert "less than 1" in said
    assert "Traceback" not in said
    assert "Job stats" not in said
    assert not (workspace.root / "results").exists()
    assert not (workspace.root / "data").exists()


def test_misspelt_option_and_scale_are_named(empty):
    said = empty.snakemake("-n", config="scal=smoke", fails=True)
    assert "unknown key 'scal' (did you mean 'scale'?)" in said
    said = empty.snakemake("-n", config="scale=smok", fails=True)
    assert "unknown scale 'smok' (did you mean 'smoke'?)" in said


def test_a_switch_is_true_or_false(empty):
    said = empty.snakemake("-n", config="rehearse=treu", fails=True)
    assert "--config: rehearse = 'treu': must be true or false" in said


@pytest.mark.parametrize(
    ("target", "config", "told"),
    [
        (  # and no `rehearsal` among those known, since `false` starts none
            "cann",
            "rehearse=false",
            "unknown target 'cann' (did you mean 'can'?); "
            "known: all, can, capdec, deit3, litv2, reference, report, sweeps, track",
        ),
        ("results/paper/can/claims.md", "scale=smoke", "claims.md: say `--config scale=paper`"),
        (
            "results/smoke/can/tables/imagnet.md",
            "scale=smoke",
            "no step of scale smoke makes it (did you mean 'results/smoke/can/tables/imagenet.md'",
        ),
    ],
)
def test_a_target_that_no_step_makes_is_named(empty, target, config, told):
    said = empty.snakemake("-n", target, config=config, fails=True)
    assert told in said
    assert "Reprise, scale" not in said, "a mistake at the end of a long list is not seen"


def test_second_driver_is_refused_by_pid_but_may_look(empty, tmp_path):
    workspace = empty.copy(tmp_path / "workspace")
    with locks.take_driver(workspace.root):
        said = workspace.snakemake("--cores", "1", fails=True)
        assert f"locked by process {os.getpid()} on " in said
        assert "Wait until it ends" in said
        assert "Traceback" not in said
        assert not (workspace.root / "data").exists()
        assert workspace.planned()


def test_dvc_has_a_stage_for_every_paper_at_every_scale_and_its_folders():
    stages = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
    for scale in SCALES:
        project = load_project(REPOSITORY, scale)
        for slug in project.papers:
            assert scale in stages[slug]["foreach"], f"dvc.yaml: no stage {slug}@{scale}"
            out = stages[slug]["do"]["outs"][0]
            (name, options), *_ = out.items()
            assert REPOSITORY / name.replace("${key}", scale) == project.results / slug
            assert options == {"persist": True}
            watched, read = set(stages[slug]["foreach"][scale]), data_of(project, slug)
            assert watched <= read
            # DeiT III's further transfer sets at full size are Snakemake's alone to watch.
            assert watched == read or scale == "paper", read - watched
            owner = "data" if scale in ("demo", "smoke") else "public_data"
            assert watched <= set(stages[owner]["foreach"])


def data_of(project, slug):
    """Return the data folders that a paper's headline runs read, by name."""
    jobs = [job for job in plan.run_jobs(project, headline_only=True) if job.slug == slug]
    return {folder.name for job in jobs for folder in (*job.data_folders, *job.eval_data_folders)}


def test_dvc_has_every_data_set_that_can_be_had_without_an_account():
    stages = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
    for scale in ("demo", "smoke"):
        datasets = load_project(REPOSITORY, scale).scale.datasets.values()
        assert {dataset.home for dataset in datasets} <= set(stages["data"]["foreach"])
