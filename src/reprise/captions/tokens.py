"""Captions cut into words by the Penn Treebank tokenizer that pycocoevalcap brings along.

All scores take the same tokens, so references and candidates go through one start of Java.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pycocoevalcap.tokenizer import ptbtokenizer

from reprise.captions import java
from reprise.errors import RepriseError

ImageId = int | str
NAMED = 5  # image ids in a message
PUNCTUATION = frozenset(ptbtokenizer.PUNCTUATIONS)


class ScoreError(RepriseError):
    """Captions cannot be scored: one is missing, or there are too few."""


@dataclass(frozen=True)
class Tokens:
    """What scorers take: n images with references and one candidate each, tokens set apart by " ".

    ``references[i]`` and ``candidates[i]`` belong to ``ids[i]``. A candidate without a word is "",
    and stays in its place.
    """

    ids: tuple[ImageId, ...]
    references: tuple[tuple[str, ...], ...]
    candidates: tuple[str, ...]

    @property
    def empty(self) -> tuple[ImageId, ...]:
        """Return the images whose candidate has no word; each scores 0 and counts."""
        pairs = zip(self.ids, self.candidates, strict=True)
        return tuple(image for image, words in pairs if not words.strip())


def tokenise(
    references: Mapping[ImageId, Sequence[str]], candidates: Mapping[ImageId, str]
) -> Tokens:
    """Return the tokens of raw captions, in the order of the references.

    Args:
        references: image id -> at least one caption by a person.
        candidates: image id -> the caption to be scored; "" is a caption, its absence an error.

    Raises ScoreError naming images that have no candidate, no reference or no reference with a
    word, JavaError where Java is absent.
    """
    check(references, candidates)
    counts = [len(captions) for captions in references.values()]
    captions = [caption for several in references.values() for caption in several]
    words = penn_treebank([*captions, *(candidates[image] for image in references)])
    cut, place = [], 0
    for count in counts:
        cut.append(tuple(words[place : place + count]))
        place += count
    tokens = Tokens(tuple(references), tuple(cut), tuple(words[place:]))
    mute = [i for i, several in zip(tokens.ids, tokens.references, strict=True) if not any(several)]
    if mute:
        raise ScoreError(f"no reference has a word for {_name(mute)}")
    return tokens


def check(references: Mapping[ImageId, Sequence[str]], candidates: Mapping[ImageId, str]) -> None:
    """Raise ScoreError, naming images, unless every one has references and a candidate."""
    if not references:
        raise ScoreError("no image to score")
    wrongs = {
        "no reference caption": [i for i, several in references.items() if not several],
        "no candidate caption": [i for i in references if i not in candidates],
        "a candidate that is no text": [
            i for i, caption in candidates.items() if not isinstance(caption, str)
        ],
        "a candidate but no reference": [i for i in candidates if i not in references],
    }
    for wrong, images in wrongs.items():
        if images:
            raise ScoreError(f"{wrong} for {_name(images)}")


def penn_treebank(captions: Sequence[str]) -> list[str]:
    """Return each caption in lower case without punctuation, tokens set apart by one space.

    Source: `PTBTokenizer` of pycocoevalcap 1.2, with its jar, options and list of punctuation. It
    reads all captions as one text of lines, so the period of an abbreviation at a caption's end
    can depend on how the next caption begins; the order is kept as it comes for that reason. Round
    brackets stay, as "-lrb-" and "-rrb-": the list knows them in upper case only.
    Raises JavaError where Java is absent, fails or returns another number of captions.
    """
    # Whatever the tokenizer may take for the end of a line would shift all further captions.
    text = "".join(" ".join(caption.splitlines()) + "\n" for caption in captions)
    path = java.jar("tokenizer", ptbtokenizer.STANFORD_CORENLP_3_4_1_JAR)
    main = "edu.stanford.nlp.process.PTBTokenizer"
    line = java.command("-cp", path, main, "-preserveLines", "-lowerCase")
    lines = java.run("the PTB tokenizer", line, text).split("\n")
    if len(lines) != len(captions) + 1:
        raise java.JavaError(
            f"the PTB tokenizer made {len(lines) - 1} captions of {len(captions)}: "
            "one of them has a character that it takes for the end of a line"
        )
    return [_without_punctuation(line) for line in lines[:-1]]


def _without_punctuation(line: str) -> str:
    return " ".join(word for word in line.rstrip().split(" ") if word not in PUNCTUATION)


def _name(images: Sequence[ImageId]) -> str:
    more = f" and {len(images) - NAMED} more" * (len(images) > NAMED)
    return f"image {', '.join(map(repr, images[:NAMED]))}{more}"
