"""docs/contracts.md: its examples are what the code reads and makes."""

import gzip
import json
import re

from switchyard.core.history.publishing import to_publication
from switchyard.core.metrics.reading import read_record
from switchyard.core.metrics.record import Sampling
from switchyard.core.mlflow.sources import read_mlflow_info
from tests.root import ROOT

PAGE = (ROOT / "docs" / "contracts.md").read_text()


def example(name: str) -> bytes:
    """The JSON block that the page calls `name`."""
    found = re.search(rf"```json {name}\n(.*?)```", PAGE, re.DOTALL)
    assert found, name
    return found[1].encode()


def test_the_first_example_is_published_as_the_page_says() -> None:
    """The version 1 file gives the history, digests included, and the histogram that stand further down."""
    record = read_record(example("file-v1"), where="docs/contracts.md")
    publication = to_publication(record, quick_test_id=12, source="file", sampling=Sampling(interval=2))
    assert publication.history == json.loads(example("history"))
    (row,) = publication.histograms
    assert json.loads(gzip.decompress(row.gzip_json)) == json.loads(example("histogram"))
    assert record.warnings == []


def test_the_legacy_example_has_the_quirks_that_the_page_lists() -> None:
    """The version 0 file is read, each gap filled with a warning."""
    record = read_record(example("file-v0"), where="docs/contracts.md")
    assert record.loss == {"loss": [0.9, 0.5, None], "val_loss": [1.0, None, None]}
    assert record.gradient.keys() == {"total", "query", "candidate"}
    assert record.non_finite == {
        "loss": {"loss": {"2": "inf"}, "val_loss": {"1": "nan"}},
        "final_metrics": {"test_loss": {"": "nan"}},
    }
    histogram = record.weight_stats["query"].histogram
    assert histogram is not None
    assert (histogram.edges_known, histogram.counts[:2]) == ("all", [None, None])
    assert record.unknown == {"collector": "3.1"}
    assert len(record.warnings) == 3


def test_the_last_file_is_of_the_first_example_s_run() -> None:
    """ended.json names the same run as the metrics file, and only what the page's table knows."""
    ended = json.loads(example("ended"))
    run = json.loads(example("file-v1"))["run"]
    assert ended["run"] == {name: run[name] for name in ("quick_test_id", "key", "attempt", "restart")}
    assert f"| `{ended['status']}` | {ended['exit']} |" in PAGE
    assert set(ended) == {"status", "exit", "ended_at", "message", "run"}


def test_the_mlflow_info_example_is_read() -> None:
    """Both keys that the page names."""
    info = read_mlflow_info(example("mlflow-info"), where="docs/contracts.md")
    assert (info.run_id, info.tracking_uri) == ("0bf8d36e888d6d5e3e594dcfccf46732", "https://mlflow.example")
