"""A flow that trains and waits, in a process of its own, for tests that kill it.

python -m tests.flows.waiting_process <request key> <script of the scripted trainer> <epochs>
"""

import sys

from flows.train import train
from switchyard.clients import connect
from switchyard.clients.launchers.local.launcher import LocalLauncher
from switchyard.clients.settings import Settings
from switchyard.core.ports import Launcher


def main() -> None:
    """STATE_DIR says where."""
    request_key, script, epochs = sys.argv[1:]
    state = connect.connect().settings.state_dir
    launcher = LocalLauncher(state, command=(sys.executable, "-m", "tests.flows.scripted_trainer"))

    def wire(settings: Settings) -> Launcher:
        return launcher

    connect._launcher = wire  # type: ignore[assignment]  # as the tests' conftest does
    train(request_key=request_key, name=f"told:{script}", epochs=int(epochs), poll_interval_s=0.05)


if __name__ == "__main__":
    main()
