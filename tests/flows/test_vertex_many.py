"""A thousand jobs on Vertex AI that no flow waits for: reconcile alone watches them."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from google.cloud.aiplatform_v1.types import JobState as VertexState

from flows.reconcile import LOOKS_A_TURN
from switchyard.clients.connect import connect
from switchyard.clients.results.migrate import migrate
from switchyard.clients.settings import Settings
from switchyard.core.runs.missing import LOOKS
from tests.bench.vertex import ENDING, VANISHING, Fleet, turn
from tests.emulators.vertex import VertexEmulator
from tests.emulators.vertex_core import GET, LIST
from tests.flows.vertex_world import to_environ

if TYPE_CHECKING:
    from tests.emulators.gcs import Gcs

JOBS = 1_000
LIMIT = 25
"""Requests a minute, of the 600 that a project has; a turn a minute."""


@pytest.mark.usefixtures("prefect_server")
def test_a_thousand_jobs_cost_one_sweep(
    gcs: "Gcs",
    gcs_root: str,
    start_vertex: Callable[..., VertexEmulator],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One LIST asks for all, a GET for each job missing from it, nothing for those at work; every end is settled.

    Where many are missing at once, no turn takes more requests than it may, and the next goes on.
    """
    vertex = start_vertex(new_job_state=VertexState.JOB_STATE_QUEUED)
    for name in Settings.__struct_fields__:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in to_environ(vertex, tmp_path / "state", gcs_root).items():
        monkeypatch.setenv(name, value)
    migrate(connect().settings)
    fleet = Fleet(connect(), vertex, JOBS)
    idle = turn(vertex)
    assert (idle.settled, idle.requests) == (0, {LIST: JOBS // 100})
    fleet.live_a_minute()
    busy = [turn(vertex) for _ in range(LOOKS)]
    assert [one.settled for one in busy] == [ENDING, 0, VANISHING]
    assert [one.requests[GET] for one in busy] == [VANISHING] * LOOKS
    assert max(one.requests.total() for one in busy) <= LIMIT
    fleet.lose(LOOKS_A_TURN + 5)
    settled = 0
    while settled < LOOKS_A_TURN + 5:
        one = turn(vertex)
        settled += one.settled
        assert one.requests[GET] == min(LOOKS_A_TURN, LOOKS_A_TURN + 5 - settled + one.settled)  # none is idle
        assert one.requests.total() <= LIMIT + one.settled
