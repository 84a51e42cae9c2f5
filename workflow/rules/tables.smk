# Tables: our numbers beside the printed ones, which enter the flow here and nowhere before.


rule table:
    input:
        table_evaluations,
        table_published,
        table_sources,
    output:
        f"{TABLE}.csv",
        f"{TABLE}.md",
        f"{TABLE}.json",
    log:
        f"{LOGS}/table/{{slug}}/{{table}}.log",
    params:
        digest=table_digest,
        scale=SCALE,
    resources:
        launcher=LAUNCHER,
    message:
        "table {wildcards.slug}/{wildcards.table}"
    shell:
        "{resources.launcher} table {wildcards.slug}/{wildcards.table}"
        " --scale {params.scale} --expect {params.digest} --log {log}"
