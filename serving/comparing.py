"""A comparison of a few runs, and the names of the fields by which runs are found."""

from typing import Annotated, Final

import msgspec
from fastapi import Query
from msgspec import Meta
from msgspec.structs import replace
from pydantic.config import JsonDict
from starlette.requests import Request
from starlette.responses import Response

from serving.conditional import answer_json
from serving.listing import MAX_ID
from serving.parameters import refuse_others
from switchyard.clients.connect import Outside
from switchyard.core.comparison.compared import choose_ids, compare
from switchyard.core.comparison.fields import MAX_NAME
from switchyard.core.errors import BadRequest

COMPARE_PATH: Final = "/api/quick-tests/compare/"
FIELDS_PATH: Final = "/api/quick-tests/fields/"
_PATTERN: Final[JsonDict] = {"pattern": "^[1-9][0-9]{0,17}(,[1-9][0-9]{0,17}){0,19}$"}
"""The pattern for readers of the document; `read_ids` takes a little more, and says what it does not take."""
_IDS: Final = list[Annotated[int, Meta(ge=1, le=MAX_ID)]]


def read_ids(text: str) -> list[int]:
    """Reads the ids between commas. Raises: BadRequest.

    >>> read_ids("1, 3,9")
    [1, 3, 9]
    """
    parts = [part.strip() for part in text.split(",")]
    plain = [part if part.isascii() and part.isdecimal() else "" for part in parts]  # msgspec also reads 1e1 and 1.0
    try:
        return choose_ids(msgspec.convert(plain, _IDS, strict=False))
    except msgspec.ValidationError as err:
        said = repr(text if len(text) <= 40 else text[:40] + "...")
        raise BadRequest(
            f"`ids` must be whole numbers from 1 to {MAX_ID} between commas: ids=1,3,9; got {said}"
        ) from err


class Comparing:
    """The endpoints over one wiring. Each is called in a worker thread, because the ports block."""

    def __init__(self, outside: Outside) -> None:
        self.outside = outside

    def compare(
        self,
        request: Request,
        ids: Annotated[
            str, Query(description="1 to 20 ids between commas", examples=["1,3,9"], json_schema_extra=_PATTERN)
        ],
    ) -> Response:
        """The runs side by side, in the order of `ids`; `missing` has the ids that name no run. 404 where none does."""
        chosen = read_ids(ids)
        deleted = self.outside.followed.find_deleted(chosen)
        found = compare(
            chosen,
            [
                replace(one, run=replace(one.run, mlflow_deleted_at=deleted.get(one.run.id)))
                for one in self.outside.histories.read_compared(chosen)
            ],
        )
        return answer_json(request, msgspec.json.encode(found))

    def answer(self, request: Request) -> Response:
        """Answers as `compare`, past FastAPI's machinery, which takes a third of its time (tests/bench/finding.py)."""
        refuse_others(request, ("ids",))
        return self.compare(request, request.query_params.get("ids", ""))

    def list_fields(
        self,
        request: Request,
        prefix: Annotated[str, Query(max_length=MAX_NAME + 20, description="how the field begins")] = "",
        limit: Annotated[int, Query(ge=1, le=500, description="the largest number of fields to list")] = 100,
    ) -> Response:
        """The columns, metrics, best values, params and tags that runs are found, ordered and shown by."""
        found = self.outside.runs.list_fields(prefix, limit=limit + 1)
        return answer_json(request, msgspec.json.encode({"fields": found[:limit], "more": len(found) > limit}))
