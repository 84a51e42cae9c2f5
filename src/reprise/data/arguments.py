"""The arguments that a scale gives to its data sets, checked by the readers' own models.

Apart from `reprise.config`, which imports no reader: they need torch, and every look at a workspace
would wait for it.
"""

from collections.abc import Iterable

from reprise import registry
from reprise.config import REHEARSAL, Project, validate


def check(project: Project, aliases: Iterable[str]) -> None:
    """Raise ConfigError with file, alias and key of the first argument that a reader refuses."""
    scale = project.scale.scale.removeprefix(REHEARSAL)
    file = project.root / "params/scales" / f"{scale}.yaml"
    for alias in aliases:
        dataset = project.dataset(alias)
        model = registry.load("data set", dataset.name).Args
        validate(model, dict(dataset.args), file, ("datasets", alias, "args"))
