"""What verify found of one run, and where."""

from collections import Counter
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Final, Literal

import msgspec

KIND: Final = "verify"
"""The kind of the ledger's lines; the state of each is one of State's words."""


Place = Literal["row", "history", "digests", "histograms", "series", "values", "file"]
"""The place of a kept value: the run's row, its published history, the digests beside it, its histograms' rows, its
full series, its values, or its ``training_metrics.json``. Manifests of format 1 have no series and values."""


KeptIn = Literal["the full series", "training_metrics.json", "an export"]


class State(StrEnum):
    """What verify found of one run."""

    VERIFIED = "verified"  # all that is kept is what MLflow says
    DIFFERS = "differs"
    MISSING = "missing"  # the row's run is not in MLflow (any more)
    UNREAD = "unread"  # it could not be read, or not compared; `reason` says why
    LEGACY = "legacy"  # a history of the legacy application: no one knows what it was made of
    UNPUBLISHED = "unpublished"
    UNCHARTED = "uncharted"  # nothing is published, nor will be: all that MLflow has of it are the bins of histograms
    EMPTY = "empty"  # nothing is published, and MLflow has not one point of it
    RUNNING = "running"  # a job of it is at work, so that MLflow moves on

    @property
    def failed(self) -> bool:
        """True for what ends the flow as failed; the others are known and by design."""
        return self in (State.DIFFERS, State.MISSING, State.UNREAD)


class Difference(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One place where what is kept is not what it should be.

    Values are texts, as JSON writes them; ``nan`` and ``inf`` are not strict JSON's, and ``nothing`` says that there is
    none.
    """

    place: Place
    path: str  # the JSON path there
    key: str = ""  # MLflow's name of it: a metric key, or a param
    epoch: int | None = None  # the first one that differs; None: the value itself is not kept there, or has no epoch
    expected: str
    found: str
    more: int = 0  # other epochs of the same path that differ

    def __str__(self) -> str:
        key = f" (MLflow's {self.key})" if self.key and self.key != self.path else ""
        epoch = "" if self.epoch is None else f" at epoch {self.epoch}"
        more = f", and {self.more} more there" if self.more else ""
        where = f"{self.path}{key}{epoch} in the {self.place}" if self.path else f"the {self.place}"
        return f"{where}: expected {self.expected}, found {self.found}{more}"


class LeftOut(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that MLflow has of a run and the published history has not."""

    what: str
    count: int | None = None  # None: no one counted, because it was not read
    kept_in: KeptIn
    why: str
    names: list[str] = []  # the metric keys or tags, the first of them


class VerifiedRun(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One run's line. Counts and digests are of what was read of it: `keys_read`."""

    quick_test_id: int
    mlflow_run_id: str
    state: State
    reason: str = ""
    name: str = ""
    experiment: str = ""
    mlflow_status: str = ""
    deleted: bool = False  # in MLflow: the run, or its experiment
    keys_read: Literal["none", "charted", "all"] = "none"
    compared: list[Place] = []
    kept_in_full: bool = False  # its training_metrics.json holds every epoch of every key, and was compared
    epochs: int = 0
    keys: int = 0
    points: int = 0
    source_digest: str = ""
    charted_digest: str = ""  # made of MLflow's points again
    full_digest: str = ""  # the same; empty if only charted keys were read
    published_digest: str = ""  # `charted`, as it is published
    left_out: list[LeftOut] = []
    differences: list[Difference] = []

    def __str__(self) -> str:
        of = f"quick test {self.quick_test_id} (MLflow run {self.mlflow_run_id or 'unknown'}) {self.state}"
        named = sorted(self.differences, key=_to_rank)
        shown = "; ".join(map(str, named[:3]))
        more = f"; and {len(named) - 3} more differences" if len(named) > 3 else ""
        return ": ".join(filter(None, (of, self.reason, shown + more)))


def _to_rank(found: Difference) -> tuple[bool, ...]:
    """Returns the rank of a difference: what says most goes first.

    A row that names another run explains the rest; a value says more than a digest.
    """
    return found.place != "row", found.place == "digests", found.epoch is None, not found.key


class UnknownRun(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A run of MLflow that no row names."""

    mlflow_run_id: str
    name: str
    experiment: str
    deleted: bool = False


def count_others(unknown: Sequence[UnknownRun], has: Callable[[str], bool]) -> dict[str, int]:
    """Returns how many runs no row names, by experiment, of the experiments that are not asked about."""
    return dict(Counter(run.experiment for run in unknown if not has(run.experiment)))
