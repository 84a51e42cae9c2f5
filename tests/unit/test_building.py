"""Wrong arguments of models and data sets are told with file, key and the library's own words."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import photos

from reprise import networks, registry
from reprise.config import Project, Run, load_project
from reprise.data import arguments
from reprise.errors import ConfigError
from reprise.training.method import StandIn

ROOT = Path(__file__).parents[2]
SCALE = "params/scales/smoke.yaml"
GREY = StandIn(tuple("0123456789"), 1)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """The parameters, of which the scale's file is a test's own."""
    (tmp_path / "params/scales").mkdir(parents=True)
    for name in ("config.yaml", "papers", "published"):
        (tmp_path / "params" / name).symlink_to(ROOT / "params" / name)
    return tmp_path


def edited(workspace: Path, old: str, new: str) -> Project:
    """Read the workspace with an edit of its scale's file."""
    text = (ROOT / SCALE).read_text()
    assert old in text, f"{old!r} is not in {SCALE}"
    (workspace / SCALE).write_text(text.replace(old, new, 1))
    return load_project(workspace, "smoke")


def build(project: Project, run: str) -> None:
    own = project.run("can", run)
    registry.load("method", own.method).build(own, GREY)


@pytest.mark.parametrize(
    ("old", "new", "run", "said"),
    [
        (
            "num_heads: 2}",
            "num_head: 2}",
            "can",
            r"base\.model\.args = .*unexpected keyword argument 'num_head' \(.*\.py, line \d+\)",
        ),
        ("num_heads: 2}", "num_heads: 5}", "mae", r"base\.model\.args = .*divisible by num_heads"),
        ("embed_dim: 32,", "embed_dim: many,", "simclr", r"base\.model\.args = .*TypeError"),
        (
            "model: {args: {img_size: 16",
            "model: {name: vit_smal_patch16_224, args: {img_size: 16",
            "supervised",
            r"base\.model\.name = 'vit_smal.*did you mean 'vit_small_patch16_224'",
        ),
    ],
)
def test_what_a_model_refuses_is_told_with_its_place(
    workspace: Path, old: str, new: str, run: str, said: str
) -> None:
    project = edited(workspace, old, new)
    with pytest.raises(ConfigError, match=rf"{SCALE}: papers\.can\.runs\.{said}"):
        build(project, run)


class Broken:
    """A method's module that fails for another reason than its arguments."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def build(self, run: Run, data: object) -> None:
        raise self.error


class Absent(FileNotFoundError, ValueError):
    """As the hub's error for what is not downloaded."""


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), Absent("no such file")])
def test_other_faults_keep_their_traceback(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = load_project(ROOT, "smoke").run("can", "can")
    monkeypatch.setattr(registry.importlib, "import_module", lambda _name: Broken(error))
    monkeypatch.setattr(registry, "module_path", lambda _kind, name: name)
    with pytest.raises(type(error)) as raised:
        registry.load("method", "broken").build(run, GREY)
    assert raised.value is error


def test_photographs_in_colour_are_no_food_for_a_grey_model(workspace: Path) -> None:
    project = edited(workspace, "about:", "about:")
    grey = photos()
    colour = replace(grey, images=grey.images.expand(-1, 3, -1, -1))
    told = rf"{SCALE}: papers\.can\.runs\.base\.model\.args: .*'tiny' have 3 channels, .* takes 1: "
    for name in ("can", "supervised"):
        run = project.run("can", name)
        method = registry.load("method", run.method)
        assert method.build(run, grey) is not None
        with pytest.raises(ConfigError, match=f"{told}set in_chans: 3"):
            method.build(run, colour)
    pixels = project.run("can", "pixels")  # takes whatever there is
    assert registry.load("method", "pixels").build(pixels, colour) is not None


def test_every_distinct_network_is_built_and_each_wrong_one_named(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = edited(workspace, "num_heads: 2}", "num_heads: 5}")
    alone = replace(project, papers={"can": project.papers["can"]})
    found = networks.distinct(alone)
    assert 5 < len(found) < len(alone.paper("can").runs), "runs of one network are built once"
    monkeypatch.setattr(networks, "distinct", lambda _project: found[:3])
    with pytest.raises(ConfigError, match=rf"{SCALE}: papers\.can\.runs\.base\.model\.args"):
        networks.check(alone)
    right = edited(workspace, "about:", "about:")
    monkeypatch.setattr(networks, "distinct", lambda _project: [right.run("can", "can")])
    assert networks.check(right) == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            "{name: digits, folder: mine, args: {sizee: 16}}",
            "sizee: unknown key 'sizee' (did you mean 'size'?)",
        ),
        ("{name: digits, folder: mine, args: {size: 4}}", "size = 4: input should be greater than"),
        ("{name: image_folder, args: {root: mine}}", "size: field required"),
    ],
)
def test_arguments_of_data_are_checked_by_alias(workspace: Path, given: str, said: str) -> None:
    project = edited(workspace, "{name: digits, args: {size: 16}}", given)
    with pytest.raises(ConfigError, match=re.escape(f"{SCALE}: datasets.photos.args.{said}")):
        arguments.check(project, project.scale.datasets)
    arguments.check(project, ["scenes"])
