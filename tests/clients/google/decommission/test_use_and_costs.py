"""Who uses a deployment and what it costs: `CloudUse` and `CloudCosts` over the endpoint."""

from datetime import UTC, datetime, timedelta

import pytest

from switchyard.clients.google.decommission.access import Access
from switchyard.clients.google.decommission.costs import Costs
from switchyard.clients.google.decommission.use import Use
from switchyard.core.decommission.requests import Control
from switchyard.core.decommission.resources import Caller, Cost, Kind, Resource
from switchyard.core.errors import BadRecord, BadRequest, BadSetup, NotFound
from tests.clients.google.decommission.cases import API, BUCKET, INSTANCE, MLFLOW
from tests.emulators.google.project import EXPORT, Project

SINCE = datetime(2026, 10, 1, tzinfo=UTC)
UNTIL = datetime(2026, 10, 8, tzinfo=UTC)
SERVICE = Resource(kind=Kind.RUN_SERVICE, name=MLFLOW)
DATABASE = Resource(kind=Kind.SQL_INSTANCE, name=INSTANCE)
FILES = Resource(kind=Kind.BUCKET, name=BUCKET)


def test_callers_are_told_apart_and_counted(project: Project, access: Access) -> None:
    """Over more than a day and more than a page; refused ones too; another service's and another time's not."""
    for hours in (0, 30, 160):
        project.logging.plant_request(MLFLOW, "mlflow-python-client/2.9.2", SINCE + timedelta(hours=hours))
    project.logging.plant_request(MLFLOW, "curl/8", SINCE + timedelta(hours=50), status=403, account="bob@example.com")
    project.logging.plant_request(MLFLOW, "", SINCE + timedelta(hours=51), status=404)
    project.logging.plant_request(MLFLOW, "late/1", UNTIL)
    project.logging.plant_request(MLFLOW, "early/1", SINCE - timedelta(seconds=1))
    project.logging.plant_request(API, "other/1", SINCE + timedelta(hours=1))
    assert Use(access, "acme-ml").list_callers(SERVICE, SINCE, UNTIL) == (
        Caller(who="mlflow-python-client/2.9.2", requests=3, last_at=SINCE + timedelta(hours=160)),
        Caller(
            who="curl/8 as bob@example.com", account="bob@example.com", requests=1, last_at=SINCE + timedelta(hours=50)
        ),
        Caller(who="no user agent", requests=1, last_at=SINCE + timedelta(hours=51)),
    )


def test_the_log_is_asked_with_a_time_of_our_own(project: Project, access: Access) -> None:
    """Without one, a client of Google's adds a day."""
    Use(access, "acme-ml").list_callers(SERVICE, SINCE, UNTIL)
    asked = project.world.log[-1].body["filter"]
    assert 'timestamp >= "2026-10-01T00:00:00Z"' in asked
    assert 'timestamp < "2026-10-08T00:00:00Z"' in asked


def test_requests_are_counted_by_the_metric(project: Project, access: Access) -> None:
    """Of all answers, over all pages, in that time and of that service."""
    for number, code in enumerate(("2xx", "4xx", "5xx")):
        project.monitoring.plant_requests(MLFLOW, 10 + number, SINCE + timedelta(hours=number + 1), code)
    project.monitoring.plant_requests(MLFLOW, 1000, UNTIL + timedelta(minutes=1))
    project.monitoring.plant_requests(API, 500, SINCE + timedelta(hours=1))
    use = Use(access, "acme-ml")
    assert use.count_requests(SERVICE, SINCE, UNTIL) == 33
    assert use.count_requests(SERVICE, UNTIL + timedelta(days=1), UNTIL + timedelta(days=2)) == 0


def test_requests_at_the_edge_are_those_that_the_metric_may_count(project: Project, access: Access) -> None:
    """A minute's point reaches back before the window, and a long request further; both are in the log before it."""
    since = SINCE + timedelta(seconds=30)
    project.monitoring.plant_requests(MLFLOW, 2, SINCE + timedelta(seconds=60))  # of the minute that `since` is in
    project.logging.plant_request(MLFLOW, "a/1", SINCE + timedelta(seconds=10))
    project.logging.plant_request(MLFLOW, "b/1", SINCE - timedelta(minutes=40), took_s=2430.5)
    project.logging.plant_request(MLFLOW, "c/1", SINCE - timedelta(minutes=40), took_s=2.5)
    project.logging.plant_request(API, "other/1", SINCE + timedelta(seconds=10))
    use = Use(access, "acme-ml")
    assert use.list_callers(SERVICE, since, UNTIL) == ()
    assert use.count_requests(SERVICE, since, UNTIL) == 2
    assert use.count_edge(SERVICE, since) == 2


def test_a_control_is_what_the_same_queries_find_in_a_longer_time(project: Project, access: Access) -> None:
    """The newest entry alone, in one request, and the count; of that service only."""
    use = Use(access, "acme-ml")
    since = SINCE - timedelta(days=30)
    assert use.find_control(SERVICE, since, UNTIL) == Control(service=MLFLOW, since=since)
    project.logging.plant_request(API, "other/1", SINCE)
    project.monitoring.plant_requests(API, 5, SINCE)
    assert use.find_control(SERVICE, since, UNTIL) == Control(service=MLFLOW, since=since)
    for days in (3, 1, 2):
        project.logging.plant_request(MLFLOW, "a/1", SINCE - timedelta(days=days))
        project.monitoring.plant_requests(MLFLOW, 2, SINCE - timedelta(days=days))
    before = len(project.world.log)
    found = use.find_control(SERVICE, since, UNTIL)
    assert found == Control(service=MLFLOW, since=since, logged_at=SINCE - timedelta(days=1), counted=6)
    asked = [call.method.id for call in project.world.log[before:]]
    assert asked.count("logging.entries.list") == 1
    project.world.denied = {"logging.logEntries.list"}
    with pytest.raises(BadSetup, match=r"logging\.logEntries\.list"):
        use.find_control(SERVICE, since, UNTIL)


def test_starts_are_named(project: Project, access: Access) -> None:
    """Operations on the instance, revisions of the service; only since then."""
    use = Use(access, "acme-ml")
    before = project.world.now
    operation = project.sql.plant_operation("mlflow-db", "RESTART")
    project.world.finish()
    project.sql.plant_operation("shop-db", "RESTART")
    assert [operation in said for said in use.list_starts(DATABASE, before)] == [True]
    assert "RESTART" in use.list_starts(DATABASE, before)[0]
    assert use.list_starts(DATABASE, project.world.now + timedelta(hours=1)) == ()
    assert len(use.list_starts(SERVICE, before - timedelta(days=1))) == 1
    assert use.list_starts(SERVICE, project.world.now) == ()
    with pytest.raises(BadRequest, match="no starts"):
        use.list_starts(FILES, before)


def test_a_missing_permission_is_no_silence(project: Project, access: Access) -> None:
    """No requests, and no right to see them, are two things."""
    project.world.denied = {"logging.logEntries.list", "monitoring.timeSeries.list"}
    use = Use(access, "acme-ml")
    with pytest.raises(BadSetup, match=r"logging\.logEntries\.list"):
        use.list_callers(SERVICE, SINCE, UNTIL)
    with pytest.raises(BadSetup, match=r"monitoring\.timeSeries\.list"):
        use.count_requests(SERVICE, SINCE, UNTIL)


def open_export(access: Access, table: str = EXPORT) -> Costs:
    """It never waits."""
    return Costs(access, "acme-ml", table, pause=lambda _: None)


def test_costs_are_told_for_each_resource(project: Project, access: Access) -> None:
    """By its full name or its short one; 0 where the export has nothing of it; others' are left out."""
    hour = SINCE + timedelta(hours=1)
    for amount in (1.5, 2.0):
        project.bigquery.plant_cost(EXPORT, hour, amount, global_name=f"//run.googleapis.com/{MLFLOW}")
    project.bigquery.plant_cost(EXPORT, hour, 0.25, name="acme-mlflow")
    project.bigquery.plant_cost(EXPORT, hour, 99.0, name="shop-db")
    project.bigquery.plant_cost(EXPORT, UNTIL, 50.0, name="acme-mlflow")
    assert open_export(access).read([SERVICE, DATABASE, FILES], SINCE, UNTIL) == (
        Cost(resource=BUCKET, amount=0.25, currency="EUR"),
        Cost(resource=INSTANCE, amount=0.0, currency=""),
        Cost(resource=MLFLOW, amount=3.5, currency="EUR"),
    )


def test_what_is_kept_is_billed_by_its_own_name(project: Project, access: Access) -> None:
    """A backup's number alone is also the short name of others' versions."""
    hour = SINCE + timedelta(hours=1)
    backup = Resource(kind=Kind.SQL_INSTANCE, name="projects/acme-ml/backups/7")
    project.bigquery.plant_cost(EXPORT, hour, 0.5, global_name=f"//cloudsql.googleapis.com/{backup.name}")
    project.bigquery.plant_cost(EXPORT, hour, 99.0, name="7")
    assert open_export(access).read([backup, DATABASE], SINCE, UNTIL) == (
        Cost(resource=backup.name, amount=0.5, currency="EUR"),
        Cost(resource=INSTANCE, amount=0.0, currency=""),
    )


def test_an_export_without_rows_proves_nothing(project: Project, access: Access) -> None:
    """It lags by days, and is not made for the past."""
    project.bigquery.plant_cost(EXPORT, UNTIL + timedelta(days=1), 1.0, name="acme-mlflow")
    with pytest.raises(BadRecord, match="no row at all"):
        open_export(access).read([SERVICE], SINCE, UNTIL)


def test_an_export_must_be_named_and_there(project: Project, access: Access) -> None:
    """It must also be the one that names resources."""
    with pytest.raises(BadSetup, match="no billing export is named"):
        open_export(access, "").read([SERVICE], SINCE, UNTIL)
    with pytest.raises(BadSetup, match="detailed one"):
        open_export(access, "acme-ml.billing.gcp_billing_export_v1_0A1B2C")
    with pytest.raises(NotFound, match="Not found: Table"):
        open_export(access).read([SERVICE], SINCE, UNTIL)


def test_the_query_is_told_without_an_export(access: Access) -> None:
    """A person puts the table's name in; names are quoted."""
    odd = Resource(kind=Kind.BUCKET, name="projects/_/buckets/it's")
    said = open_export(access, "").to_query([odd], SINCE, UNTIL)
    assert "PROJECT.DATASET.gcp_billing_export_resource_v1_BILLING_ACCOUNT" in said
    assert r"'it\'s'" in said
