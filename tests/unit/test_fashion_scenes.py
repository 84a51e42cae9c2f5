"""Coloured scenes: a function of the seed, drawn exactly, truly described, splits kept apart."""

import gzip
import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from scene_reader import SIZE, is_true, lexicon_of, parse, shown_in
from torch import Tensor

from reprise.data.base import load, prepare
from reprise.data.scenes import patterns, whole
from reprise.data.scenes.domains import DOMAINS, NATURE, TINTS, TOWN, Domain
from reprise.data.scenes.render import DARKEST, SOLID, Pictures, Renderer
from reprise.data.scenes.sheet import contact_sheet, spread
from reprise.data.scenes.world import FORMS, SLOTS, Photographs, Scenes, World, held_out
from reprise.data.sets import fashion_mnist
from reprise.data.sets.fashion_scenes import SHARES, SPLITS, SceneSet, describe
from reprise.errors import ConfigError, DataError
from reprise.training.seeding import Key

DOMAIN = pytest.mark.parametrize("domain", DOMAINS.values(), ids=DOMAINS)


def silent(message: str) -> None:
    """Take a log line and drop it."""


def shapes(count: int) -> tuple[Tensor, Tensor]:
    """Return bright discs uint8 [count, 28, 28], no two alike, and labels, classes in turn."""
    at = torch.arange(28) - 13.5
    disc = at.view(-1, 1) ** 2 + at**2 < 180
    images = disc * (100 + torch.arange(count) % 150).view(-1, 1, 1)
    images[:, 14] = images[:, 14] // 4
    return images.to(torch.uint8), torch.arange(count) % 10


def made_up(count: int = 200) -> Photographs:
    return Photographs.share(*shapes(count), 0, 1)


def drawn(
    domain: Domain = TOWN, count: int = 256, split: str = "clip", every: bool = False, seed: int = 0
) -> tuple[Scenes, Pictures]:
    photos = made_up()
    scenes = World(domain, SIZE, seed).draw(photos, split, 0, count, every)
    return scenes, Renderer(domain, SIZE).draw(photos, scenes)


def test_a_class_without_photographs_is_refused() -> None:
    with pytest.raises(DataError, match="Trouser: too few photographs"):
        Photographs.share(torch.zeros(1, 28, 28), torch.tensor([0]), 0, 1)


# --- the same picture, drawn one pixel at a time in whole numbers -------------------------------


def half_up(value: int, by: int) -> int:
    return (value + by // 2) // by


def weights_of(side: int) -> list[dict[int, int]]:
    """Return, for each pixel of a garment's axis, the photograph's pixels and their weights."""
    scale = Fraction(28, side)
    lines = []
    for at in range(side):
        centre = (at + Fraction(1, 2)) * scale
        reach = max(scale, Fraction(1))
        exact = [max(Fraction(0), 1 - abs(j + Fraction(1, 2) - centre) / reach) for j in range(28)]
        weights = [round(256 * weight / sum(exact)) for weight in exact]
        weights[weights.index(max(weights))] += 256 - sum(weights)
        lines.append({j: weight for j, weight in enumerate(weights) if weight})
    return lines


def alone(photo: Tensor, side: int) -> list[list[int]]:
    """Return a garment resized, side rows of side numbers."""
    lines = weights_of(side)
    wide = [
        [half_up(sum(w * row[j] for j, w in line.items()), 16) for line in lines]
        for row in photo.tolist()
    ]
    return [
        [half_up(sum(w * wide[j][x] for j, w in line.items()), 4096) for x in range(side)]
        for line in lines
    ]


def by_hand(row: dict[str, Any], domain: Domain, photos: Photographs) -> tuple[Any, Any, list[Any]]:
    """Return a scene's picture, mask and boxes, garment after garment."""
    number = row["background"]
    key = World(domain, SIZE, 0).key.path[:2]
    ground = patterns.texture(
        domain.backgrounds[number].pattern, SIZE, Key((*key, "background", number))
    )[:, row["down"] : row["down"] + SIZE, row["across"] : row["across"] + SIZE]
    picture = (ground.numpy().astype(int) * row["light"] + 128) // 256
    owner = np.zeros((SIZE, SIZE), int)
    slots = [slot for slot in range(SLOTS) if row["entity"][slot] >= 0]
    for slot in reversed(slots) if row["reverse"] else slots:
        side, tint = row["side"][slot], row["tint"][row["entity"][slot]]
        garment = alone(photos.images[row["photo"][slot]], side)
        for y, x in np.ndindex(side, side):
            place = (row["top"][slot] + y, row["left"][slot] + x)
            cover = min(SOLID * garment[y][x], 256)
            shade = DARKEST + half_up(garment[y][x] * (256 - DARKEST), 256)
            for channel, full in enumerate(domain.tints[tint].colour):
                behind = int(picture[channel][place])
                shown = half_up(shade * full, 256)
                picture[channel][place] = behind + half_up((shown - behind) * cover, 256)
            if cover >= 128:
                owner[place] = slot + 1
    mask, boxes = np.zeros_like(owner), []
    for slot in slots:
        kind = row["kind"][row["entity"][slot]]
        rows, columns = (owner == slot + 1).nonzero()
        mask[owner == slot + 1] = kind + 1
        boxes.append([kind, columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    return picture, mask, boxes


@DOMAIN
def test_batches_equal_scenes_drawn_one_by_one(domain: Domain) -> None:
    photos = made_up()
    scenes, pictures = drawn(domain, 128)
    rows = list(enumerate(scenes.rows()))
    # Some as they come, and some whose garments may hide each other, in either order.
    lines = [[one for one in rows if one[1]["form"] and one[1]["reverse"] == r] for r in (0, 1)]
    for place, row in [*rows[:8], *lines[0][-8:], *lines[1][-8:]]:
        picture, mask, boxes = by_hand(row, domain, photos)
        assert np.array_equal(pictures.images[place].numpy(), picture)
        assert np.array_equal(pictures.masks[place].numpy(), mask)
        count = int(pictures.counts[place])
        assert pictures.boxes[place, :count].tolist() == boxes
        assert (pictures.boxes[place, count:] == -1).all()


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_change_nothing(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        _, pictures = drawn(count=128)
    finally:
        torch.set_num_threads(before)
    # Whole numbers that float32 holds exactly: the same bytes on any machine.
    digest = hashlib.sha256(pictures.images.numpy().tobytes()).hexdigest()
    assert digest.startswith("8d84ef9c93bfe580")


def test_a_scene_does_not_depend_on_its_batch() -> None:
    photos, world = made_up(), World(TOWN, SIZE, 0)
    all_, renderer = world.draw(photos, "clip", 0, 200), Renderer(TOWN, SIZE)
    pictures, texts = renderer.draw(photos, all_), describe(world, all_, "clip", 0)
    for start, count in ((0, 64), (64, 10), (128, 72)):
        some = world.draw(photos, "clip", start, count)
        assert some.rows() == all_.rows()[start : start + count]
        for name in ("images", "masks", "boxes", "counts"):
            whole_, part = getattr(pictures, name), getattr(renderer.draw(photos, some), name)
            assert torch.equal(part, whole_[start : start + count])
        for style, said in describe(world, some, "clip", start).items():
            assert said == texts[style][start : start + count]
    for other in (drawn(split="text"), drawn(seed=1), drawn(NATURE)):
        assert not torch.equal(other[1].images[:200], pictures.images)


def test_resampling_is_whole_and_sums_to_one() -> None:
    for side in (14, 28, 37):
        weights = whole.resampling(side)
        assert (weights.sum(1) == 256).all()
        assert torch.equal(weights, weights.round())
        exact = weights_of(side)
        assert all(weights[at, j] == w for at, line in enumerate(exact) for j, w in line.items())


# --- what scenes show ---------------------------------------------------------------------------


@pytest.mark.parametrize("size", [28, 48, 64])
def test_garments_lie_inside_and_entities_differ(size: int) -> None:
    photos = made_up()
    scenes = World(TOWN, size, 0).draw(photos, "clip", 0, 1920)
    present = scenes.photo >= 0
    assert torch.equal(present, scenes.entity >= 0)
    for at in (scenes.top, scenes.left):
        assert (at >= 0)[present].all()
        assert (at + scenes.side <= size)[present].all()
    for row in scenes.rows():
        count = max(FORMS[row["form"]]) + 1
        for name in ("kind", "tint"):
            assert len(set(row[name][:count])) == count
            assert row[name][count:] == [-1] * (SLOTS - count)
        shown = [TOWN.tints[tint].names[0] for tint in row["tint"][:count]]
        assert not set(shown) & set(TOWN.backgrounds[row["background"]].hides)
    labels = scenes.garment_kind[present]
    assert torch.equal(scenes.photo[present] % 10, labels)  # photographs of classes in turn
    assert torch.equal(scenes.labels, scenes.garment_kind[range(1920), scenes.side.argmax(1)])


def test_every_value_occurs_about_as_often_as_it_should() -> None:
    scenes = World(TOWN, SIZE, 0).draw(made_up(), "test", 0, 6400, every=True)
    for values, count in ((scenes.kind, 10), (scenes.tint, TINTS), (scenes.axis, 2)):
        share = values[values >= 0].bincount(minlength=count) / (values >= 0).sum()
        assert (share * count - 1).abs().max() < 0.15
    assert (scenes.background.bincount(minlength=12) > 6400 / 24).all()
    assert (scenes.form.bincount(minlength=len(FORMS)) > 200).all()
    assert (scenes.place[scenes.form == 0].bincount(minlength=9) > 100).all()


@DOMAIN
def test_unseen_pairs_are_in_no_other_split(domain: Domain) -> None:
    assert held_out().sum(0).tolist() == [2] * TINTS
    assert held_out().sum(1).tolist() == [2] * 10

    def pairs(scenes: Scenes, chosen: Tensor) -> set[tuple[int, int]]:
        kind, tint = scenes.kind[chosen].flatten(), scenes.tint[chosen].flatten()
        return {(k, t) for k, t in zip(kind.tolist(), tint.tolist(), strict=True) if k >= 0}

    world, seen = World(domain, SIZE, 0), set()
    for split in ("clip", "text", "val"):
        scenes = world.draw(made_up(), split, 0, 1920)
        assert not scenes.unseen.any()
        seen |= pairs(scenes, ~scenes.unseen)
    test = world.draw(made_up(), "test", 0, 1920, every=True)
    assert 0.15 < test.unseen.float().mean() < 0.5
    assert pairs(test, ~test.unseen) <= seen
    for index in test.unseen.nonzero().squeeze(1):
        assert pairs(test, index.unsqueeze(0)) - seen


# --- captions, read by a parser that knows words and looks at boxes ------------------------------


def described(domain: Domain, count: int, split: str = "test") -> Iterator[tuple[Any, Any, Any]]:
    """Yield a scene's numbers, its boxes and all of its captions."""
    scenes, pictures = drawn(domain, count, split, every=True)
    texts = describe(World(domain, SIZE, 0), scenes, split, 0)
    for number, row in enumerate(scenes.rows()):
        yield row, pictures.boxes[number], [c for some in texts.values() for c in some[number]]


@DOMAIN
def test_captions_are_true(domain: Domain) -> None:
    lexicon, statements = lexicon_of(domain), Counter[str]()
    for row, boxes, captions in described(domain, 384):
        entities = shown_in(row, boxes)
        for caption in captions:
            parsed = parse(caption, lexicon)
            assert len(parsed.mentions) == len(entities), caption
            assert is_true(parsed, row, entities), (caption, row)
            statements.update(what for what, _, _ in parsed.stated)
            statements.update(f"number {m.number}" for m in parsed.mentions)
            statements.update(f"size {m.size}" for m in parsed.mentions)
            statements.update(f"compared {m.compared}" for m in parsed.mentions)
    expected = {"background", "relation", "between", "line", "place", "number 3", "compared 1"}
    assert all(statements[what] > 20 for what in expected | {"compared -1", "size 1"}), statements


def test_the_parser_sees_what_is_untrue() -> None:
    lexicon, refused, tried = lexicon_of(TOWN), 0, 0
    swaps = {"left": "right", "above": "below", "small": "large", "two": "three", "red": "blue"}
    for row, boxes, captions in described(TOWN, 192):
        for caption in captions:
            for word, wrong in swaps.items():
                changed = " ".join(wrong if part == word else part for part in caption.split(" "))
                if changed != caption and "red bricks" not in caption:
                    tried += 1
                    refused += not is_true(parse(changed, lexicon), row, shown_in(row, boxes))
    assert tried > 100
    assert refused > 0.9 * tried


@DOMAIN
def test_captions_are_lower_case_sentences_of_a_few_hundred_words(domain: Domain) -> None:
    words, plain = set[str](), set[str]()
    for _, _, captions in described(domain, 640):
        assert [len(captions), len(set(captions[:5]))] >= [9, 3]
        for number, caption in enumerate(captions):
            assert caption == caption.lower()
            assert caption.endswith(".")
            assert not caption.endswith(" .")
            assert "  " not in caption
            assert not {"|", "{}"} & set(caption)
            some = caption.rstrip(".").replace(",", "").split()
            assert 3 <= len(some) <= 60
            words |= set(some)
            if number < 5:
                plain |= set(some)
    assert 180 < len(plain) < 400
    assert len(plain) + 80 < len(words) < 600


@DOMAIN
def test_few_test_captions_occur_in_training(domain: Domain) -> None:
    world, known = World(domain, SIZE, 0), set[str]()
    for start in range(0, 3840, 640):
        scenes = world.draw(made_up(), "text", start, 640)
        known |= {c for some in describe(world, scenes, "text", start)["captions"] for c in some}
    test = describe(world, world.draw(made_up(), "test", 0, 320, True), "test", 0)["captions"]
    assert sum(caption in known for some in test for caption in some) < 0.03 * 5 * len(test)


def test_domains_share_garments_and_differ_in_all_else() -> None:
    def said(domain: Domain) -> set[str]:
        return {w for _, _, some in described(domain, 320) for c in some[:5] for w in c.split()}

    town, nature = said(TOWN), said(NATURE)
    assert {"bag", "dress", "red", "left"} <= town & nature
    assert len(town - nature) > 60
    assert len(nature - town) > 60
    colours = [{tint.colour for tint in domain.tints} for domain in (TOWN, NATURE)]
    assert not colours[0] & colours[1]
    phrases = [{p for b in domain.backgrounds for p in b.phrases} for domain in (TOWN, NATURE)]
    assert not phrases[0] & phrases[1]
    for domain in (TOWN, NATURE):
        assert len(domain.tints) == TINTS
        names = {tint.names[0] for tint in domain.tints}
        assert all(set(background.hides) <= names for background in domain.backgrounds)


# --- prepared like any data set -----------------------------------------------------------------


def idx(array: Tensor) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.to(torch.uint8).numpy().tobytes()


ARGS = {"clip": 130, "text": 70, "val": 20, "test": 40, "seed": 3}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with a Fashion-MNIST of discs."""
    monkeypatch.delenv(fashion_mnist.VARIABLE, raising=False)
    contents = {}
    for prefix, count in (("train", 400), ("t10k", 100)):
        images, labels = shapes(count)
        contents[f"{prefix}-images-idx3-ubyte"] = idx(images)
        contents[f"{prefix}-labels-idx1-ubyte"] = idx(labels)
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    monkeypatch.setattr(fashion_mnist, "SHA256", digests)
    monkeypatch.setattr(fashion_mnist, "SPLITS", {"train": ("train", 400), "test": ("t10k", 100)})
    raw = tmp_path / "fashion_mnist/raw"
    raw.mkdir(parents=True)
    for name, content in contents.items():
        (raw / f"{name}.gz").write_bytes(gzip.compress(content))
    return tmp_path


def splits_of(root: Path, args: dict[str, Any], folder: str = "scenes") -> dict[str, SceneSet]:
    prepare("fashion_scenes", root, args, silent, folder)
    return {
        split: cast(SceneSet, load("fashion_scenes", split, root, args, folder)) for split in SPLITS
    }


def test_a_prepared_split_is_what_was_drawn(root: Path) -> None:
    splits = splits_of(root, ARGS)
    for split, data in splits.items():
        count = ARGS[split]
        images, labels = data.fetch(torch.arange(count))
        assert (len(data), data.channels, data.size) == (count, 3, SIZE)
        assert data.classes == fashion_mnist.CLASSES
        assert images.shape == (count, 3, SIZE, SIZE)
        assert torch.equal(labels, data.labels)
        assert (data.masks.dtype, data.boxes.dtype) == (torch.uint8, torch.int16)
        assert torch.equal(data.counts, (data.photos >= 0).sum(1))
        assert data.unseen.dtype == torch.bool
        for index in range(count):
            assert set(data.masks[index].unique().tolist()) - {0} == {
                kind + 1 for kind in data.boxes[index, : int(data.counts[index]), 0].tolist()
            }
            assert [len(data.captions(index, s)) for s in data.texts] == [5, 2, 2]
    assert splits["test"].unseen.any()
    assert not any(splits[split].unseen.any() for split in SPLITS[:3])
    assert len({data.digest for data in splits.values()}) == 4


def test_splits_and_domains_share_no_photograph(root: Path) -> None:
    used: dict[str, set[int]] = {split: set() for split in SPLITS}
    for domain in DOMAINS:
        for split, data in splits_of(root, {**ARGS, "domain": domain}, domain).items():
            used[split] |= set(data.photos.flatten().tolist()) - {-1}
    assert not used["clip"] & used["text"]
    assert not (used["clip"] | used["text"]) & used["val"]
    assert max(used["test"]) < 100  # of the test photographs
    for split, (low, high) in SHARES.items():  # 40 of each class, in turn
        assert {number // 10 for number in used[split]} <= set(range(int(40 * low), int(40 * high)))


def test_both_domains_take_turns_of_256_scenes(root: Path) -> None:
    args = {**ARGS, "clip": 300, "text": 20, "test": 20}
    data = {
        domain: splits_of(root, {**args, "domain": domain}, domain)["clip"]
        for domain in ("both", *DOMAINS)
    }
    for domain, chosen in (("town", slice(0, 256)), ("nature", slice(256, 300))):
        for name in ("images", "masks", "photos"):
            one, other = (getattr(data[which], name) for which in ("both", domain))
            assert torch.equal(one[chosen], other[chosen])
        for style, texts in data["both"].texts.items():
            assert texts[chosen] == data[domain].texts[style][chosen]
    assert not torch.equal(data["town"].images, data["nature"].images)
    assert len(data["both"]) == 300


def test_preparing_twice_gives_the_same_bytes(root: Path) -> None:
    digests = []
    for args in (ARGS, ARGS, {**ARGS, "seed": 4}, {**ARGS, "domain": "nature"}):
        prepare("fashion_scenes", root, args, silent)
        file = root / "fashion_scenes/manifest.json"
        digests.append(json.loads(file.read_text())["splits"])
        file.unlink()
    assert digests[0] == digests[1]
    assert digests[0] != digests[2]
    assert digests[0]["clip"]["files"].keys() == digests[3]["clip"]["files"].keys()
    for name, digest in digests[0]["clip"]["files"].items():
        assert digests[3]["clip"]["files"][name] != digest or "unseen" in name


@pytest.mark.parametrize(
    "args", [{"size": 20}, {"clip": 0}, {"seed": -1}, {"domain": "moon"}, {"number": 3}]
)
def test_wrong_arguments_are_refused(tmp_path: Path, args: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"data set 'fashion_scenes': args"):
        prepare("fashion_scenes", tmp_path, args, silent)


def test_the_contact_sheet_is_a_picture(root: Path) -> None:
    data = splits_of(root, ARGS)["test"]
    sheet = contact_sheet(data, spread(len(data), 4), dpi=40)
    assert sheet.startswith(b"\x89PNG")
    assert sheet == contact_sheet(data, spread(len(data), 4), dpi=40)
    assert sheet != contact_sheet(data, spread(len(data), 4), "poetic", dpi=40)
