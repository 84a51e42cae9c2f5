"""CLIP against open_clip's own towers and a loss written out; released weights are local here."""

import json
import math
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
import two_processes_clip
from open_clip import factory
from test_loop import free_port
from tiny_captions import draws, job, pairs, tiny_clip, workspace
from torch import Tensor

from reprise.captions import embeddings
from reprise.captions.vocabulary import PAD, START
from reprise.config import Run
from reprise.errors import ConfigError
from reprise.methods import clip
from reprise.methods.clip import CLIP
from reprise.settings.clip import Settings
from reprise.training import run as training_run
from reprise.training.distributed import World
from reprise.training.method import Batch
from reprise.training.seeding import Draws

CPU = torch.device("cpu")
SMOKE = "scales/smoke.yaml"
RELEASED: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 32, "layers": 1, "head_width": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


def texts(*lengths: int) -> list[str]:
    return [" ".join(["red"] + ["boot"] * (length - 1)) for length in lengths]


# --- the towers -------------------------------------------------------------------------------


@pytest.mark.parametrize("lengths", [(1, 4, 8), (2, 2), (8,), (30, 1)])
def test_text_embeddings_equal_open_clips_on_ragged_batches(lengths: tuple[int, ...]) -> None:
    method = tiny_clip().eval()
    tokens = method.tokens(texts(*lengths))
    assert tokens.shape == (len(lengths), 12)
    expected = method.towers.encode_text(tokens)
    torch.testing.assert_close(method.text_embeddings(tokens), expected)


def test_a_released_models_text_embeddings_equal_open_clips() -> None:
    torch.manual_seed(0)
    vision, text = (RELEASED[part] for part in ("vision_cfg", "text_cfg"))
    towers = open_clip.CLIP(16, open_clip.CLIPVisionCfg(**vision), open_clip.CLIPTextCfg(**text))
    method = CLIP(towers.eval(), Settings(weights="openai"), None)
    said = ["A dog.", "Two dogs run, and a third one looks at them — café!", "word " * 200]
    tokens = method.tokens(said)
    assert tokens.shape == (3, 77)
    torch.testing.assert_close(method.text_embeddings(tokens), towers.encode_text(tokens))
    short = method.tokens(said[:2])
    torch.testing.assert_close(method.text_embeddings(short), towers.encode_text(short))


def test_image_embeddings_are_open_clips() -> None:
    method, images = tiny_clip().eval(), torch.randn(3, 3, 8, 8)
    assert torch.equal(method.image_embeddings(images), method.towers.encode_image(images))
    assert torch.equal(method.features(images), method.towers.encode_image(images))


def test_a_text_has_a_start_and_an_end_and_is_cut_before_it() -> None:
    method = tiny_clip()
    first, second = method.tokens(texts(2, 40)).tolist()
    end = method.towers.vocab_size - 1
    assert first[0] == second[0] == START
    assert first[3:] == [end, *[PAD] * 8]
    assert second[-1] == end
    assert PAD not in second


# --- the loss ---------------------------------------------------------------------------------


def loss_by_hand(images: Tensor, captions: Tensor, scale: float) -> float:
    """Return the mean of both cross-entropies of cosines, each sum written out."""
    first, second = ([u / u.norm() for u in part.detach().double()] for part in (images, captions))
    total = 0.0
    for own, others in ((first, second), (second, first)):
        for i, u in enumerate(own):
            scores = [math.exp(scale * float(u @ v)) for v in others]
            total -= math.log(scores[i] / sum(scores))
    return total / (2 * len(first))


def given(n: int = 6) -> tuple[CLIP, Batch]:
    method, data = tiny_clip().eval(), pairs(n)
    samples = method.samples(data, CPU)
    images, labels = samples.fetch(torch.arange(n))
    return method, Batch((images.float() / 128 - 1,), labels, torch.arange(n))


def drawn_captions(method: CLIP, batch: Batch, random: Draws) -> Tensor:
    """Return the tokens of the captions that a step draws."""
    numbers = random.uniform("caption", 1)[:, 0].tolist()
    several = batch.labels.shape[1]
    rows = [batch.labels[i, math.floor(u * several)] for i, u in enumerate(numbers)]
    return torch.stack(rows).long()


@pytest.mark.parametrize(("scale", "counts"), [(14.0, 14.0), (1000.0, 100.0)])
def test_loss_is_the_symmetric_cross_entropy_of_cosines(scale: float, counts: float) -> None:
    method, batch = given()
    method.towers.logit_scale.data.fill_(math.log(scale))
    images = method.towers.encode_image(batch.views[0])
    captions = method.towers.encode_text(drawn_captions(method, batch, draws(6)))
    found = method(batch, draws(6))
    assert found["loss"].item() == pytest.approx(loss_by_hand(images, captions, counts), rel=1e-4)
    assert found["scale"].item() == pytest.approx(counts)
    best = (unit_rows(images) @ unit_rows(captions).T).argmax(dim=1)
    share = sum(int(best[i]) == i for i in range(6)) / 6
    assert found["matched"].item() == pytest.approx(100 * share)


def unit_rows(rows: Tensor) -> Tensor:
    return torch.stack([row / row.norm() for row in rows])


def test_the_scale_starts_at_the_papers_value_and_both_towers_learn() -> None:
    method, batch = given()
    assert method.towers.logit_scale.exp().item() == pytest.approx(1 / 0.07)
    method(batch, draws(6))["loss"].backward()
    assert [name for name, p in method.named_parameters() if p.grad is None] == []


def test_every_step_draws_one_of_an_images_captions() -> None:
    method, batch = given(64)
    spied = Counter[int]()
    real = method.text_embeddings

    def spy(tokens: Tensor) -> Tensor:
        for i, row in enumerate(tokens):
            (place,) = (batch.labels[i] == row).all(dim=1).nonzero()[:1].flatten().tolist()
            spied[place] += 1
        return real(tokens)

    method.text_embeddings = spy  # type: ignore[method-assign]
    losses = [method(batch, draws(64, step))["loss"].item() for step in range(30)]
    assert len(set(losses)) == 30
    assert sorted(spied) == [0, 1, 2]
    assert all(0.3 < spied[place] / (30 * 64) < 0.37 for place in spied)
    assert method(batch, draws(64, 3))["loss"].item() == losses[3]


# --- the pairs --------------------------------------------------------------------------------


def test_a_sample_is_an_image_with_all_its_captions() -> None:
    method, data = tiny_clip(styles=("captions", "odd")), pairs(9)
    data.texts["odd"] = [["sun wall"], *data.texts["odd"][1:]]
    samples = method.samples(data, CPU)
    chosen = torch.tensor([4, 0])
    images, labels = samples.fetch(chosen)
    assert torch.equal(images, data.images[chosen])
    # Images of more captions lend their first ones: four, of the image that has the fewest.
    for index, rows in zip((4, 0), labels, strict=True):
        said = [*data.texts["captions"][index], *data.texts["odd"][index]][:4]
        assert torch.equal(rows.long(), method.tokens(said))
    assert (samples.name, samples.split, samples.digest) == ("tiny", "train", "digest")
    assert (len(samples), samples.channels, samples.size) == (9, 3, 8)


def test_a_model_that_is_neither_scratch_nor_released_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model.name = 'RN50': give objective.weights with it"):
        clip.build(run(name="RN50"), pairs(4))


def run(name: str, **objective: Any) -> Run:
    return Run.model_validate(
        {
            "method": "clip",
            "data": "any",
            "model": {"name": name},
            "objective": objective,
            "augment": {"size": 16},
            "optim": {"lr": 1e-3},
            "steps": 0,
            "batch_size": 1,
        }
    )


def test_two_processes_equal_one(tmp_path: Path) -> None:
    """Losses and weights of three steps: each compares its pairs with the other's."""
    program, out = Path(__file__).with_name("two_processes_clip.py"), tmp_path / "two.pt"
    subprocess.run([sys.executable, program, out, str(free_port())], check=True, timeout=120)
    one, two = two_processes_clip.train(World(), tmp_path), torch.load(out, weights_only=True)
    assert len(one["log"]) == 3
    for a, b in zip(one["log"], two["log"], strict=True):
        assert a == pytest.approx(b, rel=1e-4)
    for name, value in one["weights"].items():
        torch.testing.assert_close(two["weights"][name], value, rtol=1e-3, atol=2e-5)


# --- released weights -------------------------------------------------------------------------


@pytest.fixture
def architecture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make a very small architecture known to open_clip for one test."""
    (tmp_path / "tiny-clip.json").write_text(json.dumps(RELEASED))
    monkeypatch.setattr(factory, "_MODEL_CONFIGS", dict(factory._MODEL_CONFIGS))
    monkeypatch.setattr(factory, "_MODEL_CONFIG_PATHS", list(factory._MODEL_CONFIG_PATHS))
    open_clip.add_model_config(tmp_path / "tiny-clip.json")
    return "tiny-clip"


def weights(architecture: str, folder: Path) -> Path:
    torch.manual_seed(7)
    file = folder / "weights.pt"
    torch.save(open_clip.create_model(architecture).state_dict(), file)
    return file


def test_a_local_file_of_weights_is_taken_as_it_is(architecture: str, tmp_path: Path) -> None:
    file = weights(architecture, tmp_path)
    project = workspace(
        tmp_path / "work",
        (SMOKE, "weights: null, context: 20", f"weights: {file}"),
        (SMOKE, "name: scratch", f"name: {architecture}"),
        (SMOKE, "optim: {warmup_steps: 2}\n        steps: 12", "steps: 0"),
    )
    training_run.train(job(project, "clip"))
    torch.use_deterministic_algorithms(False)
    method = embeddings.frozen(job(project, "clip"), CPU)
    saved = torch.load(file, weights_only=True)
    found = method.towers.state_dict()
    assert found.keys() == saved.keys()
    assert all(torch.equal(found[name], saved[name]) for name in saved)
    assert json.loads((job(project, "clip").folder / "meta.json").read_text())["steps"] == 0


def test_weights_of_another_activation_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenAI's were trained with QuickGELU; without it the model runs, and is much worse."""
    monkeypatch.setattr(factory, "download_pretrained", lambda *_, **__: "absent.pt")
    with pytest.raises(ConfigError, match=r"QuickGELU mismatch.* name ends in -quickgelu"):
        clip.released("RN50", "openai")


@pytest.mark.parametrize("name", ["absent.pt", "some/where", "absent.safetensors"])
def test_a_file_of_weights_that_is_absent_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match=f"objective.weights = '{name}': no such file"):
        clip.released("RN50", name)


def test_an_unknown_name_of_weights_or_model_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"'RN50' with weights 'opnai': .*not a known tag"):
        clip.released("RN50", "opnai")
    with pytest.raises(ConfigError, match=r"'RN5' with weights 'openai': .*not found"):
        clip.released("RN5", "openai")


def test_released_weights_keep_their_context() -> None:
    with pytest.raises(ValueError, match="context of 77 tokens"):
        Settings(weights="openai", context=20)
