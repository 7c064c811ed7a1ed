"""A client that goes on logging to an MLflow server, by MLflow's own package, in the environment of its version.

    python tests/flows/mlflow_client.py <address> <seconds> <seed>

Says at its end, as one JSON line, what each run must hold: its metrics' points, params and tags, and whether it is
deleted. It imports nothing of ours, for that environment has none of what we need.
"""

import json
import random
import sys
import time
from typing import Any

from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient

KEYS = ("loss", "val_loss", "regularization_loss", "query_weights_mean", "final_loss", "test_recall_at_10")
ODD = (float("nan"), float("inf"), float("-inf"), -0.0, 5e-324)


class Team:
    """People who use MLflow, and their diary."""

    def __init__(self, url: str, seed: str) -> None:
        self.client = MlflowClient(url)
        self.chance = random.Random(seed)
        self.experiments = [self.client.create_experiment(name) for name in ("two-tower", "search")]
        self.runs: dict[str, dict[str, Any]] = {}
        self.acts = 0

    def start(self) -> None:
        run = self.client.create_run(self.chance.choice(self.experiments), run_name=f"run {len(self.runs)}")
        self.runs[run.info.run_id] = {"metrics": {}, "params": {}, "tags": {}, "deleted": False, "ended": False}
        params = [Param(f"param {number}", str(self.chance.random())) for number in range(3)]
        self.client.log_batch(run.info.run_id, params=params)
        self.runs[run.info.run_id]["params"] = {param.key: param.value for param in params}
        self.log(run.info.run_id, epochs=5)

    def log(self, run_id: str, epochs: int = 1) -> None:
        metrics = self.runs[run_id]["metrics"]
        first = len(metrics.get("loss", ()))
        batch = []
        for step in range(first, first + epochs):
            for key in KEYS:
                value = self.chance.choice(ODD) if self.chance.random() < 0.02 else self.chance.random()
                at_ms = time.time_ns() // 1_000_000
                batch.append(Metric(key, value, at_ms, step))
                metrics.setdefault(key, []).append([step, at_ms, value])
        self.client.log_batch(run_id, metrics=batch)

    def act(self) -> None:
        """One of the things that people do."""
        self.acts += 1
        alive = [run_id for run_id, run in self.runs.items() if not run["deleted"]]
        if len(alive) < 3 or self.chance.random() < 0.1:
            self.start()
            return
        run_id, what = self.chance.choice(alive), self.chance.random()
        run = self.runs[run_id]
        if what < 0.45:
            self.log(run_id, epochs=self.chance.randint(1, 3))  # late, too: of runs that have ended
        elif what < 0.6:
            key, value = f"tag {self.chance.randint(0, 4)}", str(self.acts)
            self.client.set_tag(run_id, key, value)
            run["tags"][key] = value
        elif what < 0.65 and run["tags"]:
            key = self.chance.choice(sorted(run["tags"]))
            self.client.delete_tag(run_id, key)
            del run["tags"][key]
        elif what < 0.75:
            self.client.log_param(run_id, f"late {self.acts}", "1")
            run["params"][f"late {self.acts}"] = "1"
        elif what < 0.9:
            self.client.set_terminated(run_id, self.chance.choice(("FINISHED", "FAILED", "KILLED")))
            run["ended"] = True
        elif what < 0.95:
            self.client.delete_run(run_id)
            run["deleted"] = True
        else:
            deleted = [other for other, found in self.runs.items() if found["deleted"]]
            if deleted:
                again = self.chance.choice(deleted)
                self.client.restore_run(again)
                self.runs[again]["deleted"] = False


def main() -> None:
    """Logs until the time is over."""
    url, seconds, seed = sys.argv[1:]
    team = Team(url, seed)
    until = time.monotonic() + float(seconds)
    while time.monotonic() < until or team.acts < 50:
        team.act()
    print(json.dumps(team.runs))


if __name__ == "__main__":
    main()
