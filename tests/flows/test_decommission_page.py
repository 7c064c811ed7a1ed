"""docs/decommission.md, "Try it on this machine": each command as the page has it, and its servers.

`make mlflow`, a training that logs there, sync, artifacts, export, verify, plan, drill. `make
test-decommission-slow` runs it.
"""

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.clients.mlflow.real_servers import find_environment
from tests.deployments.image import find_free_port
from tests.docs.pages import read_page
from tests.root import ROOT

GOOGLE_RUN = ROOT / ".switchyard" / "google-run"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not GOOGLE_RUN.exists(), reason="make test-decommission-slow sets it up"),
    pytest.mark.timeout(900),
]
START_S = 240
READY = {"mlflow": "read its database: ", "google": "listening on ", "serve": "Serving "}
PORTS = ("5000", "8085", "8000")


def read_steps() -> tuple[list[str], list[str]]:
    """The servers of the page's section, and the commands."""
    section = read_page("decommission.md").partition("## Try it on this machine")[2]
    servers, commands = re.findall(r"```console\n(.*?)```", section, flags=re.DOTALL)
    return [line[2:] for line in servers.splitlines()], [line[2:] for line in commands.splitlines()]


@pytest.fixture
def checkout() -> Iterator[Path]:
    """A checkout with a state of its own, and a short path: a socket's may have 107 characters."""
    with tempfile.TemporaryDirectory(prefix="sy-", dir="/tmp", ignore_cleanup_errors=True) as named:
        folder = Path(named)
        for path in ROOT.iterdir():
            if path.name not in (".git", ".switchyard"):
                (folder / path.name).symlink_to(path)
        state = folder / ".switchyard"
        state.mkdir()
        (state / "google-run").symlink_to(GOOGLE_RUN)
        (state / "mlflow-current").symlink_to(find_environment("current").parent)
        yield folder


@contextmanager
def serve(checkout: Path, command: str, environ: dict[str, str]) -> Iterator[None]:
    """One of the page's servers, once it says that it is ready; ended as by Ctrl-C."""
    (kind,) = [kind for kind in READY if kind in command]
    log = checkout / f"{kind}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["/bin/bash", "-c", f"exec {command}"],
            cwd=checkout,
            env=environ,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + START_S
        while READY[kind] not in log.read_text():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
        process.wait(timeout=60)


def test_the_page_s_walk_goes_as_far_as_it_says(checkout: Path) -> None:
    """The last command shows the state; a real MLflow has answered over the restored export on the way."""
    servers, commands = read_steps()
    ports = {port: str(find_free_port()) for port in PORTS}
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "STATE_DIR"))}
    environ |= {
        "SERVING_URL": f"http://127.0.0.1:{ports['8000']}",
        "PATH": f"{checkout}/.venv/bin:{os.environ['PATH']}",
    }

    def with_ports(text: str) -> str:
        return re.sub("|".join(PORTS), lambda found: ports[found[0]], text)

    first, second, third = (serve(checkout, with_ports(command), environ) for command in servers)
    with first, second, third:
        script = "\n".join(map(with_ports, commands))
        done = subprocess.run(
            ["/bin/bash", "-ec", script], cwd=checkout, env=environ, capture_output=True, text=True, timeout=600
        )
    assert done.returncode == 0, done.stdout + done.stderr
    for before, state in (
        ("inventory", "verified"),
        ("verified", "exported and drilled"),
        ("exported and drilled", "quiet"),
    ):
        assert f"{before!r} -> {state!r}" in done.stdout
    assert "decommission mlflow: quiet since" in done.stdout
