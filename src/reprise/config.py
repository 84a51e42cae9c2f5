"""Reads `params/` into checked, frozen models; every mistake is named with its file and key.

Order: `params/papers/<slug>.yaml`, then what `params/scales/<scale>.yaml` lays over it, then each
run takes what it does not say itself from the run it extends.
"""

import functools
import graphlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from reprise import registry
from reprise.errors import ConfigError, unknown
from reprise.settings.overlays import check_new_entries, laid_over, rows_by_place
from reprise.settings.project import (
    Benchmark,
    Config,
    Dataset,
    Json,
    Metric,
    Paper,
    Row,
    Run,
    Scale,
    Table,
)
from reprise.settings.references import check_references
from reprise.yamlfile import overlay, read_yaml

__all__ = [
    "Benchmark",
    "Config",
    "Dataset",
    "Json",
    "Metric",
    "Paper",
    "Project",
    "Row",
    "Run",
    "Scale",
    "Table",
    "overlay",
    "read_yaml",
]


REHEARSAL = "rehearsal/"  # before a scale's name: its rehearsal, as reprise.rehearsal makes it


@dataclass(frozen=True)
class Source:
    """Where a paper's raw values came from, to point at the right file when one is wrong."""

    paper_file: Path
    scale_file: Path
    paper: Json
    laid_over: Json
    parents: Mapping[str, str]

    def file_of(self, loc: Sequence[str | int]) -> str:
        """Return 'file: key.path' of a value, looking through the runs that a run extends."""
        path = [str(part) for part in loc]
        while True:
            for raw, file in ((self.laid_over, self.scale_file), (self.paper, self.paper_file)):
                if _has(raw, path) or (len(path) > 1 and _has(raw, path[:-1]) and len(path) <= 2):
                    prefix = f"papers.{self.paper_file.stem}." if raw is self.laid_over else ""
                    return f"{file}: {prefix}{'.'.join(path)}"
            if len(path) > 2 and path[0] == "runs" and path[1] in self.parents:
                path[1] = self.parents[path[1]]
                continue
            return f"{self.paper_file}: {'.'.join(str(part) for part in loc)}"


def _has(raw: Any, path: Sequence[str]) -> bool:
    for part in path:
        if isinstance(raw, Mapping) and part in raw:
            raw = raw[part]
        elif isinstance(raw, list) and part.isdigit() and int(part) < len(raw):
            raw = raw[int(part)]
        else:
            return False
    return True


def _explain(error: ValidationError, where: Source | Path, prefix: Sequence[str] = ()) -> str:
    """Turn pydantic's findings into lines of 'file: key = value: what is allowed'."""
    lines = []
    for found in error.errors():
        loc = _without_union_tags([*prefix, *found["loc"]])
        if found["type"] == "unknown_key":
            loc.append(found["ctx"]["key"])
        if found["type"].startswith("union_tag"):
            loc.append("kind")
        place = (
            where.file_of(loc)
            if isinstance(where, Source)
            else f"{where}: {'.'.join(str(part) for part in loc)}"
        )
        value = (
            "" if found["type"] in ("missing", "unknown_key") else f" = {_short(found['input'])}"
        )
        message = found["msg"].removeprefix("Value error, ")
        if found["type"] == "tuple_type":
            message = f"must be a list, such as [{_short(found['input'])}]"
        message = message[:1].lower() + message[1:]
        lines.append(f"{place.rstrip('. ')}{value}: {message}")
    return "\n".join(dict.fromkeys(lines))  # runs that extend the one at fault find it, too


def _without_union_tags(loc: Sequence[str | int]) -> list[str | int]:
    """Drop the discriminator that pydantic puts after an evaluator's name and a claim's test."""
    parts = list(loc)
    if len(parts) > 2 and parts[0] == "evaluators":
        del parts[2]
    if len(parts) > 3 and parts[0] == "claims" and parts[2] == "test":
        del parts[3]
    return parts


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else text[:77] + "..."


def resolve_runs(runs: Mapping[str, Any], where: str) -> tuple[dict[str, Json], dict[str, str]]:
    """Fill every run from the run it extends; return concrete runs and run -> parent."""
    parents: dict[str, str] = {}
    resolved: dict[str, Json] = {}

    def fill(name: str, chain: tuple[str, ...]) -> Json:
        if name in chain:
            raise ConfigError(f"{where}: runs extend in a circle: {' -> '.join([*chain, name])}")
        own = dict(runs[name] or {})
        parent = own.pop("extends", None)
        own.pop("abstract", None)
        if parent is None:
            return own
        if parent not in runs:
            raise ConfigError(f"{where}: runs.{name}.extends: {unknown('run', parent, runs)}")
        parents[name] = parent
        return overlay(fill(parent, (*chain, name)), own)

    for name, raw in runs.items():
        if raw is not None and not isinstance(raw, Mapping):
            raise ConfigError(f"{where}: runs.{name} = {_short(raw)}: expected a mapping of keys")
        filled = fill(name, ())
        if not (raw or {}).get("abstract", False):
            resolved[name] = filled
    return resolved, parents


@dataclass(frozen=True)
class Project:
    """A workspace with its parameters, read and checked."""

    root: Path
    config: Config
    scale: Scale
    papers: Mapping[str, Paper]

    @property
    def results(self) -> Path:
        """Folder of this scale's results."""
        return self.root / self.config.results_root / self.scale.scale

    @property
    def data_root(self) -> Path:
        """Folder of the prepared data sets (each in a folder of its own name)."""
        return self.root / self.config.data_root

    @property
    def state_root(self) -> Path:
        """Folder of resumable state: checkpoints and live curves of unfinished runs."""
        return self.root / self.config.state_root

    def paper(self, slug: str) -> Paper:
        """Return a paper by slug, or raise ConfigError naming the known ones."""
        if slug not in self.papers:
            raise ConfigError(unknown("paper", slug, self.papers))
        return self.papers[slug]

    def run(self, slug: str, name: str) -> Run:
        """Return a run of a paper, or raise ConfigError naming the known ones."""
        runs = self.paper(slug).runs
        if name not in runs:
            raise ConfigError(unknown(f"run of {slug}", name, runs))
        return runs[name]

    def seeds(self, run: Run) -> tuple[int, ...]:
        """Return the seeds that a run is trained with; sweeps have the scale's first alone."""
        return run.seeds or (self.scale.seeds if run.headline else self.scale.seeds[:1])

    def known_seeds(self, run: Run) -> tuple[int, ...]:
        """Return the seeds that a run has in any plan, the reference's included."""
        return tuple(dict.fromkeys((*self.seeds(run), *self.for_reference().seeds(run))))

    def for_reference(self) -> "Project":
        """Return the same project with the seeds of the reference results."""
        seeds = self.scale.reference_seeds or self.scale.seeds
        return replace(self, scale=self.scale.model_copy(update={"seeds": seeds}))

    def dataset(self, alias: str) -> Dataset:
        """Return the data set behind an alias of this scale."""
        if alias not in self.scale.datasets:
            raise ConfigError(unknown("data set", alias, self.scale.datasets))
        return self.scale.datasets[alias]

    def all_runs(self) -> Iterator[tuple[str, str, Run, int]]:
        """Yield (slug, run name, run, seed) of everything that can be built at this scale."""
        for slug, paper in self.papers.items():
            for name, run in paper.runs.items():
                for seed in self.seeds(run) if run.is_built else ():
                    yield slug, name, run, seed


M = TypeVar("M", bound=BaseModel)


def validate(model: type[M], raw: Any, where: Source | Path, prefix: Sequence[str] = ()) -> M:
    """Return a checked model of raw values; ConfigError with file, key and what is allowed.

    ``prefix`` is the path of keys to the values in that file.
    """
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(_explain(error, where, prefix)) from None


def _load_paper(slug: str, params: Path, scale_file: Path, scale: Scale) -> Paper:
    paper_file = params / "papers" / f"{slug}.yaml"
    raw = read_yaml(paper_file)
    over = scale.papers.get(slug) or {}
    check_new_entries(over, raw, f"{scale_file}: papers.{slug}", paper_file)
    over = rows_by_place(over, raw, f"{scale_file}: papers.{slug}")
    merged = laid_over(raw, over)
    runs, parents = resolve_runs(merged.get("runs", {}), str(paper_file))
    source = Source(paper_file, scale_file, raw, over, parents)
    paper = validate(Paper, {**merged, "runs": runs}, source)
    if paper.slug != slug:
        raise ConfigError(
            f"{paper_file}: slug = {paper.slug!r}: must equal the file name, {slug!r}"
        )
    checked = {
        name: _check_run(name, run, paper, scale, source) for name, run in paper.runs.items()
    }
    paper = paper.model_copy(update={"runs": checked})
    check_references(paper, params, functools.partial(_place, source))
    return paper


def _check_run(name: str, run: Run, paper: Paper, scale: Scale, source: Source) -> Run:
    """Check what names other things, and fill in the defaults of the method's settings."""
    place = functools.partial(_place, source, "runs", name)
    try:
        settings = registry.method_settings(run.method)
    except ConfigError as error:
        raise ConfigError(f"{place('method')}: {error}") from None
    objective = validate(settings, run.objective, source, ("runs", name, "objective"))
    if run.data not in scale.datasets:
        raise ConfigError(f"{place('data')}: {unknown('data set', run.data, scale.datasets)}")
    for evaluator in run.evaluate:
        if evaluator not in paper.evaluators:
            text = unknown("evaluator", evaluator, paper.evaluators)
            raise ConfigError(f"{place('evaluate')}: {text}")
        alias = paper.evaluators[evaluator].data
        if run.is_built and alias not in scale.datasets:
            text = unknown("data set", alias, scale.datasets)
            raise ConfigError(f"{place('evaluate')}: {evaluator} needs {text}")
    if run.batch_size % run.accumulate:
        raise ConfigError(f"{place('accumulate')} = {run.accumulate}: must divide batch_size")
    places = {part: place("model", part) for part in ("name", "args")}
    checked = run.model_copy(update={"objective": objective.model_dump(mode="json")})
    return checked.placed(**places)


def _place(source: Source, *loc: str) -> str:
    return source.file_of(loc)


def load_project(root: Path | None = None, scale: str | None = None) -> Project:
    """Read `params/` below root (default: the working folder) at a scale, or at the rehearsal of
    one, ``rehearsal/<scale>``.

    Raises ConfigError with file, key, value and allowed values of the first file that is wrong.
    """
    root = Path(root or os.environ.get("REPRISE_ROOT", ".")).resolve()
    params = root / "params"
    config_file = params / "config.yaml"
    config = validate(Config, read_yaml(config_file), config_file)
    _check_paper_files(config, params, config_file)
    wanted = (scale or config.scale).removeprefix(REHEARSAL)
    scales = sorted(file.stem for file in (params / "scales").glob("*.yaml"))
    if wanted not in scales:
        place = f"{config_file}: scale: " if scale is None else ""
        raise ConfigError(f"{place}{unknown('scale', wanted, scales)} (files in params/scales/)")
    scale_file = params / "scales" / f"{wanted}.yaml"
    checked = validate(Scale, read_yaml(scale_file), scale_file)
    if checked.scale != wanted:
        raise ConfigError(f"{scale_file}: scale = {checked.scale!r}: must equal the file name")
    for slug in checked.papers:
        if slug not in config.papers:
            raise ConfigError(f"{scale_file}: papers: {unknown('paper', slug, config.papers)}")
    for alias, dataset in checked.datasets.items():
        try:
            registry.module_path("data set", dataset.name)
        except ConfigError as error:
            raise ConfigError(f"{scale_file}: datasets.{alias}.name: {error}") from None
    _check_folders(checked, scale_file)
    papers = {slug: _load_paper(slug, params, scale_file, checked) for slug in config.papers}
    project = Project(root, config, checked, papers)
    _check_earlier_runs(project)
    if (scale or config.scale).startswith(REHEARSAL):
        from reprise.rehearsal import rehearsed

        return rehearsed(project)
    return project


def _check_paper_files(config: Config, params: Path, config_file: Path) -> None:
    known = sorted(file.stem for file in (params / "papers").glob("*.yaml"))
    for slug in config.papers:
        if slug not in known:
            text = unknown("paper", slug, known)
            raise ConfigError(f"{config_file}: papers: no params/papers/{slug}.yaml: {text}")


def _check_folders(scale: Scale, scale_file: Path) -> None:
    """Refuse data sets that would overwrite each other's files."""
    owners: dict[str, str] = {}
    for alias, dataset in scale.datasets.items():
        place = f"{scale_file}: datasets.{alias}.folder = {dataset.home!r}"
        if dataset.home != dataset.name and dataset.home in registry.known("data set"):
            raise ConfigError(f"{place}: is the name of another data set; choose another word")
        owner = owners.setdefault(dataset.home, alias)
        if scale.datasets[owner] != dataset:
            raise ConfigError(
                f"{place}: is also that of datasets.{owner}, which has other settings; "
                "give one of them a `folder` of its own"
            )


def _check_earlier_runs(project: Project) -> None:
    """Check the runs that others start from or use: they exist, and never wait for each other."""
    earlier: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for slug, paper in project.papers.items():
        for name, run in paper.runs.items():
            wanted = {f"uses.{role}": other for role, other in run.uses.items()}
            if run.init_from is not None:
                wanted["init_from"] = run.init_from
            for key, other in wanted.items():
                head, _, tail = other.rpartition("/")
                try:
                    project.run(head or slug, tail)
                except ConfigError as error:
                    raise ConfigError(f"paper {slug}: runs.{name}.{key}: {error}") from None
                earlier.setdefault((slug, name), []).append((head or slug, tail))
    try:
        graphlib.TopologicalSorter(earlier).prepare()
    except graphlib.CycleError as error:
        circle = " -> ".join("/".join(run) for run in error.args[1])
        raise ConfigError(f"runs wait for each other (init_from, uses): {circle}") from None


def schemas() -> dict[str, Json]:
    """Return the JSON schema of every parameter file, by file name."""
    paper = Paper.model_json_schema()
    return {
        "config.schema.json": Config.model_json_schema(),
        "scale.schema.json": Scale.model_json_schema(),
        "paper.schema.json": paper,
        **{
            f"method-{name}.schema.json": registry.method_settings(name).model_json_schema()
            for name in sorted(registry.known("method"))
        },
    }
