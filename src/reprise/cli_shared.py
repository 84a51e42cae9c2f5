"""What several verbs share: options, and the jobs that names on the command line stand for."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from reprise.errors import ConfigError, StaleError, unknown

if TYPE_CHECKING:
    from reprise.config import Project
    from reprise.plan import BenchmarkJob, RunJob, TableJob

ScaleOption = Annotated[
    str | None, typer.Option("--scale", help="demo, smoke, ...; default: params/config.yaml")
]
SeedOption = Annotated[int | None, typer.Option("--seed", help="default: the run's first seed")]
LogOption = Annotated[Path | None, typer.Option("--log", help="also write messages here")]
ExpectOption = Annotated[
    str | None,
    typer.Option("--expect", help="digest that the planner saw; refuse if params/ changed since"),
]
RunArgument = Annotated[str, typer.Argument(metavar="PAPER/RUN")]
PaperArgument = Annotated[str, typer.Argument(metavar="PAPER")]


def open_project(scale: str | None, log: Path | None = None) -> "Project":
    """Read `params/` below the working folder at a scale; messages go to the log, too."""
    from reprise.config import load_project
    from reprise.progress import setup_logging

    setup_logging(log)
    return load_project(scale=scale)


def snakemake_command(project: "Project", target: str) -> str:
    """Return what builds a target at a project's scale, as typed."""
    scale = project.scale.scale
    of = scale.removeprefix("rehearsal/")
    switch = "" if of == scale else " rehearse=true"
    chosen = "" if scale == project.config.scale else f" --config scale={of}{switch}"
    return f"snakemake --cores all {target}{chosen}"


def run_job(project: "Project", name: str, seed: int | None) -> "RunJob":
    """Return the run that 'paper/run' stands for; ConfigError where it cannot be trained."""
    from reprise.plan import RunJob

    slug, run_name = _split(name, "run")
    run = project.run(slug, run_name)
    if run.kind == "cost":
        raise ConfigError(
            f"{name}: is there for what its steps cost (kind: cost), not for training"
        )
    if not run.is_built:
        raise ConfigError(
            f"{name}: scale {project.scale.scale} names no released weights for it: set papers."
            f"{slug}.runs.{run_name}.objective.weights in params/scales/{project.scale.scale}.yaml "
            "to a file or a timm tag"
        )
    if seed is not None and seed < 0:
        raise ConfigError(f"{name}: seed {seed}: must be 0 or more")
    return RunJob(project, slug, run_name, project.seeds(run)[0] if seed is None else seed)


def table_job(project: "Project", name: str) -> "TableJob":
    """Return the table that 'paper/table' stands for; ConfigError listing the known ones."""
    from reprise.plan import TableJob

    return TableJob(project, *_known(project, name, "table"))


def benchmark_job(project: "Project", name: str) -> "BenchmarkJob":
    """Return the benchmark that 'paper/name' stands for; ConfigError listing the known ones."""
    from reprise.plan import BenchmarkJob

    return BenchmarkJob(project, *_known(project, name, "benchmark"))


def _known(project: "Project", name: str, kind: Literal["table", "benchmark"]) -> tuple[str, str]:
    """Return slug and name of what a paper has of a kind; ConfigError where it has it not."""
    slug, rest = _split(name, kind)
    paper = project.paper(slug)
    known = list(paper.tables if kind == "table" else paper.benchmarks)
    if rest not in known:
        raise ConfigError(unknown(f"{kind} of {slug}", rest, known))
    return slug, rest


def _split(name: str, kind: str) -> tuple[str, str]:
    """Return slug and name of 'paper/name'; ConfigError showing how it is written."""
    slug, slash, rest = name.partition("/")
    if not slash or not rest:
        raise ConfigError(f"{name!r}: write paper/{kind}, for example can/{kind}-name")
    return slug, rest


def refuse_stale(expected: str | None, present: str, what: str) -> None:
    """Raise StaleError where a job's digest is no longer the one that the planner saw."""
    if expected is not None and expected != present:
        raise StaleError(
            f"{what}: params/ or the sources changed after the plan was made "
            f"(planned {expected[:12]}, now {present[:12]}); start the workflow again"
        )
