"""A build at scale smoke, and what an edit or a loss makes Snakemake build again."""

import hashlib
import re
import signal
import subprocess
import sys
import time

import pytest

from reprise import plan

LAST = ["report", "track: results into MLflow"]


def every(step, project, slug=None):
    """Every headline job of a step, of one paper or of all."""
    jobs = plan.run_jobs(project, headline_only=True)
    return [
        f"{step} {job.slug}/{job.name} seed {job.seed}" for job in jobs if slug in (None, job.slug)
    ]


def readers(project, run=None, slug="can"):
    """The tables and claims of a paper (None: of all) that read a run, or any, and what follows."""
    tables = [
        f"table {table.slug}/{table.name}"
        for table in plan.table_jobs(project, headline_only=True)
        if slug in (None, table.slug)
        and (run is None or any(job.name == run for job in table.run_jobs))
    ]
    claims = [f"claims {name}" for name in project.papers if slug in (None, name)]
    return [*tables, *claims, *LAST]


def test_build_shows_the_plan_then_progress_and_makes_every_file(built, first_output):
    assert "result" in first_output.splitlines()[1], "the scale says that it is no result"
    marks = ("Reprise, scale smoke", "Job stats:", "1 of ")
    assert sorted(marks, key=first_output.index) == list(marks)
    assert re.search(r"(\d+) of \1 steps \(100%\) done", first_output)
    counts = re.findall(r"(\d+) +(\d+) +0 +0$", built.reprise("status"), flags=re.MULTILINE)
    papers = built.project.papers.values()  # runs, evaluations, tables, claims; costs of some
    assert len(counts) == 1 + sum(4 + bool(paper.benchmarks) for paper in papers)
    assert all(total == done for total, done in counts)
    assert (built.project.results / "report/index.html").is_file()
    assert (built.project.results / "mlflow.db").is_file()


def test_nothing_is_to_be_done_afterwards_not_even_for_new_dates(copy):
    assert copy.planned() == []
    for path in [*(copy.root / "src").rglob("*.py"), *(copy.root / "params").rglob("*.*")]:
        path.touch()
    assert copy.planned() == []


def test_other_launcher_makes_nothing_stale(built):
    assert built.planned("--set-resources", "train:launcher=torchrun -m reprise") == []


def test_setting_of_one_run_reruns_that_run_and_what_depends_on_it(copy):
    copy.edit_mask_rate()
    assert copy.planned() == sorted(
        [
            "train can/mae-time seed 0",
            "evaluate can/mae-time seed 0",
            *readers(copy.project, "mae-time"),
        ]
    )
    said = copy.snakemake("-n")
    assert "stale: train can/mae-time seed 0: changed: objective.mask_rate 0.75 -> 0.5" in said


def test_setting_of_an_evaluator_trains_nothing(copy):
    copy.edit("params/papers/can.yaml", "neighbours: 20", "neighbours: 10")
    evaluated = {
        job.name
        for job in plan.run_jobs(copy.project, headline_only=True)
        if job.slug == "can" and "knn" in job.run.evaluate
    }
    expected = {f"evaluate can/{name} seed 0" for name in evaluated}
    expected.update(*(readers(copy.project, name) for name in evaluated))
    assert expected >= {"evaluate can/can seed 0", "table can/imagenet"}
    assert copy.planned() == sorted(expected)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("report/build.py", ["report"]),
        ("report/style.css", ["report"]),
        ("tables.py", "tables"),
        ("track.py", ["track: results into MLflow"]),
        ("cli.py", []),
        ("status.py", []),
    ],
)
def test_source_reruns_only_the_step_whose_science_it_is(copy, source, expected):
    path = copy.root / "src/reprise" / source
    comment = "/* edited */" if source.endswith(".css") else "# edited"
    path.write_text(f"{path.read_text()}\n{comment}\n")
    if expected == "tables":
        everything = readers(copy.project, slug=None)
        expected = [job for job in everything if not job.startswith("claims")]
    assert copy.planned() == sorted(expected)


def test_source_of_training_reruns_everything_but_the_data(copy):
    path = copy.root / "src/reprise/training/loop.py"
    path.write_text(path.read_text() + "\n# edited\n")
    runs = every("train", copy.project) + every("evaluate", copy.project)
    benches = [
        f"benchmark {bench.key}"
        for bench in plan.benchmark_jobs(copy.project, headline_only=True)
        if any(source.match("training/loop.py") for source in bench.sources)
    ]
    assert "benchmark can/step" in benches
    printed = [  # of other people's numbers alone: nothing there was trained
        f"table {table.slug}/{table.name}"
        for table in plan.table_jobs(copy.project, headline_only=True)
        if not table.run_jobs and not table.benchmark_jobs
    ]
    assert "table deit3/recipes" in printed
    everything = {*runs, *benches, *readers(copy.project, slug=None)}
    assert copy.planned() == sorted(everything - set(printed))


def test_deleted_evaluation_is_made_again_though_the_table_stands(copy):
    (copy.project.results / "can/eval/can/seed0/gallery.npz").unlink()
    expected = ["evaluate can/can seed 0", *readers(copy.project, "can")]
    assert copy.planned() == sorted(expected)


def test_published_number_rebuilds_its_table_and_the_claims_beside_it(copy):
    published = copy.root / "params/published/can/imagenet1k.csv"
    published.write_text(published.read_text().replace("own", "their own", 1))
    assert copy.planned() == sorted(["claims can", "table can/imagenet", *LAST])


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_killed_driver_leaves_nothing_to_unlock_and_the_same_bytes_come_out(built, copy):
    weights = copy.project.results / "can/runs/can/seed0/model.safetensors"
    weights.unlink()
    target = str(weights.relative_to(copy.root))
    driver = subprocess.Popen(
        [sys.executable, "-m", "snakemake", target, "--cores", "2", "--config", "scale=smoke"],
        cwd=copy.root,
        env=copy.environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert driver.stderr is not None
    next(line for line in driver.stderr if "train can/can" in line)
    time.sleep(1)  # its trainer has begun and is orphaned by what follows
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    copy.snakemake(target, "--cores", "2")
    assert digest(weights) == digest(built.root / target)
