"""Runs that start from other runs or use their models: digests, order, circles, kills, misfits."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from tiny_captions import ROOT, job, workspace

from reprise import plan
from reprise.config import Project, Run, load_project
from reprise.errors import ConfigError, RepriseError, StaleError
from reprise.papers.capdec import CapDec
from reprise.plan import RunJob, given
from reprise.settings.base import Optim
from reprise.training import checkpoint
from reprise.training import run as training_run

PAPER, SMOKE = "papers/capdec.yaml", "scales/smoke.yaml"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    made = workspace(tmp_path_factory.mktemp("workspace"))
    for name in ("clip", "capdec"):
        training_run.train(job(made, name))
    yield made
    torch.use_deterministic_algorithms(False)


def edited(folder: Path, *edits: tuple[str, str, str]) -> Project:
    """Read the parameters after edits, without any data."""
    shutil.copytree(ROOT / "params", folder / "params")
    for file, old, new in edits:
        path = folder / "params" / file
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))
    return load_project(folder, "smoke")


def digests(project: Project) -> dict[str, str]:
    return {f"{one.slug}/{one.name}": one.digest for one in plan.run_jobs(project)}


# --- what a digest holds ----------------------------------------------------------------------


def test_what_is_absent_is_left_out_and_nothing_else() -> None:
    settings: dict[str, Any] = {
        "none": None,
        "empty": {},
        "list": [],
        "zero": 0,
        "no": False,
        "word": "",
        "nothing": 0.0,
        "inner": {"none": None, "zero": 0, "deep": {"list": [], "kept": [None, 0]}},
    }
    assert given(settings) == {
        "zero": 0,
        "no": False,
        "word": "",
        "nothing": 0.0,
        "inner": {"zero": 0, "deep": {"kept": [None, 0]}},
    }


class LaterOptim(Optim):
    new: float | None = None


class LaterRun(Run):
    """A run as a later version may know it, with settings that are absent by default."""

    optim: LaterOptim
    model_of_another: str | None = None
    parts: dict[str, str] = {}  # noqa: RUF012
    names: tuple[str, ...] = ()


def test_a_new_setting_that_is_absent_leaves_old_results_alone() -> None:
    project = load_project(ROOT, "smoke")
    for one in plan.run_jobs(project):
        known = one.run.model_dump(mode="json")
        later = LaterRun.model_validate(known)
        assert given(later.model_dump(mode="json")) == given(known), one.key
        set_now = later.model_copy(update={"names": ("x",)})
        assert given(set_now.model_dump(mode="json")) != given(known)


def test_runs_without_these_settings_do_not_name_them() -> None:
    project = load_project(ROOT, "smoke")
    for one in plan.run_jobs(project):
        if one.slug == "can" and one.run.init_from is None:
            assert not {"uses", "init_from", "threads"} & set(one.spec["config"])
            assert one.spec["earlier"] == []
            assert not {"clip.py", "capdec.py", "vocabulary.py"} & {f.name for f in one.sources}


def test_a_used_model_is_part_of_what_a_run_is_made_from(tmp_path: Path) -> None:
    """Its digest, its code and its data."""
    before = edited(tmp_path / "a")
    after = edited(
        tmp_path / "b", (SMOKE, "styles: [captions, poetic, humorous]", "styles: [captions]")
    )
    old, new = digests(before), digests(after)
    moved = {name for name in new if new[name] != old[name]}
    assert {"capdec/clip", "capdec/capdec", "capdec/lookup", "capdec/romantic-text"} <= moved
    assert not [name for name in moved if name.startswith("can/")]
    decoder, clip = job(before, "capdec"), job(before, "clip")
    assert decoder.used_jobs == {"clip": clip}
    assert decoder.spec["earlier"] == [clip.digest]
    assert set(clip.sources) <= set(decoder.sources)
    assert decoder.eval_digest("caption") != job(after, "capdec").eval_digest("caption")
    assert set(clip.sources) <= set(decoder.eval_sources("caption"))


def test_the_code_of_a_used_models_data_counts_too(tmp_path: Path) -> None:
    digits = "&digits {name: captioned_digits, args: {size: 16}}"
    other = f"{{name: fashion_scenes}}\n  digits: {digits}"
    decoder = job(edited(tmp_path, (SMOKE, digits, other)), "capdec")
    for files in (decoder.sources, decoder.eval_sources("caption")):
        assert {"captioned_digits.py", "fashion_scenes.py"} <= {file.name for file in files}


def test_earlier_runs_are_finished_first(tmp_path: Path) -> None:
    """The workflow takes their files, and the data of the models used, as a run's inputs."""
    apart = (
        SMOKE,
        "  captions_styled: *digits",
        "  captions_styled: {name: captioned_digits, folder: styled, args: {size: 16}}",
    )
    project = edited(tmp_path, apart)
    styled = job(project, "romantic-text")
    assert styled.earlier_jobs == [job(project, "capdec"), job(project, "clip")]
    assert styled.init_job == job(project, "capdec")
    homes = [folder.name for folder in styled.data_folders]
    assert homes == ["captioned_digits", "styled"]
    assert {"captioned_digits", "styled"} <= {f.name for f in styled.eval_data_folders}


def test_another_run_has_the_same_seed_where_it_is_trained_with_it(tmp_path: Path) -> None:
    project = edited(
        tmp_path,
        (SMOKE, "seeds: [0]", "seeds: [3, 0]"),
        (PAPER, "    method: lookup\n", "    method: lookup\n    seeds: [3, 8]\n"),
    )
    assert RunJob(project, "capdec", "capdec", 0).used_jobs["clip"].seed == 0
    assert RunJob(project, "capdec", "lookup", 8).used_jobs["clip"].seed == 3


def test_threads_are_the_scales_unless_the_run_says_otherwise(tmp_path: Path) -> None:
    before = load_project(ROOT, "smoke")
    after = edited(tmp_path, (PAPER, "  clip:\n", "  clip:\n    threads: 2\n"))
    assert [job(before, "clip").threads, job(after, "clip").threads] == [1, 2]
    assert job(after, "capdec").threads == 1
    assert job(before, "clip").digest != job(after, "clip").digest


# --- what parameters may not say --------------------------------------------------------------


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (("uses: {clip: clip}", "uses: {clip: clipp}"), r"uses.clip: .*did you mean 'clip'"),
        (("uses: {clip: clip}", "uses: {clip: can/clip}"), r"uses.clip: unknown run of can 'clip'"),
        (("init_from: capdec", "init_from: capdek"), r"init_from: .*did you mean 'capdec'"),
        (
            ("    method: clip\n", "    method: clip\n    uses: {teacher: lookup}\n"),
            r"wait for each other .*capdec/(clip -> capdec/lookup|lookup -> capdec/clip) -> ",
        ),
        (
            ("    method: capdec\n", "    method: capdec\n    init_from: romantic-text\n"),
            r"wait for each other .*capdec/romantic-text -> ",
        ),
        (
            ("    method: clip\n", "    method: clip\n    init_from: clip\n"),
            "wait for each other .*: capdec/clip -> capdec/clip$",
        ),
    ],
    ids=["unknown", "of another paper", "unknown start", "circle", "mixed circle", "itself"],
)
def test_a_wrong_earlier_run_is_named(tmp_path: Path, edit: tuple[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        edited(tmp_path, (PAPER, *edit))


@pytest.mark.parametrize("name", ["capdec", "lookup"])
def test_a_run_that_must_use_a_clip_says_so(tmp_path: Path, name: str) -> None:
    project = workspace(tmp_path, (PAPER, "    uses: {clip: clip}\n", ""))
    with pytest.raises(
        ConfigError, match=rf"capdec/{name} seed 0: its method needs `uses: {{clip: <run>}}`"
    ):
        training_run.train(job(project, name))


def test_a_model_that_is_not_finished_is_named(tmp_path: Path) -> None:
    project = workspace(tmp_path)
    with pytest.raises(
        StaleError, match=r"capdec/clip seed 0 is not trained: run .* train capdec/clip"
    ):
        training_run.train(job(project, "capdec"))


def test_embeddings_of_another_width_are_refused(project: Project, tmp_path: Path) -> None:
    wider = copied(project, tmp_path, (SMOKE, "embedding: 16", "embedding: 24"))
    said = r"objective.embedding = 24: capdec/clip seed 0 has embeddings of 16 numbers"
    with pytest.raises(ConfigError, match=said):
        training_run.train(job(wider, "capdec"))


def test_a_lookup_is_not_trained(project: Project, tmp_path: Path) -> None:
    longer = copied(
        project,
        tmp_path,
        (PAPER, "    method: lookup\n    steps: 0", "    method: lookup\n    steps: 3"),
    )
    with pytest.raises(ConfigError, match="a lookup cannot be trained: give this run `steps: 0`"):
        training_run.train(job(longer, "lookup"))


def copied(project: Project, folder: Path, *edits: tuple[str, str, str]) -> Project:
    """Return a copy of a workspace, results and all, with edited parameters."""
    shutil.copytree(project.root, folder, dirs_exist_ok=True)
    for file, old, new in edits:
        path = folder / "params" / file
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))
    return load_project(folder, "smoke")


# --- weights that are taken over --------------------------------------------------------------


def stored(one: RunJob) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(one.folder / "model.safetensors")


def test_a_decoder_is_taken_over_whole(project: Project) -> None:
    styled = job(project, "romantic-text")
    method = training_run.build(styled, training_run.training_data(styled))
    assert isinstance(method, CapDec)
    known = {
        name: value for name, value in stored(job(project, "capdec")).items() if name != "offset"
    }
    found = method.state_dict()
    assert all(torch.equal(found[name], value) for name, value in known.items())
    # Words in and words out are one matrix: stored once, and one matrix still.
    shared = {"decoder.language_model.lm_head.weight"}
    assert set(found) - set(known) == shared | {"offset"}
    model: Any = method.decoder.language_model
    assert model.lm_head.weight is model.transformer.wte.weight
    fresh = training_run.build(job(project, "romantic"), training_run.training_data(styled))
    assert not torch.equal(
        fresh.state_dict()["decoder.mapper.constants"], known["decoder.mapper.constants"]
    )


def test_weights_are_loaded_as_they_were_stored(project: Project) -> None:
    one = job(project, "capdec")
    method = training_run.load_weights(
        one, training_run.build(one, training_run.training_data(one))
    )
    found = method.state_dict()
    assert all(torch.equal(found[name], value) for name, value in stored(one).items())
    name = "decoder.language_model"
    assert torch.equal(found[f"{name}.lm_head.weight"], found[f"{name}.transformer.wte.weight"])


@pytest.mark.parametrize(
    ("objective", "said"),
    [
        ("prefix: 3", r"size mismatch for mapper.constants"),
        ("mapper: mlp", "only one of the two has mapper.blocks"),
    ],
)
def test_a_part_that_does_not_fit_is_refused(
    project: Project, tmp_path: Path, objective: str, said: str
) -> None:
    other = copied(
        project,
        tmp_path,
        (
            SMOKE,
            "romantic-text: &poetic {objective: {",
            f"romantic-text: &poetic {{objective: {{{objective}, ",
        ),
    )
    with pytest.raises(
        RepriseError, match=rf"the decoder of capdec/capdec seed 0 does not fit: (.|\n)*{said}"
    ):
        training_run.train(job(other, "romantic-text"))


# --- kills ------------------------------------------------------------------------------------


def test_kills_while_embedding_and_training_do_not_change_a_byte(
    project: Project, tmp_path: Path
) -> None:
    cut, straight = copied(project, tmp_path), job(project, "capdec")
    one = job(cut, "capdec")
    shutil.rmtree(one.folder)
    shutil.rmtree(cut.state_root)
    program = Path(__file__).with_name("killed_capdec.py")
    done = subprocess.run([sys.executable, program, cut.root], stdout=subprocess.PIPE, check=True)
    assert done.stdout.split() == [b"-9", b"-9"]
    assert not one.folder.exists()
    state = training_run.state_folder(one, training_run.training_data(one).digest)
    saved = checkpoint.load_newest(state)
    assert saved is not None
    assert saved["step"] == 4
    training_run.train(one)
    for file in ("model.safetensors", "log.jsonl"):
        assert (one.folder / file).read_bytes() == (straight.folder / file).read_bytes()
    assert json.loads((one.folder / "meta.json").read_text())["resumed"] == 1
    assert not state.exists()
