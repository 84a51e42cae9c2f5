# Evaluations: all evaluators of a run in one process, because importing torch costs seconds.
# Snakemake wants a rule's outputs fixed, so runs with the same list of evaluators share a rule,
# which is named after the first of them.


for slug in project.papers:
    for evaluators, names in runs_by_evaluators(slug).items():

        rule:
            name:
                f"evaluate_{slug}_like_{names[0]}"
            wildcard_constraints:
                slug=slug,
                run=one_of(names),
            input:
                evaluate_sources,
                evaluate_data,
                trained_run,
            output:
                [f"{EVAL}/{name}.{ending}" for name in evaluators for ending in ("json", "npz")],
            log:
                f"{LOGS}/evaluate/{{slug}}/{{run}}/seed{{seed}}.log",
            params:
                digest=evaluate_digest,
                scale=SCALE,
            threads: run_threads
            priority: 1  # before another training, so that a rehearsal's weights can go
            resources:
                launcher=LAUNCHER,
            message:
                "evaluate {wildcards.slug}/{wildcards.run} seed {wildcards.seed}"
            shell:
                "{resources.launcher} evaluate {wildcards.slug}/{wildcards.run}"
                " --seed {wildcards.seed} --scale {params.scale}"
                " --expect {params.digest} --log {log}"
