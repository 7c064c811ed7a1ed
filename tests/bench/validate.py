"""What a comparison of two models costs: processor time and memory of `services.validating.compare`, and of its parts.

Asking is also a ratio to the products of matrices that it cannot do without, row by row.

The case: BUYERS buyers, each with PURCHASES held-out purchases, among PRODUCTS products, DIM wide; two versions whose
files are on this machine's disk. Then ten times as many buyers, of whom as many are drawn.
"""

import os
import resource
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the task sets it, before numpy is loaded

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet

BUYERS, PRODUCTS, DIM, PURCHASES = 10_000, 10_000, 64, 5


def main() -> dict[str, float | str]:
    """Prints the table; returns seconds and MB."""
    import switchyard.services.validating as validating
    from switchyard.clients.objects.open import open_objects
    from switchyard.core.registry.held_out import Wish

    figures: dict[str, float | str] = {}
    for buyers in (BUYERS, 10 * BUYERS):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            models, uri = _make_world(folder, buyers)
            took: dict[str, float] = {}
            for part in ("_read_newer", "_open", "_choose_positives", "ask", "measure"):
                setattr(validating, part, _timed(getattr(validating, part), part, took))
            before_mb = _peak_mb()
            began_at, began_cpu = time.perf_counter(), time.process_time()
            found = validating.compare(
                validating.Ports(models, open_objects), Wish(name="shop", version=2, data_uri=uri, buyers=BUYERS)
            )
            clock_s, all_s = time.perf_counter() - began_at, time.process_time() - began_cpu
        assert found.held_out.sampled_buyers == BUYERS
        parts = ", ".join(f"{part.strip('_')} {seconds:.2f}" for part, seconds in took.items())
        ratio = took["ask"] / _time_products(2 * BUYERS)
        print(
            f"{buyers:7,} buyers x {PRODUCTS:,} products, {BUYERS:,} asked for: {all_s:.1f} s of a processor "
            f"({parts}), {clock_s:.1f} s by the clock; asking {ratio:.1f} times its products; "
            f"memory {before_mb:.0f} -> {_peak_mb():.0f} MB"
        )
        figures |= {f"cpu_s_{buyers}": all_s, f"clock_s_{buyers}": clock_s, f"mb_{buyers}": _peak_mb()}
        figures |= {f"asking_ratio_{buyers}": ratio}
    return figures


def _time_products(many: int) -> float:
    """Processor seconds of `many` products of all products' vectors with one buyer's."""
    rng = np.random.default_rng(7)
    candidate, query = (rng.normal(size=(rows, DIM)).astype(np.float32) for rows in (PRODUCTS, 1_000))
    began_at = time.process_time()
    for vector in query:
        candidate @ vector
    return (time.process_time() - began_at) * many / len(query)


def _timed(way: Callable[..., Any], part: str, took: dict[str, float]) -> Callable[..., Any]:
    way = getattr(way, "__wrapped__", way)

    def call(*given: Any, **named: Any) -> Any:
        began_at = time.process_time()
        try:
            return way(*given, **named)
        finally:
            took[part] = took.get(part, 0.0) + time.process_time() - began_at

    call.__wrapped__ = way  # type: ignore[attr-defined]  # the next size times the function itself
    return call


def _make_world(folder: Path, buyers: int) -> tuple[Any, str]:
    """A registry in `folder` whose champion is version 1, and the URI of the held-out purchases."""
    from switchyard.clients.objects.open import open_objects
    from switchyard.clients.results.migrate import migrate
    from switchyard.clients.results.open import open_results
    from switchyard.clients.settings import read_settings
    from switchyard.core.registry.rows import Lineage, NewVersion, Promotion
    from switchyard.services.registering import read_manifest

    url = f"sqlite:///{folder / 'results.db'}"
    migrate(read_settings({"RESULTS_URL": url}))
    models = open_results(url).models
    rng = np.random.default_rng(7)
    buyer_ids, product_ids = ([f"{letter}{row}" for row in range(n)] for letter, n in (("b", buyers), ("p", PRODUCTS)))
    for number in (1, 2):
        uri = (folder / str(number)).as_uri()
        (folder / str(number) / "embeddings").mkdir(parents=True)
        for name, ids in (("query", buyer_ids), ("candidate", product_ids)):
            flat = pa.array(rng.normal(size=len(ids) * DIM).astype(np.float32))
            table = pa.table({"id": ids, "embedding": pa.FixedSizeListArray.from_arrays(flat, DIM)})
            pa_parquet.write_table(table, folder / str(number) / "embeddings" / f"{name}.parquet")
        manifest = read_manifest(open_objects(uri), uri, "here")
        lineage = Lineage(trained_until="2026-01-01T00:00:00+00:00", parameters={"data_uri": ""})
        models.register(NewVersion(name="shop", source_key=uri, source_uri=uri, manifest=manifest, lineage=lineage))
    models.promote(Promotion(name="shop", version=1, expected=None))
    rows = buyers * PURCHASES
    columns = {
        "customer_id": [buyer_ids[row % buyers] for row in range(rows)],
        "stock_code": [product_ids[row] for row in rng.integers(0, PRODUCTS, rows).tolist()],
        "invoice_date": [datetime(2026, 2, 1, tzinfo=UTC)] * rows,
    }
    pa_parquet.write_table(pa.table(columns), folder / "new.parquet")
    return models, (folder / "new.parquet").as_uri()


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
