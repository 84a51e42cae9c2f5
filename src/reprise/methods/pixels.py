"""The baseline without an encoder: an image's features are its pixels."""

from torch import Tensor, nn

from reprise.config import Run
from reprise.errors import ConfigError
from reprise.training.method import Batch, Method, Subject
from reprise.training.seeding import Draws


class Pixels(Method):
    """Flattened normalised pixels; there is nothing to train."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Flatten()

    def forward(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        raise ConfigError("raw pixels cannot be trained: give this run `steps: 0`")


def build(run: Run, data: Subject) -> Pixels:
    """Build the baseline; the run's model and objective are not used."""
    return Pixels()
