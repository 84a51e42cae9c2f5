"""Speed of augmentation: what is compared, that all of it is done, and how it is told."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch

from reprise import bench_augment
from reprise.bench_augment import BATCHED, PILLOW, RAND, STEP, TIMM


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


def words(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


def timed(monkeypatch: pytest.MonkeyPatch, **seconds: list[float]) -> SimpleNamespace:
    """Let the rounds of each contender have taken so many seconds; what is called is noted."""
    names = {"batched": BATCHED, "pillow": PILLOW, "rand": RAND, "timm": TIMM, "step": STEP}
    seen = SimpleNamespace(calls=None)

    def measure(calls: dict, asked: float) -> dict[str, list[float]]:
        seen.calls, seen.seconds = calls, asked
        return {names[short]: list(rounds) for short, rounds in seconds.items()}

    monkeypatch.setattr(bench_augment, "measure", measure)
    return seen


def test_all_pipelines_are_told_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    bench_augment.show(size=16, images=6, seconds=0.0)
    said = words(capsys)
    assert "6 images of 16x16 to 16x16" in said
    assert "medians of 5 rounds in turns" in said
    for name in (BATCHED, PILLOW, RAND, TIMM):
        assert name in said
    assert "training step" not in said


def test_every_contender_augments_all_images() -> None:
    calls = bench_augment.contenders(16, 5)
    assert set(calls) == {BATCHED, PILLOW, RAND, TIMM}
    results = {name: call() for name, call in calls.items()}
    assert {tuple(one.shape) for one in results.values()} == {(5, 3, 16, 16)}
    for one in results.values():
        assert len({tuple(image.flatten()[:9].tolist()) for image in one}) == 5
    assert results[BATCHED].min() >= 0
    assert results[TIMM].min() < 0  # normalised, as timm has it


@pytest.mark.parametrize(("slow", "reached"), [(3.0, "reaches 3x"), (2.9, "does not reach 3x")])
def test_the_ratio_is_the_median_of_the_rounds_ratios(
    slow: float,
    reached: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A machine that is twice as slow for a round changes no ratio, nor does one slow call."""
    rounds = [1.0, 2.0, 1.0]
    timed(
        monkeypatch,
        batched=rounds,
        pillow=[slow * one for one in rounds],
        timm=[4.0, 8.0, 90.0],
        rand=[1.0] * 3,
    )
    bench_augment.show(size=8, images=30)
    said = words(capsys)
    assert f"4.0x the images/s of timm's alone and {slow:.1f}x of our Pillow backend's" in said
    assert f"which {reached}" in said
    assert f"{BATCHED} │ 30 │" in said
    assert "medians of 3 rounds" in said


def test_the_slower_of_both_ratios_must_reach_the_target(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    timed(monkeypatch, batched=[1.0], pillow=[9.0], timm=[2.0], rand=[1.0])
    bench_augment.show(size=8, images=4)
    assert "does not reach 3x" in words(capsys)


def test_a_training_step_takes_its_turns_and_shares_are_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []
    given = {"batched": [1.5, 3.0], "pillow": [8.5, 17.0], "timm": [6.0] * 2, "rand": [8.5] * 2}
    seen = timed(monkeypatch, **given, step=[8.5, 17.0])
    bench_augment.show(size=8, images=4, seconds=7.0, step=lambda: done.append(1))
    assert seen.seconds == 7.0
    before = len(done)
    seen.calls[STEP]()
    assert len(done) == before + 1
    said = words(capsys)
    assert "Of a training step (12,750 ms without it), augmentation takes" in said
    assert f"{BATCHED}: 15.0 %, within 15 %" in said
    assert f"{PILLOW}: 50.0 %, above 15 %" in said
    assert f"{STEP} │" not in said  # no pipeline


def test_a_steps_seconds_may_be_given_instead(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"batched": [1.0, 1.0], "pillow": [4.0] * 2, "timm": [4.0] * 2, "rand": [4.0] * 2}
    seen = timed(monkeypatch, **given)
    bench_augment.show(size=8, images=4, step_seconds=4.0)
    assert STEP not in seen.calls
    assert f"{BATCHED}: 20.0 %, above 15 %" in words(capsys)
