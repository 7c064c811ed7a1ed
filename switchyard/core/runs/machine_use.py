"""What a run used of Google's machines: for people who pay for them."""

import msgspec

from switchyard.core.runs.machine import MachineSpec
from switchyard.core.runs.rows import QuickTest


class MachineUse(msgspec.Struct, frozen=True, kw_only=True):
    """The machines of a run's last job, and for how long: from the start of its training until its end was recorded.

    What Google bills is longer by the time in which the machines start, and counts every attempt.
    """

    machine: MachineSpec
    hours: float  # of all machines together

    def __str__(self) -> str:
        spec = f"{self.machine.replica_count} x {self.machine.machine_type}"
        if self.machine.accelerator_count:
            spec += f" with {self.machine.accelerator_count} {self.machine.accelerator_type}"
        return f"{self.hours:.2f} machine hours on {spec} ({self.machine.scheduling})"


def to_machine_use(run: QuickTest) -> MachineUse | None:
    """Returns the machine use of a run that has trained on Vertex AI.

    None: it has not trained there, or has not ended, or does not say what machine it asked for.
    """
    # A training on this machine has a machine among its parameters, too; only one on Vertex AI writes to gs://.
    if not run.gcs_artifacts_path.startswith("gs://") or run.started_at is None or run.completed_at is None:
        return None
    try:
        machine = msgspec.convert(run.parameters.get("machine"), MachineSpec)
    except msgspec.ValidationError:
        return None  # another application's row, or another version's
    hours = max(0.0, (run.completed_at - run.started_at).total_seconds()) / 3600
    return MachineUse(machine=machine, hours=hours * machine.replica_count)
