"""A project with all its services, and an MLflow deployment in it beside what is none of its business."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from tests.emulators.google.bigquery import BigQuery
from tests.emulators.google.cloudbuild import Build
from tests.emulators.google.iam import Iam, ResourceManager
from tests.emulators.google.logging import Logging
from tests.emulators.google.monitoring import Monitoring
from tests.emulators.google.policies import Policies
from tests.emulators.google.run import Run
from tests.emulators.google.secretmanager import Secrets
from tests.emulators.google.sqladmin import Sql
from tests.emulators.google.storage import Storage
from tests.emulators.google.world import World

REGION, OTHER_REGION = "europe-west1", "us-central1"
EMAIL = "mlflow-server@acme-ml.iam.gserviceaccount.com"
API_EMAIL = "api@acme-ml.iam.gserviceaccount.com"
IMAGE = f"{REGION}-docker.pkg.dev/acme-ml/tools/mlflow@sha256:{'ab' * 32}"
CONNECTION = f"acme-ml:{REGION}:mlflow-db"
EXPORT = "acme-ml.billing.gcp_billing_export_resource_v1_0A1B2C"


@dataclass
class Project:
    """One project. `world` has the clock, the faults, the log and the snapshot."""

    world: World = field(default_factory=World)

    def __post_init__(self) -> None:
        world = self.world
        self.policies = Policies(world)
        self.run, self.sql, self.build = Run(world, self.policies), Sql(world), Build(world)
        self.iam, self.manager = Iam(world, self.policies), ResourceManager(world, self.policies)
        self.secrets, self.storage = Secrets(world, self.policies), Storage(world, self.policies)
        self.monitoring, self.logging, self.bigquery = Monitoring(world), Logging(world), BigQuery(world)
        for service in (
            self.policies, self.run, self.sql, self.build, self.iam, self.manager, self.secrets, self.storage,
            self.monitoring, self.logging, self.bigquery,
        ):  # fmt: skip
            world.add(service)


def plant_mlflow(project: Project | None = None) -> Project:
    """An MLflow server as people have it, and a neighbour of each sort, which nothing may touch.

    It is Cloud Run, Cloud SQL, a bucket, secrets, an account, triggers; two services and a job that use it.
    """
    project = project or Project()
    _plant_accounts(project)
    _plant_data(project)
    _plant_services(project)
    project.build.plant_trigger(REGION, "mlflow-deploy", filename="mlflow/cloudbuild.yaml", tags=["mlflow"])
    project.build.plant_trigger(
        "global", "mlflow-nightly", filename="mlflow/nightly.yaml", substitutions={"_S": "mlflow"}
    )
    project.build.plant_trigger("global", "shop-deploy", filename="shop/cloudbuild.yaml")
    project.build.plant_trigger(REGION, "another", filename="other.yaml")
    return project


def _plant_accounts(project: Project) -> None:
    project.iam.plant_account("mlflow-server", displayName="MLflow")
    project.iam.plant_account("api")
    project.iam.plant_account("ci")
    account, api = f"serviceAccount:{EMAIL}", f"serviceAccount:{API_EMAIL}"
    in_time = {"title": "until 2027", "expression": "request.time < timestamp('2027-01-01T00:00:00Z')"}
    project.policies.plant(
        "project/acme-ml",
        {"role": "roles/owner", "members": ["user:owner@example.com"]},
        {"role": "roles/cloudsql.client", "members": [api, account]},
        {"role": "roles/logging.logWriter", "members": [account], "condition": in_time},
        {"role": "roles/logging.logWriter", "members": [api]},
    )
    project.policies.plant(
        f"iam/projects/acme-ml/serviceAccounts/{EMAIL}",
        {"role": "roles/iam.serviceAccountUser", "members": ["serviceAccount:ci@acme-ml.iam.gserviceaccount.com"]},
    )


def _plant_data(project: Project) -> None:
    labels = {"app": "mlflow"}
    backups = {"backupConfiguration": {"enabled": True}}
    project.sql.plant_instance("mlflow-db", REGION, databases=("mlflow",), userLabels=labels, **backups)
    project.sql.plant_instance("shop-db", OTHER_REGION, databases=("shop",))
    project.sql.plant_backup("mlflow-db")
    project.sql.plant_backup("shop-db")
    project.storage.plant_bucket("acme-mlflow", labels=labels, versioning={"enabled": True})
    project.storage.plant_object("acme-mlflow", "1/abc/artifacts/model.keras", 1000)
    project.storage.plant_object("acme-mlflow", "1/abc/artifacts/model.keras", 1200)
    project.storage.plant_object("acme-mlflow", "1/abc/artifacts/a b#c?.txt", 20)
    project.storage.plant_bucket("acme-shop")
    project.storage.plant_object("acme-shop", "picture.png", 5)
    project.policies.plant(
        "storage/acme-mlflow",
        {"role": "roles/storage.objectAdmin", "members": [f"serviceAccount:{EMAIL}"]},
        {"role": "roles/storage.legacyBucketOwner", "members": ["projectOwner:acme-ml"]},
    )
    project.policies.plant(
        "storage/acme-shop", {"role": "roles/storage.objectViewer", "members": [f"serviceAccount:{API_EMAIL}"]}
    )
    project.secrets.plant_secret("mlflow-password", versions=2, labels=labels)
    project.secrets.plant_secret("shop-key")
    project.policies.plant(
        "secretmanager/projects/acme-ml/secrets/mlflow-password",
        {"role": "roles/secretmanager.secretAccessor", "members": [f"serviceAccount:{EMAIL}"]},
    )


def _plant_requests(project: Project, service: str) -> None:
    """MLflow was in use, until ten days ago."""
    for days in (20, 10):
        at = project.world.start - timedelta(days=days)
        project.logging.plant_request(service, "mlflow-python-client/2.9.2", at)
        project.monitoring.plant_requests(service, 1, at + timedelta(seconds=60))


def _plant_services(project: Project) -> None:
    mlflow: dict[str, Any] = {
        "serviceAccount": EMAIL,
        "containers": [
            {
                "image": IMAGE,
                "env": [
                    {"name": "MLFLOW_BACKEND_HOST", "value": f"/cloudsql/{CONNECTION}"},
                    {
                        "name": "PASSWORD",
                        "valueSource": {"secretKeyRef": {"secret": "mlflow-password", "version": "latest"}},
                    },
                ],
                "resources": {"limits": {"memory": "2Gi"}},
            }
        ],
        "volumes": [{"name": "cloudsql", "cloudSqlInstance": {"instances": [CONNECTION]}}],
        "scaling": {"maxInstanceCount": 1},
    }
    latest = {"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100}
    full = project.run.plant_service(REGION, "mlflow", labels={"app": "mlflow"}, template=mlflow)
    revision = project.run.services[full]["latestReadyRevision"].split("/")[-1]
    by_name = {"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", "revision": revision, "tag": "debug"}
    project.run.services[full]["traffic"] = [latest, by_name]
    _plant_requests(project, full)
    project.policies.plant(f"run/{full}", {"role": "roles/run.invoker", "members": [f"serviceAccount:{API_EMAIL}"]})
    url = project.run.services[full]["uri"]
    env = [
        {"name": "MODE", "value": "live"},
        {"name": "MLFLOW_TRACKING_URI", "value": url},
        {"name": "LOG_LEVEL", "value": "info"},
        {"name": "TRACKING_PASSWORD", "valueSource": {"secretKeyRef": {"secret": "mlflow-password", "version": "1"}}},
    ]
    project.run.plant_service(
        OTHER_REGION, "api", template={"revision": "api-00001-abc", "containers": [{"image": "img/api", "env": env}]}
    )
    project.run.plant_service(REGION, "shop", template={"containers": [{"image": "img/shop"}]})
    project.run.plant_job(
        REGION,
        "train",
        template={
            "taskCount": 1,
            "template": {"containers": [{"image": "img/train", "env": env[1:3]}], "timeout": "600s"},
        },
    )
    project.run.plant_job(REGION, "report", template={"template": {"containers": [{"image": "img/report"}]}})
