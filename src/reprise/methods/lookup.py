"""The baseline without a decoder: an image gets the nearest caption of the training text."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reprise.captions import embeddings
from reprise.captions.vocabulary import captioned
from reprise.config import Run
from reprise.data.base import ImageSet
from reprise.errors import ConfigError
from reprise.plan import RunJob
from reprise.settings.lookup import Settings
from reprise.training.method import Batch, Method, Subject
from reprise.training.seeding import Draws

BATCH = 256  # images whose similarities to all captions are in memory at once


class Lookup(Method):
    """Nearest by cosine in the space of the CLIP that it uses; there is nothing to train."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.encoder, self.settings = nn.Identity(), settings

    def attach(self, job: RunJob, data: ImageSet) -> None:
        self.clip, self._data = job.used("clip"), data

    def samples(self, data: ImageSet, device: torch.device) -> ImageSet:
        raise ConfigError("a lookup cannot be trained: give this run `steps: 0`")

    def captions(self, embedded: Tensor) -> list[str]:
        """Return one caption for each image embedding float32 [N, D]."""
        style, data = self.settings.style, captioned(self._data)
        known = embeddings.of_captions(self.clip, data, embedded.device, style).to(embedded.device)
        known = F.normalize(known, dim=1)
        texts = [text for index in range(len(data)) for text in data.captions(index, style)]
        with torch.autocast(embedded.device.type, enabled=False):  # bf16 would confuse neighbours
            nearest = [(part @ known.T).argmax(dim=1) for part in embedded.split(BATCH)]
        return [texts[index] for part in nearest for index in part.tolist()]

    def forward(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        raise NotImplementedError  # `samples` has said so in words


def build(run: Run, data: Subject) -> Lookup:
    """Build the baseline; the run's model is not used."""
    return Lookup(Settings.model_validate(run.objective))
