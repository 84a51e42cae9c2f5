"""A paper's numbers in the shapes that `dvc metrics` and `dvc plots` read: small flat files.

They repeat finished tables, claims and curves, and nothing reads them back; one that a kill left
half written is written again. Below results/<scale>/<paper>, and so in the folder that DVC keeps:

    metrics/<table>/<row>.json        {column: our number}
    metrics/claims/<claim>.json       {verdict, effect}
    plots/tables/<table>-<column>.csv our numbers with interval, and the printed ones, by row
    plots/curves/<run>-seed<k>.csv    what the run logged, by step
"""

import csv
import io
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from reprise import ledger, results, tables
from reprise.config import Json, Project
from reprise.plan import ClaimsJob, RunJob, TableJob, run_jobs, table_jobs

FOLDERS = ("metrics", "plots")
_CLAIMS = "claims"


def write(project: Project, slug: str) -> int:
    """Bring a paper's files in line with what is finished; return how many there are.

    A file whose content is already right is not written again, and one whose table, row, claim or
    run is gone is removed. Raises ResultError where a result file is damaged.
    """
    folder = project.results / slug
    wanted = {folder / name: text for name, text in _files(project, slug)}
    for path in _present(folder):
        if path not in wanted:
            path.unlink()
    for path, text in wanted.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    _remove_empty(folder)
    return len(wanted)


def finished(job: TableJob) -> Json | None:
    """Return a table that is built and current, or None; raise ResultError where it is damaged."""
    path = job.outputs[2]
    if not path.is_file():
        return None
    table = tables.load(path)
    return table if table["digest"] == job.digest else None


def finished_claims(job: ClaimsJob) -> list[Json]:
    """Return the claims of a ledger that is built and current, else none."""
    path = job.outputs[0]
    if not path.is_file():
        return []
    document = results.read_json(path, ("digest", "claims"))
    return list(document["claims"]) if document["digest"] == job.digest else []


def _files(project: Project, slug: str) -> Iterator[tuple[str, str]]:
    """Yield the place below the paper's results, and the content, of every file."""
    for job in table_jobs(project):
        if job.slug == slug and (table := finished(job)):
            yield from _of_table(job.name, table)
    if project.paper(slug).claims:
        for one in finished_claims(ClaimsJob(project, slug)):
            told = {"verdict": ledger.verdict(one), "effect": one["effect"]}
            yield f"metrics/{_CLAIMS}/{_word(one['id'])}.json", _json(told)
    for run in run_jobs(project):
        if run.slug == slug and _is_current(run):
            lines = results.read_log(run.folder / "log.jsonl")
            if lines:
                yield f"plots/curves/{run.name}-seed{run.seed}.csv", _curve(lines)


def _of_table(name: str, table: Json) -> Iterator[tuple[str, str]]:
    words = _distinct(row["label"] for row in table["rows"])
    for row, word in zip(table["rows"], words, strict=True):
        numbers = {key: cell["ours"]["value"] for key, cell in row["cells"].items() if cell["ours"]}
        if numbers:
            yield f"metrics/{name}/{word}.json", _json(numbers)
    for column in table["columns"]:
        key = column["key"]
        lines = [_bar(row["label"], row["cells"][key]) for row in table["rows"]]
        if any(line["ours"] is not None for line in lines):
            yield f"plots/tables/{name}-{_word(key)}.csv", _csv(lines)


def _bar(label: str, cell: Json) -> Json:
    ours, printed = cell["ours"] or {}, cell["published"] or {}
    return {
        "row": label,
        "ours": ours.get("value"),
        "low": ours.get("low"),
        "high": ours.get("high"),
        "published": printed.get("value"),
    }


def _curve(lines: Sequence[Json]) -> str:
    """Return logged lines as CSV: the step, then every number that some line has."""
    keys = dict.fromkeys(
        key
        for line in lines
        for key, value in line.items()
        if isinstance(value, (int, float)) and key != "step"
    )
    return _csv([{key: line.get(key) for key in ("step", *keys)} for line in lines])


def _is_current(job: RunJob) -> bool:
    """Say whether a run is there and made by the present settings and sources."""
    meta = job.folder / "meta.json"
    return job.run.is_built and meta.is_file() and results.read_meta(job)["digest"] == job.digest


def _word(label: str) -> str:
    """Return a label as part of a file's name."""
    return re.sub(r"[^\w.+-]+", "-", label).strip("-.") or "row"


def _distinct(labels: Iterable[str]) -> Iterator[str]:
    """Yield labels as parts of files' names, a number added where two would be alike."""
    seen: set[str] = set()
    for label in labels:
        word = _word(label)
        numbered = (word if count == 1 else f"{word}-{count}" for count in itertools.count(1))
        chosen = next(one for one in numbered if one.lower() not in seen)
        seen.add(chosen.lower())
        yield chosen


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def _csv(lines: Sequence[Json]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return stream.getvalue()


def _present(folder: Path) -> list[Path]:
    return [p for name in FOLDERS for p in (folder / name).rglob("*") if p.is_file()]


def _remove_empty(folder: Path) -> None:
    for name in FOLDERS:
        for path in sorted((folder / name).rglob("*"), reverse=True):
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()
