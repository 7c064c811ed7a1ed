"""Full series and values of runs, and by which versions each history was published."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Makes two tables, and adds columns with defaults that hold for every history that was published before."""
    op.add_column("switchyard_published", sa.Column("digest_version", sa.Integer, nullable=False, server_default="1"))
    op.add_column("switchyard_published", sa.Column("mapping_version", sa.Integer, nullable=False, server_default="1"))
    op.add_column("switchyard_published", sa.Column("rules", sa.Text, nullable=False, server_default=""))
    op.add_column("switchyard_replaced", sa.Column("series", sa.Text))
    op.add_column("switchyard_replaced", sa.Column("run_values", sa.Text))
    op.create_table(
        "switchyard_series",
        sa.Column(
            "quick_test_id",
            sa.Integer,
            sa.ForeignKey("switchyard_published.quick_test_id", ondelete="CASCADE"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("gzip_json", sa.LargeBinary, nullable=False),
    )
    _make_values()


def _make_values() -> None:
    op.create_table(
        "switchyard_values",
        sa.Column("quick_test_id", sa.Integer, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("number", sa.Double),
        sa.Column("text", sa.Text),
        sa.Column("history_etag", sa.Text, nullable=False),
    )
    op.create_index("switchyard_values_quick_test_id", "switchyard_values", ["quick_test_id"])
    # Partial: a value has mostly one of the two, and no query looks for the other's absence.
    for column in ("number", "text"):
        there = sa.text(f"{column} IS NOT NULL")
        op.create_index(
            f"switchyard_values_{column}",
            "switchyard_values",
            ["kind", "name", column],
            postgresql_where=there,
            sqlite_where=there,
        )
