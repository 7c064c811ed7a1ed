"""The registry beside MLflow's: which version is which there, what was imported from there, tags, and flavors."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Adds two columns, which every row there is has a value for, and four tables."""
    op.add_column("switchyard_models", sa.Column("description", sa.Text, nullable=False, server_default=""))
    op.add_column("switchyard_model_versions", sa.Column("flavor", sa.Text, nullable=False, server_default=""))
    # Only the trainer's own models could be registered until now.
    op.execute(
        "UPDATE switchyard_model_versions SET flavor = 'two-tower' WHERE EXISTS (SELECT 1 FROM switchyard_model_files "
        "AS f WHERE f.name = switchyard_model_versions.name AND f.version = switchyard_model_versions.version "
        "AND f.path LIKE 'embeddings/%')"
    )
    op.create_table(
        "switchyard_model_tags",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
    op.create_table(
        "switchyard_model_imports",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "switchyard_model_pairs",
        sa.Column("target", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("theirs", sa.Integer, nullable=False),
        sa.UniqueConstraint("target", "name", "theirs", name="switchyard_model_pairs_theirs"),
    )
    op.create_table(
        "switchyard_model_mirrors",
        sa.Column("target", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("looked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("held_until", sa.DateTime(timezone=True)),
    )
