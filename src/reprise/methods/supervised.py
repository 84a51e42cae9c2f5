"""Plain supervised classification: an encoder, a linear head, one label per image."""

import timm
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from reprise.config import Run
from reprise.errors import ConfigError
from reprise.models.positions import fix_positions
from reprise.settings.supervised import Settings
from reprise.training.method import Batch, Method, Subject
from reprise.training.seeding import Draws


class Supervised(Method):
    """A classifier; also what finetuning makes of a pretrained encoder."""

    def __init__(self, encoder: nn.Module, classes: int, settings: Settings) -> None:
        super().__init__()
        self.encoder, self.settings = encoder, settings
        self.head = nn.Linear(int(encoder.num_features), classes)  # type: ignore[arg-type]
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def logits(self, images: Tensor) -> Tensor:
        """Return float [B, classes] for normalised images [B, C, H, W]."""
        scores: Tensor = self.head(self.features(images))
        return scores

    def forward(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        scores = self.logits(batch.views[0]).float()
        loss = F.cross_entropy(scores, batch.labels, label_smoothing=self.settings.label_smoothing)
        correct = (scores.argmax(dim=1) == batch.labels).float().mean()
        return {"loss": loss, "top1": 100 * torch.as_tensor(correct)}


def build(run: Run, data: Subject) -> Supervised:
    """Build the classifier of a run from its settings."""
    encoder = timm.create_model(run.model.name, num_classes=0, **run.model.args)
    settings = Settings.model_validate(run.objective)
    if settings.fixed_positions:
        if not isinstance(encoder, VisionTransformer):
            raise ConfigError(f"fixed_positions: {run.model.name} is no plain ViT; set it to false")
        fix_positions(encoder)
    return Supervised(encoder, len(data.classes), settings)
