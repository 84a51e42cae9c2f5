"""What models cost: their size, multiply-adds, speed and memory, forward and with backward."""

import contextlib
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from rich.console import RenderableType
from rich.table import Table

from reprise.bench import Arrays, Measured, entry, gemm, gemm_peak, timed, values_of
from reprise.config import Benchmark, Json
from reprise.errors import RepriseError
from reprise.plan import BenchmarkJob
from reprise.progress import bar
from reprise.training import distributed
from reprise.training.loop import resolve_precision
from reprise.training.run import processor
from reprise.untrained import Model, count

FEWEST_ROUNDS, MOST_ROUNDS = 3, 200
GEMM_TURN = 0.2  # seconds of matrix products in a round, at most


@dataclass
class Contender:
    """One pass of one run: what its calls take, and the mean seconds of a call in each turn."""

    name: str
    training: bool
    typical: float
    memory: int
    seconds: list[float] = field(default_factory=list)


# ---- measuring ----
class Models:
    """The models of a benchmark: those of one group at a time are in memory."""

    def __init__(self, job: BenchmarkJob, precision: str, device: torch.device) -> None:
        self._job, self._precision, self._device = job, precision, device
        self._alive: dict[str, Model] = {}

    def __getitem__(self, name: str) -> Model:
        if name not in self._alive:
            run = self._job.project.run(self._job.slug, name)
            benchmark = self._job.benchmark
            self._alive[name] = Model.of(name, run, benchmark, self._precision, self._device)
        return self._alive[name]

    def keep(self, names: Sequence[str]) -> None:
        """Free all others."""
        self._alive = {name: one for name, one in self._alive.items() if name in names}
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def groups(sizes: Mapping[str, float], limit: float) -> list[list[str]]:
    """Split runs, in order, so that each group's weights and the first run's are within a limit.

    The first run stands at the head of every group. A run that alone exceeds the limit has a group
    of its own.
    """
    first, *others = sizes
    made: list[list[str]] = [[first]]
    room = limit - sizes[first]
    for name in others:
        if len(made[-1]) > 1 and sizes[name] > room:
            made.append([first])
            room = limit - sizes[first]
        made[-1].append(name)
        room -= sizes[name]
    return made


def rounds_of(typical: Iterable[float], seconds: float) -> int:
    """Return the rounds in which each call takes so many seconds in all, once for the slowest.

    ``typical`` are the seconds of single calls. At least three rounds, which may take a slow model
    longer.
    """
    return min(MOST_ROUNDS, max(FEWEST_ROUNDS, int(seconds / max(typical))))


def try_out(model: Model, training: bool) -> Contender:
    """Measure the memory of a pass, and how long it takes once it is warm."""
    call = model.call(training)
    device = model.given.device
    try:
        # What is made once, by a compiler or for a GPU's libraries, is no part of a model's memory.
        if model.run.compile or device.type == "cuda":
            model.prepare(training)
            call()
        memory = model.memory(training)
        model.prepare(training)
        typical = timed(call, device)
        model.prepare(training)
    except torch.OutOfMemoryError as error:
        raise RepriseError(
            f"{model.name}: the device has too little memory for a batch of {model.images}; give "
            f"the benchmark a smaller batch_size ({error})"
        ) from None
    return Contender(model.name, training, typical, memory)


def take_turn(model: Model, one: Contender, seconds: float, device: torch.device) -> float:
    """Return the mean seconds of a contender's calls in one turn."""
    call, repeats = model.call(one.training), max(1, round(seconds / one.typical))
    model.prepare(one.training)
    if not one.training:
        return timed(lambda: [call() for _ in range(repeats)], device) / repeats
    taken = 0.0
    for _ in range(repeats):  # dropping gradients is no part of the time
        model.prepare(True)
        taken += timed(call, device)
    return taken / repeats


@contextlib.contextmanager
def free_to_vary(threads: int) -> Iterator[None]:
    """Let torch take its fastest algorithms, as one who only infers would, in so many threads."""
    before = torch.are_deterministic_algorithms_enabled()
    warned, counted = torch.is_deterministic_algorithms_warn_only_enabled(), torch.get_num_threads()
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned)
        torch.set_num_threads(counted)


def measure(job: BenchmarkJob) -> Measured:
    """Return what the runs' models cost.

    Per run: `params_m` (millions) and `gmacs` (thousand millions of multiply-adds per image; papers
    print them as FLOPs) of what infers. Unless ``seconds`` is 0, also `test_memory_mb` (the peak of
    `Model.memory`), `images_per_second`, `relative_images_per_second` (to the first run, round by
    round) and `fraction_of_peak` (of what a matrix product reaches in the same round). With
    ``backward``, also `train_memory_mb`, `train_images_per_second` and
    `relative_train_images_per_second`.
    """
    arrays: Arrays = {}
    benchmark = job.benchmark
    runs = {name: job.project.run(job.slug, name) for name in benchmark.runs}
    counts = {name: count(run, benchmark.classes) for name, run in runs.items()}
    metrics = {
        name: [
            entry(arrays, name, "params_m", "mean", [one.parameters / 1e6]),
            entry(arrays, name, "gmacs", "mean", [one.multiply_adds / 1e9]),
        ]
        for name, one in counts.items()
    }
    first = runs[benchmark.runs[0]]
    with distributed.world(job.project.config.device) as world, free_to_vary(job.threads):
        device = world.device
        precision = resolve_precision(benchmark.precision or first.precision, device)
        machine = {
            "processor": processor(device),
            "precision": precision,
            "threads": torch.get_num_threads(),
            "compiled": [name for name, run in runs.items() if run.compile],
        }
        if not benchmark.seconds:
            return Measured(metrics, arrays, machine)
        parts = groups({name: one.bytes for name, one in counts.items()}, 1e9 * benchmark.alive_gb)
        found = measure_speed(parts, Models(job, precision, device), benchmark, precision, device)
    for group in found:
        for name in group.names:
            macs = counts[name].multiply_adds
            metrics[name] += _metrics(group, name, macs, arrays)
    machine["gemm_gflops"] = max(peak for group in found for peak in group.peaks) / 1e9
    sizes = {name: benchmark.batch_size or run.batch_size for name, run in runs.items()}
    return Measured(metrics, arrays, machine, {"groups": parts, "batch_sizes": sizes})


@dataclass
class Group:
    """Runs whose models were in memory together, the first run's at their head."""

    forward: dict[str, Contender]
    training: dict[str, Contender]
    images: dict[str, int]
    leads: bool  # the first run counts here; in later groups it is only what others relate to
    peaks: list[float] = field(default_factory=list)  # FLOP/s of matrix products, round by round

    @property
    def names(self) -> list[str]:
        """The runs whose numbers are taken from here."""
        return list(self.forward)[0 if self.leads else 1 :]

    @property
    def contenders(self) -> list[Contender]:
        """All passes, run by run."""
        return [
            passes[name]
            for name in self.forward
            for passes in (self.forward, self.training)
            if name in passes
        ]


def measure_speed(
    parts: Sequence[Sequence[str]],
    models: Models,
    benchmark: Benchmark,
    precision: str,
    device: torch.device,
) -> list[Group]:
    """Return the timings and memory of all groups, as many rounds of each."""
    found: list[Group] = []
    passes = (False, True) if benchmark.backward else (False,)
    with bar("warm-up", sum(map(len, parts)), unit="models") as shown:
        for names in parts:
            models.keep(names)
            tried: list[dict[str, Contender]] = [{}, {}]
            for name in names:
                for training in passes:
                    tried[training][name] = try_out(models[name], training)
                shown.advance(1)
            images = {name: models[name].images for name in names}
            found.append(Group(tried[False], tried[True], images, leads=not found))
    everyone = [one for group in found for one in group.contenders]
    product = gemm(precision, device)
    typical = (timed(product, device), *(one.typical for one in everyone))
    rounds = rounds_of(typical, benchmark.seconds)
    turn = benchmark.seconds / rounds
    expected = rounds * sum(max(turn, one.typical) for one in everyone)
    started = time.perf_counter()
    with bar("benchmark", math.ceil(expected), unit="s") as shown:
        for group, names in zip(found, parts, strict=True):
            models.keep(names)
            for one in group.contenders if len(parts) > 1 else ():
                take_turn(models[one.name], one, 0, device)  # warms up what was built again
            for _ in range(rounds):
                group.peaks.append(gemm_peak(product, device, min(GEMM_TURN, turn)))
                for one in group.contenders:
                    one.seconds.append(take_turn(models[one.name], one, turn, device))
                    shown.advance(int(time.perf_counter() - started) - shown.done)
    return found


def _metrics(group: Group, name: str, macs: float, arrays: Arrays) -> list[Json]:
    images, head = group.images[name], next(iter(group.forward))
    speed = images / np.array(group.forward[name].seconds)
    own = 2 * macs * speed / np.array(group.peaks)
    made = _of_speed("", "test", group.forward[name], group.forward[head], group.images, arrays)
    made.append(entry(arrays, name, "fraction_of_peak", "median", own))
    if name in group.training:
        one, first = group.training[name], group.training[head]
        made += _of_speed("train_", "train", one, first, group.images, arrays)
    return made


def _of_speed(
    prefix: str,
    memory: str,
    one: Contender,
    first: Contender,
    images: dict[str, int],
    arrays: Arrays,
) -> list[Json]:
    """Return a pass's memory and speed, and its speed relative to the first run's."""
    speed = images[one.name] / np.array(one.seconds)
    base = images[first.name] / np.array(first.seconds)
    return [
        entry(arrays, one.name, f"{memory}_memory_mb", "mean", [one.memory / 1e6]),
        entry(arrays, one.name, f"{prefix}images_per_second", "median", speed),
        entry(arrays, one.name, f"relative_{prefix}images_per_second", "median", speed / base),
    ]


# ---- words ----
def in_words(values: dict[str, float]) -> str:
    """Return a run's main numbers in a line."""
    words = f"{values['params_m']:,.2f} M parameters, {short(values['gmacs'])} GMACs"
    if "images_per_second" in values:
        speed, memory = values["images_per_second"], values["test_memory_mb"]
        ratio = values["relative_images_per_second"]
        words += f", {short(speed)} images/s ({ratio:.2f}x the first), {memory:,.0f} MB"
    if "train_images_per_second" in values:
        words += f"; with backward {short(values['train_images_per_second'])} images/s"
        words += f", {values['train_memory_mb']:,.0f} MB"
    return words


def short(value: float) -> str:
    """Return a number with about three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}"


def shown(job: BenchmarkJob, record: Json, arrays: Arrays) -> list[RenderableType]:
    """Return what is printed of a record: lines and tables."""
    first, benchmark = job.benchmark.runs[0], job.benchmark
    counts = Table("run", "M parameters", "GMACs")
    for name in benchmark.runs:
        values = values_of(record, name)
        counts.add_row(name, f"{values['params_m']:,.2f}", short(values["gmacs"]))
    if not benchmark.seconds:
        return [counts]
    rounds, peak = len(arrays[f"{first}/images_per_second"]), record["machine"]["gemm_gflops"]
    line = f"matrix products reach {peak:,.0f} GFLOP/s; medians of {rounds} rounds in turns"
    heads = ("batch", "images/s", "5 to 95 %", f"{first} = 1", "MB")
    made: list[RenderableType] = [counts, line]
    for prefix, kind, *more in (("", "test", "of peak"), ("train_", "train")):
        if f"{kind}_memory_mb" not in benchmark.metrics:
            continue
        table = Table("with backward" if prefix else "inference", *heads, *more)
        for name in benchmark.runs:
            values = values_of(record, name)
            low, high = np.quantile(arrays[f"{name}/{prefix}images_per_second"], [0.05, 0.95])
            share = f"{100 * values['fraction_of_peak']:.0f} %"
            table.add_row(
                name,
                str(record["batch_sizes"][name]),
                short(values[f"{prefix}images_per_second"]),
                f"{short(low)} to {short(high)}",
                f"{values[f'relative_{prefix}images_per_second']:.2f}x",
                short(values[f"{kind}_memory_mb"]),
                *(share for _ in more),
            )
        made.append(table)
    return made
