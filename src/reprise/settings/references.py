"""Names by which a paper's tables, benchmarks and claims refer to its other parts.

`reprise.config` reads and resolves the file first; here its names are looked up.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from reprise.errors import ConfigError, unknown
from reprise.settings.claims import wrong_references
from reprise.settings.project import Benchmark, Json, MeasuredMark, Metric, Paper, Row, Run, Table

# From a path of keys to 'file: key.path'.
PlaceOf = Callable[..., str]
Wrong = Iterator[tuple[tuple[str, ...], str]]


def check_references(paper: Paper, params: Path, place_of: PlaceOf) -> None:
    """Raise ConfigError with file and key of the first name in a paper that leads nowhere."""
    for loc, text in _wrong(paper, params):
        raise ConfigError(f"{place_of(*loc)}: {text}")


def _wrong(paper: Paper, params: Path) -> Wrong:
    """Yield (keys, what is wrong) of every name that leads nowhere."""
    for name, benchmark in paper.benchmarks.items():
        if wrong := _wrong_benchmark(benchmark, paper.runs):
            yield ("benchmarks", name, "runs"), wrong
    for name, table in paper.tables.items():
        for loc, text in _wrong_in_table(table, paper, params):
            yield ("tables", name, *loc), text
    for name, claim in paper.claims.items():
        for loc, text in wrong_references(claim, paper.tables):
            yield ("claims", name, *loc), text


def _wrong_in_table(table: Table, paper: Paper, params: Path) -> Wrong:
    for key, metric in table.metrics.items():
        for field, text in _wrong_metric(metric, paper):
            yield ("metrics", key, field), text
    for index, row in enumerate(table.rows):
        for loc, text in _wrong_row(row, table, paper):
            yield ("rows", str(index), *loc), text
    for key, metric in table.metrics.items():
        if metric.setting and (wrong := _wrong_setting(key, metric.setting, table, paper)):
            yield ("metrics", key, "setting"), wrong
    for label, cell in (table.plot.measured if table.plot else {}).items():
        if wrong := _wrong_cell(cell, paper.tables):
            yield ("plot", "measured", label), wrong
    labels = [row.label for row in table.rows]
    for label in labels:
        if labels.count(label) > 1:
            yield ("rows",), f"two rows have the label {label!r}"
    if table.baseline is not None and table.baseline not in labels:
        yield ("baseline",), unknown("row", table.baseline, labels)
    csv = params / "published" / paper.slug / f"{table.published}.csv"
    if table.published and not csv.is_file():
        yield ("published",), f"no such file: {csv}"


def _wrong_metric(metric: Metric, paper: Paper) -> Iterator[tuple[str, str]]:
    if metric.evaluator and metric.evaluator not in paper.evaluators:
        yield "evaluator", unknown("evaluator", metric.evaluator, paper.evaluators)
    if not metric.benchmark:
        return
    if metric.benchmark not in paper.benchmarks:
        yield "benchmark", unknown("benchmark", metric.benchmark, paper.benchmarks)
        return
    benchmark = paper.benchmarks[metric.benchmark]
    if benchmark.kind == "forward" and metric.metric not in benchmark.metrics:
        what = f"metric of benchmark {metric.benchmark}"
        yield "metric", unknown(what, str(metric.metric), benchmark.metrics)


def _wrong_row(row: Row, table: Table, paper: Paper) -> Wrong:
    for shown in (row.run, *row.runs.values()):
        if shown and "/" not in shown and shown not in paper.runs:
            yield ("run",), unknown("run", shown, paper.runs)
    for column in row.runs:
        if column not in table.metrics:
            yield ("runs",), unknown("column", column, table.metrics)
    for column, evaluator in row.evaluators.items():
        if column not in table.metrics:
            yield ("evaluators",), unknown("column", column, table.metrics)
        elif evaluator not in paper.evaluators:
            yield ("evaluators", column), unknown("evaluator", evaluator, paper.evaluators)


def _wrong_setting(column: str, path: str, table: Table, paper: Paper) -> str:
    """Return what is wrong with a column of settings, or nothing: a run that it shows has it.

    Some may lack it, as methods differ; one that all lack is a slip, and would read as "no".
    """
    names = {row.runs.get(column, row.run) for row in table.rows} - {None}
    own = {str(name).removeprefix(f"{paper.slug}/") for name in names}
    if not own or any("/" in name for name in own):
        return ""
    known = {leaf for name in own for leaf in _leaves(paper.runs[name].model_dump(mode="json"))}
    return "" if path in known else unknown("setting", path, known)


def _leaves(value: Json, where: str = "") -> Iterator[str]:
    """Yield the dotted path of every value in nested mappings."""
    for key, inner in value.items():
        if isinstance(inner, dict) and inner:
            yield from _leaves(inner, f"{where}{key}.")
        else:
            yield f"{where}{key}"


def _wrong_benchmark(benchmark: Benchmark, runs: Mapping[str, Run]) -> str:
    """Return what is wrong with the runs that a benchmark names, or nothing."""
    for name in benchmark.runs:
        if name not in runs:
            return unknown("run", name, runs)
        if benchmark.kind == "forward" and runs[name].augment is None:
            return f"{name} has no augment.size, the side of what its model is given"
    precisions = {runs[name].precision for name in benchmark.runs}
    if benchmark.kind == "forward" and benchmark.precision is None and len(precisions) > 1:
        return "its runs differ in precision: give the benchmark a precision of its own"
    repeated = [name for name in benchmark.runs if benchmark.runs.count(name) > 1]
    return f"{repeated[0]} is named twice" if repeated else ""


def _wrong_cell(cell: MeasuredMark, tables: Mapping[str, Table]) -> str:
    """Return what is wrong with a cell's address, or nothing."""
    if cell.table not in tables:
        return unknown("table", cell.table, tables)
    rows = [row.label for row in tables[cell.table].rows]
    if cell.row not in rows:
        return unknown("row", cell.row, rows)
    columns = tables[cell.table].metrics
    return "" if cell.column in columns else unknown("column", cell.column, columns)
