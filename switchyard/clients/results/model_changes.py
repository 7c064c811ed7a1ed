"""Holds a model's row, reads what a decision needs, and writes its change, all in the caller's transaction."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, insert, select, update

from switchyard.clients.results.model_rows import (
    no_such_model,
    select_production,
    select_served,
    to_json,
    to_model,
    to_outcome,
    to_transition,
    to_version,
)
from switchyard.clients.results.model_tables import ModelTables
from switchyard.core.errors import BadRequest, StaleWrite
from switchyard.core.registry.changes import Change, Held, Step
from switchyard.core.registry.rows import Model, Outcome, Request, Transition
from switchyard.core.registry.stages import Act, Stage


@dataclass(frozen=True)
class Holding:
    """A transaction that writes; its time is asked for while the model's row is held."""

    connection: Connection
    tables: ModelTables
    read_clock: Callable[[Connection], datetime]


def hold_model(holding: Holding, name: str) -> Model:
    """Returns the model's row, which no one else changes until the transaction ends. Raises: NotFound."""
    models = holding.tables.models
    row = holding.connection.execute(select(models).where(models.c.name == name).with_for_update()).one_or_none()
    if row is None:
        raise no_such_model(name)
    return to_model(row)


def find_answer(holding: Holding, wanted: Request, version: int | None) -> Outcome | None:
    """Returns what this request did before; None: it is new. Raises: BadRequest: its key is another request's."""
    lines = holding.tables.transitions
    if not wanted.request_key:
        return None
    same = (lines.c.name == wanted.name, lines.c.request_key == wanted.request_key)
    row = holding.connection.execute(select(lines).where(*same)).one_or_none()
    if row is None:
        return None
    if version is not None and row.version != version:
        raise BadRequest(
            f"the request key {wanted.request_key!r} belongs to another request of model {wanted.name}, for version "
            f"{row.version}; a new request needs its own key"
        )
    return to_outcome(to_transition(row))


def read_held(holding: Holding, model: Model, numbers: Iterable[int | None]) -> Held:
    """Reads what a decision needs of the model: the versions of `numbers`, and those that the model's row names."""
    connection, tables = holding.connection, holding.tables
    wanted = sorted({n for n in (*numbers, model.production, model.previous, model.challenger) if n is not None})
    of_these = (tables.versions.c.name == model.name, tables.versions.c.version.in_(wanted))
    versions = [to_version(row) for row in connection.execute(select(tables.versions).where(*of_these))]
    served = connection.execute(select_served(tables, model.name, wanted)).scalars()
    last = connection.execute(select_production(tables, model.name).limit(1)).one_or_none()
    return Held(
        model=model,
        versions={version.version: version for version in versions},
        served=frozenset(served),
        last=None if last is None else to_transition(last),
        challenged=_read_challenged(holding, model),
    )


def _read_challenged(holding: Holding, model: Model) -> Transition | None:
    if model.challenger is None:
        return None
    lines = holding.tables.transitions
    entered = (lines.c.name == model.name, lines.c.version == model.challenger, lines.c.to_stage == str(Stage.STAGING))
    came = select(lines).where(*entered, lines.c.from_stage != str(Stage.STAGING)).order_by(lines.c.seq.desc()).limit(1)
    row = holding.connection.execute(came).one_or_none()
    return None if row is None else to_transition(row)


def write_change(holding: Holding, before: Model, change: Change, wanted: Request) -> Outcome | None:
    """Writes the change; returns what the last step did, or None: there is nothing to write.

    Raises: StaleWrite: someone has changed the rows past the lock."""
    if not change.steps:
        return None
    write_model(holding, before, change.model)
    now = read_time(holding, before)
    lines = []
    for seq, step in enumerate(change.steps, before.revision + 1):
        key = wanted.request_key if step is change.steps[-1] else ""
        _write_version(holding, before.name, step, now)
        lines.append(write_line(holding, before.name, seq, step, now, by=wanted.by, request_key=key))
    return to_outcome(lines[-1])


def write_model(holding: Holding, before: Model, after: Model) -> None:
    """Writes the model's row. Raises: StaleWrite: it is no longer `before`."""
    models = holding.tables.models
    same = (models.c.name == before.name, models.c.revision == before.revision)
    written = holding.connection.execute(update(models).where(*same).values(msgspec.structs.asdict(after)))
    _check_one(written.rowcount, f"the row of model {before.name}")


def read_time(holding: Holding, model: Model) -> datetime:
    """Returns the time now; but never before the model's last line, should the clock have been set back."""
    lines = holding.tables.transitions
    last = (lines.c.name == model.name, lines.c.seq == model.revision)
    before: datetime | None = holding.connection.execute(select(lines.c.at).where(*last)).scalar_one_or_none()
    now = holding.read_clock(holding.connection)
    return now if before is None else max(now, before)


def write_line(
    holding: Holding, name: str, seq: int, step: Step, now: datetime, *, by: str, request_key: str = ""
) -> Transition:
    """Adds a line to the history."""
    line = Transition(
        name=name,
        seq=seq,
        version=step.version,
        act=step.act,
        from_stage=step.from_stage,
        to_stage=step.to_stage,
        at=now,
        by=by,
        reason=step.reason,
        forced=step.forced,
        replaced=step.replaced,
        share=step.share,
        evidence=step.evidence,
        request_key=request_key or None,
    )
    values = msgspec.structs.asdict(line)
    values |= {"act": str(line.act), "from_stage": str(line.from_stage), "to_stage": str(line.to_stage)}
    holding.connection.execute(
        insert(holding.tables.transitions).values({**values, "evidence": to_json(step.evidence)})
    )
    return line


def _write_version(holding: Holding, name: str, step: Step, now: datetime) -> None:
    versions = holding.tables.versions
    values: dict[str, Any] = {}
    if step.to_stage is not step.from_stage:
        values["stage"] = str(step.to_stage)
    if step.act is Act.VALIDATED:
        values |= {"validation_status": step.evidence["status"], "judgement": to_json(step.evidence)}
    if step.act is Act.TOMBSTONED:
        values["tombstoned_at"] = now
    if not values:
        return
    same = (versions.c.name == name, versions.c.version == step.version, versions.c.stage == str(step.from_stage))
    written = holding.connection.execute(update(versions).where(*same).values(values))
    _check_one(written.rowcount, f"version {step.version} of model {name}")


def _check_one(rowcount: int, what: str) -> None:
    if rowcount != 1:
        raise StaleWrite(f"{what} was changed by another program past the registry's lock; nothing was written")
