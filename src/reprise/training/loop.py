"""The one training loop, for every method, finetuning included.

Whatever happens in step s depends on (seed, purpose, s, sample) and on the state before it, never
on history; so a killed run resumes from any checkpoint and ends in the same bytes.
"""

import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from reprise.data.base import ImageSet
from reprise.data.transforms import augment
from reprise.errors import ConfigError, Interrupted, NonFiniteError, RepriseError
from reprise.files import named, write_atomic
from reprise.progress import Bar, bar, say
from reprise.settings.base import Augment, Optim
from reprise.training import checkpoint, distributed, nonfinite
from reprise.training.distributed import World
from reprise.training.method import Batch, Method
from reprise.training.optim import Schedule, build_optimizer
from reprise.training.seeding import Draws, Key
from reprise.training.steps import Steps

CHECKPOINT_SECONDS = 15.0  # at most so much work is lost to kill -9
WORKER_SECONDS = 600.0  # a data-loading worker that brings nothing for so long ends the run


@dataclass(frozen=True)
class FitSettings:
    """What the loop must know of a run or of a finetuning."""

    steps: int
    batch_size: int
    optim: Optim
    augment: Augment | None
    accumulate: int = 1
    precision: str = "fp32"
    compile: bool = False
    log_every: int = 10
    workers: int = 0
    whole_photographs: bool = False


@dataclass
class FitState:
    """Where a fit stands; `log` is the live curve, `seconds` the training time over all tries."""

    folder: Path
    step: int = 0
    seconds: float = 0.0
    resumed: int = 0
    log: list[dict[str, Any]] = field(default_factory=list)

    @property
    def log_file(self) -> Path:
        return self.folder / "log.jsonl"


class _StopSignals:
    """Remembers that a signal asked us to stop; the loop acts on it between two steps."""

    def __init__(self) -> None:
        self.caught: int | None = None

    def __enter__(self) -> "_StopSignals":
        self._before = {
            number: signal.signal(number, self._note)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
        }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: object) -> None:
        self.caught = number


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Return bf16 autocast, or nothing for fp32."""
    if precision == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()


def resolve_precision(wanted: str, device: torch.device) -> str:
    """Return 'fp32' or 'bf16'; 'auto' takes bf16 only where the hardware computes in it.

    Without such instructions a processor emulates bf16 a hundred times slower than fp32.
    """
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16" if native else "fp32"


def _require_compiler(label: str) -> None:
    """Raise ConfigError where torch.compile would fail for want of a C++ compiler."""
    if not any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++")):
        raise ConfigError(
            f"{label}: compile = true needs a C++ compiler (g++ or clang++, or one named by CXX), "
            "and none was found; install one or set compile: false"
        )


def split_batch(batch: Batch, parts: int) -> list[Batch]:
    """Split a batch into equal consecutive parts for gradient accumulation."""
    views = [view.chunk(parts) for view in batch.views]
    return [
        Batch(tuple(view[i] for view in views), labels, indices)
        for i, (labels, indices) in enumerate(
            zip(batch.labels.chunk(parts), batch.indices.chunk(parts), strict=True)
        )
    ]


class Fit:
    """One training: `run()` goes from the newest checkpoint, or the start, to the last step."""

    def __init__(
        self,
        method: Method,
        data: ImageSet,
        settings: FitSettings,
        key: Key,
        state_folder: Path,
        world: World,
        label: str,
        subset: Tensor | None = None,
        again: str = "",
    ) -> None:
        """``again`` is the command that repeats a step whose loss is not finite, if any."""
        if settings.accumulate > 1 and method.mixes_samples:
            raise ConfigError(
                f"{label}: accumulate = {settings.accumulate}: this method's loss compares the "
                "samples of a batch, so the batch cannot be split; use more processes instead"
            )
        self.settings, self.key, self.world, self.label = settings, key, world, label
        self.again = again
        self.data = data
        self.precision = resolve_precision(settings.precision, world.device)
        self.method = method.to(world.device)
        if settings.steps:
            self.optimizer = build_optimizer(self.method, settings.optim)
            self.schedule = Schedule(self.optimizer, settings.optim, settings.steps)
        self.ema = self._make_ema()
        self.steps = Steps(data, subset, settings.batch_size, key, world)
        self.augment = settings.augment
        if settings.whole_photographs and settings.steps:
            self._cut_photographs()
        self.state = FitState(state_folder)
        self._module, self._before = self._wrap(), nonfinite.BeforeStep(self.method)
        self._saved_at = self._mark = time.monotonic()

    def _cut_photographs(self) -> None:
        """Let the reader cut random crops; what is left of the augmentation is done as ever."""
        if self.augment is None:
            raise ConfigError(f"{self.label}: whole_photographs: this method takes no images")
        crop = self.method.cut(self.augment)
        self.steps.cut(crop, self.method.num_views, self.method.copies)
        left = {"size": crop.size, "crop_scale": (1.0, 1.0)}
        self.augment = self.augment.model_copy(update=left)

    def _make_ema(self) -> ModelEmaV3 | None:
        decay = self.settings.optim.ema_decay
        return None if decay is None else ModelEmaV3(self.method, decay=decay)

    def _wrap(self) -> nn.Module:
        module: nn.Module = self.method
        if self.settings.compile:
            _require_compiler(self.label)
            module = cast(nn.Module, torch.compile(module, dynamic=False))
        if self.world.size > 1:
            on_gpu = self.world.device.type == "cuda"
            module = DistributedDataParallel(
                module, device_ids=[self.world.device] if on_gpu else None
            )
        return module

    def run(self) -> FitState:
        """Train to the end and return the final state; the weights are in ``method``.

        Raises Interrupted after a signal (state saved), NonFiniteError at a loss that is not
        finite (state saved for `replay`).
        """
        if not self.settings.steps:
            return self.state
        self._resume()
        total = self.settings.steps * self.settings.batch_size
        done = self.state.step * self.settings.batch_size
        self._mark = time.monotonic()
        with _StopSignals() as signals, bar(self.label, total, done) as shown:
            try:
                for batch in self._batches():
                    self._step(batch, shown)
                    self._pause(signals)
            except (RuntimeError, EOFError, ConnectionError) as error:
                self._refuse_lost_worker(error)
                raise
        return self.state

    def _refuse_lost_worker(self, error: Exception) -> None:
        """Raise RepriseError where a worker that loads data was killed or hangs; end the others.

        Forked within this loop they only note SIGTERM, and this process would wait for them at its
        end.
        """
        lost = isinstance(error, EOFError | ConnectionError) or str(error).startswith("DataLoader ")
        if not self.settings.workers or not lost:
            return
        for worker in multiprocessing.active_children():
            worker.kill()
        raise RepriseError(
            f"{self.label}: a process that loads data was killed, perhaps for want of memory, or "
            f"brought nothing for {WORKER_SECONDS:.0f} s (workers = {self.settings.workers}; "
            f"{str(error) or type(error).__name__}). The same command goes on from the last "
            "checkpoint"
        ) from error

    def replay(self) -> dict[str, float]:
        """Repeat the next step's losses from the newest checkpoint, without moving the weights.

        Autograd's anomaly detection names the operation that first made a NaN.
        """
        self._resume()
        batch = next(self._batches())
        with torch.autograd.detect_anomaly():
            losses = self._backward(batch, self.state.step, stop=False)
        return {name: value.item() for name, value in losses.items()}

    def _batches(self) -> Iterator[Batch]:
        first, last = self.state.step, self.settings.steps
        loader = DataLoader(
            self.steps,
            batch_size=None,
            sampler=range(first, last),
            num_workers=self.settings.workers,
            timeout=WORKER_SECONDS if self.settings.workers else 0,
        )
        for step, (indices, images, labels) in zip(range(first, last), loader, strict=True):
            device = self.world.device
            images = images.to(device, non_blocking=True)
            yield Batch(self._views(images, step), labels.to(device), indices)

    def _views(self, images: Tensor, step: int) -> tuple[Tensor, ...]:
        if self.augment is None:
            return (images,)
        draws = self._draws(step).fold("view")
        cut = self.settings.whole_photographs
        return tuple(
            augment(images[view] if cut else images, self.augment, draws.fold(view))
            for view in range(self.method.num_views)
        )

    def _draws(self, step: int) -> Draws:
        return self.steps.draws(step, self.world.device)

    def _step(self, batch: Batch, shown: Bar) -> None:
        step = self.state.step
        rate = self.schedule.set(step)
        losses = self._backward(batch, step)
        if self.settings.optim.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.method.parameters(), self.settings.optim.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.ema is not None:
            self.ema.update(self.method, step=step)
        self.state.step += 1
        now = time.monotonic()
        self.state.seconds, self._mark = self.state.seconds + now - self._mark, now
        note = self._log(losses, rate)
        shown.advance(self.settings.batch_size, note)

    def _backward(self, batch: Batch, step: int, stop: bool = True) -> dict[str, Tensor]:
        """Accumulate gradients of the global batch; return the mean losses of this process.

        ``stop`` at a loss that is not finite.
        """
        # Libraries that draw from global generators (DropPath, Mixup) see the same numbers at
        # this step whatever came before it.
        self.key.fold("global", step, self.world.rank).seed_everything()
        self.method.train()
        self._before.note()
        parts = split_batch(batch, self.settings.accumulate)
        shares = self._shares(parts)
        draws, sums = self._draws(step), dict[str, Tensor]()
        for number, (part, share) in enumerate(zip(parts, shares, strict=True)):
            size = len(part.labels)
            own = Draws(draws.key, size, draws.start + number * size, draws.device).fold("method")
            last = number == len(parts) - 1
            with self._no_sync(not last), autocast(self.precision, self.world.device):
                losses = self._module(part, own)
                if stop:
                    self._check_finite(losses, step, part)
                (losses["loss"] * share).backward()
            for name, value in losses.items():
                sums[name] = value.detach() * share + sums.get(name, 0.0)
        return sums

    def _shares(self, parts: list[Batch]) -> list[Tensor] | list[float]:
        """Return the factors by which the parts' losses add up, over processes, to a mean.

        Data-parallel training averages gradients over processes, so they sum to one on average.
        """
        if len(parts) == 1 and self.world.size == 1:
            return [1.0]
        weights = torch.stack([self.method.weight(part).double() for part in parts])
        total = distributed.average(weights.sum().to(self.world.device))
        return list((weights.to(self.world.device) / total).float())

    def _no_sync(self, skip: bool) -> contextlib.AbstractContextManager[Any]:
        if skip and isinstance(self._module, DistributedDataParallel):
            return self._module.no_sync()
        return contextlib.nullcontext()

    def _check_finite(self, losses: dict[str, Tensor], step: int, batch: Batch) -> None:
        # The total alone is read: it costs one synchronisation, and carries every part's NaN.
        bad = not bool(torch.isfinite(losses["loss"].detach()))
        if not distributed.any_process(bad, self.world.device):
            return
        self._before.put_back()
        self.save()
        file = self.state.folder / f"nonfinite-rank{self.world.rank}.json"
        said = nonfinite.record(file, step, losses, batch, self.key)
        raise NonFiniteError(
            f"{self.label}: the loss at step {step} is not finite: {said}. The batch "
            f"and its random key are in {file}; the state before the step is saved"
            + (f". Replay that step with: {self.again}" if self.again else "")
        )

    def _log(self, losses: dict[str, Tensor], rate: float) -> str:
        step = self.state.step
        if step % self.settings.log_every and step != self.settings.steps:
            return ""
        means = {name: distributed.average(value).item() for name, value in losses.items()}
        line = {"step": step, "images": step * self.settings.batch_size, **means, "lr": rate}
        self.state.log.append(line)
        if self.world.is_main:
            with named(self.state.log_file), self.state.log_file.open("a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
        return f"loss {means['loss']:.4f}"

    def _pause(self, signals: _StopSignals) -> None:
        """Between two steps: save when it is time, stop when a signal asked for it."""
        stop = distributed.any_process(signals.caught is not None, self.world.device)
        due = time.monotonic() - self._saved_at >= CHECKPOINT_SECONDS
        if stop or distributed.any_process(due, self.world.device):
            self.save()
        if stop:
            raise Interrupted(
                f"{self.label}: stopped at step {self.state.step} of {self.settings.steps}, "
                "state saved; the same command goes on from there"
            )

    def save(self) -> None:
        """Write a checkpoint of the state between two steps; all processes call it together."""
        self._saved_at = time.monotonic()
        if self.world.is_main:
            state = {
                "step": self.state.step,
                "seconds": self.state.seconds,
                "resumed": self.state.resumed,
                "log": self.state.log,
                "method": self.method.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "ema": None if self.ema is None else self.ema.state_dict(),
            }
            checkpoint.save(self.state.folder, self.state.step, state)
        distributed.barrier()

    def _resume(self) -> None:
        self.state.folder.mkdir(parents=True, exist_ok=True)
        found = checkpoint.load_newest(self.state.folder, self.world.device)
        if found is not None:
            self.method.load_state_dict(found["method"])
            self.optimizer.load_state_dict(found["optimizer"])
            if self.ema is not None:
                self.ema.load_state_dict(found["ema"])
            self.state.step, self.state.seconds = found["step"], found["seconds"]
            self.state.log, self.state.resumed = found["log"], found["resumed"] + 1
            say(f"{self.label}: resumes at step {self.state.step} of {self.settings.steps}")
        if self.world.is_main:
            checkpoint.tidy(self.state.folder)
            lines = [json.dumps(line) + "\n" for line in self.state.log]
            write_atomic(self.state.log_file, "".join(lines))
