"""Trains a CLIP for three steps in two processes; the first writes its losses and weights."""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from tiny_captions import pairs, tiny_clip
from torch.multiprocessing.spawn import start_processes

from reprise.settings.base import Augment, Optim
from reprise.training import distributed
from reprise.training.distributed import World
from reprise.training.loop import Fit, FitSettings
from reprise.training.seeding import Key


def train(world: World, folder: Path) -> dict[str, Any]:
    """Return the losses of every step and the last weights."""
    method = tiny_clip()
    settings = FitSettings(
        steps=3,
        batch_size=128,
        optim=Optim(name="sgd", lr=0.1, weight_decay=0.0),
        augment=Augment(size=8, mean=(0.5,) * 3, std=(0.5,) * 3),
        log_every=1,
    )
    data = method.samples(pairs(), world.device)
    fit = Fit(method, data, settings, Key(("two",)), folder, world, "tiny/two")
    return {"log": fit.run().log, "weights": method.state_dict()}


def work(rank: int, out: str, port: str) -> None:
    """Be one of two processes."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ |= {"WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank)}
    with distributed.world("cpu") as world, tempfile.TemporaryDirectory() as folder:
        found = train(world, Path(folder))
        if world.is_main:
            torch.save(found, out)


if __name__ == "__main__":
    torch.set_num_threads(1)
    # Forked, so that what takes seconds to import is imported once.
    start_processes(work, tuple(sys.argv[1:]), nprocs=2, start_method="fork")
