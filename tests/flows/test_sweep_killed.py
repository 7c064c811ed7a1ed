"""Killed with SIGKILL at any effect and run again, a sweep ends as one that nothing happened to."""

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prefect.settings import PREFECT_API_URL

from switchyard.clients.connect import Outside
from switchyard.clients.results.migrate import migrate
from switchyard.clients.settings import read_settings
from switchyard.core.sweeps.trials import TrialState
from tests.flows.killed_sweep import Answer, Turn
from tests.optuna_there import needs_optuna

pytestmark = [*needs_optuna, pytest.mark.usefixtures("prefect_server")]

SEED = int(os.environ.get("KILL_SEED", "20260115"))
FEW = 2
MANY = int(os.environ.get("KILLS", "20"))
OF_ONE_RUN = ("cached_at",)
"""What differs between two runs of one training."""
KILLS_IN_A_ROW = 3
"""The kills of one sweep, at most, before it is run to the end and compared."""
TRIALS = 5
# The rates reach every end of a trial: completed, not finite, failed, without a metric.
SEARCH = ["learning_rate=0.5..5"]
METHODS: dict[str, dict[str, Any]] = {
    "grid": {"method": "grid", "search": ["learning_rate=0.7,1.5,2.5,3.5,4.5"], "at_once": 2},
    "random": {"method": "random", "search": SEARCH, "at_once": 2},
    "tpe": {"method": "tpe", "search": SEARCH, "at_once": 1},
}


class Killer:
    """The process that runs sweeps, and kills them."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.flows.killed_sweep"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PREFECT_API_URL": str(PREFECT_API_URL.value()), "PREFECT_LOGGING_LEVEL": "CRITICAL"},
        )

    def run(self, folder: Path, parameters: dict[str, Any], kill_before: int = 0) -> Answer:
        # Whether a look falls between a snapshot and the end is chance, and so would be the number of effects.
        environ = {"STATE_DIR": str(folder), "LIVE_HISTORY": "no"}
        turn = Turn(environ=environ, parameters=parameters, kill_before=kill_before)
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(msgspec.json.encode(turn) + b"\n")
        self._process.stdin.flush()
        answer = msgspec.json.decode(self._process.stdout.readline(), type=Answer)
        assert answer.exit in (0, -signal.SIGKILL), "a sweep ended of what it should not"
        return answer

    def close(self) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(timeout=60)


@pytest.fixture
def killer() -> Iterator[Killer]:
    made = Killer()
    yield made
    made.close()


def to_parameters(method: str) -> dict[str, Any]:
    return {"name": "a", "trials": TRIALS, "epochs": 3, "poll_interval_s": 0.05, "prune": False, **METHODS[method]}


def make_world(folder: Path) -> Outside:
    settings = read_settings({"STATE_DIR": str(folder)})
    migrate(settings)
    return Outside(settings)


def read_end(world: Outside) -> list[dict[str, Any]]:
    """All that a sweep leaves, trial by trial, but for the ids of runs, keys and times."""
    trials = world.trials("a").list_trials()
    found = []
    for trial in trials:
        run, job = world.runs.read_run(trial.quick_test_id), world.jobs.read_job(trial.quick_test_id)
        assert job is not None
        stored = world.histories.read_history(run.id).history_json
        published = {} if stored is None else msgspec.json.decode(stored)
        said = trial.said.replace(job.log_uri, "<log>").replace(world.settings.state_dir, "<state>")
        found.append(
            {
                "params": trial.params,
                "end": (trial.state, trial.value, said),
                "run": (run.status, run.display_name, run.mlflow_experiment_name),
                "job": (job.state, job.attempt, job.ended_event_at is not None),
                "published": {name: value for name, value in published.items() if name not in OF_ONE_RUN},
            }
        )
    return found


def check_end(world: Outside, uninterrupted: list[dict[str, Any]]) -> None:
    """Each trial once, with one run and one job."""
    assert read_end(world) == uninterrupted
    assert len(world.runs.list_runs(limit=100)) == TRIALS
    assert len({trial.quick_test_id for trial in world.trials("a").list_trials()}) == TRIALS
    assert len(list((Path(world.settings.state_dir) / "jobs").iterdir())) == TRIALS


def kill_and_compare(killer: Killer, folder: Path, method: str, kills: int) -> Counter[str]:
    """What the kills stood before."""
    parameters, chance = to_parameters(method), random.Random(f"{SEED} {method}")
    alone = make_world(folder / "alone")
    whole = killer.run(folder / "alone", parameters)
    assert whole.exit == 0
    uninterrupted = read_end(alone)
    states = Counter(str(one["end"][0]) for one in uninterrupted)
    assert states[TrialState.COMPLETED]
    assert states[TrialState.OPEN] == 0
    before: Counter[str] = Counter()
    number = 0
    while before.total() < kills:
        number += 1
        world = make_world(folder / f"killed-{number}")
        for _ in range(min(chance.randint(1, KILLS_IN_A_ROW), kills - before.total())):
            answer = killer.run(folder / f"killed-{number}", parameters, chance.randint(1, len(whole.effects)))
            if answer.exit == 0:  # fewer effects were left
                break
            before[answer.effects[-1]] += 1
        while killer.run(folder / f"killed-{number}", parameters).exit != 0:
            raise AssertionError("a sweep was killed unasked")
        check_end(world, uninterrupted)
        world.close()
    return before


@pytest.mark.timeout(900)
@pytest.mark.parametrize("method", ["random"])
def test_a_few_kills_of_a_sweep_leave_no_trace(killer: Killer, tmp_path: Path, method: str) -> None:
    """Equal parameters, values and histories; no trial is lost, none has two runs or two jobs."""
    assert kill_and_compare(killer, tmp_path, method, FEW).total() == FEW


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("method", METHODS)
def test_many_kills_of_a_sweep_leave_no_trace(killer: Killer, tmp_path: Path, method: str) -> None:
    """20 of each method, at random; -rP shows what they stood before."""
    before = kill_and_compare(killer, tmp_path, method, MANY)
    print(f"{method}: killed {before.total()} times, before {dict(before.most_common())}")
    assert before.total() == MANY
