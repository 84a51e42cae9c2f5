"""Gathers tables, curves, pictures and provenance into one self-contained HTML page."""

import base64
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from reprise import claims, ledger, markdown, reference, results, tables
from reprise.config import Json, Project, Table
from reprise.files import write_atomic
from reprise.plan import ClaimsJob, RunJob, TableJob, claims_jobs, run_jobs, table_jobs
from reprise.report import captions, dense, figures, pictures, plots

_HERE = Path(__file__).parent
# Evaluators without pictures; others have a setting that says how many, or always draw some.
_NUMBERS_ALONE = {
    "linear_probe",
    "knn",
    "finetune",
    "transfer",
    "classify",
    "retrieval",
    "gap",
    "shifted",
}


def inputs(project: Project) -> list[Path]:
    """Return the files of headline tables and runs that the report reads."""
    files = [job.outputs[2] for job in table_jobs(project, headline_only=True)]
    for job in run_jobs(project, headline_only=True):
        files += [job.folder / "meta.json", job.folder / "log.jsonl"]
        evaluators = project.paper(job.slug).evaluators
        for name in job.run.evaluate:
            files.append(job.eval_folder / f"{name}.json")
            if getattr(evaluators[name], "pictures", evaluators[name].kind not in _NUMBERS_ALONE):
                files.append(job.eval_folder / f"{name}.npz")
    return files


def build(project: Project) -> Path:
    """Write results/<scale>/report/index.html and return its path.

    Shows whatever is finished and current; tables and runs that are not are named as such. Raises
    ResultError where a file is damaged.
    """
    path = project.results / "report" / "index.html"
    write_atomic(path, render(project))
    return path


def render(project: Project) -> str:
    """Return the whole page as text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        data_uri=_data_uri,
        number=markdown.number,
        interval=markdown.interval,
        duration=duration,
        count=_count,
    )
    runs = {slug: _finished_runs(project, slug) for slug in project.papers}
    evaluated = [(run.job, run.evaluations) for found in runs.values() for run in found]
    compared = dense.galleries(table_jobs(project), evaluated)
    return environment.get_template("template.html").render(
        scale=project.scale,
        style=Markup((_HERE / "style.css").read_text(encoding="utf-8")),  # noqa: S704 (our files)
        script=Markup((_HERE / "script.js").read_text(encoding="utf-8")),  # noqa: S704
        built=time.strftime("%Y-%m-%d %H:%M"),
        summary=_summary([run for found in runs.values() for run in found]),
        papers=[_paper(project, slug, found, compared) for slug, found in runs.items()],
    )


@dataclass(frozen=True)
class FinishedRun:
    """A run whose files are there and current, with what its evaluators wrote."""

    job: RunJob
    meta: Json
    evaluations: dict[str, Json]

    @property
    def anchor(self) -> str:
        """Where in the page this run's provenance stands."""
        return f"run-{self.job.slug}-{self.job.name}-{self.job.seed}"

    @property
    def evaluation_seconds(self) -> float:
        return float(sum(one["seconds"] for one in self.evaluations.values()))

    @property
    def commit(self) -> str:
        """The commit that the run was made from; empty outside a repository."""
        git = self.meta.get("git") or {}
        return str(git.get("commit", ""))[:10] + (", edited" if git.get("dirty") else "")

    @property
    def commands(self) -> list[str]:
        """The commands that make this run and its evaluations anew."""
        made = (one["command"] for one in self.evaluations.values())
        return list(dict.fromkeys([self.meta["command"], *made]))


def _finished_runs(project: Project, slug: str) -> list[FinishedRun]:
    found = []
    for job in run_jobs(project):
        if job.slug != slug or not (job.folder / "meta.json").is_file():
            continue
        meta = results.read_meta(job)
        if meta["digest"] == job.digest:
            found.append(FinishedRun(job, meta, dict(_evaluations(job))))
    return found


def _evaluations(job: RunJob) -> Iterator[tuple[str, Json]]:
    for name in job.run.evaluate:
        if (job.eval_folder / f"{name}.json").is_file():
            evaluation = results.read_evaluation(job, name)
            if evaluation["digest"] == job.eval_digest(name):
                yield name, evaluation


def _summary(runs: Sequence[FinishedRun]) -> Json:
    """Return what was run, what it cost, and on what: for the opening of the page."""
    versions: dict[str, set[str]] = {}
    for run in runs:
        for name, version in run.meta["versions"].items():
            versions.setdefault(name, set()).add(version)
    machines = [
        f"{meta.get('processor') or 'unnamed processor'}, {meta['device']}, {meta['precision']}, "
        f"{_count(meta['threads'], 'thread')}"
        for meta in (run.meta for run in runs)
    ]
    return {
        "runs": len(runs),
        "trained": sum(run.meta["steps"] > 0 for run in runs),
        "evaluations": sum(len(run.evaluations) for run in runs),
        "training_seconds": sum(run.meta["wall_seconds"] for run in runs),
        "evaluation_seconds": sum(run.evaluation_seconds for run in runs),
        "versions": {name: ", ".join(sorted(found)) for name, found in versions.items()},
        "machines": list(dict.fromkeys(machines)),
    }


def _paper(
    project: Project, slug: str, runs: Sequence[FinishedRun], compared: dense.Galleries
) -> Json:
    paper = project.paper(slug)
    logs = [(run, results.read_log(run.job.folder / "log.jsonl")) for run in runs]
    trained = [(run.job, lines) for run, lines in logs if lines]
    styles = {name: n for n, name in enumerate(dict.fromkeys(job.name for job, _ in trained))}
    curves = [plots.Curve(job.name, job.seed, styles[job.name], lines) for job, lines in trained]
    first_seeds = {run.job.name: run for run in reversed(runs)}
    beneath_tables = {
        source for shown in compared.values() for one in shown for source in one.sources
    }
    return {
        "paper": paper,
        "tables": [
            {**_table(job), "compared": compared[job.slug, job.name]}
            for job in table_jobs(project)
            if job.slug == slug
        ],
        "claims": [_claims(job) for job in claims_jobs(project) if job.slug == slug],
        "strengths": _strengths(runs, styles),
        "curves": list({curve.run: curve for curve in curves}.values()),
        "panels": _shown(plots.panels(curves)),
        "captions": captions.galleries(
            slug, paper.tables.values(), [(run.job, run.evaluations) for run in runs]
        ),
        "galleries": [
            shown
            for run in runs
            if run in first_seeds.values()
            for shown in _galleries(run, beneath_tables)
        ],
        "runs": runs,
        "missing": sum(job.slug == slug for job in run_jobs(project, headline_only=True))
        - sum(run.job.run.headline for run in runs),
    }


def _table(job: TableJob) -> Json:
    """Return a table for the template, or why there is none to show."""
    path = job.outputs[2]
    shown: dict[str, Any] = {"name": job.name, "definition": job.table, "table": None}
    if not path.is_file():
        how = "" if job.table.headline else ": sweep table, build with `snakemake sweeps`"
        return {**shown, "status": f"not built yet{how}"}
    table = tables.load(path)
    if table["digest"] != job.digest:
        return {**shown, "status": "stale, made by other settings, sources or data: build again"}
    printed = markdown.printed_columns(table)
    return {
        **shown,
        "status": "",
        "table": table,
        "figure": _figure(job, table),
        "reference": reference.cells(job),
        "columns": [{**column, "printed": column["key"] in printed} for column in table["columns"]],
        "groups": [
            [row for row in table["rows"] if row["run"]],
            [row for row in table["rows"] if not row["run"]],
        ],
        "legend": markdown.legend(table),
        "deviations": markdown.deviations(table),
        "sources": markdown.sources(table),
    }


def _figure(job: TableJob, table: Json) -> Json | None:
    """Return the figure that a table asks for, for the template."""
    figure = figures.of_table(_marked(job), table)
    if figure is None:
        return None
    return {"legend": figure.legend, "panels": _shown(figure.panels)}


def _marked(job: TableJob) -> Table:
    """Return a table whose figure also marks what other tables measured, where they are built."""
    plot = job.table.plot
    if plot is None:
        return job.table
    marks = dict(plot.mark)
    for label, cell in plot.measured.items():
        other = TableJob(job.project, job.slug, cell.table)
        if not other.outputs[2].is_file():
            continue
        built = tables.load(other.outputs[2])
        rows = {row["label"]: row["cells"] for row in built["rows"]}
        ours = rows.get(cell.row, {}).get(cell.column, {}).get("ours")
        if built["digest"] == other.digest and ours:
            marks[label] = ours["value"] ** cell.power
    return job.table.model_copy(update={"plot": plot.model_copy(update={"mark": marks})})


def _shown(panels: Sequence[plots.Panel]) -> list[Json]:
    """Return panels for the template."""
    return [
        {"title": panel.title, "svg": Markup(panel.svg)}  # noqa: S704 (escaped by plots)
        for panel in panels
    ]


def _claims(job: ClaimsJob) -> Json:
    """Return a paper's claims for the template, or why there are none to show."""
    path = job.outputs[0]
    if not path.is_file():
        return {"status": "not examined yet", "claims": [], "legend": []}
    made = claims.load(path)
    if made["digest"] != job.digest:
        return {"status": "stale, of other settings or results: build again", "claims": []}
    known = reference.known_claims(job)
    counts: dict[str, int] = {}
    for one in made["claims"]:
        counts[one["verdict"]] = counts.get(one["verdict"], 0) + 1
    return {
        "status": "",
        "counts": counts,
        "legend": ledger.legend(made),
        "claims": [
            {
                **one,
                "shown_verdict": ledger.verdict(one),
                "shown_effect": ledger.effect(one),
                "details": list(ledger.details(one)),
                "known": _known_claim(known.get(one["id"])),
            }
            for one in made["claims"]
        ],
    }


def _known_claim(one: Json | None) -> Json | None:
    """Return the reference's verdict on a claim, in words."""
    if one is None:
        return None
    return {
        "verdict": ledger.verdict(one),
        "effect": ledger.effect(one),
        "seeds": one["seeds"],
        "stale": one["stale"],
    }


def _strengths(runs: Sequence[FinishedRun], styles: Mapping[str, int]) -> Json:
    """Return curves of accuracy over the strength of corruptions, a run's first seed each."""
    shown: dict[str, plots.Curve] = {}
    numbers = dict(styles)  # runs that were not trained have no training curve, and so no style yet
    for run in runs:
        for evaluation in run.evaluations.values():
            if evaluation["kind"] == "robustness" and run.job.name not in shown:
                lines = plots.strength_lines(evaluation)
                style = numbers.setdefault(run.job.name, len(numbers))
                shown[run.job.name] = plots.Curve(run.job.name, run.job.seed, style, lines)
    curves = list(shown.values())
    return {"curves": curves, "panels": _shown(plots.strength_panels(curves))}


def _galleries(
    run: FinishedRun, beneath_tables: Collection[tuple[str, str, str]]
) -> Iterator[Json]:
    """Yield the pictures that a run's evaluators drew, but for those shown with other runs'."""
    for name, evaluation in run.evaluations.items():
        drawn = {**evaluation, "pictures": captions.other_pictures(evaluation)}
        if (run.job.slug, run.job.name, name) in beneath_tables:
            drawn["pictures"] = dense.other_pictures(drawn)
        if strips := list(pictures.strips(run.job, name, drawn)):
            yield {"run": run, "strips": strips}


def _data_uri(image: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64," + base64.b64encode(image).decode()


def duration(seconds: float) -> str:
    """Return seconds for people: '4.2 s', '3 min 20 s', '2 h 5 min'."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
