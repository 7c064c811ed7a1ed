"""Verify: proves that what is published and kept of every run is what MLflow says of it, value by value.

switchyard/core/verify/run.py says what is compared. switchyard/core/verify/manifest.py says what is written down of it,
for people who delete MLflow later. It changes nothing but the ledger (kind ``verify``).
"""

from datetime import UTC, datetime
from typing import Any, Final, TypeGuard
from uuid import uuid4

from prefect import flow
from prefect.futures import PrefectConcurrentFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows.answers.verify import NOTHING_TO_VERIFY, VerifyFailed, VerifyResult, to_result, to_table
from flows.mlflow_parameters import VerifyParameters
from flows.progress.batches import Watch
from flows.signatures import takes
from flows.steps.imported_models import verify_models
from switchyard.core.errors import NotFound, SwitchyardError, TryAgain, to_message
from switchyard.core.verify.batches import Scope, VerifyBatch, to_batches
from switchyard.core.verify.findings import VerifiedRun, count_others
from switchyard.core.verify.manifest import to_manifest
from tasks.show import BatchProgress, name_flow_run, show_verify
from tasks.verify import (
    count_kinds,
    count_verified,
    forget_found,
    give_up_batch,
    is_mlflow_named,
    list_rows,
    list_unknown_runs,
    read_source,
    verify_batch,
    write_manifest,
)

CHARTED_BATCH: Final = 5_000
"""One query over the index of the charted keys reads this many runs; more batches would pass that index again."""
WHOLE_BATCH: Final = 250
"""Reading all points goes 25 runs a query, so that a batch is as long as a retry may take."""


@flow(name="verify")
@takes(VerifyParameters)
def verify(wanted: VerifyParameters) -> VerifyResult:
    """Compares every run that has an MLflow run, and writes the manifest.

    It compares all before it fails. It names the runs that differ, are gone from MLflow, or could not be read, and the
    imported models that differ from MLflow's registry.
    """
    name_flow_run(f"verify quick-test-{wanted.quick_test_id}" if wanted.quick_test_id else "verify")
    started = datetime.now(UTC)
    key = uuid4().hex  # not the flow run's id: a flow run that is started again compares again, and says when
    scope = Scope(
        quick_test_id=wanted.quick_test_id,
        limit=wanted.limit,
        experiments=list(wanted.experiments),
        whole=wanted.whole,
    )
    batches = to_batches(
        list_rows(), scope, wanted.export_uri, key=key, charted_size=CHARTED_BATCH, whole_size=WHOLE_BATCH
    )
    if wanted.quick_test_id and not batches:
        raise NotFound(f"quick test {wanted.quick_test_id} has no MLflow run to verify")
    if not batches and not wanted.export_uri and not is_mlflow_named():
        return NOTHING_TO_VERIFY  # a team without MLflow has the weekly deployment too
    source = read_source(wanted.export_uri)
    unknown = list_unknown_runs(wanted.experiments, wanted.export_uri) if scope.is_all else []
    runs = _verify(batches, started, wanted.concurrency)
    models = verify_models(wanted.export_uri) if wanted.models and scope.is_all else None
    others = count_others(unknown, scope.has)
    kinds, untold = (
        count_kinds(wanted.export_uri, wanted.kept_export_uri, models, others, wanted.give_up)
        if scope.is_all
        else ([], [])
    )
    manifest = to_manifest(
        runs,
        unknown,
        source,
        scope=scope,
        verified_at=started,
        from_export=bool(wanted.export_uri),
        models=models,
        kinds=kinds,
        untold=untold,
    )
    result = to_result(manifest, write_manifest(manifest))
    forget_found(key, datetime.now(UTC))
    show_verify(to_table(result))
    if result.failed or result.failed_models or (wanted.require_safe and not result.safe):
        raise VerifyFailed(result)
    return result


def _verify(batches: list[VerifyBatch], since: datetime, concurrency: int) -> list[VerifiedRun]:
    """Verifies all batches, `concurrency` at once.

    A batch that is given up leaves its reason on the line of each of its runs.
    """
    runs: list[VerifiedRun] = []
    if not batches:
        return runs
    total = sum(len(batch.rows) for batch in batches)
    watch = Watch("verify", total, lambda: count_verified(since), BatchProgress("verify", "compared").show)
    runner: TaskRunner[PrefectConcurrentFuture[Any]] = ThreadPoolTaskRunner(max_workers=concurrency)
    with runner:
        futures = [(batch, runner.submit(verify_batch, {"batch": batch})) for batch in batches]
        for batch, future in futures:
            watch.wait(future)
            found = future.result(raise_on_failure=False)
            if isinstance(found, TryAgain) or _is_unforeseen(found):
                found = give_up_batch(batch, to_message(found))
            elif isinstance(found, BaseException):
                raise found
            runs += found
    watch.end(total)
    return runs


def _is_unforeseen(found: object) -> TypeGuard[Exception]:
    """Returns True for an error that was not raised on purpose.

    It is the trouble of this batch, and not of the setup that all share.
    """
    return isinstance(found, Exception) and not isinstance(found, SwitchyardError)
