"""Reads what the list of runs shows of each beside its row and values, with one query."""

from collections.abc import Sequence

from sqlalchemy import case, func, literal, select

from switchyard.clients.results.engine import Database
from switchyard.clients.results.tables import is_history
from switchyard.core.comparison.outline import MAX_CHARACTERS, MAX_NOTES, Outline


def read_outlines(database: Database, quick_test_ids: Sequence[int]) -> dict[int, Outline]:
    """Reads as `core.ports.Histories.read_outlines` says."""
    if not quick_test_ids:
        return {}
    tables = database.tables
    runs, text = tables.runs, tables.history_text
    notes = func.substr(runs.c.notes, 1, MAX_NOTES) if tables.own else literal("")
    short = case((func.length(text) <= MAX_CHARACTERS, text), else_=None)
    rows = database.rows(
        select(runs.c.id, notes.label("notes"), short.label("history_text")).where(runs.c.id.in_(quick_test_ids))
    )
    return {
        row.id: Outline(
            notes=str(row.notes or ""), history_json=row.history_text if is_history(row.history_text) else None
        )
        for row in rows
    }
