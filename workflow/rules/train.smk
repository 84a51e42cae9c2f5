# Runs: one training with one seed, or released weights as they are.


rule train:
    input:
        train_sources,
        train_data,
        earlier_runs,
    output:
        weights(f"{RUN}/model.safetensors"),
        f"{RUN}/log.jsonl",
        f"{RUN}/meta.json",
    log:
        f"{LOGS}/train/{{slug}}/{{run}}/seed{{seed}}.log",
    params:
        digest=run_digest,
        scale=SCALE,
    threads: run_threads
    priority: train_priority
    resources:
        launcher=LAUNCHER,
    message:
        "train {wildcards.slug}/{wildcards.run} seed {wildcards.seed}"
    shell:
        "{resources.launcher} train {wildcards.slug}/{wildcards.run} --seed {wildcards.seed}"
        " --scale {params.scale} --expect {params.digest} --log {log}"
