"""The gap between modalities, and the rule that sets CapDec's noise by text alone.

The rule: epsilon, the noise's standard deviation per number, is the mean over images and pairs of
their captions of the largest difference in any number (L-infinity) of the unit embeddings; 15
images are enough, says the paper. Accounts differ: a blog takes an image and its captions instead,
so that is estimated, too.
"""

import itertools
from typing import Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from reprise.captions import corpus, embeddings
from reprise.errors import ConfigError
from reprise.evaluators._base import Context, Measured, Result
from reprise.plan import RunJob
from reprise.settings.evaluators import Gap
from reprise.training.seeding import Draws

MOST = 1000  # images of which distances are told


@runtime_checkable
class Noisy(Protocol):
    """A method that puts noise on unit embeddings of the CLIP it uses."""

    clip: RunJob
    noise_std: float

    def noisy(self, embedded: Tensor, draws: Draws) -> Tensor:
        """Return embeddings float32 [B, D] with the noise of training."""
        ...


def evaluate(context: Context, settings: Gap, name: str) -> Result:
    """Estimate epsilon and measure the distance of the modalities, without and with noise."""
    method = context.method
    if not isinstance(method, Noisy):
        raise ConfigError(f"{context.job.key}: its method adds no noise; remove {name!r}")
    data, device = context.data(settings.data, settings.split), context.world.device
    owners = embeddings.owners(data, settings.style)
    chosen = (owners < MOST).nonzero().squeeze(1)
    owners = owners[chosen]
    texts = embeddings.of_captions(method.clip, data, device, settings.style)[chosen]
    images = embeddings.of_images(method.clip, data, device)[: int(owners.max()) + 1]
    texts, images = F.normalize(texts, dim=1), F.normalize(images, dim=1)
    draws = Draws(context.key.fold("gap"), len(texts))
    noisy = F.normalize(method.noisy(texts, draws), dim=1)
    within = epsilon_of_texts(texts, owners)
    across = epsilon_of_images(images, texts, owners)
    few = settings.images
    return Result(
        data,
        [
            _mean("epsilon", within[:few]),
            _mean("epsilon_all", within),
            _mean("epsilon_image_text", across[:few]),
            _mean("epsilon_image_text_all", across),
            _mean("noise_std", np.full(1, method.noise_std)),
            # Its expected length; an embedding's own length is 1.
            _mean("noise_length", np.full(1, method.noise_std * texts.shape[1] ** 0.5)),
            *_distances("", images, texts, owners),
            *_distances("_noisy", images, noisy, owners),
        ],
    )


def epsilon_of_texts(texts: Tensor, owners: Tensor) -> NDArray[np.float64]:
    """Return for each image the mean L-infinity distance among its captions, float64 [N]."""
    found = []
    for own in _by_owner(texts, owners):
        pairs = [(a - b).abs().max() for a, b in itertools.combinations(own, 2)]
        if pairs:  # an image of one caption has none
            found.append(float(torch.stack(pairs).mean()))
    return np.array(found)


def epsilon_of_images(images: Tensor, texts: Tensor, owners: Tensor) -> NDArray[np.float64]:
    """Return for each image the mean L-infinity distance to its captions, float64 [N]."""
    far = (images[owners] - texts).abs().amax(dim=1)
    return np.array([float(own.mean()) for own in _by_owner(far, owners)])


def _by_owner(rows: Tensor, owners: Tensor) -> list[Tensor]:
    return list(rows.split(owners.bincount().tolist()))


def _distances(suffix: str, images: Tensor, texts: Tensor, owners: Tensor) -> list[Measured]:
    """Return the distance of the means, and cosines of an image with its and another's captions."""
    first = torch.stack([own.mean(dim=0) for own in _by_owner(texts, owners)])
    both = torch.stack([images, first], dim=1).numpy()
    cosines = [own.mean() for own in _by_owner((images[owners] * texts).sum(dim=1), owners)]
    others = (images.roll(1, dims=0)[owners] * texts).sum(dim=1)
    return [
        Measured(
            f"distance_of_means{suffix}", f"captions.{corpus.distance_of_means.__name__}", both
        ),
        _mean(f"cosine_of_pairs{suffix}", np.array([float(one) for one in cosines])),
        _mean(
            f"cosine_of_others{suffix}",
            np.array([float(own.mean()) for own in _by_owner(others, owners)]),
        ),
    ]


def _mean(metric: str, values: NDArray[np.float64]) -> Measured:
    return Measured(metric, f"captions.{corpus.image_mean.__name__}", values)
