"""Benchmarks: what they count, how their numbers hang together, and who reads them."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from reprise import bench, bench_step, cells, flops, results
from reprise.cli_shared import run_job
from reprise.config import load_project
from reprise.errors import ConfigError
from reprise.plan import BenchmarkJob, TableJob

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> BenchmarkJob:
    """The step benchmark of CAN at scale smoke, run."""
    root = tmp_path_factory.mktemp("workspace")
    shutil.copytree(ROOT / "params", root / "params")
    made = BenchmarkJob(load_project(root, "smoke"), "can", "step")
    bench.run(made)
    yield made
    torch.use_deterministic_algorithms(False)


def value(job: BenchmarkJob, run: str, metric: str) -> float:
    return results.read_benchmark_metric(job, run, metric).value


def test_every_run_is_measured_in_every_round(job):
    rounds = {
        results.read_benchmark_metric(job, run, "relative_seconds").n for run in job.benchmark.runs
    }
    assert len(rounds) == 1
    assert rounds.pop() >= bench_step.FEWEST_ROUNDS


def test_ratios_are_of_the_first_run(job):
    first = job.benchmark.runs[0]
    assert value(job, first, "relative_forward_macs") == 1
    assert value(job, first, "relative_seconds") == 1
    for run in job.benchmark.runs:
        ratio = value(job, run, "step_macs") / value(job, first, "step_macs")
        assert value(job, run, "relative_step_macs") == pytest.approx(ratio)
    speeds = results.read_benchmark_metric(job, "simclr", "images_per_second").statistics
    base = results.read_benchmark_metric(job, first, "images_per_second").statistics
    times = results.read_benchmark_metric(job, "simclr", "relative_seconds").statistics
    np.testing.assert_allclose(times, base / speeds)


def test_backward_costs_twice_the_forward_but_not_for_a_momentum_encoder(job):
    for run in ("can", "mae", "simclr", "multi-crop"):
        assert value(job, run, "step_macs") / value(job, run, "forward_macs") == pytest.approx(
            3, rel=0.03
        )
    extra = value(job, "simclr-momentum", "step_macs") - value(job, "simclr", "step_macs")
    assert extra == pytest.approx(value(job, "simclr", "forward_macs"), rel=0.03)


def test_step_of_one_linear_layer_by_hand():
    class One(torch.nn.Module):
        num_views = 1

        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(12, 5, device="meta")

        def forward(self, batch, draws):
            return {"loss": self.layer(batch.views[0].flatten(1)).sum()}

    # Forward 12 * 5; backward the same for the weights, and nothing for the images.
    assert flops.multiply_adds(One(), 3, 2) == 60
    assert flops.multiply_adds(One(), 3, 2, backward=True) == 120


def test_saved_memory_counts_each_storage_once():
    weight = torch.ones(1000, requires_grad=True)

    def step(number: int) -> None:
        x = weight * weight  # keeps weight, twice
        (x * x).sum().backward()  # keeps x, twice

    assert bench_step.saved_megabytes(step) == pytest.approx(2 * 4000 / 1e6)


def test_table_reads_counts_and_timings_and_says_what_it_cannot(job):
    table = TableJob(job.project, "can", "efficiency")
    rows = {row.label: row for row in table.table.rows}
    reading = cells.read_cell(table, rows["multi-crop (2 full and 6 small views)"], "step_macs")
    assert reading.measured[0].value == value(job, "multi-crop", "step_macs")
    assert reading.provenance[0]["commands"] == [
        "python -m reprise benchmark can/step --scale smoke"
    ]
    other = cells.read_cell(table, rows["multi-crop (2 full and 6 small views)"], "linear_epochs")
    assert other.status == "not measured: only what its steps cost is"
    untrained = cells.read_cell(table, rows["CAN"], "train_seconds")
    assert untrained.status == "not run: can/can seed 0 has no meta.json"


def test_run_that_is_there_for_its_cost_is_not_trained(job):
    with pytest.raises(ConfigError, match="kind: cost"):
        run_job(job.project, "can/multi-crop", None)
