"""What the gates look at. Each piece says when it was read, and for which inventory; it is stored, printed and ages."""

from datetime import datetime
from typing import Final

import msgspec

from switchyard.core.decommission.databases import Databases
from switchyard.core.decommission.inventory import to_digest
from switchyard.core.decommission.requests import Control
from switchyard.core.decommission.resources import Activity, Caller, Cost, Kept, Kind
from switchyard.core.decommission.users import UsedBy


class Evidence(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="evidence"):
    """What was read, and when."""

    inventory: str  # the digest that it speaks of
    read_at: datetime


class ResourceNow(msgspec.Struct, frozen=True, kw_only=True):
    """A resource of the inventory as it is now."""

    kind: Kind
    name: str
    expected_version: str
    version: str = ""
    is_there: bool = True
    is_same: bool = True  # by its unique id
    activity: Activity = Activity.ACTIVE
    managed_by: str = ""
    guards: tuple[str, ...] = ()  # those that no earlier act of the walk takes away
    missing_permissions: tuple[str, ...] = ()
    newer: tuple[str, ...] = ()  # objects of a bucket that are not in the inventory


class InventoryEvidence(Evidence, frozen=True, kw_only=True, tag="inventory"):
    """Whether what the inventory says still is so: read before the first act."""

    resources: tuple[ResourceNow, ...]
    unlisted: tuple[str, ...] = ()  # found now, and not in the inventory
    without_control: tuple[Kind, ...] = ()  # kinds of which nothing else is listed, and no control is named
    folder_problems: tuple[str, ...] = ()
    users: tuple[UsedBy, ...] = ()  # what is not of the plan, and needs something of it
    databases: tuple[Databases, ...] = ()  # on each instance, as it was when it ran last


class VerifyEvidence(Evidence, frozen=True, kw_only=True, tag="verify"):
    """A manifest of `switchyard verify`, beside MLflow as it is now."""

    manifest_uri: str
    manifest_digest: str
    format: int
    verified_at: datetime
    database_id: str
    own_database_id: str
    is_all: bool  # no run was left out
    safe: bool
    not_safe: tuple[str, ...] = ()
    failed: int = 0
    manifest_runs: int  # runs of MLflow that it names
    mlflow_runs: int  # in MLflow now, deleted ones too
    unseen: tuple[str, ...] = ()  # present MLflow runs that it does not name; the first of them


class PublishedRun(msgspec.Struct, frozen=True, kw_only=True):
    """A completed run of ours."""

    quick_test_id: int
    completed_at: datetime
    source: str  # of its published history
    page_problem: str = ""  # why its page did not open; empty: it did


class PublishedEvidence(Evidence, frozen=True, kw_only=True, tag="published"):
    """The newest completed runs, the newest first."""

    runs: tuple[PublishedRun, ...]


class KeptKind(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of what MLflow holds besides its runs."""

    kind: str
    missing: str = ""  # what of it is kept nowhere, in words; empty: all of it is kept


class KeptEvidence(Evidence, frozen=True, kw_only=True, tag="kept"):
    """What else MLflow holds, as verify's manifest counts it."""

    counted: bool  # a manifest before format 3 counts none
    kinds: tuple[KeptKind, ...] = ()


class ExportEvidence(Evidence, frozen=True, kw_only=True, tag="export"):
    """The export, every part of it read again."""

    uri: str
    digest: str  # of its marker
    taken_at: datetime
    runs: int
    mlflow_runs: int  # in MLflow now
    missing: tuple[str, ...] = ()  # runs and models that could not be read
    problem: str = ""  # what is damaged


class DrillEvidence(Evidence, frozen=True, kw_only=True, tag="drill"):
    """A real MLflow over a database that was restored from the export."""

    export_digest: str
    drilled_at: datetime
    mlflow_version: str
    asked_runs: int
    of_runs: int  # that the export holds
    equal_runs: int
    registry_equal: bool
    artifacts_equal: bool  # false if none were compared
    artifacts_compared: int = 0  # runs of which the copied artifacts were read again; 0 also if it was not counted
    differences: tuple[str, ...] = ()


class QuietEvidence(Evidence, frozen=True, kw_only=True, tag="quiet"):
    """Whether anyone still uses MLflow."""

    verified_at: datetime  # the manifest's
    newest_run_at: datetime | None = None  # started or ended
    newest_run: str = ""
    newest_point_at: datetime | None = None
    since: datetime
    until: datetime
    services: tuple[str, ...] = ()  # their metric and log were read
    requests: int = 0  # by the service's metric
    callers: tuple[Caller, ...] = ()  # by the request log
    edge: int = 0  # requests that the log has just before, and the metric may count in that time
    controls: tuple[Control, ...] = ()  # one a service


class StopEvidence(Evidence, frozen=True, kw_only=True, tag="stop"):
    """What was stopped, read back."""

    resources: tuple[ResourceNow, ...]
    backups: tuple[tuple[str, tuple[Kept, ...]], ...] = ()  # by instance: what is kept of it


class UseEvidence(Evidence, frozen=True, kw_only=True, tag="use"):
    """Whether anyone missed MLflow, or started anything again, since it was looked at last."""

    stopped_at: datetime
    since: datetime  # when MLflow was looked at last
    frozen_digest: str  # of that look
    callers: tuple[Caller, ...] = ()
    starts: tuple[str, ...] = ()  # without our own operations
    services: tuple[str, ...] = ()  # their metric and log were read
    requests: int = 0  # by the metric
    edge: int = 0  # as in `QuietEvidence`
    controls: tuple[Control, ...] = ()  # one a service


class Approver(msgspec.Struct, frozen=True, kw_only=True):
    """A verified approval."""

    who: str
    how: str  # "typed", "ssh signature", "Google ID token"
    digest: str
    state: str  # that may be entered with it
    approved_at: datetime
    expires_at: datetime | None = None


class ApprovalEvidence(Evidence, frozen=True, kw_only=True, tag="approval"):
    """Who approved, as far as it could be verified."""

    approvers: tuple[Approver, ...]
    refused: tuple[str, ...] = ()  # what was handed in, and proves nothing
    flow_account: str = ""  # who runs the flow: no approver of their own act where two are asked for


class FoundNow(msgspec.Struct, frozen=True, kw_only=True):
    """The lists of one kind, after the deletion."""

    kind: Kind
    had: int = 0  # resources of this kind in the inventory
    still_there: tuple[str, ...] = ()
    listed: int
    places: tuple[str, ...]
    control: str = ""
    unseen: tuple[str, ...] = ()  # what of this kind no list shows: said here, because it is not proved
    problem: str = ""  # why the lists prove nothing
    had_places: tuple[str, ...] = ()  # that the inventory was asked in


class GoneEvidence(Evidence, frozen=True, kw_only=True, tag="gone"):
    """Evidence that deleted resources are gone: whole lists without them."""

    found: tuple[FoundNow, ...]
    asked_places: tuple[str, ...]  # the regions that were sought in
    controls: tuple[Kind, ...]  # kinds for which the plan has a control
    backups: tuple[tuple[str, tuple[Kept, ...]], ...] = ()  # by instance
    deleted_members: tuple[str, ...] = ()  # bindings of accounts that are gone
    variables: tuple[str, ...] = ()  # that still point to the deployment


class CostEvidence(Evidence, frozen=True, kw_only=True, tag="cost"):
    """What the resources cost since they were deleted."""

    deleted_at: datetime  # the last of them
    since: datetime
    until: datetime
    query: str
    was_asked: bool  # a billing export is named, and answered
    problem: str = ""  # why the one that is named did not answer
    costs: tuple[Cost, ...] = ()
    expected: tuple[str, ...] = ()  # by name: what is or was kept on purpose, and billed; a backup, not its instance
    kept: tuple[tuple[str, tuple[str, ...]], ...] = ()  # by resource: in words, what is or was kept of it
    waiting: tuple[tuple[str, tuple[Kept, ...]], ...] = ()  # what is to be swept, and is not empty yet


AnyEvidence = (
    InventoryEvidence
    | VerifyEvidence
    | PublishedEvidence
    | KeptEvidence
    | ExportEvidence
    | DrillEvidence
    | QuietEvidence
    | StopEvidence
    | UseEvidence
    | ApprovalEvidence
    | GoneEvidence
    | CostEvidence
)
EvidenceSet = dict[str, AnyEvidence]
"""All evidence, by the tag of each kind."""

NOTHING: Final = "{}"


def to_json(found: EvidenceSet) -> str:
    """Returns the text that is stored: strict JSON."""
    return msgspec.json.encode(found, order="sorted").decode()


def from_json(text: str) -> EvidenceSet:
    """Reads what `to_json` wrote."""
    return msgspec.json.decode(text, type=EvidenceSet)


def to_evidence_digest(found: EvidenceSet) -> str:
    """Returns the digest by which frozen evidence is named later."""
    return to_digest(to_json(found).encode())
