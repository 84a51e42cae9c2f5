"""What there is to show, read once for the page, `report.md` and the terminal."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from reprise import claims, reference, tables
from reprise.config import Json, Project
from reprise.plan import ClaimsJob, TableJob, claims_jobs, table_jobs
from reprise.report.runs import FinishedRun, finished_runs

Known = Mapping[tuple[str, str], Json]  # (row label, column) -> a cell of the reference


@dataclass(frozen=True)
class Gathered:
    """The finished and current results of a project; all is read when it is first asked for.

    Every part raises ResultError naming the file where one is damaged.
    """

    project: Project
    _cells: dict[tuple[str, str], Known] = field(default_factory=dict)

    @cached_property
    def runs(self) -> Mapping[str, list[FinishedRun]]:
        """Every paper's finished runs, in the order of the files."""
        return finished_runs(self.project)

    @cached_property
    def tables(self) -> Mapping[tuple[str, str], Json]:
        """(paper, table) -> the table, of those that are built and current."""
        built = ((job, current_table(job)) for job in table_jobs(self.project))
        return {(job.slug, job.name): table for job, table in built if table is not None}

    @cached_property
    def ledgers(self) -> Mapping[str, Json]:
        """Paper -> its claims, of those that were examined with the present results."""
        made = ((job.slug, current_ledger(job)) for job in claims_jobs(self.project))
        return {slug: ledger for slug, ledger in made if ledger is not None}

    @cached_property
    def known_claims(self) -> Mapping[str, Mapping[str, Json]]:
        """Paper -> the reference's claims by id, empty where there is none."""
        return {job.slug: reference.known_claims(job) for job in claims_jobs(self.project)}

    def known_cells(self, job: TableJob) -> Known:
        """Return the reference's cells of a table."""
        key = (job.slug, job.name)
        if key not in self._cells:
            self._cells[key] = reference.cells(job)
        return self._cells[key]


def current_table(job: TableJob) -> Json | None:
    """Return a built table; None where there is none, or one of other settings or results."""
    path = job.outputs[2]
    if not path.is_file():
        return None
    table = tables.load(path)
    return table if table["digest"] == job.digest else None


def current_ledger(job: ClaimsJob) -> Json | None:
    """Return a paper's claims; None where they were not examined, or with other results."""
    path = job.outputs[0]
    if not path.is_file():
        return None
    ledger = claims.load(path)
    return ledger if ledger["digest"] == job.digest else None
