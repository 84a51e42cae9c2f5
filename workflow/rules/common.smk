# What the rules share: the project as params/ describes it, and the functions that tell a job its
# files and digests. Nothing here trains, evaluates or imports torch.
import collections
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    from reprise import locks, plan, provenance, registry, status
    from reprise.config import load_project
    from reprise.data import origin
    from reprise.errors import ConfigError, unknown
    from reprise.rehearsal import PREFIX, is_rehearsal, rows
except ModuleNotFoundError as error:
    sys.exit(
        f"error: {error} for {sys.executable}, under which this Snakemake runs.\n"
        "Run `make setup`, then `source .venv/bin/activate`, then the same command again."
    )


# ---- the project ----
def is_true(key):
    """A switch of --config, which Snakemake hands on as a truth value, a number or a word."""
    value = str(config.get(key, False)).lower()
    if value not in ("true", "false"):
        raise ConfigError(f"--config: {key} = {config[key]!r}: must be true or false")
    return value == "true"


def read_project():
    """Read and check params/; a mistake is said in words, and nothing is started."""
    try:
        for key in config:
            if key not in ("scale", "rehearse"):
                raise ConfigError(f"--config: {unknown('key', key, ['scale', 'rehearse'])}")
        chosen = load_project(Path.cwd(), config.get("scale"))
        if not is_true("rehearse"):
            return chosen
        os.environ.pop("MLFLOW_TRACKING_URI", None)  # a rehearsal is shown to nobody else
        return load_project(Path.cwd(), f"{PREFIX}{chosen.scale.scale}")
    except ConfigError as error:
        sys.exit(f"error: {error}\nNothing was started.")


os.environ["REPRISE_ROOT"] = os.getcwd()  # jobs work where Snakemake does
project = read_project()
SCALE = project.scale.scale
REHEARSAL = is_rehearsal(project)
# ---- the launcher ----
# The interpreter of this Snakemake, so that the virtual environment need not be activated. As a
# resource the launcher can be replaced in a profile (torchrun, srun) without making any result
# stale. Importing torch and the like takes five seconds of a step; so verbs are forked from one
# process that has done it, where there is one, and else start by themselves.
WARM = "workflow/launchers/warm.py"
WARM_FOLDER = tempfile.TemporaryDirectory(prefix="reprise-")
WARM_ADDRESS = f"{WARM_FOLDER.name}/warm"
LAUNCHER = f"{shlex.quote(sys.executable)} -S {WARM} {shlex.quote(WARM_ADDRESS)}"
WARM_PROCESSES = []
FEW = 3  # so many steps are done before the process would pay


def start_warm():
    """Start the process that forks for verbs, where many steps run here; it ends with this one.

    Not where there is an NVIDIA driver, whose state no fork may share.
    """
    steps = sum(1 for _ in workflow.dag.needrun_jobs())
    on_gpu = Path("/proc/driver/nvidia").exists() and not REHEARSAL
    if not workflow.local_exec or on_gpu or steps <= FEW:
        return
    ours = ["reprise.rehearsal.everything"] if REHEARSAL else []
    command = [sys.executable, WARM, "--serve", WARM_ADDRESS, *ours]
    # Its standard input stays open as long as this process lives.
    WARM_PROCESSES.append(subprocess.Popen(command, stdin=subprocess.PIPE))


# ---- the driver's own work ----
def drop_rate_limit():
    """Let Snakemake look for work when a step ends, and not all the time.

    To keep to a limit of jobs per second, 9.27 looks again a second after each look; every job that
    ends adds one to those that look, and after a hundred they take a core. Steps that run here need
    no such limit.
    """
    if workflow.local_exec:
        workflow.scheduler.job_rate_limiter = None


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


# ---- where files lie ----
def rel(path):
    """A path as rules name it: relative to the workspace where it lies inside."""
    path = Path(path)
    return str(path.relative_to(project.root)) if path.is_relative_to(project.root) else str(path)


def rels(paths):
    return [rel(path) for path in paths]


def files_of(jobs):
    return [file for job in jobs for file in rels(job.outputs)]


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
BENCHMARK = f"{RESULTS}/{{slug}}/bench/{{benchmark}}"
CLAIMS = f"{RESULTS}/{{slug}}/claims"

reference = project.for_reference()
RUN_JOBS = {
    (job.slug, job.name, str(job.seed)): job
    for job in [*plan.run_jobs(reference), *plan.run_jobs(project)]
}
BENCHMARK_JOBS = {(job.slug, job.name): job for job in plan.benchmark_jobs(project)}
TABLE_JOBS = {(job.slug, job.name): job for job in plan.table_jobs(project)}
CLAIMS_JOBS = {job.slug: job for job in plan.claims_jobs(project)}
DATASETS = {dataset.home: dataset for dataset in project.scale.datasets.values()}


wildcard_constraints:
    slug=one_of(project.papers),
    run=one_of(name for _, name, _ in RUN_JOBS),
    seed=one_of(seed for _, _, seed in RUN_JOBS),
    table=one_of(name for _, name in TABLE_JOBS),
    benchmark=one_of(name for _, name in BENCHMARK_JOBS),
    dataset=one_of(DATASETS),


# ---- data ----
def manifests(folders):
    return rels(folder / "manifest.json" for folder in folders)


def data_sources(wildcards):
    name = DATASETS[wildcards.dataset].name
    return rels(provenance.sources(registry.module_path("data set", name)))


def data_below(wildcards):
    """The data sets of this scale that one is made from: those whose modules it imports."""
    own = DATASETS[wildcards.dataset].name
    modules = {Path(file).stem for file in data_sources(wildcards) if "/sets/" in file} - {own}
    return manifests(project.data_root / name for name in sorted(modules & DATASETS.keys()))


def data_digest(wildcards):
    """Digest of what params/ say of the data set, and of what lies at its root, wherever it is.

    What a rehearsal generates there, later than this is asked, follows from params/.
    """
    dataset = DATASETS[wildcards.dataset]
    seen = None if REHEARSAL else origin.seen(project.data_root / dataset.home, dataset.args)
    return provenance.digest_of([plan.dataset_spec(dataset), *([seen] if seen else [])])


# ---- runs ----
def run_job(wildcards):
    return RUN_JOBS[wildcards.slug, wildcards.run, wildcards.seed]


def train_sources(wildcards):
    return rels(run_job(wildcards).sources)


def train_data(wildcards):
    return manifests(run_job(wildcards).data_folders)


def weights(file):
    """The output for a run's weights; those of a rehearsal go when the last step has read them."""
    return temp(file) if REHEARSAL else file


def earlier_runs(wildcards):
    """The finished runs whose weights this one starts from, or whose models it uses."""
    return files_of(run_job(wildcards).earlier_jobs)


WAITED_FOR = collections.Counter(
    (one.slug, one.name, str(one.seed)) for job in RUN_JOBS.values() for one in job.earlier_jobs
)
MOST_URGENT = 9  # benchmarks come before


def train_priority(wildcards):
    """Higher where more runs wait for this one: a long chain begun last leaves cores idle."""
    waiting = WAITED_FOR[wildcards.slug, wildcards.run, wildcards.seed]
    return min(MOST_URGENT, 2 * waiting)


def run_threads(wildcards):
    return run_job(wildcards).threads


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
    """The run, and the models that it uses.

    Its method is built as for training, which reads the weights that it starts from: they are there
    as long as nobody deletes them, which a rehearsal does.
    """
    job = run_job(wildcards)
    return files_of([job, *(job.earlier_jobs if REHEARSAL else job.used_jobs.values())])


def evaluate_digest(wildcards):
    return run_job(wildcards).all_evals_digest


# ---- benchmarks ----
def benchmark_job(wildcards):
    return BENCHMARK_JOBS[wildcards.slug, wildcards.benchmark]


def benchmark_sources(wildcards):
    return rels(benchmark_job(wildcards).sources)


def benchmark_digest(wildcards):
    return benchmark_job(wildcards).digest


# ---- tables and claims ----
def cell_files(job):
    """The evaluations of the headline rows, and those of sweep rows that happen to be current."""
    return rels(job.inputs) + rels(status.current_sweeps(job))


def table_job(wildcards):
    return TABLE_JOBS[wildcards.slug, wildcards.table]


def table_evaluations(wildcards):
    return cell_files(table_job(wildcards))


def table_published(wildcards):
    file = table_job(wildcards).published_file
    return [] if file is None else [rel(file)]


def table_sources(wildcards):
    return rels(table_job(wildcards).sources)


def table_digest(wildcards):
    return table_job(wildcards).digest


def claims_evaluations(wildcards):
    return cell_files(CLAIMS_JOBS[wildcards.slug])


def claims_sources(wildcards):
    return rels(CLAIMS_JOBS[wildcards.slug].sources)


def claims_digest(wildcards):
    return CLAIMS_JOBS[wildcards.slug].digest


# ---- report and MLflow ----
def shown_files():
    """Tables, curves, provenance and evaluations that the report and MLflow show."""
    weights = {rel(job.outputs[0]) for job in headline_runs()}
    return [file for file in headline_results() if file not in weights]


def shown_digest():
    """Digest of the words in params/ that the report shows and no table's digest holds."""
    papers = {slug: paper.model_dump(mode="json") for slug, paper in project.papers.items()}
    return provenance.digest_of({"papers": papers, "scale": project.scale.model_dump(mode="json")})


def reference_files():
    """The reference results of this scale, as far as there are any."""
    return rels(sorted((project.root / "results/reference" / SCALE).glob("*/**/*.json")))


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
