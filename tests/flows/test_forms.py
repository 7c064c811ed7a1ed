"""A nested parameter's form, as Prefect makes it and as it checks values by it."""

import inspect
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from prefect import Flow
from prefect.exceptions import ParameterTypeError
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools import validate
from pydantic import Field

from flows.forms import to_annotation
from switchyard.core.runs.machine import MachineSpec


def make_function() -> Callable[..., Any]:
    """A flow's function with the parameter `machine`, as flows/signatures.py makes them."""

    def call(**given: Any) -> Any:
        return given

    machine = inspect.Parameter(
        "machine",
        inspect.Parameter.KEYWORD_ONLY,
        default=Field(default=msgspec.to_builtins(MachineSpec()), description="where it runs"),
        annotation=to_annotation(MachineSpec),
    )
    call.__signature__ = inspect.Signature([machine])  # type: ignore[attr-defined]  # inspect.signature reads it
    return call


def test_form_shows_every_field() -> None:
    """Title, type, choices, limits, default and description of each: what the UI draws."""
    schema = parameter_schema(make_function()).model_dump()
    machine = schema["properties"]["machine"]
    assert (machine["title"], machine["description"], machine["type"]) == ("machine", "where it runs", "object")
    assert machine["default"] == msgspec.to_builtins(MachineSpec())
    fields = machine["properties"]
    assert list(fields) == list(MachineSpec.__struct_fields__)
    for field in fields.values():
        assert {"title", "type", "description", "default"} <= field.keys(), field
    assert fields["scheduling"]["enum"] == ["standard", "spot", "flex_start"]
    assert (fields["replica_count"]["minimum"], fields["replica_count"]["maximum"]) == (1, 100)
    assert fields["machine_type"]["pattern"].startswith("^")


def test_form_takes_its_own_default() -> None:
    """Prefect's server checks a run's parameters by the schema."""
    schema = parameter_schema(make_function()).model_dump()
    assert validate({"machine": msgspec.to_builtins(MachineSpec())}, schema) == []
    assert validate({"machine": {"colour": "red"}}, schema) != []


@pytest.mark.parametrize(
    "given",
    [
        {"machine_type": "n1-highmem-8"},
        MachineSpec(machine_type="n1-highmem-8"),
        msgspec.to_builtins(MachineSpec(machine_type="n1-highmem-8")),
    ],
    ids=["some fields", "a machine", "all fields"],
)
def test_flow_gets_a_machine(given: object) -> None:
    """From the UI, from Python, and from what Prefect has stored."""
    flow = Flow(make_function(), name="test-forms")
    assert flow.validate_parameters({"machine": given}) == {"machine": MachineSpec(machine_type="n1-highmem-8")}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"machine_type": "big"}, "machine_type"),
        ({"accelerator_count": 2}, "must be set together"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_the_struct_refuses_is_refused(given: dict[str, Any], said: str) -> None:
    """Also what two fields contradict each other in."""
    flow = Flow(make_function(), name="test-forms")
    with pytest.raises(ParameterTypeError, match=f"machine: .*{said}"):
        flow.validate_parameters({"machine": given})
