"""What the OpenAPI document says of tokens."""

from typing import Any

from tests.clients.results.places import Place
from tests.serving.door.conftest import Open, Tokens, bearer
from tests.serving.factories import publish_run

HISTORY = "/api/quick-tests/{quick_test_id}/training-history/"
EDITED = "/api/quick-tests/{quick_test_id}/"


def read_document(open_app: Open, tokens: Tokens | None) -> Any:
    if tokens is None:
        return open_app().get("/api/openapi.json").json()
    client = open_app(api_tokens_file=str(tokens.path))
    return client.get("/api/openapi.json", headers=bearer(tokens.reads)).json()


def test_every_operation_but_health_says_that_it_needs_a_token(open_app: Open, tokens: Tokens) -> None:
    """By the scheme that the document defines, and with the answer that a request without one gets."""
    document = read_document(open_app, tokens)
    (name,) = document["components"]["securitySchemes"]
    assert document["components"]["securitySchemes"][name]["scheme"] == "bearer"
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation.get("security", []) == ([] if path == "/health" else [{name: []}]), path
            assert ("401" in operation["responses"]) == (path != "/health"), path
    assert "403" in document["paths"][EDITED]["patch"]["responses"]
    assert "403" not in document["paths"][HISTORY]["get"]["responses"]


def test_refusals_are_what_the_document_says(open_app: Open, place: Place, tokens: Tokens) -> None:
    """The answer has the status, the media type and the header that the document names."""
    run = publish_run(place)
    document, client = read_document(open_app, tokens), open_app(api_tokens_file=str(tokens.path))
    for answer, said in (
        (client.get(HISTORY.format(quick_test_id=run)), document["paths"][HISTORY]["get"]),
        (client.patch(EDITED.format(quick_test_id=run), json={}), document["paths"][EDITED]["patch"]),
        (
            client.patch(EDITED.format(quick_test_id=run), json={}, headers=bearer(tokens.reads)),
            document["paths"][EDITED]["patch"],
        ),
    ):
        response = said["responses"][str(answer.status_code)]
        assert answer.status_code in (401, 403)
        assert answer.headers["content-type"] in response["content"]
        assert {name.lower() for name in response.get("headers", {})} <= answer.headers.keys()
        assert answer.json().keys() == {"title", "status", "detail"}


def test_a_server_without_tokens_says_nothing_of_them(open_app: Open) -> None:
    """A client that is made of the document sends none."""
    document = read_document(open_app, None)
    assert "securitySchemes" not in document["components"]
    assert [path for path, operations in document["paths"].items() if "401" in str(operations)] == []
