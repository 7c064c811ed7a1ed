"""What `artifacts plan`, `copy` and `verify` answer, and how it is shown."""

from collections.abc import Sequence
from typing import Any

import msgspec

from switchyard.core.artifacts.copies import RunCopied, RunVerified
from switchyard.core.artifacts.owners import say_owner
from switchyard.core.artifacts.plan import RunPlan, Totals, to_totals
from switchyard.core.errors import SwitchyardError

_SHOWN = 20
_COPIED = ("copied", "unchanged", "nothing", "partial", "failed")
_VERIFIED = ("kept", "partial", "nothing", "differs", "missing", "unread")


class PlanResult(msgspec.Struct, frozen=True, kw_only=True):
    """The artifacts, run by run, and all together."""

    to_uri: str
    totals: Totals
    runs: list[RunPlan]

    @property
    def counts(self) -> list[tuple[str, str]]:
        """Counts all runs together."""
        totals = self.totals
        return [
            ("runs", f"{totals.runs:,}"),
            ("objects", f"{totals.objects:,}"),
            ("bytes", f"{totals.size_bytes:,}"),
            ("objects to copy", f"{totals.to_copy:,}"),
            ("bytes to copy", f"{totals.to_copy_bytes:,}"),
            ("objects that will be left out", f"{totals.left_out:,}"),
            ("runs to copy", f"{totals.to_copy_runs:,}"),
            ("runs copied already", f"{totals.copied_runs:,}"),
            ("runs without artifacts", f"{totals.empty_runs:,}"),
            ("runs that cannot be reached", f"{totals.unreachable_runs:,}"),
        ]

    @property
    def notes(self) -> list[str]:
        """Says what cannot be reached or copied, and why."""
        said = [
            f"cannot be reached: {_name(run)}, {run.place or 'no place'}: {run.reason}"
            for run in self.runs
            if run.state == "unreachable"
        ]
        said += [f"will be left out: {_name(run)}: {one}" for run in self.runs for one in run.left_out]
        return [*_cut(said), f"copies: {self.to_uri}"]


class CopyResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of each run's artifacts."""

    to_uri: str
    runs: list[RunCopied]

    @property
    def failed(self) -> list[RunCopied]:
        """Returns the runs that have artifacts which are not kept."""
        return [run for run in self.runs if run.state in ("partial", "failed")]

    @property
    def counts(self) -> list[tuple[str, str]]:
        """Counts all runs together."""
        states: list[str] = [run.state for run in self.runs]
        return [
            ("runs", f"{len(self.runs):,}"),
            *((f"runs {state}", f"{states.count(state):,}") for state in _COPIED),
            ("objects kept", f"{sum(run.objects for run in self.runs):,}"),
            ("bytes kept", f"{sum(run.size_bytes for run in self.runs):,}"),
            ("objects copied now", f"{sum(run.copied for run in self.runs):,}"),
            ("bytes copied now", f"{sum(run.copied_bytes for run in self.runs):,}"),
            ("objects left out", f"{sum(len(run.failed) for run in self.runs):,}"),
        ]

    @property
    def notes(self) -> list[str]:
        """Says what is not kept, and why."""
        return [*_cut([f"{_name(run)}: {run.problem}" for run in self.failed]), f"copies: {self.to_uri}"]


class VerifyArtifactsResult(msgspec.Struct, frozen=True, kw_only=True):
    """Which parts of each run's copy are whole."""

    to_uri: str
    runs: list[RunVerified]

    @property
    def failed(self) -> list[RunVerified]:
        """Returns the runs with artifacts that are not all kept."""
        return [run for run in self.runs if run.state not in ("kept", "nothing")]

    @property
    def counts(self) -> list[tuple[str, str]]:
        """Counts all runs together."""
        states: list[str] = [run.state for run in self.runs]
        return [
            ("runs", f"{len(self.runs):,}"),
            *((f"runs {state}", f"{states.count(state):,}") for state in _VERIFIED),
            ("objects", f"{sum(run.objects for run in self.runs):,}"),
            ("bytes", f"{sum(run.size_bytes for run in self.runs):,}"),
        ]

    @property
    def notes(self) -> list[str]:
        """Says what is not kept."""
        said = [f"{_name(run)} {run.state}: {run.problem}" for run in self.failed]
        return [*_cut(said), f"copies: {self.to_uri}"]


class ArtifactsFailed(SwitchyardError):
    """Some artifacts are not kept; `result` says which, and what became of the others."""

    def __init__(self, result: CopyResult | VerifyArtifactsResult, what: str, then: str) -> None:
        self.result = result
        said = "; ".join(result.notes[:-1])
        super().__init__(f"the artifacts of {len(result.failed)} of {len(result.runs)} runs {what}: {said}. {then}")


def to_plan_result(to_uri: str, plans: Sequence[RunPlan]) -> PlanResult:
    """Returns the answer of `artifacts plan`, from the plans of all runs."""
    return PlanResult(to_uri=to_uri, totals=to_totals(plans), runs=list(plans))


def to_rows(result: PlanResult | CopyResult | VerifyArtifactsResult) -> list[dict[str, Any]]:
    """Returns a table's rows: the counts, and what someone must look at."""
    rows = [{"what": name, "value": value} for name, value in result.counts]
    return [*rows, *({"what": "note", "value": said} for said in result.notes)]


def _name(run: RunPlan | RunCopied | RunVerified) -> str:
    ids = ", ".join(str(id_) for id_ in run.quick_test_ids)
    return f"quick test {ids}" if ids else say_owner(run.mlflow_run_id)


def _cut(said: Sequence[str]) -> list[str]:
    more = len(said) - _SHOWN
    return [*said[:_SHOWN], *([f"and {more:,} more; --json shows all"] if more > 0 else [])]
