"""Random weights in place of released ones: same architectures, same layouts of files.

They are made on the spot, so nothing is downloaded. What a hub or a server would do is not
rehearsed, nor what a released file holds besides.
"""

import json
from collections.abc import Callable
from pathlib import Path

import open_clip
import safetensors.torch
import timm
import torch
from tokenizers import ByteLevelBPETokenizer
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

from reprise.config import Run
from reprise.errors import ConfigError
from reprise.files import write_atomic
from reprise.locks import hold
from reprise.papers import deit3, litv2
from reprise.plan import RunJob
from reprise.rehearsal.drawn import WORDS
from reprise.settings.deit3 import Settings as RecipeSettings
from reprise.settings.litv2 import Settings as LITv2Settings
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
    if job.run.method not in MODELS:
        raise ConfigError(
            f"{job.key}: no stand-in for weights of method {job.run.method!r}; there are those of "
            f"{', '.join(sorted(MODELS))}: add one to reprise.rehearsal.stand_ins"
        )
    classes = len(training_data(job).classes)
    _once(Path(weights), lambda file: _save(file, MODELS[job.run.method](job.run, classes)))


def _once(target: Path, write: Callable[[Path], None]) -> None:
    with hold(target.parent / f".{target.name}.lock", f"weights {target.name}", wait=True):
        if not target.exists():
            torch.manual_seed(0)
            write(target)


def _save(file: Path, weights: dict[str, Tensor]) -> None:
    made = {name: value.contiguous() for name, value in weights.items()}
    write_atomic(file, safetensors.torch.save(made))


# --- models by method ---------------------------------------------------------------------------


def _deit3(run: Run, classes: int) -> dict[str, Tensor]:
    """Return a classifier's weights under the authors' names: gamma_1 and gamma_2 in a block."""
    recipe = RecipeSettings.model_validate({**run.objective, "weights": None})
    args = deit3.architecture(run.model.args, recipe)
    model: nn.Module = timm.create_model(run.model.name, num_classes=classes, **args)
    return {
        name.replace("ls1.gamma", "gamma_1").replace("ls2.gamma", "gamma_2"): value
        for name, value in model.state_dict().items()
    }


def _litv2(run: Run, classes: int) -> dict[str, Tensor]:
    """Return a classifier's weights under timm's names, as `reprise convert litv2` writes them."""
    settings = LITv2Settings.model_validate({**run.objective, "weights": None})
    return dict(litv2.network(run, settings, classes).state_dict())


def _clip(run: Run, classes: int) -> dict[str, Tensor]:
    return dict(open_clip.create_model(run.model.name).state_dict())


MODELS: dict[str, Callable[[Run, int], dict[str, Tensor]]] = {
    "clip": _clip,
    "deit3": _deit3,
    "litv2": _litv2,
}


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
