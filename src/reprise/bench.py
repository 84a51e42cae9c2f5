"""Benchmarks: what runs cost on this machine, measured in turns in one process.

Each kind is a module, `reprise.bench_<kind>`; here is what they share. Runs take turns, so that a
machine whose speed drifts, or that others use, slows all of them alike; single timings are kept,
so that medians and intervals are made from them later.
"""

import importlib
import io
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from reprise import locks, provenance, reduce
from reprise.config import Json
from reprise.files import write_atomic
from reprise.plan import BenchmarkJob
from reprise.progress import say

Arrays = dict[str, NDArray[np.float64]]
GEMM_SIDE = 1536
GEMM_FLOPS = 2 * GEMM_SIDE**3


@dataclass(frozen=True)
class Measured:
    """What a kind measured: each run's metrics, their single values, and on what machine.

    ``arrays`` has the single values by 'run/metric'; ``more`` are other keys of the record.
    """

    runs: dict[str, list[Json]]
    arrays: Arrays
    machine: Json
    more: Json = field(default_factory=dict)


def gemm(precision: str, device: torch.device) -> Callable[[], object]:
    """Return a function that multiplies two square matrices of 1536, GEMM_FLOPS of work."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = torch.randn(2, GEMM_SIDE, GEMM_SIDE, dtype=dtype, device=device).unbind()
    return lambda: a @ b


def gemm_peak(product: Callable[[], object], device: torch.device, seconds: float = 1.0) -> float:
    """Return the FLOP/s of a matrix product, the best of repeats."""
    best, until = float("inf"), time.perf_counter() + seconds
    while best == float("inf") or time.perf_counter() < until:
        best = min(best, timed(product, device))
    return GEMM_FLOPS / best


def timed(step: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of a call, the device's work included."""
    _synchronise(device)
    started = time.perf_counter()
    step()
    _synchronise(device)
    return time.perf_counter() - started


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def entry(
    arrays: Arrays, run: str, metric: str, how: str, values: Iterable[float] | NDArray[np.float64]
) -> Json:
    """Keep the single values of a run's metric in ``arrays``; return what the record says of it.

    ``how`` is the function of `reprise.reduce` that turns them into the number.
    """
    name = f"{run}/{metric}"
    array = arrays[name] = np.asarray(values, np.float64)
    return {
        "metric": metric,
        "value": reduce.apply(how, array),
        "n": len(array),
        "reduce": how,
        "statistics": name,
    }


def _kind(job: BenchmarkJob) -> ModuleType:
    # By name, so that the code of one kind is no source of the other's results.
    return importlib.import_module(f"reprise.bench_{job.benchmark.kind}")


def measure(job: BenchmarkJob) -> tuple[Json, Arrays]:
    """Return a benchmark's record and its single measurements by 'run/metric'."""
    measured: Measured = _kind(job).measure(job)
    scale = job.project.scale.scale
    record = {
        "paper": job.slug,
        "benchmark": job.name,
        "kind": job.benchmark.kind,
        "scale": scale,
        "digest": job.digest,
        "machine": measured.machine,
        **measured.more,
        "runs": measured.runs,
        "versions": provenance.versions(),
        "command": f"python -m reprise benchmark {job.key} --scale {scale}",
    }
    return record, measured.arrays


def values_of(record: Json, run: str) -> dict[str, float]:
    """Return a run's numbers by metric."""
    return {one["metric"]: one["value"] for one in record["runs"][run]}


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
        say(f"{job.key} {name}: {_kind(job).in_words(values_of(record, name))}")


def show(job: BenchmarkJob) -> None:
    """Measure a benchmark and print it, with the share of what a matrix product reaches."""
    record, arrays = measure(job)
    machine, console = record["machine"], Console()
    console.print(
        f"{job.key} at scale {record['scale']}: {machine['precision']}, {machine['threads']} "
        f"threads, torch {torch.__version__}, {machine['processor']}"
    )
    for line in _kind(job).shown(job, record, arrays):
        console.print(line)
