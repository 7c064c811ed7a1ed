"""POST /events/training-job: Pub/Sub tells that a job may have ended; we look, and announce an end that no one has.

What a message says is only a hint: the launcher is asked, and what it says is done, once. Messages that are late,
lost, repeated or reordered change nothing; reconcile finds what none told. docs/google-cloud.md sets the pushing up.

Pub/Sub takes 2xx as "never send it again" and anything else as "again, later". So what another try cannot mend (junk,
an unknown job) is answered 204, and only what it can (nothing answers, no such permission yet) is an error.
"""

import logging
import time
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from http import HTTPStatus
from typing import Any, Final

from anyio.to_thread import run_sync
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from serving.json_log import log_as_json
from serving.problems import RETRY_AFTER_S
from serving.schemas import Problem
from switchyard.clients.connect import Outside
from switchyard.clients.google.push_hints import EndedObject, Hint, read_hint
from switchyard.clients.google.push_tokens import BadToken, TokenVerifier
from switchyard.clients.prefect.events import check_prefect_api
from switchyard.core.errors import BadRecord, NotFound, SwitchyardError, TryAgain
from switchyard.core.runs.pacing import MinuteBudget
from switchyard.core.runs.rows import Job
from switchyard.services.announcing import Announcement, announce_end, record_report

PATH: Final = "/events/training-job"
MAX_BODY_BYTES: Final = 1024 * 1024
"""A log entry has 256 KB at most, an object's description a few KB. Source: cloud.google.com/logging/quotas"""
MAX_READ_BYTES: Final = 16 * 1024 * 1024
"""Above `MAX_BODY_BYTES` a body is read and dropped, so that its sender hears why; Pub/Sub's own limit is 10 MB."""
LOOKS_A_MINUTE: Final = 5
"""At jobs, one request of Vertex AI each, however many messages come. Reconcile may take twenty more for a thousand
jobs, and finds within its minute what is not looked at here."""
EARLY: Final = timedelta(minutes=3)
"""`ended.json` is written before Vertex AI calls the job ended: so long its message is asked for again."""

_log = logging.getLogger("switchyard.push")


class Outcome(StrEnum):
    """What became of one message."""

    ANNOUNCED = "the job has ended: recorded and announced"
    ANNOUNCED_BEFORE = "the job's end was announced before"
    NOT_TAKEN = "the job has ended: recorded; Prefect did not take the event, reconcile publishes"
    STILL_OPEN = "the job has not ended"
    TOO_EARLY = "the job has not ended yet; to be sent again"
    NO_JOB = "no job of ours waits for that"
    OTHER_FOLDER = "the object is not in the run's own folder"
    LEFT = "looked at enough jobs in this minute; reconcile looks at this one"
    VANISHED = "the launcher does not know the job; reconcile ends its run"
    JUNK = "no hint of ours"


_OUTCOMES: Final = {
    Announcement.SENT: Outcome.ANNOUNCED,
    Announcement.SENT_BEFORE: Outcome.ANNOUNCED_BEFORE,
    Announcement.LOST: Outcome.NOT_TAKEN,
}


class Push:
    """The endpoint over one wiring."""

    def __init__(self, outside: Outside) -> None:
        self.outside = outside
        self._account = outside.settings.push_service_account
        self._looks = MinuteBudget(LOOKS_A_MINUTE)
        self._verifier = TokenVerifier(outside.settings.push_audience, outside.settings.push_certs_url)

    async def receive(self, request: Request) -> Response:
        """Takes one Pub/Sub push message, whose token must be the push subscription's."""
        # Nothing of a body is read before it is known who sent it.
        await run_sync(self._check_sender, request.headers.get("authorization", ""))
        body = await _read_bounded(request)
        if body is None:
            _say(Outcome.JUNK, logging.WARNING, problem=f"the body is larger than {MAX_BODY_BYTES} bytes")
            return Response(status_code=HTTPStatus.NO_CONTENT)
        outcome = await run_sync(self._take, body)
        if outcome is Outcome.TOO_EARLY:
            return Response(status_code=HTTPStatus.SERVICE_UNAVAILABLE, headers={"Retry-After": str(RETRY_AFTER_S)})
        return Response(status_code=HTTPStatus.NO_CONTENT)

    def _check_sender(self, authorization: str) -> None:
        try:
            account = self._verifier.read_account(authorization)
        except BadToken as err:
            _say("a push was refused", logging.WARNING, problem=str(err))
            headers = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
            raise HTTPException(HTTPStatus.UNAUTHORIZED, str(err), headers) from err
        except TryAgain as err:
            _say("a push could not be checked", logging.ERROR, problem=str(err))
            raise
        if account != self._account:
            _say("a push was refused", logging.WARNING, problem=f"it came from {account}, not {self._account}")
            raise HTTPException(HTTPStatus.FORBIDDEN, "only the account of PUSH_SERVICE_ACCOUNT may push here")

    def _take(self, body: bytes) -> Outcome:
        fields: dict[str, Any] = {}
        try:
            hint = read_hint(body)
            fields["message_id"] = hint.message_id[:64]
            outcome = self._follow(hint, fields)
        except BadRecord as err:
            # Of the body; or of a row, which reconcile meets too and writes down.
            _say(Outcome.JUNK, logging.WARNING, problem=str(err), **fields)
            return Outcome.JUNK
        except SwitchyardError as err:
            _say("a push could not be followed; to be sent again", logging.ERROR, problem=str(err), **fields)
            raise
        doubtful = outcome in (Outcome.NO_JOB, Outcome.OTHER_FOLDER, Outcome.VANISHED, Outcome.NOT_TAKEN)
        _say(outcome, logging.WARNING if doubtful else logging.INFO, **fields)
        return outcome

    def _follow(self, hint: Hint, fields: dict[str, Any]) -> Outcome:
        """Looks at the job that the hint is about, and announces its end where it has ended."""
        job = self._find_job(hint, fields)
        if isinstance(job, Outcome):
            return job
        fields |= {"quick_test_id": job.quick_test_id, "attempt": job.attempt, "job_name": job.job_name}
        if job.ended_event_at is not None:
            return Outcome.ANNOUNCED_BEFORE
        if not job.state.ended:
            if not self._looks.take(time.monotonic()):
                return Outcome.LEFT
            report = self.outside.launcher.report([job.job_name]).get(job.job_name)
            if report is None:
                return Outcome.VANISHED
            fields["state"] = report.state
            if not report.state.ended:
                return Outcome.TOO_EARLY if _is_early(hint) else Outcome.STILL_OPEN
            job = record_report(self.outside.jobs, job.key, report, now=datetime.now(UTC))
        fields["state"] = job.state
        return _OUTCOMES[announce_end(self.outside.jobs, job, now=datetime.now(UTC))]

    def _find_job(self, hint: Hint, fields: dict[str, Any]) -> Job | Outcome:
        """Finds the job of the hint; or returns why there is none to look at."""
        if not isinstance(hint, EndedObject):
            fields["job_number"] = hint.job_number
            return self.outside.jobs.find_job(hint.job_number) or Outcome.NO_JOB
        fields |= {"quick_test_id": hint.quick_test_id, "folder": hint.folder_uri[:200]}
        try:
            run = self.outside.runs.read_run(hint.quick_test_id)
        except NotFound:
            return Outcome.NO_JOB
        if run.gcs_artifacts_path.rstrip("/") != hint.folder_uri:
            return Outcome.OTHER_FOLDER
        job = self.outside.jobs.read_job(run.id)
        # A claim without its job's name yet: its submission is under way, or reconcile adopts the job.
        return job if job is not None and job.job_name else Outcome.NO_JOB


def add_push(app: FastAPI, outside: Outside) -> None:
    """Adds the endpoint. Raises: BadSetup: no Prefect server is named that would take the events."""
    check_prefect_api()
    log_as_json(_log)
    app.add_api_route(
        PATH,
        Push(outside).receive,
        methods=["POST"],
        status_code=HTTPStatus.NO_CONTENT,
        response_class=Response,
        tags=["events"],
        responses={
            401: {"model": Problem, "description": "No token, or not one that Google made for this audience"},
            403: {"model": Problem, "description": "A good token of another account"},
            413: {"model": Problem, "description": f"More than {MAX_READ_BYTES} bytes"},
            503: {"model": Problem, "description": "Send it again: something did not answer, or it came too early"},
        },
    )


async def _read_bounded(request: Request) -> bytes | None:
    """Reads the body; None if it is larger than `MAX_BODY_BYTES` (it is read to its end, and dropped).

    Raises: HTTPException: 413: larger than any message of Pub/Sub's; 400: the sender went away."""
    kept = bytearray()
    read = 0
    try:
        async for chunk in request.stream():
            read += len(chunk)
            if read > MAX_READ_BYTES:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a push has {MAX_READ_BYTES} bytes at most")
            if read <= MAX_BODY_BYTES:
                kept += chunk
    except ClientDisconnect as err:
        raise HTTPException(HTTPStatus.BAD_REQUEST, "the body ended early") from err
    return bytes(kept) if read <= MAX_BODY_BYTES else None


def _is_early(hint: Hint) -> bool:
    """Returns whether an `ended.json` is so fresh that the job's own end is about to follow.

    The log's last entry comes after it, and an older `ended.json` may be that of a process which Vertex AI has started
    again since.
    """
    age = datetime.now(UTC) - hint.published_at if hint.published_at else EARLY
    return isinstance(hint, EndedObject) and age < EARLY


def _say(what: str, level: int, **fields: Any) -> None:
    _log.log(level, "push: %s", what, extra={"fields": fields})
