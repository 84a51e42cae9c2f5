"""How fast the machine is that a plan is made for, and how that is known."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass

from reprise.budget.catalogue import HERE, Catalogue
from reprise.config import Json, Project
from reprise.errors import ConfigError
from reprise.files import write_atomic
from reprise.provenance import digest_of

# Pillow on one core, measured on an AVX-512 processor: RandAugment, crop and flip of an image, from
# 256 to 224 pixels 3.4 ms, from 48 to 24 pixels 0.3 ms.
# Beside a GPU as many cores do so as there are.
PIL_FIXED, PIL_AT_224 = 0.25e-3, 3.2e-3
# JPEG photographs that one core decodes in a second: Pillow on ImageNet's, as published
# (ternaus/imread_benchmark, on a Zen 4).
DECODED_PER_SECOND = 537.0
# FLOP/s of scikit-learn's logistic regression in float32, both assumed: a third of a core's, where
# it computes on a processor; half of an older card's without tensor cores on a GPU.
PROBE_FLOPS, PROBE_FLOPS_ON_GPU = 35e9, 8e12
PEAK_REPEATS = 10


@dataclass(frozen=True)
class Speed:
    """What a plan divides by: FLOP/s of one GPU (or one job here) at its peak, and the share."""

    name: str
    title: str
    peak: float
    utilisation: float
    memory_gb: float | None
    peak_source: str
    utilisation_basis: str
    cores: int = 1

    @property
    def flops(self) -> float:
        """FLOP/s that training is taken to reach."""
        return self.peak * self.utilisation

    @property
    def on_gpu(self) -> bool:
        """Say whether it is a GPU, which fits probes, too; here a core beside it does."""
        return self.name != HERE

    @property
    def unit(self) -> str:
        """What is paid for an hour of."""
        return "GPU" if self.on_gpu else "job"


def machine_of(meta: Json, known: Catalogue) -> str | None:
    """Return the catalogue's name of what a run was computed on; None where it has none."""
    if meta.get("device") == "cpu":
        return HERE if HERE in known.machines else None
    words = str(meta.get("processor", "")).lower().replace(" ", "")
    return next((name for name in known.machines if name in words), None)


def choose(
    project: Project,
    catalogue: Catalogue,
    name: str | None = None,
    peak_tflops: float | None = None,
    utilisation: float | None = None,
) -> Speed:
    """Return the machine of a plan: by name, else the scale's; both numbers can be given instead.

    The peak of the processor at hand is measured once and kept in the state folder.
    """
    wrong = utilisation is not None and not 0 < utilisation <= 1
    if wrong or (peak_tflops is not None and peak_tflops <= 0):
        raise ConfigError("--peak must be above 0 (TFLOP/s), --utilisation above 0 and at most 1")
    picked = name or catalogue.defaults.get(project.scale.scale, HERE)
    machine = catalogue.machine(picked)
    peak, source = (machine.peak_tflops or 0) * 1e12, machine.source
    if peak_tflops is not None:
        peak, source = peak_tflops * 1e12, "given: --peak"
    elif not peak:
        peak = measured_peak(project)
    basis = machine.basis if utilisation is None else "given: --utilisation"
    share = machine.utilisation if utilisation is None else utilisation
    return Speed(
        picked, machine.title, peak, share, machine.memory_gb, source, basis, machine.cores
    )


def measured_peak(project: Project) -> float:
    """Return FLOP/s of a matrix product in the runs' precision and threads on this processor.

    By the processor's time and not the clock's, since others may be using it; the best of many.
    """
    import torch

    from reprise.bench import GEMM_FLOPS, gemm
    from reprise.training.loop import resolve_precision
    from reprise.training.run import processor

    cpu, threads = torch.device("cpu"), project.scale.threads
    precision = resolve_precision("auto", cpu)
    key = digest_of({"processor": processor(cpu), "threads": threads, "precision": precision})
    file = project.state_root / f"peak-{key[:16]}.json"
    if file.is_file():
        return float(json.loads(file.read_text())["flops"])
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        product = gemm(precision, cpu)
        taken = [_processor_seconds(product) for _ in range(PEAK_REPEATS)]
        peak = GEMM_FLOPS * threads / min(taken)
    finally:
        torch.set_num_threads(before)
    write_atomic(file, json.dumps({"flops": peak, "precision": precision, "threads": threads}))
    return peak


def _processor_seconds(call: Callable[[], object]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


def pil_seconds(size: int) -> float:
    """Return the seconds in which one core augments an image of a side with Pillow."""
    return PIL_FIXED + PIL_AT_224 * (size / 224) ** 2
