"""What statistics of many predictions and pages of a long history need, and when a run's completion was told."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Adds a column, which is filled for the jobs there are, and four indexes; one of them replaces a narrower one."""
    if op.get_bind().dialect.name == "postgresql":
        # An index of millions of predictions takes longer than a statement of ours may.
        op.execute("SET LOCAL statement_timeout = 0")
    # All that a count reads, in the order in which it groups: no row is visited, and nothing is sorted.
    op.drop_index("switchyard_predictions_of_model", "switchyard_predictions")
    op.create_index(
        "switchyard_predictions_counted", "switchyard_predictions", ["model", "version", "arm", "at", "fallback"]
    )
    _make_indexes_of_lines()
    _add_completed_event()


def _make_indexes_of_lines() -> None:
    noted = sa.text("forced OR act = 'validated'")
    op.create_index(
        "switchyard_model_transitions_noted",
        "switchyard_model_transitions",
        ["name", "seq"],
        postgresql_where=noted,
        sqlite_where=noted,
    )
    op.create_index(
        "switchyard_model_transitions_of_version", "switchyard_model_transitions", ["name", "version", "seq"]
    )


def _add_completed_event() -> None:
    """Marks the completion as told for jobs with a told end: an upgrade starts nothing."""
    op.add_column("switchyard_jobs", sa.Column("completed_event_at", sa.DateTime(timezone=True)))
    op.execute("UPDATE switchyard_jobs SET completed_event_at = ended_event_at")
    owed = sa.text("completed_event_at IS NULL AND state = 'succeeded'")
    op.create_index(
        "switchyard_jobs_completed_event_at",
        "switchyard_jobs",
        ["quick_test_id"],
        postgresql_where=owed,
        sqlite_where=owed,
    )
