"""A planted project behind the endpoint, and the adapter of each kind for it."""

from collections.abc import Callable, Iterator
from importlib.util import find_spec

import pytest

from switchyard.clients.google.decommission.access import Access, open_access
from switchyard.clients.google.decommission.opening import open_kinds
from switchyard.core.decommission.cloud import Cloud
from switchyard.core.decommission.resources import Kind
from tests.clients.google.decommission.cases import CASES, Case
from tests.emulators.google.project import Project, plant_mlflow
from tests.emulators.google.server import serve

needs_google_run = pytest.mark.needs_google_run


def _has_google_run() -> bool:
    return find_spec("google.cloud.run_v2") is not None


@pytest.fixture(autouse=True)
def _skip_without_google_run(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("needs_google_run") and not _has_google_run():
        pytest.skip("needs google-cloud-run: make test-decommission")


@pytest.fixture
def project() -> Iterator[Project]:
    """One that no other test sees. Nothing that it answered was against Google's own documents."""
    planted = plant_mlflow()
    yield planted
    assert not planted.world.breaches


@pytest.fixture
def access(project: Project) -> Iterator[Access]:
    """The caller of the endpoint has no name."""
    with serve(project.world) as url:
        yield open_access(endpoint=url)


@pytest.fixture
def open_cloud(access: Access) -> Callable[[Kind], Cloud]:
    """Opens the adapter of a kind; it never waits."""
    return lambda kind: open_kinds("acme-ml", access, kinds=[kind], pause=lambda _: None)[kind]


@pytest.fixture(
    params=[
        pytest.param(case, id=case.id, marks=[needs_google_run] if case.kind is Kind.RUN_SERVICE else [])
        for case in CASES
    ]
)
def case(request: pytest.FixtureRequest) -> Case:
    """Each kind in turn."""
    found: Case = request.param
    return found


@pytest.fixture
def cloud(case: Case, open_cloud: Callable[[Kind], Cloud]) -> Cloud:
    """The adapter of the kind."""
    return open_cloud(case.kind)
