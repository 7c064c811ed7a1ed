"""The plugin by which MLflow's own client carries a Google ID token."""

import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import requests

from switchyard.clients.google.identity import IdTokenAuth
from switchyard.clients.mlflow.auth_plugin import GoogleIdTokenProvider
from switchyard.clients.mlflow.registry_client import CLIENT_SETTINGS
from switchyard.clients.mlflow.registry_mirror import MlflowMirror
from switchyard.core.errors import BadSetup
from tests.clients.google.test_identity import key_file, metadata, servers, service
from tests.emulators.cloud_run import CloudRun
from tests.root import ROOT

__all__ = ["key_file", "metadata", "servers", "service"]


def test_package_offers_the_plugin_by_its_name() -> None:
    """MLflow asks the entry point's class, made without arguments, for its name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ((name, value),) = project["entry-points"]["mlflow.request_auth_provider"].items()
    provider = EntryPoint(name, value, "mlflow.request_auth_provider").load()()
    assert provider.get_name() == name == "google-id-token"


def test_calls_bear_a_token_for_the_tracking_server(
    service: CloudRun, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `requests` is given as `auth` is let in, and is the same at every call, for it keeps the token."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", service.url)
    auth = GoogleIdTokenProvider().get_auth()
    assert isinstance(auth, IdTokenAuth)
    assert requests.get(service.url, auth=auth, timeout=10).status_code == 200
    assert GoogleIdTokenProvider().get_auth() is auth


def test_whom_to_trust_must_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token is for one server; which, the environment says."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(BadSetup, match=r"MLFLOW_TRACKING_URI is not set\. It must name the server"):
        GoogleIdTokenProvider().get_auth()


def test_mirror_s_calls_bear_the_token(service: CloudRun, key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By MLflow's own client and this plugin; without it the server's refusal says which setting is missing."""
    for name in CLIENT_SETTINGS:  # put back after the test
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", service.url)
    with pytest.raises(BadSetup, match="see MLFLOW_TRACKING_AUTH"):
        MlflowMirror(service.url).read("shop")
    assert service.tokens == [""]
    monkeypatch.setenv("MLFLOW_TRACKING_AUTH", "google-id-token")
    MlflowMirror(service.url).read("shop")
    assert len(service.tokens) > 1
    assert all(service.tokens[1:])
