"""Zero-shot retrieval: does an image find its captions, and a caption its image, by cosine?"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from reprise.captions import embeddings
from reprise.evaluators._base import Context, Measured, Result, correctness
from reprise.settings.evaluators import Retrieval

AT = (1, 5, 10)


def evaluate(context: Context, settings: Retrieval, name: str) -> Result:
    """Rank all captions of the split for each image, and all images for each caption.

    As is usual, an image is right where any of its captions is among the first k, and a caption is
    a query of its own; where all images have as many, those of an image are kept together.
    """
    data = context.data(settings.data, settings.split)
    device = context.world.device
    images = F.normalize(embeddings.of_images(context.job, data, device), dim=1)
    texts = F.normalize(embeddings.of_captions(context.job, data, device, settings.style), dim=1)
    owners = embeddings.owners(data, settings.style)
    of_image, of_text = ranks(images @ texts.T, owners)
    if len(owners) % len(data) == 0 and (owners.bincount() == len(owners) // len(data)).all():
        of_text = of_text.view(len(data), -1)  # so that a resample keeps an image's captions
    return Result(data, [*_recalls("image_to_text", of_image), *_recalls("text_to_image", of_text)])


def ranks(similar: Tensor, owners: Tensor) -> tuple[Tensor, Tensor]:
    """Return ranks from 0 of similarities [N, M], where caption m belongs to image owners[m].

    int64 [N]: the best of an image's own captions among all; int64 [M]: a caption's own image.
    Of equally similar ones a wrong one is first.
    """
    own = torch.arange(len(similar), device=owners.device).unsqueeze(1) == owners  # [N, M]
    best = similar.masked_fill(~own, -torch.inf).amax(dim=1, keepdim=True)
    wrong = similar.masked_fill(own, -torch.inf)
    of_image = (wrong >= best).sum(dim=1)
    right = similar[owners, torch.arange(len(owners))]
    return of_image, (wrong >= right).sum(dim=0)


def _recalls(direction: str, found: Tensor) -> list[Measured]:
    """Return recall at k in percent, of ranks [n], or [n, captions]."""
    return [correctness(f"{direction}_r{k}", np.asarray(found < k)) for k in AT]
