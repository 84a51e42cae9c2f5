"""A run's method, built: arguments that its model refuses are told with the file they stand in.

Here and not where runs are trained, evaluated, measured or counted: all of them build through
`reprise.registry`. Nothing here imports torch.
"""

import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from reprise.errors import ConfigError, nearest
from reprise.settings.project import Run

# What a constructor raises for arguments that it does not know, lacks, or cannot put together.
REFUSALS = (TypeError, AssertionError, ValueError, KeyError)
_UNKNOWN = "Unknown model"  # timm's words, in a RuntimeError


class Builder:
    """A method's module; its `build` raises ConfigError where the run's arguments are at fault."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what copying and pickling look for
            raise AttributeError(name)
        return getattr(self._module, name)

    def build(self, run: Run, data: Any) -> Any:
        """Return the method of a run for a `Subject`.

        Raises ConfigError naming file, key and the library's own words where its model is unknown
        or refuses its arguments, and where the data have other channels than the model.
        """
        try:
            method = self._module.build(run, data)
        except OSError:  # some of a download's are ValueErrors, too
            raise
        except REFUSALS as error:
            raise ConfigError(_refused(run, error)) from error
        except RuntimeError as error:
            if not str(error).startswith(_UNKNOWN):
                raise
            raise ConfigError(_unknown(run)) from error
        if wrong := _other_channels(run, data, method):
            raise ConfigError(wrong)
        return method


def _refused(run: Run, error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    said = str(error) or f"{last.line}"
    where = "/".join(Path(last.filename).parts[-2:])
    return (
        f"{run.place('args')} = {run.model.args}: {run.model.name} cannot be built with these, or "
        f"method {run.method!r} not with its objective: {type(error).__name__}: {said} "
        f"({where}, line {last.lineno})"
    )


def _unknown(run: Run) -> str:
    import timm

    return (
        f"{run.place('name')} = {run.model.name!r}: timm has no model of this name"
        f"{nearest(run.model.name, timm.list_models())}"
    )


def _other_channels(run: Run, data: Any, method: Any) -> str:
    """Return what is wrong where a model cannot take the data's images as they are, or nothing.

    The first convolution tells what a model takes. Made-up subjects have no name; of a run without
    augmentation the method itself makes what its model is given.
    """
    name, encoder = getattr(data, "name", None), getattr(method, "encoder", None)
    if name is None or run.augment is None or encoder is None:
        return ""
    layers = (getattr(layer, "in_channels", None) for layer in encoder.modules())
    takes = next((channels for channels in layers if channels is not None), data.channels)
    if takes == data.channels:
        return ""
    return (
        f"{run.place('args')}: the images of data set {name!r} have {_channels(data.channels)}, "
        f"{run.model.name} takes {takes}: set in_chans: {data.channels} there, or give the run "
        "other data"
    )


def _channels(count: int) -> str:
    return f"{count} channel{'s' * (count > 1)}"
