"""What there is to build, where each file lies, and the digest that says what it is made from.

Nothing here imports torch: the workflow, `status` and `pull` ask these questions often.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from reprise import provenance, registry
from reprise.config import Json, Project, Run, Table

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
        if self.run.init_from is None:
            return None
        slug, name = split_run(self.slug, self.run.init_from)
        seeds = self.project.seeds(self.project.run(slug, name))
        return RunJob(self.project, slug, name, self.seed if self.seed in seeds else seeds[0])

    @cached_property
    def spec(self) -> Json:
        """Everything in `params/` that this run's weights depend on, resolved."""
        init = self.init_job
        dataset = self.project.dataset(self.run.data)
        return {
            "scale": self.project.scale.scale,
            "paper": self.slug,
            "run": self.name,
            "seed": self.seed,
            "threads": self.project.scale.threads,
            "config": self.run.model_dump(mode="json", exclude=_NOT_SCIENCE),
            "dataset": dataset.model_dump(mode="json"),
            "init_from": None if init is None else init.digest,
        }

    @cached_property
    def sources(self) -> list[Path]:
        """The source files whose code makes the weights."""
        dataset = self.project.dataset(self.run.data)
        return provenance.sources(
            "reprise.training.run",
            registry.module_path("method", self.run.method),
            f"reprise.settings.{self.run.method}",
            registry.module_path("data set", dataset.name),
        )

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
            "evaluator": settings.model_dump(mode="json"),
            "dataset": dataset.model_dump(mode="json"),
        }

    def eval_sources(self, evaluator: str) -> list[Path]:
        """The source files whose code makes one evaluation."""
        settings = self.project.paper(self.slug).evaluators[evaluator]
        dataset = self.project.dataset(settings.data)
        return provenance.sources(
            "reprise.evaluators._runner",
            registry.module_path("evaluator", settings.kind),
            registry.module_path("method", self.run.method),
            registry.module_path("data set", dataset.name),
        )

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
        """Prepared data that training reads."""
        return [data_folder(self.project, self.run.data)]

    @property
    def eval_data_folders(self) -> list[Path]:
        """Prepared data that the evaluators read."""
        evaluators = self.project.paper(self.slug).evaluators
        aliases = {evaluators[name].data for name in self.run.evaluate}
        return [data_folder(self.project, alias) for alias in sorted(aliases)]


@dataclass(frozen=True)
class TableJob:
    """One table of one paper: its files, the evaluations it reads, and its digest."""

    project: Project
    slug: str
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

    @cached_property
    def run_jobs(self) -> list[RunJob]:
        """Every run and seed that a row of the table shows."""
        jobs: dict[tuple[str, str, int], RunJob] = {}
        for row in self.table.rows:
            if row.run is None:
                continue
            slug, name = split_run(self.slug, row.run)
            for seed in self.project.seeds(self.project.run(slug, name)):
                jobs[slug, name, seed] = RunJob(self.project, slug, name, seed)
        return list(jobs.values())

    def evaluations(self) -> Iterator[tuple[RunJob, str]]:
        """Yield (run job, evaluator) of every evaluation that fills a cell."""
        columns = {metric.evaluator for metric in self.table.metrics.values()}
        own = {name for row in self.table.rows for name in row.evaluators.values()}
        for job in self.run_jobs:
            for evaluator in job.run.evaluate:
                if evaluator in columns | own:
                    yield job, evaluator

    @property
    def inputs(self) -> list[Path]:
        """The evaluation and run files that the table reads (headline runs only)."""
        files = dict.fromkeys(
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

    @cached_property
    def sources(self) -> list[Path]:
        return provenance.sources("reprise.tables")

    @cached_property
    def digest(self) -> str:
        """One digest of the table's definition, the published numbers and its evaluations."""
        published = self.published_file
        return provenance.digest_of(
            {
                "table": self.table.model_dump(mode="json"),
                "published": None if published is None else provenance.digest_of_file(published),
                "evaluations": {
                    f"{job.key} {evaluator}": job.eval_digest(evaluator)
                    for job, evaluator in self.evaluations()
                },
                "sources": provenance.digest_of_sources(self.sources),
            }
        )


def split_run(slug: str, name: str) -> tuple[str, str]:
    """Return (paper, run) of a run named 'run' within a paper, or 'paper/run' anywhere."""
    head, _, tail = name.rpartition("/")
    return head or slug, tail


def data_folder(project: Project, alias: str) -> Path:
    """Folder of a prepared data set; its manifest.json is written last."""
    return project.data_root / project.dataset(alias).name


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
