"""Verify's outside effects: a task is one query, or one batch of runs; never one run."""

import hashlib
import platform
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import datetime
from importlib.metadata import version

from switchyard.clients.connect import connect
from switchyard.core.backfill.rows import BackfillRow
from switchyard.core.ports import ABSENT
from switchyard.core.verify.batches import VerifyBatch
from switchyard.core.verify.findings import KIND, UnknownRun, VerifiedRun
from switchyard.core.verify.kinds import KindFound, KindName
from switchyard.core.verify.manifest import Manifest, SourceOfTruth, to_json
from switchyard.core.verify.models import VerifiedModels
from switchyard.services import verify as verifying
from tasks.policy import effect


def is_mlflow_named() -> bool:
    """Returns True if the settings name an MLflow. Not an effect: only settings are read."""
    settings = connect().settings
    return bool(settings.mlflow_backend_store_uri or settings.mlflow_tracking_uri)


@effect
def read_source(export_uri: str) -> SourceOfTruth:
    """Says what the runs are compared with, and which results database they are in."""
    outside = connect()
    with closing(outside.open_tracking(export_uri)) as tracking:
        described = tracking.describe()
    return SourceOfTruth(
        described=described,
        database_id=outside.runs.read_database_id(),
        versions={"switchyard": version("switchyard"), "python": platform.python_version()},
    )


@effect
def list_rows() -> list[BackfillRow]:
    """Lists every row, and what is published of it."""
    return connect().ledger.list_backfill()


@effect
def list_unknown_runs(experiments: Sequence[str], export_uri: str) -> list[UnknownRun]:
    """Lists the MLflow runs that no row names; raises if no experiment has one of the names."""
    return verifying.list_unknown(connect(), experiments=experiments, export_uri=export_uri)


@effect
def count_kinds(
    export_uri: str,
    kept_export_uri: str,
    models: VerifiedModels | None,
    others: Mapping[str, int],
    give_up: Sequence[KindName],
) -> tuple[list[KindFound], list[str]]:
    """Counts what the store holds besides runs, what of that is kept nowhere else, and what could not be counted."""
    return verifying.count_kinds(
        connect(), export_uri=export_uri, kept_export_uri=kept_export_uri, models=models, others=others, give_up=give_up
    )


@effect
def verify_batch(batch: VerifyBatch) -> list[VerifiedRun]:
    """Compares the batch's runs, and writes their ledger lines. After an interruption a retry goes on where it was."""
    return verifying.verify_rows(
        connect(), batch.rows, whole=batch.whole, export_uri=batch.export_uri, found_kind=batch.found_kind
    )


@effect
def give_up_batch(batch: VerifyBatch, error: str) -> list[VerifiedRun]:
    """Writes in the ledger why the rest of the batch could not be read. A second call writes the same."""
    return verifying.give_up_rows(connect(), batch.rows, error, found_kind=batch.found_kind)


@effect
def forget_found(key: str, now: datetime) -> None:
    """Clears what the tries have found of the verify that has `key`. A second call does nothing."""
    verifying.forget_found(connect(), key, now=now)


@effect
def write_manifest(manifest: Manifest) -> str:
    """Writes the manifest and returns its URI.

    Its name has its time and its content's digest, so a second call finds the file of the first.
    """
    outside, data = connect(), to_json(manifest)
    name = f"{KIND}-{manifest.verified_at:%Y%m%dT%H%M%SZ}-{hashlib.sha256(data).hexdigest()[:12]}.json"
    uri = f"{outside.settings.artifacts_uri}/manifests/{name}"
    outside.objects(uri).write(uri, data, if_generation=ABSENT)
    return uri


def count_verified(since: datetime) -> int | None:
    """Counts the runs that have their ledger line; None: not known just now.

    It is not a task: only a progress bar depends on it.
    """
    return verifying.count_lines(connect(), since)
