"""Turns the registry's rows into values, and back; within a transaction that the caller holds, or for a query."""

from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, Select, func, select

from switchyard.clients.results.model_tables import ModelTables
from switchyard.core.errors import NotFound
from switchyard.core.registry.manifest import Manifest, ModelFile
from switchyard.core.registry.rows import Judgement, Lineage, Model, ModelVersion, NewVersion, Outcome, Transition
from switchyard.core.registry.stages import Act, Stage, Validation

_PRODUCTION: Final = str(Stage.PRODUCTION)


def read_clock(connection: Connection) -> datetime:
    """Returns the time where the database is: one clock for all who write.

    It is not Postgres' `now()`, the time at which a transaction began: if that waited for a row, it lies before its
    predecessor's."""
    if connection.dialect.name == "sqlite":
        return datetime.now(UTC)  # its writers share this machine
    found: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
    return found.astimezone(UTC)


def no_such_model(name: str) -> NotFound:
    """Returns the error to raise if a name names no model."""
    return NotFound(f"there is no model {name}. To make one of a run: switchyard register <run> --name '{name}'")


def to_model(row: Row[Any]) -> Model:
    """Makes a model of a row with its columns."""
    return Model(**row._asdict())


def to_version(row: Row[Any]) -> ModelVersion:
    """Makes a version of a row with its columns."""
    return ModelVersion(
        name=row.name,
        version=row.version,
        digest=row.digest,
        stage=Stage(row.stage),
        judgement=msgspec.json.decode(row.judgement, type=Judgement),
        source_key=row.source_key,
        source_uri=row.source_uri,
        lineage=msgspec.json.decode(row.lineage, type=Lineage),
        description=row.description,
        created_at=row.created_at,
        created_by=row.created_by,
        tombstoned_at=row.tombstoned_at,
        flavor=row.flavor,
    )


def to_transition(row: Row[Any]) -> Transition:
    """Makes a transition of a row with its columns."""
    values = row._asdict()
    values |= {"act": Act(row.act), "from_stage": Stage(row.from_stage), "to_stage": Stage(row.to_stage)}
    return Transition(**{**values, "evidence": msgspec.json.decode(row.evidence)})


def to_outcome(line: Transition) -> Outcome:
    """Returns what the request that wrote `line` did."""
    return Outcome(name=line.name, version=line.version, act=line.act, seq=line.seq, replaced=line.replaced, at=line.at)


def to_version_row(new: NewVersion, number: int, now: datetime) -> dict[str, Any]:
    """Returns a new version's row."""
    return {
        "name": new.name,
        "version": number,
        "stage": str(Stage.NONE),
        "validation_status": str(Validation.PENDING),
        "judgement": to_json(Judgement()),
        "digest": new.manifest.digest,
        "source_key": new.source_key,
        "source_uri": new.source_uri,
        "quick_test_id": new.lineage.quick_test_id,
        "lineage": to_json(new.lineage),
        "description": new.description,
        "created_at": now,
        "created_by": new.by,
        "flavor": new.flavor,
    }


def to_file_rows(new: NewVersion, number: int) -> list[dict[str, Any]]:
    """Returns the rows of a new version's files."""
    return [{"name": new.name, "version": number, **msgspec.structs.asdict(file)} for file in new.manifest.files]


def to_manifest(rows: list[Row[Any]]) -> Manifest:
    """Makes a manifest of the rows of a version's files, in the order of their paths' characters, on any database."""
    files = [ModelFile(path=row.path, size_bytes=row.size_bytes, sha256=row.sha256) for row in rows]
    return Manifest(tuple(sorted(files)))


def to_json(value: object) -> str:
    """Returns it as it is stored."""
    return msgspec.json.encode(value).decode()


def select_production(tables: ModelTables, name: str) -> Select[Any]:
    """Selects the lines by which Production changed, the newest first."""
    lines = tables.transitions
    return select(lines).where(lines.c.name == name, changes_production(lines.c)).order_by(lines.c.seq.desc())


def changes_production(columns: Any) -> ColumnElement[bool]:
    """Selects lines by which a version entered or left Production."""
    changed: ColumnElement[bool] = (columns.from_stage == _PRODUCTION) | (columns.to_stage == _PRODUCTION)
    return changed


def select_served(tables: ModelTables, name: str, numbers: list[int]) -> Select[Any]:
    """Selects those of the versions that were in Production once."""
    lines = tables.transitions
    entered = (lines.c.name == name, lines.c.to_stage == _PRODUCTION, lines.c.version.in_(numbers))
    return select(lines.c.version).where(*entered).distinct()
