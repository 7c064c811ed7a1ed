"""A trainer that does at once what the run's name tells it, and takes the same flags as the real one.

It writes to wherever the real one would, by the same client.
"""

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from switchyard.clients.objects.open import open_objects
from switchyard.core.metrics.record import FileStatus, MetricsRecord, RunIdentity
from switchyard.core.metrics.writing import to_json
from switchyard.core.ports import ANY
from switchyard.core.runs.spec import TrainSpec
from tests.core.metrics.factories import make_record


def follow(script: Path, write: Callable[[int], None], say: Callable[[int], None]) -> None:
    """Trains as many epochs as the script says, again whenever it says another number; returns when it says a word."""
    done = 0
    while True:
        said = script.read_text()
        if said and not said.isdecimal():
            return
        if said and int(said) != done:
            done = int(said)
            write(done)
            say(done - 1)
        time.sleep(0.02)


def main() -> int:
    parser = argparse.ArgumentParser()
    for flag in ("--artifacts-uri", "--name", "--key"):
        parser.add_argument(flag)
    for flag in ("--quick-test-id", "--attempt"):
        parser.add_argument(flag, type=int)
    parser.add_argument("--epochs", type=int, default=TrainSpec().epochs)
    told, _ = parser.parse_known_args()
    objects, uri = open_objects(told.artifacts_uri, retries_itself=True), f"{told.artifacts_uri}/training_metrics.json"

    def record(status: FileStatus, epochs: int) -> MetricsRecord:
        identity = RunIdentity(quick_test_id=told.quick_test_id, key=told.key, attempt=told.attempt, restart=0)
        return make_record(epochs, status=status, run=identity, final_metrics={"test_recall_at_10": 0.25})

    def write(status: FileStatus, epochs: int) -> None:
        put(to_json(record(status, epochs)))

    def put(data: bytes) -> None:
        objects.write(uri, data, if_generation=ANY)

    def say(epoch: int) -> None:
        print(json.dumps({"epoch": epoch, "epochs": told.epochs, "loss": 0.5}), flush=True)

    match told.name.partition(":"):
        case "exit", _, status:
            write("partial", 2)
            print("the disk is full", flush=True)
            return int(status)
        case "leave", _, "nothing":
            pass
        case "leave", _, "partial":
            write("partial", 2)
        case "leave", _, "half":
            put(to_json(record("completed", 3))[:-40])
        case "leave", _, "text":
            put(b"not json")
        case "leave", _, "another":
            told.quick_test_id += 1
            write("completed", 3)
        case "leave", _, "huge":
            put(b"")
            with Path(urlsplit(uri).path).open("wb") as huge:
                huge.truncate(500 * 1024 * 1024)
        case "hold", _, gate:
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
            write("partial", 2)
            say(1)
            while not Path(gate).exists():
                time.sleep(0.05)
            write("completed", told.epochs)
        case "told", _, script:
            follow(Path(script), lambda epochs: write("partial", epochs), say)
            if Path(script).read_text() == "exit":
                return 1
            write("completed", told.epochs)
        case _:
            for epoch in range(told.epochs):
                say(epoch)
            write("completed", told.epochs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
