"""The registry's tables as SQLAlchemy sees them; migrations 0005, 0007 and 0008 make them.

Triggers there keep a history, a list of files and a version from ever being changed or deleted. The tables name no
table of runs: with an application's own (RESULTS_TABLE) the registry is the same.
"""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

from switchyard.clients.results.column_types import StorableText, UtcDateTime, to_condition

APPEND_ONLY: Final = ("switchyard_model_transitions", "switchyard_model_files")
"""Tables of which no row is ever changed or deleted; of `switchyard_model_versions` none is deleted."""
NOTED: Final = "forced OR act = 'validated'"
"""The few lines of a long history that a model's page shows at any age. A query says it in the same words, or SQLite
does not see that their index will do: https://www.sqlite.org/partialindex.html"""


@dataclass(frozen=True)
class ModelTables:
    """A model's row is the lock of all that belongs to it: every writer takes it first."""

    models: Table
    versions: Table
    files: Table
    transitions: Table
    aliases: Table
    tags: Table  # of version 0: the model's own
    imports: Table  # likewise
    pairs: Table
    mirrors: Table


def make_model_tables(metadata: MetaData) -> ModelTables:
    """Adds the tables to `metadata`."""
    return ModelTables(
        models=_models(metadata),
        versions=_versions(metadata),
        files=_files(metadata),
        transitions=_transitions(metadata),
        aliases=_aliases(metadata),
        tags=_tags(metadata),
        imports=_imports(metadata),
        pairs=_pairs(metadata),
        mirrors=_mirrors(metadata),
    )


def _models(metadata: MetaData) -> Table:
    return Table(
        "switchyard_models",
        metadata,
        Column("name", Text, primary_key=True),
        Column("production", Integer),
        Column("previous", Integer),
        Column("challenger", Integer),
        Column("share", Double, nullable=False),
        Column("last_number", Integer, nullable=False),
        Column("revision", Integer, nullable=False),
        Column("description", StorableText, nullable=False, server_default=""),
    )


def _versions(metadata: MetaData) -> Table:
    return Table(
        "switchyard_model_versions",
        metadata,
        Column("name", Text, primary_key=True),
        Column("version", Integer, primary_key=True, autoincrement=False),
        Column("stage", Text, nullable=False),
        Column("validation_status", Text, nullable=False),
        Column("judgement", StorableText, nullable=False),  # JSON
        Column("digest", Text, nullable=False),
        Column("source_key", StorableText, nullable=False),
        Column("source_uri", StorableText, nullable=False),
        Column("quick_test_id", Integer),
        Column("lineage", StorableText, nullable=False),  # JSON
        Column("description", StorableText, nullable=False),
        Column("created_at", UtcDateTime, nullable=False),
        Column("created_by", StorableText, nullable=False),
        Column("tombstoned_at", UtcDateTime),
        Column("flavor", Text, nullable=False, server_default=""),
        ForeignKeyConstraint(["name"], ["switchyard_models.name"], name="switchyard_model_versions_of_model"),
        UniqueConstraint("name", "source_key", name="switchyard_model_versions_source"),
        CheckConstraint(
            "stage IN ('None', 'Staging', 'Production', 'Archived')", name="switchyard_model_versions_stage"
        ),
        CheckConstraint(
            "validation_status IN ('pending', 'passed', 'failed')", name="switchyard_model_versions_validation"
        ),
        # The model's row says who is champion; this is the proof that no other writer makes a second one.
        Index("switchyard_one_production", "name", unique=True, **to_condition("stage = 'Production'")),
        Index("switchyard_model_versions_of_run", "quick_test_id"),
    )


def _files(metadata: MetaData) -> Table:
    return Table(
        "switchyard_model_files",
        metadata,
        Column("name", Text, primary_key=True),
        Column("version", Integer, primary_key=True, autoincrement=False),
        Column("path", Text, primary_key=True),
        Column("size_bytes", BigInteger, nullable=False),
        Column("sha256", Text, nullable=False),
    )


def _transitions(metadata: MetaData) -> Table:
    return Table(
        "switchyard_model_transitions",
        metadata,
        Column("name", Text, primary_key=True),
        Column("seq", Integer, primary_key=True, autoincrement=False),
        Column("version", Integer, nullable=False),
        Column("act", Text, nullable=False),
        Column("from_stage", Text, nullable=False),
        Column("to_stage", Text, nullable=False),
        Column("at", UtcDateTime, nullable=False),
        Column("by", StorableText, nullable=False),
        Column("reason", StorableText, nullable=False),
        Column("forced", Boolean, nullable=False),
        Column("replaced", Integer),
        Column("share", Double),
        Column("evidence", StorableText, nullable=False),  # JSON
        Column("request_key", StorableText),
        UniqueConstraint("name", "request_key", name="switchyard_model_transitions_request_key"),
        Index(
            "switchyard_model_transitions_production",
            "name",
            "seq",
            **to_condition("from_stage = 'Production' OR to_stage = 'Production'"),
        ),
        Index("switchyard_model_transitions_noted", "name", "seq", **to_condition(NOTED)),
        Index("switchyard_model_transitions_of_version", "name", "version", "seq"),
    )


def _aliases(metadata: MetaData) -> Table:
    return Table(
        "switchyard_model_aliases",
        metadata,
        Column("name", Text, primary_key=True),
        Column("alias", Text, primary_key=True),
        Column("version", Integer, nullable=False),
    )


def _tags(metadata: MetaData) -> Table:
    return Table(
        "switchyard_model_tags",
        metadata,
        Column("name", Text, primary_key=True),
        Column("version", Integer, primary_key=True, autoincrement=False),
        Column("key", StorableText, primary_key=True),
        Column("value", StorableText, nullable=False),
    )


def _imports(metadata: MetaData) -> Table:
    """Keeps what the registry that a model or a version was imported from said of it, whole."""
    return Table(
        "switchyard_model_imports",
        metadata,
        Column("name", Text, primary_key=True),
        Column("version", Integer, primary_key=True, autoincrement=False),
        Column("origin", StorableText, nullable=False),  # JSON
        Column("at", UtcDateTime, nullable=False),
    )


def _pairs(metadata: MetaData) -> Table:
    """Keeps which number a version has in the registry that mirrors ours."""
    return Table(
        "switchyard_model_pairs",
        metadata,
        Column("target", Text, primary_key=True),
        Column("name", Text, primary_key=True),
        Column("version", Integer, primary_key=True, autoincrement=False),
        Column("theirs", Integer, nullable=False),
        UniqueConstraint("target", "name", "theirs", name="switchyard_model_pairs_theirs"),
    )


def _mirrors(metadata: MetaData) -> Table:
    """Keeps when a model was compared with its mirror last, and how that ended."""
    return Table(
        "switchyard_model_mirrors",
        metadata,
        Column("target", Text, primary_key=True),
        Column("name", Text, primary_key=True),
        Column("revision", Integer, nullable=False),
        Column("looked_at", UtcDateTime, nullable=False),
        Column("error", StorableText, nullable=False),
        Column("holder", Text, nullable=False),  # who looks at it now; empty: no one
        Column("held_until", UtcDateTime),
    )
