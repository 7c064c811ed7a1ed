"""Reads the registry of models for pages and programs (`core.ports.Catalogue`), on SQLite and Postgres."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, collate, func, select
from sqlalchemy import text as sql

from switchyard.clients.results.engine import Database
from switchyard.clients.results.model_rows import (
    changes_production,
    no_such_model,
    select_production,
    to_model,
    to_transition,
    to_version,
)
from switchyard.clients.results.model_tables import NOTED, ModelTables
from switchyard.core.registry.listing import LineQuery, ModelLine
from switchyard.core.registry.rows import ModelVersion, Transition
from switchyard.core.registry.stages import Act


class SqlCatalogue:
    """Implements `core.ports.Catalogue`, which has the contracts. Safe for several threads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __repr__(self) -> str:
        return f"SqlCatalogue({self._database.where})"

    @property
    def _tables(self) -> ModelTables:
        return self._database.tables.models

    def list_models(self, *, after: str = "", limit: int) -> list[ModelLine]:
        """See the port. Makes four queries, for any number of models."""
        name: ColumnElement[Any] = self._tables.models.c.name
        if self._database.reader.dialect.name == "postgresql":
            name = collate(name, "C")
        rows = self._database.rows(select(self._tables.models).where(name > after).order_by(name).limit(limit))
        return self._to_lines(rows)

    def read_line(self, name: str) -> ModelLine:
        """See the port."""
        models = self._tables.models
        lines = self._to_lines(self._database.rows(select(models).where(models.c.name == name)))
        if not lines:
            raise no_such_model(name)
        return lines[0]

    def list_versions(self, name: str, *, before: int | None = None, limit: int) -> list[ModelVersion]:
        """See the port."""
        versions = self._tables.versions
        query = select(versions).where(versions.c.name == name)
        if before is not None:
            query = query.where(versions.c.version < before)
        rows = self._database.rows(query.order_by(versions.c.version.desc()).limit(limit))
        return [to_version(row) for row in rows]

    def list_of_run(self, quick_test_id: int) -> list[ModelVersion]:
        """See the port."""
        versions = self._tables.versions
        rows = self._database.rows(select(versions).where(versions.c.quick_test_id == quick_test_id))
        return sorted((to_version(row) for row in rows), key=lambda one: (one.name, one.version))

    def read_tags(self, name: str, version: int) -> dict[str, str]:
        """See the port."""
        tags = self._tables.tags
        rows = self._database.rows(select(tags).where(tags.c.name == name, tags.c.version == version))
        return {row.key: row.value for row in sorted(rows, key=lambda row: row.key)}

    def list_lines(self, name: str, asked: LineQuery) -> list[Transition]:
        """See the port."""
        lines = self._tables.transitions
        wanted = [lines.c.name == name]
        if asked.before is not None:
            wanted.append(lines.c.seq < asked.before)
        if asked.until is not None:
            wanted.append(lines.c.at <= asked.until)
        if asked.version is not None:
            wanted.append(lines.c.version == asked.version)
        if asked.acts:
            wanted.append(lines.c.act.in_([str(act) for act in asked.acts]))
        if asked.forced:
            wanted.append(lines.c.forced.is_(True))
        query = select(lines).where(*wanted)
        if asked.forced or set(asked.acts) == {Act.VALIDATED}:
            query = query.where(sql(f"({NOTED})"))  # follows from what was asked, and names the index
        query = query.order_by(lines.c.seq.desc()).limit(asked.limit)
        return [to_transition(row) for row in self._database.rows(query)]

    def find_standing(self, name: str, at: datetime) -> Transition | None:
        """See the port."""
        until = self._tables.transitions.c.at <= at
        rows = self._database.rows(select_production(self._tables, name).where(until).limit(1))
        return to_transition(rows[0]) if rows else None

    def _to_lines(self, rows: Sequence[Row[Any]]) -> list[ModelLine]:
        models = [to_model(row) for row in rows]
        names = [model.name for model in models]
        if not names:
            return []
        versions = self._tables.versions
        counted = func.count().label("versions")
        counting = select(versions.c.name, counted).where(versions.c.name.in_(names)).group_by(versions.c.name)
        counts: dict[str, int] = {row.name: row.versions for row in self._database.rows(counting)}
        standing = self._read_newest(names, changes_production)
        last = self._read_newest(names)
        return [
            ModelLine(
                model=model,
                versions=counts.get(model.name, 0),
                standing=standing.get(model.name),
                last=last.get(model.name),
            )
            for model in models
        ]

    def _read_newest(
        self, names: list[str], wanted: Callable[[Any], ColumnElement[bool]] | None = None
    ) -> dict[str, Transition]:
        """Reads the newest of each model's `wanted` lines: one step of an index for each model."""
        models, lines = self._tables.models, self._tables.transitions
        others = lines.alias()
        newest = select(others.c.seq).where(others.c.name == models.c.name).order_by(others.c.seq.desc()).limit(1)
        if wanted is not None:
            newest = newest.where(wanted(others.c))
        is_newest = lines.c.seq == newest.correlate(models).scalar_subquery()
        query = select(lines).join(models, lines.c.name == models.c.name).where(models.c.name.in_(names), is_newest)
        return {row.name: to_transition(row) for row in self._database.rows(query)}
