"""Evaluators on runs trained at scale smoke, against calculations made apart from them."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from pydantic import ValidationError

from reprise.config import Project, load_project
from reprise.data.base import few_labels, load, prepare
from reprise.data.corruptions import CORRUPTIONS, corrupt
from reprise.data.transforms import normalise
from reprise.errors import ConfigError, StaleError
from reprise.evaluators import _runner, finetune, knn, linear_probe, robustness
from reprise.evaluators._base import Context
from reprise.evaluators.classify import score
from reprise.plan import RunJob
from reprise.settings.evaluators import Finetune, Gallery, Knn, LinearProbe, Robustness
from reprise.training import run as training_run
from reprise.training.distributed import World
from reprise.training.loop import autocast, resolve_precision
from reprise.training.seeding import Draws

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    root = tmp_path_factory.mktemp("workspace")
    shutil.copytree(ROOT / "params", root / "params")
    made = load_project(root, "smoke")
    prepare("digits", made.data_root, {"size": 16}, lambda _: None)
    for name in ("can", "supervised", "pixels"):
        job = RunJob(made, "can", name, 0)
        training_run.train(job)
        _runner.evaluate(job)
    yield made
    torch.use_deterministic_algorithms(False)


def context(project: Project, name: str, folder: Path) -> Context:
    job = RunJob(project, "can", name, 0)
    data = training_run.load_data(project, "photos", "train")
    method = training_run.load_weights(job, training_run.build(job, data))
    return Context(job, method, World(), folder)


def record(project: Project, run: str, evaluator: str) -> tuple[dict[str, Any], Any]:
    file = project.results / f"can/eval/{run}/seed0/{evaluator}.json"
    return json.loads(file.read_text()), np.load(file.with_suffix(".npz"))


def pixels(project: Project, split: str) -> tuple[np.ndarray, np.ndarray]:
    data = load("digits", split, project.data_root, {"size": 16})
    images, labels = data.fetch(torch.arange(len(data)))
    return (images.flatten(1).numpy() / 255 - 0.5) / 0.5, labels.numpy()


def test_a_record_says_what_it_is_and_its_number_follows_from_its_statistics(
    project: Project,
) -> None:
    found, arrays = record(project, "can", "linear_probe")
    job = RunJob(project, "can", "can", 0)
    assert found["digest"] == job.eval_digest("linear_probe")
    assert found["run_digest"] == job.digest
    (metric,) = found["metrics"]
    assert metric["n"] == len(arrays["top1"]) == 360
    assert metric["value"] == pytest.approx(100 * arrays["top1"].mean())
    assert found["info"]["train_labels"] == 500


def test_nearest_neighbours_vote_by_cosine(project: Project, tmp_path: Path) -> None:
    """On pixels, with the similarities and votes written out."""
    here = context(project, "pixels", tmp_path)
    settings = Knn(kind="knn", data="photos", labels=200, neighbours=7)
    found = knn.evaluate(here, settings, "knn").metrics[0].statistics
    chosen = here.few(here.data("photos", "train"), 200).numpy()
    x, y = pixels(project, "train")
    bank, labels = x[chosen], y[chosen]
    queries, truth = pixels(project, "test")

    def unit(v: np.ndarray) -> np.ndarray:
        return v / np.linalg.norm(v, axis=1, keepdims=True)

    nearest = (-(unit(queries) @ unit(bank).T)).argsort(axis=1, kind="stable")[:, :7]
    votes = np.array([np.bincount(labels[row], minlength=10).argmax() for row in nearest])
    assert (found == (votes == truth)).mean() > 0.995  # ties among equal distances may differ


def test_linear_probe_is_softmax_regression(project: Project, tmp_path: Path) -> None:
    """Its loss has no gradient left, by the formula, at the regularisation it was given."""
    here = context(project, "pixels", tmp_path)
    settings = LinearProbe(
        kind="linear_probe",
        data="photos",
        labels=300,
        inverse_regularisation=(0.1,),
        tolerance=1e-6,
        max_iter=2000,
    )
    features, labels = here.features("photos", "train", 300)
    probe = linear_probe.fit(features, labels, settings, 0.1)
    scaled = probe[0].transform(features).astype(np.float64)
    solver = probe[-1]
    scores = scaled @ solver.coef_.T + solver.intercept_
    likely = np.exp(scores - scores.max(1, keepdims=True))
    likely /= likely.sum(1, keepdims=True)
    gradient = (likely - np.eye(10)[labels]).T @ scaled + solver.coef_ / 0.1
    assert np.abs(gradient).max() < 0.05
    assert np.abs(scaled.mean(0)).max() < 1e-4


def test_linear_probe_chooses_on_training_labels_only(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = context(project, "pixels", tmp_path)
    features, labels = here.features("photos", "train", 300)
    settings = LinearProbe(
        kind="linear_probe", data="photos", labels=300, inverse_regularisation=(1e-9, 0.01)
    )
    assert linear_probe.choose(features, labels, settings, 1) == 0.01
    seen: list[int] = []
    real = linear_probe.fit

    def spy(f: Any, *rest: Any) -> Any:
        seen.append(len(f))
        return real(f, *rest)

    monkeypatch.setattr(linear_probe, "fit", spy)
    linear_probe.choose(features, labels, settings, 1)
    assert seen == [240, 240]


def test_linear_probe_of_tensors_is_that_of_arrays(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a GPU would compute in torch, on a processor: the same choice and the same hits."""
    settings = LinearProbe(
        kind="linear_probe", data="photos", labels=300, inverse_regularisation=(1e-9, 0.01)
    )
    arrays = linear_probe.evaluate(context(project, "pixels", tmp_path), settings, "probe")
    kinds: list[type] = []
    real = linear_probe.fit

    def spy(features: Any, *rest: Any) -> Any:
        kinds.append(type(features))
        return real(features, *rest)

    monkeypatch.setattr(linear_probe, "fit", spy)
    monkeypatch.setattr(linear_probe, "place", lambda found, device: torch.from_numpy(found))
    tensors = linear_probe.evaluate(context(project, "pixels", tmp_path), settings, "probe")
    assert kinds == [torch.Tensor] * 3, "two candidates, then the chosen one on all labels"
    assert tensors.info == arrays.info
    assert tensors.info["inverse_regularisation"] == 0.01
    hits = [found.metrics[0].statistics for found in (arrays, tensors)]
    assert (hits[0] == hits[1]).mean() > 0.999, "up to rounding"


def test_classify_scores_the_runs_own_head(project: Project, tmp_path: Path) -> None:
    weights = safetensors.torch.load_file(
        project.results / "can/runs/supervised/seed0/model.safetensors"
    )
    here = context(project, "supervised", tmp_path)
    data = here.data("photos", "test")
    images = normalise(data.fetch(torch.arange(len(data)))[0], here.job.run.augment)
    with torch.inference_mode():
        features = here.method.eval().features(images)
    scores = features @ weights["head.weight"].T + weights["head.bias"]
    correct = (scores.argmax(1) == data.labels).float().mean().item()
    found, _ = record(project, "supervised", "classify")
    assert found["metrics"][0]["value"] == pytest.approx(100 * correct, abs=0.3)


def test_classify_and_gallery_refuse_what_has_none(project: Project, tmp_path: Path) -> None:
    from reprise.evaluators import gallery

    here = context(project, "can", tmp_path)
    with pytest.raises(ConfigError, match="classification head"):
        score(here, here.method, "photos", "classify")
    settings, pixels = Gallery(kind="gallery", data="photos"), context(project, "pixels", tmp_path)
    with pytest.raises(ConfigError, match="no pictures"):
        gallery.evaluate(pixels, settings, "gallery")


def test_finetuning_moves_the_encoder_and_learns(project: Project, tmp_path: Path) -> None:
    here = context(project, "can", tmp_path)
    before = {k: v.clone() for k, v in here.method.state_dict().items()}
    given = here.job.project.paper("can").evaluators["finetune-full"].model_dump()
    given |= {"steps": 200, "optim": {"lr": 5e-3, "warmup_steps": 5}, "labels": 1.0}
    result = finetune.evaluate(here, Finetune.model_validate(given), "finetune-full")
    accuracy = 100 * result.metrics[0].statistics.mean()
    probe = record(project, "can", "linear_probe")[0]["metrics"][0]["value"]
    assert accuracy > 40
    assert accuracy != probe
    # The run's own weights are left alone: later evaluators see what was trained.
    assert all(torch.equal(before[k], v) for k, v in here.method.state_dict().items())


def test_a_finetuning_in_several_passes_equals_one(project: Project, tmp_path: Path) -> None:
    given = project.paper("can").evaluators["finetune-full"].model_dump()
    given |= {"steps": 3, "batch_size": 128, "labels": 1.0}
    correct = []
    for passes in (None, 2):
        settings = Finetune.model_validate({**given, "accumulate": passes})
        fit = finetune.fit_settings(settings, "fp32")
        assert (fit.batch_size, fit.accumulate) == (128, passes or 1)
        here = context(project, "can", tmp_path / str(passes))
        correct.append(finetune.evaluate(here, settings, "finetune-full").metrics[0].statistics)
    assert np.mean(correct[0] != correct[1]) < 0.01  # of summing in another order
    with pytest.raises(ValidationError, match="accumulate must divide batch_size 128"):
        Finetune.model_validate({**given, "accumulate": 3})
    averaged = {**given, "optim": {**given["optim"], "ema_decay": 0.9}}
    with pytest.raises(
        ValidationError, match="ema_decay: a finetuned classifier is scored as it is"
    ):
        Finetune.model_validate(averaged)


def test_every_run_gets_the_same_few_labels(project: Project, tmp_path: Path) -> None:
    chosen = []
    for name in ("can", "pixels"):
        here = context(project, name, tmp_path)
        chosen.append(here.few(here.data("photos", "train"), 100))
    assert torch.equal(*chosen)


def test_gallery_pictures_are_images_of_the_test_split(project: Project) -> None:
    found, arrays = record(project, "can", "gallery")
    assert found["metrics"] == []
    originals = arrays[found["pictures"][0]["array"]]
    data = load("digits", "test", project.data_root, {"size": 16})
    chosen = torch.linspace(0, len(data) - 1, 4).long()
    assert np.array_equal(originals, data.fetch(chosen)[0].squeeze(1).numpy())
    assert len(found["pictures"]) == 3


def test_weights_of_other_settings_are_refused(project: Project) -> None:
    stale = RunJob(project, "can", "can", 0)
    meta = stale.folder / "meta.json"
    content = meta.read_text()
    try:
        meta.write_text(content.replace(stale.digest, "0" * 64))
        with pytest.raises(StaleError, match=r"train can/can --seed 0"):
            _runner.evaluate(stale)
    finally:
        meta.write_text(content)
    with pytest.raises(StaleError, match="is not trained"):
        _runner.evaluate(RunJob(project, "can", "mae", 0))


def test_finished_evaluators_of_a_stopped_call_are_kept(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = RunJob(project, "can", "pixels", 0)
    for file in job.eval_outputs:
        file.unlink()
    calls: list[str] = []

    def stop(context: Any, settings: Any, name: str) -> Any:
        calls.append(name)
        raise KeyboardInterrupt

    monkeypatch.setattr(knn, "evaluate", stop)
    with pytest.raises(KeyboardInterrupt):
        _runner.evaluate(job)
    monkeypatch.undo()
    real = linear_probe.evaluate

    def spy(context: Any, settings: Any, name: str) -> Any:
        calls.append(name)
        return real(context, settings, name)

    monkeypatch.setattr(linear_probe, "evaluate", spy)
    _runner.evaluate(job)
    assert calls[0] == "knn"
    assert "linear_probe" not in calls
    assert not list(project.state_root.glob("can-pixels-*"))


def test_a_stopped_evaluation_of_other_data_begins_anew(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data made again with other content have another manifest; settings and sources agree."""
    job = RunJob(project, "can", "pixels", 0)
    first = {file: file.read_bytes() for file in job.eval_outputs}
    for file in job.eval_outputs:
        file.unlink()

    def stop(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as stopped:
        stopped.setattr(knn, "evaluate", stop)
        with pytest.raises(KeyboardInterrupt):
            _runner.evaluate(job)
    (left,) = project.state_root.glob("can-pixels-*")
    calls: list[str] = []
    real = linear_probe.evaluate

    def spy(context: Any, settings: Any, name: str) -> Any:
        calls.append(name)
        return real(context, settings, name)

    monkeypatch.setattr(linear_probe, "evaluate", spy)
    manifest = project.data_root / "digits" / "manifest.json"
    content = manifest.read_text()
    try:
        manifest.write_text(content.replace(json.loads(content)["digest"], 64 * "0"))
        _runner.evaluate(job)
    finally:
        manifest.write_text(content)
    assert "linear_probe" in calls
    calls.clear()
    _runner.evaluate(job)  # the old data are back, and with them what was begun
    assert "linear_probe" not in calls
    assert not left.exists()
    for file in job.eval_outputs:
        if file.suffix == ".npz":
            assert file.read_bytes() == first[file]


def test_a_published_run_is_not_trained_again(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(training_run, "make_fit", fail)
    training_run.train(RunJob(project, "can", "can", 0))


def test_meta_says_how_a_run_came_about(project: Project) -> None:
    job = RunJob(project, "can", "can", 0)
    meta = json.loads((job.folder / "meta.json").read_text())
    assert meta["digest"] == job.digest
    assert meta["steps"] == 12
    assert meta["threads"] == 1
    assert "papers/can.py" in meta["sources"]
    assert not {"cli.py", "tables.py", "config.py"} & set(meta["sources"])
    assert meta["images_per_second"] > 0
    lines = (job.folder / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 4, 6, 8, 10, 12]


def test_an_orphans_work_is_published_again_not_done_again(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its driver was killed; the next one deletes what the orphan published meanwhile."""
    job = RunJob(project, "can", "mae", 0)
    drivers = iter([1234, None, 1234, None])
    with monkeypatch.context() as orphaned:
        orphaned.setattr("reprise.locks.driver", lambda root: next(drivers))
        training_run.train(job)
        _runner.evaluate(job)
    files = [*job.outputs[:2], *job.eval_outputs]
    first = {file: file.read_bytes() for file in files}
    for file in [*job.outputs, *job.eval_outputs]:
        file.unlink()

    def fail(*_: object) -> None:
        raise AssertionError("done again")

    monkeypatch.setattr("reprise.training.loop.Fit._step", fail)
    monkeypatch.setattr(linear_probe, "evaluate", fail)
    training_run.train(job)
    _runner.evaluate(job)
    assert {file: file.read_bytes() for file in files} == first
    assert not list(project.state_root.glob("can-mae-*"))


# --- several draws of a few labels -----------------------------------------------------------


def probe_settings(**given: Any) -> LinearProbe:
    known = {"kind": "linear_probe", "data": "photos", "max_iter": 50}
    return LinearProbe.model_validate({**known, **given})


def precision_of(here: Context) -> Any:
    wanted = resolve_precision(here.job.run.precision, here.world.device)
    return autocast(wanted, here.world.device)


def probe_by_hand(here: Context, chosen: torch.Tensor, settings: LinearProbe, seed: int) -> Any:
    """Return the probe as it was before there were draws and caches: features, choice, fit."""
    data = here.data("photos", "train")
    images = normalise(data.fetch(chosen)[0], here.job.run.augment)
    with torch.inference_mode(), precision_of(here):
        features = here.method.eval().features(images).float().numpy()
    labels = data.labels[chosen].numpy()
    strength = linear_probe.choose(features, labels, settings, seed)
    return linear_probe.fit(features, labels, settings, strength), strength


@pytest.mark.parametrize("run", ["can", "pixels"])
def test_the_first_of_several_draws_is_the_single_one(
    project: Project, tmp_path: Path, run: str
) -> None:
    here = context(project, run, tmp_path)
    labels = here.data("photos", "train").labels
    single = linear_probe.evaluate(here, probe_settings(labels=100), "probe")
    chosen = few_labels(labels, 100, here.key.fold("few"))
    probe, strength = probe_by_hand(
        here, chosen, probe_settings(labels=100), here.key.fold("probe").seed
    )
    tested, truth = here.features("photos", "test")
    (top1,) = single.metrics
    assert (top1.reduce, top1.statistics.dtype) == ("percent_correct", np.uint8)
    assert np.array_equal(top1.statistics, probe.predict(tested) == truth)
    assert single.info["inverse_regularisation"] == strength
    fresh = context(project, run, tmp_path)
    several = linear_probe.evaluate(fresh, probe_settings(labels=100, draws=3), "probe")
    assert several.metrics[0].reduce == "percent_correct_repeated"
    assert several.metrics[0].statistics.shape == (360, 3)
    assert np.array_equal(several.metrics[0].statistics[:, 0], top1.statistics)
    assert several.info["train_labels"] == 100
    assert several.info["inverse_regularisation"][0] == strength
    record = several.metrics[0].record()
    assert record["n"] == 360
    assert record["value"] == pytest.approx(100 * several.metrics[0].statistics.mean())


def test_later_draws_are_other_labels_of_every_class(project: Project, tmp_path: Path) -> None:
    here = context(project, "pixels", tmp_path)
    data = here.data("photos", "train")
    found = linear_probe.evaluate(here, probe_settings(labels=50, draws=4), "probe")
    chosen = [here.few(data, 50, draw) for draw in range(4)]
    assert all((data.labels[one].bincount() == 5).all() for one in chosen)
    assert all(len(torch.cat([a, b]).unique()) > 75 for a in chosen for b in chosen if a is not b)
    key = here.key.fold("probe", "draw", 2)
    probe, _ = probe_by_hand(here, chosen[2], probe_settings(labels=50), key.seed)
    tested, truth = here.features("photos", "test")
    assert np.array_equal(found.metrics[0].statistics[:, 2], probe.predict(tested) == truth)


def test_features_of_an_image_are_computed_once(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, seen = context(project, "can", tmp_path), list[torch.Tensor]()
    forward = here.forward

    def spy(data: Any, chosen: torch.Tensor, *rest: Any) -> torch.Tensor:
        if data.split == "train":
            seen.append(chosen)
        return forward(data, chosen, *rest)

    monkeypatch.setattr(here, "forward", spy)
    data = here.data("photos", "train")
    for labels in (20, 50, 50):
        linear_probe.evaluate(
            here, probe_settings(labels=labels, draws=5, inverse_regularisation=[0.01]), "probe"
        )
    assert len(seen) == 2, "one pass for all draws of an evaluator, none for what is known"
    wanted = [here.few(data, labels, draw) for labels in (20, 50) for draw in range(5)]
    assert torch.equal(torch.cat(seen).sort().values, torch.cat(wanted).unique())
    here.features("photos", "train", 500)
    everything = torch.cat(seen)
    assert len(everything) == len(everything.unique())
    # Rows come back in the order asked for, whatever was computed before.
    asked = torch.cat([wanted[3].flip(0), wanted[0], wanted[0][:2]])
    images = normalise(data.fetch(asked)[0], here.job.run.augment)
    with torch.inference_mode(), precision_of(here):
        expected = here.method.eval().features(images).float().numpy()
    np.testing.assert_allclose(here.features_at("photos", "train", asked), expected, atol=1e-5)


def test_one_label_a_class_needs_one_candidate(project: Project, tmp_path: Path) -> None:
    here = context(project, "pixels", tmp_path)
    one = probe_settings(labels=10, draws=3, inverse_regularisation=[0.01])
    found = linear_probe.evaluate(here, one, "probe")
    assert found.info["inverse_regularisation"] == [0.01] * 3
    assert found.metrics[0].record()["value"] > 30
    for labels in (10, 20, 40):
        with pytest.raises(ConfigError, match=f"labels = {labels}: {labels // 10} labels in the"):
            linear_probe.evaluate(here, probe_settings(labels=labels), "probe")
    linear_probe.evaluate(here, probe_settings(labels=50), "probe")


# --- robustness ------------------------------------------------------------------------------


def robustness_settings(**given: Any) -> Robustness:
    known = {"kind": "robustness", "data": "photos", "labels": 300, "max_iter": 50}
    return Robustness.model_validate({**known, "images": 90, "strengths": 2, **given})


@pytest.mark.parametrize("run", ["can", "pixels"])
def test_robustness_scores_the_clean_probe_on_corrupted_images(
    project: Project, tmp_path: Path, run: str
) -> None:
    here = context(project, run, tmp_path)
    result = robustness.evaluate(here, robustness_settings(), "robustness")
    found = {measured.metric: measured for measured in result.metrics}
    assert list(found)[:6] == ["clean", "mean", *CORRUPTIONS]
    assert list(found)[6:] == [f"{name}_{strength}" for name in CORRUPTIONS for strength in (1, 2)]
    shapes = {name: measured.statistics.shape for name, measured in found.items()}
    assert shapes == {
        name: {"mean": (90, 8)}.get(name, (90, 2) if name in CORRUPTIONS else (90,))
        for name in found
    }
    every = [found[name].statistics for name in CORRUPTIONS]
    assert np.array_equal(found["mean"].statistics, np.concatenate(every, axis=1))
    # One column calculated apart: 90 of 360 images, every fourth, under the seed's corruption.
    data, probe = here.data("photos", "test"), probe_of(here)
    images, labels = data.fetch(torch.arange(0, 360, 4))
    draws = Draws(here.key.fold("corruptions"), 90)
    for name, column in (("noise", 1), ("occlusion", 0)):
        made = normalise(corrupt(images, name, column + 1, draws), here.job.run.augment)
        with torch.inference_mode(), precision_of(here):
            features = here.method.eval().features(made).float().numpy()
        expected = probe.predict(features) == labels.numpy()
        assert np.array_equal(found[name].statistics[:, column], expected)
        assert np.array_equal(found[f"{name}_{column + 1}"].statistics, expected)
    whole = linear_probe.evaluate(here, probe_settings(labels=300), "probe").metrics[0].statistics
    assert np.array_equal(found["clean"].statistics, whole[::4])
    assert result.info["train_labels"] == 300
    assert not result.pictures
    for measured in result.metrics:
        assert measured.record()["n"] == 90


def probe_of(here: Context) -> Any:
    (fitted,) = linear_probe.fitted(here, robustness_settings())
    return fitted.probe


def test_a_probe_is_fitted_once_where_settings_agree(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, fits = context(project, "pixels", tmp_path), list[int]()
    real = linear_probe.fit

    def spy(features: Any, *rest: Any) -> Any:
        fits.append(len(features))
        return real(features, *rest)

    monkeypatch.setattr(linear_probe, "fit", spy)
    agreed = {"labels": 300, "inverse_regularisation": (0.01,)}
    linear_probe.evaluate(here, probe_settings(**agreed), "probe")
    robustness.evaluate(here, robustness_settings(**agreed, strengths=1), "robustness")
    assert fits == [300]
    robustness.evaluate(here, robustness_settings(**agreed, tolerance=0.1), "robustness")
    assert fits == [300, 300]


def test_every_run_meets_the_same_corrupted_images(project: Project, tmp_path: Path) -> None:
    shown = [
        robustness._images(context(project, run, tmp_path), robustness_settings())
        for run in ("can", "pixels")
    ]
    for name in CORRUPTIONS:
        assert torch.equal(*(images.corrupted(name, 1).images for images in shown))


def test_robustness_takes_no_more_images_than_there_are(project: Project, tmp_path: Path) -> None:
    here = context(project, "pixels", tmp_path)
    settings = robustness_settings(images=5000, strengths=1)
    result = robustness.evaluate(here, settings, "robustness")
    assert result.info["images"] == 360
    assert result.metrics[0].statistics.shape == (360,)


def test_pictures_show_each_image_before_and_after(project: Project, tmp_path: Path) -> None:
    here = context(project, "pixels", tmp_path)
    result = robustness.evaluate(here, robustness_settings(pictures=3), "robustness")
    assert list(result.pictures) == [f"{name}: clean, then strength 1 to 2" for name in CORRUPTIONS]
    assert not {measured.metric for measured in result.metrics} & set(result.pictures)
    shown = robustness._images(here, robustness_settings())
    for name, strip in zip(CORRUPTIONS, result.pictures.values(), strict=True):
        assert (strip.shape, strip.dtype) == ((9, 16, 16), np.uint8)
        assert np.array_equal(strip[0::3], shown.images[[0, 30, 60], 0])
        assert np.array_equal(strip[2::3], shown.corrupted(name, 2).images[[0, 30, 60], 0])
