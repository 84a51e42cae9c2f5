"""What there is to build, where each file lies, and the digest that says what it is made from.

Nothing here imports torch: the workflow, `status` and `pull` ask these questions often.
"""

from reprise.config import Project
from reprise.plan.benchmarks import BenchmarkJob
from reprise.plan.cells import SWEEP_ROW, CellsJob, ClaimsJob, TableJob
from reprise.plan.runs import RunJob, data_folder, dataset_spec, given, split_run
from reprise.plan.sizes import resized

__all__ = [
    "SWEEP_ROW",
    "BenchmarkJob",
    "CellsJob",
    "ClaimsJob",
    "RunJob",
    "TableJob",
    "benchmark_jobs",
    "claims_jobs",
    "data_folder",
    "dataset_spec",
    "given",
    "resized",
    "run_jobs",
    "split_run",
    "table_jobs",
]


def run_jobs(project: Project, headline_only: bool = False) -> list[RunJob]:
    """Return every run with every seed, in the order of the files."""
    return [
        RunJob(project, slug, name, seed)
        for slug, name, run, seed in project.all_runs()
        if run.headline or not headline_only
    ]


def table_jobs(project: Project, headline_only: bool = False) -> list[TableJob]:
    """Return every table of every paper, in the order of the files."""
    return [
        TableJob(project, slug, name)
        for slug, paper in project.papers.items()
        for name, table in paper.tables.items()
        if table.headline or not headline_only
    ]


def claims_jobs(project: Project) -> list[ClaimsJob]:
    """Return the claims of every paper that has any, in the order of the files."""
    return [ClaimsJob(project, slug) for slug, paper in project.papers.items() if paper.claims]


def benchmark_jobs(project: Project, headline_only: bool = False) -> list[BenchmarkJob]:
    """Return every benchmark of every paper, in the order of the files.

    Headline ones are those that a headline table or a claim reads; others come with the sweeps.
    """
    readers = [*table_jobs(project, headline_only=True), *claims_jobs(project)]
    headline = {job.key for reader in readers for job in reader.benchmark_jobs}
    jobs = [
        BenchmarkJob(project, slug, name)
        for slug, paper in project.papers.items()
        for name in paper.benchmarks
    ]
    return [job for job in jobs if not headline_only or job.key in headline]
