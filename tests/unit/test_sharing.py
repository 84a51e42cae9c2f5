"""Where results are pulled from, and what is said when they cannot be; DVC's answers are given."""

import hashlib
import json
import subprocess

import fabricated
import pytest
import yaml

from reprise import sharing
from reprise.config import load_project
from reprise.errors import ConfigError
from reprise.selection import select

DVC = {
    "stages": {
        "data": {"foreach": {"digits": "tiny", "other": "big"}},
        "toy": {"foreach": {"tiny": "data/digits"}},
    }
}


@pytest.fixture
def project(tmp_path):
    project = fabricated.workspace(tmp_path)
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump(DVC))
    return project


def lock(project, *stages):
    (project.root / "dvc.lock").write_text(
        yaml.safe_dump({"stages": {name: {} for name in stages}})
    )


def answer(monkeypatch, url):
    """Let DVC answer with a remote's address; collect what else it is asked."""
    asked = []

    def dvc(project, *arguments):
        asked.append(arguments)
        return {"core.remote": "default\n", "remote.default.url": f"{url}\n"}.get(arguments[-1], "")

    monkeypatch.setattr(sharing, "_dvc", dvc)
    return asked


def test_stages_are_those_of_the_scale_and_of_shared_data(project):
    assert sharing._stages(project, select(project)) == {
        "toy@tiny": project.results / "toy",
        "data@digits": project.data_root / "digits",
    }


def test_scale_without_a_stage_is_named(project):
    declared = yaml.safe_dump({"stages": {**DVC["stages"], "toy": {"foreach": {"big": "x"}}}})
    (project.root / "dvc.yaml").write_text(declared)
    with pytest.raises(sharing.SharingError, match=r"stages.toy.foreach has no entry 'tiny'"):
        sharing._stages(project, select(project))
    (project.root / "dvc.yaml").unlink()
    with pytest.raises(ConfigError, match=r"dvc.yaml: no such file"):
        sharing._stages(project, select(project))


def test_only_recorded_stages_are_pulled(project):
    lock(project, "toy@tiny", "toy@big", "data@other")
    assert sharing._recorded(project, select(project)) == ["toy@tiny"]


def test_nothing_recorded_at_this_scale_is_said_with_what_is(project):
    lock(project, "toy@big", "data@digits")
    expected = r"no results of scale tiny \(recorded: data@digits, toy@big\)"
    with pytest.raises(sharing.SharingError, match=expected):
        sharing._recorded(project, select(project))


def test_default_remote_is_used_where_it_exists_or_is_no_folder(project, monkeypatch, tmp_path):
    answer(monkeypatch, tmp_path)
    assert sharing._remote_options(project, None) == []
    answer(monkeypatch, "s3://shared/results")
    assert sharing._remote_options(project, None) == []


def test_given_remote_is_verified_and_kept_out_of_the_shared_settings(
    project, monkeypatch, tmp_path
):
    asked = answer(monkeypatch, tmp_path / "absent")
    assert sharing._remote_options(project, str(tmp_path)) == ["--remote", sharing.PULL_SOURCE]
    add, verify = asked
    assert add[:3] == ("remote", "add", "--local")
    assert add[-1] == str(tmp_path)
    assert "--local" in verify
    assert verify[-2:] == ("verify", "true")


def test_folder_beside_a_local_origin_stands_in_for_an_absent_default(
    project, monkeypatch, tmp_path
):
    origin = tmp_path / "origin"
    (origin / "dvc-remote").mkdir(parents=True)
    for command in (["init", "--quiet"], ["remote", "add", "origin", f"file://{origin}"]):
        subprocess.run(["git", *command], cwd=project.root, check=True)
    asked = answer(monkeypatch, project.root / "dvc-remote")
    assert sharing._remote_options(project, None) == ["--remote", sharing.PULL_SOURCE]
    assert str(origin / "dvc-remote") in asked[2]


def test_absent_default_without_a_local_origin_asks_for_a_remote(project, monkeypatch):
    answer(monkeypatch, project.root / "dvc-remote")
    with pytest.raises(sharing.SharingError, match=r"does not exist in this clone.*--remote"):
        sharing._remote_options(project, None)
    with pytest.raises(sharing.SharingError, match=r"--remote elsewhere: no such folder"):
        sharing._remote_options(project, "elsewhere")


def test_failure_of_a_tool_is_told_in_its_own_words(project):
    with pytest.raises(sharing.SharingError, match=r"`dvc no-such-verb ...` failed"):
        sharing._tool(project, "dvc", "no-such-verb")


def test_a_table_is_selected_with_its_paper_and_its_data(project):
    wanted = select(project, "toy/main")
    assert wanted == select(project, "toy")
    assert (wanted.papers, wanted.data) == (("toy",), {"digits"})


def test_a_paper_is_selected_with_those_whose_runs_it_starts_from(project):
    file = project.root / "params/papers/toy.yaml"
    paper = yaml.safe_load(file.read_text())
    paper["runs"]["learned"]["init_from"] = "plain"
    file.write_text(yaml.safe_dump(paper))
    other = {**paper, "slug": "other", "tables": {}}
    other["runs"] = {"later": {**paper["runs"]["learned"], "init_from": "toy/plain"}}
    file.with_name("other.yaml").write_text(yaml.safe_dump(other))
    config = project.root / "params/config.yaml"
    config.write_text(config.read_text().replace("- toy", "- toy\n- other"))
    both = load_project(project.root, "tiny")
    assert select(both, "toy").papers == ("toy",)
    assert select(both, "other").papers == ("other", "toy")


def test_unknown_paper_or_table_is_named_with_those_there_are(project):
    with pytest.raises(ConfigError, match=r"unknown paper 'toi' \(did you mean 'toy'\?\)"):
        select(project, "toi")
    with pytest.raises(ConfigError, match=r"unknown table of toy 'mane'.*known: extra, main"):
        select(project, "toy/mane")


@pytest.fixture
def cached(project, monkeypatch):
    """A recorded folder of two files and its list, all in a cache; DVC only names the cache."""
    cache = project.root / "cache"
    monkeypatch.setattr(sharing, "_dvc", lambda project, *arguments: f"{cache}\n")

    def keep(content, ending=""):
        md5 = hashlib.md5(content).hexdigest() + ending
        path = cache / "files/md5" / md5[:2] / md5[2:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return md5, path

    (first, path), (second, _) = keep(b"weights"), keep(b"a curve")
    entries = [{"md5": first, "relpath": "w"}, {"md5": second, "relpath": "log.jsonl"}]
    listing, of_list = keep(json.dumps(entries).encode(), ".dir")
    stage = {"outs": [{"path": "results/tiny/toy", "md5": listing}]}
    (project.root / "dvc.lock").write_text(yaml.safe_dump({"stages": {"toy@tiny": stage}}))
    return path, of_list


def test_sound_cache_is_left_alone(project, cached):
    assert sharing._throw_away_damaged(project, ["toy@tiny"]) == []
    assert all(path.is_file() for path in cached)


def test_damaged_file_in_the_cache_is_named_and_thrown_away(project, cached):
    file, listing = cached
    file.write_bytes(b"weighty")
    assert sharing._throw_away_damaged(project, ["toy@tiny"]) == ["results/tiny/toy/w"]
    assert (file.exists(), listing.exists()) == (False, True)


def test_damaged_list_of_files_is_named_and_not_believed(project, cached):
    file, listing = cached
    listing.write_bytes(listing.read_bytes().replace(b"log.jsonl", b"../../../etc"))
    found = sharing._throw_away_damaged(project, ["toy@tiny"])
    assert found == ["results/tiny/toy (its list of files)"]
    assert (file.exists(), listing.exists()) == (True, False)
