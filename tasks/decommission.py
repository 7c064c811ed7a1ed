"""The outside effects of `decommission`: each task is one call. After an interruption it goes on where it was."""

import time
from datetime import UTC, datetime
from pathlib import Path

from switchyard.clients.connect import connect
from switchyard.clients.local_servers import find_page_problem
from switchyard.core.decommission.outcomes import Planned, Status, Taken, Wanted
from switchyard.core.decommission.record import Record
from switchyard.core.decommission.resources import Sought
from switchyard.core.decommission.rules import Rules
from switchyard.services import decommission
from switchyard.services.decommission_approvals import FolderApprovals
from switchyard.services.decommission_evidence import OutsideEvidence
from switchyard.services.decommission_looking import Site
from switchyard.services.drill import RestoreDrill
from tasks.pages import to_page_url
from tasks.policy import effect

_ENTRYPOINT = Path(__file__).parents[1] / "deployments" / "mlflow" / "entrypoint.py"


@effect
def plan_decommission(name: str, sought: Sought, rules: Rules, by: str, dry_run: bool) -> Planned:
    """Finds all, saves it, and begins the walk. A second call that finds the same changes nothing."""
    return decommission.plan(_to_site(), name, sought, rules, by=by, dry_run=dry_run)


@effect
def read_decommission(name: str) -> Status:
    """Reads how far a decommission is."""
    return decommission.read_status(_to_site(), name)


@effect
def take_next_state(name: str, wanted: Wanted, mlflow_environment: str = "") -> Taken:
    """Goes one state further. A retry goes on with what the try before has noted."""
    return decommission.take_next(_to_site(mlflow_environment), name, wanted)


@effect
def undo_decommission(name: str, by: str, dry_run: bool) -> Taken:
    """Takes back what was done. A retry goes on with what is left."""
    return decommission.undo(_to_site(), name, by=by, dry_run=dry_run)


@effect
def record_decommission(name: str, dry_run: bool) -> tuple[Record, tuple[str, ...]]:
    """Writes the record. A second call writes over it."""
    return decommission.write_record(_to_site(), name, dry_run=dry_run)


def to_default_places(export_uri: str, folder_uri: str) -> tuple[str, str]:
    """Returns the default places of the export, and of inventory and record. It is not a task: nothing is asked."""
    at = connect().settings.artifacts_uri
    return export_uri.rstrip("/") or f"{at}/mlflow-export", folder_uri.rstrip("/") or f"{at}/decommission"


def to_default_project(regions: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Returns the project that is meant by default. It is not a task: nothing is asked."""
    settings = connect().settings
    return settings.gcp_project_id, regions or tuple(filter(None, (settings.gcp_region,)))


def now() -> datetime:
    """Returns the present time. It is not a task: nothing is asked."""
    return datetime.now(UTC)


def _to_site(mlflow_environment: str = "") -> Site:
    outside = connect()
    evidence = OutsideEvidence(
        outside,
        find_page_problem=lambda id_: find_page_problem(to_page_url(id_), outside.settings.api_token),
        drill=RestoreDrill(outside, entrypoint=_ENTRYPOINT, environment=mlflow_environment),
        approvals=FolderApprovals(outside),
    )
    return Site(
        open_clouds=outside.open_clouds,
        decommissions=outside.decommissions,
        objects=outside.objects,
        private_objects=outside.private_objects,
        evidence=evidence,
        clock=now,
        pause=time.sleep,
    )
