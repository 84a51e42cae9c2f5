"""The report: the numbers of the tables, in one page that asks for nothing else."""

import base64
import io
import itertools
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from fabricated import fabricate, fabricate_all, table_job, workspace, write_json
from pages import chromium, opened, page, squeezed
from PIL import Image

from reprise import claims, markdown, reference, tables
from reprise.config import Project, load_project
from reprise.plan import ClaimsJob, RunJob, run_jobs
from reprise.report import build, pictures, plots, words
from reprise.results import ResultError


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = workspace(tmp_path)
    fabricate_all(project)
    tables.build(table_job(project))
    return project


def with_claims_and_reference(root: Path) -> Project:
    """A toy workspace with two claims, whose reference has three seeds; all is built."""
    workspace(root)
    for name, more in (("scales/tiny", SEEDS), ("papers/toy", CLAIMS)):
        file = root / f"params/{name}.yaml"
        file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **more}))
    project = load_project(root, "tiny")
    for job in run_jobs(project.for_reference()):
        fabricate(job)
    tables.build(table_job(project))
    claims.build(ClaimsJob(project, "toy"))
    reference.snapshot(project)
    return project


SEEDS = {"reference_seeds": [0, 1, 2]}
CLAIMS = {
    "claims": {
        key: {
            "statement": f"Claim <{key}>.",
            "source": "https://example.org/toy",
            "table": "main",
            "column": "probe_top1",
            "test": {"kind": "greater", "better": better, "worse": worse},
        }
        for key, better, worse in (("A", "learned", "plain"), ("B", "plain", "learned"))
    }
}


def test_every_number_of_the_table_stands_in_the_page_with_scale_and_seeds(
    project: Project,
) -> None:
    words = squeezed(page(project).words)
    table = tables.load(table_job(project).outputs[2])
    shown = 0
    for row in table["rows"]:
        for cell in row["cells"].values():
            if cell["ours"]:
                gain = f" {markdown.interval(cell['gain'], '%', sign=True)}" if cell["gain"] else ""
                assert f"{markdown.interval(cell['ours'], '%')}{gain}" in words
                shown += 1
            if cell["published"]:
                assert cell["published"]["text"] in words
    assert shown == 5
    assert "row published ours tiny, 1 seed ours tiny, 1 seed plain" in words
    assert "swept, probe: not run: sweep row, build with `snakemake --cores all sweeps`" in words
    assert "raw | pixels, 20-NN: not measured: pixels has no knn" in words
    assert "printed, not built here" in words


def test_the_page_asks_for_nothing_else(project: Project) -> None:
    made = page(project)
    for tag in ("img", "script", "link", "iframe", "source", "use", "image"):
        for attributes in made.all(tag):
            for key in ("src", "href", "xlink:href", "srcset"):
                value = attributes.get(key) or "data:"
                assert value.startswith(("data:", "#")), f"<{tag} {key}={value[:80]}>"
    assert "@import" not in (build.render(project))
    style = (Path(build.__file__).parent / "style.css").read_text()
    assert "url(" not in style
    (policy,) = (a for a in made.all("meta") if a.get("http-equiv"))
    assert (policy["content"] or "").startswith("default-src 'none'")


def test_what_a_parameter_file_says_is_escaped(project: Project) -> None:
    text = build.build(project).read_text()
    assert "A toy &lt;paper&gt;" in text
    assert "<paper>" not in text
    assert "raw | pixels" in text


def test_pictures_and_curves_have_words(project: Project) -> None:
    made = page(project)
    images = made.all("img")
    assert [image["alt"] for image in images] == [
        "learned, original: 3 images side by side",
        "learned, what the encoder sees: 3 images side by side",
    ]
    labels = [a["aria-label"] or "" for a in made.all("svg") if a.get("role") == "img"]
    assert labels == [
        "loss over steps: learned from 0.23 to 0.0575",
        "loss: ce over steps: learned from 0.2 to 0.05",
    ]
    ids = [attributes["id"] for _, attributes in made.tags if "id" in attributes]
    levels = [int(tag[1]) for tag, _ in made.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    anchors = [a["href"] or "" for a in made.all("a") if (a["href"] or "").startswith("#")]
    assert anchors
    assert {anchor[1:] for anchor in anchors} <= set(ids)


def test_opening_says_scale_cost_and_versions(project: Project) -> None:
    words = squeezed(page(project).words)
    assert "Scale tiny: made-up numbers for a test; 1 seed." in words
    assert "run 3 runs 1 of them trained; 7 evaluations; 0 benchmarks" in words
    assert "tables 1 of 2 built here" in words
    assert "0.8 min of jobs 0.8 core-minutes: 37.5 s of training, 10.5 s of evaluation" in words
    assert "python 3.11, torch 0.0.test" in words


def test_provenance_names_run_digest_speed_and_commit(project: Project) -> None:
    words = squeezed(page(project).words)
    digest = RunJob(project, "toy", "learned", 0).digest[:12]
    assert f"learned 0 {digest} 40 1,001 12.5 s 6.0 s 321 MB c0ffeec0ff" in words
    assert "python -m reprise train toy/learned --seed 0" in words


def test_a_run_outside_a_repository_is_shown_without_commit(project: Project) -> None:
    path = RunJob(project, "toy", "learned", 0).folder / "meta.json"
    meta = json.loads(path.read_text())
    write_json(path, {**meta, "git": {}, "peak_memory_mb": None})
    assert "1,001 12.5 s 6.0 s Commands" in squeezed(page(project).words)
    write_json(path, {**meta, "git": {"commit": "abc" * 13, "dirty": True}})
    assert "321 MB abcabcabca, edited" in squeezed(page(project).words)


def test_plumbing_scales_carry_a_banner(tmp_path: Path, project: Project) -> None:
    assert "not a result" not in page(project).words
    plumbing = workspace(tmp_path / "other", result=False)
    assert "Plumbing only, not a result." in page(plumbing).words


def test_what_is_not_built_or_stale_is_said(project: Project, tmp_path: Path) -> None:
    words = squeezed(page(project).words)
    assert "not built yet: sweep table, build with `snakemake --cores all sweeps`" in words
    assert "not finished" not in words
    path = table_job(project).outputs[2]
    path.write_text(path.read_text().replace(table_job(project).digest, "0" * 64))
    assert "stale, made by other settings" in page(project).words
    path.unlink()
    shutil.rmtree(RunJob(project, "toy", "learned", 0).folder)
    words = squeezed(page(project).words)
    assert "Figure 2: A table of a sweep not built yet: sweep table" in words
    assert "Table 9: Toy methods compared not built yet" in words
    assert "1 run with a place in a table not finished" in words


def test_an_empty_workspace_gives_a_page(tmp_path: Path) -> None:
    words = squeezed(page(workspace(tmp_path)).words)
    assert "0 runs 0 of them trained" in words


def test_a_stale_run_costs_and_shows_nothing(project: Project) -> None:
    path = RunJob(project, "toy", "learned", 0).folder / "meta.json"
    path.write_text(
        path.read_text().replace("learned --seed", "x --seed").replace('"digest"', '"d"')
    )
    with pytest.raises(ResultError, match="has no digest"):
        build.build(project)
    path.write_text(path.read_text().replace('"d"', '"digest"').replace('t": "', 't": "0', 1))
    meta = path.read_text()
    path.write_text(meta.replace(RunJob(project, "toy", "learned", 0).digest, "0" * 64))
    assert "2 runs 0 of them trained" in squeezed(page(project).words)


def test_stale_pictures_are_not_shown(project: Project) -> None:
    job = RunJob(project, "toy", "learned", 0)
    path = job.eval_folder / "pictures.json"
    path.write_text(path.read_text().replace(job.eval_digest("pictures"), "0" * 64))
    made = page(project)
    assert not made.all("img")
    assert "6 evaluations" in made.words


@pytest.mark.parametrize("name", ["meta.json", "log.jsonl"])
def test_a_truncated_file_is_named_and_no_page_written(project: Project, name: str) -> None:
    path = RunJob(project, "toy", "learned", 0).folder / name
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ResultError, match=str(path)):
        build.build(project)
    assert not (project.results / "report").exists()


def test_pictures_of_a_wrong_shape_are_named(project: Project) -> None:
    path = RunJob(project, "toy", "learned", 0).eval_folder / "pictures.npz"
    np.savez(path, originals=np.zeros((3, 4, 4)), masked=np.zeros((3, 4, 4, 3), np.uint8))
    with pytest.raises(ResultError, match=r"pictures\.npz: originals: expected uint8"):
        build.build(project)


def test_inputs_are_what_headline_rules_make(project: Project) -> None:
    wanted = build.inputs(project)
    assert len(wanted) == len(set(wanted))
    assert all(path.is_file() for path in wanted), "a headline build makes every input"
    names = {str(path.relative_to(project.results)) for path in wanted}
    assert "toy/eval/learned/seed0/pictures.npz" in names
    assert "toy/eval/learned/seed0/probe.json" in names
    assert not any("swept" in name for name in names)


def test_strip_enlarges_pixel_by_pixel() -> None:
    images = np.arange(2 * 4 * 4, dtype=np.uint8).reshape(2, 4, 4)
    sheet = np.asarray(Image.open(io.BytesIO(pictures.strip(images))))
    factor = 24
    assert sheet.shape == (4 * factor, 2 * 4 * factor + 6, 4)
    left = sheet[:, : 4 * factor, 0]
    assert (left == images[0].repeat(factor, 0).repeat(factor, 1)).all()
    right = sheet[:, -4 * factor :, 2]
    assert (right == images[1].repeat(factor, 0).repeat(factor, 1)).all()
    assert (sheet[:, 4 * factor : -4 * factor, 3] == 0).all()


def draw(project: Project, **arrays: np.ndarray) -> None:
    """Replace the pictures of a run's gallery."""
    path = RunJob(project, "toy", "learned", 0).eval_folder / "pictures.json"
    shown = [{"array": name, "label": name} for name in arrays]
    write_json(path, {**json.loads(path.read_text()), "pictures": shown})
    np.savez(path.with_suffix(".npz"), **arrays)


def test_a_single_large_picture_is_shown_as_it_is(project: Project) -> None:
    sheet = np.random.default_rng(0).integers(0, 256, (1, 600, 700, 3), dtype=np.uint8)
    draw(project, sheet=sheet, small=sheet[:, :512], one=sheet[:, :16, :16], two=sheet[[0, 0]])
    shown = page(project)
    assert [one["alt"] for one in shown.all("img")] == [
        "learned, sheet",
        "learned, small",
        "learned, one",
        "learned, two: 2 images side by side",
    ]
    assert [a for a in shown.all("div") if a.get("class") == "large"] == [{"class": "large"}]
    (src, *_) = (one["src"] or "" for one in shown.all("img"))
    stored = Image.open(io.BytesIO(base64.b64decode(src.partition(",")[2])))
    assert stored.mode == "RGB"
    assert (np.asarray(stored) == sheet[0]).all()
    job = RunJob(project, "toy", "learned", 0)
    record = json.loads((job.eval_folder / "pictures.json").read_text())
    found = pictures.strips(job, "pictures", record)
    assert [one.large for one in found] == [True, False, False, False]


def test_panels_skip_what_is_no_number() -> None:
    lines = [
        {"step": 1, "loss": 2.0, "lr": 0.1, "note": "x", "images": 8},
        {"step": 2, "loss": float("nan"), "loss_rec": 1.0, "lr": 0.1},
    ]
    curve = plots.Curve("<a>", 0, 9, lines)
    assert [panel.title for panel in plots.panels([curve])] == ["loss", "loss: rec"]
    assert curve.points("loss") == ([1], [2.0])
    assert "&lt;a&gt; from 2 to 2" in plots.panels([curve])[0].svg


def test_drawings_share_no_names_and_have_none_that_nothing_uses() -> None:
    lines = [{"step": step, "loss": 1 / step, "loss_rec": 1 / step} for step in (1, 2, 3)]
    first, second = (panel.svg for panel in plots.panels([plots.Curve("a", 0, 0, lines)]))
    names = [set(re.findall(r' id="([^"]+)"', svg)) for svg in (first, second)]
    used = [set(re.findall(r'(?:url\(|href=")#([\w-]+)', svg)) for svg in (first, second)]
    assert names == used
    assert names[0]
    assert not names[0] & names[1]


def test_accuracy_over_strength_begins_at_clean_images() -> None:
    found = {"clean": 80.0, "mean": 55.0, "noise": 60.0, "blur": 50.0, "noise_1": 70.0}
    found |= {"noise_2": 50.0, "blur_1": 60.0, "blur_2": 40.0}
    evaluation = {"metrics": [{"metric": name, "value": value} for name, value in found.items()]}
    lines = plots.strength_lines(evaluation)
    assert lines == [
        {"step": 0, "noise": 80.0, "blur": 80.0},
        {"step": 1, "noise": 70.0, "blur": 60.0},
        {"step": 2, "noise": 50.0, "blur": 40.0},
    ]
    made = plots.strength_panels([plots.Curve("can", 0, 0, lines), plots.Curve("mae", 0, 1, lines)])
    assert [panel.title for panel in made] == ["noise", "blur"]
    assert "blur over strengths: can from 80 to 40; mae from 80 to 40" in made[1].svg
    assert ">strength</text>" in made[0].svg
    assert "top-1, %" in made[0].svg


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (59.94, "59.9 s"),
        (59.99, "1 min 0 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
    ],
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


# --- in a browser, where there is one --------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as made:
        yield made


def test_columns_sort_by_keyboard_and_come_back(browser: Any, project: Project) -> None:
    tab, heard = opened(browser, build.build(project), 1200)
    assert not heard, "the page asked for something, or its script failed"
    table = tab.locator("#toy-main table")
    head = table.locator("thead tr:last-child th").nth(2)

    def order() -> list[str]:
        texts = table.locator("tbody:first-of-type > tr > th").all_inner_texts()
        return [text.split("\n")[0].split(" baseline")[0].strip() for text in texts]

    before = order()
    head.locator("button").focus()
    tab.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert order() == ["learned", "raw | pixels", "plain", "swept"]
    tab.keyboard.press("Space")
    assert head.get_attribute("aria-sort") == "ascending"
    assert order() == ["plain", "raw | pixels", "learned", "swept"], "empty cells stay last"
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "none"
    assert order() == before == ["plain", "raw | pixels", "learned", "swept"]
    table.locator("thead tr:last-child th button").nth(3).click()
    assert order() == ["learned", "plain", "raw | pixels", "swept"]
    table.locator("thead tr:last-child th button").first.click()
    assert order() == ["learned", "plain", "raw | pixels", "swept"]


def test_a_phone_scrolls_the_table_and_not_the_page(browser: Any, project: Project) -> None:
    tab, _ = opened(browser, build.build(project), 390)
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    widths = tab.evaluate(
        "(b => [b.scrollWidth, b.clientWidth])(document.querySelector('.scroll'))"
    )
    assert widths[0] > widths[1]


@pytest.mark.parametrize(("width", "shown"), [(390, 358), (1400, 700)])
def test_a_large_picture_is_as_wide_as_it_is_or_the_page(
    browser: Any, project: Project, width: int, shown: int
) -> None:
    draw(project, sheet=np.zeros((1, 600, 700, 3), np.uint8))
    tab, _ = opened(browser, build.build(project), width)
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    width_of = tab.locator(".gallery .large img").bounding_box()["width"]
    assert width_of == pytest.approx(shown, abs=1)


def test_claims_stand_with_their_verdicts_here_and_in_the_reference(tmp_path: Path) -> None:
    project = with_claims_and_reference(tmp_path)
    text = build.build(project).read_text()
    words = " ".join(page(project).words.split())
    assert "A Claim <A>." in words
    assert "this run only: same way" in words
    assert "this run only: other way" in words
    verdicts = re.findall(r'<span class="verdict ([\w-]+)">', text)
    assert verdicts == ["same-way", "supported", "other-way", "contradicted"]


def test_reference_stands_beside_ours_and_says_where_it_is_stale(tmp_path: Path) -> None:
    project = with_claims_and_reference(tmp_path)
    known = reference.cells(table_job(project))["learned", "probe_top1"]
    shown = markdown.interval(known["ours"], "%")
    first = squeezed(page(project).words)
    assert shown in first
    assert "ours tiny, 1 seed reference 3 seeds" in first
    assert not re.search("seeds?, stale", first)
    file = project.root / "params/papers/toy.yaml"
    raw = yaml.safe_load(file.read_text())
    raw["evaluators"]["probe"]["labels"] = 90
    file.write_text(yaml.safe_dump(raw, sort_keys=False))
    edited = load_project(project.root, "tiny")
    for job in run_jobs(edited):
        fabricate(job)
    tables.build(table_job(edited))
    claims.build(ClaimsJob(edited, "toy"))
    words = squeezed(page(edited).words)
    assert shown in words
    assert "reference 3 seeds, stale" in words
    assert "1 seed, stale" in words, "the sweep's"
    assert "points, 3 seeds, stale" in words, "a claim's"
