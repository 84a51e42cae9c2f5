"""Speed of the caption search: what is compared, that it is fair, and how it is told."""

from collections.abc import Iterator

import pytest
import torch
from typer.testing import CliRunner

from reprise import bench_caption
from reprise.bench_caption import GPT2, Sizes
from reprise.cli import app
from reprise.errors import ConfigError, RepriseError

SMALL = Sizes(layers=1, width=16, heads=2, prefix=2, words=40)


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


def test_both_searches_are_told_with_their_ratio(capsys: pytest.CaptureFixture[str]) -> None:
    bench_caption.show(SMALL, 40, 3, 5, 0.0)
    said = " ".join(capsys.readouterr().out.split())
    assert "40 images at once, or one; 3 beams, 5 tokens after a prefix of 2" in said
    assert "1 layers of width 16, 2 heads" in said
    assert "medians of 5 rounds in turns" in said
    assert bench_caption.BATCHED in said
    assert bench_caption.PLAIN in said
    assert "5 to 95 %" in said


@pytest.mark.parametrize(("seconds", "reached"), [(1.0, "reaches"), (0.9, "does not reach")])
def test_ratio_is_of_images_per_second(
    seconds: float,
    reached: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of 2 in so many seconds, and 40 in one; a single slow call changes nothing."""
    taken = {bench_caption.PLAIN: [seconds, seconds, 9.0], bench_caption.BATCHED: [1.0] * 3}
    monkeypatch.setattr(bench_caption, "measure", lambda calls, seconds: taken)
    bench_caption.show(SMALL, 40, 2, 3, 0.0)
    said = capsys.readouterr().out
    assert f"ratio, {20 * seconds:.1f}x, {reached} 20x" in said
    assert f"{2 / seconds:.3g} " in said
    assert " 40 " in said


def test_counts_are_of_the_images_each_search_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    made = {}

    def note(calls, seconds):  # type: ignore[no-untyped-def]
        made.update({name: len(call()) for name, call in calls.items()})
        return {name: [1.0] for name in calls}

    monkeypatch.setattr(bench_caption, "measure", note)
    bench_caption.show(SMALL, 60, 2, 3, 0.0)
    assert made == {bench_caption.PLAIN: 3, bench_caption.BATCHED: 60}


def test_every_caption_is_as_long_as_it_may_be() -> None:
    method = bench_caption.make(SMALL, 3, 7)
    prefix = torch.randn(9, SMALL.prefix, SMALL.width)
    found = bench_caption.search(method, prefix)
    assert found == bench_caption.plain(method, prefix)
    assert {len(one) for one in found} == {7}
    assert method.vocabulary.end not in {token for one in found for token in one}
    # Nothing would be shown by captions that are all alike.
    assert len(set(map(tuple, found))) > 4


def test_searches_that_disagree_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_caption, "plain", lambda method, prefix: [[1, 2, 3]] * len(prefix))
    with pytest.raises(RepriseError, match=r"disagree(?s:.*)cached: \[\d.*(?s:.*): \[1, 2, 3\]"):
        bench_caption.show(SMALL, 4, 2, 3, 0.0)


def test_captions_that_end_early_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("plain", "search"):
        monkeypatch.setattr(bench_caption, name, lambda method, prefix: [[1, 2]] * len(prefix))
    with pytest.raises(RepriseError, match="a caption of 2 tokens, not 3"):
        bench_caption.show(SMALL, 4, 2, 3, 0.0)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ConfigError, match="width of 16 cannot be shared by 3 heads"):
        bench_caption.make(Sizes(width=16, heads=3), 2, 3)


def test_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    runner, seen = CliRunner(), []
    monkeypatch.setattr(bench_caption, "show", lambda *given: seen.append(given))
    said = runner.invoke(app, ["bench", "caption", "--help"], env={"COLUMNS": "200"}).output
    for option in (
        "images",
        "layers",
        "width",
        "heads",
        "prefix",
        "gpt2",
        "beams",
        "longest",
        "threads",
    ):
        assert f"--{option}" in said
    assert runner.invoke(app, ["bench", "caption"]).exit_code == 0
    given = ["bench", "caption", "--gpt2", "--images", "8", "--layers", "2", "--seconds", "1"]
    assert runner.invoke(app, given).exit_code == 0
    assert seen == [(Sizes(), 60, 5, 67, 30.0, 2), (GPT2, 8, 5, 67, 1.0, 2)]
