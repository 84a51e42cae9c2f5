"""The arguments that a scale gives to its data sets, checked by the readers' own models.

Apart from `reprise.config`, which imports no reader: they need torch, and every look at a workspace
would wait for it.
"""

from collections.abc import Iterable, Iterator

from reprise import registry
from reprise.config import REHEARSAL, Project, validate
from reprise.errors import ConfigError


def check(project: Project, aliases: Iterable[str]) -> None:
    """Raise ConfigError with file, alias and key of the first argument that a reader refuses."""
    scale = project.scale.scale.removeprefix(REHEARSAL)
    file = project.root / "params/scales" / f"{scale}.yaml"
    for alias in aliases:
        dataset = project.dataset(alias)
        model = registry.load("data set", dataset.name).Args
        validate(model, dict(dataset.args), file, ("datasets", alias, "args"))


def check_photographs(project: Project) -> None:
    """Raise ConfigError where crops of whole photographs are wanted of data that keep none.

    The arguments must be valid.
    """
    for where, alias in _cut(project):
        dataset = project.dataset(alias)
        args = registry.load("data set", dataset.name).Args.model_validate(dict(dataset.args))
        if getattr(args, "keep", "arrays") != "files":
            raise ConfigError(
                f"{where}: whole_photographs: data set {alias!r} ({dataset.name}) keeps arrays; "
                "give it args.keep: files where it has that, else set whole_photographs: null here"
            )


def _cut(project: Project) -> Iterator[tuple[str, str]]:
    """Yield what cuts whole photographs, and of which data."""
    for slug, paper in project.papers.items():
        for name, run in paper.runs.items():
            if run.whole_photographs and run.steps:
                yield f"{slug}: runs.{name}", run.data
        for name, settings in paper.evaluators.items():
            if getattr(settings, "whole_photographs", None):
                yield f"{slug}: evaluators.{name}", settings.data
