"""A deployment on paper, and evidence of it that passes every gate."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from switchyard.core.decommission.evidence import (
    ApprovalEvidence,
    Approver,
    CostEvidence,
    DrillEvidence,
    EvidenceSet,
    ExportEvidence,
    FoundNow,
    GoneEvidence,
    InventoryEvidence,
    KeptEvidence,
    KeptKind,
    PublishedEvidence,
    PublishedRun,
    QuietEvidence,
    ResourceNow,
    StopEvidence,
    UseEvidence,
    VerifyEvidence,
)
from switchyard.core.decommission.gates import Against
from switchyard.core.decommission.inventory import Inventory
from switchyard.core.decommission.requests import Control
from switchyard.core.decommission.resources import Activity, Caller, Cost, Found, Kept, Kind, Resource, Sought
from switchyard.core.decommission.rules import Rules, to_approved_digest

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
PROJECT = "projects/shop-1"
REGION = f"{PROJECT}/locations/europe-west1"
SERVICE = f"{REGION}/services/mlflow"
INSTANCE = f"{PROJECT}/instances/mlflow-db"
REPLICA = f"{PROJECT}/instances/a-replica"
TRIGGER = f"{REGION}/triggers/mlflow-push"
BUCKET = f"{PROJECT}/buckets/mlflow-artifacts"
ACCOUNT = f"{PROJECT}/serviceAccounts/mlflow@shop-1.iam.gserviceaccount.com"
SECRET = f"{PROJECT}/secrets/mlflow-password"
VARIABLE = f"{REGION}/services/api#env MLFLOW_TRACKING_URI"
BINDING = f"{PROJECT}#roles/cloudsql.client"
NAMES = {
    Kind.RUN_SERVICE: (SERVICE,),
    Kind.SQL_INSTANCE: (REPLICA, INSTANCE),
    Kind.BUILD_TRIGGER: (TRIGGER,),
    Kind.BUCKET: (BUCKET,),
    Kind.SERVICE_ACCOUNT: (ACCOUNT,),
    Kind.SECRET: (SECRET,),
    Kind.VARIABLE: (VARIABLE,),
    Kind.BINDING: (BINDING, f"{BUCKET}#roles/storage.objectAdmin"),
}
SWITCHED = NOW - timedelta(days=30)
RULES = Rules(
    switched_at=SWITCHED,
    known_callers=("switchyard/*",),
    export_uri="gs://kept/export",
    folder_uri="gs://kept/decommission",
)
SOUGHT = Sought(
    project="shop-1",
    regions=("europe-west1",),
    names={kind: tuple(name.rpartition("/")[2] for name in names) for kind, names in NAMES.items()},
    references=("mlflow-abc.a.run.app",),
    controls={Kind.RUN_SERVICE: "serving"},
)


def make_resource(kind: Kind, name: str) -> Resource:
    description = {"name": name}
    if name == REPLICA:
        description["masterInstanceName"] = "shop-1:mlflow-db"
    more: dict[str, object] = {"replicaNames": ["a-replica"]} if name == INSTANCE else {}
    return Resource(
        kind=kind,
        name=name,
        unique_id=f"id of {name}",
        version="v1",
        found_by=("name",),
        description={**description, **more},
        guards=("It has the replica a-replica.",) if name == INSTANCE else (),
        parts={"databases": ["mlflow", "postgres"]} if name == INSTANCE else {},
    )


def make_inventory(sought: Sought = SOUGHT) -> Inventory:
    return Inventory(
        sought=sought,
        found=tuple(
            Found(
                kind=kind,
                resources=tuple(make_resource(kind, name) for name in NAMES[kind]),
                listed=len(NAMES[kind]) + 1,
                places=("global", "europe-west1"),
                control=sought.controls.get(kind, ""),
            )
            for kind in Kind
        ),
    )


INVENTORY = make_inventory()
DIGEST = INVENTORY.digest


def make_now(name: str, kind: Kind, *, activity: Activity = Activity.STOPPED) -> ResourceNow:
    return ResourceNow(kind=kind, name=name, expected_version="v2", version="v2", activity=activity)


BACKUP = Kept(what="projects/shop-1/backups/1 on demand", state="SUCCESSFUL", name="projects/shop-1/backups/1")
FINAL = Kept(
    what="projects/shop-1/backups/2 FINAL",
    state="SUCCESSFUL",
    until=NOW + timedelta(days=30),
    name="projects/shop-1/backups/2",
)
CONTROL = Control(service=SERVICE, since=NOW - timedelta(days=37), logged_at=NOW - timedelta(days=9), counted=30)
STOPPED_AT = NOW - timedelta(days=8)
DELETED_AT = NOW - timedelta(days=9)


def make_evidence() -> EvidenceSet:
    """All of it, as it is where nothing is wrong."""
    of: dict[str, Any] = {"inventory": DIGEST, "read_at": NOW - timedelta(minutes=1)}
    verified = NOW - timedelta(hours=2)
    return {
        "inventory": InventoryEvidence(
            **of,
            resources=tuple(make_now(one.name, one.kind, activity=Activity.ACTIVE) for one in INVENTORY.resources),
        ),
        "verify": VerifyEvidence(
            **of,
            manifest_uri="gs://kept/manifests/verify-1.json",
            manifest_digest="sha256:" + "1" * 64,
            format=3,
            verified_at=verified,
            database_id="abc",
            own_database_id="abc",
            is_all=True,
            safe=True,
            manifest_runs=40,
            mlflow_runs=40,
        ),
        "published": PublishedEvidence(
            **of,
            runs=tuple(
                PublishedRun(quick_test_id=90 - day, completed_at=NOW - timedelta(days=day), source="file")
                for day in (1, 2, 3)
            ),
        ),
        "kept": KeptEvidence(**of, counted=True, kinds=(KeptKind(kind="artifacts"), KeptKind(kind="registry"))),
        "export": ExportEvidence(
            **of,
            uri="gs://kept/export",
            digest="sha256:" + "2" * 64,
            taken_at=NOW - timedelta(hours=3),
            runs=40,
            mlflow_runs=40,
        ),
        "drill": DrillEvidence(
            **of,
            export_digest="sha256:" + "2" * 64,
            drilled_at=NOW - timedelta(hours=2),
            mlflow_version="3.17.2",
            asked_runs=3,
            of_runs=5,
            equal_runs=3,
            registry_equal=True,
            artifacts_equal=True,
            artifacts_compared=3,
        ),
        "quiet": QuietEvidence(
            **of,
            verified_at=verified,
            newest_run_at=SWITCHED,
            newest_run="f" * 32,
            newest_point_at=SWITCHED,
            since=NOW - timedelta(days=7),
            until=NOW,
            services=(SERVICE,),
            requests=12,
            callers=(Caller(who="switchyard/0.2.0 (ours@shop)", requests=12, last_at=verified),),
            controls=(CONTROL,),
        ),
        "stop": StopEvidence(
            **of,
            resources=(make_now(SERVICE, Kind.RUN_SERVICE), make_now(BUCKET, Kind.BUCKET, activity=Activity.STOPPED)),
            backups=((INSTANCE, (BACKUP,)),),
        ),
        "use": UseEvidence(
            **of,
            stopped_at=STOPPED_AT,
            since=STOPPED_AT - timedelta(minutes=5),
            frozen_digest="sha256:" + "3" * 64,
            services=(SERVICE,),
            controls=(msgspec.structs.replace(CONTROL, counted=0),),
        ),
        "approval": ApprovalEvidence(
            **of,
            approvers=(
                Approver(
                    who="ann",
                    how="typed",
                    digest=to_approved_digest(DIGEST, RULES),
                    state="approved",
                    approved_at=NOW - timedelta(hours=1),
                ),
            ),
        ),
        "gone": GoneEvidence(
            **of,
            found=tuple(
                FoundNow(kind=kind, had=1, listed=1, places=("global", "europe-west1"), control="serving")
                for kind in Kind
            ),
            asked_places=("europe-west1",),
            controls=(Kind.RUN_SERVICE,),
            backups=((INSTANCE, (BACKUP, FINAL)),),
        ),
        "cost": CostEvidence(
            **of,
            deleted_at=DELETED_AT,
            since=datetime(2026, 11, 12, tzinfo=UTC),
            until=datetime(2026, 11, 20, tzinfo=UTC),
            query="SELECT 1",
            was_asked=True,
            costs=(Cost(resource=SERVICE, amount=0.0, currency="EUR"),),
        ),
    }


def make_against(rules: Rules = RULES, now: datetime = NOW) -> Against:
    return Against(inventory=DIGEST, rules=rules, now=now)


def change(name: str, **changed: object) -> EvidenceSet:
    """All evidence, with one piece planted wrong."""
    found = make_evidence()
    found[name] = msgspec.structs.replace(found[name], **changed)
    return found
