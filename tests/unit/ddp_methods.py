"""Trains every paper's tiny method in 1, 2 and 4 processes; `test_ddp` compares what comes out.

Everything is imported once, then forked. What is drawn per process by a library is off: stochastic
depth, dropout, Mixup. BatchNorm is frozen, since a processor cannot share it between processes.

    python ddp_methods.py <folder>
"""

import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import test_can
import test_deit3
import test_detect
import test_litv2_paper
import test_segment
import tiny_captions
import torch
from test_detect import painted as with_boxes
from test_segment import painted as with_masks
from timm.layers import freeze_batch_norm_2d
from tiny import TinyMethod, photos
from torch.multiprocessing.spawn import ProcessExitedException, start_processes

from reprise.data.base import ArraySet, ImageSet
from reprise.papers.capdec import Samples
from reprise.plan import RunJob
from reprise.settings.base import Augment, Optim
from reprise.training import distributed, loop
from reprise.training.distributed import World
from reprise.training.loop import Fit, FitSettings
from reprise.training.method import Method
from reprise.training.seeding import Key

WORLDS = (1, 2, 4)
STEPS = 2
KILLED_AT, LAST = 4, 8  # steps of the training of which one process is killed

Case = tuple[Method, ImageSet, int, Augment | None]  # what is trained, on what, batch, augmentation


def coloured(side: int, classes: int = 4) -> ArraySet:
    """Return 256 noisy images of 3 channels."""
    generator = torch.Generator().manual_seed(3)
    images = torch.randint(0, 256, (256, 3, side, side), generator=generator).to(torch.uint8)
    labels = torch.arange(256) % classes
    return ArraySet("tiny", "train", images, labels, tuple("abcde")[:classes], "digest")


def can() -> Case:
    """Contrast across processes, masks and noise by sample."""
    return test_can.make(), coloured(16), 256, Augment(size=16, crop_scale=(0.5, 1.0), flip=0.5)


def clip() -> Case:
    method = tiny_captions.tiny_clip()
    data = method.samples(tiny_captions.pairs(), torch.device("cpu"))
    return method, data, 256, Augment(size=8, mean=(0.5,) * 3, std=(0.5,) * 3)


def capdec() -> Case:
    """Captions of one to eight words: processes have unlike numbers of tokens."""
    method, own = tiny_captions.make(noise_variance=0.016), tiny_captions.pairs()
    for module in method.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    texts = [text for index in range(len(own)) for text in own.captions(index)]
    tokens = method.vocabulary.encode(texts, method.settings.longest)
    rows = torch.arange(len(texts))
    return method, Samples(own, tiny_captions.unit(len(texts)), tokens, rows, rows), 36, None


def deit3() -> Case:
    """The recipe with 3-Augment and copies of images, which lie in blocks of 64."""
    image = {"size": 16, "crop": "rrc", "flip": 0.5, "policy": "three", "jitter": 0.3}
    method = test_deit3.make(image=image, repeats=3)
    return method, coloured(16, 5), 256, Augment(size=16, mean=(0,), std=(1,))


def litv2() -> Case:
    method = test_litv2_paper.make()
    method.encoder = freeze_batch_norm_2d(method.encoder)
    return method, coloured(32, 5), 256, Augment(size=32, mean=(0,), std=(1,))


def segment(whole: bool = True) -> Case:
    """Semantic FPN, whose norms are of groups; every pixel has a class."""
    method = test_segment.make("fpn", test_segment.LITV2, flip=0.5, scale=(1.0, 2.0))
    method.encoder, data = freeze_batch_norm_2d(method.encoder), with_masks(whole=whole)
    method.attach(cast(RunJob, SimpleNamespace(run=None, seed=0)), cast(ImageSet, data))
    return method, method.samples(cast(ImageSet, data), torch.device("cpu")), 64, None


def segment_parts() -> Case:
    """The same on photos that fill unlike parts of the canvas, so that pixels are more or less."""
    return segment(whole=False)


def detect() -> Case:
    """RetinaNet, whose loss is a mean over images; one in four photos is empty.

    Each process pads its images to the largest of its own, and the padding has anchors: batches
    are so large that all processes have one of the largest.
    """
    data = with_boxes()
    method = test_detect.make("retinanet", data, flip=0.5, scale=(0.5, 1.0))
    method.encoder = freeze_batch_norm_2d(method.encoder)
    return method, method.samples(cast(ImageSet, data), torch.device("cpu")), 256, None


CASES: dict[str, Callable[[], Case]] = {
    one.__name__: one for one in (can, clip, capdec, deit3, litv2, segment, segment_parts, detect)
}


def train(name: str, world: World) -> dict[str, Any]:
    """Return the losses of every step and the last weights."""
    torch.manual_seed(0)
    method, data, batch_size, augment = CASES[name]()
    settings = FitSettings(
        steps=STEPS,
        batch_size=batch_size,
        optim=Optim(name="sgd", lr=0.02, weight_decay=0.0),
        augment=augment,
        log_every=1,
    )
    with tempfile.TemporaryDirectory() as folder:
        fit = Fit(method, data, settings, Key(("ddp",)), Path(folder), world, f"ddp/{name}")
        return {"log": fit.run().log, "weights": method.state_dict()}


def interrupted(folder: Path, world: World, kill: bool) -> Fit:
    """Train with a checkpoint at every step; one process is killed without a word in between."""
    loop.CHECKPOINT_SECONDS = 0.0

    class Fatal(TinyMethod):
        def forward(self, *given: Any) -> dict[str, torch.Tensor]:
            if kill and world.rank == world.size - 1 and fit.state.step == KILLED_AT:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().forward(*given)

    settings = FitSettings(
        steps=LAST,
        batch_size=128,
        optim=Optim(lr=0.01),
        augment=Augment(size=8, crop_scale=(0.5, 1.0), flip=0.5),
        log_every=1,
    )
    fit = Fit(Fatal(), photos(), settings, Key(("killed",)), folder, world, "ddp/killed")
    fit.run()
    return fit


def joined(rank: int, size: int, port: int, work: Callable[[World], None]) -> None:
    """Be one of several processes that train together."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"WORLD_SIZE": str(size), "RANK": str(rank), "LOCAL_RANK": str(rank)}
    with distributed.world("cpu") as world:
        work(world)


def everything(rank: int, size: int, port: int, out: Path) -> None:
    """Train all methods as one of ``size`` processes; the first one writes what came out."""

    def work(world: World) -> None:
        found = {name: train(name, world) for name in CASES}
        if world.is_main:
            torch.save(found, out / f"{size}.pt")

    joined(rank, size, port, work)


def unlucky(rank: int, port: int, folder: Path, kill: bool) -> None:
    """Be one of two processes of a training that may lose one; the first writes what came out."""

    def work(world: World) -> None:
        fit = interrupted(folder, world, kill)
        if world.is_main:
            found = {"weights": fit.method.state_dict(), "log": fit.state.log}
            torch.save({**found, "resumed": fit.state.resumed}, folder.with_suffix(".pt"))

    joined(rank, 2, port, work)


def start(work: Callable[..., None], processes: int, *args: Any) -> None:
    """Fork processes, each with a rank, these arguments and a port; wait for all."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    size = () if work is unlucky else (processes,)
    start_processes(work, (*size, port, *args), nprocs=processes, start_method="fork")


if __name__ == "__main__":
    torch.set_num_threads(1)
    target = Path(sys.argv[1])
    for world_size in WORLDS:
        start(everything, world_size, target)
    start(unlucky, 2, target / "whole", False)
    try:
        start(unlucky, 2, target / "killed", True)
    except ProcessExitedException as lost:
        (target / "signal.txt").write_text(str(lost.signal_name))
    start(unlucky, 2, target / "killed", False)
