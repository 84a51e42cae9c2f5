"""Reads YAML files with every surprise taken out, and lays one over another."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import yaml

from reprise.errors import ConfigError
from reprise.settings.project import Json


class _Loader(yaml.SafeLoader):
    """YAML 1.1 without two of its surprises: `1e-4` is a number, a repeated key an error."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*(\.\d*)?|\.\d+)([eE][-+]?\d+)$"),
    list("-+.0123456789"),
)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> Json:
    seen: set[str] = set()
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":  # `<<: *anchor`
            continue
        key = str(loader.construct_object(key_node))
        if key in seen:
            raise ConfigError(
                f"{key_node.start_mark.name}, line {key_node.start_mark.line + 1}: "
                f"key {key!r} is given twice; keep one"
            )
        seen.add(key)
    return cast(Json, loader.construct_mapping(node, deep=True))


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_yaml(path: Path) -> Json:
    """Read a YAML mapping; raise ConfigError naming the file and line of what is wrong."""
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; it is needed to know what to build")
    try:
        with path.open(encoding="utf-8") as stream:
            data = yaml.load(stream, Loader=_Loader)  # noqa: S506 (a SafeLoader subclass)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected a mapping of keys, found {type(data).__name__}")
    return data


def overlay(base: Json, over: Mapping[str, Any]) -> Json:
    """Return base with over laid on it: mappings merge key by key, all else is replaced."""
    merged = dict(base)
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = overlay(cast(Json, merged[key]), value)
        else:
            merged[key] = value
    return merged
