"""Optimisers and schedules, all timm's and torch's; here they are only chosen and grouped."""

from typing import Any

import timm.optim
import timm.scheduler
import torch
from torch import nn

from reprise.settings.base import Optim
from reprise.training.method import Method

_NAMES = {"adamw": "adamw", "lamb": "lamb", "sgd": "momentum"}


def parameter_groups(method: Method, optim: Optim) -> list[dict[str, Any]]:
    """Return parameter groups: no decay on vectors (biases, norms), lr scaled by depth if asked."""
    if optim.layer_decay is None:
        return list(timm.optim.param_groups_weight_decay(method, optim.weight_decay))
    encoder = method.encoder
    groups = timm.optim.param_groups_layer_decay(
        encoder, optim.weight_decay, layer_decay=optim.layer_decay
    )
    of_encoder = {id(parameter) for parameter in encoder.parameters()}
    rest = nn.ParameterDict(
        {
            name.replace(".", "/"): parameter
            for name, parameter in method.named_parameters()
            if id(parameter) not in of_encoder
        }
    )
    return [*groups, *timm.optim.param_groups_weight_decay(rest, optim.weight_decay)]


def build_optimizer(method: Method, optim: Optim) -> torch.optim.Optimizer:
    """Return the optimiser over all trainable parameters of a method."""
    own: dict[str, Any] = {"momentum": optim.momentum, "nesterov": True}
    if optim.name != "sgd":
        own = {"betas": optim.betas, "eps": optim.eps}
    if optim.name == "adamw":
        own["foreach"] = True
    made = timm.optim.create_optimizer_v2(
        parameter_groups(method, optim),
        opt=_NAMES[optim.name],
        lr=optim.lr,
        weight_decay=optim.weight_decay,
        **own,
    )
    assert isinstance(made, torch.optim.Optimizer)
    return made


class Schedule:
    """Linear warm-up, then half a cosine or a line: the rate is a function of the step alone."""

    def __init__(self, optimizer: torch.optim.Optimizer, optim: Optim, steps: int) -> None:
        self._optimizer = optimizer
        shared: dict[str, Any] = {
            "t_initial": steps + 1,  # so that the last step still moves
            "lr_min": optim.min_lr,
            "warmup_t": optim.warmup_steps,
            "warmup_lr_init": 0.0,
            "t_in_epochs": False,
        }
        self._timm: timm.scheduler.scheduler.Scheduler
        if optim.schedule == "linear":
            # The line begins where the warm-up ends, as in transformers' schedule of that name.
            self._timm = timm.scheduler.PolyLRScheduler(
                optimizer,
                power=1.0,
                **{**shared, "warmup_prefix": True},
            )
            self._timm.t_initial = steps + 1 - optim.warmup_steps
        else:
            self._timm = timm.scheduler.CosineLRScheduler(optimizer, **shared)

    def set(self, step: int) -> float:
        """Set every group's rate for a step (from 0); return the unscaled rate."""
        self._timm.step_update(step + 1)
        return max(
            float(group["lr"]) / float(group.get("lr_scale", 1.0))
            for group in self._optimizer.param_groups
        )
