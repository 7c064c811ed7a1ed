"""What people see of a run in Prefect's UI: Prefect artifacts, one key a run and kind."""

from typing import Any

from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_progress_artifact,
    create_table_artifact,
)

from switchyard.core.history.tables import to_epoch_rows
from switchyard.core.mlflow.export import Moved
from switchyard.core.runs.jobs import Progress
from tasks.pages import to_page_url, to_picture_url


def show_progress(quick_test_id: int, progress: Progress) -> None:
    """How far the training is; a new version of the same Prefect artifact each time."""
    done = 100 * progress.epochs_done / progress.epochs_asked
    create_progress_artifact(
        progress=min(100.0, done),
        key=f"quick-test-{quick_test_id}-progress",
        description=f"{progress.epochs_done} of {progress.epochs_asked} epochs trained",
    )


def show_history(quick_test_id: int, history: dict[str, Any]) -> None:
    """The sampled epochs, the final metrics, the picture of the loss curves, and the link to the page."""
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


def show_backfill_progress(settled: int, total: int) -> None:
    """How far a backfill is; a new version of the same Prefect artifact each time."""
    create_progress_artifact(
        progress=100 * settled / total,
        key="backfill-progress",
        description=f"{settled} of {total} runs published, or listed with a reason",
    )


def show_backfill(rows: list[dict[str, Any]]) -> None:
    """What a backfill did: the counts, and the runs that need somebody."""
    create_table_artifact(table=rows, key="backfill", description="what the backfill did, and what it could not")


def show_verify_progress(settled: int, total: int) -> None:
    """How far a verify is; a new version of the same Prefect artifact each time."""
    create_progress_artifact(
        progress=100 * settled / total, key="verify-progress", description=f"{settled} of {total} runs compared"
    )


def show_verify(rows: list[dict[str, Any]]) -> None:
    """What a verify found: the counts, whether MLflow may go, and the runs that are not verified."""
    create_table_artifact(table=rows, key="verify", description="what verify found, and where its manifest is")


def show_store_progress(key: str, moved: Moved) -> None:
    """How far an export or a restore is; a new version of the same Prefect artifact each time."""
    create_progress_artifact(
        progress=100 * moved.done / max(moved.rows, moved.done, 1),
        key=key,
        description=f"{moved.stage} {moved.table}: {moved.done} of {max(moved.rows, moved.done)} rows",
    )


def show_export(flow: str, rows: list[dict[str, Any]]) -> None:
    """The tables that were exported or restored."""
    create_table_artifact(table=rows, key=flow, description=f"what the {flow} holds, read back and compared")
