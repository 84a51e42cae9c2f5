"""Captions as numbers: none loses its end, and what is read back is what was said."""

import itertools

import pytest
import torch
from test_fashion_scenes import DOMAIN, made_up
from tiny import photos
from tiny_captions import pairs
from tokenizers import ByteLevelBPETokenizer
from transformers import GPT2Tokenizer

from reprise.captions.vocabulary import PAD, SPECIAL, START, UNKNOWN, Released, Words, cut, padded
from reprise.data.captioned import CaptionedSet
from reprise.data.scenes.domains import Domain
from reprise.data.scenes.world import World
from reprise.data.sets import captioned_digits
from reprise.data.sets.fashion_scenes import describe
from reprise.errors import ConfigError

SAID = ["a dog.", "Two T-shirts, near a dog!", "a"]


def words() -> Words:
    return Words(["dog", "a", "near", "two", "t-shirts", ".", ",", "!", "dog"])


def spoken() -> CaptionedSet:
    """Return a set with captions in two styles, every wording of the digits among them."""
    facts = itertools.product(captioned_digits.NAMES, ("bold", "thin"), ("white", "black"))
    given = [{"name": name, "ink": ink, "ground": ground} for name, ink, ground in facts]
    data = pairs(len(given))
    data.texts = {
        style: [[wording.format(**fact) for wording in wordings] for fact in given]
        for style, wordings in captioned_digits.WORDINGS.items()
    }
    return data


# --- words ------------------------------------------------------------------------------------


def test_words_are_numbered_in_alphabetical_order_and_the_end_is_highest() -> None:
    known = words()
    order = [".", "!", ",", "a", "dog", "near", "t-shirts", "two"]
    numbers = {word: len(SPECIAL) + place for place, word in enumerate(sorted(order))}
    assert known.size == len(SPECIAL) + len(order) + 1
    assert known.end == known.size - 1
    assert known.encode(["two t-shirts near a dog"], 9).tolist() == [
        [numbers[word] for word in ("two", "t-shirts", "near", "a", "dog")] + [known.end]
    ]
    again = Words(["two", "near", "!", "t-shirts", ",", "a", ".", "dog"])
    assert torch.equal(known.encode(SAID, 9), again.encode(SAID, 9))


def test_what_is_encoded_is_decoded_in_lower_case() -> None:
    tokens = words().encode(SAID, 12)
    assert tokens.dtype == torch.int64
    assert words().decode(tokens) == [text.lower() for text in SAID]
    assert words().decode(words().encode(SAID, 12, start=True)) == [text.lower() for text in SAID]


def test_rows_are_padded_behind_their_ends() -> None:
    tokens, end = words().encode(SAID, 12), words().end
    assert tokens.shape == (3, 8)  # of the longest: two t-shirts , near a dog ! end
    for row, length in zip(tokens.tolist(), (4, 8, 2), strict=True):
        assert row.index(end) == length - 1
        assert row[length:] == [PAD] * (8 - length)


@pytest.mark.parametrize("start", [False, True])
def test_a_long_text_loses_its_last_words_and_never_its_end(start: bool) -> None:
    whole = words().encode(SAID[1:2], 12, start=start)[0].tolist()
    tokens = words().encode(SAID[1:2], 5, start=start)[0].tolist()
    assert tokens == [*whole[:4], words().end]
    assert (tokens[0] == START) == start


def test_nothing_behind_the_end_is_decoded() -> None:
    tokens = torch.tensor([[6, words().end, 7, 8], [6, 7, 8, 9]])
    first, second = words().decode(tokens)
    assert " " not in first
    assert len(second.replace(",", " ,").split()) == 4
    assert cut(tokens, words().end) == [[6], [6, 7, 8, 9]]


def test_unknown_words_have_a_number_and_are_not_said() -> None:
    tokens = words().encode(["a green dog"], 9)
    assert tokens[0, 1] == UNKNOWN
    assert words().decode(tokens) == ["a dog"]


def test_no_text_can_name_a_special_token() -> None:
    """They are cut into signs and words, unknown ones here."""
    tokens = words().encode(["a [end] dog [pad] [start]"], 20)[0]
    assert (tokens == words().end).sum() == 1
    assert not {PAD, START} & set(tokens.tolist())


def test_a_splits_words_are_those_of_all_its_styles() -> None:
    data = spoken()
    known = Words.of(data)
    texts = [text for several in data.texts.values() for some in several for text in some]
    tokens = known.encode(texts, 40)
    assert not (tokens == UNKNOWN).any()
    assert known.decode(tokens) == texts
    signs = " ".join(texts).replace(".", " . ").replace(",", " , ").split()
    assert known.size == len(SPECIAL) + len(set(signs)) + 1
    del data.texts["poetic"]
    assert (Words.of(data).encode(["like a bird"], 9) == UNKNOWN).any()


@DOMAIN
def test_captions_of_scenes_are_read_back_as_they_were_said(domain: Domain) -> None:
    world, data = World(domain, 48, 0), pairs()
    data.texts = describe(world, world.draw(made_up(), "text", 0, 320), "text", 0)
    texts = [text for several in data.texts.values() for some in several for text in some]
    known = Words.of(data)
    assert known.decode(known.encode(texts, 99)) == texts


def test_a_set_without_captions_is_refused() -> None:
    with pytest.raises(ConfigError, match="data set 'tiny' has no captions"):
        Words.of(photos())


def test_padding_makes_one_array_of_uneven_rows() -> None:
    assert padded([[1, 2], [], [3]], 9).tolist() == [[1, 2], [9, 9], [3, 9]]
    assert padded([], 0).shape == (0, 0)


# --- byte pairs -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Released:
    """A tokenizer of byte pairs, trained on a few lines and saved as a released GPT-2's is."""
    folder = tmp_path_factory.mktemp("gpt2")
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(SAID * 9, 300, special_tokens=["<|endoftext|>"])
    trained.save_model(str(folder))
    GPT2Tokenizer.from_pretrained(folder).save_pretrained(folder)
    return Released(str(folder))


def test_a_released_models_captions_end_with_its_end_of_text(released: Released) -> None:
    tokens = released.encode(SAID, 30)
    assert released.pad == released.end
    assert int(tokens.max()) < released.size
    for row in tokens.tolist():
        first = row.index(released.end)
        assert set(row[first:]) == {released.end}
    assert released.decode(tokens) == SAID


def test_a_released_models_long_captions_lose_words_and_not_the_end(released: Released) -> None:
    whole, short = (released.encode(SAID, longest) for longest in (30, 6))
    assert short.shape == (3, 6)
    assert torch.equal(short[1, :5], whole[1, :5])
    assert short[1, 5] == released.end


def test_a_released_model_reads_any_text(released: Released) -> None:
    odd = ["Café – ½ 🙂", "<|pad|>"]
    assert released.decode(released.encode(odd, 99)) == odd
