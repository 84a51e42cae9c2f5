"""LITv2's method under its recipe, its spectra, and what its parameter file says of the paper."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import litv2_official as official
import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reprise import untrained
from reprise.config import Project, Run, load_project
from reprise.data.base import ArraySet
from reprise.errors import ConfigError
from reprise.evaluators import spectrum
from reprise.evaluators._base import Context
from reprise.methods.detect import Detect
from reprise.methods.segment import Segment
from reprise.models.hilo import HiLo
from reprise.models.litv2 import LITv2
from reprise.papers import litv2
from reprise.papers.litv2 import Classifier
from reprise.settings.evaluators import Spectrum
from reprise.settings.litv2 import Settings
from reprise.training.distributed import World
from reprise.training.method import Batch, StandIn
from reprise.training.seeding import Draws, Key

CLASSES = tuple("abcde")
SMALL = {"patch_size": 4, "embed_dim": 12, "depths": [1, 2, 1], "num_heads": [1, 12, 12]}
MODEL = {"name": "litv2_s", "args": SMALL}
PLAIN = {"image": {"size": 32, "crop": "none", "flip": 0, "policy": "none", "jitter": 0}}
PLAIN |= {"test_size": 32, "mixup": 0, "cutmix": 0, "drop_path": 0}
THREE = {"window_sizes": [0, 2, 1]}


def run_of(model: dict[str, Any] = MODEL, **objective: Any) -> Run:
    return Run.model_validate(
        {
            "method": "litv2",
            "data": "labelled_large",
            "model": model,
            "objective": Settings.model_validate(PLAIN | objective).model_dump(mode="json"),
            "augment": {"size": 32, "mean": [0], "std": [1]},
            "optim": {"lr": 1e-3},
            "steps": 1,
            "batch_size": 4,
        }
    )


def make(model: dict[str, Any] = MODEL, **objective: Any) -> Classifier:
    torch.manual_seed(0)
    return litv2.build(run_of(model, **THREE | objective), StandIn(CLASSES, 3))


def pixels(n: int = 6, size: int = 32) -> Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(1))


def batch(n: int = 6) -> Batch:
    return Batch((pixels(n),), torch.arange(n) % len(CLASSES), torch.arange(n))


# ---- the method ----
@pytest.mark.parametrize(
    "switches",
    [
        {},
        {"alpha": 0.0},
        {"alpha": 1.0},
        {"window_sizes": [0, 1, 1]},
        {"window_sizes": [0, 8, 1]},
        {"attention": "msa"},
        {"attention": "window", "attention_args": {"window": 2}},
        {"attention": "twins", "attention_args": {"window": 2}},
        {"attention": "msa", "depthwise": False, "relative_position": True},
        {"deformable": False},
    ],
    ids=str,
)
def test_a_step_of_every_variant_reaches_every_weight(switches: dict[str, Any]) -> None:
    method, given = make(**switches).train(), batch()
    found = method(given, Draws(Key(("test",)), 6))
    found["loss"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters())
    scores = method.head(method.encoder(litv2_pixels(given.views[0])))
    by_hand = F.cross_entropy(scores.float(), given.labels, label_smoothing=0.1)
    assert found["loss"].item() == pytest.approx(by_hand.item(), rel=1e-4)


def litv2_pixels(images: Tensor) -> Tensor:
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).view(2, 3, 1, 1)
    return (images - mean) / std


def test_switches_reach_the_network() -> None:
    encoder = make(alpha=0.5, drop_path=0.3, depthwise=False, deformable=False).encoder
    assert isinstance(encoder, LITv2)
    layers = [module for module in encoder.modules() if isinstance(module, HiLo)]
    assert [(one.lofi_heads, one.hifi_heads) for one in layers] == [(6, 6), (6, 6), (12, 0)]
    assert [one.window_size for one in layers] == [2, 2, 1]
    names = {name for name, _ in encoder.named_parameters()}
    assert not any("dwconv" in name or "conv_offset" in name for name in names)
    assert not any(name.startswith("head") for name in names)
    rates = [getattr(block.drop_path, "drop_prob", 0) for s in encoder.stages for block in s.blocks]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3])


def test_only_what_is_given_is_in_a_runs_settings() -> None:
    assert Settings.model_validate(PLAIN).switches == {}
    given = {"alpha": 0.0, "relative_position": False}
    assert Settings.model_validate(PLAIN | given).switches == given
    for wrong in ({"layer_scale": 1e-4}, {"drop_path_schedule": "uniform"}, {"alfa": 1}):
        with pytest.raises(ValueError, match="|".join(wrong)):
            Settings.model_validate(PLAIN | wrong)


def test_another_model_trains_under_the_same_recipe() -> None:
    model = {"name": "resnet18", "args": {}}
    method = make(model, window_sizes=None).eval()
    expected = method.head(method.encoder(litv2_pixels(pixels())))
    torch.testing.assert_close(method.logits(pixels()), expected)
    with pytest.raises(ConfigError, match="resnet18 is no LITv2 and takes no alpha, window_sizes"):
        make(model, alpha=0.5)
    with pytest.raises(ConfigError, match="resnet18 is no LITv2 and takes no weights"):
        make(model, window_sizes=None, weights="resnet.pth")


def test_attention_is_fused_but_for_training_litv2_on_a_processor() -> None:
    def fused(method: Classifier) -> set[bool]:
        method.logits(pixels(2))
        return {m.fused_attn for m in method.encoder.modules() if hasattr(m, "fused_attn")}

    ours = make(attention="msa")
    assert fused(ours.train()) == {False}
    assert fused(ours.eval()) == {True}
    args = {"img_size": 32, "embed_dim": 24, "depth": 1, "num_heads": 2}
    peer = make({"name": "vit_small_patch16_224", "args": args}, window_sizes=None)
    assert fused(peer.train()) == {True}


def test_the_authors_weights_give_the_scores_of_the_authors_network(tmp_path: Path) -> None:
    """From a file in their layout, at the small model's full size, classifier included."""
    weights = official.weights(classes=len(CLASSES))
    file = tmp_path / "litv2_s.pth"
    torch.save({"model": weights, "epoch": 299}, file)
    model = {"name": "litv2_s", "args": {}}
    objective = {"window_sizes": None, "weights": str(file), "test_size": 64}
    method = make(model, **objective).eval()
    with torch.inference_mode():
        found = method.logits(pixels(2, 64))
        expected = official.forward(weights, litv2_pixels(pixels(2, 64)))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    # The side of windows is in no weight's shape: it can be changed after training.
    wider = make(model, **{**objective, "window_sizes": [0, 0, 4, 1]}).eval()
    with torch.inference_mode():
        assert not torch.allclose(wider.logits(pixels(2, 64)), found, rtol=1e-3)
    with pytest.raises(ConfigError, match=r"h_proj\.bias has shape \(64,\) instead of \(192,\)"):
        make(model, **objective, alpha=0.5)
    with pytest.raises(ConfigError, match="no such file"):
        make(model, **{**objective, "weights": str(tmp_path / "absent.pth")})


# ---- spectra ----
def waves(height: int, width: int, parts: dict[tuple[int, int], float]) -> Tensor:
    """A map [1, H, W, 1]: a sum of cosines, by (cycles down, cycles across) and amplitude."""
    down = torch.arange(height, dtype=torch.float64)[:, None] / height
    across = torch.arange(width, dtype=torch.float64) / width
    made = torch.zeros(height, width, dtype=torch.float64)
    for (a, b), amplitude in parts.items():
        made += amplitude * torch.cos(2 * math.pi * (a * down + b * across))
    return made.float()[None, :, :, None]


@pytest.mark.parametrize(
    ("size", "parts", "radius", "percent"),
    [
        ((8, 8), {(0, 0): 9.0, (0, 1): 3.0}, 0.5, 0),  # a mean, and a quarter of Nyquist
        ((8, 8), {(0, 0): 1.0, (0, 3): 2.0}, 0.5, 200 / 3),  # energies 1 and 2, a wave's halved
        ((8, 8), {(0, 1): 3.0, (3, 0): 1.0}, 0.5, 10),  # energies 9 and 1
        ((8, 8), {(0, 2): 1.0}, 0.5, 0),  # on the radius, which is not above it
        ((8, 8), {(2, 2): 1.0}, 0.5, 100),  # along the diagonal farther out
        ((12, 16), {(2, 0): 1.0, (0, 2): 1.0}, 0.3, 50),  # 1/3 and 1/4 of Nyquist
        ((7, 7), {(0, 3): 2.0, (1, 0): 1.0}, 0.5, 80),
        ((8, 8), {(0, 0): 5.0}, 0.5, 0),
        ((8, 8), {}, 0.5, 0),
    ],
)
def test_share_of_waves_of_known_energy(
    size: tuple[int, int], parts: dict[tuple[int, int], float], radius: float, percent: float
) -> None:
    found = spectrum.high_share(spectrum.spectrum(waves(*size, parts)), radius)
    assert found.item() == pytest.approx(percent, abs=1e-3)


def by_definition(maps: np.ndarray, radius: float) -> list[float]:
    """The share written out: the sum of a discrete transform, frequency by frequency."""
    _, height, width, _ = maps.shape
    shares = []
    for image in maps.astype(np.float64):
        above = whole = 0.0
        for u in range(height):
            for v in range(width):
                phase = np.add.outer(u * np.arange(height) / height, v * np.arange(width) / width)
                wave = np.exp(-2j * np.pi * phase)[..., None]
                energy = float((np.abs((image * wave).sum((0, 1))) ** 2).sum())
                down, across = min(u, height - u) / height, min(v, width - v) / width
                distance = math.hypot(down, across) / 0.5
                whole += energy
                above += energy if distance > radius else 0.0
        shares.append(100 * above / whole)
    return shares


def photographs(n: int = 70) -> ArraySet:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, 3, 32, 32), generator=generator).to(torch.uint8)
    return ArraySet("made", "test", images, torch.arange(n) % 5, CLASSES, "digest")


class Here(Context):
    """A context of made-up photographs, without a project."""

    def data(self, alias: str, split: str) -> ArraySet:
        return photographs()


def context(method: nn.Module) -> Here:
    run = run_of().model_copy(update={"precision": "fp32"})
    return Here(SimpleNamespace(run=run, key="litv2/toy seed 0"), method, World(), Path())  # type: ignore[arg-type]


def test_spectra_are_those_of_the_branches_outputs() -> None:
    """Both numbers and both pictures, from maps taken from the network in another way."""
    method = make(alpha=0.5).eval()
    settings = Spectrum(kind="spectrum", data="any", images=35, radius=0.4, channels=4)
    found = spectrum.evaluate(context(method), settings, "spectrum")
    shown = photographs().fetch(torch.arange(35) * 70 // 35)[0]
    layers = [m for m in method.modules() if isinstance(m, HiLo) and m.hifi_heads]
    maps: list[Tensor] = []
    hooks = [layer.register_forward_hook(lambda _m, _g, out: maps.append(out)) for layer in layers]
    with torch.inference_mode():
        method.features(shown.float() / 255)
    for hook in hooks:
        hook.remove()
    assert len(maps) == 2
    for measured, part in zip(found.metrics, (slice(0, 12), slice(12, 24)), strict=True):
        outputs = [out.unflatten(1, (4, 4))[..., part].numpy() for out in maps]
        shares = np.mean([by_definition(out, 0.4) for out in outputs], axis=0)
        np.testing.assert_allclose(measured.statistics, shares, rtol=1e-3)
    assert [one.metric for one in found.metrics] == ["hifi", "lofi"]
    assert found.info == {"images": 35, "layers": 2, "radius": 0.4}
    first = maps[0].unflatten(1, (4, 4)).numpy()
    logs = np.log(np.abs(np.fft.fftshift(np.fft.fft2(first, axes=(1, 2)), axes=(1, 2)))).mean(0)
    chosen = np.moveaxis(logs[..., [0, 3, 6, 9, 12, 15, 18, 21]], -1, 0)
    grey = (chosen - chosen.min()) / np.ptp(chosen) * 255
    pictures = np.concatenate(list(found.pictures.values()))
    assert pictures.dtype == np.uint8
    np.testing.assert_allclose(pictures, grey, atol=0.6)
    assert (pictures.min(), pictures.max()) == (0, 255)


def test_spectra_leave_no_hook_and_draw_nothing_unasked() -> None:
    method = make()
    settings = Spectrum(kind="spectrum", data="any", images=3, channels=0)
    found = spectrum.evaluate(context(method), settings, "spectrum")
    assert found.pictures == {}
    assert not any(module._forward_hooks for module in method.modules())


def test_spectra_need_both_branches() -> None:
    settings = Spectrum(kind="spectrum", data="any")
    for method in (make(alpha=1.0), make(attention="msa")):
        with pytest.raises(ConfigError, match="needs a model with a HiLo layer that has heads in"):
            spectrum.evaluate(context(method), settings, "spectrum")


# ---- the parameter file ----
@pytest.fixture(scope="module")
def project() -> Project:
    return load_project(scale="demo")


def test_the_recipe_is_the_authors(project: Project) -> None:
    run = project.run("litv2", "official-s")  # of the paper's size at any scale
    recipe, optim = Settings.model_validate(run.objective), run.optim
    assert (optim.name, optim.lr, optim.weight_decay, optim.clip_norm) == ("adamw", 1e-3, 0.05, 5)
    assert (optim.betas, optim.eps, optim.min_lr) == ((0.9, 0.999), 1e-8, 1e-5)
    assert optim.warmup_steps == 20 * 1251
    assert (recipe.loss, recipe.label_smoothing, recipe.repeats) == ("ce", 0.1, 1)
    assert (recipe.mixup, recipe.cutmix, recipe.mix_prob, recipe.drop_path) == (0.8, 1, 1, 0.2)
    image = recipe.image
    assert (image.policy, image.rand_magnitude, image.rand_std) == ("rand", 9, 0.5)
    assert (image.jitter, image.erasing, image.crop) == (0.4, 0.25, "rrc")
    assert int(recipe.test_size / recipe.test_crop) == 256 == run.augment.size  # type: ignore[union-attr]
    high = Settings.model_validate(project.run("litv2", "official-b-384").objective)
    assert (high.test_size, high.test_crop) == (384, 1.0)


def counted(project: Project, name: str) -> untrained.Counts:
    return untrained.count(project.run("litv2", name), 1000)


@pytest.mark.parametrize(
    ("name", "parameters", "macs"),
    [
        ("s", 27_844_000, 3.73),
        ("s-heads-0-12", 28_089_760, 3.96),
        ("s-heads-12-0", 28_089_760, 3.74),
    ],
)
def test_models_have_the_printed_sizes(
    project: Project, name: str, parameters: int, macs: float
) -> None:
    found = counted(project, name)
    assert found.parameters == parameters
    assert found.multiply_adds / 1e9 == pytest.approx(macs, abs=0.03)  # norms are not counted here


def test_litv1_has_its_printed_multiply_adds(project: Project) -> None:
    """Parameters are written out; the printed 27 M are a million less, as the table says."""
    found = counted(project, "litv1-s")
    assert found.multiply_adds / 1e9 == pytest.approx(4.1, abs=0.05)
    parameters = 96 * (48 + 1) + 2 * 96 + 2 * 768 + 1000 * (768 + 1)  # patches, norms, classifier
    for dim, depth, side in ((96, 2, 0), (192, 2, 0), (384, 6, 14), (768, 2, 7)):
        block = 8 * dim**2 + 5 * dim + 2 * dim  # MLP and its norm
        if side:
            block += 4 * dim**2 + 4 * dim + 2 * dim + (2 * side - 1) ** 2 * dim // 32
        parameters += depth * block
        if dim < 768:  # merging: offsets, convolution, normalisation
            parameters += 8 * (4 * dim + 1) + 2 * dim * (4 * dim + 1) + 4 * dim
    assert found.parameters == parameters


# Of one layer, width 384, by the survey's formulas, in millions; a map of 14 is no multiple of 4.
STAGE = {
    "hilo": {14: 77.7, 24: 263.4, 32: 541.6, 48: 1690.4, 64: 4179.6},
    "hilo4": {24: 197.9, 32: 370.1, 48: 950.8, 64: 1983.9},
    "plain": {14: 145.1, 24: 594.5, 32: 1409.3, 48: 5435.8, 64: 15300.8},
    "windowed": {14: 123.0},
    "hifi": {14: 116.2, 24: 341.5, 32: 607.1, 48: 1366.0, 64: 2428.5},
    "lofi": {14: 79.6, 24: 276.0, 32: 578.8, 48: 1868.6, 64: 4731.2},
}


@pytest.mark.parametrize("kind", STAGE)
def test_layers_have_the_multiply_adds_of_the_formulas(project: Project, kind: str) -> None:
    for side, expected in STAGE[kind].items():
        found = counted(project, f"{kind}-{side}").multiply_adds / 1e6
        assert found == pytest.approx(expected, abs=0.06), side


@pytest.fixture(scope="module")
def every_scale() -> list[Project]:
    return [load_project(scale=scale) for scale in ("demo", "smoke", "gpu")]


def test_rows_of_the_alpha_sweep_have_the_heads_that_they_are_named_by(
    every_scale: list[Project],
) -> None:
    for project in every_scale:
        for row in project.paper("litv2").tables["alpha"].rows:
            low, high = (int(row.label.split()[i]) for i in (0, 3))
            for name in (row.run, row.runs["gflops"]):
                run = project.run("litv2", str(name))
                with torch.device("meta"):
                    model = litv2.network(run, Settings.model_validate(run.objective), 10)
                layers = [m for m in model.modules() if isinstance(m, HiLo) and m.window_size > 1]
                assert layers, (project.scale.scale, name)
                for layer in layers:
                    assert (layer.lofi_heads, layer.hifi_heads) == (low, high), name


def test_trained_runs_can_be_built_at_every_scale(every_scale: list[Project]) -> None:
    for project in every_scale:
        for name, run in project.paper("litv2").runs.items():
            if run.kind == "train":
                method = untrained.outline(run, 10)
                kinds = {"detect": Detect, "segment": Segment}
                assert isinstance(method, kinds.get(run.method, Classifier)), name


def test_timm_has_every_other_model(project: Project) -> None:
    names = {r.model.name for r in project.paper("litv2").runs.values() if r.method == "litv2"}
    assert all(timm.is_model(name) for name in names)


def test_the_default_build_trains_seven_runs_and_times_three_benchmarks(project: Project) -> None:
    """What the time of the default build hangs on; the rest are sweeps."""
    from reprise.plan import ClaimsJob, table_jobs

    jobs = [job for job in table_jobs(project, headline_only=True) if job.slug == "litv2"]
    jobs.append(ClaimsJob(project, "litv2"))  # type: ignore[arg-type]
    runs = {job.name for one in jobs for job in one.run_jobs if job.run.headline}
    dense = {"retinanet", "retinanet-scratch", "semantic-fpn", "semantic-fpn-scratch"}
    assert runs == {"litv2", "msa", "windows"} | dense
    timed = {bench.name for one in jobs for bench in one.benchmark_jobs if bench.is_timed}
    assert timed == {"speed", "layer", "layer-bf16"}
