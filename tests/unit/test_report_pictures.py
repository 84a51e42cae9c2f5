"""Pictures and curves in words and colours that a reader can tell apart."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fabricated import fabricate, workspace, write_json
from pages import page, squeezed
from pycocotools import mask as coco

from reprise.config import Project, load_project
from reprise.evaluators import detect, segment
from reprise.plan import RunJob, run_jobs
from reprise.report import pictures, plots, repaint, rows

SIDE = 48
NAMES = ("coat", "bag", "boot")
PLAIN = ("background", *NAMES)
VOC = tuple(
    (name, "#{:02x}{:02x}{:02x}".format(*colour))
    for name, colour in zip(PLAIN, segment.palette(), strict=False)
)
DRAWN = tuple((name, detect._colour(kind)) for kind, name in enumerate(NAMES))


def photograph() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))


def is_grey(pixels: np.ndarray) -> bool:
    return bool((pixels == pixels[..., :1]).all())


def test_a_segmentation_is_its_classes_alone() -> None:
    image = photograph()
    mask = np.arange(SIDE * SIDE, dtype=np.uint8).reshape(SIDE, SIDE) % 4
    mask[:5] = segment.IGNORE
    drawn = segment.overlaid(image[None], mask[None])[0]
    made = repaint.repainted("segment", VOC, image, drawn)
    colours = np.array([rgb(colour) for _, colour in repaint.recoloured("segment", VOC)])
    assert (made[5:] == colours[mask[5:]]).all(), "every pixel's class is read off its colour"
    assert is_grey(made[:5]), "a pixel without a label is the photograph in grey"


def test_many_classes_keep_the_colours_of_their_legend() -> None:
    legend = tuple(
        (f"class {number}", "#{:02x}{:02x}{:02x}".format(*colour))
        for number, colour in enumerate(segment.palette()[:150])
    )
    assert repaint.recoloured("segment", legend) == legend
    image = photograph()
    mask = np.arange(SIDE * SIDE).reshape(SIDE, SIDE).astype(np.uint8) % 150
    drawn = segment.overlaid(image[None], mask[None])[0]
    assert (repaint.repainted("segment", legend, image, drawn) == segment.palette()[mask]).all()
    many = tuple((name, DRAWN[0][1]) for name, _ in legend)
    big = drawn.repeat(6, axis=0).repeat(6, axis=1)
    assert repaint.repainted("detect", many, image, big) is big, "words say what colours cannot"


def test_colours_are_told_apart_and_the_background_is_neutral() -> None:
    colours = dict(repaint.recoloured("segment", VOC))
    assert colours["background"] == repaint.NEUTRAL
    assert dict(repaint.recoloured("detect", DRAWN)) == {name: colours[name] for name in NAMES}
    assert len(set(repaint.PALETTE)) == 10
    assert repaint.recoloured("gallery", VOC) == VOC


def objects(masks: list[Any] | None) -> detect.Objects:
    """Two boxes that overlap, so that their words do, and one at the edge."""
    boxes = np.array([[5, 5, 30, 40], [7, 6, 34, 42], [36, 20, 48, 40]], float)
    scores = np.array([0.9, 0.5, 0.4], np.float32)
    return detect.Objects(boxes, np.array([0, 1, 2]), scores, np.zeros(3, bool), masks)


def painted(masks: list[Any] | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the evaluator draws, what becomes of it, and the colours of its classes."""
    image = photograph() // 2
    drawn = detect.drawn(torch.from_numpy(image).permute(2, 0, 1), objects(masks), NAMES)
    colours = np.array([rgb(colour) for _, colour in repaint.recoloured("detect", DRAWN)])
    return drawn, repaint.repainted("detect", DRAWN, image, drawn), colours


def test_boxes_remain_and_their_words_do_not() -> None:
    drawn, made, colours = painted(None)
    factor = len(drawn) // SIDE
    assert made.shape == drawn.shape
    for (x0, _, x1, y1), colour in zip(objects(None).boxes[1:], colours[1:], strict=True):
        bottom = made[int(factor * y1), int(factor * x0) : int(factor * x1) - 2]
        assert (bottom == colour).all(axis=1).mean() > 0.9, "the last box's line is whole"
    inside = made[factor * 8 : factor * 38, factor * 9 : factor * 28]
    assert is_grey(inside), "words are gone, and the photograph is grey"
    assert not is_grey(drawn[factor * 8 : factor * 38, factor * 9 : factor * 28])


def test_masks_remain_in_their_class_colour() -> None:
    def filled(y0: int, y1: int, x0: int, x1: int) -> Any:
        mask = np.zeros((SIDE, SIDE), np.uint8, order="F")
        mask[y0:y1, x0:x1] = 1
        return coco.encode(mask)

    drawn, made, colours = painted(
        [filled(8, 38, 8, 28), filled(30, 41, 20, 32), filled(22, 38, 38, 46)]
    )
    factor = len(drawn) // SIDE
    tints = made.astype(int) - made.min(axis=2, keepdims=True)
    for place, colour in (((20, 12), colours[0]), ((36, 31), colours[1])):
        tint = tints[factor * place[0] + 1, factor * place[1] + 1]
        assert tint.argmax() == colour.argmax()
    assert is_grey(made[factor * 34 : factor * 36, factor * 23 : factor * 25]), "where both are"


@pytest.mark.parametrize("kind", ["segment", "detect", "gallery"])
def test_what_was_drawn_otherwise_stays_as_it_is(kind: str) -> None:
    other = np.zeros((SIDE + 1, SIDE, 3), np.uint8)
    assert repaint.repainted(kind, VOC, photograph(), other) is other


@pytest.mark.parametrize(
    ("sigma", "label"), [(0, "kept patches"), (0.05, "kept patches, noisy"), (None, None)]
)
def test_patches_are_noisy_only_where_noise_was_added(
    tmp_path: Path, sigma: float | None, label: str | None
) -> None:
    job = next(iter(run_jobs(workspace(tmp_path))))
    if sigma is not None:
        job.run.objective["sigma_max"] = sigma
    assert pictures._label(job, "kept patches, noisy") == (label or "kept patches, noisy")


def test_runs_have_the_name_of_most_of_their_rows_and_are_told_apart() -> None:
    runs = [("toy", name) for name in ("can", "segment-can", "noise-0.1", "alone", "mae-time")]
    known = dict(zip(runs, ("CAN", "CAN", "0.1"), strict=False))
    known["toy", "mae-time"] = "MAE, equal time"
    assert list(rows.told_apart(runs, known).values()) == [
        *("CAN", "CAN (segment-can)", "0.1 (noise-0.1)", "alone", "MAE, equal time"),
    ]


def test_known_terms_have_a_title_and_an_axis_in_words() -> None:
    line = {"step": 1, "loss_denoise": 1.0, "top1": 5.0, "pixels": 9.0, "loss_new": 1.0, "odd_x": 1}
    made = plots.panels([plots.Curve("CAN", 0, 0, [line])])
    titles = ["loss: denoising", "accuracy in training", "pixels whose class is right, in training"]
    assert [panel.title for panel in made] == [*titles, "loss: new", "odd: x"]
    for panel, axis in zip(made, ("loss", "top-1, %", "pixels right, %", "loss"), strict=False):
        assert f">{axis}</text>" in panel.svg


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = workspace(tmp_path)
    for job in run_jobs(project, headline_only=True):
        fabricate(job)
    return project


def test_legends_and_pictures_have_the_labels_of_the_rows(project: Project) -> None:
    file = project.root / "params/papers/toy.yaml"
    file.write_text(file.read_text().replace("label: learned", "label: learned here"))
    shown = page(load_project(project.root, "tiny"))
    assert "Training learned here loss" in squeezed(shown.words)
    assert [one["alt"] for one in shown.all("img")][:1] == [
        "learned here, original: 3 images side by side"
    ]


def test_a_contact_sheet_is_not_what_a_method_makes(project: Project) -> None:
    path = RunJob(project, "toy", "learned", 0).eval_folder / "pictures.json"
    write_json(path, {**json.loads(path.read_text()), "kind": "sheet"})
    assert not page(project).all("img")
