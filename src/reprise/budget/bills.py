"""What a plan says: bills, lines of tables, data that is kept, and all of it together."""

from dataclasses import dataclass, field

from reprise.budget.items import Items
from reprise.budget.machines import Speed
from reprise.config import Json


@dataclass(frozen=True)
class Bill:
    """What some items cost; hours are of a GPU, or of a job on this machine, all of them busy."""

    flops: float = 0.0
    images: float = 0.0
    hours: float = 0.0
    wall_hours: float = 0.0  # one item after the other, each on as many GPUs as it can use
    host_hours: float = 0.0  # of the hours, what a GPU waits for cores: Pillow's augmentation
    cpu_hours: float = 0.0
    memory_gb: float = 0.0  # of a GPU, of the largest item
    least_gpus: int | None = None  # on which every item fits; None: not known, or on none
    weights_gb: float = 0.0
    items: int = 0
    measured_hours: float | None = None  # of what is finished
    predicted_hours: float | None = None  # of the same, core's time included
    notes: tuple[str, ...] = ()

    @property
    def ratio(self) -> float | None:
        """Predicted over measured, of what is finished."""
        if not self.measured_hours or self.predicted_hours is None:
            return None
        return self.predicted_hours / self.measured_hours

    def record(self) -> Json:
        """Return it as JSON."""
        return {
            "flops": self.flops,
            "images": self.images,
            "hours": self.hours,
            "wall_hours": self.wall_hours,
            "host_hours": self.host_hours,
            "cpu_hours": self.cpu_hours,
            "memory_gb": self.memory_gb,
            "least_gpus": self.least_gpus,
            "weights_gb": self.weights_gb,
            "measured_hours": self.measured_hours,
            "predicted_of_measured_hours": self.predicted_hours,
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Line:
    """A row of a table or a run: what it costs alone, and what it adds to the lines above it."""

    paper: str
    table: str
    label: str
    state: str  # train, official, untrained, cost, printed, ...
    runs: tuple[str, ...]
    headline: bool
    alone: Bill
    added: Bill
    items: Items = field(default_factory=dict, repr=False)

    def record(self) -> Json:
        """Return it as JSON."""
        return {
            "paper": self.paper,
            "table": self.table,
            "row": self.label,
            "state": self.state,
            "runs": list(self.runs),
            "headline": self.headline,
            "alone": self.alone.record(),
            "added": self.added.record(),
        }


@dataclass(frozen=True)
class Stored:
    """A data set that some lines read: what is fetched and what is kept."""

    alias: str
    folder: str
    title: str
    images: int | None
    download_gb: float | None
    disk_gb: float | None
    decode_cpu_hours: float | None
    source: str

    def record(self) -> Json:
        """Return it as JSON."""
        return dict(vars(self))


@dataclass(frozen=True)
class Forecast:
    """A whole plan."""

    scale: str
    speed: Speed
    gpus: int
    lines: tuple[Line, ...]
    tables: dict[str, Bill]  # paper/table -> each item once
    papers: dict[str, Bill]
    total: Bill
    data: tuple[Stored, ...]
    checkpoint_gb: float
    released_gb: float

    @property
    def download_gb(self) -> float:
        """What is fetched: data under several folders once, and released weights."""
        once: dict[str, float] = {}
        for one in self.data:
            once[one.title] = max(once.get(one.title, 0.0), one.download_gb or 0.0)
        return sum(once.values()) + self.released_gb

    @property
    def disk_gb(self) -> float:
        """What is kept at the end: prepared data and finished weights, without the downloads."""
        return sum(one.disk_gb or 0.0 for one in self.data) + self.total.weights_gb
