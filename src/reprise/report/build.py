"""Gathers tables, curves, pictures and provenance into one self-contained HTML page."""

import base64
import json
import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import jinja2
from markupsafe import Markup

from reprise import markdown
from reprise.config import Json, Project
from reprise.files import write_atomic
from reprise.plan import run_jobs, table_jobs
from reprise.report import (
    asmarkdown,
    captions,
    dense,
    forest,
    origins,
    pictures,
    plots,
    rows,
    summary,
    words,
)
from reprise.report.claims import shown_claims
from reprise.report.gather import Gathered
from reprise.report.runs import FinishedRun
from reprise.report.summary import Summary
from reprise.report.tables import shown_panels, shown_table

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
    """Write results/<scale>/report/index.html and report.md; return the path of the page.

    Shows whatever is finished and current; tables and runs that are not are named as such. Raises
    ResultError where a file is damaged.
    """
    folder, shown = project.results / "report", Gathered(project)
    built = time.strftime("%Y-%m-%d %H:%M")
    page, text = _page(shown, built), asmarkdown.render(shown, built)
    write_atomic(folder / "report.md", text)
    write_atomic(folder / "index.html", page)
    return folder / "index.html"


def render(project: Project) -> str:
    """Return the whole page as text."""
    return _page(Gathered(project), time.strftime("%Y-%m-%d %H:%M"))


def _page(shown: Gathered, built: str) -> str:
    project, summaries = shown.project, summary.of_papers(shown)
    every_run = [run for found in shown.runs.values() for run in found]
    evaluated = [(run.job, run.evaluations) for run in every_run]
    compared = dense.galleries(table_jobs(project), evaluated)
    tables = [
        {**shown_table(shown, job), "compared": compared[job.slug, job.name]}
        for job in table_jobs(project)
    ]
    of_cells = [(one["job"], one["table"], one["reference"]) for one in tables if one["table"]]
    template = _environment().get_template("template.html")
    return template.render(
        scale=project.scale,
        style=_beside("style.css"),
        script=_beside("script.js"),
        built=built,
        everything=summary.of_all(summaries),
        origin=_origin(every_run),
        papers=[_paper(shown, slug, summaries[slug], tables) for slug in shown.runs],
        origins=_json(origins.collect(project, of_cells, every_run)),
    )


def _environment() -> jinja2.Environment:
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
        duration=words.duration,
        minutes=words.minutes,
        count=words.count,
        counts=words.counts,
    )
    environment.globals.update(
        words=words,
        cell_id=origins.cell_id,
        beside_print=markdown.beside_print,
        covered=markdown.covered,
        has_seeds=markdown.has_seeds,
        of_reference=markdown.of_reference,
        draw_effect=forest.drawing,
        short=_short,
    )
    return environment


def _beside(name: str) -> Markup:
    return Markup((_HERE / name).read_text(encoding="utf-8"))  # noqa: S704 (our files)


def _json(value: Json) -> Markup:
    """Return JSON that can stand in a <script>: no character of it can end one."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 (escaped above)


def _short(printed: str) -> str:
    """Return a table's name in the paper without what is said about it: 'Table 1'."""
    return re.split(r" \(|; |, ", printed, maxsplit=1)[0]


def _origin(runs: Sequence[FinishedRun]) -> Json:
    """Return on what, from what and with what the runs were made: for the opening of the page."""
    versions: dict[str, set[str]] = {}
    for run in runs:
        for name, version in run.meta["versions"].items():
            versions.setdefault(name, set()).add(version)
    return {
        "versions": {name: ", ".join(sorted(found)) for name, found in versions.items()},
        "machines": list(dict.fromkeys(run.machine for run in runs)),
        "commits": list(dict.fromkeys(run.commit for run in runs if run.commit)),
    }


def _paper(shown: Gathered, slug: str, summarised: Summary, tables: Sequence[Json]) -> Json:
    paper, runs = shown.project.paper(slug), shown.runs[slug]
    trained = [run for run in runs if run.log]
    styles = {name: n for n, name in enumerate(dict.fromkeys(run.job.name for run in trained))}
    names = rows.told_apart(
        ((slug, run.job.name) for run in runs), rows.labels(slug, paper.tables.values())
    )
    curves = [
        plots.Curve(names[slug, run.job.name], run.job.seed, styles[run.job.name], run.log)
        for run in trained
    ]
    first_seeds = {run.job.name: run for run in reversed(runs)}
    beneath_tables = {
        source for one in tables for gallery in one["compared"] for source in gallery.sources
    }
    own = [one for one in tables if one["job"].slug == slug]
    return {
        "paper": paper,
        "summary": summarised,
        "tables": [one for one in own if one["table"] or one["compared"]],
        "absent": [one for one in own if not (one["table"] or one["compared"])],
        "claims": [shown_claims(shown, slug, own)] if paper.claims else [],
        "strengths": _strengths(runs, styles, names),
        "curves": list({curve.run: curve for curve in curves}.values()),
        "panels": shown_panels(plots.panels(curves)),
        "captions": captions.galleries(
            slug, paper.tables.values(), [(run.job, run.evaluations) for run in runs]
        ),
        "galleries": [
            gallery
            for run in runs
            if run in first_seeds.values()
            for gallery in _galleries(run, names[slug, run.job.name], beneath_tables)
        ],
        "runs": runs,
    }


def _strengths(runs: Sequence[FinishedRun], styles: Mapping[str, int], names: rows.Labels) -> Json:
    """Return curves of accuracy over the strength of corruptions, a run's first seed each."""
    shown: dict[str, plots.Curve] = {}
    numbers = dict(styles)  # runs that were not trained have no training curve, and so no style yet
    for run in runs:
        for evaluation in run.evaluations.values():
            if evaluation["kind"] == "robustness" and run.job.name not in shown:
                lines = plots.strength_lines(evaluation)
                style = numbers.setdefault(run.job.name, len(numbers))
                label = names[run.job.slug, run.job.name]
                shown[run.job.name] = plots.Curve(label, run.job.seed, style, lines)
    curves = list(shown.values())
    return {"curves": curves, "panels": shown_panels(plots.strength_panels(curves))}


def _galleries(
    run: FinishedRun, label: str, beneath_tables: Collection[tuple[str, str, str]]
) -> Iterator[Json]:
    """Yield the pictures that a run's evaluators drew, but for those shown with other runs'.

    A contact sheet is left out: it shows the data, which the captions show larger, and no method.
    """
    for name, evaluation in run.evaluations.items():
        if evaluation["kind"] == "sheet":
            continue
        drawn = {**evaluation, "pictures": captions.other_pictures(evaluation)}
        if (run.job.slug, run.job.name, name) in beneath_tables:
            drawn["pictures"] = dense.other_pictures(drawn)
        if strips := list(pictures.strips(run.job, name, drawn)):
            yield {"run": run, "label": label, "strips": strips}


def _data_uri(image: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64," + base64.b64encode(image).decode()
