"""One run with one seed: its files, and the digests of what makes its weights and evaluations."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from reprise import provenance, registry
from reprise.config import Dataset, Json, Project, Run
from reprise.data import origin
from reprise.errors import ConfigError

# Fields of a run that change what is shown or how fast it comes, never the weights.
NOT_SCIENCE = {"about", "headline", "evaluate", "seeds", "workers"}


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
            "config": given(self.run.model_dump(mode="json", exclude=NOT_SCIENCE)),
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
    """What `params/` say that a data set is, less where its files lie and what print calls it."""
    spec = dataset.model_dump(mode="json", exclude_none=True, exclude={"printed_as"})
    return {**spec, "args": origin.what(dataset.args)}
