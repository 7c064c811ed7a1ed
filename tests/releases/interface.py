"""Prints, as one JSON line, what people and programs rely on of the tree that Python finds: fields, flags, variables.

Runs in a process of the old release and in one of today's, so it imports neither by itself: its first argument says, as
JSON, where the modules are that have other names there.
"""

import argparse
import importlib
import json
import sys
from contextlib import suppress
from typing import Any

import msgspec


def to_fields(struct: Any) -> dict[str, Any]:
    """The struct's JSON schema: names, types, limits, defaults; the words around them may change."""
    schema, components = msgspec.json.schema_components([struct])
    (reference,) = schema
    whole = components[reference["$ref"].rpartition("/")[2]]
    nested = {name: part["properties"] for name, part in components.items() if part is not whole}
    fields: dict[str, Any] = without_words({"required": whole.get("required", []), **whole["properties"], **nested})
    return fields


def without_words(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_words(part) for name, part in value.items() if name not in ("description", "title")}
    return [without_words(part) for part in value] if isinstance(value, list) else value


class Caught(Exception):
    """Thrown in place of parsing, so that nothing is started."""


def list_flags(main: Any) -> dict[str, Any]:
    """The flags of a command line that parses inside of `main`."""
    parsers: list[argparse.ArgumentParser] = []

    def catch(parser: argparse.ArgumentParser, *_: object, **__: object) -> Any:
        parsers.append(parser)
        raise Caught

    whole, argparse.ArgumentParser.parse_args = argparse.ArgumentParser.parse_args, catch  # type: ignore[assignment,method-assign]
    try:
        with suppress(Caught):
            main()
    finally:
        argparse.ArgumentParser.parse_args = whole  # type: ignore[method-assign]
    return to_actions(parsers[0])


def to_actions(parser: argparse.ArgumentParser) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= {name: to_actions(inner) for name, inner in action.choices.items()}
            continue
        said = {
            "kind": type(action).__name__,
            "default": repr(action.default),
            "nargs": repr(action.nargs),
            "choices": list(action.choices) if action.choices else None,
        }
        found |= dict.fromkeys(action.option_strings or [action.dest], said)
    return found


def main() -> None:
    places = json.loads(sys.argv[1])
    options, flows = importlib.import_module("trainer.options"), importlib.import_module("flows.__main__")
    structs = {name: part for name, part in vars(flows).items() if name.endswith("Parameters")}
    serving = importlib.import_module("serving.__main__")
    environment = importlib.import_module("trainer.environment")
    settings = importlib.import_module(places["settings"]).Settings
    spec = importlib.import_module(places["spec"])
    found = {
        "parameters": {name: to_fields(struct) for name, struct in structs.items()},
        "trainer": to_fields(options.RunSpec) | to_fields(spec.TrainSpec),
        "trainer flags": list_flags(lambda: options.read_arguments([], environment.read_environment({}))),
        "flows flags": list_flags(lambda: flows.read_command([])),
        "serving flags": list_flags(serving.main),
        "variables": {
            field.name.upper(): None if field.required else field.default for field in msgspec.structs.fields(settings)
        },
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
