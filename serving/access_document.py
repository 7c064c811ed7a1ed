"""What the OpenAPI document says of tokens, so that a client made of it sends one."""

from typing import Any, Final

from fastapi import FastAPI

from serving.access import REALM, to_need
from serving.document import change_document
from serving.problems import PROBLEM_JSON
from switchyard.core.access.rules import Need

_NAME: Final = "token"
_SCHEME: Final = {
    "type": "http",
    "scheme": "bearer",
    "description": "Make one: switchyard token --name <name>. To edit, it needs --scope write.",
}


def document_tokens(app: FastAPI) -> None:
    """Has the document say which operations need a token, and what is answered without one. For a server with tokens.

    Needs the schema `Problem` in the document, as `serving.api` has it.
    """

    def change(found: dict[str, Any]) -> None:
        found["components"]["securitySchemes"] = {_NAME: _SCHEME}
        for path, operations in found["paths"].items():
            for method, operation in operations.items():
                need = to_need(method.upper(), path)
                if need not in (Need.READ, Need.WRITE):
                    continue
                operation["security"] = [{_NAME: []}]
                operation["responses"]["401"] = _to_response("No token, or none that is valid", challenge=REALM)
                if need is Need.WRITE:
                    operation["responses"]["403"] = _to_response(
                        "The token may only read, or another site's page sent this"
                    )

    change_document(app, change)


def _to_response(said: str, *, challenge: str = "") -> dict[str, Any]:
    response: dict[str, Any] = {
        "description": said,
        "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    if challenge:
        response["headers"] = {
            "WWW-Authenticate": {"required": True, "schema": {"type": "string"}, "example": challenge}
        }
    return response
