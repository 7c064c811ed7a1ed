"""Makes a flow's signature from its type of parameters, and checks each call against it."""

import inspect
from collections.abc import Callable
from typing import Annotated, TypeVar, get_type_hints

import msgspec
from pydantic import Field

from flows.forms import to_annotation, to_limits
from switchyard.core.errors import BadRequest
from switchyard.core.runs.flags import to_groups

S = TypeVar("S", bound=msgspec.Struct)
R = TypeVar("R")


def takes(struct: type[S]) -> Callable[[Callable[[S], R]], Callable[..., R]]:
    """Lets a function of one `struct` be called with the struct's fields as keywords, and shows them as its signature.

    Prefect makes a deployment's form from the signature, in its order (`to_groups`), and binds and checks every call
    against it. Without this, some 40 parameters would be written out there, and each name, limit and description said
    twice.
    """

    def wrap(function: Callable[[S], R]) -> Callable[..., R]:
        def call(**given: object) -> R:
            # In the place of a required value that was not given, Prefect leaves the signature's default: a FieldInfo.
            named = {name: value for name, value in given.items() if type(value).__name__ != "FieldInfo"}
            return function(to_parameters(named, struct))

        for name in ("__module__", "__name__", "__qualname__", "__doc__"):
            setattr(call, name, getattr(function, name))
        call.__signature__ = _to_signature(struct)  # type: ignore[attr-defined]  # inspect.signature reads it
        return call

    return wrap


def to_parameters(given: dict[str, object], struct: type[S]) -> S:
    """Returns `given` as a checked `struct`. Raises: BadRequest: what is wrong with which field."""
    try:
        return msgspec.convert(given, struct)
    except msgspec.ValidationError as err:
        raise BadRequest(str(err).replace("$.", "")) from err


def _to_signature(struct: type[msgspec.Struct]) -> inspect.Signature:
    hints = get_type_hints(struct, include_extras=True)
    parameters = []
    fields = {field.name: field for field in msgspec.structs.fields(struct)}
    for field in (fields[name] for group in to_groups(struct).values() for name in group):
        hint, limits = to_limits(hints[field.name])
        default = ... if field.required else field.default
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            hint, default = to_annotation(hint), msgspec.to_builtins(default)
        parameters.append(
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                # Prefect takes the description from the default, and only from there.
                default=Field(default=default, description=limits.pop("description", None)),
                annotation=Annotated[hint, Field(**limits)],
            )
        )
    return inspect.Signature(parameters)
