"""Keeps decommissions and their steps (`core.ports.Decommissions`), on SQLite and Postgres."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, func, insert, select, update

from switchyard.clients.results.decommission_tables import DecommissionTables
from switchyard.clients.results.engine import Database
from switchyard.clients.results.rows import upsert
from switchyard.core.decommission.rows import Step, Walk
from switchyard.core.decommission.rules import Rules
from switchyard.core.decommission.states import State
from switchyard.core.errors import BadRecord, NotFound, StaleWrite


class SqlDecommissions:
    """Implements `core.ports.Decommissions`, which has the contracts. Safe for several threads and processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __repr__(self) -> str:
        return f"SqlDecommissions({self._database.where})"

    @property
    def _tables(self) -> DecommissionTables:
        return self._database.tables.decommission

    def find(self, name: str) -> Walk | None:
        """See the port."""
        walks = self._tables.walks
        rows = self._database.rows(select(walks).where(walks.c.name == name))
        return _to_walk(rows[0]._asdict()) if rows else None

    def begin(self, wanted: Walk, *, revision: int) -> Walk:
        """See the port."""
        made = msgspec.structs.replace(wanted, revision=revision + 1)
        values = {**msgspec.structs.asdict(made), "rules": _to_text(made.rules), "state": made.state.value}
        with self._database.writing() as connection:
            if revision == 0:
                made_now = upsert(connection, self._tables.walks).values(values)
                made_now = made_now.on_conflict_do_nothing(index_elements=["name"])
                found = connection.execute(made_now.returning(self._tables.walks.c.name)).one_or_none()
                if found is None:
                    raise _stale(made.name, revision)
            else:
                self._write(connection, made.name, revision, values)
        return made

    def hold(self, name: str, *, revision: int) -> Walk:
        """See the port."""
        return self._change(name, revision, {})

    def move(self, name: str, state: State, *, revision: int, by: str, now: datetime) -> Walk:
        """See the port."""
        return self._change(name, revision, {"state": state.value, "since": now, "by": by})

    def change_rules(self, name: str, rules: Rules, *, revision: int) -> Walk:
        """See the port."""
        return self._change(name, revision, {"rules": _to_text(rules)})

    def add_step(self, name: str, step: Step, *, revision: int) -> Step:
        """See the port."""
        walks, steps = self._tables.walks, self._tables.steps
        with self._database.writing() as connection:
            held = select(walks.c.revision).where(walks.c.name == name).with_for_update()
            found = connection.execute(held).scalar_one_or_none()
            if found != revision:
                raise _stale(name, revision)
            last = connection.execute(select(func.max(steps.c.seq)).where(steps.c.name == name)).scalar_one()
            added = msgspec.structs.replace(step, seq=(last or 0) + 1)
            values = {**msgspec.structs.asdict(added), "state": added.state.value, "name": name}
            connection.execute(insert(steps).values(values))
        return added

    def list_steps(self, name: str, *, walk: int | None = None) -> list[Step]:
        """See the port."""
        steps = self._tables.steps
        query = select(steps).where(steps.c.name == name).order_by(steps.c.seq)
        if walk is not None:
            query = query.where(steps.c.walk == walk)
        return [_to_step(row._asdict()) for row in self._database.rows(query)]

    def _change(self, name: str, revision: int, values: Mapping[str, Any]) -> Walk:
        with self._database.writing() as connection:
            return self._write(connection, name, revision, values)

    def _write(self, connection: Connection, name: str, revision: int, values: Mapping[str, Any]) -> Walk:
        walks = self._tables.walks
        written = (
            update(walks)
            .where(walks.c.name == name, walks.c.revision == revision)
            .values({**values, "revision": revision + 1})
            .returning(*walks.c)
        )
        row = connection.execute(written).one_or_none()
        if row is not None:
            return _to_walk(row._asdict())
        if connection.execute(select(walks.c.name).where(walks.c.name == name)).one_or_none() is None:
            raise NotFound(f"There is no decommission {name!r}. To begin one: switchyard decommission plan")
        raise _stale(name, revision)


def _stale(name: str, revision: int) -> StaleWrite:
    return StaleWrite(
        f"Another call went on with decommission {name!r} since revision {revision}. "
        "To see how far it is: switchyard decommission status"
    )


def _to_text(rules: Rules) -> str:
    return msgspec.json.encode(rules).decode()


def _to_walk(values: Mapping[str, Any]) -> Walk:
    try:
        rules = msgspec.json.decode(values["rules"], type=Rules)
        return msgspec.convert({**_pick(values, Walk), "rules": rules}, Walk)
    except msgspec.DecodeError as err:
        raise BadRecord(f"decommission {values['name']!r}", [f"this version did not write it: {err}"]) from err


def _to_step(values: Mapping[str, Any]) -> Step:
    try:
        return msgspec.convert(_pick(values, Step), Step)
    except msgspec.DecodeError as err:
        where = f"step {values['seq']} of decommission {values['name']!r}"
        raise BadRecord(where, [f"this version did not write it: {err}"]) from err


def _pick(values: Mapping[str, Any], struct: type[msgspec.Struct]) -> dict[str, Any]:
    """Picks values by plain names: SQLAlchemy's have another type where a column is a word of SQL."""
    return {field: values[field] for field in struct.__struct_fields__}
