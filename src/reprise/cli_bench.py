"""The verbs of `reprise bench`: speed on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from reprise.cli_shared import ScaleOption, open_project

SecondsOption = Annotated[float, typer.Option(help="measuring time in all")]


def can(
    scale: ScaleOption = None,
    seconds: Annotated[float, typer.Option(help="measuring time for each method")] = 10.0,
) -> None:
    """Training speed of CAN, MAE and SimCLR at a scale's size, and the share of GEMM peak."""
    from reprise.bench import show
    from reprise.plan import BenchmarkJob

    show(BenchmarkJob(open_project(scale), "can", "step", seconds))


def data(
    root: Annotated[
        str | None, typer.Option(help="folder of train/<class>/; default: the scale's")
    ] = None,
    size: Annotated[int | None, typer.Option(min=8, help="side of the decoded images")] = None,
    images: Annotated[int, typer.Option(min=2, help="images to decode in a round")] = 2000,
    seconds: SecondsOption = 10.0,
    scale: ScaleOption = None,
) -> None:
    """Images per second and core: decoding, against Pillow's own speed, and augmentation."""
    from reprise.bench_data import show

    show(open_project(scale), root, size, images, seconds)


def photos(
    root: Annotated[Path, typer.Argument(help="folder of photographs, at any depth")],
    size: Annotated[int, typer.Option(min=8, help="side of the images that are made")] = 224,
    images: Annotated[int, typer.Option(min=2, help="photographs of a round")] = 128,
    seconds: SecondsOption = 20.0,
) -> None:
    """Images per second and core of photographs that stay files, against pure JPEG decoding."""
    from reprise.bench_photos import show
    from reprise.progress import setup_logging

    setup_logging()
    show(root, size, images, seconds)


def caption(
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
    seconds: SecondsOption = 30.0,
    threads: Annotated[int, typer.Option(min=1, help="of torch, for both searches")] = 2,
) -> None:
    """Captions per second: batched beam search with a cache, against a plain one without."""
    from reprise.bench_caption import GPT2, Sizes, show
    from reprise.progress import setup_logging

    setup_logging()
    sizes = GPT2 if gpt2 else Sizes(layers, width, heads, prefix)
    show(sizes, images, beams, longest, seconds, threads)


def augment(
    size: Annotated[
        int | None, typer.Option(min=8, help="side of the images; default: the recipe's")
    ] = None,
    images: Annotated[int, typer.Option(min=1, help="images of a batch")] = 256,
    seconds: SecondsOption = 20.0,
    scale: ScaleOption = None,
) -> None:
    """Images per second of batched 3-Augment against timm's, and its share of a training step."""
    from reprise.bench_augment import show
    from reprise.bench_recipe import step_without_augmentation

    run = open_project(scale).run("deit3", "deit3")
    with step_without_augmentation(run, images) as step:
        show(size or run.objective["image"]["size"], images, seconds, step=step)


def loop(
    run: Annotated[str, typer.Option(help="run of DeiT III whose model is trained")] = "official-s",
    batch_size: Annotated[int, typer.Option(min=2, help="images of a step, even")] = 16,
    classes: Annotated[int, typer.Option(min=2)] = 1000,
    seconds: SecondsOption = 60.0,
    scale: ScaleOption = None,
) -> None:
    """A training step of a recipe in our loop against a bare one of timm, on ready images."""
    from reprise.bench_recipe import show

    project = open_project(scale)
    show(project.run("deit3", run), project.scale.threads, batch_size, classes, seconds)


def training(
    runs: Annotated[list[str], typer.Argument(metavar="PAPER/RUN...", help="that train on images")],
    images: Annotated[int, typer.Option(min=2, help="at once, or fewer where they fit not")] = 256,
    seconds: Annotated[float, typer.Option(help="measuring time for each run")] = 5.0,
    json: Annotated[bool, typer.Option("--json", help="as JSON, numbers in plain units")] = False,
    scale: ScaleOption = None,
) -> None:
    """A training step at a scale's size: share of the peak, memory beside the planned one."""
    from json import dumps

    from reprise.bench_training import print_table, record, steps
    from reprise.progress import setup_logging

    setup_logging()
    found = steps(open_project(scale), runs, seconds, images)
    if json:
        typer.echo(dumps(record(found), indent=2))
    else:
        print_table(found)


def register(app: typer.Typer) -> None:
    """Add the group of verbs to the command line."""
    bench = typer.Typer(help="Measure speed on this machine.", no_args_is_help=True)
    for verb in (can, data, photos, caption, augment, loop, training):
        bench.command()(verb)
    app.add_typer(bench, name="bench")
