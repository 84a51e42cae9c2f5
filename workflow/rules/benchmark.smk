# Benchmarks: what training steps, or forward passes of models, cost. What is timed takes the whole
# machine, so that no other job of ours slows it; what is only counted takes one core.


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
    # First of all, since waiting for the whole machine in mid-course would leave a core idle.
    priority: 10
    threads: lambda wildcards: workflow.cores if benchmark_job(wildcards).is_timed else 1
    resources:
        launcher=LAUNCHER,
    message:
        "benchmark {wildcards.slug}/{wildcards.benchmark}"
    shell:
        "{resources.launcher} benchmark {wildcards.slug}/{wildcards.benchmark}"
        " --scale {params.scale} --expect {params.digest} --log {log}"
