"""The tables of decommissions, as SQLAlchemy sees them; migration 0011 makes them."""

from dataclasses import dataclass

from sqlalchemy import Column, Integer, MetaData, Table, Text

from switchyard.clients.results.column_types import StorableText, UtcDateTime


@dataclass(frozen=True)
class DecommissionTables:
    """One row for each decommission, and its steps."""

    walks: Table
    steps: Table


def make_decommission_tables(metadata: MetaData) -> DecommissionTables:
    """Adds both to `metadata`."""
    walks = Table(
        "switchyard_decommission",
        metadata,
        Column("name", Text, primary_key=True),
        Column("walk", Integer, nullable=False),
        Column("state", Text, nullable=False),
        Column("since", UtcDateTime, nullable=False),
        Column("by", StorableText, nullable=False),
        Column("inventory", Text, nullable=False),
        Column("rules", StorableText, nullable=False),  # JSON
        Column("revision", Integer, nullable=False),
    )
    steps = Table(
        "switchyard_decommission_steps",
        metadata,
        Column("name", Text, primary_key=True),
        Column("seq", Integer, primary_key=True, autoincrement=False),
        Column("walk", Integer, nullable=False),
        Column("state", Text, nullable=False),
        Column("resource", StorableText, nullable=False),
        Column("act", Text, nullable=False),
        Column("outcome", Text, nullable=False),
        Column("operation", StorableText, nullable=False),
        Column("evidence", StorableText, nullable=False),  # JSON, of all kinds; empty: none
        Column("proof", StorableText, nullable=False),  # JSON; empty: none
        Column("by", StorableText, nullable=False),
        Column("at", UtcDateTime, nullable=False),
    )
    return DecommissionTables(walks=walks, steps=steps)
