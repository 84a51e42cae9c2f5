"""Caption scores: by hand, against pycocoevalcap, and under resampling."""

import json
import math
from dataclasses import replace
from pathlib import Path

import captioned
import numpy as np
import pytest
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from reprise.captions import corpus, java, scores, spice
from reprise.captions.tokens import ScoreError, Tokens

WITHOUT_JAVA = ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider")


def tokens(*pairs: tuple[str, list[str]]) -> Tokens:
    return Tokens(
        tuple(range(len(pairs))),
        tuple(tuple(refs) for _, refs in pairs),
        tuple(c for c, _ in pairs),
    )


def as_theirs(all_tokens: Tokens) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """Return references and candidates as pycocoevalcap's scorers take them."""
    return (
        {i: list(several) for i, several in enumerate(all_tokens.references)},
        {i: [one] for i, one in enumerate(all_tokens.candidates)},
    )


def resample(all_tokens: Tokens, chosen: np.ndarray) -> Tokens:
    return Tokens(
        tuple(range(len(chosen))),
        tuple(all_tokens.references[i] for i in chosen),
        tuple(all_tokens.candidates[i] for i in chosen),
    )


# --- by hand ----------------------------------------------------------------------------------


def test_bleu_with_brevity_penalty() -> None:
    statistics = scores.bleu(tokens(("the cat sat", ["the cat sat on the mat"])))
    assert statistics.tolist() == [[3, 2, 1, 0, 3, 2, 1, 0, 3, 6]]
    assert statistics.dtype == np.int64
    penalty = math.exp(1 - 6 / 3)
    assert corpus.bleu(statistics, 1) == pytest.approx(penalty, rel=1e-8)
    assert corpus.bleu(statistics, 3) == pytest.approx(penalty, rel=1e-8)
    # no 4-gram at all: pycocoevalcap's small constants leave a factor of 1e-15 / 1e-9
    assert corpus.bleu(statistics, 4) == pytest.approx(penalty * 1e-6**0.25, rel=1e-8)


def test_bleu_clips_and_takes_the_closest_reference() -> None:
    # Papineni et al. 2002: two of seven; 6 words are as near to 7 as 8 are, the shorter counts
    papineni = tokens(("the " * 7, ["the cat is on the mat", "the cat is on a mat over there"]))
    assert scores.bleu(papineni)[0].tolist() == [2, 0, 0, 0, 7, 6, 5, 4, 7, 6]
    assert corpus.bleu(scores.bleu(papineni), 1) == pytest.approx(2 / 7, rel=1e-8)


def test_bleu_of_a_corpus_is_no_mean_of_images() -> None:
    both = scores.bleu(tokens(("a b c d", ["a b c d"]), ("x", ["a b"])))
    one = [corpus.bleu(row[None], 1) for row in both]
    assert one == pytest.approx([1.0, 0.0], abs=1e-8)
    assert corpus.bleu(both, 1) == pytest.approx(4 / 5 * math.exp(1 - 6 / 5), rel=1e-8)


def test_rouge_l() -> None:
    # longest common subsequences of 2 words with each: precision 2/4, recall the better of 2/3, 2/5
    found = scores.rouge_l(tokens(("a b c d", ["a x c", "b d y z w"]), ("q", ["a b"])))
    precision, recall, square = 2 / 4, 2 / 3, 1.2**2
    expected = (1 + square) * precision * recall / (recall + square * precision)
    assert found.tolist() == pytest.approx([expected, 0.0], rel=1e-12)


def fifty(first: str) -> Tokens:
    """Return 50 images whose references share one word and have another of their own."""
    pairs = [(f"common word{i}", [f"common word{i}"]) for i in range(50)]
    return tokens((first, ["common word0"]), *pairs[1:])


@pytest.mark.parametrize(
    ("candidate", "expected"),
    [
        # "common" weighs nothing; orders 1 and 2 agree, there are no longer n-grams: 10 * 2/4
        ("common word0", 5.0),
        ("word0 common", 2.5),  # order 1 only
        ("common", 0.0),
        # order 1 only, times the penalty for one bigram less than the reference (sigma 6)
        ("word0", 2.5 * math.exp(-1 / 72)),
        ("", 0.0),
    ],
)
def test_cider_on_a_toy_corpus_of_50(candidate: str, expected: float) -> None:
    found = scores.cider(fifty(candidate))
    assert found[0] == pytest.approx(expected, rel=1e-12)
    assert found[1:].tolist() == pytest.approx([5.0] * 49)
    assert corpus.image_mean(found) == pytest.approx((expected + 49 * 5) / 50)


def test_cider_refuses_a_handful_of_images() -> None:
    with pytest.raises(ScoreError, match=r"at least 50 images, here are 49.*leave CIDEr out"):
        scores.score(captioned.toy(49), ("cider",))


def test_meteor_by_hand() -> None:
    # the example in METEOR's own source, less the columns that are sums
    row = [15, 14, 4, 3, 6, 6, 2, 2, 1, 1, 0, 0, 1, 1, 0, 0, 2, 2, 1, 1, 3, 13, 13]
    content = 6 * 1.0 + 1 * 0.6 + 1 * 0.8 + 2 * 0.6
    function = 2 * 1.0 + 1 * 0.6
    matched = 0.75 * content + 0.25 * function
    precision, recall = matched / (0.75 * 11 + 0.25 * 4), matched / (0.75 * 11 + 0.25 * 3)
    mean = precision * recall / (0.85 * precision + 0.15 * recall)
    expected = mean * (1 - 0.6 * (3 / 13) ** 0.2)
    assert corpus.meteor(np.array([row])) == pytest.approx(expected, rel=1e-12)


def test_meteor_of_copies_and_of_nothing() -> None:
    copy = [4, 4, 1, 1, 3, 3, 1, 1, *[0] * 12, 1, 4, 4]
    nothing = [3, 4, 1, 1, *[0] * 16, 0, 0, 0]
    assert corpus.meteor(np.array([copy])) == pytest.approx(1.0, rel=1e-12)
    assert corpus.meteor(np.array([copy, copy])) == pytest.approx(1.0, rel=1e-12)
    assert corpus.meteor(np.array([nothing])) == 0.0
    # the copy's chunk is not counted: no penalty, recall and precision alone
    both = np.array([copy, nothing])
    precision, recall = 2.5 / (2.5 + 1.75), 2.5 / (2.5 + 2.5)
    expected = precision * recall / (0.85 * precision + 0.15 * recall)
    assert corpus.meteor(both) == pytest.approx(expected, rel=1e-12)


# --- against pycocoevalcap --------------------------------------------------------------------


def test_equal_to_pycocoevalcap_on_the_whole_set() -> None:
    toy = captioned.toy()
    references, candidates = as_theirs(toy)
    found = scores.score(toy, WITHOUT_JAVA).corpus()
    theirs, _ = Bleu(4).compute_score(references, candidates, verbose=0)
    assert [found[f"bleu_{n}"] for n in (1, 2, 3, 4)] == theirs
    assert found["rouge_l"] == Rouge().compute_score(references, candidates)[0]
    assert found["cider"] == Cider().compute_score(references, candidates)[0]


needs_fixtures = pytest.mark.skipif(
    not captioned.FIXTURES.is_dir(), reason=f"no {captioned.FIXTURES} (set REPRISE_SHARED_DATA)"
)


def fixture_tokens() -> Tokens:
    path = captioned.FIXTURES / "coco1000_tokenized.json"
    entries = json.loads(path.read_text(encoding="utf-8"))
    return Tokens(
        tuple(entries),
        tuple(tuple(entry["refs"]) for entry in entries.values()),
        tuple(entry["hyp"] for entry in entries.values()),
    )


@needs_fixtures
def test_fixtures_give_the_scores_stated_there() -> None:
    found = scores.score(fixture_tokens(), WITHOUT_JAVA).corpus()
    rounded = {metric: round(value, 5) for metric, value in found.items()}
    assert rounded == {
        "bleu_1": 0.59894,
        "bleu_2": 0.39797,
        "bleu_3": 0.26168,
        "bleu_4": 0.17663,
        "rouge_l": 0.43681,
        "cider": 0.49912,
    }


# --- resampling -------------------------------------------------------------------------------


def test_a_resample_is_the_corpus_of_the_chosen_images() -> None:
    toy = captioned.toy()
    whole = scores.score(toy, WITHOUT_JAVA)
    for seed in range(3):
        chosen = np.random.default_rng(seed).integers(60, size=60)
        anew = resample(toy, chosen)
        found = whole.corpus(chosen)
        theirs, _ = Bleu(4).compute_score(*as_theirs(anew), verbose=0)
        assert [found[f"bleu_{n}"] for n in (1, 2, 3, 4)] == theirs
        assert found["rouge_l"] == pytest.approx(scores.rouge_l(anew).mean(), rel=1e-12)
        # document frequencies stay those of the whole test set
        assert found["cider"] == pytest.approx(scores.cider(toy)[chosen].mean(), rel=1e-12)
        assert found["cider"] != pytest.approx(scores.cider(anew).mean(), rel=1e-6)


def test_order_does_not_matter_and_the_whole_is_a_resample() -> None:
    whole = scores.score(captioned.toy(), WITHOUT_JAVA)
    for chosen in (np.arange(60), np.random.default_rng(0).permutation(60)):
        found, expected = whole.corpus(chosen), whole.corpus()
        assert found == pytest.approx(expected, rel=1e-12)


def test_first_axis_is_the_image() -> None:
    whole = scores.score(captioned.toy(), WITHOUT_JAVA)
    shapes = {name: array.shape for name, array in whole.statistics.items()}
    assert shapes == {"bleu": (60, 10), "rouge_l": (60,), "cider": (60,)}


# --- what may be missing ----------------------------------------------------------------------


def test_an_empty_candidate_scores_nothing_and_stays() -> None:
    toy = captioned.toy()
    whole = scores.score(toy, WITHOUT_JAVA)
    assert whole.empty == ("photo-7",)
    assert whole.statistics["bleu"][7, :9].tolist() == [0] * 9
    assert whole.statistics["bleu"][7, 9] > 0  # its reference counts for the brevity penalty
    assert whole.statistics["rouge_l"][7] == whole.statistics["cider"][7] == 0
    assert len(whole.ids) == 60


def test_an_empty_candidate_gains_nothing_from_an_empty_reference() -> None:
    assert scores.rouge_l(tokens(("", ["", "a dog"]))).tolist() == [0.0]


def test_a_corpus_of_empty_candidates_scores_zero() -> None:
    toy = captioned.toy()
    mute = scores.score(replace(toy, candidates=("",) * 60), WITHOUT_JAVA)
    assert set(mute.corpus().values()) == {0.0}
    assert len(mute.empty) == 60


def test_unknown_metrics_are_named() -> None:
    with pytest.raises(ScoreError, match=r"'blue_4' \(did you mean 'bleu_4'\?\)"):
        scores.score(captioned.toy(), ("blue_4",))


@pytest.mark.parametrize(
    "statistics",
    [
        np.zeros((0, 10)),
        np.zeros((3, 9)),
        np.zeros(10),
        np.full((3, 10), -1),
        np.full((3, 10), np.nan),
        np.array([["x"] * 10]),
    ],
)
def test_other_shapes_are_refused(statistics: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"BLEU needs counts \[n, 10\]"):
        corpus.bleu(statistics, 4)


@pytest.mark.parametrize("values", [[], [[1.0]], [np.nan], [np.inf], ["x"]])
def test_means_need_finite_numbers(values: list[object]) -> None:
    with pytest.raises(ValueError, match="one per image"):
        corpus.image_mean(np.array(values))


# --- SPICE ------------------------------------------------------------------------------------


def test_spice_says_why_it_did_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(folder: str, name: str) -> Path:
        raise java.JavaError(name)

    monkeypatch.setattr(java, "jar", absent)
    whole = scores.score(captioned.toy(), ("rouge_l", "spice"))
    assert list(whole.corpus()) == ["rouge_l"]
    assert "models.jar not in pycocoevalcap/spice/lib" in whole.not_run["spice"]
    assert "never downloaded" in whole.not_run["spice"]


def stand_in(monkeypatch: pytest.MonkeyPatch, folder: Path, program: str) -> None:
    """Let a shell script stand in for Java, and every jar be present."""
    path = folder / "java"
    path.write_text(f"#!/bin/sh\n{program}\n")
    path.chmod(0o755)
    monkeypatch.setattr(java, "binary", lambda: path)
    monkeypatch.setattr(java, "jar", lambda folder, name: Path(folder, name))


def test_spice_with_its_files_present(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answer = json.dumps(
        [
            {"image_id": 1, "scores": {"All": {"f": None}}},
            {"image_id": 0, "scores": {"All": {"f": 0.5}}},
        ]
    )
    program = f"""
    while [ "$1" != -jar ]; do shift; done
    test "$2" = spice/spice-1.0.jar && test "$4" = -out && test -s "$3" || exit 1
    echo '{answer}' > "$5"
    """
    stand_in(monkeypatch, tmp_path, program)
    two = tokens(("a dog", ["a dog"]), ("", ["a cat"]))
    whole = scores.score(two, ("spice",))
    assert whole.statistics["spice"].tolist() == [0.5, 0.0]
    assert whole.corpus() == {"spice": 0.25}


def test_spice_that_fails_is_not_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand_in(monkeypatch, tmp_path, "echo no luck >&2; exit 3")
    whole = scores.score(tokens(("a dog", ["a dog"])), ("bleu_1", "spice"))
    assert whole.not_run == {"spice": "SPICE ended with status 3: no luck"}
    stand_in(monkeypatch, tmp_path, "exit 0")
    with pytest.raises(java.JavaError, match="left no scores"):
        spice.spice(tokens(("a dog", ["a dog"])))
