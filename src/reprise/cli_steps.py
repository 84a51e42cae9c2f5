"""The verbs that compute: each is a step that Snakemake calls, from data to claims."""

from pathlib import Path
from typing import Annotated

import typer

from reprise.cli_shared import (
    ExpectOption,
    LogOption,
    PaperArgument,
    RunArgument,
    ScaleOption,
    SeedOption,
    benchmark_job,
    open_project,
    refuse_stale,
    run_job,
    snakemake_command,
    table_job,
)
from reprise.errors import ConfigError


def data(
    name: Annotated[str, typer.Argument(help="alias in the scale file, or a public data set")],
    get: Annotated[
        bool, typer.Option("--get", help="download it, or say where to register")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="compare what is there with what should be")
    ] = False,
    pack: Annotated[
        bool, typer.Option("--pack", help="put photographs into few large files, for clusters")
    ] = False,
    root: Annotated[
        Path | None, typer.Option(help="--get, --check: its folder, instead of the scale's")
    ] = None,
    images: Annotated[
        int, typer.Option(min=0, help="--check: photographs to decode; 0 is all of them")
    ] = 100,
    keep_archives: Annotated[
        bool, typer.Option("--keep-archives", help="--get: keep them after unpacking")
    ] = False,
    scale: ScaleOption = None,
    log: LogOption = None,
) -> None:
    """Prepare and verify a data set, unless it is there already; or get, check or pack it."""
    from reprise.data import arguments, verbs
    from reprise.rehearsal import is_rehearsal

    project = open_project(scale, log)
    chosen = verbs.find(project, name, root)
    if chosen.alias is not None:
        datasets = project.scale.datasets.items()
        arguments.check(project, [alias for alias, one in datasets if one == chosen.alias])
    if is_rehearsal(project) and chosen.alias is not None:
        from reprise.rehearsal import miniatures

        miniatures.make(chosen.alias)
    if get:
        verbs.fetch(chosen, keep_archives)
    if check and not verbs.look(chosen, images or None):
        raise typer.Exit(1)
    if pack:
        verbs.pack_all(project, chosen)
    elif not (get or check):
        verbs.prepare(project, chosen)


def train(
    run: RunArgument,
    seed: SeedOption = None,
    scale: ScaleOption = None,
    expect: ExpectOption = None,
    log: LogOption = None,
) -> None:
    """Train a run, or go on where it stopped. Also under `torchrun -m reprise train ...`."""
    job = run_job(open_project(scale, log), run, seed)
    refuse_stale(expect, job.digest, job.key)
    from reprise.data import arguments

    arguments.check(job.project, [job.run.data])
    from reprise.rehearsal import is_rehearsal

    if is_rehearsal(job.project):
        from reprise.rehearsal.verbs import train as train_run
    else:
        from reprise.training.run import train as train_run
    train_run(job)
    if not is_rehearsal(job.project):
        from reprise.budget.after import say_cost

        say_cost(job)


def replay(run: RunArgument, seed: SeedOption = None, scale: ScaleOption = None) -> None:
    """Repeat the next step of an unfinished run from its checkpoint, to find a loss's NaN."""
    job = run_job(open_project(scale), run, seed)
    from reprise.training.run import replay as replay_run

    for name, value in replay_run(job).items():
        typer.echo(f"{name}: {value}")


def evaluate(
    run: RunArgument,
    seed: SeedOption = None,
    scale: ScaleOption = None,
    expect: ExpectOption = None,
    log: LogOption = None,
) -> None:
    """Evaluate a trained run with all its evaluators."""
    job = run_job(open_project(scale, log), run, seed)
    refuse_stale(expect, job.all_evals_digest, f"evaluations of {job.key}")
    from reprise.data import arguments

    evaluators = job.project.paper(job.slug).evaluators
    arguments.check(job.project, {evaluators[name].data for name in job.run.evaluate})
    from reprise.rehearsal import is_rehearsal

    if is_rehearsal(job.project):
        from reprise.rehearsal.verbs import evaluate as evaluate_run
    else:
        from reprise.evaluators._runner import evaluate as evaluate_run
    evaluate_run(job)


def benchmark(
    name: Annotated[str, typer.Argument(metavar="PAPER/BENCHMARK")],
    scale: ScaleOption = None,
    expect: ExpectOption = None,
    log: LogOption = None,
) -> None:
    """Measure what the training steps of several runs cost, in turns, on this machine."""
    job = benchmark_job(open_project(scale, log), name)
    refuse_stale(expect, job.digest, f"benchmark {name}")
    from reprise.rehearsal import is_rehearsal

    if is_rehearsal(job.project):
        from reprise.rehearsal.verbs import benchmark as run
    else:
        from reprise.bench import run
    run(job)


def table(
    name: Annotated[str, typer.Argument(metavar="PAPER/TABLE")],
    scale: ScaleOption = None,
    expect: ExpectOption = None,
    log: LogOption = None,
) -> None:
    """Build a table from finished evaluations, beside the published numbers."""
    job = table_job(open_project(scale, log), name)
    refuse_stale(expect, job.digest, f"table {name}")
    from reprise.progress import say
    from reprise.tables import build, load

    build(job)
    cells = [cell for row in load(job.outputs[2])["rows"] for cell in row["cells"].values()]
    if not any(cell["ours"] or cell["text"] for cell in cells):
        say(
            f"table {name}: nothing that it shows is built yet, so it has printed numbers alone: "
            f"`{snakemake_command(job.project, job.slug)}` builds what headline tables show"
        )


def claims(
    paper: PaperArgument,
    scale: ScaleOption = None,
    expect: ExpectOption = None,
    log: LogOption = None,
) -> None:
    """Say of each claim of a paper whether the finished evaluations bear it out."""
    from reprise.plan import ClaimsJob

    project = open_project(scale, log)
    if not project.paper(paper).claims:
        raise ConfigError(f"params/papers/{paper}.yaml has no claims")
    job = ClaimsJob(project, paper)
    refuse_stale(expect, job.digest, f"claims of {paper}")
    from reprise.claims import build

    build(job)


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    for verb in (data, train, replay, evaluate, benchmark, table, claims):
        app.command()(verb)
