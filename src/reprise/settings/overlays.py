"""What a scale lays over a paper: its single entries and rows, found and checked by their names."""

from collections.abc import Mapping
from pathlib import Path

from reprise.errors import ConfigError, nearest, unknown
from reprise.settings.project import Json
from reprise.yamlfile import overlay

# What an entry says that a scale adds to a part of a paper; one that says none of it is misspelt.
_NEW = {
    "runs": ("extends", "method"),
    "evaluators": ("kind",),
    "benchmarks": ("runs",),
    "tables": ("metrics",),
    "claims": ("statement",),
}


def check_new_entries(over: Json, raw: Json, where: str, paper_file: Path) -> None:
    """Refuse what a scale lays over a run, evaluator, table, ... that the paper does not have."""
    for part, tells in _NEW.items():
        entries, known = over.get(part) or {}, raw.get(part) or {}
        for name in entries if isinstance(entries, Mapping) else ():
            entry = entries[name]
            says_it = isinstance(entry, Mapping) and set(tells) & set(entry)
            if name not in known and not says_it:
                raise ConfigError(
                    f"{where}.{part}.{name}: {paper_file} has none of this name"
                    f"{nearest(str(name), known)}, and a new one must say `{tells[0]}`"
                )


def rows_by_place(over: Json, raw: Json, where: str) -> Json:
    """Return what a scale lays over a paper, with single rows of its tables named by their place.

    Beside a whole list, a scale's ``rows`` may be a mapping of row labels to what changes in them,
    and its ``more_rows`` stand below. Raises ConfigError for a label that no row has.
    """
    tables = dict(over.get("tables") or {})
    for name, table in tables.items():
        if not isinstance(table, Mapping) or isinstance(table.get("rows"), list):
            continue
        given = raw.get("tables", {}).get(name, {}).get("rows", [])
        places = {str(row.get("label")): str(place) for place, row in enumerate(given)}
        changes: Json = {}
        for label, change in (table.get("rows") or {}).items():
            if str(label) not in places:
                text = unknown("row", str(label), places)
                raise ConfigError(f"{where}.tables.{name}.rows: {text}")
            changes[places[str(label)]] = change
        for place, row in enumerate(table.get("more_rows") or (), len(given)):
            changes[str(place)] = row
        kept = {key: value for key, value in table.items() if key not in ("rows", "more_rows")}
        tables[name] = {**kept, **({"rows": changes} if changes else {})}
    return {**over, **({"tables": tables} if tables else {})}


def laid_over(raw: Json, over: Json) -> Json:
    """Return a paper's values with a scale's over them, rows of tables by their place."""
    merged = overlay(raw, over)
    for name, table in (over.get("tables") or {}).items():
        changes = table.get("rows") if isinstance(table, Mapping) else None
        if isinstance(changes, Mapping):
            given = raw.get("tables", {}).get(name, {}).get("rows", [])
            rows = [overlay(row, changes.get(str(at)) or {}) for at, row in enumerate(given)]
            more = [row for at, row in changes.items() if int(at) >= len(given)]
            own = {**merged["tables"][name], "rows": [*rows, *more]}
            merged = {**merged, "tables": {**merged["tables"], name: own}}
    return merged
