"""What people see of a run in Prefect's UI: names of flow runs, and Prefect artifacts, one key a run and kind."""

from typing import Any
from uuid import UUID

import httpx
from prefect import get_run_logger
from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext

from switchyard.core.history.tables import to_epoch_rows
from switchyard.core.mlflow.export import Moved
from switchyard.core.runs.jobs import JobReport, Progress
from tasks.pages import to_page_url, to_picture_url


def name_flow_run(name: str) -> None:
    """Renames the flow run that calls it, by one request.

    A second call with the same name, and a call outside of any flow run, asks nothing.

    A name is for people only: if Prefect's server does not take it, the flow goes on under the name that it has.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None or context.flow_run.name == name:
        return
    try:
        with get_client(sync_client=True) as client:
            client.set_flow_run_name(context.flow_run.id, name)
    except httpx.HTTPError as err:
        get_run_logger().warning("Prefect's server did not take the name %r of this flow run: %s", name, err)
        return
    context.flow_run.name = name


class _ProgressArtifact:
    """One Prefect artifact of a flow run: the first call makes it, each further one updates it."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._id: UUID | None = None

    def _show(self, percent: float, description: str) -> None:
        percent = min(100.0, percent)
        if self._id is not None:
            try:
                update_progress_artifact(self._id, progress=percent, description=description)
            except httpx.HTTPStatusError as err:
                if err.response.status_code != httpx.codes.NOT_FOUND:  # someone deleted it: made again below
                    raise
            else:
                return
        # A coroutine only if the caller is one.
        made: Any = create_progress_artifact(progress=percent, key=self._key, description=description)
        self._id = made


class TrainingProgress(_ProgressArtifact):
    """How far the training of a run is."""

    def __init__(self, quick_test_id: int) -> None:
        super().__init__(f"quick-test-{quick_test_id}-progress")

    def show(self, progress: Progress) -> None:
        """Shows how many epochs are trained."""
        done, asked = progress.epochs_done, progress.epochs_asked
        self._show(100 * done / asked, f"{done} of {asked} epochs trained")


class BatchProgress(_ProgressArtifact):
    """How many runs a flow has settled; `what` says how, such as ``compared``."""

    def __init__(self, flow: str, what: str) -> None:
        super().__init__(f"{flow}-progress")
        self._what = what

    def show(self, settled: int, total: int) -> None:
        """Shows that `settled` of `total` runs are."""
        self._show(100 * settled / total, f"{settled} of {total} runs {self._what}")


class StoreProgress(_ProgressArtifact):
    """How far an export or a restore is."""

    def show(self, moved: Moved) -> None:
        """Shows the rows of one stage and table."""
        rows, what = max(moved.rows, moved.done), f"{moved.stage} {moved.table}".strip()
        self._show(100 * moved.done / max(rows, 1), f"{what}: {moved.done} of {rows} {moved.unit}")


def show_job(quick_test_id: int, report: JobReport) -> None:
    """Shows where the job and its log are, as soon as there is a job; those of a later attempt replace them.

    Files of this machine are not links, because a browser would not follow them.
    """
    for key, text, uri in (("job", "the job", report.page_uri), ("log", "the job's log", report.log_uri)):
        if uri.startswith("https://"):
            create_link_artifact(link=uri, link_text=text, key=f"quick-test-{quick_test_id}-{key}")


def show_history(quick_test_id: int, history: dict[str, Any]) -> None:
    """Shows the sampled epochs, the final metrics, the picture of the loss curves, and the link to the page."""
    prefix = f"quick-test-{quick_test_id}"
    create_table_artifact(
        table=to_epoch_rows(history),
        key=f"{prefix}-epochs",
        description=f"the published epochs of quick test {quick_test_id}",
    )
    create_table_artifact(
        table=[{"metric": name, "value": value} for name, value in (history.get("final_metrics") or {}).items()],
        key=f"{prefix}-final-metrics",
        description=f"the final metrics of quick test {quick_test_id}",
    )
    create_image_artifact(
        image_url=to_picture_url(quick_test_id),
        key=f"{prefix}-loss-curves",
        description=f"loss curves of quick test {quick_test_id}, drawn by serving",
    )
    create_link_artifact(link=to_page_url(quick_test_id), link_text="the run's page", key=f"{prefix}-page")


def show_backfill(rows: list[dict[str, Any]]) -> None:
    """Shows what a backfill did: the counts, and the runs that someone must look at."""
    create_table_artifact(table=rows, key="backfill", description="what the backfill did, and what it could not")


def show_fill(rows: list[dict[str, Any]]) -> None:
    """Shows what a fill did: the counts, and the runs that lack their series or their values."""
    create_table_artifact(table=rows, key="fill", description="which runs have every curve now, and which have not")


def show_verify(rows: list[dict[str, Any]]) -> None:
    """Shows what a verify found: the counts, whether MLflow may go, and the runs that are not verified."""
    create_table_artifact(table=rows, key="verify", description="what verify found, and where its manifest is")


def show_artifacts(act: str, rows: list[dict[str, Any]]) -> None:
    """Shows which of MLflow's artifacts are there, were copied, or are kept, and which are not."""
    create_table_artifact(table=rows, key=f"artifacts-{act}", description=f"what artifacts {act} found")


def show_clean(rows: list[dict[str, Any]]) -> None:
    """Shows what is stale, or was deleted, and what is not recognised."""
    create_table_artifact(table=rows, key="clean", description="what clean found, and what became of it")


def show_decommission(act: str, lines: list[str]) -> None:
    """Shows what a decommission's flow said."""
    text = "\n".join(lines)
    create_markdown_artifact(
        markdown=text if act == "record" else f"```text\n{text}\n```",
        key=f"decommission-{act}",
        description=f"what decommission {act} said",
    )


def show_export(flow: str, rows: list[dict[str, Any]]) -> None:
    """Shows the tables that were exported or restored."""
    create_table_artifact(table=rows, key=flow, description=f"what the {flow} holds, read back and compared")
