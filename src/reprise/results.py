"""Reads finished result files; one that is damaged is named, never half believed."""

import json
import math
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import reprise.dense  # noqa: F401  (makes its reduce functions known)
from reprise import reduce
from reprise.config import Json
from reprise.errors import RepriseError
from reprise.plan import BenchmarkJob, RunJob
from reprise.reduce import Statistics


class ResultError(RepriseError):
    """A result file is damaged, or contradicts itself."""


_MEND = "delete it and build again: `snakemake --cores all`"


def read_json(path: Path, keys: Iterable[str] = ()) -> Json:
    """Read a JSON object that has keys; raise ResultError naming the file and what is wrong."""
    of_git = f"it is in Git: `git checkout -- {path}` brings it back"
    mend = of_git if "reference" in path.parts else _MEND
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ResultError(f"{path}: not readable as JSON ({error}); {mend}") from None
    if not isinstance(value, dict):
        raise ResultError(f"{path}: expected a JSON object; {mend}")
    missing = [key for key in keys if key not in value]
    if missing:
        raise ResultError(f"{path}: has no {', '.join(missing)}; {mend}")
    return value


def read_log(path: Path) -> list[Json]:
    """Read a curve, one JSON object a line; raise ResultError naming the file and line."""
    lines = []
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ResultError(f"{path}: not readable ({error}); {_MEND}") from None
    for number, line in enumerate(text.splitlines(), 1):
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise ResultError(f"{path}, line {number}: not JSON ({error}); {_MEND}") from None
        if not isinstance(entry, dict) or not isinstance(entry.get("step"), int):
            raise ResultError(f"{path}, line {number}: has no whole number 'step'; {_MEND}")
        lines.append(entry)
    return lines


def read_arrays(path: Path, names: Iterable[str]) -> dict[str, Statistics]:
    """Read named arrays of an .npz; raise ResultError naming the file and what is wrong."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in names}
    except KeyError as error:
        raise ResultError(f"{path}: has no array {error}; {_MEND}") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ResultError(f"{path}: not readable as .npz ({error}); {_MEND}") from None


def read_meta(job: RunJob) -> Json:
    """Read how a run came about (its meta.json)."""
    keys = ("digest", "seed", "steps", "wall_seconds", "command", "versions", "data")
    return read_json(job.folder / "meta.json", keys)


def read_evaluation(job: RunJob, evaluator: str) -> Json:
    """Read what an evaluator wrote about a run, without its arrays."""
    keys = ("digest", "run_digest", "data", "metrics", "seconds", "command")
    return read_json(job.eval_folder / f"{evaluator}.json", keys)


@dataclass(frozen=True)
class Measured:
    """One metric of one seed, with the per-image statistics (first axis n) it was made of.

    Two of them pair image by image where ``data`` (digest and split of the test data) is equal.
    """

    value: float
    n: int
    data: tuple[str, str]
    reduce: str
    statistics: Statistics

    @property
    def of_images(self) -> bool:
        """Whether it is an evaluation's, of test data; what a benchmark measured has none."""
        return bool(self.data[0])

    def times(self, factor: float) -> "Measured":
        """Return it in another unit; only what is a mean or median of its statistics has one."""
        statistics = factor * np.asarray(self.statistics, np.float64)
        return replace(self, value=factor * self.value, statistics=statistics)


def read_metric(job: RunJob, evaluator: str, metric: str) -> Measured:
    """Read one metric with its statistics, made anew from them.

    Raises ResultError where either file is damaged or the number written is not the one that the
    statistics give.
    """
    path = job.eval_folder / f"{evaluator}.json"
    evaluation = read_evaluation(job, evaluator)
    data = (str(evaluation["data"].get("digest")), str(evaluation["data"].get("split")))
    return _measured(path, _entry(path, evaluation["metrics"], metric), data)


def read_benchmark(job: BenchmarkJob) -> Json:
    """Read what a benchmark wrote, without its timings."""
    return read_json(job.outputs[0], ("digest", "runs", "command", "machine"))


def read_benchmark_metric(job: BenchmarkJob, run: str, metric: str) -> Measured:
    """Read one number of a run in a benchmark, made anew from the single measurements."""
    path = job.outputs[0]
    return _measured(path, _entry(path, read_benchmark(job)["runs"].get(run), metric), ("", ""))


def read_meta_number(job: RunJob, key: str) -> Measured:
    """Read a number of a run's meta.json; raise ResultError where there is none of that name."""
    value = read_meta(job).get(key)
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise ResultError(f"{job.folder / 'meta.json'}: {key} = {value!r} is no number")
    return Measured(float(value), 1, ("", ""), "mean", np.array([float(value)]))


def _measured(path: Path, entry: Json, data: tuple[str, str]) -> Measured:
    arrays, name = path.with_suffix(".npz"), entry["statistics"]
    statistics = read_arrays(arrays, [name])[name]
    if statistics.ndim == 0 or len(statistics) != entry["n"]:
        raise ResultError(
            f"{arrays}: {name} has shape {statistics.shape}, but {path.name} "
            f"says n = {entry['n']}; {_MEND}"
        )
    try:
        value = reduce.apply(entry["reduce"], statistics)
    except (RepriseError, ValueError) as error:
        raise ResultError(f"{path}: {entry['metric']}: {error}; {_MEND}") from None
    if not math.isclose(value, entry["value"], rel_tol=1e-9, abs_tol=1e-12):
        raise ResultError(
            f"{path}: {entry['metric']} = {entry['value']}, but the statistics in {arrays.name} "
            f"give {value}; {_MEND}"
        )
    return Measured(value, entry["n"], data, entry["reduce"], statistics)


def _entry(path: Path, metrics: object, metric: str) -> Json:
    kinds: dict[str, type | tuple[type, ...]] = {
        "value": (int, float),
        "n": int,
        "reduce": str,
        "statistics": str,
    }
    for entry in metrics if isinstance(metrics, list) else []:
        if isinstance(entry, dict) and entry.get("metric") == metric:
            for key, kind in kinds.items():
                if not isinstance(entry.get(key), kind):
                    wrong = f"{key} = {entry.get(key)!r} is not allowed"
                    raise ResultError(f"{path}: metric {metric}: {wrong}; {_MEND}")
            return entry
    raise ResultError(f"{path}: has no metric {metric!r}; {_MEND}")
