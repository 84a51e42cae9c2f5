"""Random weights in place of released ones: same architectures, under their libraries' names.

They are made on the spot, so nothing is downloaded. What a hub or a server would do is not
rehearsed, nor what a released file holds besides.
"""

import json
from collections.abc import Callable
from pathlib import Path

import open_clip
import safetensors.torch
import torch
from tokenizers import ByteLevelBPETokenizer
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from reprise import registry
from reprise.errors import ConfigError
from reprise.files import write_atomic
from reprise.locks import hold
from reprise.plan import RunJob, split_run
from reprise.rehearsal.drawn import WORDS
from reprise.training.run import training_data

GPT2_WORDS, END = 50257, "<|endoftext|>"
GPT2_SIZES = {  # width, blocks, heads
    "gpt2": (768, 12, 12),
    "gpt2-medium": (1024, 24, 16),
    "gpt2-large": (1280, 36, 20),
    "gpt2-xl": (1600, 48, 25),
}


def make(job: RunJob) -> None:
    """Make the files of weights that a rehearsed run starts from, unless they are there."""
    model = job.run.objective.get("language_model")
    if model is not None:
        _once(Path(model), _gpt2)
    weights = job.run.objective.get("weights")
    if weights is None:
        return
    make_weights = LIBRARIES.get(job.run.method, _released)
    _once(Path(weights), lambda file: _save(file, make_weights(job)))


def discard(job: RunJob) -> None:
    """Delete the weights that stood in for a run's own, unless another run uses its model.

    Whatever uses a model builds it first, from its released weights. Language models are shared.
    """
    weights = job.run.objective.get("weights")
    used = {
        split_run(slug, other)
        for slug, paper in job.project.papers.items()
        for run in paper.runs.values()
        for other in run.uses.values()
    }
    if weights is not None and (job.slug, job.name) not in used:
        Path(weights).unlink(missing_ok=True)


def _once(target: Path, write: Callable[[Path], None]) -> None:
    with hold(target.parent / f".{target.name}.lock", f"weights {target.name}", wait=True):
        if not target.exists():
            torch.manual_seed(0)
            write(target)


def _save(file: Path, weights: dict[str, Tensor]) -> None:
    made = {name: value.contiguous() for name, value in weights.items()}
    write_atomic(file, safetensors.torch.save(made))


# --- models of methods ---------------------------------------------------------------------------


def _released(job: RunJob) -> dict[str, Tensor]:
    """Return a classifier's random weights under timm's names, built as its own method builds it.

    Raises ConfigError for a method whose models are no classifiers of timm.
    """
    run = job.run.model_copy(update={"objective": {**job.run.objective, "weights": None}})
    made = registry.load("method", run.method).build(run, training_data(job))
    encoder, head = made.encoder, getattr(made, "head", None)
    place = getattr(encoder, "pretrained_cfg", {}).get("classifier")
    if head is None or not isinstance(place, str):
        raise ConfigError(
            f"{job.key}: no stand-in for weights of method {run.method!r}, whose model is no "
            "classifier of timm: add one to LIBRARIES in reprise.rehearsal.stand_ins"
        )
    classifier = {f"{place}.{name}": value for name, value in head.state_dict().items()}
    return {**encoder.state_dict(), **classifier}


def _clip(job: RunJob) -> dict[str, Tensor]:
    return dict(open_clip.create_model(job.run.model.name).state_dict())


# Methods whose models come whole from a library, and cannot be built without weights.
LIBRARIES: dict[str, Callable[[RunJob], dict[str, Tensor]]] = {"clip": _clip}


def _gpt2(folder: Path) -> None:
    """Save a GPT-2 as the hub has it: no prefix in the names of weights, 50,257 byte pairs.

    The first pairs are those of the miniatures' captions; no text has the others.
    """
    if folder.name not in GPT2_SIZES:
        raise ConfigError(
            f"language_model {folder.name!r}: no stand-in; there are those of "
            f"{', '.join(GPT2_SIZES)}: add its sizes to reprise.rehearsal.stand_ins"
        )
    width, blocks, heads = GPT2_SIZES[folder.name]
    made = folder.with_name(f".{folder.name}.tmp")
    made.mkdir(parents=True, exist_ok=True)
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator([" ".join(WORDS)] * 10, 1000, show_progress=False)
    trained.save_model(str(made))
    words = json.loads((made / "vocab.json").read_text(encoding="utf-8"))
    words |= {f"unused{number}": number for number in range(len(words), GPT2_WORDS - 1)}
    words[END] = GPT2_WORDS - 1
    write_atomic(made / "vocab.json", json.dumps(words))
    write_atomic(made / "tokenizer_config.json", json.dumps({"model_max_length": 1024}))
    model = GPT2LMHeadModel(GPT2Config(n_embd=width, n_layer=blocks, n_head=heads))
    model.transformer.save_pretrained(made)
    model.generation_config.save_pretrained(made)
    made.rename(folder)
