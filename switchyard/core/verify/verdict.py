"""Whether MLflow may be deleted, in plain words."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec

from switchyard.core.verify.batches import Scope
from switchyard.core.verify.findings import State, UnknownRun, VerifiedRun
from switchyard.core.verify.kinds import KindFound


class Verdict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether MLflow may be deleted, in plain words."""

    safe: bool
    says: str
    not_safe: list[str] = []  # one reason each
    lost: list[str] = []  # what goes with it even so


BEYOND_RUNS: Final = (
    "tags that MLflow sets itself, the time of each point, and values that were logged before another of the same key "
    "and step"
)
"""What MLflow holds of a run that no published history has; docs/mapping.md. What it holds besides runs is counted:
`core.verify.kinds`."""


_UNSAFE: Final = {
    State.DIFFERS: "differ from MLflow",
    State.MISSING: "are not in MLflow (any more), so that nothing could be compared",
    State.UNREAD: "could not be read or compared",
    State.LEGACY: "have a history of the legacy application, which cannot be compared; publish them again with "
    "switchyard backfill --force",
    State.UNPUBLISHED: "have nothing published; see switchyard backfill --dry-run",
    State.RUNNING: "have a job at work",
}


def to_verdict(
    runs: Sequence[VerifiedRun],
    unknown: Sequence[UnknownRun],
    *,
    scope: Scope,
    from_export: bool,
    kinds: Sequence[KindFound] = (),
    untold: Sequence[str] = (),
) -> Verdict:
    """Returns whether MLflow may be deleted, and why not.

    It may if it was looked at whole, has no run that MLflow alone could tell of, and is kept in full: in each run's
    ``training_metrics.json``, or in the export that it was compared with. An export also keeps what is never published:
    runs of bins of histograms alone, and runs that someone has deleted. Of what the store holds besides, `kinds`, each
    must be kept elsewhere or given up by name.

    Args:
        unknown: also those of experiments that were not asked about, which are one of the `kinds`.
        untold: what no one could count, because the way that the store was read shows nothing of it.
    """
    found = Counter(run.state for run in runs)
    unknown = [run for run in unknown if scope.has(run.experiment)]
    not_safe = [f"{found[state]} runs {words}" for state, words in _UNSAFE.items() if found[state]]
    if not scope.is_all:
        not_safe.append("only some of the runs were looked at (quick_test_id, limit)")
    elif live := sum(not run.deleted for run in unknown):
        not_safe.append(
            f"{live} runs of MLflow are known to no row (`unknown_runs`); publish them with switchyard "
            "backfill --adopt --status all, or name the experiments that count"
        )
    if not from_export:
        not_safe += _list_export_only(
            found[State.UNCHARTED], sum(run.deleted for run in unknown) if scope.is_all else 0
        )
    sampled = sum(run.state is State.VERIFIED and not run.kept_in_full for run in runs)
    if sampled and not from_export:
        not_safe.append(
            f"{sampled} verified runs are published but not kept in full (no histograms, or series of "
            "version 1); write their training_metrics.json with switchyard backfill --full, or keep an export: "
            "switchyard export"
        )
    not_safe += [str(kind) for kind in kinds if not kind.is_safe]
    lost = [] if from_export else [BEYOND_RUNS]
    lost += [f"{kind.kind}, given up by name: {kind.words_missing}" for kind in kinds if kind.given_up]
    lost += untold
    if not_safe:
        says = "It is NOT safe to delete this MLflow store: `not_safe` says why."
    elif from_export:
        says = "It is safe to delete the MLflow store as it was when it was exported, as long as the export is kept"
        says += ", if what `lost` names is not needed." if lost else "."
    else:
        says = "It is safe to delete this MLflow store if what `lost` names is not needed; an export would keep it."
    return Verdict(safe=not not_safe, says=says, not_safe=not_safe, lost=lost)


def _list_export_only(uncharted: int, deleted: int) -> list[str]:
    """Returns what no backfill publishes, so that only an export keeps it."""
    keep = "keep an export, and verify it: switchyard verify --export-uri"
    found = {
        f"{uncharted} runs have the bins of histograms alone, so that nothing of them is published": uncharted,
        f"{deleted} runs that are deleted in MLflow are known to no row (`unknown_runs`)": deleted,
    }
    return [f"{words}; {keep}" for words, count in found.items() if count]
