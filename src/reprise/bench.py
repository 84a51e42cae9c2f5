"""Speed on this machine: interleaved repeats, medians, and the share of what GEMM allows."""

import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.table import Table

from reprise.config import Project, Run
from reprise.data.transforms import augment
from reprise.flops import multiply_adds, on_meta
from reprise.registry import load
from reprise.training.loop import autocast, resolve_precision
from reprise.training.method import Batch
from reprise.training.optim import build_optimizer
from reprise.training.run import processor
from reprise.training.seeding import Draws, Key

TRAINING_PASSES = 3  # forward, and twice as much backward


def gemm_peak(precision: str, seconds: float = 1.0) -> float:
    """Return the FLOP/s of a square matrix product of 1536, the best of repeats."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = torch.randn(2, 1536, 1536, dtype=dtype).unbind()
    best, until = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < until:
        started = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - started)
    return 2 * 1536**3 / best


@dataclass
class Contender:
    """One method with its training step, and the seconds that repeats of it took."""

    name: str
    run: Run
    step: Callable[[int], None]
    seconds: list[float]


def training_step(run: Run, channels: int, precision: str) -> Callable[[int], None]:
    """Return a function that does one full training step on random images: augment to update."""
    torch.manual_seed(0)
    method = load("method", run.method).build(run, 10, channels)
    optimizer = build_optimizer(method, run.optim)
    size, count = run.augment.size, run.batch_size
    images = torch.randint(0, 256, (count, channels, size, size), dtype=torch.uint8)
    labels, cpu = torch.zeros(count, dtype=torch.long), torch.device("cpu")

    def step(number: int) -> None:
        draws = Draws(Key(("bench", number)), count)
        views = tuple(
            augment(images, run.augment, draws.fold("view", view))
            for view in range(method.num_views)
        )
        with autocast(precision, cpu):
            loss = method(Batch(views, labels, labels), draws)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def training(project: Project, slug: str, names: Sequence[str], seconds: float) -> None:
    """Print images/s of a paper's runs side by side, measured in turns; ratios to the first."""
    torch.set_num_threads(project.scale.threads)
    runs = {name: project.run(slug, name) for name in names}
    first = runs[names[0]]
    precision = resolve_precision(first.precision, torch.device("cpu"))
    channels = int(first.model.args.get("in_chans", 3))
    peak = gemm_peak(precision)
    contenders = [
        Contender(name, run, training_step(run, channels, precision), [])
        for name, run in runs.items()
    ]
    for contender in contenders:
        contender.step(0)
    until, number = time.perf_counter() + seconds * len(contenders), 0
    while time.perf_counter() < until or number < 5:
        number += 1
        for contender in contenders:
            started = time.perf_counter()
            contender.step(number)
            contender.seconds.append(time.perf_counter() - started)
    _print(project, contenders, channels, precision, peak)


def _print(
    project: Project, contenders: list[Contender], channels: int, precision: str, peak: float
) -> None:
    console = Console()
    console.print(
        f"scale {project.scale.scale}, {precision}, {project.scale.threads} threads, "
        f"torch {torch.__version__}, {processor(torch.device('cpu'))}, {platform.system()}; "
        f"GEMM peak {peak / 1e9:,.0f} GFLOP/s; {len(contenders[0].seconds)} repeats in turns"
    )
    first = contenders[0].name
    table = Table(
        "run", "images/s", "spread", "MFLOP/image", "share of peak", f"{first} is faster by"
    )
    base = contenders[0].seconds
    for contender in contenders:
        method = on_meta(contender.run, 10, channels)
        size, batch = contender.run.augment.size, contender.run.batch_size
        flops = 2 * TRAINING_PASSES * multiply_adds(method, channels, size, batch)
        median = statistics.median(contender.seconds)
        # Round by round, so that a machine whose speed drifts does not tilt the comparison.
        ratios = [own / reference for own, reference in zip(contender.seconds, base, strict=True)]
        low, high = min(contender.seconds), max(contender.seconds)
        table.add_row(
            contender.name,
            f"{batch / median:,.0f}",
            f"{batch / high:,.0f} to {batch / low:,.0f}",
            f"{flops / 1e6:,.1f}",
            f"{100 * flops * batch / median / peak:.0f} %",
            f"{statistics.median(ratios):.2f}x",
        )
    console.print(table)
