"""The verbs that look at a workspace: its parameters, and what of it is built."""

import json
from pathlib import Path
from typing import Annotated

import typer

from reprise.cli_shared import ScaleOption, open_project


def check(
    scale: ScaleOption = None,
    networks: Annotated[
        bool, typer.Option("--networks", help="build every distinct network, too, without weights")
    ] = False,
) -> None:
    """Check all parameter files and published numbers, and say what they would build."""
    from reprise import plan, published
    from reprise.data import arguments

    project = open_project(scale)
    runs, tables = plan.run_jobs(project), plan.table_jobs(project)
    for job in tables:
        published.of_table(project, job.slug, job.name)
    arguments.check(project, project.scale.datasets)
    arguments.check_photographs(project)
    typer.echo(f"scale {project.scale.scale}: {project.scale.about}")
    counted = f"{len(project.papers)} papers, {len(runs)} runs, {len(tables)} tables"
    if networks:
        from reprise.networks import check as build_each

        counted += f", {build_each(project)} networks"
    typer.echo(f"{counted}: all valid")


def schema(
    write: Annotated[
        bool, typer.Option(help="write workflow/schemas/ instead of printing")
    ] = False,
) -> None:
    """Print, or write, the JSON schema of the parameter files."""
    from reprise.config import schemas
    from reprise.files import write_atomic

    for name, content in schemas().items():
        text = json.dumps(content, indent=2) + "\n"
        if write:
            write_atomic(Path("workflow/schemas") / name, text)
        else:
            typer.echo(text)


def status(scale: ScaleOption = None) -> None:
    """Say what is built, stale and missing."""
    from reprise.status import print_status

    print_status(open_project(scale))


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    for verb in (check, schema, status):
        app.command()(verb)
