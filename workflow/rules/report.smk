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
    resources:
        launcher=LAUNCHER,
    message:
        "report"
    shell:
        "{resources.launcher} report --scale {params.scale} --log {log}"
