"""Register: makes a completed run's model, or another one, the next version of a named model."""

from prefect import flow

from flows.answers.registered import RegisterResult, to_result
from flows.registry_parameters import RegisterParameters
from flows.signatures import takes
from flows.steps.champion import register_run
from tasks.registry import ACTS
from tasks.show import name_flow_run
from tasks.starter import with_starter


@flow(name="register")
@takes(RegisterParameters)
def register(wanted: RegisterParameters) -> RegisterResult:
    """Reads and hashes the files of the model, and lists them as a version, pending and in no stage.

    The same run, or other source, registers once: a second call finds its version.
    """
    wanted = with_starter(wanted)
    name_flow_run(f"register quick-test-{wanted.quick_test_id}" if wanted.quick_test_id else f"register {wanted.name}")
    return to_result(register_run(ACTS, wanted))
