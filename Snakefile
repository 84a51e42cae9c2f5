# What runs, in which order, and when again. The science is `python -m reprise`, which each rule
# calls and which works without Snakemake; what to build stands in params/.
#
#   snakemake --cores all                         every headline table, the report, MLflow
#   snakemake --cores all can                     the tables of one paper
#   snakemake --cores all sweeps                  every run and table there is
#   snakemake --cores all --config scale=smoke    another scale than params/config.yaml says
#   snakemake --cores all reference               what `reprise snapshot` reads: more seeds, sweeps
#   snakemake --cores all --config scale=gpu rehearse=true
#                                                 two steps of every run of a scale, on generated files
#   snakemake -n                                  what would run, and why
import time

from snakemake.utils import min_version

min_version("9.14")


# Reads and checks params/ before any job. There is no `configfile:` because params/config.yaml is
# read there, too, with the mistakes in it named.
include: "workflow/rules/common.smk"
include: "workflow/rules/targets.smk"


rule all:
    default_target: True
    input:
        headline_results(),
        REPORT,
        TRACKED,
    message:
        "all: tables, report and MLflow are built"


# one target per paper: its tables and claims
for slug in project.papers:

    rule:
        name:
            slug
        input:
            headline_results(slug),
        message:
            f"{slug}: its tables are built"


rule sweeps:
    input:
        all_results(),
    message:
        "sweeps: every run and table is built; `snakemake --cores all` puts them into the report"


rule reference:
    input:
        reference_results(),
    message:
        "reference: all is built; `python -m reprise snapshot` writes results/reference/"


include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/benchmark.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/claims.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/track.smk"


if REHEARSAL:

    localrules:
        rehearsal,

    # Every step of every row, twice, and a table of what ran; it is printed whenever asked for.
    rule rehearsal:
        default_target: True
        input:
            all_results(),
            REPORT,
            TRACKED,
        log:
            f"{LOGS}/rehearsal.log",
        resources:
            launcher=LAUNCHER,
            scale=SCALE,
            started=int(time.time()),
        message:
            "rehearsal: every step of every row ran"
        shell:
            "{resources.launcher} rehearsal --scale {resources.scale} --since {resources.started}"
            " --log {log}"


if workflow.is_main_process:  # not in the jobs' own processes
    check_targets()
    show_plan()


localrules:
    all,
    table,
    claims,
    report,
    track,


onstart:
    refuse_second_driver()
    drop_rate_limit()
    start_warm()


onerror:
    print(AFTER_A_FAILURE, file=sys.stderr)
    if REHEARSAL:
        print(rows.write(project))
