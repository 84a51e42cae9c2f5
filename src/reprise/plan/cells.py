"""What is made from cells of tables: tables themselves, and claims."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from reprise import provenance
from reprise.config import Json, Metric, Project, Row, Table
from reprise.plan.benchmarks import BenchmarkJob
from reprise.plan.runs import RunJob, split_run
from reprise.plan.sizes import resized
from reprise.settings.claims import Claim, Place

SWEEP_ROW = "sweep row, build with `snakemake --cores all sweeps`"  # why a cell has no number
_SAID_OF_SCALE = {"scale", "about", "result", "as_printed"}


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
    def circumstances(self) -> Json:
        """What a table or claim says beside its numbers: the scale, what print is set beside."""
        scale = self.project.scale
        shown = {name for slug, name in self._wanted if slug == self.slug}
        return {
            "scale": scale.model_dump(mode="json", include=_SAID_OF_SCALE),
            "resized": sorted(shown & resized(self.project, self.slug)),
            "printed_as": {
                alias: list(one.printed_as)
                for alias, one in scale.datasets.items()
                if one.printed_as
            },
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
                **self.circumstances,
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
        """The published CSVs that claims are asked of, or set beside."""
        places = (place for claim in self.claims.values() for place in claim.places())
        files = {self.table(place).published_file for place in places}
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
                **self.circumstances,
                "sources": provenance.digest_of_sources(self.sources),
            }
        )
