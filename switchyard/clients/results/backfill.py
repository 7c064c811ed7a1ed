"""What is published of every row, and many publishes at once with their ledger lines."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Select, and_, bindparam, case, func, or_, select, update

from switchyard.clients.results.publish import publish_all
from switchyard.clients.results.rows import Writing, upsert
from switchyard.clients.results.tables import Tables
from switchyard.core.backfill.plan import FILED
from switchyard.core.backfill.rows import BackfillRow
from switchyard.core.errors import SwitchyardError
from switchyard.core.history.publication import Draft, PublishResult

BACKFILL = "backfill"
_KEPT = {
    PublishResult.KEPT_NEWER: "something newer is published: a later attempt, more epochs, or the whole of what is "
    "partial here; --force replaces it",
    PublishResult.KEPT_LEGACY: "a history of the legacy application is published; --force replaces it",
}


def select_backfill(tables: Tables) -> Select[Any]:
    """The query behind `core.ports.Ledger.list_backfill`."""
    runs, published, ledger = tables.runs, tables.published, tables.ledger
    # Another application may have taken back what we published: our row of its digests is still there then.
    ours = and_(published.c.quick_test_id.is_not(None), tables.has_history)
    return (
        select(
            runs.c.id,
            func.coalesce(runs.c.status, "").label("status"),
            func.coalesce(runs.c.mlflow_run_id, "").label("mlflow_run_id"),
            func.coalesce(runs.c.gcs_artifacts_path, "").label("gcs_artifacts_path"),
            case((ours, "ours"), (tables.has_history, "legacy"), else_="nothing").label("published"),
            published.c.charted_digest,
            published.c.full_digest,
            ledger.c.state.label("ledger_state"),
            # CASE, because only it keeps a database from looking into every text: only into those of what ingest or
            # reconcile have published.
            case(
                (
                    and_(ours, published.c.full_digest.is_not(None), func.coalesce(ledger.c.state, "") != FILED),
                    or_(*(tables.history_text.like(f'%"source":{blank}"mlflow"%') for blank in ("", " "))),
                ),
                else_=False,
            ).label("lacks_file"),
        )
        .select_from(runs)
        .outerjoin(published, published.c.quick_test_id == runs.c.id)
        .outerjoin(ledger, and_(ledger.c.quick_test_id == runs.c.id, ledger.c.kind == BACKFILL))
        .order_by(runs.c.id)
    )


def to_backfill_row(row: Sequence[Any]) -> BackfillRow:
    """A row of `select_backfill`."""
    return BackfillRow(**dict(zip(BackfillRow.__struct_fields__, row, strict=True)))


def publish_drafts(
    writing: Writing, kind: str, drafts: Sequence[Draft], *, force: bool
) -> dict[int, PublishResult | SwitchyardError]:
    """Publishes what is to be published, and writes each draft's ledger line."""
    publications = [draft.publication for draft in drafts if draft.publication is not None]
    results = publish_all(writing, publications, force=force) if publications else {}
    _write_paths(writing, [draft for draft in drafts if draft.gcs_artifacts_path])
    lines = [_to_line(kind, draft, results.get(draft.quick_test_id), writing.now) for draft in drafts]
    write_lines(writing, lines)
    return results


def write_lines(writing: Writing, lines: Sequence[dict[str, Any]]) -> None:
    """Puts each in the place of the one that its run has of that kind, if any; its `attempts` grow by one."""
    ledger = writing.tables.ledger
    insert = upsert(writing.connection, ledger)
    replaced = {name: insert.excluded[name] for name in lines[0] if name not in ("kind", "quick_test_id")}
    writing.connection.execute(
        insert.on_conflict_do_update(
            index_elements=["kind", "quick_test_id"], set_=replaced | {"attempts": ledger.c.attempts + 1}
        ),
        lines,
    )


def _write_paths(writing: Writing, drafts: Sequence[Draft]) -> None:
    if not drafts:
        return
    runs = writing.tables.runs
    none = or_(runs.c.gcs_artifacts_path.is_(None), runs.c.gcs_artifacts_path == "")
    writing.connection.execute(
        update(runs).where(runs.c.id == bindparam("run_id"), none).values(gcs_artifacts_path=bindparam("path")),
        [{"run_id": draft.quick_test_id, "path": draft.gcs_artifacts_path} for draft in drafts],
    )


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
    """What is left to write of a draft that the database refused."""
    return msgspec.structs.replace(draft, publication=None, gcs_artifacts_path="", state="failed", error=str(err))
