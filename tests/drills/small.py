"""A workspace of one small paper with two runs, in which all of the workflow is a minute's work."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image
from workspace import REPOSITORY, TRACKED, Workspace

PAPER = "params/papers/toy.yaml"
RUN: dict[str, Any] = {
    "method": "deit3",
    "data": "photographs",
    "model": {
        "name": "deit3_small_patch16_224",
        "args": {"patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2},
    },
    "augment": {"size": 24, "mean": [0], "std": [1]},
    "optim": {"name": "lamb", "lr": 4e-3, "weight_decay": 0.02},
    "objective": {"image": {"size": 16}, "test_size": 16},
    "batch_size": 64,
    "log_every": 2,
    "evaluate": ["classify"],
}
RUNS = {"short": {**RUN, "steps": 4}, "long": {**RUN, "steps": 120}}
TABLE = {
    "title": "Two runs",
    "printed": "Table 1",
    "metrics": {"top1": {"label": "top-1", "evaluator": "classify", "metric": "top1"}},
    "rows": [{"label": name, "run": name} for name in RUNS],
}
TOY = {
    "slug": "toy",
    "title": "A toy paper",
    "arxiv": "0000.00000",
    "idea": "Small is enough.",
    "runs": RUNS,
    "evaluators": {"classify": {"kind": "classify", "data": "photographs"}},
    "tables": {"main": TABLE},
}
SCALE = {
    "scale": "smoke",
    "about": "a drill",
    "result": False,
    "seeds": [0],
    "threads": 1,
    "datasets": {
        "photographs": {
            "name": "image_folder",
            "folder": "photographs",
            "args": {"root": "photographs", "size": 24},
        }
    },
}
STAGES = """stages:
  data:
    foreach:
      photographs: smoke
    do:
      cmd: snakemake data/${key}/manifest.json --cores all --config scale=${item}
      outs:
        - data/${key}:
            persist: true
  toy:
    foreach:
      smoke: data/photographs
    do:
      cmd: snakemake toy --cores all --config scale=${key}
      deps:
        - ${item}
      outs:
        - results/${key}/toy:
            persist: true
"""


def write(root: Path) -> Workspace:
    """Write the workspace: our code and workflow, parameters and photographs of its own."""
    for name in TRACKED:
        source, target = REPOSITORY / name, root / name
        if name.startswith("params") or name == "dvc.yaml":
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target)
    for name, content in (
        ("params/config.yaml", {"scale": "smoke", "papers": ["toy"]}),
        ("params/scales/smoke.yaml", SCALE),
        (PAPER, TOY),
    ):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump(content, sort_keys=False))
    (root / "dvc.yaml").write_text(STAGES)
    photographs(root / "photographs")
    workspace = Workspace(root)
    workspace.run("git", "init", "--quiet")
    workspace.commit("start")
    return workspace


def photographs(root: Path) -> None:
    """Write 160 training and 40 test images of four classes, each of its own brightness."""
    numbers = np.random.default_rng(0)
    for split, count in (("train", 160), ("val", 40)):
        for number in range(count):
            pixels = numbers.integers(0, 128, (24, 24, 3)) + 32 * (number % 4)
            file = root / split / "abcd"[number % 4] / f"{number:03}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(file)


def without_network() -> list[str]:
    """Return what before a command takes its network; nothing where that is not allowed."""
    words = ["unshare", "--map-root-user", "--net"]
    if not shutil.which("unshare"):
        return []
    allowed = subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0
    return words if allowed else []
