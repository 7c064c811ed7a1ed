"""The table of artifacts' copies, as SQLAlchemy sees it; migration 0010 makes it."""

from sqlalchemy import BigInteger, Column, Integer, MetaData, Table, Text

from switchyard.clients.results.column_types import StorableText, UtcDateTime


def make_copies_table(metadata: MetaData) -> Table:
    """Adds the table to `metadata`: one row for each MLflow run."""
    return Table(
        "switchyard_artifact_copies",
        metadata,
        Column("mlflow_run_id", Text, primary_key=True),
        Column("to_uri", StorableText, nullable=False),
        Column("digest", Text, nullable=False),
        Column("objects", Integer, nullable=False),
        Column("size_bytes", BigInteger, nullable=False),
        Column("left_out", Integer, nullable=False),
        Column("copied_at", UtcDateTime, nullable=False),
    )
