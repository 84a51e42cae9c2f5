"""The published numbers: every one has a source, every reference to one leads somewhere."""

from pathlib import Path

import fabricated
import pytest
import yaml

from reprise import published
from reprise.config import load_project
from reprise.errors import ConfigError

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "params/published").glob("*/*.csv"))
PAPERS = sorted((ROOT / "params/papers").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_printed_number_is_whole(path: Path) -> None:
    cells = published.read(path)
    assert cells
    for number in cells.values():
        assert number.confidence in {"seen", "seen_in_code", "inferred", "derived"}
        assert number.unit
        assert number.dataset
        assert number.split
        assert number.value is None if number.unit == "text" else float(number.text) == number.value


@pytest.mark.parametrize("path", PAPERS, ids=lambda path: path.stem)
def test_every_reference_leads_to_a_printed_number_and_back(path: Path) -> None:
    used: dict[Path, set[tuple[str, str]]] = {}
    for table in yaml.safe_load(path.read_text())["tables"].values():
        if not table.get("published"):
            continue
        file = ROOT / "params/published" / path.stem / f"{table['published']}.csv"
        rows = {row["published"] for row in table["rows"] if row.get("published")}
        cells = published.read(file)
        assert rows <= {row for row, _ in cells}, "a row refers to a number that is not there"
        shown = {
            (row, metric) for row, metric in cells if row in rows and metric in table["metrics"]
        }
        used.setdefault(file, set()).update(shown)
    for file, shown in used.items():
        assert shown == set(published.read(file)), "printed numbers that no table shows"
    assert set(used) == {file for file in FILES if file.parent.name == path.stem}


HEAD = ",".join(published.COLUMNS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("row,metric\na,b\n", "the first line must be row,metric,value"),
        (
            f"{HEAD}\na,m,1.0,%,d,s,src,seen\na,m,2.0,%,d,s,src,seen\n",
            "line 3: row 'a' has m twice",
        ),
        (f"{HEAD}\na,m,about 7,%,d,s,src,seen\n", "line 2: value = 'about 7': expected a number"),
        (f"{HEAD}\na,m,nan,%,d,s,src,seen\n", "line 2: value = 'nan': expected a number"),
        (f"{HEAD}\na,m,1.0,%,d,s,src,sen\n", "unknown confidence 'sen' .did you mean 'seen'"),
        (f"{HEAD}\na,m,1.0,%,d,s,,seen\n", "line 2: source is empty"),
        (f"{HEAD}\na,m,1.0,%,d,s,src\n", "line 2: expected 8 values"),
        (f"{HEAD}\na,m,1.0,%,d,s,src,with,commas\n", "line 2: expected 8 values"),
        (f'{HEAD}\n"a,m,1.0\n', "not readable as CSV"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        published.read(path)
    assert str(path) in str(caught.value)


def test_a_reference_to_no_printed_row_is_refused(tmp_path: Path) -> None:
    fabricated.workspace(tmp_path)
    paper = tmp_path / "params/papers/toy.yaml"
    paper.write_text(paper.read_text().replace("Other ViT-B", "Other ViT-L"))
    with pytest.raises(ConfigError, match=r"rows\.4\.published: unknown printed row 'Other ViT-L'"):
        published.of_table(load_project(tmp_path, "tiny"), "toy", fabricated.TABLE)
