"""A flow on Google Cloud with the key of a Prefect block: stored by Prefect, used by the clients, shown by no one."""

import logging
import traceback
from collections.abc import Iterator

import pytest
from prefect import flow, task
from prefect.types import SecretDict
from prefect_gcp import GcpCredentials

import switchyard.clients.connect
from switchyard.clients.connect import connect
from switchyard.clients.prefect.credentials import load_credentials
from switchyard.core.errors import BadSetup
from switchyard.core.ports import ABSENT
from tests.emulators.cloud_run import start_cloud_run
from tests.emulators.gcs import Gcs, start_gcs
from tests.emulators.metadata import PROJECT_ID, Metadata, start_metadata

CALLER = f"caller@{PROJECT_ID}.iam.gserviceaccount.com"


@pytest.fixture(scope="module")
def metadata() -> Iterator[Metadata]:
    with start_metadata() as running:
        yield running


@pytest.fixture
def guarded_gcs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gcs]:
    """Cloud Storage that answers no one without a token."""
    with start_gcs(token_prefix="ya29.") as running:
        for name, value in running.environ.items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def block(prefect_server: None, metadata: Metadata, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a block that holds a key, as the environment names it."""
    GcpCredentials(service_account_info=metadata.make_key_info(CALLER)).save("training", overwrite=True, _sync=True)
    monkeypatch.setenv("GCP_CREDENTIALS_BLOCK", "training")
    switchyard.clients.connect._credentials.cache_clear()
    yield "training"
    switchyard.clients.connect._credentials.cache_clear()


@task
def write_and_read(uri: str) -> str:
    objects = connect().objects(uri)
    objects.write(uri, b"written with a token", if_generation=ABSENT)
    return objects.read(uri)[0].decode()


@flow
def round_trip(uri: str) -> str:
    return write_and_read(uri)


def test_flow_uses_the_block_and_shows_no_key(
    block: str, guarded_gcs: Gcs, metadata: Metadata, caplog: pytest.LogCaptureFixture
) -> None:
    """One token for both calls; neither it nor the key is in a log, in a repr, or among the task's parameters."""
    caplog.set_level(logging.DEBUG)
    before = metadata.count("oauth")
    assert round_trip("gs://switchyard-test/a") == "written with a token"
    assert metadata.count("oauth") == before + 1
    secret = metadata.make_key_info(CALLER)["private_key"].splitlines()[1]
    shown = caplog.text + repr(load_credentials(block)) + repr(connect().settings)
    assert secret not in shown
    assert "ya29." not in shown


def test_block_calls_services_as_its_account(block: str, metadata: Metadata) -> None:
    """The same key proves who calls a service on Cloud Run."""
    with start_cloud_run(metadata.issuer) as service:
        answer = connect().session(service.url).get(f"{service.url}/api")
        assert answer.json()["caller"] == CALLER


def test_unknown_block_is_a_setup_to_mend(prefect_server: None) -> None:
    """Its name and the setting are in the message."""
    with pytest.raises(BadSetup, match=r"'no-such-block'.*GCP_CREDENTIALS_BLOCK"):
        load_credentials("no-such-block")


BROKEN_KEY = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize("change", [{"private_key": BROKEN_KEY}, {"client_email": ""}])
def test_block_without_a_usable_key_says_so_without_showing_it(
    prefect_server: None, metadata: Metadata, change: dict[str, str]
) -> None:
    """A damaged key, or a field that is missing."""
    whole = metadata.make_key_info(CALLER)
    block = GcpCredentials(service_account_info=whole)
    block.service_account_info = SecretDict({key: value for key, value in {**whole, **change}.items() if value})
    block.save("damaged", overwrite=True, _sync=True)
    with pytest.raises(BadSetup, match="'damaged'") as caught:
        load_credentials("damaged")
    shown = "".join(traceback.format_exception(caught.value))
    assert "c2VjcmV0" not in shown
    assert whole["private_key"].splitlines()[1] not in shown
