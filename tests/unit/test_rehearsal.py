"""A rehearsal keeps architectures and rows, and nothing of it can be taken for a result."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import tiny_recipes
import torch

from reprise import plan
from reprise.config import REHEARSAL, Dataset, Project, Run, load_project
from reprise.data import base
from reprise.errors import ConfigError
from reprise.rehearsal import miniatures, project, representatives, rows, stand_ins
from reprise.rehearsal.project import BATCH, STEPS, home, refuse
from reprise.training.run import build, training_data

ROOT = Path(__file__).parents[2]
SCALES = ("gpu", "paper")
SMALL = {"size": 16, "short": 24}  # of stored images


@pytest.fixture(scope="module", params=SCALES)
def pair(request: pytest.FixtureRequest) -> tuple[Project, Project]:
    """A scale and its rehearsal."""
    return load_project(ROOT, request.param), load_project(ROOT, f"{REHEARSAL}{request.param}")


def runs(of: Project) -> Iterator[tuple[str, str, Run]]:
    for slug, paper in of.papers.items():
        for name, run in paper.runs.items():
            yield slug, name, run


def test_models_have_their_full_size(pair: tuple[Project, Project]) -> None:
    """All that a network or a step consists of is as the scale has it."""
    scale, rehearsal = pair
    free = {*project.MOST, "weights", "language_model", "images", "cost_size"}
    for slug, name, run in runs(rehearsal):
        own = scale.run(slug, name)
        assert run.model == own.model
        assert run.augment == own.augment
        assert (run.method, run.kind, run.data) == (own.method, own.kind, own.data)
        assert run.optim.model_copy(update={"warmup_steps": own.optim.warmup_steps}) == own.optim
        assert run.objective.keys() == own.objective.keys()
        changed = {key for key, value in run.objective.items() if value != own.objective[key]}
        assert changed <= free, (slug, name)
        assert run.steps == min(own.steps, STEPS)
        assert run.batch_size <= 2 * BATCH


def test_every_row_shows_a_run_that_is_rehearsed(pair: tuple[Project, Project]) -> None:
    scale, rehearsal = pair
    for slug, paper in rehearsal.papers.items():
        for name, table in paper.tables.items():
            originals = scale.paper(slug).tables[name].rows
            assert [row.label for row in table.rows] == [row.label for row in originals]
            for row, original in zip(table.rows, originals, strict=True):
                assert (row.run is None) == (original.run is None)
                for shown in {row.run, *row.runs.values()} - {None}:
                    run = rehearsal.run(*plan.split_run(slug, str(shown)))
                    assert run.headline
    assert len(plan.run_jobs(rehearsal)) < len(plan.run_jobs(scale))


def test_runs_that_stand_for_others_do_all_that_those_do(pair: tuple[Project, Project]) -> None:
    scale, rehearsal = pair
    alike = {slug: project.evaluators_alike(paper) for slug, paper in scale.papers.items()}
    for (slug, name), other in representatives(scale).items():
        own, its = scale.run(slug, name), rehearsal.run(slug, other)
        assert {alike[slug][name] for name in own.evaluate} <= {*its.evaluate}
        assert (own.model.name, own.method, own.is_built) == (
            its.model.name,
            its.method,
            bool(its.is_built),
        )
        assert own.optim.name == its.optim.name


def test_different_networks_or_steps_are_not_merged() -> None:
    stand_in = representatives(load_project(ROOT, "gpu"))
    for slug, one, other in (
        ("litv2", "heads-2-10", "heads-4-8"),
        ("litv2", "litv2", "msa"),
        ("can", "can", "no-noise"),
        ("can", "can", "decoder-wide"),
        ("capdec", "capdec", "mlp"),
        ("deit3", "deit3", "ema"),
        ("deit3", "deit3", "deit3-large"),
        ("deit3", "official-s", "official-b"),
    ):
        assert stand_in[slug, one] != stand_in[slug, other], (slug, one, other)
    assert stand_in["can", "can"] == stand_in["can", "can-long"] == stand_in["can", "sigma-0.2"]
    assert stand_in["can", "segment-can"] == stand_in["can", "segment-can-tenth"]


def test_evaluators_that_differ_are_not_merged() -> None:
    scale = load_project(ROOT, "paper")
    can = project.evaluators_alike(scale.paper("can"))
    assert can["few-5"] == can["few-25"] not in {can["few-1"], can["robustness"]}
    assert can["finetune-1"] == can["finetune-full"] not in {can["knn"], can["linear_probe"]}
    capdec = project.evaluators_alike(scale.paper("capdec"))
    assert len({capdec[name] for name in ("caption", "caption-other", "greedy")}) == 3
    deit3 = project.evaluators_alike(scale.paper("deit3"))
    assert deit3["transfer-10"] == deit3["transfer-full"] != deit3["transfer-cifar10"]
    assert len({deit3[name] for name in ("v2", "v2-384", "real", "classify", "segment-multi")}) == 5


def test_a_batch_that_is_split_stays_one() -> None:
    own = load_project(ROOT, "paper").paper("deit3").evaluators["transfer-10"]
    short = project._evaluator(own.model_copy(update={"accumulate": 8}))
    assert (short.batch_size, short.accumulate) == (BATCH, 2)


def test_it_lies_apart_and_says_what_it_is(pair: tuple[Project, Project]) -> None:
    scale, rehearsal = pair
    assert rehearsal.scale.result is False
    assert rehearsal.scale.about.startswith("REHEARSAL")
    below = home(rehearsal)
    assert below == ROOT / "results/rehearsal" / scale.scale.scale
    for folder in (rehearsal.results, rehearsal.data_root, rehearsal.state_root):
        assert folder == below or folder.is_relative_to(below)
    ours, theirs = (
        {(job.slug, job.name): job for job in plan.run_jobs(one)} for one in (rehearsal, scale)
    )
    for key in list(ours)[:3]:
        assert ours[key].digest != theirs[key].digest
        assert ours[key].spec["scale"] == f"rehearsal/{scale.scale.scale}"
    for verb in ("snapshot", "push"):
        with pytest.raises(ConfigError, match="is a rehearsal"):
            refuse(rehearsal, verb)
        refuse(scale, verb)


def sets() -> dict[str, Dataset]:
    """The data sets of both scales that are read from somewhere, once for each reader's layout."""
    found: dict[str, Dataset] = {}
    for name in SCALES:
        for one in load_project(ROOT, name).scale.datasets.values():
            layout = [one.args.get(key) for key in ("layout", "classes", "variant", "year")]
            found.setdefault(" ".join([one.name, *(str(x) for x in layout if x)]), one)
    return found


SETS = sets()


@pytest.mark.parametrize("name", SETS)
def test_readers_read_the_miniatures(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in [key for key in os.environ if key.startswith("REPRISE_")]:
        monkeypatch.delenv(variable)
    args: dict[str, Any] = {**SETS[name].args, "root": str(tmp_path / "raw")}
    args |= {key: value for key, value in SMALL.items() if key in args}
    if args.get("canvas"):
        args["canvas"] = [32, 32]
    dataset = SETS[name].model_copy(update={"args": args})
    miniatures.make(dataset)
    base.prepare(dataset.name, tmp_path / "data", args, lambda _: None)
    manifest = json.loads((tmp_path / "data" / dataset.name / "manifest.json").read_text())
    for split, files in manifest["splits"].items():
        data = base.load(dataset.name, split, tmp_path / "data", args)
        assert len(data) == files["count"] > 0
        assert not files.get("quarantined")
        first, _ = data.fetch(data.labels.new_tensor([0]))
        assert first.float().std() > 0, "a picture"


def test_an_unknown_layout_says_where_it_is_to_be_added(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'novel' reads.*reprise\.rehearsal\.miniatures"):
        miniatures.make(Dataset(name="novel", args={"root": str(tmp_path)}))


@pytest.mark.parametrize(
    ("method", "model"), [("deit3", tiny_recipes.MODEL), ("litv2", {"name": "litv2_s"})]
)
def test_random_weights_in_place_of_released_ones_are_taken(
    method: str, model: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are read as a released file is, name by name and shape by shape."""
    file = tmp_path / "stand-ins" / "released.safetensors"
    monkeypatch.setitem(tiny_recipes.RUN, "model", model)
    own = {"kind": "official", "method": method, "objective": {"weights": str(file)}}
    made = tiny_recipes.prepared(tiny_recipes.write(tmp_path, {"official": own}))
    job = tiny_recipes.job(made, "official")
    stand_ins.make(job)
    written = safetensors.torch.load_file(file)
    taken = build(job, training_data(job)).state_dict()
    assert sum(map(torch.numel, written.values())) == sum(map(torch.numel, taken.values()))
    before = file.stat().st_mtime_ns
    stand_ins.make(job)
    assert file.stat().st_mtime_ns == before, "made once"


def test_rows_that_did_not_run_are_missing(pair: tuple[Project, Project]) -> None:
    scale, rehearsal = pair
    empty = Project(
        rehearsal.root,
        rehearsal.config.model_copy(update={"results_root": "no-such-folder"}),
        rehearsal.scale,
        rehearsal.papers,
    )
    found = rows.lines(empty)
    tables = {line.table for line in found if line.table}
    assert tables == {f"{slug}/{name}" for slug, p in scale.papers.items() for name in p.tables}
    states = {line.status for line in found}
    assert "missing" in states
    assert "passed" not in states
