"""What a Google API takes and answers, by the discovery document of it that google-api-python-client brings along.

Refuses paths, query names, fields, types and enum names that the document does not know; replies of our own are held
to it too. A document says nothing of error codes, permissions, states and time: those are by hand, in the services.
"""

import functools
import importlib.resources
import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from tests.emulators.google.refusing import Refused

APIS = (
    "run.v2", "sqladmin.v1", "cloudbuild.v1", "iam.v1", "secretmanager.v1", "storage.v1", "cloudresourcemanager.v3",
    "monitoring.v3", "logging.v2", "bigquery.v2", "run.v1", "cloudbuild.v2",
)  # fmt: skip
ONLY = {"run.v1": ("run.projects.locations.list",), "cloudbuild.v2": ("cloudbuild.projects.locations.list",)}
"""Of an API's older or newer version, whose other methods have the ids of those that are used."""

_DATETIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_FORMS = {
    "google-datetime": (_DATETIME, "a time by RFC 3339"),
    "date-time": (_DATETIME, "a time by RFC 3339"),
    "google-duration": (re.compile(r"-?\d+(\.\d{1,9})?s"), "seconds, such as 3.5s"),
    "int64": (re.compile(r"-?\d+"), "an int64 in quotes"),
    "uint64": (re.compile(r"\d+"), "a uint64 in quotes"),
    "byte": (re.compile(r"[A-Za-z0-9+/_-]*={0,2}"), "base64"),
}


@dataclass(frozen=True)
class Method:
    """One method of an API."""

    api: "Document"
    id: str
    verb: str
    pattern: re.Pattern[str]
    literal: int  # characters of the path that stand for themselves: the most of them decides
    parameters: dict[str, Any]
    request: str
    response: str

    def check_query(self, query: dict[str, list[str]]) -> None:
        """Raises Refused for a name or a value that the method does not take, or where a required one is missing."""
        common = {name.lstrip("$") for name in self.api.common}
        for name, values in query.items():
            schema = self.parameters.get(name)
            if schema is None or schema["location"] != "query":
                if name.lstrip("$") not in common:
                    raise Refused(
                        400, f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query parameter.'
                    )
                continue
            if len(values) > 1 and not schema.get("repeated"):
                raise Refused(400, f"{name}: expected one value, received {len(values)}")
            if schema.get("type") == "boolean":
                # google-cloud-storage sends Python's own True, and Cloud Storage takes it.
                values[:] = [value.lower() for value in values]
            for value in values:
                _check_text(value, schema, name)
        for name, schema in self.parameters.items():
            if schema.get("required") and schema["location"] == "query" and name not in query:
                raise Refused(400, f"Required parameter: [{name}]", reason="required")

    def take_body(self, body: Any) -> Any:
        """The body, its enums by their names. Raises Refused."""
        if not self.request:
            if body not in (None, {}):
                raise Refused(400, f"{self.id} takes no body")
            return {}
        return self.api.take(body or {}, {"$ref": self.request}, self.request, asked=True)

    def check_reply(self, reply: Any) -> None:
        """Raises Refused (500) where our own answer is none of this API's."""
        try:
            self._take_reply(reply)
        except Refused as err:
            raise Refused(500, f"the endpoint's own reply: {err.message}") from err

    def _take_reply(self, reply: Any) -> None:
        if self.response:
            self.api.take(reply, {"$ref": self.response}, self.response)
        elif reply is not None:
            raise Refused(400, f"{self.id} answers without a body")


class Document:
    """One discovery document."""

    def __init__(self, name: str) -> None:
        path = importlib.resources.files("googleapiclient.discovery_cache") / "documents" / f"{name}.json"
        document = json.loads(path.read_text())
        self.name = name
        self.schemas: dict[str, Any] = document["schemas"]
        self.common = set(document["parameters"])
        self.methods = list(self._walk(document, document.get("servicePath", "")))

    def _walk(self, node: Any, service_path: str) -> Any:
        for method in node.get("methods", {}).values():
            flat = "/" + service_path + method.get("flatPath", method["path"])
            pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(flat))
            yield Method(
                api=self,
                id=method["id"],
                verb=method["httpMethod"],
                pattern=re.compile(pattern),
                literal=len(re.sub(r"\{\w+\}", "", flat)),
                parameters=method.get("parameters", {}),
                request=method.get("request", {}).get("$ref", ""),
                response=method.get("response", {}).get("$ref", ""),
            )
        for resource in node.get("resources", {}).values():
            yield from self._walk(resource, service_path)

    def take(self, value: Any, schema: Any, where: str, *, asked: bool = False) -> Any:
        """`value` as `schema` has it, enums by their names. Raises Refused.

        Args:
            asked: it is a request's: clients may send numbers for enums and for int64, and Google takes them.
        """
        schema = self.schemas[schema["$ref"]] if "$ref" in schema else schema
        kind = schema.get("type")
        if kind == "object" or "properties" in schema:
            return self._take_object(value, schema, where, asked)
        if kind == "array":
            if not isinstance(value, list):
                raise Refused(400, f"{where}: expected an array, received {value!r}")
            return [self.take(item, schema["items"], f"{where}[{n}]", asked=asked) for n, item in enumerate(value)]
        if kind == "string":
            return _take_string(value, schema, where, asked)
        if kind == "boolean" and not isinstance(value, bool):
            raise Refused(400, f"{where}: expected true or false, received {value!r}")
        if kind in ("integer", "number") and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise Refused(400, f"{where}: expected a {kind}, received {value!r}")
        return value

    def _take_object(self, value: Any, schema: Any, where: str, asked: bool) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise Refused(400, f"{where}: expected an object, received {value!r}")
        properties, others = schema.get("properties", {}), schema.get("additionalProperties")
        taken = {}
        for name, inner in value.items():
            if name not in properties and others is None:
                raise Refused(
                    400, f'Invalid JSON payload received. Unknown name "{name}" at "{where}": Cannot find field.'
                )
            taken[name] = self.take(inner, properties.get(name, others), f"{where}.{name}", asked=asked)
        return taken


def _take_string(value: Any, schema: Any, where: str, asked: bool) -> str:
    names = schema.get("enum")
    number = asked and isinstance(value, int) and not isinstance(value, bool)
    if number and schema.get("format") in ("int64", "uint64"):
        # Source: https://protobuf.dev/programming-guides/json/ (int64: "either numbers or strings are accepted")
        value = str(value)
    if names and number:
        # A generated client sends numbers for enums ($alt=json;enum-encoding=int). That a document lists them in the
        # order of their numbers is assumed; test_endpoint.py compares those that matter with google-cloud-run's.
        if not 0 <= value < len(names):
            raise Refused(400, f"Invalid value at '{where}': {value}")
        return str(names[value])
    if not isinstance(value, str):
        raise Refused(400, f"{where}: expected a string, received {value!r}")
    if names and value not in names:
        raise Refused(400, f"Invalid value at '{where}': {value!r}; expected one of {', '.join(names)}")
    pattern, said = _FORMS.get(schema.get("format", ""), (None, ""))
    if pattern and not pattern.fullmatch(value):
        raise Refused(400, f"{where}: expected {said}, received {value!r}")
    return value


def _check_text(value: str, schema: Any, where: str) -> None:
    """A query's value, which always comes as text."""
    kind = schema.get("type")
    if kind == "boolean" and value not in ("true", "false"):
        raise Refused(400, f"Invalid value at '{where}' (TYPE_BOOL), {value!r}")
    if kind == "integer" and not re.fullmatch(r"-?\d+", value):
        raise Refused(400, f"Invalid value at '{where}' (TYPE_INT32), {value!r}")
    if kind == "string" and value:
        _take_string(value, schema, where, asked=True)


@functools.cache
def read_methods() -> dict[tuple[str, int], list[Method]]:
    """All methods of all APIs by verb and length of path; those with the most of it written out come first."""
    found: dict[tuple[str, int], list[Method]] = {}
    everything = (
        method for name in APIS for method in Document(name).methods if name not in ONLY or method.id in ONLY[name]
    )
    for method in sorted(everything, key=lambda method: -method.literal):
        segments = re.sub(r"\[\^/\]", "", method.pattern.pattern).count("/")
        found.setdefault((method.verb, segments), []).append(method)
    return found


def match(verb: str, raw_path: str) -> list[tuple[Method, dict[str, str]]]:
    """The methods that a request may mean, the likeliest first, and what their paths' names stand for.

    On Google's hosts each API has a name of its own; here they share one, and a few paths are of two of them.
    """
    return [
        (method, {name: unquote(text) for name, text in found.groupdict().items()})
        for method in read_methods().get((verb, raw_path.count("/")), ())
        if (found := method.pattern.fullmatch(raw_path))
    ]
