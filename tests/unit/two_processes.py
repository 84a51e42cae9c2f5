"""Trains three steps in one of WORLD_SIZE processes; the first writes losses and weights."""

import sys
import tempfile
from pathlib import Path

import torch
from test_can import make
from tiny import TinyMethod, photos

from reprise.settings.base import Augment, Optim
from reprise.training import distributed
from reprise.training.loop import Fit, FitSettings
from reprise.training.method import Method
from reprise.training.seeding import Key

kind, out = sys.argv[1:]
torch.set_num_threads(1)
method: Method
if kind == "plain":
    method = TinyMethod()
    method.encoder[3] = torch.nn.Identity()  # type: ignore[index]  # dropout is drawn per process
    data, size = photos(), 8
else:
    method = make()
    data, size = photos(), 16
    data.images = data.images.repeat(1, 3, 2, 2)
settings = FitSettings(
    steps=3,
    batch_size=128,
    optim=Optim(name="sgd", lr=0.1, weight_decay=0.0),
    augment=Augment(size=size, crop_scale=(0.5, 1.0), flip=0.5),
    log_every=1,
)
with distributed.world("cpu") as world, tempfile.TemporaryDirectory() as folder:
    state = Path(folder if world.is_main else tempfile.mkdtemp())
    fit = Fit(method, data, settings, Key(("two",)), state, world, "tiny/two")
    log = fit.run().log
    if world.is_main:
        torch.save({"log": log, "weights": method.state_dict()}, out)
