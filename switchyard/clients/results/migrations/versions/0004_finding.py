"""What finding runs among many needs: indexes, and on our own table of runs notes and the time of archiving."""

import sqlalchemy as sa
from alembic import context, op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Adds two columns that are empty for every row there is, and replaces the indexes of values by wider ones."""
    if op.get_bind().dialect.name == "postgresql":
        # An index of millions of values takes longer than a statement of ours may.
        op.execute("SET LOCAL statement_timeout = 0")
    _widen_indexes_of_values()
    if not context.config.attributes["results_table"]:
        _change_quick_tests()


def _widen_indexes_of_values() -> None:
    """Ends each index in the run's id: runs of one value are then walked in order, and pages cut between them.

    Text is compared byte by byte ("C"), so that the order is the same everywhere and a prefix is a range."""
    by_bytes = ' COLLATE "C"' if op.get_bind().dialect.name == "postgresql" else ""
    name, text = sa.text(f"name{by_bytes}"), sa.text(f"text{by_bytes}")
    for index in ("quick_test_id", "number", "text"):
        op.drop_index(f"switchyard_values_{index}", "switchyard_values")
    op.create_index("switchyard_values_of_run", "switchyard_values", ["quick_test_id", "kind", name, "number"])
    for column, shown in (("number", "number"), ("text", text)):
        there = sa.text(f"{column} IS NOT NULL")
        op.create_index(
            f"switchyard_values_{column}",
            "switchyard_values",
            ["kind", name, shown, "quick_test_id"],
            postgresql_where=there,
            sqlite_where=there,
        )


def _change_quick_tests() -> None:
    postgres = op.get_bind().dialect.name == "postgresql"
    op.add_column("quick_tests", sa.Column("notes", sa.Text))
    op.add_column("quick_tests", sa.Column("archived_at", sa.DateTime(timezone=True)))
    named, archived = sa.text("mlflow_run_id <> ''"), sa.text("archived_at IS NOT NULL")
    op.create_index(
        "quick_tests_mlflow_run_id",
        "quick_tests",
        ["mlflow_run_id"],
        postgresql_using="hash",  # takes an id of any length
        postgresql_where=named,
        sqlite_where=named,
    )
    op.create_index(
        "quick_tests_archived_at", "quick_tests", ["archived_at"], postgresql_where=archived, sqlite_where=archived
    )
    op.create_index("quick_tests_created_at", "quick_tests", ["created_at", "id"])
    by_bytes = ' COLLATE "C"' if postgres else ""
    for index, column in (("name", "display_name"), ("experiment", "mlflow_experiment_name")):
        # The first 250 characters: an entry of Postgres' index takes 2,704 bytes at most.
        first = sa.text(f"(substr({column}, 1, 250){by_bytes})" if postgres else f"substr({column}, 1, 250)")
        op.create_index(f"quick_tests_{index}", "quick_tests", [first, "id"])
    duration = (
        "(CAST(round(CAST(extract(epoch FROM (completed_at - started_at)) AS numeric), 3) AS double precision))"
        if postgres
        else "round((julianday(completed_at) - julianday(started_at)) * 86400, 3)"
    )
    op.create_index("quick_tests_duration", "quick_tests", [sa.text(duration), "id"])
