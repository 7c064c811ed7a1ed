"""Which runs one verify looks at, and in what batches."""

from collections.abc import Sequence

import msgspec

from switchyard.core.backfill.rows import BackfillRow


class Scope(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was to be looked at."""

    quick_test_id: int = 0  # 0: any
    limit: int = 0  # 0: all
    experiments: list[str] = []  # of which no run may be unknown; empty: all
    whole: bool = False  # every key was read, also where only charted ones are published

    @property
    def is_all(self) -> bool:
        """True where no run was left aside."""
        return not self.quick_test_id and not self.limit


class VerifyBatch(msgspec.Struct, frozen=True, kw_only=True):
    """The rows of one task, and how their runs are read."""

    rows: list[BackfillRow]
    whole: bool
    export_uri: str = ""  # empty: from the MLflow that the settings name


def to_batches(
    rows: Sequence[BackfillRow], scope: Scope, export_uri: str, *, charted_size: int, whole_size: int
) -> list[VerifyBatch]:
    """Those in `scope`, by how they are read: whole where more than charted series is published. A row without an
    MLflow run is in it where something of ours is published: its history may name one."""
    wanted = [row for row in rows if row.mlflow_run_id or row.published == "ours"]
    if scope.quick_test_id:
        wanted = [row for row in wanted if row.id == scope.quick_test_id]
    if scope.limit:
        wanted = wanted[: scope.limit]
    batches = []
    for whole, size in ((False, charted_size), (True, whole_size)):
        chosen = [row for row in wanted if (scope.whole or row.full_digest is not None) is whole]
        batches += [
            VerifyBatch(rows=chosen[start : start + size], whole=whole, export_uri=export_uri)
            for start in range(0, len(chosen), size)
        ]
    return batches
