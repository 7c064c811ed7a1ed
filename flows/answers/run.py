"""What train, ingest and cancel answer about a run."""

from typing import Any

import msgspec

from flows.steps.settling import Settled
from switchyard.core.errors import JobFailed
from switchyard.core.runs.machine_use import to_machine_use
from switchyard.core.runs.rows import QuickTest, RunStatus
from tasks.pages import to_page_url
from tasks.runs import read_run


class RunResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """A run as it stands after the flow. ``--json`` prints all of it but `history`."""

    quick_test_id: int
    status: RunStatus
    gcs_artifacts_path: str
    final_metrics: dict[str, float | None]
    url: str  # the run's page
    error: str = ""
    machine: str = ""  # the machine hours on Vertex AI, on what and whether spot; empty: none, or not known
    published: str = ""  # what this flow's publish did; empty: it published nothing
    history: dict[str, Any] = {}  # the published history


class RunFailed(JobFailed):
    """The run has ended without success; `result` says how far it came."""

    def __init__(self, result: RunResult) -> None:
        self.result = result
        super().__init__(f"quick test {result.quick_test_id} is {result.status}: {result.error}")


def to_result(run: QuickTest, settled: Settled | None = None) -> RunResult:
    """Returns the answer of a flow that settled `run`, or (None) only submitted it."""
    return RunResult(
        quick_test_id=run.id,
        status=settled.status if settled else run.status,
        gcs_artifacts_path=run.gcs_artifacts_path,
        final_metrics=settled.final_metrics if settled else {},
        url=to_page_url(run.id),
        error=settled.error if settled else run.error,
        machine=_say_machine_use(run, settled),
        published=settled.published or "" if settled else "",
        history=settled.history if settled else {},
    )


def _say_machine_use(run: QuickTest, settled: Settled | None) -> str:
    """Says how long the run used which machine on Vertex AI.

    Settling has written the run's end, so only a run that trained on Vertex AI is read again.
    """
    if settled is not None and run.completed_at is None and run.gcs_artifacts_path.startswith("gs://"):
        run = read_run(run.id)
    return str(to_machine_use(run) or "")
