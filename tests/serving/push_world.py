"""What stands around the push endpoint in tests.

That is Google's certificates, a Prefect server that keeps events, a bucket's and a log sink's messages, and Vertex AI's
jobs.
"""

import base64
import json
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from google.cloud.aiplatform_v1.types import JobState as VertexState
from prefect.events.schemas.events import Event
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from serving.push import PATH
from switchyard.clients.launchers.vertex.launcher import VertexLauncher
from switchyard.core.ports import Launcher
from switchyard.core.runs.jobs import JobOrder, to_labels
from switchyard.core.runs.rows import Claim, Job, JobNews, NewRun
from tests.emulators.tokens import Issuer
from tests.emulators.vertex import VertexEmulator
from tests.serving.conftest import OverPlace

AUDIENCE = "https://serving.example/events/training-job"
ACCOUNT = "push-invoker@demo-project.iam.gserviceaccount.com"
BUCKET = "switchyard-test"
SUCCEEDED, FAILED, RUNNING = (
    int(VertexState.JOB_STATE_SUCCEEDED),
    int(VertexState.JOB_STATE_FAILED),
    int(VertexState.JOB_STATE_RUNNING),
)


class Certificates:
    """Answers as https://www.googleapis.com/oauth2/v1/certs does, caching header and all; `broken` as nothing does."""

    def __init__(self, issuer: Issuer) -> None:
        self.issuer = issuer
        self.asked = 0
        self.broken: Response | None = None
        self.app = Starlette(routes=[Route("/certs", self._answer)])

    def _answer(self, request: Request) -> Response:
        self.asked += 1
        return self.broken or JSONResponse(
            self.issuer.certs, headers={"Cache-Control": "public, max-age=20000, must-revalidate, no-transform"}
        )


class EventKeeper:
    """The one route of Prefect's server that we call; what it takes must be what Prefect's own type takes."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.away = False
        self._lock = threading.Lock()
        self.app = Starlette(
            routes=[
                Route("/api/events", self._take, methods=["POST"]),
                # Prefect's client asks for a token against forged requests; a server may want none, and says so.
                Route("/api/csrf-token", lambda _: JSONResponse({"detail": "CSRF protection is disabled."}, 422)),
            ]
        )

    async def _take(self, request: Request) -> Response:
        if self.away:
            return Response(status_code=503, headers={"Retry-After": "0"})
        events = [Event.model_validate(item) for item in await request.json()]
        with self._lock:
            self.events += events
        return Response(status_code=204)


class World(OverPlace):
    """The outside of the endpoint: a test's database, and Vertex AI's jobs by REST."""

    vertex: VertexEmulator
    vertex_launcher: VertexLauncher
    issuer: Issuer
    certificates: Certificates
    prefect: EventKeeper
    client: TestClient

    @property
    def launcher(self) -> Launcher:
        return self.vertex_launcher

    def submit(self, name: str = "a run") -> Job:
        """A run whose job is in Vertex AI's queue."""
        now = datetime.now(UTC)
        run = self.runs.create_run(NewRun(request_key=name, display_name=name), now=now)
        job = self.jobs.claim_job(
            Claim(quick_test_id=run.id, request_key=name, artifacts_uri=f"gs://{BUCKET}/runs/quick_tests/{run.id}"),
            now=now,
        ).job
        labels = to_labels(self.runs.read_database_id(), run.id, job.attempt)
        order = JobOrder(display_name=name, arguments=["pass"], labels=labels, timeout_s=600)
        report = self.launcher.submit(job.key, order)
        return self.jobs.record_job(job.key, JobNews(state=report.state, job_name=report.job_name), now=now)

    def end(self, job: Job, state: int = SUCCEEDED) -> None:
        """Vertex AI calls the job ended from now on."""
        self.vertex.core.move(job.job_name, state)

    def read_job(self, job: Job) -> Job:
        found = self.jobs.read_job(job.quick_test_id)
        assert found is not None
        return found

    def make_token(self, *, audience: str = AUDIENCE, account: str = ACCOUNT, **claims: Any) -> str:
        return self.issuer.make_id_token(audience, account, **claims)

    def push(self, body: object, *, token: str | None = None) -> int:
        """The status that answers a push of `body` (as it is where it is bytes), by default with a good token."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        bearer = self.make_token() if token is None else token
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        return self.client.post(PATH, content=data, headers=headers).status_code


def to_envelope(data: bytes, *, age: timedelta = timedelta(0), **attributes: str) -> dict[str, Any]:
    """As Pub/Sub pushes.

    Source: https://cloud.google.com/pubsub/docs/push#receive_push
    """
    published = (datetime.now(UTC) - age).isoformat().replace("+00:00", "Z")
    message = {
        "attributes": attributes,
        "data": base64.b64encode(data).decode(),
        "messageId": "2070443601311540",
        "message_id": "2070443601311540",
        "publishTime": published,
        "publish_time": published,
    }
    return {"message": message, "subscription": "projects/demo-project/subscriptions/training-job-logs"}


def to_log_entry(job: Job, **changed: Any) -> bytes:
    """An entry of the job's service task, as a sink of ``resource.type="ml_job"`` sends it."""
    number = job.job_name.rpartition("/")[2]
    entry = {
        "insertId": "1f5k2",
        "logName": "projects/demo-project/logs/ml.googleapis.com%2F" + number,
        "receiveTimestamp": "2026-01-15T10:30:01.5Z",
        "resource": {
            "labels": {"job_id": number, "project_id": "demo-project", "task_name": "service"},
            "type": "ml_job",
        },
        "severity": "INFO",
        "textPayload": "Job completed successfully.",
        "timestamp": "2026-01-15T10:30:00Z",
    }
    return json.dumps(entry | changed).encode()


def to_logged(job: Job, **changed: Any) -> dict[str, Any]:
    """A push of the log sink's subscription."""
    return to_envelope(to_log_entry(job, **changed))


def to_stored(job: Job, *, age: timedelta = timedelta(0), **changed: str) -> dict[str, Any]:
    """A push of the bucket's subscription: the job's ended.json was written."""
    attributes = {
        "bucketId": BUCKET,
        "eventTime": "2026-01-15T10:30:00.000000Z",
        "eventType": "OBJECT_FINALIZE",
        "notificationConfig": f"projects/_/buckets/{BUCKET}/notificationConfigs/1",
        "objectGeneration": "1768473000000000",
        "objectId": f"runs/quick_tests/{job.quick_test_id}/ended.json",
        "payloadFormat": "NONE",
    }
    return to_envelope(b"", age=age, **(attributes | changed))


def to_fields(line: str) -> dict[str, Any]:
    """A log line as the JSON object that it must be."""
    fields = msgspec.json.decode(line, type=dict[str, Any])
    assert {"severity", "message"} <= set(fields)
    return fields
