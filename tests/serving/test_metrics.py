"""/metrics, as Prometheus reads it."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from serving.app import create_app
from switchyard.core.errors import TryAgain
from switchyard.core.ports import Histories, Ledger
from switchyard.core.runs.pulse import to_turn_line
from tests.clients.results.places import Place
from tests.serving.conftest import OverPlace, open_client
from tests.serving.factories import publish_run

Sample = tuple[str, tuple[tuple[str, str], ...]]


def read(client: TestClient) -> dict[Sample, float]:
    """Every sample of one scrape, by name and labels."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def count(samples: dict[Sample, float], name: str, **labels: str) -> float:
    return samples.get((name, tuple(sorted(labels.items()))), 0.0)


def test_it_says_how_the_runs_stand(any_client: TestClient, any_place: Place) -> None:
    """By status; the oldest job that is not settled; when reconcile last came to an end. On every kind of table."""
    for number in range(3):
        any_place.add_run(f"r{number}", status="completed")
    any_place.add_run("f", status="failed")
    now = datetime.now(UTC)
    any_place.ports.ledger.write_ledger(to_turn_line(failed=0, now=now - timedelta(minutes=2)))
    samples = read(any_client)
    assert count(samples, "switchyard_database_up") == 1
    assert count(samples, "switchyard_runs", status="completed") == 3
    assert count(samples, "switchyard_runs", status="failed") == 1
    assert count(samples, "switchyard_oldest_unsettled_job_age_seconds") == 0
    assert 120 <= count(samples, "switchyard_reconcile_lag_seconds") < 240


def test_before_the_first_turn_there_is_no_lag(client: TestClient) -> None:
    """No number is better than a wrong one."""
    assert not [name for name, _ in read(client) if name.startswith("switchyard_reconcile")]


def test_requests_are_counted_by_route(place: Place, client: TestClient) -> None:
    """Templates, not addresses; both spellings of one are one; what no route took is `none`."""
    run = publish_run(place)
    for path in ("/training-history/", "/training-history", "/series/", "/histogram-data/"):
        client.get(f"/api/quick-tests/{run}{path}")
    client.get("/api/quick-tests/99/training-history/")
    client.get("/api/quick-tests/?limit=0")
    client.head("/api/quick-tests/")
    client.get("/no/such/page")
    client.get(f"/quick-tests/{run}")
    client.request("BREW", "/no/such/page")
    samples, total = read(client), "switchyard_http_requests_total"
    one = "/api/quick-tests/{quick_test_id}"
    assert count(samples, total, route=f"{one}/training-history", method="GET", status="2xx") == 2
    assert count(samples, total, route=f"{one}/training-history", method="GET", status="4xx") == 1
    assert count(samples, total, route=f"{one}/series", method="GET", status="2xx") == 1
    assert count(samples, total, route=f"{one}/histogram-data", method="GET", status="2xx") == 1
    assert count(samples, total, route="/api/quick-tests", method="GET", status="4xx") == 1
    assert count(samples, total, route="/api/quick-tests", method="HEAD", status="2xx") == 1
    assert count(samples, total, route="/quick-tests/{quick_test_id}", method="GET", status="2xx") == 1
    assert count(samples, total, route="none", method="GET", status="4xx") == 1
    assert count(samples, total, route="none", method="other", status="4xx") == 1
    duration = "switchyard_http_request_duration_seconds_bucket"
    assert count(samples, duration, route=f"{one}/training-history", method="GET", le="+Inf") == 3


class Broken(OverPlace):
    """An outside with a bug in it."""

    @property
    def histories(self) -> Histories:
        raise ZeroDivisionError


def test_an_error_inside_is_counted(place: Place) -> None:
    """As 5xx, though no answer of the route's own was sent."""
    with TestClient(create_app(Broken(place)), raise_server_exceptions=False) as client:
        assert client.get("/api/quick-tests/1/training-history/").status_code == 500
        route = "/api/quick-tests/{quick_test_id}/training-history"
        assert count(read(client), "switchyard_http_requests_total", route=route, method="GET", status="5xx") == 1


class Away(OverPlace):
    """An outside whose database has gone."""

    @property
    def ledger(self) -> Ledger:
        raise TryAgain("the database does not answer")


def test_without_the_database_it_answers_what_it_knows(place: Place) -> None:
    """0 for the database, none of its numbers, and the requests as ever."""
    with TestClient(create_app(Away(place))) as client:
        client.get("/health")
        samples = read(client)
    assert samples["switchyard_database_up", ()] == 0
    assert not [name for name, _ in samples if name.startswith(("switchyard_runs", "switchyard_oldest"))]
    assert count(samples, "switchyard_http_requests_total", route="/health", method="GET", status="2xx") == 1


class Counted(OverPlace):
    """An outside that counts the looks at its database."""

    looks = 0

    @property
    def ledger(self) -> Ledger:
        self.looks += 1
        return super().ledger


def test_scrapes_share_one_look_at_the_database(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """For some seconds; then the next one looks again."""
    outside, clock = Counted(place), [100.0]
    monkeypatch.setattr("serving.metrics.read_clock", lambda: clock[0])
    with TestClient(create_app(outside)) as client:
        for clock[0] in (100.0, 100.1, 114.9, 115.0, 116.0):
            read(client)
    assert outside.looks == 2


def test_each_application_counts_for_itself(place: Place) -> None:
    """Nothing is left in the process for the next one."""
    for _ in range(2):
        for client in open_client(place):
            client.get("/health")
            assert (
                count(read(client), "switchyard_http_requests_total", route="/health", method="GET", status="2xx") == 1
            )
    assert not [family.name for family in REGISTRY.collect() if family.name.startswith("switchyard")]


def test_a_server_of_events_alone_has_none(place: Place) -> None:
    """It is open to the world."""
    outside = OverPlace(place)
    outside.settings = msgspec.structs.replace(
        place.settings, push_audience="https://events.example", push_service_account="a@b.iam.gserviceaccount.com"
    )
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:4200/api"}),
        TestClient(create_app(outside, only_events=True)) as client,
    ):
        assert client.get("/health").status_code == 200
        assert client.get("/metrics").status_code == 404
