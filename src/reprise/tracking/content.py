"""A table, a run, and what claims say of them, in MLflow's words; nothing here writes a store."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

# Before mlflow: it sets how mlflow behaves.
import reprise.tracking.store  # noqa: F401  # isort: skip
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param

from reprise import ledger, markdown, provenance, results
from reprise.config import Json
from reprise.plan import RunJob

# Limits of MLflow's stores.
_KEY_LENGTH = 250
_VALUE_LENGTH = 6000
_DIGEST_LENGTH = 36


def name(key: str) -> str:
    """Return a key in the characters that MLflow allows in names."""
    return re.sub(r"[^\w.\- ]", "_", key)


# ---- tables ----
def grid(table: Json) -> dict[str, list[Any]]:
    """Return the table as columns of equal length: what was printed, ours, interval and gain."""
    printed, compared = markdown.printed_columns(table), markdown.compared_columns(table)
    columns: dict[str, list[Any]] = {"row": [row["label"] for row in table["rows"]]}
    for column in table["columns"]:
        cells = [row["cells"][column["key"]] for row in table["rows"]]
        label = column["label"]
        if column["key"] in printed:
            columns[f"{label}, published"] = [_printed(cell["published"]) for cell in cells]
        if column["setting"]:
            columns[f"{label}, ours"] = [cell["text"] for cell in cells]
        if column["setting"] or column["printed"]:
            continue
        for part in ("ours", "gain"):
            for key, suffix in (("value", ""), ("low", " low"), ("high", " high")):
                values = [(cell[part] or {}).get(key) for cell in cells]
                if any(value is not None for value in values):
                    columns[f"{label}, {part}{suffix}"] = values
        if column["key"] in compared:
            columns[f"{label}, beside print"] = [markdown.beside_print(cell) for cell in cells]
        columns[f"{label}, seeds"] = [len(cell["seeds"]) for cell in cells]
    columns["scale"] = [table["scale"]["scale"]] * len(table["rows"])
    return columns


def _printed(number: Json | None) -> Any:
    """Return a printed number, or word where it is one; None where nothing was printed."""
    if number is None:
        return None
    return number["text"] if number["value"] is None else number["value"]


# ---- claims ----
def verdicts(claimed: Iterable[Json], table: str, row: str | None = None) -> dict[str, str]:
    """Return tags: the verdict on each claim that reads a table, or one row of it."""
    return {
        f"claim.{one['id']}": ledger.verdict(one)
        for one in claimed
        if any(cell["table"] == table and row in (None, cell["row"]) for cell in one["cells"])
    }


# ---- runs ----
def curves(job: RunJob, time: int) -> Iterator[Metric]:
    """Yield the numbers of log.jsonl, stamped with one time (milliseconds since 1970)."""
    for line in results.read_log(job.folder / "log.jsonl"):
        for key, value in line.items():
            if key not in ("step", "images") and isinstance(value, (int, float)):
                yield Metric(name(key), float(value), time, line["step"])


def values(row: Json, seed: int, time: int) -> Iterator[Metric]:
    """Yield what the cells of a row hold for a seed."""
    for key, cell in row["cells"].items():
        for made in cell["runs"]:
            if made["seed"] == seed:
                yield Metric(name(key), made["value"], time, 0)


def params(meta: Json) -> list[Param]:
    """Return every resolved setting of a run, one of dotted name each, within MLflow's limits."""
    return [
        Param(name(key)[:_KEY_LENGTH], value[:_VALUE_LENGTH])
        for key, value in _flat(meta.get("spec", {}))
    ]


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield dotted keys and values of a nested mapping; lists stay whole, as JSON."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    elif path:
        yield path, value if isinstance(value, str) else json.dumps(value)


def provenance_tags(meta: Json) -> dict[str, str]:
    """Return where a run comes from: its digests, commit and the command that repeats it."""
    git = meta.get("git") or {}
    tags = {
        "reprise.run_digest": meta["digest"],
        "reprise.config_digest": provenance.digest_of(meta.get("spec", {})),
        "reprise.data_digest": str(meta["data"].get("digest")),
        "mlflow.source.name": meta["command"],
        "mlflow.source.type": "LOCAL",
    }
    if git.get("commit"):
        tags["mlflow.source.git.commit"] = git["commit"]
        tags["git.dirty"] = str(git.get("dirty")).lower()
    return tags


def weights_tags(job: RunJob) -> dict[str, str]:
    """Return where a run's weights lie, below the workspace, and what they are; MLflow gets no
    copy of them, since DVC has them already."""
    weights = job.outputs[0]
    if not weights.is_file():
        return {}
    root = job.project.root
    place = weights.relative_to(root) if weights.is_relative_to(root) else weights
    return {
        "reprise.weights": str(place),
        "reprise.weights_sha256": provenance.digest_of_file(weights),
    }


def datasets(meta: Json, evaluations: Iterable[Json]) -> list[DatasetInput]:
    """Return the data that a run was trained on, and those that it was evaluated on, once each."""
    given = [(meta["data"], "training"), *((one["data"], "evaluation") for one in evaluations)]
    found: dict[tuple[Any, ...], tuple[Json, str]] = {}
    for data, context in given:
        key = (data.get("name"), data.get("split"), data.get("digest"))
        found.setdefault(key, (data, context))
    return [_dataset(data, context) for data, context in found.values()]


def _dataset(data: Json, context: str) -> DatasetInput:
    digest, split = str(data.get("digest"))[:_DIGEST_LENGTH], str(data.get("split"))
    source = json.dumps({"name": data.get("name"), "split": split})
    profile = json.dumps({"num_rows": data.get("n")})
    dataset = Dataset(str(data.get("name")), digest, "local", source, profile=profile)
    tags = [InputTag("mlflow.data.context", f"{context}: {split}")]
    return DatasetInput(dataset, tags)


def batches(entries: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Yield the entries in order, at most so many at once."""
    for first in range(0, len(entries), size):
        yield entries[first : first + size]
