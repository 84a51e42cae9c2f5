"""What there is to build, where each file lies, and the digest that says what it is made from.

Nothing here imports torch: the workflow, `status` and `pull` ask these questions often.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from reprise import provenance, registry
from reprise.config import Benchmark, Dataset, Json, Metric, Project, Row, Run, Table
from reprise.data import origin
from reprise.errors import ConfigError
from reprise.settings.claims import Claim, Place

# Fields of a run that change what is shown or how fast it comes, never the weights.
_NOT_SCIENCE = {"about", "headline", "evaluate", "seeds", "workers"}


@dataclass(frozen=True)
class RunJob:
    """One run with one seed: its files, its digest and the evaluators that follow it."""

    project: Project
    slug: str
    name: str
    seed: int

    @property
    def run(self) -> Run:
        return self.project.run(self.slug, self.name)

    @property
    def key(self) -> str:
        """Name on the command line and in messages: 'paper/run seed k'."""
        return f"{self.slug}/{self.name} seed {self.seed}"

    @property
    def folder(self) -> Path:
        """Folder of model.safetensors, log.jsonl and meta.json."""
        return self.project.results / self.slug / "runs" / self.name / f"seed{self.seed}"

    @property
    def eval_folder(self) -> Path:
        """Folder of <evaluator>.json and .npz."""
        return self.project.results / self.slug / "eval" / self.name / f"seed{self.seed}"

    @property
    def outputs(self) -> list[Path]:
        return [self.folder / name for name in ("model.safetensors", "log.jsonl", "meta.json")]

    @property
    def eval_outputs(self) -> list[Path]:
        names = self.run.evaluate
        return [
            self.eval_folder / f"{name}.{ending}" for name in names for ending in ("json", "npz")
        ]

    @property
    def init_job(self) -> "RunJob | None":
        """The run whose weights this one starts from, with the same seed where it has it."""
        return None if self.run.init_from is None else self._other(self.run.init_from)

    @cached_property
    def used_jobs(self) -> "dict[str, RunJob]":
        """The runs whose finished models this one uses, by role."""
        return {role: self._other(name) for role, name in self.run.uses.items()}

    def used(self, role: str) -> "RunJob":
        """Return the run used in a role; ConfigError where the settings name none."""
        if role not in self.used_jobs:
            raise ConfigError(f"{self.key}: its method needs `uses: {{{role}: <run>}}`")
        return self.used_jobs[role]

    @property
    def earlier_jobs(self) -> "list[RunJob]":
        """The runs that must be finished first: whose weights it starts from or models it uses."""
        init = self.init_job
        return [*([] if init is None else [init]), *self.used_jobs.values()]

    def _other(self, name: str) -> "RunJob":
        """Return a run named in this one's settings, with the same seed where it has it."""
        slug, name = split_run(self.slug, name)
        seeds = self.project.known_seeds(self.project.run(slug, name))
        return RunJob(self.project, slug, name, self.seed if self.seed in seeds else seeds[0])

    @property
    def threads(self) -> int:
        """Threads of its training and evaluation, part of its digest."""
        return self.run.threads or self.project.scale.threads

    @cached_property
    def spec(self) -> Json:
        """Everything in `params/` that this run's weights depend on, resolved."""
        dataset = self.project.dataset(self.run.data)
        return {
            "scale": self.project.scale.scale,
            "paper": self.slug,
            "run": self.name,
            "seed": self.seed,
            "threads": self.threads,
            "config": given(self.run.model_dump(mode="json", exclude=_NOT_SCIENCE)),
            "dataset": dataset_spec(dataset),
            "earlier": [job.digest for job in self.earlier_jobs],
        }

    @cached_property
    def sources(self) -> list[Path]:
        """The source files whose code makes the weights, those of models it uses included."""
        dataset = self.project.dataset(self.run.data)
        own = provenance.sources(
            "reprise.training.run",
            registry.module_path("method", self.run.method),
            registry.module_path("data set", dataset.name),
        )
        return sorted({*own, *(file for job in self.used_jobs.values() for file in job.sources)})

    @cached_property
    def digest(self) -> str:
        """One digest of settings, sources and the runs it builds on."""
        sources = provenance.digest_of_sources(self.sources)
        return provenance.digest_of({"spec": self.spec, "sources": sources})

    def eval_spec(self, evaluator: str) -> Json:
        """Everything in `params/` that one evaluation of this run depends on."""
        settings = self.project.paper(self.slug).evaluators[evaluator]
        dataset = self.project.dataset(settings.data)
        return {
            "run": self.digest,
            "evaluator": given(settings.model_dump(mode="json")),
            "dataset": dataset_spec(dataset),
        }

    def eval_sources(self, evaluator: str) -> list[Path]:
        """The source files whose code makes one evaluation."""
        settings = self.project.paper(self.slug).evaluators[evaluator]
        dataset = self.project.dataset(settings.data)
        own = provenance.sources(
            "reprise.evaluators._runner",
            registry.module_path("evaluator", settings.kind),
            registry.module_path("method", self.run.method),
            registry.module_path("data set", dataset.name),
        )
        return sorted({*own, *(file for job in self.used_jobs.values() for file in job.sources)})

    def eval_digest(self, evaluator: str) -> str:
        """One digest of an evaluation: the run's, the evaluator's settings and sources."""
        sources = provenance.digest_of_sources(self.eval_sources(evaluator))
        return provenance.digest_of({"spec": self.eval_spec(evaluator), "sources": sources})

    @property
    def all_evals_digest(self) -> str:
        """One digest of all evaluations of this run."""
        return provenance.digest_of({name: self.eval_digest(name) for name in self.run.evaluate})

    @property
    def data_folders(self) -> list[Path]:
        """Prepared data that training reads, that of the models it uses included."""
        own = data_folder(self.project, self.run.data)
        used = [folder for job in self.used_jobs.values() for folder in job.data_folders]
        return sorted({own, *used})

    @property
    def eval_data_folders(self) -> list[Path]:
        """Prepared data that the evaluators read."""
        evaluators = self.project.paper(self.slug).evaluators
        aliases = {evaluators[name].data for name in self.run.evaluate}
        folders = {data_folder(self.project, alias) for alias in aliases}
        return sorted({*folders, *(self.data_folders if self.used_jobs else ())})


@dataclass(frozen=True)
class BenchmarkJob:
    """One benchmark of one paper: the runs that it measures in turns, its files and digest."""

    project: Project
    slug: str
    name: str
    seconds: float | None = None  # measuring time instead of the benchmark's own

    @property
    def benchmark(self) -> Benchmark:
        own = self.project.paper(self.slug).benchmarks[self.name]
        return own if self.seconds is None else own.model_copy(update={"seconds": self.seconds})

    @property
    def headline(self) -> bool:
        """Whether a headline table or a claim reads it; others are built with the sweeps."""
        tables = self.project.paper(self.slug).tables.values()
        shown = {m.benchmark for table in tables if table.headline for m in table.metrics.values()}
        claimed = ClaimsJob(self.project, self.slug).benchmark_jobs
        return self.name in shown or self.name in {job.name for job in claimed}

    @property
    def key(self) -> str:
        """Name on the command line and in messages: 'paper/benchmark'."""
        return f"{self.slug}/{self.name}"

    @property
    def outputs(self) -> list[Path]:
        """The record and its single timings."""
        folder = self.project.results / self.slug / "bench"
        return [folder / f"{self.name}.{ending}" for ending in ("json", "npz")]

    @property
    def threads(self) -> int:
        """Threads that it measures with."""
        return self.benchmark.threads or self.project.scale.threads

    @cached_property
    def sources(self) -> list[Path]:
        """The source files whose code is measured."""
        methods = {self.project.run(self.slug, name).method for name in self.benchmark.runs}
        return provenance.sources(
            f"reprise.bench_{self.benchmark.kind}",
            *(registry.module_path("method", method) for method in sorted(methods)),
        )

    @cached_property
    def digest(self) -> str:
        """One digest of what is measured, and of the code that is."""
        runs = {name: self.project.run(self.slug, name) for name in self.benchmark.runs}
        return provenance.digest_of(
            {
                "scale": self.project.scale.scale,
                "threads": self.threads,
                # A setting at its default changes nothing.
                "benchmark": {
                    "about": self.benchmark.about,
                    **self.benchmark.model_dump(mode="json", exclude_defaults=True),
                },
                "runs": {
                    name: given(run.model_dump(mode="json", exclude=_NOT_SCIENCE | {"steps"}))
                    for name, run in runs.items()
                },
                "sources": provenance.digest_of_sources(self.sources),
            }
        )


@dataclass(frozen=True)
class CellsJob(ABC):
    """What is made from cells of tables: the runs, evaluations and benchmarks behind them."""

    project: Project
    slug: str

    @abstractmethod
    def cells(self) -> Iterator[tuple[Row, str, Metric]]:
        """Yield (row, key of the column, column) of every cell that is read."""

    @cached_property
    def _wanted(self) -> dict[tuple[str, str], set[str | None]]:
        """The evaluators that are read of every run (paper, name); None is its meta.json."""
        wanted: dict[tuple[str, str], set[str | None]] = {}
        for row, column, metric in self.cells():
            if row.run is None or metric.setting is not None or metric.printed:
                continue
            run = split_run(self.slug, row.runs.get(column, row.run))
            evaluators = wanted.setdefault(run, set())
            if metric.benchmark is None:
                evaluators.add(row.evaluators.get(column, metric.evaluator))
        return wanted

    @cached_property
    def run_jobs(self) -> list[RunJob]:
        """Every run and seed behind a cell."""
        jobs = []
        for slug, name in self._wanted:
            run = self.project.run(slug, name)
            for seed in self.project.seeds(run) if run.is_built else ():
                jobs.append(RunJob(self.project, slug, name, seed))
        return jobs

    def evaluations(self) -> Iterator[tuple[RunJob, str]]:
        """Yield (run job, evaluator) of every evaluation that fills a cell."""
        for job in self.run_jobs:
            for evaluator in job.run.evaluate:
                if evaluator in self._wanted[job.slug, job.name]:
                    yield job, evaluator

    @property
    def _meta_jobs(self) -> list[RunJob]:
        """The runs of which a number of meta.json is read."""
        return [job for job in self.run_jobs if None in self._wanted[job.slug, job.name]]

    @cached_property
    def benchmark_jobs(self) -> list[BenchmarkJob]:
        """The benchmarks that fill a cell."""
        names = {metric.benchmark for _, _, metric in self.cells() if metric.benchmark}
        return [BenchmarkJob(self.project, self.slug, name) for name in sorted(names)]

    @property
    def inputs(self) -> list[Path]:
        """The evaluation, run and benchmark files that are read (headline runs only)."""
        files = dict.fromkeys(path for job in self.benchmark_jobs for path in job.outputs)
        files |= dict.fromkeys(
            job.folder / "meta.json" for job in self._meta_jobs if job.run.headline
        )
        files |= dict.fromkeys(
            path
            for job, evaluator in self.evaluations()
            if job.run.headline
            for path in (
                job.eval_folder / f"{evaluator}.json",
                job.eval_folder / f"{evaluator}.npz",
                job.folder / "meta.json",
            )
        )
        return list(files)

    @property
    def evidence(self) -> Json:
        """The digests of all that fills a cell."""
        return {
            "evaluations": {
                f"{job.key} {evaluator}": job.eval_digest(evaluator)
                for job, evaluator in self.evaluations()
            },
            "runs": {job.key: job.digest for job in self._meta_jobs},
            "benchmarks": {job.key: job.digest for job in self.benchmark_jobs},
            **({"settings": shown} if (shown := self._settings) else {}),
        }

    @property
    def _settings(self) -> Json:
        """The settings of every run of which a cell shows one."""
        runs = {
            split_run(self.slug, row.runs.get(column, row.run))
            for row, column, metric in self.cells()
            if row.run is not None and metric.setting is not None
        }
        return {
            "/".join(run): self.project.run(*run).model_dump(mode="json") for run in sorted(runs)
        }


@dataclass(frozen=True)
class TableJob(CellsJob):
    """One table of one paper: its files, the evaluations it reads, and its digest."""

    name: str

    @property
    def table(self) -> Table:
        return self.project.paper(self.slug).tables[self.name]

    @property
    def outputs(self) -> list[Path]:
        folder = self.project.results / self.slug / "tables"
        return [folder / f"{self.name}.{ending}" for ending in ("csv", "md", "json")]

    @property
    def published_file(self) -> Path | None:
        if self.table.published is None:
            return None
        return self.project.root / "params/published" / self.slug / f"{self.table.published}.csv"

    def cells(self) -> Iterator[tuple[Row, str, Metric]]:
        """Yield every row with every column."""
        for row in self.table.rows:
            for column, metric in self.table.metrics.items():
                yield row, column, metric

    @cached_property
    def sources(self) -> list[Path]:
        return provenance.sources("reprise.tables")

    @cached_property
    def digest(self) -> str:
        """One digest of the table's definition, the published numbers and its evaluations."""
        published = self.published_file
        # What is drawn of a table does not change it: the report draws from the settings.
        drawn: Json = {"plot": True, "rows": {"__all__": {"x"}}}
        return provenance.digest_of(
            {
                "table": self.table.model_dump(mode="json", exclude=drawn),
                "published": None if published is None else provenance.digest_of_file(published),
                **self.evidence,
                "sources": provenance.digest_of_sources(self.sources),
            }
        )


@dataclass(frozen=True)
class ClaimsJob(CellsJob):
    """The claims of one paper: their cells, their files and one digest of them all."""

    @property
    def claims(self) -> dict[str, Claim]:
        return self.project.paper(self.slug).claims

    @property
    def outputs(self) -> list[Path]:
        folder = self.project.results / self.slug
        return [folder / "claims.json", folder / "claims.md"]

    def table(self, place: Place) -> TableJob:
        return TableJob(self.project, self.slug, place.table)

    def row(self, place: Place) -> Row:
        return next(row for row in self.table(place).table.rows if row.label == place.row)

    def column(self, place: Place) -> Metric:
        return self.table(place).table.metrics[place.column]

    def cells(self) -> Iterator[tuple[Row, str, Metric]]:
        """Yield every cell that a claim names, once."""
        ours = (claim for claim in self.claims.values() if not claim.printed)
        for place in dict.fromkeys(place for claim in ours for place in claim.places()):
            yield self.row(place), place.column, self.column(place)

    @property
    def _printed_files(self) -> list[Path]:
        """The published CSVs that claims are asked of."""
        printed = (claim for claim in self.claims.values() if claim.printed)
        files = {self.table(place).published_file for one in printed for place in one.places()}
        return sorted(file for file in files if file is not None)

    @cached_property
    def sources(self) -> list[Path]:
        return provenance.sources("reprise.claims")

    @cached_property
    def digest(self) -> str:
        """One digest of the claims, what their cells mean, and what fills them."""
        cells = [
            {
                "row": row.model_dump(mode="json", exclude={"x"}),
                "column": metric.model_dump(mode="json"),
            }
            for row, _, metric in self.cells()
        ]
        printed = [provenance.digest_of_file(file) for file in self._printed_files]
        return provenance.digest_of(
            {
                "claims": {key: one.model_dump(mode="json") for key, one in self.claims.items()},
                "cells": cells,
                **({"published": printed} if printed else {}),
                **self.evidence,
                "sources": provenance.digest_of_sources(self.sources),
            }
        )


def given(settings: Json) -> Json:
    """Return settings less what is absent (None or empty): an absent setting changes nothing.

    So a setting that is added, and absent by default, leaves the digests of old results alone.
    """
    return {
        key: given(value) if isinstance(value, dict) else value
        for key, value in settings.items()
        if value is not None and value not in ({}, [])
    }


def split_run(slug: str, name: str) -> tuple[str, str]:
    """Return (paper, run) of a run named 'run' within a paper, or 'paper/run' anywhere."""
    head, _, tail = name.rpartition("/")
    return head or slug, tail


def data_folder(project: Project, alias: str) -> Path:
    """Folder of a prepared data set; its manifest.json is written last."""
    return project.data_root / project.dataset(alias).home


def dataset_spec(dataset: Dataset) -> Json:
    """What `params/` say that a data set is; where its files lie is left out."""
    spec = dataset.model_dump(mode="json", exclude_none=True)
    return {**spec, "args": origin.what(dataset.args)}


def run_jobs(project: Project, headline_only: bool = False) -> list[RunJob]:
    """Return every run with every seed, in the order of the files."""
    return [
        RunJob(project, slug, name, seed)
        for slug, name, run, seed in project.all_runs()
        if run.headline or not headline_only
    ]


def table_jobs(project: Project, headline_only: bool = False) -> list[TableJob]:
    """Return every table of every paper, in the order of the files."""
    return [
        TableJob(project, slug, name)
        for slug, paper in project.papers.items()
        for name, table in paper.tables.items()
        if table.headline or not headline_only
    ]


def claims_jobs(project: Project) -> list[ClaimsJob]:
    """Return the claims of every paper that has any, in the order of the files."""
    return [ClaimsJob(project, slug) for slug, paper in project.papers.items() if paper.claims]


def benchmark_jobs(project: Project) -> list[BenchmarkJob]:
    """Return every benchmark of every paper, in the order of the files."""
    return [
        BenchmarkJob(project, slug, name)
        for slug, paper in project.papers.items()
        for name in paper.benchmarks
    ]
