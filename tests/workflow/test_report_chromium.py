"""The report of a real build in a real browser: it asks for nothing, and all of it can be used."""

import io
import itertools
import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import Page, chromium, opened
from PIL import Image

SCREENS = {"wide": (1280, 900), "phone": (390, 844)}

# Every element with words of its own whose colour stands out from what lies behind it by less than
# WCAG's 4.5 (3 where the letters are large), with that ratio. Alpha is blended, level by level.
PALE = """() => {
  const parse = (text) => {
    const numbers = text.match(/[\\d.]+/g).map(Number);
    return [...numbers.slice(0, 3), numbers[3] ?? 1];
  };
  const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3]));
  const light = (colour) => {
    const [r, g, b] = colour.map((value) => {
      const share = value / 255;
      return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      layers.push(parse(getComputedStyle(at).backgroundColor));
    }
    return layers.reverse().reduce((under, layer) => over(layer, under), [255, 255, 255]);
  };
  const pale = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    const style = getComputedStyle(element);
    if (!own || element.closest("script, style") || !element.getClientRects().length) continue;
    const back = behind(element);
    const ink = over(parse(element.closest("svg") ? style.fill : style.color), back);
    const [low, high] = [light(ink), light(back)].sort((a, b) => a - b);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < (large ? 3 : 4.5)) {
      pale.push([element.tagName, element.className, element.textContent.slice(0, 40), ratio]);
    }
  }
  return pale.slice(0, 10);
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as made:
        yield made


@pytest.fixture(scope="module")
def report(built: Any) -> Path:
    return built.root / "results/smoke/report/index.html"


@pytest.fixture
def tab(browser: Any, report: Path) -> Any:
    """The page on a wide screen."""
    tab, heard = opened(browser, report, SCREENS["wide"][0])
    assert not heard
    return tab


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", SCREENS)
def test_it_asks_for_nothing_fits_and_can_be_read(
    browser: Any, report: Path, tmp_path: Path, screen: str, scheme: str
) -> None:
    width, height = SCREENS[screen]
    tab, heard = opened(browser, report, width)
    tab.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    tab.set_viewport_size({"width": width, "height": height})
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    assert tab.evaluate(PALE) == []
    picture = Image.open(io.BytesIO(tab.screenshot(path=tmp_path / f"{screen}-{scheme}.png")))
    assert picture.size == (width, height)
    assert len(picture.getcolors(1 << 24)) > 50, "an empty page has fewer colours"
    assert tab.evaluate("document.getAnimations().length") == 0
    tab.locator(".numbers [data-cell]").first.click()
    assert tab.locator("#panel").bounding_box()["width"] <= width
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    assert tab.evaluate(PALE) == []
    assert not heard, "the page asked for something, or its script failed"


def test_tables_sort_by_mouse_and_keyboard(tab: Any) -> None:
    table = tab.locator("#can-imagenet table")
    heads = table.locator("thead tr:last-child th")
    titles = [text.split("\n")[0].strip() for text in heads.all_inner_texts()]
    column = titles.index("ours")
    cells = table.locator(f"tbody:first-of-type > tr > :nth-child({column + 1})")

    def values() -> list[float]:
        found = [cell.get_attribute("data-value") for cell in cells.all()]
        return [float(value) for value in found if value]

    before = values()
    assert len(set(before)) > 2
    assert before not in (sorted(before), sorted(before, reverse=True))
    heads.nth(column).locator("button").click()
    assert values() == sorted(before, reverse=True)
    heads.nth(column).locator("button").focus()
    tab.keyboard.press("Enter")
    assert values() == sorted(before)
    assert heads.nth(column).get_attribute("aria-sort") == "ascending"
    tab.keyboard.press("Enter")
    assert values() == before


def test_a_cell_opens_by_keyboard_and_gives_the_focus_back(tab: Any) -> None:
    cell = tab.locator("#can-imagenet [data-cell]").first
    name = cell.get_attribute("data-cell")
    cell.focus()
    tab.keyboard.press("Enter")
    panel = tab.locator("#panel")
    assert panel.is_visible()
    assert panel.get_attribute("aria-labelledby") == "panel-title"
    assert tab.locator("#panel-title").inner_text() == "random initialisation: linear probe"
    shown = panel.locator(".command pre").first.inner_text()
    assert shown.startswith("snakemake results/smoke/can/eval/random-init/seed0/")
    assert "steps: 0" in panel.locator("details pre").first.inner_text()
    assert panel.locator("dd").first.inner_text().endswith("%")
    address = tab.url
    tab.keyboard.press("Escape")
    assert not panel.is_visible()
    assert tab.evaluate("document.activeElement.dataset.cell") == name
    assert "#cell:" not in tab.url
    tab.goto(address)
    tab.reload()
    assert panel.is_visible(), "its address opens it again"


def test_a_trained_cell_shows_its_curves_and_an_evaluated_one_its_evaluator(tab: Any) -> None:
    tab.locator('#can-imagenet [data-cell^="can/imagenet/6/"]').first.click()
    panel = tab.locator("#panel")
    assert panel.locator(".curves svg polyline").count() >= 3
    assert "evaluator can/" in panel.inner_text()
    assert "Run can/can, seed 0" in panel.inner_text()


def test_every_button_has_its_panel(tab: Any) -> None:
    lost = tab.evaluate(
        "[...document.querySelectorAll('[data-cell]')].map((b) => b.dataset.cell)"
        ".filter((id) => !origins.cells[id])"
    )
    assert lost == []
    filled = "(cell) => { try { return [...shown(cell)].length > 1 } catch { return false } }"
    broken = tab.evaluate(
        f"Object.keys(origins.cells).filter((id) => !({filled})(origins.cells[id]))"
    )
    assert broken == [], "panels that cannot be filled"


def test_the_contents_find_and_lead_to_what_is_asked_for(tab: Any) -> None:
    entries = tab.locator("#contents [data-words]:visible")
    tab.locator("#find").fill("hilo")
    found = entries.all_inner_texts()
    assert found
    assert tab.locator("#found").inner_text() == f"{len(found)} found"
    tab.locator("#find").fill("nothing has these words")
    assert entries.count() == 0
    tab.locator("#find").fill("resolution multiply-adds")
    tab.locator('#contents a[href="#litv2-resolution"]').click()
    assert tab.url.endswith("#litv2-resolution")


def test_claims_are_filtered_by_how_they_fell(tab: Any) -> None:
    rows = tab.locator("#can-claims tbody tr:visible")
    whole = rows.count()
    link = tab.locator('.glance a[href="#can-claims"]').first
    number = int(re.findall(r"\d+", link.inner_text())[0])
    assert 0 < number < whole
    link.click()
    assert rows.count() == number
    tab.locator("#can-claims .filter button").first.click()
    assert rows.count() == whole


def test_an_opened_claim_has_the_whole_width(tab: Any) -> None:
    row = tab.locator("#can-claims tbody tr[id]").first
    below = tab.locator("#can-claims tr.more")
    row.locator("summary").click()
    below.wait_for()
    assert below.bounding_box()["width"] == pytest.approx(row.bounding_box()["width"])
    assert "tested as" in below.inner_text()
    below.locator("[data-cell]").first.click()
    tab.locator("#panel").wait_for()
    tab.keyboard.press("Escape")
    tab.locator("#can-claims thead button").first.click()  # sorted, all are closed
    below.wait_for(state="detached")
    assert "tested as" in row.locator("details").text_content()


def test_headings_pictures_and_heads_of_tables_are_in_order(report: Path) -> None:
    page = Page(report.read_text(encoding="utf-8"))
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert page.all("img")
    assert all(image.get("alt") for image in page.all("img"))
    drawn = [svg for svg in page.all("svg") if svg.get("aria-hidden") != "true"]
    assert all(svg.get("role") == "img" and svg.get("aria-label") for svg in drawn)
    assert all(head.get("scope") for head in page.all("th"))
    names = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(names) == len(set(names))
    anchors = {(a["href"] or "")[1:] for a in page.all("a") if (a["href"] or "").startswith("#")}
    assert anchors <= set(names)
    assert report.stat().st_size < 10_000_000


def test_the_command_of_a_cell_makes_its_run_again_and_no_other(built: Any, report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    (found,) = re.findall(r'<script type="application/json" id="origins">(.*?)</script>', text)
    cell = json.loads(found)["cells"]["can/imagenet/0/linear_top1"]
    program, *arguments = shlex.split(cell["rerun"][0][1])
    assert program == "snakemake"
    said = built.run(sys.executable, "-m", program, *arguments, "-n")
    planned = re.findall(r"^Job \d+: (.*)$", said, flags=re.MULTILINE)
    assert sorted(planned) == ["evaluate can/random-init seed 0", "train can/random-init seed 0"]


def test_the_terminal_shows_the_same_numbers(built: Any, report: Path) -> None:
    said = built.reprise("show", "can/denoising", COLUMNS="200")
    text = (report.parent / "report.md").read_text(encoding="utf-8")
    part = text[text.index("### Table 1 ") :]
    part = part[: part.index("\n### ")]
    numbers = re.findall(r"\d+\.\d \[\d+\.\d, \d+\.\d\]", part)
    assert len(numbers) > 5
    assert all(number in said for number in numbers)
