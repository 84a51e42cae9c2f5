"""A frozen CLIP's embeddings: each its own, computed once, kept in files that may be damaged."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import photos
from tiny_captions import job, split, workspace
from torch import Tensor

from reprise.captions import embeddings
from reprise.config import Project
from reprise.data.base import ImageSet
from reprise.data.captioned import CaptionedSet
from reprise.data.transforms import normalise
from reprise.errors import ConfigError, StaleError
from reprise.methods.clip import CLIP
from reprise.plan import RunJob
from reprise.training import run as training_run

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    made = workspace(tmp_path_factory.mktemp("workspace"))
    training_run.train(job(made, "clip"))
    yield made
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def clip(project: Project) -> Iterator[RunJob]:
    """The trained CLIP, of which no embeddings are kept yet."""
    yield job(project, "clip")
    for file in files(project):
        file.unlink()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many texts or images each forward pass of a CLIP has had."""
    made: list[int] = []

    def counted(real: Any) -> Any:
        def count(self: CLIP, given: Tensor) -> Tensor:
            made.append(len(given))
            found: Tensor = real(self, given)
            return found

        return count

    for name in ("image_embeddings", "text_embeddings"):
        monkeypatch.setattr(CLIP, name, counted(getattr(CLIP, name)))
    return made


def files(project: Project) -> list[Path]:
    return sorted((project.state_root / "embeddings").glob("*.safetensors"))


def captions(data: ImageSet, style: str) -> list[str]:
    assert isinstance(data, CaptionedSet)
    return [text for index in range(len(data)) for text in data.captions(index, style)]


# --- what is computed -------------------------------------------------------------------------


@pytest.mark.parametrize("style", ["captions", "humorous"])
def test_every_caption_has_its_own_embedding_in_the_order_of_images(
    project: Project, clip: RunJob, style: str
) -> None:
    """They are computed in the order of their lengths, and no longer than they are."""
    data, model = split(project, "val"), embeddings.frozen(clip, CPU)
    found = embeddings.of_captions(clip, data, CPU, style)
    texts = captions(data, style)
    assert found.shape == (len(texts), 16)
    assert found.dtype == torch.float32
    lengths = {len(text.split()) for text in texts[:30]}
    assert len(lengths) > (style == "captions")
    for text, embedded in list(zip(texts, found, strict=True))[::11]:
        (expected,) = model.towers.encode_text(model.tokens([text]))
        torch.testing.assert_close(embedded, expected, rtol=1e-4, atol=1e-5)
    assert (found.norm(dim=1) - 1).abs().min() > 1e-3  # as they are, not scaled


def test_every_image_has_its_own_embedding(project: Project, clip: RunJob) -> None:
    data, model = split(project, "val"), embeddings.frozen(clip, CPU)
    assert clip.run.augment is not None
    found = embeddings.of_images(clip, data, CPU)
    assert found.shape == (len(data), 16)
    for index in range(0, len(data), 11):
        pixels = normalise(data.fetch(torch.tensor([index]))[0], clip.run.augment)
        (expected,) = model.towers.encode_image(pixels)
        torch.testing.assert_close(found[index], expected, rtol=1e-4, atol=1e-5)


def test_owners_are_the_images_of_captions(project: Project) -> None:
    data = split(project, "val")
    assert isinstance(data, CaptionedSet)
    data.texts["captions"][1] = ["one"]
    owners = embeddings.owners(data).tolist()
    expected = [
        index for index in range(len(data)) for _ in range(len(data.texts["captions"][index]))
    ]
    assert owners == expected
    assert owners[:7] == [0, 0, 0, 1, 2, 2, 2]
    assert embeddings.owners(data, "poetic").tolist() == list(range(len(data)))


def test_fresh_embeddings_can_be_trained_on_like_kept_ones(project: Project, clip: RunJob) -> None:
    for _ in range(2):
        for found in (
            embeddings.of_images(clip, split(project, "val"), CPU),
            embeddings.of_captions(clip, split(project, "val"), CPU),
        ):
            weight = torch.ones(16, requires_grad=True)
            (found @ weight).sum().backward()
            assert weight.grad is not None
            torch.testing.assert_close(weight.grad, found.sum(dim=0))


# --- computed once ----------------------------------------------------------------------------


def test_embeddings_are_computed_once(project: Project, clip: RunJob, calls: list[int]) -> None:
    data = split(project, "val")
    first = embeddings.of_images(clip, data, CPU), embeddings.of_captions(clip, data, CPU)
    assert sum(calls) == len(data) + len(captions(data, "captions"))
    calls.clear()
    again = embeddings.of_images(clip, data, CPU), embeddings.of_captions(clip, data, CPU)
    assert calls == []
    assert all(map(torch.equal, first, again))


@pytest.mark.parametrize("damage", ["cut short", "emptied", "another file"])
def test_a_damaged_file_is_named_and_made_again(
    project: Project,
    clip: RunJob,
    calls: list[int],
    monkeypatch: pytest.MonkeyPatch,
    damage: str,
) -> None:
    data = split(project, "val")
    whole = embeddings.of_images(clip, data, CPU)
    (file,) = files(project)
    content = file.read_bytes()
    weights = (clip.folder / "model.safetensors").read_bytes()
    damaged = {"cut short": content[:-5], "emptied": b"", "another file": weights}
    file.write_bytes(damaged[damage])
    said: list[str] = []
    monkeypatch.setattr(embeddings, "say", said.append)
    calls.clear()
    assert torch.equal(embeddings.of_images(clip, data, CPU), whole)
    assert sum(calls) == len(data)
    assert len(said) == 1
    assert str(file) in said[0]
    assert file.read_bytes() == content


def test_embeddings_of_other_data_styles_and_models_are_kept_apart(
    project: Project, clip: RunJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = split(project, "val")

    def kept(model: RunJob = clip, data: ImageSet = data, style: str = "captions") -> set[Path]:
        before = set(files(project))
        embeddings.of_captions(model, data, CPU, style)
        return set(files(project)) - before

    assert len(kept()) == 1
    assert kept() == set()
    assert len(kept(style="poetic")) == 1
    assert len(kept(data=split(project, "test"))) == 1
    changed = split(project, "val")
    assert isinstance(changed, CaptionedSet)
    changed.digest = "other"
    assert len(kept(data=changed)) == 1
    # Another model: the same files, as if made by other settings.
    other = RunJob(project, "capdec", "clip", 0)
    other.__dict__["digest"] = "other"
    monkeypatch.setattr(embeddings, "read_meta", lambda job: {})
    monkeypatch.setattr(training_run, "read_meta", lambda job: {})
    assert len(kept(model=other)) == 1


# --- what is wrong with a model ---------------------------------------------------------------


def test_a_model_that_is_not_trained_is_refused(tmp_path: Path, project: Project) -> None:
    empty = workspace(tmp_path)
    with pytest.raises(StaleError, match="capdec/clip seed 0 is not trained"):
        embeddings.of_images(job(empty, "clip"), split(project, "val"), CPU)


def test_a_model_that_is_no_clip_is_refused(project: Project) -> None:
    training_run.train(job(project, "lookup"))
    with pytest.raises(ConfigError, match="its method is 'lookup', but a CLIP is wanted"):
        embeddings.frozen(job(project, "lookup"), CPU)


def test_data_without_captions_are_refused(clip: RunJob) -> None:
    with pytest.raises(ConfigError, match="data set 'tiny' has no captions"):
        embeddings.of_captions(clip, photos(), CPU)
