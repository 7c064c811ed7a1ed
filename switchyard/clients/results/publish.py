"""Publishing runs' histories: one transaction that decides under the rows' locks and writes all or nothing.

One run and many go the same way: a statement each kind of change, whatever the number of runs.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, Text, bindparam, delete, insert, select, update

from switchyard.clients.results.replaced import keep_replaced
from switchyard.clients.results.rows import end_values, lock_runs, no_such_run
from switchyard.clients.results.tables import Tables, is_history
from switchyard.core.errors import BadRecord, StaleWrite, SwitchyardError
from switchyard.core.history.publication import Publication, PublishResult, Rank
from switchyard.core.runs.rows import RunStatus

_ENDING: Final = (PublishResult.PUBLISHED, PublishResult.UNCHANGED, PublishResult.KEPT_LEGACY)
"""After these the row's own status is written too."""
_NUL: Final = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")  # an escaped NUL, not an escaped backslash before u0000


@dataclass(frozen=True)
class _Stored:
    """A run's row, locked, and our row of its digests; `current` only where that speaks of the history stored now:
    another application may have replaced it."""

    run: Row[Any]
    digests: Row[Any] | None

    @property
    def text(self) -> str | None:
        found: str | None = self.run.history_text
        return found if is_history(found) else None

    @property
    def current(self) -> Row[Any] | None:
        text = self.text
        return self.digests if self.digests is not None and text and self.digests.charted_digest in text else None


@dataclass(frozen=True)
class _Write:
    """One history to store, and what it replaces."""

    publication: Publication
    stored: _Stored
    text: str
    cached_at: datetime


def publish(
    connection: Connection, tables: Tables, publication: Publication, *, force: bool, now: datetime
) -> PublishResult:
    """As `core.ports.Results.publish` says."""
    (result,) = publish_all(connection, tables, [publication], force=force, now=now).values()
    if isinstance(result, SwitchyardError):
        raise result
    return result


def publish_all(
    connection: Connection, tables: Tables, publications: Sequence[Publication], *, force: bool, now: datetime
) -> dict[int, PublishResult | SwitchyardError]:
    """What became of each, by run id; each run must be there once. One that is refused leaves the others be."""
    stored = _lock(connection, tables, [publication.quick_test_id for publication in publications])
    results: dict[int, PublishResult | SwitchyardError] = {}
    writes: list[_Write] = []
    for publication in publications:
        id_ = publication.quick_test_id
        try:
            if id_ not in stored:
                raise no_such_run(tables, id_)
            results[id_] = _decide(publication, stored[id_], force=force)
            if results[id_] is PublishResult.PUBLISHED:
                writes.append(_prepare(tables, publication, stored[id_], now=now))
        except SwitchyardError as err:
            results[id_] = err
    if force:
        replaced = [write.stored.run for write in writes if write.stored.text]
        keep_replaced(connection, tables, replaced, reason="replaced by force", now=now)
    _write_all(connection, tables, writes, now=now)
    _raise_ranks(connection, tables, [p for p in publications if results[p.quick_test_id] is PublishResult.UNCHANGED])
    for publication in publications:
        if results[publication.quick_test_id] in _ENDING:
            run = stored[publication.quick_test_id].run
            _end(connection, tables, run, publication, force=force, now=now)
    return results


def _lock(connection: Connection, tables: Tables, ids: list[int]) -> dict[int, _Stored]:
    runs = lock_runs(connection, tables, ids, tables.history_text.label("history_text"))
    published = tables.published
    rows = connection.execute(select(published).where(published.c.quick_test_id.in_(ids)))
    digests = {row.quick_test_id: row for row in rows}
    return {run.id: _Stored(run, digests.get(run.id)) for run in runs}


def _decide(publication: Publication, found: _Stored, *, force: bool) -> PublishResult:
    text, stored = found.text, found.current
    if text is None:
        return PublishResult.PUBLISHED
    if stored is None:
        return PublishResult.PUBLISHED if force else PublishResult.KEPT_LEGACY
    rank = _rank_of(stored)
    if publication.rank < rank and not force:
        return PublishResult.KEPT_NEWER
    digests = publication.digests
    if stored.charted_digest == digests.charted and digests.full in (None, stored.full_digest):
        if _looks_same(publication.history, text):
            return PublishResult.UNCHANGED
        # Of the charted series alone it knows less: another sampling is no reason to forget the rest.
        knows_less = digests.full != stored.full_digest and publication.rank == rank and not force
        return PublishResult.UNCHANGED if knows_less else PublishResult.PUBLISHED
    completes = stored.charted_digest == digests.charted and stored.full_digest is None
    sources = (msgspec.json.decode(text).get("source"), publication.history.get("source"))
    if publication.rank == rank and not force and sources == ("file", "mlflow"):
        return PublishResult.KEPT_NEWER
    if publication.rank == rank and not force and not completes and sources != ("mlflow", "file"):
        raise StaleWrite(
            f"quick test {publication.quick_test_id} has a history of the same rank ({_shown(rank)}) with other "
            f"content: stored {stored.full_digest or stored.charted_digest}, "
            f"new {digests.full or digests.charted}; find out which is right, then publish it with force"
        )
    return PublishResult.PUBLISHED


def _looks_same(history: dict[str, Any], text: str) -> bool:
    """Equal records may be published differently: as partial or completed, with other epochs sampled, or before
    anybody knew of their MLflow run."""
    stored = msgspec.json.decode(text)
    return all(stored.get(part) == history.get(part) for part in ("status", "sampling", "mlflow_run_id"))


def _prepare(tables: Tables, publication: Publication, stored: _Stored, *, now: datetime) -> _Write:
    current = stored.current
    same_charted = current is not None and current.charted_digest == publication.digests.charted
    cached_at = current.cached_at if current is not None and same_charted else now.replace(microsecond=0)
    text = _to_json(publication, cached_at, jsonb=tables.history_type == "jsonb")
    return _Write(publication, stored, text, cached_at)


def _write_all(connection: Connection, tables: Tables, writes: Sequence[_Write], *, now: datetime) -> None:
    if not writes:
        return
    runs, published, histograms = tables.runs, tables.published, tables.histograms
    connection.execute(
        update(runs)
        .where(runs.c.id == bindparam("run_id"))
        .values(training_history_json=tables.to_history(bindparam("history", type_=Text))),
        [{"run_id": write.publication.quick_test_id, "history": write.text} for write in writes],
    )
    had = [write.publication.quick_test_id for write in writes if write.stored.digests is not None]
    if had:
        connection.execute(delete(histograms).where(histograms.c.quick_test_id.in_(had)))
        connection.execute(delete(published).where(published.c.quick_test_id.in_(had)))
    connection.execute(insert(published), [_to_digest_row(write, now) for write in writes])
    rows = [
        {
            "quick_test_id": write.publication.quick_test_id,
            "kind": row.kind,
            "tower": row.tower,
            "gzip_json": row.gzip_json,
        }
        for write in writes
        for row in write.publication.histograms
    ]
    if rows:
        connection.execute(insert(histograms), rows)


def _to_digest_row(write: _Write, now: datetime) -> dict[str, Any]:
    publication = write.publication
    return {
        "quick_test_id": publication.quick_test_id,
        "charted_digest": publication.digests.charted,
        "full_digest": publication.digests.full,
        "series_digests": msgspec.json.encode(publication.digests.series).decode(),
        "etag": "sha256:" + hashlib.sha256(write.text.encode()).hexdigest(),
        "status": str(publication.history.get("status", "")),
        "cached_at": write.cached_at,
        "published_at": now,
        **_rank_values(publication.rank),
    }


def _to_json(publication: Publication, cached_at: datetime, *, jsonb: bool) -> str:
    digests = publication.digests
    # The digest tells our own history from one that another application stored over it later (`_Stored.current`).
    digest = {"charted": digests.charted, "full": digests.full}
    history = {**publication.history, "cached_at": cached_at, "digest": digest}
    try:
        text = msgspec.json.encode(history).decode()
    except (TypeError, ValueError) as err:
        raise BadRecord(f"history of quick test {publication.quick_test_id}", [f"it is no JSON: {err}"]) from err
    # jsonb alone refuses the escape of NUL: https://www.postgresql.org/docs/current/datatype-json.html
    return _NUL.sub("\\1\ufffd", text) if jsonb else text


def _raise_ranks(connection: Connection, tables: Tables, unchanged: Sequence[Publication]) -> None:
    if not unchanged:
        return
    published = tables.published
    ranks: Any = {f"rank_{name}": bindparam(f"new_{name}") for name in Rank.__struct_fields__}
    connection.execute(
        update(published).where(published.c.quick_test_id == bindparam("run_id")).values(ranks),
        [
            {"run_id": publication.quick_test_id}
            | {f"new_{name}": value for name, value in msgspec.structs.asdict(publication.rank).items()}
            for publication in unchanged
        ],
    )


def _end(
    connection: Connection, tables: Tables, run: Row[Any], publication: Publication, *, force: bool, now: datetime
) -> None:
    """The row's own status and error; a completed run stays completed, unless by force."""
    status = publication.row_status
    if status is not None and (force or run.status != RunStatus.COMPLETED or status is RunStatus.COMPLETED):
        connection.execute(
            update(tables.runs)
            .where(tables.runs.c.id == run.id)
            .values(end_values(tables, run, status, publication.error, now=now))
        )


def _rank_values(rank: Rank) -> dict[str, int]:
    return {f"rank_{name}": value for name, value in msgspec.structs.asdict(rank).items()}


def _rank_of(row: Row[Any]) -> Rank:
    return Rank(attempt=row.rank_attempt, restart=row.rank_restart, epochs=row.rank_epochs, status=row.rank_status)


def _shown(rank: Rank) -> str:
    return ", ".join(f"{name} {value}" for name, value in msgspec.structs.asdict(rank).items())
