"""What a run that was published before there were series and values lacks, and what fills it (`switchyard fill`)."""

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec

from switchyard.core.history.publication import FIRST_VERSIONS, Digests, FullSeries, Value, Versions
from switchyard.core.history.stored_values import to_history_values
from switchyard.core.history.values import to_values
from switchyard.core.history.version1 import to_digests_of, to_publication_of
from switchyard.core.metrics.record import MetricsRecord, Sampling

KIND = "fill"
"""The kind of the ledger's lines."""


class Unfilled(msgspec.Struct, frozen=True, kw_only=True):
    """A run with a history that has no full series, or no values; and where both may come from."""

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


LEGACY: Final = (
    "its history is the legacy application's: nothing says what it was made of. Publish the run again to have every "
    "curve: switchyard backfill --force"
)


def read_history(unfilled: Unfilled) -> dict[str, Any] | None:
    """Returns the stored history; None: it is not a JSON object."""
    try:
        found = json.loads(unfilled.history_text)  # takes the tokens NaN and Infinity, which legacy payloads have
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def is_source(unfilled: Unfilled, record: MetricsRecord) -> bool:
    """Returns True if the published history was made of just these points.

    Its versions then make the same digests of them.
    """
    stored = unfilled.digests
    if stored is None:
        return False
    found = to_digests_of(unfilled.versions, record)
    return found.charted == stored.charted and (None in (found.full, stored.full) or found.full == stored.full)


def to_fill(unfilled: Unfilled, history: Mapping[str, Any], record: MetricsRecord) -> Fill:
    """Returns series and values, of the record that the history was made of (`is_source`)."""
    made = to_publication_of(
        unfilled.versions,
        record,
        quick_test_id=unfilled.quick_test_id,
        source="file" if history.get("source") == "file" else "mlflow",
        sampling=Sampling(),
    )
    tags = history.get("tags")
    texts = {name: text for name, text in tags.items() if isinstance(text, str)} if isinstance(tags, dict) else {}
    return Fill(
        quick_test_id=unfilled.quick_test_id,
        etag=unfilled.etag,
        series=made.series,
        values=[*made.values, *to_values(final={}, last={}, best={}, params={}, tags=texts)],
    )


def to_values_alone(unfilled: Unfilled, why: str) -> Fill:
    """Returns what the stored history says by itself, and `why` there is no more."""
    history = read_history(unfilled)
    if history is None:
        return to_failed(unfilled.quick_test_id, "its stored history is not a JSON object; publish the run again")
    return Fill(
        quick_test_id=unfilled.quick_test_id,
        etag=unfilled.etag,
        values=None if unfilled.has_values else to_history_values(history),
        state=FillState.VALUES,
        error=why,
    )


def to_failed(quick_test_id: int, error: str) -> Fill:
    """Returns a fill that writes nothing but the ledger's line."""
    return Fill(quick_test_id=quick_test_id, state=FillState.FAILED, error=error)


class FillBatch(msgspec.Struct):
    """What became of some runs; grows. Reasons by quick test id."""

    done: int = 0
    values: dict[int, str] = {}
    replaced: dict[int, str] = {}
    failed: dict[int, str] = {}

    @property
    def settled(self) -> int:
        """How many runs have an outcome, whichever."""
        return self.done + len(self.values) + len(self.replaced) + len(self.failed)

    def count(self, quick_test_id: int, state: FillState, error: str) -> None:
        """Counts one run."""
        if state is FillState.DONE:
            self.done += 1
        else:
            reasons = {FillState.VALUES: self.values, FillState.REPLACED: self.replaced, FillState.FAILED: self.failed}
            reasons[state][quick_test_id] = error

    def add(self, other: "FillBatch") -> None:
        """Adds all of another batch."""
        self.done += other.done
        self.values |= other.values
        self.replaced |= other.replaced
        self.failed |= other.failed
