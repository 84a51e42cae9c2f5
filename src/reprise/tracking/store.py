"""MLflow's store: the database of a scale, or the server that MLFLOW_TRACKING_URI names."""

import logging
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

# Before mlflow is imported: no reports to its makers, no chatter, and no connection that outlives
# its use, since a rebuild puts another file under the database's name.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ.setdefault("MLFLOW_CONFIGURE_LOGGING", "false")
os.environ.setdefault("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")
# A server that is not there is named within seconds, and not after minutes of trying.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
logging.getLogger("mlflow").setLevel(logging.ERROR)
logging.getLogger("alembic").setLevel(logging.ERROR)

from mlflow import MlflowClient  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402
from sqlalchemy.exc import SQLAlchemyError  # noqa: E402

from reprise.config import Project  # noqa: E402
from reprise.errors import RepriseError  # noqa: E402
from reprise.progress import say  # noqa: E402


class TrackingError(RepriseError):
    """The tracking store cannot be used."""


@dataclass(frozen=True)
class Store:
    """Where the projection goes: a database of this scale, or a tracking server."""

    uri: str
    database: Path | None
    artifacts: Path | None

    def location(self, slug: str) -> str | None:
        """Where a paper's artifacts lie; None leaves the choice to the server."""
        return None if self.artifacts is None else (self.artifacts / slug).as_uri()


def store_of(project: Project) -> Store:
    """Return the store that MLFLOW_TRACKING_URI names, or this scale's own SQLite database."""
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if uri:
        return Store(uri, None, None)
    database = project.results / "mlflow.db"
    return Store(f"sqlite:///{database}", database, project.results / "mlflow-artifacts")


def connect(store: Store) -> MlflowClient:
    """Open the store; a new database gets its name when it is whole, for a kill may come."""
    try:
        if store.database and not store.database.is_file():
            _create(store.database)
        client = MlflowClient(store.uri)
        client.search_experiments(max_results=1)
    except (MlflowException, SQLAlchemyError) as error:
        mend = "is the server running, and MLFLOW_TRACKING_URI its address?"
        if store.database:
            mend = "make it anew with `python -m reprise track --rebuild`"
        raise TrackingError(f"{store.uri}: not a usable MLflow store: {error}\n{mend}") from None
    return client


def was_moved(store: Store) -> bool:
    """Say whether the database's experiments keep their artifacts elsewhere than they now lie."""
    if store.database is None or not store.database.is_file():
        return False
    experiments = connect(store).search_experiments(filter_string="name != 'Default'")
    return any(one.artifact_location != store.location(one.name) for one in experiments)


def remove(store: Store) -> None:
    """Delete the database of a scale with its artifacts; a server's store is left alone."""
    if store.database and store.artifacts:
        store.database.unlink(missing_ok=True)
        shutil.rmtree(store.artifacts, ignore_errors=True)


def ui(project: Project, port: int) -> NoReturn:
    """Become MLflow's server on 127.0.0.1, showing this scale's store.

    Raises TrackingError where MLFLOW_TRACKING_URI names a server, and where nothing is there yet.
    """
    store = store_of(project)
    if store.database is None:
        raise TrackingError(f"MLFLOW_TRACKING_URI is set: look at {store.uri}, or unset it")
    if not store.database.is_file():
        raise TrackingError(
            f"{store.database}: no such store yet; make it with `python -m reprise track "
            f"--scale {project.scale.scale}`"
        )
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "1", "--backend-store-uri", store.uri]
    command += ["--default-artifact-root", f"{store.artifacts}", "--no-serve-artifacts"]
    # The view is named, as the server opens with one for chatbots.
    address = f"http://127.0.0.1:{port}/#/experiments?workflowType=machine_learning"
    say(f"MLflow: {address} (Ctrl+C ends it)")
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    os.execve(sys.executable, command, environment)  # noqa: S606 (no shell is wanted)


def _create(database: Path) -> None:
    database.parent.mkdir(parents=True, exist_ok=True)
    for left_by_a_kill in database.parent.glob(".mlflow-*"):
        shutil.rmtree(left_by_a_kill)
    # Always another name: mlflow remembers the stores that it opened, and would not fill it again.
    with tempfile.TemporaryDirectory(prefix=".mlflow-", dir=database.parent) as folder:
        new = Path(folder) / database.name
        MlflowClient(f"sqlite:///{new}").search_experiments(max_results=1)
        new.replace(database)
