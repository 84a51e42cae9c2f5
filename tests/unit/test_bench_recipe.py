"""A recipe's step against a bare one: the same work on both sides, and how it is told."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import timm.optim
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from reprise import bench_recipe
from reprise.bench_recipe import bare_step, our_step, ready_run, show
from reprise.cli import app
from reprise.config import Project, Run, load_project
from reprise.data.three_augment import recipe_augment
from reprise.errors import ConfigError
from reprise.papers import deit3
from reprise.training.method import Batch, StandIn
from reprise.training.seeding import Draws, Key

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def project() -> Iterator[Project]:
    yield load_project(ROOT, "smoke")
    torch.use_deterministic_algorithms(False)


def small(project: Project, name: str) -> Run:
    """A run of DeiT III with a small model, whatever the scale gives it."""
    run = project.run("deit3", name)
    args = {"patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}
    model = run.model.model_copy(update={"name": "deit3_small_patch16_224", "args": args})
    image = {**run.objective["image"], "size": 16}
    objective = {**run.objective, "image": image, "test_size": 16}
    return run.model_copy(update={"model": model, "objective": objective})


NAMES = ("official-s", "deit3", "deit-2021", "vit-2020", "steiner-2021", "low-finetuned", "ema")


@pytest.mark.parametrize("name", NAMES)
def test_a_ready_run_takes_its_images_as_they_are(project: Project, name: str) -> None:
    run = ready_run(small(project, name), 6)
    method = deit3.build(run, StandIn(tuple("abcd"), 3))
    method.mix = None  # mixing is part of the step; what is asked here is augmentation
    pixels = torch.randint(0, 256, (6, 3, 16, 16), generator=torch.Generator().manual_seed(0)) / 255
    seen: list[Tensor] = []
    method.encoder.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    draws = Draws(Key(("test",)), 6)
    method(Batch((pixels,), torch.arange(6) % 4, torch.arange(6)), draws)
    torch.testing.assert_close(seen[0], method.normalised(pixels), rtol=0, atol=1e-5)
    same = recipe_augment(pixels, method.recipe.image, draws)
    torch.testing.assert_close(same, pixels, rtol=0, atol=1e-6)
    assert (run.augment.size, run.batch_size, run.kind) == (16, 6, "train")
    assert run.objective["weights"] is None
    assert run.optim.ema_decay is None


def test_everything_else_stays_the_recipes(project: Project) -> None:
    for name in NAMES:
        given = small(project, name)
        before, after = given.objective, ready_run(given, 6).objective
        changed = {key for key in before if before[key] != after[key]} - {"image", "repeats"}
        assert not changed
        assert ready_run(given, 6).optim == given.optim.model_copy(update={"ema_decay": None})


def test_mixing_wants_an_even_batch(project: Project) -> None:
    with pytest.raises(ConfigError, match="5 images a batch: must be even"):
        ready_run(small(project, "official-s"), 5)
    assert ready_run(small(project, "vit-2020"), 5).batch_size == 5  # which mixes none


class Kept:
    """The models and optimisers that both steps make."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.models: list[nn.Module] = []
        self.optimisers: list[torch.optim.Optimizer] = []
        make, build = bench_recipe.timm.create_model, deit3.build

        def create_model(*given: Any, **more: Any) -> nn.Module:
            self.models.append(make(*given, **more))
            return self.models[-1]

        def built(*given: Any) -> nn.Module:
            self.models.append(build(*given))
            return self.models[-1]

        def create_optimizer(*given: Any, **more: Any) -> torch.optim.Optimizer:
            self.optimisers.append(real(*given, **more))
            return self.optimisers[-1]

        real = timm.optim.create_optimizer_v2
        monkeypatch.setattr(timm.optim, "create_optimizer_v2", create_optimizer)
        self.patch = monkeypatch
        monkeypatch.setattr(bench_recipe, "build", built)
        self._create_model = create_model

    def bare(self, run: Run) -> Any:
        with self.patch.context() as patch:
            patch.setattr(bench_recipe.timm, "create_model", self._create_model)
            return bare_step(run, 4)


def sizes(model: nn.Module) -> list[tuple[int, ...]]:
    return sorted(tuple(parameter.shape) for parameter in model.parameters())


@pytest.mark.parametrize("name", ["official-s", "deit-2021", "vit-2020"])
def test_both_steps_train_the_same_model(
    project: Project, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the shape of each parameter, with the same optimiser, and both move every one of them."""
    run, kept = ready_run(small(project, name), 4), Kept(monkeypatch)
    ours, bare = our_step(run, 4, tmp_path / "state"), kept.bare(run)
    mine, theirs = kept.models
    assert sizes(mine) == sizes(theirs)
    assert sum(one.numel() for one in mine.parameters()) > 10_000
    assert len({type(one) for one in kept.optimisers}) == 1
    assert {type(mine.loss)} == {type(deit3.build(run, StandIn(tuple("abcd"), 3)).loss)}
    for step, model in ((ours, mine), (bare, theirs)):
        before = [parameter.detach().clone() for parameter in model.parameters()]
        step()
        step()  # the first one of a warm-up may have a rate of nearly nothing
        pairs = list(zip(before, model.parameters(), strict=True))
        still = [tuple(b.shape) for a, b in pairs if torch.equal(a, b)]
        assert len(still) < len(pairs) / 3, f"parameters that did not move: {still}"


@pytest.mark.parametrize("name", ["official-s", "vit-2020"])
def test_both_steps_have_the_same_loss(
    project: Project, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a blank head every class is as likely: ln 2 a class, or ln of the classes' number."""
    run, kept = ready_run(small(project, name), 4), Kept(monkeypatch)
    losses: list[float] = []
    item = Tensor.item

    def noted(self: Tensor) -> Any:
        losses.append(float(item(self)))
        return losses[-1]

    _, bare = our_step(run, 4, tmp_path / "state"), kept.bare(run)
    for model in kept.models:
        for part in model.modules():
            if isinstance(part, nn.Linear) and part.out_features == 4:
                nn.init.zeros_(part.weight)
                nn.init.zeros_(part.bias)
    monkeypatch.setattr(Tensor, "item", noted)
    bare()
    monkeypatch.undo()
    method = kept.models[0]
    pixels = torch.rand(4, 3, 16, 16)
    own = method(Batch((pixels,), torch.arange(4), torch.arange(4)), Draws(Key(("x",)), 4))["loss"]
    expected = torch.log(torch.tensor(2.0 if run.objective["loss"] == "bce" else 4.0)).item()
    assert own.item() == pytest.approx(expected, abs=0.02)
    assert losses[-1] == pytest.approx(expected, abs=0.02)


def test_ratio_and_rates_are_told(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    run = small(project, "official-s")
    show(run, 1, batch_size=4, classes=4, seconds=0.0)
    said = " ".join(capsys.readouterr().out.split())
    assert "deit3_small_patch16_224, batches of 4, 1 thread(s)" in said
    assert "medians of 5 rounds" in said
    for one in (bench_recipe.OURS, bench_recipe.BARE, bench_recipe.UNFUSED):
        assert f"│ {one} │" in said
    assert "Our loop makes" in said


def test_the_ratio_is_the_median_of_the_rounds_ratios(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rounds in which the machine was slow for both, or for one, tilt nothing."""
    run = small(project, "official-s")
    taken = {bench_recipe.BARE: [1.0, 4.0, 1.0], bench_recipe.OURS: [2.0, 8.0, 9.0]}
    taken[bench_recipe.UNFUSED] = [2.0, 8.0, 9.0]
    monkeypatch.setattr(bench_recipe, "our_step", lambda *_: lambda: None)
    monkeypatch.setattr(bench_recipe, "bare_step", lambda *_, **__: lambda: None)
    monkeypatch.setattr(bench_recipe, "measure", lambda calls, seconds: taken)
    show(run, 1, batch_size=4, classes=4, seconds=0.0)
    said = " ".join(capsys.readouterr().out.split())
    assert "Our loop makes 0.50 times the images of bare timm." in said
    assert "Our loop makes 1.00 times the images of bare timm, attention not fused." in said
    assert "│ bare timm │ 4 │" in said


@pytest.mark.parametrize("verb", ["augment", "loop"])
def test_help_is_there(verb: str) -> None:
    done = CliRunner().invoke(
        app, ["bench", verb, "--help"], env={"COLUMNS": "200", "TERM": "dumb"}
    )
    assert done.exit_code == 0
    for option in {"augment": ("--size", "--images"), "loop": ("--run", "--batch-size")}[verb]:
        assert option in done.output
    assert "--seconds" in done.output


def test_an_odd_batch_is_refused_by_command() -> None:
    arguments = ["bench", "loop", "--batch-size", "3", "--scale", "smoke"]
    done = CliRunner().invoke(app, arguments, env={"REPRISE_ROOT": str(ROOT)})
    assert isinstance(done.exception, ConfigError)
    assert "must be even" in str(done.exception)
