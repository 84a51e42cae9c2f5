"""Optimisers and schedules, all timm's and torch's; here they are only chosen and grouped."""

import re
from collections.abc import Iterable
from typing import Any

import timm.optim
import timm.scheduler
import torch
from torch import nn

from reprise.errors import ConfigError
from reprise.settings.base import Optim
from reprise.training.method import Method

_NAMES = {"adamw": "adamw", "lamb": "lamb", "sgd": "momentum"}


def undecayed(module: nn.Module) -> set[str]:
    """Return the names of parameters that their models spare from weight decay.

    Those are class tokens, position embeddings and the like (timm's `no_weight_decay`); biases
    and norms, which have one dimension, are not named.
    """
    return {
        f"{prefix}.{name}".lstrip(".")
        for prefix, part in module.named_modules()
        if hasattr(part, "no_weight_decay")
        for name in part.no_weight_decay()
    }


def parameter_groups(method: Method, optim: Optim) -> list[dict[str, Any]]:
    """Return parameter groups: no decay where none belongs, rates scaled by depth or by name."""
    if optim.layer_decay is None:
        groups = timm.optim.param_groups_weight_decay(
            method, optim.weight_decay, no_weight_decay_list=undecayed(method)
        )
    else:
        groups = _groups_by_depth(method, optim.weight_decay, optim.layer_decay)
    return _scaled(list(groups), method, optim.lr_scale or {})


def _groups_by_depth(method: Method, decay: float, layer_decay: float) -> list[dict[str, Any]]:
    encoder = method.encoder
    groups = timm.optim.param_groups_layer_decay(
        encoder, decay, no_weight_decay_list=undecayed(encoder), layer_decay=layer_decay
    )
    of_encoder = {id(parameter) for parameter in encoder.parameters()}
    rest = nn.ParameterDict(
        {
            name.replace(".", "/"): parameter
            for name, parameter in method.named_parameters()
            if id(parameter) not in of_encoder
        }
    )
    return [*groups, *timm.optim.param_groups_weight_decay(rest, decay)]


def _scaled(
    groups: list[dict[str, Any]], method: Method, scales: dict[str, float]
) -> list[dict[str, Any]]:
    """Split groups so that parameters whose names match a pattern have its factor of the rate."""
    factors: dict[int, float] = {}
    for pattern, factor in scales.items():
        found = [p for name, p in method.named_parameters() if re.search(pattern, name)]
        if not found:
            raise ConfigError(
                f"optim.lr_scale: no parameter's name matches {pattern!r}; there are, among "
                f"others, {', '.join(_some(name for name, _ in method.named_parameters()))}"
            )
        factors.update({id(parameter): factor for parameter in found})
    if not factors:
        return groups
    split = []
    for group in groups:
        for factor in sorted({factors.get(id(p), 1.0) for p in group["params"]}):
            chosen = [p for p in group["params"] if factors.get(id(p), 1.0) == factor]
            scale = group.get("lr_scale", 1.0) * factor
            split.append({**group, "params": chosen, "lr_scale": scale})
    return split


def _some(names: Iterable[str], count: int = 8) -> list[str]:
    return list(names)[:count]


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
    """Linear warm-up, then a falling rate, which is a function of the step alone.

    Half a cosine and a power are those of the whole length, the warm-up included (timm's rule):
    after it the rate goes on from where they would be without it, below the full one. With
    ``warmup_prefix`` the cosine, and always a line, fall from the full rate at the warm-up's end.
    Or it falls at milestones.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, optim: Optim, steps: int) -> None:
        self._optimizer = optimizer
        self._timm = _scheduler(optimizer, optim, steps)

    def set(self, step: int) -> float:
        """Set every group's rate for a step (from 0); return the unscaled rate."""
        self._timm.step_update(step + 1)
        return max(
            float(group["lr"]) / float(group.get("lr_scale", 1.0))
            for group in self._optimizer.param_groups
        )


def _scheduler(
    optimizer: torch.optim.Optimizer, optim: Optim, steps: int
) -> timm.scheduler.scheduler.Scheduler:
    warmup: dict[str, Any] = {
        "warmup_t": optim.warmup_steps,
        "warmup_lr_init": optim.warmup_lr or 0.0,
        "t_in_epochs": False,
    }
    if optim.milestones is not None:
        # timm lets the rate fall one call before a milestone, and our first call is its number 1.
        after = [milestone + 2 for milestone in optim.milestones]
        return timm.scheduler.MultiStepLRScheduler(
            optimizer, after, optim.gamma or 1.0, warmup_prefix=False, **warmup
        )
    # One step more than there are, so that the last one still moves: ours are numbers 1 to `steps`
    # of a schedule of `steps` + 1, whose number 0 would have the rate that a warm-up begins at.
    falling = {**warmup, "t_initial": steps + 1, "lr_min": optim.min_lr}
    if optim.warmup_prefix or optim.schedule == "linear":
        # It begins where the warm-up ends: a cosine as in MAE's code, a line as in transformers'
        # schedule of that name. Within a warm-up that never ends the length does not matter.
        falling |= {"warmup_prefix": True, "t_initial": max(1, steps + 1 - optim.warmup_steps)}
    if optim.schedule == "cosine":
        return timm.scheduler.CosineLRScheduler(optimizer, **falling)
    return timm.scheduler.PolyLRScheduler(optimizer, power=optim.power or 1.0, **falling)
