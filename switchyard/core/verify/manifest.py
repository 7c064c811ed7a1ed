"""The manifest of one verify: what was compared with what, what was found of each run, and whether MLflow may go.

docs/contracts.md describes the file. It is written once and read by people who can no longer ask MLflow.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal

import msgspec

from switchyard.core.errors import BadRecord
from switchyard.core.verify.batches import Scope
from switchyard.core.verify.findings import KeptIn, LeftOut, State, UnknownRun, VerifiedRun
from switchyard.core.verify.kinds import KindFound
from switchyard.core.verify.models import VerifiedModels
from switchyard.core.verify.verdict import Verdict, to_verdict

FORMAT: Final = 3
"""The format that is written. Format 1, which compared no series and no values, and format 2, which looked at runs
alone, can be read as well."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that one verify found. `counts` has the runs by state, and `epochs`, `keys`, `points` of what was read."""

    format: Literal[1, 2, 3] = FORMAT
    verified_at: datetime
    database_id: str
    compared_with: str
    from_export: bool
    versions: dict[str, str]
    scope: Scope
    verdict: Verdict
    counts: dict[str, int]
    left_out: list[LeftOut]  # summed over the runs
    runs: list[VerifiedRun]
    unknown_runs: list[UnknownRun]
    models: VerifiedModels | None = None  # None: they were not looked at
    kinds: list[KindFound] = []  # what the store holds besides runs


class SourceOfTruth(msgspec.Struct, frozen=True, kw_only=True):
    """What the runs are compared with, and by whom."""

    described: str
    database_id: str
    versions: dict[str, str]


def to_manifest(
    runs: Sequence[VerifiedRun],
    unknown: Sequence[UnknownRun],
    source: SourceOfTruth,
    *,
    scope: Scope,
    verified_at: datetime,
    from_export: bool,
    models: VerifiedModels | None = None,
    kinds: Sequence[KindFound] = (),
    untold: Sequence[str] = (),
) -> Manifest:
    """Returns the manifest of `runs`; histories that seem swapped are named on their lines.

    `kinds` and `untold` are as `to_verdict` takes them.
    """
    runs = name_swapped(sorted(runs, key=lambda run: run.quick_test_id))
    counts = Counter({state.value: 0 for state in State})
    for run in runs:
        counts.update({run.state.value: 1, "epochs": run.epochs, "keys": run.keys, "points": run.points})
    return Manifest(
        verified_at=verified_at,
        database_id=source.database_id,
        compared_with=source.described,
        from_export=from_export,
        versions=source.versions,
        scope=scope,
        verdict=to_verdict(runs, unknown, scope=scope, from_export=from_export, kinds=kinds, untold=untold),
        counts={"runs": len(runs), "unknown": len(unknown), **counts},
        left_out=_sum_up(runs),
        runs=list(runs),
        unknown_runs=list(unknown),
        models=models,
        kinds=list(kinds),
    )


def name_swapped(runs: Sequence[VerifiedRun]) -> list[VerifiedRun]:
    """Returns `runs`; a line with a published digest of another run's points names that other run."""
    owners = {run.charted_digest: run for run in reversed(runs) if run.charted_digest}
    named = []
    for run in runs:
        other = owners.get(run.published_digest)
        if run.state is State.DIFFERS and other is not None and run.published_digest != run.charted_digest:
            reason = (
                f"what is published is what MLflow says of quick test {other.quick_test_id} (MLflow run "
                f"{other.mlflow_run_id}): the two are swapped, or one was published as the other"
            )
            run = msgspec.structs.replace(run, reason="; ".join(filter(None, (run.reason, reason))))
        named.append(run)
    return named


def _sum_up(runs: Sequence[VerifiedRun]) -> list[LeftOut]:
    """Returns what is left out, by what, where and why.

    The count is that of all runs; None if one run's is not known.
    """
    counts: dict[tuple[str, KeptIn, str], int | None] = {}
    for run in runs:
        for left in run.left_out:
            group = (left.what, left.kept_in, left.why)
            before = counts.get(group, 0)
            counts[group] = None if before is None or left.count is None else before + left.count
    return [LeftOut(what=what, kept_in=kept_in, why=why, count=count) for (what, kept_in, why), count in counts.items()]


def to_json(manifest: Manifest) -> bytes:
    """Returns the file: one line a run, so that it can be read with a pager, and grepped."""
    lines = []
    for name, value in msgspec.structs.asdict(manifest).items():
        found = msgspec.json.encode(value)
        if name in ("runs", "unknown_runs") and value:
            found = b"[\n" + b",\n".join(map(msgspec.json.encode, value)) + b"\n]"
        lines.append(b'"' + name.encode() + b'": ' + found)
    return b"{\n" + b",\n".join(lines) + b"\n}\n"


def read_manifest(data: bytes, where: str) -> Manifest:
    """Returns the manifest that `data` holds.

    Raises: BadRecord: it is not a manifest, or one of another format.
    """
    try:
        return msgspec.json.decode(data, type=Manifest)
    except msgspec.DecodeError as err:
        raise BadRecord(where, [f"it is not a manifest of verify, of format 1 to {FORMAT}: {err}"]) from err
