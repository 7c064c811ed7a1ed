"""What the flows of the group `decommission` take. Imports no Prefect."""

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

Name = Annotated[
    str,
    Meta(
        pattern="^[a-z0-9][a-z0-9-]{0,62}$",
        description="what this decommission is called: lower-case letters, digits and dashes",
    ),
]
DryRun = Annotated[bool, Meta(description="only read, and say what would be done: nothing is written anywhere")]
By = Annotated[
    str,
    Meta(
        max_length=200,
        description="who does it, for the record; empty: your user name on the command line, or what started the "
        "deployment's flow run, if Prefect knows",
    ),
]
KnownCallers = Annotated[
    tuple[str, ...],
    Meta(
        description="a caller of MLflow that is expected, such as your own reads: the whole name of a user agent or "
        "account, or a user agent in any version: 'python-requests/*'; it is one of the rules that people approve"
    ),
]
_PLACE = "^(|(file|gs)://.+)$"


class DecommissionPlanParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Find all that an MLflow deployment consists of, and show what would be done to it.

    Saves every description, id and policy; stops and deletes nothing. Name what you know: the rest is found by labels
    and references.
    """

    GROUPS: ClassVar[dict[str, tuple[str, ...]]] = {
        "common": ("name", "switched_at", "dry_run", "by"),
        "what to look for": (
            "services", "instances", "triggers", "buckets", "accounts", "secrets", "variables", "labels", "references",
            "controls", "regions",
        ),
        "what the gates ask": (
            "max_age_hours", "last_runs", "quiet_days", "quiet_again_days", "cost_days", "drill_runs", "approvals",
            "known_callers", "give_up",
        ),
        "where things are kept": ("export_uri", "folder_uri", "private_uri"),
    }  # fmt: skip

    name: Name = "mlflow"
    switched_at: Annotated[
        str,
        Meta(
            pattern=r"^(|\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d))$",
            description="the time since when no training needs MLflow, such as 2026-11-01T00:00:00Z",
        ),
    ] = ""
    services: Annotated[tuple[str, ...], Meta(description="a Cloud Run service")] = ()
    instances: Annotated[tuple[str, ...], Meta(description="a Cloud SQL instance")] = ()
    triggers: Annotated[tuple[str, ...], Meta(description="a Cloud Build trigger")] = ()
    buckets: Annotated[tuple[str, ...], Meta(description="a bucket, without gs://")] = ()
    accounts: Annotated[tuple[str, ...], Meta(description="the e-mail address of a service account")] = ()
    secrets: Annotated[tuple[str, ...], Meta(description="a secret of Secret Manager")] = ()
    variables: Annotated[
        tuple[str, ...],
        Meta(description="a variable of other services and jobs that points to it, perhaps with *: 'MLFLOW_*'"),
    ] = ()
    labels: Annotated[tuple[str, ...], Meta(description="a label that its resources have: app=mlflow")] = ()
    references: Annotated[
        tuple[str, ...],
        Meta(description="what other services name it by in their variables: its host, its connection name"),
    ] = ()
    controls: Annotated[
        tuple[str, ...],
        Meta(
            description="a resource that stays, as kind=name, which proves that a list is whole: run-service=api; "
            "kinds: run-service, sql-instance, build-trigger, bucket, service-account, secret"
        ),
    ] = ()
    regions: Annotated[tuple[str, ...], Meta(description="a region to look in; none: GCP_REGION")] = ()
    max_age_hours: Annotated[
        int, Meta(ge=1, le=168, description="how old verify's manifest and the drill may be at most")
    ] = 24
    last_runs: Annotated[int, Meta(ge=1, le=100, description="completed runs that must have come without MLflow")] = 3
    quiet_days: Annotated[
        int, Meta(ge=1, le=400, description="days before the stop for which requests to MLflow are looked at")
    ] = 7
    quiet_again_days: Annotated[int, Meta(ge=1, le=400, description="days between the stop and the deletion")] = 7
    cost_days: Annotated[int, Meta(ge=1, le=90, description="full days without costs after the deletion")] = 7
    drill_runs: Annotated[int, Meta(ge=1, le=1_000, description="runs that the restored MLflow must answer for")] = 3
    approvals: Annotated[
        int, Meta(ge=1, le=10, description="people who must approve; from 2 on by signed statements")
    ] = 1
    known_callers: KnownCallers = ()
    give_up: Annotated[
        tuple[str, ...],
        Meta(
            description="what may be lost: a kind of what MLflow holds, as `switchyard verify --give-up` names it; a "
            "database as instance/name; a service, job or trigger that needs something of the plan, by its full name"
        ),
    ] = ()
    export_uri: Annotated[
        str, Meta(pattern=_PLACE, description="the export of MLflow; empty: mlflow-export below ARTIFACTS_URI")
    ] = ""
    folder_uri: Annotated[
        str,
        Meta(
            pattern=_PLACE,
            description="where inventory and record are kept; empty: decommission below ARTIFACTS_URI",
        ),
    ] = ""
    private_uri: Annotated[
        str,
        Meta(
            pattern=_PLACE,
            description="where the values of variables are kept, which may be passwords; empty: private below "
            "the folder of the inventory; in a bucket, give few people the right to read it",
        ),
    ] = ""
    dry_run: DryRun = False
    by: By = ""


class DecommissionStatusParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Show how far a decommission is, and what comes next. Changes nothing."""

    name: Name = "mlflow"


class DecommissionNextParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Go one state further, or say why not.

    Reads the evidence again, holds it against the gate, and only then acts. Run again after any trouble, it goes on.
    """

    name: Name = "mlflow"
    confirm: Annotated[
        str,
        Meta(
            pattern="^(|(sha256:)?[0-9a-f]{12,64})$",
            description="the digest over inventory and rules, as plan and status show it, or its first 12 digits or "
            "more: you approve the deletion of all that the inventory lists, by these rules",
        ),
    ] = ""
    known_callers: KnownCallers = ()
    costs_seen: Annotated[
        bool, Meta(description="you have looked at the bill yourself, because no billing export is named")
    ] = False
    mlflow_environment: Annotated[
        str,
        Meta(
            description="for the restore drill: the folder of a Python environment with an MLflow of the exported "
            "schema; empty: the one below STATE_DIR that `make mlflow` or `make test-mlflow` made"
        ),
    ] = ""
    dry_run: DryRun = False
    by: By = ""


class DecommissionUndoParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Start what was stopped, and bring back what was deleted, in reverse.

    Deleted things come back as far as Google Cloud still keeps them, or can be made again from what was saved.
    """

    name: Name = "mlflow"
    dry_run: DryRun = False
    by: By = ""


class DecommissionRecordParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Write what was done, when, by whom, with which proof, and what it saves: as Markdown and as JSON."""

    name: Name = "mlflow"
    dry_run: DryRun = False
