"""Finds who started a flow run, as Prefect knows it: the model's history says so if no one gave a name."""

from typing import TypeVar

import msgspec
from prefect.context import FlowRunContext

S = TypeVar("S", bound=msgspec.Struct)


def with_starter(wanted: S) -> S:
    """Returns `wanted` with an empty `by` filled: by who started the flow run that calls this.

    It stays empty if Prefect does not know. This is not an effect: the flow run is here already.
    """
    if getattr(wanted, "by", ""):
        return wanted
    return msgspec.structs.replace(wanted, by=_read_starter())


def _read_starter() -> str:
    """Returns who started it, such as ``automation: register it``.

    Prefect's own server knows automations and schedules, but no users.
    """
    context = FlowRunContext.get()
    run = context.flow_run if context is not None else None
    made = run.created_by if run is not None else None
    if made is None or not made.display_value:
        return ""
    return f"{made.type.lower()}: {made.display_value}" if made.type else made.display_value
