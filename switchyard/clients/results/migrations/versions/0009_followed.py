"""What was read last of each MLflow run, which of them are deleted there, and until when MLflow was followed."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Adds two empty tables. What was published before has no mark: the next backfill reads it once more."""
    op.create_table(
        "switchyard_followed",
        sa.Column("quick_test_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("mlflow_run_id", sa.Text, nullable=False),
        sa.Column("store", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("mark", sa.Text, nullable=False),
        sa.Column("whole", sa.Boolean, nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True)),
        sa.Column("missing_at", sa.DateTime(timezone=True)),
        sa.Column("deleted_at", sa.DateTime(timezone=True)),
    )
    condition = sa.text("deleted_at IS NOT NULL")
    op.create_index(
        "switchyard_followed_deleted_at",
        "switchyard_followed",
        ["deleted_at"],
        postgresql_where=condition,
        sqlite_where=condition,
    )
    op.create_table(
        "switchyard_followed_stores",
        sa.Column("store", sa.Text, primary_key=True),
        sa.Column("tried_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("failed", sa.Integer, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("followed_until", sa.DateTime(timezone=True)),
    )
