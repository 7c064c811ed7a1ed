"""Writes another registry's models into ours (`core.ports.ModelImports`), on SQLite and Postgres."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from switchyard.clients.results.engine import Database
from switchyard.clients.results.model_changes import Holding, hold_model, read_time, write_line, write_model
from switchyard.clients.results.model_rows import read_clock, to_json, to_version
from switchyard.clients.results.model_tables import ModelTables
from switchyard.clients.results.rows import upsert
from switchyard.core.errors import StaleWrite
from switchyard.core.registry.changes import Step
from switchyard.core.registry.importing import (
    ImportedVersion,
    ModelOrigin,
    SourceModel,
    VersionOrigin,
    find_conflicts,
    to_evidence,
    to_source_key,
    to_time,
)
from switchyard.core.registry.names import check_model_name
from switchyard.core.registry.rows import Judgement, Lineage, Model
from switchyard.core.registry.stages import Act, Stage, Validation

_MODEL = 0
"""The version that stands for the model itself, in tags and origins."""


class SqlModelImports:
    """Implements `core.ports.ModelImports`, which has the contracts."""

    def __init__(self, database: Database, *, clock: Callable[[Connection], datetime] = read_clock) -> None:
        self._database = database
        self._clock = clock

    def __repr__(self) -> str:
        return f"SqlModelImports({self._database.where})"

    @property
    def _tables(self) -> ModelTables:
        return self._database.tables.models

    @contextmanager
    def _holding(self) -> Iterator[Holding]:
        with self._database.writing() as connection:
            yield Holding(connection, self._tables, self._clock)

    def begin(self, name: str, model: SourceModel) -> None:
        """See the port."""
        check_model_name(name)
        with self._holding() as holding:
            connection, tables = holding.connection, holding.tables
            empty = msgspec.structs.asdict(Model(name=name, description=model.origin.description))
            connection.execute(upsert(connection, tables.models).values(empty).on_conflict_do_nothing())
            held = hold_model(holding, name)
            versions = tables.versions
            rows = connection.execute(select(versions.c.version, versions.c.source_key).where(versions.c.name == name))
            before = _read_model_origin(connection, tables, name)
            if before is not None and (before.name, before.workspace) != (model.name, model.origin.workspace):
                raise StaleWrite(
                    f"model {name} here comes from another model, {before.name}. Import model {model.name} under "
                    f"another name: --name '{model.name}=<another name>'"
                )
            if problems := find_conflicts(name, model, {row.version: row.source_key for row in rows}):
                raise StaleWrite(problems)
            if held.last_number < model.last_number:
                # No line of history: a number is reserved, and no version changes.
                reserved = update(tables.models).where(tables.models.c.name == name)
                connection.execute(reserved.values(last_number=model.last_number))

    def add_version(self, name: str, model: ModelOrigin, version: ImportedVersion, *, where: str, by: str) -> bool:
        """See the port."""
        with self._holding() as holding:
            held = hold_model(holding, name)
            versions = holding.tables.versions
            same = (versions.c.name == name, versions.c.version == version.origin.number)
            row = holding.connection.execute(select(versions).where(*same)).one_or_none()
            if row is None:
                _insert(holding, held, model, version, where=where, by=by)
                return True
            found = to_version(row)
            if found.source_key != to_source_key(model, version.origin.number):
                raise StaleWrite(
                    f"version {found.version} of model {name} was not imported from there: it is {found.source_key}. "
                    f"Import that model under another name: --name '{model.name}=<another name>'"
                )
            _refresh(holding, held, version)
            if found.lineage == Lineage() != version.lineage:  # its run was published here since
                linked = {"quick_test_id": version.lineage.quick_test_id, "lineage": to_json(version.lineage)}
                holding.connection.execute(update(versions).where(*same).values(linked))
            if version.manifest is None or version.manifest.digest == found.digest:
                return False
            if found.digest:
                raise StaleWrite(
                    f"version {found.version} of model {name} has digest {found.digest}; its files at "
                    f"{version.origin.source} have changed since they were imported, and have digest "
                    f"{version.manifest.digest}. A version's files never change"
                )
            values = {
                "digest": version.manifest.digest,
                "source_uri": version.source_uri,
                "flavor": version.flavor,
            }
            holding.connection.execute(update(versions).where(*same).values(values))
            _insert_files(holding, name, version)
            return False

    def finish(self, name: str, model: ModelOrigin, aliases: Mapping[str, int]) -> None:
        """See the port."""
        with self._holding() as holding:
            held = hold_model(holding, name)
            connection, tables = holding.connection, holding.tables
            before = _read_model_origin(connection, tables, name)
            taken_before = before.aliases if before is not None else {}
            for alias, number in aliases.items():
                if taken_before.get(alias) != number:
                    row = {"name": name, "alias": alias, "version": number}
                    written = upsert(connection, tables.aliases).values(row)
                    keys = ["name", "alias"]
                    connection.execute(written.on_conflict_do_update(index_elements=keys, set_={"version": number}))
            described = update(tables.models).where(tables.models.c.name == name)
            connection.execute(described.values(description=model.description))
            _write_tags(connection, tables, name, _MODEL, model.tags)
            _write_origin(connection, tables, name, _MODEL, model, read_time(holding, held))

    def read_model_origin(self, name: str) -> ModelOrigin | None:
        """See the port."""
        imports = self._tables.imports
        rows = self._database.rows(select(imports).where(imports.c.name == name, imports.c.version == _MODEL))
        return msgspec.json.decode(rows[0].origin, type=ModelOrigin) if rows else None

    def list_version_origins(self, name: str) -> dict[int, VersionOrigin]:
        """See the port."""
        imports = self._tables.imports
        rows = self._database.rows(select(imports).where(imports.c.name == name, imports.c.version > _MODEL))
        return {row.version: msgspec.json.decode(row.origin, type=VersionOrigin) for row in rows}


def _insert(
    holding: Holding, held: Model, model: ModelOrigin, version: ImportedVersion, *, where: str, by: str
) -> None:
    connection, tables, origin = holding.connection, holding.tables, version.origin
    now, stage = read_time(holding, held), version.stage
    if (stage is Stage.PRODUCTION and held.production is not None) or (
        stage is Stage.STAGING and held.challenger is not None
    ):
        stage = Stage.ARCHIVED if stage is Stage.PRODUCTION else Stage.NONE
    changed: dict[str, Any] = {"revision": held.revision + 1, "last_number": max(held.last_number, origin.number)}
    if stage is Stage.PRODUCTION:
        changed["production"] = origin.number
    if stage is Stage.STAGING:
        changed |= {"challenger": origin.number, "share": 0.0}
    write_model(holding, held, msgspec.structs.replace(held, **changed))
    connection.execute(insert(tables.versions).values(_to_row(held.name, model, version, stage, now)))
    _insert_files(holding, held.name, version)
    _write_tags(connection, tables, held.name, origin.number, origin.tags)
    _write_origin(connection, tables, held.name, origin.number, origin, now)
    step = Step(
        version=origin.number,
        act=Act.IMPORTED,
        from_stage=Stage.NONE,
        to_stage=stage,
        reason=f"imported as {origin.stage}; who was in Production before is not known",
        share=0.0 if stage is Stage.STAGING else None,
        evidence=to_evidence(version, where),
    )
    write_line(holding, held.name, held.revision + 1, step, now, by=by)


def _refresh(holding: Holding, held: Model, version: ImportedVersion) -> None:
    """Writes what people have changed there since: texts and tags, which no one changes here."""
    connection, tables, origin = holding.connection, holding.tables, version.origin
    imports, versions = tables.imports, tables.versions
    same = (imports.c.name == held.name, imports.c.version == origin.number)
    kept = connection.execute(select(imports.c.origin).where(*same)).scalar_one_or_none()
    if kept is not None and msgspec.json.decode(kept, type=VersionOrigin) == origin:
        return
    whose = (versions.c.name == held.name, versions.c.version == origin.number)
    connection.execute(update(versions).where(*whose).values(description=origin.description))
    _write_tags(connection, tables, held.name, origin.number, origin.tags)
    _write_origin(connection, tables, held.name, origin.number, origin, read_time(holding, held))


def _to_row(name: str, model: ModelOrigin, version: ImportedVersion, stage: Stage, now: datetime) -> dict[str, Any]:
    origin = version.origin
    return {
        "name": name,
        "version": origin.number,
        "stage": str(stage),
        "validation_status": str(Validation.PENDING),
        "judgement": to_json(Judgement()),
        "digest": version.manifest.digest if version.manifest else "",
        "source_key": to_source_key(model, origin.number),
        "source_uri": version.source_uri,
        "quick_test_id": version.lineage.quick_test_id,
        "lineage": to_json(version.lineage),
        "description": origin.description,
        "created_at": to_time(origin.created_at_ms, now),
        "created_by": origin.user_id,
        "flavor": version.flavor,
    }


def _insert_files(holding: Holding, name: str, version: ImportedVersion) -> None:
    if version.manifest is None:
        return
    whose = {"name": name, "version": version.origin.number}
    rows = [{**whose, **msgspec.structs.asdict(file)} for file in version.manifest.files]
    holding.connection.execute(insert(holding.tables.files), rows)


def _write_tags(
    connection: Connection, tables: ModelTables, name: str, version: int, wanted: Mapping[str, str]
) -> None:
    tags = tables.tags
    connection.execute(delete(tags).where(tags.c.name == name, tags.c.version == version))
    if wanted:
        whose = {"name": name, "version": version}
        connection.execute(insert(tags), [{**whose, "key": key, "value": value} for key, value in wanted.items()])


def _write_origin(
    connection: Connection,
    tables: ModelTables,
    name: str,
    version: int,
    origin: ModelOrigin | VersionOrigin,
    at: datetime,
) -> None:
    values = {"name": name, "version": version, "origin": to_json(origin), "at": at}
    written = upsert(connection, tables.imports).values(values)
    changed = {"origin": values["origin"], "at": at}
    connection.execute(written.on_conflict_do_update(index_elements=["name", "version"], set_=changed))


def _read_model_origin(connection: Connection, tables: ModelTables, name: str) -> ModelOrigin | None:
    imports = tables.imports
    same = (imports.c.name == name, imports.c.version == _MODEL)
    found = connection.execute(select(imports.c.origin).where(*same)).scalar_one_or_none()
    return None if found is None else msgspec.json.decode(found, type=ModelOrigin)
