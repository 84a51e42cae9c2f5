"""Runs' models as nobody trained them: built with random weights, counted, and ready to be called.

Only sizes matter here, so weights are drawn, never downloaded, and images are made up. What infers
is a method's ``logits`` where it has them (a classifier, head included), else its ``features`` (its
encoder). Two additions for methods whose samples are no images, and for layers with operations
that torch's counter does not know:

- a method's module may have ``example(run, batch, device)``, which returns what its model is given;
- a layer may have ``extra_multiply_adds(*inputs)``, which returns those of one forward pass.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from reprise.config import Benchmark, Run
from reprise.errors import ConfigError
from reprise.memory import held_by, peak_of
from reprise.registry import load
from reprise.training.loop import autocast
from reprise.training.method import Batch, Method, StandIn
from reprise.training.seeding import Draws, Key

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
