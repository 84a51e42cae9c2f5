"""Benchmarks of forward passes: counts and memory by hand, turns, ratios, wrong settings."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import yaml
from fabricated import workspace
from torch import nn

from reprise import bench, bench_forward, cells, memory, provenance, results, untrained
from reprise.config import Project, load_project
from reprise.errors import ConfigError, RepriseError
from reprise.plan import BenchmarkJob, TableJob
from reprise.settings.project import Run

CPU = torch.device("cpu")
TINY = {"img_size": 16, "patch_size": 4, "embed_dim": 32, "depth": 2, "num_heads": 2}
FORWARD: dict[str, Any] = {
    "kind": "forward",
    "runs": ["small", "wide"],
    "seconds": 0.05,
    "classes": 10,
    "backward": True,
}


def vit(**args: Any) -> dict[str, Any]:
    return {"name": "vit_tiny_patch16_224", "args": {**TINY, **args}}


STEP = {"kind": "step", "runs": ["small", "wide"], "seconds": 1.0}


def project(
    root: Path,
    benchmark: dict[str, Any] | None = None,
    over: dict[str, Any] = FORWARD,
    **runs: Any,
) -> Project:
    """A toy workspace with a benchmark of two small ViTs, of width 32 and 64, and a table of it."""
    workspace(root)
    file = root / "params/papers/toy.yaml"
    paper = yaml.safe_load(file.read_text())
    base = {
        **{"method": "supervised", "data": "photos", "kind": "cost", "precision": "fp32"},
        **{"augment": {"size": 16}, "optim": {"lr": 1e-3}, "steps": 1, "batch_size": 4},
    }
    made = {"small": {"model": vit()}, "wide": {"model": vit(embed_dim=64), "batch_size": 2}}
    for name, run in {**made, **runs}.items():
        paper["runs"][name] = {**base, **run}
    paper["benchmarks"] = {"models": {**over, **(benchmark or {})}}
    column = {"label": "speed", "benchmark": "models", "metric": "gmacs", "unit": "G"}
    paper["tables"]["cost"] = {
        "title": "Costs",
        "printed": "Table 7",
        "metrics": {"gmacs": column},
        "rows": [{"label": "Wide", "run": "wide"}, {"label": "Learned", "run": "learned"}],
    }
    file.write_text(yaml.safe_dump(paper, sort_keys=False))
    return load_project(root, "tiny")


def a_job(root: Path, **benchmark: Any) -> BenchmarkJob:
    return BenchmarkJob(project(root, benchmark), "toy", "models")


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> BenchmarkJob:
    """A benchmark of two runs with backward, run."""
    made = a_job(tmp_path_factory.mktemp("workspace"))
    bench.run(made)
    return made


def read(job: BenchmarkJob, run: str, metric: str) -> results.Measured:
    return results.read_benchmark_metric(job, run, metric)


# ---- counts ----
class Layers(nn.Module):
    """Stands for a method that has only an encoder."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def features(self, given: torch.Tensor) -> torch.Tensor:
        return self.encoder(given)


def macs_of(encoder: nn.Module, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr(
        untrained, "example", lambda run, batch, device: torch.empty(shape, device=device)
    )
    return untrained.multiply_adds(None, Layers(encoder))


def test_multiply_adds_of_a_linear_layer_by_hand(monkeypatch):
    assert macs_of(nn.Linear(12, 5), (1, 7, 12), monkeypatch) == 7 * 12 * 5


@pytest.mark.parametrize("fused", [False, True])
def test_multiply_adds_of_attention_by_hand(fused, monkeypatch):
    layer = timm.layers.Attention(24, num_heads=3)
    layer.fused_attn = fused
    tokens, width = 7, 24
    by_hand = 4 * tokens * width**2 + 2 * tokens**2 * width
    assert macs_of(layer, (1, tokens, width), monkeypatch) == by_hand


def test_a_layer_adds_what_the_counter_does_not_know(monkeypatch):
    class Sampled(nn.Linear):
        def extra_multiply_adds(self, given):
            return 4.0 * given.numel()

    assert macs_of(nn.Sequential(Sampled(3, 2)), (1, 5, 3), monkeypatch) == 5 * 3 * 2 + 4 * 15


def test_parameters_of_a_classifier_are_its_own_models(job):
    model = timm.create_model("vit_tiny_patch16_224", num_classes=10, **TINY)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert read(job, "small", "params_m").value == pytest.approx(count / 1e6, rel=1e-12)


def test_multiply_adds_of_a_vit_by_hand(job):
    patches, width, depth = 16, 32, 2
    tokens = patches + 1
    block = 12 * tokens * width**2 + 2 * tokens**2 * width
    by_hand = patches * 3 * 4 * 4 * width + depth * block + width * 10
    assert read(job, "small", "gmacs").value == pytest.approx(by_hand / 1e9, rel=1e-12)


def test_what_only_training_needs_is_no_part_of_the_model(tmp_path):
    decoder = {"decoder_depth": 1, "decoder_width": 32, "decoder_heads": 2, "projection": [32, 16]}
    made = {"method": "can", "model": vit(), "objective": decoder}
    loaded = project(tmp_path, {"runs": ["small", "pre"]}, pre=made)
    counts = untrained.count(loaded.run("toy", "pre"), 10)
    alone = untrained.count(loaded.run("toy", "small"), 10)
    head = 32 * 10 + 10
    assert counts.parameters == alone.parameters - head
    assert counts.multiply_adds == alone.multiply_adds - 32 * 10
    assert counts.bytes > 4 * counts.parameters


# arXiv 2204.07118, Table 7: parameters in millions and FLOPs in G, as printed.
DEIT3 = {
    "deit3_small_patch16_224": (22.0, 4.6),
    "deit3_small_patch16_384": (22.0, 15.5),
    "deit3_base_patch16_224": (86.6, 17.5),
    "deit3_base_patch16_384": (86.9, 55.5),
    "deit3_large_patch16_224": (304.4, 61.6),
    "deit3_large_patch16_384": (304.8, 191.2),
    "deit3_huge_patch14_224": (632.1, 167.4),
}
# Printed alike for both resolutions, which differ by 0.15 M of positions: neither 22.06 nor 22.21.
ROUGHLY = {"deit3_small_patch16_224": 0.06, "deit3_small_patch16_384": 0.21}


@pytest.mark.parametrize("name", DEIT3)
def test_deit3_has_the_printed_size(name):
    run = Run.model_validate(
        {
            **{"method": "supervised", "data": "photos", "model": {"name": name}},
            **{"augment": {"size": int(name[-3:])}, "optim": {"lr": 1e-3}},
            **{"steps": 0, "batch_size": 1},
        }
    )
    parameters, flops = DEIT3[name]
    counts = untrained.count(run, 1000)
    if name in ROUGHLY:
        assert counts.parameters / 1e6 - parameters == pytest.approx(ROUGHLY[name], abs=0.005)
    else:
        assert round(counts.parameters / 1e6, 1) == parameters
    assert counts.multiply_adds / 1e9 == pytest.approx(flops, rel=0.01)


# ---- single layers ----
def layer(name: str, side: int = 4, **args: Any) -> dict[str, Any]:
    sizes = {"width": 24, "heads": 3}
    model = {"name": name, "args": args}
    return {
        **{"method": "attention_layer", "model": model, "objective": sizes},
        **{"augment": {"size": side}},
    }


def test_single_layers_are_measured_on_tokens(tmp_path):
    layers = {"msa": layer("msa"), "hilo": layer("hilo", alpha=0.5)}
    made = BenchmarkJob(project(tmp_path, {"runs": list(layers)}, **layers), "toy", "models")
    bench.run(made)
    tokens, width = 16, 24
    by_hand = 4 * tokens * width**2 + 2 * tokens**2 * width
    assert read(made, "msa", "gmacs").value == pytest.approx(by_hand / 1e9, rel=1e-12)
    weights = 4 * width**2 + 4 * width
    assert read(made, "msa", "params_m").value == pytest.approx(weights / 1e6, rel=1e-12)
    # One head over averages of 2x2 tokens, two in windows of 2x2, each with its own projections.
    low, high = 8, 16
    lofi = tokens * (width * low + low * low) + tokens // 4 * (2 * width * low + 2 * tokens * low)
    hifi = tokens * (3 * width * high + high * high + 2 * 4 * high)
    assert read(made, "hilo", "gmacs").value == pytest.approx((lofi + hifi) / 1e9, rel=1e-12)
    for metric in made.benchmark.metrics:
        assert read(made, "hilo", metric).value > 0


def test_a_layers_input_wants_a_gradient_and_is_cleared_of_it(tmp_path):
    run = project(tmp_path, {"runs": ["msa"]}, msa=layer("msa", side=3)).run("toy", "msa")
    given = untrained.example(run, 5, CPU)
    assert given.shape == (5, 9, 24)
    model = untrained.Model("msa", run, untrained.drawn(run, 1, CPU), given, "fp32")
    model.prepare(training=True)
    model.forward_backward()
    assert given.grad is not None
    assert all(parameter.grad is not None for parameter in model.method.parameters())
    model.prepare(training=True)
    assert given.grad is None


# ---- weights ----
def test_weights_are_drawn_without_initialisation_and_buffers_stay_real(tmp_path):
    swin = {
        "name": "swin_tiny_patch4_window7_224",
        "args": {"img_size": 32, "window_size": 4, "embed_dim": 24, "depths": [2, 2]},
    }
    swin["args"]["num_heads"] = [3, 6]
    loaded = project(tmp_path, {"runs": ["small", "swin"]}, swin={"model": swin})
    run = loaded.run("toy", "swin")
    outline = untrained.outline(run, 10)
    assert all(parameter.is_meta for parameter in outline.parameters())
    method = untrained.drawn(run, 10, CPU)
    assert not any(parameter.is_meta for parameter in method.parameters())
    real = timm.create_model(swin["name"], num_classes=0, **swin["args"])
    assert len(list(real.buffers())) > 0
    for mine, theirs in zip(method.encoder.buffers(), real.buffers(), strict=True):
        torch.testing.assert_close(mine, theirs)
    linear = method.encoder.layers[0].blocks[0].mlp.fc1.weight
    assert linear.std().item() == pytest.approx(24**-0.5, rel=0.1)
    scores = method.eval().logits(torch.randn(2, 3, 32, 32))
    assert scores.isfinite().all()
    assert nn.Linear(2, 2).weight.is_cpu  # parameters are as usual again


def test_a_shared_weight_stays_one():
    layer = nn.Linear(4, 4)
    with untrained.parameters_on_meta():
        pair = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        pair[1].weight = pair[0].weight
    untrained.fill(pair, CPU)
    assert pair[0].weight is pair[1].weight
    assert memory.held_by(pair) == 4 * (16 + 4 + 4)
    assert memory.held_by(layer, torch.zeros(3)) == 4 * (16 + 4 + 3)


def test_a_model_whose_tables_need_its_weights_is_built_as_usual(tmp_path, monkeypatch):
    class Table(Linears):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("table", self.unused.weight.detach() + 1)

    monkeypatch.setattr(untrained, "build", lambda run, classes: Table())
    made = untrained.drawn(project(tmp_path).run("toy", "small"), 10, CPU)
    torch.testing.assert_close(made.table, made.unused.weight.detach() + 1)


# ---- memory ----
def test_peak_memory_of_products_by_hand():
    weight, given = torch.randn(64, 64), torch.randn(100, 64)
    one = 4 * 100 * 64

    def chain() -> None:
        first = given @ weight  # 1
        second = first @ weight  # 2
        del first
        third = second @ weight  # 2
        torch.cat([second, third])  # 2 and as much again

    assert memory.peak_of(chain, CPU) == 4 * one
    assert memory.peak_of(lambda: None, CPU) == 0


def test_peak_memory_is_above_what_there_was():
    kept = torch.zeros(1000)
    assert memory.peak_of(kept.neg_, CPU) == 0
    assert memory.peak_of(kept.neg, CPU) == 4000


class Linears(nn.Module):
    """Three linear layers without biases, as a method."""

    num_views = 1

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(*(nn.Linear(64, 64, bias=False) for _ in range(3)))
        self.unused = nn.Linear(64, 64, bias=False)

    def features(self, given):
        return self.encoder(given)

    def forward(self, batch, draws):
        return {"loss": self.features(batch.views[0]).sum()}


def test_memory_of_a_model_by_hand(tmp_path):
    run = project(tmp_path).run("toy", "small")
    model = untrained.Model("linears", run, Linears(), torch.randn(100, 64), "fp32")
    weights, rows = 4 * 64 * 64, 4 * 100 * 64
    # Forward alone: three weights, the input, and two outputs at once.
    assert model.memory(training=False) == 3 * weights + 3 * rows
    # With backward: all four weights and the input; the two inner outputs are kept until their
    # gradients are known. The last layer gives its input's gradient beside both, and its weight's.
    peak = model.memory(training=True) - 4 * weights - rows
    assert 3 * rows + weights <= peak <= 3 * rows + 3 * weights + 64
    assert all(parameter.grad is None for parameter in model.method.parameters())


# ---- turns ----
def test_every_run_is_measured_in_every_round(job):
    metrics = ("images_per_second", "relative_images_per_second", "fraction_of_peak")
    metrics += ("train_images_per_second", "relative_train_images_per_second")
    rounds = {read(job, run, metric).n for run in ("small", "wide") for metric in metrics}
    assert len(rounds) == 1
    assert rounds.pop() >= bench_forward.FEWEST_ROUNDS


def test_ratios_are_of_the_first_run_round_by_round(job):
    for kind in ("", "train_"):
        own = read(job, "wide", f"{kind}images_per_second").statistics
        first = read(job, "small", f"{kind}images_per_second").statistics
        ratio = read(job, "wide", f"relative_{kind}images_per_second").statistics
        np.testing.assert_allclose(ratio, own / first)
        assert read(job, "small", f"relative_{kind}images_per_second").value == 1


def test_the_fraction_of_peak_hangs_together_with_speed_and_counts(job):
    shares = read(job, "wide", "fraction_of_peak").statistics
    flops = 2e9 * read(job, "wide", "gmacs").value
    peaks = flops * read(job, "wide", "images_per_second").statistics / shares
    machine = results.read_benchmark(job)["machine"]
    assert peaks.max() == pytest.approx(1e9 * machine["gemm_gflops"])
    flops = 2e9 * read(job, "small", "gmacs").value
    again = flops * read(job, "small", "images_per_second").statistics
    np.testing.assert_allclose(again / read(job, "small", "fraction_of_peak").statistics, peaks)


def test_training_costs_more_memory_than_inference(job):
    for run in ("small", "wide"):
        weights = 4e6 * read(job, run, "params_m").value / 1e6
        test, train = (read(job, run, f"{kind}_memory_mb").value for kind in ("test", "train"))
        assert weights < test < train


def test_groups_hold_the_first_run_and_fit_the_limit():
    sizes = {"first": 1.0, "a": 2.0, "b": 2.0, "huge": 9.0, "c": 1.0, "d": 3.0}
    assert bench_forward.groups(sizes, 5.0) == [
        ["first", "a", "b"],
        ["first", "huge"],
        ["first", "c", "d"],
    ]
    assert bench_forward.groups({"only": 7.0}, 5.0) == [["only"]]


def test_rounds_follow_the_slowest_and_are_three_at_least():
    assert bench_forward.rounds_of([0.1, 0.5], 3.0) == 6
    assert bench_forward.rounds_of([0.1, 20.0], 3.0) == 3
    assert bench_forward.rounds_of([1e-5], 3.0) == bench_forward.MOST_ROUNDS


def contender(typical: float) -> bench_forward.Contender:
    return bench_forward.Contender("a", False, typical, 0)


def test_a_turn_repeats_a_fast_model_and_is_told_per_call(monkeypatch, tmp_path):
    run = project(tmp_path).run("toy", "small")
    model = untrained.Model("linears", run, Linears(), torch.randn(2, 64), "fp32")
    calls: list[bool] = []
    monkeypatch.setattr(
        model, "_infer", lambda given: calls.append(torch.is_inference_mode_enabled())
    )

    def ten_seconds(step, device):
        step()
        return 10.0

    monkeypatch.setattr(bench_forward, "timed", ten_seconds)
    assert bench_forward.take_turn(model, contender(0.1), 0.5, CPU) == 2.0
    assert calls == [True] * 5
    calls.clear()
    assert bench_forward.take_turn(model, contender(0.7), 0.5, CPU) == 10.0
    assert calls == [True]


def test_models_over_the_limit_are_measured_in_groups_beside_the_first(tmp_path, monkeypatch):
    settings = {"runs": ["small", "wide", "again"], "alive_gb": 1e-5, "backward": False}
    made = BenchmarkJob(project(tmp_path, settings, again={"model": vit()}), "toy", "models")
    turns: list[str] = []
    warm: list[str] = []

    def slower_machine_later(model, one, seconds, device):
        (turns if seconds else warm).append(one.name)
        return {"small": 1.0, "wide": 2.0, "again": 2.0}[one.name] * (4 if "again" in warm else 1)

    monkeypatch.setattr(bench_forward, "take_turn", slower_machine_later)
    record, arrays = bench.measure(made)
    assert record["groups"] == [["small", "wide"], ["small", "again"]]
    rounds = len(arrays["small/images_per_second"])
    assert rounds >= bench_forward.FEWEST_ROUNDS
    assert turns == ["small", "wide"] * rounds + ["small", "again"] * rounds
    np.testing.assert_array_equal(arrays["small/images_per_second"], 4 / 1)
    np.testing.assert_array_equal(arrays["wide/relative_images_per_second"], (2 / 2) / (4 / 1))
    np.testing.assert_array_equal(arrays["again/images_per_second"], 4 / 8)
    np.testing.assert_array_equal(arrays["again/relative_images_per_second"], 1 / 2)
    assert warm == ["small", "wide", "small", "again"]


def test_what_torch_was_told_holds_again_afterwards(tmp_path):
    threads = torch.get_num_threads()
    torch.use_deterministic_algorithms(True)
    try:
        record, _ = bench.measure(a_job(tmp_path, threads=2, backward=False))
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
    assert record["machine"]["threads"] == 2
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_inference_is_in_the_benchmarks_precision(tmp_path, monkeypatch, precision):
    loaded = project(tmp_path, {"precision": precision})
    models = bench_forward.Models(BenchmarkJob(loaded, "toy", "models"), precision, CPU)
    model, seen = models["small"], []
    monkeypatch.setattr(
        model, "_infer", lambda given: seen.append(model.method.logits(given).dtype)
    )
    model.prepare(training=False)
    model.forward()
    assert seen == [torch.bfloat16 if precision == "bf16" else torch.float32]
    assert not model.method.training
    model.prepare(training=True)
    model.forward_backward()
    assert model.method.training
    assert all(one.grad is not None for one in model.method.parameters() if one.requires_grad)


def test_too_little_memory_is_said_in_words(monkeypatch, tmp_path):
    run = project(tmp_path).run("toy", "small")
    model = untrained.Model("linears", run, Linears(), torch.randn(2, 64), "fp32")

    def full(given):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(model, "_infer", full)
    with pytest.raises(RepriseError, match=r"linears: .* smaller batch_size"):
        bench_forward.try_out(model, training=False)


# ---- records, tables, words ----
def test_a_table_reads_it(job):
    table = TableJob(job.project, "toy", "cost")
    wide, other = table.table.rows
    reading = cells.read_cell(table, wide, "gmacs")
    assert reading.measured[0].value == read(job, "wide", "gmacs").value
    assert reading.provenance[0]["commands"] == [
        "python -m reprise benchmark toy/models --scale tiny"
    ]
    status = cells.read_cell(table, other, "gmacs").status
    assert status == "not measured: learned is not in benchmark models"


def test_a_table_reads_it_in_the_printed_unit(job):
    file = job.project.root / "params/papers/toy.yaml"
    text = file.read_text()
    file.write_text(text.replace("unit: G", "unit: M\n        times: 1000"))
    table = TableJob(load_project(job.project.root, "tiny"), "toy", "cost")
    file.write_text(text)
    reading = cells.read_cell(table, table.table.rows[0], "gmacs")
    found, made = reading.measured[0], read(job, "wide", "gmacs")
    assert found.value == pytest.approx(1000 * made.value, rel=1e-15)
    assert found.value == found.statistics.mean() == reading.provenance[0]["value"]
    assert (found.n, found.reduce, found.of_images) == (made.n, made.reduce, False)


def test_the_record_says_what_was_measured(job):
    record = results.read_benchmark(job)
    assert record["kind"] == "forward"
    assert record["batch_sizes"] == {"small": 4, "wide": 2}
    assert record["machine"]["precision"] == "fp32"
    assert record["machine"]["compiled"] == []
    assert [one["metric"] for one in record["runs"]["wide"]] == list(job.benchmark.metrics)


def test_without_seconds_it_counts_and_computes_nothing(tmp_path, capsys, monkeypatch):
    made = a_job(tmp_path, seconds=0)
    monkeypatch.setattr(untrained, "fill", None)
    bench.show(made)
    printed = capsys.readouterr().out
    assert "GMACs" in printed
    assert "images/s" not in printed
    record, _ = bench.measure(made)
    for run in ("small", "wide"):
        assert [one["metric"] for one in record["runs"][run]] == ["params_m", "gmacs"]


def test_what_is_printed_has_every_number(job):
    record, arrays = bench.measure(job)
    assert list(bench.values_of(record, "small")) == list(job.benchmark.metrics)
    counts, line, forward, training = bench_forward.shown(job, record, arrays)
    assert [len(table.columns) for table in (counts, forward, training)] == [3, 7, 6]
    assert "GFLOP/s" in line
    assert "with backward" in bench_forward.in_words(bench.values_of(record, "wide"))


# ---- settings ----
@pytest.mark.parametrize(
    ("benchmark", "said"),
    [
        ({"kind": "forwards"}, "'step' or 'forward'"),
        ({"runs": ["small", "wider"]}, "did you mean 'wide'"),
        ({"runs": []}, "runs = "),
        ({"runs": ["small", "small"]}, "small is named twice"),
        ({"runs": ["small", "exact"]}, "its runs differ in precision"),
        ({"runs": ["small", "bare"]}, "bare has no augment.size"),
        ({"seconds": -1}, "seconds = -1"),
        ({"threads": 0}, "threads = 0"),
        ({"batchsize": 4}, "did you mean 'batch_size'"),
        ({"kind": "step"}, "goes with kind: forward"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path, benchmark, said):
    more = {"exact": {"model": vit(), "precision": "bf16"}}
    more["bare"] = {"model": vit(), "augment": None}
    with pytest.raises(ConfigError, match=said) as error:
        project(tmp_path, benchmark, **more)
    assert "toy.yaml: benchmarks.models" in str(error.value)


def test_a_column_cannot_ask_for_what_is_not_measured(tmp_path):
    project(tmp_path)
    file = tmp_path / "params/papers/toy.yaml"
    text = file.read_text().replace("metric: gmacs", "metric: train_memory_mb")
    file.write_text(text)
    load_project(tmp_path, "tiny")
    file.write_text(text.replace("backward: true", "backward: false"))
    with pytest.raises(ConfigError, match=r"metrics.gmacs.metric: unknown metric .*test_memory_mb"):
        load_project(tmp_path, "tiny")


@pytest.mark.parametrize("wrong", [{"batch_size": 2}, {"backward": False}, {"seconds": 0}])
def test_a_step_benchmark_takes_no_setting_of_the_other_kind(tmp_path, wrong):
    project(tmp_path, over=STEP)
    with pytest.raises(ConfigError, match="goes with kind: forward"):
        project(tmp_path, wrong, over=STEP)


# ---- digests ----
def test_a_setting_at_its_default_is_in_no_digest(tmp_path):
    plain = a_job(tmp_path).digest
    assert a_job(tmp_path, alive_gb=4.0, precision=None).digest == plain
    assert a_job(tmp_path, threads=2).digest != plain
    assert a_job(tmp_path, batch_size=3).digest != plain
    assert a_job(tmp_path, backward=False).digest != plain


def test_a_step_benchmarks_digest_holds_what_it_did_before_there_were_kinds(tmp_path, monkeypatch):
    seen: list[Any] = []
    monkeypatch.setattr(provenance, "digest_of", lambda value: seen.append(value) or "digest")
    made = BenchmarkJob(project(tmp_path, over=STEP), "toy", "models")
    assert made.digest == "digest"
    assert seen[-1]["benchmark"] == {"about": "", "runs": ["small", "wide"], "seconds": 1.0}
    assert seen[-1]["threads"] == 1


def test_each_kind_has_its_own_code_among_its_sources(job, tmp_path):
    def names(made: BenchmarkJob) -> set[str]:
        return {path.name for path in made.sources}

    assert {"bench.py", "bench_forward.py", "memory.py", "supervised.py"} <= names(job)
    assert "bench_step.py" not in names(job)
    step = BenchmarkJob(project(tmp_path, over=STEP), "toy", "models")
    assert {"bench.py", "bench_step.py", "supervised.py"} <= names(step)
    assert "bench_forward.py" not in names(step)
