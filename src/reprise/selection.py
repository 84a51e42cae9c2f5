"""A part of a scale's results: all of it, or a paper, by its own name or that of a table in it.

DVC keeps a paper's results as one folder: it takes a folder whose list of files is in a remote for
sent, whole. So a table is shared with its paper, and never by itself.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from reprise.config import Project
from reprise.errors import ConfigError, unknown
from reprise.plan import RunJob, run_jobs
from reprise.status import Item


@dataclass(frozen=True)
class Selection:
    """What is shared: the papers, and the data sets that they read, by their folders' names."""

    name: str
    papers: tuple[str, ...]
    data: frozenset[str]

    def covers(self, item: Item) -> bool:
        """Say whether a job's files are among what is selected."""
        return item.key in self.data if item.step == "data" else item.paper in self.papers


def select(project: Project, target: str | None = None) -> Selection:
    """Return what a target names: a paper, paper/table, or with None everything of the scale.

    A paper comes with those whose runs its own runs start from or use. Raises ConfigError naming
    the papers or tables that there are.
    """
    scale = project.scale.scale
    if target is None:
        homes = frozenset(dataset.home for dataset in project.scale.datasets.values())
        return Selection(f"scale {scale}", tuple(project.papers), homes)
    slug, slash, table = target.partition("/")
    paper = project.paper(slug)
    if slash and table not in paper.tables:
        raise ConfigError(unknown(f"table of {slug}", table, paper.tables))
    runs = list(_with_earlier(run for run in run_jobs(project) if run.slug == slug))
    papers = tuple(dict.fromkeys((slug, *(run.slug for run in runs))))
    folders = (folder for run in runs for folder in (*run.data_folders, *run.eval_data_folders))
    data = frozenset(folder.name for folder in folders)
    return Selection(f"{slug} at scale {scale}", papers, data)


def _with_earlier(runs: Iterable[RunJob]) -> Iterator[RunJob]:
    """Yield runs and those that they build on, once each."""
    seen, todo = set[str](), list(runs)
    while todo:
        run = todo.pop(0)
        if run.key not in seen:
            seen.add(run.key)
            yield run
            todo += run.earlier_jobs
