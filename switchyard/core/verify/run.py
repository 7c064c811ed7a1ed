"""Verifies one run: whether there is something to compare, and what the comparison (`core.verify.comparison`) found."""

import json
from typing import Any, Final

import msgspec

from switchyard.core.backfill.mapped import to_record
from switchyard.core.backfill.plan import BACKFILLED
from switchyard.core.errors import BadRecord, BadRequest, NotFound, SwitchyardError, catch
from switchyard.core.history.publication import FIRST_VERSIONS, Versions
from switchyard.core.history.version1 import to_digests_of
from switchyard.core.metrics.record import MetricsRecord
from switchyard.core.mlflow.raw_run import LostRun, RawRun, to_source_digest
from switchyard.core.verify.comparison import Comparison, Source
from switchyard.core.verify.findings import State, VerifiedRun
from switchyard.core.verify.kept_run import KeptRun

_OURS: Final = ("schema_version", "digest")
"""A stored history with one of these keys was published by Switchyard."""


def verify_run(
    kept: KeptRun, found: RawRun | LostRun, file: bytes | SwitchyardError | None, *, is_filed: bool = False
) -> VerifiedRun:
    """Returns what became of one run.

    Args:
        kept: all that the results database has of it.
        found: the run as MLflow has it, read whole where more than charted series is kept.
        file: its ``training_metrics.json``, or why it could not be read; None: it was not looked for.
        is_filed: backfill has written that file, so that it must be there.
    """
    line = VerifiedRun(quick_test_id=kept.quick_test_id, mlflow_run_id=to_run_id(kept), state=State.VERIFIED)
    history = _read_history(kept)
    state, reason = _judge_unpublished(kept, history)
    if isinstance(found, LostRun):
        gone = isinstance(found.error, NotFound)
        told = "; ".join(filter(None, (str(found.error), reason)))
        return _replace(line, state=State.MISSING if gone else State.UNREAD, reason=told)
    line = _add_source(line, found)
    try:
        # Where nothing is published, whether there is something to publish is today's question.
        versions = kept.versions if kept.digests is not None else _to_versions(history)
        if not _has_ruled_names(history, file, is_filed=is_filed):
            versions = msgspec.structs.replace(versions, rules="")
        record = to_record(found, versions)
    except (BadRecord, BadRequest) as err:
        return _replace(line, state=State.UNREAD, reason=str(err))
    digests = to_digests_of(versions, record)
    line = _replace(line, epochs=len(record.epochs), charted_digest=digests.charted, full_digest=digests.full or "")
    if state is State.UNPUBLISHED and not record.available:
        return _judge_empty(line, record)
    if state is not State.VERIFIED or history is None:
        return _replace(line, state=state, reason=reason)
    kept = msgspec.structs.replace(kept, versions=versions)
    return Comparison(kept, history, Source(found, record, digests), file, is_filed=is_filed).judge(line)


def _has_ruled_names(history: dict[str, Any] | None, file: bytes | SwitchyardError | None, *, is_filed: bool) -> bool:
    """Returns False of a history of a trainer's own file, which has the trainer's names.

    One that backfill has made of MLflow has the rules' names.
    """
    if history is None or history.get("source") != "file" or is_filed or not isinstance(file, bytes):
        return True
    said = catch(lambda: msgspec.json.decode(file, type=_OfRun))
    return isinstance(said, _OfRun) and said.run is not None and said.run.key.startswith(BACKFILLED)


class _Key(msgspec.Struct):
    key: str = ""


class _OfRun(msgspec.Struct):
    run: _Key | None = None


def _to_versions(history: dict[str, Any] | None) -> Versions:
    """Returns the versions of a history with lost digests: those that publish such histories."""
    return FIRST_VERSIONS if history is not None and history.get("schema_version") == 1 else Versions()


def to_run_id(kept: KeptRun) -> str:
    """Returns the MLflow run to compare with: the row's, or where the row has lost it, the one in the history."""
    if kept.mlflow_run_id:
        return kept.mlflow_run_id
    history = _read_history(kept)
    found = history.get("mlflow_run_id") if history and any(name in history for name in _OURS) else ""
    return found if isinstance(found, str) else ""


def _read_history(kept: KeptRun) -> dict[str, Any] | None:
    """Reads the stored history; None: nothing is there, or nothing that can be read."""
    if kept.history_text is None:
        return None
    try:
        found = json.loads(kept.history_text)  # takes the tokens NaN and Infinity, which legacy payloads have
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _judge_unpublished(kept: KeptRun, history: dict[str, Any] | None) -> tuple[State, str]:
    """Judges what is stored before any comparison; VERIFIED: there is a history of ours, to be compared."""
    if kept.history_text is None:
        return State.UNPUBLISHED, "nothing is published"
    if history is None and kept.digests is None:
        return State.LEGACY, "what is stored is not a JSON object, and not Switchyard's"
    if history is not None and not any(name in history for name in _OURS):
        over = " over what Switchyard had published" if kept.digests else ""
        return State.LEGACY, f"the legacy application stored its history{over}"
    if kept.is_at_work:
        return State.RUNNING, "a job of it is at work; verify it when that has ended"
    if history is None:
        return State.DIFFERS, f"the stored history is not a JSON object: {kept.history_text[:80]!r}..."
    return State.VERIFIED, ""


def _judge_empty(line: VerifiedRun, record: MetricsRecord) -> VerifiedRun:
    """Judges a run of which nothing could be published."""
    if line.points:
        # Every other key is charted, and a param is enough to be published.
        reason = "nothing is published: it has the bins of histograms alone, and no epoch that they are of"
        return _replace(line, state=State.UNCHARTED, reason=reason)
    if record.charted_only:
        return _replace(line, state=State.UNPUBLISHED, reason="nothing is published, and its other keys were not read")
    return _replace(line, state=State.EMPTY, reason="nothing is published, and MLflow has not one point of it")


def _add_source(line: VerifiedRun, found: RawRun) -> VerifiedRun:
    info = found.info
    return _replace(
        line,
        name=info.name,
        experiment=info.experiment,
        mlflow_status=info.status,
        deleted="deleted" in (info.lifecycle, info.experiment_lifecycle),
        keys_read="all" if found.keys is None else "charted",
        keys=len(found.metrics),
        points=sum(len(points.steps) for points in found.metrics.values()),
        source_digest=to_source_digest(found),
    )


def _replace(line: VerifiedRun, **changes: Any) -> VerifiedRun:
    return msgspec.structs.replace(line, **changes)
