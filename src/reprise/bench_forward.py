"""What models cost: their size, multiply-adds, speed and memory, forward and with backward.

Only sizes matter, so weights are drawn, never downloaded, and images are made up. What infers is a
method's ``logits`` where it has them (a classifier, head included), else its ``features`` (its
encoder). Two additions for methods whose samples are no images, and for layers with operations
that torch's counter does not know:

- a method's module may have ``example(run, batch, device)``, which returns what its model is given;
- a layer may have ``extra_multiply_adds(*inputs)``, which returns those of one forward pass.
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from rich.console import RenderableType
from rich.table import Table
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from reprise.bench import Arrays, Measured, entry, gemm, gemm_peak, timed, values_of
from reprise.config import Benchmark, Json, Run
from reprise.errors import ConfigError, RepriseError
from reprise.memory import held_by, peak_of
from reprise.plan import BenchmarkJob
from reprise.progress import bar
from reprise.registry import load
from reprise.training import distributed
from reprise.training.loop import autocast, resolve_precision
from reprise.training.method import Batch, Method, StandIn
from reprise.training.run import processor
from reprise.training.seeding import Draws, Key

FEWEST_ROUNDS, MOST_ROUNDS = 3, 200
GEMM_TURN = 0.2  # seconds of matrix products in a round, at most
_DRAWN = 1 << 20  # different random numbers; large weights repeat them, which costs no time


# ---- models of random weights ----
@contextlib.contextmanager
def parameters_on_meta() -> Iterator[None]:
    """Let modules that are built within have their parameters on the meta device.

    Their initialisation then costs nothing. Buffers stay real: they hold tables that no filling
    could replace.
    """
    plain = nn.Module.register_parameter

    def register(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None and not parameter.is_meta:
            parameter = nn.Parameter(parameter.detach().to("meta"), parameter.requires_grad)
        plain(module, name, parameter)

    nn.Module.register_parameter = register  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        nn.Module.register_parameter = plain  # type: ignore[method-assign]


def build(run: Run, classes: int) -> Method:
    """Build a run's method as training would, for images of so many classes."""
    channels = int(run.model.args.get("in_chans", 3))
    if run.kind == "official":  # any weights cost the same, and a benchmark downloads none
        run = run.model_copy(update={"objective": {**run.objective, "weights": None}})
    subject = StandIn(tuple(map(str, range(classes))), channels)
    method: Method = load("method", run.method).build(run, subject)
    return method


def outline(run: Run, classes: int) -> Method:
    """Build a run's method with its parameters on the meta device, at any size."""
    with parameters_on_meta():
        return build(run, classes)


def drawn(run: Run, classes: int, device: torch.device) -> Method:
    """Build a run's method with random weights, without initialising them where that can be."""
    method = outline(run, classes)
    fill(method, device)
    if any(buffer.is_meta for buffer in method.buffers()):
        method = build(run, classes)
    return method.to(device)


def fill(method: nn.Module, device: torch.device) -> None:
    """Give an outline's parameters memory and values that keep activations of ordinary size.

    Vectors are ones; all else is normal with variance 1 / (inputs of an output). Tables that a
    module makes on its parameters' device are made again, by timm's convention.
    """
    generator = torch.Generator(device).manual_seed(0)
    numbers = torch.randn(_DRAWN, generator=generator, device=device)
    made: dict[int, nn.Parameter] = {}
    for module in method.modules():
        for name, parameter in module._parameters.items():
            if parameter is None:
                continue
            # A weight that two layers share stays one.
            if id(parameter) not in made:
                values = _values(parameter, numbers)
                made[id(parameter)] = nn.Parameter(values, parameter.requires_grad)
            module._parameters[name] = made[id(parameter)]
    for module in method.modules():
        if hasattr(module, "init_non_persistent_buffers"):
            cast(Any, module).init_non_persistent_buffers()


def _values(like: Tensor, numbers: Tensor) -> Tensor:
    if like.ndim < 2:
        return torch.ones(like.shape, dtype=like.dtype, device=numbers.device)
    values = torch.empty(like.shape, dtype=like.dtype, device=numbers.device)
    scale = (like.shape[0] / like.numel()) ** 0.5
    for part in values.view(-1).split(len(numbers)):
        part.copy_(numbers[: len(part)]).mul_(scale)
    return values


def example(run: Run, batch: int, device: torch.device) -> Tensor:
    """Return what a run's model is given: by its method's word, else normalised random images."""
    own = getattr(load("method", run.method), "example", None)
    if own is not None:
        return cast(Tensor, own(run, batch, device))
    if run.augment is None:
        raise ConfigError(f"{run.method!r} makes no images up: it has no augment.size")
    size, channels = run.augment.size, int(run.model.args.get("in_chans", 3))
    return torch.randn(batch, channels, size, size, device=device)


def inference(method: Method) -> tuple[Callable[[Tensor], Tensor], nn.Module]:
    """Return the function that infers, and the part of the method that it needs."""
    logits = getattr(method, "logits", None)
    return (method.features, method.encoder) if logits is None else (logits, method)


# ---- counts ----
@dataclass(frozen=True)
class Counts:
    """What is known of a run's model without computing: of what infers, and all weights' bytes."""

    parameters: int
    multiply_adds: float
    bytes: int


def count(run: Run, classes: int) -> Counts:
    """Count on the meta device, at any size."""
    method = outline(run, classes)
    _, part = inference(method)
    own = sum(parameter.numel() for parameter in part.parameters())
    size = held_by(method)
    return Counts(own, multiply_adds(run, method), size)


def multiply_adds(run: Run, method: Method) -> float:
    """Return the multiply-adds of inference on one image; ``method`` is moved to the meta device.

    Counted are matrix products, convolutions, attention (fused or not) and what layers add by
    ``extra_multiply_adds``; norms and activations are not, as usual.
    """
    # The counter follows the gradients of what wants any, and fails where there are none.
    infer, _ = inference(method.to("meta").eval().requires_grad_(False))
    extra: list[float] = []
    hooks = [
        layer.register_forward_hook(
            lambda module, given, _out: extra.append(module.extra_multiply_adds(*given))
        )
        for layer in cast(Any, method).modules()
        if hasattr(layer, "extra_multiply_adds")
    ]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        infer(example(run, 1, torch.device("meta")).detach())
    for hook in hooks:
        hook.remove()
    return float(counter.get_total_flops()) / 2 + sum(extra)


# ---- one model, ready to be measured ----
@dataclass
class Model:
    """A run's model on the device, what it is given, and its two calls."""

    name: str
    run: Run
    method: Method
    given: Tensor
    precision: str

    @classmethod
    def of(
        cls, name: str, run: Run, benchmark: Benchmark, precision: str, device: torch.device
    ) -> "Model":
        """Build a run's model for a benchmark."""
        method = drawn(run, benchmark.classes, device)
        given = example(run, benchmark.batch_size or run.batch_size, device)
        return cls(name, run, method, given, precision)

    def __post_init__(self) -> None:
        self._infer = inference(self.method)[0]
        self._train: nn.Module = self.method
        if self.run.compile:
            self._infer = torch.compile(self._infer, dynamic=False)
            self._train = cast(nn.Module, torch.compile(self.method, dynamic=False))
        batch, device = len(self.given), self.given.device
        labels = torch.zeros(batch, dtype=torch.long, device=device)
        self._batch = Batch((self.given,) * self.method.num_views, labels, labels)
        self._draws = Draws(Key(("bench",)), batch, device=device)

    @property
    def images(self) -> int:
        """Images of one call."""
        return len(self.given)

    def forward(self) -> None:
        """Infer; `prepare` comes first."""
        with torch.inference_mode(), autocast(self.precision, self.given.device):
            self._infer(self.given)

    def forward_backward(self) -> None:
        """Compute the loss and all gradients; `prepare` comes first, since gradients stay."""
        with autocast(self.precision, self.given.device):
            loss = self._train(self._batch, self._draws)["loss"]
        loss.backward()

    def prepare(self, training: bool) -> None:
        """Set the mode of a pass, and drop what the last one left."""
        self.method.train(training)
        self.method.zero_grad(set_to_none=True)
        self.given.grad = None

    def call(self, training: bool) -> Callable[[], None]:
        """Return the call of a pass."""
        return self.forward_backward if training else self.forward

    def memory(self, training: bool) -> int:
        """Return the peak bytes of a pass: weights, input and all that the call allocates.

        With backward, gradients are among them; an optimiser's state is not.
        """
        self.prepare(training)
        peak = peak_of(self.call(training), self.given.device)
        self.prepare(training)
        part = self.method if training else inference(self.method)[1]
        return peak + held_by(part, self.given)


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
