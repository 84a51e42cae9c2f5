"""DeiT III's method against independent calculations, and the places where timm does otherwise."""

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from reprise.config import Run, load_project
from reprise.errors import ConfigError
from reprise.papers import deit3
from reprise.papers.deit3 import Recipe
from reprise.settings.deit3 import Settings
from reprise.training.method import Batch, StandIn
from reprise.training.seeding import Draws, Key, repeated

CLASSES = tuple("abcde")
MODEL = {
    "name": "deit3_small_patch16_224",
    "args": {"patch_size": 8, "embed_dim": 32, "depth": 3, "num_heads": 2},
}
PLAIN = {"image": {"size": 16, "crop": "none", "flip": 0, "policy": "none", "jitter": 0}}
PLAIN |= {"test_size": 16, "mixup": 0, "cutmix": 0, "repeats": 1, "drop_path": 0}


def run_of(model: dict[str, Any] = MODEL, **objective: Any) -> Run:
    return Run.model_validate(
        {
            "method": "deit3",
            "data": "labelled",
            "model": model,
            "objective": Settings.model_validate({**PLAIN, **objective}).model_dump(mode="json"),
            "augment": {"size": 16, "mean": [0], "std": [1]},
            "optim": {"lr": 1e-3},
            "steps": 1,
            "batch_size": 4,
        }
    )


def make(**objective: Any) -> Recipe:
    torch.manual_seed(0)
    return deit3.build(run_of(**objective), StandIn(CLASSES, 3))


def batch(n: int = 6, size: int = 16) -> Batch:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (n, 3, size, size), generator=generator) / 255
    return Batch((pixels,), torch.arange(n) % len(CLASSES), torch.arange(n))


def draws(n: int = 6) -> Draws:
    return Draws(Key(("test",)), n)


def normalised(pixels: Tensor) -> Tensor:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    return torch.stack([(pixels[:, c] - mean[c]) / std[c] for c in range(3)], 1)


def test_binary_cross_entropy_counts_both_mixed_classes() -> None:
    """Each class is asked by itself whether it is there, a mixed-in one as much as the first."""
    method = make(cutmix=1.0, mixup=0.8).eval()
    given = batch()
    np.random.seed(3)
    lam, cut = method.mix._params_per_batch()  # type: ignore[union-attr]
    np.random.seed(3)
    loss = method(given, draws())["loss"].item()
    pixels = normalised(given.views[0])
    np.random.seed(3)
    mixed, _ = method.mixed(pixels.clone(), given.labels)
    scores = method.head(method.encoder(mixed)).double()
    total = 0.0
    for i in range(6):
        present = {int(given.labels[i]), int(given.labels[5 - i])}
        for c in range(len(CLASSES)):
            p = torch.sigmoid(scores[i, c])
            total -= torch.log(p if c in present else 1 - p).item()
    assert 0 < lam < 1
    assert cut in (True, False)
    assert loss == pytest.approx(total / (6 * len(CLASSES)), rel=1e-5)


def test_mixed_images_are_of_an_image_and_its_opposite_in_the_batch() -> None:
    method, given = make(mixup=0.8), batch()
    np.random.seed(0)
    mixed, targets = method.mixed(given.views[0].clone(), given.labels)
    np.random.seed(0)
    lam, cut = method.mix._params_per_batch()  # type: ignore[union-attr]
    assert not cut
    by_hand = lam * given.views[0] + (1 - lam) * given.views[0].flip(0)
    assert torch.allclose(mixed, by_hand, atol=1e-6)
    assert targets.sum(1).tolist() == pytest.approx([1.0] * 6)
    assert targets[0, 0].item() == pytest.approx(lam if given.labels[5] else 1.0)


def test_softmax_cross_entropy_smooths() -> None:
    method, given = make(loss="ce", label_smoothing=0.1).eval(), batch()
    scores = method.logits(given.views[0])
    by_hand = F.cross_entropy(scores, given.labels, label_smoothing=0.1)
    assert method(given, draws())["loss"].item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_binary_cross_entropy_refuses_smoothing() -> None:
    """It would make every class of every image a positive one."""
    with pytest.raises(ValueError, match="bce takes no label_smoothing"):
        Settings.model_validate({**PLAIN, "label_smoothing": 0.1})


@pytest.mark.parametrize(("count", "start"), [(256, 64), (130, 64), (7, 0)])
def test_repeated_augmentation_does_not_depend_on_how_a_batch_is_shared(
    count: int, start: int
) -> None:
    whole = repeated(count, 3)
    shown = whole.unique(return_counts=True)[1]
    assert shown.max() == 3
    assert (shown == 3).sum() >= len(shown) - -(-count // 64)
    later = repeated(count - start, 3) + start
    assert torch.equal(whole[start:], later)
    assert torch.equal(repeated(count, 1), torch.arange(count))


def test_copies_of_an_image_are_augmented_differently() -> None:
    method = make(repeats=3, image={"size": 16, "crop": "rrc", "policy": "none", "jitter": 0})
    seen: list[Tensor] = []
    method.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    method(batch(), draws())
    assert not torch.allclose(seen[0][0], seen[0][1])
    same = make(repeats=3)
    same.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    same(batch(), draws())
    assert torch.allclose(seen[1][0], seen[1][2])
    assert not torch.allclose(seen[1][2], seen[1][3])


def test_what_timm_does_otherwise_is_set_as_in_the_paper() -> None:
    """Uniform stochastic depth, LayerScale of 1e-4, a class token of deviation 0.02."""
    method = make(drop_path=0.3)
    encoder = method.encoder
    assert isinstance(encoder, VisionTransformer)
    rates = [(b.drop_path1.drop_prob, b.drop_path2.drop_prob) for b in encoder.blocks]
    assert rates == [(0.3, 0.3)] * 3
    assert all(torch.all(block.ls1.gamma == 1e-4) for block in encoder.blocks)
    assert all(torch.all(block.ls2.gamma == 1e-4) for block in encoder.blocks)
    tokens = [deit3.build(run_of(), StandIn(CLASSES, 3)).encoder.cls_token for _ in range(8)]
    assert torch.cat([t.flatten() for t in tokens]).std().item() == pytest.approx(0.02, rel=0.15)
    assert encoder.pos_embed.shape == (1, 4, 32)  # none for the class token


def test_older_recipes_differ_where_they_should() -> None:
    linear = make(drop_path=0.3, drop_path_schedule="linear", layer_scale=None, dropout=0.1)
    encoder = linear.encoder
    assert isinstance(encoder, VisionTransformer)
    rates = [block.drop_path1.drop_prob for block in encoder.blocks]
    assert rates == pytest.approx([0, 0.15, 0.3])
    assert not any("gamma" in name for name in encoder.state_dict())
    assert encoder.pos_drop.p == encoder.blocks[0].mlp.drop1.p == 0.1
    assert encoder.blocks[0].attn.proj_drop.p == 0.1


def test_test_images_are_resized_and_cropped_in_the_centre() -> None:
    pixels = batch(size=16).views[0]
    whole = make().prepared(pixels)
    assert torch.allclose(whole, normalised(pixels), atol=1e-5)
    cropped = make(test_crop=0.8).prepared(pixels)
    bigger = F.interpolate(pixels, (20, 20), mode="bicubic", antialias=True).clamp(0, 1)
    assert torch.allclose(cropped, normalised(bigger[..., 2:18, 2:18]), atol=1e-5)
    assert torch.equal(make().features(pixels), make().encoder(whole))


def test_positions_of_another_resolution_are_resampled() -> None:
    small = make().encoder
    large = make(image={"size": 32, "crop": "none"}, test_size=32).encoder
    large.load_state_dict(small.state_dict())
    grid = small.pos_embed.detach().reshape(1, 2, 2, 32).permute(0, 3, 1, 2)
    by_hand = F.interpolate(grid, (4, 4), mode="bicubic", antialias=True)
    expected = by_hand.permute(0, 2, 3, 1).reshape(1, 16, 32)
    assert torch.allclose(large.pos_embed, expected, atol=1e-6)
    same = copy.deepcopy(small)
    same.load_state_dict(small.state_dict())
    assert torch.equal(same.pos_embed, small.pos_embed)


@pytest.fixture(scope="module")
def released() -> VisionTransformer:
    torch.manual_seed(7)
    model = timm.create_model(**run_model(), num_classes=len(CLASSES))
    assert isinstance(model, VisionTransformer)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


def run_model() -> dict[str, Any]:
    return {"model_name": MODEL["name"], "img_size": 16, **MODEL["args"]}


def official_layout(model: VisionTransformer) -> dict[str, Tensor]:
    """The authors' names: gamma_1 and gamma_2 in the block, no module for LayerScale."""
    state = model.state_dict()
    return {
        name.replace("ls1.gamma", "gamma_1").replace("ls2.gamma", "gamma_2"): value
        for name, value in state.items()
    }


@pytest.mark.parametrize("layout", ["official", "timm", "safetensors"])
def test_released_weights_give_the_released_models_scores(
    released: VisionTransformer, tmp_path: Path, layout: str
) -> None:
    file = tmp_path / ("w.safetensors" if layout == "safetensors" else "w.pth")
    if layout == "official":
        torch.save({"model": official_layout(released), "epoch": 800}, file)
    elif layout == "timm":
        torch.save(released.state_dict(), file)
    else:
        from safetensors.torch import save_file

        save_file(released.state_dict(), file)
    method = make(weights=str(file)).eval()
    pixels = batch().views[0]
    with torch.no_grad():
        expected = released(normalised(pixels))
    assert torch.allclose(method.logits(pixels), expected, atol=1e-5)


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("code was run",))


def test_weights_that_do_not_fit_are_refused(
    released: VisionTransformer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "w.pth"
    state = official_layout(released)

    def refusal(found: Any, **objective: Any) -> str:
        torch.save(found, file)
        with pytest.raises(ConfigError) as error:
            make(weights=str(file), **objective)
        return str(error.value)

    heads = {"head.weight": torch.zeros(7, 32), "head.bias": torch.zeros(7)}
    assert "head.bias has shape (7,) instead of (5,)" in refusal({"model": {**state, **heads}})
    assert "norm.bias is missing" in refusal(
        {name: value for name, value in state.items() if name != "norm.bias"}
    )
    assert "extra is unknown" in refusal({**state, "extra": torch.zeros(1)})
    other = refusal(state, image={"size": 32, "crop": "none"}, test_size=32)
    assert "pos_embed has shape (1, 4, 32) instead of (1, 16, 32)" in other
    assert "holds no tensors" in refusal({"epoch": 3})
    assert "could run code" in refusal({"model": state, "optimiser": Harmful()})
    assert "code was run" not in capsys.readouterr().out
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ConfigError, match=r"w\.pth"):
        make(weights=str(file))
    file.write_bytes(pickle.dumps([1]))
    with pytest.raises(ConfigError, match=r"not loaded|no weights file"):
        make(weights=str(file))
    with pytest.raises(ConfigError, match="no such file"):
        make(weights=str(tmp_path / "absent.pth"))
    with pytest.raises(ConfigError, match="timm has no weights of that name"):
        make(weights="deit3_gigantic_patch1_1.fb")


def test_paper_file_holds_the_papers_recipe() -> None:
    """Values of printed Table 1, from the complete printed tables."""
    raw = load_project(scale="demo").run("deit3", "official-b")  # of the paper's size at any scale
    recipe = Settings.model_validate(raw.objective)
    assert (raw.optim.name, raw.optim.lr, raw.optim.weight_decay) == ("lamb", 3e-3, 0.02)
    assert (raw.optim.eps, raw.optim.betas, raw.batch_size) == (1e-8, (0.9, 0.999), 8)
    assert (recipe.loss, recipe.mixup, recipe.cutmix, recipe.repeats) == ("bce", 0.8, 1.0, 3)
    assert (recipe.image.policy, recipe.image.crop, recipe.image.jitter) == ("three", "rrc", 0.3)
    assert (recipe.layer_scale, recipe.drop_path_schedule) == (1e-4, "uniform")
    assert (recipe.test_crop, recipe.label_smoothing) == (1.0, 0.0)
