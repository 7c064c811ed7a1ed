"""Keeps Prefect from sending anything home.

The Makefile, `.ci/run` and the Dockerfiles have the same variables; tests/test_analytics.py compares them with these.
See docs/decisions/0016-prefect-sends-nothing-home.md.
"""

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

ANALYTICS_OFF: Final[Mapping[str, str]] = MappingProxyType(
    {
        # Events of imports, flows and command lines, to Amplitude. `1` would do for Prefect; MLflow's servers, which
        # `make test-mlflow` starts, know only `true`.
        # Source: prefect/_internal/analytics/enabled.py, mlflow/telemetry/utils.py
        "DO_NOT_TRACK": "true",
        # A server's heartbeat, every ten minutes. Clients and pages ask their server for this too, before they send.
        # Source: prefect/server/services/telemetry.py, prefect/_internal/analytics/service.py
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # The newer of Prefect's two UIs still loads a configuration from Amplitude. The older one does not.
        "PREFECT_SERVER_UI_V2_ENABLED": "false",
    }
)
"""Environment variables of every process that imports Prefect."""


def switch_off_analytics() -> None:
    """Sets ANALYTICS_OFF for this process and its children, over what was set before.

    Call it before Prefect is imported: the import itself may send something.
    """
    os.environ.update(ANALYTICS_OFF)
