"""Looks at the data before a run's row and its job exist, so that a wrong column costs only a second."""

from switchyard.clients.connect import connect
from switchyard.core.errors import BadSetup, TryAgain
from switchyard.core.runs.spec import TrainSpec
from switchyard.services.data_look import look_at_data as look
from tasks.policy import effect


@effect
def look_at_data(spec: TrainSpec) -> tuple[str, bool]:
    """Says in words what the data are, and whether they could be looked at.

    The job may be allowed to read them even if we are not.

    Raises: NotFound, BadRequest: the job would fail.
    """
    outside = connect()
    if outside.settings.training_backend == "vertex" and spec.data_uri.startswith("file:"):
        return f"{spec.data_uri} is on this machine, where the job is not", False  # the launcher says what to do
    try:
        return look(outside.objects(spec.data_uri), spec), True
    except (BadSetup, TryAgain) as err:
        return str(err), False
