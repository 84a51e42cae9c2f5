"""Evaluates one finished run with all its evaluators, in one process (importing torch is dear).

Finished evaluators of an interrupted call wait in the state folder; all are published together.
"""

import io
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from reprise import locks, provenance, registry
from reprise.config import Json
from reprise.data import present
from reprise.evaluators._base import Context, Result
from reprise.files import write_atomic
from reprise.plan import RunJob
from reprise.progress import say
from reprise.training import checkpoint, distributed
from reprise.training.run import (
    build,
    load_data,
    load_weights,
    read_meta,
    set_determinism,
    training_data,
)


def evaluate(job: RunJob) -> None:
    """Run every evaluator of a run and publish <evaluator>.json and .npz of each.

    Raises StaleError when the run's weights are absent or made by other settings; Interrupted
    when a signal stops a finetuning (its state is saved).
    """
    digests = {name: job.eval_digest(name) for name in job.run.evaluate}
    driver = locks.driver(job.project.root)
    lock = job.project.state_root / "locks" / f"{job.slug}-{job.name}-seed{job.seed}-eval.lock"
    with (
        locks.hold(lock, what=f"evaluating {job.key}", wait=True),
        distributed.world(job.project.config.device) as world,
        # One BLAS thread: scikit-learn's many small products are slower on two (ten times so on a
        # busy machine), and the sums do not depend on the number of cores.
        threadpool_limits(1, user_api="blas"),
    ):
        read_meta(job)
        if all(_is_published(job, name, digest) for name, digest in digests.items()):
            say(f"{job.key}: already evaluated, nothing to do")
            return
        set_determinism(job.threads)
        method = load_weights(job, build(job, training_data(job))).to(world.device)
        folder = _state_folder(job)
        context = Context(job, method, world, folder)
        for name, digest in digests.items():
            if not _is_done(folder / f"{name}.json", digest):
                _evaluate_one(context, name, digest)
        _publish(job, folder)
        # The next driver deletes what an orphan published; it will publish from here again.
        if driver is None or driver == locks.driver(job.project.root):
            checkpoint.remove(folder)


def _state_folder(job: RunJob) -> Path:
    """Folder of finished evaluators and resumable finetunings, keyed by all they are made from.

    Without the data's digests an interrupted evaluation would go on over data that were exchanged
    meanwhile. Where one is absent, the evaluator that reads those data says how to make them.
    """
    homes = sorted({*job.eval_data_folders, *job.data_folders})
    data = [present.digest_of(home / present.MANIFEST) for home in homes]
    key = provenance.digest_of({"evaluations": job.all_evals_digest, "data": data})
    return job.project.state_root / f"{job.slug}-{job.name}-seed{job.seed}-eval-{key[:16]}"


def _is_done(file: Path, digest: str) -> bool:
    whole = file.is_file() and file.with_suffix(".npz").is_file()
    return whole and json.loads(file.read_text())["digest"] == digest


def _is_published(job: RunJob, name: str, digest: str) -> bool:
    """Say whether an evaluation stands that present settings, sources and data would make."""
    file = job.eval_folder / f"{name}.json"
    if not _is_done(file, digest):
        return False
    made_from = json.loads(file.read_text())["data"]
    alias = job.project.paper(job.slug).evaluators[name].data
    present = load_data(job.project, alias, made_from["split"]).digest
    return bool(made_from["digest"] == present)


def _evaluate_one(context: Context, name: str, digest: str) -> None:
    job, started = context.job, time.monotonic()
    settings = job.project.paper(job.slug).evaluators[name]
    result: Result = registry.load("evaluator", settings.kind).evaluate(context, settings, name)
    seconds = time.monotonic() - started
    record = _record(job, name, digest, result, seconds)
    arrays: dict[str, Any] = {m.metric: m.statistics for m in result.metrics}
    arrays |= result.pictures
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    write_atomic(context.state_folder / f"{name}.npz", packed.getvalue())
    write_atomic(context.state_folder / f"{name}.json", json.dumps(record, indent=2) + "\n")
    shown = ", ".join(f"{m['metric']} {m['value']:.2f}" for m in record["metrics"])
    say(f"{job.key} {name}: {shown or 'pictures'} ({seconds:.1f} s)")


def _record(job: RunJob, name: str, digest: str, result: Result, seconds: float) -> Json:
    data = result.split
    return {
        "paper": job.slug,
        "run": job.name,
        "seed": job.seed,
        "scale": job.project.scale.scale,
        "evaluator": name,
        "kind": job.project.paper(job.slug).evaluators[name].kind,
        "digest": digest,
        "run_digest": job.digest,
        "data": {"name": data.name, "split": data.split, "digest": data.digest, "n": len(data)},
        "metrics": [measured.record() for measured in result.metrics],
        "pictures": [{"array": array, "label": array} for array in result.pictures],
        "info": result.info,
        "settings": job.eval_spec(name)["evaluator"],
        "seconds": round(seconds, 3),
        "versions": provenance.versions(),
        "command": f"python -m reprise evaluate {job.slug}/{job.name} --seed {job.seed} "
        f"--scale {job.project.scale.scale}",
    }


def _publish(job: RunJob, folder: Path) -> None:
    # A record is published after its arrays, so a reader that finds it finds them too.
    for file in sorted(job.eval_outputs, key=lambda path: path.suffix == ".json"):
        write_atomic(file, (folder / file.name).read_bytes())
