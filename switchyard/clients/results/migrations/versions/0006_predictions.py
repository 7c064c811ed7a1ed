"""What was answered to whom by which version, and what became of it."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Makes two tables. No foreign key: feedback may come before its prediction's row, and outlives it."""
    op.create_table(
        "switchyard_predictions",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("version", sa.Integer),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("arm", sa.Text, nullable=False),
        sa.Column("buyer_hash", sa.Text, nullable=False),
        sa.Column("product_ids", sa.Text, nullable=False),
        sa.Column("latency_ms", sa.Double, nullable=False),
        sa.Column("fallback", sa.Boolean, nullable=False),
    )
    op.create_index("switchyard_predictions_at", "switchyard_predictions", ["at"])
    op.create_index("switchyard_predictions_of_model", "switchyard_predictions", ["model", "at"])
    op.create_table(
        "switchyard_feedback",
        sa.Column("idempotency_key", sa.Text, primary_key=True),
        sa.Column("body_digest", sa.Text, nullable=False),
        sa.Column("prediction_id", sa.Text, nullable=False),
        sa.Column("model", sa.Text),
        sa.Column("version", sa.Integer),
        sa.Column("arm", sa.Text),
        sa.Column("predicted_at", sa.DateTime(timezone=True)),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("product_id", sa.Text),
        sa.Column("value", sa.Double),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("switchyard_feedback_of_prediction", "switchyard_feedback", ["prediction_id"])
    op.create_index("switchyard_feedback_of_model", "switchyard_feedback", ["model", "predicted_at"])
    op.create_index("switchyard_feedback_at", "switchyard_feedback", ["at"])
