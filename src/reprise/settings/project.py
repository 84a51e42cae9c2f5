"""Models of the parameter files: runs, tables, papers, scales; `reprise.config` reads them.

Nothing here changes a number by itself: what a run or an evaluation depends on is in its digest as
resolved values.
"""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PrivateAttr, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from reprise.errors import unknown
from reprise.settings.base import Augment, Model, Optim, Strict
from reprise.settings.claims import Claim
from reprise.settings.evaluators import Evaluator

Json = dict[str, Any]


def each_once(seeds: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """Raise pydantic's error where a seed stands twice: it would be one run, counted as two."""
    for seed in seeds or ():
        if (seeds or ()).count(seed) > 1:
            raise PydanticCustomError(
                "seeds", "seed {seed} is given twice; give each seed once", {"seed": seed}
            )
    return seeds


class Dataset(Strict):
    """A data set under an alias: which reader, and what it is told."""

    name: str = Field(description="module in reprise.data.sets")
    args: dict[str, Any] = Field(default_factory=dict)
    folder: str | None = Field(
        None, pattern=r"^\w[\w.-]*$", description="below data_root; default: the module's name"
    )
    printed_as: tuple[str, ...] | None = Field(
        None,
        description="what published CSVs (column dataset) call this very data set; numbers on it "
        "are compared with no others that were printed",
    )

    @property
    def home(self) -> str:
        """Name of its folder below data_root."""
        return self.folder or self.name


class Run(Strict):
    """One training; ``steps: 0`` leaves the initial weights."""

    kind: Literal["train", "official", "cost"] = Field(
        "train",
        description="official: released weights, taken as they are (objective.weights); "
        "cost: never trained, its steps are only measured in a benchmark",
    )
    about: str = ""
    method: str
    data: str = Field(description="data set alias of the scale")
    split: str = Field("train", description="split of the data that it trains on")
    model: Model
    objective: dict[str, Any] = Field(default_factory=dict, description="settings of the method")
    augment: Augment | None = Field(description="null: samples as the method makes them")
    whole_photographs: bool | None = Field(
        None,
        description="cut random crops from photographs as they are in their files, not from "
        "squares; wants data with keep: files",
    )
    optim: Optim
    steps: int = Field(ge=0)
    batch_size: int = Field(gt=0, description="samples per optimiser step, over all processes")
    accumulate: int = Field(1, gt=0, description="forward passes per optimiser step")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="auto: bf16 where the processor computes in it, else fp32"
    )
    compile: bool = False
    init_from: str | None = Field(None, description="run whose weights it starts from, paper/run")
    uses: dict[str, str] = Field(
        default_factory=dict, description="role -> run whose finished model it uses, paper/run"
    )
    threads: int | None = Field(None, gt=0, description="instead of the scale's threads")
    log_every: int = Field(10, gt=0)
    workers: int = Field(0, ge=0, description="loader processes; does not change the result")
    evaluate: tuple[str, ...] = ()
    headline: bool = True
    seeds: tuple[int, ...] | None = Field(None, description="instead of the scale's seeds")
    _places: dict[str, str] = PrivateAttr(default_factory=dict)

    _each_once = field_validator("seeds")(each_once)

    def placed(self, **places: str) -> Self:
        """Return the same run that knows in which file, under which key, parts of its model stand.

        That is for messages alone, and in no digest.
        """
        made = self.model_copy()
        made._places = places
        return made

    def place(self, part: str) -> str:
        """Return 'file: key.path' of ``name`` or ``args`` of its model, as far as it is known."""
        return self._places.get(part, f"model.{part}")

    @model_validator(mode="after")
    def _released_weights_are_not_trained(self) -> Self:
        if self.kind == "official" and self.steps:
            raise PydanticCustomError("official", "kind: official goes with steps: 0")
        return self

    @property
    def is_built(self) -> bool:
        """Whether this scale makes its model: released weights only where it names some."""
        return self.kind == "train" or (
            self.kind == "official" and bool(self.objective.get("weights"))
        )


class Benchmark(Strict):
    """What several runs cost, measured in turns in one process that has the machine to itself."""

    kind: Literal["step", "forward"] = Field(
        "step",
        description="step: a training step, from augmentation to update; "
        "forward: inference of the model alone",
    )
    about: str = ""
    runs: tuple[str, ...] = Field(min_length=1, description="the first is what others relate to")
    seconds: float = Field(
        ge=0, description="measuring time for each run; 0, of kind forward: only what is counted"
    )
    threads: int | None = Field(None, gt=0, description="instead of the scale's threads")
    precision: Literal["auto", "fp32", "bf16"] | None = Field(
        None, description="instead of the runs' precision"
    )
    # Of kind forward alone:
    batch_size: int | None = Field(None, gt=0, description="instead of each run's batch size")
    backward: bool = Field(False, description="measure forward and backward together, too")
    classes: int = Field(1000, gt=0, description="of the classifiers' heads")
    alive_gb: float = Field(
        4.0, gt=0, description="weights in memory at once; more runs are measured in groups"
    )

    @model_validator(mode="after")
    def _of_its_kind(self) -> Self:
        if self.kind == "step":
            for name in ("batch_size", "backward", "classes", "alive_gb"):
                if name in self.model_fields_set:
                    raise PydanticCustomError(
                        "kind", "{name} goes with kind: forward", {"name": name}
                    )
            if not self.seconds:
                raise PydanticCustomError("seconds", "seconds: 0 goes with kind: forward")
        return self

    @property
    def metrics(self) -> tuple[str, ...]:
        """What kind forward yields for each run, by these settings."""
        names = ["params_m", "gmacs"]
        if self.seconds:
            names += ["test_memory_mb", *_of_speed(""), "fraction_of_peak"]
        if self.seconds and self.backward:
            names += ["train_memory_mb", *_of_speed("train_")]
        return tuple(names)


def _of_speed(kind: str) -> tuple[str, str]:
    return f"{kind}images_per_second", f"relative_{kind}images_per_second"


class Metric(Strict):
    """A column of a table: one metric of an evaluator or a benchmark, a number of meta.json, a
    setting of the row's run as it stands in the parameters, or what only the paper has.
    """

    label: str
    evaluator: str | None = None
    benchmark: str | None = None
    meta: str | None = Field(None, description="key of meta.json, such as wall_seconds")
    setting: str | None = Field(
        None, description="path in the run's resolved settings, such as optim.name"
    )
    printed: bool = Field(False, description="true: a column of printed numbers alone")
    metric: str | None = Field(None, description="which number of the evaluator or benchmark")
    unit: str = "%"
    times: float = Field(
        1.0, gt=0, description="a benchmark's number is multiplied by it, to have the printed unit"
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [
            name
            for name in ("evaluator", "benchmark", "meta", "setting", "printed")
            if getattr(self, name)
        ]
        if len(given) != 1:
            raise PydanticCustomError(
                "source",
                "give exactly one of evaluator, benchmark, meta, setting, printed: where the value "
                "is from",
            )
        if (self.metric is None) != (given[0] in ("meta", "setting", "printed")):
            raise PydanticCustomError(
                "metric", "metric goes with evaluator or benchmark, and with nothing else"
            )
        if self.times != 1 and self.benchmark is None:
            raise PydanticCustomError("times", "times goes with benchmark, and with nothing else")
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
    x: float | None = Field(
        None, allow_inf_nan=False, description="where it stands on the x axis of the table's plot"
    )
    deviations: tuple[str, ...] = ()


class MeasuredMark(Strict):
    """A mark at a number of ours, from a cell of a table of the same paper."""

    table: str
    row: str
    column: str
    power: float = Field(1.0, description="the mark is at the number to this power")


class Plot(Strict):
    """A table drawn as a figure: columns over a number that each row stands for.

    A row without such a number is drawn as a level across the figure.
    """

    x: str = Field(min_length=1, description="label of the x axis")
    log: bool = Field(False, description="logarithmic x axis; 0 has a place on it all the same")
    y: tuple[str, ...] = Field(min_length=1, description="columns, each in axes of its own")
    mark: dict[str, Annotated[float, Field(allow_inf_nan=False)]] = Field(
        default_factory=dict, description="label -> x of a dashed vertical line"
    )
    measured: dict[str, MeasuredMark] = Field(
        default_factory=dict, description="label -> cell of ours that is marked, once it is built"
    )


class Table(Strict):
    """A printed table or figure, rebuilt."""

    title: str
    printed: str = Field(description="label in the paper, e.g. 'Table 3'")
    about: str = ""
    published: str | None = Field(None, description="CSV in params/published/<slug>/")
    metrics: dict[str, Metric]
    rows: tuple[Row, ...]
    plot: Plot | None = Field(None, description="draw it as a figure, too")
    baseline: str | None = Field(None, description="row label that paired gains refer to")
    detectable: bool = Field(
        False, description="show beside each gain the smallest effect that it could detect"
    )
    deviations: tuple[str, ...] = ()
    headline: bool = True

    @field_validator("plot")
    @classmethod
    def _can_be_drawn(cls, plot: Plot | None, info: ValidationInfo) -> Plot | None:
        rows, metrics = info.data.get("rows"), info.data.get("metrics")
        if plot is not None and rows is not None and metrics is not None:
            wrong = _wrong_in_plot(plot, metrics, [row.x for row in rows if row.x is not None])
            if wrong:
                raise PydanticCustomError("plot", "{text}", {"text": wrong})
        return plot


def _wrong_in_plot(plot: Plot, columns: Iterable[str], places: Sequence[float]) -> str:
    """Return why a plot of a table with rows at these places cannot be drawn, or nothing."""
    for key in plot.y:
        if key not in columns:
            return f"y: {unknown('column', key, columns)}"
    if len(places) < 2:
        return f"needs at least two rows with an x, and {len(places) or 'none'} has one"
    if plot.log and min(*places, *plot.mark.values()) < 0:
        return "log: every x and mark must be 0 or more"
    if plot.log and max(places) == 0:
        return "log: at least one x must be above 0"
    return ""


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
    as_printed: bool = Field(
        False,
        description="true: models and their training are the papers' own, scaled down nowhere",
    )
    seeds: tuple[int, ...] = Field(min_length=1)
    reference_seeds: tuple[int, ...] = Field(
        (), description="seeds of headline runs in results/reference/; sweeps keep the first"
    )
    threads: int = Field(gt=0, description="torch threads of a job, part of a run's digest")
    datasets: dict[str, Dataset]
    papers: dict[str, Any] = Field(default_factory=dict)

    _each_once = field_validator("seeds", "reference_seeds")(each_once)


class Config(Strict):
    """`params/config.yaml`: what to build, and where data and state lie."""

    scale: str
    papers: tuple[str, ...]
    data_root: str = "data"
    state_root: str = ".reprise/state"
    results_root: str = "results"
    device: Literal["auto", "cpu", "cuda"] = "auto"
