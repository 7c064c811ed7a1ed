"""Gives a parameter that is a Struct its form: Prefect's UI draws it, and the Struct's own rules check it.

Prefect makes forms from pydantic's JSON schema and knows nothing of msgspec. So the schema comes from a pydantic model
that is made of the Struct. The Struct converts the values, because the model cannot know its `__post_init__`.
"""

from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec
from pydantic import ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, create_model
from pydantic_core import core_schema

LIMITS = ("gt", "ge", "lt", "le", "min_length", "max_length", "pattern", "description")


def to_annotation(struct: type[msgspec.Struct]) -> Any:
    """Returns the annotation for a flow's parameter that is a `struct`.

    With it the flow takes a `struct`, or a mapping of its fields, and gets a `struct`. Its default in the signature
    must be JSON: ``msgspec.to_builtins(default)``.
    """
    return Annotated[struct, _Form(struct)]


def to_limits(hint: Any) -> tuple[Any, dict[str, Any]]:
    """Returns a field's type without its msgspec notes, and what pydantic's ``Field`` is told of them."""
    if get_origin(hint) is not Annotated:
        return hint, {}
    plain, *notes = get_args(hint)
    limits: dict[str, Any] = {}
    for note in notes:
        limits |= {name: getattr(note, name) for name in LIMITS if getattr(note, name, None) is not None}
    return plain, limits


class _Form:
    """Tells pydantic, as an annotation's note, how to check a value and how to show it."""

    def __init__(self, struct: type[msgspec.Struct]) -> None:
        self._struct = struct

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            # A msgspec.ValidationError is a ValueError, which pydantic reports with the parameter's name.
            lambda value: msgspec.convert(value, self._struct),
            serialization=core_schema.plain_serializer_function_ser_schema(msgspec.to_builtins),
        )

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        hints = get_type_hints(self._struct, include_extras=True)
        fields: dict[str, Any] = {}
        for field in msgspec.structs.fields(self._struct):
            plain, limits = to_limits(hints[field.name])
            fields[field.name] = (plain, Field(default=... if field.required else field.default, **limits))
        first_line = (self._struct.__doc__ or "").partition("\n")[0]
        model = create_model(self._struct.__name__, __doc__=first_line, __config__=ConfigDict(extra="forbid"), **fields)
        return handler(model.__pydantic_core_schema__)
