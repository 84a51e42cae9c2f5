"""Captions in the report: every run's words under each picture, which is stored once."""

import base64
import io
import json
from collections.abc import Iterator
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
from reprise.plan import RunJob, run_jobs
from reprise.report import build, captions, runs
from reprise.results import ResultError

SIDE = 48


def item(index: int, caption: str, references: int = 2, unseen: bool | None = None) -> dict:
    texts = [f"reference {index}-{number}" for number in range(references)]
    return {"index": index, "references": texts, "caption": caption, "unseen": unseen}


def image(index: int, side: int = SIDE) -> np.ndarray:
    return np.full((side, side, 3), index, np.uint8)


def say(job: RunJob, items: list[dict], **more: Any) -> None:
    """Turn a run's pictures into captions of the images at the items' indices."""
    path = job.eval_folder / "pictures.json"
    record = json.loads(path.read_text())
    record["info"] = {"captions": {"style": "humorous", "beams": 5, "items": items}}
    record["pictures"] = [{"array": "image", "label": "image"}]
    write_json(path, {**record, **more})
    images = [image(one["index"]) for one in items]
    np.savez(path.with_suffix(".npz"), image=np.stack(images))


def workspace_of(root: Path, seeds: tuple[int, ...] = (0,)) -> Project:
    """A toy workspace whose runs `plain`, `learned` and `swept` all have the evaluator."""
    workspace(root, seeds)
    file = root / "params/papers/toy.yaml"
    raw = yaml.safe_load(file.read_text())
    for name in ("plain", "swept"):
        raw["runs"][name]["evaluate"].append("pictures")
    # The rows do not have the order of the runs, and this label is not the run's name.
    raw["tables"]["main"]["rows"][2]["label"] = "learned <ours>"
    raw["tables"]["main"]["rows"].reverse()
    file.write_text(yaml.safe_dump(raw, sort_keys=False))
    project = load_project(root, "tiny")
    for job in run_jobs(project, headline_only=True):
        fabricate(job)
    tables.build(table_job(project))
    return project


def run(project: Project, name: str, seed: int = 0) -> RunJob:
    return RunJob(project, "toy", name, seed)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = workspace_of(tmp_path)
    say(run(project, "plain"), [item(7, "a plain dog"), item(3, "a plain cat", 5, True)])
    say(run(project, "learned"), [item(7, "a learned dog"), item(3, "<b>bold</b> & cat", 5, True)])
    return project


def gallery_of(project: Project) -> captions.Gallery:
    found = [
        (one.job, one.evaluations)
        for one in runs.finished_runs(project)["toy"]  # what the page itself reads
    ]
    (gallery,) = captions.galleries("toy", project.paper("toy").tables.values(), found)
    return gallery


def test_every_card_has_the_captions_in_the_order_of_the_rows(project: Project) -> None:
    words = squeezed(page(project).words)
    title = "2 images of digits, split test, and what each run says of them"
    said = "In the style “humorous”; beam search with 5 beams; scale tiny, first seed of each run."
    assert f"{title} {said}" in words
    first = "reference: reference 7-0 reference: reference 7-1"
    assert f"{first} learned <ours> a learned dog plain a plain dog" in words
    assert "learned <ours> <b>bold</b> & cat plain a plain cat" in words
    start = words.index(title)
    assert "swept" not in words[start : words.index("Provenance", start)]


def test_what_a_model_says_is_escaped(project: Project) -> None:
    text = build.build(project).read_text()
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; cat" in text
    assert "<b>bold" not in text


def test_references_and_alternative_text_are_escaped(project: Project) -> None:
    said = item(7, "x")
    said["references"] = ['"><script>alert(1)</script>', "two"]
    say(run(project, "learned"), [said])
    text = build.build(project).read_text()
    assert "<script>alert" not in text
    assert said["references"][0] in [one["alt"] for one in Page(text).all("img")]


def test_many_references_are_folded_and_unseen_is_a_badge(project: Project) -> None:
    text = build.build(project).read_text()
    words = squeezed(Page(text).words)
    assert "unseen combination 5 references reference 3-0 reference 3-1" in words
    assert words.count("unseen combination") == 1
    assert "<summary>5 references</summary>" in text
    assert "<summary>2 references</summary>" not in text


def test_pictures_are_stored_once_enlarged_and_described(project: Project) -> None:
    images = page(project).all("img")
    assert [one["alt"] for one in images] == ["reference 7-0", "reference 3-0"]
    for one, index in zip(images, (7, 3), strict=True):
        assert (one["width"], one["height"], one["class"]) == ("144", "144", "enlarged")
        stored = base64.b64decode((one["src"] or "").removeprefix("data:image/png;base64,"))
        assert (np.asarray(Image.open(io.BytesIO(stored))) == image(index)).all()


@pytest.mark.parametrize(
    ("size", "shown", "enlarged"),
    [((48, 64), (192, 144), True), ((100, 100), (200, 200), True), ((224, 160), (160, 224), False)],
)
def test_small_pictures_are_enlarged_by_whole_numbers(
    size: tuple[int, int], shown: tuple[int, int], enlarged: bool
) -> None:
    made = captions._picture(np.zeros((*size, 3), np.uint8))
    assert ((made.width, made.height), made.enlarged) == (shown, enlarged)


def test_runs_meet_by_index_and_may_lack_an_image(project: Project) -> None:
    say(run(project, "plain"), [item(3, "cat"), item(9, ""), item(7, "dog")])
    gallery = gallery_of(project)
    assert [card.index for card in gallery.cards] == [7, 3, 9]
    by_index = {card.index: dict(card.captions) for card in gallery.cards}
    assert by_index[7] == {"learned <ours>": "a learned dog", "plain": "dog"}
    assert by_index[9] == {"learned <ours>": None, "plain": ""}
    last = Image.open(io.BytesIO(gallery.cards[2].picture.png))
    assert (np.asarray(last) == 9).all(), "the picture of an image is that of its index"
    words = squeezed(page(project).words)
    assert "learned <ours> no caption plain empty caption" in words


def test_the_first_finished_seed_speaks_for_a_run(tmp_path: Path) -> None:
    project = workspace_of(tmp_path, seeds=(4, 2))
    for name in ("plain", "learned"):
        for seed in (4, 2):
            say(run(project, name, seed), [item(1, f"{name} of seed {seed}")])
    assert dict(gallery_of(project).cards[0].captions) == {
        "learned <ours>": "learned of seed 4",
        "plain": "plain of seed 4",
    }
    (run(project, "plain", 4).eval_folder / "pictures.json").unlink()
    assert dict(gallery_of(project).cards[0].captions)["plain"] == "plain of seed 2"


def test_a_sweep_appears_once_it_is_built(project: Project) -> None:
    fabricate(run(project, "swept"))
    say(run(project, "swept"), [item(7, "a swept dog")])
    assert [label for label, _ in gallery_of(project).cards[0].captions] == [
        "swept",
        "learned <ours>",
        "plain",
    ]


def test_labels_fall_back_to_the_run_and_are_told_apart(project: Project) -> None:
    file = project.root / "params/papers/toy.yaml"
    raw = yaml.safe_load(file.read_text())
    rows = raw["tables"]["main"]["rows"]
    raw["tables"]["main"].update(rows=[row for row in rows if row["label"] == "raw | pixels"])
    raw["tables"]["main"].pop("baseline")
    raw["tables"]["extra"]["rows"] = [{"label": "raw | pixels", "run": "learned"}]
    raw["tables"]["main"]["rows"][0]["run"] = "learned"
    file.write_text(yaml.safe_dump(raw, sort_keys=False))
    edited = load_project(project.root, "tiny")
    labels = [label for label, _ in gallery_of(edited).cards[0].captions]
    assert labels == ["raw | pixels", "plain"], "a run without a row has its name, and comes last"
    raw["tables"]["extra"]["rows"][0]["run"] = "plain"
    file.write_text(yaml.safe_dump(raw, sort_keys=False))
    edited = load_project(project.root, "tiny")
    labels = [label for label, _ in gallery_of(edited).cards[0].captions]
    assert labels == ["raw | pixels (learned)", "raw | pixels (plain)"]


def test_an_evaluator_may_show_no_image_and_leave_the_beams_to_the_run(project: Project) -> None:
    for name in ("plain", "learned"):
        path = run(project, name).eval_folder / "pictures.json"
        record = json.loads(path.read_text())
        record["info"]["captions"]["beams"] = None
        write_json(path, record)
    assert "In the style “humorous”; scale tiny" in squeezed(page(project).words)
    for name in ("plain", "learned"):
        path = run(project, name).eval_folder / "pictures.json"
        record = json.loads(path.read_text())
        record["info"]["captions"]["items"] = []
        write_json(path, {**record, "pictures": []})
    assert "In the style" not in page(project).words


def test_other_pictures_of_the_evaluator_stay_a_strip(project: Project) -> None:
    path = run(project, "learned").eval_folder / "pictures.npz"
    np.savez(path, image=np.stack([image(7), image(3)]), attention=np.zeros((2, 9, 9), np.uint8))
    record = json.loads(path.with_suffix(".json").read_text())
    record["pictures"].append({"array": "attention", "label": "where it looks"})
    write_json(path.with_suffix(".json"), record)
    alts = [one["alt"] for one in page(project).all("img")]
    assert alts[2:] == ["learned <ours>, where it looks: 2 images side by side"]


def test_without_captions_there_is_no_heading(tmp_path: Path) -> None:
    made = page(workspace_of(tmp_path))
    assert "toy-captions" not in [attributes.get("id") for _, attributes in made.tags]


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([{**item(7, "x"), "caption": None}], r"pictures\.json: info\.captions\.items\.0\.caption"),
        ([{"index": 7}], r"info\.captions\.items\.0\.references: Field required"),
        ("none", r"info\.captions\.items: Input should be"),
    ],
)
def test_a_damaged_record_is_named(project: Project, items: Any, said: str) -> None:
    path = run(project, "learned").eval_folder / "pictures.json"
    record = json.loads(path.read_text())
    record["info"]["captions"]["items"] = items
    write_json(path, record)
    with pytest.raises(ResultError, match=said):
        build.build(project)


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (np.zeros((1, 8, 8, 3), np.uint8), r"pictures\.npz: image: 1 images for 2 captions"),
        (np.zeros((2, 8, 8, 3)), r"pictures\.npz: image: expected uint8"),
    ],
)
def test_damaged_images_are_named(project: Project, images: np.ndarray, said: str) -> None:
    np.savez(run(project, "learned").eval_folder / "pictures.npz", image=images)
    with pytest.raises(ResultError, match=said):
        build.build(project)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as made:
        yield made


@pytest.mark.parametrize("width", [390, 1200])
def test_cards_fit_the_page(browser: Any, project: Project, width: int) -> None:
    endless = [item(7, "dog " + "x" * 400), item(3, "cat", 5, True)]
    say(run(project, "learned"), endless)
    tab, heard = opened(browser, build.build(project), width)
    assert not heard
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    boxes = [one.bounding_box() for one in tab.locator(".cards img").all()]
    assert [(box["width"], box["height"]) for box in boxes] == [(144, 144)] * 2
    folded = tab.locator(".cards details li").first
    assert not folded.is_visible()
    tab.locator(".cards summary").click()
    assert folded.is_visible()
