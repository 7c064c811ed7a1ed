"""Exports an MLflow store with a database that cannot be read, from what the store answers.

It reads `Tracking`, `TrackingDetails` and `RegistryRows`, and writes the layout of a database's export, which all
readers of those read too. It takes hours over REST, so it goes on where it was interrupted: runs are read in batches,
and each batch has a record, written after its parts. What was whole and finished is read again.
"""

import contextlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from switchyard.clients.mlflow.export.artifacts import LOCATION_COLUMNS, Places, Roots, read_locations
from switchyard.clients.mlflow.export.parts import PartWriter, Row, read_rows, to_table_digest
from switchyard.clients.mlflow.export.tables import Table
from switchyard.clients.mlflow.export.writer import (
    PAGE,
    PART_ROWS,
    PART_TEXT_BYTES,
    Journal,
    check_export,
    delete_others,
    find_marker,
    list_artifacts,
    noting,
)
from switchyard.core.batches import batched
from switchyard.core.errors import BadRecord, BadRequest, NotFound, StaleWrite, to_message
from switchyard.core.mlflow.contents import ExperimentDetails, RunDetails, is_of_one_moment
from switchyard.core.mlflow.export import (
    API,
    FORMAT,
    MARKER,
    RUN_COLUMN,
    Export,
    ExportedTable,
    Missing,
    Moved,
    Part,
    StoreSchema,
    Watcher,
    is_batch,
    is_part,
)
from switchyard.core.mlflow.export_batches import FOLDER, Batch, Plan, plan_batches, read_batch
from switchyard.core.mlflow.export_rows import (
    COLUMNS,
    OF_RUNS,
    Rows,
    to_experiment_rows,
    to_model_rows,
    to_registry_rows,
    to_run_rows,
)
from switchyard.core.mlflow.marks import to_mark
from switchyard.core.mlflow.raw_run import LostRun, RawRun, TrackedRun
from switchyard.core.ports import ANY, Objects, RegistryRows, Tracking, TrackingDetails
from switchyard.core.registry.mlflow_rows import TABLES as REGISTRY

_RUNS_AT_ONCE: Final = 20
"""Runs in memory at a time: as many as one call of a server gives a metric of."""
_TRIES: Final = 3
_STAGED: Final = "datasets_of_batches"
"""Where each batch has the data sets of its runs. Several have the same, so the table is made of them last."""
_NO_SCHEMA: Final = StoreSchema(before=[], after=[])


class Answers(msgspec.Struct, frozen=True):
    """A store that answers; often one object is all three."""

    tracking: Tracking
    details: TrackingDetails
    registry: RegistryRows


def export_answers(
    store: Answers,
    to_uri: str,
    objects: Objects,
    *,
    part_rows: int = PART_ROWS,
    places: Places | None = None,
    watch: Watcher = lambda moved: None,
) -> Export:
    """Exports the store to below `to_uri`, and reads all of it back.

    The export that it returns lists as `missing` what could not be read of the store. A second call reads that, and
    what changed since. A call after a whole export reads all again, and writes what is new.

    Raises:
        BadSetup: the store cannot be read. TryAgain: the store or the objects are away; the same call goes on.
        BadRequest: an export of a database is there. BadRecord: what was read back is not what was written; the wrong
        part is deleted, so that the same call mends it. StaleWrite: another export to the same place was faster.
    """
    to_uri = to_uri.rstrip("/")
    old, generation = find_marker(to_uri, objects)
    if old is not None and old.dialect != API:
        raise BadRequest(
            f"an export of a {old.dialect} database is at {to_uri}, which keeps more than a server tells: export to "
            "another place"
        )
    journal = Journal(to_uri, objects, old.parts if old else (), part_rows)
    exporter = _Exporter(store, to_uri, objects, journal, watch)
    export = exporter.export(places)
    try:
        check_export(export, to_uri, objects, journal.tell)
    except BadRecord as err:
        name = err.where.removeprefix(f"{to_uri}/")
        if is_part(name):  # the next call reads its batch again
            objects.delete(err.where, if_generation=ANY)
        raise
    if old is None or msgspec.structs.replace(old, taken_at=export.taken_at) != export:
        data = msgspec.json.format(msgspec.json.encode(export))
        try:
            objects.write(f"{to_uri}/{MARKER}", data, if_generation=generation)
        except StaleWrite as err:
            raise StaleWrite(f"another export to {to_uri} ended meanwhile: export again, or to another place") from err
        old = export
    exporter.clear(old)
    return old


class _Exporter:
    def __init__(self, store: Answers, to_uri: str, objects: Objects, journal: Journal, watch: Watcher) -> None:
        self._watch = watch
        self._store = store
        self._to_uri = to_uri
        self._objects = objects
        self._journal = journal
        self._source = store.tracking.describe()
        self._batches: list[Batch] = []
        self._missing: list[Missing] = []
        self._gone: dict[str, LostRun] = {}
        self._listed: dict[str, TrackedRun] = {}

    def export(self, places: Places | None) -> Export:
        """Writes all of it but the marker."""
        began_at = datetime.now(UTC)
        self._journal.watch("reading", 0, self._watch)
        plan = self._plan()
        self._batches = list(plan.kept)
        done = sum(len(batch.runs) for batch in plan.kept)
        for number, run_ids in plan.todo.items():
            batch = self._read_batch(number, run_ids, done)
            self._objects.write(f"{self._to_uri}/{batch.name}", msgspec.json.encode(batch), if_generation=ANY)
            self._batches.append(batch)
            done += len(run_ids)
        self._look_for_gone()
        experiments, noted = self._list_experiments()
        tables = self._put_tables(experiments)
        roots = Roots()
        self._journal.watch("looking for artifacts", 0, self._watch)
        rows = read_locations(_Written(self._read_table, tables), [_to_table(table) for table in tables])
        locations = self._journal.put_all("artifact_lists/locations", LOCATION_COLUMNS, noting(rows, roots))
        return Export(
            format=FORMAT,
            dialect=API,
            alembic_version="",
            taken_at=min([batch.read_at for batch in self._batches], default=began_at),
            schema=_NO_SCHEMA,
            tables=tables,
            artifacts=list_artifacts(locations, roots, places, self._journal),
            source=self._source,
            missing=sorted(self._missing, key=lambda missing: (missing.kind, missing.id)),
            not_kept=self._store.details.list_not_kept(),
            not_kept_rows=self._store.details.count_not_kept(),
            noted=[*noted, *(said for batch in self._batches for said in batch.noted)],
        )

    def clear(self, export: Export) -> None:
        """Deletes what nothing names any more; with a whole export also the records of its batches."""
        kept = [] if not export.missing else self._batches
        staged = frozenset(part.name for batch in kept for part in batch.parts.get("datasets", ()))
        records = {batch.name for batch in kept}
        # The last ones first: if it is killed among them, the next call reads the last batches again, by their numbers.
        for found in reversed(self._objects.list(f"{self._to_uri}/{FOLDER}/")):
            name = found.removeprefix(f"{self._to_uri}/")
            if name not in records and is_batch(name):
                self._objects.delete(found, if_generation=ANY)
        delete_others(export, self._to_uri, self._objects, staged)

    def _plan(self) -> Plan:
        for run in self._store.tracking.list_runs():
            self._listed[run.run_id] = run
            if len(self._listed) % PAGE == 0:
                self._tell("listing", "runs", len(self._listed), 0)
        batches = self._read_batches()
        found = self._store.tracking.read_marks() if batches else ()
        marks = {mark.run_id: mark.mark for mark in found if not mark.error}
        return plan_batches(
            self._listed,
            marks,
            batches,
            source=self._source,
            part_rows=self._journal.part_rows,
            is_there=self._is_there,
        )

    def _read_batches(self) -> list[Batch]:
        found = []
        for uri in self._objects.list(f"{self._to_uri}/{FOLDER}/"):
            if is_batch(uri.removeprefix(f"{self._to_uri}/")):
                with contextlib.suppress(BadRecord, NotFound):  # a damaged one is as good as none
                    found.append(read_batch(self._objects.read(uri)[0], uri))
        return found

    def _is_there(self, part: Part) -> bool:
        try:
            return self._objects.stat(f"{self._to_uri}/{part.name}").generation == part.generation
        except NotFound:
            return False

    def _read_batch(self, number: int, run_ids: Sequence[str], done: int) -> Batch:
        read_at = datetime.now(UTC)
        tables = _Tables(self._journal, lambda table, part: f"{_to_folder(table)}/{number:06}{part:03}")
        marks: dict[str, str] = {}
        experiments: dict[str, str] = {}
        noted: list[str] = []
        missing: list[Missing] = []
        for some in batched(run_ids, _RUNS_AT_ONCE):
            self._tell("reading", "runs", done, len(self._listed))
            # Before anything is read: what changes meanwhile is read again where the same command goes on.
            taken = self._store.details.take_marks(some)
            for run_id, (run, details, said) in sorted(self._read_runs(some).items()):
                if isinstance(run, LostRun):
                    missing += self._lose(run)
                    continue
                tables.add(to_run_rows(run, details))
                experiments[run.info.experiment_id] = run.info.experiment
                # A run that never stood still is read again there, too.
                marks[run_id] = "" if said else taken.get(run_id) or _to_mark(details)
                noted += [said] if said else []
            done += len(some)
        self._tell("reading", "runs", done, len(self._listed))
        self._missing += missing
        return Batch(
            number=number,
            source=self._source,
            part_rows=self._journal.part_rows,
            read_at=read_at,
            runs=marks,
            parts=tables.close(),
            experiments=experiments,
            missing=missing,
            noted=noted,
        )

    def _read_runs(self, run_ids: Sequence[str]) -> "dict[str, _Read]":
        """Reads each run and what belongs to it, of one moment if possible; and what to note of it."""
        found: dict[str, _Read] = {}
        before: dict[str, RunDetails] = {}
        left = list(run_ids)
        for attempt in range(1, _TRIES + 1):
            runs = {_to_id(run): run for run in self._store.tracking.read_runs(left)}
            read = [run_id for run_id, run in runs.items() if isinstance(run, RawRun)]
            details = {_to_id(one): one for one in self._store.details.read_details(read)}
            left = []
            for run_id, run in runs.items():
                own = details.get(run_id)
                if isinstance(run, LostRun):
                    found[run_id] = (run, _NONE, "")
                elif not isinstance(own, RunDetails):
                    found[run_id] = (own or _silent(run_id), _NONE, "")
                elif is_of_one_moment(run, own) or before.get(run_id) == own:  # nothing changed between two looks
                    found[run_id] = (run, own, "")
                elif attempt == _TRIES:
                    said = (
                        f"run {run_id} changed while it was read, {_TRIES} times: what was logged last may be missing"
                    )
                    found[run_id] = (run, own, said)
                else:
                    before[run_id] = own
                    left.append(run_id)
            if not left:
                break
        return found

    def _lose(self, run: LostRun) -> list[Missing]:
        """Returns what is missing with the run; nothing yet for a run that is no longer there."""
        listed = self._listed[run.run_id]
        if isinstance(run.error, NotFound) and listed.status:
            self._gone[run.run_id] = run
            return []
        return [_to_missing(run, listed)]

    def _look_for_gone(self) -> None:
        """Makes sure that runs that were gone when they were read are no longer listed."""
        if self._gone:
            for run in self._store.tracking.list_runs():
                if run.run_id in self._gone:
                    self._missing.append(_to_missing(self._gone[run.run_id], run))

    def _list_experiments(self) -> tuple[list[ExperimentDetails], list[str]]:
        found = {experiment.experiment_id: experiment for experiment in self._store.details.list_experiments()}
        noted = []
        for batch in self._batches:
            for number, name in batch.experiments.items():
                if number not in found:  # for good, while its runs were read
                    found[number] = ExperimentDetails(experiment_id=number, name=name, lifecycle="deleted")
                    noted.append(f"experiment {number} ({name}) was deleted while its runs were read")
        return sorted(found.values(), key=lambda one: (len(one.experiment_id), one.experiment_id)), noted

    def _put_tables(self, experiments: Sequence[ExperimentDetails]) -> list[ExportedTable]:
        tables = _Tables(self._journal, lambda table, part: f"tables/{table}/{part:06}")
        for experiment in experiments:
            tables.add(to_experiment_rows(experiment))
        for at, model in enumerate(self._store.details.list_logged_models()):
            tables.add(to_model_rows(model))
            if at % PAGE == 0:
                self._tell("reading", "logged models", at, 0)
        self._journal.watch("exporting", 0, self._watch)
        registry = self._store.registry.read_rows()
        self._missing += [Missing(kind="model", id=lost.name, reason=to_message(lost.error)) for lost in registry.lost]
        for name in REGISTRY:
            tables.add({name: to_registry_rows(name, registry.tables.get(name, ()))})
        parts = tables.close()
        for name in OF_RUNS:
            if name != "datasets":
                of_batches = [part for batch in self._batches for part in batch.parts.get(name, ())]
                parts[name] = sorted(of_batches, key=_to_first) + parts.get(name, [])
        datasets = self._journal.put_all("tables/datasets", COLUMNS["datasets"], self._read_datasets())
        return [
            datasets if name == "datasets" else _to_exported(name, columns, parts.get(name, []))
            for name, columns in COLUMNS.items()
        ]

    def _read_datasets(self) -> Generator[Row, None, None]:
        seen: set[str] = set()
        for batch in sorted(self._batches, key=lambda batch: batch.number):
            for part in batch.parts.get("datasets", ()):
                for row in self._read_part(part):
                    if row[0] not in seen:
                        seen.add(row[0])
                        yield row

    def _read_table(self, table: ExportedTable) -> Generator[Row, None, None]:
        for part in table.parts:
            yield from self._read_part(part)

    def _read_part(self, part: Part) -> Iterator[Row]:
        where = f"{self._to_uri}/{part.name}"
        try:
            return read_rows(self._objects.read(where)[0], where)
        except NotFound as err:
            raise BadRecord(where, ["this part of the export is gone: export again"]) from err

    def _tell(self, stage: str, what: str, done: int, of: int) -> None:
        self._journal.tell(Moved(stage, "", done, of, unit=what))


_Read = tuple[RawRun | LostRun, RunDetails, str]


class _Tables:
    """Gathers rows of several tables, each into its own parts."""

    def __init__(self, journal: Journal, name: Callable[[str, int], str]) -> None:
        self._journal = journal
        self._name = name
        self._open: dict[str, PartWriter] = {}
        self._parts: dict[str, list[Part]] = {}

    def add(self, rows: Rows) -> None:
        """Appends the rows; writes what is full."""
        for table, found in rows.items():
            at = 0
            while at < len(found):
                writer = self._open.setdefault(table, PartWriter(COLUMNS[table]))
                page = found[at : at + min(self._journal.part_rows - writer.rows, PAGE)]
                writer.add(page)
                at += len(page)
                if writer.rows >= self._journal.part_rows or writer.text_bytes >= PART_TEXT_BYTES:
                    self._put(table)

    def close(self) -> dict[str, list[Part]]:
        """Writes what is left; returns all parts, by table."""
        for table in list(self._open):
            self._put(table)
        return self._parts

    def _put(self, table: str) -> None:
        parts = self._parts.setdefault(table, [])
        parts.append(self._journal.put(self._name(table, len(parts)), COLUMNS[table], self._open.pop(table)))


class _Written:
    """The rows that were written, as `read_locations` takes those of a database."""

    def __init__(
        self, read: Callable[[ExportedTable], Generator[Row, None, None]], tables: Sequence[ExportedTable]
    ) -> None:
        self._read = read
        self._tables: Mapping[str, ExportedTable] = {table.name: table for table in tables}

    def rows(self, table: Table) -> Generator[Row, None, None]:
        """Yields the rows of one table, in order."""
        return self._read(self._tables[table.name])


_NONE: Final = RunDetails(
    info=TrackedRun(run_id="", name="", experiment_id="", experiment="", status=""), params={}, tags={}, latest=()
)


def _silent(run_id: str) -> LostRun:
    return LostRun(run_id=run_id, error=BadRecord(f"MLflow run {run_id}", ["the store told its points, and no more"]))


def _to_id(run: RawRun | RunDetails | LostRun) -> str:
    return run.run_id if isinstance(run, LostRun) else run.info.run_id


def _to_mark(details: RunDetails) -> str:
    return to_mark(details.info, details.params, details.tags, details.latest).mark


def _to_missing(run: LostRun, listed: TrackedRun) -> Missing:
    reason = to_message(run.error)
    if not listed.status and isinstance(run.error, NotFound):  # it stands for runs that a server cannot name
        reason = "a run has no status in MLflow's database, and its server cannot answer for it. Set one there"
    return Missing(
        kind="run",
        id=run.run_id,
        reason=reason,
        name=listed.name,
        experiment_id=listed.experiment_id,
        experiment=listed.experiment,
    )


def _to_folder(table: str) -> str:
    return f"tables/{_STAGED if table == 'datasets' else table}"


def _to_first(part: Part) -> tuple[str, str]:
    return part.first_run, part.name


def _to_table(table: ExportedTable) -> Table:
    return Table(table.name, table.columns, [RUN_COLUMN] if RUN_COLUMN in table.columns else table.columns)


def _to_exported(name: str, columns: Sequence[str], parts: list[Part]) -> ExportedTable:
    return ExportedTable(
        name=name,
        columns=list(columns),
        rows=sum(part.rows for part in parts),
        digest=to_table_digest(part.digest for part in parts),
        parts=parts,
    )
