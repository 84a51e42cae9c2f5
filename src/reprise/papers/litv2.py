"""LITv2: a pyramid with HiLo attention, trained by DeiT's recipe (arXiv 2205.13213).

The network is `reprise.models.litv2`, its attention `reprise.models.hilo`. Here they meet the
recipe, `params/papers/litv2.yaml`: augmentation, mixing, loss and the preparation of test images
are those of `reprise.papers.deit3`. Any other model of timm can stand in LITv2's place, so that
both are trained, timed and counted by the same code.
"""

from pathlib import Path
from typing import Any, cast

import timm
from torch import Tensor, nn

from reprise.config import Run
from reprise.errors import ConfigError
from reprise.models.convert import convert
from reprise.models.litv2 import ARCHITECTURES, LITv2
from reprise.models.mechanisms import cut_windows_first
from reprise.models.released import load_strictly
from reprise.papers.deit3 import Recipe
from reprise.settings.litv2 import Settings
from reprise.training.method import Subject


class Classifier(Recipe):
    """A classifier under LITv2's recipe."""

    def encode(self, images: Tensor) -> Tensor:
        """Return float [B, D] of normalised images.

        timm's attention is fused, but for training LITv2 on a processor: there tokens are few, and
        the fused one's backward pass takes longer than all else.
        """
        slow = self.training and images.device.type == "cpu" and isinstance(self.encoder, LITv2)
        for module in self.encoder.modules():
            if hasattr(module, "fused_attn"):
                cast(Any, module).fused_attn = not slow
        found: Tensor = self.encoder(images)
        return found


def build(run: Run, data: Subject) -> Classifier:
    """Build the classifier of a run from its settings, or take its released weights.

    Raises ConfigError where its model has not what the settings ask for, or the weights do not fit.
    """
    settings, classes = Settings.model_validate(run.objective), len(data.classes)
    if settings.weights is None:
        return Classifier(network(run, settings, classes=0), classes, settings)
    model = network(run, settings, classes)
    load_strictly(model, convert(Path(settings.weights)).weights, settings.weights)
    head = cast(Any, model).get_classifier()
    cast(Any, model).reset_classifier(0)
    method = Classifier(model, classes, settings)
    method.head.load_state_dict(head.state_dict())
    return method


def network(run: Run, settings: Settings, classes: int) -> nn.Module:
    """Return a run's timm model, which pools its last map where ``classes`` is 0."""
    args: dict[str, Any] = {"drop_rate": settings.dropout, "drop_path_rate": settings.drop_path}
    if run.model.name in ARCHITECTURES:
        args |= {"img_size": settings.image.size, **settings.switches}
    elif settings.switches or settings.weights is not None:
        wrong = ", ".join([*settings.switches] or ["weights"])
        raise ConfigError(f"{run.model.name} is no LITv2 and takes no {wrong}; leave it out")
    model = timm.create_model(run.model.name, num_classes=classes, **args | run.model.args)
    cut_windows_first(model)
    return model
