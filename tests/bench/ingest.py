"""CPU of one ingest without Prefect: the bytes of a 50-epoch run with all statistics to its published history."""

import random
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from switchyard.core.history.publishing import to_publication
from switchyard.core.metrics.reading import read_record
from switchyard.core.metrics.record import (
    GRADIENT_SERIES,
    HISTOGRAM_BINS,
    LOSS_SERIES,
    TOWERS,
    Histogram,
    MetricsRecord,
    RunIdentity,
    Sampling,
    TowerStatistics,
)
from switchyard.core.metrics.writing import to_json
from switchyard.core.runs.rows import NewRun, RunStatus

EPOCHS = 50
REPEATS = 200
WARM_UP = 20
LIMIT_MS = 5.0


def make_run(epochs: int = EPOCHS, *, metrics: int = 100, seed: int = 7) -> MetricsRecord:
    """A run with everything a trainer may log, with as many keys as a legacy MLflow run (134).

    It has six losses, three norms, both towers' statistics, four histograms, and `metrics` further series.
    """
    made_up = random.Random(seed)

    def series() -> list[float | None]:
        return [made_up.gauss(1, 0.3) for _ in range(epochs)]

    def tower(*more: str) -> TowerStatistics:
        edges = [-1 + 2 * edge / HISTOGRAM_BINS for edge in range(HISTOGRAM_BINS + 1)]
        counts: list[list[int | None] | None] = [
            [made_up.randrange(1_000_000) for _ in range(HISTOGRAM_BINS)] for _ in range(epochs)
        ]
        return TowerStatistics(
            series={name: series() for name in ("mean", "std", "min", "max", "norm", *more)},
            histogram=Histogram(bin_edges=edges, edges_known="all", counts=counts),
        )

    return MetricsRecord(
        status="completed",
        saved_at=datetime(2026, 1, 15, 10, 30, tzinfo=UTC),
        run=RunIdentity(quick_test_id=1, key="bench", attempt=1, restart=0),
        epochs=list(range(epochs)),
        loss={name: series() for name in LOSS_SERIES},
        gradient={name: series() for name in GRADIENT_SERIES},
        weight_stats={name: tower() for name in TOWERS},
        gradient_stats={name: tower("touched_fraction") for name in TOWERS},
        metrics={f"metric_{number}": series() for number in range(metrics)},
        final_metrics={f"test_recall_at_{k}": made_up.random() for k in (5, 10, 50, 100)},
        params={"epochs": epochs, "batch_size": 2048, "learning_rate": 0.1, "optimizer": "adagrad"},
    )


def main() -> dict[str, float]:
    """Prints the table, and returns its figures: milliseconds of CPU, the median of `REPEATS`, by step."""
    data = to_json(make_run())
    record = read_record(data, where="the bench's file")
    figures = {
        "read": _measure_ms(lambda: read_record(data, where="the bench's file")),
        "build the publication": _measure_ms(lambda: _build(record, 1)),
        "publish on SQLite": _measure_publish_ms(),
    }
    figures["ingest to published"] = sum(figures.values())
    print(f"one ingest of a {EPOCHS}-epoch run ({len(data):,} bytes), CPU, median of {REPEATS}:")
    for step, figure_ms in figures.items():
        print(f"  {step:<24}{figure_ms:8.2f} ms")
    print(f"  {'asked for: at most':<24}{LIMIT_MS:8.2f} ms")
    return figures


def _build(record: MetricsRecord, quick_test_id: int) -> object:
    return to_publication(record, quick_test_id=quick_test_id, source="file", sampling=Sampling())


def _measure_publish_ms() -> float:
    """Each time another run's first publish into a database file, the costliest kind."""
    from switchyard.clients.results.migrate import migrate
    from switchyard.clients.results.open import open_results
    from switchyard.clients.settings import read_settings

    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'results.db'}"
        migrate(read_settings({"RESULTS_URL": url, "STATE_DIR": folder}))
        results = open_results(url)
        now = datetime.now(UTC)
        record = make_run()
        publications = []
        for number in range(REPEATS + WARM_UP):
            run = results.runs.create_run(NewRun(request_key=f"bench-{number}"), now=now)
            publications.append(
                to_publication(
                    record, quick_test_id=run.id, source="file", sampling=Sampling(), row_status=RunStatus.COMPLETED
                )
            )
        waiting = iter(publications)
        return _measure_ms(lambda: results.histories.publish(next(waiting), now=now))


def _measure_ms(work: Callable[[], object]) -> float:
    """The median CPU time of this process, over repeats that come one by one: other processes do not count."""
    for _ in range(WARM_UP):
        work()
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return statistics.median(times) * 1e3


if __name__ == "__main__":
    main()
