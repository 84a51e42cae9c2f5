"""Where results are pulled from, and what is said when they cannot be; DVC's answers are given."""

import subprocess

import fabricated
import pytest
import yaml

from reprise import sharing
from reprise.errors import ConfigError

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
    assert sharing._stages(project) == {
        "toy@tiny": project.results / "toy",
        "data@digits": project.data_root / "digits",
    }


def test_scale_without_a_stage_is_named(project):
    declared = yaml.safe_dump({"stages": {**DVC["stages"], "toy": {"foreach": {"big": "x"}}}})
    (project.root / "dvc.yaml").write_text(declared)
    with pytest.raises(sharing.SharingError, match=r"stages.toy.foreach has no entry 'tiny'"):
        sharing._stages(project)
    (project.root / "dvc.yaml").unlink()
    with pytest.raises(ConfigError, match=r"dvc.yaml: no such file"):
        sharing._stages(project)


def test_only_recorded_stages_are_pulled(project):
    lock(project, "toy@tiny", "toy@big", "data@other")
    assert sharing._recorded(project) == ["toy@tiny"]


def test_nothing_recorded_at_this_scale_is_said_with_what_is(project):
    lock(project, "toy@big", "data@digits")
    expected = r"no results at scale 'tiny' \(recorded: data@digits, toy@big\)"
    with pytest.raises(sharing.SharingError, match=expected):
        sharing._recorded(project)


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
