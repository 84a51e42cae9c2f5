# What the rules share: the project as params/ describes it, and the functions that tell a job its
# files and digests. Nothing here trains, evaluates or imports torch.
import os
import re
import shlex
import sys
from pathlib import Path

try:
    from reprise import locks, plan, provenance, registry, status
    from reprise.config import load_project
    from reprise.errors import ConfigError, unknown
except ModuleNotFoundError as error:
    sys.exit(
        f"error: {error} for {sys.executable}, under which this Snakemake runs.\n"
        "Run `make setup`, then `source .venv/bin/activate`, then the same command again."
    )


# ---- the project ----
def read_project():
    """Read and check params/; a mistake is said in words, and nothing is started."""
    try:
        for key in config:
            if key != "scale":
                raise ConfigError(f"--config: {unknown('key', key, ['scale'])}")
        return load_project(Path.cwd(), config.get("scale"))
    except ConfigError as error:
        sys.exit(f"error: {error}\nNothing was started.")


os.environ["REPRISE_ROOT"] = os.getcwd()  # jobs work where Snakemake does
project = read_project()
SCALE = project.scale.scale
THREADS = project.scale.threads
# The interpreter of this Snakemake, so that the virtual environment need not be activated. As a
# resource it can be replaced in a profile (torchrun, srun) without making any result stale.
LAUNCHER = f"{shlex.quote(sys.executable)} -m reprise"


# ---- one driver at a time ----
def take_driver_lock():
    """Take the workspace's lock before the plan is made, or return why not.

    Only a real run is refused then (`onstart`): -n, --summary and the like may look meanwhile.
    """
    if not workflow.is_main_process or workflow.output_settings.dryrun:
        return None
    if locks.DRIVER_IS_PARENT in os.environ:  # `reprise pull` holds it
        return None
    try:
        return locks.take_driver(project.root)
    except locks.LockedError as error:
        return error


AFTER_A_FAILURE = f"""
A step failed. Its own words stand above, before the list of its files, and in the folder
{project.results / "logs"}.
Once that is mended, the same command goes on where it stopped: finished steps stay finished."""


def refuse_second_driver():
    if isinstance(driver_lock, locks.LockedError):
        sys.exit(f"error: {driver_lock}")


driver_lock = take_driver_lock()
if workflow.is_main_process:  # the plan, on the stream on which Snakemake lists the jobs
    status.print_status(project, sys.stdout if workflow.output_settings.dryrun else sys.stderr)


# ---- where files lie ----
def rel(path):
    """A path as rules name it: relative to the workspace where it lies inside."""
    path = Path(path)
    return str(path.relative_to(project.root)) if path.is_relative_to(project.root) else str(path)


def rels(paths):
    return [rel(path) for path in paths]


def one_of(words):
    """A wildcard's pattern: one of these words, as they are."""
    return "|".join(re.escape(str(word)) for word in sorted(set(words)))


RESULTS = rel(project.results)
DATA = rel(project.data_root)
LOGS = f"{RESULTS}/logs"
REPORT = f"{RESULTS}/report/index.html"
TRACKED = f"{RESULTS}/mlflow.tracked"
RUN = f"{RESULTS}/{{slug}}/runs/{{run}}/seed{{seed}}"
EVAL = f"{RESULTS}/{{slug}}/eval/{{run}}/seed{{seed}}"
TABLE = f"{RESULTS}/{{slug}}/tables/{{table}}"

RUN_JOBS = {(job.slug, job.name, str(job.seed)): job for job in plan.run_jobs(project)}
TABLE_JOBS = {(job.slug, job.name): job for job in plan.table_jobs(project)}


wildcard_constraints:
    slug=one_of(project.papers),
    run=one_of(name for _, name, _ in RUN_JOBS),
    seed=one_of(seed for _, _, seed in RUN_JOBS),
    table=one_of(name for _, name in TABLE_JOBS),
    dataset=one_of(dataset.name for dataset in project.scale.datasets.values()),


# ---- targets ----
def headline_tables(slug=None):
    """The files of every headline table, of one paper or of all."""
    jobs = plan.table_jobs(project, headline_only=True)
    return [file for job in jobs if slug in (None, job.slug) for file in rels(job.outputs)]


def headline_runs(slug=None):
    """The runs that the headline tables show, sweep rows left out, each once."""
    jobs = {
        (run.slug, run.name, run.seed): run
        for table in plan.table_jobs(project, headline_only=True)
        for run in table.run_jobs
        if run.run.headline and slug in (None, table.slug)
    }
    return list(jobs.values())


def files_of_runs(jobs):
    return [file for job in jobs for file in rels([*job.outputs, *job.eval_outputs])]


def headline_results(slug=None):
    """Tables and all that they rest on: a deleted file is built again even if the table stands."""
    return files_of_runs(headline_runs(slug)) + headline_tables(slug)


def all_results():
    tables = [file for job in TABLE_JOBS.values() for file in rels(job.outputs)]
    return files_of_runs(RUN_JOBS.values()) + tables


# ---- data ----
def manifests(folders):
    return rels(folder / "manifest.json" for folder in folders)


def data_sources(wildcards):
    return rels(provenance.sources(registry.module_path("data set", wildcards.dataset)))


def data_digest(wildcards):
    """Digest of what params/ say of the data set, whatever its alias is at this scale."""
    same = [d for d in project.scale.datasets.values() if d.name == wildcards.dataset]
    return provenance.digest_of([dataset.model_dump(mode="json") for dataset in same])


# ---- runs ----
def run_job(wildcards):
    return RUN_JOBS[wildcards.slug, wildcards.run, wildcards.seed]


def train_sources(wildcards):
    return rels(run_job(wildcards).sources)


def train_data(wildcards):
    return manifests(run_job(wildcards).data_folders)


def initial_weights(wildcards):
    """The finished run whose weights this one starts from, where it does."""
    init = run_job(wildcards).init_job
    return [] if init is None else rels(init.outputs)


def run_digest(wildcards):
    return run_job(wildcards).digest


# ---- evaluations ----
def runs_by_evaluators(slug):
    """A paper's runs as lists of names, by the evaluators that they share."""
    groups = {}
    for name, run in project.paper(slug).runs.items():
        if run.evaluate:
            groups.setdefault(run.evaluate, []).append(name)
    return groups


def evaluate_sources(wildcards):
    job = run_job(wildcards)
    return rels(sorted({file for name in job.run.evaluate for file in job.eval_sources(name)}))


def evaluate_data(wildcards):
    return manifests(run_job(wildcards).eval_data_folders)


def trained_run(wildcards):
    return rels(run_job(wildcards).outputs)


def evaluate_digest(wildcards):
    return run_job(wildcards).all_evals_digest


# ---- tables ----
def table_job(wildcards):
    return TABLE_JOBS[wildcards.slug, wildcards.table]


def table_evaluations(wildcards):
    """The evaluations of the headline rows, and those of sweep rows that happen to be current."""
    job = table_job(wildcards)
    return rels(job.inputs) + rels(status.current_sweeps(job))


def table_published(wildcards):
    file = table_job(wildcards).published_file
    return [] if file is None else [rel(file)]


def table_sources(wildcards):
    return rels(table_job(wildcards).sources)


def table_digest(wildcards):
    return table_job(wildcards).digest


# ---- report and MLflow ----
def shown_files():
    """Tables, curves, provenance and evaluations that the report and MLflow show."""
    weights = {rel(job.outputs[0]) for job in headline_runs()}
    return [file for file in headline_results() if file not in weights]


def shown_digest():
    """Digest of the words in params/ that the report shows and no table's digest holds."""
    papers = {slug: paper.model_dump(mode="json") for slug, paper in project.papers.items()}
    return provenance.digest_of({"papers": papers, "scale": project.scale.model_dump(mode="json")})


def report_sources():
    """The report's code and everything that lies beside it (template, style)."""
    beside = Path(provenance.__file__).parent / "report"
    files = {file for file in beside.iterdir() if file.is_file()}
    return rels(sorted(files | set(provenance.sources("reprise.report.build"))))


def track_sources():
    return rels(provenance.sources("reprise.track"))


def store_digest():
    """Digest of the store's address (which may hold a password), so that a new one is filled."""
    return provenance.digest_of(os.environ.get("MLFLOW_TRACKING_URI", ""))
