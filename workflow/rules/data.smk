# Data sets: fetched, verified by content and unpacked once, before anything is trained.


rule data:
    input:
        data_sources,
        data_below,
    output:
        f"{DATA}/{{dataset}}/manifest.json",
    log:
        f"{LOGS}/data/{{dataset}}.log",
    params:
        digest=data_digest,
    priority: 10
    resources:
        launcher=LAUNCHER,
        scale=SCALE,  # no parameter: a data set that two scales share is prepared once
    message:
        "data {wildcards.dataset}"
    shell:
        "{resources.launcher} data {wildcards.dataset} --scale {resources.scale} --log {log}"
