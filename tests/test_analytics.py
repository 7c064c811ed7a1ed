"""Prefect sends nothing home: not from the tests, not from what we start, and not from an image."""

import contextlib
import json
import os
import pty
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prefect._internal.analytics.ci_detection import CI_ENV_VARS
from prefect.analytics import is_telemetry_enabled
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, get_current_settings

from switchyard.clients.prefect.analytics import ANALYTICS_OFF
from switchyard.clients.results.migrate import migrate
from switchyard.clients.settings import read_settings
from tests.deployments.image import NAMES, read_image
from tests.root import ROOT

NO_SERVER = "http://127.0.0.1:4/api"
PUSHING = {
    "TRAINING_BACKEND": "vertex",
    "GCP_PROJECT_ID": "demo-project",
    "GCP_REGION": "us-central1",
    "TRAINER_IMAGE": "us-docker.pkg.dev/demo-project/switchyard/trainer:1",
    "ARTIFACTS_URI": "gs://bucket",
    "PUSH_AUDIENCE": "https://serving.example",
    "PUSH_SERVICE_ACCOUNT": "push-invoker@demo-project.iam.gserviceaccount.com",
    "PREFECT_API_URL": NO_SERVER,
}

# Runs a program to its end, then asks Prefect, in the same process, and writes down what it says. Prefect notes events
# on disk even where it does not send them; the thread that sends them is started by the first that may be sent.
ASK = """
import json, pathlib, runpy, sys
answer, sys.argv = pathlib.Path(sys.argv[1]), sys.argv[2:]
try:
    runpy.run_module(sys.argv[0], run_name="__main__")
    status = 0
except SystemExit as ended:
    status = ended.code
loaded = "prefect" in sys.modules
from prefect._internal.analytics.service import AnalyticsService
from prefect.analytics import is_telemetry_enabled
from prefect.settings import get_current_settings
settings = get_current_settings()
answer.write_text(json.dumps({
    "status": status,
    "loaded": loaded,
    "on": {
        "predicate": is_telemetry_enabled(),
        "thread": AnalyticsService.instance()._started,
        "notice": (settings.home / ".sdk_telemetry" / "notice_shown").exists(),
        "server": settings.server.analytics_enabled,
        "pages": settings.server.ui.v2_enabled,
    },
}))
"""


def ask_after(*arguments: str, home: Path, **environ: str) -> dict[str, Any]:
    """What ASK answers after ``python -m <arguments>``.

    It runs in a terminal, where Prefect sends more than elsewhere, and nothing in its environment would keep Prefect
    quiet.
    """
    reader, terminal = pty.openpty()
    answer = home / "answer.json"
    bare = {"PATH": os.environ["PATH"], "HOME": str(home), "PREFECT_HOME": str(home / "prefect")}
    command = [sys.executable, "-c", ASK, str(answer), *arguments]
    with subprocess.Popen(command, cwd=ROOT, env=bare | environ, stdin=terminal, stdout=terminal, stderr=terminal):
        os.close(terminal)
        with contextlib.suppress(OSError):  # the end of a terminal that no one writes to any more
            while os.read(reader, 65536):
                pass
        os.close(reader)
    answered: dict[str, Any] = json.loads(answer.read_text())
    return answered


def assert_quiet(answered: dict[str, Any], *, status: int, loaded: bool = True) -> None:
    """The program ended with `status`, had loaded Prefect or not, and has left nothing on."""
    assert answered == {"status": status, "loaded": loaded, "on": dict.fromkeys(answered["on"], False)}


def test_prefect_says_that_it_is_off_in_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, and by our own doing: a variable that tells of CI would switch a part of it off, too."""
    for name in CI_ENV_VARS:
        monkeypatch.delenv(name, raising=False)
    assert not is_telemetry_enabled()
    assert not get_current_settings().server.analytics_enabled


def test_the_server_of_the_tests_is_quiet(prefect_server: None) -> None:
    """The server says so itself; clients that ask it send nothing then."""
    with get_client(sync_client=True) as client:
        told = client.request("GET", "/admin/settings").raise_for_status().json()
    assert told["server"]["analytics_enabled"] is False


def test_prefect_alone_would_not_be_quiet(tmp_path: Path) -> None:
    """What the tests below look for is found where nothing of ours has run.

    (Nothing is sent: the thread asks this setting first.)
    """
    answered = ask_after("prefect", "version", home=tmp_path, PREFECT_SERVER_ANALYTICS_ENABLED="false")
    assert answered["on"] == {"predicate": True, "thread": True, "notice": True, "server": False, "pages": True}


def test_the_command_line_is_quiet(prefect_server: None, tmp_path: Path) -> None:
    """`switchyard`, and so `make run`; `python -m flows` runs the same."""
    environ = {"STATE_DIR": str(tmp_path / "state"), "PREFECT_API_URL": str(PREFECT_API_URL.value())}
    migrate(read_settings(environ))
    assert_quiet(ask_after("switchyard.cli", "reconcile", home=tmp_path, **environ), status=0)


def test_the_limits_program_is_quiet(prefect_server: None, tmp_path: Path) -> None:
    """`make up` and `make deploy` start it."""
    api_url = str(PREFECT_API_URL.value())
    assert_quiet(ask_after("deployments.limits", home=tmp_path, PREFECT_API_URL=api_url), status=0)


def test_deploy_is_quiet(tmp_path: Path) -> None:
    """Before it does anything; what it starts has its environment."""
    assert_quiet(ask_after("deployments.deploy", "machine", home=tmp_path), status=1, loaded=False)


def test_serving_is_quiet(tmp_path: Path) -> None:
    """Where it takes pushes it loads Prefect's client."""
    environ = PUSHING | {"STATE_DIR": str(tmp_path / "state")}
    migrate(read_settings(environ))
    with socket.create_server(("127.0.0.1", 0)) as taken:  # so that it ends by itself, as late as may be
        port = f"--port={taken.getsockname()[1]}"
        assert_quiet(ask_after("serving", port, home=tmp_path, **environ), status=2)


def test_every_make_target_is_quiet() -> None:
    """Whatever the shell has that calls make."""
    command = ["make", "--silent", "--eval", "surroundings: ; @env", "surroundings"]
    loud = os.environ | dict.fromkeys(ANALYTICS_OFF, "loud")
    done = subprocess.run(command, cwd=ROOT, env=loud, capture_output=True, text=True, check=True)
    assert ANALYTICS_OFF.items() <= dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line).items()


def test_ci_is_quiet() -> None:
    """.ci/run starts some things past the Makefile."""
    [exported] = re.findall(r"^export (.+)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    assert dict(pair.split("=") for pair in exported.split()) == ANALYTICS_OFF


@pytest.mark.parametrize("name", NAMES)
def test_every_image_is_quiet(name: str) -> None:
    """The trainer's too, which has no Prefect: one rule for all is easier to keep."""
    assert ANALYTICS_OFF.items() <= read_image(name, ROOT).environ.items()


def test_no_file_of_a_deployment_switches_it_on_again() -> None:
    """Images have it; Terraform, the pools and the deployments say nothing of it."""
    files = [*(ROOT / "deployments").rglob("*.tf"), *(ROOT / "deployments").rglob("*.yaml"), ROOT / "prefect.yaml"]
    assert len(files) > 5
    assert [path for path in files for name in ANALYTICS_OFF if name in path.read_text()] == []
