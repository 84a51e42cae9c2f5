"""MLflow's own server on loopback: what `reprise ui` shows, and a projection into it.

Its numbers are made up. The pages are opened in Chromium, where there is one.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from fabricated import fabricate_all, table_job, workspace
from mlflow import MlflowClient
from mlflow.entities import Run
from pages import chromium

from reprise import tables, track
from reprise.config import Project

PATIENCE = 600.0  # seconds until a server or a page must be there; a busy machine needs many


def finished(root: Path) -> Project:
    project = workspace(root)
    fabricate_all(project)
    tables.build(table_job(project))
    return project


def environment(project: Project, **more: str) -> dict[str, str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    return {**clean, "REPRISE_ROOT": str(project.root), **more}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "reprise", *arguments, "--scale", "tiny"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A workspace whose table is in its own SQLite store."""
    made = finished(tmp_path_factory.mktemp("shown") / "a workspace")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        track.project_into_mlflow(made)
    return made


@pytest.fixture(scope="module")
def address(project: Project) -> Iterator[str]:
    """Where `reprise ui` serves that store."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = project.root / "server.log"
    with log.open("w") as stream:
        server = subprocess.Popen(
            command("ui", "--port", str(port)),
            env=environment(project),
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(server, url, log)
        yield url
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def wait_for(server: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.2)
    raise AssertionError(f"no server at {url}:\n{log.read_text()}")


def runs_at(uri: str) -> tuple[str, list[Run]]:
    """Return the id of the toy paper's experiment, and its runs."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("toy")
    return experiment.experiment_id, list(client.search_runs([experiment.experiment_id]))


def described(uri: str) -> dict[str, Any]:
    """Return all of a store that a projection decides, by the runs' names."""
    client, (_, runs) = MlflowClient(uri), runs_at(uri)
    names = [run.info.run_name for run in runs]
    assert len(set(names)) == len(names), "nothing is there twice"
    known = {run.info.run_id: run.info.run_name for run in runs}
    chosen = {}
    for run in runs:
        tags = {key: value for key, value in run.data.tags.items() if key != "mlflow.user"}
        if parent := tags.pop("mlflow.parentRunId", None):
            tags["parent"] = known[parent]
        for volatile in ("reprise.digest", "reprise.weights"):
            tags.pop(volatile, None)
        files = sorted(file.path for file in client.list_artifacts(run.info.run_id))
        curve = [
            (point.step, point.value)
            for point in client.get_metric_history(run.info.run_id, "loss")
        ]
        data = sorted(one.dataset.digest for one in run.inputs.dataset_inputs)
        chosen[run.info.run_name] = (run.data.metrics, run.data.params, tags, files, curve, data)
    return chosen


def read(tab: Any, url: str, *words: str) -> str:
    """Open a page and wait until it shows all words; return its text."""
    tab.goto(url)
    for word in words:
        tab.get_by_text(word, exact=False).first.wait_for()
    return str(tab.locator("body").inner_text())


def test_pages_show_a_table_and_compare_two_rows(project: Project, address: str) -> None:
    experiment, runs = runs_at(address)
    by_row = {run.data.tags.get("reprise.row"): run for run in runs}
    parent, learned, plain = (by_row[row] for row in (None, "learned", "plain"))
    table = tables.load(table_job(project).outputs[2])
    shown = {row["label"]: row["cells"]["probe_top1"]["ours"] for row in table["rows"]}
    with chromium() as browser:
        tab = browser.new_page(viewport={"width": 1400, "height": 1000})
        tab.set_default_timeout(PATIENCE * 1000)
        page = f"{address}/#/experiments/{experiment}/runs/{parent.info.run_id}/artifacts"
        text = read(tab, f"{page}/main-grid.json", "raw | pixels", "probe, published")
        assert f"{shown['learned']['value']:.2f}"[:4] in text
        assert "71.25" in text, "the printed number stands beside ours"
        ids = quote(json.dumps([learned.info.run_id, plain.info.run_id]))
        query = f"runs={ids}&experiments={quote(json.dumps([experiment]))}"
        text = read(tab, f"{address}/#/compare-runs?{query}", "learned, seed 0", "probe_top1")
        for row in ("learned", "plain"):
            assert f"{row}, seed 0" in text
            assert f"{shown[row]['value']:g}" in text
        assert "config.steps" in text, "their settings are compared, too"


def test_projection_into_a_server_that_is_killed_loses_and_doubles_nothing(
    project: Project, address: str, tmp_path: Path
) -> None:
    whole = described(track.store_of(project).uri)
    other = finished(tmp_path / "elsewhere")
    mine = environment(other, MLFLOW_TRACKING_URI=address)
    first = subprocess.Popen(command("track", "--rebuild"), env=mine, stderr=subprocess.DEVNULL)
    before = {run.info.run_id for run in runs_at(address)[1]}
    begun: set[str] = set()
    while not begun and first.poll() is None:  # until some, but not all, of its runs are there
        begun = {run.info.run_id for run in runs_at(address)[1]} - before
    first.send_signal(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    assert 0 < len(begun) < len(whole)
    said = subprocess.run(command("track"), env=mine, check=True, capture_output=True, text=True)
    assert "1 replaced" in said.stderr + said.stdout
    assert described(address) == whole
    assert not (other.results / "mlflow.db").exists()
