"""Dense predictions in the report: image, truth and every row's picture, beneath their table."""

import base64
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from fabricated import fabricate, table_job, workspace, write_json
from pages import Page, chromium, opened, page, squeezed
from PIL import Image

from reprise import tables
from reprise.config import Project, load_project
from reprise.plan import RunJob, run_jobs, table_jobs
from reprise.report import build, dense, runs
from reprise.results import ResultError

SIDE = 48
LEGEND = [["sky <blue>", "#0000ff"], ["road", "#808080"]]
RUNS = {"plain": 1, "learned": 2, "swept": 3}  # what their predictions are filled with, x 16


def edit(root: Path, change: Any) -> Project:
    file = root / "params/papers/toy.yaml"
    raw = yaml.safe_load(file.read_text())
    change(raw)
    file.write_text(yaml.safe_dump(raw, sort_keys=False))
    return load_project(root, "tiny")


def with_column(raw: dict[str, Any]) -> None:
    """Give three runs the evaluator with pictures, and the table two columns that read it."""
    for name in ("plain", "swept"):
        raw["runs"][name]["evaluate"].append("pictures")
    main = raw["tables"]["main"]
    for metric in ("miou", "accuracy"):
        column = {"label": metric, "evaluator": "pictures", "metric": metric}
        main["metrics"][metric] = column
    # The rows do not have the order of the runs, and this label is not the run's name.
    main["rows"][2]["label"] = "learned <ours>"
    main["rows"][2].pop("evaluators")
    main["rows"].reverse()


def flat(value: int, size: tuple[int, int] = (SIDE, SIDE)) -> np.ndarray:
    return np.full((*size, 3), value, np.uint8)


def predict(
    job: RunJob,
    indices: Sequence[int],
    size: tuple[int, int] = (SIDE, SIDE),
    own: Sequence[str] = ("predicted",),
    **changed: Any,
) -> None:
    """Turn a run's pictures into predictions for the images at indices."""
    path = job.eval_folder / "pictures.json"
    record = json.loads(path.read_text())
    compared = {"indices": list(indices), "shared": ["image", "truth"], "own": list(own)}
    record["info"] = {"compared": {**compared, "legend": LEGEND, **changed}}
    metrics = ("miou", "accuracy")
    made = {"value": 50.0, "n": 2, "reduce": "percent_correct", "statistics": "right"}
    record["metrics"] = [{"metric": metric, **made} for metric in metrics]
    arrays = {"image": 0, "truth": 100}
    arrays |= {name: 16 * RUNS[job.name] + number for number, name in enumerate(own)}
    record["pictures"] = [{"array": name, "label": name} for name in arrays]
    write_json(path, record)
    filled = {
        name: np.stack([flat(value + index, size) for index in indices])
        for name, value in arrays.items()
    }
    np.savez(path.with_suffix(".npz"), right=np.array([0, 1], np.uint8), **filled)


def run(project: Project, name: str, seed: int = 0) -> RunJob:
    return RunJob(project, "toy", name, seed)


def workspace_of(root: Path, seeds: tuple[int, ...] = (0,)) -> Project:
    workspace(root, seeds)
    project = edit(root, with_column)
    for job in run_jobs(project, headline_only=True):
        fabricate(job)
    return project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = workspace_of(tmp_path)
    for name in ("plain", "learned"):
        predict(run(project, name), [12, 5])
    return project


def galleries_of(project: Project) -> dense.Galleries:
    found = runs.finished_runs(project)["toy"]  # what the page itself reads
    evaluated = [(one.job, one.evaluations) for one in found]
    return dense.galleries(table_jobs(project), evaluated)


def gallery_of(project: Project) -> dense.Gallery:
    (gallery,) = galleries_of(project)["toy", "main"]
    return gallery


def labels(card: dense.Card) -> list[str]:
    return [one.label for one in card.shown]


def pixels(webp: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(webp)).convert("RGB"))


def test_pictures_stand_in_the_order_of_the_rows_with_their_words(project: Project) -> None:
    images = page(project).all("img")
    each = [
        "test image {}",
        "truth of test image {}",
        "prediction of learned <ours> for test image {}",
        "prediction of plain for test image {}",
    ]
    assert [one["alt"] for one in images] == [alt.format(n) for n in (12, 5) for alt in each]
    filled = [value + index for index in (12, 5) for value in (0, 100, 32, 16)]
    for one, value in zip(images, filled, strict=True):
        stored = base64.b64decode((one["src"] or "").removeprefix("data:image/webp;base64,"))
        assert (pixels(stored) == flat(value)).all()
        assert (one["width"], one["height"], one["class"]) == ("144", "144", "enlarged")


def test_the_gallery_is_beneath_its_table_with_its_legend(project: Project) -> None:
    tables.build(table_job(project))
    text = build.build(project).read_text()
    words = squeezed(Page(text).words)
    section = text[text.index('<section id="toy-main"') : text.index('<section id="toy-absent"')]
    assert section.index("</table>") < section.index('class="compared"')
    assert text.count('class="compared"') == 1, "two columns read the same pictures"
    assert (
        "Predictions side by side 2 images of digits, split test; scale tiny, first seed" in words
    )
    assert "test image 12 image truth learned <ours> plain test image 5" in words
    legend = section[section.index("Colours") : section.index('class="compared"')]
    assert legend.count("<li>") == 2
    assert '<rect width="14" height="14" fill="#0000ff"/></svg> sky &lt;blue&gt;</li>' in section


def test_rows_without_pictures_are_left_out_until_they_have_them(project: Project) -> None:
    assert labels(gallery_of(project).cards[0]) == ["image", "truth", "learned <ours>", "plain"]
    fabricate(run(project, "swept"))
    assert labels(gallery_of(project).cards[0])[2:] == ["learned <ours>", "plain"]
    predict(run(project, "swept"), [12, 5])
    assert labels(gallery_of(project).cards[0])[2:] == ["swept", "learned <ours>", "plain"]
    (run(project, "plain").eval_folder / "pictures.json").unlink()
    assert labels(gallery_of(project).cards[0])[2:] == ["swept", "learned <ours>"]
    assert not [one for one in page(project).all("img") if "plain" in (one["alt"] or "")]


def test_stale_predictions_are_not_shown(project: Project) -> None:
    path = run(project, "plain").eval_folder / "pictures.json"
    write_json(path, {**json.loads(path.read_text()), "digest": "0" * 64})
    assert labels(gallery_of(project).cards[0])[2:] == ["learned <ours>"]


def test_runs_meet_by_index_and_may_lack_an_image(project: Project) -> None:
    predict(run(project, "plain"), [5, 9])
    gallery = gallery_of(project)
    assert [card.name for card in gallery.cards] == [f"test image {n}" for n in (12, 5, 9)]
    stored = [
        [pixels(one.picture.webp)[0, 0, 0] if one.picture else None for one in card.shown]
        for card in gallery.cards
    ]
    assert stored == [[12, 112, 44, None], [5, 105, 37, 21], [9, 109, None, 25]]
    words = squeezed(page(project).words)
    assert "test image 12 image truth learned <ours> plain no picture test image 5" in words


def test_the_first_finished_seed_speaks_for_a_run(tmp_path: Path) -> None:
    project = workspace_of(tmp_path, seeds=(4, 2))
    for seed, index in ((4, 40), (2, 20)):
        predict(run(project, "learned", seed), [index])
    assert [card.name for card in gallery_of(project).cards] == ["test image 40"]
    (run(project, "learned", 4).eval_folder / "pictures.json").unlink()
    assert [card.name for card in gallery_of(project).cards] == ["test image 20"]


def test_a_row_with_a_run_for_each_column_names_the_columns(project: Project) -> None:
    def change(raw: dict[str, Any]) -> None:
        row = next(one for one in raw["tables"]["main"]["rows"] if one["label"] == "plain")
        row["runs"] = {"accuracy": "learned"}
        raw["tables"]["main"]["rows"] = [row]

    made = gallery_of(edit(project.root, change))
    assert labels(made.cards[0])[2:] == ["plain, miou", "plain, accuracy"]


def test_a_row_may_read_another_evaluator_for_a_column(project: Project) -> None:
    def change(raw: dict[str, Any]) -> None:
        raw["evaluators"]["windows"] = raw["evaluators"]["pictures"]
        for metric in ("miou", "accuracy"):
            raw["tables"]["main"]["metrics"][metric]["evaluator"] = "windows"
        for row in raw["tables"]["main"]["rows"]:
            if row["label"] == "plain":
                row["evaluators"] = {"miou": "pictures"}

    (made,) = galleries_of(edit(project.root, change))["toy", "main"]
    assert labels(made.cards[0])[2:] == ["plain"], "the other rows' runs have no windows"
    assert made.sources == {("toy", "plain", "pictures")}


def test_many_classes_are_folded(project: Project) -> None:
    many = [[f"class {number}", "#123456"] for number in range(31)]
    for name in ("plain", "learned"):
        predict(run(project, name), [12], legend=many)
    text = build.build(project).read_text()
    assert "<summary>Colours of 31 classes</summary>" in text
    assert text.count('fill="#123456"') == 31
    predict(run(project, "learned"), [12], legend=many[:30])
    assert "Colours of 30 classes" not in build.build(project).read_text()


def test_a_run_may_have_several_pictures_of_an_image(project: Project) -> None:
    for name in ("plain", "learned"):
        predict(run(project, name), [12], own=("boxes", "masks"))
    (card,) = gallery_of(project).cards
    assert [(one.label, one.alt) for one in card.shown[2:4]] == [
        ("learned <ours>: boxes", "boxes of learned <ours> for test image 12"),
        ("learned <ours>: masks", "masks of learned <ours> for test image 12"),
    ]
    assert len(card.shown) == 6


@pytest.mark.parametrize("what", ["data", "legend"])
def test_other_data_or_classes_are_no_comparison(project: Project, what: str) -> None:
    job = run(project, "plain")
    predict(job, [12], legend=[["road", "#808080"]] if what == "legend" else LEGEND)
    if what == "data":
        path = job.eval_folder / "pictures.json"
        record = json.loads(path.read_text())
        record["data"] = {"name": "streets", "split": "val", "digest": "f" * 64, "n": 9}
        write_json(path, record)
    first, second = galleries_of(project)["toy", "main"]
    assert labels(first.cards[0])[2:] == ["learned <ours>"]
    assert labels(second.cards[0])[2:] == ["plain"]
    assert second.cards[0].name == ("val image 12" if what == "data" else "test image 12")


def test_few_images_are_shown_evenly_spread(project: Project) -> None:
    for name in ("plain", "learned"):
        predict(run(project, name), range(20))
    gallery = gallery_of(project)
    assert gallery.images == 20
    wanted = [f"test image {20 * n // 8}" for n in range(8)]
    assert [card.name for card in gallery.cards] == wanted
    assert "8 of 20 images of digits, split test" in squeezed(page(project).words)


def noise(job: RunJob, indices: Sequence[int], side: int) -> None:
    """Predictions that no format compresses well."""
    predict(job, indices)
    random = np.random.default_rng(0)
    drawn = random.integers(0, 256, (3, len(indices), side, side, 3), dtype=np.uint8)
    arrays = dict(zip(("image", "truth", "predicted"), drawn, strict=True))
    np.savez(job.eval_folder / "pictures.npz", **arrays)


@pytest.mark.parametrize(("side", "count", "images"), [(100, 16, 8), (700, 6, 3)])
def test_large_pictures_are_fewer_and_the_page_stays_small(
    project: Project, side: int, count: int, images: int
) -> None:
    def change(raw: dict[str, Any]) -> None:
        rows = [{"label": f"row {number}", "run": "learned"} for number in range(count)]
        raw["tables"]["main"].update(rows=rows)
        raw["tables"]["main"].pop("baseline")
        raw["tables"]["twin"] = raw["tables"]["main"]

    noise(run(project, "learned"), range(images), side)
    edited = edit(project.root, change)
    found = galleries_of(edited)
    shown = [len(found["toy", name][0].cards) for name in ("main", "twin")]
    assert shown[0] == shown[1]
    assert 1 <= shown[0] < images
    sizes = [card.size for one in ("main", "twin") for card in found["toy", one][0].cards]
    assert sum(sizes) <= dense.BUDGET
    assert build.build(edited).stat().st_size < 10_000_000


@pytest.mark.parametrize(
    ("size", "shown", "enlarged"),
    [
        ((64, 64), (128, 128), True),
        ((48, 64), (192, 144), True),
        ((256, 200), (200, 256), False),
        ((720, 960), (480, 360), False),
    ],
)
def test_small_pictures_are_enlarged_by_whole_numbers_and_photographs_shrunk(
    size: tuple[int, int], shown: tuple[int, int], enlarged: bool
) -> None:
    made = dense._picture(np.zeros((*size, 3), np.uint8))
    assert ((made.width, made.height), made.enlarged) == (shown, enlarged)
    stored = Image.open(io.BytesIO(made.webp))
    assert stored.size == (size[::-1] if enlarged else shown)


@pytest.mark.parametrize(("drawn", "width"), [(256, 256), (500, 128)])
def test_an_image_is_shown_as_large_as_what_is_drawn_on_it(
    project: Project, drawn: int, width: int
) -> None:
    for name in ("plain", "learned"):
        predict(run(project, name), [12], (64, 64))
        path = run(project, name).eval_folder / "pictures.npz"
        with np.load(path) as archive:
            arrays = {**archive, "predicted": flat(9, (drawn, drawn))[None]}
        np.savez(path, **arrays)
    (card,) = gallery_of(project).cards
    widths = [one.picture.width for one in card.shown if one.picture]
    assert widths == [width] * 2 + [min(drawn, 480)] * 2


def test_small_pictures_are_exact() -> None:
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    assert (pixels(dense._picture(image).webp) == image).all()


def test_no_strip_shows_the_same_again_but_other_pictures_stay(project: Project) -> None:
    path = run(project, "learned").eval_folder / "pictures.npz"
    with np.load(path) as arrays:
        np.savez(path, attention=np.zeros((2, 9, 9), np.uint8), **arrays)
    record = json.loads(path.with_suffix(".json").read_text())
    record["pictures"].append({"array": "attention", "label": "where it looks"})
    write_json(path.with_suffix(".json"), record)
    alts = [one["alt"] for one in page(project).all("img")]
    assert alts[8:] == ["learned <ours>, where it looks: 2 images side by side"]


def test_a_run_outside_of_tables_keeps_its_strips(project: Project) -> None:
    def change(raw: dict[str, Any]) -> None:
        rows = raw["tables"]["main"]["rows"]
        raw["tables"]["main"]["rows"] = [row for row in rows if row.get("run") != "toy/learned"]

    alts = [one["alt"] for one in page(edit(project.root, change)).all("img")]
    assert "prediction of plain for test image 12" in alts
    assert alts[6:] == [
        f"learned, {name}: 2 images side by side" for name in ("image", "truth", "predicted")
    ]


def test_a_run_of_another_paper_is_shown_in_the_table_that_names_it(project: Project) -> None:
    paper = yaml.safe_load((project.root / "params/papers/toy.yaml").read_text())
    row = {"label": "theirs", "run": "toy/learned"}
    table = {**paper["tables"]["main"], "rows": [row], "published": None}
    table.pop("baseline")
    other = {**paper, "slug": "other", "runs": {}, "tables": {"borrowed": table}}
    other["evaluators"] = {"pictures": paper["evaluators"]["pictures"]}
    table["metrics"] = {"miou": table["metrics"]["miou"]}
    (project.root / "params/papers/other.yaml").write_text(yaml.safe_dump(other))
    config = {"scale": "tiny", "papers": ["toy", "other"]}
    (project.root / "params/config.yaml").write_text(yaml.safe_dump(config))
    both = load_project(project.root, "tiny")
    (gallery,) = galleries_of(both)["other", "borrowed"]
    assert labels(gallery.cards[0]) == ["image", "truth", "theirs"]
    alts = [one["alt"] for one in page(both).all("img")]
    assert alts.count("prediction of theirs for test image 12") == 1


def test_without_predictions_there_is_no_heading(tmp_path: Path) -> None:
    project = workspace_of(tmp_path)
    assert "Predictions side by side" not in page(project).words
    for name in ("plain", "learned"):
        path = run(project, name).eval_folder / "pictures.json"
        predict(run(project, name), [1])
        record = json.loads(path.read_text())
        record["info"]["compared"]["indices"] = []
        write_json(path, {**record, "pictures": []})
    assert "Predictions side by side" not in page(project).words


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"indices": [12, "x"]}, r"pictures\.json: info\.compared\.indices\.1: Input should be"),
        ({"own": []}, r"info\.compared\.own: Tuple should have at least 1 item"),
        ({"legend": [["road", "red"]]}, r"info\.compared\.legend\.0\.1: String should match"),
        ({"shared": None}, r"info\.compared\.shared: Input should be"),
    ],
)
def test_a_damaged_record_is_named(project: Project, changed: dict[str, Any], said: str) -> None:
    predict(run(project, "learned"), [12, 5])
    path = run(project, "learned").eval_folder / "pictures.json"
    record = json.loads(path.read_text())
    record["info"]["compared"].update(changed)
    write_json(path, record)
    with pytest.raises(ResultError, match=said):
        build.build(project)


@pytest.mark.parametrize(
    ("name", "images", "said"),
    [
        ("predicted", flat(0)[None], r"pictures\.npz: predicted: 1 images for 2 indices"),
        ("truth", np.zeros((2, 8, 8, 3)), r"pictures\.npz: truth: expected uint8"),
        ("truth", None, r"pictures\.npz: has no array 'truth"),
    ],
)
def test_damaged_pictures_are_named(
    project: Project, name: str, images: np.ndarray | None, said: str
) -> None:
    path = run(project, "learned").eval_folder / "pictures.npz"
    with np.load(path) as archive:
        arrays = {key: archive[key] for key in archive if key != name}
    np.savez(path, **arrays, **({} if images is None else {name: images}))
    with pytest.raises(ResultError, match=said):
        build.build(project)


@pytest.mark.parametrize("kind", ["segment", "detect"])
@pytest.mark.parametrize("count", [0, 3])
def test_the_report_waits_for_the_pictures_of_dense_evaluators(
    tmp_path: Path, kind: str, count: int
) -> None:
    def change(raw: dict[str, Any]) -> None:
        raw["evaluators"]["pictures"] = {"kind": kind, "data": "photos", "pictures": count}

    workspace(tmp_path)
    edited = edit(tmp_path, change)
    stem = run(edited, "learned").eval_folder / "pictures"
    files = build.inputs(edited)
    assert stem.with_suffix(".json") in files
    assert (stem.with_suffix(".npz") in files) == (count > 0)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as made:
        yield made


@pytest.mark.parametrize(("width", "a_row"), [(390, 2), (1400, 4)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_rows_wrap_in_the_page(
    browser: Any, project: Project, width: int, a_row: int, scheme: str
) -> None:
    def change(raw: dict[str, Any]) -> None:
        rows = [{"label": f"row {n} " + "x" * 40, "run": "learned"} for n in range(12)]
        raw["tables"]["main"].update(rows=rows)
        raw["tables"]["main"].pop("baseline")

    tab, heard = opened(browser, build.build(edit(project.root, change)), width)
    tab.emulate_media(color_scheme=scheme)
    assert not heard
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    boxes = [one.bounding_box() for one in tab.locator(".compared img").all()]
    assert len(boxes) == 28
    assert {round(box["width"] - box["height"]) for box in boxes} == {0}, "all are square, as made"
    assert all(box["x"] + box["width"] <= width and box["width"] > 140 for box in boxes)
    tops = [box["y"] for box in boxes]
    assert tops.count(tops[0]) == a_row
    ink, card = (
        tab.locator(where).first.evaluate(f"one => getComputedStyle(one).{what}")
        for where, what in (("figcaption", "color"), (".compared > li", "backgroundColor"))
    )
    light, dark = sorted(map(brightness, (ink, card)), reverse=True)
    assert brightness(card) == (light if scheme == "light" else dark)
    assert light - dark > 90


def test_photographs_are_shown_larger_and_fewer_a_row(browser: Any, project: Project) -> None:
    for name in ("plain", "learned"):
        predict(run(project, name), [12], (360, 480))
    tab, _ = opened(browser, build.build(project), 1400)
    boxes = [one.bounding_box() for one in tab.locator(".compared img").all()]
    assert [(round(box["width"]), round(box["height"])) for box in boxes] == [(480, 360)] * 4
    assert len({box["y"] for box in boxes}) == 2


def brightness(colour: str) -> float:
    numbers = colour[colour.index("(") + 1 : -1].split(",")
    return sum(map(float, numbers[:3])) / 3


def test_four_pictures_that_were_enlarged_to_draw_on_fit_a_row(
    browser: Any, project: Project
) -> None:
    for name in ("plain", "learned"):
        predict(run(project, name), [12], (256, 256))
    tab, _ = opened(browser, build.build(project), 1400)
    assert len({one.bounding_box()["y"] for one in tab.locator(".compared img").all()}) == 1
