# What can be asked for on the command line: the files of each target, and words for what no rule
# makes.
from snakemake.cli import get_argument_parser

from reprise.errors import nearest


# ---- files of targets ----
def headline_tables(slug=None):
    """The files of every headline table, of one paper or of all."""
    jobs = plan.table_jobs(project, headline_only=True)
    return [file for job in jobs if slug in (None, job.slug) for file in rels(job.outputs)]


def claims_files(slug=None):
    """The ledgers of claims, of one paper or of all."""
    jobs = CLAIMS_JOBS.values()
    return [file for job in jobs if slug in (None, job.slug) for file in rels(job.outputs)]


def headline_cells(slug=None):
    """The headline tables and the claims: what reads runs, evaluations and benchmarks."""
    jobs = [*plan.table_jobs(project, headline_only=True), *CLAIMS_JOBS.values()]
    return [job for job in jobs if slug in (None, job.slug)]


def headline_runs(slug=None):
    """The runs that headline tables and claims show, sweep rows left out, each once."""
    jobs = {
        (run.slug, run.name, run.seed): run
        for job in headline_cells(slug)
        for run in job.run_jobs
        if run.run.headline
    }
    return list(jobs.values())


def files_of_runs(jobs):
    """Files of runs and their evaluations; of a rehearsal's weights, which are many GB, none."""
    first = 1 if REHEARSAL else 0
    return [file for job in jobs for file in rels([*job.outputs[first:], *job.eval_outputs])]


def headline_benchmarks(slug=None):
    jobs = [bench for job in headline_cells(slug) for bench in job.benchmark_jobs]
    return list(dict.fromkeys(file for job in jobs for file in rels(job.outputs)))


def headline_results(slug=None):
    """Tables, claims and all that they rest on: a deleted file is built again even if they stand."""
    below = files_of_runs(headline_runs(slug)) + headline_benchmarks(slug)
    return below + headline_tables(slug) + claims_files(slug)


def all_results():
    jobs = [*BENCHMARK_JOBS.values(), *TABLE_JOBS.values(), *CLAIMS_JOBS.values()]
    return files_of_runs(plan.run_jobs(project)) + files_of(jobs)


def reference_results():
    """What `reprise snapshot` reads: headline runs with the reference seeds, sweeps with one."""
    return files_of_runs(plan.run_jobs(reference)) + files_of(BENCHMARK_JOBS.values())


# ---- the command line ----
def asked_for():
    """The targets on the command line, which Snakemake tells a workflow only after it is read."""
    if Path(sys.argv[0]).stem not in ("snakemake", "__main__"):
        return []
    return get_argument_parser().parse_known_args(sys.argv[1:])[0].targets


def check_targets():
    """Refuse what no rule makes, in words, before anything is planned."""
    for target in asked_for():
        made = workflow.is_rule(target) or Path(target).exists()
        # As Snakemake writes paths: `./results/...` is `results/...`.
        file = target if os.path.isabs(target) else os.path.relpath(target)
        if not made and not any(rule.is_producer(file) for rule in workflow.rules):
            why = why_not_made(file if "/" in target else target)
            sys.exit(f"error: {why}\nNothing was started.")


def why_not_made(target):
    """Say what is wrong with a target that no rule makes."""
    below, _, rest = target.partition("/")
    if not rest:
        targets = [rule.name for rule in workflow.rules if not rule.has_wildcards()]
        return unknown("target", target, targets)
    for scale in sorted((project.root / "params/scales").glob("*.yaml")):
        wanted = [name for name in (scale.stem, f"{PREFIX}{scale.stem}") if rest.startswith(f"{name}/")]
        if below == project.config.results_root and wanted and wanted[0] != SCALE:
            rehearse = " rehearse=true" * wanted[0].startswith(PREFIX)
            return f"{target}: say `--config scale={scale.stem}{rehearse}`; this is scale {SCALE}"
    files = [*all_results(), *manifests(project.data_root / name for name in DATASETS)]
    return f"{target}: no step of scale {SCALE} makes it{nearest(target, files)}"


def show_plan():
    """What is there and what is not, on the stream on which Snakemake lists the jobs."""
    dry = workflow.output_settings.dryrun
    status.print_status(project, sys.stdout if dry else sys.stderr)
