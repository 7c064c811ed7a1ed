"""MLflow's own client as we open it: what it is told, what it does not do, and its errors as ours."""

import json
import os
import subprocess
import sys

import pytest

from switchyard.clients.mlflow.registry_client import CLIENT_SETTINGS
from switchyard.clients.mlflow.registry_errors import translated
from switchyard.clients.mlflow.registry_mirror import MlflowMirror
from switchyard.core.errors import BadRequest, BadSetup, NotFound, SwitchyardError, TryAgain
from tests.root import ROOT

ASK = """
import json, threading
from switchyard.clients.mlflow.registry_mirror import MlflowMirror
from switchyard.core.errors import TryAgain
try:
    MlflowMirror("http://127.0.0.1:4").read("shop")
except TryAgain as err:
    said = str(err)
from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES as retries
from mlflow.telemetry.client import get_telemetry_client
from mlflow.telemetry.utils import is_telemetry_disabled
print(json.dumps({
    "said": said,
    "disabled": is_telemetry_disabled(),
    "client": repr(get_telemetry_client()),
    "retries": retries.get(),
    "threads": [thread.name for thread in threading.enumerate()],
}))
"""


def test_client_sends_nothing_home_and_repeats_nothing() -> None:
    """Whatever the surroundings say. In a process of its own, without a word of tests: MLflow asks for those too."""
    told = ("DO_NOT_TRACK", "MLFLOW_", "PYTEST_", "CI", "GITHUB_")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(told)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ASK], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["disabled"], answer["client"], answer["retries"]) == (True, "None", 0)
    assert answer["threads"] == ["MainThread"]
    assert "model shop of the MLflow registry http://127.0.0.1:4" in answer["said"]


@pytest.mark.parametrize(
    ("code", "said", "expected"),
    [
        ("RESOURCE_DOES_NOT_EXIST", "no such model", NotFound),
        ("INVALID_PARAMETER_VALUE", "Invalid model name", BadRequest),
        ("PERMISSION_DENIED", "no", BadSetup),
        ("TEMPORARILY_UNAVAILABLE", "deadlock detected", TryAgain),
        ("INTERNAL_ERROR", "API request to endpoint /x failed with error code 401 != 200", BadSetup),
        ("INTERNAL_ERROR", "API request to endpoint /x failed with error code 404 != 200", BadSetup),
        ("INTERNAL_ERROR", "API request to endpoint /x failed with error code 503 != 200", TryAgain),
        ("INTERNAL_ERROR", "downloading: 404 Client Error: Not Found for url: x", NotFound),
        ("INTERNAL_ERROR", "API request failed with exception: refused", TryAgain),
        ("A_NEW_ONE", "what now", TryAgain),
    ],
)
def test_errors_are_by_what_to_do_next(code: str, said: str, expected: type[SwitchyardError]) -> None:
    """A code that we do not know may pass; the words of 2.9.2, which hold its whole SQL, are cut."""
    from mlflow.exceptions import MlflowException

    err = MlflowException(f"{said}\n[SQL: SELECT 1]")
    err.error_code = code
    with pytest.raises(expected, match="where it was") as raised, translated("where it was"):
        raise err
    assert "SQL" not in str(raised.value)


def test_lost_connection_may_be_tried_again() -> None:
    """It is no error of MLflow's own."""
    with pytest.raises(TryAgain, match="no answer"), translated("there"):
        raise ConnectionResetError("by peer")


def test_client_that_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what installs it."""
    for name in CLIENT_SETTINGS:  # put back after the test
        monkeypatch.setenv(name, "")
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(BadSetup, match=r"pip install -e '\.\[mlflow\]' in the checkout"):
        MlflowMirror("http://127.0.0.1:4").read("shop")
