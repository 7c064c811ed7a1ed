"""The results database's tables as SQLAlchemy sees them; migrations/ makes them, and a test compares the two.

The table of runs is ours (`quick_tests`) or an application's (RESULTS_TABLE). Five columns of the latter are used, and
none is changed. No foreign key points at it, so its owner may delete rows, and both cases have one schema.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    ColumnElement,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    and_,
    case,
    cast,
    func,
    or_,
)
from sqlalchemy.dialects.postgresql import JSONB

from switchyard.clients.results.artifact_tables import make_copies_table
from switchyard.clients.results.column_types import StorableText, UtcDateTime, to_condition
from switchyard.clients.results.decommission_tables import DecommissionTables, make_decommission_tables
from switchyard.clients.results.model_tables import ModelTables, make_model_tables
from switchyard.clients.results.prediction_tables import PredictionTables, make_prediction_tables

SCHEMA: Final = "0011"
"""The migration that this version's code fits (clients/migrations/versions/)."""
VERSION_TABLE: Final = "switchyard_alembic_version"
"""Not `alembic_version`: MLflow may keep its own in the same database."""
OWN_RUNS: Final = "quick_tests"
NEEDED_COLUMNS: Final = ("id", "status", "gcs_artifacts_path", "mlflow_run_id", "training_history_json")
"""The columns that a RESULTS_TABLE must have."""
EXPRESSION_INDEXES: Final = ("quick_tests_name", "quick_tests_experiment", "quick_tests_duration")
"""Indexes of our own table of runs; only migration 0004 has their text: the databases spell expressions differently."""
NOTHING_MAX_CHARACTERS: Final = 400
"""A stored JSON shorter than this that says ``"available": false`` holds no history; a history is longer."""

HistoryType = Literal["text", "json", "jsonb"]


@dataclass(frozen=True)
class Tables:
    """All tables, and what is special about the one that holds the runs."""

    metadata: MetaData
    runs: Table
    jobs: Table
    published: Table
    histograms: Table
    series: Table
    values: Table
    ledger: Table
    replaced: Table
    followed: Table
    followed_stores: Table
    database: Table
    models: ModelTables
    predictions: PredictionTables
    artifact_copies: Table
    decommission: DecommissionTables
    own: bool  # the runs' table is ours
    history_type: HistoryType = "text"

    @property
    def history_text(self) -> ColumnElement[Any]:
        """Returns the stored history as text, for any type of the column."""
        column: ColumnElement[Any] = self.runs.c.training_history_json
        return column if self.history_type == "text" else cast(column, Text)

    def to_history(self, text: ColumnElement[str]) -> ColumnElement[str]:
        """Returns `text` as the column's type takes it. Only jsonb refuses an escaped NUL: there it becomes U+FFFD."""
        if self.history_type == "text":
            return cast(text, Text)
        return cast(cast(text, Text), JSONB if self.history_type == "jsonb" else JSON)

    @cached_property
    def has_history(self) -> ColumnElement[bool]:
        """Does in SQL what `is_history` does, for the stored text."""
        text = self.history_text
        bare = text
        for blank in (" ", "\n", "\r", "\t"):
            bare = func.replace(bare, blank, "")
        nothing = or_(bare.in_(("", "null")), bare.like('%"available":false%'))
        # CASE, because only it keeps a database from testing the long texts too.
        return and_(text.is_not(None), case((func.length(text) < NOTHING_MAX_CHARACTERS, ~nothing), else_=True))


def is_history(text: str | None) -> bool:
    """Returns false for SQL NULL, JSON null and ``{"available": false}``: nothing is published there."""
    if text is None:
        return False
    if len(text) >= NOTHING_MAX_CHARACTERS:
        return True
    bare = text.translate({ord(blank): None for blank in " \n\r\t"})
    return bare not in ("", "null") and '"available":false' not in bare


def to_history_etag(text: str, charted_digest: str | None, etag: str | None) -> str:
    """Returns the ETag of a stored history.

    It is the one that was stored with it, if `charted_digest` and `etag` of our row of digests speak of it. Else it is
    its own hash, because another application may have written it, perhaps over ours."""
    if etag is not None and charted_digest is not None and charted_digest in text:
        return etag
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def to_tables(table: str = "", *, history_type: HistoryType = "text") -> Tables:
    """Returns the tables, with `table` (``quicktest``, ``app.quicktest``) for the runs; empty: our own."""
    metadata = MetaData()
    return Tables(
        metadata=metadata,
        runs=_foreign_runs(metadata, table) if table else _own_runs(metadata),
        jobs=_jobs(metadata),
        published=_published(metadata),
        histograms=_histograms(metadata),
        series=_series(metadata),
        values=_values(metadata),
        ledger=_ledger(metadata),
        replaced=_replaced(metadata),
        followed=_followed(metadata),
        followed_stores=_followed_stores(metadata),
        database=Table("switchyard_database", metadata, Column("id", Text, primary_key=True)),
        models=make_model_tables(metadata),
        predictions=make_prediction_tables(metadata),
        artifact_copies=make_copies_table(metadata),
        decommission=make_decommission_tables(metadata),
        own=not table,
        history_type=history_type,
    )


def list_own_tables(table: str = "") -> frozenset[str]:
    """Returns the names of all tables that are ours: without `table`, if an application's holds the runs."""
    found = to_tables(table)
    names = {known.name for known in found.metadata.tables.values()} | {VERSION_TABLE}
    return frozenset(names if found.own else names - {found.runs.name})


def split_name(table: str) -> tuple[str | None, str]:
    """Returns (``app``, ``quicktest``) for ``app.quicktest``.

    Without a dot the schema is None, the connection's own.
    """
    schema, _, name = table.rpartition(".")
    return schema or None, name


def _own_runs(metadata: MetaData) -> Table:
    return Table(
        OWN_RUNS,
        metadata,
        Column("id", Integer, primary_key=True),
        Column("status", Text, nullable=False),
        Column("gcs_artifacts_path", StorableText, nullable=False),
        Column("mlflow_run_id", Text, nullable=False),
        Column("display_name", StorableText, nullable=False),
        Column("mlflow_experiment_name", StorableText, nullable=False),
        Column("parameters", Text, nullable=False),
        Column("request_key", StorableText, nullable=False),
        Column("error", StorableText, nullable=False),
        Column("created_at", UtcDateTime, nullable=False),
        Column("started_at", UtcDateTime),
        Column("completed_at", UtcDateTime),
        # Last, because SQLite walks past a long value to reach the columns after it.
        Column("training_history_json", Text),
        # Added after it. It is mostly NULL, and SQLite does not walk for a NULL.
        Column("notes", StorableText),
        Column("archived_at", UtcDateTime),
        UniqueConstraint("request_key", name="quick_tests_request_key"),
        Index("quick_tests_status", "status"),
        # Beside these, three over expressions: `EXPRESSION_INDEXES`.
        Index("quick_tests_created_at", "created_at", "id"),
        Index(
            "quick_tests_mlflow_run_id", "mlflow_run_id", postgresql_using="hash", **to_condition("mlflow_run_id <> ''")
        ),
        Index("quick_tests_archived_at", "archived_at", **to_condition("archived_at IS NOT NULL")),
        sqlite_autoincrement=True,  # an id names a run everywhere, so a deleted row's is not given again
    )


def _foreign_runs(metadata: MetaData, table: str) -> Table:
    schema, name = split_name(table)
    return Table(
        name,
        metadata,
        Column("id", Integer, primary_key=True),
        Column("status", Text),
        Column("gcs_artifacts_path", StorableText),
        Column("mlflow_run_id", Text),
        Column("training_history_json", Text),
        schema=schema,
    )


def _jobs(metadata: MetaData) -> Table:
    return Table(
        "switchyard_jobs",
        metadata,
        Column("key", Text, primary_key=True),
        Column("quick_test_id", Integer, nullable=False),
        Column("attempt", Integer, nullable=False),
        Column("request_key", StorableText, nullable=False),
        Column("state", Text, nullable=False),
        Column("job_name", StorableText, nullable=False),
        Column("reason", StorableText, nullable=False),
        Column("error", StorableText, nullable=False),
        Column("log_uri", StorableText, nullable=False),
        Column("image", StorableText, nullable=False),
        Column("parameters", Text, nullable=False),
        Column("claimed_at", UtcDateTime, nullable=False),
        Column("started_at", UtcDateTime),
        Column("ended_event_at", UtcDateTime),
        Column("completed_event_at", UtcDateTime),
        UniqueConstraint("quick_test_id", "attempt", name="switchyard_jobs_attempt"),
        UniqueConstraint("request_key", name="switchyard_jobs_request_key"),
        Index("switchyard_jobs_state", "state"),
        Index("switchyard_jobs_ended_event_at", "ended_event_at"),
        Index(
            "switchyard_jobs_completed_event_at",
            "quick_test_id",
            **to_condition("completed_event_at IS NULL AND state = 'succeeded'"),
        ),
    )


def _published(metadata: MetaData) -> Table:
    return Table(
        "switchyard_published",
        metadata,
        Column("quick_test_id", Integer, primary_key=True, autoincrement=False),
        Column("charted_digest", Text, nullable=False),
        Column("full_digest", Text),
        Column("series_digests", StorableText, nullable=False),
        Column("etag", Text, nullable=False),
        Column("status", Text, nullable=False),
        Column("rank_attempt", Integer, nullable=False),
        Column("rank_restart", Integer, nullable=False),
        Column("rank_epochs", Integer, nullable=False),
        Column("rank_status", Integer, nullable=False),
        Column("cached_at", UtcDateTime, nullable=False),
        Column("published_at", UtcDateTime, nullable=False),
        Column("digest_version", Integer, nullable=False, server_default="1"),
        Column("mapping_version", Integer, nullable=False, server_default="1"),
        Column("rules", StorableText, nullable=False, server_default=""),
    )


def _histograms(metadata: MetaData) -> Table:
    published = ForeignKey("switchyard_published.quick_test_id", ondelete="CASCADE")
    return Table(
        "switchyard_histograms",
        metadata,
        Column("quick_test_id", Integer, published, primary_key=True, autoincrement=False),
        Column("kind", Text, primary_key=True),
        Column("tower", Text, primary_key=True),
        Column("gzip_json", LargeBinary, nullable=False),
    )


def _series(metadata: MetaData) -> Table:
    published = ForeignKey("switchyard_published.quick_test_id", ondelete="CASCADE")
    return Table(
        "switchyard_series",
        metadata,
        Column("quick_test_id", Integer, published, primary_key=True, autoincrement=False),
        Column("digest", Text, nullable=False),  # of the JSON before gzip
        Column("gzip_json", LargeBinary, nullable=False),
    )


def _values(metadata: MetaData) -> Table:
    """Makes the table without a key over the names: two that differ by what no database takes (NUL) are the same here.

    It has no foreign key either: a history of the legacy application has values too, but no row of digests."""
    number, text = to_condition("number IS NOT NULL"), to_condition("text IS NOT NULL")
    return Table(
        "switchyard_values",
        metadata,
        Column("quick_test_id", Integer, nullable=False),
        Column("kind", Text, nullable=False),
        Column("name", StorableText, nullable=False),
        Column("number", Double),
        Column("text", StorableText),
        # The etag of the history that they came from (`StoredHistory.etag`): they hold for no other.
        Column("history_etag", Text, nullable=False),
        # Names and texts are in the order of their bytes there (migration 0004), on Postgres too: COLLATE "C".
        Index("switchyard_values_of_run", "quick_test_id", "kind", "name", "number"),
        Index("switchyard_values_number", "kind", "name", "number", "quick_test_id", **number),
        Index("switchyard_values_text", "kind", "name", "text", "quick_test_id", **text),
    )


def _ledger(metadata: MetaData) -> Table:
    return Table(
        "switchyard_ledger",
        metadata,
        Column("kind", Text, primary_key=True),
        Column("quick_test_id", Integer, primary_key=True, autoincrement=False),
        Column("state", Text, nullable=False),
        Column("attempts", Integer, nullable=False),
        Column("error", StorableText, nullable=False),
        Column("source_digest", Text, nullable=False),
        Column("published_digest", Text, nullable=False),
        Column("next_try_at", UtcDateTime),
        Column("updated_at", UtcDateTime, nullable=False),
    )


def _replaced(metadata: MetaData) -> Table:
    return Table(
        "switchyard_replaced",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("quick_test_id", Integer, nullable=False),
        Column("replaced_at", UtcDateTime, nullable=False),
        Column("reason", StorableText, nullable=False),
        Column("history_text", Text, nullable=False),
        Column("published", Text),  # JSON of our row of digests; NULL: another application's history
        Column("histograms", Text, nullable=False),  # JSON; the gzip bytes in base64
        Column("series", Text),  # JSON, the same; NULL: it had none
        Column("run_values", Text),  # JSON; NULL: it had none
        Index("switchyard_replaced_quick_test_id", "quick_test_id"),
        sqlite_autoincrement=True,  # an id that was recovered is not given again
    )


def _followed(metadata: MetaData) -> Table:
    return Table(
        "switchyard_followed",
        metadata,
        Column("quick_test_id", Integer, primary_key=True, autoincrement=False),
        Column("mlflow_run_id", Text, nullable=False),
        Column("store", StorableText, nullable=False),
        Column("name", StorableText, nullable=False),  # MLflow's, when it was read
        Column("mark", Text, nullable=False),
        Column("whole", Boolean, nullable=False),  # all its metrics were read
        Column("seen_at", UtcDateTime),  # NULL: it was never read
        Column("missing_at", UtcDateTime),
        Column("deleted_at", UtcDateTime),
        Index("switchyard_followed_deleted_at", "deleted_at", **to_condition("deleted_at IS NOT NULL")),
    )


def _followed_stores(metadata: MetaData) -> Table:
    return Table(
        "switchyard_followed_stores",
        metadata,
        Column("store", StorableText, primary_key=True),
        Column("tried_at", UtcDateTime, nullable=False),
        Column("failed", Integer, nullable=False),
        Column("error", StorableText, nullable=False),
        Column("followed_until", UtcDateTime),
    )
