"""Puts the adapters of a decommission together. Nothing else does."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from switchyard.clients.google.decommission.access import Access, open_access
from switchyard.clients.google.decommission.bindings import Bindings
from switchyard.clients.google.decommission.buckets import Buckets
from switchyard.clients.google.decommission.build_triggers import BuildTriggers
from switchyard.clients.google.decommission.cloud_run import CloudRun
from switchyard.clients.google.decommission.cloud_sql import CloudSql
from switchyard.clients.google.decommission.costs import Costs
from switchyard.clients.google.decommission.secrets import Secrets
from switchyard.clients.google.decommission.service_accounts import ServiceAccounts
from switchyard.clients.google.decommission.use import Use
from switchyard.clients.google.decommission.users import Users
from switchyard.clients.google.decommission.variables import Variables
from switchyard.clients.google.identity import Caller
from switchyard.core.decommission.cloud import Cloud, Clouds
from switchyard.core.decommission.resources import Kind
from switchyard.core.errors import BadSetup


class Where(Protocol):
    """The settings that are read."""

    @property
    def gcp_project_id(self) -> str:
        """Returns the project of the deployment, and of the questions to BigQuery."""

    @property
    def google_apis_endpoint(self) -> str:
        """Returns an address in place of all of Google's; empty: Google's own."""

    @property
    def billing_export_table(self) -> str:
        """Returns the detailed billing export; empty: none is named."""

    @property
    def identity_service_account(self) -> str:
        """Returns the account to impersonate."""

    @property
    def identity_from_gcloud(self) -> str:
        """Returns yes if gcloud may be asked for a token."""


def open_clouds(settings: Where, *, credentials: Any = None, pause: Callable[[float], None] = time.sleep) -> Clouds:
    """Returns Google Cloud as a decommission sees it. Asks it nothing yet.

    Args:
        credentials: a service account's; default: those that the settings name, else this machine's.
        pause: waits between two looks at an operation.

    Raises: BadSetup: no project or no identity is named, or google-cloud-run is not installed."""
    if not settings.gcp_project_id:
        raise BadSetup("No project is named. Set it: GCP_PROJECT_ID=<the project's id>")
    caller = Caller(impersonate=settings.identity_service_account, gcloud=settings.identity_from_gcloud == "yes")
    access = open_access(endpoint=settings.google_apis_endpoint, caller=caller, credentials=credentials)
    project = settings.gcp_project_id
    return Clouds(
        kinds=open_kinds(project, access, pause=pause),
        use=Use(access, project),
        users=Users(access),
        costs=Costs(access, project, settings.billing_export_table, pause=pause),
    )


def open_kinds(
    project: str,
    access: Access,
    *,
    kinds: Iterable[Kind] = tuple(Kind),
    pause: Callable[[float], None] = time.sleep,
) -> Mapping[Kind, Cloud]:
    """Returns one `Cloud` for each of `kinds`. Asks Google nothing.

    Args:
        access: see `open_access`; its `endpoint` stands for all of Google's addresses.
        pause: waits between two looks at an operation.

    Raises: BadSetup: google-cloud-run is not installed, and Cloud Run services are among the kinds."""
    makers: dict[Kind, Callable[[], Cloud]] = {
        Kind.RUN_SERVICE: lambda: CloudRun(access, project, pause=pause),
        Kind.SQL_INSTANCE: lambda: CloudSql(access, project, pause=pause),
        Kind.BUILD_TRIGGER: lambda: BuildTriggers(access, project),
        Kind.BUCKET: lambda: Buckets(access, project),
        Kind.SERVICE_ACCOUNT: lambda: ServiceAccounts(access, project),
        Kind.SECRET: lambda: Secrets(access, project),
        Kind.VARIABLE: lambda: Variables(access, project),
        Kind.BINDING: lambda: Bindings(access, project),
    }
    return {kind: makers[kind]() for kind in kinds}
