"""What a plan counts and bills: by hand, against closed forms, each shared thing once."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
import yaml
from fabricated import fabricate, workspace
from rich.table import Table
from torch import nn
from typer.testing import CliRunner

from reprise import cli_plan, registry
from reprise.budget import catalogue, counting, machines, show, sizes
from reprise.budget.bills import Forecast, Line
from reprise.budget.counters import Kept, counted
from reprise.budget.counting import count_pass, count_step, outline
from reprise.budget.counts import Counts, architecture
from reprise.budget.forecast import BF16_SHARE, BF16_WEIGHTS, Forecaster
from reprise.budget.items import Item, gpus_used
from reprise.budget.machines import PROBE_FLOPS, PROBE_FLOPS_ON_GPU, Speed, pil_seconds
from reprise.budget.shapes import Passed, Step, Subject
from reprise.budget.work import Work
from reprise.config import Project, load_project
from reprise.data import public
from reprise.errors import ConfigError
from reprise.plan import RunJob
from reprise.settings.project import Run

ROOT = Path(__file__).parents[2]
VIT = {"img_size": 16, "patch_size": 4, "embed_dim": 32, "depth": 2, "num_heads": 2}
SPEED = Speed("h100", "a GPU", 1e9, 0.5, 80.0, "a test", "a test")
DATA = Subject(10)
H100 = f"utilisation {catalogue.read(ROOT).machines['h100'].utilisation}"


def a_run(method: str = "supervised", **other: Any) -> Run:
    settings = {
        "method": method,
        "data": "photos",
        "model": {"name": "vit_tiny_patch16_224", "args": VIT},
        "augment": {"size": 16},
        "optim": {"lr": 1e-3},
        "steps": 10,
        "batch_size": 64,
    }
    objective = registry.method_settings(method).model_validate(other.pop("objective", {}))
    given = {**settings, **other, "objective": objective.model_dump(mode="json")}
    return Run.model_validate(given)


def step_of(run: Run, subject: Subject = DATA) -> Step:
    return count_step(run, outline(run, subject), subject)


# ---- counting ----
def vit_flops(tokens: int, width: int = 32, depth: int = 2, patch: int = 48) -> float:
    """FLOPs of a ViT's forward pass and head: products of its layers, and attention's two."""
    block = 12 * tokens * width**2 + 2 * tokens**2 * width
    return 2.0 * ((tokens - 1) * patch * width + depth * block + 10 * width)


def test_a_step_is_three_forward_passes_less_what_pixels_need_not() -> None:
    step = step_of(a_run())
    assert step.forward_flops == vit_flops(17)
    assert step.flops == 3 * vit_flops(17) - 2 * 16 * 48 * 32  # no gradient of the images
    assert step.parameters == step.trained


def test_frozen_weights_cost_no_gradient_of_their_own() -> None:
    objective = {"language_model": None, "prefix": 4, "clip_tokens": 4, "mapper_layers": 1}
    objective |= {"embedding": 16, "longest": 8, "mapper_heads": 2}
    sizes = {"n_layer": 2, "n_embd": 32, "n_head": 2}
    both = [
        step_of(
            a_run(
                "capdec",
                model={"name": "gpt2", "args": sizes},
                augment=None,
                objective={**objective, "train_language_model": trained},
            )
        )
        for trained in (True, False)
    ]
    assert both[0].trained == both[0].parameters == both[1].parameters > both[1].trained
    assert both[0].forward_flops == both[1].forward_flops
    assert 2 < both[1].flops / both[1].forward_flops < 2.5 < both[0].flops / both[0].forward_flops


def test_a_released_language_model_is_outlined_from_its_published_sizes() -> None:
    """GPT-2 small has 124 M parameters; none of them is downloaded."""
    run = a_run("capdec", augment=None, objective={"language_model": "gpt2"})
    method = outline(run, DATA)
    model = method.get_submodule("decoder.language_model.transformer.h")
    assert sum(p.numel() for p in model.parameters()) == 12 * (12 * 768**2 + 13 * 768)
    assert all(p.is_meta for p in method.parameters())


def test_a_depthwise_convolutions_gradients_cost_as_much_as_its_forward_pass() -> None:
    layer = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False).to("meta")
    images = torch.empty(1, 8, 10, 10, device="meta", requires_grad=True)
    with counted(layer) as counter:
        loss = layer(images).sum()
        forward = counter.total()
        loss.backward()
    assert forward == 2 * 8 * 100 * 9
    assert counter.total() == 3 * forward


def test_what_is_kept_for_the_backward_pass_is_each_storage_once() -> None:
    layers = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)).to("meta")
    given = torch.empty(5, 8, device="meta")
    with Kept(layers) as kept:
        layers(given)
    assert kept.bytes == 4 * 5 * (8 + 16)  # the input, and what ReLU makes, which two layers keep


def test_attention_keeps_no_weights_of_pairs() -> None:
    q, k, v = torch.empty(3, 2, 4, 64, 16, device="meta", requires_grad=True).unbind()
    with Kept(nn.Identity()) as kept:
        nn.functional.scaled_dot_product_attention(q * 1, k * 1, v * 1)
    assert kept.bytes == 4 * (2 * 4 * 64 * 16) * 4  # q, k, v and output


@pytest.mark.parametrize(
    ("objective", "same"),
    [
        ({"label_smoothing": 0.1}, True),
        ({"fixed_positions": True}, False),
    ],
)
def test_settings_without_cost_make_no_other_architecture(
    objective: dict[str, Any], same: bool
) -> None:
    assert (architecture(a_run()) == architecture(a_run(objective=objective))) is same


def test_an_image_larger_costs_more() -> None:
    run = a_run(model={"name": "vit_tiny_patch16_224", "args": {**VIT, "dynamic_img_size": True}})
    small, large = (count_pass(run, outline(run, DATA), side, side) for side in (16, 32))
    assert small.flops == vit_flops(17)
    assert large.flops == vit_flops(65)


def test_what_a_method_is_given_is_made_up_by_its_own_word() -> None:
    """An attention layer is given tokens, not images: 16 of them, with one product a weight."""
    run = a_run(
        "attention_layer",
        model={"name": "msa"},
        objective={"width": 32, "heads": 2},
        augment={"size": 4},
    )
    assert step_of(run).forward_flops == 2 * (4 * 16 * 32**2 + 2 * 16**2 * 32)


def test_a_method_can_say_itself_what_its_step_computes() -> None:
    run = a_run(augment=None)
    method = outline(run, DATA)
    with pytest.raises(ConfigError, match=r"'supervised': its samples are no images.* example"):
        count_step(run, method, DATA)

    def loss_on_meta(run: Run, subject: Subject) -> torch.Tensor:
        features = torch.empty(2, 32, device="meta")
        return method.get_submodule("head")(features).sum()

    method.loss_on_meta = loss_on_meta
    assert count_step(run, method, DATA).forward_flops == 2 * 32 * 10


def test_no_method_is_told_by_the_name_of_its_paper() -> None:
    for file in Path(counting.__file__).parent.glob("*.py"):
        assert "reprise.papers" not in file.read_text(), file.name


# ---- from rows to bills ----
@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A toy paper; a run more starts from another, and both are in two tables."""
    workspace(tmp_path)
    file = tmp_path / "params/papers/toy.yaml"
    paper = yaml.safe_load(file.read_text())
    after = {**paper["runs"]["learned"], "init_from": "learned", "steps": 8, "evaluate": ["probe"]}
    paper["runs"]["after"] = after
    for run in paper["runs"].values():
        run["model"] = {"name": "vit_tiny_patch16_224", "args": VIT}
    paper["tables"]["second"] = {
        "title": "Again",
        "printed": "Table 10",
        "metrics": {"probe_top1": {"label": "probe", "evaluator": "probe", "metric": "top1"}},
        "rows": [{"label": "learned", "run": "learned"}, {"label": "after", "run": "after"}],
    }
    file.write_text(yaml.safe_dump(paper, sort_keys=False))
    return load_project(tmp_path, "tiny")


class Given(Counts):
    """Counts that are given: a GFLOP a sample in training, a tenth at test, 64 features."""

    def step(self, run: Run, data: Any) -> Step:
        return Step(100, 100, 3e8, 1e9, 5000.0)

    def forward(self, run: Run, data: Any, height: int, width: int) -> Passed:
        return Passed(1e8, 100)

    def finetuning(self, run: Run, data: Any, augment: Any) -> Step:
        return Step(100, 100, 3e8, 2e9, 5000.0)

    def width(self, run: Run, data: Any, height: int, width: int) -> int:
        return 64


@pytest.fixture
def forecaster(project: Project) -> Callable[..., Forecaster]:
    known = catalogue.read(ROOT)

    def make(gpus: int = 1, speed: Speed = SPEED) -> Forecaster:
        return Forecaster(Work(project, known, Given(project)), speed, gpus)

    return make


def by_row(lines: list[Line]) -> dict[str, Line]:
    return {line.label: line for line in lines}


def test_a_rows_cost_is_its_trainings_and_the_features_that_its_columns_read(
    forecaster: Callable[..., Forecaster],
) -> None:
    line = by_row(forecaster().lines("toy/main"))["learned"]
    training = 40 * 8 * 1e9
    features = (100 + 360) * 1e8  # a hundred labels, and the test split of the digits
    classify = 360 * 1e8  # the row's second column, with the head
    assert line.alone.flops == training + features + classify
    assert line.alone.hours == pytest.approx(line.alone.flops / 0.5e9 / 3600)
    assert line.alone.images == 40 * 8 + 460 + 360
    assert line.state == "train"


def test_what_two_rows_share_is_added_once(forecaster: Callable[..., Forecaster]) -> None:
    found = forecaster().forecast("toy")
    rows = [line for line in found.lines if line.table == "second"]
    learned, after = rows
    # `learned` stands in the first table; the second row starts from it.
    assert learned.added.flops == 0
    assert learned.alone.flops > 0
    own = 8 * 8 * 1e9 + 460 * 1e8
    assert after.alone.flops == learned.alone.flops - 460 * 1e8 + own
    assert after.added.flops == own
    assert found.total.flops == sum(line.added.flops for line in found.lines)
    assert found.tables["toy/second"].flops == after.alone.flops + 460 * 1e8
    assert found.papers["toy"] == found.total


def test_of_features_the_larger_part_counts(forecaster: Callable[..., Forecaster]) -> None:
    plain = by_row(forecaster().lines("toy/main"))["plain"]
    # probe and 20-NN read the features of the same hundred labels and of the test split.
    assert plain.alone.flops == 460 * 1e8
    assert plain.state == "untrained"


def test_a_gpu_fits_probes_and_a_core_does_where_there_is_none(
    forecaster: Callable[..., Forecaster],
) -> None:
    # Four candidates on eighty labels, the chosen one on a hundred; 64 features, no classes known
    # but the ten of the data; a hundred iterations of a forward and a backward product.
    fitted = 4 * (80 * 4 + 100) * 100 * 64 * 10
    passes = 460 * 1e8 / (SPEED.peak * SPEED.utilisation)
    on_gpu = by_row(forecaster().lines("toy/main"))["plain"].alone
    assert on_gpu.cpu_hours == 0
    assert on_gpu.hours * 3600 == pytest.approx(passes + fitted / PROBE_FLOPS_ON_GPU, rel=1e-12)
    here = by_row(forecaster(1, replace(SPEED, name="here")).lines("toy/main"))["plain"].alone
    assert here.cpu_hours * 3600 == pytest.approx(fitted / PROBE_FLOPS)
    assert here.hours * 3600 == pytest.approx(passes, rel=1e-12)


def test_a_printed_row_costs_nothing(forecaster: Callable[..., Forecaster]) -> None:
    printed = by_row(forecaster().lines("toy/main"))["printed only"]
    assert (printed.state, printed.alone.items, printed.alone.hours) == ("printed", 0, 0)


def test_one_row_or_one_run_can_be_asked_for(forecaster: Callable[..., Forecaster]) -> None:
    assert [one.label for one in forecaster().lines("toy/main/learned")] == ["learned"]
    run = forecaster().lines("toy/after")
    assert [(one.label, one.runs) for one in run] == [("after", ("toy/after",))]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("tou", "unknown paper 'tou' (did you mean 'toy'?)"),
        ("toy/mian", "unknown table or run of toy 'mian' (did you mean 'main'?)"),
        ("toy/main/larned", "unknown row of toy/main 'larned' (did you mean 'learned'?)"),
    ],
)
def test_a_mistyped_target_is_named(
    forecaster: Callable[..., Forecaster], target: str, said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        forecaster().lines(target)
    assert said in str(caught.value)


def test_every_seed_is_paid(tmp_path: Path) -> None:
    project = workspace(tmp_path, seeds=(0, 1, 2))
    work = Work(project, catalogue.read(ROOT), Given(project))
    (line,) = Forecaster(work, SPEED, 1).lines("toy/main/learned")
    assert line.alone.flops == 3 * (40 * 8 * 1e9 + 460 * 1e8 + 360 * 1e8)


def test_a_batch_is_spread_in_whole_blocks() -> None:
    item = Item("train", "training", "toy/learned", 0, "", spread=12)  # of 64 images
    assert [gpus_used(item, gpus) for gpus in (1, 2, 5, 8, 12, 64)] == [1, 2, 4, 6, 12, 12]


def test_wall_clock_and_memory_shrink_with_gpus_and_hours_do_not(
    forecaster: Callable[..., Forecaster],
) -> None:
    item = Item(
        *("train", "training", "toy/learned", 0, ""),
        flops=3.6e12,
        spread=16,
        state_bytes=1e9,
        sample_bytes=1e8,
        samples=1024,
    )
    one, eight = (forecaster(gpus).bill({"train": item}) for gpus in (1, 8))
    assert one.hours == eight.hours == pytest.approx(2.0)
    assert (one.wall_hours, eight.wall_hours) == pytest.approx((2.0, 0.25))
    state = 1e9 * (1 + BF16_WEIGHTS)
    assert one.memory_gb == pytest.approx((state + BF16_SHARE * 1e8 * 1024) / 1e9)
    assert eight.memory_gb == pytest.approx((state + BF16_SHARE * 1e8 * 128) / 1e9)


def test_the_fewest_gpus_are_those_whose_memory_holds_the_batch(
    forecaster: Callable[..., Forecaster],
) -> None:
    """100 GB of activations by BF16_SHARE on one GPU of 80 GB; a batch of 16 blocks."""
    item = Item(
        *("train", "training", "toy/learned", 0, ""),
        spread=16,
        sample_bytes=1e11 / BF16_SHARE / 1024,
        samples=1024,
    )
    assert forecaster().bill({"train": item}).least_gpus == 2
    assert forecaster().bill({"train": replace(item, sample_bytes=1e9)}).least_gpus == 16
    alone = forecaster().bill({"train": replace(item, spread=1)})
    assert alone.least_gpus is None
    assert alone.notes == (
        "train: 100 GB on one GPU, more than a GPU has; a smaller batch, or more `accumulate`",
    )


def test_pillows_augmentation_is_paid_by_the_image(project: Project) -> None:
    image = {"size": 112, "policy": "rand", "backend": "pil"}
    run = a_run("deit3", objective={"image": image, "test_size": 112}, steps=3, batch_size=128)
    project.papers["toy"].runs["learned"] = run
    work = Work(project, catalogue.read(ROOT), Given(project))
    item = work.training(RunJob(project, "toy", "learned", 0))
    assert item.host_seconds == pytest.approx(3 * 128 * pil_seconds(112))
    assert Forecaster(work, SPEED, 1).seconds(item) == item.flops / SPEED.flops + item.host_seconds


@pytest.mark.parametrize(
    ("cores", "gpus", "waits"), [(1, 1, 64.0), (8, 1, 8.0), (32, 1, 4.0), (8, 4, 4.0), (2, 4, 8.0)]
)
def test_cores_beside_a_gpu_share_pillows_blocks(cores: int, gpus: int, waits: float) -> None:
    sixteen = Item("train", "training", "toy/learned", 0, "", host_seconds=64.0, spread=16)
    beside = Forecaster(None, replace(SPEED, cores=cores), gpus)
    assert beside.host_seconds(sixteen, gpus) == waits
    whole = replace(sixteen, flops=16 * SPEED.flops)
    assert beside.seconds(whole, gpus) == 16 / gpus + waits


def test_a_data_set_of_unknown_size_is_said_not_to_be_counted(project: Project) -> None:
    known = catalogue.Catalogue()
    digits = replace(sizes.of(project, known, "photos"), counts={})
    work = Work(project, known, Given(project))
    work._sizes["photos"] = digits
    (line,) = Forecaster(work, SPEED, 1).lines("toy/main/learned")
    assert "digits: number of images of test not known, so not counted" in line.alone.notes
    assert line.alone.flops == 40 * 8 * 1e9 + 100 * 1e8  # training, and the labels' features


def test_finished_runs_stand_beside_their_plan(
    project: Project, forecaster: Callable[..., Forecaster]
) -> None:
    here = replace(SPEED, name="here")
    assert by_row(forecaster(1, here).lines("toy/main"))["learned"].alone.measured_hours is None
    fabricate(RunJob(project, "toy", "learned", 0))  # took 12.5 s
    bill = by_row(forecaster(1, here).lines("toy/main"))["learned"].alone
    assert bill.measured_hours == pytest.approx(12.5 / 3600)
    assert bill.ratio == pytest.approx(40 * 8 * 1e9 / 0.5e9 / 12.5)
    # All four evaluations took 1.5 s each; one table has but two of them.
    (whole,) = forecaster(1, here).lines("toy/learned")
    assert whole.alone.measured_hours == pytest.approx((12.5 + 4 * 1.5) / 3600)
    passes = (460 + 360) * 1e8 / 0.5e9
    cpu = whole.alone.cpu_hours * 3600
    assert whole.alone.ratio == pytest.approx((40 * 8 * 1e9 / 0.5e9 + passes + cpu) / 18.5)
    # A GPU's plan is not compared with a processor's time.
    assert by_row(forecaster().lines("toy/main"))["learned"].alone.measured_hours is None


def test_a_run_on_another_gpu_is_no_measure(
    project: Project, forecaster: Callable[..., Forecaster], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = RunJob(project, "toy", "learned", 0)
    fabricate(job)
    file = job.folder / "meta.json"
    made = {**json.loads(file.read_text()), "device": "cuda"}
    found = forecaster()
    monkeypatch.setattr(found.work, "catalogue", catalogue.read(ROOT))
    for processor, hours in (
        ("NVIDIA A100-SXM4-80GB", None),
        ("NVIDIA H100 80GB HBM3", 12.5 / 3600),
    ):
        file.write_text(json.dumps({**made, "processor": processor}))
        bill = by_row(found.lines("toy/main"))["learned"].alone
        assert bill.measured_hours == (hours and pytest.approx(hours)), processor


def test_a_run_of_another_length_is_no_measure(
    project: Project, forecaster: Callable[..., Forecaster]
) -> None:
    job = RunJob(project, "toy", "learned", 0)
    fabricate(job)
    file = job.folder / "meta.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "steps": 39}))
    here = replace(SPEED, name="here")
    assert by_row(forecaster(1, here).lines("toy/main"))["learned"].alone.measured_hours is None


def test_of_a_split_alone_its_share_is_fetched() -> None:
    scale = load_project(ROOT, "paper")
    known = catalogue.read(ROOT)
    whole, alone = (sizes.of(scale, known, name) for name in ("imagenet_384", "imagenet_384_val"))
    assert alone.counts == {"test": 50000}
    assert whole.download_gb == 144
    assert alone.download_gb == pytest.approx(144 * 50000 / 1331167)


# ---- sizes and machines ----
@pytest.mark.parametrize(
    ("dataset", "counts", "source"),
    [
        ({"name": "tinted_garments", "args": {"train": 200}}, {"train": 200}, "settings"),
        (
            {"name": "image_folder", "folder": "tiny_imagenet", "args": {"root": "x", "size": 64}},
            {"train": 100000, "test": 10000},
            "catalogue",
        ),
        ({"name": "image_folder", "folder": "mine", "args": {"root": "x"}}, {}, "not known"),
    ],
)
def test_sizes_come_from_settings_or_the_catalogue(
    tmp_path: Path, dataset: dict[str, Any], counts: dict[str, int], source: str
) -> None:
    workspace(tmp_path)
    file = tmp_path / "params/scales/tiny.yaml"
    scale = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump({**scale, "datasets": {"photos": dataset}}))
    found = sizes.of(load_project(tmp_path, "tiny"), catalogue.read(ROOT), "photos")
    assert (found.counts.items() >= counts.items(), found.source) == (True, source)


def test_what_is_prepared_is_counted_there(project: Project) -> None:
    folder = project.data_root / "digits"
    folder.mkdir(parents=True)
    splits = {"train": {"count": 7}, "test": {"count": 2}}
    (folder / "manifest.json").write_text(json.dumps({"splits": splits, "classes": ["a", "b"]}))
    found = sizes.of(project, catalogue.read(ROOT), "photos")
    assert (found.counts, found.classes, found.source) == ({"train": 7, "test": 2}, 2, "prepared")


def test_every_data_set_of_every_scale_is_in_the_catalogue() -> None:
    known = catalogue.read(ROOT)
    for file in (ROOT / "params/scales").glob("*.yaml"):
        for alias, dataset in load_project(ROOT, file.stem).scale.datasets.items():
            assert known.data(dataset) is not None, f"{file.name}: {alias}"


def test_a_machines_numbers_can_be_given(project: Project) -> None:
    known = catalogue.read(ROOT)
    chosen = machines.choose(project, known, "h100", peak_tflops=100.0, utilisation=0.4)
    assert chosen.flops == pytest.approx(40e12)
    assert chosen.peak_source == "given: --peak"
    assert machines.choose(project, known, "v100").peak == 125e12
    with pytest.raises(ConfigError, match=r"unknown machine 'h1000' .*did you mean 'h100'"):
        machines.choose(project, known, "h1000")
    for share in (0.0, 1.5):
        with pytest.raises(ConfigError, match="--utilisation above 0 and at most 1"):
            machines.choose(project, known, "h100", utilisation=share)


def written(tmp_path: Path, text: str) -> Path:
    """Write a catalogue; return its workspace."""
    (tmp_path / "params").mkdir()
    (tmp_path / "params/catalogue.yaml").write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (
            "machines: {mine: {title: x, utilisation: 2, basis: x, source: x}}",
            r"machines.mine.utilisation",
        ),
        (
            "machines: {mine: {title: x, utilisation: 0.4, basis: x, source: x}}",
            r"machines.mine needs peak_tflops: only that of `here` is measured",
        ),
        ("defaults: {demo: mine}", r"defaults.demo: unknown machine 'mine'; known: none"),
        (
            "datasets: {mine: {public: imagenot}}",
            r"datasets.mine: unknown public data set 'imagenot' \(did you mean 'imagenet'",
        ),
    ],
)
def test_a_wrong_catalogue_is_named(text: str, wrong: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"catalogue.yaml: {wrong}"):
        catalogue.read(written(tmp_path, text))


def test_a_public_data_set_is_planned_with_what_is_known_of_it(tmp_path: Path) -> None:
    """`data/public.yaml` has its facts; what the catalogue says itself goes first."""
    text = "datasets: {mine: {public: flickr8k, captions: 5, splits: {train: 3}}}"
    found = catalogue.read(written(tmp_path, text)).datasets["mine"]
    entry = public.by_name("flickr8k")
    assert (found.licence, found.allows, found.url) == (entry.licence, entry.allows, entry.terms)
    assert (found.title, found.download_gb) == (entry.title, entry.gigabytes)
    assert (found.captions, found.splits) == (5, {"train": 3})


def test_the_catalogue_repeats_no_fact_of_a_public_data_set() -> None:
    """But where it means another number: classes that are none, another count of ImageNet-21k,
    photographs that another set brings."""
    own = yaml.safe_load((ROOT / catalogue.FILE).read_text())["datasets"]
    known = catalogue.read(ROOT).datasets
    repeated = public.Entry.model_fields.keys() | {"url", "splits", "download_gb"}
    found = {
        f"{name}.{key}": getattr(known[name], key)
        for name, given in own.items()
        if "public" in given
        for key in repeated & given.keys()
    }
    captioned = ("coco_captions", "flickr8k", "flickr30k", "flickrstyle10k")
    other = {"imagenet21k.splits": {"train": 13151276}, "flickrstyle10k.download_gb": 0}
    assert found == other | {f"{name}.classes": 0 for name in captioned}
    titles = [entry.title for entry in known.values() if not entry.public]
    assert not {entry.title for entry in public.entries().values()} & set(titles)


# ---- the verb ----
def _first_table(made: Forecast, wide: bool) -> Table:
    return next(part for part in show.tables(made, wide) if isinstance(part, Table))


@pytest.fixture
def verbs(project: Project, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Call a verb in a toy workspace and return what it prints."""
    (project.root / "params/catalogue.yaml").write_text(
        (ROOT / "params/catalogue.yaml").read_text()
    )
    monkeypatch.setenv("REPRISE_ROOT", str(project.root))
    app = typer.Typer()
    cli_plan.register(app)

    def call(*arguments: str) -> str:
        done = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    return call


def test_the_verb_counts_each_architecture_once_and_remembers(
    verbs: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = json.loads(verbs("plan", "toy", "--on", "h100", "--json"))
    monkeypatch.setattr(counting, "outline", None)  # a second count would fail
    again = json.loads(verbs("plan", "toy", "--on", "h100", "--json"))
    assert first == again
    rows = {(one["table"], one["row"]): one for one in first["rows"]}
    assert rows["main", "learned"]["alone"]["flops"] > 0
    assert first["machine"]["peak_flops"] == 989e12
    assert any(H100 in one for one in first["assumptions"])
    assert first["total"]["flops"] == sum(one["added"]["flops"] for one in first["rows"])

    table = list(csv.DictReader(io.StringIO(verbs("plan", "toy", "--on", "h100", "--csv"))))
    assert [row["row"] for row in table] == [one["row"] for one in first["rows"]] + ["total"] * 2
    assert float(table[-1]["hours"]) == pytest.approx(first["total"]["hours"])


def test_a_narrow_terminal_is_shown_fewer_columns(
    forecaster: Callable[..., Forecaster],
) -> None:
    made = forecaster().forecast("toy/main")
    wide, narrow = (
        [str(column.header) for column in _first_table(made, wide).columns]
        for wide in (True, False)
    )
    assert set(wide) - set(narrow) == set(show.EXTRA)
    assert {"row", "GPU time", "GB each"} <= set(narrow)


def test_the_verb_prints_rows_assumptions_and_totals(verbs: Callable[..., str]) -> None:
    said = verbs("plan", "toy/main", "--on", "h100", "--gpus", "4")
    for words in (H100, "learned", "printed only", "together", "at 4 GPU", "digits"):
        assert words in said
    assert "learned" not in verbs("plan", "toy/main/plain", "--on", "h100")
