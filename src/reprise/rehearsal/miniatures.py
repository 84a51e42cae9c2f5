"""Generates small data sets in the layouts in which readers of `reprise.data.sets` find real ones.

Files, names of files and folders, JSON keys, numbers of classes of dense labels and values of masks
are as in the public sets; photographs are noise, and few. What is generated follows from the
reader's arguments alone.
"""

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

from reprise import registry
from reprise.config import Dataset
from reprise.data import origin, wordnet
from reprise.data.sets import cifar, flickrstyle10k, imagenet_shifted, stanford_cars
from reprise.errors import ConfigError
from reprise.files import write_atomic
from reprise.locks import hold
from reprise.provenance import digest_of
from reprise.rehearsal.drawn import CAPTIONS, json_file, mask, photo, pixels, sentence, sentences

FOLDERS = 4  # classes of which there are photographs
CARS, SPECIES = 196, {2017: 5089, 2018: 8142, 2019: 1010}  # classes that are named in files
EACH = {"train": 2, "val": 1}  # photographs of each
CAPTIONED = {"train": 8, "restval": 2, "val": 2, "test": 50}  # CIDEr needs 50
STYLED = 350  # a seventh is drawn for testing
PAIRS = {"train": 2, "val": 2, "test": 2}
DENSE_CLASSES = {".json": 12, ".txt": 150}  # of CamVid and of ADE20K
# COCO's categories have numbers up to 90, of which these are none.
COCO_CATEGORIES = sorted({*range(1, 91)} - {12, 26, 29, 30, 45, 66, 68, 69, 71, 83})
DONE = "rehearsal.txt"  # holds the digest of what a folder was generated from

Args = Any  # a reader's settings


def make(dataset: Dataset) -> None:
    """Generate the files of a data set at ``args.root``, unless they are there.

    Raises ConfigError where its reader's layout is not known here. Safe to call from several
    processes at once.
    """
    if "root" not in dataset.args:
        return
    if dataset.name not in LAYOUTS:
        raise ConfigError(
            f"no miniature of data sets that {dataset.name!r} reads; there are those of "
            f"{', '.join(sorted(LAYOUTS))}: add one to reprise.rehearsal.miniatures"
        )
    root = Path(str(dataset.args["root"]))
    made_from = digest_of({"name": dataset.name, "args": origin.what(dataset.args)})
    with hold(root.parent / f".{root.name}.lock", f"miniature {root.name}", wait=True):
        done = root / DONE
        if done.is_file() and done.read_text(encoding="utf-8") == made_from:
            return
        shutil.rmtree(root, ignore_errors=True)
        args = registry.load("data set", dataset.name).Args.model_validate(dataset.args)
        LAYOUTS[dataset.name](root, args)
        write_atomic(done, made_from)


# --- folders of classes -------------------------------------------------------------------------


def _folders(root: Path, args: Args) -> None:
    """Photographs in one folder for each class, named as ImageNet's are."""
    write_classes(root / "train", root / "val", args.size)


def write_classes(train: Path, val: Path, size: int) -> None:
    """Write folders of the first classes of ImageNet-1k, those of validation by their numbers."""
    number = 0
    for name in wordnet.synsets("1k")[:FOLDERS]:
        for place in range(EACH["train"]):
            photo(train / name / f"{name}_{place}.JPEG", size)
        for _ in range(EACH["val"]):
            number += 1
            photo(val / name / f"ILSVRC2012_val_{number:08d}.JPEG", size)


def _real(root: Path, args: Args) -> None:
    """The same with ReaL's labels: one right answer, two, or none."""
    _folders(root, args)
    answers = [[label] for label in range(FOLDERS) for _ in range(EACH["val"])]
    answers[0], answers[-1] = [0, 1], []
    json_file(root / args.labels, answers)


def _whole_imagenet(root: Path, args: Args) -> None:
    """ImageNet-21k as of winter 2021, which has no validation photographs."""
    write_classes(root / "winter21_whole", root / "winter21_whole", args.size)


def _shifted(root: Path, args: Args) -> None:
    """Test photographs of classes named by number (V2) or by WordNet id."""
    home = root / imagenet_shifted.FOLDERS[args.variant]
    for number, name in enumerate(wordnet.synsets("1k")[:FOLDERS]):
        for place in range(EACH["val"]):
            file = f"{name}_{place}.jpg"
            photo(home / (str(number) if args.variant == "v2" else name) / file, args.size)


# --- labels in files ----------------------------------------------------------------------------


def _cifar(root: Path, args: Args) -> None:
    """The binary version, with two images of each class to train on."""
    folder, splits, names, before = cifar.BINARY[args.classes]
    lines = [f"class_{number}\n" for number in range(args.classes)]
    write_atomic(root / folder / names, "".join(lines))
    for split, files in splits.items():
        count = (2 * args.classes if split == "train" else 8) // len(files)
        for place, file in enumerate(files):
            rows = [
                bytes(before - 1)
                + bytes([(count * place + number) % args.classes])
                + pixels(f"{file}{number}", cifar.SIDE, cifar.SIDE).transpose(2, 0, 1).tobytes()
                for number in range(count)
            ]
            write_atomic(root / folder / file, b"".join(rows))


def _flowers(root: Path, args: Args) -> None:
    """Photographs of a few of the 102 flowers, with classes and splits in MATLAB files."""
    for number in range(1, 13):
        photo(root / "jpg" / f"image_{number:05}.jpg", args.size)
    labels = np.array([[1 + number % FOLDERS for number in range(12)]], np.uint8)
    scipy.io.savemat(root / "imagelabels.mat", {"labels": labels})
    splits = {"trnid": [range(1, 5)], "valid": [range(5, 9)], "tstid": [range(9, 13)]}
    found = {key: np.array([list(numbers[0])], np.uint16) for key, numbers in splits.items()}
    scipy.io.savemat(root / "setid.mat", found)


def _cars(root: Path, args: Args) -> None:
    """Photographs of a few of the 196 cars, with classes in MATLAB files."""
    names = np.empty((1, CARS), object)
    names[0, :] = [f"Car {number}" for number in range(CARS)]
    (root / "devkit").mkdir(parents=True)
    scipy.io.savemat(root / "devkit" / stanford_cars.META, {"class_names": names})
    for split, file in (("train", f"devkit/{stanford_cars.TRAIN}"), ("test", stanford_cars.TEST)):
        rows = np.zeros((1, 2 * FOLDERS), [("class", "O"), ("fname", "O")])
        for number, row in enumerate(rows[0]):
            row["class"], row["fname"] = 1 + number % FOLDERS, f"{number + 1:05}.jpg"
            photo(root / f"cars_{split}" / f"{number + 1:05}.jpg", args.size)
        scipy.io.savemat(root / file, {"annotations": rows})


def _inaturalist(root: Path, args: Args) -> None:
    """Photographs of a few of all species, which are listed in COCO's way."""
    categories = [{"id": id_, "name": f"species {id_}"} for id_ in range(SPECIES[args.year])]
    for split in EACH:
        images, said = [], []
        for number in range(EACH[split] * FOLDERS):
            name = f"train_val{args.year}/Plantae/{number % FOLDERS}/{split}{number}.jpg"
            photo(root / name, args.size)
            images.append({"id": number, "file_name": name})
            said.append({"id": number, "image_id": number, "category_id": number % FOLDERS})
        content = {"images": images, "annotations": said, "categories": categories}
        json_file(root / f"{split}{args.year}.json", content)


# --- captions -----------------------------------------------------------------------------------


def _captions(root: Path, args: Args) -> None:
    {"karpathy": _karpathy, "coco": _coco_captions, "flickrstyle": _styles}[args.layout](root, args)


def _karpathy(root: Path, args: Args) -> None:
    """One JSON of all splits; photographs of COCO lie in two folders, which it names."""
    images, number = [], 0
    for split, count in CAPTIONED.items():
        folder = f"{'train' if split == 'train' else 'val'}2014"
        own = {"filepath": folder} if args.images == "." else {}
        for _ in range(count):
            name = f"{number:012d}.jpg"
            photo(root / args.images / own.get("filepath", "") / name, args.size)
            said = [
                {"raw": text, "tokens": text.rstrip(".").split(), "imgid": number, "sentid": place}
                for place, text in enumerate(sentences(number), CAPTIONS * number)
            ]
            entry = {"filename": name, "imgid": number, "split": split, "sentences": said}
            images.append({**own, **entry})
            number += 1
    json_file(root / args.files, {"dataset": root.name, "images": images})


def _coco_captions(root: Path, args: Args) -> None:
    first = 0
    for split, file in args.files.items():
        folder = args.images if isinstance(args.images, str) else args.images[split]
        numbers = range(first, first + CAPTIONED[split])
        names = {number: f"{number:012d}.jpg" for number in numbers}
        for name in names.values():
            photo(root / folder / name, args.size)
        said = [
            {"id": CAPTIONS * number + place, "image_id": number, "caption": text}
            for number in numbers
            for place, text in enumerate(sentences(number))
        ]
        images = [{"id": number, "file_name": name} for number, name in names.items()]
        json_file(root / file, {"images": images, "annotations": said})
        first = numbers.stop


def _styles(root: Path, args: Args) -> None:
    entries = []
    for number in range(STYLED):
        name = f"{number:012d}.jpg"
        photo(root / args.images / name, args.size)
        said = {style: sentence(number + 1000 * k) for k, style in enumerate(args.files)}
        entries.append({"image_id": number, "file_name": name, "split": "train", **said})
    for file in {*args.files.values()}:
        json_file(root / file, entries)


def _style_release(root: Path, args: Args) -> None:
    """A text for each style, and a pickled list of the photographs of its lines."""
    names = [f"{1000000 + number}.jpg" for number in range(STYLED)]
    for name in names:
        photo(root / args.images / name, args.size)
    for k, (folder, text) in enumerate(flickrstyle10k.STYLES.values()):
        home = root / args.release / folder
        lines = [f"{sentence(number + 1000 * k)}\n" for number in range(STYLED)]
        write_atomic(home / text, "".join(lines))
        write_atomic(home / flickrstyle10k.LIST, pickle.dumps(names, protocol=0))


# --- masks and objects --------------------------------------------------------------------------


def _pairs(root: Path, args: Args) -> None:
    """Photographs and masks of one name, and the list of classes that the masks' values mean."""
    values = _classes(root, args.classes, args.offset)
    for split, folder in args.images.items():
        for number in range(PAIRS[split]):
            name = f"{split}_{number:08d}"
            photo(root / folder / f"{name}.jpg", args.short, args.short * 4 // 3)
            file = root / args.masks[split] / f"{name}.png"
            mask(file, args.short, args.short * 4 // 3, values)


def _classes(root: Path, listed: str | list[str], offset: int) -> list[int]:
    """Write the file of a list of classes, where it is one, and return their values."""
    if not isinstance(listed, str):
        return list(range(offset, offset + len(listed)))
    ending = Path(listed).suffix
    count = DENSE_CLASSES[ending]
    if ending == ".json":
        classes = [{"id": value, "name": f"class {value}"} for value in range(count)]
        json_file(root / listed, {"classes": classes})
        return list(range(count))
    rows = ["Idx\tRatio\tTrain\tVal\tStuff\tName"]
    rows += [f"{value}\t0.01\t100\t10\t0\tclass {value}" for value in range(1, count + 1)]
    write_atomic(root / listed, "\n".join(rows) + "\n")
    return list(range(1, count + 1))


def _objects(root: Path, args: Args) -> None:
    """Photographs with boxes and polygons in COCO's JSON of instances, one crowd among them."""
    values = _classes(root, args.semantic_classes, 1) if args.semantic else []
    height, width, first = args.short, args.short * 4 // 3, 1
    for split, file in args.files.items():
        images, objects = [], []
        for number in range(first, first + PAIRS[split]):
            name = f"{number:012d}.jpg"
            photo(root / args.images[split] / name, height, width)
            if args.semantic:
                mask(root / args.semantic[split] / f"{number:012d}.png", height, width, values)
            images.append({"id": number, "file_name": name, "height": height, "width": width})
            objects += [_object(number, place, height, width) for place in range(3)]
        categories = [{"id": one, "name": f"category {one}"} for one in COCO_CATEGORIES]
        json_file(root / file, {"images": images, "annotations": objects, "categories": categories})
        first += PAIRS[split]


def _object(image: int, place: int, height: int, width: int) -> dict[str, Any]:
    """Return one of three objects side by side, each a quadrangle in its box; the last a crowd."""
    across, down = width / 4, height / 2
    left, top = place * width / 3, height / 5
    corners = [left, top, left + across, top, left + across, top + down, left, top + down]
    crowd = place == 2 and image % 2 == 0
    area = height * width
    runs = {"size": [height, width], "counts": [area // 2, area // 4, area - area // 2 - area // 4]}
    return {
        "id": 10 * image + place,
        "image_id": image,
        "category_id": COCO_CATEGORIES[(7 * image + place) % len(COCO_CATEGORIES)],
        "bbox": [left, top, across, down],
        "area": across * down,
        "iscrowd": int(crowd),
        "segmentation": runs if crowd else [corners],
    }


LAYOUTS: dict[str, Callable[[Path, Args], None]] = {
    "captioned_photos": _captions,
    "cifar": _cifar,
    "coco_objects": _objects,
    "flickrstyle10k": _style_release,
    "flowers102": _flowers,
    "image_folder": _folders,
    "imagenet": _folders,
    "imagenet21k": _whole_imagenet,
    "imagenet_real": _real,
    "imagenet_shifted": _shifted,
    "inaturalist": _inaturalist,
    "mask_pairs": _pairs,
    "stanford_cars": _cars,
}
