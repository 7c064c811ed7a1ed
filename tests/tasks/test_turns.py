"""The pace of submissions to Vertex AI, counted by a real Prefect server."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

import tasks.local_prefect
import tasks.turns
from switchyard.core.errors import BadSetup, TryAgain
from tasks.turns import AT_ONCE, PER_S, is_limited, make_limit, take_turn

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def client(prefect_server: None) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> str:
    """A name of the test's own: slots that another test took would be missing."""
    name = f"limit-{uuid4().hex}"
    monkeypatch.setattr(tasks.turns, "LIMIT", name)
    return name


def test_no_minute_sees_more_than_fifty() -> None:
    """What is there at once, and what returns within a minute, is 50 together."""
    assert AT_ONCE + 60 * PER_S == 50


def test_the_turns_of_many_are_counted_together(client: SyncPrefectClient, limit: str) -> None:
    """Twelve threads, as flow runs would: ten go at once, each further one when a slot has returned."""
    make_limit(client)
    started = time.monotonic()

    def take(_: int) -> float:
        take_turn(60)
        return time.monotonic() - started

    with ThreadPoolExecutor(12) as pool:
        taken = sorted(pool.map(take, range(12)))
    # Never more than what the decay allows: the twelfth waits for two slots.
    assert taken[-1] >= (12 - AT_ONCE) / PER_S - 1  # the server rounds to seconds of its own clock


def test_no_turn_in_time_is_tried_again(client: SyncPrefectClient, limit: str) -> None:
    """The wait has an end, and its error says what is waited for."""
    make_limit(client)
    for _ in range(AT_ONCE):
        take_turn(30)
    with pytest.raises(TryAgain, match=rf"no turn to submit came within .* {limit}\."):
        for _ in range(AT_ONCE):
            take_turn(0.05)


def test_a_server_without_the_limit_submits_nothing(limit: str) -> None:
    """No one would count: refused, and the message says what makes it."""
    with pytest.raises(BadSetup, match=r"has no global concurrency limit.*deployments.limits"):
        take_turn(1)


def test_making_the_limit_again_changes_nothing(client: SyncPrefectClient, limit: str) -> None:
    """`make up` and `make deploy` make it every time; one with other numbers is brought up to date."""
    client.upsert_global_concurrency_limit_by_name(limit, 5, slot_decay_per_second=1.0)
    for _ in range(2):
        make_limit(client)
    made = client.read_global_concurrency_limit_by_name(limit)
    assert (made.limit, made.slot_decay_per_second) == (AT_ONCE, PER_S)


@pytest.mark.parametrize(("backend", "api_url", "limited"), [("vertex", "http://p/api", True), ("vertex", None, False)])
def test_it_is_counted_where_a_server_is_used(
    backend: str, api_url: str | None, limited: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that brings its own Prefect is alone: nothing is counted there."""
    set_up(monkeypatch, backend)
    with temporary_settings({PREFECT_API_URL: api_url}):
        assert is_limited() is limited


def set_up(monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    environ = {"TRAINING_BACKEND": backend, "ARTIFACTS_URI": "gs://bucket", "GCP_PROJECT_ID": "demo-project",
               "GCP_REGION": "us-central1", "TRAINER_IMAGE": "us-docker.pkg.dev/demo-project/r/i"}  # fmt: skip
    for name, value in environ.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(("api_url", "limited"), [("http://own/api", False), ("http://teams/api", True)])
def test_a_server_of_this_process_alone_counts_nothing(
    api_url: str, limited: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No one has made the limit there, and no one else submits by it."""
    set_up(monkeypatch, "vertex")
    monkeypatch.setattr(tasks.local_prefect, "_own_servers", {"http://own/api"})
    monkeypatch.setenv("PREFECT_API_URL", api_url)
    with temporary_settings({PREFECT_API_URL: api_url}):
        assert is_limited() is limited


def test_jobs_on_this_machine_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are no request to anyone."""
    monkeypatch.delenv("TRAINING_BACKEND", raising=False)
    assert not is_limited()
