"""Requests by chance, made of the OpenAPI document: none finds an error inside, or an answer that it does not say."""

from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from serving.app import create_app
from tests.clients.results.places import Places
from tests.serving.conftest import OverPlace
from tests.serving.factories import publish_run
from tests.serving.models.factories import register


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The document of an application over a database with a few runs."""
    places = Places(tmp_path_factory.mktemp("places"), lambda: pytest.fail("SQLite needs no server"))
    place = places.make("sqlite", Path(tmp_path_factory.mktemp("place")))
    for number in range(3):
        publish_run(place, name=f"run {number}")
    register(place)
    yield schemathesis.openapi.from_asgi("/api/openapi.json", create_app(OverPlace(place)))
    places.close()


OPERATIONS = (
    "/api/quick-tests/{quick_test_id}/",
    "/api/quick-tests/",
    "/api/quick-tests/compare/",
    "/api/quick-tests/fields/",
    "/api/quick-tests/{quick_test_id}/histogram-data/",
    "/api/quick-tests/{quick_test_id}/evaluation/",
    "/api/quick-tests/{quick_test_id}/series/",
    "/api/quick-tests/{quick_test_id}/training-history/",
    "/api/quick-tests/{quick_test_id}/artifacts/",
    "/api/quick-tests/{quick_test_id}/artifacts/{path}",
    "/api/models/",
    "/api/models/{name}/",
    "/api/models/{name}/versions/{version}/",
    "/api/models/{name}/history/",
    "/health",
)


IN_WORDS = ("/api/quick-tests/", "/api/models/", "/api/models/{name}/history/")
CHANGED = ("/api/quick-tests/{quick_test_id}/",)
FITTING = [(path, GenerationMode.POSITIVE) for path in OPERATIONS]
NOT_FITTING = [(path, GenerationMode.NEGATIVE) for path in OPERATIONS if path != "/health"]  # which takes nothing


@pytest.mark.parametrize(("path", "mode"), [*FITTING, *NOT_FITTING])
def test_every_answer_is_what_the_document_says(api: Any, path: str, mode: GenerationMode) -> None:
    """Status, media type and shape of each; what the document forbids is refused."""
    operation = api[path]["PATCH" if path in CHANGED else "GET"]
    # A filter, an order, a place or a time is a text that JSON Schema cannot say all of: some that fit it are refused.
    excluded = [positive_data_acceptance] if path in IN_WORDS else []

    @settings(
        max_examples=40,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def try_one(case: Any) -> None:
        case.call_and_validate(excluded_checks=excluded)

    try_one()


def test_every_operation_is_tried(api: Any) -> None:
    """A new endpoint is named here too."""
    assert {result.ok().path for result in api.get_all_operations()} == set(OPERATIONS)
