"""The endpoint in the foreground, with an MLflow deployment in it: ``python -m tests.emulators.google [--port N]``."""

import argparse
import signal
import threading
from datetime import UTC, datetime

from tests.emulators.google.project import Project, plant_mlflow
from tests.emulators.google.server import serve
from tests.emulators.google.world import World


def main() -> None:
    """Serves until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    project = plant_mlflow(Project(World(start=datetime.now(UTC))))
    with serve(project.world, parser.parse_args().port) as url:
        print(f"listening on {url}", flush=True)
        ended.wait()


if __name__ == "__main__":
    main()
