"""How fast captions come: CapDec's batched beam search against a plain one.

The batched search takes all images at once and keeps keys and values; the plain one takes image
after image and keeps nothing. Both run on the same decoder of random weights, in one thread and in
turns. What is timed begins at the prefix: the mapping network is no part of either.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from reprise.bench_data import measure
from reprise.captions.plain_search import plain_beam_search
from reprise.captions.vocabulary import Vocabulary
from reprise.errors import ConfigError, RepriseError
from reprise.papers.capdec import CapDec, Decoder
from reprise.settings.capdec import Settings
from reprise.training.run import processor, set_determinism

TARGET = 20  # times the plain search's images/s
BATCHED, PLAIN = "batched, cached", "single, uncached"
PLAIN_SHARE = 20  # of so many images the plain search takes one in a round
CHECKED = 1  # images of which both searches must find the same caption
# Tied embeddings that large keep likelihoods far apart, so that rounding decides nothing.
SPREAD = 0.1


@dataclass(frozen=True)
class Sizes:
    """The language model of a benchmark, and the length of its prefix."""

    layers: int = 4
    width: int = 256
    heads: int = 4
    prefix: int = 4
    words: int = 1000


GPT2 = Sizes(layers=12, width=768, heads=12, prefix=40, words=50257)


@dataclass(frozen=True)
class Wordless:
    """Stands for a vocabulary: numbers alone, of which the end is none.

    Nothing can be followed by an end that the language model cannot say, so every caption is as
    long as it may be, in both searches.
    """

    size: int
    pad: int = 0

    @property
    def end(self) -> int:
        return self.size


def make(sizes: Sizes, beams: int, longest: int) -> CapDec:
    """Return a decoder of random weights; ConfigError where heads do not divide the width."""
    if sizes.width % sizes.heads:
        raise ConfigError(f"a width of {sizes.width} cannot be shared by {sizes.heads} heads")
    torch.manual_seed(0)
    # Prefixes are drawn, not mapped, so the mapping network is as small as can be.
    settings = Settings(
        embedding=1,
        prefix=sizes.prefix,
        clip_tokens=1,
        mapper_layers=1,
        mapper_heads=1,
        longest=longest,
        beams=beams,
    )
    words = Wordless(sizes.words)
    config = GPT2Config(
        vocab_size=words.size,
        n_positions=sizes.prefix + longest,
        n_embd=sizes.width,
        n_layer=sizes.layers,
        n_head=sizes.heads,
        bos_token_id=None,
        eos_token_id=None,  # the search is given it
        initializer_range=SPREAD,
    )
    decoder = Decoder(GPT2LMHeadModel(config), settings)
    return CapDec(decoder, cast(Vocabulary, words), settings).eval()


@torch.inference_mode()
def search(method: CapDec, prefix: Tensor) -> list[list[int]]:
    """Return the captions' tokens that the batched search finds after prefixes [B, K, width]."""
    found: list[list[int]] = method.search(prefix, method.settings.beams).tolist()
    return found


def plain(method: CapDec, prefix: Tensor) -> list[list[int]]:
    """Return the captions' tokens that the plain search finds."""
    settings, end = method.settings, method.vocabulary.end
    return [
        plain_beam_search(method.decoder, one, settings.beams, settings.longest, end)
        for one in prefix.split(1)
    ]


def check(method: CapDec, prefix: Tensor) -> None:
    """Raise RepriseError unless both searches agree on the first images, at full length."""
    both = zip(search(method, prefix), plain(method, prefix[:CHECKED]), strict=False)
    for number, (fast, slow) in enumerate(both):
        if fast != slow:
            raise RepriseError(
                f"image {number}: the searches disagree, so their speeds are not compared.\n"
                f"{BATCHED}: {fast}\n{PLAIN}: {slow}"
            )
        if len(fast) != method.settings.longest:
            raise RepriseError(
                f"image {number}: a caption of {len(fast)} tokens, not {method.settings.longest}"
            )


def show(
    sizes: Sizes, images: int, beams: int, longest: int, seconds: float, threads: int = 1
) -> None:
    """Measure both searches and print images/s, and how many times faster the batched one is."""
    set_determinism(threads)
    method = make(sizes, beams, longest)
    prefix = torch.randn(images, sizes.prefix, sizes.width)
    check(method, prefix)
    few = prefix[: max(1, images // PLAIN_SHARE)]
    calls: dict[str, Callable[[], object]] = {
        PLAIN: lambda: plain(method, few),
        BATCHED: lambda: search(method, prefix),
    }
    counts = {PLAIN: len(few), BATCHED: images}
    taken = measure(calls, seconds)
    rates = {name: counts[name] / np.array(times) for name, times in taken.items()}
    # Round by round, so that a machine whose speed drifts does not tilt the comparison.
    ratios = rates[BATCHED] / rates[PLAIN]
    ratio = statistics.median(ratios.tolist())
    attention = cast(Any, method.decoder.language_model).config._attn_implementation
    console = Console()
    console.print(
        f"{images} images at once, or one; {beams} beams, {longest} tokens after a prefix of "
        f"{sizes.prefix}; {sizes.layers} layers of width {sizes.width}, {sizes.heads} heads "
        f"({attention}), {sizes.words:,} words, random weights; torch {torch.__version__}, "
        f"{processor(torch.device('cpu'))}; medians of {len(ratios)} rounds in turns"
    )
    cores = "one thread" if threads == 1 else f"{threads} threads"
    table = Table(cores, "images/s", "5 to 95 %", "ratio", "5 to 95 %")
    for name, values in rates.items():
        table.add_row(name, *_row(values), *(_row(ratios) if name == BATCHED else ("1", "")))
    console.print(table)
    reached = "reaches" if ratio >= TARGET else "does not reach"
    console.print(f"The batched search's ratio, {ratio:.1f}x, {reached} {TARGET}x.")


def _row(values: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[str, str]:
    low, middle, high = np.quantile(values, [0.05, 0.5, 0.95])
    return _short(middle), f"{_short(low)} to {_short(high)}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
