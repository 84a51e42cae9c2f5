"""CapDec's printed numbers: rows of the printed tables, typed a second time."""

import math
from pathlib import Path

import pytest

from reprise import published

FOLDER = Path(__file__).parents[2] / "params/published/capdec"
COLUMNS = ("bleu_1", "bleu_4", "meteor", "rouge_l", "cider")
ATTENTION = ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "meteor")
CROSS = tuple(f"{way}_{m}" for way in ("flickr30k_to_coco", "coco_to_flickr30k") for m in COLUMNS)
STYLED = ("bleu_1", "bleu_3", "meteor", "cider")
STYLE = tuple(f"{style}_{m}" for style in ("romantic", "humorous") for m in STYLED)

# A dash is a cell that the paper leaves empty.
TYPED = [
    ("coco", "CapDec", COLUMNS, "69.2 26.4 25.1 51.8 91.8"),
    ("coco", "ClipCap", COLUMNS, "74.7 33.5 27.5 - 113.1"),
    ("coco", "Oscar", COLUMNS, "- 36.5 30.3 - 123.7"),
    ("coco", "ZeroCap", COLUMNS, "49.8 7.0 15.4 31.8 34.5"),
    ("coco", "Show, Attend and Tell (soft attention)", ATTENTION, "70.7 49.2 34.4 24.3 23.90"),
    ("coco", "Show, Attend and Tell (hard attention)", ATTENTION, "71.8 50.4 35.7 25.0 23.04"),
    ("flickr30k", "CapDec", COLUMNS, "55.5 17.7 20.0 43.9 39.1"),
    ("flickr30k", "BUTD", COLUMNS, "- 27.3 21.7 - 56.6"),
    ("flickr30k", "Show, Attend and Tell (hard attention)", ATTENTION, "66.9 43.9 29.6 19.9 18.46"),
    ("cross", "MAGIC", CROSS, "41.4 5.2 12.5 30.7 18.3 46.4 6.2 12.2 31.3 17.5"),
    ("cross", "CapDec", CROSS, "43.3 9.2 16.3 36.7 27.3 60.2 17.3 18.6 42.7 35.7"),
    ("style", "CapDec", STYLE, "21.4 5.0 9.6 26.9 24.9 6.0 10.2 34.1"),
    ("style", "CapDec + text-only pre-training", STYLE, "23.0 4.6 9.1 27.4 22.7 4.3 9.7 29.0"),
    ("style", "CapDec + image-text pre-training", STYLE, "27.9 8.9 12.6 52.2 29.4 8.8 13.2 55.1"),
    ("extensions", "C3: no noise", ("rouge_l",), "25.4"),
    ("extensions", "C3: noise only", ("rouge_l",), "50.8"),
    ("extensions", "CLOSE: no noise, same caption", ("cider",), "16.4"),
    ("extensions", "CLOSE: tuned noise, several captions", ("cider",), "98.4"),
]


@pytest.mark.parametrize(
    ("name", "rows", "numbers"),
    [
        ("coco", 10, 43),
        ("flickr30k", 8, 35),
        ("cross", 2, 20),
        ("style", 5, 40),
        ("extensions", 11, 11),
    ],
)
def test_no_printed_number_is_missing(name: str, rows: int, numbers: int) -> None:
    cells = published.read(FOLDER / f"{name}.csv")
    assert len(cells) == numbers
    assert len({row for row, _ in cells}) == rows
    assert {number.unit for number in cells.values()} == {"points"}
    assert all(math.isfinite(number.value) for number in cells.values())


@pytest.mark.parametrize(
    ("name", "row", "metrics", "typed"), TYPED, ids=lambda value: str(value)[:40]
)
def test_a_row_is_as_printed(name: str, row: str, metrics: tuple[str, ...], typed: str) -> None:
    cells = published.read(FOLDER / f"{name}.csv")
    printed = {metric: number.text for (r, metric), number in cells.items() if r == row}
    expected = zip(metrics, typed.split(), strict=True)
    assert printed == {metric: text for metric, text in expected if text != "-"}
