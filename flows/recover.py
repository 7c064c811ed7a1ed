"""Recover: puts back the history that a forced publish replaced last. Recovered twice, the run is as before."""

import msgspec
from prefect import flow

from flows.parameters import RecoverParameters
from flows.signatures import takes
from switchyard.core.errors import NotFound
from tasks.pages import to_page_url
from tasks.recover import find_replaced, recover_replaced
from tasks.show import name_flow_run


class RecoverResult(msgspec.Struct, frozen=True, kw_only=True):
    """The history that was put back."""

    quick_test_id: int
    replaced_id: int  # the number under which it was kept
    url: str  # the run's page


@flow(name="recover")
@takes(RecoverParameters)
def recover(wanted: RecoverParameters) -> RecoverResult:
    """Puts back the run's newest replaced history, with its digests and histograms, and keeps the present one.

    The row's status stays.
    """
    id_ = wanted.quick_test_id
    name_flow_run(f"recover quick-test-{id_}")
    replaced_id = find_replaced(id_)
    if replaced_id is None:
        raise NotFound(f"quick test {id_} has no history to put back: none was replaced by force")
    recover_replaced(id_, replaced_id)
    return RecoverResult(quick_test_id=id_, replaced_id=replaced_id, url=to_page_url(id_))
