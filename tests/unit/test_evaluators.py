"""Evaluators on runs trained at scale smoke, against calculations made apart from them."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from reprise.config import Project, load_project
from reprise.data.base import load, prepare
from reprise.data.transforms import normalise
from reprise.errors import ConfigError, StaleError
from reprise.evaluators import _runner, knn, linear_probe
from reprise.evaluators._base import Context
from reprise.evaluators.classify import score
from reprise.plan import RunJob
from reprise.settings.evaluators import Finetune, Gallery, Knn, LinearProbe
from reprise.training import run as training_run
from reprise.training.distributed import World

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
    from reprise.evaluators import finetune

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
    monkeypatch.setattr(linear_probe, "evaluate", stop)
    _runner.evaluate(job)
    assert calls == ["knn"]
    assert not list(project.state_root.glob("can-pixels-*"))


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
