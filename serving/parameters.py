"""Query parameters that an address does not take, or takes once, are refused by name: none must only seem to work."""

import difflib
from collections.abc import Collection
from typing import Any

from fastapi.params import Depends
from fastapi.routing import APIRoute
from starlette.requests import Request

from switchyard.core.errors import BadRequest


def refuse_others(request: Request, known: Collection[str], *, repeated: bool = False) -> None:
    """Refuses a query parameter that is not one of `known`, or is there twice, unless `repeated` allows that.

    Raises: BadRequest: there is such a parameter.
    """
    if not request.scope["query_string"]:
        return
    given = [name for name, _ in request.query_params.multi_items()]
    for name in request.query_params:
        if name not in known:
            takes = f"it takes {', '.join(sorted(known))}" if known else "it takes none"
            near = difflib.get_close_matches(name[:40], known, n=1)
            meant = f"; did you mean `{near[0]}`?" if near else ""
            raise BadRequest(f"`{name[:40]}` is not a parameter of {request.url.path}; {takes}{meant}")
        if not repeated and given.count(name) > 1:
            raise BadRequest(f"`{name}` is given {given.count(name)} times. Give it once")


def only_known(path: str, endpoint: Any) -> Depends:
    """Returns a dependency of a route at `path` that refuses what `endpoint` does not declare."""
    declared = APIRoute(path, endpoint).dependant.query_params
    known = sorted(parameter.alias for parameter in declared)

    async def check(request: Request) -> None:
        refuse_others(request, known)

    return Depends(check)
