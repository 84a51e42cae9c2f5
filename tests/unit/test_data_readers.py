"""Readers of the papers' data sets, on miniatures in the exact layouts."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import photo_sets
import pytest
import torch
from photo_sets import VALIDATION, WNIDS

from reprise.data import base, decode, pickles, wordnet
from reprise.data.base import ArraySet, ImageSet
from reprise.data.captioned import CaptionedSet
from reprise.data.photos import PhotoSet
from reprise.errors import ConfigError, DataError

SIZE = 16


def silent(message: str) -> None:
    """Take a log line and drop it."""


def ready(name: str, root: Path, home: Path, split: str, **args: Any) -> ImageSet:
    args = {"root": str(root), **args}
    base.prepare(name, home / "data", args, silent)
    return base.load(name, split, home / "data", args)


def refused(name: str, root: Path, home: Path, **args: Any) -> str:
    with pytest.raises(DataError) as caught:
        base.prepare(name, home / "data", {"root": str(root), **args}, silent)
    return str(caught.value)


def manifest(home: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((home / "data" / name / "manifest.json").read_text())
    return found


def pixels(path: Path) -> torch.Tensor:
    return torch.from_numpy(decode.decode(path.read_bytes(), SIZE).copy())


# --- ImageNet -----------------------------------------------------------------------------------


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    return photo_sets.imagenet_folders(tmp_path / "imagenet")


@pytest.mark.parametrize("keep", ["files", "arrays"])
def test_imagenet_has_its_classes_by_wordnet_id(imagenet: Path, tmp_path: Path, keep: str) -> None:
    train = ready("imagenet", imagenet, tmp_path, "train", size=SIZE, keep=keep)
    test = ready("imagenet", imagenet, tmp_path, "test", size=SIZE, keep=keep)
    assert train.classes == test.classes == WNIDS
    assert train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert test.labels.tolist() == list(VALIDATION), "in the order of the photographs' names"
    assert isinstance(train, PhotoSet if keep == "files" else ArraySet)
    images, labels = train.fetch(torch.tensor([5, 0, 5]))
    assert images.shape == (3, 3, SIZE, SIZE)
    assert images.dtype == torch.uint8
    assert labels.tolist() == [1, 0, 1]
    assert torch.equal(images[0], pixels(imagenet / "train" / WNIDS[1] / f"{WNIDS[1]}_1.JPEG"))
    images, _ = test.fetch(torch.tensor([3]))
    assert torch.equal(
        images[0], pixels(imagenet / "val" / WNIDS[1] / photo_sets.validation_name(4))
    )


@pytest.mark.parametrize("layout", [photo_sets.imagenet_flat, photo_sets.imagenet_kaggle])
def test_every_layout_of_imagenet_is_the_same_data_set(
    imagenet: Path, layout: Callable[[Path], Path], tmp_path: Path
) -> None:
    other = layout(tmp_path / "other")
    for home, root in (("a", imagenet), ("b", other)):
        data = ready("imagenet", root, tmp_path / home, "test", size=SIZE)
        assert data.labels.tolist() == list(VALIDATION)
    one, two = (manifest(tmp_path / home, "imagenet") for home in ("a", "b"))
    assert one["digest"] == two["digest"]


def test_a_flat_validation_folder_needs_its_ground_truth(tmp_path: Path) -> None:
    root = photo_sets.imagenet_flat(tmp_path / "imagenet")
    truth = root / "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt"
    kept = truth.read_text()
    truth.write_text(kept + "1\n")
    said = refused("imagenet", root, tmp_path, size=SIZE)
    assert f"{truth}: 7 lines, but 6 photographs in val/" in said
    truth.write_text(kept.replace("1", "9"))
    assert "meta.mat knows no class 9" in refused("imagenet", root, tmp_path, size=SIZE)
    (truth.parent / "meta.mat").write_bytes(b"no table")
    assert "meta.mat: not ImageNet's table" in refused("imagenet", root, tmp_path, size=SIZE)
    truth.unlink()
    said = refused("imagenet", root, tmp_path, size=SIZE)
    assert "ILSVRC2012_validation_ground_truth.txt and no LOC_val_solution.csv" in said
    assert "https://image-net.org/download.php" in said


@pytest.mark.parametrize("layout", [photo_sets.imagenet_folders, photo_sets.imagenet_flat])
def test_imagenet_is_read_without_what_nobody_trains_on(
    layout: Callable[[Path], Path], tmp_path: Path
) -> None:
    root = layout(tmp_path / "imagenet")
    whole = ready("imagenet", root, tmp_path / "whole", "test", size=SIZE)
    shutil.rmtree(root / "train")
    assert "train" in refused("imagenet", root, tmp_path, size=SIZE)
    alone = ready("imagenet", root, tmp_path / "alone", "test", size=SIZE, splits=["test"])
    assert alone.classes == whole.classes
    assert torch.equal(alone.labels, whole.labels)
    assert torch.equal(alone.fetch(torch.arange(3))[0], whole.fetch(torch.arange(3))[0])


def test_classes_of_both_splits_must_agree(imagenet: Path, tmp_path: Path) -> None:
    shutil.rmtree(imagenet / "val" / WNIDS[2])
    said = refused("imagenet", imagenet, tmp_path, size=SIZE)
    assert f"only one of the two has {WNIDS[2]}" in said


def test_kaggles_solution_must_name_every_photograph(tmp_path: Path) -> None:
    root = photo_sets.imagenet_kaggle(tmp_path / "imagenet")
    file = root / "LOC_val_solution.csv"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    said = refused("imagenet", root, tmp_path, size=SIZE)
    assert f"{file}: says nothing of ILSVRC2012_val_00000001" in said


def test_imagenet21k_takes_every_class_folder(tmp_path: Path) -> None:
    root = photo_sets.class_folders(tmp_path / "in21k" / "winter21_whole", WNIDS[:2], each=3).parent
    data = ready("imagenet21k", root, tmp_path, "train", size=SIZE)
    assert data.classes == WNIDS[:2]
    assert data.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert set(manifest(tmp_path, "imagenet21k")["splits"]) == {"train"}
    photo_sets.class_folders(root / "val", WNIDS[1:2], each=2)
    test = ready("imagenet21k", root, tmp_path, "test", size=SIZE)
    assert test.labels.tolist() == [1, 1]
    photo_sets.class_folders(root / "val", WNIDS[2:])
    assert f"train has no class {WNIDS[2]}" in refused("imagenet21k", root, tmp_path, size=SIZE)


def test_archives_that_are_not_unpacked_are_told(tmp_path: Path) -> None:
    root = tmp_path / "in21k"
    root.mkdir()
    (root / f"{WNIDS[0]}.tar").write_bytes(b"")
    said = refused("imagenet21k", root, tmp_path, size=SIZE)
    assert "1 archives in it are not unpacked" in said


def test_imagenet_v2_is_read_by_class_number(tmp_path: Path) -> None:
    known = wordnet.synsets("1k")
    folder = tmp_path / "v2" / "imagenetv2-matched-frequency-format-val"
    photo_sets.class_folders(folder, ["0", "2", "10", "999"], each=1)
    data = ready("imagenet_shifted", folder.parent, tmp_path, "test", size=SIZE, variant="v2")
    assert data.classes == tuple(known[number] for number in (0, 2, 10, 999))
    assert data.labels.tolist() == [0, 1, 2, 3]
    images, _ = data.fetch(torch.tensor([1]))
    assert torch.equal(images[0], pixels(folder / "2" / "photo_0.jpg")), "not folder 10"


@pytest.mark.parametrize(("variant", "folder"), [("a", "imagenet-a"), ("sketch", "sketch")])
def test_test_sets_by_wordnet_id(tmp_path: Path, variant: str, folder: str) -> None:
    root = photo_sets.class_folders(tmp_path / "root" / folder, [WNIDS[2], WNIDS[0]]).parent
    (root / folder / "README.txt").write_text("no class")
    data = ready("imagenet_shifted", root, tmp_path, "test", size=SIZE, variant=variant)
    assert data.classes == (WNIDS[0], WNIDS[2])
    said: list[str] = []
    args = {"root": str(root), "size": SIZE, "variant": variant}
    base.prepare("imagenet_shifted", tmp_path / "again", args, said.append)
    assert any("classes are absent" in line and "too high" in line for line in said)
    assert data.labels.tolist() == [0, 0, 1, 1]


def test_a_folder_of_no_class_of_imagenet_is_refused(tmp_path: Path) -> None:
    root = photo_sets.class_folders(tmp_path / "r", [WNIDS[0], "n99999999", "1000"])
    said = refused("imagenet_shifted", root, tmp_path, size=SIZE, variant="r")
    assert "no class of ImageNet is named 1000, n99999999" in said
    assert "https://github.com/hendrycks/imagenet-r" in said


def test_lists_of_classes_are_whole() -> None:
    sizes = {which: len(set(wordnet.synsets(which))) for which in ("1k", "a", "r", "21k")}
    assert sizes == {"1k": 1000, "a": 200, "r": 200, "21k": 21841}
    assert set(wordnet.synsets("a")) < set(wordnet.synsets("1k")) > set(wordnet.synsets("r"))
    assert wordnet.synsets("1k")[:3] == WNIDS


# --- transfer -----------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [10, 100])
def test_both_versions_of_cifar_are_the_same_data_set(tmp_path: Path, classes: int) -> None:
    binary = photo_sets.cifar_binary(tmp_path / "binary", classes)
    python = photo_sets.cifar_python(tmp_path / "python", classes)
    for home, root in (("a", binary), ("b", python)):
        for split, (images, labels) in photo_sets.cifar_pictures(classes).items():
            data = ready("cifar", root, tmp_path / home, split, classes=classes)
            assert data.classes == tuple(photo_sets.CIFAR_NAMES[classes])
            found, numbers = data.fetch(torch.arange(len(data)))
            assert torch.equal(found, torch.from_numpy(images).view(-1, 3, 32, 32))
            assert numbers.tolist() == labels
    one, two = (manifest(tmp_path / home, "cifar") for home in ("a", "b"))
    assert one["digest"] == two["digest"]


def test_the_binary_version_of_cifar_is_preferred(tmp_path: Path) -> None:
    root = photo_sets.cifar_binary(photo_sets.cifar_python(tmp_path / "root", 10), 10)
    for file in (root / "cifar-10-batches-py").iterdir():
        file.write_bytes(b"never read")
    assert len(ready("cifar", root, tmp_path, "train", classes=10)) == 10


class Evil:
    """Makes a file where it is unpickled by Python's own means."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.file), "w")


def test_a_pickle_that_would_run_code_is_refused_unrun(tmp_path: Path) -> None:
    root, made = photo_sets.cifar_python(tmp_path / "root", 10), tmp_path / "made"
    file = root / "cifar-10-batches-py" / "data_batch_3"
    file.write_bytes(pickle.dumps({"data": Evil(made), "labels": [1]}))
    said = refused("cifar", root, tmp_path, classes=10)
    assert f"{file}: not a pickle of plain data: it asks for io.open" in said
    assert not made.exists()
    pickle.loads(file.read_bytes())["data"].close()
    assert made.exists(), "the test's own pickle does nothing"


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_plain_pickles_are_read(tmp_path: Path, protocol: int) -> None:
    value = {"names": ["a", "é"], "array": np.arange(6, dtype=np.uint8).reshape(2, 3)}
    (tmp_path / "x").write_bytes(pickle.dumps(value, protocol))
    if protocol == 5:  # newer than any data set's; it names another function of NumPy's
        with pytest.raises(DataError, match="asks for numpy"):
            pickles.read(tmp_path / "x")
        return
    found = pickles.read(tmp_path / "x")
    assert found["names"] == value["names"]
    assert np.array_equal(found["array"], value["array"])


def test_harmed_files_of_cifar_are_named(tmp_path: Path) -> None:
    root = photo_sets.cifar_binary(tmp_path / "root", 100)
    file = root / "cifar-100-binary" / "train.bin"
    kept = file.read_bytes()
    file.write_bytes(kept[:-1])
    assert f"{file}: 30739 bytes are no whole" in refused("cifar", root, tmp_path, classes=100)
    file.write_bytes(kept[:1] + b"\xff" + kept[2:])
    assert "a label of split train is not below 100" in refused(
        "cifar", root, tmp_path, classes=100
    )
    file.unlink()
    assert f"{file}: cannot be read: No such file" in refused("cifar", root, tmp_path, classes=100)
    said = refused("cifar", root, tmp_path, classes=10)
    assert "no CIFAR-10 in it. Expected is cifar-10-batches-bin/" in said


def test_flowers_train_on_validation_photographs_too(tmp_path: Path) -> None:
    root = photo_sets.flowers(tmp_path / "flowers")
    train = ready("flowers102", root, tmp_path, "train", size=SIZE)
    test = ready("flowers102", root, tmp_path, "test", size=SIZE)
    assert train.labels.tolist() == [0, 101, 1, 49, 1], "photographs 1, 2, 4, 7 and 9"
    assert test.labels.tolist() == [1, 0, 49, 0]
    assert len(train.classes) == 102
    assert train.classes[0] == "pink primrose"
    assert torch.equal(train.fetch(torch.tensor([3]))[0][0], pixels(root / "jpg/image_00007.jpg"))
    alone = ready("flowers102", root, tmp_path, "train", size=SIZE, val_to_train=False)
    assert alone.labels.tolist() == [1, 101, 1], "photographs 9, 2 and 4"
    assert len(ready("flowers102", root, tmp_path, "val", size=SIZE, val_to_train=False)) == 2


def test_a_missing_flower_is_named(tmp_path: Path) -> None:
    root = photo_sets.flowers(tmp_path / "flowers")
    (root / "jpg/image_00008.jpg").unlink()
    said = refused("flowers102", root, tmp_path, size=SIZE)
    assert "1 of the 4 photographs that setid.mat names are not there" in said
    assert "jpg/image_00008.jpg" in said
    (root / "setid.mat").write_bytes(b"harmed")
    assert "setid.mat: not a MATLAB file" in refused("flowers102", root, tmp_path, size=SIZE)


def test_cars_have_their_classes_and_names(tmp_path: Path) -> None:
    root = photo_sets.cars(tmp_path / "cars")
    train = ready("stanford_cars", root, tmp_path, "train", size=SIZE)
    test = ready("stanford_cars", root, tmp_path, "test", size=SIZE)
    assert train.classes == photo_sets.CARS
    assert train.labels.tolist() == [2, 0, 1, 1, 0]
    assert test.labels.tolist() == [1, 2, 0]
    assert torch.equal(test.fetch(torch.tensor([1]))[0][0], pixels(root / "cars_test/00002.jpg"))
    nested = shutil.move(root, tmp_path / "above" / "stanford_cars")
    again = ready("stanford_cars", Path(nested).parent, tmp_path, "test", size=SIZE)
    assert again.digest == test.digest


def test_cars_without_test_labels_are_refused(tmp_path: Path) -> None:
    root = photo_sets.cars(tmp_path / "cars")
    file = root / "cars_test_annos_withlabels.mat"
    photo_sets._annotations(file, None)
    assert f"{file}: its annotations have no class" in refused(
        "stanford_cars", root, tmp_path, size=SIZE
    )
    file.unlink()
    assert f"{file}: no such file" in refused("stanford_cars", root, tmp_path, size=SIZE)


@pytest.mark.parametrize("year", [2017, 2018, 2019])
def test_inaturalist_is_read_by_its_json(tmp_path: Path, year: int) -> None:
    root = photo_sets.inaturalist(tmp_path / "inat", year)
    train = ready("inaturalist", root, tmp_path, "train", size=SIZE, year=year)
    test = ready("inaturalist", root, tmp_path, "test", size=SIZE, year=year)
    assert train.classes == ("species 0", "species 1", "species 2")
    assert train.labels.tolist() == [0, 2, 1, 2, 0]
    assert test.labels.tolist() == [1, 2]
    folder = "train_val_images" if year == 2017 else f"train_val{year}"
    assert torch.equal(
        train.fetch(torch.tensor([2]))[0][0], pixels(root / folder / "Plantae/1/train2.jpg")
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c["annotations"].pop(), "1 images have no category, the first: 100"),
        (lambda c: c["annotations"][0].update(category_id=9), "an unknown category or two"),
        (lambda c: c["categories"].pop(), "have different categories"),
        (lambda c: c["images"][0].pop("file_name"), "images[0] lacks one of id, file_name"),
        (lambda c: c["images"][1].update(file_name="x/y.jpg"), "The first:\n  x/y.jpg"),
        (lambda c: c.pop("images"), "no list 'images' in it"),
    ],
)
def test_malformed_json_of_inaturalist_is_named(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any], says: str
) -> None:
    root = photo_sets.inaturalist(tmp_path / "inat")
    file = root / "train2018.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    said = refused("inaturalist", root, tmp_path, size=SIZE, year=2018)
    assert says in said
    assert "train2018.json" in said


# --- styled captions ----------------------------------------------------------------------------

NAMES = [f"{1000 + number}_{number:04x}.jpg" for number in range(8)]


@pytest.fixture
def styled(tmp_path: Path) -> Path:
    said = {
        "humorous": (NAMES, [f"a joke about {name}" for name in NAMES]),
        "romantic": (NAMES[::-1], [f"a café for {name}" for name in NAMES[::-1]]),
    }
    root = photo_sets.flickrstyle(tmp_path / "style", said)
    for number, name in enumerate(NAMES):  # as Flickr30k calls them
        photo_sets.jpeg(root / "images" / f"{name.split('_')[0]}.jpg", number)
    return root


def test_the_release_of_flickrstyle_is_read_as_it_is(styled: Path, tmp_path: Path) -> None:
    splits = {}
    for split in ("train", "test"):
        data = ready("flickrstyle10k", styled, tmp_path, split, size=SIZE)
        assert isinstance(data, CaptionedSet)
        assert data.styles == ("humorous", "romantic")
        splits[split] = data
    assert (len(splits["train"]), len(splits["test"])) == (7, 1)
    for data in splits.values():
        for index in range(len(data)):
            (joke,), (romance,) = data.captions(index, "humorous"), data.captions(index, "romantic")
            name = joke.removeprefix("a joke about ")
            assert romance == f"a café for {name}"
            photo = styled / "images" / f"{name.split('_')[0]}.jpg"
            assert torch.equal(data.images[index], pixels(photo))


def test_a_caption_too_few_is_told(styled: Path, tmp_path: Path) -> None:
    file = styled / "FlickrStyle_v0.9/humor/funny_train.txt"
    file.write_text("\n".join(file.read_text().splitlines()[1:]) + "\n\n")
    said = refused("flickrstyle10k", styled, tmp_path, size=SIZE)
    assert f"{file}: 7 captions, but train.p names 8 photographs" in said
    (file.parent / "train.p").write_bytes(pickle.dumps({"a": 1}))
    assert "train.p: expected is a list of names" in refused(
        "flickrstyle10k", styled, tmp_path, size=SIZE
    )
    shutil.rmtree(styled / "FlickrStyle_v0.9" / "romantic")
    said = refused("flickrstyle10k", styled, tmp_path, size=SIZE)
    assert "romantic/romantic_train.txt: no such file" in said


# --- all of them --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("imagenet", {"size": SIZE}),
        ("imagenet21k", {"size": SIZE}),
        ("imagenet_shifted", {"size": SIZE, "variant": "a"}),
        ("inaturalist", {"size": SIZE, "year": 2019}),
        ("flowers102", {"size": SIZE}),
        ("stanford_cars", {"size": SIZE}),
        ("cifar", {"classes": 10}),
        ("flickrstyle10k", {"size": SIZE}),
    ],
)
def test_an_absent_root_says_what_is_expected_and_where_it_is_had(
    tmp_path: Path, name: str, args: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = refused(name, tmp_path / "absent", tmp_path, **args)
    assert f"{tmp_path / 'absent'}: no such folder. Expected" in said
    assert "https://" in said
    monkeypatch.delenv("REPRISE_NOWHERE", raising=False)
    with pytest.raises(DataError, match=r"variable REPRISE_NOWHERE is not set.*Expected"):
        base.prepare(name, tmp_path, {"root": "${REPRISE_NOWHERE}", **args}, silent)


def test_unknown_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"args\.year: Input should be 2017, 2018 or 2019"):
        base.prepare("inaturalist", tmp_path, {"root": ".", "size": 8, "year": 2020}, silent)
