"""The push endpoint, over a real database, Vertex AI's endpoint on this machine, and tokens signed by a key of ours."""

import base64
import contextlib
import contextvars
import json
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from starlette.responses import Response
from starlette.testclient import TestClient

from serving.app import create_app
from serving.json_log import JsonLines
from serving.push import LOOKS_A_MINUTE, MAX_BODY_BYTES, MAX_READ_BYTES, PATH, Outcome
from switchyard.clients.launchers.vertex.launcher import VertexLauncher, VertexSite
from switchyard.core.errors import BadSetup
from switchyard.core.runs.jobs import JobState
from switchyard.core.runs.rows import Job
from tests.clients.results.places import Place
from tests.emulators.faults import Fault
from tests.emulators.server import serve_in_thread
from tests.emulators.tokens import Issuer, make_key
from tests.emulators.vertex import VertexEmulator
from tests.emulators.vertex_jobs import PYTHON_IMAGE
from tests.serving.conftest import OverPlace
from tests.serving.push_world import (
    ACCOUNT,
    AUDIENCE,
    FAILED,
    RUNNING,
    SUCCEEDED,
    Certificates,
    EventKeeper,
    World,
    to_envelope,
    to_fields,
    to_logged,
    to_stored,
)


@pytest.fixture
def world(place: Place, idle_vertex: VertexEmulator) -> Iterator[World]:
    """Everything around the endpoint, and a client of it."""
    made = World(place)
    made.vertex, made.issuer, made.prefect = idle_vertex, Issuer(), EventKeeper()
    made.certificates = Certificates(made.issuer)
    with contextlib.ExitStack() as stack:
        certs_url = stack.enter_context(serve_in_thread(made.certificates.app))
        prefect_url = stack.enter_context(serve_in_thread(made.prefect.app))
        stack.enter_context(temporary_settings({PREFECT_API_URL: f"{prefect_url}/api", PREFECT_CLIENT_MAX_RETRIES: 0}))
        made.settings = msgspec.structs.replace(
            place.settings,
            training_backend="vertex",
            push_audience=AUDIENCE,
            push_service_account=ACCOUNT,
            push_certs_url=f"{certs_url}/certs",
        )
        site = VertexSite(
            project_id="demo-project",
            region="us-central1",
            trainer_image=PYTHON_IMAGE,
            api_endpoint=idle_vertex.rest_endpoint,
            transport="rest",
        )
        made.vertex_launcher = VertexLauncher(site, relist_delays_s=(0.0,))
        stack.callback(made.vertex_launcher.close)
        made.client = stack.enter_context(TestClient(create_app(made), raise_server_exceptions=False))
        yield made


def read_log(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """What the endpoint has logged, as it is printed."""
    return [to_fields(JsonLines().format(record)) for record in caplog.records if record.name == "switchyard.push"]


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
    """Each job's log has many entries: after so many looks in a minute they are acknowledged, and left to reconcile."""
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


# Not ours, or nothing at all ---------------------------------------------------------------------------------------


def make_junk(job: Job) -> dict[str, object]:
    """Messages of a good sender that say nothing to us."""
    number = job.job_name.rpartition("/")[2]
    envelope = to_logged(job)
    return {
        "empty": b"",
        "not JSON": b"{",
        "not UTF-8": b'{"message": {"data": "\xff\xfe"}}',
        "a list": [],
        "no message": {"subscription": "s"},
        "message is text": {"message": "hello"},
        "nested without end": b"[" * 100_000,
        "nested inside": b'{"message": {"data": "", "x": ' + b"[" * 100_000,
        "no data": {"message": {"messageId": "1"}},
        "bad base64": {"message": {**envelope["message"], "data": "%%%"}},
        "data is no JSON": to_envelope(b"hello"),
        "data is a list": to_envelope(b"[]"),
        "no resource": to_envelope(b"{}"),
        "another resource": to_logged(job, resource={"type": "gce_instance", "labels": {"job_id": number}}),
        "job_id is a name": to_logged(job, resource={"type": "ml_job", "labels": {"job_id": "train_2020"}}),
        "job_id is a pattern": to_logged(job, resource={"type": "ml_job", "labels": {"job_id": "%"}}),
        "job_id is missing": to_logged(job, resource={"type": "ml_job"}),
        "an unknown job": to_logged(job, resource={"type": "ml_job", "labels": {"job_id": "1234567890123456789"}}),
        "the end of a job's number": to_logged(job, resource={"type": "ml_job", "labels": {"job_id": number[-3:]}}),
        "deleted": to_stored(job, eventType="OBJECT_DELETE"),
        "another bucket": to_stored(job, bucketId="somebody-elses"),
        "another prefix": to_stored(job, objectId=f"other/quick_tests/{job.quick_test_id}/ended.json"),
        "no prefix": to_stored(job, objectId=f"quick_tests/{job.quick_test_id}/ended.json"),
        "another file": to_stored(job, objectId=f"runs/quick_tests/{job.quick_test_id}/training_metrics.json"),
        "a longer name": to_stored(job, objectId=f"runs/quick_tests/{job.quick_test_id}/not-ended.json"),
        "an unknown run": to_stored(job, objectId="runs/quick_tests/4242/ended.json"),
        "an id too large": to_stored(job, objectId=f"runs/quick_tests/{10**40}/ended.json"),
        "id zero": to_stored(job, objectId="runs/quick_tests/0/ended.json"),
        "an id with zeros before it": to_stored(job, objectId=f"runs/quick_tests/0{job.quick_test_id}/ended.json"),
        "a line in the name": to_stored(job, objectId=f"runs\n/quick_tests/{job.quick_test_id}/ended.json"),
        "larger than any hint": b" " * (MAX_BODY_BYTES + 1),
    }


def test_junk_is_acknowledged_and_changes_nothing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Sent again it would be the same junk: 204, one line of the log each, no event, the row as it was."""
    job = world.submit()
    world.end(job)
    for name, body in make_junk(job).items():
        caplog.clear()
        assert world.push(body) == 204, name
        [line] = read_log(caplog)
        assert line["severity"] == "WARNING", name
        assert len(json.dumps(line)) < 2000, name
    assert world.read_job(job) == job
    assert world.prefect.events == []


def test_a_body_beyond_all_messages_is_refused(world: World) -> None:
    """It is no message of Pub/Sub's: reading stops."""
    assert world.push(b" " * (MAX_READ_BYTES + 1)) == 413


def test_a_run_without_a_job_is_left_alone(world: World) -> None:
    """A claim whose submission is under way has no job to look at; reconcile adopts what comes of it."""
    job = world.submit()
    unnamed = msgspec.structs.replace(job, quick_test_id=world.place.add_run("no job yet"))
    claimed = world.place.claim(unnamed.quick_test_id)
    world.place.sql(
        "UPDATE quick_tests SET gcs_artifacts_path = :uri WHERE id = :id",
        uri=f"gs://switchyard-test/runs/quick_tests/{unnamed.quick_test_id}",
        id=unnamed.quick_test_id,
    )
    assert world.push(to_stored(unnamed)) == 204
    assert world.read_job(claimed).state is JobState.CLAIMED


# Who may push ------------------------------------------------------------------------------------------------------


def make_bad_tokens(world: World) -> dict[str, tuple[str, int]]:
    """Tokens that must not be taken, with the status that answers each."""
    good = world.make_token()
    head, claims, signature = good.split(".")
    changed = json.loads(base64.urlsafe_b64decode(claims + "==")) | {"email": ACCOUNT, "aud": AUDIENCE, "x": 1}
    other_claims = base64.urlsafe_b64encode(json.dumps(changed).encode()).decode().rstrip("=")
    unsigned = base64.urlsafe_b64encode(b'{"alg": "none", "typ": "JWT"}').decode().rstrip("=")
    with_hmac = base64.urlsafe_b64encode(b'{"alg": "HS256", "typ": "JWT"}').decode().rstrip("=")
    now = int(time.time())
    forged = {
        "iss": "https://accounts.google.com",
        "aud": AUDIENCE,
        "email": ACCOUNT,
        "email_verified": True,
        "iat": now,
        "exp": now + 3600,
    }
    return {
        "none": ("", 401),
        "no JWT": ("hello", 401),
        "no JSON in it": ("a.b.c", 401),
        "another key": (make_key("somebody").sign(forged), 401),
        "changed claims": (f"{head}.{other_claims}.{signature}", 401),
        "signature removed": (f"{head}.{claims}.SIGNATURE_REMOVED_BY_GOOGLE", 401),
        "no signature": (f"{head}.{claims}.", 401),
        "algorithm none": (f"{unsigned}.{claims}.", 401),
        "algorithm HS256": (f"{with_hmac}.{claims}.{signature}", 401),
        "expired": (world.make_token(iat=now - 7200, exp=now - 3600), 401),
        "not yet": (world.make_token(iat=now + 3600, exp=now + 7200), 401),
        "no times": (world.make_token(iat="soon", exp="never"), 401),
        "another audience": (world.make_token(audience="https://other.example"), 401),
        "no audience": (world.make_token(aud=None), 401),
        "another issuer": (world.make_token(iss="https://accounts.example"), 401),
        "no address": (world.issuer.make_id_token(AUDIENCE, ACCOUNT, with_email=False), 401),
        "address not verified": (world.make_token(email_verified=False), 401),
        "address verified, in words": (world.make_token(email_verified="true"), 401),
        "another account": (world.make_token(account="trainer@demo-project.iam.gserviceaccount.com"), 403),
        "a longer account": (world.make_token(account=ACCOUNT + ".example"), 403),
    }


def test_no_token_but_the_subscriptions_own_is_taken(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """401, or 403 for a good token of another account; nothing is done, and the log says why without the token."""
    job = world.submit()
    world.end(job)
    for name, (token, status) in make_bad_tokens(world).items():
        caplog.clear()
        assert world.push(to_logged(job), token=token) == status, name
        [line] = read_log(caplog)
        assert (line["severity"], line["message"]) == ("WARNING", "push: a push was refused"), name
        assert len(token) < 20 or token not in json.dumps(line), name
    assert world.read_job(job) == job
    assert world.prefect.events == []


def test_a_scheme_other_than_bearer_is_refused(world: World) -> None:
    """And the answer says what is expected, as RFC 6750 has it."""
    answer = world.client.post(PATH, json={}, headers={"Authorization": f"Basic {world.make_token()}"})
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer error="invalid_token"')


def test_certificates_are_fetched_once(world: World) -> None:
    """They are kept as long as Google's own header says."""
    job = world.submit()
    assert {world.push(to_logged(job)) for _ in range(5)} == {204}
    assert world.certificates.asked == 1


@pytest.mark.parametrize(
    "broken", [Response(status_code=500), Response("<html>", media_type="text/html")], ids=["500", "not JSON"]
)
def test_without_certificates_nothing_is_decided(world: World, broken: Response) -> None:
    """The token may be good: Pub/Sub sends it again, and it is taken then."""
    job = world.submit()
    world.end(job)
    world.certificates.broken = broken
    assert world.push(to_logged(job)) == 503
    world.certificates.broken = None
    assert world.push(to_logged(job)) == 204
    assert len(world.prefect.events) == 1


# Where it is, and where it is not ----------------------------------------------------------------------------------


def test_without_an_audience_there_is_no_endpoint(client: TestClient) -> None:
    """Serving takes nothing from anybody unless it is told whom to believe."""
    assert client.post(PATH, json={}).status_code in (404, 405)


def test_the_endpoint_is_documented_and_takes_posts_alone(world: World) -> None:
    """In the OpenAPI document, with what it answers."""
    assert world.client.get(PATH).status_code == 405
    documented = world.client.get("/api/openapi.json").json()["paths"][PATH]
    assert set(documented) == {"post"}
    assert set(documented["post"]["responses"]) >= {"204", "401", "403", "503"}


def test_without_a_prefect_server_serving_does_not_start(world: World) -> None:
    """Prefect's client would start a server of its own, and the event would go nowhere."""
    outside = OverPlace(world.place)
    outside.settings = world.settings
    with (
        temporary_settings(restore_defaults={PREFECT_API_URL}),
        pytest.raises(BadSetup, match="PREFECT_API_URL must name"),
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
    with pytest.raises(BadSetup, match="PUSH_AUDIENCE must be set with --only-events"):
        create_app(OverPlace(place), only_events=True)
