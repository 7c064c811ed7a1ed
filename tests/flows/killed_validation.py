"""Runs validate in a process that is killed with SIGKILL right before, or right after, it keeps its judgement.

python -m tests.flows.killed_validation <before|after> <held-out purchases> <request key>

STATE_DIR names the state, as for any command.
"""

import os
import signal
import sys
from typing import Any

from flows.validate import validate
from switchyard.clients.results.models import SqlModels
from switchyard.core.registry.rows import Outcome, Verdict
from tests.services.validation_world import NAME


def main() -> None:
    when, data_uri, key = sys.argv[1:]
    keep = SqlModels.validate

    def die(self: Any, wanted: Verdict) -> Outcome:
        if when == "after":
            keep(self, wanted)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("killed")

    SqlModels.validate = die  # type: ignore[method-assign]  # the effect before or after which it is killed
    validate(name=NAME, version=2, data_uri=data_uri, request_key=key, resamples=100)


if __name__ == "__main__":
    main()
