"""Messages of a good sender that say nothing to us, are too large, or are of a run without a job."""

import json

import msgspec
import pytest

from serving.push import MAX_BODY_BYTES, MAX_READ_BYTES
from switchyard.core.runs.jobs import JobState
from switchyard.core.runs.rows import Job
from tests.serving.push.log import read_log
from tests.serving.push_world import (
    World,
    to_envelope,
    to_logged,
    to_stored,
)


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
