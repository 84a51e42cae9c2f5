"""The public data sets of the papers' tables: what they are, whence they come, what they hold.

`reprise.data.get` fetches them and `reprise.data.check` compares what is there with what is said
here. Counts are those that the data sets' makers state. MD5 sums are those that their makers
publish (CIFAR, iNaturalist) or that torchvision (ImageNet, Flowers-102) or several public
repositories (the others) check against; where there is none, the file is taken as it comes and its
SHA-256 kept. Nothing here was downloaded to write it down.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reprise.errors import ConfigError, unknown


@dataclass(frozen=True)
class Archive:
    """A file to be fetched from the first of ``urls`` that serves it, and unpacked.

    ``md5`` is empty where none is published. ``into`` is the folder below the root that it is
    unpacked in (it stays a file where that is None), and ``makes`` what is there afterwards.
    """

    name: str
    urls: tuple[str, ...]
    makes: tuple[str, ...]
    md5: str = ""
    into: str | None = "."
    gigabytes: float = 0.0


@dataclass(frozen=True)
class Entry:
    """A data set: its reader with the arguments that tell it from others of that reader.

    ``layout`` shows what its folder holds. Where ``register`` is not empty nothing is fetched, and
    it says what to do. ``counts`` are photographs by split; ``class_list`` names a list of
    `wordnet`. ``more`` are further arguments that the reader needs (``size`` aside).
    """

    name: str
    title: str
    reader: str
    tells: Mapping[str, Any]
    licence: str
    gigabytes: float
    page: str
    layout: str
    counts: Mapping[str, int]
    classes: int
    archives: tuple[Archive, ...] = ()
    register: str = ""
    class_list: str = ""
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def args(self) -> dict[str, Any]:
        """The reader's arguments without root and size."""
        return {**self.more, **self.tells}


CIFAR = "https://www.cs.toronto.edu/~kriz/"
INAT = "https://ml-inat-competition-datasets.s3.amazonaws.com/"
COCO = ("http://images.cocodataset.org/", "https://s3.amazonaws.com/images.cocodataset.org/")
HUB = "https://huggingface.co/datasets/"
FLOWERS = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/"
HENDRYCKS = "https://people.eecs.berkeley.edu/~hendrycks/"
DETECTION = {
    "train": "annotations/instances_train2017.json",
    "test": "annotations/instances_val2017.json",
}
KARPATHY = Archive(
    "caption_datasets.zip",
    ("https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip",),
    ("dataset_coco.json", "dataset_flickr8k.json", "dataset_flickr30k.json"),
    gigabytes=0.04,
)
RESEARCH = "non-commercial research and education"
FLICKR = (
    "the photographs are given on request: https://shannon.cs.illinois.edu/DenotationGraph/ has "
    "the form; Karpathy's splits are in "
    "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip"
)
IMAGENET = "register at https://image-net.org/download.php and accept its terms"


def _cifar(classes: int, folder: str, md5: str) -> Entry:
    name = f"cifar-{classes}-binary.tar.gz"
    return Entry(
        f"cifar{classes}",
        f"CIFAR-{classes}",
        "cifar",
        {"classes": classes},
        "none stated",
        0.17,
        CIFAR + "cifar.html",
        f"{folder}/*.bin (or the Python version, read without running what may be in it)",
        {"train": 50_000, "test": 10_000},
        classes,
        (Archive(name, (CIFAR + name,), (folder,), md5, gigabytes=0.17),),
    )


def _inaturalist(
    year: int,
    classes: int,
    counts: tuple[int, int],
    gigabytes: int,
    archives: tuple[tuple[str, str, tuple[str, ...]], ...],
) -> Entry:
    folder = "train_val_images" if year == 2017 else f"train_val{year}"
    return Entry(
        f"inaturalist{year}",
        f"iNaturalist {year}",
        "inaturalist",
        {"year": year},
        f"{RESEARCH}; no redistribution",
        gigabytes,
        f"https://github.com/visipedia/inat_comp/tree/master/{year}",
        f"train{year}.json, val{year}.json, {folder}/<group>/<species>/*.jpg",
        {"train": counts[0], "test": counts[1]},
        classes,
        tuple(
            Archive(
                name,
                (f"{INAT}{year}/{name}",),
                makes,
                md5,
                gigabytes=gigabytes if name.startswith("train_val") and md5 else 0.03,
            )
            for name, md5, makes in archives
        ),
    )


def _shifted(
    variant: str,
    title: str,
    archive: Archive,
    page: str,
    layout: str,
    count: int,
    classes: int,
    class_list: str,
) -> Entry:
    return Entry(
        f"imagenet_{variant}",
        title,
        "imagenet_shifted",
        {"variant": variant},
        "MIT (its repository); the photographs are their makers'",
        archive.gigabytes,
        page,
        layout,
        {"test": count},
        classes,
        (archive,),
        class_list=class_list,
    )


def _coco(name: str, md5: str, makes: tuple[str, ...], gigabytes: float) -> Archive:
    return Archive(
        name.rpartition("/")[2], tuple(base + name for base in COCO), makes, md5, ".", gigabytes
    )


ENTRIES = (
    _cifar(10, "cifar-10-batches-bin", "c32a1d4ab5d03f1284b67883e8d87530"),
    _cifar(100, "cifar-100-binary", "03b5dce01913d631647c71ecec9e9cb8"),
    Entry(
        "flowers102",
        "Oxford Flowers-102",
        "flowers102",
        {},
        "none stated",
        0.35,
        FLOWERS,
        "jpg/image_00001.jpg, ..., imagelabels.mat, setid.mat",
        {"train": 2_040, "test": 6_149},
        102,
        (
            Archive(
                "102flowers.tgz",
                (FLOWERS + "102flowers.tgz",),
                ("jpg",),
                "52808999861908f626f3c1f4e79d11fa",
                gigabytes=0.35,
            ),
            Archive(
                "imagelabels.mat",
                (FLOWERS + "imagelabels.mat",),
                ("imagelabels.mat",),
                "e0620be6f572b9609742df49c70aed4d",
                None,
            ),
            Archive(
                "setid.mat",
                (FLOWERS + "setid.mat",),
                ("setid.mat",),
                "a5357ecc9cb78c4bef273ce3793fc85c",
                None,
            ),
        ),
    ),
    Entry(
        "stanford_cars",
        "Stanford Cars",
        "stanford_cars",
        {},
        RESEARCH,
        1.9,
        "https://www.kaggle.com/datasets/eduardo4jesus/stanford-cars-dataset",
        "cars_train/*.jpg, cars_test/*.jpg, devkit/cars_meta.mat, devkit/cars_train_annos.mat, "
        "cars_test_annos_withlabels.mat",
        {"train": 8_144, "test": 8_041},
        196,
        register="the makers' address is gone; a copy is at "
        "https://www.kaggle.com/datasets/eduardo4jesus/stanford-cars-dataset (sign in), where "
        "cars_test_annos_withlabels.mat may have to be had apart",
    ),
    _inaturalist(
        2017,
        5_089,
        (579_184, 95_986),
        186,
        (
            (
                "train_val_images.tar.gz",
                "7c784ea5e424efaec655bd392f87301f",
                ("train_val_images",),
            ),
            ("train_val2017.zip", "", ("train2017.json", "val2017.json")),
        ),
    ),
    _inaturalist(
        2018,
        8_142,
        (437_513, 24_426),
        120,
        (
            ("train_val2018.tar.gz", "b1c6952ce38f31868cc50ea72d066cc3", ("train_val2018",)),
            ("train2018.json.tar.gz", "bfa29d89d629cbf04d826a720c0a68b0", ("train2018.json",)),
            ("val2018.json.tar.gz", "f2ed8bfe3e9901cdefceb4e53cd3775d", ("val2018.json",)),
        ),
    ),
    _inaturalist(
        2019,
        1_010,
        (265_213, 3_030),
        74,
        (
            ("train_val2019.tar.gz", "c60a6e2962c9b8ccbd458d12c8582644", ("train_val2019",)),
            ("train2019.json.tar.gz", "b06a6683537867c0d5c7a45f407a306d", ("train2019.json",)),
            ("val2019.json.tar.gz", "5cc5509b0fe495f1c8c1362612448497", ("val2019.json",)),
        ),
    ),
    Entry(
        "imagenet",
        "ImageNet-1k (ILSVRC 2012)",
        "imagenet",
        {},
        RESEARCH,
        144,
        "https://image-net.org/download.php",
        "train/<wnid>/*.JPEG; val/<wnid>/*.JPEG, or val/*.JPEG with ILSVRC2012_devkit_t12/ or "
        "LOC_val_solution.csv; or Kaggle's ILSVRC/Data/CLS-LOC/",
        {"train": 1_281_167, "test": 50_000},
        1_000,
        register=f"{IMAGENET}; ILSVRC2012_img_train.tar (MD5 1d675b47d978889d74fa0da5fadfb00e) "
        "holds an archive a class, each to be unpacked to train/<wnid>/; ILSVRC2012_img_val.tar "
        "(29b22e2961454d5413ddabcf34fc5622) goes to val/, ILSVRC2012_devkit_t12.tar.gz "
        "(fa75699e90414af021442c21a62c3abf) beside it",
        class_list="1k",
    ),
    Entry(
        "imagenet_real",
        "ImageNet-ReaL",
        "imagenet_real",
        {},
        "Apache-2.0 (the labels); the photographs are ImageNet's",
        0.01,
        "https://github.com/google-research/reassessed-imagenet",
        "real.json beside ImageNet's train/<wnid>/ and val/<wnid>/",
        {"test": 46_837},
        1_000,
        (
            Archive(
                "real.json",
                (
                    "https://raw.githubusercontent.com/google-research/reassessed-imagenet/master/"
                    "real.json",
                ),
                ("real.json",),
                into=None,
            ),
        ),
        class_list="1k",
    ),
    Entry(
        "imagenet21k",
        "ImageNet-21k (winter 2021)",
        "imagenet21k",
        {},
        RESEARCH,
        1_200,
        "https://image-net.org/download.php",
        "<wnid>/*.JPEG, in the root, in winter21_whole/ or in train/",
        {"train": 13_153_500},
        19_167,
        register=f"{IMAGENET}; winter21_whole.tar.gz (MD5 ab313ce03179fd803a401b02c651c0a2) holds "
        "an archive a class, each to be unpacked to a folder of its name",
        class_list="21k",
    ),
    _shifted(
        "v2",
        "ImageNet-V2 (matched frequency)",
        Archive(
            "imagenetv2-matched-frequency.tar.gz",
            (
                HUB + "vaishaal/ImageNetV2/resolve/main/imagenetv2-matched-frequency.tar.gz",
                "https://s3-us-west-2.amazonaws.com/imagenetv2public/"
                "imagenetv2-matched-frequency.tar.gz",
            ),
            ("imagenetv2-matched-frequency-format-val",),
            gigabytes=1.3,
        ),
        "https://github.com/modestyachts/ImageNetV2",
        "imagenetv2-matched-frequency-format-val/<0 to 999>/*.jpeg",
        10_000,
        1_000,
        "1k",
    ),
    _shifted(
        "a",
        "ImageNet-A",
        Archive(
            "imagenet-a.tar",
            (HENDRYCKS + "imagenet-a.tar",),
            ("imagenet-a",),
            "c3e55429088dc681f30d81f4726b6595",
            gigabytes=0.7,
        ),
        "https://github.com/hendrycks/natural-adv-examples",
        "imagenet-a/<wnid>/*.jpg",
        7_500,
        200,
        "a",
    ),
    _shifted(
        "r",
        "ImageNet-R",
        Archive(
            "imagenet-r.tar",
            (HENDRYCKS + "imagenet-r.tar",),
            ("imagenet-r",),
            "a61312130a589d0ca1a8fca1f2bd3337",
            gigabytes=2.2,
        ),
        "https://github.com/hendrycks/imagenet-r",
        "imagenet-r/<wnid>/*.jpg",
        30_000,
        200,
        "r",
    ),
    _shifted(
        "sketch",
        "ImageNet-Sketch",
        Archive(
            "ImageNet-Sketch.zip",
            (HUB + "songweig/imagenet_sketch/resolve/main/data/ImageNet-Sketch.zip",),
            ("sketch",),
            gigabytes=7.8,
        ),
        "https://github.com/HaohanWang/ImageNet-Sketch",
        "sketch/<wnid>/*.JPEG",
        50_889,
        1_000,
        "1k",
    ),
    Entry(
        "coco_captions",
        "COCO captions, Karpathy's split",
        "captioned_photos",
        {"files": "dataset_coco.json"},
        "CC BY 4.0 (captions); the photographs are under the terms of Flickr",
        19.5,
        "https://cocodataset.org/#download",
        "train2014/*.jpg, val2014/*.jpg, dataset_coco.json",
        {"train": 113_287, "val": 5_000, "test": 5_000},
        1,
        (
            _coco("zips/train2014.zip", "0da8cfa0e090c266b78f30e2d2874f1a", ("train2014",), 13),
            _coco("zips/val2014.zip", "a3d79f5ed8d289b7a7554ce06a5782b3", ("val2014",), 6),
            KARPATHY,
        ),
        more={"layout": "karpathy", "images": "."},
    ),
    Entry(
        "flickr30k",
        "Flickr30k, Karpathy's split",
        "captioned_photos",
        {"files": "dataset_flickr30k.json"},
        RESEARCH,
        4.4,
        "https://shannon.cs.illinois.edu/DenotationGraph/",
        "flickr30k-images/*.jpg, dataset_flickr30k.json",
        {"train": 29_000, "val": 1_014, "test": 1_000},
        1,
        register=FLICKR,
        more={"layout": "karpathy", "images": "flickr30k-images"},
    ),
    Entry(
        "flickr8k",
        "Flickr8k, Karpathy's split",
        "captioned_photos",
        {"files": "dataset_flickr8k.json"},
        RESEARCH,
        1.1,
        "https://shannon.cs.illinois.edu/DenotationGraph/",
        "images/*.jpg, dataset_flickr8k.json",
        {"train": 6_000, "val": 1_000, "test": 1_000},
        1,
        register=FLICKR,
        more={"layout": "karpathy", "images": "images"},
    ),
    Entry(
        "flickrstyle10k",
        "FlickrStyle10K (the 7,000 that are public)",
        "flickrstyle10k",
        {},
        "none stated",
        4.4,
        "https://zhegan27.github.io/Papers/FlickrStyle_v0.9.zip",
        "images/*.jpg (Flickr30k's or Flickr8k's), FlickrStyle_v0.9/{humor,romantic}/",
        {"train": 6_000, "test": 1_000},
        1,
        (
            Archive(
                "FlickrStyle_v0.9.zip",
                ("https://zhegan27.github.io/Papers/FlickrStyle_v0.9.zip",),
                ("FlickrStyle_v0.9",),
            ),
        ),
    ),
    Entry(
        "ade20k",
        "ADE20K (scene parsing, 150 classes)",
        "mask_pairs",
        {"classes": "objectInfo150.txt"},
        f"{RESEARCH} (photographs); BSD-3 (annotations)",
        1.0,
        "https://groups.csail.mit.edu/vision/datasets/ADE20K/",
        "ADEChallengeData2016/{images,annotations}/{training,validation}/, objectInfo150.txt; "
        "args.root is ADEChallengeData2016",
        {"train": 20_210, "test": 2_000},
        150,
        (
            Archive(
                "ADEChallengeData2016.zip",
                ("http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip",),
                ("ADEChallengeData2016",),
                "7328b3957e407ddae1d3cbf487f149ef",
                gigabytes=1.0,
            ),
        ),
        more={
            "images": {"train": "images/training", "test": "images/validation"},
            "masks": {"train": "annotations/training", "test": "annotations/validation"},
            "ignore": [0],
            "short": 512,
            "canvas": [512, 683],
        },
    ),
    Entry(
        "coco_detection",
        "COCO 2017, boxes and outlines",
        "coco_objects",
        {"files": DETECTION},
        "CC BY 4.0 (annotations); the photographs are under the terms of Flickr",
        20,
        "https://cocodataset.org/#download",
        "train2017/*.jpg, val2017/*.jpg, annotations/instances_{train,val}2017.json",
        {"train": 118_287, "test": 5_000},
        80,
        (
            _coco("zips/train2017.zip", "cced6f7f71b7629ddf16f17bbcfab6b2", ("train2017",), 18),
            _coco("zips/val2017.zip", "442b8da7639aecaf257c1dceb8ba8c80", ("val2017",), 1),
            _coco(
                "annotations/annotations_trainval2017.zip",
                "f4bbac642086de4f52a3fdda2de5fa2c",
                tuple(DETECTION.values()),
                0.25,
            ),
        ),
        more={
            "images": {"train": "train2017", "test": "val2017"},
            "short": 800,
            "canvas": [800, 1333],
        },
    ),
)


def by_name(name: str, others: Mapping[str, Any] | None = None) -> Entry:
    """Return a data set by its name here; ConfigError lists these and the ``others``."""
    names = {entry.name: entry for entry in ENTRIES}
    if name not in names:
        raise ConfigError(unknown("data set", name, {**names, **(others or {})}))
    return names[name]


def of(reader: str, args: Mapping[str, Any]) -> Entry | None:
    """Return the data set that a reader is told to read, None where it is none of these."""
    for entry in ENTRIES:
        if entry.reader == reader and all(args.get(k) == v for k, v in entry.tells.items()):
            return entry
    return None
