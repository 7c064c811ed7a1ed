"""Publishes runs' histories, in one transaction that decides under the rows' locks and writes all or nothing.

One run and many go the same way: one statement for each kind of change, for any number of runs.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, lru_cache, partial
from typing import Any, Final

import msgspec
from sqlalchemy import Delete, Insert, Row, Select, Text, Update, bindparam, delete, insert, select, update

from switchyard.clients.results.replaced import CHANGED, CHANGES_KEPT, forget_replaced, keep_replaced
from switchyard.clients.results.rows import Writing, end_values, lock_runs, newest_jobs, no_such_run
from switchyard.clients.results.series import SeriesAndValues, delete_values, insert_series_and_values
from switchyard.clients.results.tables import Tables, is_history
from switchyard.core.errors import BadRecord, SwitchyardError, catch, to_message
from switchyard.core.history.following import keep_rules, keep_told
from switchyard.core.history.precedence import Kept, choose_cached_at, choose_status, decide, is_kept_when_replaced
from switchyard.core.history.publication import (
    FIRST_VERSIONS,
    Digests,
    Publication,
    PublishResult,
    Rank,
    Versions,
)
from switchyard.core.runs.rows import RunStatus
from switchyard.core.runs.walk import may_end

_NUL: Final = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")  # an escaped NUL, not an escaped backslash before u0000


@dataclass(frozen=True)
class _Stored:
    """A run's row, locked, and what is published of it.

    It also says whether we have a row of digests, of that or of an earlier history, and the rules in that row."""

    run: Row[Any]
    kept: Kept | None
    has_digests: bool
    rules: str = ""


@dataclass(frozen=True)
class _Write:
    """One history to store, and what it replaces."""

    publication: Publication
    stored: _Stored
    text: str
    cached_at: datetime
    keeps_replaced: bool

    @cached_property
    def etag(self) -> str:
        """Returns the etag of the text, under which readers get it."""
        return "sha256:" + hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True)
class _Statements:
    """What a publish executes, made once: SQLAlchemy takes as long to make a statement as to execute it."""

    select_published: Select[Any]
    update_history: Update
    delete_published: Delete
    insert_published: Insert
    insert_histograms: Insert


@lru_cache(maxsize=8)
def _to_statements(tables: Tables) -> _Statements:
    runs, published = tables.runs, tables.published
    of_runs = published.c.quick_test_id.in_(bindparam("ids", expanding=True))
    return _Statements(
        select_published=select(published).where(of_runs),
        update_history=update(runs)
        .where(runs.c.id == bindparam("run_id"))
        .values(training_history_json=tables.to_history(bindparam("history", type_=Text))),
        delete_published=delete(published).where(of_runs),
        insert_published=insert(published),
        insert_histograms=insert(tables.histograms),
    )


def publish(writing: Writing, publication: Publication, *, force: bool) -> PublishResult:
    """Publishes as `core.ports.Histories.publish` says."""
    (result,) = publish_all(writing, [publication], force=force).values()
    if isinstance(result, SwitchyardError):
        raise result
    return result


def publish_all(
    writing: Writing, publications: Sequence[Publication], *, force: bool
) -> dict[int, PublishResult | SwitchyardError]:
    """Returns what became of each, by run id; each run may be there once. A refused one does not stop the others."""
    stored = _lock(writing, [publication.quick_test_id for publication in publications])
    results: dict[int, PublishResult | SwitchyardError] = {}
    writes: list[_Write] = []
    for publication in publications:
        id_ = publication.quick_test_id
        found = catch(partial(_choose, writing, publication, stored.get(id_), force=force))
        if isinstance(found, _Write):
            writes.append(found)
            results[id_] = PublishResult.PUBLISHED
        elif isinstance(found, Exception) and not isinstance(found, SwitchyardError):
            results[id_] = BadRecord(f"quick test {id_}", [f"its history cannot be stored: {to_message(found)}"])
        else:
            results[id_] = found
    replaced = [write.stored.run for write in writes if write.keeps_replaced]
    if force:
        keep_replaced(writing, replaced, reason="replaced by force")
    else:
        keep_replaced(writing, replaced, reason=CHANGED)
        forget_replaced(writing, [run.id for run in replaced], reason=CHANGED, kept=CHANGES_KEPT)
    # Before the histories: writing the statuses after them would write these long rows once more.
    ending = [publication.quick_test_id for publication in publications if publication.of_attempt is not None]
    newest = newest_jobs(writing.connection, writing.tables, ending) if ending else {}
    for publication in publications:
        id_ = publication.quick_test_id
        result = results[id_]
        if not isinstance(result, SwitchyardError) and may_end(publication.of_attempt, newest.get(id_)):
            run = stored[id_].run
            status = choose_status(publication, result, run.status, force=force)
            _end(writing, run, status, publication.error)
    _write_all(writing, writes)
    unchanged = [p for p in publications if results[p.quick_test_id] is PublishResult.UNCHANGED]
    _raise_ranks(writing, unchanged)
    _write_rules(writing, [p for p in unchanged if p.versions.rules not in ("", stored[p.quick_test_id].rules)])
    return results


def _choose(
    writing: Writing, publication: Publication, stored: _Stored | None, *, force: bool
) -> _Write | PublishResult:
    if stored is None:
        raise no_such_run(writing.tables, publication.quick_test_id)
    if stored.kept is not None and stored.kept.digests is not None:
        publication = keep_told(publication, stored.kept.history_text)
    publication = keep_rules(publication, stored.rules)
    result = decide(publication, stored.kept, force=force)
    return _prepare(writing, publication, stored, force=force) if result is PublishResult.PUBLISHED else result


def _lock(writing: Writing, ids: list[int]) -> dict[int, _Stored]:
    connection, tables = writing.connection, writing.tables
    runs = lock_runs(connection, tables, ids)
    rows = connection.execute(_to_statements(tables).select_published, {"ids": ids})
    digests = {row.quick_test_id: row for row in rows}
    return {run.id: _to_stored(run, digests.get(run.id)) for run in runs}


def _to_stored(run: Row[Any], row: Row[Any] | None) -> _Stored:
    return _Stored(run, _to_kept(run, row), row is not None, row.rules if row is not None else "")


def _to_kept(run: Row[Any], row: Row[Any] | None) -> Kept | None:
    text: str | None = run.history_text
    if text is None or not is_history(text):
        return None
    # Another application may have written over our history: our row of digests is still there then.
    if row is None or row.charted_digest not in text:
        return Kept(history_text=text)
    return Kept(
        history_text=text,
        digests=Digests(charted=row.charted_digest, full=row.full_digest),
        rank=Rank(attempt=row.rank_attempt, restart=row.rank_restart, epochs=row.rank_epochs, status=row.rank_status),
        cached_at=row.cached_at,
        versions=Versions(digest=row.digest_version, mapping=row.mapping_version, rules=row.rules),
    )


def _prepare(writing: Writing, publication: Publication, stored: _Stored, *, force: bool) -> _Write:
    cached_at = choose_cached_at(publication, stored.kept, now=writing.now)
    text = _to_json(publication, cached_at, jsonb=writing.tables.history_type == "jsonb")
    return _Write(publication, stored, text, cached_at, is_kept_when_replaced(publication, stored.kept, force=force))


def _write_all(writing: Writing, writes: Sequence[_Write]) -> None:
    if not writes:
        return
    connection, tables = writing.connection, writing.tables
    statements = _to_statements(tables)
    connection.execute(
        statements.update_history,
        [{"run_id": write.publication.quick_test_id, "history": write.text} for write in writes],
    )
    # A history of the legacy application has values too. Histograms and series go with our row of digests.
    delete_values(connection, tables, [write.publication.quick_test_id for write in writes])
    had = [write.publication.quick_test_id for write in writes if write.stored.has_digests]
    if had:
        connection.execute(statements.delete_published, {"ids": had})
    connection.execute(statements.insert_published, [_to_digest_row(write, writing.now) for write in writes])
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
        connection.execute(statements.insert_histograms, rows)
    insert_series_and_values(
        connection,
        tables,
        [
            SeriesAndValues(
                write.publication.quick_test_id, write.etag, write.publication.series, write.publication.values
            )
            for write in writes
        ],
    )


def _to_digest_row(write: _Write, now: datetime) -> dict[str, Any]:
    publication = write.publication
    return {
        "quick_test_id": publication.quick_test_id,
        "charted_digest": publication.digests.charted,
        "full_digest": publication.digests.full,
        "series_digests": msgspec.json.encode(publication.digests.series).decode(),
        "etag": write.etag,
        "status": str(publication.history.get("status", "")),
        "cached_at": write.cached_at,
        "published_at": now,
        "digest_version": publication.versions.digest,
        "mapping_version": publication.versions.mapping,
        "rules": publication.versions.rules,
        **_rank_values(publication.rank),
    }


def _to_json(publication: Publication, cached_at: datetime, *, jsonb: bool) -> str:
    digests = publication.digests
    # The digest tells our own history from one that another application stored over it later (`_to_kept`).
    digest = {"charted": digests.charted, "full": digests.full}
    history = {**publication.history, "cached_at": cached_at, "digest": digest}
    try:
        text = msgspec.json.encode(history).decode()
    except (TypeError, ValueError) as err:
        raise BadRecord(f"history of quick test {publication.quick_test_id}", [f"it is no JSON: {err}"]) from err
    # Only jsonb refuses the escape of NUL: https://www.postgresql.org/docs/current/datatype-json.html
    return _NUL.sub("\\1\ufffd", text) if jsonb else text


def _raise_ranks(writing: Writing, unchanged: Sequence[Publication]) -> None:
    if not unchanged:
        return
    published = writing.tables.published
    ranks: Any = {f"rank_{name}": bindparam(f"new_{name}") for name in Rank.__struct_fields__}
    writing.connection.execute(
        update(published).where(published.c.quick_test_id == bindparam("run_id")).values(ranks),
        [
            {"run_id": publication.quick_test_id}
            | {f"new_{name}": value for name, value in msgspec.structs.asdict(publication.rank).items()}
            for publication in unchanged
        ],
    )


def _write_rules(writing: Writing, unchanged: Sequence[Publication]) -> None:
    """Writes the rules. They give the names that what is there has already, and perhaps what comes.

    Version 1 had no rules: its histories are compared without."""
    if not unchanged:
        return
    published = writing.tables.published
    writing.connection.execute(
        update(published)
        .where(published.c.quick_test_id == bindparam("run_id"), published.c.mapping_version > FIRST_VERSIONS.mapping)
        .values(rules=bindparam("new_rules")),
        [{"run_id": publication.quick_test_id, "new_rules": publication.versions.rules} for publication in unchanged],
    )


def _end(writing: Writing, run: Row[Any], status: RunStatus | None, error: str) -> None:
    """Writes the row's own status and error."""
    runs = writing.tables.runs
    if status is not None:
        values = end_values(writing, run, status, error)
        writing.connection.execute(update(runs).where(runs.c.id == run.id).values(values))


def _rank_values(rank: Rank) -> dict[str, int]:
    return {f"rank_{name}": value for name, value in msgspec.structs.asdict(rank).items()}
