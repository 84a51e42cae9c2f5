"""The page's tables and claims as one Markdown file, `report.md`, for mail, diffs and readers
without a browser; curves and pictures are the page's alone.
"""

from collections.abc import Iterator, Mapping, Sequence

from reprise import ledger, markdown
from reprise.config import Json
from reprise.plan import TableJob, table_jobs
from reprise.report import grid, summary, words
from reprise.report.gather import Gathered
from reprise.report.runs import FinishedRun
from reprise.report.summary import Summary


def render(shown: Gathered, built: str) -> str:
    """Return the whole file; ``built`` says when, for people."""
    summaries = summary.of_papers(shown)
    paragraphs = [*_opening(shown, summaries, built)]
    for slug in shown.runs:
        paragraphs += _paper(shown, slug, summaries[slug])
    return "\n\n".join(paragraphs) + "\n"


def _opening(shown: Gathered, summaries: Mapping[str, Summary], built: str) -> Iterator[str]:
    scale, everything = shown.project.scale, summary.of_all(summaries)
    yield f"# Reprise: published numbers beside ours, scale {scale.scale}"
    if not scale.result:
        yield "**Plumbing only, not a result.**"
    yield f"Scale {scale.scale}: {words.scale(scale)}."
    machines = dict.fromkeys(run.machine for found in shown.runs.values() for run in found)
    facts = [
        f"run: {words.built(everything)}",
        f"cost: {words.cost(everything.cost)}",
        f"trained on: {'; '.join(machines) or 'nothing yet'} (benchmarks have threads and "
        "precision of their own, said with each)",
        f"built: {built}",
    ]
    yield "\n".join(f"- {fact}" for fact in facts)
    head = ["paper", "runs", "core-minutes", "claims here", "claims in the reference"]
    body = [
        [
            f"[{slug}](#{slug})",
            str(one.runs),
            words.minutes(one.cost.core_seconds),
            words.counts(one.here),
            words.counts(one.known),
        ]
        for slug, one in summaries.items()
    ]
    yield "\n".join(markdown.pipe_table(head, body))
    yield (
        "Fewer than three seeds never support or contradict a claim. Curves, pictures and the "
        "configuration behind each cell are in `index.html` beside this file."
    )


def _paper(shown: Gathered, slug: str, summarised: Summary) -> Iterator[str]:
    project, runs = shown.project, shown.runs[slug]
    paper = project.paper(slug)
    yield f'<a id="{slug}"></a>'
    yield f"## {paper.title}"
    yield f"arXiv {paper.arxiv}. {paper.idea.strip()}"
    yield f"Here: {words.built(summarised)}; {words.cost(summarised.cost)}."
    if paper.claims:
        yield from _claims(shown, slug)
    for job in table_jobs(project):
        if job.slug == slug:
            yield from _table(shown, job)
    if runs:
        yield "### Provenance"
        yield "\n".join(_provenance(runs))


def _claims(shown: Gathered, slug: str) -> Iterator[str]:
    yield "### Claims"
    made = shown.ledgers.get(slug)
    if made is None:
        yield "Not examined yet, or with other settings or results."
        return
    known = shown.known_claims[slug]
    head = [
        "claim",
        "verdict here",
        "effect [95 %]",
        "seeds",
        "printed effect",
        "reference",
        "basis",
    ]
    body = [
        [
            f"{one['id']}: {one['statement']}",
            ledger.verdict(one),
            ledger.effect(one),
            ledger.seeds(one),
            ledger.printed(one),
            _known(known.get(one["id"])),
            one["basis"],
        ]
        for one in made["claims"]
    ]
    yield "\n".join(markdown.pipe_table(head, body))
    yield from ledger.legend(made)


def _known(one: Json | None) -> str:
    if one is None:
        return ""
    shown = ledger.known(one)
    return f"{ledger.verdict(one)} ({shown})" if shown else ledger.verdict(one)


def _table(shown: Gathered, job: TableJob) -> Iterator[str]:
    table = shown.tables.get((job.slug, job.name))
    yield f"### {job.table.printed}: {job.table.title}"
    if table is None:
        yield "Stale." if job.outputs[2].is_file() else "Not built."
        return
    if table["about"]:
        yield str(table["about"])
    yield markdown.scale_line(table)
    made = grid.of_table(table, shown.known_cells(job))
    head = ["row", *(f"{column.metric}, {column.kind}" for column in made.columns)]
    yield "\n".join(markdown.pipe_table(head, made.rows))
    yield from markdown.legend(table)
    for title, lines in (
        ("Deviations from the paper:", markdown.deviations(table)),
        ("Cells without a number of ours:", markdown.statuses(table)),
        ("Sources of the published numbers:", markdown.sources(table)),
    ):
        if lines:
            yield title
            yield "\n".join(f"- {line}" for line in lines)


def _provenance(runs: Sequence[FinishedRun]) -> Iterator[str]:
    head = ["run", "seed", "digest", "steps", "training", "evaluation", "commit", "commands"]
    body = [
        [
            run.job.name,
            str(run.job.seed),
            run.meta["digest"][:12],
            f"{run.meta['steps']:,}",
            words.duration(run.training_seconds),
            words.duration(run.evaluation_seconds),
            run.commit,
            " ; ".join(f"`{command}`" for command in run.commands),
        ]
        for run in runs
    ]
    return markdown.pipe_table(head, body)
