"""CLIP: an image and a text tower whose outputs agree where picture and caption belong together.

The towers and the loss are open_clip's. A run trains them on the pairs of a data set, each image
with one of its captions drawn anew at every step, or takes released weights (``steps: 0``).
"""

import contextlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import open_clip
import torch
import torch.nn.functional as F
from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from reprise.captions.vocabulary import PAD, Words, captioned
from reprise.config import Run
from reprise.data.base import Derived, ImageSet
from reprise.errors import ConfigError
from reprise.settings.clip import Settings
from reprise.training import distributed
from reprise.training.method import Batch, Method, Subject
from reprise.training.seeding import Draws

SCRATCH = "scratch"
LARGEST_SCALE = 100.0  # of the logits, as in the paper of CLIP


class CLIP(Method):
    """Both towers as ``encoder``, an `open_clip.CLIP`, and the tokenizer of the text tower."""

    mixes_samples = True

    def __init__(self, encoder: nn.Module, settings: Settings, words: "Words | None") -> None:
        """``words`` is the vocabulary of a tower from scratch; a released one brings its own."""
        super().__init__()
        self.encoder, self.settings, self._words = encoder, settings, words

    @property
    def towers(self) -> Any:
        """The `open_clip.CLIP`, which carries no types."""
        return self.encoder

    def tokens(self, texts: Sequence[str]) -> Tensor:
        """Return tokens int64 [N, context] of texts, cut where they are too long."""
        context = self.settings.context
        if self._words is None:
            return cast(Tensor, open_clip.tokenize(list(texts), context))
        short = self._words.encode(texts, context, start=True)
        return F.pad(short, (0, context - short.shape[1]), value=PAD)

    def image_embeddings(self, images: Tensor) -> Tensor:
        """Return float [B, D], not scaled, of normalised images [B, C, H, W]."""
        return cast(Tensor, self.towers.encode_image(images))

    def text_embeddings(self, tokens: Tensor) -> Tensor:
        """Return float [B, D], not scaled, of tokens int64 [B, context].

        Equal to open_clip's `encode_text`, which always computes the whole context: attention is
        causal and the summary is taken at a text's end, so what stands behind the longest text of
        the batch changes nothing.
        """
        tower = self.towers
        tokens = tokens[:, : int(tokens.argmax(dim=1).max()) + 1]
        length = tokens.shape[1]
        hidden = tower.token_embedding(tokens) + tower.positional_embedding[:length]
        hidden = tower.transformer(hidden, attn_mask=tower.attn_mask[:length, :length])
        ends = tower.ln_final(hidden)[torch.arange(len(tokens)), tokens.argmax(dim=1)]
        return cast(Tensor, ends @ tower.text_projection)

    def features(self, images: Tensor) -> Tensor:
        return self.image_embeddings(images)

    def samples(self, data: ImageSet, device: torch.device) -> ImageSet:
        """Return the split's images, each with the tokens of all its captions as its label."""
        texts = captioned(data)
        several = [
            [text for style in self.settings.styles for text in texts.captions(index, style)]
            for index in range(len(data))
        ]
        counts = {len(captions) for captions in several}
        fewest = min(counts)
        if len(counts) > 1:  # images of more captions than others lend their first ones
            several = [captions[:fewest] for captions in several]
        tokens = self.tokens([text for captions in several for text in captions])
        return Pairs(data, tokens.view(len(data), fewest, -1).to(torch.int32))

    def forward(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        count = len(batch.labels)
        drawn = (draws.uniform("caption", 1)[:, 0] * batch.labels.shape[1]).long()
        tokens = batch.labels[torch.arange(count, device=drawn.device), drawn].long()
        with attention(tokens.device):
            images = F.normalize(self.image_embeddings(batch.views[0]).float(), dim=1)
            texts = F.normalize(self.text_embeddings(tokens).float(), dim=1)
        images, texts = distributed.gather(images), distributed.gather(texts)
        scale = self.towers.logit_scale.exp().clamp(max=LARGEST_SCALE)
        loss = open_clip.ClipLoss()(images, texts, scale)
        best = (images @ texts.T).argmax(dim=1)
        correct = (best == torch.arange(len(best), device=best.device)).float().mean()
        return {"loss": loss, "matched": 100 * correct, "scale": scale.detach()}


def attention(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Choose how attention is computed: on a processor, the plain way.

    For sequences as short as these, the backward pass of torch's fused attention takes a third of a
    training step there; a step is 1.25 times as fast without it.
    """
    if device.type == "cpu":
        return sdpa_kernel(SDPBackend.MATH)
    return contextlib.nullcontext()


@dataclass(eq=False)
class Pairs(Derived):
    """Images whose labels are tokens int32 [N, captions, context]."""

    data: ImageSet
    tokens: Tensor

    labels = property(lambda self: self.tokens)

    def fetch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return images uint8 [B, C, H, W] and tokens int32 [B, captions, context]."""
        return self.data.fetch(indices)[0], self.tokens[indices]


def build(run: Run, data: Subject) -> CLIP:
    """Build the towers of a run, with initial or released weights; ConfigError if it cannot be."""
    settings = Settings.model_validate(run.objective)
    if settings.weights is not None:
        return CLIP(released(run.model.name, settings.weights), settings, None)
    if run.model.name != SCRATCH:
        raise ConfigError(
            f"model.name = {run.model.name!r}: give objective.weights with it, or "
            f"{SCRATCH!r} and the sizes of both towers as model.args"
        )
    words = Words.of(cast(ImageSet, data))
    args = run.model.args
    text = {**args["text_cfg"], "context_length": settings.context, "vocab_size": words.size}
    towers = open_clip.CLIP(
        args["embed_dim"], CLIPVisionCfg(**args["vision_cfg"]), CLIPTextCfg(**text)
    )
    # Convolutions and pooling are faster so: a step on a processor takes 0.87 of the time.
    return CLIP(towers.to(memory_format=torch.channels_last), settings, words)


def released(name: str, weights: str) -> nn.Module:
    """Return a released CLIP from open_clip's hub, or from a local file, in float32."""
    if ("/" in weights or weights.endswith((".pt", ".bin", ".safetensors"))) and not (
        Path(weights).is_file()
    ):
        raise ConfigError(f"objective.weights = {weights!r}: no such file")
    with warnings.catch_warnings():
        # Weights trained with another activation than the model's are no more than a warning there.
        warnings.filterwarnings("error", message="QuickGELU mismatch")
        try:
            model = open_clip.create_model(name, weights, precision="fp32", require_pretrained=True)
        except UserWarning as warning:
            raise ConfigError(f"{warning} Take the model whose name ends in -quickgelu") from None
        except RuntimeError as error:
            raise ConfigError(f"model {name!r} with weights {weights!r}: {error}") from None
    return cast(nn.Module, model)
