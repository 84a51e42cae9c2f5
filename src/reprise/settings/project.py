"""Models of the parameter files: runs, tables, papers, scales; `reprise.config` reads them.

Nothing here changes a number by itself: what a run or an evaluation depends on is in its digest as
resolved values.
"""

from typing import Any, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from reprise.settings.base import Augment, Model, Optim, Strict
from reprise.settings.claims import Claim
from reprise.settings.evaluators import Evaluator

Json = dict[str, Any]


class Dataset(Strict):
    """A data set under an alias: which reader, and what it is told."""

    name: str = Field(description="module in reprise.data.sets")
    args: dict[str, Any] = Field(default_factory=dict)
    folder: str | None = Field(
        None, pattern=r"^\w[\w.-]*$", description="below data_root; default: the module's name"
    )

    @property
    def home(self) -> str:
        """Name of its folder below data_root."""
        return self.folder or self.name


class Run(Strict):
    """One training; ``steps: 0`` leaves the initial weights."""

    kind: Literal["train", "cost"] = Field(
        "train", description="cost: never trained, its steps are only measured in a benchmark"
    )
    about: str = ""
    method: str
    data: str = Field(description="data set alias of the scale")
    model: Model
    objective: dict[str, Any] = Field(default_factory=dict, description="settings of the method")
    augment: Augment
    optim: Optim
    steps: int = Field(ge=0)
    batch_size: int = Field(gt=0, description="images per optimiser step, over all processes")
    accumulate: int = Field(1, gt=0, description="forward passes per optimiser step")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="auto: bf16 where the processor computes in it, else fp32"
    )
    compile: bool = False
    init_from: str | None = Field(None, description="run whose weights it starts from, paper/run")
    log_every: int = Field(10, gt=0)
    workers: int = Field(0, ge=0, description="loader processes; does not change the result")
    evaluate: tuple[str, ...] = ()
    headline: bool = True
    seeds: tuple[int, ...] | None = Field(None, description="instead of the scale's seeds")


class Benchmark(Strict):
    """What training steps of several runs cost, measured in turns in one process."""

    about: str = ""
    runs: tuple[str, ...] = Field(min_length=1, description="the first is what others relate to")
    seconds: float = Field(gt=0, description="measuring time for each run")


class Metric(Strict):
    """A column of a table: one metric of an evaluator or a benchmark, or a number of meta.json."""

    label: str
    evaluator: str | None = None
    benchmark: str | None = None
    meta: str | None = Field(None, description="key of meta.json, such as wall_seconds")
    metric: str | None = Field(None, description="which number of the evaluator or benchmark")
    unit: str = "%"

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [name for name in ("evaluator", "benchmark", "meta") if getattr(self, name)]
        if len(given) != 1:
            raise PydanticCustomError(
                "source", "give exactly one of evaluator, benchmark, meta: where the number is from"
            )
        if (self.metric is None) != (self.meta is not None):
            raise PydanticCustomError(
                "metric", "metric goes with evaluator or benchmark, and not with meta"
            )
        return self


class Row(Strict):
    """A row of a table: one of our runs, a printed row, or both side by side."""

    label: str
    run: str | None = Field(None, description="a run of this paper, or paper/run")
    published: str | None = Field(None, description="row name in the published CSV")
    evaluators: dict[str, str] = Field(
        default_factory=dict, description="column -> evaluator, where it is not the column's own"
    )
    runs: dict[str, str] = Field(
        default_factory=dict, description="column -> run, where it is not the row's own"
    )
    deviations: tuple[str, ...] = ()


class Table(Strict):
    """A printed table or figure, rebuilt."""

    title: str
    printed: str = Field(description="label in the paper, e.g. 'Table 3'")
    about: str = ""
    published: str | None = Field(None, description="CSV in params/published/<slug>/")
    metrics: dict[str, Metric]
    rows: tuple[Row, ...]
    baseline: str | None = Field(None, description="row label that paired gains refer to")
    deviations: tuple[str, ...] = ()
    headline: bool = True


class Paper(Strict):
    """Everything that one paper's file holds, with the scale laid over it."""

    slug: str
    title: str
    arxiv: str
    idea: str
    runs: dict[str, Run]
    evaluators: dict[str, Evaluator]
    benchmarks: dict[str, Benchmark] = Field(default_factory=dict)
    tables: dict[str, Table]
    claims: dict[str, Claim] = Field(default_factory=dict)


class Scale(Strict):
    """What is fixed for a whole scale: data, seeds, threads; `papers` overlays the paper files."""

    scale: str
    about: str
    result: bool = Field(True, description="false: plumbing only, never shown as a result")
    seeds: tuple[int, ...] = Field(min_length=1)
    reference_seeds: tuple[int, ...] = Field(
        (), description="seeds of headline runs in results/reference/; sweeps keep the first"
    )
    threads: int = Field(gt=0, description="torch threads of a job, part of a run's digest")
    datasets: dict[str, Dataset]
    papers: dict[str, Any] = Field(default_factory=dict)


class Config(Strict):
    """`params/config.yaml`: what to build, and where data and state lie."""

    scale: str
    papers: tuple[str, ...]
    data_root: str = "data"
    state_root: str = ".reprise/state"
    results_root: str = "results"
    device: Literal["auto", "cpu", "cuda"] = "auto"
