"""Reads an export of an MLflow store like the store itself (`core.ports.Tracking`), for when MLflow is gone."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, lru_cache
from typing import Any, Final

from switchyard.clients.mlflow.export.parts import Row, read_rows, read_rows_of
from switchyard.clients.mlflow.export.writer import check_export, read_export
from switchyard.clients.mlflow.schema import (
    OWNED_COLUMNS,
    OWNED_TABLE,
    check_exported,
    to_owned_points,
    to_store_identity,
    to_tracked_run,
    to_value,
)
from switchyard.core.batches import batched
from switchyard.core.errors import BadRecord, BadSetup, NotFound
from switchyard.core.mlflow.export import API, RUN_COLUMN, Export, ExportedTable, Part
from switchyard.core.mlflow.facts import Look, to_look
from switchyard.core.mlflow.marks import LatestPoint, RunMark, to_mark
from switchyard.core.mlflow.raw_run import (
    NAME_TAG,
    UNREADABLE,
    Keys,
    LostRun,
    OwnedPoint,
    Points,
    RawRun,
    TrackedRun,
    choose_name,
    to_points,
)
from switchyard.core.mlflow.store_identity import StoreIdentity
from switchyard.core.ports import Objects

_BATCH: Final = 50
_CACHED_PARTS: Final = (
    6  # one of each table that is read, and the one that a batch of runs begins in; as they lie there
)

_Columns = tuple[list[int], list[int], list[float]]


def open_export(at_uri: str, objects: Objects) -> "ExportTracking":
    """Opens the finished export at `at_uri`.

    Raises:
        BadSetup: there is none, it is damaged, or we do not know its schema.
    """
    try:
        export = read_export(at_uri, objects)
    except (NotFound, BadRecord) as err:
        raise BadSetup(f"{err}; name the folder that an export was written to") from err
    check_exported(export, f"the export at {at_uri}")
    return ExportTracking(at_uri, objects, export)


class ExportTracking:
    """Implements `core.ports.Tracking` on an export. Its parts are sorted by run, so a batch of runs needs few."""

    def __init__(self, at_uri: str, objects: Objects, export: Export) -> None:
        self._named_uri = at_uri
        self._at_uri = at_uri.rstrip("/")
        self._objects = objects
        self._export = export
        self._read_part = lru_cache(maxsize=_CACHED_PARTS)(self._read_part_now)
        self._experiments: dict[Any, tuple[str, str]] = {}
        self._missing = {missing.id: missing for missing in export.missing if missing.kind == "run"}

    def __repr__(self) -> str:
        return f"ExportTracking({self._at_uri})"

    def list_runs(self, *, experiments: Sequence[str] = ()) -> Iterator[TrackedRun]:
        """Yields the runs by run id. Those that could not be read at the export have the reason as their status.

        They look as if they were not deleted: no one knows what goes with them."""
        known = {name for name, _ in self._read_experiments().values()}
        if missing := set(experiments) - known:
            raise NotFound(f"{self._at_uri} has no experiment named {', '.join(map(repr, sorted(missing)))}")
        table = self._export.table("runs")
        for part in table.parts:
            rows = list(self._to_dicts(table, self._whole(part)))
            names = self._pairs("tags", {str(row["run_uuid"]) for row in rows if not row["name"]}, only=NAME_TAG)
            for row in rows:
                info = self._to_info(row, names.get(row["run_uuid"], {}))
                if not experiments or info.experiment in experiments:
                    yield info
        for lost in self._missing.values():
            if not experiments or lost.experiment in experiments:
                yield TrackedRun(
                    run_id=lost.id,
                    name=lost.name,
                    experiment_id=lost.experiment_id,
                    experiment=lost.experiment,
                    status=f"{UNREADABLE}{lost.reason}. Export again",
                )

    def read_runs(self, run_ids: Iterable[str], *, keys: Keys | None = None) -> Iterator[RawRun | LostRun]:
        """See the port."""
        for batch in batched(run_ids, _BATCH):
            wanted = set(batch)
            params, tags = self._pairs("params", wanted), self._pairs("tags", wanted)
            metrics = self._metrics(wanted, keys)
            infos = {
                row["run_uuid"]: self._to_info(row, tags.get(row["run_uuid"], {}))
                for row in self._rows_of("runs", wanted)
            }
            for run_id in sorted(wanted):
                if run_id not in infos:
                    yield self._lose(run_id)
                    continue
                yield RawRun(
                    info=infos[run_id],
                    metrics=metrics.get(run_id, {}),
                    params=params.get(run_id, {}),
                    tags=tags.get(run_id, {}),
                    keys=keys,
                    owned=self._owned.get(run_id, ()),
                )

    def look_at_runs(self, run_ids: Iterable[str]) -> Iterator[Look]:
        """Looks at the runs by reading them: an export has no index."""
        for run in self.read_runs(run_ids):
            if isinstance(run, RawRun):
                yield to_look(run)

    def read_marks(self, *, experiments: Sequence[str] = ()) -> Iterator[RunMark]:
        """See the port. Marks the runs as a server of that store would."""
        infos = (run for run in self.list_runs(experiments=experiments) if run.run_id not in self._missing)
        for batch in batched(infos, _BATCH):
            wanted = {info.run_id for info in batch}
            params, tags = self._pairs("params", wanted), self._pairs("tags", wanted)
            latest: dict[str, list[LatestPoint]] = {}
            for row in self._rows_of("latest_metrics", wanted):
                point = (row["key"], row["step"], row["timestamp"], to_value(row["value"], row["is_nan"]))
                latest.setdefault(row["run_uuid"], []).append(point)
            for info in batch:
                yield to_mark(info, params.get(info.run_id, {}), tags.get(info.run_id, {}), latest.get(info.run_id, ()))

    def identify(self) -> StoreIdentity:
        """See the port. Identifies the store that was exported."""
        table = self._export.table("experiments")
        rows = (row for part in table.parts for row in self._to_dicts(table, self._whole(part)))
        names = ("experiment_id", "name", "artifact_location", "creation_time")
        return to_store_identity([row[name] for name in names] for row in rows)

    def describe(self) -> str:
        """Says where it lies, when it was taken and of what, after every part was found to be what was exported."""
        # A manifest calls MLflow safe to delete because of all of it, also of tables that no history is made of.
        check_export(self._export, self._at_uri, self._objects)
        export = self._export
        said = f"the export at {self._named_uri}, taken at {export.taken_at:%Y-%m-%dT%H:%M:%SZ}"
        if export.dialect != API:
            return f"{said} ({export.dialect}, MLflow schema {export.alembic_version}, {export.rows} rows)"
        missing = f"; {len(export.missing)} of its runs and models could not be read" if export.missing else ""
        return f"{said} ({export.source}, {export.rows} rows{missing})"

    def close(self) -> None:
        """See the port."""
        self._read_part.cache_clear()

    def _lose(self, run_id: str) -> LostRun:
        missing = self._missing.get(run_id)
        if missing is None:
            return LostRun(run_id=run_id, error=NotFound(f"{self._at_uri} has no run {run_id}"))
        problem = f"it could not be read when the export was made: {missing.reason}; export again"
        return LostRun(run_id=run_id, error=BadRecord(f"MLflow run {run_id} in {self._at_uri}", [problem]))

    def _metrics(self, run_ids: set[str], keys: Keys | None) -> dict[str, dict[str, Points]]:
        found: dict[str, dict[str, _Columns]] = {}
        table = self._export.table("metrics")
        key, value, time, run, step, nan = map(
            table.columns.index, ("key", "value", "timestamp", "run_uuid", "step", "is_nan")
        )
        for row in self._raw_rows_of(table, run_ids):
            if keys is not None and row[key] not in keys:
                continue
            steps, times, values = found.setdefault(row[run], {}).setdefault(row[key], ([], [], []))
            steps.append(row[step])
            times.append(row[time])
            values.append(to_value(row[value], row[nan]))
        return {
            run_id: {name: to_points(*columns) for name, columns in by_key.items()} for run_id, by_key in found.items()
        }

    @cached_property
    def _owned(self) -> dict[str, list[OwnedPoint]]:
        """Returns the points of all runs: the table's parts are not in the order of runs."""
        if OWNED_TABLE not in {table.name for table in self._export.tables}:
            return {}
        table = self._export.table(OWNED_TABLE)
        columns = list(map(table.columns.index, OWNED_COLUMNS))
        rows = (row for part in table.parts for row in self._whole(part))
        return to_owned_points([row[column] for column in columns] for row in rows)

    def _pairs(self, name: str, run_ids: set[str], only: str = "") -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = {}
        for row in self._rows_of(name, run_ids):
            if not only or row["key"] == only:
                found.setdefault(row["run_uuid"], {})[row["key"]] = row["value"] or ""
        return found

    def _rows_of(self, name: str, run_ids: set[str]) -> Iterator[dict[str, Any]]:
        table = self._export.table(name)
        yield from self._to_dicts(table, self._raw_rows_of(table, run_ids))

    def _raw_rows_of(self, table: ExportedTable, run_ids: set[str]) -> Iterator[Row]:
        for part in table.parts:
            wanted = {run_id for run_id in run_ids if part.first_run <= run_id <= part.last_run}
            if wanted:
                with self._whole_export():
                    yield from read_rows_of(self._read_part(part.name), part.name, RUN_COLUMN, wanted)

    def _to_dicts(self, table: ExportedTable, rows: Iterable[Row]) -> Iterator[dict[str, Any]]:
        return (dict(zip(table.columns, row, strict=True)) for row in rows)

    def _whole(self, part: Part) -> Iterator[Row]:
        with self._whole_export():
            yield from read_rows(self._read_part(part.name), part.name)

    def _read_part_now(self, name: str) -> bytes:
        return self._objects.read(f"{self._at_uri}/{name}")[0]

    @contextmanager
    def _whole_export(self) -> Iterator[None]:
        try:
            yield
        except (NotFound, BadRecord) as err:
            raise BadSetup(f"the export at {self._at_uri} is not whole: {err}") from err

    def _read_experiments(self) -> dict[Any, tuple[str, str]]:
        if not self._experiments:
            table = self._export.table("experiments")
            for part in table.parts:
                for row in self._to_dicts(table, self._whole(part)):
                    self._experiments[row["experiment_id"]] = (row["name"], row["lifecycle_stage"])
        return self._experiments

    def _to_info(self, row: Mapping[str, Any], tags: Mapping[str, str]) -> TrackedRun:
        experiment, stage = self._read_experiments()[row["experiment_id"]]
        return to_tracked_run(
            (
                row["run_uuid"],
                choose_name(row["name"], tags),
                row["experiment_id"],
                experiment,
                row["status"],
                row["lifecycle_stage"],
                stage,
                row["start_time"],
                row["end_time"],
                row["artifact_uri"],
                None,
            )
        )
