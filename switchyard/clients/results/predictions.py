"""Keeps predictions and the feedback on them (`core.ports.Predictions`), on SQLite and Postgres."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, Select, and_, case, delete, func, literal, select, true, update
from sqlalchemy import exists as sql_exists

from switchyard.clients.results.column_types import to_storable
from switchyard.clients.results.engine import Database
from switchyard.clients.results.prediction_tables import PredictionTables
from switchyard.clients.results.rows import upsert
from switchyard.core.errors import NotFound, StaleWrite
from switchyard.core.predictions.arms import Arm
from switchyard.core.predictions.feedback import KEY_HEADER, Kind
from switchyard.core.predictions.rows import (
    Counts,
    Feedback,
    Given,
    NewFeedback,
    Prediction,
    Pruned,
    Said,
    Traffic,
    Unmatched,
    Window,
)


class SqlPredictions:
    """Implements `core.ports.Predictions`, which has the contracts. Safe for several threads and processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __repr__(self) -> str:
        return f"SqlPredictions({self._database.where})"

    @property
    def _tables(self) -> PredictionTables:
        return self._database.tables.predictions

    def record(self, predictions: Sequence[Prediction]) -> None:
        """See the port."""
        if not predictions:
            return
        with self._database.writing() as connection:
            for statement, values in _compile_adding(self._tables, connection, predictions):
                connection.exec_driver_sql(statement, values)

    def read_prediction(self, prediction_id: str) -> Prediction:
        """See the port."""
        table = self._tables.predictions
        rows = self._database.rows(select(table).where(table.c.id == prediction_id))
        if not rows:
            raise NotFound(
                f"there is no prediction {prediction_id}: it is not written yet, or is older than PREDICTIONS_DAYS"
            )
        values = rows[0]._asdict()
        products = msgspec.json.decode(rows[0].product_ids, type=tuple[str, ...])
        return Prediction(**{**values, "arm": Arm(rows[0].arm), "product_ids": products})

    def give(self, feedback: NewFeedback, *, now: datetime) -> Given:
        """See the port. The key is the table's own: of two at once the database lets one in, and the other waits."""
        tables = self._tables
        with self._database.writing() as connection:
            row = {**msgspec.structs.asdict(feedback), "kind": str(feedback.kind), "at": now}
            row |= _find_origin(connection, tables, feedback.prediction_id)
            adding = upsert(connection, tables.feedback).values(row).on_conflict_do_nothing()
            is_new = connection.execute(adding.returning(tables.feedback.c.idempotency_key)).one_or_none() is not None
            kept = connection.execute(_select_kept(tables, feedback.idempotency_key)).one()
        if kept.body_digest != feedback.body_digest:
            raise StaleWrite(
                f"other feedback was kept under this key: of prediction {kept.prediction_id} and kind {kept.kind}. "
                f"Send different feedback with another {KEY_HEADER}"
            )
        return Given(feedback=_to_feedback(kept), is_new=is_new)

    def count(self, window: Window, *, waiting_since: datetime) -> Counts:
        """See the port. Makes four grouped queries, and for a window one that sees whether it is short."""
        tables, rows = self._tables, self._database.rows
        is_short = bool(window.since or window.until) and len(rows(_select_some(tables, window))) < _FEW
        unmatched = rows(_select_unmatched(tables, window, waiting_since))
        return Counts(
            traffic=tuple(_to_traffic(row) for row in rows(_select_traffic(tables, window, by_time=is_short))),
            said=tuple(_to_said(row) for row in rows(_select_said(tables, window))),
            said_of_removed=tuple(_to_said(row) for row in rows(_select_said_of_removed(tables, window))),
            unmatched=tuple(
                Unmatched(kind=Kind(row.kind), waiting=row.waiting, never=row.feedback - row.waiting)
                for row in unmatched
            ),
        )

    def prune(self, *, predictions_before: datetime | None, feedback_before: datetime | None, limit: int) -> Pruned:
        """See the port. One transaction for each table."""
        return Pruned(
            predictions=self._prune_predictions(predictions_before, limit) if predictions_before else 0,
            feedback=self._prune_feedback(feedback_before, limit) if feedback_before else 0,
        )

    def _prune_predictions(self, before: datetime, limit: int) -> int:
        predictions, feedback = self._tables.predictions, self._tables.feedback
        old = select(predictions.c.id).where(predictions.c.at < before).order_by(predictions.c.at).limit(limit)
        with self._database.writing() as connection:
            # The very same rows twice: another program may prune at the same time.
            ids = list(connection.execute(old).scalars())
            keeping = (
                update(feedback)
                .where(
                    feedback.c.prediction_id == predictions.c.id,
                    predictions.c.id.in_(ids),
                    feedback.c.predicted_at.is_(None),
                )
                .values(
                    model=predictions.c.model,
                    version=predictions.c.version,
                    arm=predictions.c.arm,
                    predicted_at=predictions.c.at,
                )
            )
            connection.execute(keeping)
            return connection.execute(delete(predictions).where(predictions.c.id.in_(ids))).rowcount

    def _prune_feedback(self, before: datetime, limit: int) -> int:
        feedback = self._tables.feedback
        old = select(feedback.c.idempotency_key).where(feedback.c.at < before).order_by(feedback.c.at).limit(limit)
        with self._database.writing() as connection:
            keys = list(connection.execute(old).scalars())
            return connection.execute(delete(feedback).where(feedback.c.idempotency_key.in_(keys))).rowcount


def _compile_adding(
    tables: PredictionTables, connection: Connection, predictions: Sequence[Prediction]
) -> Iterator[tuple[str, Any]]:
    """Returns the INSERTs as the driver takes them, with their values.

    Every answer is a row, and SQLAlchemy's own way from values to the driver's takes longer than all the rest together.
    SQLite gets many rows in one statement. Its driver releases the interpreter and takes it back for each statement
    that
    runs: with one for each row, on a busy machine, a server wrote so much that it answered a third less.
    """
    adding = upsert(connection, tables.predictions).on_conflict_do_nothing()
    statement = str(adding.compile(dialect=connection.dialect, column_keys=list(_COLUMNS)))
    if connection.dialect.name != "sqlite":
        yield statement, [dict(zip(_COLUMNS, _to_values(one, one.at), strict=True)) for one in predictions]
        return
    one_row = f"({', '.join('?' * len(_COLUMNS))})"
    before, after = statement.split(one_row)
    for start in range(0, len(predictions), _AT_ONCE):
        part = predictions[start : start + _AT_ONCE]
        # SQLite has no type of times: this is how `UtcDateTime` writes them.
        rows = (_to_values(one, one.at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")) for one in part)
        yield before + ", ".join([one_row] * len(part)) + after, tuple(chain.from_iterable(rows))


_COLUMNS: Final = Prediction.__struct_fields__
_FEW: Final = 2_000
"""Predictions of a window: fewer are found sooner by their times than by passing all of their model's."""
_AT_ONCE: Final = 90
"""Rows in a statement. SQLite before 3.32 takes 999 values in one. Source: https://www.sqlite.org/limits.html"""


def _to_values(one: Prediction, at: object) -> tuple[Any, ...]:
    """Returns the values in the order of `_COLUMNS`."""
    products = to_storable(msgspec.json.encode(one.product_ids).decode())
    arm = str(one.arm)
    return (
        one.id,
        at,
        to_storable(one.model),
        one.version,
        one.digest,
        arm,
        one.buyer_hash,
        products,
        one.latency_ms,
        one.fallback,
    )


def _find_origin(connection: Connection, tables: PredictionTables, prediction_id: str) -> dict[str, Any]:
    """Returns what feedback copies of its prediction; nothing if that has no row."""
    table = tables.predictions
    query = select(table.c.model, table.c.version, table.c.arm, table.c.at.label("predicted_at"))
    row = connection.execute(query.where(table.c.id == prediction_id)).one_or_none()
    return {} if row is None else row._asdict()


def _select_kept(tables: PredictionTables, key: str) -> Select[Any]:
    """Selects feedback, and what was copied of its prediction or is there by now."""
    said, of = tables.feedback, tables.predictions
    is_copied = said.c.predicted_at.is_not(None)
    return (
        select(
            said.c.body_digest,
            said.c.prediction_id,
            said.c.kind,
            said.c.product_id,
            said.c.value,
            said.c.at,
            case((is_copied, said.c.model), else_=of.c.model).label("model"),
            case((is_copied, said.c.version), else_=of.c.version).label("version"),
            case((is_copied, said.c.arm), else_=of.c.arm).label("arm"),
            case((is_copied, said.c.predicted_at), else_=of.c.at).label("predicted_at"),
        )
        .outerjoin(of, of.c.id == said.c.prediction_id)
        .where(said.c.idempotency_key == key)
    )


def _to_feedback(row: Row[Any]) -> Feedback:
    values = {name: value for name, value in row._asdict().items() if name != "body_digest"}
    return Feedback(**{**values, "kind": Kind(row.kind), "arm": None if row.arm is None else Arm(row.arm)})


def _is_in(window: Window, at: ColumnElement[Any]) -> ColumnElement[bool]:
    bounds = [at >= window.since] if window.since else []
    return and_(true(), *bounds, *([at < window.until] if window.until else []))


def _select_some(tables: PredictionTables, window: Window) -> Select[Any]:
    """Selects at most `_FEW` of a window's predictions, by the index of their times."""
    of = tables.predictions
    return select(of.c.at).where(_is_in(window, of.c.at)).limit(_FEW)


def _select_traffic(tables: PredictionTables, window: Window, *, by_time: bool) -> Select[Any]:
    """Selects by the index that groups all of a model's predictions; or, for few, by the index of their times.

    What stands around the model's name keeps a database from the other index."""
    of = tables.predictions
    model = literal("") + of.c.model if by_time else of.c.model
    fallbacks = func.sum(case((of.c.fallback, 1), else_=0)).label("fallbacks")
    query = select(of.c.version, of.c.arm, func.count().label("predictions"), fallbacks)
    return query.where(model == window.model, _is_in(window, of.c.at)).group_by(of.c.version, of.c.arm)


def _select_said(tables: PredictionTables, window: Window) -> Select[Any]:
    """Selects for predictions that are there. It joins their rows, so it does not matter which of the two came first.

    It goes from the feedback to its prediction by its key: most predictions get no feedback. What stands around the two
    columns keeps SQLite, which counts no rows beforehand, from walking through all predictions of a model or a window
    instead.
    """
    of, said = tables.predictions, tables.feedback
    said_of = func.count(said.c.prediction_id.distinct()).label("predictions")
    return (
        select(of.c.version, of.c.arm, said.c.kind, said_of, *_sums(tables))
        .join(said, said.c.prediction_id == of.c.id)
        .where(literal("") + of.c.model == window.model, _is_in(window, func.coalesce(of.c.at, of.c.at)))
        .group_by(of.c.version, of.c.arm, said.c.kind)
    )


def _select_said_of_removed(tables: PredictionTables, window: Window) -> Select[Any]:
    said = tables.feedback
    none = case((true(), 0)).label("predictions")
    return (
        select(said.c.version, said.c.arm, said.c.kind, none, *_sums(tables))
        .where(said.c.model == window.model, _is_in(window, said.c.predicted_at), ~_is_there(tables))
        .group_by(said.c.version, said.c.arm, said.c.kind)
    )


def _select_unmatched(tables: PredictionTables, window: Window, waiting_since: datetime) -> Select[Any]:
    said = tables.feedback
    waiting = func.sum(case((said.c.at >= waiting_since, 1), else_=0)).label("waiting")
    return (
        select(said.c.kind, func.count().label("feedback"), waiting)
        .where(said.c.predicted_at.is_(None), _is_in(window, said.c.at), ~_is_there(tables))
        .group_by(said.c.kind)
    )


def _is_there(tables: PredictionTables) -> ColumnElement[bool]:
    return sql_exists().where(tables.predictions.c.id == tables.feedback.c.prediction_id)


def _sums(tables: PredictionTables) -> tuple[ColumnElement[Any], ...]:
    value = tables.feedback.c.value
    return (
        func.count().label("feedback"),
        func.count(value).label("values"),
        func.coalesce(func.sum(value), 0.0).label("total"),
    )


def _to_traffic(row: Row[Any]) -> Traffic:
    return Traffic(version=row.version, arm=Arm(row.arm), predictions=row.predictions, fallbacks=row.fallbacks)


def _to_said(row: Row[Any]) -> Said:
    values = row._asdict()
    return Said(**{**values, "arm": Arm(values["arm"]), "kind": Kind(values["kind"])})
