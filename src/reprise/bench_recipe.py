"""What the engine adds to a training step: a recipe's step in our loop against a bare one of timm.

Both train the same model on the same ready images, with the same mixing, loss, optimiser, precision
and threads; ours goes through the loop, with its keyed random numbers, checks and curve. Ours
leaves attention unfused on a CPU, so timm's step is measured with its default and like that, too.
"""

import contextlib
import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import timm
import timm.optim
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from timm.loss import BinaryCrossEntropy, SoftTargetCrossEntropy
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from reprise.bench_data import measure
from reprise.config import Run
from reprise.data.base import ArraySet
from reprise.errors import ConfigError
from reprise.papers.deit3 import architecture, build, mixing
from reprise.settings.deit3 import Settings
from reprise.training.distributed import World
from reprise.training.loop import Fit, autocast, resolve_precision
from reprise.training.method import StandIn
from reprise.training.run import fit_settings, processor, set_determinism
from reprise.training.seeding import Key

OURS, BARE, UNFUSED = "our loop", "bare timm", "bare timm, attention not fused"
READY = {  # images as they are
    "crop": "none",
    "flip": 0.0,
    "policy": "none",
    "jitter": 0.0,
    "erasing": 0.0,
    "backend": "batched",
}


def ready_run(run: Run, batch_size: int) -> Run:
    """Return a run that takes its images as they are, each once, and averages no weights.

    Raises ConfigError where the batch is odd and the recipe mixes.
    """
    recipe = Settings.model_validate(run.objective)
    if batch_size % 2 and (recipe.mixup or recipe.cutmix):
        raise ConfigError(f"{batch_size} images a batch: must be even, since Mixup pairs them")
    image = recipe.image.model_copy(update=READY)
    objective = recipe.model_copy(update={"image": image, "repeats": 1, "weights": None})
    return run.model_copy(
        update={
            "objective": objective.model_dump(mode="json"),
            "augment": run.augment.model_copy(update={"size": image.size}) if run.augment else None,
            "optim": run.optim.model_copy(update={"ema_decay": None}),
            "steps": 10**9,
            "batch_size": batch_size,
            "accumulate": 1,
            "workers": 0,
            "whole_photographs": None,
            "kind": "train",
        }
    )


def our_step(run: Run, classes: int, folder: Path) -> Callable[[], object]:
    """Return a function that does one step of the engine's loop on ready images."""
    names = tuple(map(str, range(classes)))
    torch.manual_seed(0)
    method = build(run, StandIn(names, 3))
    size = Settings.model_validate(run.objective).image.size
    count = 4 * run.batch_size
    images = torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8)
    labels = torch.arange(count) % classes
    data = ArraySet("made up", "train", images, labels, names, "none")
    fit = Fit(method, data, fit_settings(run), Key(("bench",)), folder, World(), "bench")
    folder.mkdir(parents=True, exist_ok=True)
    batches = fit._batches()

    class Silent:
        done = 0

        def advance(self, *_: object) -> None: ...

    return lambda: fit._step(next(batches), Silent())  # type: ignore[arg-type]


def bare_step(run: Run, classes: int, fused: bool = True) -> Callable[[], object]:
    """Return a function that does one step as timm's training script does, on a ready batch."""
    recipe, device = Settings.model_validate(run.objective), torch.device("cpu")
    torch.manual_seed(0)
    model = timm.create_model(
        run.model.name,
        num_classes=classes,
        drop_path_rate=recipe.drop_path,
        **architecture(run.model.args, recipe),
    ).train()
    assert isinstance(model, VisionTransformer)
    if not fused:
        for module in model.modules():
            if hasattr(module, "fused_attn"):
                cast(Any, module).fused_attn = False
    optimizer = timm.optim.create_optimizer_v2(
        model,
        opt={"sgd": "momentum"}.get(run.optim.name, run.optim.name),
        lr=run.optim.lr,
        weight_decay=run.optim.weight_decay,
    )
    mix = mixing(recipe, classes)
    loss_of: nn.Module = SoftTargetCrossEntropy()
    if recipe.loss == "bce":
        loss_of = BinaryCrossEntropy(smoothing=0.0, target_threshold=0.0)
    precision = resolve_precision(run.precision, device)
    batch: Tensor = torch.randn(run.batch_size, 3, recipe.image.size, recipe.image.size)
    labels = torch.arange(run.batch_size) % classes

    def step() -> None:
        images, targets = batch, F.one_hot(labels, classes).float()
        if mix is not None:
            images, targets = mix(batch.clone(), labels)
        with autocast(precision, device):
            loss = loss_of(model(images).float(), targets)
        optimizer.zero_grad()
        loss.backward()
        if run.optim.clip_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), run.optim.clip_norm)
        optimizer.step()
        loss.item()

    return step


def show(run: Run, threads: int, batch_size: int, classes: int, seconds: float) -> None:
    """Measure the steps in turns and print images/s, and ours in units of the bare ones."""
    run = ready_run(run, batch_size)
    set_determinism(threads)
    with tempfile.TemporaryDirectory() as folder:
        calls = {
            BARE: bare_step(run, classes),
            UNFUSED: bare_step(run, classes, fused=False),
            OURS: our_step(run, classes, Path(folder)),
        }
        for call in calls.values():
            call()
        taken = measure(calls, seconds)
    rates = {one: batch_size / np.array(times) for one, times in taken.items()}
    console = Console()
    console.print(
        f"{run.model.name}, batches of {batch_size}, {torch.get_num_threads()} thread(s), "
        f"{resolve_precision(run.precision, torch.device('cpu'))}, torch {torch.__version__}, "
        f"timm {timm.__version__}, {processor(torch.device('cpu'))}; "
        f"medians of {len(taken[OURS])} rounds"
    )
    table = Table("one training step", "images/s", "5 to 95 %")
    for one, values in rates.items():
        low, middle, high = np.quantile(values, [0.05, 0.5, 0.95])
        table.add_row(one, f"{middle:.4g}", f"{low:.4g} to {high:.4g}")
    console.print(table)
    for one in (BARE, UNFUSED):
        ratio = statistics.median((rates[OURS] / rates[one]).tolist())
        console.print(f"Our loop makes {ratio:.2f} times the images of {one}.")


@contextlib.contextmanager
def step_without_augmentation(run: Run, batch_size: int) -> Iterator[Callable[[], object]]:
    """Give a training step of a recipe on ready images, for the share of the rest."""
    with tempfile.TemporaryDirectory() as folder:
        yield our_step(ready_run(run, batch_size), 10, Path(folder))
