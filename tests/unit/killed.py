"""Trains a tiny run to the end in a state folder, saving often; prints a line when it has begun."""

import sys
from pathlib import Path

import torch
from tiny import TinyMethod, photos

from reprise.settings.base import Augment, Optim
from reprise.training import loop
from reprise.training.distributed import World
from reprise.training.loop import Fit, FitSettings
from reprise.training.seeding import Key

folder, out = map(Path, sys.argv[1:])
loop.CHECKPOINT_SECONDS = 0.05
torch.set_num_threads(1)
settings = FitSettings(
    steps=300,
    batch_size=64,
    optim=Optim(lr=1e-2, warmup_steps=5),
    augment=Augment(size=8, crop_scale=(0.5, 1.0), flip=0.5),
    log_every=3,
)
print("ready", flush=True)
fit = Fit(TinyMethod(), photos(), settings, Key(("kill",)), folder, World(), "tiny/kill")
state = fit.run()
out.write_bytes(b"".join(v.numpy().tobytes() for v in fit.method.state_dict().values()))
out.with_suffix(".log").write_bytes(state.log_file.read_bytes())
print(f"resumed {state.resumed}", flush=True)
