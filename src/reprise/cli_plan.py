"""The verbs that cost nothing: what a scale would take, and what its licences allow."""

from typing import Annotated

import typer

from reprise.cli_shared import open_project
from reprise.errors import ConfigError

# Names other scales than `cli_shared` does: those that one plans before one pays.
ScaleOption = Annotated[
    str | None, typer.Option("--scale", help="demo, gpu, paper, ...; default: params/config.yaml")
]
JsonOption = Annotated[bool, typer.Option("--json", help="as JSON, numbers in plain units")]
CsvOption = Annotated[bool, typer.Option("--csv", help="as CSV")]


def plan(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[PAPER | PAPER/TABLE | PAPER/TABLE/ROW | PAPER/RUN]", help="default: all"
        ),
    ] = None,
    scale: ScaleOption = None,
    gpus: Annotated[int, typer.Option(min=1, help="GPUs, or jobs on this machine, at once")] = 1,
    on: Annotated[
        str | None,
        typer.Option("--on", help="machine in params/catalogue.yaml, such as h100, a100, here"),
    ] = None,
    peak: Annotated[
        float | None, typer.Option(help="TFLOP/s of dense bf16 products, instead of the machine's")
    ] = None,
    utilisation: Annotated[
        float | None, typer.Option(help="share of the peak that training reaches, 0 to 1")
    ] = None,
    headline: Annotated[bool, typer.Option("--headline", help="leave sweep rows out")] = False,
    json: JsonOption = False,
    csv: CsvOption = False,
) -> None:
    """Say what rows would cost before they run, from counted FLOPs; needs no data and no GPU."""
    from reprise.budget import catalogue, machines, show
    from reprise.budget.counts import Counts
    from reprise.budget.forecast import Forecaster
    from reprise.budget.work import Work

    _one_format(json, csv)
    project = open_project(scale)
    known = catalogue.read(project.root)
    speed = machines.choose(project, known, on, peak, utilisation)
    with Counts(project) as counts:
        forecaster = Forecaster(Work(project, known, counts), speed, gpus)
        made = forecaster.forecast(target, headline)
    if json:
        typer.echo(show.as_json(made))
    elif csv:
        typer.echo(show.as_csv(made), nl=False)
    else:
        show.print_plan(made)


def licences(
    scale: ScaleOption = None,
    json: JsonOption = False,
    csv: CsvOption = False,
) -> None:
    """List data sets, released weights and packages with their licences and what they allow."""
    from reprise.budget import catalogue
    from reprise.budget.licences import as_csv, as_json, of, print_licences

    _one_format(json, csv)
    project = open_project(scale)
    found = of(project, catalogue.read(project.root))
    if json:
        typer.echo(as_json(found))
    elif csv:
        typer.echo(as_csv(found), nl=False)
    else:
        print_licences(found)


def _one_format(json: bool, csv: bool) -> None:
    if json and csv:
        raise ConfigError("--json and --csv: give one of them")


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    for verb in (plan, licences):
        app.command()(verb)
