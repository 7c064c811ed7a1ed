"""The reader: the same tables from a database as through the API."""

import math
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from switchyard import reader
from switchyard.clients.settings import read_settings
from switchyard.core.errors import BadRequest, BadSetup, NotFound, TryAgain
from tests.reader.conftest import Runs


def test_a_history_is_a_row_an_epoch(runs: Runs, source: str) -> None:
    """A column a series; a NaN that was logged is no missing value, and the series of other steps are not here."""
    table = reader.read_history_arrow(runs.first, source=source)
    assert table["epoch"].to_pylist() == [0, 5, 10]
    assert {"loss", "val_loss", "total_loss", "gradient.total", "gradient.query"} <= set(table.column_names)
    nan = table["val_loss"].to_pylist()[1]
    assert nan is not None and math.isnan(nan)
    assert "batch_loss" not in reader.read_history_arrow(runs.second, source=source).column_names


def test_the_series_of_a_run_are_all_points(runs: Runs, source: str) -> None:
    """Eleven epochs where the history keeps three, and steps that no float holds as they are."""
    table = reader.read_series_arrow(runs.first, source=source)
    assert table.schema.metadata == {b"complete": b"true"}
    points = [row for row in table.to_pylist() if row["name"] == "val_loss"]
    assert [row["step"] for row in points] == list(range(11))
    assert math.isnan(points[5]["value"]) and not math.isnan(points[4]["value"])
    batches = [
        row for row in reader.read_series_arrow(runs.second, source=source).to_pylist() if row["name"] == "batch_loss"
    ]
    assert [(row["step"], row["value"]) for row in batches] == [(0, 3.0), (100, None), (2**60, 1.0)]


def test_a_run_with_nothing_published_has_empty_tables(runs: Runs, source: str) -> None:
    """No error: it is there, and has no row."""
    assert reader.read_history_arrow(runs.empty, source=source).num_rows == 0
    assert reader.read_series_arrow(runs.empty, source=source).num_rows == 0


def test_runs_are_found_by_a_filter_in_an_order(runs: Runs, source: str) -> None:
    """Values are columns under a filter's own names; a page is no limit."""
    found = reader.read_runs_arrow("best.loss > 0", order_by="params.epochs asc", source=source)
    assert found["id"].to_pylist() == [runs.second, runs.first]
    assert found["params.optimizer"].to_pylist() == ["adam", "adagrad"]
    assert found["params.epochs"].to_pylist() == [3.0, 11.0]
    assert found["created_at"].type.tz == "UTC"
    assert reader.read_runs_arrow(limit=2, source=source)["id"].to_pylist() == [runs.empty, runs.second]
    assert reader.read_runs_arrow("params.optimizer = 'none'", source=source).num_rows == 0


def test_more_runs_than_a_page_are_read(runs: Runs, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each page from where the last one ended, once each."""
    monkeypatch.setattr(reader, "_PAGE", 1)
    assert reader.read_runs_arrow(source=source)["id"].to_pylist() == [runs.empty, runs.second, runs.first]


def test_an_asked_for_number_of_runs_is_one_at_least(runs: Runs, source: str) -> None:
    with pytest.raises(BadRequest, match="`limit` must be at least 1; got 0"):
        reader.read_runs_arrow(limit=0, source=source)


def test_a_wrong_filter_is_refused_at_its_character(source: str) -> None:
    """In the words of the grammar, wherever the runs are."""
    with pytest.raises(BadRequest, match="best"):
        reader.read_runs_arrow("best.loss >", source=source)


def test_a_run_that_is_not_there_is_not_found(source: str) -> None:
    for read in (reader.read_history_arrow, reader.read_series_arrow):
        with pytest.raises(NotFound, match="404"):
            read(404, source=source)


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """A reader leaves no file behind."""
    path = tmp_path / "none.db"
    with pytest.raises(NotFound, match=r"there is no results database .*none\.db"):
        reader.read_runs_arrow(source=f"sqlite:///{path}")
    assert not path.exists()


def test_an_address_where_nothing_listens_is_asked_again_later() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    with pytest.raises(TryAgain, match=rf"http://127.0.0.1:{port} does not answer"):
        reader.read_history_arrow(1, source=f"http://127.0.0.1:{port}")


class _Other(BaseHTTPRequestHandler):
    """A server that is busy twice; then it shows a page of its own, or asks for a token."""

    asked: list[tuple[str, str]]

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers.get("Authorization", "")))
        status = 503 if len(self.asked) < 3 else 401 if "/9/" in self.path else 200
        self.send_response(status)
        self.send_header("Retry-After", "0")
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def other() -> Iterator[str]:
    _Other.asked = []
    server = HTTPServer(("127.0.0.1", 0), _Other)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_busy_server_is_asked_again_and_another_one_is_named(other: str) -> None:
    """The token goes with each request, and into no message."""
    with pytest.raises(BadSetup, match="not the address of a Switchyard server") as refused:
        reader.read_history_arrow(1, source=other, token="a-secret")
    assert _Other.asked == [("/api/quick-tests/1/training-history/", "Bearer a-secret")] * 3
    assert "a-secret" not in str(refused.value)


def test_who_may_not_read_is_told_to_give_a_token(other: str) -> None:
    with pytest.raises(BadSetup, match=r"it answers 401 Unauthorized\. Give a token that may read: API_TOKEN"):
        reader.read_series_arrow(9, source=other)


def test_the_token_of_the_environment_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_TOKEN", "a-secret")
    settings = read_settings()
    assert settings.api_token == "a-secret"
    assert "a-secret" not in repr(settings)
