"""Losses of each trained method at scale smoke, against those that were written down.

They are equal to the last bit on the same torch, thread count and processor; elsewhere they
must agree to one part in a thousand. After a change that is meant to move them, write them anew:

    REPRISE_WRITE_GOLDEN=1 pytest tests/golden
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from reprise.config import load_project
from reprise.data.base import prepare
from reprise.plan import RunJob
from reprise.training.distributed import World
from reprise.training.loop import Fit
from reprise.training.run import (
    build,
    fit_settings,
    load_data,
    processor,
    run_key,
    set_determinism,
)

ROOT = Path(__file__).parents[2]
STORED = Path(__file__).with_name("losses.json")
RUNS = ("can/can", "can/mae", "can/simclr", "can/supervised")


def machine() -> str:
    # The model of the processor too: libraries choose their code by it, not by AVX2 alone.
    return f"torch {torch.__version__.split('+')[0]}, 1 thread, {processor(torch.device('cpu'))}"


@pytest.fixture(autouse=True)
def determinism():
    threads = torch.get_num_threads()
    set_determinism(1)
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


def losses(name: str, folder: Path) -> list[float]:
    project = load_project(ROOT, "smoke")
    slug, run_name = name.split("/")
    job = RunJob(project, slug, run_name, 0)
    dataset = project.dataset(job.run.data)
    prepare(dataset.name, folder, dataset.args, lambda _: None)
    object.__setattr__(project.config, "data_root", str(folder))
    data = load_data(project, job.run.data, "train")
    settings = fit_settings(job.run)
    fit = Fit(
        build(job, data), data, settings, run_key(job.run, 0), folder / "state", World(), name
    )
    return [line["loss"] for line in fit.run().log]


@pytest.mark.parametrize("name", RUNS)
def test_losses_are_those_written_down(name: str, tmp_path: Path) -> None:
    found = losses(name, tmp_path)
    stored: dict[str, Any] = json.loads(STORED.read_text()) if STORED.is_file() else {}
    if os.environ.get("REPRISE_WRITE_GOLDEN"):
        stored = stored if stored.get("machine") == machine() else {"machine": machine()}
        stored.setdefault("losses", {})[name] = found
        STORED.write_text(json.dumps(stored, indent=1) + "\n")
    expected = stored["losses"][name]
    if stored["machine"] == machine():
        assert found == expected
    else:
        assert found == pytest.approx(expected, rel=1e-3)
