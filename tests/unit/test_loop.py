"""The engine: exact resume, stop signals, non-finite losses, accumulation, processes."""

import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from timm.scheduler import CosineLRScheduler
from tiny import TinyMethod, photos
from torch import Tensor, nn
from torch.optim import SGD
from transformers import get_linear_schedule_with_warmup

from reprise.data.base import ImageSet
from reprise.errors import ConfigError, Interrupted, NonFiniteError
from reprise.plan.runs import given
from reprise.settings.base import Augment, Optim
from reprise.training import checkpoint
from reprise.training.distributed import World
from reprise.training.loop import Fit, FitSettings, resolve_precision
from reprise.training.method import Batch, Method
from reprise.training.optim import Schedule, build_optimizer
from reprise.training.seeding import Draws, Key

AUGMENT = Augment(size=8, crop_scale=(0.5, 1.0), flip=0.5)


def settings(**over: Any) -> FitSettings:
    values: dict[str, Any] = {
        "steps": 12,
        "batch_size": 64,
        "optim": Optim(lr=1e-2, warmup_steps=2, ema_decay=0.9, clip_norm=1.0),
        "augment": AUGMENT,
        "log_every": 1,
    }
    return FitSettings(**{**values, **over})


def make_fit(folder: Path, data: ImageSet | None = None, **over: Any) -> Fit:
    method = over.pop("method", None) or TinyMethod()
    return Fit(
        method, data or photos(), settings(**over), Key(("test",)), folder, World(), "tiny/run"
    )


def weights(fit: Fit) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in fit.method.state_dict().items()}


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture
def straight(tmp_path: Path) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    fit = make_fit(tmp_path / "straight")
    state = fit.run()
    return weights(fit), state.log


class StopAt(TinyMethod):
    """Sends this process a signal in the middle of a step."""

    def __init__(self, step: int, number: int) -> None:
        super().__init__()
        self.calls, self.at, self.number = 0, step, number

    def forward(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        self.calls += 1
        if self.calls == self.at:
            os.kill(os.getpid(), self.number)
        return super().forward(batch, draws)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
@pytest.mark.parametrize("step", [1, 7])
def test_a_signal_stops_at_the_step_boundary_and_resume_is_exact(
    tmp_path: Path,
    straight: tuple[dict[str, Tensor], list[dict[str, Any]]],
    number: int,
    step: int,
) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match=f"step {step} of 12"):
        make_fit(tmp_path / "cut", method=StopAt(step, number)).run()
    assert signal.getsignal(number) == before
    fit = make_fit(tmp_path / "cut")
    state = fit.run()
    assert equal(weights(fit), straight[0])
    assert state.log == straight[1]
    assert state.resumed == 1
    lines = [json.loads(line) for line in state.log_file.read_text().splitlines()]
    assert lines == straight[1]


def test_the_interruption_has_an_exit_code_of_its_own() -> None:
    assert Interrupted.exit_code == 75


def test_workers_do_not_change_the_result(
    tmp_path: Path, straight: tuple[dict[str, Tensor], list[dict[str, Any]]]
) -> None:
    fit = make_fit(tmp_path / "workers", workers=2)
    fit.run()
    assert equal(weights(fit), straight[0])


def test_a_seed_changes_the_result(
    tmp_path: Path, straight: tuple[dict[str, Tensor], list[dict[str, Any]]]
) -> None:
    fit = make_fit(tmp_path / "other")
    fit.key = fit.steps._key = Key(("other",))
    fit.run()
    assert not equal(weights(fit), straight[0])


def test_accumulation_equals_one_large_batch(tmp_path: Path) -> None:
    """Plain SGD: Adam would magnify rounding where a gradient is almost zero."""
    optim = Optim(name="sgd", lr=0.1)
    whole = make_fit(tmp_path / "one", batch_size=128, optim=optim)
    parts = make_fit(tmp_path / "two", batch_size=128, optim=optim, accumulate=2)
    logs = [fit.run().log for fit in (whole, parts)]
    for name, value in weights(whole).items():
        torch.testing.assert_close(weights(parts)[name], value, rtol=1e-4, atol=1e-6)
    assert logs[0][-1]["loss"] == pytest.approx(logs[1][-1]["loss"], rel=1e-4)


def test_accumulation_is_refused_where_samples_mix(tmp_path: Path) -> None:
    method = TinyMethod()
    method.mixes_samples = True
    with pytest.raises(ConfigError, match="accumulate"):
        make_fit(tmp_path, method=method, accumulate=2)


class PoisonAt(TinyMethod):
    def __init__(self, step: int) -> None:
        super().__init__()
        self.calls, self.at = 0, step

    def forward(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        losses = super().forward(batch, draws)
        self.calls += 1
        if self.calls == self.at:
            losses["loss"] = losses["loss"] * float("nan")
        return losses


def test_a_loss_that_is_not_finite_stops_at_once_and_can_be_replayed(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteError, match=r"step 4 is not finite.*in .*nonfinite-rank0.json"):
        make_fit(tmp_path, method=PoisonAt(5)).run()
    record = json.loads((tmp_path / "nonfinite-rank0.json").read_text())
    assert record["step"] == 4
    assert len(record["indices"]) == 64
    fit = make_fit(tmp_path, method=PoisonAt(1))
    with pytest.raises(RuntimeError, match="nan"):  # anomaly detection names the operation
        fit.replay()
    saved = checkpoint.load_newest(tmp_path)
    assert saved is not None
    assert saved["step"] == 4
    assert all(torch.isfinite(value).all() for value in saved["method"].values())
    make_fit(tmp_path).run()  # the cause mended, the same command goes on


class Normed(TinyMethod):
    """Has BatchNorm's statistics, which a forward pass moves, and fails at one batch."""

    def __init__(self, bad: Tensor | None = None) -> None:
        super().__init__()
        self.norm, self.bad = nn.BatchNorm1d(64), bad

    def forward(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        images = batch.views[0].flatten(1)
        if self.bad is not None and bool(torch.isin(self.bad, batch.indices).all()):
            images = images * float("inf")
        scores = self.head(self.encoder(self.norm(images)))
        return {"loss": nn.functional.cross_entropy(scores, batch.labels)}


class Remembers(Normed):
    """Keeps the indices of all batches."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        self.seen.append(batch.indices)
        return super().forward(batch, draws)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.filterwarnings("ignore:Anomaly Detection", "ignore:Error detected")
def test_the_state_that_a_bad_batch_leaves_is_the_one_before_its_step(
    tmp_path: Path, accumulate: int
) -> None:
    """Also where the first of two passes has moved the statistics already."""
    over = {"batch_size": 128, "accumulate": accumulate}
    whole = make_fit(tmp_path / "whole", method=Remembers(), **over)
    log = whole.run().log
    bad = whole.method.seen[5 * accumulate - 1]  # type: ignore[union-attr, index]
    with pytest.raises(NonFiniteError, match="step 4 is not finite"):
        make_fit(tmp_path / "bad", method=Normed(bad), **over).run()
    stopped = make_fit(tmp_path / "stopped", method=Normed(), **over)
    stop_after(stopped, 4)
    with pytest.raises(Interrupted):
        stopped.run()
    expected, saved = (checkpoint.load_newest(tmp_path / name) for name in ("stopped", "bad"))
    assert expected is not None
    assert saved is not None
    assert saved["step"] == 4
    assert saved["method"]["norm.num_batches_tracked"] == 4 * accumulate
    for part in ("method", "ema"):
        assert equal(saved[part], expected[part])
    again = make_fit(tmp_path / "bad", method=Normed(bad), **over)
    with pytest.raises(RuntimeError, match="nan"):
        again.replay()
    mended = make_fit(tmp_path / "bad", method=Normed(), **over)
    assert mended.run().log == log
    assert equal(weights(mended), weights(whole))


@pytest.mark.parametrize("accumulate", [1, 2, 4])
@pytest.mark.filterwarnings("ignore:Anomaly Detection")
def test_a_replayed_step_draws_what_the_step_drew(tmp_path: Path, accumulate: int) -> None:
    """Keyed noise and global dropout, in as many passes."""
    over = {"batch_size": 256, "accumulate": accumulate}
    log = make_fit(tmp_path / "whole", **over).run().log
    stopped = make_fit(tmp_path / "cut", **over)
    stop_after(stopped, 7)
    with pytest.raises(Interrupted):
        stopped.run()
    replayed = make_fit(tmp_path / "cut", **over).replay()
    assert replayed["loss"] == log[7]["loss"]


def stop_after(fit: Fit, steps: int) -> None:
    """Let a signal come in a step, which is finished and saved."""
    real = fit._backward

    def signalled(*given: Any) -> Any:
        if fit.state.step == steps - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*given)

    fit._backward = signalled  # type: ignore[method-assign]


def test_schedule_is_a_function_of_the_step() -> None:
    optim = Optim(lr=0.1, min_lr=0.01, warmup_steps=4)
    method = TinyMethod()
    schedule = Schedule(build_optimizer(method, optim), optim, 20)
    rates = [schedule.set(step) for step in range(20)]
    assert rates[:3] == pytest.approx([0.025, 0.05, 0.075])
    for step in range(4, 20):
        cosine = 0.01 + (0.1 - 0.01) * (1 + math.cos(math.pi * (step + 1) / 21)) / 2
        assert rates[step] == pytest.approx(cosine)
    assert schedule.set(2) == pytest.approx(0.075)


def test_a_linear_schedule_falls_from_the_end_of_the_warm_up() -> None:
    """Transformers' rule, a step ahead of it: its first step would not move, here the last does."""
    optim = Optim(lr=0.1, min_lr=0.01, warmup_steps=4, schedule="linear")
    schedule = Schedule(build_optimizer(TinyMethod(), optim), optim, 20)
    rates = [schedule.set(step) for step in range(20)]
    assert rates[:4] == pytest.approx([0.025, 0.05, 0.075, 0.1])
    for step in range(4, 20):
        share = (21 - (step + 1)) / (21 - 4)
        assert rates[step] == pytest.approx(0.01 + (0.1 - 0.01) * share)
    assert schedule.set(2) == pytest.approx(0.075)
    moved = SGD([nn.Parameter(torch.zeros(1))], 0.1)
    rule = get_linear_schedule_with_warmup(moved, 4, 21)  # type: ignore[no-untyped-call]
    own = Optim(lr=0.1, warmup_steps=4, schedule="linear")
    ours = Schedule(build_optimizer(TinyMethod(), own), own, 20)
    for step in range(20):
        assert ours.set(step) == pytest.approx(0.1 * rule.lr_lambdas[0](step + 1))


def maes_rate(epoch: float, lr: float, min_lr: float, warmup: float, epochs: float) -> float:
    """Return the rate at a broken number of epochs (facebookresearch/mae, util/lr_sched.py)."""
    if epoch < warmup:
        return lr * epoch / warmup
    rest = (epoch - warmup) / (epochs - warmup)
    return min_lr + (lr - min_lr) * 0.5 * (1 + math.cos(math.pi * rest))


@pytest.mark.parametrize("min_lr", [0.0, 1e-3])
@pytest.mark.parametrize("warmup", [0, 1, 4, 19, 20])
def test_a_cosine_can_begin_where_the_warm_up_ends(warmup: int, min_lr: float) -> None:
    """MAE's rule, a step ahead of it.

    MAE's first step is number 0, so it has a rate of 0 and does not move, and the last of 21 has
    not quite the least rate. Ours are its steps 1 to 20.
    """
    optim = Optim(lr=0.1, min_lr=min_lr, warmup_steps=warmup, warmup_prefix=True)
    schedule = Schedule(build_optimizer(TinyMethod(), optim), optim, 20)
    rates = [schedule.set(step) for step in range(20)]
    by_epoch = 7  # steps in an epoch; MAE counts in parts of epochs
    for step, rate in enumerate(rates):
        epochs = [(number / by_epoch) for number in (step + 1, warmup, 21)]
        assert rate == pytest.approx(maes_rate(epochs[0], 0.1, min_lr, *epochs[1:]))
    if warmup:
        assert rates[warmup - 1] == 0.1  # the full rate, which timm's rule does not reach
    assert schedule.set(2) == rates[2]


@pytest.mark.parametrize("prefix", [None, False])
def test_a_cosine_takes_its_warm_up_from_its_beginning_unless_told(prefix: bool | None) -> None:
    """What every result was made with: timm's scheduler as it was called before the setting."""
    optim = Optim(lr=0.1, min_lr=0.01, warmup_steps=4, warmup_prefix=prefix)
    bare = CosineLRScheduler(
        SGD([nn.Parameter(torch.zeros(1))], 0.1),
        t_initial=21,
        lr_min=0.01,
        warmup_t=4,
        warmup_lr_init=0.0,
        t_in_epochs=False,
    )
    assert _rates(optim, 20) == [bare._get_lr(step + 1)[0] for step in range(20)]
    assert "warmup_prefix" not in given(Optim(lr=0.1).model_dump(mode="json"))


def test_biases_and_norms_are_not_decayed() -> None:
    method = TinyMethod()
    groups = build_optimizer(method, Optim(lr=0.1, weight_decay=0.3)).param_groups
    decayed = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    for name, parameter in method.named_parameters():
        assert (id(parameter) in decayed) == (parameter.ndim > 1), name


def test_layer_decay_lowers_the_rate_with_depth() -> None:
    import timm

    class Wrapped(TinyMethod):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = timm.create_model(
                "vit_base_patch16_224", num_classes=0, embed_dim=8, depth=3, num_heads=1
            )

    method, optim = Wrapped(), Optim(lr=1.0, layer_decay=0.5)
    optimizer = build_optimizer(method, optim)
    Schedule(optimizer, optim, 10).set(3)
    rate = {id(p): g["lr"] for g in optimizer.param_groups for p in g["params"]}
    encoder = dict(method.encoder.named_parameters())
    first, last = (rate[id(encoder[f"blocks.{i}.attn.qkv.weight"])] for i in (0, 2))
    assert last / first == pytest.approx(4.0)
    head = dict(method.named_parameters())["head.weight"]
    assert rate[id(head)] >= last
    trained = {id(p) for p in method.parameters() if p.requires_grad}
    assert set(rate) == trained


def test_auto_precision_never_emulates() -> None:
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    expected = "bf16" if native else "fp32"
    assert resolve_precision("auto", torch.device("cpu")) == expected
    assert resolve_precision("bf16", torch.device("cpu")) == "bf16"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("kind", ["plain", "contrast"])
def test_two_processes_equal_one(tmp_path: Path, kind: str) -> None:
    """Losses, gradients (through one SGD step) and weights of two gloo processes."""
    program = Path(__file__).with_name("two_processes.py")

    def run(world: int) -> dict[str, Any]:
        out = tmp_path / f"{kind}-{world}.pt"
        port = free_port()
        children = [
            subprocess.Popen(
                [sys.executable, str(program), kind, str(out)],
                env={
                    **os.environ,
                    "WORLD_SIZE": str(world),
                    "RANK": str(rank),
                    "LOCAL_RANK": str(rank),
                    "MASTER_ADDR": "127.0.0.1",
                    "MASTER_PORT": str(port),
                    "OMP_NUM_THREADS": "1",
                },
            )
            for rank in range(world)
        ]
        assert [child.wait(timeout=120) for child in children] == [0] * world
        found: dict[str, Any] = torch.load(out, weights_only=True)
        return found

    one, two = run(1), run(2)
    for a, b in zip(one["log"], two["log"], strict=True):
        assert a == pytest.approx(b, rel=1e-4)
    for name, value in one["weights"].items():
        torch.testing.assert_close(two["weights"][name], value, rtol=1e-3, atol=2e-5)


def test_a_method_with_nothing_to_train_is_left_as_it_is(tmp_path: Path) -> None:
    class Nothing(Method):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Flatten()

        def forward(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
            raise AssertionError

    state = make_fit(tmp_path, method=Nothing(), steps=0, optim=Optim(lr=1)).run()
    assert state.step == 0
    assert state.log == []


def run_killed(folder: Path, out: Path, after: float | None) -> str | None:
    """Run the program; kill it -9 some seconds after it has begun. Return its last line."""
    program = Path(__file__).with_name("killed.py")
    child = subprocess.Popen(
        [sys.executable, str(program), str(folder), str(out)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    child.stdout.readline()
    try:
        child.wait(after)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
        return None
    assert child.returncode == 0
    return child.stdout.readlines()[-1].strip()


def test_kills_at_any_moment_do_not_change_a_byte(tmp_path: Path) -> None:
    straight, cut = tmp_path / "straight.bin", tmp_path / "cut.bin"
    assert run_killed(tmp_path / "a", straight, None) == "resumed 0"
    said, kills, after = None, 0, 0.3
    while said is None:
        said = run_killed(tmp_path / "b", cut, after)
        kills += said is None
        after *= 1.8  # the program gets further each time, wherever the machine's speed cuts it
    assert kills >= 2
    assert said != "resumed 0"
    assert cut.read_bytes() == straight.read_bytes()
    assert cut.with_suffix(".log").read_bytes() == straight.with_suffix(".log").read_bytes()


def test_compiling_without_a_compiler_is_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ConfigError, match="C\\+\\+ compiler"):
        make_fit(tmp_path, compile=True)


@pytest.mark.skipif(not shutil.which("g++"), reason="needs a C++ compiler")
def test_a_compiled_run_resumes_exactly_and_learns_the_same(
    tmp_path: Path, straight: tuple[dict[str, Tensor], list[dict[str, Any]]]
) -> None:
    whole = make_fit(tmp_path / "whole", compile=True)
    whole.run()
    stopped = make_fit(tmp_path / "cut", compile=True)
    step = stopped._step

    def stop_at_seven(batch: Batch, shown: Any) -> None:
        step(batch, shown)
        if stopped.state.step == 7:
            os.kill(os.getpid(), signal.SIGTERM)

    stopped._step = stop_at_seven  # type: ignore[method-assign]
    with pytest.raises(Interrupted, match="step 7"):
        stopped.run()
    cut = make_fit(tmp_path / "cut", compile=True)
    cut.run()
    assert equal(weights(cut), weights(whole))
    # Compiled dropout draws other numbers than eager dropout, so only the curve is alike.
    eager = [line["loss"] for line in straight[1]]
    assert [line["loss"] for line in whole.state.log] == pytest.approx(eager, abs=0.1)


class _WithTokens(TinyMethod):
    def __init__(self) -> None:
        import timm

        super().__init__()
        self.encoder = timm.create_model(
            "vit_base_patch16_224", num_classes=0, embed_dim=8, depth=2, num_heads=1
        )


@pytest.mark.parametrize("layer_decay", [None, 0.5])
def test_class_token_and_positions_are_not_decayed(layer_decay: float | None) -> None:
    method = _WithTokens()
    optim = Optim(lr=0.1, weight_decay=0.3, layer_decay=layer_decay)
    groups = build_optimizer(method, optim).param_groups
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert decay[id(method.encoder.cls_token)] == decay[id(method.encoder.pos_embed)] == 0
    assert decay[id(method.encoder.blocks[0].attn.qkv.weight)] == 0.3


@pytest.mark.parametrize("layer_decay", [None, 0.5])
def test_a_rate_can_be_scaled_by_name(layer_decay: float | None) -> None:
    method = _WithTokens()
    plain = Optim(lr=0.1, weight_decay=0.3, layer_decay=layer_decay)
    scaled = plain.model_copy(update={"lr_scale": {r"blocks\.1\..*weight$": 0.01}})
    rates = []
    for optim in (plain, scaled):
        optimizer = build_optimizer(method, optim)
        assert Schedule(optimizer, optim, 10).set(2) == pytest.approx(0.1 * 0.8274, abs=1e-4)
        groups = [(id(p), group) for group in optimizer.param_groups for p in group["params"]]
        assert len(groups) == len(list(method.parameters()))
        rates.append({i: (group["lr"], group["weight_decay"]) for i, group in groups})
    for name, parameter in method.named_parameters():
        before, after = (rate[id(parameter)] for rate in rates)
        chosen = "blocks.1." in name and name.endswith("weight")
        assert after[0] == pytest.approx(before[0] * (0.01 if chosen else 1)), name
        assert after[1] == before[1], name


def test_a_scaled_name_that_no_parameter_has_is_refused() -> None:
    optim = Optim(lr=0.1, lr_scale={"conv_offset": 0.01})
    with pytest.raises(ConfigError, match=r"lr_scale: no parameter's name matches 'conv_offset'"):
        build_optimizer(TinyMethod(), optim)


def _rates(optim: Optim, steps: int) -> list[float]:
    schedule = Schedule(build_optimizer(TinyMethod(), optim), optim, steps)
    return [schedule.set(step) for step in range(steps)]


def test_rates_fall_at_milestones() -> None:
    optim = Optim(lr=1.0, schedule="step", milestones=(4, 6), gamma=0.1, warmup_steps=2)
    assert _rates(optim, 8) == pytest.approx([0.5, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])


def test_rates_fall_by_a_power() -> None:
    optim = Optim(lr=1.0, schedule="poly", power=0.9, min_lr=0.01)
    expected = [0.01 + 0.99 * (1 - (step + 1) / 11) ** 0.9 for step in range(10)]
    assert _rates(optim, 10) == pytest.approx(expected)


def test_a_warm_up_can_begin_above_zero() -> None:
    assert _rates(Optim(lr=1.0, warmup_steps=4, warmup_lr=0.2), 20)[:3] == pytest.approx(
        [0.4, 0.6, 0.8]
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"schedule": "poly"}, "schedule: poly and power go together"),
        ({"power": 0.9}, "schedule: poly and power go together"),
        ({"schedule": "step", "milestones": (3,)}, "schedule: step and gamma go together"),
        ({"schedule": "step", "milestones": (5, 3), "gamma": 0.1}, "milestones must be rising"),
        ({"schedule": "linear", "warmup_prefix": True}, "only schedule: cosine has it, not linear"),
        ({"schedule": "poly", "power": 1, "warmup_prefix": False}, "only schedule: cosine has it"),
        ({"lr_scale": {"(": 0.1}}, "is no regular expression"),
    ],
)
def test_half_a_schedule_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Optim(lr=1.0, **settings)


class _Weighed(TinyMethod):
    """A classifier whose loss is a mean over the samples of the first two classes alone."""

    mixes_samples = False

    def weight(self, batch: Batch) -> Tensor:
        return (batch.labels < 2).sum()

    def forward(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        scores, counted = self.head(self.encoder[:-1](batch.views[0])), batch.labels < 2
        loss = nn.functional.cross_entropy(scores, batch.labels, reduction="none")
        return {"loss": (loss * counted).sum() / counted.sum()}


def test_parts_of_a_step_count_by_their_weight(tmp_path: Path) -> None:
    data = photos(300)
    data.labels[:] = torch.randint(0, 4, (300,), generator=torch.Generator().manual_seed(1))
    weights = []
    for accumulate in (1, 4):
        settings = FitSettings(
            3, 256, Optim(lr=0.1, name="sgd"), Augment(size=8), accumulate=accumulate
        )
        fit = Fit(
            _Weighed(), data, settings, Key(("t", 0)), tmp_path / str(accumulate), World(), "tiny"
        )
        fit.run()
        weights.append(torch.cat([p.flatten() for p in fit.method.parameters()]))
    assert torch.allclose(*weights, atol=1e-6)
