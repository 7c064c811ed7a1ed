"""Publishing a run's history: one transaction that decides under the row's lock and writes all or nothing."""

import hashlib
import re
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, delete, insert, select, update

from clients.results_runs import end_values, lock_run
from clients.results_tables import Tables, is_history
from history.errors import BadRecord, StaleWrite
from history.runs import Publication, PublishResult, Rank, RunStatus

_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")  # an escaped NUL, not an escaped backslash before u0000


def publish(
    connection: Connection, tables: Tables, publication: Publication, *, force: bool, now: datetime
) -> PublishResult:
    """As `history.ports.Results.publish` says."""
    quick_test_id = publication.quick_test_id
    run = lock_run(connection, tables, quick_test_id, tables.history_text.label("history_text"))
    stored = _read_published(connection, tables, quick_test_id, run.history_text)
    result = _decide(publication, run.history_text, stored, force=force)
    if result is PublishResult.PUBLISHED:
        same_charted = stored is not None and stored.charted_digest == publication.digests.charted
        _write(
            connection,
            tables,
            publication,
            cached_at=stored.cached_at if stored and same_charted else now.replace(microsecond=0),
            now=now,
        )
    elif result is PublishResult.UNCHANGED:
        _raise_rank(connection, tables, publication)
    if result is not PublishResult.KEPT_NEWER:
        _end(connection, tables, run, publication, force=force, now=now)
    return result


def _read_published(connection: Connection, tables: Tables, quick_test_id: int, text: str | None) -> Row[Any] | None:
    """Our row of digests, where it speaks of the history that is stored: another application may have replaced it."""
    if not is_history(text):
        return None
    row = connection.execute(
        select(tables.published).where(tables.published.c.quick_test_id == quick_test_id)
    ).one_or_none()
    return row if row is not None and row.charted_digest in (text or "") else None


def _decide(publication: Publication, text: str | None, stored: Row[Any] | None, *, force: bool) -> PublishResult:
    if text is None or not is_history(text):
        return PublishResult.PUBLISHED
    if stored is None:
        return PublishResult.PUBLISHED if force else PublishResult.KEPT_LEGACY
    rank = _rank_of(stored)
    if publication.rank < rank and not force:
        return PublishResult.KEPT_NEWER
    digests = publication.digests
    if (stored.charted_digest, stored.full_digest) == (digests.charted, digests.full):
        return PublishResult.UNCHANGED if _looks_same(publication.history, text) else PublishResult.PUBLISHED
    if publication.rank == rank and not force:
        raise StaleWrite(
            f"quick test {publication.quick_test_id} has a history of the same rank ({_shown(rank)}) with other "
            f"content: stored {stored.full_digest or stored.charted_digest}, "
            f"new {digests.full or digests.charted}; find out which is right, then publish it with force"
        )
    return PublishResult.PUBLISHED


def _looks_same(history: dict[str, Any], text: str) -> bool:
    """Equal records may be published differently: as partial or completed, with other epochs sampled."""
    stored = msgspec.json.decode(text)
    return all(stored.get(part) == history.get(part) for part in ("status", "sampling"))


def _write(
    connection: Connection, tables: Tables, publication: Publication, *, cached_at: datetime, now: datetime
) -> None:
    quick_test_id = publication.quick_test_id
    text = _to_json(publication, cached_at, jsonb=tables.history_type == "jsonb")
    runs, published, histograms = tables.runs, tables.published, tables.histograms
    connection.execute(
        update(runs).where(runs.c.id == quick_test_id).values(training_history_json=tables.to_history(text))
    )
    connection.execute(delete(histograms).where(histograms.c.quick_test_id == quick_test_id))
    connection.execute(delete(published).where(published.c.quick_test_id == quick_test_id))
    connection.execute(
        insert(published).values(
            quick_test_id=quick_test_id,
            charted_digest=publication.digests.charted,
            full_digest=publication.digests.full,
            series_digests=msgspec.json.encode(publication.digests.series).decode(),
            etag="sha256:" + hashlib.sha256(text.encode()).hexdigest(),
            status=str(publication.history.get("status", "")),
            cached_at=cached_at,
            published_at=now,
            **_rank_values(publication.rank),
        )
    )
    if publication.histograms:
        connection.execute(
            insert(histograms),
            [
                {"quick_test_id": quick_test_id, "kind": row.kind, "tower": row.tower, "gzip_json": row.gzip_json}
                for row in publication.histograms
            ],
        )


def _to_json(publication: Publication, cached_at: datetime, *, jsonb: bool) -> str:
    digests = publication.digests
    # The digest tells our own history from one that another application stored over it later (`_read_published`).
    digest = {"charted": digests.charted, "full": digests.full}
    history = {**publication.history, "cached_at": cached_at, "digest": digest}
    try:
        text = msgspec.json.encode(history).decode()
    except (TypeError, ValueError) as err:
        raise BadRecord(f"history of quick test {publication.quick_test_id}", [f"it is no JSON: {err}"]) from err
    # jsonb alone refuses the escape of NUL: https://www.postgresql.org/docs/current/datatype-json.html
    return _NUL.sub("\\1\ufffd", text) if jsonb else text


def _raise_rank(connection: Connection, tables: Tables, publication: Publication) -> None:
    published = tables.published
    connection.execute(
        update(published)
        .where(published.c.quick_test_id == publication.quick_test_id)
        .values(**_rank_values(publication.rank))
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
