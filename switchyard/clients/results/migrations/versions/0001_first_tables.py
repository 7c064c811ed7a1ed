"""The first tables. They are written out, not taken from `clients.results.tables`, which will move on.

`quick_tests` is made only if no application's table is used in its place (RESULTS_TABLE).
"""

import secrets

import sqlalchemy as sa
from alembic import context, op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Makes all tables and the database's own id."""
    if not context.config.attributes["results_table"]:
        _make_quick_tests()
    _make_jobs()
    _make_published()
    _make_ledger()
    database = op.create_table("switchyard_database", sa.Column("id", sa.Text, primary_key=True))
    op.bulk_insert(database, [{"id": secrets.token_hex(6)}])


def _make_quick_tests() -> None:
    op.create_table(
        "quick_tests",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("gcs_artifacts_path", sa.Text, nullable=False),
        sa.Column("mlflow_run_id", sa.Text, nullable=False),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("mlflow_experiment_name", sa.Text, nullable=False),
        sa.Column("parameters", sa.Text, nullable=False),
        sa.Column("request_key", sa.Text, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True)),
        sa.Column("completed_at", sa.DateTime(timezone=True)),
        sa.Column("training_history_json", sa.Text),
        sa.UniqueConstraint("request_key", name="quick_tests_request_key"),
        sqlite_autoincrement=True,
    )
    op.create_index("quick_tests_status", "quick_tests", ["status"])


def _make_jobs() -> None:
    op.create_table(
        "switchyard_jobs",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("quick_test_id", sa.Integer, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("request_key", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("job_name", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("log_uri", sa.Text, nullable=False),
        sa.Column("image", sa.Text, nullable=False),
        sa.Column("parameters", sa.Text, nullable=False),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True)),
        sa.Column("ended_event_at", sa.DateTime(timezone=True)),
        sa.UniqueConstraint("quick_test_id", "attempt", name="switchyard_jobs_attempt"),
        sa.UniqueConstraint("request_key", name="switchyard_jobs_request_key"),
    )
    op.create_index("switchyard_jobs_state", "switchyard_jobs", ["state"])
    op.create_index("switchyard_jobs_ended_event_at", "switchyard_jobs", ["ended_event_at"])


def _make_published() -> None:
    op.create_table(
        "switchyard_published",
        sa.Column("quick_test_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("charted_digest", sa.Text, nullable=False),
        sa.Column("full_digest", sa.Text),
        sa.Column("series_digests", sa.Text, nullable=False),
        sa.Column("etag", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("rank_attempt", sa.Integer, nullable=False),
        sa.Column("rank_restart", sa.Integer, nullable=False),
        sa.Column("rank_epochs", sa.Integer, nullable=False),
        sa.Column("rank_status", sa.Integer, nullable=False),
        sa.Column("cached_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=False),
    )
    published = sa.ForeignKey("switchyard_published.quick_test_id", ondelete="CASCADE")
    op.create_table(
        "switchyard_histograms",
        sa.Column("quick_test_id", sa.Integer, published, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("tower", sa.Text, primary_key=True),
        sa.Column("gzip_json", sa.LargeBinary, nullable=False),
    )


def _make_ledger() -> None:
    op.create_table(
        "switchyard_ledger",
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("quick_test_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("source_digest", sa.Text, nullable=False),
        sa.Column("published_digest", sa.Text, nullable=False),
        sa.Column("next_try_at", sa.DateTime(timezone=True)),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
    )
