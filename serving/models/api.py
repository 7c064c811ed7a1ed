"""The registry of models for programs: which there are, one of them, one version, and a history. It changes nothing."""

from typing import Annotated, Any, Final, Literal
from urllib.parse import urlencode

import msgspec
from fastapi import Path, Query
from starlette.requests import Request
from starlette.responses import Response

from serving.conditional import answer_json
from serving.models.asked import MOST, read_after, read_moment, read_name, to_api
from serving.models.plain import (
    to_plain_champion,
    to_plain_details,
    to_plain_line,
    to_plain_model,
    to_plain_version,
)
from serving.models.reading import read_files
from switchyard.clients.connect import Outside
from switchyard.core.registry.listing import LineQuery, enters_production
from switchyard.core.registry.names import MAX_VERSION
from switchyard.core.registry.stages import Act

LIST_PATH: Final = "/api/models/"
MODEL_PATH: Final = "/api/models/{name}/"
VERSION_PATH: Final = "/api/models/{name}/versions/{version}/"
HISTORY_PATH: Final = "/api/models/{name}/history/"

_Name = Annotated[str, Path(description="the model's name", examples=["shop"])]
_Limit = Annotated[int, Query(ge=1, le=MOST, description="items a page")]
_Version = Annotated[int, Path(ge=1, le=MAX_VERSION, description="the version's number", examples=[3])]


class ModelsApi:
    """The endpoints over one wiring. Each is called in a worker thread, because the ports block."""

    def __init__(self, outside: Outside) -> None:
        self.outside = outside

    def list_models(
        self,
        request: Request,
        limit: _Limit = 50,
        after: Annotated[str, Query(description="only models with names after this one, by their bytes")] = "",
    ) -> Response:
        """The models by name, each with its champion, its challenger and its last change."""
        found = self.outside.catalogue.list_models(after=read_after(after), limit=limit + 1)
        following = None
        if len(found) > limit:
            following = f"{LIST_PATH}?{urlencode({'limit': limit, 'after': found[limit - 1].model.name})}"
        return _answer(request, {"items": [to_plain_model(line) for line in found[:limit]], "next": following})

    def read_model(
        self,
        request: Request,
        name: _Name,
        limit: _Limit = 50,
        before: Annotated[int | None, Query(ge=1, le=MAX_VERSION, description="only versions below this one")] = None,
    ) -> Response:
        """One model: who answers, its aliases, and its versions, the newest first."""
        line = self.outside.catalogue.read_line(read_name(name))
        found = self.outside.catalogue.list_versions(name, before=before, limit=limit + 1)
        following = to_api(name, limit=limit, before=found[limit - 1].version) if len(found) > limit else None
        return _answer(
            request,
            {
                **to_plain_model(line),
                "tags": self.outside.catalogue.read_tags(name, 0),
                "aliases": self.outside.models.list_aliases(name),
                "versions": [to_plain_version(version) for version in found[:limit]],
                "next": following,
            },
        )

    def read_version(self, request: Request, name: _Name, version: _Version) -> Response:
        """One version: its files, where it comes from, and what its last comparison said, with the evidence."""
        found = self.outside.models.find_version(read_name(name), str(version))
        aliases = self.outside.models.list_aliases(name)
        tags = self.outside.catalogue.read_tags(name, version)
        return _answer(request, to_plain_details(found, read_files(self.outside, found), aliases, tags))

    def read_history(
        self,
        request: Request,
        name: _Name,
        limit: _Limit = 50,
        before: Annotated[int | None, Query(ge=1, le=MAX_VERSION, description="only lines with a smaller seq")] = None,
        at: Annotated[
            str | None,
            Query(
                description="a moment: only what had happened by then, and who was in Production",
                examples=["2026-01-31T10:30:00Z"],
            ),
        ] = None,
        version: Annotated[int | None, Query(ge=1, le=MAX_VERSION, description="only lines of this version")] = None,
        act: Annotated[Act | None, Query(description="only lines of this act")] = None,
        forced: Annotated[Literal["true"] | None, Query(description="only what went past a comparison")] = None,
    ) -> Response:
        """The history, the newest line first. `production` is who is there now or, with `at`, who was there then."""
        moment = read_moment(at)
        line = self.outside.catalogue.read_line(read_name(name))
        standing, there = line.standing, line.model.production
        if moment is not None:
            standing = self.outside.catalogue.find_standing(name, moment)
            there = standing.version if standing is not None and enters_production(standing) else None
        asked = LineQuery(
            limit=limit + 1,
            before=before,
            until=moment,
            version=version,
            acts=(act,) if act else (),
            forced=forced == "true",
        )
        found = self.outside.catalogue.list_lines(name, asked)
        following = None
        if len(found) > limit:
            given = {key: value for key, value in request.query_params.items() if key not in ("limit", "before")}
            following = to_api(name, "history", limit=limit, **given, before=found[limit - 1].seq)
        return _answer(
            request,
            {
                "name": name,
                "at": moment,
                "production": to_plain_champion(standing, there),
                "items": [to_plain_line(line) for line in found[:limit]],
                "next": following,
            },
        )


def _answer(request: Request, found: Any) -> Response:
    return answer_json(request, msgspec.json.encode(found))
