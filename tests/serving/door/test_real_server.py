"""`switchyard serve` and `switchyard token` as they are run: who is let in, and that no log holds a token."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from switchyard.core.access.tokens import PREFIX
from tests.clients.results.places import Place
from tests.serving.door.conftest import START_S, Tokens, ask, bearer, run_server

EVERYWHERE = "0.0.0.0"  # noqa: S104  (what is tested)


def start_in_vain(place: Place, *arguments: str, state_dir: Path, **environ: str) -> str:
    """What a server says that must not start, which is then waited for."""
    done = subprocess.run(
        [sys.executable, "-m", "serving", "--port", "0", *arguments],
        env={**os.environ, "RESULTS_URL": place.url, "STATE_DIR": str(state_dir), **environ},
        capture_output=True,
        text=True,
        timeout=START_S,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize("host", [EVERYWHERE, "::"])
def test_a_server_for_others_does_not_start_open(place: Place, tmp_path: Path, host: str) -> None:
    """It says what to set; this machine alone needs nothing."""
    said = start_in_vain(place, "--host", host, state_dir=tmp_path)
    assert said.startswith(f"serving cannot start: --host {host} can be reached from other machines")
    for part in ("switchyard token", "API_TOKENS_FILE", "SERVING_BEHIND=iam", "--host"):
        assert part in said


def test_what_stands_in_front_may_be_named(place: Place, tmp_path: Path) -> None:
    """SERVING_BEHIND=iam, as the image and Terraform set it."""
    with run_server(place, "--host", EVERYWHERE, state_dir=tmp_path, SERVING_BEHIND="iam") as (url, _):
        assert ask(f"{url}/api/quick-tests/").status_code == 200


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"CORS_ORIGINS": "https://app.example.com/"}, "write https://app.example.com"),
        ({"CORS_ORIGINS": "*, https://app.example.com"}, "name nothing beside it"),
        ({"SERVING_BEHIND": "nginx"}, "SERVING_BEHIND must be iam"),
        ({"API_TOKENS_FILE": "/no/such/file"}, "switchyard token --name"),
    ],
)
def test_bad_settings_end_the_start(place: Place, tmp_path: Path, environ: dict[str, str], said: str) -> None:
    """In plain words."""
    assert said in start_in_vain(place, state_dir=tmp_path, **environ)


def test_no_log_holds_a_token(place: Place, tokens: Tokens, tmp_path: Path) -> None:
    """Whether it came in a header, a cookie, a form or, by mistake, in an address."""
    with run_server(place, "--host", EVERYWHERE, state_dir=tmp_path, API_TOKENS_FILE=str(tokens.path)) as (url, end):
        assert ask(f"{url}/api/quick-tests/").status_code == 401
        assert ask(f"{url}/api/quick-tests/", headers=bearer(tokens.reads)).status_code == 200
        assert ask(f"{url}/api/quick-tests/?token={tokens.reads}").status_code == 401
        assert ask(f"{url}/{tokens.writes}/?x", headers=bearer(tokens.reads)).status_code == 404
        with httpx.Client(trust_env=False, base_url=url) as browser:
            assert browser.post("/login", data={"token": tokens.reads}, headers={"Origin": url}).status_code == 303
            assert browser.get("/quick-tests/").status_code == 200
        said = end()
    assert said.count("/api/quick-tests/") == 3
    assert "token=swy_*** " in said
    for token in (tokens.reads, tokens.writes):
        assert token not in said
        assert token.removeprefix(PREFIX) not in said


def test_the_commands_token_opens_a_running_server(place: Place, tmp_path: Path) -> None:
    """Made, listed, taken; revoked, refused. stdout has the token alone, the file never."""
    environ = {**os.environ, "STATE_DIR": str(tmp_path)}

    def run(*arguments: str, status: int = 0) -> "subprocess.CompletedProcess[str]":
        command = [str(Path(sys.executable).with_name("switchyard")), "token", *arguments]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=START_S)
        assert done.returncode == status, done.stderr
        return done

    made = run("--name", "dashboard", "--expires-in-days", "30")
    token, path = made.stdout.strip(), tmp_path / "api-tokens.json"
    assert made.stdout == f"{token}\n"
    assert token.startswith(PREFIX)
    assert f"API_TOKENS_FILE={path}" in made.stderr
    assert token not in made.stderr + path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert "dashboard" in run("--list").stdout
    assert token not in run("--list").stdout
    assert "already" in run("--name", "dashboard", status=2).stderr
    with run_server(place, "--host", EVERYWHERE, state_dir=tmp_path, API_TOKENS_FILE=str(path)) as (url, _):
        assert ask(f"{url}/api/quick-tests/", headers=bearer(token)).status_code == 200
        second = run("--scope", "write").stdout.strip()
        assert ask(f"{url}/api/quick-tests/", headers=bearer(second)).status_code == 200
        run("--revoke", "dashboard")
        assert ask(f"{url}/api/quick-tests/", headers=bearer(token)).status_code == 401
    assert "no token named" in run("--revoke", "dashboard", status=2).stderr
    assert "--expires-in-days" in run("--expires-in-days", "-1", status=2).stderr


def test_a_file_that_breaks_locks_no_one_out(place: Place, tokens: Tokens, tmp_path: Path) -> None:
    """The log says it, and /metrics; the next start refuses it."""
    environ = {"API_TOKENS_FILE": str(tokens.path)}
    with run_server(place, state_dir=tmp_path, **environ) as (url, end):
        tokens.path.write_text("{")
        assert ask(f"{url}/api/quick-tests/", headers=bearer(tokens.reads)).status_code == 200
        assert "switchyard_tokens_file_ok 0.0" in ask(f"{url}/metrics", headers=bearer(tokens.reads)).text
        assert "stay in use" in end()
    assert "API_TOKENS_FILE" in start_in_vain(place, state_dir=tmp_path, **environ)
