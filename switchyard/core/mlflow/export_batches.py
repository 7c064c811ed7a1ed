"""The batches of runs in which an export reads a store's answers.

A record of each is written after its parts, by which the same command goes on where it was interrupted.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from switchyard.core.batches import batched
from switchyard.core.errors import BadRecord
from switchyard.core.mlflow.export import Missing, Part

FOLDER: Final = "batches"
FORMAT: Final = 1
RUNS: Final = 100
"""Runs a batch: what a kill loses at most."""


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Some runs that were read, and the parts that have their rows.

    `parts` also has those of tables that are not taken as they are (`datasets`, which several batches may name).
    """

    format: int = FORMAT
    number: int
    source: str  # which store they were read from
    part_rows: int
    read_at: datetime  # when its reading began
    runs: dict[str, str]  # by id, the mark that each had (`core.mlflow.marks`)
    parts: dict[str, list[Part]]  # by table
    experiments: dict[str, str] = {}  # names, by the ids of its runs' experiments
    missing: list[Missing] = []
    noted: list[str] = []

    @property
    def name(self) -> str:
        """The name of the batch's record, below the export's folder."""
        return to_name(self.number)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is read already, and what is to be read: batches of run ids, by their numbers."""

    kept: list[Batch]
    todo: dict[int, list[str]]


def to_name(number: int) -> str:
    """Returns the record's name of that batch."""
    return f"{FOLDER}/{number:06}.json"


def read_batch(data: bytes, where: str) -> Batch:
    """Reads the record of a batch.

    Raises: BadRecord: it is not a record that we know.
    """
    try:
        found = msgspec.json.decode(data, type=Batch)
    except msgspec.DecodeError as err:
        raise BadRecord(where, [f"it does not describe a batch of an export: {err}"]) from err
    if found.format != FORMAT:
        raise BadRecord(where, [f"`format` must be {FORMAT}; got {found.format}"])
    return found


def plan_batches(
    listed: Iterable[str],
    marks: Mapping[str, str],
    batches: Sequence[Batch],
    *,
    source: str,
    part_rows: int,
    is_there: Callable[[Part], bool],
) -> Plan:
    """Keeps each batch of that source that is unchanged and whole, and plans new ones for all other runs.

    A batch is kept if all its runs are in the store, unchanged, and all its parts are there. The other runs are read by
    id, RUNS a batch. Nothing is kept of runs that a batch could not read.
    """
    kept: list[Batch] = []
    seen: set[str] = set()
    for batch in sorted(batches, key=lambda batch: batch.number):
        is_ours = (batch.source, batch.part_rows) == (source, part_rows) and seen.isdisjoint(batch.runs)
        if (
            is_ours
            and all(marks.get(run_id) == mark for run_id, mark in batch.runs.items())
            and all(is_there(part) for parts in batch.parts.values() for part in parts)
        ):
            kept.append(batch)
            seen.update(batch.runs)
    first = max((batch.number for batch in kept), default=-1) + 1
    left = sorted({run_id for run_id in listed if run_id not in seen})
    return Plan(kept=kept, todo=dict(enumerate(batched(left, RUNS), first)))
