"""Runs' methods on the meta device, of the size that training would build them in.

Nothing is computed, no weight is drawn or downloaded: released models are outlined from the sizes
that their libraries list.
"""

from dataclasses import replace
from typing import Any

import torch

from reprise.budget.shapes import Subject
from reprise.config import Run
from reprise.data.captioned import PLAIN, CaptionedSet
from reprise.registry import load
from reprise.training.method import Method, StandIn
from reprise.untrained import parameters_on_meta

META = torch.device("meta")
SCRATCH = "scratch"  # model name of a CLIP that is given by its sizes
_GPT2 = {  # layers, width and heads of the released models, by name
    "gpt2": (12, 768, 12),
    "gpt2-medium": (24, 1024, 16),
    "gpt2-large": (36, 1280, 20),
    "gpt2-xl": (48, 1600, 25),
}
GPT2_VOCABULARY = 50_257
CLIP_VOCABULARY = 49_408


def outline(run: Run, subject: Subject) -> Method:
    """Build a run's method on the meta device, released weights or not, downloading nothing."""
    own = without_downloads(run)
    if run.objective.get("language_model") is not None:
        subject = replace(subject, words=GPT2_VOCABULARY)
    elif own.model.name == SCRATCH != run.model.name:
        subject = replace(subject, words=CLIP_VOCABULARY)
    with parameters_on_meta():
        method: Method = load("method", own.method).build(own, _stand_in(own, subject))
    return method.to(META)


def without_downloads(run: Run) -> Run:
    """Return a run whose model is of the same size, and built without any released file."""
    objective, model = dict(run.objective), run.model
    if objective.get("weights") is not None:
        objective["weights"] = None
        config = _clip_config(run)
        if config is not None:
            keys = ("embed_dim", "vision_cfg", "text_cfg")
            args = {key: config[key] for key in keys}
            model = model.model_copy(update={"name": SCRATCH, "args": args})
    if objective.get("language_model") is not None:
        sizes = _language_model(objective["language_model"])
        objective["language_model"] = None
        model = model.model_copy(update={"args": {**sizes, **model.args}})
    return run.model_copy(update={"objective": objective, "model": model})


def _clip_config(run: Run) -> dict[str, Any] | None:
    """Return open_clip's sizes of a run's towers, where it has two."""
    if "context" not in run.objective:
        return None
    import open_clip

    config: dict[str, Any] | None = open_clip.get_model_config(run.model.name)
    return config


def _language_model(name: str) -> dict[str, int]:
    """Return layers, width and heads of a released GPT-2, by its name or from its folder."""
    if name in _GPT2:
        layers, width, heads = _GPT2[name]
        return {"n_layer": layers, "n_embd": width, "n_head": heads}
    from transformers import AutoConfig

    config: Any = AutoConfig.from_pretrained(name, local_files_only=True)
    return {"n_layer": config.n_layer, "n_embd": config.n_embd, "n_head": config.n_head}


def _stand_in(run: Run, subject: Subject) -> StandIn | CaptionedSet:
    """Return what stands in for a run's data: of one that reads captions, with as many words."""
    classes = tuple(map(str, range(subject.classes)))
    grey = bool(run.objective.get("grey"))
    channels = 3 if grey else int(run.model.args.get("in_chans", 3))
    if not {"style", "styles"} & run.objective.keys():
        return StandIn(classes, channels)
    words = " ".join(f"w{number}" for number in range(subject.words))
    images, labels = torch.empty(0, channels, 1, 1), torch.empty(0, dtype=torch.long)
    return CaptionedSet("outline", "train", images, labels, classes, "", {PLAIN: [[words]]})
