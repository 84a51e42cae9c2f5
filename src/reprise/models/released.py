"""Released weights: a local file in the authors' layout or timm's, or a tag of timm's hub.

Files are read without running code from them, and must fit a model key by key and shape by shape.
"""

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import timm
import torch
from torch import Tensor, nn

from reprise.errors import ConfigError

State = dict[str, Tensor]
# Under these keys files of weights hold them, beside an optimiser's state and the like.
WRAPPERS = ("model", "state_dict", "model_state_dict")
ENDINGS = (".pth", ".pt", ".bin", ".ckpt", ".safetensors")
_TOLD = 5  # wrong keys that a message names


def is_file(weights: str) -> bool:
    """Say whether released weights are named by a file and not by a tag."""
    return weights.endswith(ENDINGS) or Path(weights).exists()


def read_state(file: Path) -> State:
    """Return the tensors of a weights file by name.

    Raises ConfigError where it is absent, damaged, holds objects other than tensors (which could
    run code when loaded), or no tensors at all.
    """
    if not file.is_file():
        raise ConfigError(f"weights: {file}: no such file")
    try:
        if file.suffix == ".safetensors":
            return dict(safetensors.torch.load_file(file))
        found = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ConfigError(
            f"weights: {file} holds Python objects besides tensors, which could run code, or is no "
            f"file of torch.save: it was not loaded. Save its `state_dict()` alone. ({error})"
        ) from None
    except (safetensors.SafetensorError, RuntimeError, EOFError, ValueError, LookupError) as error:
        raise ConfigError(f"weights: {file} is damaged or no weights file: {error}") from None
    return _unwrapped(found, file)


def _unwrapped(found: Any, file: Path) -> State:
    for key in WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping):
        raise ConfigError(f"weights: {file} holds a {type(found).__name__}, not named tensors")
    state = {str(key): value for key, value in found.items() if isinstance(value, Tensor)}
    if not state:
        raise ConfigError(f"weights: {file} holds no tensors")
    return {key.removeprefix("module."): value for key, value in state.items()}


def load_strictly(model: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Load tensors into a model that has exactly these names and shapes, else raise ConfigError."""
    own = model.state_dict()
    wrong = [f"{key} is missing" for key in own.keys() - state.keys()]
    wrong += [f"{key} is unknown" for key in state.keys() - own.keys()]
    wrong += [
        f"{key} has shape {tuple(value.shape)} instead of {tuple(own[key].shape)}"
        for key, value in state.items()
        if key in own and value.shape != own[key].shape
    ]
    if wrong:
        shown = "; ".join(sorted(wrong)[:_TOLD])
        more = f"; and {len(wrong) - _TOLD} more" if len(wrong) > _TOLD else ""
        raise ConfigError(f"weights: {where} does not fit {type(model).__name__}: {shown}{more}")
    model.load_state_dict(state, strict=True)


def released(
    weights: str,
    name: str,
    classes: int,
    args: Mapping[str, Any],
    rename: Callable[[State, nn.Module], State],
) -> nn.Module:
    """Return a timm model, classifier included, with released weights.

    ``weights`` is a file, whose keys ``rename`` brings to timm's names, or the full name of a timm
    model with its tag, which is downloaded. Raises ConfigError where they do not fit, among others
    for another number of classes.
    """
    if is_file(weights):
        model = timm.create_model(name, num_classes=classes, **args)
        load_strictly(model, rename(read_state(Path(weights)), model), weights)
        return model
    if not timm.is_model_pretrained(weights):
        raise ConfigError(f"weights: {weights!r} is no file, and timm has no weights of that name")
    model = timm.create_model(weights, pretrained=True, **args)
    if model.num_classes != classes:
        raise ConfigError(
            f"weights: {weights} tells {model.num_classes} classes apart, the data have {classes}"
        )
    return model
