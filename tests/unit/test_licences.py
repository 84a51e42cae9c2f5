"""Licences of data, weights and packages: complete, from metadata, by the right family."""

import csv
import functools
import io
import json
from pathlib import Path

import pytest
import timm
import typer
from typer.testing import CliRunner

from reprise import cli_plan
from reprise.budget import catalogue, licences
from reprise.budget.catalogue import Catalogue
from reprise.budget.licences import (
    NOT_STATED,
    WEAK,
    Licence,
    family_of,
    needed,
    packages,
    stated_by,
)
from reprise.config import load_project
from reprise.errors import ConfigError

ROOT = Path(__file__).parents[2]
KNOWN = catalogue.read(ROOT)


@functools.cache
def listed(scale: str) -> dict[tuple[str, str], Licence]:
    found = licences.of_scale(load_project(ROOT, scale), KNOWN)
    return {(one.kind, one.name): one for one in found}


@pytest.mark.parametrize("scale", [file.stem for file in (ROOT / "params/scales").glob("*.yaml")])
def test_every_data_set_and_every_released_weight_of_a_scale_has_terms(scale: str) -> None:
    project = load_project(ROOT, scale)
    found = listed(scale)
    for dataset in project.scale.datasets.values():
        terms = found["data", dataset.home]
        assert terms.allows
        assert terms.licence != NOT_STATED, dataset.home
    for run, names in licences.released(project).items():
        for name in names:
            assert run in found["weights", name].used_by
            assert found["weights", name].url


def test_weights_that_are_not_free_for_all_are_told() -> None:
    found = listed("demo")
    assert found["weights", "mae"].commercial == "no"
    assert found["data", "fashion_mnist"].commercial == "yes"


def test_timm_states_the_same_licence_of_deit3() -> None:
    configuration = timm.get_pretrained_cfg("deit3_base_patch16_224.fb_in1k")
    assert configuration is not None
    stated = configuration.license or ""
    assert stated.lower() in ("", KNOWN.weights["deit3"].licence.lower())


@pytest.mark.parametrize(
    ("licence", "family"),
    [
        ("MIT", "permissive"),
        ("BSD-3-Clause AND MIT", "permissive"),
        ("Apache Software License", "permissive"),
        ("Apache-2.0 OR GPL-2.0-or-later", "permissive"),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", WEAK),
        ("GNU Lesser General Public License v3 (LGPLv3)", WEAK),
        ("EPL-2.0 OR GPL-2.0-or-later", WEAK),
        ("GNU General Public License v2 (GPLv2)", "GPL"),
        ("BSD License, GNU General Public License (GPL)", "GPL"),
        ("LicenseRef-NVIDIA-Proprietary", "proprietary"),
        (NOT_STATED, "other"),
    ],
)
def test_families(licence: str, family: str) -> None:
    assert family_of(licence) == family


def test_a_package_that_is_not_installed_is_named() -> None:
    with pytest.raises(ConfigError, match="'no-such-package' is not installed here"):
        needed("no-such-package")


def test_packages_are_those_needed_and_no_others() -> None:
    found = needed("reprise")
    assert {"torch", "timm", "numpy", "jinja2", "markupsafe"} <= found  # the last by jinja2
    assert not {"pytest", "ruff", "mypy", "moto"} & found  # wanted by those who develop
    assert "reprise" not in found


def test_metadata_speak_before_the_catalogue_does() -> None:
    assert stated_by("numpy").startswith("BSD")
    by_name = {one.name: one for one in packages(KNOWN)}
    assert by_name["numpy"].source == "metadata"
    assert by_name["pycocoevalcap"].source == "catalogue"
    silent = {one.name: one for one in packages(Catalogue())}
    assert silent["pycocoevalcap"].licence == NOT_STATED
    assert silent["pycocoevalcap"].commercial == "unclear"


def test_programs_within_packages_are_listed() -> None:
    by_name = {one.name: one for one in packages(KNOWN)}
    assert by_name["stanford-corenlp-3.4.1.jar in pycocoevalcap"].family == "GPL"


def test_nearly_all_packages_tell_their_licence() -> None:
    unknown = [one.name for one in packages(KNOWN) if one.family == "other"]
    assert len(unknown) < 8, unknown


def test_the_verb_as_json_csv_and_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPRISE_ROOT", str(ROOT))
    monkeypatch.setenv("COLUMNS", "250")
    app = typer.Typer()
    cli_plan.register(app)

    def call(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["licences", "--scale", "demo", *arguments])
        assert done.exit_code == 0, done.output
        return done.stdout

    records = json.loads(call("--json"))
    rows = list(csv.DictReader(io.StringIO(call("--csv"))))
    assert [one["name"] for one in records] == [row["name"] for row in rows]
    assert {one["kind"] for one in records} == {"data", "weights", "package"}
    words = call()
    for name in ("Fashion-MNIST", "CC-BY-NC-4.0", "permissive", "no legal advice"):
        assert name in words
