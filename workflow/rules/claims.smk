# Claims: what a paper says of its numbers, tested on ours. Nothing printed enters here.


rule claims:
    input:
        claims_evaluations,
        claims_sources,
    output:
        f"{CLAIMS}.json",
        f"{CLAIMS}.md",
    log:
        f"{LOGS}/claims/{{slug}}.log",
    params:
        digest=claims_digest,
        scale=SCALE,
    resources:
        launcher=LAUNCHER,
    message:
        "claims {wildcards.slug}"
    shell:
        "{resources.launcher} claims {wildcards.slug}"
        " --scale {params.scale} --expect {params.digest} --log {log}"
