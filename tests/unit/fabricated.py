"""A workspace with made-up results: its numbers are drawn, no model was ever trained for them.

A small paper of its own keeps these tests apart from the real parameter files.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from reprise.config import Project, load_project
from reprise.plan import BenchmarkJob, RunJob, TableJob, run_jobs

N = 400
TABLE = "main"

_EVALUATORS = {
    "probe": {"kind": "linear_probe", "data": "photos", "labels": 100},
    "knn": {"kind": "knn", "data": "photos", "labels": 100},
    "classify": {"kind": "classify", "data": "photos"},
    "pictures": {"kind": "gallery", "data": "photos", "images": 3},
}

_RUN = {
    "data": "photos",
    "model": {"name": "vit_tiny_patch16_224"},
    "augment": {"size": 16},
    "optim": {"lr": 1e-3},
    "batch_size": 8,
}


def _runs() -> dict[str, Any]:
    pixels = {**_RUN, "method": "pixels", "steps": 0, "evaluate": ["probe"]}
    plain = {**_RUN, "method": "supervised", "steps": 0, "evaluate": ["probe", "knn"]}
    learned = {
        **_RUN,
        "method": "supervised",
        "steps": 40,
        "evaluate": ["probe", "knn", "classify", "pictures"],
    }
    swept = {**plain, "about": "one of a sweep", "headline": False, "steps": 20}
    return {"plain": plain, "pixels": pixels, "learned": learned, "swept": swept}


def _paper() -> dict[str, Any]:
    return {
        "slug": "toy",
        "title": "A toy <paper>",
        "arxiv": "0000.00000",
        "idea": "Nothing is learned here.",
        "runs": _runs(),
        "evaluators": _EVALUATORS,
        "tables": {
            TABLE: {
                "title": "Toy methods compared",
                "printed": "Table 9",
                "published": "toy",
                "baseline": "plain",
                "metrics": {
                    "probe_top1": {"label": "probe", "evaluator": "probe", "metric": "top1"},
                    "knn_top1": {"label": "20-NN", "evaluator": "knn", "metric": "top1"},
                },
                "rows": [
                    {"label": "plain", "run": "plain"},
                    {"label": "raw | pixels", "run": "pixels"},
                    {
                        "label": "learned",
                        "run": "toy/learned",
                        "published": "Learned, 800 ep",
                        "evaluators": {"knn_top1": "classify"},
                        "deviations": ["Classified, not looked up."],
                    },
                    {"label": "swept", "run": "swept"},
                    {"label": "printed only", "published": "Other ViT-B"},
                ],
                "deviations": ["Everything is made up."],
            },
            "extra": {
                "title": "A table of a sweep",
                "printed": "Figure 2",
                "headline": False,
                "metrics": {
                    "probe_top1": {"label": "probe", "evaluator": "probe", "metric": "top1"}
                },
                "rows": [{"label": "swept", "run": "swept"}],
            },
        },
    }


PUBLISHED = """row,metric,value,unit,dataset,split,source,confidence
"Learned, 800 ep",probe_top1,76.0,%,Some Photos,test,https://example.org/toy?a=1&b=2,seen
Other ViT-B,probe_top1,71.25,%,Some Photos,test,https://example.org/toy?a=1&b=2,inferred
"""


def workspace(root: Path, seeds: tuple[int, ...] = (0,), result: bool = True) -> Project:
    """Write the toy parameters below root and load them."""
    params = root / "params"
    config = {"scale": "tiny", "papers": ["toy"]}
    scale = {
        "scale": "tiny",
        "about": "made-up numbers for a test",
        "result": result,
        "seeds": list(seeds),
        "threads": 1,
        "datasets": {"photos": {"name": "digits"}},
    }
    for path, value in (
        (params / "config.yaml", config),
        (params / "scales" / "tiny.yaml", scale),
        (params / "papers" / "toy.yaml", _paper()),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(value, sort_keys=False))
    published = params / "published" / "toy" / "toy.csv"
    published.parent.mkdir(parents=True, exist_ok=True)
    published.write_text(PUBLISHED)
    return load_project(root, "tiny")


def table_job(project: Project, name: str = TABLE) -> TableJob:
    return TableJob(project, "toy", name)


def correctness(run: str, evaluator: str, seed: int) -> np.ndarray:
    """Return uint8 [N], drawn anew for every run, evaluator and seed."""
    share = {"plain": 0.6, "pixels": 0.7, "learned": 0.8, "swept": 0.65}[run]
    generator = np.random.default_rng([seed, *f"{run} {evaluator}".encode()])
    return (generator.random(N) < share).astype(np.uint8)


def fabricate_all(project: Project) -> None:
    """Write the outputs of every headline run and its evaluations."""
    for job in run_jobs(project, headline_only=True):
        fabricate(job)


def fabricate(job: RunJob) -> None:
    """Write one run's meta.json, log.jsonl, and what its evaluators would have written."""
    steps = job.run.steps
    meta = {
        "paper": job.slug,
        "run": job.name,
        "seed": job.seed,
        "scale": job.project.scale.scale,
        "kind": "train",
        "digest": job.digest,
        "spec": job.spec,
        "data": {"name": "digits", "split": "train", "digest": "d" * 64, "n": 1000},
        "git": {"commit": "c0ffee" * 6 + "cafe", "dirty": False},
        "versions": {"python": "3.11", "torch": "0.0.test"},
        "device": "cpu",
        "processor": "test processor",
        "threads": 1,
        "precision": "fp32",
        "processes": 1,
        "steps": steps,
        "batch_size": job.run.batch_size,
        "parameters": 1234,
        "wall_seconds": 12.5,
        "images_per_second": 1001.0 if steps else None,
        "peak_memory_mb": 321.0,
        "resumed": 0,
        "command": f"python -m reprise train {job.slug}/{job.name} --seed {job.seed}",
    }
    write_json(job.folder / "meta.json", meta)
    lines = [
        {"step": step, "images": step * 8, "loss": 2.3 / step, "loss_ce": 2.0 / step, "lr": 1e-3}
        for step in range(10, steps + 1, 10)
    ]
    (job.folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for evaluator in job.run.evaluate:
        fabricate_evaluation(job, evaluator)


def fabricate_evaluation(job: RunJob, evaluator: str) -> None:
    """Write one evaluator's .json and .npz."""
    document: dict[str, Any] = {
        "paper": job.slug,
        "run": job.name,
        "seed": job.seed,
        "scale": job.project.scale.scale,
        "evaluator": evaluator,
        "kind": _EVALUATORS[evaluator]["kind"],
        "digest": job.eval_digest(evaluator),
        "run_digest": job.digest,
        "data": {"name": "digits", "split": "test", "digest": "e" * 64, "n": N},
        "metrics": [],
        "settings": _EVALUATORS[evaluator],
        "seconds": 1.5,
        "versions": {"python": "3.11", "torch": "0.0.test"},
        "command": f"python -m reprise evaluate {job.slug}/{job.name} --seed {job.seed}",
    }
    if evaluator == "pictures":
        pixels = np.random.default_rng(3).integers(0, 256, (2, 3, 16, 16), dtype=np.uint8)
        arrays = {"originals": pixels[0], "masked": np.stack([pixels[1]] * 3, axis=-1)}
        document["pictures"] = [
            {"array": "originals", "label": "original"},
            {"array": "masked", "label": "what the encoder sees"},
        ]
    else:
        arrays = {"top1": correctness(job.name, evaluator, job.seed)}
        document["metrics"] = [
            {
                "metric": "top1",
                "value": 100.0 * float(arrays["top1"].mean()),
                "n": N,
                "reduce": "percent_correct",
                "statistics": "top1",
            }
        ]
    write_json(job.eval_folder / f"{evaluator}.json", document)
    np.savez(job.eval_folder / f"{evaluator}.npz", **arrays)


def write_json(path: Path, value: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def add_costs(root: Path) -> Project:
    """Add a benchmark with a run that is never trained, and a table of it, to a toy workspace."""
    file = root / "params/papers/toy.yaml"
    paper = yaml.safe_load(file.read_text())
    paper["runs"]["heavy"] = {**_RUN, "method": "supervised", "steps": 9, "kind": "cost"}
    paper["benchmarks"] = {"step": {"runs": ["learned", "heavy"], "seconds": 1}}
    column = {"label": "speed", "benchmark": "step", "metric": "images_per_second"}
    paper["tables"]["cost"] = {
        "title": "Costs",
        "printed": "Figure 3",
        "metrics": {"speed": {**column, "unit": "images/s"}},
        "rows": [{"label": "learned", "run": "learned"}, {"label": "heavy", "run": "heavy"}],
    }
    file.write_text(yaml.safe_dump(paper, sort_keys=False))
    project = load_project(root, "tiny")
    fabricate_benchmark(BenchmarkJob(project, "toy", "step"))
    return project


def fabricate_benchmark(job: BenchmarkJob) -> None:
    """Write a benchmark's .json and .npz."""
    speeds = {"learned": [900.0, 1000.0, 1100.0], "heavy": [400.0, 500.0, 450.0]}
    arrays = {f"{run}/images_per_second": np.array(values) for run, values in speeds.items()}
    runs = {
        run: [
            {
                "metric": "images_per_second",
                "value": float(np.median(values)),
                "n": len(values),
                "reduce": "median",
                "statistics": f"{run}/images_per_second",
            }
        ]
        for run, values in speeds.items()
    }
    record = {"digest": job.digest, "runs": runs, "command": "measure", "machine": {}}
    write_json(job.outputs[0], record)
    np.savez(job.outputs[1], **arrays)
