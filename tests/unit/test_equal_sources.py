"""The list of changes that no result depends on: whole, and of files as they are."""

from pathlib import Path

import pytest
import yaml

from reprise import provenance

REPOSITORY = Path(__file__).parents[2]
PACKAGE = Path(provenance.__file__).parent
LISTED = yaml.safe_load((PACKAGE / provenance.EQUAL).read_text(encoding="utf-8")) or []


@pytest.mark.parametrize("one", LISTED, ids=lambda one: one["file"])
def test_an_entry_is_of_a_file_as_it_is_or_as_a_later_entry_found_it(one: dict[str, str]) -> None:
    assert one.keys() == {"file", "was", "is", "why", "shown_by"}
    present = provenance.digest_of_file(PACKAGE / one["file"])
    later = {other["was"] for other in LISTED if other["file"] == one["file"]}
    assert one["is"] in {present, *later}, "the file was changed since: say whether that counts"
    assert one["was"] != one["is"]
    assert len(one["why"]) > 20
    assert (REPOSITORY / one["shown_by"]).is_file()


def test_only_what_is_listed_counts_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / provenance.EQUAL).write_text(
        yaml.safe_dump(
            [
                {"file": "a.py", "was": "first", "is": "second"},
                {"file": "a.py", "was": "second", "is": "third"},
            ]
        )
    )
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    provenance._earlier.cache_clear()
    try:
        assert [provenance.as_before("a.py", one) for one in ("first", "second", "third")] == [
            "first"
        ] * 3
        assert provenance.as_before("a.py", "fourth") == "fourth"
        assert provenance.as_before("b.py", "third") == "third"
    finally:
        monkeypatch.undo()
        provenance._earlier.cache_clear()


def test_a_digest_of_sources_sees_through_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    file = tmp_path / "a.py"
    (tmp_path / provenance.EQUAL).write_text("")

    def digest(text: str) -> str:
        file.write_text(text)
        provenance._earlier.cache_clear()
        return provenance.digest_of_sources([file])

    try:
        before, after = digest("x = 1\n"), digest("x = 1  # one\n")
        assert before != after
        file.write_text("x = 1\n")
        was = provenance.digest_of_file(file)
        file.write_text("x = 1  # one\n")
        entry = {"file": "a.py", "was": was, "is": provenance.digest_of_file(file)}
        (tmp_path / provenance.EQUAL).write_text(yaml.safe_dump([entry]))
        assert digest("x = 1  # one\n") == before
        assert digest("x = 2\n") not in (before, after)
    finally:
        monkeypatch.undo()
        provenance._earlier.cache_clear()


def test_a_file_that_is_new_and_listed_is_in_no_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    old, new = tmp_path / "a.py", tmp_path / "b.py"
    old.write_text("x = 1\n")
    new.write_text("y = 2\n")
    entry = {"file": "b.py", "was": provenance.ABSENT, "is": provenance.digest_of_file(new)}
    (tmp_path / provenance.EQUAL).write_text(yaml.safe_dump([entry]))
    provenance._earlier.cache_clear()
    try:
        alone = provenance.digest_of_sources([old])
        assert provenance.digest_of_sources([old, new]) == alone
        new.write_text("y = 3\n")
        assert provenance.digest_of_sources([old, new]) != alone
    finally:
        monkeypatch.undo()
        provenance._earlier.cache_clear()
