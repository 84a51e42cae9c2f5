"""DeiT III's printed numbers: rows typed a second time, and every cell against the tables as read.

Those tables are in a file beside the checkout; without it only the typed rows and counts are.
"""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from reprise import published

FOLDER = Path(__file__).parents[2] / "params/published/deit3"
SHARED = Path(os.environ.get("REPRISE_SHARED_DATA", Path(__file__).parents[3] / "shared/data"))
FACTS = SHARED.parent / "papers"
COMPARED = ("params_m", "images_per_second", "gflops", "peak_memory_mb", "top1", "v2_top1")
LABELS = ("top1", "real_top1", "v2_top1")
SEGMENTED = ("params_m", "gflops", "miou_ss", "miou_ms")
TRANSFER = tuple(f"{name}_top1" for name in ("cifar10", "cifar100", "flowers", "cars"))
TRANSFER += ("inat18_top1", "inat19_top1")
RECIPE = ("batch_size", "optimizer", "lr", "lr_decay", "weight_decay", "warmup_epochs")
RECIPE += ("label_smoothing", "dropout", "stochastic_depth", "repeated_aug", "gradient_clip")
RECIPE += ("hflip", "random_resized_crop", "rand_augment", "three_augment", "layer_scale")
RECIPE += ("mixup_alpha", "cutmix_alpha", "erasing_prob", "color_jitter", "test_crop_ratio", "loss")
ROBUST = ("params_m", "top1", "top5", "real_top1", "v2_top1", "sketch_top1")
ROBUST += ("imagenet_a_top1", "imagenet_r_top1")
LOGGED = ("pretrain_top1", "top1", "gain")
SPEED = ("seconds_per_epoch", "gpus")

# A dash is a cell that the paper leaves empty.
TYPED = [
    (
        "recipes",
        "ViT",
        RECIPE,
        "4096 AdamW 3.0e-3 cosine 0.1 3.4 0.1 yes no no 1.0 yes yes no no no no no no no 0.875 CE",
    ),
    (
        "recipes",
        "DeiT",
        RECIPE,
        "1024 AdamW 1.0e-3 cosine 0.05 5 0.1 no yes yes no yes yes 9/0.5 no no 0.8 1.0 0.25 no "
        "0.875 CE",
    ),
    (
        "recipes",
        "DeiT III, ImageNet-1k",
        RECIPE,
        "2048 LAMB 3.0e-3 cosine 0.02 5 no no yes yes 1.0 yes yes no yes yes 0.8 1.0 no 0.3 1.0 "
        "BCE",
    ),
    (
        "recipes",
        "DeiT III, ImageNet-21k finetuning",
        RECIPE,
        "2048 LAMB 3.0e-4 cosine 0.02 5 0.1 no yes no 1.0 yes no no yes yes no 1.0 no 0.3 1.0 CE",
    ),
    ("regularisation", "DeiT III ViT-H, IN-21k 90 ep", ("drop_path",), "0.5"),
    ("imagenet1k", "ResNet-50", COMPARED, "25.6 2587 4.1 2182 80.4 68.7"),
    ("imagenet1k", "Swin-B-384", COMPARED, "87.9 160 47.2 19385 84.5 -"),
    ("imagenet1k", "DeiT III ViT-S", COMPARED, "22.0 1891 4.6 987 81.4 70.5"),
    ("imagenet1k", "DeiT III ViT-B", COMPARED, "86.6 831 17.5 2078 83.8 73.6"),
    ("imagenet1k", "DeiT III ViT-L @384", COMPARED, "304.8 67 191.2 12866 85.8 76.7"),
    ("imagenet1k", "DeiT III ViT-M", COMPARED, "38.8 - 8.0 - 83.0 72.3"),
    ("imagenet21k", "R-152x4@480", COMPARED, "937 - 840.5 - 85.4 -"),
    ("imagenet21k", "ConvNeXt-L@384", COMPARED, "197.8 115 101 11938 87.5 77.7"),
    ("imagenet21k", "ViT-B/16 Steiner", COMPARED, "86.6 831 17.6 2078 84.0 -"),
    ("imagenet21k", "DeiT III ViT-S @384", COMPARED, "22.0 424 15.5 4569 84.8 75.1"),
    ("imagenet21k", "DeiT III ViT-H", COMPARED, "632.1 112 167.4 6984 87.2 79.2"),
    ("self_supervised", "BeiT ViT-B, IN-1k 300 + 100 ep", LABELS, "82.9 - -"),
    ("self_supervised", "MAE* ViT-L, IN-1k 1600 + 50 ep", LABELS, "85.9 89.4 76.5"),
    ("self_supervised", "DeiT III ViT-B, IN-1k 800 + 20 ep", LABELS, "83.8 88.2 73.6"),
    ("self_supervised", "BeiT ViT-L, IN-21k 150 + 90 labelled + 50 ep", LABELS, "87.5 90.1 78.8"),
    ("ade20k", "DeiT-S @224", SEGMENTED, "52.0 1099 - 44.0"),
    ("ade20k", "DeiT III ViT-T @224", SEGMENTED, "10.9 148 40.1 41.8"),
    ("ade20k", "DeiT III ViT-B (21k) @384", SEGMENTED, "127.7 1283 53.4 54.1"),
    ("schedules", "DeiT III ViT-S, IN-1k 300 ep", ("top1",), "79.9"),
    ("schedules", "DeiT III ViT-S, IN-1k 400 ep", ("top1",), "80.4"),
    ("schedules", "DeiT III ViT-H, IN-1k 800 ep", ("top1",), "85.2"),
    ("resolution", "DeiT III ViT-H 160 -> 224", LOGGED, "83.484 85.218 1.73"),
    ("transfer", "DeiT III ViT-L", TRANSFER, "99.3 93.4 98.9 94.5 75.6 79.3"),
    ("transfer", "Grafit ResNet-50", TRANSFER, "- - 98.2 92.5 69.8 75.9"),
    (
        "robustness",
        "DeiT III ViT-B (21k) @384",
        ROBUST,
        "86.88 86.742 98.11 89.888 77.98 47.684 71.293 62.677",
    ),
    ("figure1", "DeiT ViT-S", ("top1",), "79.8"),
    ("figure1", "He et al. ViT-H", ("top1",), "80.9"),
    ("cost", "DeiT III ViT-H", SPEED, "8319.3 64"),
]

# Rows of each file, and how many of its numbers were read where.
COUNTS = [
    ("recipes", 7, {"seen": 154}),
    ("regularisation", 5, {"inferred": 6}),
    ("imagenet1k", 34, {"seen": 194, "seen_in_code": 4}),
    ("imagenet21k", 28, {"seen": 144, "seen_in_code": 10}),
    ("self_supervised", 20, {"seen": 48}),
    ("ade20k", 23, {"seen": 83}),
    ("schedules", 16, {"seen": 8, "seen_in_code": 4, "inferred": 4}),
    ("resolution", 8, {"seen_in_code": 12, "derived": 3, "inferred": 2}),
    ("transfer", 10, {"inferred": 39}),
    ("robustness", 16, {"seen_in_code": 128}),
    ("figure1", 25, {"derived": 25}),
    ("cost", 15, {"seen_in_code": 21}),
    ("reproductions", 37, {"seen_in_code": 82, "inferred": 6}),
    ("related", 22, {"seen": 32, "seen_in_code": 8}),
]


@pytest.mark.parametrize(("name", "rows", "numbers"), COUNTS, ids=[name for name, *_ in COUNTS])
def test_no_printed_number_is_missing(name: str, rows: int, numbers: dict[str, int]) -> None:
    cells = published.read(FOLDER / f"{name}.csv")
    assert Counter(number.confidence for number in cells.values()) == numbers
    assert len({row for row, _ in cells}) == rows


@pytest.mark.parametrize(
    ("name", "metrics"),
    [
        ("figure1", {"top1": 25}),
        (
            "resolution",
            {"pretrain_top1": 3, "top1": 7, "gain": 3, "first_epoch_top1": 3, "fewer_tokens": 1},
        ),
        (
            "reproductions",
            {"top1": 37, "printed_top1": 3, "params_m": 16, "gflops": 16, "top5": 16},
        ),
        (
            "related",
            {"top1": 12, "miou": 16, "inat17_top1": 4, "inat18_top1": 4, "inat19_top1": 4},
        ),
    ],
)
def test_quoted_numbers_have_their_metrics(name: str, metrics: dict[str, int]) -> None:
    assert Counter(metric for _, metric in published.read(FOLDER / f"{name}.csv")) == metrics


def test_no_file_is_without_a_count() -> None:
    assert {path.stem for path in FOLDER.glob("*.csv")} == {name for name, *_ in COUNTS}


def test_a_metric_has_one_unit() -> None:
    """Beside the words of a recipe, such as `no` where others have a number."""
    units: dict[str, set[str]] = {}
    for path in FOLDER.glob("*.csv"):
        for (_, metric), number in published.read(path).items():
            if number.value is not None:
                units.setdefault(metric, set()).add(number.unit)
    assert {metric: unit for metric, unit in units.items() if len(unit) > 1} == {}
    assert all(unit == {"%"} for metric, unit in units.items() if "top1" in metric)


def of_row(name: str, row: str) -> dict[str, str]:
    """Return metric -> number as printed."""
    cells = published.read(FOLDER / f"{name}.csv")
    return {metric: number.text for (r, metric), number in cells.items() if r == row}


@pytest.mark.parametrize(
    ("name", "row", "metrics", "typed"), TYPED, ids=lambda value: str(value)[:40]
)
def test_a_row_is_as_printed(name: str, row: str, metrics: tuple[str, ...], typed: str) -> None:
    expected = zip(metrics, typed.split(), strict=True)
    assert of_row(name, row) == {metric: text for metric, text in expected if text != "-"}


needs_facts = pytest.mark.skipif(
    not FACTS.is_dir(), reason=f"no {FACTS} (REPRISE_SHARED_DATA names the folder `data` beside it)"
)


def facts(name: str) -> Any:
    """Return a file with every scalar as its text."""
    return yaml.load((FACTS / name).read_text(encoding="utf-8"), Loader=yaml.BaseLoader)


def ours(printed: str) -> str:
    """Return our row name of a printed model."""
    if not printed.startswith("ours "):
        return printed
    return "DeiT III " + printed.removeprefix("ours ").replace("@384", " @384")


def lines(key: str, table: dict[str, Any]) -> Iterator[tuple[str, tuple[str, ...], list[str]]]:
    """Yield row name, metrics and texts of a table as read."""
    for row in table["rows"]:
        if key == "table9_vs_self_supervised":
            data, model, method, epochs, finetuned, *values = row
            method = "DeiT III" if method == "ours" else method
            epochs = epochs.replace(" labelled 21k", " labelled")
            yield f"{method} {model}, {data} {epochs} + {finetuned} ep", LABELS, values
        elif key == "table11_ade20k_upernet":
            yield f"{ours(row[0])} @{row[1]}", SEGMENTED, row[2:]
        else:
            yield ours(row[0]), COMPARED, row[1:]


@needs_facts
@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("table7_imagenet1k", "imagenet1k"),
        ("table8_imagenet21k", "imagenet21k"),
        ("table9_vs_self_supervised", "self_supervised"),
        ("table11_ade20k_upernet", "ade20k"),
    ],
)
def test_every_cell_is_as_read(key: str, name: str) -> None:
    expected = {
        (row, metric): text
        for row, metrics, texts in lines(key, facts("seen_tables.yaml")["deit3"][key])
        for metric, text in zip(metrics, texts, strict=True)
        if text != "null"
    }
    cells = published.read(FOLDER / f"{name}.csv")
    assert {k: number.text for k, number in cells.items() if number.confidence == "seen"} == (
        expected
    )


@needs_facts
def test_every_setting_of_the_recipes_is_as_read() -> None:
    settings, *recipes = zip(
        *facts("seen_tables.yaml")["deit3"]["table1_recipes"]["rows"], strict=True
    )
    printed: dict[str, dict[str, str]] = {}
    for (row, metric), number in published.read(FOLDER / "recipes.csv").items():
        printed.setdefault(row, {})[metric] = number.text
    assert list(printed.values()) == [dict(zip(settings, r, strict=True)) for r in recipes]


def test_a_word_is_no_number() -> None:
    cells = published.read(FOLDER / "recipes.csv")
    words = {number.text for number in cells.values() if number.value is None}
    assert words == {
        "AdamW",
        "LAMB",
        "cosine",
        "yes",
        "no",
        "adaptive",
        "9/0.5",
        "7/0.5",
        "CE",
        "BCE",
    }


def quoted(name: str) -> list[list[str]]:
    """Return the rows of the table of this id as the survey has it."""
    tables = facts("deit3.yaml")["tables"]
    return list(next(table["rows"] for table in tables if table["id"] == name))


def numbers_of(*tables: tuple[str, int]) -> list[str]:
    """Return the numbers of quoted tables in order, from a column of each on."""
    rows = (row[first:] for name, first in tables for row in quoted(name))
    return [text for row in rows for text in row if text != "null"]


def texts_of(name: str) -> list[str]:
    return [number.text for number in published.read(FOLDER / f"{name}.csv").values()]


@needs_facts
def test_quoted_tables_are_whole() -> None:
    assert texts_of("transfer") == numbers_of(("H_transfer", 1))
    assert texts_of("figure1") == numbers_of(("G1_figure1_in1k", 1), ("G2_figure1_in21k", 1))
    logged = numbers_of(("L_low_res_gain", 2), ("L2_384_gain", 1))
    assert texts_of("resolution") == [*logged, "70", "83.1"]  # the last two are said in words


@needs_facts
def test_costs_are_whole() -> None:
    timed = facts("deit3.yaml")["recipes"]["compute"]["in21k_224_seconds_per_epoch"][1:]
    timm = quoted("M_timm_train_speed")
    cells = published.read(FOLDER / "cost.csv")
    expected = {(f"DeiT III ViT-{row[0][0]}", SPEED[0]): row[1] for row in timed}
    expected |= {(f"DeiT III ViT-{row[0][0]}", SPEED[1]): row[2] for row in timed}
    expected |= {(f"{row[0]} (timm)", "train_images_per_second"): row[1] for row in timm}
    assert {key: number.text for key, number in cells.items()} == expected


@needs_facts
def test_regularisation_is_whole() -> None:
    rates = facts("deit3.yaml")["recipes"]["in21k_90ep"]["drop_path"]
    cells = published.read(FOLDER / "regularisation.csv")
    expected = {
        (f"DeiT III ViT-{size}, IN-21k 90 ep", "drop_path"): rate for size, rate in rates.items()
    }
    longer = ("weight_decay", "drop_path_per_200_epochs")  # both said in words
    expected |= {("DeiT III, IN-1k, longer", metric): "0.05" for metric in longer}
    assert {key: number.text for key, number in cells.items()} == expected


@needs_facts
@pytest.mark.parametrize("data", ["IN-1k", "IN-21k"])
def test_schedules_are_whole(data: str) -> None:
    for read, epochs, *texts in quoted("C_schedules"):
        for model, text in zip("SBLH", texts, strict=True):
            if read == data:
                row = of_row("schedules", f"DeiT III ViT-{model}, {data} {epochs} ep")
                assert row == ({} if text == "null" else {"top1": text})


@needs_facts
def test_released_weights_are_as_evaluated_by_timm() -> None:
    for model, res, params, _, *texts, top5 in quoted("F_timm_eval"):
        size = model.split("_")[1][0].upper()
        row = f"DeiT III ViT-{size}" + " (21k)" * ("22k" in model) + " @384" * (res == "384")
        metrics = [metric for metric in ROBUST if metric not in ("params_m", "top5")]
        expected = dict(zip(metrics, texts, strict=True))
        assert of_row("robustness", row) == expected | {"params_m": params, "top5": top5}


@needs_facts
def test_others_numbers_are_whole() -> None:
    jax = (quoted("D1_jax_reproduction_in1k"), quoted("D2_jax_reproduction_in21k"))
    retrained = [row[3] for rows in jax for row in rows if row[3] != "null"]
    retrained += numbers_of(("D3_jax_deit1", 1), ("E_other_reproductions", 3))
    assert texts_of("reproductions") == retrained + numbers_of(("F2_mmpretrain_eval", 1))
    assert texts_of("related") == numbers_of(
        ("K1_mae_in1k", 2), ("K2_mae_ade20k", 2), ("K3_mae_inat", 1), ("I2_xcit_upernet", 1)
    )
