"""The push endpoint, over a real database, Vertex AI's endpoint on this machine, and tokens signed by a key of ours."""

import contextvars
import threading
from datetime import timedelta
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from starlette.testclient import TestClient

from serving.app import create_app
from serving.push import LOOKS_A_MINUTE, PATH, Outcome
from switchyard.core.errors import BadSetup
from switchyard.core.runs.jobs import JobState
from tests.clients.results.places import Place
from tests.emulators.faults import Fault
from tests.serving.conftest import OverPlace
from tests.serving.push.log import read_log
from tests.serving.push_world import (
    FAILED,
    RUNNING,
    SUCCEEDED,
    World,
    to_logged,
    to_stored,
)


@pytest.mark.parametrize("make_push", [to_logged, to_stored])
@pytest.mark.parametrize(
    ("vertex_state", "state", "event"),
    [(SUCCEEDED, JobState.SUCCEEDED, "training-job.succeeded"), (FAILED, JobState.FAILED, "training-job.failed")],
)
def test_an_ended_job_is_recorded_and_announced(
    world: World, caplog: pytest.LogCaptureFixture, make_push: Any, vertex_state: int, state: JobState, event: str
) -> None:
    """Either hint: the row says what Vertex AI says, one event is sent for it, and one line tells."""
    job = world.submit()
    world.end(job, vertex_state)
    assert world.push(make_push(job)) == 204
    recorded = world.read_job(job)
    assert (recorded.state, recorded.ended_event_at is not None) == (state, True)
    [sent] = world.prefect.events
    assert (sent.event, sent.resource.id) == (event, f"training-job.{job.quick_test_id}")
    assert sent.payload["quick_test_id"] == job.quick_test_id
    [line] = read_log(caplog)
    assert (line["severity"], line["quick_test_id"], line["state"]) == ("INFO", job.quick_test_id, state)
    assert "recorded and announced" in line["message"]


def test_repeated_reordered_and_replayed_pushes_send_one_event(world: World) -> None:
    """Both hints, twice each, in any order, with a token that was seen before: the first end counts, once."""
    job = world.submit()
    world.end(job)
    token = world.make_token()
    pushes = [to_stored(job), to_logged(job), to_logged(job), to_stored(job, age=timedelta(days=6))]
    assert [world.push(push, token=token) for push in pushes] == [204] * 4
    assert len(world.prefect.events) == 1


def test_pushes_at_once_send_one_event(world: World) -> None:
    """Eight deliveries in parallel, as Pub/Sub may: one of them emits."""
    job = world.submit()
    world.end(job)
    token, answers = world.make_token(), []

    def push_one() -> None:
        answers.append(world.push(to_logged(job), token=token))

    # Where Prefect's server is, is set for this thread's context: each thread gets a copy of it.
    threads = [threading.Thread(target=contextvars.copy_context().run, args=(push_one,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [204] * 8
    assert len(world.prefect.events) == 1


def test_a_job_at_work_is_left_alone(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """The sink sends every entry of the service, the first too: acknowledged, and nothing is done."""
    job = world.submit()
    world.vertex.core.move(job.job_name, RUNNING)
    assert world.push(to_logged(job)) == 204
    assert (world.read_job(job).state, world.prefect.events) == (job.state, [])
    assert "has not ended" in read_log(caplog)[0]["message"]


def test_a_flood_of_hints_costs_vertex_a_bounded_number_of_requests(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Each job's log has many entries: after some looks in a minute they are acknowledged, and left to reconcile."""
    job, token = world.submit(), world.make_token()
    world.vertex.core.move(job.job_name, RUNNING)
    world.vertex.core.faults.forget()
    assert {world.push(to_logged(job), token=token) for _ in range(LOOKS_A_MINUTE + 5)} == {204}
    assert world.vertex.core.faults.counts() == {"GetCustomJob": LOOKS_A_MINUTE}
    assert [line["message"] for line in read_log(caplog)][-5:] == [f"push: {Outcome.LEFT}"] * 5


def test_a_fresh_ended_file_is_asked_for_again_until_the_job_has_ended(world: World) -> None:
    """It is written before Vertex AI calls the job ended: 503 lets Pub/Sub send it again, and then it counts."""
    job = world.submit()
    world.vertex.core.move(job.job_name, RUNNING)
    assert world.push(to_stored(job)) == 503
    world.end(job)
    assert world.push(to_stored(job)) == 204
    assert len(world.prefect.events) == 1


def test_an_old_ended_file_of_a_job_at_work_is_acknowledged(world: World) -> None:
    """A process was stopped and started again by Vertex AI: its file must not be sent again for days."""
    job = world.submit()
    world.vertex.core.move(job.job_name, RUNNING)
    assert world.push(to_stored(job, age=timedelta(minutes=10))) == 204
    assert world.prefect.events == []


def test_an_end_that_prefect_does_not_take_is_still_recorded(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """The event is lost, once; the row says that the job ended, by which reconcile finds and publishes it."""
    job = world.submit()
    world.end(job)
    world.prefect.away = True
    assert world.push(to_logged(job)) == 204
    assert world.read_job(job).state is JobState.SUCCEEDED
    assert read_log(caplog)[-1]["severity"] == "WARNING"
    world.prefect.away = False
    assert world.push(to_logged(job)) == 204
    assert world.prefect.events == []


def test_vertex_out_of_reach_makes_pubsub_send_it_again(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """503 now, and when Vertex AI answers again the same message does its work."""
    job = world.submit()
    world.end(job)
    world.vertex.core.faults.order(Fault(kind="GetCustomJob", status=503))
    assert world.push(to_logged(job)) == 503
    assert (world.read_job(job).state, world.prefect.events) == (job.state, [])
    assert read_log(caplog)[-1]["severity"] == "ERROR"
    assert world.push(to_logged(job)) == 204
    assert len(world.prefect.events) == 1


def test_a_job_that_vertex_forgot_is_left_to_reconcile(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is concluded from a missing job by a hint."""
    job = world.submit()
    world.vertex.core.clear()
    assert world.push(to_logged(job)) == 204
    assert world.read_job(job).state is job.state
    assert "does not know the job" in read_log(caplog)[0]["message"]


def test_without_an_audience_there_is_no_endpoint(client: TestClient) -> None:
    """Serving takes nothing from anyone unless it is told whom to believe."""
    assert client.post(PATH, json={}).status_code in (404, 405)


def test_the_endpoint_is_documented_and_takes_posts_alone(world: World) -> None:
    """In the OpenAPI document, with what it answers."""
    assert world.client.get(PATH).status_code == 405
    documented = world.client.get("/api/openapi.json").json()["paths"][PATH]
    for status in ("401", "403", "413", "503"):
        assert list(documented["post"]["responses"][status]["content"]) == ["application/problem+json"]
    assert set(documented) == {"post"}
    assert set(documented["post"]["responses"]) >= {"204", "401", "403", "503"}


def test_without_a_prefect_server_serving_does_not_start(world: World) -> None:
    """Prefect's client would start a server of its own, and the event would go nowhere."""
    outside = OverPlace(world.place)
    outside.settings = world.settings
    with (
        temporary_settings(restore_defaults={PREFECT_API_URL}),
        pytest.raises(BadSetup, match=r"PREFECT_API_URL is not set\. It must name"),
    ):
        create_app(outside)


def test_a_server_of_events_alone_shows_nothing_else(world: World) -> None:
    """It may be open to the world: pushes and health checks, and no run's page, list or history."""
    job = world.submit()
    world.end(job)
    with TestClient(create_app(world, only_events=True)) as client:
        assert client.get("/health").status_code == 200
        for path in (
            "/",
            "/quick-tests/",
            "/api/quick-tests/",
            f"/api/quick-tests/{job.quick_test_id}/training-history/",
        ):
            assert client.get(path).status_code == 404, path
        headers = {"Authorization": f"Bearer {world.make_token()}"}
        assert client.post(PATH, json=to_logged(job), headers=headers).status_code == 204
    assert len(world.prefect.events) == 1


def test_a_server_of_events_needs_to_know_whom_to_believe(place: Place) -> None:
    """Without PUSH_AUDIENCE it would serve nothing."""
    with pytest.raises(BadSetup, match="PUSH_AUDIENCE is not set, so --only-events has nothing to serve"):
        create_app(OverPlace(place), only_events=True)
