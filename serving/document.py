"""Adds to the OpenAPI document what FastAPI does not say by itself."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # Loading it takes longer than all that the predictions, which do without it, load beside their model.
    from fastapi import FastAPI


def change_document(app: "FastAPI", change: Callable[[dict[str, Any]], None]) -> None:
    """Has `change` change the document each time that it is asked for.

    The document itself is made once, so that `change` meets what it changed before: it must then change nothing more.
    """
    describe = app.openapi

    def document() -> dict[str, Any]:
        found = describe()
        change(found)
        return found

    app.openapi = document  # type: ignore[method-assign]  # the way FastAPI's own docs extend it
