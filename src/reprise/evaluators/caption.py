"""Captions of test images and their scores, as statistics of every image.

METEOR's program loads while captions are decoded. References and candidates are cut into tokens
once, for all metrics. Scores are in points, as papers print them: 100 times the fraction.
"""

import contextlib
import time
from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from reprise.captions import embeddings
from reprise.captions.java import NoJavaError
from reprise.captions.meteor import Meteor
from reprise.captions.scores import METRICS, Scores, score
from reprise.captions.tokens import tokenise
from reprise.captions.vocabulary import captioned
from reprise.config import Json
from reprise.data.captioned import CaptionedSet
from reprise.errors import ConfigError
from reprise.evaluators._base import Context, Measured, Result, correctness
from reprise.plan import RunJob
from reprise.settings.evaluators import Caption
from reprise.training.loop import autocast, resolve_precision
from reprise.training.run import training_data


@runtime_checkable
class Captioner(Protocol):
    """A method that says captions from embeddings of the CLIP it uses."""

    clip: RunJob

    def captions(self, embedded: Tensor) -> list[str]:
        """Return one caption for each embedding float32 [N, D]."""
        ...


def evaluate(context: Context, settings: Caption, name: str) -> Result:
    """Caption a split from its image embeddings, and score the captions."""
    method = context.method.eval()
    if not isinstance(method, Captioner):
        raise ConfigError(f"{context.job.key}: its method says no captions; remove {name!r}")
    data = captioned(context.data(settings.data, settings.split))
    references = [data.captions(index, settings.style) for index in range(len(data))]
    try:
        with _meteor(settings) as meteor:
            said, seconds = _say(context, method, settings, data)
            tokens = tokenise(dict(enumerate(references)), dict(enumerate(said)))
            scores = score(tokens, settings.metrics, meteor)
    except NoJavaError as absent:
        said, seconds = _say(context, method, settings, data)
        scores = _unscored(data, settings, f"{absent}; then delete this evaluation and repeat it")
    return Result(
        data,
        [*_scored(scores, settings), *_unseen(data, scores), *_verbatim(context, references, said)],
        {"image": _pictures(data, settings)} if settings.pictures else {},
        {
            "images_per_second": len(said) / seconds,
            "empty": len(scores.empty),
            "not_run": scores.not_run,
            "captions": _gallery(data, settings, references, said),
        },
    )


def _unscored(data: CaptionedSet, settings: Caption, why: str) -> Scores:
    """Return no scores, with the reason for every one that would have been there."""
    parts = [f"{part}_{metric}" for part in ("unseen", "seen") for metric in ("cider", "bleu_4")]
    return Scores(tuple(range(len(data))), {}, (), dict.fromkeys([*settings.metrics, *parts], why))


def _meteor(settings: Caption) -> contextlib.AbstractContextManager[Meteor | None]:
    return Meteor() if "meteor" in settings.metrics else contextlib.nullcontext()


def _say(
    context: Context, method: Captioner, settings: Caption, data: CaptionedSet
) -> tuple[list[str], float]:
    """Return a caption for each image, and the seconds that decoding took."""
    device = context.world.device
    if settings.source == "image":
        embedded = embeddings.of_images(method.clip, data, device)
    else:
        owners = embeddings.owners(data, settings.style)
        first = np.searchsorted(owners.numpy(), np.arange(len(data)))
        embedded = embeddings.of_captions(method.clip, data, device, settings.style)[first]
    more = {} if settings.beams is None else {"beams": settings.beams}
    precision = resolve_precision(context.job.run.precision, device)
    started = time.monotonic()
    with autocast(precision, device):
        said = method.captions(embedded.to(device), **more)
    return said, time.monotonic() - started


def _scored(scores: Scores, settings: Caption) -> Iterator[Measured]:
    for metric in settings.metrics:
        name, how = METRICS[metric]
        if name in scores.statistics:
            yield Measured(metric, f"captions.{how}_points", scores.statistics[name])


def _unseen(data: CaptionedSet, scores: Scores) -> Iterator[Measured]:
    """Yield scores of those images that show a combination of attributes met in no training."""
    unseen = getattr(data, "unseen", None)
    if unseen is None or not 0 < int(unseen.sum()) < len(data):
        return
    for part, chosen in (("unseen", np.asarray(unseen)), ("seen", ~np.asarray(unseen))):
        for name, metric, how in (
            ("cider", "cider", "image_mean_points"),
            ("bleu", "bleu_4", "bleu_4_points"),
        ):
            if name in scores.statistics:
                rows = scores.statistics[name][chosen]
                yield Measured(f"{part}_{metric}", f"captions.{how}", rows)


def _verbatim(context: Context, references: list[list[str]], said: list[str]) -> list[Measured]:
    """Return the shares of references and of captions said that training met word for word."""
    run = context.job.run
    training = context.once("training", lambda: captioned(training_data(context.job)))
    style = str(run.objective.get("style", "captions"))
    known = context.once(
        ("known", style),
        lambda: {
            _plain(text)
            for index in range(len(training))
            for text in training.captions(index, style)
        },
    )
    several: NDArray[np.bool_] = np.array(
        # The first few alone, where some images have more captions than others.
        [
            [_plain(text) in known for text in texts[: min(map(len, references))]]
            for texts in references
        ]
    )
    copied = np.array([_plain(text) in known for text in said])
    return [correctness("references_in_training", several), correctness("copied", copied)]


def _plain(text: str) -> str:
    """Return a text's words, so that case, spaces and full stops make no difference."""
    return " ".join(text.lower().replace(".", " ").replace(",", " ").split())


def _shown(data: CaptionedSet, settings: Caption) -> list[int]:
    count = min(settings.pictures, len(data))
    return [int(index) for index in np.linspace(0, len(data) - 1, count).round()]


def _pictures(data: CaptionedSet, settings: Caption) -> NDArray[np.uint8]:
    """Return the shown images, uint8 [k, H, W, 3]."""
    images = np.asarray(data.images[_shown(data, settings)]).transpose(0, 2, 3, 1)
    return np.repeat(images, 3, axis=3) if images.shape[3] == 1 else images


def _gallery(
    data: CaptionedSet, settings: Caption, references: list[list[str]], said: list[str]
) -> Json:
    unseen = getattr(data, "unseen", None)
    items = [
        {
            "index": index,
            "references": references[index],
            "caption": said[index],
            "unseen": None if unseen is None else bool(unseen[index]),
        }
        for index in _shown(data, settings)
    ]
    return {"style": settings.style, "beams": settings.beams, "items": items}
