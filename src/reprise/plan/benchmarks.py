"""One benchmark: its files, and the digest of what is measured."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from reprise import provenance, registry
from reprise.config import Benchmark, Project
from reprise.plan.runs import NOT_SCIENCE, given


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

    @property
    def is_timed(self) -> bool:
        """Whether it wants the machine to itself; else it only counts."""
        return self.benchmark.seconds > 0

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
                    name: given(run.model_dump(mode="json", exclude=NOT_SCIENCE | {"steps"}))
                    for name, run in runs.items()
                },
                "sources": provenance.digest_of_sources(self.sources),
            }
        )
