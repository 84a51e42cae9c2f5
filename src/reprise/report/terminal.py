"""The report in the terminal, `python -m reprise show`: the same tables and claims as the page."""

from collections.abc import Iterator

from rich import box
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.table import Table as Shown
from rich.text import Text

from reprise import ledger, markdown, reference
from reprise.config import Project
from reprise.errors import ConfigError, StaleError, unknown
from reprise.plan import ClaimsJob, TableJob, table_jobs
from reprise.report import summary, words
from reprise.report.gather import Gathered, current_ledger, current_table
from reprise.report.grid import Grid, of_table
from reprise.report.origins import rerun

CLAIMS = "claims"
_LABEL = 30  # characters of a row's label in a line, at most
_GAP = 3  # characters between two columns


def show(project: Project, name: str, console: Console, commands: bool = False) -> None:
    """Print the opening (no name), a paper's claims and tables, `paper/claims`, or `paper/table`.

    Args:
        commands: print after a table the commands that make each of its cells again.

    Raises ConfigError where nothing has this name, StaleError where it is not built.
    """
    slug, _, table = name.partition("/")
    if not slug:
        parts = _opening(project)
    elif not table:
        parts = _paper(project, slug, console.width, commands)
    elif table == CLAIMS:
        parts = _claims(project, slug)
    else:
        parts = _table(_job(project, slug, table), console.width, commands)
    for part in parts:
        console.print(part)


def _job(project: Project, slug: str, name: str) -> TableJob:
    names = [*project.paper(slug).tables, CLAIMS]
    if name not in names:
        raise ConfigError(unknown(f"table of {slug}", name, names))
    return TableJob(project, slug, name)


def _opening(project: Project) -> Iterator[RenderableType]:
    shown_of = Gathered(project)
    papers = summary.of_papers(shown_of)
    everything = summary.of_all(papers)
    scale = project.scale
    yield Text(f"Scale {scale.scale}: {words.scale(scale)}", style="bold")
    if not scale.result:
        yield Text("plumbing check, not a result", style="bold")
    yield Text(words.built(everything))
    yield Text(words.cost(everything.cost))
    shown = _grid("paper", "core-minutes", "claims here", "claims, reference")
    for slug, one in papers.items():
        cost = words.minutes(one.cost.core_seconds)
        shown.add_row(slug, cost, words.counts(one.here), words.counts(one.known))
    yield shown
    listed = _grid("show", "in the paper", "title", "state")
    for job in table_jobs(project):
        state = "built" if (job.slug, job.name) in shown_of.tables else _why_not(job)
        listed.add_row(f"{job.slug}/{job.name}", job.table.printed, job.table.title, state)
    yield listed


def _paper(project: Project, slug: str, width: int, commands: bool) -> Iterator[RenderableType]:
    paper = project.paper(slug)
    yield Text(f"{paper.title} (arXiv {paper.arxiv})", style="bold")
    yield Text(paper.idea)
    if paper.claims and current_ledger(ClaimsJob(project, slug)):
        yield from _claims(project, slug)
    for job in table_jobs(project):
        if job.slug == slug and current_table(job):
            yield from _table(job, width, commands)
        elif job.slug == slug:
            yield Text(f"\n{job.table.printed}: {job.table.title}: {_why_not(job)}", style="dim")


def _why_not(job: TableJob) -> str:
    if job.outputs[2].is_file():
        return "stale"
    return "not built" + ("" if job.table.headline else ", a sweep")


def _claims(project: Project, slug: str) -> Iterator[RenderableType]:
    paper = project.paper(slug)
    if not paper.claims:
        raise ConfigError(f"params/papers/{slug}.yaml has no claims")
    job = ClaimsJob(project, slug)
    made = current_ledger(job)
    if made is None:
        raise StaleError(
            f"{job.outputs[0]} is not built, or of other settings or results: run "
            f"`python -m reprise claims {slug} --scale {project.scale.scale}`"
        )
    yield Text(f"\nClaims of {slug}: {words.counts(summary.counts(made['claims']))}", style="bold")
    yield Text(markdown.scale_line(made), style="dim")
    known = reference.known_claims(job)
    shown = _grid("claim", "verdict here", "effect [95 %]", "seeds", "reference")
    for one in made["claims"]:
        other = known.get(one["id"])
        verdict = "" if other is None else f"{ledger.verdict(other)} {ledger.effect(other)}"
        shown.add_row(
            f"{one['id']}: {one['statement']}",
            ledger.verdict(one),
            ledger.effect(one),
            ledger.seeds(one),
            verdict.strip(),
        )
    yield shown
    columns = ("smallest detectable:", "beside the printed effect:")  # not shown here
    lines = [line for line in ledger.legend(made) if not line.startswith(columns)]
    yield from (Text(line, style="dim") for line in lines)


def _table(job: TableJob, width: int, commands: bool) -> Iterator[RenderableType]:
    table = current_table(job)
    if table is None:
        raise StaleError(
            f"{job.outputs[2]} is not built, or of other settings or results: run "
            f"`python -m reprise table {job.slug}/{job.name} --scale {job.project.scale.scale}`"
        )
    yield Text(f"\n{table['printed']}: {table['title']}", style="bold")
    if table["about"]:
        yield Text(table["about"])
    yield Text(markdown.scale_line(table), style="dim")
    if not table["scale"]["result"]:
        yield Text("plumbing check, not a result", style="bold")
    known = reference.cells(job)
    for part in _parts(of_table(table, known), width):
        yield _drawn(part)
    yield from (Text(line, style="dim") for line in markdown.legend(table))
    for line in markdown.deviations(table):
        yield Text(f"deviates: {line}", style="dim")
    if commands:
        yield _commands(job)


def _parts(grid: Grid, width: int) -> Iterator[Grid]:
    """Yield a grid in as many parts as fit into the width, metrics whole wherever they do.

    Of several, each leaves out the rows that have nothing in it.
    """
    parts = list(_fitting(grid, width))
    for part in parts:
        yield part if len(parts) == 1 else part.filled()


def _fitting(grid: Grid, width: int) -> Iterator[Grid]:
    part: list[int] = []
    for metric in dict.fromkeys(column.key for column in grid.columns):
        own = [place for place, column in enumerate(grid.columns) if column.key == metric]
        if part and _width(grid.chosen([*part, *own])) > width:
            yield grid.chosen(part)
            part = []
        for place in own:
            if part and _width(grid.chosen([*part, place])) > width:
                yield grid.chosen(part)
                part = []
            part.append(place)
    if part:
        yield grid.chosen(part)


def _width(grid: Grid) -> int:
    """Characters of a line that holds a grid without breaking a number."""
    label = min(_LABEL, max((cell_len(row[0]) for row in grid.rows), default=0))
    return label + sum(width + _GAP for width in _widths(grid))


def _widths(grid: Grid) -> list[int]:
    """Characters of each column: its numbers and the words above them, unbroken."""
    heads = _heads(grid)
    return [
        max(
            *(cell_len(word) for word in (*heads[place].split(), column.kind)),
            *(cell_len(row[1 + place]) for row in grid.rows),
        )
        for place, column in enumerate(grid.columns)
    ]


def _heads(grid: Grid) -> list[str]:
    """What stands above each column: the metric above its first, nothing above the others."""
    keys = [None, *(column.key for column in grid.columns)]
    return [
        column.metric if column.key != before else ""
        for before, column in zip(keys, grid.columns, strict=False)
    ]


def _drawn(grid: Grid) -> Shown:
    shown = _grid("row")
    shown.columns[0].max_width = _LABEL
    for column, head, width in zip(grid.columns, _heads(grid), _widths(grid), strict=True):
        shown.add_column(f"{head}\n{column.kind}", justify="right", max_width=width)
        shown.columns[-1].vertical = "bottom"
    for row in grid.rows:
        shown.add_row(*row)
    return shown


def _commands(job: TableJob) -> Shown:
    shown = _grid("cell", "to do", "command")
    shown.columns[2].overflow = "fold"
    for row in job.table.rows:
        for key, metric in job.table.metrics.items():
            for what, command in rerun(job, row, key)[:1]:
                shown.add_row(f"{row.label}: {metric.label}", what, command)
    return shown


def _grid(*heads: str) -> Shown:
    shown = Shown(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for head in heads:
        shown.add_column(head, vertical="bottom" if head == "row" else "top")
    return shown
