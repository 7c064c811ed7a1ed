"""The one place where the adapters of a decommission are put together."""

import time
from collections.abc import Callable, Iterable, Mapping

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
from switchyard.clients.google.decommission.variables import Variables
from switchyard.core.decommission.cloud import Cloud, CloudCosts, CloudUse
from switchyard.core.decommission.resources import Kind

__all__ = ["open_access", "open_clouds", "open_costs", "open_use"]


def open_clouds(
    project: str,
    access: Access,
    *,
    kinds: Iterable[Kind] = tuple(Kind),
    pause: Callable[[float], None] = time.sleep,
) -> Mapping[Kind, Cloud]:
    """One `Cloud` for each of `kinds`. Asks nothing of Google.

    Args:
        access: see `open_access`, whose `endpoint` stands for all of Google's addresses.
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


def open_use(project: str, access: Access) -> CloudUse:
    """Who uses the deployment. Asks nothing of Google."""
    return Use(access, project)


def open_costs(
    project: str, access: Access, table: str = "", *, pause: Callable[[float], None] = time.sleep
) -> CloudCosts:
    """What resources cost, by the billing export `table`; without one, only the query is told.

    Raises: BadSetup: `table` is no detailed export."""
    return Costs(access, project, table, pause=pause)
