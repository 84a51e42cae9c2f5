# Benchmarks: what training steps, or forward passes of models, cost. Each takes the whole machine,
# so that no other job of ours slows what is timed.


rule benchmark:
    input:
        benchmark_sources,
    output:
        f"{BENCHMARK}.json",
        f"{BENCHMARK}.npz",
    log:
        f"{LOGS}/benchmark/{{slug}}/{{benchmark}}.log",
    params:
        digest=benchmark_digest,
        scale=SCALE,
    threads: workflow.cores
    resources:
        launcher=LAUNCHER,
    message:
        "benchmark {wildcards.slug}/{wildcards.benchmark}"
    shell:
        "{resources.launcher} benchmark {wildcards.slug}/{wildcards.benchmark}"
        " --scale {params.scale} --expect {params.digest} --log {log}"
