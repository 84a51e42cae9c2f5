"""The search for captions against a plain one: one image at a time, nothing kept between steps."""

from typing import Any

import pytest
import torch
from plain_search import plain_beam_search
from tiny_captions import batch, draws, make, said, unit
from torch import Tensor

from reprise.captions.vocabulary import cut
from reprise.papers import capdec
from reprise.papers.capdec import CapDec

N = 48


def talkative(**settings: Any) -> CapDec:
    """Return a decoder that has seen 24 captions a few times, and is not sure of any."""
    method = make(longest=9, noise_variance=0.02)
    tokens = method.vocabulary.encode([said(7 * number) for number in range(24)], 9)
    optimizer = torch.optim.Adam(method.parameters(), 0.02)
    for step in range(40):
        method(batch(unit(24), tokens), draws(24, step))["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
    # Some captions are now too long.
    method.settings = method.settings.model_copy(update={"longest": 6, **settings})
    return method


def plain(method: CapDec, embedded: Tensor, beams: int) -> list[list[int]]:
    end, longest = method.vocabulary.end, method.settings.longest
    return [
        plain_beam_search(method.decoder, method.decoder.mapper(one), beams, longest, end)
        for one in embedded.split(1)
    ]


@torch.inference_mode()
def mean_log_probability(method: CapDec, vector: Tensor, caption: list[int]) -> float:
    """Return it of a caption's tokens, all read at once."""
    scores = method.decoder(vector, torch.tensor([caption]))[0].double().log_softmax(dim=1)
    return sum(float(scores[place, token]) for place, token in enumerate(caption)) / len(caption)


@pytest.mark.parametrize("beams", [1, 2, 3, 5])
def test_captions_are_those_of_a_plain_search(beams: int) -> None:
    method, embedded = talkative(beams=beams), unit(N)
    end = method.vocabulary.end
    expected = plain(method, embedded, beams)
    found = method.search(method.decoder.mapper(embedded), beams)
    assert cut(found, end) == [one[:-1] if one[-1] == end else one for one in expected]
    rows = torch.nn.utils.rnn.pad_sequence(list(map(torch.tensor, expected)), batch_first=True)
    assert method.captions(embedded) == method.vocabulary.decode(rows)
    # Nothing would be shown by captions that are all alike, or that all end, or none.
    assert len(set(map(tuple, expected))) > N / 5
    assert sum(one[-1] == end for one in expected) > N / 4
    assert sum(one[-1] != end for one in expected) > N / 8


def test_one_beam_takes_the_likeliest_token_each_time() -> None:
    method, embedded = talkative(), unit(N)
    for vector, found in zip(embedded.split(1), plain(method, embedded, 1), strict=True):
        caption: list[int] = []
        while len(caption) < 6 and caption[-1:] != [method.vocabulary.end]:
            scores = method.decoder(vector, torch.tensor([[*caption, 0]]))[0, -1]
            caption.append(int(scores.argmax()))
        assert found == caption


def test_more_beams_find_likelier_captions() -> None:
    method, embedded = talkative(), unit(N)
    one, many = (
        [
            mean_log_probability(method, vector, caption)
            for vector, caption in zip(
                embedded.split(1), plain(method, embedded, beams), strict=True
            )
        ]
        for beams in (1, 5)
    )
    assert sum(b > a + 1e-6 for a, b in zip(one, many, strict=True)) > N / 8
    assert sum(many) > sum(one)


def test_very_many_beams_find_the_best_caption_of_all() -> None:
    """Of two tokens at most, where all can be written down."""
    method, embedded = talkative(longest=2), unit(4)
    end, size = method.vocabulary.end, method.vocabulary.size
    every = [[end], *([a, b] for a in range(size) if a != end for b in range(size))]
    for vector, found in zip(embedded.split(1), plain(method, embedded, size), strict=True):
        assert found == max(every, key=lambda one: mean_log_probability(method, vector, one))


def test_the_number_of_beams_can_be_given_with_the_images() -> None:
    method, embedded = talkative(beams=3), unit(N)
    assert method.captions(embedded, beams=1) == talkative(beams=1).captions(embedded)
    assert method.captions(embedded, beams=1) != method.captions(embedded)


def test_images_are_searched_in_parts_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    method, embedded = talkative(), unit(N)
    whole = method.captions(embedded)
    monkeypatch.setitem(capdec.GENERATE, "cpu", 7)
    assert method.captions(embedded) == whole
