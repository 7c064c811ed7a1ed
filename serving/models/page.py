"""The pages of the registry: all models, one of them, one version, and what differs between two."""

from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from serving.conditional import Packable, answer_packable
from serving.models.asked import read_after, read_name, read_whole, to_api, to_page
from serving.models.evidence import to_text
from serving.models.reading import read_files
from serving.models.traffic import DAYS, USUAL_DAYS, TrafficReader, say_rate
from serving.models.view import to_entry, to_judged, to_origins, to_rows
from serving.models.words import say_share, say_size
from serving.parameters import refuse_others
from serving.rendering import render, with_forms
from serving.view.parameters import to_parameters
from switchyard.clients.connect import Outside
from switchyard.core.errors import NotFound
from switchyard.core.registry.differences import Differences, compare_versions
from switchyard.core.registry.listing import LineQuery, ModelLine
from switchyard.core.registry.rows import ModelVersion
from switchyard.core.registry.stages import Act

PATH: Final = "/models"
MODEL_PATH: Final = "/models/{name}"
VERSION_PATH: Final = "/models/{name}/versions/{version}"
DIFFERENCES_PATH: Final = "/models/{name}/differences"
MODELS_A_PAGE: Final = 100
VERSIONS_A_PAGE: Final = 50
LINES_A_PAGE: Final = 50
JUDGED_A_PAGE: Final = 5
MOST_FORCED: Final = 20
MOST_FILES: Final = 500
_VERSIONS, _LINES, _JUDGED = "versions_before", "history_before", "validations_before"


class ModelPages:
    """The endpoints over one wiring. Each is called in a worker thread, because the ports block."""

    def __init__(self, outside: Outside) -> None:
        self.outside = outside
        self.traffic = TrafficReader(outside)

    def list_models(self, request: Request) -> Response:
        """Lists all models, by name."""
        refuse_others(request, ("after",))
        after = read_after(request.query_params.get("after"))
        found = self.outside.catalogue.list_models(after=after, limit=MODELS_A_PAGE + 1)
        following = found[MODELS_A_PAGE - 1].model.name if len(found) > MODELS_A_PAGE else ""
        return _answer(request, "models.html", lines=found[:MODELS_A_PAGE], following=following, after=after)

    def show_model(self, request: Request) -> Response:
        """Shows who answers, the versions, what comparisons said, and the history."""
        refuse_others(request, (_VERSIONS, _LINES, _JUDGED, "days"))
        name = read_name(request.path_params["name"])
        asked = {key: read_whole(key, request.query_params.get(key)) for key in (_VERSIONS, _LINES, _JUDGED)}
        days = read_whole("days", request.query_params.get("days"), max(DAYS)) or USUAL_DAYS
        catalogue = self.outside.catalogue
        line = catalogue.read_line(name)
        versions = catalogue.list_versions(name, before=asked[_VERSIONS], limit=VERSIONS_A_PAGE + 1)
        lines = catalogue.list_lines(name, LineQuery(limit=LINES_A_PAGE + 1, before=asked[_LINES]))
        validated = LineQuery(limit=JUDGED_A_PAGE + 1, before=asked[_JUDGED], acts=(Act.VALIDATED,))
        judged = catalogue.list_lines(name, validated)
        forced = catalogue.list_lines(name, LineQuery(limit=MOST_FORCED + 1, forced=True))
        following = {
            _VERSIONS: versions[VERSIONS_A_PAGE - 1].version if len(versions) > VERSIONS_A_PAGE else None,
            _LINES: lines[LINES_A_PAGE - 1].seq if len(lines) > LINES_A_PAGE else None,
            _JUDGED: judged[JUDGED_A_PAGE - 1].seq if len(judged) > JUDGED_A_PAGE else None,
        }
        return _answer(
            request,
            "model.html",
            name=name,
            line=line,
            tags=catalogue.read_tags(name, 0),
            aliases=self.outside.models.list_aliases(name),
            rows=to_rows(versions[:VERSIONS_A_PAGE]),
            judged=[to_judged(one) for one in judged[:JUDGED_A_PAGE]],
            forced=[to_entry(one) for one in forced[:MOST_FORCED]],
            more_forced=len(forced) > MOST_FORCED,
            entries=[to_entry(one) for one in lines[:LINES_A_PAGE]],
            asked=asked,
            traffic=self.traffic.read(name, days),
            choices=DAYS,
            rate=say_rate,
            following=following,
            pair=_choose_pair(line, catalogue.list_versions(name, limit=2)),
            suggested=line.model.challenger or next((one.version for one in versions if not one.tombstoned_at), None),
        )

    def show_version(self, request: Request) -> Response:
        """Shows one version: where it comes from, what its comparison said, its files, and its own history."""
        refuse_others(request, ())
        version = self._read_version(request, request.path_params["version"])
        manifest = read_files(self.outside, version)
        own = LineQuery(limit=LINES_A_PAGE + 1, version=version.version)
        lines = self.outside.catalogue.list_lines(version.name, own)
        last = [line for line in lines if line.act is Act.VALIDATED][:1]
        if not last:
            query = LineQuery(limit=1, version=version.version, acts=(Act.VALIDATED,))
            last = self.outside.catalogue.list_lines(version.name, query)
        aliases = self.outside.models.list_aliases(version.name)
        return _answer(
            request,
            "version.html",
            name=version.name,
            version=version,
            model=self.outside.models.read_model(version.name),
            aliases=[alias for alias, number in aliases.items() if number == version.version],
            origins=to_origins(version.lineage),
            tags=self.outside.catalogue.read_tags(version.name, version.version),
            parameters=to_parameters(version.lineage.parameters),
            judged=[to_judged(line) for line in last],
            files=manifest.files[:MOST_FILES],
            more_files=len(manifest.files) - MOST_FILES,
            size_bytes=manifest.size_bytes,
            entries=[to_entry(line) for line in lines[:LINES_A_PAGE]],
            more_entries=len(lines) > LINES_A_PAGE,
        )

    def show_differences(self, request: Request) -> Response:
        """Shows how two versions of a model differ: `from` and `to`."""
        refuse_others(request, ("from", "to"))
        name = read_name(request.path_params["name"])
        line = self.outside.catalogue.read_line(name)
        chosen = [read_whole(key, request.query_params.get(key)) for key in ("from", "to")]
        usual = _choose_pair(line, self.outside.catalogue.list_versions(name, limit=2))
        pair = [number or other for number, other in zip(chosen, usual, strict=True)]
        versions: list[ModelVersion] = []
        missing: list[str] = []
        for number in pair:
            try:
                versions.append(self.outside.models.find_version(name, str(number)))
            except NotFound as err:
                missing.append(str(err))
        found: Differences | None = None
        if not missing:
            before, after = versions
            found = compare_versions(before, after, read_files(self.outside, before), read_files(self.outside, after))
        return _answer(
            request,
            "differences.html",
            status=404 if missing else 200,
            name=name,
            line=line,
            pair=pair,
            versions=versions,
            missing=list(dict.fromkeys(missing)),
            found=found,
            runs=list(dict.fromkeys(one.lineage.quick_test_id for one in versions if one.lineage.quick_test_id)),
            most=MOST_FILES,
        )

    def _read_version(self, request: Request, number: str) -> ModelVersion:
        name = read_name(request.path_params["name"])
        return self.outside.models.find_version(name, str(read_whole("version", number)))


def _choose_pair(line: ModelLine, newest: list[ModelVersion]) -> tuple[int, int]:
    """Chooses the two that a reader wants first: the champion and its challenger, else the two newest."""
    model, numbers = line.model, [version.version for version in newest]
    after = model.challenger or next(iter(numbers), 1)
    others = [model.production, model.previous, *numbers]
    return next((other for other in others if other not in (None, after)), None) or after, after


def _answer(request: Request, template: str, *, status: int = 200, **values: Any) -> Response:
    said = {"page": to_page, "api": to_api, "text": to_text, "share": say_share, "size": say_size}
    page = with_forms(render(template, **said, unset=msgspec.UNSET, **values))
    if status != 200:
        return Response(page.content, status, page.headers, media_type="text/html")
    return answer_packable(request, Packable.of(page.content), media_type="text/html", headers=page.headers)
