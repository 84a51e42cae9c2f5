"""Composed scenes: a function of the seed, exact, long-tailed, train and test kept apart."""

import gzip
import hashlib
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from reprise.data.base import ArraySet, load, prepare
from reprise.data.sets import fashion_composites as fc
from reprise.data.sets import fashion_mnist
from reprise.data.sets.fashion_composites import Composer, Photographs
from reprise.errors import ConfigError
from reprise.training.seeding import Draws, Key

SIZE = 40
Pixels = np.ndarray[Any, np.dtype[np.int64]]


def silent(message: str) -> None:
    """Take a log line and drop it."""


def made_up(count: int = 200, seed: int = 0) -> Photographs:
    """Return blots as photographs, classes in turn."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(0, 256, (count, 1, 7, 7), generator=generator).to(torch.uint8)
    images = coarse.repeat_interleave(4, 2).repeat_interleave(4, 3)
    images[:, :, :3] = 0
    labels = torch.arange(count) % 10
    return Photographs.of(ArraySet("blots", "train", images, labels, fc.CLASSES, "digest"))


def test_photographs_are_sorted_by_class_in_their_order() -> None:
    images = torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1).expand(5, 1, 28, 28)
    labels = torch.tensor([3, 0, 3, 9, 0])
    photos = Photographs.of(ArraySet("few", "train", images, labels, fc.CLASSES, "digest"))
    assert photos.images[:, 0, 0].tolist() == [1, 4, 0, 2, 3]
    assert photos.counts.tolist() == [2, 0, 0, 2, 0, 0, 0, 0, 0, 1]
    assert photos.starts[[0, 3, 9]].tolist() == [0, 2, 4]


# --- the same scene, composed one pixel at a time in whole numbers ----------------------------


def one(number: float, low: int, high: int) -> int:
    return low + int(number * (high - low + 1))


def weights_of(side: int) -> list[dict[int, int]]:
    """Return, for each pixel of a garment's axis, the photograph's pixels and their weights."""
    scale = Fraction(28, side)
    lines = []
    for at in range(side):
        centre = (at + Fraction(1, 2)) * scale
        reach = max(scale, Fraction(1))
        exact = [max(Fraction(0), 1 - abs(j + Fraction(1, 2) - centre) / reach) for j in range(28)]
        total = sum(exact)
        whole = [round(256 * weight / total) for weight in exact]
        whole[whole.index(max(whole))] += 256 - sum(whole)
        lines.append({j: weight for j, weight in enumerate(whole) if weight})
    return lines


def half_up(value: int, by: int) -> int:
    return (value + by // 2) // by


def garment_alone(photo: Tensor, side: int, top: int, left: int) -> Pixels:
    alone = np.zeros((SIZE, SIZE), np.int64)
    pixels, lines = photo.tolist(), weights_of(side)
    for x in range(max(0, left), min(SIZE, left + side)):
        across = lines[x - left].items()
        column = [half_up(sum(w * row[j] for j, w in across), 16) for row in pixels]
        for y in range(max(0, top), min(SIZE, top + side)):
            down = lines[y - top].items()
            alone[y, x] = half_up(sum(w * column[j] for j, w in down), 4096)
    return alone


def by_hand(composer: Composer, photos: Photographs, drawn: list[float]) -> tuple[Pixels, int]:
    """Return a scene and its label, garment after garment, from its random numbers."""
    background = composer._background(torch.tensor([drawn], dtype=torch.float64))[0]
    scene, largest, label = background.numpy().astype(np.int64), 0, -1
    ends = composer._frequency.tolist()
    for number in range(one(drawn[0], 1, 4)):
        kind_, photo_, side_, top_, left_, bright_, covers_ = drawn[12 + 7 * number :][:7]
        kind = next(k for k, end in enumerate(ends) if kind_ < end)
        photo = int(photos.starts[kind]) + int(photo_ * int(photos.counts[kind]))
        side = one(side_, 14, 33)
        slack = side // 4
        top, left = (one(at, -slack, SIZE - side + slack) for at in (top_, left_))
        alone = garment_alone(photos.images[photo], side, top, left)
        bright = one(bright_, 128, 256)
        for y, x in np.ndindex(SIZE, SIZE):
            shown, behind = half_up(int(alone[y, x]) * bright, 256), int(scene[y, x])
            if covers_ < 2 / 3:
                over = min(3 * int(alone[y, x]), 256)
                scene[y, x] = behind + half_up((shown - behind) * over, 256)
            else:
                scene[y, x] = max(shown, behind)
        if side > largest:
            largest, label = side, kind
    return scene, label


def test_batches_equal_scenes_composed_one_by_one() -> None:
    composer, photos = Composer(SIZE, 3), made_up()
    images, labels = composer.compose(photos, "train", 64, 20)
    draws = Draws(Key(("fashion_composites", 3, "train")), 20, 64).uniform("scene", 40)
    for place, drawn in enumerate(draws.double().tolist()):
        scene, label = by_hand(composer, photos, drawn)
        assert np.array_equal(images[place, 0].numpy(), scene)
        assert labels[place] == label


def test_a_scene_does_not_depend_on_its_batch() -> None:
    composer, photos = Composer(SIZE, 0), made_up()
    whole, labels = composer.compose(photos, "train", 0, 300)
    for start, count in ((0, 64), (64, 10), (128, 172)):
        part, own = composer.compose(photos, "train", start, count)
        assert torch.equal(part, whole[start : start + count])
        assert torch.equal(own, labels[start : start + count])
    assert not torch.equal(composer.compose(photos, "test", 0, 64)[0], whole[:64])
    assert not torch.equal(Composer(SIZE, 1).compose(photos, "train", 0, 64)[0], whole[:64])


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_change_nothing(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        images, _ = Composer(SIZE, 0).compose(made_up(), "train", 0, 128)
    finally:
        torch.set_num_threads(before)
    # Whole numbers that float32 holds exactly: the same bytes on any machine.
    digest = hashlib.sha256(images.numpy().tobytes()).hexdigest()
    assert digest.startswith("eab16970b5399e42")


# --- what scenes look like --------------------------------------------------------------------


def test_classes_are_long_tailed_in_a_shuffled_order() -> None:
    photos, counts = made_up(), torch.zeros(10)
    composer = Composer(SIZE, 0)
    for start in range(0, 12_800, 640):
        drawn = Draws(Key((5, "frequency")), 640, start).uniform("scene", 40).double()
        garments = composer._place(drawn, photos)
        counts += garments.kind[garments.present].bincount(minlength=10)
    found = counts.sort(descending=True).values / counts.sum()
    expected = 1 / torch.arange(1, 11).float()
    assert torch.allclose(found, expected / expected.sum(), atol=0.01)
    orders = {tuple(Composer(SIZE, seed)._frequency.diff().tolist()) for seed in range(5)}
    assert len(orders) > 1


def test_garments_have_the_sizes_and_places_that_are_said() -> None:
    composer, photos = Composer(SIZE, 0), made_up()
    drawn = Draws(Key((1,)), 6400).uniform("scene", 40).double()
    garments = composer._place(drawn, photos)
    assert garments.present.sum(1).bincount().tolist()[0] == 0
    assert (garments.present.sum(1).bincount()[1:] / 6400 - 0.25).abs().max() < 0.03
    assert (garments.side.min(), garments.side.max()) == (14, 33)
    slack = garments.side // 4
    for at in (garments.top, garments.left):
        assert (at >= -slack).all()
        assert (at + garments.side <= SIZE + slack).all()
    assert (garments.bright.min(), garments.bright.max()) == (128, 256)
    kind_of_photo = torch.repeat_interleave(torch.arange(10), photos.counts)
    assert torch.equal(kind_of_photo[garments.photo], garments.kind)


def test_the_largest_numbers_drawn_stay_in_range() -> None:
    photos = made_up()
    last = torch.full((1, 40), 1 - 2.0**-24, dtype=torch.float64)
    garments = Composer(SIZE, 0)._place(last, photos)
    assert garments.photo.max() < len(photos.images)
    assert garments.kind.max() <= 9
    assert garments.side.max() == 33


def test_a_garment_is_resized_as_interpolation_does() -> None:
    for side in (14, 20, 28, 33):
        weights = fc._quantised(fc.resampling(side), fc.FULL)
        assert (weights.sum(1) == fc.FULL).all()
        line = torch.rand(1, 1, 1, 28, generator=torch.Generator().manual_seed(side))
        smooth = F.interpolate(line, (1, side), mode="bilinear", antialias=True)[0, 0, 0]
        assert (weights @ line[0, 0, 0] / fc.FULL - smooth).abs().max() < 0.02


def test_backgrounds_are_smooth() -> None:
    drawn = Draws(Key((2,)), 640).uniform("scene", 40).double()
    background = Composer(SIZE, 0)._background(drawn)
    assert background.min() >= 0
    assert background.max() <= fc.SHADE + fc.SWING
    for axis in (1, 2):
        assert background.diff(dim=axis).abs().max() <= 2 * fc.SWING * 2 / SIZE + 2


# --- prepared like any data set ---------------------------------------------------------------


def idx(array: Tensor) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.to(torch.uint8).numpy().tobytes()


@pytest.fixture
def white_and_black(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Fashion-MNIST of white training photographs and black test photographs."""
    monkeypatch.delenv(fashion_mnist.VARIABLE, raising=False)
    contents = {}
    for prefix, shade in (("train", 255), ("t10k", 0)):
        contents[f"{prefix}-images-idx3-ubyte"] = idx(torch.full((30, 28, 28), shade))
        contents[f"{prefix}-labels-idx1-ubyte"] = idx(torch.arange(30) % 10)
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    monkeypatch.setattr(fashion_mnist, "SHA256", digests)
    monkeypatch.setattr(fashion_mnist, "SPLITS", {"train": ("train", 30), "test": ("t10k", 30)})
    raw = tmp_path / "fashion_mnist/raw"
    raw.mkdir(parents=True)
    for name, content in contents.items():
        (raw / f"{name}.gz").write_bytes(gzip.compress(content))
    return tmp_path


def test_test_scenes_hold_no_training_photograph(white_and_black: Path) -> None:
    args = {"count": 300, "seed": 1}
    prepare("fashion_composites", white_and_black, args, silent)
    train, test = (
        load("fashion_composites", split, white_and_black, args) for split in ("train", "test")
    )
    assert (len(train), len(test), train.channels, train.size) == (300, 10, 1, SIZE)
    assert train.classes == fashion_mnist.CLASSES
    composer = Composer(SIZE, 1)
    for data, shows in ((train, True), (test, False)):
        drawn = Draws(composer.key.fold(data.split), len(data)).uniform("scene", 40).double()
        images, labels = data.fetch(torch.arange(len(data)))
        brighter = (images[:, 0].float() > composer._background(drawn)).flatten(1).any(1)
        assert brighter.float().mean() > 0.98 if shows else not brighter.any()
        assert torch.equal(labels, data.labels)
    assert (white_and_black / "fashion_mnist/manifest.json").is_file()


def test_preparing_twice_gives_the_same_bytes(white_and_black: Path) -> None:
    digests = []
    for seed in (4, 4, 5):
        prepare("fashion_composites", white_and_black, {"count": 70, "seed": seed}, silent)
        file = white_and_black / "fashion_composites/manifest.json"
        digests.append(json.loads(file.read_text())["splits"])
        file.unlink()
    assert digests[0] == digests[1]
    assert digests[0] != digests[2]


@pytest.mark.parametrize("args", [{"size": 27}, {"count": 0}, {"seed": -1}, {"number": 3}])
def test_wrong_arguments_are_refused(tmp_path: Path, args: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=r"data set 'fashion_composites': args"):
        prepare("fashion_composites", tmp_path, args, silent)
