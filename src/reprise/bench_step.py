"""What training steps cost: several runs, step by step in turns."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from rich.console import RenderableType
from rich.table import Table
from torch import Tensor

from reprise.bench import Arrays, Measured, entry, gemm, gemm_peak, timed, values_of
from reprise.config import Json, Run
from reprise.data.transforms import augment
from reprise.errors import ConfigError
from reprise.flops import multiply_adds, on_meta
from reprise.models.attention import choose_attention
from reprise.plan import BenchmarkJob
from reprise.progress import bar
from reprise.registry import load
from reprise.settings.base import Augment
from reprise.training import distributed
from reprise.training.loop import autocast, resolve_precision
from reprise.training.method import Batch, StandIn
from reprise.training.optim import build_optimizer
from reprise.training.run import processor, set_determinism
from reprise.training.seeding import Draws, Key

FEWEST_ROUNDS = 5
CLASSES = tuple(map(str, range(10)))  # of the random labels; no cost depends on them


@dataclass
class Contender:
    """One run with its training step, and the seconds that repeats of it took."""

    name: str
    run: Run
    step: Callable[[int], None]
    seconds: list[float] = field(default_factory=list)


def augmentation(run: Run) -> Augment:
    """Return how a run augments; ConfigError where its samples are no images to make up."""
    if run.augment is None:
        raise ConfigError(f"a benchmark makes up images, and {run.method!r} trains on none")
    return run.augment


def training_step(
    run: Run, channels: int, precision: str, device: torch.device
) -> Callable[[int], None]:
    """Return a function that does one full training step on random images: augment to update."""
    torch.manual_seed(0)
    subject, settings = StandIn(CLASSES, channels), augmentation(run)
    method = load("method", run.method).build(run, subject).to(device).train()
    choose_attention(method, device)
    optimizer = build_optimizer(method, run.optim)
    size, count = settings.size, run.batch_size
    shape = (count, channels, size, size)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, device=device)
    labels = torch.zeros(count, dtype=torch.long, device=device)

    def step(number: int) -> None:
        draws = Draws(Key(("bench", number)), count, device=device)
        views = tuple(
            augment(images, settings, draws.fold("view", view)) for view in range(method.num_views)
        )
        with autocast(precision, device):
            loss = method(Batch(views, labels, labels), draws)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def saved_megabytes(step: Callable[[int], None]) -> float:
    """Return the MB of different storages that one step keeps for its backward pass.

    Parameters are among them; a device's allocator and libraries' work space are not.
    """
    storages: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        step(0)
    return sum(storages.values()) / 1e6


def take_turns(contenders: list[Contender], seconds: float, device: torch.device) -> None:
    """Time steps of all contenders in turns, for about so many seconds each."""
    total = seconds * len(contenders)
    until, number = time.perf_counter() + total, 0
    with bar("benchmark", int(total), unit="s") as shown:
        while time.perf_counter() < until or number < FEWEST_ROUNDS:
            number += 1
            for contender in contenders:
                taken = timed(lambda c=contender, n=number: c.step(n), device)  # type: ignore[misc]
                contender.seconds.append(taken)
            shown.advance(max(0, int(total - max(0.0, until - time.perf_counter())) - shown.done))


def measure(job: BenchmarkJob) -> Measured:
    """Return what the runs' training steps cost.

    Per run: `forward_macs` and `step_macs` (millions of multiply-adds per image, forward alone and
    with backward), both also relative to the first run, `saved_mb` per step, `images_per_second`,
    and `relative_seconds`, round by round against the first run.
    """
    set_determinism(job.threads)
    with distributed.world(job.project.config.device) as world:
        runs = {name: job.project.run(job.slug, name) for name in job.benchmark.runs}
        first = next(iter(runs.values()))
        precision = resolve_precision(job.benchmark.precision or first.precision, world.device)
        channels = int(first.model.args.get("in_chans", 3))
        peak = gemm_peak(gemm(precision, world.device), world.device)
        contenders = [
            Contender(name, run, training_step(run, channels, precision, world.device))
            for name, run in runs.items()
        ]
        saved = {one.name: saved_megabytes(one.step) for one in contenders}
        take_turns(contenders, job.benchmark.seconds, world.device)
        machine = {
            "processor": processor(world.device),
            "precision": precision,
            "threads": torch.get_num_threads(),
            "gemm_gflops": peak / 1e9,
        }
    arrays: Arrays = {}
    metrics = {
        one.name: _metrics(one, contenders[0], channels, saved[one.name], arrays)
        for one in contenders
    }
    return Measured(metrics, arrays, machine)


def _metrics(
    one: Contender, first: Contender, channels: int, saved: float, arrays: Arrays
) -> list[Json]:
    forward, step = _macs(one.run, channels)
    base_forward, base_step = _macs(first.run, channels)
    seconds = np.array(one.seconds)
    measured = {
        "forward_macs": ("mean", [forward / 1e6]),
        "relative_forward_macs": ("mean", [forward / base_forward]),
        "step_macs": ("mean", [step / 1e6]),
        "relative_step_macs": ("mean", [step / base_step]),
        "saved_mb": ("mean", [saved]),
        "images_per_second": ("median", one.run.batch_size / seconds),
        "relative_seconds": ("median", seconds / np.array(first.seconds)),
    }
    return [entry(arrays, one.name, name, how, values) for name, (how, values) in measured.items()]


def _macs(run: Run, channels: int) -> tuple[float, float]:
    method, size = on_meta(run, StandIn(CLASSES, channels)), augmentation(run).size
    forward = multiply_adds(method, channels, size)
    return forward, multiply_adds(method, channels, size, backward=True)


def in_words(values: dict[str, float]) -> str:
    """Return a run's main numbers in a line."""
    speed, ratio = values["images_per_second"], values["relative_seconds"]
    return f"{speed:,.0f} images/s, {ratio:.2f}x the time of the first"


def shown(job: BenchmarkJob, record: Json, arrays: Arrays) -> list[RenderableType]:
    """Return what is printed of a record: a line and a table."""
    first, peak = job.benchmark.runs[0], record["machine"]["gemm_gflops"] * 1e9
    rounds = len(arrays[f"{first}/relative_seconds"])
    line = f"matrix products reach {peak / 1e9:,.0f} GFLOP/s; medians of {rounds} steps in turns"
    heads = ("run", "images/s", "5 to 95 %", "MMAC/image", "of peak", "kept MB", f"{first} = 1")
    table = Table(*heads)
    for name in job.benchmark.runs:
        values = values_of(record, name)
        speed = values["images_per_second"]
        low, high = np.quantile(arrays[f"{name}/images_per_second"], [0.05, 0.95])
        table.add_row(
            name,
            f"{speed:,.0f}",
            f"{low:,.0f} to {high:,.0f}",
            f"{values['step_macs']:,.1f}",
            f"{100 * 2e6 * values['step_macs'] * speed / peak:.0f} %",
            f"{values['saved_mb']:,.0f}",
            f"{values['relative_seconds']:.2f}x",
        )
    return [line, table]
