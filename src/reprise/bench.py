"""What training steps cost on this machine: several runs measured in turns in one process.

Runs take turns step by step, so that a machine whose speed drifts, or that others use, slows all
of them alike; single timings are kept, so that medians and intervals are made from them later.
"""

import io
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor

from reprise import locks, provenance, reduce
from reprise.config import Json, Run
from reprise.data.transforms import augment
from reprise.errors import ConfigError
from reprise.files import write_atomic
from reprise.flops import multiply_adds, on_meta
from reprise.plan import BenchmarkJob
from reprise.progress import bar, say
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
GEMM_SIDE = 1536


def gemm_peak(precision: str, device: torch.device, seconds: float = 1.0) -> float:
    """Return the FLOP/s of a square matrix product of 1536, the best of repeats."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = torch.randn(2, GEMM_SIDE, GEMM_SIDE, dtype=dtype, device=device).unbind()
    best, until = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < until:
        best = min(best, _timed(lambda: a @ b, device))
    return 2 * GEMM_SIDE**3 / best


def _timed(step: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of a call, the device's work included."""
    _synchronise(device)
    started = time.perf_counter()
    step()
    _synchronise(device)
    return time.perf_counter() - started


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


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
                taken = _timed(lambda c=contender, n=number: c.step(n), device)  # type: ignore[misc]
                contender.seconds.append(taken)
            shown.advance(max(0, int(total - max(0.0, until - time.perf_counter())) - shown.done))


def measure(job: BenchmarkJob) -> tuple[Json, dict[str, NDArray[np.float64]]]:
    """Return a benchmark's record and its single measurements by 'run/metric'.

    Per run: `forward_macs` and `step_macs` (millions of multiply-adds per image, forward alone and
    with backward), both also relative to the first run, `saved_mb` per step, `images_per_second`,
    and `relative_seconds`, round by round against the first run.
    """
    set_determinism(job.project.scale.threads)
    with distributed.world(job.project.config.device) as world:
        runs = {name: job.project.run(job.slug, name) for name in job.benchmark.runs}
        first = next(iter(runs.values()))
        precision = resolve_precision(first.precision, world.device)
        channels = int(first.model.args.get("in_chans", 3))
        peak = gemm_peak(precision, world.device)
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
    arrays: dict[str, NDArray[np.float64]] = {}
    metrics = {
        one.name: _metrics(one, contenders[0], channels, saved[one.name], arrays)
        for one in contenders
    }
    return _record(job, metrics, machine), arrays


def _metrics(
    one: Contender,
    first: Contender,
    channels: int,
    saved: float,
    arrays: dict[str, NDArray[np.float64]],
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
    records = []
    for name, (how, values) in measured.items():
        array = arrays[f"{one.name}/{name}"] = np.asarray(values, np.float64)
        records.append(
            {
                "metric": name,
                "value": reduce.apply(how, array),
                "n": len(array),
                "reduce": how,
                "statistics": f"{one.name}/{name}",
            }
        )
    return records


def _macs(run: Run, channels: int) -> tuple[float, float]:
    method, size = on_meta(run, StandIn(CLASSES, channels)), augmentation(run).size
    forward = multiply_adds(method, channels, size)
    return forward, multiply_adds(method, channels, size, backward=True)


def _record(job: BenchmarkJob, metrics: dict[str, list[Json]], machine: Json) -> Json:
    return {
        "paper": job.slug,
        "benchmark": job.name,
        "scale": job.project.scale.scale,
        "digest": job.digest,
        "machine": machine,
        "runs": metrics,
        "versions": provenance.versions(),
        "command": f"python -m reprise benchmark {job.key} --scale {job.project.scale.scale}",
    }


def run(job: BenchmarkJob) -> None:
    """Measure a benchmark and write <name>.json and .npz, whole or not at all."""
    lock = job.project.state_root / "locks" / f"{job.slug}-bench-{job.name}.lock"
    with locks.hold(lock, what=f"benchmark {job.key}", wait=True):
        record, arrays = measure(job)
        record_file, arrays_file = job.outputs
        packed = io.BytesIO()
        np.savez_compressed(packed, **arrays)  # type: ignore[arg-type]
        write_atomic(arrays_file, packed.getvalue())
        write_atomic(record_file, json.dumps(record, indent=2) + "\n")
    for name in job.benchmark.runs:
        values = {one["metric"]: one["value"] for one in record["runs"][name]}
        speed, ratio = values["images_per_second"], values["relative_seconds"]
        say(f"{job.key} {name}: {speed:,.0f} images/s, {ratio:.2f}x the time of the first")


def show(job: BenchmarkJob) -> None:
    """Measure a benchmark and print it, with the share of what a matrix product reaches."""
    record, arrays = measure(job)
    machine, console = record["machine"], Console()
    first = job.benchmark.runs[0]
    rounds = len(arrays[f"{first}/relative_seconds"])
    console.print(
        f"{job.key} at scale {record['scale']}: {machine['precision']}, {machine['threads']} "
        f"threads, torch {torch.__version__}, {machine['processor']}; matrix products reach "
        f"{machine['gemm_gflops']:,.0f} GFLOP/s; medians of {rounds} steps in turns"
    )
    heads = ("run", "images/s", "5 to 95 %", "MMAC/image", "of peak", "kept MB", f"{first} = 1")
    table = Table(*heads)
    for name in job.benchmark.runs:
        values = {one["metric"]: one["value"] for one in record["runs"][name]}
        speed, peak = values["images_per_second"], machine["gemm_gflops"] * 1e9
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
    console.print(table)
