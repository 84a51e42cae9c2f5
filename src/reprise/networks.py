"""Every distinct network of a scale, built without weights, so that wrong arguments stop early."""

from reprise.budget.counts import CLASSES, architecture
from reprise.budget.shapes import Subject
from reprise.config import Project, Run
from reprise.errors import ConfigError
from reprise.progress import bar
from reprise.provenance import digest_of


def distinct(project: Project) -> list[Run]:
    """Return a run of each network, in the order of the files: what costs nothing is no network."""
    runs: dict[str, Run] = {}
    for paper in project.papers.values():
        for run in paper.runs.values():
            runs.setdefault(digest_of(architecture(run)), run)
    return list(runs.values())


def check(project: Project) -> int:
    """Build each network on the meta device; return how many there are.

    Nothing is downloaded. Raises ConfigError with file, key and the library's words of every one
    that cannot be built.
    """
    from reprise.budget.outlines import outline  # imports torch

    runs, wrong = distinct(project), []
    with bar("networks", len(runs), unit="network") as shown:
        for run in runs:
            try:
                outline(run, Subject(CLASSES))
            except ConfigError as error:
                wrong.append(str(error))
            shown.advance(1, run.model.name)
    if wrong:
        raise ConfigError("\n".join(dict.fromkeys(wrong)))
    return len(runs)
