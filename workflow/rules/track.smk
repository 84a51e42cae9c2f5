# MLflow: one serial job shows the finished files there. Looking at the store changes its file, so
# the output is a stamp beside it; after moving or deleting the store: `reprise track --rebuild`.


rule track:
    input:
        shown_files(),
        track_sources(),
    output:
        touch(TRACKED),
    log:
        f"{LOGS}/track.log",
    params:
        store=store_digest(),
        scale=SCALE,
    resources:
        launcher=LAUNCHER,
    message:
        "track: results into MLflow"
    shell:
        "{resources.launcher} track --scale {params.scale} --log {log}"
