"""LITv2's printed numbers: rows typed a second time, and every cell against the tables as read.

Those tables are in a file beside the checkout; without it only the typed rows and counts are.
"""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from reprise import published

FOLDER = Path(__file__).parents[2] / "params/published/litv2"
SHARED = Path(os.environ.get("REPRISE_SHARED_DATA", Path(__file__).parents[3] / "shared/data"))
FACTS = SHARED.parent / "papers"
MODEL = ("params_m", "gflops", "images_per_second", "train_memory_gb", "test_memory_gb", "top1")
TIMED = tuple(f"{gpu}_images_per_second" for gpu in ("a100", "v100", "rtx6000", "rtx3090"))
GPUS = ("params_m", "gflops", *TIMED, "top1")
LAYER = ("params_m", "mflops", "cpu_images_per_second", "gpu_images_per_second")
ABSTRACT = "hilo_cpu_speedup"
ALPHA = ("params_m", "gflops", "top1")
DENSE = ("params_m", "gflops", "images_per_second")
RETINANET = (*DENSE, "ap")
MASK_RCNN = (*DENSE, "box_ap", "mask_ap")
SEGMENTED = (*DENSE, "miou")

# A dash is a cell that the paper leaves empty, or says in words.
TYPED = [
    ("imagenet1k", "ResNet-50", MODEL, "26 4.1 1279 7.9 2.8 80.4"),
    ("imagenet1k", "LITv2-S", MODEL, "28 3.7 1471 5.1 1.2 82.0"),
    ("imagenet1k", "LITv2-M", MODEL, "49 7.5 812 8.8 1.4 83.3"),
    ("imagenet1k", "Swin-B@384", MODEL, "88 47.1 142 - 6.1 84.5"),
    ("imagenet1k", "LITv2-B @384", MODEL, "87 39.7 198 35.8 4.6 84.7"),
    ("imagenet1k", "LITv2-S (logged evaluation)", ("top1", "top5"), "82.044 95.666"),
    ("throughput_gpus", "CaiT-XS24", GPUS, "27 5.4 991 484 299 623 81.8"),
    ("throughput_gpus", "LITv2-S", GPUS, "28 3.7 1874 1304 928 1471 82.0"),
    ("attention_layer", "MSA", LAYER, "2.36 521.4 505 4403"),
    ("attention_layer", "SRA", (*LAYER, ABSTRACT), "4.72 419.6 710 4810 1.4"),
    ("attention_layer", "Local Window", (*LAYER, ABSTRACT), "2.36 477.2 631 4537 1.6"),
    ("attention_layer", "HiLo", LAYER, "2.20 298.3 1029 5104"),
    ("alpha", "0 Lo-Fi + 12 Hi-Fi heads (alpha 0.0)", ALPHA, "28 3.97 81.16"),
    ("alpha", "10 Lo-Fi + 2 Hi-Fi heads (alpha 0.83)", ALPHA, "28 3.73 82.03"),
    ("alpha", "12 Lo-Fi + 0 Hi-Fi heads (alpha 1.0)", ALPHA, "28 3.70 81.89"),
    ("attention_mechanisms", "HiLo", MODEL, "28 3.7 1471 5.1 1.2 82.0"),
    ("architecture_steps", "LITv1-S", MODEL, "27 4.1 - - - 81.5"),
    ("architecture_steps", "+ HiLo (LITv2-S)", MODEL, "28 3.7 1471 - - 82.0"),
    ("coco_retinanet", "LITv1-S", RETINANET, "39 305 3.3 41.6"),
    ("coco_retinanet", "LITv2-S (s=4)", RETINANET, "38 230 20.4 43.7"),
    ("coco_retinanet", "LITv2-S (logged count)", ("params_m", "gflops"), "38.01 242.39"),
    ("coco_maskrcnn", "Swin-T", MASK_RCNN, "48 270 21.1 42.2 39.1"),
    ("coco_maskrcnn", "LITv2-M (s=4)", MASK_RCNN, "68 315 16.0 46.5 42.0"),
    ("ade20k_fpn", "PVT-S", SEGMENTED, "28 40 38.7 39.8"),
    ("ade20k_fpn", "LITv2-B", SEGMENTED, "90 93 27.5 47.2"),
    ("reproductions", "openmixup: LITv2-S trained anew", ("top1",), "81.7"),
]

# Rows of each file, and how many of its numbers were read where.
COUNTS = [
    ("imagenet1k", 26, {"seen": 149, "seen_in_code": 2, "derived": 25}),
    ("throughput_gpus", 13, {"seen": 91, "derived": 13}),
    ("attention_layer", 14, {"seen": 58, "derived": 14}),
    ("alpha", 7, {"seen": 7, "seen_in_code": 14}),
    ("attention_mechanisms", 1, {"inferred": 6}),
    ("architecture_steps", 2, {"inferred": 7}),
    ("coco_retinanet", 20, {"seen": 76, "seen_in_code": 2, "derived": 19}),
    ("coco_maskrcnn", 19, {"seen": 95, "derived": 19}),
    ("ade20k_fpn", 16, {"seen": 60, "seen_in_code": 2, "derived": 15}),
    ("reproductions", 3, {"seen_in_code": 3}),
    ("related", 12, {"seen_in_code": 26, "inferred": 64}),
]


@pytest.mark.parametrize(("name", "rows", "numbers"), COUNTS, ids=[name for name, *_ in COUNTS])
def test_no_printed_number_is_missing(name: str, rows: int, numbers: dict[str, int]) -> None:
    cells = published.read(FOLDER / f"{name}.csv")
    assert Counter(number.confidence for number in cells.values()) == numbers
    assert len({row for row, _ in cells}) == rows


def test_no_file_is_without_a_count() -> None:
    assert {path.stem for path in FOLDER.glob("*.csv")} == {name for name, *_ in COUNTS}


def test_a_metric_has_one_unit() -> None:
    units: dict[str, set[str]] = {}
    for path in FOLDER.glob("*.csv"):
        for (_, metric), number in published.read(path).items():
            units.setdefault(metric, set()).add(number.unit)
    assert {metric: unit for metric, unit in units.items() if len(unit) > 1} == {}
    scores = [metric for metric in units if metric.endswith(("top1", "ap", "miou"))]
    assert all(units[metric] == {"%"} for metric in scores)


@pytest.mark.parametrize(
    ("name", "row", "metrics", "typed"), TYPED, ids=lambda value: str(value)[:40]
)
def test_a_row_is_as_printed(name: str, row: str, metrics: tuple[str, ...], typed: str) -> None:
    cells = published.read(FOLDER / f"{name}.csv")
    printed = {
        metric: number.text
        for (r, metric), number in cells.items()
        if r == row and number.confidence != "derived"
    }
    expected = zip(metrics, typed.split(), strict=True)
    assert printed == {metric: text for metric, text in expected if text != "-"}


# Speeds relative to that of the paper's model of the same class, quotients of two printed numbers.
CLASSES = {
    "LITv2-S": "ResNet-50 ConvNeXt-Ti PVT-S Swin-Ti CvT-13 Focal-Tiny Twins-PCPVT-S LITv1-S",
    "LITv2-M": "ResNet-101 ConvNeXt-S PVT-M Twins-SVT-B Swin-S LITv1-M",
    "LITv2-B": "ResNet-152 ConvNeXt-B Twins-SVT-L Swin-B LITv1-B",
    "LITv2-B @384": "DeiT-B@384 Swin-B@384",
}


@pytest.mark.parametrize(
    ("name", "speed", "typed"),
    [
        ("imagenet1k", "images_per_second", ("Swin-S", "0.72")),
        ("throughput_gpus", "rtx3090_images_per_second", ("Swin-Ti", "0.65")),
        ("attention_layer", "cpu_images_per_second", ("MSA", "0.49")),
    ],
)
def test_relative_speeds_are_quotients(name: str, speed: str, typed: tuple[str, str]) -> None:
    cells = published.read(FOLDER / f"{name}.csv")
    others = {row: own for own, rows in CLASSES.items() for row in [own, *rows.split()]}
    first = {"imagenet1k": others.get, "attention_layer": lambda _: "HiLo"}.get(name)
    found = {}
    for (row, metric), number in cells.items():
        if metric == "relative_images_per_second":
            own = first(row) if first else "LITv2-S"
            found[row] = number.text
            assert (
                number.text
                == f"{float(cells[row, speed].text) / float(cells[own, speed].text):.2f}"
            )
            assert (number.confidence, number.unit) == ("derived", "x")
    assert found.keys() == {row for row, metric in cells if metric == speed}
    assert found[typed[0]] == typed[1]


needs_facts = pytest.mark.skipif(
    not FACTS.is_dir(), reason=f"no {FACTS} (REPRISE_SHARED_DATA names the folder `data` beside it)"
)


def facts(name: str) -> Any:
    """Return a file with every scalar as its text."""
    return yaml.load((FACTS / name).read_text(encoding="utf-8"), Loader=yaml.BaseLoader)


def quoted(name: str) -> list[list[str]]:
    """Return the rows of the table of this id as the survey has it."""
    tables = facts("litv2.yaml")["tables"]
    return list(next(table["rows"] for table in tables if table["id"] == name))


def ours(printed: str) -> str:
    """Return our row name of a printed model."""
    if not printed.startswith("ours "):
        return printed
    return printed.removeprefix("ours ").replace("@384", " @384")


@needs_facts
@pytest.mark.parametrize(
    ("key", "name", "metrics", "columns"),
    [
        ("table1_imagenet1k", "imagenet1k", MODEL, range(1, 7)),
        ("table6_gpus", "throughput_gpus", GPUS, range(1, 8)),
        ("table10_single_layer", "attention_layer", LAYER, range(1, 5)),
        ("table2_coco", "coco_retinanet", RETINANET, range(1, 5)),
        ("table2_coco", "coco_maskrcnn", MASK_RCNN, range(5, 10)),
        ("table3_ade20k_semantic_fpn", "ade20k_fpn", SEGMENTED, range(1, 5)),
    ],
)
def test_every_cell_is_as_read(
    key: str, name: str, metrics: tuple[str, ...], columns: Sequence[int]
) -> None:
    expected = {
        (ours(row[0]), metric): row[column]
        for row in facts("seen_tables.yaml")["litv2"][key]["rows"]
        for metric, column in zip(metrics, columns, strict=True)
        if row[column] != "OOM"
    }
    cells = published.read(FOLDER / f"{name}.csv")
    assert {
        k: number.text
        for k, number in cells.items()
        if number.confidence == "seen" and k[1] != ABSTRACT
    } == expected


@needs_facts
def test_alpha_is_as_plotted_and_as_in_the_code() -> None:
    """The plot's alpha is the share of Lo-Fi heads; the code lists those heads."""
    cells = published.read(FOLDER / "alpha.csv")
    plotted = facts("seen_tables.yaml")["litv2"]["figure4_alpha"]["rows"]
    for (alpha, top1, gflops), released in zip(
        plotted, quoted("alpha_ablation_litv2_s"), strict=True
    ):
        _, params, low, high, *_ = released
        assert round(int(low) / 12, 2) == float(alpha)
        row = f"{low} Lo-Fi + {high} Hi-Fi heads (alpha {alpha})"
        texts = [cells.pop((row, metric)).text for metric in ALPHA]
        assert texts == [params, gflops, top1]
    assert not cells


# Columns of the survey's tables on its predecessor and on a later paper that quotes it.
OTHERS = {
    "params_M": "params_m",
    "flops_G": "gflops",
    "in1k_top1": "top1",
    "retinanet_params_M": "retinanet_params_m",
    "retinanet_box_ap": "retinanet_ap",
    "retinanet_ap": "retinanet_ap",
    "maskrcnn_params_M": "maskrcnn_params_m",
    "maskrcnn_box_ap": "maskrcnn_box_ap",
    "box_ap": "maskrcnn_box_ap",
    "maskrcnn_mask_ap": "maskrcnn_mask_ap",
    "mask_ap": "maskrcnn_mask_ap",
    "semfpn_params_M": "fpn_params_m",
    "semfpn_flops_G": "fpn_gflops",
    "semfpn_miou": "fpn_miou",
    "miou": "fpn_miou",
}


@needs_facts
def test_others_numbers_are_whole() -> None:
    expected = {}
    tables = {table["id"]: table for table in facts("litv2.yaml")["tables"]}
    for name, tag in (
        ("litv1_baseline", "LITv1's code"),
        ("third_party_context_spanet", "SPANet's paper"),
    ):
        columns = tables[name]["columns"][1:]
        for model, *texts in tables[name]["rows"]:
            for column, text in zip(columns, texts, strict=True):
                if text != "null":
                    expected[f"{model} ({tag})", OTHERS[column]] = text
    cells = published.read(FOLDER / "related.csv")
    assert {key: number.text for key, number in cells.items()} == expected


@needs_facts
def test_retrained_and_converted_models_are_whole() -> None:
    cells = published.read(FOLDER / "reproductions.csv")
    assert {metric for _, metric in cells} == {"top1"}
    read = [row[1] for row in quoted("independent_reproduction")]
    assert [number.text for number in cells.values()] == read
