"""Finds what a run's newest job left: its metrics file, or else its MLflow run.

The MLflow run is named by the row, or by mlflow_info.json beside the run's files.
"""

import msgspec
from prefect import get_run_logger

from switchyard.core.backfill.mapped import to_first_digests_of, to_record
from switchyard.core.errors import BadRecord, BadSetup, NotFound
from switchyard.core.history.asked_rules import choose_rules
from switchyard.core.history.following import to_parent
from switchyard.core.history.publication import Digests, Parent, Versions
from switchyard.core.history.publishing import Source
from switchyard.core.metrics.reading import read_record
from switchyard.core.metrics.record import MetricsRecord
from switchyard.core.mlflow.facts import to_parent_run_id, to_user_tags
from switchyard.core.mlflow.raw_run import RawRun
from switchyard.core.mlflow.sources import MlflowChoice, MlflowInfo, choose_mlflow, read_mlflow_info, to_shown_uri
from switchyard.core.runs.ownership import from_tags, is_of_job
from switchyard.core.runs.rows import Job, QuickTest
from tasks.ingest import read_metrics_file, read_mlflow_info_file, read_mlflow_run
from tasks.publish import read_rules
from tasks.runs import find_mlflow_runs, record_mlflow_run


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """The metrics of the run's newest job, and where they were; no record if it left none."""

    record: MetricsRecord | None
    source: Source = "file"
    mlflow_run_id: str = ""  # whichever the source is
    versions: Versions = Versions()
    first_digests: Digests | None = None  # of an MLflow run, by the first versions
    tags: dict[str, str] = {}  # a user's own, of the MLflow run
    parent: Parent | None = None  # that it is nested in
    missing: str = ""  # that there is no metrics file, in words
    why: str = ""  # why its MLflow run gave nothing


def find_metrics(run: QuickTest, job: Job | None, *, rules: str = "") -> Found:
    """Finds what `run`'s newest job left.

    It writes the MLflow run that is most likely the run's own on the row, even if the file is what counts.

    Args:
        rules: a team's own, for the names of an MLflow run's metrics; empty: those that the run had.

    Raises:
        BadRecord, BadRequest: what goes first is there, and is refused.
        BadSetup: there is no file, and the MLflow that has the run cannot be read with these settings.
    """
    info, refusal = _read_info(run)
    choice = choose_mlflow(run.mlflow_run_id, info, trained_here=job is not None)
    if choice.run_ids and choice.run_ids[0] != run.mlflow_run_id:
        record_mlflow_run(run.id, choice.run_ids[0])
    missing = ""
    try:
        record, is_own = _read_file(run, job)
    except NotFound as err:
        missing, is_own = str(err), False
    if not is_own and not choice.run_ids:
        if refusal:
            raise refusal
        return Found(record=None, missing=missing)
    warning = str(refusal or "") or choice.warning
    if warning:
        get_run_logger().warning("quick test %s: %s", run.id, warning)
    if is_own:
        # A training that ended before its first epoch says so in a file without any: there is nothing to read in it.
        kept = record if record.epochs or record.available else None
        return Found(record=kept, mlflow_run_id=next(iter(choice.run_ids), ""))
    versions = Versions(rules=choose_rules(rules, read_rules(run.id)))
    return _read_mlflow(run, job, choice, versions, _to_elsewhere(info), missing)


def _read_info(run: QuickTest) -> tuple[MlflowInfo | None, BadRecord | None]:
    """Returns what mlflow_info.json says, or why it is refused; neither if there is none."""
    if not run.gcs_artifacts_path:
        return None, None
    uri = f"{run.gcs_artifacts_path.rstrip('/')}/mlflow_info.json"
    try:
        data = read_mlflow_info_file(uri)
        where = f"mlflow_info.json of quick test {run.id} ({uri})"
        return (read_mlflow_info(data, where=where) if data is not None else None), None
    except BadRecord as err:
        return None, err


def _read_file(run: QuickTest, job: Job | None) -> tuple[MetricsRecord, bool]:
    """Returns the metrics file's record, and whether it is of the run's newest job.

    An earlier attempt may have left it.
    """
    if not run.gcs_artifacts_path:
        raise NotFound(
            f"quick test {run.id} has no gcs_artifacts_path, so there is no training_metrics.json to read. "
            f"Write its folder's URI on the row, then run: switchyard ingest {run.id}"
        )
    uri = f"{run.gcs_artifacts_path.rstrip('/')}/training_metrics.json"
    where = f"training_metrics.json of quick test {run.id} ({uri})"
    record = read_record(read_metrics_file(uri), where=where)
    return record, is_of_job(record.run, run.id, job, where=where)


def _to_elsewhere(info: MlflowInfo | None) -> str:
    # A writer of files beside a run's own must not be able to send us, or a token of ours, to an address of theirs.
    if info is None or not info.tracking_uri:
        return ""
    return (
        f"; mlflow_info.json says that it is at {to_shown_uri(info.tracking_uri)}, but only the MLflow that "
        "MLFLOW_BACKEND_STORE_URI or MLFLOW_TRACKING_URI names is ever read"
    )


def _read_mlflow(
    run: QuickTest, job: Job | None, choice: MlflowChoice, versions: Versions, elsewhere: str, missing: str
) -> Found:
    problems = []
    for run_id in choice.run_ids:
        where = f"MLflow run {run_id} of quick test {run.id}"
        try:
            raw = read_mlflow_run(run_id)
        except NotFound as err:
            problems.append(f"{where} is not there: {err}{elsewhere}")
            continue
        except BadSetup as err:
            raise BadSetup(f"{where} cannot be read, and there is no metrics file: {err}{elsewhere}") from err
        if not is_of_job(from_tags(raw.tags), run.id, job, where=where):
            problems.append(f"{where} is an earlier attempt's")
            continue
        record = to_record(raw, versions)
        if not record.available:
            problems.append(f"{where} holds no metric and no param")
            continue
        if run_id != choice.run_ids[0]:
            record_mlflow_run(run.id, run_id)
        return Found(
            record=record,
            source="mlflow",
            mlflow_run_id=run_id,
            versions=versions,
            first_digests=to_first_digests_of(raw),
            tags=to_user_tags(raw.tags),
            parent=_find_parent(raw),
        )
    return Found(record=None, missing=missing, why="; ".join(problems))


def _find_parent(raw: RawRun) -> Parent | None:
    """Finds the run that it is nested in, with the parent's row if one is known."""
    parent = to_parent(to_parent_run_id(raw.tags))
    if parent is None:
        return None
    rows = find_mlflow_runs([parent.mlflow_run_id])
    return msgspec.structs.replace(parent, quick_test_id=rows.get(parent.mlflow_run_id))
