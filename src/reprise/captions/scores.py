"""Caption scores of a test set, as sufficient statistics of every image.

The formulas are pycocoevalcap 1.2's: n-grams are counted, subsequences compared and CIDEr weighted
by its own code, METEOR and SPICE run in their own programs. `reprise.captions.corpus` turns the
statistics, or any resample of their rows, into the corpus scores.

    with Meteor() as meteor:  # loads while the captions are cut into tokens
        for row, candidates in rows.items():
            scores = score(tokenise(references, candidates), meteor=meteor)
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pycocoevalcap.bleu import bleu_scorer
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from reprise.captions import corpus, spice
from reprise.captions.corpus import ORDERS
from reprise.captions.java import JavaError
from reprise.captions.meteor import Meteor
from reprise.captions.tokens import ImageId, ScoreError, Tokens
from reprise.errors import unknown

FEWEST_FOR_CIDER = 50

# Metric: the statistics it is made of, and the function of `corpus` that makes it.
METRICS = {
    "bleu_1": ("bleu", "bleu_1"),
    "bleu_2": ("bleu", "bleu_2"),
    "bleu_3": ("bleu", "bleu_3"),
    "bleu_4": ("bleu", "bleu_4"),
    "meteor": ("meteor", "meteor"),
    "rouge_l": ("rouge_l", "image_mean"),
    "cider": ("cider", "image_mean"),
    "spice": ("spice", "image_mean"),
}


@dataclass(frozen=True)
class Scores:
    """Statistics of n images, by name, first axis = image in the order of ``ids``.

    ``empty`` are the images whose candidate had no word: they score 0 and count. ``not_run`` gives
    for every metric that was asked for and is not here the reason, to be shown in its place.
    """

    ids: tuple[ImageId, ...]
    statistics: dict[str, NDArray[np.generic]]
    empty: tuple[ImageId, ...] = ()
    not_run: dict[str, str] = field(default_factory=dict)

    def corpus(self, chosen: NDArray[np.int64] | None = None) -> dict[str, float]:
        """Return the corpus scores, of all images or of those at indices int64 [m], repeats too.

        In pycocoevalcap's unit: fractions, CIDEr up to 10.
        """
        rows = slice(None) if chosen is None else chosen
        return {
            metric: corpus.REDUCERS[reduce](self.statistics[name][rows])
            for metric, (name, reduce) in METRICS.items()
            if name in self.statistics
        }


def score(
    tokens: Tokens, metrics: Sequence[str] = tuple(METRICS), meteor: Meteor | None = None
) -> Scores:
    """Return the statistics that the metrics are made of.

    Args:
        tokens: from `tokenise`, or tokens made elsewhere.
        metrics: names in `METRICS`.
        meteor: a running process to use; without it one is started for this call alone.

    Raises ScoreError for an unknown metric and where CIDEr has too few images, JavaError where
    METEOR fails. SPICE alone is optional: where it cannot run, ``not_run`` says why.
    """
    wrong = [metric for metric in metrics if metric not in METRICS]
    if wrong:
        raise ScoreError(unknown("caption metric", wrong[0], METRICS))
    names = dict.fromkeys(METRICS[metric][0] for metric in metrics)
    statistics: dict[str, NDArray[np.generic]] = {}
    not_run: dict[str, str] = {}
    for name in names:
        try:
            if name == "meteor":
                with nullcontext(meteor) if meteor else Meteor() as running:
                    statistics[name] = running.statistics(tokens)
            elif name == "spice" and (why := spice.absence()):
                not_run[name] = why
            else:
                statistics[name] = MAKERS[name](tokens)
        except JavaError as error:
            if name != "spice":
                raise
            not_run[name] = str(error)
    return Scores(tokens.ids, statistics, tokens.empty, not_run)


def bleu(tokens: Tokens) -> NDArray[np.int64]:
    """Return BLEU's counts of every image, int64 [n, 10] in words.

    Columns: clipped n-gram matches (order 1 to 4), n-grams of the candidate (1 to 4), length of the
    candidate, length of the reference closest to it (the shorter of two equally close).
    """
    rows = np.empty((len(tokens.ids), corpus.BLEU_COLUMNS), dtype=np.int64)
    pairs = zip(tokens.candidates, tokens.references, strict=True)
    for row, (candidate, references) in zip(rows, pairs, strict=True):
        cooked = bleu_scorer.cook_refs(references, n=ORDERS)
        counts = bleu_scorer.cook_test(candidate, cooked, "closest", n=ORDERS)
        row[:] = [*counts["correct"], *counts["guess"], counts["testlen"], counts["reflen"]]
    return rows


def rouge_l(tokens: Tokens) -> NDArray[np.float64]:
    """Return ROUGE-L of every image, float64 [n], 0 to 1 (beta 1.2, best precision and recall)."""
    rouge = Rouge()
    pairs = zip(tokens.candidates, tokens.references, strict=True)
    # An empty candidate would split into one empty token, and equal a reference that is empty too.
    return np.array(
        [
            rouge.calc_score([candidate], references) if candidate.strip() else 0.0
            for candidate, references in pairs
        ],
        dtype=np.float64,
    )


def cider(tokens: Tokens) -> NDArray[np.float64]:
    """Return CIDEr-D of every image, float64 [n], 0 to 10, as COCO's "CIDEr" is.

    The weights of n-grams come from the references of all n images, and stay as they are when rows
    are resampled. Raises ScoreError for fewer than 50 images: hardly an n-gram would then be rarer
    than another, and the score would say nothing.
    """
    count = len(tokens.ids)
    if count < FEWEST_FOR_CIDER:
        raise ScoreError(
            f"CIDEr needs at least {FEWEST_FOR_CIDER} images, here are {count}: it weighs words by "
            "how few of the test images have them; score more images, or leave CIDEr out"
        )
    references = {place: list(several) for place, several in enumerate(tokens.references)}
    candidates = {place: [candidate] for place, candidate in enumerate(tokens.candidates)}
    _, values = Cider(n=ORDERS).compute_score(references, candidates)
    return np.asarray(values, dtype=np.float64)


MAKERS: dict[str, Callable[[Tokens], NDArray[np.generic]]] = {
    "bleu": bleu,
    "rouge_l": rouge_l,
    "cider": cider,
    "spice": spice.spice,
}
