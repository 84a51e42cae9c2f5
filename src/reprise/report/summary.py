"""The opening: what was run, what it cost, and how many claims fell each way.

Claims are counted, per paper and in all; a paper as a whole gets no verdict.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from reprise import claims, results
from reprise.config import Json
from reprise.plan import BenchmarkJob, benchmark_jobs, run_jobs
from reprise.report.gather import Gathered
from reprise.report.runs import FinishedRun

# What may come of a claim, from the best for it to what was not asked; the words are the page's.
OUTCOMES = {
    "supported": "supported",
    "same way": "this run only: same way",
    "within noise": "this run only: within noise",
    "inconclusive": "inconclusive",
    "other way": "this run only: other way",
    "contradicted": "contradicted",
    "holds in print": "holds in print",
    "fails in print": "fails in print",
    "not run": "not run",
    "not tested": "not tested",
}


@dataclass(frozen=True)
class Cost:
    """Seconds of jobs, one after another, and the same times the cores that each kept busy."""

    training: float = 0.0
    evaluation: float = 0.0
    measuring: float = 0.0
    core_seconds: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.training + other.training,
            self.evaluation + other.evaluation,
            self.measuring + other.measuring,
            self.core_seconds + other.core_seconds,
        )

    @property
    def seconds(self) -> float:
        return self.training + self.evaluation + self.measuring


@dataclass(frozen=True)
class Count:
    """How many claims of a ledger had one outcome."""

    outcome: str
    label: str
    number: int

    @property
    def key(self) -> str:
        """The outcome as a name for classes and links."""
        return key(self.outcome)


@dataclass(frozen=True)
class Summary:
    """What there is of one paper, or of all."""

    runs: int
    trained: int
    evaluations: int
    benchmarks: int
    tables: int
    of_tables: int
    missing: int
    cost: Cost
    here: list[Count]
    known: list[Count]
    known_seeds: int

    @property
    def claims(self) -> int:
        return sum(count.number for count in self.here)


def outcome(claim: Json) -> str:
    """Return what came of a claim, as a key of `OUTCOMES`."""
    if claim["verdict"] != claims.THIS_RUN:
        return str(claim["verdict"])
    return str(claim["direction"]).partition(",")[0]  # "noise not measured" may follow


def key(name: str) -> str:
    """Return a name as a class or part of a link."""
    return name.replace(" ", "-")


def counts(ledger: Iterable[Json]) -> list[Count]:
    """Return the outcomes of claims with their numbers, in the order of `OUTCOMES`, none of 0."""
    found: dict[str, int] = {}
    for claim in ledger:
        found[outcome(claim)] = found.get(outcome(claim), 0) + 1
    named = {**OUTCOMES, **{name: name for name in found if name not in OUTCOMES}}
    return [Count(name, label, found[name]) for name, label in named.items() if name in found]


def of_paper(shown: Gathered, slug: str) -> Summary:
    """Return the summary of one paper."""
    project, runs = shown.project, shown.runs[slug]
    measured = [job for job in benchmark_jobs(project) if job.slug == slug and _is_current(job)]
    headline = sum(job.slug == slug for job in run_jobs(project, headline_only=True))
    known = shown.known_claims.get(slug, {}).values()
    return Summary(
        runs=len(runs),
        trained=sum(run.meta["steps"] > 0 for run in runs),
        evaluations=sum(len(run.evaluations) for run in runs),
        benchmarks=len(measured),
        tables=sum(paper == slug for paper, _ in shown.tables),
        of_tables=len(project.paper(slug).tables),
        missing=headline - sum(run.job.run.headline for run in runs),
        cost=sum([*map(_of_run, runs), *map(_of_benchmark, measured)], Cost()),
        here=counts(shown.ledgers[slug]["claims"] if slug in shown.ledgers else ()),
        known=counts(known),
        known_seeds=max((len(one["seeds"]) for one in known), default=0),
    )


def of_papers(shown: Gathered) -> dict[str, Summary]:
    """Return every paper's summary."""
    return {slug: of_paper(shown, slug) for slug in shown.runs}


def of_all(papers: Mapping[str, Summary]) -> Summary:
    """Return the sum of all papers' summaries."""
    each = list(papers.values())
    return Summary(
        runs=sum(one.runs for one in each),
        trained=sum(one.trained for one in each),
        evaluations=sum(one.evaluations for one in each),
        benchmarks=sum(one.benchmarks for one in each),
        tables=sum(one.tables for one in each),
        of_tables=sum(one.of_tables for one in each),
        missing=sum(one.missing for one in each),
        cost=sum((one.cost for one in each), Cost()),
        here=_together(one.here for one in each),
        known=_together(one.known for one in each),
        known_seeds=max((one.known_seeds for one in each), default=0),
    )


def _together(each: Iterable[Sequence[Count]]) -> list[Count]:
    total: dict[str, Count] = {}
    for one in (count for counted in each for count in counted):
        before = total[one.outcome].number if one.outcome in total else 0
        total[one.outcome] = Count(one.outcome, one.label, before + one.number)
    return [total[name] for name in (*OUTCOMES, *(total.keys() - OUTCOMES)) if name in total]


def _is_current(job: BenchmarkJob) -> bool:
    built = all(path.is_file() for path in job.outputs)
    return built and results.read_benchmark(job)["digest"] == job.digest


def _of_run(run: FinishedRun) -> Cost:
    return Cost(run.training_seconds, run.evaluation_seconds, 0.0, run.core_seconds)


def _of_benchmark(job: BenchmarkJob) -> Cost:
    """Its measuring time as it is set for each run; starting and warming up are not known."""
    seconds = job.benchmark.seconds * len(job.benchmark.runs)
    return Cost(0.0, 0.0, seconds, seconds * job.threads)
