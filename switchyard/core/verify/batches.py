"""Which runs one verify looks at, and in what batches.

What a batch's tries have found is kept in the ledger, in lines of a kind of the batch's own, until the manifest has it:
a next try may be in another process, and two verifies may be at work at once.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from switchyard.core.backfill.rows import BackfillRow
from switchyard.core.verify.findings import KIND

FOUND: Final = f"{KIND}/"
"""What the kinds of all such lines begin with, whichever verify and batch they are of."""


class Scope(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was to be looked at."""

    quick_test_id: int = 0  # 0: any
    limit: int = 0  # 0: all
    experiments: list[str] = []  # of which every run must have a row; empty: all
    whole: bool = False  # every key was read, also if only charted ones are published

    def has(self, experiment: str) -> bool:
        """Returns True of an experiment in which every run must have a row."""
        return not self.experiments or experiment in self.experiments

    @property
    def is_all(self) -> bool:
        """True if no run was left aside."""
        return not self.quick_test_id and not self.limit


class VerifyBatch(msgspec.Struct, frozen=True, kw_only=True):
    """The rows of one task, and how their runs are read."""

    rows: list[BackfillRow]
    whole: bool
    export_uri: str = ""  # empty: from the MLflow that the settings name
    found_kind: str = ""  # of the ledger's lines that keep what its tries have found; empty: nothing is kept


def to_found_prefix(key: str) -> str:
    """Returns what the kinds of one verify's lines begin with; `key` is the verify's own."""
    return f"{FOUND}{key}/"


def to_batches(
    rows: Sequence[BackfillRow], scope: Scope, export_uri: str, *, key: str = "", charted_size: int, whole_size: int
) -> list[VerifyBatch]:
    """Returns the runs in `scope`, by how they are read: whole where more than charted series is published.

    A row without an MLflow run is in it where something of ours is published: its history may name one. With a `key`,
    which no other verify has, each batch's tries share what they find.
    """
    wanted = [row for row in rows if row.mlflow_run_id or row.published == "ours"]
    if scope.quick_test_id:
        wanted = [row for row in wanted if row.id == scope.quick_test_id]
    if scope.limit:
        wanted = wanted[: scope.limit]
    batches = []
    for whole, size in ((False, charted_size), (True, whole_size)):
        chosen = [row for row in wanted if (scope.whole or row.full_digest is not None) is whole]
        batches += [
            VerifyBatch(
                rows=chosen[start : start + size],
                whole=whole,
                export_uri=export_uri,
                found_kind=f"{to_found_prefix(key)}{chosen[start].id}" if key else "",
            )
            for start in range(0, len(chosen), size)
        ]
    return batches
