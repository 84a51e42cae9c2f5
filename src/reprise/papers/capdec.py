"""CapDec (arXiv 2211.00575): caption images after training on text alone.

A frozen CLIP puts a caption and its picture at nearly the same place. So a decoder that is trained
to say a caption again from its text embedding can, at test, be given an image embedding instead,
provided it has learned not to mind the distance between the two: in training, Gaussian noise as
large as that distance is put on the text embedding.

    u = text embedding / its length
    v = u + sqrt(variance) * z,  z ~ N(0, I)      the variance is per number, 0.016 in the paper
    w = v / |v|                                   the second scaling is part of the method
    prefix = mapper(w);  loss = cross-entropy of the caption's tokens after the prefix

At test w is the image embedding / its length, without noise, and beam search says the caption.
"""

from dataclasses import dataclass
from typing import Any, Self, cast

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

from reprise.captions import embeddings
from reprise.captions.vocabulary import Released, Vocabulary, Words, captioned
from reprise.config import Run
from reprise.data.base import Derived, ImageSet
from reprise.errors import ConfigError
from reprise.plan import RunJob
from reprise.settings.capdec import Settings
from reprise.training.method import Batch, Method, Subject
from reprise.training.seeding import Draws

IGNORED = -100  # label of what stands behind a caption's end
GENERATE = {"cpu": 100, "cuda": 250}  # images of which captions are searched at once


def add_noise(embedded: Tensor, variance: float, draws: Draws, shift: Tensor | None) -> Tensor:
    """Return embeddings float32 [B, D] with Gaussian noise of a variance per number and a shift."""
    noisy = embedded
    if variance:
        noisy = noisy + variance**0.5 * draws.normal("noise", embedded.shape[1])
    return noisy if shift is None else noisy + shift


class TransformerMapper(nn.Module):
    """ClipCap's mapping network: the embedding as tokens beside learned constants, which become
    the prefix. Pre-norm blocks with ReLU and MLP ratio 2, queries, keys and values without bias."""

    def __init__(self, embedding: int, width: int, settings: Settings) -> None:
        super().__init__()
        self.tokens, self.width = settings.clip_tokens, width
        self.spread = nn.Linear(embedding, settings.clip_tokens * width)
        self.constants = nn.Parameter(torch.randn(settings.prefix, width))
        blocks = [
            Block(width, settings.mapper_heads, mlp_ratio=2.0, act_layer=nn.ReLU)
            for _ in range(settings.mapper_layers)
        ]
        self.blocks = nn.Sequential(*blocks)

    def forward(self, embedded: Tensor) -> Tensor:
        """Return a prefix float [B, K, width] for embeddings [B, D]."""
        count = len(embedded)
        spread = self.spread(embedded).view(count, self.tokens, self.width)
        constants = self.constants.to(spread.dtype).expand(count, -1, -1)
        mapped: Tensor = self.blocks(torch.cat([spread, constants], dim=1))
        return mapped[:, self.tokens :]


class MLPMapper(nn.Module):
    """ClipCap's other mapping network: one hidden layer, half as wide as the prefix, with tanh."""

    def __init__(self, embedding: int, width: int, settings: Settings) -> None:
        super().__init__()
        self.prefix, self.width = settings.prefix, width
        hidden = width * settings.prefix // 2
        self.layers = nn.Sequential(
            nn.Linear(embedding, hidden), nn.Tanh(), nn.Linear(hidden, width * settings.prefix)
        )

    def forward(self, embedded: Tensor) -> Tensor:
        """Return a prefix float [B, K, width] for embeddings [B, D]."""
        mapped: Tensor = self.layers(embedded)
        return mapped.view(len(embedded), self.prefix, self.width)


class Decoder(nn.Module):
    """A mapping network and a GPT-2 that goes on from the prefix; every trained weight is here."""

    def __init__(self, language_model: GPT2LMHeadModel, settings: Settings) -> None:
        super().__init__()
        width = int(language_model.config.n_embd)
        mapper = {"transformer": TransformerMapper, "mlp": MLPMapper}[settings.mapper]
        self.mapper = mapper(settings.embedding, width, settings)
        self.language_model, self.frozen = language_model, not settings.train_language_model
        if self.frozen:
            language_model.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of training; a frozen language model stays without dropout, as in the
        public code."""
        super().train(mode)
        if self.frozen:
            cast(nn.Module, self.language_model).eval()
        return self

    def forward(self, embedded: Tensor, tokens: Tensor) -> Tensor:
        """Return logits float [B, L, vocabulary] of each token given those before it.

        ``embedded`` [B, D]; ``tokens`` int64 [B, L], of which the last is only predicted.
        """
        prefix = self.mapper(embedded)
        model = self.language_model
        said = cast(nn.Module, model.transformer.wte)(tokens[:, :-1])
        hidden = model.transformer(inputs_embeds=torch.cat([prefix, said], dim=1))[0]
        logits: Tensor = model.lm_head(hidden[:, prefix.shape[1] - 1 :])
        return logits


class CapDec(Method):
    """Decodes embeddings of the CLIP that its run ``uses``; that CLIP is no part of it."""

    carries = "decoder"

    def __init__(self, decoder: Decoder, vocabulary: Vocabulary, settings: Settings) -> None:
        super().__init__()
        self.decoder, self.vocabulary, self.settings = decoder, vocabulary, settings
        # Mean image minus mean text embedding: known when training starts, and kept for the test.
        self.offset = nn.Buffer(torch.zeros(settings.embedding))

    def attach(self, job: RunJob, data: ImageSet) -> None:
        self.clip = job.used("clip")

    def samples(self, data: ImageSet, device: torch.device) -> ImageSet:
        """Return the split's captions as samples: an embedding, and the tokens to say."""
        style = self.settings.style
        owners = embeddings.owners(data, style)
        places = torch.arange(len(owners))
        given, said = places, places
        if self.settings.source == "image":
            embedded, given = embeddings.of_images(self.clip, data, device), owners
        else:
            embedded = embeddings.of_captions(self.clip, data, device, style)
        self._check_width(embedded)
        if self.settings.offset != "none":
            texts = self._scaled(embeddings.of_captions(self.clip, data, device, style))
            images = self._scaled(embeddings.of_images(self.clip, data, device))
            self.offset.copy_(images.mean(dim=0) - texts.mean(dim=0))
        own = captioned(data)
        words = [text for index in range(len(data)) for text in own.captions(index, style)]
        tokens = self.vocabulary.encode(words, self.settings.longest)
        if self.settings.target == "other":
            given, said = siblings(owners)
        return Samples(data, embedded, tokens, given, said)

    def forward(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        shift = self.offset if self.settings.offset == "train" else None
        embedded = self._scaled(self.noisy(self._scaled(batch.views[0]), draws, shift))
        after = self._after(batch.labels)
        length = int((~after).sum(dim=1).max())  # of the longest caption in the batch
        tokens = batch.labels[:, :length]
        logits = self.decoder(embedded, tokens).float()
        labels = tokens.masked_fill(after[:, :length], IGNORED)
        loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)
        return {"loss": loss}

    def weight(self, batch: Batch) -> Tensor:
        """Return how many tokens its captions have: over these a step's loss is the mean."""
        return (~self._after(batch.labels)).sum()

    def _after(self, tokens: Tensor) -> Tensor:
        """Return where tokens int64 [B, L] stand behind a caption's end, bool [B, L]."""
        ends = tokens == self.vocabulary.end
        return (ends.cumsum(dim=1) - ends.long()) > 0

    @property
    def noise_std(self) -> float:
        """Standard deviation of the noise on each number of a unit embedding."""
        return float(self.settings.noise_variance**0.5)

    def noisy(self, embedded: Tensor, draws: Draws, shift: Tensor | None = None) -> Tensor:
        """Return embeddings [B, D] with the noise of training, not scaled again."""
        return add_noise(embedded, self.settings.noise_variance, draws, shift)

    @torch.inference_mode()
    def captions(self, embedded: Tensor, beams: int | None = None) -> list[str]:
        """Return one caption for each embedding float32 [N, D] of an image (or of a text)."""
        shift = self.offset if self.settings.offset == "test" else 0.0
        found: list[str] = []
        for part in embedded.split(GENERATE[embedded.device.type]):
            prefix = self.decoder.mapper(self._scaled(part) - shift)
            found += self.vocabulary.decode(self.search(prefix, beams or self.settings.beams))
        return found

    def search(self, prefix: Tensor, beams: int) -> Tensor:
        """Return the tokens int64 [B, L] that beam search finds after prefixes [B, K, width].

        All images and beams at once, with cached keys and values; a finished beam counts with its
        mean log-probability per token.
        """
        words = self.vocabulary
        found: Tensor = cast(Any, self.decoder.language_model).generate(
            inputs_embeds=prefix,
            attention_mask=torch.ones(prefix.shape[:2], dtype=torch.long, device=prefix.device),
            max_new_tokens=self.settings.longest,
            num_beams=beams,
            do_sample=False,
            eos_token_id=words.end,
            pad_token_id=words.pad,
        )
        return found

    def _scaled(self, embedded: Tensor) -> Tensor:
        return F.normalize(embedded, dim=1) if self.settings.normalise else embedded

    def _check_width(self, embedded: Tensor) -> None:
        if embedded.shape[1] != self.settings.embedding:
            raise ConfigError(
                f"objective.embedding = {self.settings.embedding}: {self.clip.key} has embeddings "
                f"of {embedded.shape[1]} numbers"
            )


@dataclass(eq=False)
class Samples(Derived):
    """Embeddings and captions: sample i has embedding ``given[i]`` and says ``said[i]``.

    embedded: float32 [E, D]. tokens: int64 [M, L]. given, said: int64 [N], rows of the two.
    """

    data: ImageSet
    embedded: Tensor
    tokens: Tensor
    given: Tensor
    said: Tensor

    labels = property(lambda self: self.tokens[self.said])

    def __len__(self) -> int:
        return len(self.said)

    def fetch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return embeddings float32 [B, D] and tokens int64 [B, L] at indices int64 [B]."""
        return self.embedded[self.given[indices]], self.tokens[self.said[indices]]


def siblings(owners: Tensor) -> tuple[Tensor, Tensor]:
    """Return all ordered pairs of different captions of one image, int64 [P] each.

    ``owners`` int64 [M] is the image of each caption; an only caption is paired with itself.
    """
    first, second, start = [], [], 0
    for count in owners.bincount().tolist():
        own = torch.arange(start, start + count)
        a, b = own.repeat_interleave(count), own.repeat(count)
        different = (a != b) | (count == 1)
        first.append(a[different])
        second.append(b[different])
        start += count
    return torch.cat(first), torch.cat(second)


def build(run: Run, data: Subject) -> CapDec:
    """Build the decoder of a run; a language model from scratch knows its training words alone."""
    settings = Settings.model_validate(run.objective)
    if settings.language_model is not None:
        words: Vocabulary = Released(settings.language_model)
        model = GPT2LMHeadModel.from_pretrained(settings.language_model)
    else:
        words = Words.of(cast(ImageSet, data))
        sizes = {"n_positions": settings.prefix + settings.longest, **run.model.args}
        config = GPT2Config(
            vocab_size=words.size, bos_token_id=words.end, eos_token_id=words.end, **sizes
        )
        model = GPT2LMHeadModel(config)
    return CapDec(Decoder(model, settings), words, settings)
