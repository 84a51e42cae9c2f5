"""What a step that is given up for a loss that is not finite leaves behind: state and record."""

import json
from pathlib import Path

import torch
from torch import Tensor, nn

from reprise.files import write_atomic
from reprise.training.method import Batch, Method
from reprise.training.seeding import Key


class BeforeStep:
    """Puts back what the forward passes of a step have moved: buffers and momentum copies.

    Buffers, such as BatchNorm's running statistics, are small, so they are copied at every step.
    Momentum copies are as large as the encoder: a method moves them into new storage and keeps
    the old one until the next step (`Method.retract`), which costs memory but no copying.
    """

    def __init__(self, method: Method) -> None:
        self._method = method
        # Those of the state alone: what no checkpoint holds is made anew when a run resumes.
        state = method.state_dict(keep_vars=True).values()
        tensors = [value for value in state if isinstance(value, Tensor)]
        self._buffers = [tensor for tensor in tensors if not isinstance(tensor, nn.Parameter)]
        self._kept = [torch.empty_like(buffer) for buffer in self._buffers]

    def note(self) -> None:
        """Remember the buffers; before a step's first forward pass."""
        _copy(self._kept, self._buffers)

    def put_back(self) -> None:
        """Make buffers and momentum copies what they were when they were noted."""
        _copy(self._buffers, self._kept)
        self._method.retract()


@torch.no_grad()
def _copy(to: list[Tensor], of: list[Tensor]) -> None:
    if of:  # torch refuses an empty list
        torch._foreach_copy_(to, of)


def record(file: Path, step: int, losses: dict[str, Tensor], batch: Batch, key: Key) -> str:
    """Write the losses of a step, and what they were computed from; return the losses in words."""
    said = {name: str(value.item()) for name, value in losses.items()}
    content = {
        "step": step,
        "losses": said,
        "indices": batch.indices.tolist(),
        "rng_key": [str(part) for part in key.fold("step", step).path],
    }
    write_atomic(file, json.dumps(content, indent=2))
    return str(said)
