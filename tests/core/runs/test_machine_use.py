"""What a run used of Google's machines, as people read it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from switchyard.core.runs.machine import MachineSpec
from switchyard.core.runs.machine_use import to_machine_use
from switchyard.core.runs.rows import QuickTest, RunStatus

START = datetime(2026, 1, 15, 10, tzinfo=UTC)


def make_run(machine: Any = None, **changed: Any) -> QuickTest:
    given: dict[str, Any] = {"gcs_artifacts_path": "gs://b/quick_tests/1", "started_at": START} | changed
    given.setdefault("completed_at", START + timedelta(minutes=90))
    return QuickTest(id=1, status=RunStatus.COMPLETED, parameters={"machine": machine or {}}, **given)


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        (MachineSpec(), "1.50 machine hours on 1 x n1-standard-4 (standard)"),
        (MachineSpec(scheduling="spot"), "1.50 machine hours on 1 x n1-standard-4 (spot)"),
        (
            MachineSpec(
                machine_type="g2-standard-8", accelerator_type="NVIDIA_L4", accelerator_count=1, replica_count=2
            ),
            "3.00 machine hours on 2 x g2-standard-8 with 1 NVIDIA_L4 (standard)",
        ),
    ],
)
def test_machine_hours_say_on_what_and_whether_spot(machine: MachineSpec, said: str) -> None:
    """The hours of all its machines together."""
    assert str(to_machine_use(make_run(msgspec.to_builtins(machine)))) == said


@pytest.mark.parametrize(
    "changed",
    [
        {"gcs_artifacts_path": "file:///state/artifacts/quick_tests/1"},
        {"started_at": None},
        {"completed_at": None},
        {"machine": {"machine_type": 4}},
        {"machine": "another application's"},
    ],
)
def test_a_run_without_a_machine_of_google_s_has_no_hours(changed: dict[str, Any]) -> None:
    """Trained here, not started, not ended, or nothing that we can read."""
    assert to_machine_use(make_run(**changed)) is None
