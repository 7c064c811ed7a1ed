"""What a run that was published before there were series and values lacks, and what fills it (`switchyard fill`)."""

from enum import StrEnum

import msgspec

from switchyard.core.history.publication import FIRST_VERSIONS, Digests, FullSeries, Value, Versions

KIND = "fill"
"""Of the ledger's lines."""


class Unfilled(msgspec.Struct, frozen=True, kw_only=True):
    """A run whose history has no full series, or no values; and where both may come from."""

    quick_test_id: int
    mlflow_run_id: str = ""  # the row's
    gcs_artifacts_path: str = ""
    history_text: str = ""
    etag: str = ""  # the history's
    digests: Digests | None = None  # None: the history is the legacy application's
    versions: Versions = FIRST_VERSIONS
    has_values: bool = False  # those of this very history
    error: str = ""  # the row cannot be read, and why


class FillState(StrEnum):
    """What became of one run; its ledger line's state."""

    DONE = "done"  # series and values are there
    VALUES = "values"  # values alone: nothing is left to make series of, and `error` says so
    REPLACED = "replaced"  # another history is published by now: nothing was written
    FAILED = "failed"


class Fill(msgspec.Struct, frozen=True, kw_only=True):
    """What to write of one run, beside the history of `etag`, and its ledger line: both or none."""

    quick_test_id: int
    etag: str = ""
    series: FullSeries | None = None  # None: those that are there stay
    values: list[Value] | None = None  # None: the same
    state: FillState = FillState.DONE
    error: str = ""
