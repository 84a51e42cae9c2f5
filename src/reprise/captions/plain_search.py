"""Beam search as a textbook has it, to hold the fast one against.

One image at a time, nothing cached: at every step the language model reads the whole prefix and
all words so far again, of all its beams.
"""

from typing import Any, cast

import torch
from torch import Tensor

from reprise.papers.capdec import Decoder


@torch.inference_mode()
def plain_beam_search(
    decoder: Decoder, prefix: Tensor, beams: int, longest: int, end: int
) -> list[int]:
    """Return the best caption's tokens, its end included where it has one.

    The rule is that of transformers' `generate` with ``length_penalty=1.0`` and
    ``early_stopping=False``: of the 2 x ``beams`` best continuations those that end, or have
    ``longest`` tokens, are finished if they are among the best ``beams``; the best ``beams`` that
    do not end are gone on with. Hypotheses finished count with their mean log-probability per
    token; the search stops when ``beams`` of them are at least as good as the best unfinished one
    is at its present length. One beam is greedy search.

    Args:
        decoder: in evaluation mode.
        prefix: float [1, K, width], from its mapping network.
        beams: hypotheses that are followed.
        longest: tokens of a caption, its end included.
        end: number of the end token.
    """
    running: list[tuple[float, list[int]]] = [(0.0, [])]
    finished: list[tuple[float, list[int]]] = []
    for length in range(1, longest + 1):
        sums = torch.tensor([score for score, _ in running], device=prefix.device).unsqueeze(1)
        sums = sums + _next(decoder, prefix, [tokens for _, tokens in running])
        best = sums.flatten().topk(min(2 * beams, sums.numel()))
        candidates = [
            (score, [*running[place // sums.shape[1]][1], place % sums.shape[1]])
            for score, place in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]
        finished += [
            (score / length, tokens)
            for score, tokens in candidates[:beams]
            if tokens[-1] == end or length == longest
        ]
        finished = sorted(finished, key=lambda one: -one[0])[:beams]
        running = [one for one in candidates if one[1][-1] != end][:beams]
        if len(finished) == beams and running[0][0] / length <= finished[-1][0]:
            break
    return finished[0][1]


def _next(decoder: Decoder, prefix: Tensor, said: list[list[int]]) -> Tensor:
    """Return log-probabilities float32 [R, vocabulary] of the token after each of R captions."""
    model = cast(Any, decoder.language_model)
    tokens = torch.tensor(said, dtype=torch.long, device=prefix.device)
    words = model.transformer.wte(tokens).to(prefix.dtype)
    seen = torch.cat([prefix.expand(len(said), -1, -1), words], dim=1)
    # As the paper's public code has it: scores of every position, of which the last is used.
    scores: Tensor = model(inputs_embeds=seen, use_cache=False).logits[:, -1]
    return scores.float().log_softmax(dim=1)
