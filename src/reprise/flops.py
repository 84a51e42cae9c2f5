"""Operation counts, made on the meta device: no arithmetic is done and no memory is needed.

Two names are kept apart: a multiply-add is one multiplication and one addition; FLOPs count both.
(On the CPU device torch's counter sees nothing of fused attention; on meta it does.)
"""

import torch
from torch.utils.flop_counter import FlopCounterMode

from reprise.config import Run
from reprise.registry import load
from reprise.training.method import Batch, Method, Subject
from reprise.training.seeding import Draws, Key


def on_meta(run: Run, subject: Subject) -> Method:
    """Build a run's method on the meta device, at any size."""
    with torch.device("meta"):
        method: Method = load("method", run.method).build(run, subject)
    return method


def multiply_adds(
    method: Method, channels: int, size: int, batch: int = 1, backward: bool = False
) -> float:
    """Return the multiply-adds of a training forward pass per image, all views together.

    With ``backward``, those of the backward pass, too. Matrix products, convolutions and attention
    are counted, as is usual; norms and activations are not. ``method`` must be on the meta device.
    """
    images = torch.empty(batch, channels, size, size, device="meta")
    labels = torch.zeros(batch, dtype=torch.long, device="meta")
    given = Batch((images,) * method.num_views, labels, labels)
    with FlopCounterMode(display=False) as counter:
        loss = method(given, Draws(Key(("flops",)), batch, device="meta"))["loss"]
        if backward:
            loss.backward()
    return float(counter.get_total_flops()) / 2 / batch
