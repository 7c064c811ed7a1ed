"""The registry of models: versions, their files, their history, and who answers."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_ACTS = {
    "switchyard_model_transitions": ("UPDATE", "DELETE"),
    "switchyard_model_files": ("UPDATE", "DELETE"),
    "switchyard_model_versions": ("DELETE",),
}
"""What each table always refuses."""


def upgrade() -> None:
    """Makes five tables, and the triggers that refuse what must never be done to three of them."""
    _make_models()
    _make_versions()
    _make_files()
    _make_transitions()
    op.create_table(
        "switchyard_model_aliases",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("alias", sa.Text, primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
    )
    _make_triggers()


def _make_models() -> None:
    op.create_table(
        "switchyard_models",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("production", sa.Integer),
        sa.Column("previous", sa.Integer),
        sa.Column("challenger", sa.Integer),
        sa.Column("share", sa.Double, nullable=False),
        sa.Column("last_number", sa.Integer, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
    )


def _make_versions() -> None:
    op.create_table(
        "switchyard_model_versions",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("stage", sa.Text, nullable=False),
        sa.Column("validation_status", sa.Text, nullable=False),
        sa.Column("judgement", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("source_key", sa.Text, nullable=False),
        sa.Column("source_uri", sa.Text, nullable=False),
        sa.Column("quick_test_id", sa.Integer),
        sa.Column("lineage", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("tombstoned_at", sa.DateTime(timezone=True)),
        sa.ForeignKeyConstraint(["name"], ["switchyard_models.name"], name="switchyard_model_versions_of_model"),
        sa.UniqueConstraint("name", "source_key", name="switchyard_model_versions_source"),
        sa.CheckConstraint(
            "stage IN ('None', 'Staging', 'Production', 'Archived')", name="switchyard_model_versions_stage"
        ),
        sa.CheckConstraint(
            "validation_status IN ('pending', 'passed', 'failed')", name="switchyard_model_versions_validation"
        ),
    )
    op.create_index(
        "switchyard_one_production",
        "switchyard_model_versions",
        ["name"],
        unique=True,
        **_where("stage = 'Production'"),
    )
    op.create_index("switchyard_model_versions_of_run", "switchyard_model_versions", ["quick_test_id"])


def _make_files() -> None:
    op.create_table(
        "switchyard_model_files",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("path", sa.Text, primary_key=True),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
    )


def _make_transitions() -> None:
    op.create_table(
        "switchyard_model_transitions",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("act", sa.Text, nullable=False),
        sa.Column("from_stage", sa.Text, nullable=False),
        sa.Column("to_stage", sa.Text, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("forced", sa.Boolean, nullable=False),
        sa.Column("replaced", sa.Integer),
        sa.Column("share", sa.Double),
        sa.Column("evidence", sa.Text, nullable=False),
        sa.Column("request_key", sa.Text),
        sa.UniqueConstraint("name", "request_key", name="switchyard_model_transitions_request_key"),
    )
    op.create_index(
        "switchyard_model_transitions_production",
        "switchyard_model_transitions",
        ["name", "seq"],
        **_where("from_stage = 'Production' OR to_stage = 'Production'"),
    )


def _where(condition: str) -> dict[str, Any]:
    return {"postgresql_where": sa.text(condition), "sqlite_where": sa.text(condition)}


def _make_triggers() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION switchyard_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "RAISE EXCEPTION '% of a row of % is refused: it is kept for ever', TG_OP, TG_TABLE_NAME; END $$"
        )
        for table, acts in _ACTS.items():
            op.execute(
                f"CREATE TRIGGER {table}_kept BEFORE {' OR '.join(acts)} ON {table} "
                "FOR EACH ROW EXECUTE FUNCTION switchyard_refuse()"
            )
        return
    for table, acts in _ACTS.items():
        for act in acts:
            op.execute(
                f"CREATE TRIGGER {table}_no_{act.lower()} BEFORE {act} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{act} of a row of {table} is refused: it is kept for ever'); END"
            )
    _refuse_replacing()


def _refuse_replacing() -> None:
    """Refuses INSERT OR REPLACE, which deletes without the triggers of a DELETE.

    Source: https://www.sqlite.org/lang_conflict.html
    """
    keys = {
        "switchyard_model_transitions": ("name", "seq"),
        "switchyard_model_files": ("name", "version", "path"),
        "switchyard_model_versions": ("name", "version"),
    }
    for table, key in keys.items():
        same = " AND ".join(f"{column} = NEW.{column}" for column in key)
        there = f"EXISTS (SELECT 1 FROM {table} WHERE {same})"  # noqa: S608  (names of ours)
        op.execute(
            f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} WHEN {there} "
            f"BEGIN SELECT RAISE(ABORT, 'REPLACE of a row of {table} is refused: it is kept for ever'); END"
        )
