"""The port `Trials`: one suite, over SQLite and over a real Postgres."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

from switchyard.clients.connect import Outside
from switchyard.clients.settings import read_settings
from switchyard.clients.sweeps.places import SCHEMA, Place
from switchyard.core.errors import BadRequest, BadSetup, NotFound, TryAgain, TryLater
from switchyard.core.ports import Trials
from switchyard.core.sweeps.plan import SweepPlan
from switchyard.core.sweeps.trials import TrialEnd, TrialState
from tests.core.sweeps.test_plan import make_plan
from tests.optuna_there import needs_optuna
from tests.postgres import Postgres, postgres
from tests.root import ROOT

__all__ = ["postgres"]

pytestmark = needs_optuna

Open = Callable[[str], Trials]


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'folder' / 'sweeps.db'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.url(server.make_database())


@pytest.fixture
def open_trials(url: str) -> Iterator[Open]:
    """Each call is a process of its own, as far as the storage can tell."""
    from switchyard.clients.sweeps.optuna_trials import OptunaTrials

    opened: list[Trials] = []

    def open_(name: str = "a") -> Trials:
        opened.append(OptunaTrials(Place(url), name))
        return opened[-1]

    yield open_
    for one in opened:
        one.close()


def begin(open_trials: Open, plan: SweepPlan) -> Trials:
    trials = open_trials("a")
    trials.begin(plan)
    return trials


def complete(trials: Trials, values: list[float], curve: dict[int, float] | None = None) -> None:
    for value in values:
        trial = trials.ask()
        trials.report(trial.number, curve or {}, prune=False)
        trials.tell(trial.number, TrialEnd(state=TrialState.COMPLETED, value=value))


def test_a_sweep_keeps_its_id_and_its_plan(open_trials: Open) -> None:
    """In every process; another name is another sweep."""
    first = open_trials("a").begin(make_plan())
    assert open_trials("a").begin(make_plan()) == first
    assert open_trials("b").begin(make_plan("grid")) != first
    with pytest.raises(BadRequest, match="seed"):
        open_trials("a").begin(make_plan(seed=8))


def test_a_sweep_that_was_killed_before_its_plan_was_stored_begins(open_trials: Open) -> None:
    """Optuna makes the study before anything is written on it."""
    import optuna

    trials: Any = open_trials("a")
    optuna.create_study(storage=trials._storage, study_name="a", direction="maximize")
    first = trials.begin(make_plan())
    assert trials.begin(make_plan()) == first


@pytest.mark.parametrize("method", ["grid", "random", "tpe"])
def test_trials_are_numbered_from_0_and_found_again_as_they_were(open_trials: Open, method: Any) -> None:
    """With parameters of the plan, each of its own type."""
    plan = make_plan(method)
    trials = begin(open_trials, plan)
    asked = [trials.ask() for _ in range(4)]
    assert [trial.number for trial in asked] == [0, 1, 2, 3]
    assert open_trials("a").list_trials() == asked
    for trial in asked:
        assert type(trial.params["epochs"]) is int
        assert type(trial.params["learning_rate"]) is float
        assert trial.state is TrialState.OPEN


def test_tpe_draws_the_same_after_the_same_trials_in_whatever_process(url: str, tmp_path: Path) -> None:
    """What a process drew before plays no part; the storage is another one."""
    from switchyard.clients.sweeps.optuna_trials import OptunaTrials

    def draw(trials: Trials) -> list[dict[str, Any]]:
        trials.begin(make_plan("tpe"))
        while len(trials.list_trials()) < 14:
            trial = trials.ask()
            value = -abs(float(trial.params["learning_rate"]) - 1.0)
            trials.tell(trial.number, TrialEnd(state=TrialState.COMPLETED, value=value))
        drawn = [trial.params for trial in trials.list_trials()]
        trials.close()
        return drawn

    once = draw(OptunaTrials(Place(url), "once"))
    broken_off = OptunaTrials(Place(f"sqlite:///{tmp_path / 'other.db'}"), "twice")
    broken_off.begin(make_plan("tpe"))
    complete(broken_off, [-abs(float(params["learning_rate"]) - 1.0) for params in once[:11]])
    broken_off.close()
    assert draw(OptunaTrials(Place(f"sqlite:///{tmp_path / 'other.db'}"), "twice")) == once
    rates = [abs(float(params["learning_rate"]) - 1.0) for params in once]
    assert len(set(rates)) == 14


def test_a_trial_is_told_once(open_trials: Open) -> None:
    """Whatever a second call says."""
    trials = begin(open_trials, make_plan())
    number = trials.ask().number
    trials.note_run(number, 12)
    trials.note_run(number, 12)
    trials.tell(number, TrialEnd(state=TrialState.FAILED, said="the disk is full"))
    trials.tell(number, TrialEnd(state=TrialState.COMPLETED, value=0.5))
    trials.note_run(number, 13)
    assert trials.report(number, {0: 0.1}, prune=True) is None
    [trial] = open_trials("a").list_trials()
    assert (trial.state, trial.value, trial.said) == (TrialState.FAILED, None, "the disk is full")
    assert trial.quick_test_id == 12


@pytest.mark.parametrize("value", [0.1, 1e-300, -1.7976931348623157e308, 2 / 3])
def test_a_value_is_kept_to_its_last_bit(open_trials: Open, value: float) -> None:
    trials = begin(open_trials, make_plan())
    complete(trials, [value])
    [trial] = trials.list_trials()
    assert trial.value == value


def test_a_trial_below_the_median_is_pruned_at_the_first_such_epoch(open_trials: Open) -> None:
    """Each epoch is judged as if none came after; the decision stays, in every process."""
    trials = begin(open_trials, make_plan())
    complete(trials, [0.5] * 5, {0: 0.1, 1: 0.3, 2: 0.5})
    number = trials.ask().number
    assert trials.report(number, {0: 0.2}, prune=True) is None
    assert trials.report(number, {0: 0.2}, prune=True) is None
    assert trials.report(number, {0: 0.2, 1: 0.25, 2: 0.9}, prune=True) == 1
    assert open_trials("a").report(number, {0: 0.2, 1: 0.25, 2: 0.9, 3: 1.0}, prune=True) == 1
    assert trials.list_trials()[number].pruned_at == 1
    trials.tell(number, TrialEnd(state=TrialState.PRUNED, said="pruned at epoch 1"))
    [*_, pruned] = trials.list_trials()
    assert (pruned.state, pruned.value, pruned.pruned_at) == (TrialState.PRUNED, None, 1)
    assert trials.ask().number == number + 1


def test_a_trial_is_not_pruned_unasked_nor_by_too_few(open_trials: Open) -> None:
    """Its values are kept all the same, for those that come after."""
    trials = begin(open_trials, make_plan())
    complete(trials, [0.5] * 4, {0: 0.5})
    number = trials.ask().number
    assert trials.report(number, {0: 0.1}, prune=True) is None
    trials.tell(number, TrialEnd(state=TrialState.COMPLETED, value=0.1))
    number = trials.ask().number
    assert trials.report(number, {0: 0.1}, prune=False) is None


def test_an_unknown_trial_is_not_found(open_trials: Open) -> None:
    trials = begin(open_trials, make_plan())
    with pytest.raises(NotFound, match="no trial 3"):
        trials.note_run(3, 12)


def test_one_process_at_a_time_has_a_sweep(url: str) -> None:
    """The other one is told; another sweep may go on beside it, and this one when it is let go."""
    place = Place(url)
    with place.hold("a") as check:
        check()
        with pytest.raises(TryLater, match="at work in another process"), Place(url).hold("a"):
            pass
        with Place(url).hold("b"):
            pass
    with Place(url).hold("a"):
        pass


def test_a_killed_process_holds_nothing(url: str, tmp_path: Path) -> None:
    """kill -9, while it had the sweep."""
    program = f"""
        import sys, time
        from switchyard.clients.sweeps.places import Place
        with Place({url!r}).hold("a"):
            print("held", flush=True)
            time.sleep(600)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdout is not None
    with process, process.stdout:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(TryLater), Place(url).hold("a"):
            pass
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    for _ in range(100):
        try:
            with Place(url).hold("a"):
                return
        except TryLater:  # Postgres notices the end of a connection by itself, soon
            continue
    raise AssertionError("it is still held")


def test_nothing_of_a_postgres_but_our_schema_is_touched(postgres: Postgres) -> None:
    """Not the `alembic_version` of another application in the same database, though Optuna's table has its name."""
    from switchyard.clients.sweeps.optuna_trials import OptunaTrials

    database = postgres.make_database()
    postgres.execute("CREATE TABLE alembic_version (version_num text)", database=database)
    postgres.execute("INSERT INTO alembic_version VALUES ('of another')", database=database)
    url = postgres.url(database)
    for _ in range(2):
        trials = OptunaTrials(Place(url), "a")
        trials.begin(make_plan())
        trials.close()
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        rows = connection.execute("SELECT version_num FROM public.alembic_version").fetchall()
        tables = connection.execute("SELECT schemaname, tablename FROM pg_tables WHERE tablename = 'trials'").fetchall()
    assert rows == [("of another",)]
    assert tables == [(SCHEMA, "trials")]


def test_a_database_that_is_away_says_so_without_its_password(postgres: Postgres, tmp_path: Path) -> None:
    from switchyard.clients.sweeps.optuna_trials import OptunaTrials

    with pytest.raises(TryAgain, match="does not answer") as told:
        OptunaTrials(Place("postgresql+psycopg://user:secret@127.0.0.1:1/sweeps"), "a")
    assert "secret" not in str(told.value)


def test_a_storage_of_another_release_of_optuna_is_refused(tmp_path: Path) -> None:
    """It is not brought up to date unasked: others may use it with their own release."""
    import sqlite3

    from switchyard.clients.sweeps.optuna_trials import OptunaTrials

    path = tmp_path / "sweeps.db"
    OptunaTrials(Place(f"sqlite:///{path}"), "a").close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v0.9.0.a'")
    connection.close()
    with pytest.raises(BadSetup, match="another release of Optuna"):
        OptunaTrials(Place(f"sqlite:///{path}"), "a")


def test_the_settings_choose_the_storage(tmp_path: Path) -> None:
    """One of its own, else the Postgres of the results, else a file."""
    state = {"STATE_DIR": str(tmp_path)}
    results = {"RESULTS_URL": "postgresql+psycopg://u:p@h/d"}
    own = {"SWEEP_STORAGE_URL": "sqlite:////srv/sweeps.db"}
    urls = [read_settings(environ).sweeps_url for environ in (state, state | results, state | results | own)]
    assert urls == [f"sqlite:///{tmp_path / 'sweeps.db'}", results["RESULTS_URL"], own["SWEEP_STORAGE_URL"]]
    trials = Outside(read_settings(state)).trials("a")
    assert msgspec.convert(trials.begin(make_plan()), str)
    trials.close()
    assert (tmp_path / "sweeps.db").exists()


def test_open_trials_are_kept_apart_by_tpe(open_trials: Open) -> None:
    """Those at work at once do not try the same again."""
    trials = begin(open_trials, make_plan("tpe"))
    complete(trials, [0.1 * value for value in range(10)])
    rates = sorted(float(trials.ask().params["learning_rate"]) for _ in range(4))
    assert all(low < high for low, high in pairwise(rates))
