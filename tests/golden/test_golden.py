"""The first twenty losses of each trained method at scale smoke, against those written down.

They are equal to the last bit on the same torch, thread count, processor and precision; elsewhere
they must agree with every machine's to half a percent, as bf16 rounds to that. After a change that
is meant to move them, and only then, empty the file and write them anew, on each kind of machine:

    REPRISE_WRITE_GOLDEN=1 pytest tests/golden
"""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from reprise.config import Project, load_project
from reprise.data.base import prepare
from reprise.plan import RunJob
from reprise.training import run as training_run
from reprise.training.distributed import World
from reprise.training.loop import Fit, resolve_precision

ROOT = Path(__file__).parents[2]
STORED = Path(__file__).with_name("losses.json")
STEPS = 20
RUNS = (
    *("can/can", "can/mae", "can/simclr", "can/supervised"),
    *("capdec/clip", "capdec/capdec", "deit3/deit3", "litv2/litv2"),
)


def machine() -> str:
    """Name what the last bit depends on."""
    # The model of the processor too: libraries choose their code by it, not by AVX2 alone.
    cpu = torch.device("cpu")
    version, precision = torch.__version__.split("+")[0], resolve_precision("auto", cpu)
    return f"torch {version}, 1 thread, {training_run.processor(cpu)}, {precision}"


@pytest.fixture(autouse=True)
def determinism() -> Iterator[None]:
    threads = torch.get_num_threads()
    training_run.set_determinism(1)
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


def losses(project: Project, name: str) -> list[float]:
    """Train the first steps of a run, after all of the runs that it builds on."""
    slug, _, run = name.partition("/")
    job = RunJob(project, slug, run, 0)
    for alias in {one.run.data for one in (job, *job.earlier_jobs)}:
        data_set = project.dataset(alias)
        prepare(data_set.name, project.data_root, data_set.args, lambda _: None, data_set.home)
    for earlier in job.earlier_jobs:
        training_run.train(earlier)
    data = training_run.training_data(job)
    method = training_run.build(job, data)
    settings = replace(training_run.fit_settings(job.run), steps=STEPS, log_every=1)
    samples = method.samples(data, torch.device("cpu"))
    key = training_run.run_key(job.run, 0)
    fit = Fit(method, samples, settings, key, project.root / "state" / run, World(), name)
    return [line["loss"] for line in fit.run().log]


@pytest.mark.parametrize("name", RUNS)
def test_losses_are_those_written_down(name: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "params", tmp_path / "params")
    found = losses(load_project(tmp_path, "smoke"), name)
    assert len(found) == STEPS
    stored: dict[str, Any] = json.loads(STORED.read_text() or "{}")
    if os.environ.get("REPRISE_WRITE_GOLDEN"):
        stored.setdefault(machine(), {})[name] = found
        STORED.write_text(json.dumps(stored, indent=1) + "\n")
    assert stored, "no losses are written down"
    for where, expected in stored.items():
        if where == machine():
            assert found == expected[name]
        else:
            assert found == pytest.approx(expected[name], rel=5e-3), where
