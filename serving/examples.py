"""The examples of the OpenAPI document, whole: FastAPI leaves out every key that is null, also in an example."""

from typing import Any, Final

from fastapi import FastAPI
from pydantic.config import JsonDict

from serving.comparison_schemas import COMPARISON_EXAMPLE
from serving.document import change_document
from serving.models.schemas import HISTORY_EXAMPLE as MODEL_HISTORY_EXAMPLE
from serving.schemas import HISTORY_EXAMPLE

_WITH_NULLS: Final[dict[str, JsonDict]] = {
    "ComparedRuns": COMPARISON_EXAMPLE,
    "ModelHistory": MODEL_HISTORY_EXAMPLE,
    "TrainingHistory": HISTORY_EXAMPLE,
}
"""By the schema's name."""


def document_examples(app: FastAPI) -> None:
    """Has the OpenAPI document show the examples with their nulls, as the answers have them."""

    def change(found: dict[str, Any]) -> None:
        schemas = found.get("components", {}).get("schemas", {})
        for name in _WITH_NULLS.keys() & schemas.keys():
            schemas[name]["examples"] = [_WITH_NULLS[name]]

    change_document(app, change)
