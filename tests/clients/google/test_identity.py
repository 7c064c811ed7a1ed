"""ID tokens: from every source, kept while they live, renewed in time, sent to one service only."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from google.auth import iam
from google.oauth2 import credentials as person_credentials
from google.oauth2 import service_account

from switchyard.clients.google.identity import Caller, IdTokenAuth, open_credentials, open_session, to_origin
from switchyard.core.errors import BadRequest, BadSetup, TryAgain
from tests.emulators.cloud_run import CloudRun, start_cloud_run
from tests.emulators.faults import Fault
from tests.emulators.metadata import MACHINE_ACCOUNT, PROJECT_ID, Metadata, start_metadata

CALLER = f"caller@{PROJECT_ID}.iam.gserviceaccount.com"
TARGET = f"invoker@{PROJECT_ID}.iam.gserviceaccount.com"
PERSON = "ada@example.com"


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Metadata, CloudRun]]:
    with start_metadata() as metadata, start_cloud_run(metadata.issuer) as service:
        yield metadata, service


@pytest.fixture
def metadata(servers: tuple[Metadata, CloudRun]) -> Iterator[Metadata]:
    yield servers[0]
    servers[0].faults.forget()
    servers[0].may_impersonate.clear()


@pytest.fixture
def service(servers: tuple[Metadata, CloudRun]) -> Iterator[CloudRun]:
    yield servers[1]
    servers[1].faults.forget()
    servers[1].tokens.clear()
    servers[1].redirect_to = ""


@pytest.fixture
def key_file(metadata: Metadata, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A service account's file, as the application default."""
    path = metadata.write_key_file(tmp_path / "key.json", CALLER)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    return path


def call_elsewhere(service: CloudRun, *flags: str, **environ: str) -> dict[str, Any]:
    """What `identity_caller` printed."""
    command = [sys.executable, "-m", "tests.clients.google.identity_caller", service.url, *flags]
    clean = {key: value for key, value in os.environ.items() if key != "GOOGLE_APPLICATION_CREDENTIALS"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**clean, **environ})
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize("flags", [(), ("--auth",)], ids=["session", "auth"])
def test_machine_identity_is_fetched_once(metadata: Metadata, service: CloudRun, flags: tuple[str, ...]) -> None:
    """Five calls, one token from the metadata server, for the service's own address."""
    answer = call_elsewhere(service, "--calls=5", *flags, **metadata.environ)
    assert answer == {"callers": [MACHINE_ACCOUNT] * 5}
    assert metadata.count("identity") == 1
    assert len(set(service.tokens)) == 1


def test_token_near_its_end_is_renewed() -> None:
    """One that lives for less than google-auth's margin (225 s) is fetched for each call."""
    with start_metadata(lifetime_s=120) as metadata, start_cloud_run(metadata.issuer) as service:
        answer = call_elsewhere(service, "--calls=3", **metadata.environ)
        assert answer == {"callers": [MACHINE_ACCOUNT] * 3}
        assert metadata.count("identity") == 3


def test_no_identity_is_a_setup_to_mend(service: CloudRun) -> None:
    """The message names every way to have one."""
    answer = call_elsewhere(service, NO_GCE_CHECK="true")
    assert answer["error"] == "BadSetup"
    for way in ("GOOGLE_APPLICATION_CREDENTIALS", "IDENTITY_SERVICE_ACCOUNT", "IDENTITY_FROM_GCLOUD"):
        assert way in answer["message"]
    assert service.tokens == []


def test_service_account_file_is_used(metadata: Metadata, service: CloudRun, key_file: Path) -> None:
    """Its key signs, Google's token endpoint answers once."""
    session = open_session(f"{service.url}/some/path")
    assert [session.get(f"{service.url}/{n}").json()["caller"] for n in range(5)] == [CALLER] * 5
    assert metadata.count("oauth") == 1


@pytest.mark.parametrize("kind", ["session", "auth"])
def test_refused_token_is_renewed_once(metadata: Metadata, service: CloudRun, key_file: Path, kind: str) -> None:
    """A 401 for a token that looked valid: one fresh token, the same call again, with its body."""
    session = make_session(service, kind)
    service.faults.order(Fault(kind="call", status=401))
    answer = session.post(f"{service.url}/api", data="body")
    assert answer.json() == {"caller": CALLER, "body": "body"}
    assert metadata.count("oauth") == 2
    assert len(set(service.tokens)) == 2


@pytest.mark.parametrize("kind", ["session", "auth"])
def test_service_that_refuses_everything_is_asked_twice(
    metadata: Metadata, service: CloudRun, key_file: Path, kind: str
) -> None:
    """No endless renewal: the caller gets the 401."""
    session = make_session(service, kind)
    service.faults.order(Fault(kind="call", status=401, times=100))
    assert session.get(f"{service.url}/api").status_code == 401
    assert len(service.tokens) == 2


def make_session(service: CloudRun, kind: str) -> requests.Session:
    if kind == "session":
        return open_session(service.url)
    session = requests.Session()
    session.auth = IdTokenAuth(service.url)
    return session


def test_threads_share_one_token(metadata: Metadata, service: CloudRun, key_file: Path) -> None:
    """Forty calls from eight threads after the first: no further token."""
    session = open_session(service.url)
    session.get(service.url)

    def call(_: int) -> int:
        return session.get(f"{service.url}/api").status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(call, range(40))) == {200}
    assert metadata.count("oauth") == 1


def test_person_calls_by_impersonation(
    metadata: Metadata, service: CloudRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person's own credentials cannot make ID tokens; the account that they may act as can."""
    use_iam_of(metadata, monkeypatch)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(metadata.write_user_file(tmp_path / "adc.json", PERSON)))
    metadata.may_impersonate.add((PERSON, TARGET))
    session = open_session(service.url, caller=Caller(impersonate=TARGET))
    assert [session.get(service.url).json()["caller"] for _ in range(3)] == [TARGET] * 3
    assert (metadata.count("iam.id"), metadata.count("oauth")) == (1, 1)


def test_forbidden_impersonation_names_the_permission(
    metadata: Metadata, service: CloudRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Google's own words reach the person."""
    use_iam_of(metadata, monkeypatch)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(metadata.write_user_file(tmp_path / "adc.json", PERSON)))
    with pytest.raises(BadSetup, match=r"iam\.serviceAccounts\.getOpenIdToken"):
        open_session(service.url, caller=Caller(impersonate=TARGET)).get(service.url)
    assert service.tokens == []


def use_iam_of(metadata: Metadata, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaces two addresses in google-auth's constants, which are the only seam.

    google-auth 2.62 has no setting for them, and ignores the address in a person's file."""
    address = f"{metadata.url}/v1/projects/-/serviceAccounts/{{}}:generateIdToken"
    monkeypatch.setattr(iam, "_IAM_IDTOKEN_ENDPOINT", address)
    monkeypatch.setattr(person_credentials, "_GOOGLE_OAUTH2_TOKEN_ENDPOINT", f"{metadata.url}/token")


@pytest.fixture
def gcloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metadata: Metadata, service: CloudRun) -> Path:
    """A `gcloud` on the PATH where a person is logged in: no audience may be named. Its calls are lines of a file."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/no/such/file")
    folder, log = tmp_path / "bin", tmp_path / "calls"
    folder.mkdir()
    log.write_text("")
    token = metadata.issuer.make_id_token(service.url, PERSON)
    script = folder / "gcloud"
    script.write_text(
        f'#!/bin/sh\necho "$@" >> {log}\n'
        'case "$*" in *--audiences*) echo "ERROR: Invalid account Type for --audiences" >&2; exit 1;; esac\n'
        f"if test -e {tmp_path}/logged-out; then"
        ' echo "ERROR: You do not currently have an active account selected" >&2; exit 1; fi\n'
        f"echo {token}\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return log


def test_gcloud_is_asked_last_and_once(service: CloudRun, gcloud: Path) -> None:
    """For a person without an audience; the token is kept."""
    session = open_session(service.url, caller=Caller(gcloud=True))
    assert [session.get(service.url).json()["caller"] for _ in range(3)] == [PERSON] * 3
    assert gcloud.read_text().splitlines() == [
        f"auth print-identity-token --quiet --audiences={service.url}",
        "auth print-identity-token --quiet",
    ]


def test_gcloud_is_not_asked_unless_chosen(service: CloudRun, gcloud: Path) -> None:
    """A developer's convenience is never a server's surprise."""
    with pytest.raises(BadSetup):
        open_session(service.url)
    assert gcloud.read_text() == ""


def test_gcloud_without_a_login_says_so(service: CloudRun, gcloud: Path, tmp_path: Path) -> None:
    """Its own words reach the person."""
    (tmp_path / "logged-out").touch()
    with pytest.raises(BadSetup, match="active account"):
        open_session(service.url, caller=Caller(gcloud=True)).get(service.url)


def test_block_credentials_call_as_their_account(metadata: Metadata, service: CloudRun) -> None:
    """A service account's key from elsewhere than a file."""
    info = metadata.make_key_info(CALLER)
    credentials = service_account.Credentials.from_service_account_info(info)
    session = open_session(service.url, credentials=credentials)
    assert session.get(service.url).json()["caller"] == CALLER


def test_credentials_without_a_key_are_refused(service: CloudRun) -> None:
    """An access token is no identity."""
    with pytest.raises(BadSetup, match="service account's key"):
        open_session(service.url, credentials=object())


def test_token_goes_to_its_service_only(metadata: Metadata, service: CloudRun, key_file: Path) -> None:
    """A session refuses another origin; an auth leaves its requests as they are; a redirect away loses the token."""
    with start_cloud_run(metadata.issuer) as other:
        with pytest.raises(BadRequest, match=service.url):
            open_session(service.url).get(f"{other.url}/api")
        assert make_session(service, "auth").get(f"{other.url}/api").status_code == 401
        service.redirect_to = f"{other.url.replace('127.0.0.1', 'localhost')}/stolen"
        for kind in ("session", "auth"):
            make_session(service, kind).get(f"{service.url}/api")
        assert len(other.tokens) >= 3
        assert set(other.tokens) == {""}


@pytest.mark.parametrize("url", ["http://mlflow.example.com", "ftp://127.0.0.1", "mlflow.example.com", ""])
def test_token_is_not_sent_in_the_clear(url: str) -> None:
    """Plain http is for this machine only."""
    with pytest.raises(BadRequest, match="https"):
        open_session(url)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://mlflow-x.a.run.app/api/2.0?x#y", "https://mlflow-x.a.run.app"),
        ("https://user:secret@mlflow.example.com:443/", "https://mlflow.example.com"),
        ("http://localhost:5000/", "http://localhost:5000"),
        ("http://[::1]:5000", "http://[::1]:5000"),
    ],
)
def test_origin_is_the_audience(url: str, origin: str) -> None:
    """Without path, password, or the scheme's own port: what Cloud Run expects."""
    assert to_origin(url) == origin


def test_outage_of_google_may_be_tried_again(metadata: Metadata, service: CloudRun, key_file: Path) -> None:
    """503 from the token endpoint, longer than google-auth's own few attempts."""
    metadata.inject(Fault(kind="oauth", status=503, times=100))
    with pytest.raises(TryAgain, match=service.url):
        open_session(service.url).get(service.url)


def test_no_key_or_token_is_ever_shown(metadata: Metadata, service: CloudRun, key_file: Path) -> None:
    """Neither in a repr nor in an error."""
    secret = metadata.make_key_info(CALLER)["private_key"].splitlines()[1]
    credentials = open_credentials(service.url)
    session = open_session(service.url)
    session.get(service.url)
    for shown in (repr(credentials), str(credentials), repr(session), repr(IdTokenAuth(service.url))):
        assert secret not in shown
        assert not any(token in shown for token in service.tokens)
