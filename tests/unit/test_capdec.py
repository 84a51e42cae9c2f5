"""CapDec's parts against independent calculations, and the facts of the paper and its code."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from tiny_captions import WIDTH, WORDS, batch, draws, make, pairs, unit
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

from reprise.captions import embeddings
from reprise.captions.vocabulary import Words, padded
from reprise.data.base import ArraySet, ImageSet
from reprise.papers import capdec
from reprise.papers.capdec import CapDec, Decoder, MLPMapper, TransformerMapper, add_noise, siblings
from reprise.settings.base import Optim
from reprise.settings.capdec import Settings
from reprise.training.distributed import World
from reprise.training.loop import Fit, FitSettings
from reprise.training.seeding import Draws, Key

VARIANCE = 0.016


def scaled(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = [math.sqrt(sum(value * value for value in vector)) for vector in vectors]
    return np.array([vector / length for vector, length in zip(vectors, lengths, strict=True)])


def heard(method: CapDec, given: Tensor, random: Draws) -> NDArray[np.float64]:
    """Return what the mapping network is given in a training step."""
    seen: list[Tensor] = []
    hook = method.decoder.mapper.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    method(batch(given, tokens(len(given))), random)
    hook.remove()
    return seen[0].double().numpy()


def tokens(n: int) -> Tensor:
    """Return captions of 1 to 8 words, padded."""
    return Words(WORDS).encode([texts[0] for texts in pairs(n, 1).texts["captions"]], 9)


# --- the noise --------------------------------------------------------------------------------


def test_the_printed_number_is_the_variance_of_each_number() -> None:
    assert Settings().noise_variance == VARIANCE
    noise = add_noise(torch.zeros(8192, 64), VARIANCE, draws(8192), None).double()
    assert noise.std().item() == pytest.approx(math.sqrt(0.016), rel=0.01)
    assert noise.mean().abs() < 0.001
    # Of every number alike, and of each on its own.
    together = noise.T @ noise / len(noise)
    off = together - torch.diag(together.diag())
    assert (together.diag() / VARIANCE - 1).abs().max() < 0.08
    assert off.abs().max() / VARIANCE < 0.08


@pytest.mark.parametrize(("width", "cosine"), [(640, 0.298), (512, 0.330)])
def test_noise_is_about_three_times_as_long_as_the_embedding(width: int, cosine: float) -> None:
    """A standard deviation of 0.016 would leave a cosine of 0.93."""
    clean = unit(1024, width)
    noisy = add_noise(clean, VARIANCE, draws(1024), None)
    found = torch.cosine_similarity(clean, noisy).mean().item()
    assert found == pytest.approx(cosine, abs=0.004)
    assert found == pytest.approx(1 / math.sqrt(1 + width * VARIANCE), abs=0.004)
    length = (noisy - clean).norm(dim=1).mean().item()
    assert length == pytest.approx(math.sqrt(width * VARIANCE), rel=0.01)


def test_embeddings_are_scaled_before_and_after_the_noise() -> None:
    given = 7.0 * unit(6) * torch.arange(1, 7).unsqueeze(1)
    z = draws(6).normal("noise", WIDTH).double().numpy()
    expected = scaled(scaled(given.double().numpy()) + math.sqrt(VARIANCE) * z)
    np.testing.assert_allclose(heard(make(), given, draws(6)), expected, rtol=1e-5)
    silent = heard(make(noise_variance=0), given, draws(6))
    np.testing.assert_allclose(silent, scaled(given.double().numpy()), rtol=1e-5)
    unscaled = heard(make(normalise=False), given, draws(6))
    np.testing.assert_allclose(
        unscaled, given.double().numpy() + math.sqrt(VARIANCE) * z, rtol=1e-5
    )


def test_noise_is_drawn_anew_at_every_step_and_for_every_sample() -> None:
    same = unit(1).expand(64, -1)
    first, second = (heard(make(), same, draws(64, step)) for step in (0, 1))
    assert np.array_equal(first, heard(make(), same, draws(64, 0)))
    assert len(np.unique(np.concatenate([first, second])[:, 0])) == 128


def listen(folder: Path, **over: Any) -> Tensor:
    """Train two steps of 128 samples, all of one embedding; return what was given to the mapper."""
    method, seen = make(), list[Tensor]()
    method.decoder.mapper.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    data = ArraySet("tiny", "train", unit(1).repeat(128, 1), tokens(128), (), "digest")
    settings = FitSettings(steps=2, batch_size=128, optim=Optim(lr=1e-3), augment=None, **over)
    Fit(method, data, settings, Key(("noise",)), folder, World(), "tiny/noise").run()
    return torch.cat(seen)


def test_noise_does_not_depend_on_how_a_batch_is_shared(tmp_path: Path) -> None:
    whole = listen(tmp_path / "whole")
    assert len(whole[:, 0].unique()) == 256
    assert torch.equal(listen(tmp_path / "parts", accumulate=2), whole)
    # The second of two processes has samples 64 to 127.
    together = heard(make(), unit(128), draws(128))
    alone = heard(make(), unit(128)[64:], draws(64, start=64))
    assert np.array_equal(alone, together[64:])


def test_there_is_no_noise_at_test(monkeypatch: pytest.MonkeyPatch) -> None:
    method, seen = make(), list[Tensor]()
    method.decoder.mapper.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    images = 3.0 * unit(5)
    monkeypatch.setattr(capdec, "add_noise", None)
    assert method.captions(images) == method.captions(images)
    np.testing.assert_allclose(seen[0], scaled(images.double().numpy()), rtol=1e-5)


# --- the offset -------------------------------------------------------------------------------


def means(images: Tensor, texts: Tensor) -> NDArray[np.float64]:
    """Return mean unit image less mean unit text."""
    first, second = (scaled(one.double().numpy()).mean(axis=0) for one in (images, texts))
    return np.asarray(first - second)


@pytest.fixture
def clip(monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """Put made-up embeddings of 8 images and their 24 captions where a CLIP's are read."""
    made = {"images": 5 * unit(8, seed=1), "texts": 2 * unit(24, seed=2) + 1}
    monkeypatch.setattr(embeddings, "of_images", lambda *_: made["images"])
    monkeypatch.setattr(embeddings, "of_captions", lambda *_: made["texts"])
    return made


def samples(**settings: Any) -> tuple[CapDec, ImageSet]:
    method = make(**settings)
    method.clip = None  # type: ignore[assignment]
    return method, method.samples(pairs(8), torch.device("cpu"))


def fetched(data: ImageSet) -> tuple[Tensor, Tensor]:
    return data.fetch(torch.arange(len(data)))


def test_the_offset_moves_texts_onto_images_in_training(clip: dict[str, Tensor]) -> None:
    method, _ = samples(offset="train")
    offset = means(clip["images"], clip["texts"])
    np.testing.assert_allclose(method.offset, offset, atol=1e-6)
    given, z = clip["texts"][:6], draws(6).normal("noise", WIDTH).double().numpy()
    expected = scaled(scaled(given.double().numpy()) + math.sqrt(VARIANCE) * z + offset)
    np.testing.assert_allclose(heard(method, given, draws(6)), expected, rtol=1e-4)
    assert given_at_test(method, clip) == pytest.approx(scaled(clip["images"].double().numpy()))


def test_the_offset_moves_images_onto_texts_at_test(clip: dict[str, Tensor]) -> None:
    """It is taken off the unit embedding, which is not scaled again."""
    method, _ = samples(offset="test", noise_variance=0)
    images = scaled(clip["images"].double().numpy())
    expected = images - means(clip["images"], clip["texts"])
    np.testing.assert_allclose(given_at_test(method, clip), expected, rtol=1e-4, atol=1e-6)
    given = clip["texts"][:6]
    np.testing.assert_allclose(
        heard(method, given, draws(6)), scaled(given.double().numpy()), rtol=1e-5
    )


def given_at_test(method: CapDec, clip: dict[str, Tensor]) -> NDArray[np.float64]:
    seen: list[Tensor] = []
    hook = method.decoder.mapper.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    method.captions(clip["images"])
    hook.remove()
    return seen[0].double().numpy()


def test_without_an_offset_no_image_is_read(
    clip: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embeddings, "of_images", None)
    method, found = samples()
    assert torch.equal(fetched(found)[0], clip["texts"])
    assert not method.offset.any()


# --- the samples ------------------------------------------------------------------------------


def test_a_sample_is_a_captions_embedding_and_its_tokens(clip: dict[str, Tensor]) -> None:
    method, found = samples()
    given, labels = fetched(found)
    assert torch.equal(given, clip["texts"])
    said = [text for texts in pairs(8).texts["captions"] for text in texts]
    assert method.vocabulary.decode(labels) == said
    assert torch.equal(found.labels, labels)
    assert (len(found), found.name, found.split, found.digest) == (24, "tiny", "train", "digest")
    chosen = torch.tensor([7, 2, 7])
    assert torch.equal(found.fetch(chosen)[0], given[chosen])
    assert torch.equal(found.fetch(chosen)[1], labels[chosen])


def test_another_caption_of_the_image_means_all_ordered_pairs(clip: dict[str, Tensor]) -> None:
    method, found = samples(target="other")
    texts = pairs(8).texts["captions"]
    expected = [
        (3 * image + first, texts[image][second])
        for image in range(8)
        for first, second in itertools.permutations(range(3), 2)
    ]
    given, labels = fetched(found)
    assert method.vocabulary.decode(labels) == [text for _, text in expected]
    assert torch.equal(given, clip["texts"][[place for place, _ in expected]])


def test_siblings_of_uneven_families() -> None:
    """An only caption has itself alone."""
    first, second = siblings(torch.tensor([0, 0, 1, 3, 3, 3]))
    pairs_of = {0: [0, 1], 1: [2], 3: [3, 4, 5]}
    expected = [
        (a, b) for own in pairs_of.values() for a in own for b in own if a != b or len(own) == 1
    ]
    assert list(zip(first.tolist(), second.tolist(), strict=True)) == expected


def test_trained_on_pairs_each_caption_has_its_images_embedding(clip: dict[str, Tensor]) -> None:
    method, found = samples(source="image")
    given, labels = fetched(found)
    said = [text for texts in pairs(8).texts["captions"] for text in texts]
    assert method.vocabulary.decode(labels) == said
    for place, embedded in enumerate(given):
        assert torch.equal(embedded, clip["images"][place // 3])


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValidationError, match="needs source: text"):
        Settings(source="image", target="other")
    with pytest.raises(ValidationError, match="even prefix"):
        Settings(mapper="mlp", prefix=3)


# --- the sizes --------------------------------------------------------------------------------


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def test_the_papers_decoder_has_its_size() -> None:
    """57.5 million parameters of the mapping network and 124.4 of GPT-2, all of them trained."""
    settings = Settings()
    with torch.device("meta"):
        decoder = Decoder(GPT2LMHeadModel(GPT2Config()), settings)
        frozen = Decoder(GPT2LMHeadModel(GPT2Config()), Settings(train_language_model=False))
    assert isinstance(decoder.mapper, TransformerMapper)
    assert parameters(decoder.mapper) == 57_520_128
    assert parameters(decoder) == 181_959_936
    assert parameters(frozen) == 57_520_128
    prefix = decoder.mapper(torch.empty(2, 640, device="meta"))
    assert prefix.shape == (2, 40, 768)


def test_the_mlp_has_one_hidden_layer_of_half_the_prefix() -> None:
    mapper = MLPMapper(5, 4, Settings(mapper="mlp", prefix=6))
    assert parameters(mapper) == (5 + 1) * 12 + (12 + 1) * 24
    given = unit(3, 5).double().numpy()
    first, second = (mapper.layers[place] for place in (0, 2))
    weights = [one.double().detach().numpy() for one in (*first.parameters(), *second.parameters())]
    expected = np.tanh(given @ weights[0].T + weights[1]) @ weights[2].T + weights[3]
    found = mapper.double()(torch.from_numpy(given)).detach()
    np.testing.assert_allclose(found, expected.reshape(3, 6, 4))


def test_the_mapping_network_is_written_out() -> None:
    """Pre-norm attention without bias on queries, keys and values; ReLU; no norm at the end."""
    mapper = make().decoder.mapper.double()
    assert isinstance(mapper, TransformerMapper)
    (block,) = mapper.blocks
    w = {name: value.detach().numpy() for name, value in block.named_parameters()}
    assert "attn.qkv.bias" not in w
    given = unit(1).double()
    x = np.concatenate([mapper.spread(given).view(3, WIDTH).detach(), mapper.constants.detach()])
    q, k, v = (
        (norm(x, w, "norm1") @ w["attn.qkv.weight"].T).reshape(5, 3, 2, 6).transpose(1, 2, 0, 3)
    )
    mixed = softmax(q @ k.transpose(0, 2, 1) / math.sqrt(6)) @ v
    x = (
        x
        + mixed.transpose(1, 0, 2).reshape(5, WIDTH) @ w["attn.proj.weight"].T
        + w["attn.proj.bias"]
    )
    hidden = np.maximum(norm(x, w, "norm2") @ w["mlp.fc1.weight"].T + w["mlp.fc1.bias"], 0)
    assert hidden.shape == (5, 2 * WIDTH)
    x = x + hidden @ w["mlp.fc2.weight"].T + w["mlp.fc2.bias"]
    np.testing.assert_allclose(mapper(given).detach()[0], x[3:], rtol=1e-6)


def norm(x: NDArray[Any], w: dict[str, NDArray[Any]], name: str) -> NDArray[Any]:
    centred = x - x.mean(axis=1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-6)
    return np.asarray(centred / deviation * w[f"{name}.weight"] + w[f"{name}.bias"])


def softmax(x: NDArray[Any]) -> NDArray[Any]:
    likely = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(likely / likely.sum(axis=-1, keepdims=True))


# --- the loss ---------------------------------------------------------------------------------


def loss_by_hand(method: CapDec, embedded: Tensor, captions: list[list[int]]) -> float:
    """Return the mean over all tokens of captions, each read alone, one token more at a time."""
    model: Any = method.decoder.language_model
    losses = []
    for vector, caption in zip(embedded, captions, strict=True):
        prefix = method.decoder.mapper(vector[None] / vector.norm())
        for place, token in enumerate(caption):
            words = model.transformer.wte(torch.tensor([caption[:place]], dtype=torch.long))
            scores = model(inputs_embeds=torch.cat([prefix, words], dim=1)).logits[0, -1]
            scores = scores.double().detach().numpy()
            losses.append(math.log(sum(math.exp(score) for score in scores)) - scores[token])
    return float(np.mean(losses))


def test_loss_is_the_mean_over_all_tokens_ends_included() -> None:
    method, end = make(noise_variance=0), Words(WORDS).end
    captions = [[3, 4, 5, 6, 7, end], [9, end], [end], [8, 8, 10, end]]
    given = 2 * unit(4)
    found = method(batch(given, padded(captions, 0)), draws(4))["loss"].item()
    assert found == pytest.approx(loss_by_hand(method, given, captions), rel=1e-5)
    endless = [caption[:-1] for caption in captions]
    assert found != pytest.approx(loss_by_hand(method, given, endless), rel=1e-2)


def test_what_stands_behind_the_end_changes_nothing() -> None:
    method, end = make(noise_variance=0), Words(WORDS).end
    given, clean = unit(3), padded([[3, 4, 5, end], [6, end], [end]], 0)
    dirty = torch.cat([clean, torch.full((3, 4), 7)], dim=1)
    dirty[1, 2:], dirty[2, 1:] = end, torch.arange(3, 10)
    losses = [method(batch(given, labels), draws(3))["loss"] for labels in (clean, dirty)]
    assert torch.equal(*losses)


class FewerWords(Words):
    """Pads with its end, as a released GPT-2 does; so its token 0 is a word like any other."""

    @property
    def pad(self) -> int:  # type: ignore[override]
        return self.end


def test_the_first_pad_ends_a_caption_and_token_0_is_a_word() -> None:
    """The public code leaves its pad, 0, out of the loss, and with it every exclamation mark."""
    method = make(noise_variance=0)
    method.vocabulary = words = FewerWords(WORDS)
    captions = [[0, 4, 0, words.end], [6, words.end]]
    found = method(batch(unit(2), padded(captions, words.pad)), draws(2))["loss"].item()
    assert found == pytest.approx(loss_by_hand(method, unit(2), captions), rel=1e-5)


def test_a_caption_without_an_end_is_trained_to_its_last_word() -> None:
    method = make(noise_variance=0)
    captions = [[3, 4, 5, 6], [6, 7, 8, 9]]
    found = method(batch(unit(2), padded(captions, 0)), draws(2))["loss"].item()
    assert found == pytest.approx(loss_by_hand(method, unit(2), captions), rel=1e-5)


def test_a_word_is_not_predicted_from_itself_or_later_ones() -> None:
    decoder, given = make().decoder, tokens(4)
    changed = given.clone()
    changed[:, 2:] = (changed[:, 2:] + 1) % 17
    before, after = decoder(unit(4), given), decoder(unit(4), changed)
    assert torch.equal(before[:, :3], after[:, :3])
    assert not torch.equal(before[:, 3], after[:, 3])


# --- what is trained --------------------------------------------------------------------------


def fitted(folder: Path, **settings: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Train a step; return the weights before and after it."""
    method = make(**settings)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    data = ArraySet("tiny", "train", unit(64), tokens(64), (), "digest")
    fit = FitSettings(steps=1, batch_size=64, optim=Optim(lr=1e-2), augment=None)
    Fit(method, data, fit, Key(("step",)), folder, World(), "tiny/step").run()
    return before, method.state_dict()


@pytest.mark.parametrize("trained", [True, False])
def test_the_language_model_can_be_left_as_it_is(tmp_path: Path, trained: bool) -> None:
    before, after = fitted(tmp_path, train_language_model=trained)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    parts = {name.split(".")[1] for name in moved}
    assert parts == ({"mapper", "language_model"} if trained else {"mapper"})
    mapper = {name for name in before if name.startswith("decoder.mapper.")}
    assert mapper <= moved


@pytest.mark.parametrize("trained", [True, False])
def test_a_frozen_language_model_has_no_dropout(trained: bool) -> None:
    """The public code's `ClipCaptionPrefix.train` leaves its GPT-2 in eval mode; the mapping
    network trains. GPT-2's own dropout is 0.1."""
    method = make(train_language_model=trained)
    parts = list(method.decoder.language_model.modules())
    dropped = [part.p for part in parts if isinstance(part, nn.Dropout)]
    assert dropped
    assert min(dropped) == 0.1
    assert method.train() is method
    assert all(part.training == trained for part in parts)
    assert all(part.training for part in method.decoder.mapper.modules())

    def loss(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return method(batch(unit(8), tokens(8)), draws(8))["loss"]

    assert torch.equal(loss(0), loss(1)) != trained
    method.eval()
    assert not any(part.training for part in method.modules())
