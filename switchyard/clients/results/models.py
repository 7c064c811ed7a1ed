"""Keeps the registry of models (`core.ports.Models`), on SQLite and Postgres."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TypeVar

import msgspec
from sqlalchemy import Connection, delete, insert, select

from switchyard.clients.results.engine import Database
from switchyard.clients.results.model_changes import (
    Holding,
    find_answer,
    hold_model,
    read_held,
    read_time,
    write_change,
    write_line,
    write_model,
)
from switchyard.clients.results.model_rows import (
    no_such_model,
    read_clock,
    select_production,
    to_file_rows,
    to_manifest,
    to_model,
    to_outcome,
    to_transition,
    to_version,
    to_version_row,
)
from switchyard.clients.results.model_tables import ModelTables
from switchyard.clients.results.rows import upsert
from switchyard.core.errors import NotFound
from switchyard.core.registry import promotion, staging
from switchyard.core.registry.changes import Change, Held, Step, refuse_tombstoned
from switchyard.core.registry.manifest import Manifest
from switchyard.core.registry.names import CHALLENGER, CHAMPION, check_free_alias, read_reference
from switchyard.core.registry.registration import check_new, check_same
from switchyard.core.registry.rows import (
    Model,
    ModelVersion,
    NewVersion,
    Outcome,
    Promotion,
    Registered,
    Request,
    Rollback,
    ShareChange,
    StageMove,
    Tombstone,
    Transition,
    Verdict,
)
from switchyard.core.registry.stages import Act, Stage

R = TypeVar("R", bound=Request)


class SqlModels:
    """Implements `core.ports.Models`, which has the contracts. Safe for several threads and processes."""

    def __init__(self, database: Database, *, clock: Callable[[Connection], datetime] = read_clock) -> None:
        self._database = database
        self._clock = clock

    def __repr__(self) -> str:
        return f"SqlModels({self._database.where})"

    @property
    def _tables(self) -> ModelTables:
        return self._database.tables.models

    @contextmanager
    def _holding(self) -> Iterator[Holding]:
        tables = self._tables
        with self._database.writing() as connection:
            yield Holding(connection, tables, self._clock)

    def register(self, new: NewVersion) -> Registered:
        """See the port. The number is from the model's counter, under its lock."""
        check_new(new)
        with self._holding() as holding:
            connection, tables = holding.connection, holding.tables
            empty = msgspec.structs.asdict(Model(name=new.name))
            connection.execute(upsert(connection, tables.models).values(empty).on_conflict_do_nothing())
            model = hold_model(holding, new.name)
            of_source = (tables.versions.c.name == new.name, tables.versions.c.source_key == new.source_key)
            row = connection.execute(select(tables.versions).where(*of_source)).one_or_none()
            if row is not None:
                check_same(to_version(row), new)
                return Registered(version=to_version(row), is_new=False)
            return Registered(version=_add(holding, model, new), is_new=True)

    def promote(self, wanted: Promotion) -> Outcome:
        """See the port."""
        return self._change(wanted, wanted.version, promotion.promote)

    def roll_back(self, wanted: Rollback) -> Outcome:
        """See the port."""
        return self._change(wanted, wanted.to, promotion.roll_back)

    def move(self, wanted: StageMove) -> Outcome:
        """See the port."""
        return self._change(wanted, wanted.version, staging.move)

    def share(self, wanted: ShareChange) -> Outcome:
        """See the port."""
        return self._change(wanted, wanted.version, staging.share)

    def validate(self, wanted: Verdict) -> Outcome:
        """See the port."""
        return self._change(wanted, wanted.version, staging.validate, wanted.judgement.against)

    def tombstone(self, wanted: Tombstone) -> Outcome:
        """See the port."""
        return self._change(wanted, wanted.version, staging.tombstone)

    def _change(
        self, wanted: R, version: int | None, decide: Callable[[Held, R], Change], *others: int | None
    ) -> Outcome:
        """Locks, asks whether it was done, decides, writes."""
        with self._holding() as holding:
            model = hold_model(holding, wanted.name)
            if (answer := find_answer(holding, wanted, version)) is not None:
                return answer
            change = decide(read_held(holding, model, (version, *others)), wanted)
            written = write_change(holding, model, change, wanted)
            standing = version if version is not None else model.production
            return written or Outcome(name=model.name, version=standing or 0, act=None)

    def find_request(self, name: str, request_key: str) -> Outcome | None:
        """See the port."""
        lines = self._tables.transitions
        rows = self._database.rows(select(lines).where(lines.c.name == name, lines.c.request_key == request_key))
        return to_outcome(to_transition(rows[0])) if rows else None

    def set_alias(self, name: str, alias: str, version: int | None) -> None:
        """See the port."""
        check_free_alias(alias)
        aliases = self._tables.aliases
        with self._holding() as holding:
            held = read_held(holding, hold_model(holding, name), (version,))
            if version is None:
                holding.connection.execute(delete(aliases).where(aliases.c.name == name, aliases.c.alias == alias))
                return
            refuse_tombstoned(held.read(version))
            written = upsert(holding.connection, aliases).values(name=name, alias=alias, version=version)
            holding.connection.execute(
                written.on_conflict_do_update(index_elements=["name", "alias"], set_={"version": version})
            )

    def list_aliases(self, name: str) -> dict[str, int]:
        """See the port."""
        aliases, model = self._tables.aliases, self.read_model(name)
        rows = self._database.rows(select(aliases).where(aliases.c.name == name))
        found = {row.alias: row.version for row in rows}
        found |= {CHAMPION: model.production, CHALLENGER: model.challenger}
        return {alias: version for alias, version in sorted(found.items()) if version is not None}

    def list_models(self) -> list[Model]:
        """See the port."""
        found = [to_model(row) for row in self._database.rows(select(self._tables.models))]
        return sorted(found, key=lambda model: model.name)  # not the database's order of letters

    def read_model(self, name: str) -> Model:
        """See the port."""
        models = self._tables.models
        rows = self._database.rows(select(models).where(models.c.name == name))
        if not rows:
            raise no_such_model(name)
        return to_model(rows[0])

    def list_versions(self, name: str) -> list[ModelVersion]:
        """See the port."""
        versions = self._tables.versions
        query = select(versions).where(versions.c.name == name).order_by(versions.c.version.desc())
        return [to_version(row) for row in self._database.rows(query)]

    def find_version(self, name: str, reference: str) -> ModelVersion:
        """See the port. Makes one query; the model's row or an alias has a number that is not given."""
        asked = read_reference(reference)
        number = asked.version
        if asked.stage is not None:
            model = self.read_model(name)
            number = model.production if asked.stage is Stage.PRODUCTION else model.challenger
        if asked.alias:
            number = self.list_aliases(name).get(asked.alias)
        versions = self._tables.versions
        rows = self._database.rows(select(versions).where(versions.c.name == name, versions.c.version == number))
        if not rows:
            raise NotFound(f"model {name} has no version {reference}")
        return to_version(rows[0])

    def find_source(self, name: str, source_key: str) -> ModelVersion | None:
        """See the port."""
        versions = self._tables.versions
        of_source = (versions.c.name == name, versions.c.source_key == source_key)
        rows = self._database.rows(select(versions).where(*of_source))
        return to_version(rows[0]) if rows else None

    def read_files(self, name: str, version: int) -> Manifest:
        """See the port."""
        files = self._tables.files
        rows = self._database.rows(select(files).where(files.c.name == name, files.c.version == version))
        if not rows:
            self.find_version(name, str(version))
            raise NotFound(
                f"version {version} of model {name} has no files here: they could not be read when it was imported, so "
                "it cannot be loaded. To import them once they can be read: switchyard import-models"
            )
        return to_manifest(list(rows))

    def list_transitions(self, name: str) -> list[Transition]:
        """See the port."""
        lines = self._tables.transitions
        query = select(lines).where(lines.c.name == name).order_by(lines.c.seq)
        return [to_transition(row) for row in self._database.rows(query)]

    def list_tags(self, name: str) -> dict[int, dict[str, str]]:
        """See the port."""
        tags, found = self._tables.tags, dict[int, dict[str, str]]()
        rows = self._database.rows(select(tags).where(tags.c.name == name))
        for row in sorted(rows, key=lambda row: (row.version, row.key)):
            found.setdefault(row.version, {})[row.key] = row.value
        return found

    def find_production(self, name: str, at: datetime) -> int | None:
        """See the port. Finds the last change of Production until then, which may have left none there."""
        until = self._tables.transitions.c.at <= at
        rows = self._database.rows(select_production(self._tables, name).where(until).limit(1))
        return rows[0].version if rows and rows[0].to_stage == Stage.PRODUCTION else None


def _add(holding: Holding, model: Model, new: NewVersion) -> ModelVersion:
    """Adds the next version, with its files and the first line of its history."""
    connection, tables, number = holding.connection, holding.tables, model.last_number + 1
    now = read_time(holding, model)
    after = msgspec.structs.replace(model, last_number=number, revision=model.revision + 1)
    write_model(holding, model, after)
    row = connection.execute(
        insert(tables.versions).values(to_version_row(new, number, now)).returning(*tables.versions.c)
    ).one()
    connection.execute(insert(tables.files), to_file_rows(new, number))
    step = Step(version=number, act=Act.REGISTERED, from_stage=Stage.NONE, to_stage=Stage.NONE)
    write_line(holding, new.name, after.revision, step, now, by=new.by)
    return to_version(row)
