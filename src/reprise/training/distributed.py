"""The few things that differ between one process and many (torchrun sets the environment)."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

import torch
import torch.distributed as dist
import torch.distributed.nn.functional as autograd_dist
from torch import Tensor


@dataclass(frozen=True)
class World:
    """This process among its peers."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_main(self) -> bool:
        """True in the one process that writes files and shows progress."""
        return self.rank == 0


def pick_device(wanted: str) -> torch.device:
    """Return the device for 'auto', 'cpu' or 'cuda', one GPU per local process."""
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


@contextmanager
def world(device: str = "auto") -> Iterator[World]:
    """Join the process group that torchrun describes, if any, and leave it at the end."""
    picked = pick_device(device)
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World(device=picked)
        return
    dist.init_process_group("nccl" if picked.type == "cuda" else "gloo")
    try:
        if picked.type == "cuda":
            torch.cuda.set_device(picked)
        yield World(dist.get_rank(), size, picked)
    finally:
        dist.destroy_process_group()


def is_distributed() -> bool:
    """Return whether several processes train together."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank() -> int:
    """Return this process's rank, 0 when alone."""
    return dist.get_rank() if is_distributed() else 0


def gather(local: Tensor) -> Tensor:
    """Return every process's [B, ...] as [world * B, ...] in rank order; gradients flow back.

    The backward pass sums what every process's loss says about the local rows, so that with the
    averaging of data-parallel training the gradient is that of the mean loss over all rows.
    """
    if not is_distributed():
        return local
    return torch.cat(cast("tuple[Tensor, ...]", autograd_dist.all_gather(local.contiguous())))


def average(value: Tensor) -> Tensor:
    """Return the mean of a tensor over processes (for logging; no gradient)."""
    value = value.detach().clone()
    if is_distributed():
        dist.all_reduce(value)
        value /= dist.get_world_size()
    return value


def any_process(flag: bool, device: torch.device) -> bool:
    """Return whether the flag is set in any process, so that all act in the same step."""
    if not is_distributed():
        return flag
    raised = torch.tensor(float(flag), device=device)
    dist.all_reduce(raised, op=dist.ReduceOp.MAX)
    return bool(raised.item())


def barrier() -> None:
    """Wait for all processes."""
    if is_distributed():
        dist.barrier()
