"""The tables of predictions and of the feedback on them, as SQLAlchemy sees them; migrations 0006 and 0008 make them.

No foreign key joins them: feedback may come before its prediction's row, and outlives it. They name no table of runs:
with an application's own (RESULTS_TABLE) they are the same.
"""

from dataclasses import dataclass

from sqlalchemy import Boolean, Column, Double, Index, Integer, MetaData, Table, Text

from switchyard.clients.results.column_types import StorableText, UtcDateTime


@dataclass(frozen=True)
class PredictionTables:
    """A row for each answer, and a row for each thing that was said of one."""

    predictions: Table
    feedback: Table


def make_prediction_tables(metadata: MetaData) -> PredictionTables:
    """Adds the tables to `metadata`."""
    return PredictionTables(predictions=_predictions(metadata), feedback=_feedback(metadata))


def _predictions(metadata: MetaData) -> Table:
    return Table(
        "switchyard_predictions",
        metadata,
        Column("id", Text, primary_key=True),
        Column("at", UtcDateTime, nullable=False),
        Column("model", StorableText, nullable=False),
        Column("version", Integer),  # NULL: a model that the registry does not have
        Column("digest", Text, nullable=False),
        Column("arm", Text, nullable=False),
        Column("buyer_hash", Text, nullable=False),  # empty: the request named no buyer
        Column("product_ids", StorableText, nullable=False),  # JSON
        Column("latency_ms", Double, nullable=False),
        Column("fallback", Boolean, nullable=False),
        Index("switchyard_predictions_at", "at"),
        # All that counting reads, in the order in which it groups.
        Index("switchyard_predictions_counted", "model", "version", "arm", "at", "fallback"),
    )


def _feedback(metadata: MetaData) -> Table:
    return Table(
        "switchyard_feedback",
        metadata,
        Column("idempotency_key", Text, primary_key=True),
        Column("body_digest", Text, nullable=False),
        Column("prediction_id", Text, nullable=False),
        # These four are the prediction's, copied once its row is there; NULL until then.
        Column("model", StorableText),
        Column("version", Integer),
        Column("arm", Text),
        Column("predicted_at", UtcDateTime),
        Column("kind", Text, nullable=False),
        Column("product_id", StorableText),
        Column("value", Double),
        Column("at", UtcDateTime, nullable=False),
        Index("switchyard_feedback_of_prediction", "prediction_id"),
        Index("switchyard_feedback_of_model", "model", "predicted_at"),
        Index("switchyard_feedback_at", "at"),
    )
