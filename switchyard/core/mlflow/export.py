"""What an export of a raw MLflow store says of itself: `export.json`, the marker that is written last."""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, Literal

import msgspec

from switchyard.core.errors import BadRecord

MARKER: Final = "export.json"
FORMAT: Final = 1
RUN_COLUMN: Final = "run_uuid"

API: Final = "api"
Dialect = Literal["postgresql", "sqlite", "mysql", "api"]
"""Which database it is of; `API`: of none, but of what a store answered, in tables like those of MLflow 2.9.2."""


class Moved(msgspec.Struct, frozen=True):
    """How far an export or a restore is: its `stage` (such as "exporting"), what of, and rows done of `rows`.

    `rows` is 0 if their number is not known. `unit` says what is counted where it is not rows.
    """

    stage: str
    table: str
    done: int
    rows: int
    written: int = 0  # parts that were not there yet
    unit: str = "rows"


Watcher = Callable[[Moved], None]
"""Told of each part."""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Some rows of one table, in one Parquet file. `digest` is that of the rows, not of the file."""

    name: str  # below the export's folder
    rows: int
    digest: str
    generation: int
    first_run: str = ""  # of a table with a `run_uuid`, by which its rows are sorted
    last_run: str = ""


class ExportedTable(msgspec.Struct, frozen=True, kw_only=True):
    """One table, whole: its parts in order."""

    name: str
    columns: list[str]
    rows: int
    digest: str  # of its parts' digests, in order
    parts: list[Part]


class StoreSchema(msgspec.Struct, frozen=True, kw_only=True):
    """The statements that make the store's tables again (`before` the rows are filled in, and `after`)."""

    before: list[str]
    after: list[str]
    left_out: list[str] = []  # views, types, routines: MLflow has none, so someone else made them


class Unlisted(msgspec.Struct, frozen=True, kw_only=True):
    """A place of artifacts with objects that are not in the export's list, and why."""

    uri: str
    reason: str


class Artifacts(msgspec.Struct, frozen=True, kw_only=True):
    """Where the artifacts are, which stay there.

    `locations` has what the store's tables say: kind (experiment, run, model_version, logged_model, trace), id, run_id,
    uri. `objects` has what was found there: uri, size_bytes, generation; None: no one asked.
    """

    locations: ExportedTable
    objects: ExportedTable | None = None
    size_bytes: int = 0  # of all objects
    unlisted: list[Unlisted] = []

    @property
    def tables(self) -> list[ExportedTable]:
        """The lists of places and, if it was made, of objects."""
        return [self.locations, *([self.objects] if self.objects else [])]


class Missing(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is in the store and not in the export, and why. An export that has one is not whole."""

    kind: Literal["run", "model"]
    id: str  # a run's, or the name of a registered model
    reason: str
    name: str = ""  # of a run
    experiment_id: str = ""
    experiment: str = ""


class Export(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One finished export: all tables as of one moment, `taken_at`; the artifacts' objects as of just after it.

    One of `API` has no schema, and is not of one moment: all that was logged before `taken_at` is in it, and perhaps
    what was logged later.
    """

    format: int
    dialect: Dialect
    alembic_version: str
    taken_at: datetime
    schema: StoreSchema
    tables: list[ExportedTable]
    artifacts: Artifacts
    source: str = ""  # of API: which store answered, in words, without a password
    missing: list[Missing] = []  # the same command reads these again
    not_kept: list[str] = []  # what the store may hold and does not tell, one sentence each
    not_kept_rows: dict[str, int] = {}  # of these the ones that could be counted, by MLflow's table
    noted: list[str] = []  # what was odd while it was read, one sentence each

    @property
    def parts(self) -> list[Part]:
        """The parts of all tables, and of the lists of artifacts."""
        return [part for table in [*self.tables, *self.artifacts.tables] for part in table.parts]

    @property
    def rows(self) -> int:
        """The rows of all tables."""
        return sum(table.rows for table in self.tables)

    def table(self, name: str) -> ExportedTable:
        """Returns the table of that name.

        Raises: KeyError: there is none.
        """
        return {table.name: table for table in self.tables}[name]


def is_part(name: str) -> bool:
    """Returns True for what only an export names so: nothing else below its folder is ever deleted."""
    return re.fullmatch(r"(tables|artifact_lists)/[A-Za-z0-9_-]+/\d{6,}-[0-9a-f]{16}\.parquet", name) is not None


def is_batch(name: str) -> bool:
    """Returns the same for the record of a batch (`core.mlflow.export_batches`)."""
    return re.fullmatch(r"batches/\d{6,}\.json", name) is not None


def read_marker(data: bytes, where: str) -> Export:
    """Returns the export that `data` describes.

    Raises:
        BadRecord: it is not such a description, or one of another format.
    """
    try:
        found: dict[str, Any] = msgspec.json.decode(data, type=dict)
        if found.get("format") != FORMAT:
            raise BadRecord(where, [f"`format` must be {FORMAT}; got {found.get('format')!r}"])
        return msgspec.convert(found, Export)
    except msgspec.DecodeError as err:
        raise BadRecord(where, [f"it does not describe an export of an MLflow store: {err}"]) from err
