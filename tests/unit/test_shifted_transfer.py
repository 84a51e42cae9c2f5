"""Classes matched by name, and finetuning at a size and normalisation of its own."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from timm.layers import DropPath
from tiny import TinyMethod
from tiny_recipes import MODEL, SIDE, job, prepared, vary, write
from torch import Tensor, nn

import reprise.models.litv2  # noqa: F401  (registers its models with timm)
from reprise.config import Project
from reprise.data.base import ArraySet, ImageSet
from reprise.errors import ConfigError
from reprise.evaluators import _runner, finetune, shifted, transfer
from reprise.evaluators._base import Context
from reprise.evaluators.classify import score
from reprise.methods.supervised import Supervised
from reprise.settings.evaluators import Shifted, Transfer
from reprise.training import run as training_run
from reprise.training.distributed import World

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FINETUNING: dict[str, Any] = {
    "data": "tinted",
    "labels": 40,
    "steps": 3,
    "batch_size": 8,
    "optim": {"lr": 3e-3},
}
OWN = {"size": SIDE, "crop_scale": [0.7, 1.0], "flip": 0.5, "mean": list(MEAN), "std": list(STD)}
LITV2 = {
    "embed_dim": 12,
    "depths": [1, 2, 1],
    "num_heads": [1, 4, 4],
    "window_sizes": [0, 2, 1],
}
EVALUATORS = {
    "classify": {"kind": "classify", "data": "tinted"},
    "shifted": {"kind": "shifted", "data": "tinted"},
    "transfer": {"kind": "transfer", **FINETUNING, "augment": OWN},
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A recipe's run on tinted digits of 24 pixels, whose model takes 16, and its evaluations."""
    run = {"steps": 4, "evaluate": list(EVALUATORS)}
    made = prepared(write(tmp_path_factory.mktemp("workspace"), {"plain": run}, EVALUATORS))
    training_run.train(job(made, "plain"))
    _runner.evaluate(job(made, "plain"))
    yield made
    torch.use_deterministic_algorithms(False)


def context(project: Project, folder: Path) -> Context:
    one = job(project, "plain")
    method = training_run.build(one, training_run.training_data(one))
    return Context(one, training_run.load_weights(one, method), World(), folder)


def record(project: Project, evaluator: str) -> tuple[dict[str, Any], np.ndarray]:
    file = project.results / f"toy/eval/plain/seed0/{evaluator}.json"
    return json.loads(file.read_text()), np.load(file.with_suffix(".npz"))["top1"]


# --- other images of some of the classes ------------------------------------------------------


def others(here: Context, *classes: str, n: int = 90) -> ArraySet:
    """Digits under some class names; the labels take turns. The classifier's answers then vary."""
    images, _ = here.data("tinted", "test").fetch(torch.arange(n))
    vary(here.method)
    return ArraySet("others", "test", images, torch.arange(n) % len(classes), classes, "digest")


def given(here: Context, data: ImageSet, monkeypatch: pytest.MonkeyPatch) -> Shifted:
    """Let a context have the data under the alias and split of the settings returned."""
    sets = {("elsewhere", "sketches"): data}
    monkeypatch.setattr(here, "data", lambda alias, split: sets[alias, split])
    return Shifted(kind="shifted", data="elsewhere", split="sketches")


def scores(here: Context, data: ArraySet) -> Tensor:
    """Scores [n, 10] of a run's model, from its parts: resized, normalised, encoded, weighed."""
    pixels = F.interpolate(data.images / 255, (SIDE, SIDE), mode="bicubic", antialias=True)
    pixels = pixels.clamp(0, 1)
    images = torch.stack([(pixels[:, c] - MEAN[c]) / STD[c] for c in range(3)], 1)
    method = here.method.eval()
    with torch.inference_mode():
        return method.encoder(images) @ method.head.weight.T + method.head.bias


@pytest.mark.parametrize("classes", [("7", "2", "9"), ("0", "1"), tuple("9876543210")])
def test_classes_are_matched_by_name(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, classes: tuple[str, ...]
) -> None:
    here = context(project, tmp_path)
    data = others(here, *classes)
    result = shifted.evaluate(here, given(here, data, monkeypatch), "sketch")
    (measured,) = result.metrics
    made = scores(here, data)
    names = [max(classes, key=lambda name: row[int(name)].item()) for row in made]
    expected = [name == classes[label] for name, label in zip(names, data.labels, strict=True)]
    assert measured.statistics.tolist() == expected
    assert (measured.metric, measured.reduce) == ("top1", "percent_correct")
    assert result.split is data
    assert len(set(names)) > 1, "a model that always says the same would prove nothing"


def test_classes_that_the_data_lack_are_left_out(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However sure the classifier is of one."""
    here = context(project, tmp_path)
    data = others(here, "7", "2", "9")
    settings = given(here, data, monkeypatch)
    before = shifted.evaluate(here, settings, "sketch").metrics[0].statistics
    with torch.no_grad():
        here.method.head.bias[4] += 1000
    after = shifted.evaluate(here, settings, "sketch").metrics[0].statistics
    assert np.array_equal(before, after)
    assert before.any()
    with torch.no_grad():
        here.method.head.bias[2] += 1000
    only = shifted.evaluate(here, settings, "sketch").metrics[0].statistics
    assert only.tolist() == [label == 1 for label in data.labels]


def test_an_unknown_class_is_refused(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = context(project, tmp_path)
    strange = others(here, "7", *(f"n{number}" for number in range(8)))
    with pytest.raises(ConfigError) as error:
        shifted.evaluate(here, given(here, strange, monkeypatch), "sketch")
    said = str(error.value)
    assert (
        "evaluator 'sketch': the classifier knows no class n0, n1, n2, n3, n4 of elsewhere" in said
    )
    assert "matched by folder name" in said


def test_a_run_without_a_head_is_refused(project: Project, tmp_path: Path) -> None:
    here = Context(job(project, "plain"), TinyMethod(), World(), tmp_path)
    with pytest.raises(ConfigError, match="'sketch' needs a run with a classification head"):
        shifted.evaluate(here, Shifted(kind="shifted", data="tinted"), "sketch")


def test_on_its_own_test_images_it_is_plain_top_1(project: Project) -> None:
    (one, shift), (other, plain) = record(project, "shifted"), record(project, "classify")
    assert np.array_equal(shift, plain)
    assert one["data"] == other["data"]
    assert one["settings"]["split"] == "test"


# --- finetuning elsewhere ---------------------------------------------------------------------


class Noted(Supervised):
    """Keeps the images that it was trained on."""

    def forward(self, batch: Any, draws: Any) -> Any:
        SEEN.append(batch.views[0].clone())
        return super().forward(batch, draws)


SEEN: list[Tensor] = []


def transferred(
    here: Context, monkeypatch: pytest.MonkeyPatch, **over: Any
) -> tuple[Any, Supervised]:
    """Finetune, and return the result with the classifier that was scored."""
    kept: list[Supervised] = []

    def spy(context: Context, method: Supervised, *rest: Any) -> Any:
        kept.append(method)
        return score(context, method, *rest)

    SEEN.clear()
    monkeypatch.setattr(finetune, "Supervised", Noted)
    monkeypatch.setattr(finetune, "score", spy)
    settings = Transfer.model_validate({**EVALUATORS["transfer"], **over})
    return transfer.evaluate(here, settings, "transfer"), kept[0]


def test_it_is_trained_at_its_own_size_and_normalisation(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = context(project, tmp_path)
    result, _ = transferred(here, monkeypatch)
    assert [tuple(one.shape) for one in SEEN] == [(8, 3, SIDE, SIDE)] * 3
    # Paper is black and ink at most full, so the ends of what was seen are known.
    seen = torch.cat(SEEN)
    for c in range(3):
        assert seen[:, c].min().item() == pytest.approx(-MEAN[c] / STD[c], abs=1e-4)
        assert seen[:, c].max() < (1 - MEAN[c]) / STD[c]
    assert result.info["train_labels"] == 40
    assert (result.info["steps"], result.info["train_labels_met"]) == (3, 24)


def test_it_is_scored_as_it_was_trained(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not as the run prepares images: pixels of 24 a side, which are normalised in its method."""
    here = context(project, tmp_path)
    result, classifier = transferred(here, monkeypatch)
    data = here.data("tinted", "test")
    images, labels = data.fetch(torch.arange(len(data)))
    pixels = F.interpolate(images.float(), (SIDE, SIDE), mode="bilinear", antialias=True) / 255
    shown = torch.stack([(pixels[:, c] - MEAN[c]) / STD[c] for c in range(3)], 1)
    with torch.inference_mode():
        features = classifier.encoder.eval()(shown)
        said = (features @ classifier.head.weight.T + classifier.head.bias).argmax(1)
    (measured,) = result.metrics
    assert (measured.statistics == (said == labels).numpy()).mean() > 0.995  # ties by rounding
    assert result.split.split == "test"


def test_the_run_itself_stays_as_it_was(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = context(project, tmp_path)
    before = {name: value.clone() for name, value in here.method.state_dict().items()}
    _, classifier = transferred(here, monkeypatch)
    for name, value in here.method.state_dict().items():
        assert torch.equal(value, before[name])
    moved = classifier.encoder.state_dict()
    assert any(not torch.equal(moved[name], before[f"encoder.{name}"]) for name in moved)
    assert here.augment == here.job.run.augment
    assert classifier.head.out_features == 10


def rates(encoder: nn.Module) -> list[float]:
    return [part.drop_prob for part in encoder.modules() if isinstance(part, DropPath)]


@pytest.mark.parametrize(("asked", "given"), [(None, 0.05), (0, 0), (0.3, 0.3)])
def test_stochastic_depth_is_the_runs_or_that_asked_for(
    project: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: float | None,
    given: float,
) -> None:
    here = context(project, tmp_path)
    _, classifier = transferred(here, monkeypatch, drop_path=asked)
    assert rates(classifier.encoder) == [given] * 4  # two branches in each of two blocks
    assert rates(here.method.encoder) == [0.05] * 4
    assert not any(part.training for part in classifier.modules())  # as it was scored


def test_stochastic_depth_changes_what_is_learnt(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [
        transferred(context(project, tmp_path / str(at)), monkeypatch, drop_path=rate)[1]
        for at, rate in enumerate((None, 0.05, 0.0))
    ]
    one, same, other = (classifier.head.weight for classifier in made)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize(
    ("name", "args", "places"),
    [
        ("deit3_small_patch16_224", MODEL["args"], 4),
        ("litv2_s", LITV2, 4),
    ],
)
def test_an_encoder_without_stochastic_depth_gets_it(
    name: str, args: dict[str, Any], places: int
) -> None:
    """timm has identities in its place; LITv2 has one module for both branches of a block."""
    encoder = timm.create_model(name, num_classes=0, drop_path_rate=0, **args)
    assert rates(encoder) == []
    finetune.set_drop_path(encoder, 0.2, "transfer")
    assert rates(encoder) == [0.2] * places


def test_an_encoder_with_no_place_for_stochastic_depth_is_refused() -> None:
    encoder = TinyMethod().encoder
    finetune.set_drop_path(encoder, 0.0, "transfer")
    said = r"evaluator 'transfer': drop_path = 0.1: Sequential has no block .*; set it to 0, or"
    with pytest.raises(ConfigError, match=said):
        finetune.set_drop_path(encoder, 0.1, "transfer")
    for wrong in (-0.1, 1.0):
        with pytest.raises(ValidationError, match="drop_path"):
            Transfer.model_validate({**EVALUATORS["transfer"], "drop_path": wrong})


def test_the_runner_records_the_same_number(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, statistics = record(project, "transfer")
    result, _ = transferred(context(project, tmp_path), monkeypatch)
    assert (result.metrics[0].statistics == statistics).mean() > 0.99
    assert found["kind"] == "transfer"
    assert found["settings"]["augment"]["mean"] == list(MEAN)
    assert found["metrics"][0]["value"] == pytest.approx(100 * statistics.mean())
