"""A workspace of one small paper whose runs are plain ViTs of DeiT III on tinted digits."""

from pathlib import Path
from typing import Any

import timm
import torch
import yaml
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from reprise.config import Project, load_project, overlay
from reprise.data.base import prepare
from reprise.plan import RunJob

SIDE = 16  # of what the model is given; the data are larger
MODEL = {
    "name": "deit3_small_patch16_224",
    "args": {"patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2},
}
RUN: dict[str, Any] = {
    "method": "deit3",
    "data": "tinted",
    "model": MODEL,
    "augment": {"size": 24, "mean": [0], "std": [1]},
    "optim": {"name": "lamb", "lr": 4e-3, "weight_decay": 0.02},
    "objective": {"image": {"size": SIDE}, "test_size": SIDE},
    "steps": 0,
    "batch_size": 8,
    "log_every": 2,
    "precision": "fp32",
}
COLOURED = {"name": "digits", "args": {"size": 24, "colour": True}}
EVALUATORS = {"classify": {"kind": "classify", "data": "tinted"}}


def write(
    root: Path,
    runs: dict[str, Any],
    evaluators: dict[str, Any] = EVALUATORS,
    **more: Any,
) -> Project:
    """Write the parameters below root and load them; ``runs`` say what differs from RUN."""
    paper = {
        "slug": "toy",
        "title": "A toy paper",
        "arxiv": "0000.00000",
        "idea": "Small is enough.",
        "runs": {name: overlay(RUN, own) for name, own in runs.items()},
        "evaluators": evaluators,
        "tables": {},
        **more,
    }
    scale = {
        "scale": "tiny",
        "about": "a test",
        "seeds": [0],
        "threads": 1,
        "datasets": {"tinted": COLOURED},
    }
    for place, value in (
        ("config.yaml", {"scale": "tiny", "papers": ["toy"]}),
        ("scales/tiny.yaml", scale),
        ("papers/toy.yaml", paper),
    ):
        file = root / "params" / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump(value, sort_keys=False))
    return load_project(root, "tiny")


def prepared(project: Project) -> Project:
    """Make the digits of a workspace."""
    prepare("digits", project.data_root, COLOURED["args"], lambda _: None)
    return project


def job(project: Project, name: str) -> RunJob:
    return RunJob(project, "toy", name, 0)


def vary(model: nn.Module) -> None:
    """Draw weights so large that a model's answers differ between images."""
    torch.manual_seed(7)
    for name, parameter in model.named_parameters():
        middle = 1.0 if name.endswith((".gamma", "norm.weight", "1.weight", "2.weight")) else 0.0
        wide = parameter.ndim > 1
        nn.init.normal_(parameter, 0.0 if wide else middle, 0.3 if wide else 0.1)


def released(classes: int = 10) -> VisionTransformer:
    """Return a model of timm that was never trained, in evaluation mode."""
    model = timm.create_model(
        MODEL["name"], num_classes=classes, img_size=SIDE, **MODEL["args"]
    ).eval()
    assert isinstance(model, VisionTransformer)
    vary(model)
    return model


def official_layout(model: VisionTransformer) -> dict[str, Tensor]:
    """Return a model's tensors under the authors' names: gamma_1 and gamma_2 in a block."""
    return {
        name.replace("ls1.gamma", "gamma_1").replace("ls2.gamma", "gamma_2"): value
        for name, value in model.state_dict().items()
    }
