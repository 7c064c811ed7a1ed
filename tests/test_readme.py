"""The README's commands, run as they stand there."""

import os
import re
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from flows.__main__ import FLOWS
from tests.clients.mlflow.folders import write_folder
from tests.core.mlflow.factories import make_series, make_small

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line.removeprefix("$ ")
    for block in re.findall(r"```console\n(.*?)```", README, flags=re.DOTALL)
    for line in block.splitlines()
    if line.startswith("$ ")
]
RATINGS = "--data-uri ratings.csv"
MLRUNS = "/path/to/mlruns"
COMMANDS_THERE_ARE = {*FLOWS, "models", "predict", "serve", "token", "up"}
ANSWERS = {
    "switchyard serve": "http://127.0.0.1:8000/health",
    "switchyard predict": "http://127.0.0.1:8080/health",
    "make up": "http://127.0.0.1:4200/api/deployments/name/train/manual",
}


def test_readme_stays_short() -> None:
    """A stranger reads all of it."""
    assert len(README.splitlines()) <= 150


def test_every_command_that_the_readme_names_exists() -> None:
    """`switchyard <name>` is a flow or a program, whatever the table says."""
    named = set(re.findall(r"(?:\.venv/bin/|`)switchyard ([a-z]+)", README))
    assert {"train", "ingest", "reconcile", "cancel", "migrate", "serve"} <= named
    assert named <= COMMANDS_THERE_ARE


def test_every_page_that_the_readme_links_to_is_there() -> None:
    """A link into the repository leads to a file or a folder."""
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in target]
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_the_picture_is_a_small_file_and_says_what_it_shows() -> None:
    """A PNG as wide as the page, of at most 150 kB, with words for readers who do not see it."""
    [(words, target)] = re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", README)
    picture = (ROOT / target).read_bytes()
    assert len(words.split()) > 5
    assert (picture[:8], len(picture) <= 150_000) == (b"\x89PNG\r\n\x1a\n", True)
    assert int.from_bytes(picture[16:20], "big") == 1280


def test_every_make_target_that_the_readme_names_exists() -> None:
    """`make <target>` is in the Makefile, with a line in its help."""
    listed = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"make ([a-z-]+)", README)) - {"are"} <= listed


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_readme_commands_run_as_written(tmp_path: Path) -> None:
    """Each command of the README exits 0, in its order and in a state folder of its own.

    A server answers, and ends on Ctrl-C.
    """
    ratings, mlruns = tmp_path / "ratings.csv", tmp_path / "mlruns"
    _write_ratings(ratings)
    _write_mlruns(mlruns)
    places = {RATINGS: f"--data-uri {ratings}", MLRUNS: str(mlruns)}
    assert all(sum(place in command for command in COMMANDS) == 1 for place in places)
    environment = _environment() | {"STATE_DIR": str(tmp_path / "state")}
    running: list[subprocess.Popen[bytes]] = []
    try:
        for command in COMMANDS:
            if command in ("make test", "make check"):  # .ci/run calls these two itself
                assert f"\n{command}\n" in (ROOT / ".ci" / "run").read_text()
                continue
            for place, ours in places.items():
                command = command.replace(place, ours)
            _run(command, environment, running)
    finally:
        _stop(running)


def _run(command: str, environment: dict[str, str], running: list[subprocess.Popen[bytes]]) -> None:
    """Runs one command; one that ends with ``&`` goes on running until the next command has ended."""
    if not command.endswith("&"):
        subprocess.run(command, shell=True, cwd=ROOT, env=environment, check=True, timeout=600)  # noqa: S602  # the README's own words
        _stop(running)
        return
    name = next(name for name in ANSWERS if name in command)
    command = f"exec {command.removesuffix(' &')}"
    running.append(subprocess.Popen(["/bin/sh", "-c", command], cwd=ROOT, env=environment, start_new_session=True))
    _wait_for(ANSWERS[name], running[-1])


def _environment() -> dict[str, str]:
    """The surroundings' variables but for those that point our own commands elsewhere."""
    ours = ("PREFECT_", "STATE_DIR", "ARTIFACTS_URI", "RESULTS_", "SERVING_URL", "TRAINING_BACKEND", "MAKE", "MLFLOW_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def _write_ratings(path: Path) -> None:
    """A file of the form that the README shows, with tastes that a model can learn."""
    random = np.random.default_rng(7)
    times = 1_700_000_000 + np.sort(random.integers(0, 300 * 86_400, 6_000))
    [shown] = re.findall(r"```csv\n(.*?)```", README, flags=re.DOTALL)
    header, *rows = shown.splitlines()
    assert header.split(",") == ["userId", "movieId", "rating", "timestamp"]
    for time_s in times:
        user = int(random.integers(0, 200))
        rows.append(f"{user},{(user * 3 + int(random.integers(0, 9))) % 150},{random.integers(1, 11) / 2},{time_s}")
    path.write_text("\n".join([header, *rows, ""]), encoding="utf-8")


def _write_mlruns(path: Path) -> None:
    """A folder of MLflow's with one finished run."""
    write_folder(path.as_uri(), [make_small({"loss": make_series([0.5, 0.4, 0.3])})])


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        assert process.poll() is None, f"{process.args!r} ended with {process.returncode} before {url} answered"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"{url} did not answer within 180 s")


def _stop(servers: list[subprocess.Popen[bytes]]) -> None:
    while servers:
        server = servers.pop()
        os.killpg(server.pid, signal.SIGINT)  # as a terminal does it: to all of the foreground
        assert server.wait(timeout=90) in (0, 2, 130, -signal.SIGINT)  # 2: make, whose command was interrupted
