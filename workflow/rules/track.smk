# MLflow, and the files of numbers and curves that DVC compares: one serial job shows finished results
# there. Looking at the store changes its file, and `dvc repro` writes DVC's files, too, so the output
# is a stamp beside them; after moving or deleting the store: `reprise track --rebuild`.


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
