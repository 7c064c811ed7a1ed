"""Small purchases, specs and files; a test names what differs."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet

from switchyard.clients.interactions.rows import Interactions
from switchyard.core.metrics.record import MetricsRecord
from switchyard.core.runs.spec import TrainSpec

TINY_FLAGS = ["--epochs=2", "--batch-size=64", "--embedding-dim=8", "--top-k=5", "--synthetic-buyers=40"]
TINY_FLAGS += ["--synthetic-products=30", "--synthetic-interactions=600"]


LONGER_EPOCHS = 30
"""Enough for an interruption to hit the middle of a training."""
LONGER_FLAGS = [*TINY_FLAGS, f"--epochs={LONGER_EPOCHS}"]


def to_numbers(metrics: MetricsRecord) -> dict[str, Any]:
    """All that the record says but for times and restarts."""
    sections = ("status", "epochs", "loss", "gradient", "weight_stats", "gradient_stats", "final_metrics", "params")
    found = {name: getattr(metrics, name) for name in (*sections, "non_finite")}
    return found | {"metrics": {name: metrics.metrics[name] for name in metrics.metrics if name != "epoch_seconds"}}


def make_spec(**changes: Any) -> TrainSpec:
    """A spec for tiny data."""
    tiny = {"epochs": 2, "batch_size": 32, "embedding_dim": 8, "top_k": 3}
    if not changes.get("data_uri"):
        tiny |= {"synthetic_buyers": 40, "synthetic_products": 30, "synthetic_interactions": 600}
    return TrainSpec(**{**tiny, **changes})


def make_columns(rows: int = 80, **changes: Any) -> dict[str, Any]:
    """The default columns of `rows` purchases, one a minute, by 5 buyers of 8 products."""
    minutes = np.arange(rows)
    columns = {
        "customer_id": [f"b{row % 5}" for row in range(rows)],
        "stock_code": [f"p{row * 3 % 8}" for row in range(rows)],
        "invoice_date": np.datetime64("2020-01-01T00:00", "us") + minutes * np.timedelta64(60_000_000, "us"),
        "quantity": [1] * rows,
        "invoice_no": [f"{1000 + row}" for row in range(rows)],
    }
    return {**columns, **changes}


def write_parquet(path: Path, columns: dict[str, Any]) -> str:
    """Writes the columns; returns the file's URI."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pa_parquet.write_table(pa.table(columns), path)
    return path.as_uri()


def make_interactions(rows: int = 80, **changes: Any) -> Interactions:
    """`rows` purchases, one an instant."""
    columns = make_columns(rows)
    fields: dict[str, Any] = {
        "buyers": pa.array(columns["customer_id"]),
        "products": pa.array(columns["stock_code"]),
        "times": np.arange(rows, dtype=np.float64),
    }
    return Interactions(**{**fields, **changes})
