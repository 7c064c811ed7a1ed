"""A training that is interrupted at a terminal, without a Prefect server of anyone's.

The job is cancelled, the exit status is 130, and nothing of it stays behind.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from pydantic import BaseModel, field_serializer

import flows.__main__ as program
from switchyard.clients.connect import Outside
from switchyard.core.runs.jobs import JobState
from switchyard.core.runs.rows import RunStatus
from switchyard.interrupted import INTERRUPTED, Interrupts
from tests.flows.polling import wait_for
from tests.flows.test_command_line import TOY
from tests.root import ROOT
from tests.terminals import Terminal

SWITCHYARD = Path(sys.executable).with_name("switchyard")


@pytest.fixture(scope="module")
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prefect's own database, which the first of the tests' servers makes."""
    return tmp_path_factory.mktemp("prefect")


@pytest.fixture
def start(outside: Outside, prefect_home: Path) -> Callable[[], Terminal]:
    """Starts a long training on a terminal, with no API's URL set."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
    environment |= {
        "STATE_DIR": outside.settings.state_dir,
        "PREFECT_HOME": str(prefect_home),
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "400",
        "TERM": "xterm",
    }
    return lambda: Terminal([SWITCHYARD, "train", *TOY, "--epochs=100000"], cwd=ROOT, env=environment)


def wait_until_training(outside: Outside, terminal: Terminal) -> None:
    def is_training() -> bool:
        assert terminal.process.poll() is None, terminal.read()
        runs = outside.runs.list_runs(limit=1)
        return bool(runs) and outside.runs.read_run(runs[0].id).status is RunStatus.RUNNING

    wait_for(is_training, deadline_s=450, what=terminal.read())


def press_until(terminal: Terminal, said: str) -> bool:
    terminal.press_ctrl_c()
    return said in terminal.read()


def read_state(outside: Outside) -> JobState:
    job = outside.jobs.read_job(1)
    assert job is not None
    return outside.launcher.report([job.job_name])[job.job_name].state


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("interrupt", [Terminal.press_ctrl_c, Terminal.terminate], ids=["ctrl-c", "sigterm"])
def test_an_interrupted_training_is_cancelled(
    outside: Outside, start: Callable[[], Terminal], interrupt: Callable[[Terminal], None]
) -> None:
    """The whole group has the signal: the flow's own server outlives it, and takes the cancelling down."""
    with start() as terminal:
        wait_until_training(outside, terminal)
        children = psutil.Process(terminal.process.pid).children(recursive=True)
        interrupt(terminal)
        assert terminal.process.wait(120) == INTERRUPTED, terminal.read()
        said = terminal.read()
    assert "interrupted" in said
    assert "cancelling quick test 1" in said
    assert "Traceback" not in said
    assert outside.runs.read_run(1).status is RunStatus.CANCELLED, said
    assert read_state(outside) is JobState.CANCELLED
    wait_for(lambda: not [child for child in children if child.is_running()], what=str(children))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_second_ctrl_c_leaves_the_job_running(outside: Outside, start: Callable[[], Terminal]) -> None:
    """It says how to cancel it."""
    with start() as terminal:
        wait_until_training(outside, terminal)
        terminal.press_ctrl_c()
        wait_for(lambda: "Ctrl-C again leaves its job running" in terminal.read(), what=terminal.read())
        # One within a second of the first is the same one.
        wait_for(lambda: press_until(terminal, "goes on"), what=terminal.read())
        assert terminal.process.wait(120) == INTERRUPTED, terminal.read()
        said = terminal.read()
    job = outside.jobs.read_job(1)
    assert job is not None
    try:
        assert "cancel 1" in said
        assert "Traceback" not in said
        assert read_state(outside) is JobState.RUNNING
    finally:
        outside.launcher.cancel(job.job_name)
    wait_for(lambda: read_state(outside) is JobState.CANCELLED)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nothing_of_a_killed_training_but_its_job_stays(outside: Outside, start: Callable[[], Terminal]) -> None:
    """SIGKILL runs no one's clean-up; Prefect's temporary server ends all the same."""
    with start() as terminal:
        wait_until_training(outside, terminal)
        children = psutil.Process(terminal.process.pid).children(recursive=True)
        servers = [child for child in children if "temporary_server" in " ".join(child.cmdline())]
        assert servers
        terminal.process.kill()
        terminal.process.wait()
        wait_for(lambda: not [server for server in servers if server.is_running()], what=str(servers))
    job = outside.jobs.read_job(1)
    assert job is not None
    outside.launcher.cancel(job.job_name)
    wait_for(lambda: read_state(outside) is JobState.CANCELLED)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_interrupt_what_is_at_work(number: signal.Signals) -> None:
    """Both; the handlers of before are back afterwards."""
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), Interrupts():
        os.kill(os.getpid(), number)
        threading.Event().wait(60)
    assert signal.getsignal(number) is before


def test_a_signal_that_make_passes_on_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """`make` gets the group's SIGTERM too, and sends its child a second one; a later one is a second interruption."""
    now = iter([100.0, 100.2, 102.0])
    monkeypatch.setattr("switchyard.interrupted.time.monotonic", lambda: next(now))
    with Interrupts():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)


def lose_one(seen: list[str]) -> None:
    """What a callback does whose caller drops its exceptions, as that of a weak reference."""
    try:
        threading.Event().wait(60)
    except KeyboardInterrupt:
        seen.append("lost")
    threading.Event().wait(60)


def test_an_interruption_that_a_library_lost_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command ends as interrupted, though the first KeyboardInterrupt was dropped on its way."""
    monkeypatch.setattr("switchyard.interrupted._SAME_S", 0.01)
    monkeypatch.setattr("switchyard.interrupted._AGAIN_S", 0.2)
    seen: list[str] = []
    monkeypatch.setattr(program, "_choose_way", lambda _command: lambda _command: lose_one(seen))
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    assert program.main(["reconcile"]) == INTERRUPTED
    assert seen == ["lost"]


def test_an_interruption_that_became_an_error_is_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As pydantic does it, for one raised while a value is written as JSON."""

    class Answer(BaseModel):
        text: str

        @field_serializer("text")
        def write(self, text: str) -> str:
            os.kill(os.getpid(), signal.SIGTERM)
            threading.Event().wait(60)
            return text

    monkeypatch.setattr(program, "_choose_way", lambda _command: lambda _command: Answer(text="").model_dump_json())
    assert program.main(["reconcile"]) == INTERRUPTED
    assert capsys.readouterr().err == "interrupted\n"


def test_one_that_arrived_does_not_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command does after Ctrl-C, such as cancelling its job, takes as long as it takes."""
    monkeypatch.setattr("switchyard.interrupted._SAME_S", 0.01)
    monkeypatch.setattr("switchyard.interrupted._AGAIN_S", 0.05)
    with Interrupts() as interrupts:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        interrupts.arrived()
        threading.Event().wait(0.5)
