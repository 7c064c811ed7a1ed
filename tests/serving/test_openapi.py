"""The OpenAPI document says what is served."""

from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator
from pydantic import TypeAdapter
from starlette.testclient import TestClient

from serving.models.schemas import HISTORY_EXAMPLE as MODEL_HISTORY_EXAMPLE
from serving.models.schemas import ModelHistory
from serving.schemas import (
    HISTOGRAM_EXAMPLE,
    HISTORY_EXAMPLE,
    SERIES_EXAMPLE,
    FullSeriesData,
    HistogramData,
    TrainingHistory,
)
from tests.clients.results.places import Place
from tests.serving.factories import publish_run
from tests.serving.models.factories import register

PATHS = {
    "/api/quick-tests/": {
        "limit",
        "before",
        "filter",
        "order_by",
        "experiment",
        "fields",
        "archived",
        "after",
    },
    "/api/quick-tests/compare/": {"ids"},
    "/api/quick-tests/fields/": {"prefix", "limit"},
    "/api/quick-tests/{quick_test_id}/training-history/": {"quick_test_id"},
    "/api/quick-tests/{quick_test_id}/histogram-data/": {"quick_test_id", "type", "tower"},
    "/api/quick-tests/{quick_test_id}/series/": {"quick_test_id"},
    "/api/quick-tests/{quick_test_id}/evaluation/": {"quick_test_id"},
    "/api/quick-tests/{quick_test_id}/artifacts/": {"quick_test_id", "limit", "after"},
    "/api/quick-tests/{quick_test_id}/artifacts/{path}": {"quick_test_id", "path"},
    "/api/models/": {"limit", "after"},
    "/api/models/{name}/": {"name", "limit", "before"},
    "/api/models/{name}/versions/{version}/": {"name", "version"},
    "/api/models/{name}/history/": {"name", "limit", "before", "at", "version", "act", "forced"},
    "/health": set(),
}
EDITED = "/api/quick-tests/{quick_test_id}/"


@pytest.fixture
def document(client: TestClient) -> Any:
    return client.get("/api/openapi.json").json()


def test_every_endpoint_is_documented_once(document: Any) -> None:
    """GET under the contract's spelling, with its parameters; no page, no second spelling, no HEAD."""
    assert document["openapi"].startswith("3.1")
    assert document["paths"].keys() == {*PATHS, EDITED}
    assert document["paths"][EDITED].keys() == {"patch"}
    for path, parameters in PATHS.items():
        assert document["paths"][path].keys() == {"get"}
        operation = document["paths"][path]["get"]
        assert {parameter["name"] for parameter in operation.get("parameters", [])} == parameters
        media_type = "application/octet-stream" if path.endswith("{path}") else "application/json"
        assert operation["responses"]["200"]["content"][media_type]["schema"]


def test_problems_are_documented_as_they_are_sent(client: TestClient, document: Any) -> None:
    """Under the media type that they have, in every operation, and however often the document is asked for."""
    assert client.get("/api/openapi.json").json() == document
    problems = [
        response
        for path in document["paths"].values()
        for operation in path.values()
        for status, response in operation["responses"].items()
        if status.startswith(("4", "5"))
    ]
    assert len(problems) >= 7
    for problem in problems:
        assert list(problem["content"]) == ["application/problem+json"]
        assert problem["content"]["application/problem+json"]["schema"]["$ref"].endswith("/Problem")
    answer = client.get("/api/quick-tests/99/training-history/")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


def test_every_reference_of_the_document_is_there(document: Any) -> None:
    """A generator of clients finds each schema that is named."""

    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if "$ref" in node else []
            return own + [ref for value in node.values() for ref in references(value)]
        return [ref for value in node for ref in references(value)] if isinstance(node, list) else []

    found = references(document)
    assert found
    for reference in found:
        node = document
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]


def test_the_answers_are_what_the_document_says(client: TestClient, place: Place, document: Any) -> None:
    """Every key of a real answer is in its schema, and every required key is in the answer."""
    run = publish_run(place)
    register(place)
    for name, path in (
        ("TrainingHistory", f"/api/quick-tests/{run}/training-history/"),
        ("HistogramData", f"/api/quick-tests/{run}/histogram-data/"),
        ("FullSeriesData", f"/api/quick-tests/{run}/series/"),
        ("RunList", "/api/quick-tests/"),
        ("RunLine", "/api/quick-tests/?filter=id>0"),
        ("ComparedRuns", f"/api/quick-tests/compare/?ids={run}"),
        ("KnownFields", "/api/quick-tests/fields/"),
        ("RegisteredModels", "/api/models/"),
        ("ModelWithVersions", "/api/models/shop/"),
        ("VersionDetails", "/api/models/shop/versions/1/"),
        ("ModelHistory", "/api/models/shop/history/"),
        ("Health", "/health"),
    ):
        schema = document["components"]["schemas"][name]
        answer = client.get(path).json()
        answer = answer["items"][0] if name == "RunLine" else answer
        assert answer.keys() <= schema["properties"].keys()
        assert set(schema["required"]) <= answer.keys()


def test_the_examples_are_valid() -> None:
    """What a reader copies from the document passes its own schema."""
    TypeAdapter(TrainingHistory).validate_python(HISTORY_EXAMPLE)
    TypeAdapter(HistogramData).validate_python(HISTOGRAM_EXAMPLE)
    TypeAdapter(FullSeriesData).validate_python(SERIES_EXAMPLE)
    TypeAdapter(ModelHistory).validate_python(MODEL_HISTORY_EXAMPLE)


def test_every_example_of_the_served_document_fits_its_schema(document: Any) -> None:
    """As it is sent: FastAPI leaves keys that are null out of the document, and so out of an example."""
    schemas = document["components"]["schemas"]
    shown = [(name, example) for name, schema in schemas.items() for example in schema.get("examples", [])]
    assert {"TrainingHistory", "HistogramData", "FullSeriesData", "ComparedRuns", "ModelHistory"} <= dict(shown).keys()
    for name, example in shown:
        validator = Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": document["components"]})
        problems = [f"{name} {error.instance_path}: {error.message}" for error in validator.iter_errors(example)]
        assert problems == []


def test_an_edit_is_as_the_document_says(client: TestClient, place: Place, document: Any) -> None:
    """Its example is taken, and the answer has the keys of its schema."""
    operation = document["paths"][EDITED]["patch"]
    example = operation["requestBody"]["content"]["application/json"]["schema"]["example"]
    answer = client.patch(f"/api/quick-tests/{publish_run(place)}/", json=example)
    assert answer.status_code == 200
    assert answer.json().keys() == document["components"]["schemas"]["EditedRun"]["properties"].keys()
    assert {"403", "404", "409", "413", "415", "422", "503"} <= operation["responses"].keys()
