"""How much of a machine a training step uses, at the sizes of a scale: what `plan` has to assume.

Steps run on made-up images, from augmentation to update, with as many images as fit the device. The
share of the peak that they reach is the `utilisation` of params/catalogue.yaml, and their memory
stands beside the planned one.
"""

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from rich.console import Console
from rich.table import Table

from reprise.bench import GEMM_FLOPS, gemm, gemm_peak, timed
from reprise.bench_step import CLASSES, training_step
from reprise.budget import catalogue
from reprise.budget.counting import outline
from reprise.budget.counts import Counts
from reprise.budget.forecast import Forecaster
from reprise.budget.machines import Speed
from reprise.budget.shapes import Subject
from reprise.budget.work import Item, Work
from reprise.config import Json, Project, Run
from reprise.errors import RepriseError
from reprise.plan import RunJob, split_run
from reprise.progress import bar, say
from reprise.training import distributed
from reprise.training.loop import resolve_precision
from reprise.training.method import Method
from reprise.training.run import peak_memory_mb, processor, set_determinism

WARM_UP = 2
SMALLEST = 2  # batch norm wants more than one image
LARGE = 8192  # side of the product that shows a GPU's peak; GEMM_SIDE shows a processor's


@dataclass(frozen=True)
class Measured:
    """A run's training step: images at once, seconds (median), GB; the plan's GB beside it."""

    key: str
    images: int
    of_batch: int
    seconds: float
    flops: float
    memory_gb: float
    planned_gb: float

    @property
    def images_per_second(self) -> float:
        """Images that one device trains on in a second."""
        return self.images / self.seconds

    @property
    def flops_per_second(self) -> float:
        """Counted operations, forwards and backwards, over measured time."""
        return self.flops / self.seconds

    def record(self, peak: float) -> Json:
        """Return the numbers in plain units; ``peak`` is FLOP/s."""
        return {
            "run": self.key,
            "images": self.images,
            "batch_size": self.of_batch,
            "seconds": self.seconds,
            "images_per_second": self.images_per_second,
            "flops_per_second": self.flops_per_second,
            "utilisation": self.flops_per_second / peak,
            "memory_gb": self.memory_gb,
            "planned_gb": self.planned_gb,
        }


def measure(
    project: Project, keys: Sequence[str], seconds: float, most: int
) -> Iterator[Measured | str]:
    """Yield what each run's training step costs, or a line on why it was not measured.

    ``keys`` are 'paper/run'; ``most`` images at once are tried first, fewer where they do not fit.
    """
    set_determinism(project.scale.threads)
    speed = Speed("", "", 1.0, 1.0, None, "", "")
    with distributed.world(project.config.device) as world, Counts(project) as counts:
        planner = Forecaster(Work(project, catalogue.read(project.root), counts), speed, 1)
        with bar("benchmark", len(keys), unit="runs") as shown:
            for key in keys:
                job = RunJob(project, *split_run("", key), 0)
                item = planner.work.training(job)
                yield _measured(job, item, planner, seconds, most, world.device)
                shown.advance(1)


def _measured(
    job: RunJob,
    item: Item,
    planner: Forecaster,
    seconds: float,
    most: int,
    device: torch.device,
) -> Measured | str:
    run, key = job.run, f"{job.slug}/{job.name}"
    if not run.steps or not _of_images(run):
        return f"{key}: trains on no images alone, which could be made up"
    images = min(most, run.batch_size // run.accumulate)
    while images >= SMALLEST:
        try:
            taken, memory = _timed_steps(run, images, seconds, device)
        except torch.OutOfMemoryError:
            say(f"{key}: {images} images do not fit")
            _forget(device)
            images //= 2
            continue
        planned = planner.memory_gb(replace(item, samples=images), 1)
        flops = item.flops / item.images * images
        return Measured(key, images, run.batch_size, taken, flops, memory, planned)
    return f"{key}: not even {SMALLEST} images fit the device"


def _of_images(run: Run) -> bool:
    """Return whether a run's samples are plain images: its method makes no others of them."""
    method = type(outline(run, Subject(classes=len(CLASSES))))
    return run.augment is not None and method.samples is Method.samples


def _timed_steps(
    run: Run, images: int, seconds: float, device: torch.device
) -> tuple[float, float]:
    """Return the median seconds of a step, and the GB at its peak."""
    _forget(device)
    channels = int(run.model.args.get("in_chans", 3))
    own = run.model_copy(update={"batch_size": images})
    step = training_step(own, channels, resolve_precision(run.precision, device), device)
    for number in range(WARM_UP):
        step(number)
    taken: list[float] = []
    until = time.perf_counter() + seconds
    while not taken or time.perf_counter() < until:
        taken.append(timed(_call(step, len(taken)), device))
    return statistics.median(taken), peak_memory_mb(device) / 1e3


def _call(step: Callable[[int], None], number: int) -> Callable[[], None]:
    return lambda: step(number)


def _forget(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def measured_peak(precision: str, device: torch.device) -> float:
    """Return FLOP/s of a matrix product: a large one on a GPU, which a small one does not fill."""
    if device.type != "cuda":
        return gemm_peak(gemm(precision, device), device)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = torch.randn(2, LARGE, LARGE, dtype=dtype, device=device).unbind()
    return gemm_peak(lambda: a @ b, device) / GEMM_FLOPS * 2 * LARGE**3


@dataclass(frozen=True)
class Found:
    """What was measured, and on what; ``peak`` is FLOP/s of a matrix product."""

    machine: str
    precision: str
    peak: float
    steps: tuple[Measured, ...]


def steps(project: Project, keys: Sequence[str], seconds: float, most: int) -> Found:
    """Measure the training steps of runs; say which cannot be. RepriseError if none can."""
    device = distributed.pick_device(project.config.device)
    precision = resolve_precision("auto", device)
    peak = measured_peak(precision, device)
    found: list[Measured] = []
    for one in measure(project, keys, seconds, most):
        if isinstance(one, str):
            say(one)
        else:
            found.append(one)
    if not found:
        raise RepriseError("no run was measured: name some that train on images, as paper/run")
    return Found(processor(device), precision, peak, tuple(found))


def record(found: Found) -> Json:
    """Return all numbers in plain units."""
    return {
        "machine": found.machine,
        "precision": found.precision,
        "torch": torch.__version__,
        "peak_flops_per_second": found.peak,
        "runs": [one.record(found.peak) for one in found.steps],
    }


def print_table(found: Found) -> None:
    """Print a line for each run."""
    console = Console()
    console.print(
        f"{found.machine}, {found.precision}, torch {torch.__version__}; a matrix product reaches "
        f"{found.peak / 1e12:,.3g} TFLOP/s"
    )
    table = Table()
    table.add_column("training step", overflow="fold")
    for head in ("images", "of", "images/s", "TFLOP/s", "of peak", "GB", "planned GB"):
        table.add_column(head, overflow="fold", justify="right")
    for one in found.steps:
        table.add_row(
            one.key,
            str(one.images),
            f"{one.of_batch:,}",
            f"{one.images_per_second:,.4g}",
            f"{one.flops_per_second / 1e12:,.3g}",
            f"{100 * one.flops_per_second / found.peak:.0f} %",
            f"{one.memory_gb:.3g}",
            f"{one.planned_gb:.3g}",
        )
    console.print(table)
