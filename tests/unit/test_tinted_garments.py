"""Tinted garments: a function of the seed, painted exactly; only the garment tells the class."""

import gzip
import hashlib
import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, chi2_contingency
from sklearn.linear_model import LogisticRegression
from test_fashion_scenes import DOMAIN, alone, half_up, idx, silent
from torch import Tensor

from reprise.data.base import ArraySet, load, prepare
from reprise.data.scenes import patterns
from reprise.data.scenes.domains import NATURE, TOWN, Domain
from reprise.data.sets import fashion_mnist
from reprise.data.sets import tinted_garments as tg
from reprise.data.sets.tinted_garments import SPLITS, Args, Looks, Painter, photographs, scenes_key
from reprise.errors import ConfigError
from reprise.training.seeding import Draws, Key

SIZE = 48


def shapes(count: int) -> tuple[Tensor, Tensor]:
    """Return rectangles uint8 [count, 28, 28], no two alike, and labels, classes in turn."""
    labels = torch.arange(count) % 10
    images = torch.zeros(count, 28, 28)
    for kind in range(10):
        wide, high = 3 + kind % 5 * 2, 12 - kind // 5 * 6
        images[labels == kind, 14 - high : 14 + high, 14 - wide : 14 + wide] = 150 + 10 * kind
    images[:, 13, 12:16] = (
        torch.arange(count).unsqueeze(1) // torch.tensor([1, 7, 49, 343]) % 7 * 30
    )
    return images.to(torch.uint8), labels


def drawn(
    domain: Domain = TOWN, count: int = 128, start: int = 0, split: str = "train", seed: int = 0
) -> Looks:
    key = scenes_key(Args(domain=domain.name, seed=seed))
    return Painter(domain, SIZE).draw(Draws(key.fold(split), count, start))


def painted(domain: Domain, looks: Looks) -> Tensor:
    return Painter(domain, SIZE).paint(shapes(len(looks))[0], looks)


def part(looks: Looks, chosen: slice | Tensor) -> Looks:
    return Looks(**{field.name: getattr(looks, field.name)[chosen] for field in fields(looks)})


# --- the same picture, painted one pixel at a time in whole numbers ------------------------------


def by_hand(looks: Looks, place: int, domain: Domain, photo: Tensor) -> np.ndarray[Any, Any]:
    row = {field.name: getattr(looks, field.name)[place].tolist() for field in fields(looks)}
    number = row["background"]
    key = Key(("tinted_garments", domain.name, "background", number))
    texture = patterns.texture(domain.backgrounds[number].pattern, SIZE, key)
    cut = texture[:, row["down"] : row["down"] + SIZE, row["across"] : row["across"] + SIZE]
    picture = cut.numpy().astype(int)
    for channel, wash in enumerate(row["wash"]):
        washed = (picture[channel] * (256 - row["share"]) + wash * row["share"] + 128) // 256
        veiled = washed * (256 - row["veil"]) + (255 if row["reverse"] else 0) * row["veil"]
        picture[channel] = (veiled + 128) // 256
    garment = alone(photo.flip(1) if row["mirrored"] else photo, row["side"])
    for y, x in np.ndindex(row["side"], row["side"]):
        grey = garment[y][x]
        shade = row["deep"] + half_up(grey * (256 - row["deep"]), 256)
        for channel, full in enumerate(row["tint"]):
            at = (channel, row["top"] + y, row["left"] + x)
            shown = half_up(shade * full, 256)
            picture[at] += half_up((shown - picture[at]) * min(8 * grey, 256), 256)
    return picture


@DOMAIN
def test_batches_equal_scenes_painted_one_by_one(domain: Domain) -> None:
    looks, photos = drawn(domain), shapes(128)[0]
    photos[:, 4:24, 16:18] = 25  # seen through, and no two sides alike
    pictures = Painter(domain, SIZE).paint(photos, looks)
    # Some as they come, and some dark ones.
    places = [*range(4), *looks.reverse.nonzero().flatten().tolist()[:2]]
    assert looks.mirrored[places].unique().tolist() == [False, True]
    for place in places:
        expected = by_hand(looks, place, domain, photos[place])
        assert np.array_equal(pictures[place].numpy(), expected)


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_change_nothing(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        digests = [
            hashlib.sha256(painted(domain, drawn(domain)).numpy().tobytes()).hexdigest()[:16]
            for domain in (TOWN, NATURE)
        ]
    finally:
        torch.set_num_threads(before)
    # Whole numbers that float32 holds exactly: the same bytes on any machine.
    assert digests == ["b5b6c8e121f3f7e5", "7babadde1ff1c4e9"]


def test_a_scene_does_not_depend_on_its_batch() -> None:
    looks = drawn(count=200)
    for start, count in ((0, 64), (64, 10), (128, 72)):
        some = drawn(count=count, start=start)
        for field in fields(Looks):
            expected = getattr(looks, field.name)[start : start + count]
            assert torch.equal(getattr(some, field.name), expected)
    images, painter = painted(TOWN, looks), Painter(TOWN, SIZE)
    few = painter.paint(shapes(200)[0][100:110], part(looks, slice(100, 110)))
    assert torch.equal(few, images[100:110])
    for other in (drawn(split="test"), drawn(seed=1), drawn(NATURE)):
        assert not torch.equal(other.top, looks.top[:128])


# --- how scenes look -----------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "sides"), [(28, (16, 26)), (48, (27, 45)), (64, (36, 60))])
def test_looks_have_the_range_that_is_said(size: int, sides: tuple[int, int]) -> None:
    looks = Painter(TOWN, size).draw(Draws(Key((1,)), 6400))
    for name, low, high in (
        ("background", 0, len(TOWN.backgrounds) - 1),
        ("across", 0, size // 2),
        ("down", 0, size // 2),
        ("share", 0, 160),
        ("veil", 144, 224),
        ("deep", 48, 160),
        ("side", *sides),
    ):
        values = getattr(looks, name)
        assert (values.min(), values.max()) == (low, high)
        counts = (values - low).bincount()
        assert (counts / 6400 * len(counts) - 1).abs().max() < 0.8, name  # all of them, evenly
    for at in (looks.top, looks.left):
        room = size - looks.side
        assert ((at >= 0) & (at <= room)).all()
        assert ((at / room)[room > 0].mean() - 0.5).abs() < 0.02
        assert (at == 0).any()
        assert (at == room).any()
    for name, share in (("mirrored", 1 / 2), ("reverse", 1 / 8)):
        assert (getattr(looks, name).float().mean() - share).abs() < 0.02
    for colours in (looks.wash, looks.tint):
        assert ((colours >= 0) & (colours <= 255)).all()


def test_the_largest_numbers_drawn_stay_in_range(monkeypatch: pytest.MonkeyPatch) -> None:
    def largest(self: Draws, purpose: str, *shape: int) -> Tensor:
        return torch.full((self.count, *shape), 1 - 2.0**-24)

    monkeypatch.setattr(Draws, "uniform", largest)
    looks = drawn(count=1)
    assert (looks.side, looks.top, looks.left, looks.veil) == (45, 3, 3, 224)
    assert (looks.across, looks.down) == (24, 24)
    painted(TOWN, looks)


def test_the_first_colour_that_stands_out_is_taken() -> None:
    ground, sign = torch.tensor([[40] * 3, [40] * 3, [200] * 3]), torch.tensor([[1], [1], [-1]])
    grey, pale, white, dim, black = ([110] * 3, [210, 210, 40], [255] * 3, [90] * 3, [0] * 3)
    colours = torch.tensor(
        [[grey, dim, pale, white], [dim, black, grey, dim], [grey, dim, black, white]]
    )
    deep = torch.full((3,), 256)  # the same colour where a garment is darkest
    assert tg._standing_out(colours, sign, deep, ground).tolist() == [pale, grey, dim]
    # A garment is judged by the middle of its shades: here a half of its tint.
    assert tg._standing_out(colours, sign, deep * 0, ground // 2).tolist() == [white, grey, black]


@DOMAIN
def test_garments_show_in_either_brightness_and_in_many_colours(domain: Domain) -> None:
    looks = drawn(domain, 1920)
    plain = torch.zeros(1920, 28, 28, dtype=torch.uint8)
    behind, painter = Painter(domain, SIZE).paint(plain, looks).float(), Painter(domain, SIZE)
    images = painter.paint(plain + 128, looks).float()  # one shade all over
    rows = torch.arange(SIZE)
    inside = [
        (rows >= at.unsqueeze(1)) & (rows < (at + looks.side).unsqueeze(1))
        for at in (looks.top, looks.left)
    ]
    square = (inside[0].unsqueeze(2) & inside[1].unsqueeze(1)).unsqueeze(1)
    assert torch.equal((images != behind).any(1) & ~square[:, 0], torch.zeros_like(square[:, 0]))
    garment, ground = (
        (some * square).sum((2, 3)) / square.sum((2, 3)) for some in (images, behind)
    )
    brighter = (garment - ground).sum(1) * (1 - 2 * looks.reverse.long())
    for chosen, share in ((~looks.reverse, 0.9), (looks.reverse, 0.99)):
        assert (brighter[chosen] > 200).float().mean() > share
    assert (brighter > 0).float().mean() > 0.995
    for colours, apart in ((garment, 30), (ground, 8)):  # red and blue, either way
        warmth = colours[:, 0] - colours[:, 2]
        assert warmth.quantile(torch.tensor(0.15)) < -apart
        assert warmth.quantile(torch.tensor(0.85)) > apart


# --- prepared like any data set ------------------------------------------------------------------

COUNTS = {"train": 3000, "test": 1600}  # photographs
ARGS = {"train": 1203, "val": 117, "test": 311, "seed": 3}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A data root with a Fashion-MNIST of rectangles; those of either split are no others'."""
    folder = tmp_path_factory.mktemp("root")
    images, labels = shapes(sum(COUNTS.values()))
    contents, start = {}, 0
    for prefix, count in (("train", COUNTS["train"]), ("t10k", COUNTS["test"])):
        contents[f"{prefix}-images-idx3-ubyte"] = idx(images[start : start + count])
        contents[f"{prefix}-labels-idx1-ubyte"] = idx(labels[start : start + count])
        start += count
    raw = folder / "fashion_mnist/raw"
    raw.mkdir(parents=True)
    for name, content in contents.items():
        (raw / f"{name}.gz").write_bytes(gzip.compress(content, 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(fashion_mnist.VARIABLE, raising=False)
        digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
        patch.setattr(fashion_mnist, "SHA256", digests)
        splits = {"train": ("train", COUNTS["train"]), "test": ("t10k", COUNTS["test"])}
        patch.setattr(fashion_mnist, "SPLITS", splits)
        prepare("fashion_mnist", folder, {}, silent)
        yield folder


def splits_of(root: Path, args: dict[str, Any], folder: str) -> dict[str, ArraySet]:
    prepare("tinted_garments", root, args, silent, folder)
    return {
        split: cast(ArraySet, load("tinted_garments", split, root, args, folder))
        for split in SPLITS
    }


def seen(root: Path, split: str, **args: Any) -> list[bytes]:
    """Return the photographs of a split; no two of this Fashion-MNIST are alike."""
    images, _ = photographs(root, split, Args(**{**ARGS, **args}))
    return [image.numpy().tobytes() for image in images]


def test_a_prepared_split_is_what_was_painted(root: Path) -> None:
    splits = splits_of(root, ARGS, "made")
    for split, data in splits.items():
        count = ARGS[split]
        images, labels = data.fetch(torch.arange(count))
        assert (len(data), data.channels, data.size) == (count, 3, SIZE)
        assert (images.dtype, images.shape) == (torch.uint8, (count, 3, SIZE, SIZE))
        assert data.classes == fashion_mnist.CLASSES
        photos, kinds = photographs(root, split, Args(**ARGS))
        assert torch.equal(labels, kinds)
        looks = drawn(count=count, split=split, seed=3)
        assert torch.equal(Painter(TOWN, SIZE).paint(photos, looks), images)
    assert len({data.digest for data in splits.values()}) == 3


def test_classes_are_the_photographs_and_balanced_in_every_run_of_scenes(root: Path) -> None:
    kind_of = dict(
        zip((p.numpy().tobytes() for p in shapes(4600)[0]), shapes(4600)[1], strict=True)
    )
    for domain in ("town", "nature"):
        for split in SPLITS:
            args = Args(**ARGS, domain=domain)
            images, labels = photographs(root, split, args)
            assert [kind_of[image.numpy().tobytes()] for image in images] == labels.tolist()
            for some in (labels, labels[:100], labels[37:97]):
                counts = some.bincount(minlength=10)
                assert counts.max() - counts.min() <= 1


def test_no_photograph_is_in_two_scenes_splits_or_domains(root: Path) -> None:
    by = {
        (domain, split): seen(root, split, domain=domain)
        for domain in ("town", "nature")
        for split in SPLITS
    }
    everything = [photo for some in by.values() for photo in some]
    assert len(everything) == 2 * (1203 + 117 + 311)
    assert len(set(everything)) == len(everything)
    of_tests = {image.numpy().tobytes() for image in shapes(4600)[0][3000:]}
    for (_, split), some in by.items():
        assert set(some) <= of_tests if split == "test" else not set(some) & of_tests


def test_a_smaller_training_set_is_the_beginning_of_a_larger_one(root: Path) -> None:
    assert seen(root, "train", train=300) == seen(root, "train")[:300]
    assert seen(root, "val", train=300) == seen(root, "val")
    assert seen(root, "train", seed=4) != seen(root, "train")


def test_classes_of_unequal_size_are_cut_to_the_smallest() -> None:
    labels = torch.tensor([k for k in range(10) for _ in range(3 + k)])
    order = tg.in_turns(labels, Key((0,)))
    assert labels[order].tolist() == list(range(10)) * 3
    assert len(set(order.tolist())) == 30
    assert tg.in_turns(labels, Key((1,))).tolist() != order.tolist()


def test_more_scenes_than_photographs_are_refused(root: Path) -> None:
    for args, wanted in (({"train": 2900}, "3017 .* train .* 3000"), ({"test": 1601}, "1601")):
        with pytest.raises(ConfigError, match=f"'tinted_garments': {wanted}"):
            prepare("tinted_garments", root, {**ARGS, **args}, silent, "many")
    assert not list((root / "many").glob("*.npy"))
    # As many as there are will do.
    assert len(seen(root, "train", train=3000 - 117)) == 3000 - 117


def test_preparing_twice_gives_the_same_bytes(root: Path) -> None:
    digests = []
    for args in (ARGS, ARGS, {**ARGS, "seed": 4}, {**ARGS, "domain": "nature"}):
        prepare("tinted_garments", root, args, silent, "twice")
        file = root / "twice/manifest.json"
        digests.append(json.loads(file.read_text())["splits"])
        file.unlink()
    assert digests[0] == digests[1]
    for split in SPLITS:
        assert len({json.dumps(some[split]) for some in digests}) == 3


@pytest.mark.parametrize(
    "args", [{"size": 27}, {"train": 9}, {"seed": -1}, {"domain": "both"}, {"number": 3}]
)
def test_wrong_arguments_are_refused(tmp_path: Path, args: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"data set 'tinted_garments': args"):
        prepare("tinted_garments", tmp_path, args, silent)


# --- nothing but the garment tells the class -----------------------------------------------------


def columns(looks: Looks) -> dict[str, Tensor]:
    """Return all numbers of scenes' looks by name, int64 [B], where many differ in eighths."""
    named = {}
    for field in fields(looks):
        values = getattr(looks, field.name).long()
        for number, column in enumerate(values.unbind(1) if values.ndim == 2 else [values]):
            if len(column.unique()) > 12:
                edges = column.double().quantile(torch.arange(1, 8).double() / 8)
                column = torch.bucketize(column.double(), edges)
            named[f"{field.name} {number}"] = column
    return named


def p_value(labels: Tensor, values: Tensor) -> float:
    """Return the chi-square test's p-value for values int64 [B] being independent of labels."""
    places = values.unique(return_inverse=True)[1]
    table = torch.zeros(10, int(places.max()) + 1).index_put_(
        (labels, places), torch.ones(len(labels)), accumulate=True
    )
    return float(chi2_contingency(table.numpy()).pvalue)


@DOMAIN
def test_looks_are_independent_of_the_class(root: Path, domain: Domain) -> None:
    args = Args(domain=domain.name, train=2880, val=100, test=1600)
    looks = Painter(domain, SIZE).draw(Draws(scenes_key(args).fold("train"), 2880))
    _, labels = photographs(root, "train", args)
    found = {name: p_value(labels, values) for name, values in columns(looks).items()}
    assert len(found) == 17
    assert min(found.values()) > 0.05 / len(found), found
    # It would see five classes' garments two pixels larger, or one class redder.
    assert p_value(labels, looks.side + labels // 5 * 2) < 1e-4
    redder = replace(looks, tint=looks.tint + (labels == 3).unsqueeze(1) * 60)
    assert p_value(labels, columns(redder)["tint 0"]) < 1e-4


def accuracy_at(
    data: dict[str, ArraySet], looks: dict[str, Looks], target: Callable[[str], Tensor]
) -> tuple[int, int]:
    """Learn a target linearly from scenes whose garment's square is blank; return correct, all."""
    pixels = {}
    for split in ("train", "test"):
        images, rows = data[split].images.float(), torch.arange(SIZE)
        inside = [
            (rows >= at.unsqueeze(1)) & (rows < (at + looks[split].side).unsqueeze(1))
            for at in (looks[split].top, looks[split].left)
        ]
        blank = (inside[0].unsqueeze(2) & inside[1].unsqueeze(1)).unsqueeze(1)
        small = torch.nn.functional.avg_pool2d(images.masked_fill(blank, 0), 3)
        pixels[split] = (small.flatten(1) / 255).numpy()
    model = LogisticRegression(C=0.1, max_iter=100).fit(pixels["train"], target("train").numpy())
    right = model.predict(pixels["test"]) == target("test").numpy()
    return int(right.sum()), len(right)


def test_the_background_around_a_garment_does_not_tell_the_class(root: Path) -> None:
    args = {"train": 2800, "val": 100, "test": 1600}
    data = splits_of(root, args, "around")
    looks = {
        split: Painter(TOWN, SIZE).draw(Draws(scenes_key(Args(**args)).fold(split), args[split]))
        for split in ("train", "test")
    }
    right, total = accuracy_at(data, looks, lambda split: data[split].labels)
    assert binomtest(right, total, 0.1).pvalue > 0.05
    # What the background does tell is found in the same pixels: which of twelve it is.
    right, total = accuracy_at(data, looks, lambda split: looks[split].background)
    assert right > 0.3 * total
