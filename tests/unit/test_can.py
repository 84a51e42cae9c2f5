"""CAN's parts against independent calculations, and the faults of the public codes."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from reprise import flops, registry
from reprise.config import Run, load_project
from reprise.data.base import ArraySet
from reprise.errors import NonFiniteError
from reprise.papers import can
from reprise.papers.can import CAN, encode, info_nce, patchify, random_keep, take, unpatchify
from reprise.settings.base import Augment, Optim
from reprise.settings.can import Settings
from reprise.training import checkpoint
from reprise.training.distributed import World
from reprise.training.loop import Fit, FitSettings
from reprise.training.method import Batch, StandIn
from reprise.training.run import run_key
from reprise.training.seeding import Draws, Key

SMALL = {"decoder_depth": 1, "decoder_width": 32, "decoder_heads": 2, "projection": (32, 16)}
MAE = {"views": 1, "mask_rate": 0.75, "sigma_max": 0.0, "weight_contrast": 0.0}
MAE |= {"weight_reconstruct": 1.0, "weight_denoise": 0.0}
SIMCLR = {"mask_rate": 0.0, "sigma_max": 0.0, "weight_contrast": 1.0}
SIMCLR |= {"weight_reconstruct": 0.0, "weight_denoise": 0.0}


def make(cls_token: bool = False, **settings: object) -> CAN:
    torch.manual_seed(0)
    encoder = VisionTransformer(
        img_size=16,
        patch_size=4,
        in_chans=3,
        num_classes=0,
        embed_dim=32,
        depth=2,
        num_heads=2,
        global_pool="avg",
        fc_norm=False,
        class_token=cls_token,
    )
    return CAN(encoder, 3, Settings.model_validate({**SMALL, **settings}))


def batch(views: int = 2, n: int = 6) -> Batch:
    generator = torch.Generator().manual_seed(1)
    images = tuple(torch.randn(n, 3, 16, 16, generator=generator) for _ in range(views))
    return Batch(images, torch.zeros(n, dtype=torch.long), torch.arange(n))


def draws(n: int = 6, step: int = 0) -> Draws:
    return Draws(Key(("test", step)), n)


def info_nce_by_hand(first: Tensor, second: Tensor, temperature: float) -> float:
    units = [u / u.norm() for u in (*first.double(), *second.double())]
    n = len(first)
    total = 0.0
    for i, u in enumerate(units):
        partner = (i + n) % (2 * n)
        others = [math.exp(float(u @ v) / temperature) for j, v in enumerate(units) if j != i]
        total -= math.log(math.exp(float(u @ units[partner]) / temperature) / sum(others))
    return total / (2 * n)


def test_info_nce_equals_the_sum_written_out() -> None:
    first, second = torch.randn(2, 5, 8)
    by_hand = info_nce_by_hand(first, second, 0.1)
    assert info_nce(first, second, 0.1).item() == pytest.approx(by_hand, rel=1e-5)


def test_info_nce_prefers_the_partner_to_itself() -> None:
    """With identical views the sample itself is the best match; it must not be counted."""
    same = torch.eye(4)
    expected = -math.log(math.exp(10) / (math.exp(10) + 2 * 3))
    assert info_nce(same, same, 0.1).item() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("channels", [1, 3])
def test_patchify_matches_the_patch_embedding_and_inverts(channels: int) -> None:
    images = torch.randn(2, channels, 8, 8)
    convolution = nn.Conv2d(channels, 5, kernel_size=4, stride=4)
    expected = convolution(images).flatten(2).transpose(1, 2)
    patches = patchify(images, 4)
    linear = F.linear(patches, convolution.weight.flatten(1), convolution.bias)
    torch.testing.assert_close(linear, expected)
    torch.testing.assert_close(unpatchify(patches, 4, channels), images)


@pytest.mark.parametrize("rate", [0.0, 0.25, 0.5, 0.75])
def test_kept_and_dropped_patches_partition_the_grid(rate: float) -> None:
    keep, drop = random_keep(torch.rand(7, 16), rate)
    assert keep.shape == (7, round(16 * (1 - rate)))
    together = torch.cat([keep, drop], dim=1).sort(dim=1).values
    assert torch.equal(together, torch.arange(16).expand(7, 16))


def test_every_patch_is_dropped_equally_often() -> None:
    _, drop = random_keep(Draws(Key(("mask",)), 4096).uniform("mask", 16), 0.5)
    share = torch.bincount(drop.flatten(), minlength=16) / 4096
    assert (share - 0.5).abs().max() < 0.04  # five standard deviations


@pytest.mark.parametrize("cls_token", [False, True])
def test_encoder_without_masking_equals_timms(cls_token: bool) -> None:
    """Embedding chosen patches by hand is the model that the probes and users run."""
    method = make(cls_token, **SIMCLR).eval()
    images = batch().views[0]
    every = torch.arange(16).expand(6, 16)
    tokens = encode(method.encoder, patchify(images, 4), every)
    expected = method.encoder.forward_features(images)[:, int(cls_token) :]
    torch.testing.assert_close(tokens, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(method.features(images), tokens.mean(1), rtol=1e-4, atol=1e-5)


def test_losses_equal_their_formulae() -> None:
    """Reconstruction on dropped patches of clean pixels, denoising on kept ones of raw noise."""
    method, given, random = make(), batch(), draws()
    losses = method(given, random)
    clean = torch.cat([patchify(view, 4) for view in given.views])
    kept, sigma, noise = [], [], []
    for view in range(2):
        own = random.fold("view", view)
        kept.append(own.uniform("mask", 16).argsort(1)[:, :8])
        sigma.append(own.uniform("sigma") * 0.05)
        noise.append(own.normal("noise", 8, 48) * sigma[-1][:, None, None])
    keep, level, added = torch.cat(kept), torch.cat(sigma), torch.cat(noise)
    tokens = encode(method.encoder, take(clean, keep) + added, keep)
    assert method.decoder is not None
    out = method.decoder(tokens, keep, level)
    reconstruct, denoise = [], []
    for i in range(12):
        for position in range(16):
            where = (keep[i] == position).nonzero()
            if len(where):
                denoise.append((out[i, position] - added[i, where[0, 0]]).pow(2).mean())
            else:
                reconstruct.append((out[i, position] - clean[i, position]).pow(2).mean())
    assert losses["loss_reconstruct"].item() == pytest.approx(
        torch.stack(reconstruct).mean().item(), rel=1e-4
    )
    assert losses["loss_denoise"].item() == pytest.approx(
        torch.stack(denoise).mean().item(), rel=1e-4
    )
    assert method.projection is not None
    first, second = method.projection(tokens.mean(1)).chunk(2)
    contrast = info_nce_by_hand(first.detach(), second.detach(), 0.1)
    assert losses["loss_contrast"].item() == pytest.approx(contrast, rel=1e-4)
    total = (
        0.03 * losses["loss_contrast"]
        + 0.67 * losses["loss_reconstruct"]
        + 0.30 * losses["loss_denoise"]
    )
    assert losses["loss"].item() == pytest.approx(total.item(), rel=1e-5)


def test_normalised_targets_have_no_mean_and_unit_deviation() -> None:
    method = make(normalise_target=True)
    plain = make(normalise_target=False)
    given = batch()
    scaled = Batch(tuple(3 * v + 2 for v in given.views), given.labels, given.indices)
    decoded = torch.zeros(12, 16, 48)
    keep, drop = random_keep(torch.rand(12, 16), 0.5)
    clean = patchify(torch.cat(scaled.views), 4)
    noise = torch.zeros(12, 8, 48)
    normalised = method._decoder_losses(decoded, clean, keep, drop, noise)["loss_reconstruct"]
    assert normalised.item() == pytest.approx(47 / 48, rel=1e-2)  # unbiased std of 48 values
    assert plain._decoder_losses(decoded, clean, keep, drop, noise)["loss_reconstruct"] > 2


def test_dropped_patches_cannot_influence_the_encoder() -> None:
    method = make().eval()
    patches = patchify(batch().views[0], 4).requires_grad_()
    keep, drop = random_keep(torch.rand(6, 16), 0.5)
    encode(method.encoder, take(patches, keep), keep).sum().backward()
    assert patches.grad is not None
    assert take(patches.grad, drop).abs().max() == 0
    assert take(patches.grad, keep).abs().min() > 0


def test_noise_level_changes_what_the_decoder_says() -> None:
    method = make().eval()
    keep, _ = random_keep(torch.rand(6, 16), 0.5)
    tokens = torch.randn(6, 8, 32)
    assert method.decoder is not None
    low = method.decoder(tokens, keep, torch.full((6,), 0.005))
    high = method.decoder(tokens, keep, torch.full((6,), 0.045))
    changed = (low - high).abs().amax(dim=(0, 2))
    assert (changed > 1e-4).all()  # on every token, kept or not
    silent = make(sigma_embedding=False).eval()
    assert silent.decoder is not None
    a = silent.decoder(tokens, keep, torch.full((6,), 0.005))
    b = silent.decoder(tokens, keep, torch.full((6,), 0.045))
    assert torch.equal(a, b)


def test_noise_level_embedding_varies_over_the_papers_range() -> None:
    """Unscaled sinusoids of sigma <= 0.05 would stay within 0.05 of each other."""
    level = can.NoiseLevel(32, 0.05)
    angle = level.scale * torch.tensor([0.0, 0.025, 0.05])[:, None] * level.get_buffer("rates")
    waves = torch.cat([angle.sin(), angle.cos()], dim=1)
    assert (waves[1] - waves[0]).norm() > 1
    assert (waves[2] - waves[1]).norm() > 1


def test_noise_has_the_stated_distribution() -> None:
    method = make(mask_rate=0.5)
    images = torch.zeros(512, 3, 16, 16)
    _, _, _, sigma, noise = method._corrupt((images, images), draws(512))
    assert sigma.min() >= 0
    assert sigma.max() <= 0.05
    assert sigma.mean().item() == pytest.approx(0.025, rel=0.1)
    unit = (noise / sigma[:, None, None]).flatten()
    assert unit.mean().abs() < 0.01
    assert unit.std().item() == pytest.approx(1.0, rel=0.01)
    assert not torch.equal(sigma[:512], sigma[512:])  # one level per view, not per image


def test_no_fault_of_the_public_codes() -> None:
    """The ten known ones, as far as a single objective can have them."""
    given = batch()
    before = [view.clone() for view in given.views]
    method = make()
    losses = method(given, draws())
    # Noise is not added in place: the target stays clean.
    assert all(torch.equal(a, b) for a, b in zip(given.views, before, strict=True))
    # Every trainable part gets a gradient: projection and noise-level layers included.
    losses["loss"].backward()
    idle = [name for name, p in method.named_parameters() if p.requires_grad and p.grad is None]
    assert idle == []
    # sigma_max reaches the model.
    _, _, _, sigma, _ = make(sigma_max=0.5)._corrupt(given.views, draws())
    assert sigma.max() > 0.1
    # Without a denoising loss the forward pass still works, with and without noise.
    for setting in (
        {"weight_denoise": 0.0},
        {"weight_denoise": 0.0, "sigma_max": 0.0},
        MAE,
        SIMCLR,
    ):
        views = setting.get("views", 2)
        assert torch.isfinite(make(**setting)(batch(int(views)), draws())["loss"])
    # The mask rate of the paper is the default, and the denoising target keeps its level.
    assert Settings().mask_rate == 0.5
    quiet, loud = make(sigma_max=0.01), make(sigma_max=0.5)
    keep, drop = random_keep(torch.rand(12, 16), 0.5)
    zeros = torch.zeros(12, 16, 48)
    small, large = (
        m._decoder_losses(zeros, zeros, keep, drop, m._corrupt(given.views, draws())[4])
        for m in (quiet, loud)
    )
    ratio = (large["loss_denoise"] / small["loss_denoise"]).item()
    assert ratio == pytest.approx(50**2, rel=1e-3)


def test_the_objective_without_parts_has_no_parts() -> None:
    assert make(**SIMCLR).decoder is None
    assert make(**MAE).projection is None
    assert make(**MAE).num_views == 1
    assert not make(**MAE).mixes_samples
    assert make().mixes_samples


def test_gallery_keeps_kept_patches_and_fills_dropped_ones() -> None:
    method = make().eval()
    images = batch().views[0]
    shown = method.gallery(images, draws())
    clean, keep, drop, _, _ = method._corrupt((images,), draws())
    rebuilt = patchify(shown["reconstruction"], 4)
    torch.testing.assert_close(take(rebuilt, keep), take(clean, keep))
    assert (take(rebuilt, drop) - take(clean, drop)).abs().mean() > 0.01
    assert take(patchify(shown["kept patches, noisy"], 4), drop).abs().max() == 0


def paper_run(name: str, objective: dict[str, object], width: int, depth: int, heads: int) -> Run:
    """A run at the paper's size: ViT/16 at 224 pixels with the 8 x 512 decoder."""
    sized = {"embed_dim": width, "depth": depth, "num_heads": heads, "patch_size": 16}
    args = {"class_token": False, "global_pool": "avg", "fc_norm": False, **sized}
    return Run.model_validate(
        {
            "method": "can",
            "data": "any",
            "model": {"name": "vit_base_patch16_224", "args": args},
            "objective": objective,
            "augment": {"size": 224},
            "optim": {"lr": 1e-3},
            "steps": 1,
            "batch_size": 1,
        }
    )


@pytest.mark.parametrize(
    ("size", "millions", "ratio"),
    [((768, 12, 12), 85.6, 1.25), ((1024, 24, 16), 303.1, 1.71)],
    ids=["ViT-B", "ViT-L"],
)
def test_paper_models_have_their_size_and_cost(
    size: tuple[int, int, int], millions: float, ratio: float
) -> None:
    """The paper: SimCLR needs 70 % more FLOPs than CAN at ViT-L. Parameters: 12 L D^2 and so on."""
    full, simclr = (flops.on_meta(paper_run("", o, *size), StandIn((), 3)) for o in ({}, SIMCLR))
    width, depth, _ = size
    block = 12 * width**2 + 13 * width
    expected = depth * block + (768 + 1) * width + 2 * width + 196 * width
    parameters = sum(p.numel() for p in full.encoder.parameters())
    assert parameters == expected
    assert parameters / 1e6 == pytest.approx(millions, abs=0.6)
    cost = [flops.multiply_adds(method, 3, 224) for method in (simclr, full)]
    assert cost[0] / cost[1] == pytest.approx(ratio, abs=0.05)


def test_momentum_keys_by_hand() -> None:
    generator = torch.Generator().manual_seed(2)
    query, key = (torch.randn(5, 8, generator=generator).double() for _ in range(2))
    expected = 0.0
    for i in range(5):
        scores = [math.exp(float(query[i] @ k / query[i].norm() / k.norm()) / 0.2) for k in key]
        expected -= math.log(scores[i] / sum(scores)) / 5
    assert can.info_nce_to_keys(query, key, 0.2).item() == pytest.approx(expected, rel=1e-5)


def test_momentum_copies_follow_before_each_training_step_only() -> None:
    method = make(momentum=0.75)
    assert method.followers is not None
    before = [p.clone() for p in method.followers.parameters()]
    trained = [*method.encoder.parameters(), *method.projection.parameters()]  # type: ignore
    with torch.no_grad():
        for parameter in trained:
            parameter.add_(1.0)
    method.eval()(batch(), draws())
    assert all(
        torch.equal(a, b) for a, b in zip(before, method.followers.parameters(), strict=True)
    )
    losses = method.train()(batch(), draws())
    for old, new, target in zip(before, method.followers.parameters(), trained, strict=True):
        torch.testing.assert_close(new, 0.75 * old + 0.25 * target)
    losses["loss"].backward()
    assert all(p.grad is None for p in method.followers.parameters())
    assert all(p.grad is not None for p in method.projection.parameters())  # type: ignore


@pytest.mark.filterwarnings("ignore:Anomaly Detection", "ignore:Error detected")
def test_a_bad_batch_leaves_the_copies_as_they_were_before_its_step(tmp_path: Path) -> None:
    """The state that is saved for `replay` is the one between the steps, statistics included."""
    generator = torch.Generator().manual_seed(3)
    images = torch.randint(0, 256, (128, 3, 16, 16), generator=generator).to(torch.uint8)
    data = ArraySet("tiny", "train", images, torch.zeros(128).long(), ("a",), "digest")
    settings = FitSettings(5, 64, Optim(lr=1e-2), Augment(size=16), log_every=1)

    def fit(folder: str, bad: bool = False) -> Fit:
        method = make(momentum=0.75, projection_norm="batch")
        made = Fit(method, data, settings, Key(("bad",)), tmp_path / folder, World(), "tiny")
        real = method.forward

        def forward(batch: Batch, draws: Draws) -> dict[str, Tensor]:
            at_once = made.state.step == 3 and bad
            views = tuple(view * float("inf") if at_once else view for view in batch.views)
            return real(Batch(views, batch.labels, batch.indices), draws)

        method.forward = forward  # type: ignore[method-assign]
        return made

    whole, states = fit("whole"), list[dict[str, Tensor]]()
    step = whole._step

    def noting(*given: Any) -> None:
        states.append({name: v.clone() for name, v in whole.method.state_dict().items()})
        step(*given)

    whole._step = noting  # type: ignore[method-assign]
    whole.run()
    with pytest.raises(NonFiniteError, match="step 3 is not finite"):
        fit("bad", bad=True).run()
    saved = checkpoint.load_newest(tmp_path / "bad")
    assert saved is not None
    assert not torch.equal(states[2]["followers.1.0.weight"], states[3]["followers.1.0.weight"])
    assert all(torch.equal(value, states[3][name]) for name, value in saved["method"].items())
    with pytest.raises(RuntimeError, match="nan"):
        fit("bad", bad=True).replay()
    mended = fit("bad")
    mended.run()
    last = whole.method.state_dict()
    assert all(torch.equal(v, last[name]) for name, v in mended.method.state_dict().items())


def test_copies_move_to_the_bits_that_moving_in_place_gives() -> None:
    """Results made before the copies moved into new storage stay what they are."""
    method = make(momentum=0.99, projection_norm="batch").train()
    assert method.followers is not None
    with torch.no_grad():
        for parameter in (*method.encoder.parameters(), *method.projection.parameters()):  # type: ignore
            parameter.add_(torch.randn(parameter.shape))
    expected = []
    for copied, trained in zip(method.followers, (method.encoder, method.projection), strict=True):
        own = [p.clone() for p in copied.parameters()]
        torch._foreach_lerp_(own, list(trained.parameters()), 1 - 0.99)  # type: ignore
        expected += own
    method(batch(), draws())
    found = method.followers.parameters()
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_momentum_alone_changes_only_the_contrast() -> None:
    plain, slow = make(), make(momentum=0.99)
    slow.load_state_dict(plain.state_dict(), strict=False)
    one, other = plain(batch(), draws()), slow(batch(), draws())
    assert torch.equal(one["loss_reconstruct"], other["loss_reconstruct"])
    assert torch.equal(one["loss_denoise"], other["loss_denoise"])
    assert not torch.equal(one["loss_contrast"], other["loss_contrast"])


def test_tokens_are_the_nearest_directions() -> None:
    tokenizer = can.Tokenizer(12, 7)
    patches = torch.randn(3, 4, 12)
    patches[0, 0] = 5.0  # blank: every direction is equally far
    tokens = tokenizer(patches)
    projection, directions = tokenizer.projection, tokenizer.directions
    for i in range(3):
        for j in range(4):
            centred = patches[i, j] - patches[i, j].mean()
            scores = [float((centred @ projection) @ directions[:, k]) for k in range(7)]
            assert scores[tokens[i, j]] == pytest.approx(max(scores), abs=1e-6)
    assert tokens[0, 0] == 0


def test_token_loss_is_a_cross_entropy_at_dropped_patches() -> None:
    method = make(target="tokens", vocabulary=11)
    clean, keep, drop, sigma, noise = method._corrupt(batch().views, draws())
    tokens = encode(method.encoder, take(clean, keep) + noise, keep)
    assert method.decoder is not None
    assert method.tokenizer is not None
    out = method.decoder(tokens, keep, sigma)
    truth = method.tokenizer(take(clean, drop))
    total = 0.0
    for i in range(len(out)):
        for j, patch in enumerate(drop[i]):
            total -= float(out[i, patch, :11].log_softmax(0)[truth[i, j]])
    losses = method(batch(), draws())
    assert losses["loss_reconstruct"].item() == pytest.approx(total / drop.numel(), rel=1e-5)
    denoised = take(out[..., 11:], keep)
    assert losses["loss_denoise"].item() == pytest.approx(
        float((denoised - noise).square().mean()), rel=1e-5
    )


@pytest.mark.parametrize(
    "wrong", [{"momentum": 0.9, **MAE}, {"target": "tokens", "weight_reconstruct": 0}]
)
def test_extensions_need_the_loss_that_they_change(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="needs weight_"):
        Settings.model_validate(wrong)


@pytest.mark.parametrize(
    "run", ["no-noise", "noise-augment", "denoise-blind", "simclr", "supervised"]
)
def test_rows_of_one_seed_start_from_the_same_weights(run: str) -> None:
    project = load_project(Path(__file__).parents[2], "smoke")

    def start(name: str) -> dict[str, Tensor]:
        made = project.run("can", name)
        run_key(made, 0).fold("init").seed_everything()
        subject = StandIn(tuple("0123456789"), 1)
        return registry.load("method", made.method).build(made, subject).state_dict()

    full, arm = start("can"), start(run)
    shared = set(full) & set(arm)
    assert {name for name in full if name.startswith("encoder.")} <= shared
    if run != "supervised":
        assert {name for name in arm if name.startswith("projection.")} <= shared
    assert all(torch.equal(full[name], arm[name]) for name in shared)
