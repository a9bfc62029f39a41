"""Where artifacts lie: beside the database, wherever that is."""

from pathlib import Path
from urllib.parse import urlparse

import mlflow
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository

SQLITE = "sqlite:///"
FOLDER = "mlartifacts"  # MLflow's server keeps them there, where it is started, unless it is told another place


def artifact_repository(
    artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None
) -> ArtifactRepository:
    """Return what reads and writes ``mlflow-artifacts:/...``: a folder beside an SQLite file, else MLflow's server.

    Of a folder MLflow would store the absolute path, so that a project that is moved loses its artifacts, and a copied
    one writes into the original. Addresses of this kind are relative, but without a server MLflow refuses them. It
    finds this function as a plugin, in whatever process (``pyproject.toml``, ``mlflow.artifact_repository``).
    """
    tracking_uri = tracking_uri or mlflow.get_tracking_uri()
    if not tracking_uri.startswith(SQLITE):
        return MlflowArtifactsRepository(artifact_uri, tracking_uri, registry_uri)
    database = Path(tracking_uri.removeprefix(SQLITE)).absolute()
    return LocalArtifactRepository(str(database.parent / FOLDER / urlparse(artifact_uri).path.lstrip("/")))
