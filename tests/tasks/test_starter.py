"""Who started a flow run, for the model's history."""

from uuid import uuid4

import pytest
from prefect._internal.schemas.fields import CreatedBy  # what a client gets; it has no public name
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext

from flows.registry_parameters import PromoteParameters
from tasks.starter import with_starter

WANTED = PromoteParameters(name="shop", version=1)


@pytest.mark.parametrize(
    ("made", "by"),
    [
        (CreatedBy(id=uuid4(), type="AUTOMATION", display_value="register it"), "automation: register it"),
        (CreatedBy(display_value="ann"), "ann"),
        (CreatedBy(id=uuid4(), type="DEPLOYMENT"), ""),
        (None, ""),
    ],
)
def test_flow_run_says_who_started_it(made: CreatedBy | None, by: str) -> None:
    """As far as Prefect knows; a name that was given stays."""
    run = FlowRun(flow_id=uuid4(), created_by=made)
    with FlowRunContext.model_construct(flow_run=run):
        assert with_starter(WANTED).by == by
        assert with_starter(PromoteParameters(name="shop", version=1, by="eve")).by == "eve"


def test_outside_of_a_flow_run_nobody_is_named() -> None:
    """It is no error either."""
    assert with_starter(WANTED) == WANTED
