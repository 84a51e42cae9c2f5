"""Trains one run with one seed and publishes its three files: weights, curve, provenance."""

import json
import platform
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from reprise import locks, provenance, registry
from reprise.config import Project, Run
from reprise.data.base import ImageSet, load
from reprise.errors import RepriseError, StaleError
from reprise.files import write_atomic
from reprise.models.attention import choose_attention
from reprise.plan import RunJob
from reprise.progress import say
from reprise.training import checkpoint, distributed
from reprise.training.distributed import World
from reprise.training.loop import Fit, FitSettings, FitState
from reprise.training.method import Method
from reprise.training.seeding import Key


@dataclass(frozen=True)
class Built:
    """A run's method with initial weights, and the data it trains on."""

    method: Method
    data: ImageSet


def set_determinism(threads: int) -> None:
    """Fix the thread count and refuse operations whose result can vary between two calls."""
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    # Filling memory that an operation is about to overwrite costs time and changes nothing.
    setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010


def load_data(project: Project, alias: str, split: str) -> ImageSet:
    """Load a prepared data set of the scale by its alias; its bytes are checked."""
    dataset = project.dataset(alias)
    return load(dataset.name, split, project.data_root, dataset.args, dataset.home)


def training_data(job: RunJob) -> ImageSet:
    """Load the split that a run trains on."""
    return load_data(job.project, job.run.data, job.run.split)


def run_key(run: Run, seed: int) -> Key:
    """Root of a run's random streams. It holds the seed alone, not the run's name: runs that
    differ in one setting see the same samples, crops and masks, which makes them paired."""
    return Key(("reprise", seed))


def build(job: RunJob, data: ImageSet) -> Method:
    """Build a run's method with its seed's initial weights, or those it starts from.

    timm's attention is set for the device; a method that knows better does so itself.
    """
    run_key(job.run, job.seed).fold("init").seed_everything()
    method: Method = registry.load("method", job.run.method).build(job.run, data)
    init = job.init_job
    if init is not None:
        load_part(method, init)
    method.attach(job, data)
    choose_attention(method, distributed.pick_device(job.project.config.device))
    return method


def read_meta(job: RunJob) -> dict[str, Any]:
    """Return a finished run's meta.json; raise StaleError when other settings made it."""
    file = job.folder / "meta.json"
    if not file.is_file():
        raise StaleError(f"{job.key} is not trained: run `python -m reprise {command(job)}`")
    meta: dict[str, Any] = json.loads(file.read_text())
    if meta["digest"] != job.digest:
        raise StaleError(
            f"{job.key}: {file} was made by other settings or sources; "
            f"train it again with `python -m reprise {command(job)}`"
        )
    return meta


def load_weights(job: RunJob, method: Method) -> Method:
    """Load a finished run's published weights into its method, strictly."""
    read_meta(job)
    safetensors.torch.load_model(method, job.folder / "model.safetensors", strict=True)
    return method


def load_part(method: Method, source: RunJob) -> None:
    """Copy the part that a method carries on from a finished run; the shapes must agree."""
    read_meta(source)
    prefix = f"{method.carries}."
    stored = safetensors.torch.load_file(source.folder / "model.safetensors")
    part = {
        name.removeprefix(prefix): value
        for name, value in stored.items()
        if name.startswith(prefix)
    }
    module = method.get_submodule(method.carries)
    try:
        # A weight that two layers share is stored once.
        kept = _once(module.state_dict())
        wrong = sorted(kept.keys() ^ part.keys())
        if wrong:
            raise RuntimeError(f"only one of the two has {', '.join(wrong)}")
        module.load_state_dict(part, strict=False)
    except RuntimeError as error:
        raise RepriseError(f"the {method.carries} of {source.key} does not fit: {error}") from None


def _once(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a state without the later names of weights that several layers share."""
    names: dict[int, str] = {}
    for name, value in state.items():
        if value.numel():
            names.setdefault(value.data_ptr(), name)
    return {name: v for name, v in state.items() if names.get(v.data_ptr(), name) == name}


def command(job: RunJob) -> str:
    """Return the verb that makes a run, as typed."""
    return f"train {job.slug}/{job.name} --seed {job.seed} --scale {job.project.scale.scale}"


def fit_settings(run: Run) -> FitSettings:
    """Return what the loop must know of a run."""
    return FitSettings(
        steps=run.steps,
        batch_size=run.batch_size,
        optim=run.optim,
        augment=run.augment,
        accumulate=run.accumulate,
        precision=run.precision,
        compile=run.compile,
        log_every=run.log_every,
        workers=run.workers,
        whole_photographs=bool(run.whole_photographs),
    )


def state_folder(job: RunJob, data_digest: str) -> Path:
    """Folder of resumable state, keyed by everything that the bytes depend on."""
    key = provenance.digest_of({"run": job.digest, "data": data_digest})
    return job.project.state_root / f"{job.slug}-{job.name}-seed{job.seed}-{key[:16]}"


def make_fit(job: RunJob, world: World) -> Fit:
    """Return a run's fit, ready to start or resume."""
    set_determinism(job.threads)
    data = training_data(job)
    folder = state_folder(job, data.digest)
    key = run_key(job.run, job.seed)
    again = f"python -m reprise {command(job).replace('train', 'replay', 1)}"
    method, settings = build(job, data), fit_settings(job.run)
    samples = method.samples(data, world.device) if job.run.steps else data
    return Fit(method, samples, settings, key, folder, world, job.key, again=again)


def train(job: RunJob) -> None:
    """Train a run unless its published files are current; safe to call again after any kill.

    Under torchrun every process calls this; the first one writes the files. Raises Interrupted
    (state saved), NonFiniteError, DataError, StaleError.
    """
    driver = locks.driver(job.project.root)
    with distributed.world(job.project.config.device) as world:
        if not world.is_main:
            make_fit(job, world).run()
            return
        lock = job.project.state_root / "locks" / f"{job.slug}-{job.name}-seed{job.seed}.lock"
        # A trainer orphaned by a killed driver goes on; its successor waits, then finds the work
        # done. Two never train together. The next driver deletes what its predecessor's jobs
        # published after its death, so an orphan leaves its last state to publish from again.
        with locks.hold(lock, what=f"training {job.key}", wait=True):
            if _is_published(job):
                say(f"{job.key}: already trained, nothing to do")
                return
            fit = make_fit(job, world)
            state = fit.run()
            orphaned = driver is not None and driver != locks.driver(job.project.root)
            if orphaned:
                fit.save()
            _publish(job, fit, state)
            if not orphaned:
                checkpoint.remove(state.folder)


def replay(job: RunJob) -> dict[str, float]:
    """Repeat the next step of an unfinished run from its newest checkpoint; return its losses."""
    with distributed.world(job.project.config.device) as world:
        return make_fit(job, world).replay()


def _is_published(job: RunJob) -> bool:
    if distributed.is_distributed() or not all(path.is_file() for path in job.outputs):
        return False
    try:
        meta = read_meta(job)
    except (StaleError, ValueError, KeyError):
        return False
    present = training_data(job).digest
    return bool(meta.get("data", {}).get("digest") == present)


def _publish(job: RunJob, fit: Fit, state: FitState) -> None:
    """Write the three files, provenance last."""
    method = fit.method if fit.ema is None else fit.ema.module
    tensors = {name: v.contiguous().cpu() for name, v in _once(method.state_dict()).items()}
    # One array at least: safetensors refuses an empty file, and raw pixels have no weights.
    write_atomic(job.folder / "model.safetensors", safetensors.torch.save(tensors))
    lines = [json.dumps(line) + "\n" for line in state.log]
    write_atomic(job.folder / "log.jsonl", "".join(lines))
    write_atomic(job.folder / "meta.json", json.dumps(_meta(job, fit, state), indent=2) + "\n")
    if state.seconds:
        rate = state.step * job.run.batch_size / state.seconds
        say(f"{job.key}: {state.step} steps, {state.seconds:.0f} s, {rate:,.0f} images/s")


def _meta(job: RunJob, fit: Fit, state: FitState) -> dict[str, Any]:
    data, package = fit.data, Path(provenance.__file__).parent
    images = state.step * job.run.batch_size
    return {
        "paper": job.slug,
        "run": job.name,
        "seed": job.seed,
        "scale": job.project.scale.scale,
        "kind": job.run.kind,
        "digest": job.digest,
        "spec": job.spec,
        "data": {"name": data.name, "split": data.split, "digest": data.digest, "n": len(data)},
        "sources": {
            str(path.relative_to(package)): provenance.digest_of_file(path) for path in job.sources
        },
        "git": provenance.git_state(job.project.root),
        "versions": provenance.versions(),
        "device": str(fit.world.device),
        "processor": processor(fit.world.device),
        "threads": torch.get_num_threads(),
        "precision": fit.precision,
        "processes": fit.world.size,
        "steps": state.step,
        "batch_size": job.run.batch_size,
        "parameters": sum(p.numel() for p in fit.method.parameters()),
        "wall_seconds": round(state.seconds, 3),
        "images_per_second": round(images / state.seconds, 1) if state.seconds else None,
        "peak_memory_mb": round(peak_memory_mb(fit.world.device), 1),
        "resumed": state.resumed,
        "command": f"python -m reprise {command(job)}",
    }


def processor(device: torch.device) -> str:
    """Return the name of what computed: the GPU, or the processor and its vector instructions."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return f"{model} ({torch.backends.cpu.get_cpu_capability()})"


def peak_memory_mb(device: torch.device) -> float:
    """Return the peak memory of this process: the GPU's where one is used, else resident MB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
