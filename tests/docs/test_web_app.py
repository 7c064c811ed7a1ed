"""docs/web-app.md: its commands run, its code reads what is published, its tables are whole."""

import functools
import http.server
import json
import re
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from switchyard.clients.results.open import open_results
from switchyard.clients.settings import Settings
from switchyard.core.runs.rows import RunStatus
from tests.chromium import open_browser, skip_without_chromium
from tests.docs.pages import Folder, open_folder, read_blocks, read_commands, read_page
from tests.serving.factories import make_record, publish_run

PAGE = read_page("web-app.md")

FOLLOW = """async token => {
    const statuses = [];
    const { status, error } = await follow(ID, token, history => statuses.push(history.status));
    return { statuses, status, error };
}"""
"""Follows a run to its end: the statuses of the histories that were shown, and what its row says then."""


@pytest.fixture
def port() -> int:
    """A free port, in the place of the page's 8000."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    """With two published runs: number 1 has completed, number 2 was cancelled."""
    with open_folder(tmp_path / "checkout") as made:
        ports = open_results(f"sqlite:///{made.path / '.switchyard' / 'results.db'}")
        assert publish_run(ports, make_record(epochs=11)) == 1
        partial = make_record(epochs=6, status="partial")
        assert publish_run(ports, partial, name="stopped", row_status=RunStatus.CANCELLED, error="stopped by ann") == 2
        ports.close()
        yield made


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on the PATH")
def test_every_command_runs_as_it_stands(folder: Folder, port: int) -> None:
    """In order, and each answers what the page says."""
    said = {}
    for command in read_commands(PAGE):
        here = command.replace("8000", str(port))
        said[command] = folder.run(here, health=f"http://127.0.0.1:{port}/health")
    answers = [text for command, text in said.items() if command.startswith("curl")]
    assert [item["id"] for item in json.loads(answers[0])["items"]] == [2, 1]
    assert json.loads(answers[1])["epochs"] == [0, 5, 10]
    [found] = json.loads(answers[2])["items"]
    assert (found["id"], found["values"]) == (1, {})
    assert json.loads(answers[3])["notes"] == "keep"
    for metric in re.findall(r"^\| `(switchyard_[a-z_]+)", PAGE, re.MULTILINE):
        # A database that no reconcile has looked at has no lag.
        assert (metric in answers[4]) is (metric != "switchyard_reconcile_lag_seconds"), metric


def test_the_python_code_reads_a_history(folder: Folder, port: int) -> None:
    """As it stands, with a token that the command made."""
    token = folder.run(".venv/bin/switchyard token").strip()
    serve = f"API_TOKENS_FILE=.switchyard/api-tokens.json .venv/bin/switchyard serve --port {port} &"
    folder.run(serve, health=f"http://127.0.0.1:{port}/health")
    [code] = read_blocks(PAGE, "python")
    found: dict[str, Any] = {}
    exec(code, found)  # noqa: S102  (the page's own code)
    assert found["read_history"](f"http://127.0.0.1:{port}", token, 1)["epochs"] == [0, 5, 10]


@pytest.mark.needs_browser
@skip_without_chromium
def test_the_browser_s_code_works_on_another_site(folder: Folder, port: int, tmp_path: Path) -> None:
    """A page of another origin reads the history, gets 304, follows runs to their end, and shows the picture."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "index.html").write_text('<!doctype html><img id="picture"><script src="app.js"></script>')
    [code] = read_blocks(PAGE, "js")
    (site / "app.js").write_text(code.replace("8000", str(port)))
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        origin = f"http://localhost:{other.server_address[1]}"
        token = folder.run(".venv/bin/switchyard token").strip()
        serve = f"API_TOKENS_FILE=.switchyard/api-tokens.json CORS_ORIGINS={origin} .venv/bin/switchyard serve"
        folder.run(f"{serve} --port {port} &", health=f"http://127.0.0.1:{port}/health")
        with open_browser() as browser:
            page = browser.new_page()
            statuses: list[int] = []
            page.on("response", lambda answer: statuses.append(answer.status))
            page.goto(f"{origin}/")
            epochs = page.evaluate("token => readHistory(1, token).then(history => history.epochs)", token)
            again = page.evaluate("token => readHistory(1, token).then(history => history.epochs)", token)
            shown = page.evaluate(FOLLOW.replace("ID", "1"), token)
            away = {"Retry-After": "1", "Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": "*"}
            page.route("**/api/quick-tests/?*", lambda route: route.fulfill(status=503, headers=away), times=1)
            stopped = page.evaluate(FOLLOW.replace("ID", "2"), token)
            page.evaluate("token => showPicture(document.getElementById('picture'), 1, token)", token)
            page.wait_for_function("document.getElementById('picture').naturalWidth > 0")
            wrong = page.evaluate("() => readHistory(2, 'swy_wrong').catch(err => err.message)")
        other.shutdown()
    assert (epochs, again) == ([0, 5, 10], [0, 5, 10])
    assert shown == {"statuses": ["completed"], "status": "completed", "error": ""}
    assert stopped == {"statuses": ["partial"], "status": "cancelled", "error": "stopped by ann"}
    assert {304, 503} <= set(statuses)
    assert "not known here" in wrong


def test_settings_that_are_named_exist() -> None:
    """As the settings' class has them."""
    named = set(re.findall(r"`([A-Z]+_[A-Z_]+)(?:=iam)?`", PAGE))
    assert {"API_TOKENS_FILE", "CORS_ORIGINS", "SERVING_BEHIND", "RESULTS_TABLE"} <= named
    assert named <= {name.upper() for name in Settings.__struct_fields__}
