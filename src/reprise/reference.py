"""The reference results: small text in Git, made by `reprise snapshot`; the report sets them beside
what a user's own machine measured.

Headline rows have the scale's reference seeds, sweeps one. Each number carries the digests of what
it was made from, so that the report can say where settings or sources have changed since.
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from reprise import claims, ledger, markdown, results, tables
from reprise.cells import NO_WEIGHTS
from reprise.config import Json, Project
from reprise.errors import RepriseError, StaleError
from reprise.files import write_atomic
from reprise.plan import (
    BenchmarkJob,
    ClaimsJob,
    RunJob,
    TableJob,
    benchmark_jobs,
    claims_jobs,
    run_jobs,
    split_run,
    table_jobs,
)


def folder(project: Project) -> Path:
    """Folder of a scale's reference results, which Git tracks."""
    return project.root / "results" / "reference" / project.scale.scale


def table_file(job: TableJob) -> Path:
    """The JSON of a reference table; it may not be there."""
    return folder(job.project) / job.slug / "tables" / f"{job.name}.json"


def claims_file(job: ClaimsJob) -> Path:
    """The JSON of a paper's reference claims; it may not be there."""
    return folder(job.project) / job.slug / "claims.json"


def snapshot(project: Project, slugs: Sequence[str] = (), whole: bool = True) -> Path:
    """Write the reference tables and claims of a scale from finished results; return the folder.

    With ``slugs`` only those papers; others keep theirs. Raises StaleError where a cell has no
    current number, with the command that builds it, unless ``whole`` is false: such a cell then
    says that it was not run, and a table without any number of ours is left out. What was there
    before is replaced, and stays as it was when this fails.
    """
    wide = project.for_reference()
    chosen = {slug: project.paper(slug) for slug in slugs} or dict(project.papers)
    made = [(job, tables.assemble(job)) for job in table_jobs(wide) if job.slug in chosen]
    lacking = [text for job, table in made for text in _lacking(job, table)]
    if lacking and whole:
        shown = "\n".join(f"  {text}" for text in lacking[:10])
        raise StaleError(
            f"{len(lacking)} cells have no current number:\n{shown}\nBuild them first: "
            f"`snakemake --cores all reference --config scale={project.scale.scale}`"
        )
    ledgers = [(job, claims.assemble(job)) for job in claims_jobs(wide) if job.slug in chosen]
    texts: dict[Path, str] = {}
    for job, table in made:
        if whole or _has_numbers(table):
            texts |= _texts_of_table(job, table)
    for claims_job, made_ledger in ledgers:
        texts |= _texts_of_claims(claims_job, made_ledger)
    target = folder(project)
    for slug in chosen:
        texts[target / slug / "README.md"] = "\n".join(_about_runs(wide, slug)) + "\n"
    for slug in chosen:
        _replace(target / slug, texts)
    write_atomic(target / "README.md", _readme(wide))
    return target


def _replace(paper: Path, texts: Mapping[Path, str]) -> None:
    """Replace a paper's folder by its texts, once all of them are on the disk."""
    new, old = paper.with_name(f".{paper.name}.new"), paper.with_name(f".{paper.name}.old")
    for left in (new, old):  # by a snapshot that was killed
        shutil.rmtree(left, ignore_errors=True)
    try:
        for path, text in texts.items():
            if path.is_relative_to(paper):
                write_atomic(new / path.relative_to(paper), text)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    if paper.is_dir():
        paper.rename(old)
    new.rename(paper)
    shutil.rmtree(old, ignore_errors=True)


def _lacking(job: TableJob, table: Json) -> Iterator[str]:
    for row in table["rows"]:
        for key, cell in row["cells"].items():
            # What a scale has no weights for cannot be built, and lacks nothing.
            lacks = cell["status"].startswith(("not run", "partial"))
            if lacks and NO_WEIGHTS not in cell["status"]:
                yield f"{job.slug}/{job.name}, {row['label']}, {key}: {cell['status']}"


def _has_numbers(table: Json) -> bool:
    return any(
        cell["status"] == "measured" for row in table["rows"] for cell in row["cells"].values()
    )


def _texts_of_table(job: TableJob, table: Json) -> dict[Path, str]:
    """Return a table's JSON, CSV and Markdown, by the file that each belongs into."""
    commands = "\n".join(_commands(table))
    text = (
        f"{markdown.render(table)}\n## Commands\n\nThese made its numbers; data and earlier runs, "
        f"which they want, come with `snakemake --cores all reference --config scale="
        f"{job.project.scale.scale}`.\n\n{commands}"
    )
    file = table_file(job)
    return {
        file: json.dumps(table, indent=1, ensure_ascii=False) + "\n",
        file.with_suffix(".csv"): tables.as_csv(table),
        file.with_suffix(".md"): text,
    }


def _texts_of_claims(job: ClaimsJob, made: Json) -> dict[Path, str]:
    """Return the ledger's JSON and Markdown, by the file that each belongs into."""
    file = claims_file(job)
    return {
        file: json.dumps(made, indent=1, ensure_ascii=False) + "\n",
        file.with_suffix(".md"): ledger.render(made),
    }


def _commands(table: Json) -> Iterator[str]:
    """Yield Markdown lines: each row with the commands that make its numbers."""
    for row in table["rows"]:
        cells = row["cells"].values()
        found = dict.fromkeys(c for cell in cells for run in cell["runs"] for c in run["commands"])
        if found:
            yield f"- {row['label']}:"
            yield from (f"  - `{command}`" for command in found)
    yield ""


def _about_runs(project: Project, slug: str) -> list[str]:
    """Return Markdown lines on where a paper's reference comes from: runs, machine, versions."""
    all_jobs = [job for job in run_jobs(project) if job.slug == slug]
    jobs = [job for job in all_jobs if (job.folder / "meta.json").is_file()]
    metas = [results.read_meta(job) for job in jobs]
    measured = [
        {**record, **record["machine"]}
        for job in benchmark_jobs(project)
        if job.slug == slug and job.outputs[0].is_file()
        for record in (results.read_json(job.outputs[0], ("machine", "versions")),)
    ]
    machines = dict.fromkeys(
        f"{made.get('processor')}, {made['precision']}, {made['threads']} thread(s)"
        for made in (*metas, *measured)
    )
    versions = dict.fromkeys(
        ", ".join(f"{name} {version}" for name, version in made["versions"].items())
        for made in (*metas, *measured)
    )
    minutes = sum(meta["wall_seconds"] for meta in metas) / 60
    return [
        f"# Reference results of {slug}, scale {project.scale.scale}",
        "",
        f"- runs: {len(jobs)} of {len(all_jobs)}, {minutes:.0f} minutes of training",
        *(f"- machine: {text}" for text in machines),
        *(f"- versions: {text}" for text in versions),
    ]


def _readme(project: Project) -> str:
    """Return what stands beside the papers' folders: all that there is, whenever it was made."""
    scale, target = project.scale, folder(project)
    lines = [
        f"# Reference results, scale {scale.scale}",
        "",
        f"{scale.about}. {_what_ran(project)}, never by hand; each paper's README says on which "
        "machine.",
        "",
        "| paper | table | files |",
        "|---|---|---|",
    ]
    for job in table_jobs(project):
        if (target / job.slug / "tables" / f"{job.name}.json").is_file():
            stem = f"{job.slug}/tables/{job.name}"
            files = f"[Markdown]({stem}.md), [CSV]({stem}.csv), [JSON]({stem}.json)"
            lines.append(f"| {job.slug} | {job.table.title} | {files} |")
    for slug in dict.fromkeys(job.slug for job in claims_jobs(project)):
        if (target / slug / "claims.json").is_file():
            files = f"[Markdown]({slug}/claims.md), [JSON]({slug}/claims.json)"
            runs = (
                f", [runs and machine]({slug}/README.md)" * (target / slug / "README.md").is_file()
            )
            lines.append(f"| {slug} | Claims and verdicts | {files}{runs} |")
    return "\n".join(lines) + "\n"


def _what_ran(project: Project) -> str:
    """Return in words which seeds there are, if any, and what wrote the tables."""
    scale = project.scale
    command = f"python -m reprise snapshot --scale {scale.scale}"
    if not any(file.is_file() for job in run_jobs(project) for file in job.eval_outputs):
        return (
            "Counts, speed and memory alone: at this scale nothing was trained, so there is no "
            f"score. Written by `{command} --partial` after single benchmarks"
        )
    return (
        f"Headline rows have seeds {', '.join(map(str, scale.seeds))}, sweep rows seed "
        f"{scale.seeds[0]}. Trainings ran beside each other, so their times say little of speed; "
        f"timed benchmarks had the workflow's cores alone. Written by `{command}` after "
        f"`snakemake --cores all reference --config scale={scale.scale}`"
    )


def cells(job: TableJob) -> dict[tuple[str, str], Json]:
    """Return the reference's measured cells of a table by (row label, column).

    Each has the estimate of `ours`, its `seeds`, and `stale`: True where what it was made from is
    not what the present settings and sources would use. Empty where there is no reference.
    """
    file = table_file(job)
    if not file.is_file():
        return {}
    table = tables.load(file)
    return {
        (row["label"], key): {
            "ours": cell["ours"],
            "seeds": cell["seeds"],
            "stale": any(
                _digest_now(job.project, made) != _digest_then(made) for made in cell["runs"]
            ),
        }
        for row in table["rows"]
        for key, cell in row["cells"].items()
        if cell["ours"]
    }


def known_claims(job: ClaimsJob) -> dict[str, Json]:
    """Return the reference's claims by id, each with `stale` as in `cells`; empty without any."""
    file = claims_file(job)
    if not file.is_file():
        return {}
    return {
        one["id"]: {
            **one,
            "stale": any(
                _digest_now(job.project, made) != _digest_then(made)
                for cell in one["cells"]
                for made in cell["runs"]
            ),
        }
        for one in claims.load(file)["claims"]
    }


def _digest_then(made: Json) -> str:
    return str(made["eval_digest"])


def _digest_now(project: Project, made: Json) -> str | None:
    """Return the digest that a number's source has now; None where there is none any more."""
    slug, name = split_run("", made["run"])
    try:
        if "benchmark" in made:
            return BenchmarkJob(project, slug, made["benchmark"]).digest
        run = RunJob(project, slug, name, made["seed"])
        return run.eval_digest(made["evaluator"]) if "evaluator" in made else run.digest
    except (RepriseError, KeyError):
        return None
