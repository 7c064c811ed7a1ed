"""What the results database keeps of a run, whole and right by default; each test names what differs."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from switchyard.core.history.publishing import Source, to_publication
from switchyard.core.metrics.record import MetricsRecord, Sampling
from switchyard.core.mlflow.mapping import from_points
from switchyard.core.mlflow.raw_run import RawRun
from switchyard.core.verify.kept_run import KeptRun
from tests.core.mlflow.factories import INF, make_points, make_run

ID = 12
"""The quick test id of a run that `tests.core.metrics.factories` makes a file of."""
CACHED_AT = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
RUN = make_run({"loss": make_points((0, 1.0), (1, INF), (2, 0.5))})
RUN_ID = RUN.info.run_id


def make_kept(
    record: MetricsRecord | None = None,
    *,
    run: RawRun = RUN,
    source: Source = "mlflow",
    interval: int = 1,
    named: str = RUN_ID,
    **changes: Any,
) -> KeptRun:
    """As publishing `record` (that of `run`) keeps it; `named` is the MLflow run in the history."""
    published = to_publication(
        record or from_points(run),
        quick_test_id=ID,
        source=source,
        sampling=Sampling(interval=interval),
        mlflow_run_id=named,
    )
    values: dict[str, Any] = {
        "quick_test_id": ID,
        "mlflow_run_id": RUN_ID,
        "history_text": msgspec.json.encode(published.history | {"cached_at": CACHED_AT}).decode(),
        "digests": published.digests,
        "cached_at": CACHED_AT,
        "histograms": published.histograms,
        "series": published.series,
        "values": published.values,
    }
    return KeptRun(**(values | changes))


def with_history(kept: KeptRun, damage: Callable[[dict[str, Any]], object]) -> KeptRun:
    """Its history, after `damage` has changed it in place."""
    history = read_history(kept)
    damage(history)
    return msgspec.structs.replace(kept, history_text=json.dumps(history))


def read_history(kept: KeptRun) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(kept.history_text or "")
    return found
