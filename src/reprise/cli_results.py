"""The verbs for what is finished: shown, recorded, and shared with others."""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reprise.cli_shared import (
    LogOption,
    PaperArgument,
    ScaleOption,
    open_project,
    snakemake_command,
)
from reprise.errors import StaleError

if TYPE_CHECKING:
    from reprise.config import Project

SharedArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[PAPER[/TABLE]]", help="a table stands for its paper; default: the whole scale"
    ),
]


def power(
    claims: Annotated[int, typer.Option(min=1, help="of a paper, corrected together")] = 6,
    seeds: Annotated[int, typer.Option(min=3, help="of every run")] = 3,
    repetitions: Annotated[int, typer.Option(min=100)] = 4000,
) -> None:
    """Simulate how often claims are supported where nothing is there, and where something is."""
    from reprise.power import report

    for line in report(claims, seeds, repetitions):
        typer.echo(line)


def show(
    name: Annotated[
        str, typer.Argument(metavar="[PAPER[/TABLE]]", help="PAPER/claims for its claims")
    ] = "",
    scale: ScaleOption = None,
    commands: Annotated[
        bool, typer.Option("--commands", help="with what makes each cell again")
    ] = False,
) -> None:
    """Print in the terminal what the report shows: the opening, a paper, its claims or a table."""
    from rich.console import Console

    from reprise.report.terminal import show as print_shown

    project = open_project(scale)
    try:
        print_shown(project, name, Console(), commands)
    except StaleError:
        raise StaleError(_how_to_see(project, name)) from None


def _how_to_see(project: "Project", name: str) -> str:
    """Say how what is not built, or no longer current, is had."""
    slug, _, table = name.partition("/")
    tables, scale = project.paper(slug).tables, project.scale.scale
    target = slug if table not in tables or tables[table].headline else "sweeps"
    known = Path("results/reference") / scale / slug
    reference = f"; {known}/ holds the reference results" if (project.root / known).is_dir() else ""
    return (
        f"{name} is not built at scale {scale}, or of other settings or results: "
        f"`{snakemake_command(project, target)}` builds it{reference}"
    )


def report(scale: ScaleOption = None, log: LogOption = None) -> None:
    """Build the HTML page, and report.md beside it, from whatever tables are there."""
    from reprise.progress import say
    from reprise.report.build import build

    say(f"report: {build(open_project(scale, log))}")


def snapshot(
    papers: Annotated[
        list[str] | None, typer.Argument(metavar="PAPER", help="default: every paper")
    ] = None,
    scale: ScaleOption = None,
    partial: Annotated[bool, typer.Option(help="write it though some rows were not run")] = False,
) -> None:
    """Write results/reference/<scale>/ from what `snakemake --cores all reference` built."""
    from reprise.progress import say
    from reprise.reference import snapshot as write_snapshot
    from reprise.rehearsal.project import refuse

    project = open_project(scale)
    refuse(project, "snapshot")
    say(f"reference: {write_snapshot(project, papers or (), not partial)}")


def track(
    scale: ScaleOption = None,
    rebuild: Annotated[bool, typer.Option(help="empty the store first")] = False,
    log: LogOption = None,
) -> None:
    """Project the finished tables and runs into MLflow; safe to repeat."""
    from reprise.progress import say
    from reprise.rehearsal.project import refuse
    from reprise.track import project_into_mlflow

    project = open_project(scale, log)
    if "MLFLOW_TRACKING_URI" in os.environ:  # its own store is below its own folder
        refuse(project, "track with MLFLOW_TRACKING_URI")
    counts = project_into_mlflow(project, rebuild)
    say("mlflow: " + ", ".join(f"{count} {what}" for what, count in counts.items()))


def rehearsal(
    scale: ScaleOption = None,
    since: Annotated[float | None, typer.Option(help="when it began, seconds since 1970")] = None,
    log: LogOption = None,
) -> None:
    """Say of every row whether `snakemake --config scale=... rehearse=true` ran all its steps."""
    from reprise.rehearsal import PREFIX, is_rehearsal
    from reprise.rehearsal.rows import write

    project = open_project(scale, log)
    if not is_rehearsal(project):
        project = open_project(f"{PREFIX}{project.scale.scale}", log)
    typer.echo(write(project, None if since is None else time.time() - since))


def ui(
    scale: ScaleOption = None, port: Annotated[int, typer.Option(help="port on loopback")] = 5000
) -> None:
    """Open MLflow's pages on 127.0.0.1."""
    from reprise.track import ui as serve

    serve(open_project(scale), port)


def metrics(paper: PaperArgument, scale: ScaleOption = None) -> None:
    """Write a paper's numbers and curves anew for `dvc metrics` and `dvc plots`."""
    from reprise.metrics import write
    from reprise.progress import say

    project = open_project(scale)
    project.paper(paper)
    say(f"{paper}: {write(project, paper)} files of metrics and plots")


def push(target: SharedArgument = None, scale: ScaleOption = None) -> None:
    """Record results in DVC and send them to its remote."""
    from reprise.rehearsal.project import refuse
    from reprise.sharing import push as push_results

    project = open_project(scale)
    refuse(project, "push")
    push_results(project, target)


def pull(
    target: SharedArgument = None,
    scale: ScaleOption = None,
    remote: Annotated[str | None, typer.Option(help="folder or URL instead of the default")] = None,
) -> None:
    """Fetch results from DVC's remote; accept as current only what present settings would make."""
    from reprise.rehearsal.project import refuse
    from reprise.sharing import pull as pull_results

    project = open_project(scale)
    refuse(project, "pull")
    pull_results(project, remote, target)


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    for verb in (power, show, report, snapshot, track, rehearsal, ui, metrics, push, pull):
        app.command()(verb)
