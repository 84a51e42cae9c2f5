"""A data set and a method small enough to train in a moment."""

import torch
from torch import Tensor, nn

from reprise.data.base import ArraySet
from reprise.training.method import Batch, Method
from reprise.training.seeding import Draws


def photos(n: int = 200) -> ArraySet:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, 1, 8, 8), generator=generator).to(torch.uint8)
    labels = torch.arange(n) % 4
    return ArraySet("tiny", "train", images, labels, ("a", "b", "c", "d"), "digest")


class TinyMethod(Method):
    """A classifier that uses every source of randomness: crops, keyed noise, global dropout."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Dropout(0.1))
        self.head = nn.Linear(16, 4)

    def forward(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        noise = 0.1 * draws.normal("noise", 1, 8, 8)
        scores = self.head(self.encoder(batch.views[0] + noise))
        return {"loss": nn.functional.cross_entropy(scores, batch.labels)}
