"""Multi-crop contrast: two full views and several small ones, all predicting the full ones' codes.

CAN is argued to be cheaper than methods that encode many crops (DINO, SwAV). This is the step of
such a method, for its cost beside CAN's; a `dynamic_img_size` ViT takes crops of either size.
"""

import itertools

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reprise.config import Run
from reprise.settings.multicrop import Settings
from reprise.training import distributed
from reprise.training.method import Batch, Method, Subject
from reprise.training.seeding import Draws

SINKHORN_ROUNDS = 3


@torch.no_grad()
def sinkhorn(scores: Tensor, epsilon: float) -> Tensor:
    """Return codes [B, K] that use all prototypes equally, from scores [B, K] (SwAV, section 3.1).

    Rows sum to 1; columns sum to about B / K over the batches of all processes.
    """
    everyone = distributed.gather(scores.float())
    codes = torch.softmax(everyone.flatten() / epsilon, dim=0).view_as(everyone)
    for _ in range(SINKHORN_ROUNDS):
        codes = codes / (codes.sum(dim=0, keepdim=True) * codes.shape[1])
        codes = codes / (codes.sum(dim=1, keepdim=True) * codes.shape[0])
    start = distributed.rank() * len(scores)
    return codes[start : start + len(scores)] * len(everyone)


class MultiCrop(Method):
    """Each crop predicts the codes of the full views, except its own (SwAV)."""

    num_views = 2
    mixes_samples = True

    def __init__(self, encoder: nn.Module, settings: Settings) -> None:
        super().__init__()
        self.encoder, self.settings = encoder, settings
        widths = [int(encoder.num_features), *settings.projection]  # type: ignore[arg-type]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.projection = nn.Sequential(*layers[:-1])
        self.prototypes = nn.Linear(widths[-1], settings.prototypes, bias=False)

    def forward(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        full = self._scores(torch.cat(batch.views)).chunk(2)
        codes = [sinkhorn(one, self.settings.sinkhorn_epsilon) for one in full]
        local = self._local_crops(batch.views, draws)
        small = self._scores(torch.cat(local)).chunk(len(local)) if local else ()
        pairs = [(full[1], codes[0]), (full[0], codes[1])]
        pairs += [(one, code) for one in small for code in codes]
        losses = [
            F.cross_entropy(one.float() / self.settings.temperature, code) for one, code in pairs
        ]
        return {"loss": torch.stack(losses).mean()}

    def _scores(self, images: Tensor) -> Tensor:
        embedded = F.normalize(self.projection(self.encoder(images)), dim=1)
        scores: Tensor = self.prototypes(embedded)
        return scores

    def _local_crops(self, views: tuple[Tensor, ...], draws: Draws) -> list[Tensor]:
        """Cut small windows out of the full views in turn, at one place a batch."""
        size, crops = self.settings.local_size, []
        room = views[0].shape[-1] - size + 1
        for number in range(self.settings.local_crops):
            place = draws.fold("local", number).uniform("place", 2)[0]
            # On the meta device, where operations are only counted, no number has a value.
            top, left = (0, 0) if place.is_meta else (place * room).long().tolist()
            crops.append(views[number % 2][:, :, top : top + size, left : left + size])
        return crops


def build(run: Run, data: Subject) -> MultiCrop:
    """Build the method of a run from its settings."""
    encoder = timm.create_model(run.model.name, num_classes=0, **run.model.args)
    return MultiCrop(encoder, Settings.model_validate(run.objective))
