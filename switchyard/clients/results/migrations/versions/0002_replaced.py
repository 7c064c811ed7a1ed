"""Histories that a forced publish replaced: kept, so that they can be put back."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Makes the one table."""
    op.create_table(
        "switchyard_replaced",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("quick_test_id", sa.Integer, nullable=False),
        sa.Column("replaced_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("history_text", sa.Text, nullable=False),
        sa.Column("published", sa.Text),
        sa.Column("histograms", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("switchyard_replaced_quick_test_id", "switchyard_replaced", ["quick_test_id"])
