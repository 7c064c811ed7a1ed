"""Where the artifacts of MLflow's runs were copied to."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Makes one table. It names runs by MLflow's ids: a copy may be of a run that no row names."""
    op.create_table(
        "switchyard_artifact_copies",
        sa.Column("mlflow_run_id", sa.Text, primary_key=True),
        sa.Column("to_uri", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("objects", sa.Integer, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("left_out", sa.Integer, nullable=False),
        sa.Column("copied_at", sa.DateTime(timezone=True), nullable=False),
    )
