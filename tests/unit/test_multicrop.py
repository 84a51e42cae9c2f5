"""Multi-crop contrast: its codes and its loss, by hand."""

import pytest
import timm
import torch

from reprise import flops
from reprise.methods.multicrop import MultiCrop, sinkhorn
from reprise.settings.multicrop import Settings
from reprise.training.method import Batch
from reprise.training.seeding import Draws, Key


def make(**settings: object) -> MultiCrop:
    torch.manual_seed(0)
    encoder = timm.create_model(
        "vit_tiny_patch16_224",
        num_classes=0,
        img_size=16,
        patch_size=4,
        embed_dim=32,
        depth=2,
        num_heads=2,
        class_token=False,
        global_pool="avg",
        dynamic_img_size=True,
    )
    given = {"local_size": 8, "projection": (16, 8), "prototypes": 6, **settings}
    return MultiCrop(encoder, Settings.model_validate(given))


def batch(n: int = 5) -> Batch:
    views = tuple(torch.randn(n, 3, 16, 16) for _ in range(2))
    return Batch(views, torch.zeros(n, dtype=torch.long), torch.arange(n))


def test_codes_use_all_prototypes_equally() -> None:
    codes = sinkhorn(torch.randn(600, 6), 1.0)
    torch.testing.assert_close(codes.sum(dim=1), torch.ones(600))
    torch.testing.assert_close(codes.sum(dim=0), torch.full((6,), 100.0), rtol=0.02, atol=0)


def test_every_crop_predicts_the_codes_of_the_other_full_views() -> None:
    method, given = make(local_crops=2), batch()
    draws = Draws(Key(("multicrop",)), 5)
    full = [method._scores(view) for view in given.views]
    local = [method._scores(crop) for crop in method._local_crops(given.views, draws)]
    codes = [sinkhorn(one, 0.05) for one in full]
    pairs = [(full[1], 0), (full[0], 1), *((one, k) for one in local for k in (0, 1))]
    expected = [
        -(codes[k] * (scores / 0.1).log_softmax(dim=1)).sum(dim=1).mean() for scores, k in pairs
    ]
    torch.testing.assert_close(method(given, draws)["loss"], torch.stack(expected).mean())


def test_local_crops_are_windows_of_the_views() -> None:
    method, given = make(local_crops=3), batch()
    crops = method._local_crops(given.views, Draws(Key(("windows",)), 5))
    assert [tuple(crop.shape) for crop in crops] == [(5, 3, 8, 8)] * 3
    for number, crop in enumerate(crops):
        windows = given.views[number % 2].unfold(2, 8, 1).unfold(3, 8, 1).flatten(2, 3)
        assert any(torch.equal(windows[:, :, at], crop) for at in range(windows.shape[2]))


def test_local_crops_cost_as_much_as_their_patches() -> None:
    counts = []
    for number in (0, 4):
        with torch.device("meta"):
            method = make(local_crops=number)
        counts.append(flops.multiply_adds(method, 3, 16))
    # Each of 4 crops has a quarter of a full view's patches; attention is less than linear.
    assert counts[1] / counts[0] == pytest.approx(1.5, rel=0.1)
