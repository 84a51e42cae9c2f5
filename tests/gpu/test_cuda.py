"""What only a GPU can show: the same numbers as a processor's, and runs that resume on it.

Skipped where there is none. `pytest tests/gpu` takes two minutes on one GPU.
"""

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from pycocoevalcap.tokenizer import ptbtokenizer
from torch import Tensor, nn

from reprise.captions import java
from reprise.config import Project, load_project
from reprise.data import verbs
from reprise.data.three_augment import recipe_augment
from reprise.errors import Interrupted
from reprise.evaluators import linear_probe
from reprise.models.hilo import HiLo
from reprise.plan import RunJob
from reprise.settings.deit3_augment import RecipeAugment
from reprise.settings.evaluators import LinearProbe
from reprise.training import loop
from reprise.training.run import train
from reprise.training.seeding import BLOCK, Draws, Key

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
REPOSITORY = Path(__file__).parents[2]
RUNS = (
    "can/can",
    "can/mae",
    "can/simclr",
    "capdec/capdec",
    "capdec/clipcap",
    "deit3/deit3",
    "deit3/upernet-scratch",
    "litv2/litv2",
    "litv2/retinanet-scratch",
    "litv2/mask-rcnn-scratch",
    "litv2/semantic-fpn-scratch",
)
STOP_AFTER = 2  # steps


def relative(a: Tensor, b: Tensor) -> float:
    """Return |a - b| / |b| in float64, on the processor."""
    a, b = a.detach().cpu().double(), b.detach().cpu().double()
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("shape", [(4, 14, 14, 96), (2, 13, 15, 96)])
def test_hilo_computes_on_a_gpu_what_it_does_on_a_processor(
    shape: tuple[int, ...], alpha: float, dtype: torch.dtype, near: float
) -> None:
    torch.manual_seed(0)
    layer, x = HiLo(96, 12, alpha=alpha), torch.randn(shape)
    exact, leaf = layer.double(), x.double().requires_grad_()
    out = exact(leaf)
    (gradient,) = torch.autograd.grad(out.square().sum(), leaf)
    on_gpu = layer.to("cuda", dtype)
    moved = x.to("cuda", dtype).requires_grad_()
    found = on_gpu(moved)
    (own,) = torch.autograd.grad(found.float().square().sum(), moved)
    assert relative(found, out) < near
    assert relative(own, gradient) < near


@pytest.mark.parametrize("name", ["litv2_s", "deit3_small_patch16_224"])
def test_a_model_computes_on_a_gpu_what_it_does_on_a_processor(name: str) -> None:
    import timm

    import reprise.models.litv2  # noqa: F401  registers it

    torch.manual_seed(0)
    model: nn.Module = timm.create_model(name, num_classes=10).eval()
    x = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        assert relative(model.cuda()(x.cuda()), model.cpu().double()(x.double())) < 1e-4


def test_pillow_augments_by_several_processes_what_it_does_by_one() -> None:
    settings = RecipeAugment(size=24, backend="pil", policy="rand", jitter=0)
    pixels, draws = torch.rand(4 * BLOCK, 3, 28, 28), Draws(Key(("test",)), 4 * BLOCK)
    found = recipe_augment(pixels.cuda(), settings, draws)
    assert torch.equal(found.cpu(), recipe_augment(pixels, settings, draws))


def test_a_gpu_fits_the_probe_that_a_processor_fits() -> None:
    torch.manual_seed(0)
    features = torch.randn(2000, 64)
    labels = (features @ torch.randn(64, 10)).argmax(1).numpy()
    settings = LinearProbe(kind="linear_probe", data="photos", labels=2000)
    found = []
    for device in map(torch.device, ("cpu", "cuda")):
        placed = linear_probe.place(features.numpy(), device)
        with linear_probe.computing(placed):
            strength = linear_probe.choose(placed, labels, settings, 0)
            probe = linear_probe.fit(placed, labels, settings, strength)
        fitted = linear_probe.Fitted(probe, strength, len(labels), device)
        found.append((strength, fitted.correct(features.numpy(), labels)))
    assert found[0][0] == found[1][0]
    assert (found[0][1] == found[1][1]).mean() > 0.999


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A workspace of scale smoke with its data sets."""
    root = tmp_path_factory.mktemp("workspace")
    shutil.copytree(REPOSITORY / "params", root / "params")
    made = load_project(root, "smoke")
    for alias in made.scale.datasets:
        verbs.prepare(made, verbs.find(made, alias))
    return made


def prepared(project: Project, job: RunJob) -> RunJob:
    """Train what a run waits for."""
    for earlier in job.earlier_jobs:
        train(prepared(project, earlier))
    return job


def stop_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the loop get a signal after so many steps."""
    whole = loop.Fit._step

    def step(self: loop.Fit, batch: Any, shown: Any) -> None:
        whole(self, batch, shown)
        if self.state.step == steps:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(loop.Fit, "_step", step)


def can_score() -> bool:
    """Say whether pycocoevalcap has its tokenizer, which a copy without large files lacks."""
    try:
        java.jar("tokenizer", ptbtokenizer.STANFORD_CORENLP_3_4_1_JAR)
    except java.JavaError:
        return False
    return True


@pytest.mark.parametrize("name", RUNS)
def test_a_run_trains_resumes_and_is_evaluated_on_a_gpu(
    name: str, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reprise.evaluators._runner import evaluate

    slug, run = name.split("/")
    job = prepared(project, RunJob(project, slug, run, 0))
    train(job)
    straight = safetensors.torch.load_file(job.folder / "model.safetensors")
    if slug != "capdec" or can_score():
        evaluate(job)
    shutil.rmtree(job.folder)
    with monkeypatch.context() as patched:
        stop_after(STOP_AFTER, patched)
        with pytest.raises(Interrupted):
            train(job)
    train(job)
    resumed = safetensors.torch.load_file(job.folder / "model.safetensors")
    strays = {key: relative(resumed[key], straight[key]) for key in straight if straight[key].any()}
    worst = max(strays, key=lambda key: strays[key])
    print(f"{name}: {worst} strays by {strays[worst]:.2g}")
    assert strays[worst] < 1e-3
