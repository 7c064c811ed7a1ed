"""Whether a run is refitted, where its request left it open: decided once, and stored with the run."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flows.parameters import TrainParameters
from flows.train import train
from switchyard.clients.connect import Outside
from switchyard.core.runs.jobs import JobState
from switchyard.core.runs.rows import Claim, Job, NewRun

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.mark.parametrize(
    ("asked", "is_refitted"),
    [
        ({}, False),
        ({"register_as": "shop"}, True),
        ({"register_as": "shop", "refit": False}, False),
        ({"refit": True}, True),
    ],
)
def test_a_run_that_is_registered_is_refitted_unless_told_not_to(
    scripted: Outside, asked: dict[str, Any], is_refitted: bool
) -> None:
    """The row says yes or no, as its trainer was told."""
    run_id = train(poll_interval_s=0.05, epochs=3, **asked).quick_test_id
    job = scripted.jobs.read_job(run_id)
    assert job is not None
    assert scripted.runs.read_run(run_id).parameters["refit"] is is_refitted
    assert job.parameters["refit"] is is_refitted
    assert list_told(job) == (["--refit"] if is_refitted else [])


def test_a_request_of_before_the_refit_keeps_what_its_job_was_told(scripted: Outside, tmp_path: Path) -> None:
    """Its claim has no word of it: taken up again, it is submitted as it would have been."""
    new = scripted.runs.create_run(NewRun(request_key="old"), now=datetime.now(UTC))
    parameters = msgspec.to_builtins(TrainParameters(register_as="shop")) | {"request_key": "old"}
    del parameters["refit"]
    uri = (tmp_path / "run").as_uri()
    claim = Claim(quick_test_id=new.id, request_key="old", artifacts_uri=uri, parameters=parameters)
    scripted.jobs.claim_job(claim, now=datetime.now(UTC))
    run_id = train(poll_interval_s=0.05, epochs=3, request_key="old", register_as="shop").quick_test_id
    job = scripted.jobs.read_job(run_id)
    assert job is not None
    assert (run_id, job.state) == (new.id, JobState.SUCCEEDED)
    assert list_told(job) == []


def list_told(job: Job) -> list[str]:
    """Of the flags that the job's process was started with, those about a refit."""
    order = msgspec.json.decode((Path(job.job_name) / "order.json").read_bytes())["order"]
    return [flag for flag in order["arguments"] if "refit" in flag]
