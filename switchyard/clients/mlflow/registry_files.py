"""Copies files to this machine that only an MLflow server hands through, or that MLflow's own client can reach."""

import contextlib
import io
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

from switchyard.clients.mlflow.registry_client import open_client
from switchyard.clients.mlflow.registry_errors import translated
from switchyard.core.errors import NotFound


def download(tracking_uri: str, uri: str, folder: Path) -> int:
    """Copies all files at or below `uri` to `folder`, which is empty; returns how many.

    Raises:
        NotFound, TryAgain, BadSetup, BadRequest: they cannot be read, as the server or the store says.
    """
    open_client(tracking_uri)  # sets what its calls obey
    from mlflow.artifacts import download_artifacts

    with (
        translated(f"the files at {uri}"),
        warnings.catch_warnings(),
        contextlib.redirect_stderr(io.StringIO()),  # a progress bar for each file
    ):
        warnings.simplefilter("ignore")
        try:
            found: Any = download_artifacts(artifact_uri=uri, dst_path=str(folder), tracking_uri=tracking_uri)
        except ImportError as err:  # the store's own client, such as boto3
            raise NotFound(f"the files at {uri} need a package that is not installed: {err}") from err
    return _lift(Path(found), folder)


def _lift(found: Path, folder: Path) -> int:
    """Moves what was downloaded up from a folder of the source's last name, so that it lies as from a bucket."""
    if found.is_dir() and found != folder and found.parent == folder:
        aside = folder.with_name(f"{folder.name}-aside")
        found.rename(aside)
        shutil.rmtree(folder)
        aside.rename(folder)
    count = sum(len(files) for _, _, files in os.walk(folder))
    if not count:
        raise NotFound("nothing is there")
    return count
