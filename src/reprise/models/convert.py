"""The authors' LITv2 files, which are pickles, as safetensors that timm loads strictly.

    python -m reprise convert litv2 litv2_s.pth
    timm.create_model("litv2_s", checkpoint_path="litv2_s.safetensors")

Nothing in a file is run. Their training loop stores its configuration beside the weights, as a
`yacs` object; it is read as a plain mapping and dropped.
"""

import json
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import timm
import torch
from torch import nn

from reprise.errors import ConfigError
from reprise.files import write_atomic
from reprise.models.litv2 import ARCHITECTURES, checkpoint_filter_fn
from reprise.models.released import State, load_strictly, read_state

HILO_STAGE = 2


@dataclass(frozen=True)
class Converted:
    """A model's name in timm, the arguments that differ from its defaults, and its weights."""

    name: str
    args: dict[str, Any]
    weights: State

    def write(self, out: Path) -> None:
        """Write safetensors, whole or not at all, with name and arguments in the header."""
        header = {"model": self.name, "args": json.dumps(self.args)}
        tensors = {name: tensor.contiguous() for name, tensor in self.weights.items()}
        write_atomic(out, safetensors.torch.save(tensors, metadata=header))


def convert(path: Path) -> Converted:
    """Read a released LITv2 classifier of any size and alpha.

    Raises ConfigError where the file is absent, damaged or unsafe, is no LITv2 classifier, or
    lacks a weight, has another one or one of another shape.
    """
    weights = checkpoint_filter_fn(_read(path), nn.Module())
    name, args = _recognise(weights, path)
    with torch.device("meta"):
        model = timm.create_model(name, **args)
    load_strictly(model.to_empty(device="cpu"), weights, str(path))
    return Converted(name, args, weights)


def _read(path: Path) -> State:
    try:
        with torch.serialization.safe_globals([(OrderedDict, "yacs.config.CfgNode")]):
            return read_state(path)
    except ConfigError:
        raise
    except Exception as error:  # on bytes that are no pickle, torch's reader fails in any way
        raise ConfigError(f"weights: {path} is damaged or no weights file: {error}") from None


def _recognise(weights: State, path: Path) -> tuple[str, dict[str, Any]]:
    """Return the timm name and arguments of the model that the weights are of."""
    if any(name.startswith("backbone.") for name in weights):
        raise ConfigError(
            f"weights: {path} is of a detector or segmenter, whose backbone has no classifier; "
            "take the file of the ImageNet model"
        )
    patches = weights.get("patch_embed.proj.weight")
    width = 0 if patches is None else len(patches)
    depths = tuple(_depth(weights, stage) for stage in range(4))
    for name, its in ARCHITECTURES.items():
        if (width, depths) == (its["embed_dim"], its["depths"]):
            return name, _alpha(weights, its["num_heads"][HILO_STAGE], width) | _classes(weights)
    raise ConfigError(
        f"weights: {path} is no LITv2: patches of width {width} and {depths} blocks in the stages "
        f"are none of {', '.join(ARCHITECTURES)}"
    )


def _depth(weights: State, stage: int) -> int:
    """Return the number of blocks of a stage."""
    prefix = f"layers.{stage}.blocks."
    return len({name[len(prefix) :].split(".")[0] for name in weights if name.startswith(prefix)})


def _classes(weights: State) -> dict[str, Any]:
    """Return the number of classes, where it is not ImageNet's."""
    classifier = weights.get("head.fc.bias")
    if classifier is None or len(classifier) == 1000:
        return {}
    return {"num_classes": len(classifier)}


def _alpha(weights: State, heads: int, width: int) -> dict[str, Any]:
    """Return the share of Lo-Fi heads, where it is not the default's."""
    query = weights.get(f"layers.{HILO_STAGE}.blocks.0.attn.l_q.weight")
    head_dim = width * 2**HILO_STAGE // heads
    lofi = 0 if query is None else len(query) // head_dim
    if lofi == int(heads * 0.9):
        return {}
    return {"alpha": min(1.0, (lofi + 0.5) / heads)}  # half a head more: safe from rounding down
