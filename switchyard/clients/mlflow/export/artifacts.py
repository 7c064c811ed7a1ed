"""Lists where the artifacts of an MLflow store are: what its tables say, and which objects are found there.

Nothing is copied: artifacts outlive MLflow where they are, as long as someone knows where that is.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from switchyard.clients.mlflow.export.parts import Row
from switchyard.clients.mlflow.export.tables import Table
from switchyard.core.errors import SwitchyardError, TryAgain
from switchyard.core.mlflow.export import Unlisted
from switchyard.core.ports import Objects

LOCATION_COLUMNS: Final = ["kind", "id", "run_id", "uri"]
OBJECT_COLUMNS: Final = ["uri", "size_bytes", "generation"]
_PROXIED: Final = "mlflow-artifacts:"

# Table, kind, columns of the id, of the run's id, and of the URI. Skipped is what a store's version does not have.
# Source: dbmodels/models.py in mlflow/store/tracking and in mlflow/store/model_registry, of 2.9.2 and 3.17.2
_COLUMNS: Final = (
    ("experiments", "experiment", ("experiment_id",), "", "artifact_location"),
    ("runs", "run", ("run_uuid",), "run_uuid", "artifact_uri"),
    ("model_versions", "model_version", ("name", "version"), "run_id", "source"),
    ("model_versions", "model_version_storage", ("name", "version"), "run_id", "storage_location"),
    ("logged_models", "logged_model", ("model_id",), "source_run_id", "artifact_location"),
)


class Places(msgspec.Struct, frozen=True):
    """How artifacts' objects are found.

    `destination` is the server's own ``--artifacts-destination``. Below it lies what a server that hands artifacts
    through calls ``mlflow-artifacts:/``. Empty: not known. `find_allowed` answers where a place is behind links, and
    raises BadSetup if it may not be looked at: everyone who may write to MLflow chooses it.
    """

    open_objects: Callable[[str], Objects]
    find_allowed: Callable[[str], str]
    destination: str = ""


class TableRows(Protocol):
    """Reads tables' rows: from a database's snapshot, or an export that is being written."""

    def rows(self, table: Table) -> Generator[Row, None, None]:
        """Yields all rows of one table."""


def read_locations(snapshot: TableRows, tables: Sequence[Table]) -> Generator[Row, None, None]:
    """Yields LOCATION_COLUMNS of all experiments, runs, model versions, logged models and traces that name a place."""
    named = {table.name: table for table in tables}
    for name, kind, ids, run, uri in _COLUMNS:
        table = named.get(name)
        if table is None or not {*ids, uri} <= set(table.columns):
            continue
        for row in snapshot.rows(table):
            values = dict(zip(table.columns, row, strict=True))
            if values[uri]:
                id_ = "/".join(str(values[column]) for column in ids)
                yield kind, id_, str(values.get(run) or ""), str(values[uri])
    # MLflow 3 keeps a trace's place among its tags.
    if "trace_tags" in named:
        columns = named["trace_tags"].columns
        for row in snapshot.rows(named["trace_tags"]):
            values = dict(zip(columns, row, strict=True))
            if values["key"] == "mlflow.artifactLocation" and values["value"]:
                yield "trace", str(values.get("request_id", "")), "", str(values["value"])


class Roots:
    """Collects the fewest places that hold all locations: an experiment's holds those of its runs.

    They are in memory at once. They are few, unless each run names its own place."""

    def __init__(self) -> None:
        self._places: set[str] = set()

    def add(self, uri: str) -> None:
        """Adds a place. Places that come later and lie within this one are not kept."""
        uri = uri.rstrip("/")
        if not any(parent in self._places for parent in _to_parents(uri)):
            self._places.add(uri)

    def __iter__(self) -> Iterator[str]:
        """Yields them sorted; none lies within another."""
        return iter(
            sorted(uri for uri in self._places if not any(parent in self._places for parent in _to_parents(uri)[1:]))
        )


def list_objects(roots: Roots, places: Places, *, except_below: str, unlisted: list[Unlisted]) -> Iterator[Row]:
    """Yields OBJECT_COLUMNS of all objects below the roots, except the export's own.

    What cannot be listed goes to `unlisted`.

    Raises:
        TryAgain: a place does not answer now.
    """
    for root in roots:
        place = to_place(root, places.destination)
        if isinstance(place, Unlisted):
            unlisted.append(place)
            continue
        count = 0
        try:
            found = places.find_allowed(place)
            for behind, stat in places.open_objects(found).list_stats(f"{found}/", follow_links=False):
                count += 1
                uri = place + behind.removeprefix(found)
                if not uri.startswith(except_below):
                    yield uri, stat.size_bytes, stat.generation
        except TryAgain:
            raise
        except SwitchyardError as err:
            unlisted.append(Unlisted(uri=root, reason=str(err)))
            continue
        if not count:
            unlisted.append(Unlisted(uri=root, reason=f"no object is at {place}, as seen from here"))


def to_place(uri: str, destination: str) -> str | Unlisted:
    """Returns the ``gs://`` or ``file:///`` URI of a location, without a slash at its end; or why there is none.

    >>> to_place("mlflow-artifacts:/0/a/artifacts", "gs://bucket/mlflow")
    'gs://bucket/mlflow/0/a/artifacts'
    >>> to_place("s3://bucket/0", "").reason
    'only gs:// and file:/// are listed'
    """
    if uri.startswith(_PROXIED):
        if not destination:
            reason = "the server hands these through: its --artifacts-destination says where they are"
            return Unlisted(uri=uri, reason=f"{reason}; export again with it")
        # ``mlflow-artifacts:/path``, or with the server's address: ``mlflow-artifacts://host:port/path``
        path = uri.removeprefix(_PROXIED)
        if path.startswith("//"):
            path = "/" + path[2:].partition("/")[2]
        uri = destination.rstrip("/") + "/" + path.strip("/")
    if uri.startswith("/"):
        uri = Path(uri).as_uri()
    if not uri.startswith(("gs://", "file:///")):
        return Unlisted(uri=uri, reason="only gs:// and file:/// are listed")
    return uri.rstrip("/")


def _to_parents(uri: str) -> list[Any]:
    """Returns the URI itself, and each that it lies within."""
    parts = uri.split("/")
    return ["/".join(parts[:count]) for count in range(len(parts), 0, -1)]
