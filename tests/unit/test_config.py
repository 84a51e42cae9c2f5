"""Parameters: what is wrong is named with file, key, value and what is allowed."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from reprise import plan
from reprise.config import Project, load_project, overlay, read_yaml, schemas
from reprise.errors import ConfigError

ROOT = Path(__file__).parents[2]
SCALES = sorted(path.stem for path in (ROOT / "params/scales").glob("*.yaml"))


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "params", tmp_path / "params")
    return tmp_path


def edit(workspace: Path, file: str, old: str, new: str) -> None:
    path = workspace / "params" / file
    text = path.read_text()
    assert old in text, f"{old!r} is not in {file}"
    path.write_text(text.replace(old, new, 1))


def load(workspace: Path) -> Project:
    return load_project(workspace, "smoke")


@pytest.mark.parametrize("scale", SCALES)
def test_every_committed_file_is_valid(scale: str) -> None:
    project = load_project(ROOT, scale)
    assert plan.run_jobs(project)
    assert plan.table_jobs(project)


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("papers/can.yaml", "mask_rate: 0.5", "mask_rat: 0.5", "did you mean 'mask_rate'"),
        ("papers/can.yaml", "mask_rate: 0.5", "mask_rate: 1.5", "mask_rate = 1.5"),
        (
            "papers/can.yaml",
            "method: supervised",
            "method: superwised",
            "did you mean 'supervised'",
        ),
        ("papers/can.yaml", "extends: mae", "extends: mea", "did you mean 'mae'"),
        ("papers/can.yaml", "run: simclr,", "run: simcl,", "did you mean 'simclr'"),
        ("papers/can.yaml", "evaluator: knn,", "evaluator: knnn,", "did you mean 'knn'"),
        ("papers/can.yaml", "published: imagenet1k", "published: imagenet2k", "imagenet2k.csv"),
        ("papers/can.yaml", "name: adamw, betas", "name: adam, betas", "'adamw', 'lamb'"),
        ("papers/can.yaml", "kind: knn", "kind: nearest", "linear_probe"),
        ("scales/smoke.yaml", "batch_size: 64", "batch_size: many", 'batch_size = "many"'),
        ("scales/smoke.yaml", "threads: 1", "threads: 0", "threads = 0"),
        (
            "scales/smoke.yaml",
            "\nseeds: [0]",
            "\nseeds: 0",
            "seeds = 0: must be a list, such as [0]",
        ),
        (
            "scales/smoke.yaml",
            "\nseeds: [0]",
            "\nseeds: [2, 2]",
            "seeds = [2, 2]: seed 2 is given twice",
        ),
        ("papers/can.yaml", "  mae:\n", "  mae:\n    seeds: [1, 1]\n", "seed 1 is given twice"),
        (
            "scales/smoke.yaml",
            "mae-time: {",
            "mae-tim: {",
            "papers.can.runs.mae-tim: {params}/papers/can.yaml has none of this name "
            "(did you mean 'mae-time'?), and a new one must say `extends`",
        ),
        (
            "scales/smoke.yaml",
            "linear_probe: {",
            "linear_prob: {",
            "papers.can.evaluators.linear_prob: {params}/papers/can.yaml has none of this name "
            "(did you mean 'linear_probe'?), and a new one must say `kind`",
        ),
        (
            "config.yaml",
            "[can, capdec",
            "[cann, capdec",
            "papers: no params/papers/cann.yaml: unknown paper 'cann' (did you mean 'can'?)",
        ),
        ("scales/smoke.yaml", "name: digits", "name: digit", "did you mean 'digits'"),
        (
            "config.yaml",
            "papers: [can, capdec, deit3, litv2]",
            "paper: [can]",
            "did you mean 'papers'",
        ),
    ],
)
def test_a_mistake_is_named(workspace: Path, file: str, old: str, new: str, said: str) -> None:
    edit(workspace, file, old, new)
    with pytest.raises(ConfigError) as error:
        load(workspace)
    assert said.replace("{params}", str(workspace / "params")) in str(error.value)
    assert f"params/{file}" in str(error.value)


def test_one_mistake_is_told_once(workspace: Path) -> None:
    """Every run of CAN extends `base`, so that each of them finds it."""
    edit(workspace, "scales/smoke.yaml", "steps: 12", "stepps: 12")
    with pytest.raises(ConfigError, match=r"papers\.can\.runs\.base\.stepps") as error:
        load(workspace)
    assert str(error.value).count("unknown key 'stepps'") == 1


def test_a_scale_may_add_a_run_that_extends_one(workspace: Path) -> None:
    edit(workspace, "scales/smoke.yaml", "mae-time: {", "mine: {extends: mae}\n      mae-time: {")
    assert (
        load(workspace).run("can", "mine").objective == load(workspace).run("can", "mae").objective
    )


def test_a_scale_that_was_asked_for_is_not_blamed_on_the_file(workspace: Path) -> None:
    with pytest.raises(ConfigError, match=r"^unknown scale 'smok' \(did you mean 'smoke'\?\)"):
        load_project(workspace, "smok")
    edit(workspace, "config.yaml", "scale: demo", "scale: dem")
    with pytest.raises(ConfigError, match=r"params/config\.yaml: scale: unknown scale 'dem'"):
        load_project(workspace)


def test_a_value_in_the_scale_is_blamed_on_the_scale_file(workspace: Path) -> None:
    edit(workspace, "scales/smoke.yaml", "lr: 1e-3", "lr: -1")
    with pytest.raises(ConfigError) as error:
        load(workspace)
    first = str(error.value).splitlines()[0]
    assert "params/scales/smoke.yaml: papers.can.runs.base.optim.lr = -1" in first


def test_runs_that_extend_in_a_circle_are_refused(workspace: Path) -> None:
    edit(workspace, "papers/can.yaml", "    abstract: true\n", "    extends: can\n")
    with pytest.raises(ConfigError, match="circle"):
        load(workspace)


def test_a_repeated_key_and_broken_yaml_name_the_line(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("a: 1\nb: 2\na: 3\n")
    with pytest.raises(ConfigError, match=r"x.yaml, line 3: key 'a' is given twice"):
        read_yaml(file)
    file.write_text("a: [1\n")
    with pytest.raises(ConfigError, match=r"x\.yaml"):
        read_yaml(file)
    with pytest.raises(ConfigError, match="no such file"):
        read_yaml(tmp_path / "absent.yaml")


def test_numbers_in_scientific_notation_are_numbers(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("a: 1e-4\nb: 2E3\nc: 1.5e-3\nd: 1e4\ne: 12\nf: 1.0\ng: e5\n")
    found = read_yaml(file)
    assert found == {"a": 1e-4, "b": 2000.0, "c": 0.0015, "d": 1e4, "e": 12, "f": 1.0, "g": "e5"}
    assert isinstance(found["e"], int)


def test_anchors_and_merge_keys_work(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n")
    assert read_yaml(file) == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}}


def test_overlay_merges_mappings_and_replaces_the_rest() -> None:
    base = {"a": {"x": 1, "y": [1, 2]}, "b": 1}
    assert overlay(base, {"a": {"y": [3]}, "c": 2}) == {"a": {"x": 1, "y": [3]}, "b": 1, "c": 2}
    assert base == {"a": {"x": 1, "y": [1, 2]}, "b": 1}


def test_a_run_takes_what_it_does_not_say_from_its_parent() -> None:
    project = load_project(ROOT, "smoke")
    can, mae = project.run("can", "can"), project.run("can", "mae")
    assert mae.objective["weight_contrast"] == 0
    assert mae.objective["temperature"] == can.objective["temperature"]
    assert mae.optim == can.optim


def test_the_digest_moves_with_the_science_and_only_with_it(workspace: Path) -> None:
    def digests() -> dict[str, str]:
        return {job.name: job.digest for job in plan.run_jobs(load(workspace))}

    before = digests()
    edit(workspace, "papers/can.yaml", "about: masked autoencoder", "about: a masked autoencoder")
    assert digests() == before
    edit(workspace, "papers/can.yaml", "views: 1, mask_rate: 0.75", "views: 1, mask_rate: 0.5")
    changed = {name for name, digest in digests().items() if digest != before[name]}
    dense = {"segment-mae", "segment-mae-tenth"}  # they start from its weights
    assert changed == {"mae", "mae-time"} | dense


def test_schema_files_are_current_and_agree_with_the_models() -> None:
    """Run `python -m reprise schema --write` after changing a model."""
    import jsonschema

    written = {path.name: json.loads(path.read_text()) for path in SCHEMAS.glob("*.json")}
    assert written == json.loads(json.dumps(schemas()))
    config = yaml.safe_load((ROOT / "params/config.yaml").read_text())
    jsonschema.validate(config, written["config.schema.json"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**config, "papers": 3}, written["config.schema.json"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**config, "unknown": 3}, written["config.schema.json"])


SCHEMAS = ROOT / "workflow/schemas"
