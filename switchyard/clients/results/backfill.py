"""Reads what is published of every row, and publishes many runs at once with their ledger lines."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import (
    Row,
    Select,
    and_,
    bindparam,
    case,
    delete,
    exists,
    false,
    func,
    insert,
    or_,
    select,
    union,
    update,
)

from switchyard.clients.results.followed import write_seen
from switchyard.clients.results.publish import publish_all
from switchyard.clients.results.rows import OPEN_STATUSES, Writing, write_lines
from switchyard.clients.results.tables import Tables
from switchyard.core.backfill.following import to_unpublished_mark
from switchyard.core.backfill.plan import FILED, STALE
from switchyard.core.backfill.rows import ADOPTED, PARENT_KIND, BackfillRow, to_parent_line
from switchyard.core.errors import SwitchyardError, catch
from switchyard.core.history.publication import Draft, PublishResult, SeenRun
from switchyard.core.runs.rows import RunStatus

BACKFILL = "backfill"
_OF_OPEN = ("adopted", "has_job", "is_partial", "seen_until", "lost_parent")
_COLUMNS = tuple(name for name in BackfillRow.__struct_fields__ if name not in _OF_OPEN)
_KEPT = {
    PublishResult.KEPT_NEWER: "something newer is published: a later attempt, more epochs, or the whole of what is "
    "partial here; --force replaces it",
    PublishResult.KEPT_LEGACY: "a history of the legacy application is published; --force replaces it",
}


def select_backfill(tables: Tables) -> Select[Any]:
    """Returns the query behind `core.ports.Ledger.list_backfill`."""
    runs, published, ledger = tables.runs, tables.published, tables.ledger
    # Another application may have taken back what we published: our row of its digests is still there then. The test of
    # the text takes long to compile in SQLAlchemy, and to run in the database, so it is here as rarely as possible.
    has_digests = published.c.quick_test_id.is_not(None)
    return (
        select(
            runs.c.id,
            func.coalesce(runs.c.status, "").label("status"),
            func.coalesce(runs.c.mlflow_run_id, "").label("mlflow_run_id"),
            func.coalesce(runs.c.gcs_artifacts_path, "").label("gcs_artifacts_path"),
            case((~tables.has_history, "nothing"), (has_digests, "ours"), else_="legacy").label("published"),
            published.c.charted_digest,
            published.c.full_digest,
            ledger.c.state.label("ledger_state"),
            func.coalesce(ledger.c.attempts, 0).label("ledger_attempts"),
            # CASE, because only it keeps a database from looking into every text: only into those that ingest or
            # reconcile have published.
            case(
                (
                    and_(published.c.full_digest.is_not(None), func.coalesce(ledger.c.state, "") != FILED),
                    and_(
                        tables.has_history,
                        or_(*(tables.history_text.like(f'%"source":{blank}"mlflow"%') for blank in ("", " "))),
                    ),
                ),
                else_=False,
            ).label("lacks_file"),
        )
        .select_from(runs)
        .outerjoin(published, published.c.quick_test_id == runs.c.id)
        .outerjoin(ledger, and_(ledger.c.quick_test_id == runs.c.id, ledger.c.kind == BACKFILL))
        .order_by(runs.c.id)
    )


def select_open(tables: Tables) -> Select[Any]:
    """Returns the query for the rest that is needed of rows that may be behind MLflow.

    These rows have not ended, were called stale, wait for their parent, or have only a part published. For all rows the
    query would cost as much as the list of them."""
    runs, published, ledger, jobs = tables.runs, tables.published, tables.ledger, tables.jobs
    adopted = func.substr(runs.c.request_key, 1, len(ADOPTED)) == ADOPTED if tables.own else false()
    is_partial = and_(published.c.status == "partial", tables.has_history)
    waiting = [
        select(runs.c.id).where(runs.c.status.in_(OPEN_STATUSES)),
        select(ledger.c.quick_test_id).where(ledger.c.kind == BACKFILL, ledger.c.state == STALE),
        select(ledger.c.quick_test_id).where(ledger.c.kind == PARENT_KIND),
    ]
    if not tables.own:
        # An application has its own words for a status, and may call a run completed that goes on in MLflow.
        waiting.append(select(published.c.quick_test_id).where(published.c.status == "partial"))
    candidates = union(*waiting).subquery()
    parent = ledger.alias("parent")
    return (
        select(
            runs.c.id,
            adopted.label("adopted"),
            exists().where(jobs.c.quick_test_id == runs.c.id).label("has_job"),
            case((is_partial, tables.history_text)).label("partial_text"),
            func.coalesce(parent.c.error, "").label("lost_parent"),
        )
        .select_from(candidates)
        .join(runs, runs.c.id == candidates.c[0])
        .outerjoin(published, published.c.quick_test_id == runs.c.id)
        .outerjoin(parent, and_(parent.c.quick_test_id == runs.c.id, parent.c.kind == PARENT_KIND))
    )


def to_backfill_rows(rows: Sequence[Row[Any]], opened: Sequence[Row[Any]]) -> list[BackfillRow]:
    """Returns the rows of `select_backfill`, with what `select_open` says of some."""
    more = {row.id: row for row in opened}
    found = [BackfillRow(**dict(zip(_COLUMNS, row, strict=True))) for row in rows]
    return [_add(row, more[row.id]) if row.id in more else row for row in found] if more else found


def _add(row: BackfillRow, more: Row[Any]) -> BackfillRow:
    text = more.partial_text
    if text is not None and (row.charted_digest is None or row.charted_digest not in text):
        text = None  # the application has written its own over ours: that is final
    return msgspec.structs.replace(
        row,
        adopted=bool(more.adopted),
        has_job=bool(more.has_job),
        is_partial=text is not None,
        seen_until=_read_seen_until(text) if text is not None else None,
        lost_parent=more.lost_parent,
    )


class _Progress(msgspec.Struct):
    at: datetime | None = None


class _Partial(msgspec.Struct):
    progress: _Progress | None = None


def _read_seen_until(history_text: str) -> datetime | None:
    """Returns the time; None: the history does not say, and its run is read again."""
    found = catch(lambda: msgspec.json.decode(history_text, type=_Partial))
    if isinstance(found, Exception) or found.progress is None:
        return None
    at = found.progress.at
    return at if at is None or at.tzinfo is not None else at.replace(tzinfo=UTC)


def publish_drafts(
    writing: Writing, kind: str, drafts: Sequence[Draft], *, force: bool
) -> dict[int, PublishResult | SwitchyardError]:
    """Publishes what is to be published, and writes each draft's ledger line."""
    publications = [draft.publication for draft in drafts if draft.publication is not None]
    results = publish_all(writing, publications, force=force) if publications else {}
    _write_paths(writing, [draft for draft in drafts if draft.gcs_artifacts_path])
    _write_news(writing, [draft for draft in drafts if draft.news is not None])
    _write_lost_parents(writing, [draft for draft in drafts if draft.publication is not None])
    lines = [_to_line(kind, draft, results.get(draft.quick_test_id), writing.now) for draft in drafts]
    write_lines(writing, lines)
    _write_seen(writing, drafts, lines, results)
    return results


def _write_seen(
    writing: Writing,
    drafts: Sequence[Draft],
    lines: Sequence[dict[str, Any]],
    results: Mapping[int, PublishResult | SwitchyardError],
) -> None:
    """Writes what was read of each, except of those that failed: they are read again in any case."""
    settled = [
        (draft.quick_test_id, _to_seen(draft.seen, results.get(draft.quick_test_id)))
        for draft, line in zip(drafts, lines, strict=True)
        if draft.seen is not None and line["state"] != "failed"
    ]
    elsewhere = [id_ for id_, seen in settled if not seen.mark and results.get(id_) is PublishResult.PUBLISHED]
    write_seen(writing, [(id_, seen) for id_, seen in settled if seen.mark], elsewhere)


def _to_seen(seen: SeenRun, result: PublishResult | SwitchyardError | None) -> SeenRun:
    """Returns `seen`, which says so where what was read is not what is published."""
    if result not in _KEPT:
        return seen
    return msgspec.structs.replace(seen, mark=to_unpublished_mark(seen.mark))


def _write_paths(writing: Writing, drafts: Sequence[Draft]) -> None:
    if not drafts:
        return
    runs = writing.tables.runs
    none = or_(runs.c.gcs_artifacts_path.is_(None), runs.c.gcs_artifacts_path == "")
    writing.connection.execute(
        update(runs).where(runs.c.id == bindparam("run_id"), none).values(gcs_artifacts_path=bindparam("path")),
        [{"run_id": draft.quick_test_id, "path": draft.gcs_artifacts_path} for draft in drafts],
    )


def _write_news(writing: Writing, drafts: Sequence[Draft]) -> None:
    """Writes the news, only on adopted rows. A completed one stays completed."""
    runs, jobs = writing.tables.runs, writing.tables.jobs
    if not drafts or not writing.tables.own:
        return
    news = [(draft.quick_test_id, draft.news) for draft in drafts if draft.news is not None]
    fields = ("status", "error", "display_name", "started_at", "completed_at")
    types = {name: runs.c[name].type for name in fields}
    # A name that someone gave the run here stays. The name that MLflow had then tells it from MLflow's.
    followed = writing.tables.followed
    named_here = exists().where(
        followed.c.quick_test_id == runs.c.id,
        followed.c.mark != "",
        followed.c.name != runs.c.display_name,
    )
    new_name = bindparam("new_display_name", type_=types["display_name"])
    shown = case((named_here, runs.c.display_name), else_=new_name)
    writing.connection.execute(
        update(runs)
        .where(
            runs.c.id == bindparam("run_id"),
            func.substr(runs.c.request_key, 1, len(ADOPTED)) == ADOPTED,
            or_(runs.c.status != str(RunStatus.COMPLETED), bindparam("new_status") == str(RunStatus.COMPLETED)),
            ~exists().where(jobs.c.quick_test_id == runs.c.id),
        )
        .values({name: bindparam(f"new_{name}", type_=types[name]) for name in fields} | {"display_name": shown}),
        [
            {"run_id": id_, **{f"new_{name}": getattr(said, name) for name in fields}, "new_status": str(said.status)}
            for id_, said in news
        ],
    )


def _write_lost_parents(writing: Writing, drafts: Sequence[Draft]) -> None:
    """Writes which of these runs wait for their parent's row; each has one line at most."""
    if not drafts:
        return
    ledger = writing.tables.ledger
    ids = [draft.quick_test_id for draft in drafts]
    writing.connection.execute(delete(ledger).where(ledger.c.kind == PARENT_KIND, ledger.c.quick_test_id.in_(ids)))
    lost = [draft for draft in drafts if draft.lost_parent]
    if lost:
        lines = [to_parent_line(draft.quick_test_id, draft.lost_parent, now=writing.now) for draft in lost]
        writing.connection.execute(insert(ledger), [msgspec.structs.asdict(line) for line in lines])


def _to_line(kind: str, draft: Draft, result: PublishResult | SwitchyardError | None, now: datetime) -> dict[str, Any]:
    state, error, digest = draft.state, draft.error, ""
    if isinstance(result, SwitchyardError):
        state, error = "failed", str(result)
    elif result in _KEPT:
        state, error = "skipped", _KEPT[result]
    elif result is not None and draft.publication is not None:
        error = draft.note
        digest = draft.publication.digests.full or draft.publication.digests.charted
    return {
        "kind": kind,
        "quick_test_id": draft.quick_test_id,
        "state": state,
        "attempts": 1,
        "error": error,
        "source_digest": draft.source_digest,
        "published_digest": digest,
        "next_try_at": None,
        "updated_at": now,
    }


def to_failed(draft: Draft, err: SwitchyardError) -> Draft:
    """Returns what is left to write of a draft that the database refused."""
    return msgspec.structs.replace(draft, publication=None, gcs_artifacts_path="", state="failed", error=str(err))
