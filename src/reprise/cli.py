"""The verbs. Each works without Snakemake; heavy imports wait until a verb needs them."""

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reprise import cli_plan
from reprise.errors import ConfigError, StaleError, unknown

if TYPE_CHECKING:
    from reprise.config import Project
    from reprise.plan import BenchmarkJob, RunJob, TableJob

app = typer.Typer(
    help="Vision papers rebuilt by one command, beside the numbers they printed. "
    "`snakemake --cores all` calls these verbs in the right order.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
bench = typer.Typer(help="Measure speed on this machine.", no_args_is_help=True)
app.add_typer(bench, name="bench")
convert = typer.Typer(
    help="Released weights that timm cannot load by itself.", no_args_is_help=True
)
app.add_typer(convert, name="convert")
cli_plan.register(app)

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
SharedArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[PAPER[/TABLE]]", help="a table stands for its paper; default: the whole scale"
    ),
]
TableArgument = Annotated[str, typer.Argument(metavar="PAPER/TABLE")]


def _project(scale: str | None, log: Path | None = None) -> "Project":
    from reprise.config import load_project
    from reprise.progress import setup_logging

    setup_logging(log)
    return load_project(scale=scale)


def _split(name: str, kind: str) -> tuple[str, str]:
    slug, slash, rest = name.partition("/")
    if not slash or not rest:
        raise ConfigError(f"{name!r}: write paper/{kind}, for example can/{kind}-name")
    return slug, rest


def _run_job(project: "Project", name: str, seed: int | None) -> "RunJob":
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


def _table_job(project: "Project", name: str) -> "TableJob":
    from reprise.plan import TableJob

    slug, table = _split(name, "table")
    tables = project.paper(slug).tables
    if table not in tables:
        raise ConfigError(unknown(f"table of {slug}", table, tables))
    return TableJob(project, slug, table)


def _benchmark_job(project: "Project", name: str) -> "BenchmarkJob":
    from reprise.plan import BenchmarkJob

    slug, benchmark = _split(name, "benchmark")
    benchmarks = project.paper(slug).benchmarks
    if benchmark not in benchmarks:
        raise ConfigError(unknown(f"benchmark of {slug}", benchmark, benchmarks))
    return BenchmarkJob(project, slug, benchmark)


def _expect(expected: str | None, present: str, what: str) -> None:
    if expected is not None and expected != present:
        raise StaleError(
            f"{what}: params/ or the sources changed after the plan was made "
            f"(planned {expected[:12]}, now {present[:12]}); start the workflow again"
        )


@app.command()
def check(scale: ScaleOption = None) -> None:
    """Check all parameter files and published numbers, and say what they would build."""
    from reprise import plan, published

    project = _project(scale)
    runs, tables = plan.run_jobs(project), plan.table_jobs(project)
    for job in tables:
        published.of_table(project, job.slug, job.name)
    typer.echo(f"scale {project.scale.scale}: {project.scale.about}")
    typer.echo(f"{len(project.papers)} papers, {len(runs)} runs, {len(tables)} tables: all valid")


@app.command()
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


@app.command()
def status(scale: ScaleOption = None) -> None:
    """Say what is built, stale and missing."""
    from reprise.status import print_status

    print_status(_project(scale))


@app.command()
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
    from reprise.data import verbs
    from reprise.rehearsal import is_rehearsal

    project = _project(scale, log)
    chosen = verbs.find(project, name, root)
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


@app.command()
def train(
    run: RunArgument,
    seed: SeedOption = None,
    scale: ScaleOption = None,
    expect: ExpectOption = None,
    log: LogOption = None,
) -> None:
    """Train a run, or go on where it stopped. Also under `torchrun -m reprise train ...`."""
    job = _run_job(_project(scale, log), run, seed)
    _expect(expect, job.digest, job.key)
    from reprise.rehearsal import is_rehearsal
    from reprise.training.run import train as train_run

    if is_rehearsal(job.project):
        from reprise.rehearsal import stand_ins

        stand_ins.make(job)
    train_run(job)
    if not is_rehearsal(job.project):
        from reprise.budget.after import say_cost

        say_cost(job)


@app.command()
def replay(run: RunArgument, seed: SeedOption = None, scale: ScaleOption = None) -> None:
    """Repeat the next step of an unfinished run from its checkpoint, to find a loss's NaN."""
    job = _run_job(_project(scale), run, seed)
    from reprise.training.run import replay as replay_run

    for name, value in replay_run(job).items():
        typer.echo(f"{name}: {value}")


@app.command()
def evaluate(
    run: RunArgument,
    seed: SeedOption = None,
    scale: ScaleOption = None,
    expect: ExpectOption = None,
    log: LogOption = None,
) -> None:
    """Evaluate a trained run with all its evaluators."""
    job = _run_job(_project(scale, log), run, seed)
    _expect(expect, job.all_evals_digest, f"evaluations of {job.key}")
    from reprise.evaluators._runner import evaluate as evaluate_run

    evaluate_run(job)


@app.command()
def benchmark(
    name: Annotated[str, typer.Argument(metavar="PAPER/BENCHMARK")],
    scale: ScaleOption = None,
    expect: ExpectOption = None,
    log: LogOption = None,
) -> None:
    """Measure what the training steps of several runs cost, in turns, on this machine."""
    job = _benchmark_job(_project(scale, log), name)
    _expect(expect, job.digest, f"benchmark {name}")
    from reprise.bench import run

    run(job)


@app.command()
def table(
    name: TableArgument,
    scale: ScaleOption = None,
    expect: ExpectOption = None,
    log: LogOption = None,
) -> None:
    """Build a table from finished evaluations, beside the published numbers."""
    job = _table_job(_project(scale, log), name)
    _expect(expect, job.digest, f"table {name}")
    from reprise.tables import build

    build(job)


@app.command()
def claims(
    paper: Annotated[str, typer.Argument(metavar="PAPER")],
    scale: ScaleOption = None,
    expect: ExpectOption = None,
    log: LogOption = None,
) -> None:
    """Say of each claim of a paper whether the finished evaluations bear it out."""
    from reprise.plan import ClaimsJob

    project = _project(scale, log)
    if not project.paper(paper).claims:
        raise ConfigError(f"params/papers/{paper}.yaml has no claims")
    job = ClaimsJob(project, paper)
    _expect(expect, job.digest, f"claims of {paper}")
    from reprise.claims import build

    build(job)


@app.command()
def power(
    claims: Annotated[int, typer.Option(min=1, help="of a paper, corrected together")] = 6,
    seeds: Annotated[int, typer.Option(min=3, help="of every run")] = 3,
    repetitions: Annotated[int, typer.Option(min=100)] = 4000,
) -> None:
    """Simulate how often claims are supported where nothing is there, and where something is."""
    from reprise.power import report

    for line in report(claims, seeds, repetitions):
        typer.echo(line)


@app.command()
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

    print_shown(_project(scale), name, Console(), commands)


@app.command()
def report(scale: ScaleOption = None, log: LogOption = None) -> None:
    """Build the HTML page, and report.md beside it, from whatever tables are there."""
    from reprise.progress import say
    from reprise.report.build import build

    say(f"report: {build(_project(scale, log))}")


@app.command()
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

    project = _project(scale)
    refuse(project, "snapshot")
    say(f"reference: {write_snapshot(project, papers or (), not partial)}")


@app.command()
def track(
    scale: ScaleOption = None,
    rebuild: Annotated[bool, typer.Option(help="empty the store first")] = False,
    log: LogOption = None,
) -> None:
    """Project the finished tables and runs into MLflow; safe to repeat."""
    from reprise.progress import say
    from reprise.rehearsal.project import refuse
    from reprise.track import project_into_mlflow

    project = _project(scale, log)
    if "MLFLOW_TRACKING_URI" in os.environ:  # its own store is below its own folder
        refuse(project, "track with MLFLOW_TRACKING_URI")
    counts = project_into_mlflow(project, rebuild)
    say("mlflow: " + ", ".join(f"{count} {what}" for what, count in counts.items()))


@app.command()
def rehearsal(
    scale: ScaleOption = None,
    since: Annotated[float | None, typer.Option(help="when it began, seconds since 1970")] = None,
    log: LogOption = None,
) -> None:
    """Say of every row whether `snakemake --config scale=... rehearse=true` ran all its steps."""
    from reprise.rehearsal import PREFIX, is_rehearsal
    from reprise.rehearsal.rows import write

    project = _project(scale, log)
    if not is_rehearsal(project):
        project = _project(f"{PREFIX}{project.scale.scale}", log)
    typer.echo(write(project, None if since is None else time.time() - since))


@app.command()
def ui(
    scale: ScaleOption = None, port: Annotated[int, typer.Option(help="port on loopback")] = 5000
) -> None:
    """Open MLflow's pages on 127.0.0.1."""
    from reprise.track import ui as serve

    serve(_project(scale), port)


@app.command()
def metrics(
    paper: Annotated[str, typer.Argument(metavar="PAPER")], scale: ScaleOption = None
) -> None:
    """Write a paper's numbers and curves anew for `dvc metrics` and `dvc plots`."""
    from reprise.metrics import write
    from reprise.progress import say

    project = _project(scale)
    project.paper(paper)
    say(f"{paper}: {write(project, paper)} files of metrics and plots")


@app.command()
def push(target: SharedArgument = None, scale: ScaleOption = None) -> None:
    """Record results in DVC and send them to its remote."""
    from reprise.rehearsal.project import refuse
    from reprise.sharing import push as push_results

    project = _project(scale)
    refuse(project, "push")
    push_results(project, target)


@app.command()
def pull(
    target: SharedArgument = None,
    scale: ScaleOption = None,
    remote: Annotated[str | None, typer.Option(help="folder or URL instead of the default")] = None,
) -> None:
    """Fetch results from DVC's remote; accept as current only what present settings would make."""
    from reprise.rehearsal.project import refuse
    from reprise.sharing import pull as pull_results

    project = _project(scale)
    refuse(project, "pull")
    pull_results(project, remote, target)


@convert.command("litv2")
def convert_litv2(
    file: Annotated[Path, typer.Argument(help="the authors' file of weights")],
    out: Annotated[Path | None, typer.Option(help="default: beside it, .safetensors")] = None,
) -> None:
    """Bring a released file of LITv2 to names that timm loads, without running code from it."""
    from reprise.models.convert import convert as convert_file

    done = convert_file(file)
    target = out or file.with_suffix(".safetensors")
    done.write(target)
    typer.echo(f"{target}: {done.name}, arguments {done.args}")


@bench.command("can")
def bench_can(
    scale: ScaleOption = None,
    seconds: Annotated[float, typer.Option(help="measuring time for each method")] = 10.0,
) -> None:
    """Training speed of CAN, MAE and SimCLR at a scale's size, and the share of GEMM peak."""
    from reprise.bench import show
    from reprise.plan import BenchmarkJob

    show(BenchmarkJob(_project(scale), "can", "step", seconds))


@bench.command("data")
def bench_data(
    root: Annotated[
        str | None, typer.Option(help="folder of train/<class>/; default: the scale's")
    ] = None,
    size: Annotated[int | None, typer.Option(min=8, help="side of the decoded images")] = None,
    images: Annotated[int, typer.Option(min=2, help="images to decode in a round")] = 2000,
    seconds: Annotated[float, typer.Option(help="measuring time in all")] = 10.0,
    scale: ScaleOption = None,
) -> None:
    """Images per second and core: decoding, against Pillow's own speed, and augmentation."""
    from reprise.bench_data import show

    show(_project(scale), root, size, images, seconds)


@bench.command("photos")
def bench_photos(
    root: Annotated[Path, typer.Argument(help="folder of photographs, at any depth")],
    size: Annotated[int, typer.Option(min=8, help="side of the images that are made")] = 224,
    images: Annotated[int, typer.Option(min=2, help="photographs of a round")] = 128,
    seconds: Annotated[float, typer.Option(help="measuring time in all")] = 20.0,
) -> None:
    """Images per second and core of photographs that stay files, against pure JPEG decoding."""
    from reprise.bench_photos import show
    from reprise.progress import setup_logging

    setup_logging()
    show(root, size, images, seconds)


@bench.command("caption")
def bench_caption(
    images: Annotated[int, typer.Option(min=1, help="images decoded at once")] = 60,
    layers: Annotated[int, typer.Option(min=1, help="of the language model")] = 4,
    width: Annotated[int, typer.Option(min=1, help="of the language model")] = 256,
    heads: Annotated[int, typer.Option(min=1, help="of the language model")] = 4,
    prefix: Annotated[int, typer.Option(min=1, help="vectors that stand for the image")] = 4,
    gpt2: Annotated[
        bool, typer.Option("--gpt2", help="GPT-2 small's sizes and a prefix of 40 instead")
    ] = False,
    beams: Annotated[int, typer.Option(min=1, help="hypotheses that are followed")] = 5,
    longest: Annotated[int, typer.Option(min=2, help="tokens of each caption")] = 67,
    seconds: Annotated[float, typer.Option(help="measuring time in all")] = 30.0,
    threads: Annotated[int, typer.Option(min=1, help="of torch, for both searches")] = 2,
) -> None:
    """Captions per second: batched beam search with a cache, against a plain one without."""
    from reprise.bench_caption import GPT2, Sizes, show
    from reprise.progress import setup_logging

    setup_logging()
    sizes = GPT2 if gpt2 else Sizes(layers, width, heads, prefix)
    show(sizes, images, beams, longest, seconds, threads)


@bench.command("augment")
def bench_augment(
    size: Annotated[
        int | None, typer.Option(min=8, help="side of the images; default: the recipe's")
    ] = None,
    images: Annotated[int, typer.Option(min=1, help="images of a batch")] = 256,
    seconds: Annotated[float, typer.Option(help="measuring time in all")] = 20.0,
    scale: ScaleOption = None,
) -> None:
    """Images per second of batched 3-Augment against timm's, and its share of a training step."""
    from reprise.bench_augment import show
    from reprise.bench_recipe import step_without_augmentation

    run = _project(scale).run("deit3", "deit3")
    with step_without_augmentation(run, images) as step:
        show(size or run.objective["image"]["size"], images, seconds, step=step)


@bench.command("loop")
def bench_loop(
    run: Annotated[str, typer.Option(help="run of DeiT III whose model is trained")] = "official-s",
    batch_size: Annotated[int, typer.Option(min=2, help="images of a step, even")] = 16,
    classes: Annotated[int, typer.Option(min=2)] = 1000,
    seconds: Annotated[float, typer.Option(help="measuring time in all")] = 60.0,
    scale: ScaleOption = None,
) -> None:
    """A training step of a recipe in our loop against a bare one of timm, on ready images."""
    from reprise.bench_recipe import show

    project = _project(scale)
    show(project.run("deit3", run), project.scale.threads, batch_size, classes, seconds)
