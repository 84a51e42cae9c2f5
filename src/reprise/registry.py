"""Finds methods, evaluators and data sets by name: one module each, nothing to register by hand."""

import importlib
import pkgutil
from types import ModuleType
from typing import cast

from reprise.building import Builder
from reprise.errors import ConfigError, unknown
from reprise.settings.base import Strict

_HOMES = {
    "method": ("reprise.papers", "reprise.methods"),
    "evaluator": ("reprise.evaluators",),
    "data set": ("reprise.data.sets",),
}


def known(kind: str) -> dict[str, str]:
    """Return name -> module path of everything of a kind (``method``, ``evaluator``, ...)."""
    found: dict[str, str] = {}
    for home in _HOMES[kind]:
        package = importlib.import_module(home)
        for module in pkgutil.iter_modules(package.__path__):
            if module.name in found:
                raise ConfigError(f"two modules define the {kind} {module.name!r}")
            if not module.name.startswith("_"):
                found[module.name] = f"{home}.{module.name}"
    return found


def module_path(kind: str, name: str) -> str:
    """Return the dotted module of a name, without importing it."""
    names = known(kind)
    if name not in names:
        raise ConfigError(unknown(kind, name, names))
    return names[name]


def load(kind: str, name: str) -> ModuleType:
    """Import the module of a name; of a method, what builds it and tells mistakes in words."""
    module = importlib.import_module(module_path(kind, name))
    return cast(ModuleType, Builder(module)) if kind == "method" else module


def method_settings(name: str) -> type[Strict]:
    """Return the settings model of a method, without importing torch."""
    module_path("method", name)
    settings: type[Strict] = importlib.import_module(f"reprise.settings.{name}").Settings
    return settings
