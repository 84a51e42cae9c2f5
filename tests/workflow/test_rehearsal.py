"""Scale gpu's CapDec from photographs to the report, with stand-ins for what is downloaded.

The architectures are the real ones, ViT-B/32 and GPT-2 small, each read from a local file; their
weights are random, so nothing that comes out says anything of the method. The scale is named
`rehearsal`, is no result, and lies with all it makes in a temporary folder that is removed again
(5 GB).
"""

import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
import yaml
from open_clip import factory
from safetensors import safe_open
from safetensors.torch import save_file
from tokenizers import ByteLevelBPETokenizer
from transformers import GPT2Config, GPT2LMHeadModel
from workspace import Workspace

from reprise.config import Project, load_project, overlay, read_yaml
from reprise.errors import ConfigError
from reprise.methods import clip
from reprise.plan import RunJob, table_jobs

SHARED = Path(os.environ.get("REPRISE_SHARED_DATA", Path(__file__).parents[3] / "shared/data"))
FLICKR8K = SHARED / "flickr8k_2000"
SCALE = "rehearsal"
RUNS = ("clip", "capdec", "clipcap", "lookup", "romantic-text")
CLIP_NAME, WIDTH, PREFIX = "ViT-B-32-quickgelu", 512, 10
GPT2_WORDS, LAYERS, END = 50257, 12, "<|endoftext|>"
DISK = 6e9  # bytes that the temporary folder must hold
LEFT_OUT = {"headline": False}
# Photographs of a split, and two captions of each. CIDEr needs 50; elsewhere it is left out.
FLICKR8K_SPLIT, FLICKR30K_SPLIT, CAPTIONS = 50, 10, 2
STYLED, STYLED_TEST = 70, 10  # photographs with styles, of which a seventh is for testing
SCORES = ["bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "spice"]

pytestmark = [
    pytest.mark.skipif(
        not FLICKR8K.is_dir(), reason=f"{FLICKR8K} is not there (photographs with captions)"
    ),
    pytest.mark.skipif(
        "REPRISE_REHEARSAL" not in os.environ,
        reason="some minutes and 5 GB in a temporary folder: set REPRISE_REHEARSAL=1 to run it",
    ),
]


def over_gpu(weights: Path, language_model: Path) -> dict[str, Any]:
    """Return what is laid over scale gpu: local weights, and fewer runs, steps, beams and scores.

    METEOR alone would take as long as a training.
    """
    capdec = {
        "runs": {
            "clip": {"objective": {"weights": str(weights)}, "evaluate": ["retrieval"]},
            "base": {"steps": 2, "batch_size": 4, "log_every": 1, "optim": {"warmup_steps": 1}},
            "capdec": {
                "objective": {"language_model": str(language_model), "beams": 2, "longest": 6},
                "evaluate": ["caption", "caption-other", "gap"],
            },
            "no-noise": LEFT_OUT,
            "noise-0.001": LEFT_OUT,
            "noise-0.1": LEFT_OUT,
            "romantic-text": {"headline": True},
        },
        "evaluators": {
            "caption": {"metrics": [*SCORES, "cider"], "pictures": 4},
            "caption-other": {"metrics": SCORES},
            "caption-romantic": {"metrics": SCORES},
        },
    }
    return {
        "scale": SCALE,
        "about": "rehearsal of scale gpu with random weights and a few photographs; no result",
        "result": False,
        "threads": 1,
        "papers": {"capdec": capdec},
    }


# --- stand-ins --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rehearsal:
    """A workspace with scale rehearsal, and the environment that its user has set."""

    workspace: Workspace
    environment: dict[str, str]

    @property
    def project(self) -> Project:
        return load_project(self.workspace.root, SCALE)

    def snakemake(self, *arguments: str) -> str:
        command = (sys.executable, "-m", "snakemake", *arguments, "--config", f"scale={SCALE}")
        return self.workspace.run(*command, **self.environment)

    def reprise(self, *arguments: str) -> str:
        command = (sys.executable, "-m", "reprise", *arguments, "--scale", SCALE)
        return self.workspace.run(*command, **self.environment)

    def job(self, run: str) -> RunJob:
        return RunJob(self.project, "capdec", run, 0)

    def evaluation(self, run: str, evaluator: str) -> dict[str, Any]:
        file = self.job(run).eval_folder / f"{evaluator}.json"
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return found

    def metrics(self, run: str, evaluator: str) -> dict[str, float]:
        measured = self.evaluation(run, evaluator)["metrics"]
        return {one["metric"]: one["value"] for one in measured}


def photographs(root: Path, names: Iterable[str], file: str, content: Any) -> Path:
    """Make a folder as scale gpu expects it: images/ and one JSON of captions."""
    (root / "images").mkdir(parents=True)
    for name in names:
        shutil.copyfile(FLICKR8K / "images" / name, root / "images" / name)
    (root / file).write_text(json.dumps(content), encoding="utf-8")
    return root


def karpathy(root: Path, name: str, first: int, count: int) -> Path:
    """Make a data set of Karpathy's layout from a part of the slice, all of whose splits it has."""
    whole = read(FLICKR8K / "dataset_flickr8k_2000_karpathy.json")["images"]
    images = []
    for split, wanted in (("train", count), ("val", 2), ("test", count)):
        some = [one for one in whole if one["split"] == split][first : first + wanted]
        images += [{**one, "sentences": one["sentences"][:CAPTIONS]} for one in some]
    names = (image["filename"] for image in images)
    return photographs(root, names, f"dataset_{name}.json", {"dataset": name, "images": images})


def flickrstyle(root: Path) -> Path:
    images = read(FLICKR8K / "flickrstyle.json")[:STYLED]
    return photographs(root, (one["file_name"] for one in images), "flickrstyle.json", images)


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def random_clip(file: Path) -> Path:
    torch.manual_seed(0)
    save_file(open_clip.create_model(CLIP_NAME).state_dict(), file)
    return file


def random_gpt2(folder: Path, captions: list[str]) -> Path:
    """Save a GPT-2 small as the hub has it: no prefix in the names of weights, 50,257 byte pairs.

    The first pairs are those of the captions; no text has the others.
    """
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(captions, 2000, show_progress=False)
    folder.mkdir()
    trained.save_model(str(folder))
    words = read(folder / "vocab.json")
    words |= {f"unused{number}": number for number in range(len(words), GPT2_WORDS - 1)}
    words[END] = GPT2_WORDS - 1
    (folder / "vocab.json").write_text(json.dumps(words), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 1024}))
    torch.manual_seed(0)
    # What the hub's file says of generation, which a caption must not follow.
    habits = {"text-generation": {"do_sample": True, "max_length": 50}}
    model = GPT2LMHeadModel(GPT2Config(task_specific_params=habits))
    model.transformer.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def rehearsal(
    empty: Workspace, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Rehearsal, str]]:
    """The built scale, and what its build printed."""
    folder = tmp_path_factory.mktemp("rehearsal")
    if shutil.disk_usage(folder).free < DISK:
        pytest.skip(f"{folder} holds less than {DISK / 1e9:.0f} GB")
    try:
        made = prepared(empty, folder)
        yield made, made.snakemake("capdec", "--cores", "1", "--max-checksum-file-size", "1MB")
    finally:
        shutil.rmtree(folder)


def prepared(empty: Workspace, folder: Path) -> Rehearsal:
    roots = {
        "REPRISE_FLICKR8K": karpathy(folder / "flickr8k", "flickr8k", 0, FLICKR8K_SPLIT),
        "REPRISE_FLICKR30K": karpathy(
            folder / "flickr30k", "flickr30k", FLICKR8K_SPLIT, FLICKR30K_SPLIT
        ),
        "REPRISE_FLICKRSTYLE": flickrstyle(folder / "flickrstyle"),
    }
    known = read(roots["REPRISE_FLICKR8K"] / "dataset_flickr8k.json")["images"]
    captions = [sentence["raw"] for image in known for sentence in image["sentences"]]
    weights = random_clip(folder / "open_clip_model.safetensors")
    language_model = random_gpt2(folder / "gpt2", captions)
    workspace = empty.copy(folder / "workspace")
    scales = workspace.root / "params/scales"
    content = overlay(read_yaml(scales / "gpu.yaml"), over_gpu(weights, language_model))
    (scales / f"{SCALE}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    environment = {
        **{name: str(root) for name, root in roots.items()},
        "HF_HOME": str(folder / "hub"),  # empty: nothing that was ever downloaded helps here
        "HF_HUB_OFFLINE": "1",
    }
    return Rehearsal(workspace, environment)


# --- what came out ----------------------------------------------------------------------------


def test_every_step_of_the_paper_runs(rehearsal: tuple[Rehearsal, str]) -> None:
    built, said = rehearsal
    for run in RUNS:
        assert f"train capdec/{run} seed 0" in said
        assert f"evaluate capdec/{run} seed 0" in said
        assert all(path.is_file() for path in [*built.job(run).outputs])
        assert all(path.is_file() for path in [*built.job(run).eval_outputs])
    # What is for another paper is neither asked for nor made.
    folders = {path.parent.name for path in built.project.data_root.glob("*/manifest.json")}
    assert folders == {"flickr8k", "flickr30k", "flickrstyle"}
    assert "Nothing to be done" in built.snakemake("capdec", "-n", "--cores", "1")


def test_photographs_are_divided_as_their_files_say(rehearsal: tuple[Rehearsal, str]) -> None:
    built, _ = rehearsal
    for run, evaluator, expected in (
        ("capdec", "caption", FLICKR8K_SPLIT),
        ("capdec", "caption-other", FLICKR30K_SPLIT),
        ("romantic-text", "caption-romantic", STYLED_TEST),
    ):
        found = built.evaluation(run, evaluator)["data"]
        assert (found["split"], found["n"]) == ("test", expected)
    trained = {run: read(built.job(run).outputs[2])["data"] for run in RUNS}
    assert trained["capdec"]["n"] == trained["clipcap"]["n"] == FLICKR8K_SPLIT * CAPTIONS
    assert trained["romantic-text"]["n"] == STYLED - STYLED_TEST


def test_the_models_have_their_published_sizes(rehearsal: tuple[Rehearsal, str]) -> None:
    built, _ = rehearsal
    weights = dict(shapes(built.job("clip").outputs[0]))
    assert weights["encoder.text_projection"] == [WIDTH, WIDTH]
    assert weights["encoder.visual.conv1.weight"] == [768, 3, 32, 32]
    weights = dict(shapes(built.job("capdec").outputs[0]))
    assert weights["decoder.mapper.constants"] == [PREFIX, 768]
    assert weights["decoder.mapper.spread.weight"] == [PREFIX * 768, WIDTH]
    assert weights["decoder.language_model.transformer.wte.weight"] == [GPT2_WORDS, 768]
    assert len({name.split(".")[4] for name in weights if ".transformer.h." in name}) == LAYERS
    assert len({name.split(".")[3] for name in weights if ".mapper.blocks." in name}) == 8
    assert not [name for name in weights if "encoder" in name], "the CLIP is no part of a decoder"
    files = [*(built.project.state_root / "embeddings").glob("*.safetensors")]
    assert {shape[1] for file in files for _, shape in shapes(file)} == {WIDTH}
    assert len(files) == 7  # images and captions; of Flickr30k and FlickrStyle those that are read


def shapes(file: Path) -> Iterator[tuple[str, list[int]]]:
    with safe_open(file, "pt") as opened:
        for name in opened.keys():  # noqa: SIM118  (it is no mapping)
            yield name, opened.get_slice(name).get_shape()


def test_two_steps_are_trained_from_the_stand_ins(rehearsal: tuple[Rehearsal, str]) -> None:
    built, _ = rehearsal
    for run in ("capdec", "clipcap", "romantic-text"):
        _, log, meta = built.job(run).outputs
        losses = [json.loads(line)["loss"] for line in log.read_text().splitlines()]
        assert len(losses) == 2
        assert np.isfinite(losses).all()
        # Random words of so many: chance is the logarithm of their number, 10.8.
        assert 9 < losses[0] < 13
        assert read(meta)["steps"] == 2
    assert read(built.job("clip").outputs[2])["steps"] == 0


def test_captions_are_texts(rehearsal: tuple[Rehearsal, str]) -> None:
    built, _ = rehearsal
    for run in ("capdec", "clipcap", "lookup"):
        info = built.evaluation(run, "caption")["info"]
        said = [item["caption"] for item in info["captions"]["items"]]
        assert len(said) == 4
        assert all(isinstance(one, str) and one and END not in one for one in said)
        assert "spice" in info["not_run"] or "spice" in built.metrics(run, "caption")
    known = read(Path(built.environment["REPRISE_FLICKR8K"]) / "dataset_flickr8k.json")["images"]
    texts = {one["raw"] for image in known for one in image["sentences"]}
    assert set(said) <= texts, "the lookup says what stands in training"


def test_evaluators_measure(rehearsal: tuple[Rehearsal, str]) -> None:
    built, _ = rehearsal
    found = {name: built.metrics("capdec", name) for name in built.job("capdec").run.evaluate}
    assert {"bleu_4", "rouge_l", "cider"} <= found["caption"].keys()
    assert found["gap"]["noise_std"] == pytest.approx(0.016**0.5)
    assert found["gap"]["noise_length"] == pytest.approx((0.016 * WIDTH) ** 0.5)
    assert 0 < found["gap"]["epsilon"] < 2
    recalls = built.metrics("clip", "retrieval")
    assert 0 <= recalls["text_to_image_r1"] <= recalls["text_to_image_r10"] <= 100
    # The lookup's captions are real ones, and the only that are.
    assert built.metrics("lookup", "caption")["copied"] == 100
    assert found["caption"]["copied"] == 0
    assert all(np.isfinite(value) for one in found.values() for value in one.values())


def test_tables_claims_and_report_say_that_it_is_no_result(
    rehearsal: tuple[Rehearsal, str],
) -> None:
    built, _ = rehearsal
    tables = [job for job in table_jobs(built.project) if job.slug == "capdec"]
    assert len(tables) == len(built.project.paper("capdec").tables) > 5
    for job in tables:
        assert all(path.is_file() for path in job.outputs)
        table = read(next(path for path in job.outputs if path.suffix == ".json"))
        assert table["scale"]["result"] is False
        text = next(path for path in job.outputs if path.suffix == ".md").read_text()
        assert SCALE in text
    filled = {name for name, cell in row(tables, "coco", "CapDec").items() if cell["ours"]}
    assert {"bleu_1", "bleu_4", "rouge_l", "cider"} <= filled
    assert row(tables, "style", "CapDec after text-only pretraining")["romantic_bleu_1"]["ours"]
    assert not row(tables, "coco", "no noise")["cider"]["ours"]
    said = row(tables, "unseen", "CapDec")["unseen_cider"]["status"]
    assert said == "not measured: of the images of captions none is known to be unseen in training"
    assert (built.project.results / "capdec/claims.json").is_file()

    built.reprise("report")
    page = (built.project.results / "report/index.html").read_text(encoding="utf-8")
    assert "Plumbing only, not a result" in page
    assert over_gpu(Path(), Path())["about"] in page
    assert page.count("data:image/png") >= 4, "photographs with their captions"


def row(tables: list[Any], name: str, label: str) -> dict[str, Any]:
    job = next(job for job in tables if job.name == name)
    table = read(next(path for path in job.outputs if path.suffix == ".json"))
    found: dict[str, Any] = next(one["cells"] for one in table["rows"] if one["label"] == label)
    return found


def test_openais_weights_need_the_model_with_quickgelu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the suffix of its name the same weights would run, and be much worse."""
    monkeypatch.setattr(factory, "download_pretrained", lambda *_, **__: "absent.pt")
    with pytest.raises(ConfigError, match=r"QuickGELU mismatch.* name ends in -quickgelu"):
        clip.released(CLIP_NAME.removesuffix("-quickgelu"), "openai")
