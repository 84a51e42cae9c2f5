"""Miniatures of public data sets in their exact layouts, a few photographs each."""

import csv
import json
import os
import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from numpy.typing import NDArray
from PIL import Image

SHARED = Path(os.environ.get("REPRISE_SHARED_DATA", Path(__file__).parents[3] / "shared/data"))
WNIDS = ("n01440764", "n01443537", "n01484850")  # the first three of ImageNet
WIDE, TALL = (40, 28), (26, 36)


def picture(seed: int, width: int = 40, height: int = 28) -> NDArray[np.uint8]:
    """Return a smooth picture, uint8 [height, width, 3]."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image)


def jpeg(path: Path, seed: int) -> Path:
    """Write a photograph; every other one is upright."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(seed, *(TALL if seed % 2 else WIDE))).save(path, "JPEG", quality=92)
    return path


def imagenet_train(root: Path, each: int = 4) -> None:
    for place, wnid in enumerate(WNIDS):
        for number in range(each):
            jpeg(root / "train" / wnid / f"{wnid}_{number}.JPEG", 10 * place + number)


# Class of each validation photograph, by number in `WNIDS`.
VALIDATION = (2, 0, 1, 1, 0, 2)


def validation_name(number: int) -> str:
    return f"ILSVRC2012_val_{number:08}.JPEG"


def imagenet_folders(root: Path) -> Path:
    """Write ImageNet with class folders in both splits."""
    imagenet_train(root)
    for number, place in enumerate(VALIDATION, 1):
        jpeg(root / "val" / WNIDS[place] / validation_name(number), 100 + number)
    return root


def imagenet_flat(root: Path) -> Path:
    """Write ImageNet's validation photographs in one folder, beside the development kit."""
    imagenet_train(root)
    for number in range(1, len(VALIDATION) + 1):
        jpeg(root / "val" / validation_name(number), 100 + number)
    kit = root / "ILSVRC2012_devkit_t12" / "data"
    kit.mkdir(parents=True)
    # The kit numbers classes in an order of its own, and inner nodes after them.
    ids = {WNIDS[1]: 1, WNIDS[2]: 2, WNIDS[0]: 3, "n00001740": 4}
    rows = np.zeros(
        (len(ids), 1),
        dtype=[("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")],
    )
    for row, (wnid, number) in zip(rows[:, 0], ids.items(), strict=True):
        row["ILSVRC2012_ID"], row["WNID"], row["words"] = number, wnid, "word"
        row["num_children"] = 0 if wnid in WNIDS else 3
    scipy.io.savemat(kit / "meta.mat", {"synsets": rows})
    truth = "".join(f"{ids[WNIDS[place]]}\n" for place in VALIDATION)
    (kit / "ILSVRC2012_validation_ground_truth.txt").write_text(truth)
    return root


def imagenet_kaggle(root: Path) -> Path:
    """Write ImageNet as Kaggle's archive holds it."""
    base = root / "ILSVRC" / "Data" / "CLS-LOC"
    imagenet_train(base)
    for number in range(1, len(VALIDATION) + 1):
        jpeg(base / "val" / validation_name(number), 100 + number)
    with (root / "LOC_val_solution.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["ImageId", "PredictionString"])
        for number, place in [*enumerate(VALIDATION, 1)][::-1]:  # in no particular order
            name = Path(validation_name(number)).stem
            writer.writerow([name, f"{WNIDS[place]} 1 2 30 40 {WNIDS[place]} 5 5 9 9 "])
    return root


def cifar_pictures(classes: int) -> dict[str, tuple[NDArray[np.uint8], list[int]]]:
    """Return images uint8 [n, 3072] and labels of each split."""
    return {
        split: (
            np.stack([picture(first + n, 32, 32).transpose(2, 0, 1).ravel() for n in range(count)]),
            [(7 * n + first) % classes for n in range(count)],
        )
        for split, count, first in (("train", 10, 0), ("test", 4, 50))
    }


CIFAR_NAMES = {
    10: ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"],
    100: [f"thing_{number}" for number in range(100)],
}


def cifar_binary(root: Path, classes: int) -> Path:
    """Write the binary version: five files of training images for ten classes, one for 100."""
    home = root / ("cifar-10-batches-bin" if classes == 10 else "cifar-100-binary")
    home.mkdir(parents=True)
    names = "".join(f"{name}\n" for name in CIFAR_NAMES[classes])
    (home / ("batches.meta.txt" if classes == 10 else "fine_label_names.txt")).write_text(names)
    for split, (images, labels) in cifar_pictures(classes).items():
        rows = [
            (b"" if classes == 10 else b"\x07") + bytes([label]) + image.tobytes()
            for image, label in zip(images, labels, strict=True)
        ]
        for name, some in _cifar_files(split, classes, rows):
            (home / f"{name}.bin").write_bytes(b"".join(some))
    return root


def cifar_python(root: Path, classes: int) -> Path:
    """Write the Python version, in pickles of protocol 2 as Python 2 wrote them."""
    home = root / ("cifar-10-batches-py" if classes == 10 else "cifar-100-python")
    home.mkdir(parents=True)
    meta, names = ("batches.meta", "label_names") if classes == 10 else ("meta", "fine_label_names")
    (home / meta).write_bytes(pickle.dumps({names: CIFAR_NAMES[classes]}, protocol=2))
    key = "labels" if classes == 10 else "fine_labels"
    for split, (images, labels) in cifar_pictures(classes).items():
        for name, some in _cifar_files(split, classes, list(range(len(labels)))):
            content = {"data": images[some], key: [labels[n] for n in some]}
            (home / name).write_bytes(pickle.dumps(content, protocol=2))
    return root


def _cifar_files(split: str, classes: int, rows: list[Any]) -> Iterable[tuple[str, list[Any]]]:
    if classes == 100:
        return [(split, rows)]
    if split == "test":
        return [("test_batch", rows)]
    return [(f"data_batch_{number + 1}", rows[2 * number : 2 * number + 2]) for number in range(5)]


def flowers(root: Path) -> Path:
    """Write nine flowers: three to train on, two to validate, four to test."""
    for number in range(1, 10):
        jpeg(root / "jpg" / f"image_{number:05}.jpg", number)
    labels = np.array([[1, 102, 2, 2, 1, 50, 50, 1, 2]], np.uint8)
    scipy.io.savemat(root / "imagelabels.mat", {"labels": labels})
    splits = {"trnid": [[9, 2, 4]], "valid": [[1, 7]], "tstid": [[3, 5, 6, 8]]}
    scipy.io.savemat(root / "setid.mat", {key: np.array(v, np.uint16) for key, v in splits.items()})
    return root


CARS = ("AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Acura TL Sedan 2012")


def cars(root: Path) -> Path:
    """Write five cars to train on and three to test."""
    names = np.empty((1, len(CARS)), object)
    names[0, :] = CARS
    (root / "devkit").mkdir(parents=True)
    scipy.io.savemat(root / "devkit" / "cars_meta.mat", {"class_names": names})
    kinds = {"train": [3, 1, 2, 2, 1], "test": [2, 3, 1]}
    for first, (split, classes) in enumerate(kinds.items()):
        for number in range(len(classes)):
            jpeg(root / f"cars_{split}" / f"{number + 1:05}.jpg", 20 * first + number)
        file = "devkit/cars_train_annos.mat"
        if split == "test":
            file = "cars_test_annos_withlabels.mat"
        _annotations(root / file, classes)
    return root


def _annotations(path: Path, classes: list[int] | None, count: int = 3) -> None:
    fields = ["bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2"] + (["class"] if classes else [])
    rows = np.zeros((1, len(classes or range(count))), [(name, "O") for name in [*fields, "fname"]])
    for number, row in enumerate(rows[0]):
        for name in fields:
            row[name] = 1
        if classes:
            row["class"] = classes[number]
        row["fname"] = f"{number + 1:05}.jpg"
    scipy.io.savemat(path, {"annotations": rows})


def inaturalist(root: Path, year: int = 2018) -> Path:
    """Write five photographs to train on and two to validate, of three species."""
    folder = "train_val_images" if year == 2017 else f"train_val{year}"
    categories = [{"id": id_, "name": f"species {id_}"} for id_ in (2, 0, 1)]
    for split, kinds in (("train", [0, 2, 1, 2, 0]), ("val", [1, 2])):
        images = []
        for number, kind in enumerate(kinds):
            name = f"{folder}/Plantae/{kind}/{split}{number}.jpg"
            jpeg(root / name, 30 * len(split) + number)
            images.append({"id": 100 + number, "file_name": name, "width": 1, "height": 1})
        annotations = [
            {"id": number, "image_id": 100 + number, "category_id": kind}
            for number, kind in [*enumerate(kinds)][::-1]
        ]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (root / f"{split}{year}.json").write_text(json.dumps(content))
    return root


def class_folders(root: Path, names: Iterable[str], each: int = 2) -> Path:
    """Write a folder of photographs for each name."""
    for place, name in enumerate(names):
        for number in range(each):
            jpeg(root / name / f"photo_{number}.jpg", 40 + 5 * place + number)
    return root


def flickrstyle(root: Path, captions: Mapping[str, tuple[list[str], list[str]]]) -> Path:
    """Write the release of FlickrStyle10K: by style the photographs' names, and captions."""
    texts = {
        "humorous": ("humor", "funny_train.txt"),
        "romantic": ("romantic", "romantic_train.txt"),
    }
    for style, (names, lines) in captions.items():
        folder, file = texts[style]
        home = root / "FlickrStyle_v0.9" / folder
        home.mkdir(parents=True)
        (home / "train.p").write_bytes(pickle.dumps(names, protocol=0))
        (home / file).write_bytes("".join(f"{line}\n" for line in lines).encode("windows-1252"))
    return root


def ade20k(root: Path) -> Path:
    """Write ADE20K's scene parsing benchmark: values 1 to 150 are classes, 0 is none."""
    home = root / "ADEChallengeData2016"
    rows = [f"{number}\t0.1\t10\t2\t0\tthing {number}, object" for number in range(1, 151)]
    (home / "images").mkdir(parents=True)
    table = "\n".join(["Idx\tRatio\tTrain\tVal\tStuff\tName", *rows]) + "\n"
    (home / "objectInfo150.txt").write_text(table)
    for split, short, count in (("training", "train", 3), ("validation", "val", 2)):
        for number in range(1, count + 1):
            name = f"ADE_{short}_{number:08}"
            jpeg(home / "images" / split / f"{name}.jpg", number)
            width, height = TALL if number % 2 else WIDE
            mask = np.zeros((height, width), np.uint8)
            mask[:, : width // 2] = 150 if number == 1 else number
            path = home / "annotations" / split / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(path)
    return home


def karpathy(root: Path, name: str) -> Path:
    """Write a data set in Karpathy's JSON: ``coco`` with two folders of photographs, or other."""
    images = []
    for number, split in enumerate(("train", "restval", "train", "val", "test")):
        kind = "train" if split == "train" else "val"
        entry: dict[str, Any] = {"filename": f"{9000 + number}.jpg", "split": split}
        folder = "flickr30k-images"
        if name == "coco":
            folder = f"{kind}2014"
            entry = {"filepath": folder, "filename": f"COCO_{folder}_{number:012}.jpg"}
            entry |= {"cocoid": number, "split": split}
        elif split == "restval":
            entry["split"] = "train"
        jpeg(root / folder / entry["filename"], number)
        sentences = [f"photograph {number}, caption {n}" for n in range(5)]
        entry["imgid"] = number
        entry["sentences"] = [{"raw": raw, "tokens": raw.split()} for raw in sentences]
        images.append(entry)
    file = root / f"dataset_{name}.json"
    file.write_text(json.dumps({"dataset": name, "images": images}))
    return root


def coco_detection(root: Path) -> Path:
    """Write COCO 2017: two photographs to train on and one to validate, with category ids' gaps."""
    for split, count in (("train", 2), ("val", 1)):
        images, annotations = [], []
        for number in range(count):
            name = f"{number + 5 * len(split):012}.jpg"
            jpeg(root / f"{split}2017" / name, number)
            width, height = TALL if number % 2 else WIDE
            images.append({"id": number, "file_name": name, "width": width, "height": height})
            annotations.append(
                {
                    "id": number,
                    "image_id": number,
                    "category_id": 90,
                    "bbox": [2.0, 3.0, 10.0, 12.0],
                    "area": 120.0,
                    "iscrowd": 0,
                    "segmentation": [[2.0, 3.0, 12.0, 3.0, 12.0, 15.0, 2.0, 15.0]],
                }
            )
        categories = [{"id": 1, "name": "person"}, {"id": 90, "name": "toothbrush"}]
        content = {"images": images, "annotations": annotations, "categories": categories}
        file = root / "annotations" / f"instances_{split}2017.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(content))
    return root
