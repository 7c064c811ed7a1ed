"""Reads the artifacts of MLflow's runs wherever MLflow's own artifact repositories reach.

They lie behind a tracking server, on ``s3://``, ``dbfs:/`` and what else MLflow knows (`core.ports.ArtifactSource`).
Needs the extra `mlflow`. The caller's identity comes from the environment, as for MLflow's own client.
"""

import os
import re
import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

from switchyard.clients.mlflow.registry_client import prepare_client
from switchyard.clients.mlflow.registry_errors import translated
from switchyard.clients.objects.folders import translated as to_ours_of_disk
from switchyard.core.artifacts.manifest import LeftOut, SourceObject
from switchyard.core.artifacts.names import find_name_problem, to_text
from switchyard.core.artifacts.places import find_needed_package, without_password
from switchyard.core.errors import BadRequest, BadSetup, NotFound, StaleWrite, SwitchyardError, TryAgain

_OPENED: Final = 16
"""More than the number of runs at once."""
_CHUNK_BYTES: Final = 1 << 20
_WRITING: Final = "write to a temporary file (TMPDIR names its folder)"
_QUERY: Final = re.compile(r"\?[^\s'\"]*")
"""The query of an address in a message: a signed address has its secret there."""


class RepositorySource:
    """Implements `core.ports.ArtifactSource`, which has the contracts.

    MLflow's repositories know no generation: only its size tells whether an artifact is another one than before.

    Args:
        tracking_uri: the server that hands ``mlflow-artifacts:`` through; empty: none is known.
    """

    def __init__(self, tracking_uri: str = "") -> None:
        self._tracking_uri = tracking_uri
        self._opened: OrderedDict[str, Any] = OrderedDict()
        self._opening = threading.Lock()

    def list(self, place: str) -> Iterator[SourceObject | LeftOut]:
        """See the port. Goes folder by folder, and enters none twice."""
        with _reading(place):
            repository = self._open(place)
        folders, seen = [""], {""}
        while folders:
            folder = folders.pop()
            with _reading(place):
                found = repository.list_artifacts(folder or None)
            for one in found:
                path = str(one.path)
                problem = find_name_problem(path.rstrip("/") if one.is_dir else path)
                if problem:
                    yield LeftOut(path=to_text(path), reason=problem)
                elif one.is_dir:
                    if path not in seen:
                        seen.add(path)
                        folders.append(path)
                else:
                    yield SourceObject(path=path, size_bytes=int(one.file_size or 0))

    def fetch(self, place: str, found: SourceObject, file: BinaryIO) -> SourceObject:
        """See the port. MLflow first writes its own file below TMPDIR, which is gone afterwards."""
        with tempfile.TemporaryDirectory(prefix="switchyard-artifact-") as folder:
            with _reading(place):
                downloaded = Path(self._open(place).download_artifacts(found.path, folder))
            if not downloaded.is_file() or not downloaded.resolve().is_relative_to(Path(folder).resolve()):
                raise NotFound(f"expected an artifact at {without_password(place)}/{found.path}; there is none")
            size = downloaded.stat().st_size
            if size != found.size_bytes:
                raise StaleWrite(
                    f"{found.path} changed: it had {found.size_bytes:,} bytes when it was listed; {size:,} bytes came"
                )
            with (
                to_ours_of_disk(_WRITING),
                downloaded.open("rb") as source,
            ):
                shutil.copyfileobj(source, file, _CHUNK_BYTES)
        return found

    def _open(self, place: str) -> Any:
        """Keeps one repository for each of the last few places: each makes a pool of threads."""
        with self._opening:
            if place not in self._opened:
                prepare_client()
                # Many threads would draw a progress bar for each file. Source: mlflow/environment_variables.py, 3.17.2
                os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
                from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

                while len(self._opened) >= _OPENED:
                    self._opened.popitem(last=False)
                self._opened[place] = (
                    get_artifact_repository(place, tracking_uri=self._tracking_uri)
                    if self._tracking_uri
                    else get_artifact_repository(place)
                )
            self._opened.move_to_end(place)
            return self._opened[place]


@contextmanager
def _reading(place: str) -> Iterator[None]:
    """Translates MLflow's errors into ours, without what may be a secret."""
    shown = without_password(place)
    try:
        with translated(f"the artifacts at {shown}"):
            yield
    except SwitchyardError as err:
        if "Could not find a registered artifact repository" in str(err):
            raise BadRequest(f"MLflow knows no way to read {shown}") from err
        raise type(err)(_QUERY.sub("?...", str(err))) from err
    except ImportError as err:
        package = find_needed_package(place) or err.name or "a package"
        raise BadSetup(
            f"MLflow reads {shown} with {package}, which is not installed. Install it beside the extra mlflow: pip "
            f"install {package}"
        ) from err
    except Exception as err:
        # Each store has a vendor's library behind it, with its own errors.
        raise _to_ours(err, shown) from err


def _to_ours(err: Exception, shown: str) -> SwitchyardError:
    said = _QUERY.sub("?...", f"{type(err).__name__}: {str(err).strip().partition(chr(10))[0][:300]}")
    kind: type[SwitchyardError] = BadSetup
    if re.search(r"\b404\b|NoSuchKey|NoSuchBucket|NotFound", said):
        kind = NotFound
    elif re.search(r"Connect|Time-?out|Throttl|SlowDown|\b(429|50[0-4])\b", said, re.IGNORECASE):
        kind = TryAgain
    return kind(f"the artifacts at {shown} cannot be read: {said}")
