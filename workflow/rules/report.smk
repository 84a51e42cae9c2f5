# The page: tables, curves and pictures in one HTML file.


rule report:
    input:
        shown_files(),
        report_sources(),
        reference_files(),
    output:
        REPORT,
        f"{RESULTS}/report/report.md",
    log:
        f"{LOGS}/report.log",
    params:
        digest=shown_digest(),
        scale=SCALE,
    priority: 1  # before MLflow: where that fails, what comes later is not built
    resources:
        launcher=LAUNCHER,
    message:
        "report"
    shell:
        "{resources.launcher} report --scale {params.scale} --log {log}"
