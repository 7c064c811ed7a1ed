"""The recipes for GitHub Actions: parsed, and held to our commands and settings. None was run on GitHub."""

import os
import re
import shlex
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from switchyard.clients.settings import Settings
from tests.root import ROOT

RECIPES = sorted((ROOT / "deployments" / "github").glob("*.yaml"))
PAGE = (ROOT / "docs" / "mlflow-server.md").read_text()
THEIRS = {"CLOUDSQL_INSTANCE"}  # of the proxy's step


@pytest.fixture(params=RECIPES, ids=lambda path: path.stem)
def recipe(request: pytest.FixtureRequest) -> dict[Any, Any]:
    read = yaml.safe_load(request.param.read_text())
    assert isinstance(read, dict)
    return read


def list_steps(recipe: dict[Any, Any]) -> list[dict[str, Any]]:
    (job,) = recipe["jobs"].values()
    return list(job["steps"])


def list_commands(recipe: dict[Any, Any]) -> list[list[str]]:
    """The lines of ours, in words."""
    texts = [step["run"].replace("\\\n", " ") for step in list_steps(recipe) if "run" in step]
    lines = [line.strip() for text in texts for line in text.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("switchyard ")]


@cache
def read_flags(command: str) -> set[str]:
    """As the command's own --help lists them."""
    done = subprocess.run([sys.executable, "-m", "flows", command, "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(re.findall(r"--[a-z][a-z-]*", done.stdout))


def test_there_is_one_for_training_and_one_for_promotion() -> None:
    """Under the names that the page gives."""
    assert [path.name for path in RECIPES] == ["promote.yaml", "train.yaml"]
    for path in RECIPES:
        assert f"deployments/github/{path.name}" in PAGE


def test_commands_and_their_flags_exist(recipe: dict[Any, Any]) -> None:
    """A recipe that names a flag of yesterday fails at night."""
    commands = list_commands(recipe)
    assert commands
    for command, *words in commands:
        assert {word for word in words if word.startswith("--")} <= read_flags(command)
    assert {"--request-key"} <= {word for words in commands for word in words if words[0] != "validate"}


def test_variables_are_settings(recipe: dict[Any, Any]) -> None:
    """Those of the job, and of our commands' steps but for what they are called with."""
    (job,) = recipe["jobs"].values()
    settings = {field.upper() for field in Settings.__struct_fields__}
    assert set(job["env"]) <= settings
    for step in list_steps(recipe):
        used = set(re.findall(r"\$([A-Z_]+)", step.get("run", "")))
        assert set(step.get("env", {})) - settings - THEIRS <= used
        assert used - {"GOOGLE_APPLICATION_CREDENTIALS"} <= set(step.get("env", {}))


_DOCKER = """#!/bin/sh
echo "docker $1"
test "$1" = run && test -n "$SOCKET" && exec {python} -c "import os, socket
os.makedirs(os.path.dirname(os.environ['SOCKET']))
socket.socket(socket.AF_UNIX).bind(os.environ['SOCKET'])"
exit 0
"""


@pytest.mark.parametrize("opens", [True, False])
def test_the_database_is_waited_for(recipe: dict[Any, Any], opens: bool) -> None:
    """The next step must find it; what the proxy said is shown where it does not open."""
    (script,) = [step["run"] for step in list_steps(recipe) if step.get("name") == "Connect to Cloud SQL"]
    with tempfile.TemporaryDirectory(prefix="gh-") as made:  # a socket's path may not be long
        for name, text in {
            "docker": _DOCKER.replace("{python}", sys.executable),
            "sudo": "#!/bin/sh\n",
            "sleep": "#!/bin/sh\n",
            **({} if opens else {"timeout": "#!/bin/sh\nexit 124\n"}),
        }.items():
            Path(made, name).write_text(text)
            Path(made, name).chmod(0o755)
        socket = f"{made}/p:r:i/.s.PGSQL.5432"
        environ = {"PATH": f"{made}:{os.environ['PATH']}", "CLOUDSQL_INSTANCE": "p:r:i"}
        environ |= {"GOOGLE_APPLICATION_CREDENTIALS": "/key", "SOCKET": socket if opens else ""}
        command = ["bash", "-e", "-c", script.replace("/cloudsql", made)]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == (0 if opens else 1), done.stderr
    assert done.stdout.split("\n")[1:-1] == ([] if opens else ["docker logs"])


def test_no_input_becomes_part_of_a_script(recipe: dict[Any, Any]) -> None:
    """A name such as `; rm -rf /` stays a name."""
    for step in list_steps(recipe):
        assert "${{" not in step.get("run", "")


def test_no_key_is_stored_at_github(recipe: dict[Any, Any]) -> None:
    """Google Cloud checks GitHub's own token; the one secret comes from Secret Manager, into the steps that need it."""
    assert recipe["permissions"] == {"contents": "read", "id-token": "write"}
    assert "secrets." not in re.sub(r"steps\.secrets\.", "", str(recipe))
    (auth,) = [
        step for step in list_steps(recipe) if str(step.get("uses", "")).startswith("google-github-actions/auth@")
    ]
    assert set(auth["with"]) == {"workload_identity_provider", "service_account"}
    (job,) = recipe["jobs"].values()
    assert "RESULTS_URL" not in job["env"]
    for step in list_steps(recipe):
        assert ("RESULTS_URL" in step.get("env", {})) is ("switchyard " in step.get("run", ""))


def test_two_at_once_wait_for_each_other(recipe: dict[Any, Any]) -> None:
    """One group, and none is cancelled half way."""
    assert recipe["concurrency"]["cancel-in-progress"] is False
    assert recipe["concurrency"]["group"].startswith("switchyard-")


def test_every_variable_to_set_is_on_the_page(recipe: dict[Any, Any]) -> None:
    """By its name at GitHub."""
    for name in set(re.findall(r"vars\.(\w+)", str(recipe))):
        assert f"`{name}`" in PAGE, name
