"""From items to what is paid: hours, gigabytes and bytes, for rows, tables, papers and all.

Each row has its cost alone, and what it adds to those above it: what several rows share is counted
where it is first needed, so that the added columns sum to the totals.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from reprise.budget import measured
from reprise.budget.bills import Bill, Forecast, Line, Stored
from reprise.budget.items import Item, Items, gpus_used, merged
from reprise.budget.machines import (
    DECODED_PER_SECOND,
    PROBE_FLOPS,
    PROBE_FLOPS_ON_GPU,
    Speed,
)
from reprise.budget.work import Work
from reprise.config import Dataset, Project, Row
from reprise.errors import ConfigError, unknown
from reprise.plan import RunJob, TableJob, split_run

HOUR = 3600.0
# Of what a step keeps for its backward pass in bf16 autocast, in float32 bytes: products keep bf16,
# norms and the sum that blocks add to keep float32. Weights are there once more in bf16.
BF16_SHARE = 0.6
BF16_WEIGHTS = 0.125  # of the bytes of weights, gradients and two moments
USABLE = 0.92  # of a GPU's memory; the rest is its libraries' and gaps
CHECKPOINTS = 2  # kept of a running training


class Forecaster:
    """Turns a project's work into bills, for one machine and a number of GPUs."""

    def __init__(self, work: Work, speed: Speed, gpus: int) -> None:
        if gpus < 1:
            raise ConfigError("--gpus must be 1 or more")
        self.work, self.speed, self.gpus = work, speed, gpus

    @property
    def project(self) -> Project:
        return self.work.project

    def seconds(self, item: Item, gpus: int = 1) -> float:
        """Return the seconds of an item on some GPUs."""
        computed = (item.flops / self.speed.flops + item.seconds) / gpus
        probed = item.probe_flops / PROBE_FLOPS_ON_GPU if self.speed.on_gpu else 0.0
        return computed + probed + self.host_seconds(item, gpus)

    def core_seconds(self, item: Item) -> float:
        """Return what a core computes by itself: a processor's probes."""
        return 0.0 if self.speed.on_gpu else item.probe_flops / PROBE_FLOPS

    def host_seconds(self, item: Item, gpus: int = 1) -> float:
        """Return for how long the GPUs wait for their hosts' cores, each with blocks of its own."""
        return item.host_seconds / min(self.speed.cores * gpus, max(gpus, item.spread))

    def memory_gb(self, item: Item, gpus: int | None = None) -> float:
        """Return what a GPU holds in an item's training, its batch spread over all that it can."""
        if not item.samples:
            return item.state_bytes / 1e9
        share = max(1, item.samples // gpus_used(item, gpus or self.gpus))
        kept = BF16_SHARE * item.sample_bytes * share
        return (item.state_bytes * (1 + BF16_WEIGHTS) + kept) / 1e9

    def least_gpus(self, item: Item) -> int | None:
        """Return the fewest GPUs on which an item fits; None where it cannot be spread so far."""
        room = self.speed.memory_gb
        if room is None:
            return 1
        spreads = (n for n in range(1, item.spread + 1) if item.spread % n == 0)
        return next((n for n in spreads if self.memory_gb(item, n) <= USABLE * room), None)

    def _too_large(self, item: Item) -> str:
        smallest = self.memory_gb(item, item.spread)
        ways = "on one GPU" if item.spread == 1 else f"on {item.spread} GPUs each"
        return (
            f"{item.key}: {smallest:,.0f} GB {ways}, more than {self.speed.title} has; a smaller "
            "batch, or more `accumulate`"
        )

    def bill(self, items: Items) -> Bill:
        """Return what items cost, each once."""
        hours = {key: self.seconds(item) / HOUR for key, item in items.items()}
        planned = {key: self.seconds(item) + self.core_seconds(item) for key, item in items.items()}
        done = measured.compare(self.project, items, planned, self.speed, self.work.catalogue)
        notes = dict.fromkeys(note for item in items.values() for note in item.notes)
        fewest = {key: self.least_gpus(item) for key, item in items.items()}
        notes |= {self._too_large(items[key]): None for key, n in fewest.items() if n is None}
        numbers = [n for n in fewest.values() if n is not None]
        fits = self.speed.memory_gb is not None and len(numbers) == len(items) > 0
        return Bill(
            sum(item.flops for item in items.values()),
            sum(item.images for item in items.values()),
            sum(hours.values()),
            sum(self.seconds(one, gpus_used(one, self.gpus)) for one in items.values()) / HOUR,
            sum(self.host_seconds(item) for item in items.values()) / HOUR,
            sum(self.core_seconds(item) for item in items.values()) / HOUR,
            max((self.memory_gb(item) for item in items.values()), default=0.0),
            max(numbers) if fits else None,
            sum(item.weights_bytes for item in items.values()) / 1e9,
            len(items),
            None if done is None else done.taken / HOUR,
            None if done is None else done.planned / HOUR,
            tuple(notes),
        )

    # ---- lines ----
    def lines(self, target: str | None = None, headline_only: bool = False) -> list[Line]:
        """Return the lines of everything, a paper, a table, a row or a run."""
        seen: Items = {}
        made = []
        for line in self._found(target):
            if headline_only and not line.headline:
                continue
            fresh = {key: item for key, item in line.items.items() if key not in seen}
            seen = merged([seen, line.items])
            made.append(replace(line, alone=self.bill(line.items), added=self.bill(fresh)))
        return made

    def _found(self, target: str | None) -> Iterator[Line]:
        """Yield the lines that a target names, not yet billed."""
        if target is None:
            for slug in self.project.papers:
                yield from self._of_paper(slug)
            return
        slug, _, rest = target.partition("/")
        paper = self.project.paper(slug)
        if not rest:
            yield from self._of_paper(slug)
            return
        table, _, label = rest.partition("/")
        if table not in paper.tables:
            if rest not in paper.runs:
                raise ConfigError(
                    unknown(f"table or run of {slug}", rest, {**paper.tables, **paper.runs})
                )
            yield self._of_run(slug, rest)
            return
        rows = paper.tables[table].rows
        if label and label not in [row.label for row in rows]:
            known = [row.label for row in rows]
            raise ConfigError(unknown(f"row of {slug}/{table}", label, known))
        for row in rows:
            if not label or row.label == label:
                yield self._of_row(TableJob(self.project, slug, table), row)

    def _of_paper(self, slug: str) -> Iterator[Line]:
        for name, table in self.project.paper(slug).tables.items():
            for row in table.rows:
                yield self._of_row(TableJob(self.project, slug, name), row)

    def _of_row(self, job: TableJob, row: Row) -> Line:
        names = dict.fromkeys(
            "/".join(split_run(job.slug, row.runs.get(column, row.run)))
            for column, metric in job.table.metrics.items()
            if row.run is not None and not metric.printed
        )
        items = self.work.of_row(job, row)
        runs = tuple(names)
        states = [self._state(name) for name in runs]
        # A column of a sweep run makes no sweep of a row; it is counted with it.
        headline = not runs or any(self._run_is_headline(name) for name in runs)
        return Line(
            job.slug,
            job.name,
            row.label,
            ", ".join(dict.fromkeys(states)) or "printed",
            runs,
            headline,
            Bill(),
            Bill(),
            items,
        )

    def _of_run(self, slug: str, name: str) -> Line:
        run = self.project.run(slug, name)
        jobs = [
            RunJob(self.project, slug, name, seed)
            for seed in (self.project.seeds(run) if run.is_built else ())
        ]
        items = merged(self.work.of_run(job) for job in jobs)
        key = f"{slug}/{name}"
        return Line(slug, "", name, self._state(key), (key,), run.headline, Bill(), Bill(), items)

    def _run_is_headline(self, key: str) -> bool:
        slug, _, name = key.partition("/")
        return self.project.run(slug, name).headline

    def _state(self, key: str) -> str:
        slug, _, name = key.partition("/")
        run = self.project.run(slug, name)
        if run.kind == "official":
            return "official" if run.is_built else "official, no weights named"
        if run.kind == "cost":
            return "cost only"
        if run.objective.get("weights") is not None and not run.steps:
            return "official"
        return "train" if run.steps else "untrained"

    # ---- all together ----
    def forecast(self, target: str | None = None, headline_only: bool = False) -> Forecast:
        """Return the whole plan of a target."""
        lines = self.lines(target, headline_only)
        tables: dict[str, list[Items]] = {}
        papers: dict[str, list[Items]] = {}
        for line in lines:
            tables.setdefault(f"{line.paper}/{line.table or line.label}", []).append(line.items)
            papers.setdefault(line.paper, []).append(line.items)
        everything = merged(line.items for line in lines)
        weights = [4.0 / 16 * item.state_bytes for item in everything.values() if item.samples]
        return Forecast(
            self.project.scale.scale,
            self.speed,
            self.gpus,
            tuple(lines),
            {name: self.bill(merged(parts)) for name, parts in tables.items()},
            {name: self.bill(merged(parts)) for name, parts in papers.items()},
            self.bill(everything),
            tuple(self._stored(everything.values())),
            # Weights and both moments, without gradients.
            max((3 * CHECKPOINTS * one / 1e9 for one in weights), default=0.0),
            sum(item.weights_bytes for item in everything.values() if self._is_released(item))
            / 1e9,
        )

    def _is_released(self, item: Item) -> bool:
        return item.kind == "training" and self._state(item.run) == "official"

    def _stored(self, items: Iterable[Item]) -> Iterator[Stored]:
        """Yield the data sets that items read, each folder once."""
        aliases: dict[str, str] = {}
        for item in items:
            for alias in self._aliases(item):
                dataset = self.project.dataset(alias)
                aliases.setdefault(dataset.home, alias)
        for alias in aliases.values():
            yield self._store(self.project.dataset(alias), alias)

    def _aliases(self, item: Item) -> list[str]:
        slug, _, name = item.run.partition("/")
        if item.kind == "training":
            return [self.project.run(slug, name).data]
        evaluators = self.project.paper(slug).evaluators
        if item.kind == "evaluation" and item.what in evaluators:
            return [evaluators[item.what].data]
        return []

    def _store(self, dataset: Dataset, alias: str) -> Stored:
        data = self.work.data(alias)
        total = sum(data.counts.values()) if data.counts else None
        known = self.work.catalogue.data(dataset)
        decoded = data.source == "catalogue" and data.prepared_bytes
        return Stored(
            alias,
            dataset.home,
            known.title if known is not None else dataset.home,
            total,
            data.download_gb,
            None if data.prepared_bytes is None else data.prepared_bytes / 1e9,
            total / DECODED_PER_SECOND / HOUR if decoded and total else None,
            data.source,
        )
