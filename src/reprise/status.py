"""What is built, what is stale and why, and what is missing: by digest, not by date.

The one judge of that, for the plan shown before a run, for `reprise status` and for `reprise pull`.
"""

import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TextIO, cast

from reprise import plan, provenance
from reprise.config import Json, Project
from reprise.data import origin, present
from reprise.plan import BenchmarkJob, CellsJob, ClaimsJob, RunJob, TableJob

State = Literal["current", "stale", "missing"]
STATES: tuple[State, ...] = ("current", "stale", "missing")


@dataclass(frozen=True)
class Item:
    """The files of one job, and how they stand to the present settings, sources and data."""

    step: str
    paper: str
    key: str
    files: tuple[Path, ...]
    state: State
    why: str = ""
    headline: bool = True


def summary(project: Project) -> list[Item]:
    """Return every data set, run, evaluation, table and ledger of claims, in the order of building.

    Something is current only when all that it was made from is current, too.
    """
    judge = _Judge(project)
    jobs = plan.run_jobs(project)
    data = [judge.data(folder) for folder in _data_folders(project)]
    return [
        *sorted(data, key=lambda item: not item.headline),
        *(judge.run(job) for job in jobs),
        *(judge.evaluations(job) for job in jobs if job.run.evaluate),
        *(judge.benchmark(job) for job in plan.benchmark_jobs(project)),
        *(judge.table(job) for job in plan.table_jobs(project)),
        *(judge.claims(job) for job in plan.claims_jobs(project)),
    ]


def current_sweeps(job: CellsJob) -> list[Path]:
    """Return the evaluation files of sweep rows among a job's cells, as far as they are current."""
    return [
        run.eval_folder / f"{evaluator}.{ending}"
        for run, evaluator in _Judge(job.project).sweeps(job)
        for ending in ("json", "npz")
    ]


def print_status(project: Project, stream: TextIO = sys.stdout) -> None:
    """Print one line per paper and step, with counts, and one per stale job, with the reason."""
    items = summary(project)
    for line in _lines(project, items):
        print(line, file=stream, flush=True)


class _Judge:
    """Judges jobs once each; those that build on others ask for the others' verdict first."""

    def __init__(self, project: Project) -> None:
        self.project = project
        shown = plan.benchmark_jobs(project, headline_only=True)
        self._headline = {job.key for job in shown}
        self._swept = _data_of_sweeps(project)
        self._known: dict[tuple[object, ...], Item] = {}

    def data(self, folder: Path) -> Item:
        key = ("data", folder)
        if key not in self._known:
            file, why = folder / present.MANIFEST, self._why_data_set(folder)
            state, headline = _state([file], why), folder not in self._swept
            self._known[key] = Item("data", "", folder.name, (file,), state, why, headline)
        return self._known[key]

    def run(self, job: RunJob) -> Item:
        key = ("train", job.slug, job.name, job.seed)
        if key not in self._known:
            self._known[key] = self._item("train", job, job.outputs, self._why_run(job))
        return self._known[key]

    def evaluations(self, job: RunJob) -> Item:
        key = ("evaluate", job.slug, job.name, job.seed)
        if key not in self._known:
            why = self._why_evaluations(job)
            self._known[key] = self._item("evaluate", job, job.eval_outputs, why)
        return self._known[key]

    def benchmark(self, job: BenchmarkJob) -> Item:
        same = _read(job.outputs[0]).get("digest") == job.digest
        why = "" if same else "its settings or sources changed"
        files = tuple(job.outputs)
        return Item(
            "benchmark",
            job.slug,
            job.name,
            files,
            _state(files, why),
            why,
            job.key in self._headline,
        )

    def table(self, job: TableJob) -> Item:
        why = self._why_cells(job, "its definition, the published numbers or its sources changed")
        files = tuple(job.outputs)
        state = _state(files, why)
        return Item("table", job.slug, job.name, files, state, why, job.table.headline)

    def claims(self, job: ClaimsJob) -> Item:
        why = self._why_cells(job, "the claims, their cells or their sources changed")
        files = tuple(job.outputs)
        return Item("claims", job.slug, "claims", files, _state(files, why), why)

    def _why_cells(self, job: TableJob | ClaimsJob, changed: str) -> str:
        """Say why what a job makes of its cells is not current."""
        above = [self.evaluations(run) for run in job.run_jobs if run.run.headline]
        above += [self.benchmark(bench) for bench in job.benchmark_jobs]
        made = _read(next(path for path in job.outputs if path.suffix == ".json"))
        if why := _first_stale(above) or ("" if made.get("digest") == job.digest else changed):
            return why
        return self._why_sweeps(job, made)

    def _why_sweeps(self, job: CellsJob, made: Json) -> str:
        """Say whether sweep rows came or went since: they are in no digest, being there or not."""
        present_now = {
            (f"{run.slug}/{run.name}", run.seed, evaluator) for run, evaluator in self.sweeps(job)
        }
        swept = {f"{run.slug}/{run.name}" for run, _ in job.evaluations() if not run.run.headline}
        cells = list(_cells(made))
        shown = {
            (one["run"], one["seed"], one["evaluator"])
            for cell in cells
            for one in cell["runs"]
            if one["run"] in swept and "evaluator" in one
        }
        if shown - present_now:
            return "sweep rows changed since"
        lacking = any(plan.SWEEP_ROW in cell["status"] for cell in cells)
        return "sweep rows were finished since" if lacking and present_now - shown else ""

    def sweeps(self, job: CellsJob) -> Iterator[tuple[RunJob, str]]:
        """Yield the evaluations of sweep rows among a job's cells, as far as they are current."""
        for run, evaluator in job.evaluations():
            if not run.run.headline and self.evaluations(run).state == "current":
                yield run, evaluator

    def _item(self, step: str, job: RunJob, files: list[Path], why: str) -> Item:
        key = f"{job.name} seed {job.seed}"
        state = _state(files, why)
        return Item(step, job.slug, key, tuple(files), state, why, job.run.headline)

    def _why_run(self, job: RunJob) -> str:
        meta = _read(job.folder / "meta.json")
        if meta.get("digest") != job.digest:
            return _what_changed(job, meta)
        above = [self.run(earlier) for earlier in job.earlier_jobs]
        return _first_stale(above) or present.why_other(self.project, meta["data"])

    def _why_evaluations(self, job: RunJob) -> str:
        if why := _first_stale([self.run(job)]):
            return why
        for name in job.run.evaluate:
            result = _read(job.eval_folder / f"{name}.json")
            if result.get("digest") != job.eval_digest(name):
                return f"settings or sources of {name} changed"
            if why := present.why_other(self.project, result["data"]):
                return why
        return ""

    def _why_data_set(self, folder: Path) -> str:
        datasets = self.project.scale.datasets.values()
        wanted = next((one for one in datasets if one.home == folder.name), None)
        if wanted is None:
            return "no data set of this scale"
        manifest = folder / present.MANIFEST
        made = _read(manifest)
        if manifest.is_file() and present.digest_of(manifest) is None:
            return present.unreadable(manifest)
        if (made.get("name"), made.get("args")) != (wanted.name, origin.what(wanted.args)):
            return "prepared with other settings"
        return origin.differs(folder, wanted.args)


def _cells(made: Json) -> Iterator[Json]:
    """Yield the cells of a table's JSON, or of a ledger's."""
    for row in made.get("rows", ()):
        yield from row["cells"].values()
    for claim in made.get("claims", ()):
        yield from claim["cells"]


def _state(files: Iterable[Path], why: str) -> State:
    if not all(path.is_file() for path in files):
        return "missing"
    return "stale" if why else "current"


def _first_stale(items: Iterable[Item]) -> str:
    return next((f"{i.step} {i.key} is {i.state}" for i in items if i.state != "current"), "")


def _data_of_sweeps(project: Project) -> set[Path]:
    """Return the folders of data that sweeps alone read; from others, data may be made."""
    read: dict[bool, set[Path]] = {True: set(), False: set()}
    for job in plan.run_jobs(project):
        read[job.run.headline] |= {*job.data_folders, *job.eval_data_folders}
    return read[False] - read[True]


def _data_folders(project: Project) -> list[Path]:
    return sorted({plan.data_folder(project, alias) for alias in project.scale.datasets})


def _read(path: Path) -> Json:
    """Read a JSON object; one that is absent or damaged says nothing and so is never current."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return cast(Json, value) if isinstance(value, dict) else {}


def _what_changed(job: RunJob, meta: Json) -> str:
    """Name the settings and source files that differ from those that made a run."""
    if not meta:
        return "meta.json is unreadable"
    changed = list(_differences(meta.get("spec", {}), job.spec))
    package = Path(provenance.__file__).parent
    present = {str(p.relative_to(package)): provenance.digest_of_file(p) for p in job.sources}
    now, then = (
        {name: provenance.as_before(name, digest) for name, digest in one.items()}
        for one in (present, meta.get("sources", {}))
    )
    changed += [f"source {path}" for path, _, _ in _pairs(then, now)]
    shown = ", ".join(changed[:3]) + (f" and {len(changed) - 3} more" if changed[3:] else "")
    return f"changed: {shown}" if changed else "its digest differs"


def _differences(old: Any, new: Any, where: str = "") -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key, before, after in _pairs(old, new):
            yield from _differences(before, after, f"{where}.{key}" if where else key)
    elif where == "earlier":
        yield "a run that it builds on"
    else:
        yield f"{where.removeprefix('config.')} {json.dumps(old)} -> {json.dumps(new)}"


def _pairs(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key):
            yield key, old.get(key), new.get(key)


def _unset(project: Project) -> dict[str, set[str]]:
    """Return the environment variables that data sets yet to be prepared need, with their names."""
    missing: dict[str, set[str]] = {}
    for dataset in project.scale.datasets.values():
        words = " ".join(value for value in dataset.args.values() if isinstance(value, str))
        for variable in re.findall(r"\$\{?(\w+)", words):
            prepared = project.data_root / dataset.home / present.MANIFEST
            if not os.environ.get(variable) and not prepared.is_file():
                missing.setdefault(variable, set()).add(dataset.home)
    return missing


def _lines(project: Project, items: list[Item]) -> Iterator[str]:
    scale = project.scale
    yield f"Reprise, scale {scale.scale}: {scale.about}"
    yield f"  {'':<20}" + "".join(f"{word:>9}" for word in ("total", "done", "stale", "missing"))
    groups: dict[str, list[Item]] = {}
    for item in items:
        sweep = "" if item.headline else " (sweeps)"
        groups.setdefault(f"{item.paper} {item.step}".strip() + sweep, []).append(item)
    for name, group in groups.items():
        counts = Counter(item.state for item in group)
        numbers = (len(group), *(counts[state] for state in STATES))
        yield f"  {name:<20}" + "".join(f"{number:>9}" for number in numbers)
    for item in items:
        if item.state == "stale":
            yield f"  stale: {item.step} {item.paper}/{item.key}: {item.why}"
    for variable, homes in _unset(project).items():
        yield f"  needs: {variable} (not set), for data {', '.join(sorted(homes))}"
