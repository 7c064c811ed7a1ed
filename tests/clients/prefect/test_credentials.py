"""Google credentials without a block: the application default. With a block: see tests/flows."""

import subprocess
import sys
from pathlib import Path

import pytest
from google.oauth2 import service_account

from switchyard.clients.prefect.credentials import load_credentials
from switchyard.core.errors import BadSetup
from tests.emulators.metadata import MACHINE_ACCOUNT, PROJECT_ID, start_metadata

CALLER = f"caller@{PROJECT_ID}.iam.gserviceaccount.com"


def test_application_default_is_the_file_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service account's file, with the scope that leaves all to IAM; its key is never shown."""
    with start_metadata() as metadata:
        path = metadata.write_key_file(tmp_path / "key.json", CALLER)
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
        credentials = load_credentials()
        assert isinstance(credentials, service_account.Credentials)
        assert credentials.service_account_email == CALLER
        assert credentials.scopes == ("https://www.googleapis.com/auth/cloud-platform",)
        assert "PRIVATE" not in repr(credentials) + str(credentials)


def test_missing_file_is_a_setup_to_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names both ways."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with pytest.raises(BadSetup, match=r"GOOGLE_APPLICATION_CREDENTIALS.*GCP_CREDENTIALS_BLOCK"):
        load_credentials()


def test_machine_account_is_the_last_default(tmp_path: Path) -> None:
    """On Google Cloud nothing needs to be set; and no Prefect is loaded to find that out."""
    code = (
        "import sys; from google.auth.transport.requests import Request;"
        "from switchyard.clients.prefect.credentials import load_credentials; "
        "found = load_credentials(); found.refresh(Request());"
        "print(found.service_account_email, found.token[:5], 'prefect' in sys.modules)"
    )
    with start_metadata() as metadata:
        environ = {**metadata.environ, "HOME": str(tmp_path), "PATH": ""}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environ)
        assert done.stdout.split() == [MACHINE_ACCOUNT, "ya29.", "False"], done.stderr
        assert metadata.count("token") == 1
