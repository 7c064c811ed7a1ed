"""`python -m serving`."""

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from tests.clients.results.places import Place
from tests.postgres import Postgres


def start(url: str, *arguments: str, state_dir: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "serving", *arguments],
        env={**os.environ, "RESULTS_URL": url, "STATE_DIR": str(state_dir), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_it_serves_until_interrupted(place: Place, tmp_path: Path) -> None:
    """It says where, logs one line a request, and stops with status 0."""
    server = start(place.url, "--port", "0", state_dir=tmp_path)
    assert server.stdout is not None
    try:
        found = re.search(r"Serving (http://127\.0\.0\.1:\d+)/quick-tests/", server.stdout.readline())
        assert found
        for _ in range(3):
            with urllib.request.urlopen(found[1] + "/health", timeout=30) as answer:
                assert answer.status == 200
        server.send_signal(signal.SIGINT)
        said, _ = server.communicate(timeout=30)
        assert said.count("/health") == 3
        assert server.returncode == 0
    finally:
        server.kill()
        server.communicate()


def test_a_filter_of_ten_thousand_terms_gets_a_clear_answer(place: Place, tmp_path: Path) -> None:
    """The server reads an address to its end, says what may stand in it, and logs its beginning."""
    server = start(place.url, "--port", "0", state_dir=tmp_path)
    assert server.stdout is not None
    try:
        found = re.search(r"Serving (http://127\.0\.0\.1:\d+)/quick-tests/", server.stdout.readline())
        assert found
        query = urllib.parse.urlencode({"filter": " or ".join(["id = 1"] * 10_000)}, quote_via=urllib.parse.quote)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{found[1]}/api/quick-tests/?{query}", timeout=30)
        with refused.value as answer:
            assert answer.code == 422
            assert "`filter`, character 20001: at most 20000 characters" in answer.read().decode()
        server.send_signal(signal.SIGINT)
        said, _ = server.communicate(timeout=30)
        assert "... (200017 characters)" in said
        assert len(said) < 10_000
    finally:
        server.kill()
        server.communicate()


def test_a_port_that_is_taken_is_named(place: Place, tmp_path: Path) -> None:
    """Status 2 and what to do, without a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said, _ = (server := start(place.url, "--port", port, state_dir=tmp_path)).communicate(timeout=60)
    assert server.returncode == 2
    assert said.startswith(f"serving cannot start: port {port} of 127.0.0.1 cannot be used")
    assert "--port" in said
    assert "Traceback" not in said


def test_an_old_schema_names_the_command(postgres: Postgres, tmp_path: Path) -> None:
    """The server migrates no Postgres database."""
    url = postgres.url(postgres.make_database())
    for _ in range(2):  # the second finds it as the first one did
        server = start(url, "--port", "0", state_dir=tmp_path)
        try:
            said, _ = server.communicate(timeout=60)
        finally:
            server.kill()
        assert server.returncode == 2
        assert "switchyard migrate" in said
        assert "Traceback" not in said
