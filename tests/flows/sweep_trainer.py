"""A trainer for sweeps: at once, and by its learning rate alone.

below 0.5    as below; where HOLD_BELOW says so, it stays at its second epoch until it is cancelled
0.5 to 2     its recall rises to the rate
2 to 3       it completes, and its loss was nan in the last epoch
3 to 4       it fails
4 and more   it completes without any recall
"""

import argparse
import json
import math
import os
import signal
import sys
import time
from typing import Any

from switchyard.clients.objects.open import open_objects
from switchyard.core.metrics.record import FileStatus, RunIdentity
from switchyard.core.metrics.writing import to_json
from switchyard.core.ports import ANY
from switchyard.core.runs.spec import TrainSpec
from tests.core.metrics.factories import make_record


def to_recall(rate: float, epoch: int, epochs: int) -> float:
    """Of one epoch, rising."""
    return rate * (epoch + 1) / epochs


def main() -> int:
    parser = argparse.ArgumentParser()
    for flag in ("--artifacts-uri", "--key"):
        parser.add_argument(flag)
    for flag in ("--quick-test-id", "--attempt"):
        parser.add_argument(flag, type=int)
    parser.add_argument("--epochs", type=int, default=TrainSpec().epochs)
    parser.add_argument("--learning-rate", type=float, default=TrainSpec().learning_rate)
    told, _ = parser.parse_known_args()
    rate = told.learning_rate
    objects, uri = open_objects(told.artifacts_uri, retries_itself=True), f"{told.artifacts_uri}/training_metrics.json"

    def write(status: FileStatus, epochs: int) -> None:
        fields: dict[str, Any] = {"loss": {"loss": [1.0] * epochs}}
        if 2 <= rate < 3 and epochs == told.epochs:
            fields = {
                "loss": {"loss": [1.0] * (epochs - 1) + [None]},
                "non_finite": {"loss": {"loss": {str(epochs - 1): "nan"}}},
            }
        if rate < 4:
            fields["metrics"] = {"val_recall_at_10": [to_recall(rate, at, told.epochs) for at in range(epochs)]}
        identity = RunIdentity(quick_test_id=told.quick_test_id, key=told.key, attempt=told.attempt, restart=0)
        params = {"epochs": told.epochs, "learning_rate": rate}
        record = make_record(epochs, status=status, run=identity, params=params, **fields)
        objects.write(uri, to_json(record), if_generation=ANY)

    if rate < float(os.environ.get("HOLD_BELOW", "0")):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        write("partial", 2)
        print(json.dumps({"epoch": 1, "epochs": told.epochs, "loss": 0.5}), flush=True)
        while True:
            time.sleep(0.05)
    if 3 <= rate < 4:
        write("partial", 1)
        print("the disk is full", flush=True)
        return 1
    assert math.isfinite(rate)
    write("completed", told.epochs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
