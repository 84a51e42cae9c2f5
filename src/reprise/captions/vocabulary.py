"""Captions as token numbers: a closed vocabulary of words, or the tokenizer of a released model.

A small language model of few captions wants few tokens, so its vocabulary is the words of its
training captions (`tokenizers`, word level); released models bring their own.
"""

import itertools
from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from torch import Tensor

from reprise.data.base import ImageSet
from reprise.data.captioned import CaptionedSet
from reprise.errors import ConfigError

PAD, START, UNKNOWN = 0, 1, 2
SPECIAL = ("[pad]", "[start]", "[unknown]")
END = "[end]"
# A word with its hyphens is one token, and so is every other sign that is not a space.
PIECE = r"[\p{L}\p{N}]+(?:-[\p{L}\p{N}]+)*|[^\s\p{L}\p{N}]"


class Vocabulary(Protocol):
    """What a language model needs of its tokenizer; token lists end with ``end``."""

    @property
    def size(self) -> int: ...
    @property
    def pad(self) -> int: ...
    @property
    def end(self) -> int: ...

    def encode(self, texts: Sequence[str], longest: int) -> Tensor:
        """Return tokens int64 [N, L], each text with its end and padded, L at most longest."""

    def decode(self, tokens: Tensor) -> list[str]:
        """Return texts of tokens int64 [N, L], each up to its end."""


class Words:
    """The words of some captions in lower case, as tokens 3, 4, ...; the end is the last one.

    The end's number is the highest, where a CLIP text tower looks for a caption's summary.
    """

    pad = PAD

    def __init__(self, words: Iterable[str]) -> None:
        """Take the words in alphabetical order, so that equal words mean equal numbers."""
        entries = [*SPECIAL, *sorted(set(words)), END]
        numbers = {word: number for number, word in enumerate(entries)}
        self._tokenizer = Tokenizer(models.WordLevel(numbers, unk_token=SPECIAL[UNKNOWN]))
        self._tokenizer.normalizer = normalizers.Lowercase()
        self._tokenizer.pre_tokenizer = pieces()
        self._tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=True)
        self.size, self.end = len(entries), len(entries) - 1

    @classmethod
    def of(cls, data: ImageSet) -> "Words":
        """Return the vocabulary of all captions of a split; ConfigError where it has none."""
        chunks: set[str] = set()  # between spaces, which no token spans: few, where texts are many
        for several in captioned(data).texts.values():
            for captions in several:
                for caption in captions:
                    chunks.update(caption.lower().split())
        splitter = pieces()
        return cls(word for chunk in chunks for word, _ in splitter.pre_tokenize_str(chunk))

    def encode(self, texts: Sequence[str], longest: int, start: bool = False) -> Tensor:
        """Return tokens int64 [N, L], ending with ``end``, padded; L is at most longest.

        A longer text loses its last words, never its end. ``start`` puts a start token first.
        """
        room = longest - 1 - start
        rows = [
            [START] * start + one.ids[:room] + [self.end]
            for one in self._tokenizer.encode_batch(list(texts))
        ]
        return padded(rows, PAD)

    def decode(self, tokens: Tensor) -> list[str]:
        """Return texts of tokens int64 [N, L], each up to its end, special tokens left out."""
        return self._tokenizer.decode_batch(
            [[token for token in row if token >= len(SPECIAL)] for row in cut(tokens, self.end)]
        )


class Released:
    """The tokenizer of a released GPT-2 (byte pairs); its end of text ends a caption."""

    def __init__(self, name: str) -> None:
        """Take it from the hub or a local folder, as `transformers` does."""
        from transformers import AutoTokenizer

        self._tokenizer = AutoTokenizer.from_pretrained(name)
        self.size, self.end = len(self._tokenizer), int(self._tokenizer.eos_token_id)
        self.pad = self.end  # GPT-2 has none; what stands after the end is never read

    def encode(self, texts: Sequence[str], longest: int) -> Tensor:
        """Return tokens int64 [N, L] as `Vocabulary.encode`."""
        rows = [
            [*ids[: longest - 1], self.end] for ids in self._tokenizer(list(texts))["input_ids"]
        ]
        return padded(rows, self.pad)

    def decode(self, tokens: Tensor) -> list[str]:
        """Return texts of tokens int64 [N, L], each up to its end."""
        texts: list[str] = self._tokenizer.batch_decode(cut(tokens, self.end))
        return [text.strip() for text in texts]


def pieces() -> pre_tokenizers.PreTokenizer:
    """Return what cuts a text into words and signs."""
    return pre_tokenizers.Split(Regex(PIECE), behavior="removed", invert=True)


def captioned(data: ImageSet) -> CaptionedSet:
    """Return a split as one with captions; ConfigError where its data set has none."""
    if not isinstance(data, CaptionedSet):
        raise ConfigError(f"data set {data.name!r} has no captions, which this method reads")
    return data


def padded(rows: Sequence[Sequence[int]], pad: int) -> Tensor:
    """Return rows as int64 [N, L], L being that of the longest."""
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    made = np.full((len(rows), lengths.max(initial=0)), pad)
    taken = np.arange(made.shape[1]) < lengths[:, None]
    made[taken] = np.fromiter(itertools.chain.from_iterable(rows), np.int64, lengths.sum())
    return torch.from_numpy(made)


def cut(tokens: Tensor, end: int) -> list[list[int]]:
    """Return rows of tokens [N, L] up to the first end, without it."""
    rows = tokens.tolist()
    return [row[: row.index(end)] if end in row else row for row in rows]
