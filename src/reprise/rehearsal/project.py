"""Turns a scale into its rehearsal: the same steps and full-size models, two updates each.

A rehearsal is a scale of its own, named ``rehearsal/<scale>``: its data, state, results, records
and digests are apart from those of the scale, and it is no result (``result: false``). Of runs that
differ only in what changes neither a network's shape nor which code runs, one stands for all; so
does one of evaluators that are alike once they are made short.

Nothing here imports torch.
"""

import functools
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from reprise.config import (
    REHEARSAL,
    Benchmark,
    Dataset,
    Json,
    Metric,
    Paper,
    Project,
    Row,
    Run,
    Scale,
    Table,
)
from reprise.data import origin
from reprise.errors import ConfigError
from reprise.provenance import digest_of
from reprise.settings.evaluators import Evaluator

PREFIX = REHEARSAL
STEPS = 2  # the first one builds the optimiser's state, the second one uses it
SIZES = {"detect": 1}  # samples of a step, where they are not two
BATCH = 2  # contrast, BatchNorm and mixing need two samples, and an even number
SECONDS = 0.02  # measuring time of a benchmark, for each run
# Names of models, or settings, whose runs have the machine to themselves; else there are two.
LARGE = re.compile("large|huge|giant")
DENSE = 256  # side of a training image from which a dense run is large, pixels

# Settings of methods and evaluators that lengthen their work without changing what is done.
MOST = {
    "accumulate": 2,
    "batch_size": BATCH,
    "beams": 2,
    "detections": 20,
    "draws": 2,
    "longest": 8,
    "max_iter": 10,
    "neighbours": 1,
    "pictures": 2,
    "proposals": 100,
    "steps": STEPS,
    "strengths": 1,
    "test_proposals": 100,
    "warmup_steps": 1,
}
COSTS = (256, 320)  # largest size at which detectors are timed that are never trained, pixels
IMAGES = 2  # that an evaluator looks at, where it can be told
# Scores of texts alone, which say nothing of a scale; METEOR takes as long as a training.
LEFT_OUT = ("meteor", "spice")

# Numbers whose size changes neither a network nor which code runs, unless they are 0 or absent.
# What is not named here is compared as it is: a new setting costs a run more, and hides none.
STRENGTHS = frozenset(
    (
        *(
            "mask_rate",
            "weight_contrast",
            "weight_reconstruct",
            "weight_denoise",
            "sigma_max",
            "temperature",
        ),
        *("noise_variance", "label_smoothing", "mixup", "cutmix", "mix_prob", "dropout"),
        *("drop_path", "drop_path_rate", "layer_scale", "init_values", "auxiliary", "images"),
        *("scale", "crop_scale", "crop_ratio", "flip", "jitter", "brightness", "contrast"),
        *("saturation", "hue", "grayscale", "blur", "blur_sigma", "erasing", "mean", "std"),
        *("test_crop", "momentum", "style", "beams", "longest", "weights"),
    )
)
# Where files lie, or how those of a data set are named: two sets of one layout are decoded alike.
NAMES = frozenset(("root", "images", "files", "masks", "classes", "labels", "most_corrupt", "seed"))


def is_rehearsal(project: Project) -> bool:
    """Say whether a project is a rehearsal of a scale."""
    return project.scale.scale.startswith(PREFIX)


def refuse(project: Project, what: str) -> None:
    """Raise ConfigError where a rehearsal is about to be taken for a result."""
    if is_rehearsal(project):
        raise ConfigError(
            f"{what}: scale {project.scale.scale} is a rehearsal on generated files with random "
            "weights, so nothing of it is a result; give --scale the scale itself"
        )


def home(project: Project) -> Path:
    """Return the folder of all that a rehearsal makes: its data, state, weights and results."""
    return project.root / project.config.results_root / project.scale.scale


def rehearsed(project: Project) -> Project:
    """Return the rehearsal of a project's scale."""
    name = f"{PREFIX}{project.scale.scale}"
    below = f"{project.config.results_root}/{name}"
    folders = {"data_root": f"{below}/data", "state_root": f"{below}/state"}
    base = project.root / below
    stands_for = representatives(project)
    scale = _scale(project.scale, name, base)
    papers = {
        slug: _Rehearsal(slug, paper, stands_for, base).paper()
        for slug, paper in project.papers.items()
    }
    config = project.config.model_copy(update=folders)
    return Project(project.root, config, scale, papers)


def _scale(scale: Scale, name: str, base: Path) -> Scale:
    datasets = {alias: _dataset(one, base) for alias, one in scale.datasets.items()}
    return scale.model_copy(
        update={
            "scale": name,
            "about": f"REHEARSAL of scale {scale.scale}: {STEPS} steps of every run with random "
            "weights on generated files; no number here is a result",
            "result": False,
            "seeds": scale.seeds[:1],
            "reference_seeds": (),
            "threads": max(1, _processors() // 2),
            "datasets": datasets,
        }
    )


def _dataset(dataset: Dataset, base: Path) -> Dataset:
    """Return a data set whose files are generated below the rehearsal's folder."""
    if "root" not in dataset.args:
        return dataset  # made from what an installed package holds, or drawn
    root = str(base / "raw" / dataset.home)
    return dataset.model_copy(update={"args": {**dataset.args, "root": root}})


class _Rehearsal:
    """One paper's rehearsal: its parts with everything long made short."""

    def __init__(
        self, slug: str, paper: Paper, stands_for: Mapping[tuple[str, str], str], base: Path
    ) -> None:
        self.slug, self._paper, self._stands_for, self._base = slug, paper, stands_for, base
        self._alike = evaluators_alike(paper)

    def paper(self) -> Paper:
        """Return the paper with one run of each kind; rows and claims show those runs."""
        runs = {
            name: self._run(name, run)
            for name, run in self._paper.runs.items()
            if self._other(name) == name
        }
        changed = {
            "runs": runs,
            "evaluators": {
                key: _evaluator(one)
                for key, one in self._paper.evaluators.items()
                if self._alike[key] == key
            },
            "benchmarks": {
                key: self._benchmark(one) for key, one in self._paper.benchmarks.items()
            },
            "tables": {key: self._table(one) for key, one in self._paper.tables.items()},
        }
        return self._paper.model_copy(update=changed)

    def _other(self, name: str) -> str:
        """Return the run that stands for one that is named here, as 'run' or 'paper/run'."""
        slug, slash, tail = name.rpartition("/")
        return f"{slug}{slash}{self._stands_for[slug or self.slug, tail]}"

    def _run(self, name: str, run: Run) -> Run:
        parts = min(run.accumulate, 2)
        evaluate = dict.fromkeys(
            self._alike[evaluator]
            for other, its in self._paper.runs.items()
            if self._other(other) == name
            for evaluator in its.evaluate
        )
        changed = {
            "steps": min(run.steps, STEPS),
            "batch_size": min(run.batch_size, parts * SIZES.get(run.method, BATCH)),
            "accumulate": parts,
            "optim": _shortened(run.optim),
            "objective": self._objective(name, run.objective),
            "compile": False,
            "workers": 0,
            "log_every": 1,
            "threads": _processors() if _is_large(run) else None,
            "seeds": None,
            "headline": True,
            "evaluate": tuple(evaluate),
            "init_from": None if run.init_from is None else self._other(run.init_from),
            "uses": {role: self._other(other) for role, other in run.uses.items()},
        }
        return run.model_copy(update=changed)

    def _objective(self, name: str, objective: Json) -> Json:
        """Return a method's settings, made short, with random weights for released ones."""
        short = {
            key: min(value, MOST[key]) if _long(key, value) else value
            for key, value in objective.items()
        }
        if "images" in short:  # a share of a few images would be none
            short["images"] = 1.0
        if "cost_size" in short:
            short["cost_size"] = [*map(min, short["cost_size"], COSTS)]
        stand_ins = self._base / "stand-ins"
        if short.get("weights"):
            short["weights"] = str(stand_ins / f"{self.slug}-{name}.safetensors")
        if short.get("language_model"):
            short["language_model"] = str(stand_ins / Path(short["language_model"]).name)
        return short

    def _benchmark(self, benchmark: Benchmark) -> Benchmark:
        runs = dict.fromkeys(self._other(name) for name in benchmark.runs)
        infers = benchmark.kind == "forward" and not benchmark.backward
        changed = {
            "runs": tuple(runs),
            "seconds": min(benchmark.seconds, SECONDS),
            "batch_size": 1 if infers else None,  # else that of the runs
            "threads": None,
        }
        return benchmark.model_copy(update=changed)

    def _table(self, table: Table) -> Table:
        changed = {
            "metrics": {key: self._metric(one) for key, one in table.metrics.items()},
            "rows": tuple(self._row(row) for row in table.rows),
            "headline": True,
        }
        return table.model_copy(update=changed)

    def _metric(self, metric: Metric) -> Metric:
        if metric.evaluator is None:
            return metric
        return metric.model_copy(update={"evaluator": self._alike[metric.evaluator]})

    def _row(self, row: Row) -> Row:
        changed: Json = {
            "evaluators": {key: self._alike[name] for key, name in row.evaluators.items()},
            "runs": {column: self._other(name) for column, name in row.runs.items()},
        }
        if row.run is not None:
            changed["run"] = self._other(row.run)
        return row.model_copy(update=changed)


def _processors() -> int:
    return len(os.sched_getaffinity(0))


def _is_large(run: Run) -> bool:
    """Say whether a run is rehearsed alone, for the memory that it needs."""
    dense = run.method == "detect" or run.objective.get("crop", 0) not in range(DENSE)
    return bool(LARGE.search(run.model.name)) or dense


def _long(key: str, value: object) -> bool:
    return key in MOST and isinstance(value, int) and not isinstance(value, bool)


def _shortened(settings: BaseModel) -> Any:
    """Return a model of settings with every number of `MOST` at most that."""
    values = {name: getattr(settings, name) for name in type(settings).model_fields}
    return settings.model_copy(
        update={
            name: min(value, MOST[name]) for name, value in values.items() if _long(name, value)
        }
    )


def _evaluator(evaluator: Evaluator) -> Evaluator:
    """Return an evaluator that does all it does, on few images and for a few steps."""
    short = _shortened(evaluator)
    changes: dict[str, Callable[[Any], Any]] = {
        "images": lambda _: IMAGES,
        "labels": lambda _: 1.0,
        "inverse_regularisation": lambda values: values[:1],
        "scales": lambda values: values[:1],
        "metrics": lambda values: tuple(one for one in values if one not in LEFT_OUT),
        "optim": _shortened,
    }
    fields = type(evaluator).model_fields
    changed = {key: make(getattr(short, key)) for key, make in changes.items() if key in fields}
    result: Evaluator = short.model_copy(update=changed)
    return result


# --- what is alike ------------------------------------------------------------------------------


def evaluators_alike(paper: Paper) -> dict[str, str]:
    """Return for each evaluator the first one that does the same in a rehearsal."""
    first: dict[str, str] = {}
    return {
        name: first.setdefault(digest_of(_evaluator(one).model_dump(mode="json")), name)
        for name, one in paper.evaluators.items()
    }


def representatives(project: Project) -> dict[tuple[str, str], str]:
    """Return for each run (paper, name) the first of its paper that is rehearsed in its place.

    Runs are alike when they have the same networks, of the same shapes, and the same steps.
    """
    first: dict[tuple[str, str], str] = {}
    signature = functools.cache(functools.partial(_signature, project))
    return {
        (slug, name): first.setdefault((slug, signature(slug, name)), name)
        for slug, paper in project.papers.items()
        for name in paper.runs
    }


def _signature(project: Project, slug: str, name: str) -> str:
    """Return a digest of all of a run that its rehearsal depends on, runs before it included."""
    run, data = project.run(slug, name), project.dataset(project.run(slug, name).data)
    used = [run.init_from, *run.uses.values()]
    earlier = [_of_other(project, slug, other) for other in used if other is not None]
    optim = run.optim
    return digest_of(
        {
            "kind": run.kind,
            "built": run.is_built,
            "method": run.method,
            "data": {"name": data.name, **_without(origin.what(data.args), NAMES)},
            "model": _structure(run.model.model_dump(mode="json")),
            "augment": run.augment and _structure(run.augment.model_dump(mode="json")),
            "objective": _structure(run.objective),
            "steps": min(run.steps, STEPS),
            "accumulate": min(run.accumulate, 2),
            "precision": run.precision,
            "optim": [
                optim.name,
                optim.schedule,
                *(
                    getattr(optim, part) is None
                    for part in ("layer_decay", "clip_norm", "ema_decay")
                ),
            ],
            "earlier": earlier,
        }
    )


def _of_other(project: Project, slug: str, other: str) -> str:
    head, _, tail = other.rpartition("/")
    return _signature(project, head or slug, tail)


def _without(values: Json, names: Iterable[str]) -> Json:
    return {key: value for key, value in values.items() if key not in names}


def _structure(value: Any, key: str = "") -> Any:
    """Return settings with every strength as no more than whether it is there."""
    if isinstance(value, dict):
        return {key: _structure(inner, key) for key, inner in value.items()}
    return bool(value) if key in STRENGTHS else value
