"""Logging to MLflow beside a training: nothing of it may hold the training up or fail it, and nothing may be lost."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from switchyard.clients.mlflow.http import MlflowServer
from switchyard.clients.mlflow.rest import RestTracking
from switchyard.core.history.digest import to_digests
from switchyard.core.metrics.reading import read_record
from switchyard.core.metrics.record import HISTOGRAM_BINS, MetricsRecord, RunIdentity
from switchyard.core.mlflow.logged import choose_shared
from switchyard.core.mlflow.mapping import from_points
from switchyard.core.mlflow.raw_run import RawRun
from switchyard.core.runs.spec import UNSAID, TrainSpec
from tests.clients.mlflow.stores import make_sqlite
from tests.emulators.faults import Fault
from tests.emulators.mlflow_rest import MlflowEmulator
from tests.emulators.server import serve_in_thread
from tests.trainer.factories import LONGER_FLAGS, TINY_FLAGS, to_numbers
from tests.trainer.test_process import to_held
from trainer.environment import MlflowEnvironment
from trainer.output import tracking
from trainer.output.epoch_record import EpochRecord
from trainer.output.tracking import Tracker, start_tracking
from trainer.stopping import StopWish

IDENTITY = RunIdentity(quick_test_id=12, key="abc", attempt=1, restart=0)
EDGES = [-1.0 + i / 12.5 for i in range(HISTOGRAM_BINS + 1)]
PARAMS: dict[str, Any] = {"epochs": 3, "l2": 1e-06}
WAIT_S = 120


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[MlflowEmulator]:
    found = MlflowEmulator(make_sqlite(tmp_path / "mlflow.db"))
    yield found
    found.faults.forget()
    found.close()


@pytest.fixture
def url(emulator: MlflowEmulator) -> Iterator[str]:
    with serve_in_thread(emulator.app) as found:
        yield found


@pytest.fixture
def nobody() -> str:
    """An address at which nothing listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{found.getsockname()[1]}"


def start(
    url: str, wish: StopWish | None = None, *, ids: list[str] | None = None, folder: str = "file:///r"
) -> Tracker:
    return start_tracking(
        TrainSpec(tracker="both"),
        IDENTITY,
        MlflowEnvironment(tracking_uri=url),
        experiment="two towers",
        folder_uri=folder,
        announce=(ids if ids is not None else []).append,
        wish=wish or StopWish(),
    )


def add_epoch(record: EpochRecord, epoch: int) -> None:
    """One more epoch, as the callbacks add it."""
    record.add(epoch, "loss", {"loss": 1 / (epoch + 3), "val_loss": float("nan") if epoch == 1 else 0.1})
    record.add(epoch, "gradient", {"total": epoch / 7, "query": 0.5, "candidate": 0.25})
    counts = [epoch] * HISTOGRAM_BINS
    record.add_statistics(
        epoch, "weight_stats", "query", {"mean": 0.5}, counts=counts, bin_edges=EDGES, sampled=True, other={"n": 1}
    )
    record.add(epoch, "metrics", {"learning_rate": 1.0, "epoch_seconds": epoch / 3})


def make_record(epochs: int) -> EpochRecord:
    record = EpochRecord()
    for epoch in range(epochs):
        add_epoch(record, epoch)
    return record


def view(record: EpochRecord) -> MetricsRecord:
    return record.view(run=IDENTITY, params=PARAMS)


def read_runs(url: str) -> list[RawRun]:
    found = RestTracking(MlflowServer(url, requests.Session))
    try:
        return [run for run in found.read_runs([run.run_id for run in found.list_runs()]) if isinstance(run, RawRun)]
    finally:
        found.close()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def shared(record: MetricsRecord) -> dict[str, str]:
    return choose_shared(to_digests(record).series)


def warnings(capsys: pytest.CaptureFixture[str]) -> list[str]:
    lines = map(json.loads, capsys.readouterr().out.splitlines())
    return [line["message"] for line in lines if line["severity"] == "WARNING"]


def test_a_run_is_logged_epoch_by_epoch_and_closed(emulator: MlflowEmulator, url: str) -> None:
    """What is offered is there before the end; after it, the run has all that the record has, and is FINISHED."""
    ids: list[str] = []
    tracker, record = start(url, ids=ids), EpochRecord()
    wait_until(lambda: bool(ids))
    for epoch in range(3):
        add_epoch(record, epoch)
        tracker.offer(view(record), 0)
    wait_until(lambda: emulator.faults.count("runs/log-batch") >= 3)
    record.finish({"final_loss": 0.2, "test_recall_at_10": 0.5, "popularity_recall_at_10": 0.25})
    assert tracker.finish(view(record), "FINISHED", 0)
    (run,) = read_runs(url)
    assert (run.info.run_id, run.info.name, run.info.experiment) == (ids[0], "quick-test-12", "two towers")
    assert run.info.status == "FINISHED"
    assert run.tags["switchyard.bin_edges"] == "constant"
    assert shared(from_points(run)) == shared(view(record))
    assert set(emulator.faults.counts()) <= {
        *("health", "experiments/get-by-name", "experiments/create", "runs/search", "runs/create", "runs/log-batch"),
        *("runs/update", "experiments/search", "runs/get", "get-history-bulk", "metrics/get-history-bulk"),
    }


def test_a_slow_server_piles_nothing_up(emulator: MlflowEmulator, url: str) -> None:
    """While one batch is under way, offers return and leave nothing behind; in the end all of it is there."""
    emulator.faults.order(Fault(kind="runs/log-batch", nth=3, hold=True))
    ids: list[str] = []
    tracker, record = start(url, ids=ids), EpochRecord()
    wait_until(lambda: bool(ids))
    for epoch in range(200):
        add_epoch(record, epoch)
        tracker.offer(view(record), 0)
    assert emulator.faults.count("runs/log-batch") <= 3
    emulator.faults.forget()
    assert tracker.finish(view(record), "FINISHED", 0)
    (run,) = read_runs(url)
    assert shared(from_points(run)) == shared(view(record))
    assert all(len(set(points.steps)) == len(points.steps) for points in run.metrics.values())


def test_a_cold_server_is_waited_for_after_the_last_epoch(emulator: MlflowEmulator, url: str) -> None:
    """A training that is shorter than the server's start is logged all the same."""
    emulator.faults.order(Fault(kind="health", times=3, status=503))
    tracker, record = start(url), make_record(2)
    tracker.offer(view(record), 0)
    assert tracker.finish(view(record), "FINISHED", 0)
    (run,) = read_runs(url)
    assert shared(from_points(run)) == shared(view(record))


def test_a_server_that_goes_away_is_told_once_and_caught_up_with(
    emulator: MlflowEmulator, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Answers are lost after and before their batches are stored; no point is missing or there twice."""
    ids: list[str] = []
    emulator.faults.order(Fault(kind="runs/log-batch", nth=4, status=503, after=True))
    emulator.faults.order(Fault(kind="runs/log-batch", nth=5, status=503))
    tracker, record = start(url, ids=ids), make_record(3)
    wait_until(lambda: bool(ids))
    assert tracker.finish(view(record), "FINISHED", 0)
    (run,) = read_runs(url)
    assert shared(from_points(run)) == shared(view(record))
    assert all(len(set(points.steps)) == len(points.steps) for points in run.metrics.values())
    assert len([text for text in warnings(capsys) if "does not answer" in text]) <= 2


def test_a_dead_server_holds_nothing_up(
    nobody: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Offers return at once, the end waits no longer than it may, and one warning says what is missing."""
    monkeypatch.setattr(tracking, "COLD_START_S", 0.5)  # what is tried is the end of the wait, not its length
    monkeypatch.setattr(tracking, "FLUSH_S", 0.5)
    tracker, record = start(nobody), EpochRecord()
    for epoch in range(50):
        add_epoch(record, epoch)
        tracker.offer(view(record), 0)
    assert not tracker.finish(view(record), "FINISHED", 0)
    said = warnings(capsys)
    assert len(said) <= 2
    assert "MLflow does not have all of this run" in said[-1]


def test_a_refusal_ends_the_logging_and_not_the_training(
    emulator: MlflowEmulator, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Told once, with the server's words; the end does not wait for what will not come."""
    emulator.faults.order(Fault(kind="experiments/*", times=99, status=403, message="no entry"))
    tracker, record = start(url), make_record(2)
    tracker.offer(view(record), 0)
    assert not tracker.finish(view(record), "FINISHED", 0)
    said = warnings(capsys)
    assert len(said) == 2
    assert "nothing more is logged to MLflow; the training goes on" in said[0]
    assert "no entry" in said[0]


def test_a_fault_of_ours_does_not_reach_the_training(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever is raised in the thread stays there, and is told."""

    def fail(_pause: Callable[[float], None]) -> Any:
        raise RuntimeError("a fault")

    tracker = Tracker(fail, lambda _run_id: None, StopWish())
    tracker.offer(view(make_record(1)), 0)
    assert not tracker.finish(view(make_record(1)), "FINISHED", 0)
    assert "RuntimeError: a fault" in warnings(capsys)[0]


def test_sigterm_shortens_the_wait(nobody: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Google Cloud kills 30 seconds after it asked: the logging's share of them is small."""
    monkeypatch.setattr(tracking, "STOP_FLUSH_S", 0.2)  # as above; without it this test would take two minutes
    wish = StopWish()
    tracker = start(nobody, wish)
    wish.made = True
    assert not tracker.finish(view(make_record(1)), "KILLED", 0)


def test_a_restart_logs_what_is_missing_to_the_same_run(emulator: MlflowEmulator, url: str) -> None:
    """Epochs that were logged and that the checkpoint does not hold are trained and logged again, with the same values.

    The process before was killed within a batch. Only the seconds differ, of which the last count.
    """
    ids: list[str] = []
    first = start(url, ids=ids)
    assert first.finish(view(make_record(5)), "KILLED", 0)
    record = make_record(3)
    second = start(url, ids=ids)
    for epoch in range(3, 8):
        add_epoch(record, epoch)
    record._record.metrics["epoch_seconds"][3] = 77.0
    record.finish({"final_loss": 0.2})
    assert second.finish(view(record), "FINISHED", 3)
    third = start(url, ids=ids)
    assert third.finish(view(record), "FINISHED", 8)
    assert len(set(ids)) == 1
    (run,) = read_runs(url)
    assert shared(from_points(run)) == shared(view(record))
    assert run.metrics["loss"].steps == [0, 1, 2, 3, 3, 4, 4, 5, 6, 7, 7]
    assert len(run.metrics["final_loss"].steps) == 1


def test_a_later_attempt_has_a_run_of_its_own(url: str) -> None:
    """MLflow lets no param be changed, and a training from its beginning is no continuation."""
    ids: list[str] = []
    assert start(url, ids=ids).finish(view(make_record(1)), "FAILED", 0)
    assert start(url, ids=ids, folder="file:///another").finish(view(make_record(1)), "FINISHED", 0)
    assert len(set(ids)) == 2
    assert sorted(run.info.status for run in read_runs(url)) == ["FAILED", "FINISHED"]


# The model beside its run --------------------------------------------------------------------------------------------


@pytest.fixture
def model(tmp_path: Path) -> str:
    """An exported model, as far as MLflow is concerned: files in folders."""
    folder = tmp_path / "run" / "model"
    for name, data in (("saved_model.pb", b"graph"), ("variables/variables.index", b""), ("fingerprint.pb", b"f")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder.as_uri()


def finish(url: str, model_uri: str, ids: list[str] | None = None) -> bool:
    return start(url, ids=ids).finish(view(make_record(1)), "FINISHED", 0, model_uri=model_uri)


def below_run(emulator: MlflowEmulator, run_id: str) -> dict[str, bytes]:
    """The run's artifacts, by their paths."""
    return {
        path.partition(f"/{run_id}/artifacts/")[2]: data for path, data in emulator.artifacts.items() if run_id in path
    }


MODEL = {"model/saved_model.pb": b"graph", "model/variables/variables.index": b"", "model/fingerprint.pb": b"f"}


def test_the_model_is_put_under_model_of_the_run(emulator: MlflowEmulator, url: str, model: str) -> None:
    """Every file, before the run is FINISHED, so that who waits for that finds it; a tag says what it is, last."""
    ids: list[str] = []
    assert finish(url, model, ids)
    assert below_run(emulator, ids[0]) == MODEL
    (run,) = read_runs(url)
    assert (run.info.status, run.tags["switchyard.model"][:7]) == ("FINISHED", "sha256:")


def test_without_a_model_nothing_is_put(emulator: MlflowEmulator, url: str) -> None:
    """A run that failed has none, and most trainings ask for none."""
    assert finish(url, "")
    (run,) = read_runs(url)
    assert (emulator.artifacts, "switchyard.model" in run.tags) == ({}, False)


def test_the_same_model_is_put_once(emulator: MlflowEmulator, url: str, model: str, tmp_path: Path) -> None:
    """A process that starts again after the end finds its tag and sends nothing; another model replaces it."""
    ids: list[str] = []
    assert finish(url, model, ids)
    assert finish(url, model, ids)
    assert emulator.faults.count("artifacts") == len(MODEL)
    (tmp_path / "run" / "model" / "fingerprint.pb").write_bytes(b"another")
    assert finish(url, model, ids)
    assert emulator.faults.count("artifacts") == 2 * len(MODEL)
    assert len(set(ids)) == 1
    assert below_run(emulator, ids[0])["model/fingerprint.pb"] == b"another"


def test_a_model_that_was_put_in_part_is_put_again(emulator: MlflowEmulator, url: str, model: str) -> None:
    """The process before ended in the middle: without its tag the model counts as missing."""
    ids: list[str] = []
    emulator.faults.order(Fault(kind="artifacts", nth=2, times=99, status=403, message="no entry"))
    assert finish(url, model, ids)
    assert len(below_run(emulator, ids[0])) == 1
    emulator.faults.forget()
    assert finish(url, model, ids)
    assert below_run(emulator, ids[0]) == MODEL


@pytest.mark.parametrize("status", [400, 403, 404, 413])
def test_a_model_that_is_refused_is_a_warning(
    status: int, emulator: MlflowEmulator, url: str, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Told once, with the server's words and where the model is; the run has its metrics, and is closed."""
    emulator.faults.order(Fault(kind="artifacts", times=99, status=status, message="too large"))
    assert finish(url, model)
    (said,) = warnings(capsys)
    assert said.startswith("the model is not in MLflow: ")
    assert "too large" in said and said.endswith(f"It is in {model}")
    (run,) = read_runs(url)
    assert (run.info.status, "switchyard.model" in run.tags) == ("FINISHED", False)


def test_a_model_that_is_not_there_is_a_warning(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Someone has removed it since; the run is closed all the same."""
    assert finish(url, (tmp_path / "gone").as_uri())
    assert "there is none" in warnings(capsys)[0]
    assert read_runs(url)[0].info.status == "FINISHED"


def test_a_lost_reply_to_a_file_is_made_up_for(emulator: MlflowEmulator, url: str, model: str) -> None:
    """Before and after it is stored: the file is sent again, and is the same."""
    ids: list[str] = []
    emulator.faults.order(Fault(kind="artifacts", nth=1, status=503))
    emulator.faults.order(Fault(kind="artifacts", nth=3, status=502, after=True))
    assert finish(url, model, ids)
    assert below_run(emulator, ids[0]) == MODEL


def test_a_server_that_takes_no_files_holds_nothing_up_for_long(
    emulator: MlflowEmulator, url: str, model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The wait ends, one warning says so, and the run is closed with all of its metrics."""
    monkeypatch.setattr(tracking, "MODEL_S", 0.5)  # what is tried is the end of the waits, not their length
    ids: list[str] = []
    tracker = start(url, ids=ids)
    wait_until(lambda: bool(ids))
    emulator.faults.order(Fault(kind="artifacts", times=99, status=503))
    assert tracker.finish(view(make_record(1)), "FINISHED", 0, model_uri=model)
    assert "the model is not in MLflow" in warnings(capsys)[-1]
    assert read_runs(url)[0].info.status == "FINISHED"


def test_a_training_of_before_models_could_be_put_goes_on_in_its_run() -> None:
    """What names it on the server is what the release before named it; one that asks for what is new is another."""
    old = {**UNSAID, "tracker": "both"}
    spec = TrainSpec(**old)
    assert tracking._to_training(spec, IDENTITY, "file:///r") == "fb8fc7fa3322766a9d375cc12f2a5657"
    for asked in (TrainSpec(**old, mlflow_model=True), TrainSpec(**{**old, "own_history": True})):
        assert tracking._to_training(asked, IDENTITY, "file:///r") != "fb8fc7fa3322766a9d375cc12f2a5657"


# The trainer as a process --------------------------------------------------------------------------------------------


def make_command(folder: Path, *flags: str) -> list[str]:
    identity = ["--quick-test-id=12", "--key=abc", "--experiment=two towers"]
    return [sys.executable, "-m", "trainer", f"--artifacts-uri={folder.as_uri()}", *identity, *flags]


def to_variables(url: str) -> dict[str, str]:
    return {**os.environ, "MLFLOW_TRACKING_URI": url}


def train(folder: Path, url: str, *flags: str) -> "subprocess.CompletedProcess[str]":
    command = make_command(folder, *flags)
    return subprocess.run(
        command, capture_output=True, text=True, timeout=WAIT_S * 2, env=to_variables(url), check=False
    )


@contextmanager
def training(folder: Path, url: str, *flags: str, held_after: int | None = None) -> Iterator["subprocess.Popen[str]"]:
    command = make_command(folder, *flags)
    if held_after is not None:
        command = to_held(command, folder.with_name(f"{folder.name}-marks"), held_after)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=to_variables(url))
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for_epoch(process: "subprocess.Popen[str]", epoch: int) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line).get("epoch") == epoch:
            return
    raise AssertionError(f"the trainer ended before epoch {epoch}")


def read_metrics(folder: Path) -> MetricsRecord:
    return read_record((folder / "training_metrics.json").read_bytes(), where=str(folder))


def read_json(path: Path) -> Any:
    return json.loads(path.read_bytes())


def test_with_both_the_file_and_mlflow_say_the_same(tmp_path: Path, url: str) -> None:
    """Every series, count, edge and final metric has the same digest in the file and in MLflow; each param its text."""
    done = train(tmp_path / "run", url, *TINY_FLAGS, "--tracker=both")
    assert (done.returncode, done.stderr) == (0, "")
    metrics = read_metrics(tmp_path / "run")
    (run,) = read_runs(url)
    found = from_points(run)
    assert shared(found) == shared(metrics)
    assert len(shared(metrics)) > 70
    assert {name: found.params[name] for name in metrics.params} == {k: str(v) for k, v in metrics.params.items()}
    assert (run.info.status, run.info.name, run.info.experiment) == ("FINISHED", "quick-test-12", "two towers")
    assert read_json(tmp_path / "run" / "mlflow_info.json") == {"run_id": run.info.run_id, "tracking_uri": url}
    assert found.run == RunIdentity(quick_test_id=12, key="abc", attempt=1, restart=0)


@pytest.mark.slow
def test_the_exported_model_is_put_beside_its_run_once(tmp_path: Path, url: str, emulator: MlflowEmulator) -> None:
    """Byte for byte what is in the run's folder; the same job started again after its end sends nothing."""
    folder, flags = tmp_path / "run", [*TINY_FLAGS, "--tracker=both", "--mlflow-model"]
    done = train(folder, url, *flags)
    assert (done.returncode, done.stderr) == (0, "")
    (run,) = read_runs(url)
    there = {
        f"model/{path.relative_to(folder / 'model')}": path.read_bytes()
        for path in (folder / "model").rglob("*")
        if path.is_file()
    }
    assert below_run(emulator, run.info.run_id) == there
    assert {"model/saved_model.pb", "model/variables/variables.index"} <= set(there)
    sent = emulator.faults.count("artifacts")
    again = train(folder, url, *flags)
    assert (again.returncode, "completed already" in again.stdout) == (0, True)
    assert "the model is in MLflow already" in again.stdout
    assert emulator.faults.count("artifacts") == sent


CARDS = ("evaluation_report.json", "model_card.md")


@pytest.mark.slow
def test_with_mlflow_alone_there_is_no_file(tmp_path: Path, url: str) -> None:
    """MLflow has it all; ended.json says so, and the same job started again does nothing."""
    folder = tmp_path / "run"
    assert train(folder, url, *TINY_FLAGS, "--tracker=mlflow").returncode == 0
    assert {path.name for path in folder.iterdir()} == {"ended.json", "mlflow_info.json", "model", "embeddings", *CARDS}
    (run,) = read_runs(url)
    record = from_points(run)
    assert (record.status, record.epochs) == ("completed", [0, 1])
    again = train(folder, url, *TINY_FLAGS, "--tracker=mlflow")
    assert (again.returncode, "completed already" in again.stdout) == (0, True)
    other = train(folder, url, *TINY_FLAGS, "--tracker=mlflow", "--seed=8")
    assert (other.returncode, "seed 7, not 8" in other.stdout) == (1, True)
    assert len(read_runs(url)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("tracker", ["both", "mlflow"])
def test_a_dead_server_changes_nothing_of_the_training(
    tracker: str, tmp_path: Path, nobody: str, uninterrupted: dict[str, Any]
) -> None:
    """The same numbers as without, exit status 0, and the file is there, also where MLflow alone was to have them."""
    done = train(tmp_path / "run", nobody, *LONGER_FLAGS, f"--tracker={tracker}")
    assert done.returncode == 0, done.stderr
    numbers = to_numbers(read_metrics(tmp_path / "run"))
    numbers["params"] = {**numbers["params"], "tracker": "file"}
    assert {**numbers, "params": {**uninterrupted["params"], **numbers["params"]}} == uninterrupted
    said = [line for line in map(json.loads, done.stdout.splitlines()) if line["severity"] == "WARNING"]
    assert len(said) == {"both": 2, "mlflow": 3}[tracker]
    assert not (tmp_path / "run" / "mlflow_info.json").exists()


@pytest.mark.slow
def test_a_file_that_an_outage_left_is_kept_up_to_date(tmp_path: Path, nobody: str, url: str) -> None:
    """The restart, with the server back, replaces the partial file of the outage: it is read before MLflow.

    Stopped while the server was away, the trainer wrote it.
    """
    folder = tmp_path / "run"
    flags = [*LONGER_FLAGS, "--epochs=300", "--tracker=mlflow", f"--checkpoints-uri={(tmp_path / 'kept').as_uri()}"]
    with training(folder, nobody, *flags, held_after=3) as process:
        wait_for_epoch(process, 3)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=WAIT_S)
    assert read_metrics(folder).status == "partial"
    assert train(folder, url, *flags).returncode == 0
    metrics = read_metrics(folder)
    (run,) = read_runs(url)
    assert (metrics.status, run.info.status) == ("completed", "FINISHED")
    assert shared(from_points(run)) == shared(metrics)


@pytest.mark.slow
def test_sigterm_closes_the_run_as_killed(tmp_path: Path, url: str) -> None:
    """Stopped in mid-epoch: all epochs of the last snapshot are in MLflow, too."""
    with training(tmp_path / "run", url, *TINY_FLAGS, "--epochs=100000", "--tracker=both") as process:
        wait_for_epoch(process, 3)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=WAIT_S)
    assert process.returncode == 143
    (run,) = read_runs(url)
    assert run.info.status == "KILLED"
    assert run.info.ended_at_ms is not None
    assert shared(from_points(run)) == shared(read_metrics(tmp_path / "run"))


@pytest.mark.slow
def test_a_failed_training_closes_the_run_as_failed(tmp_path: Path, url: str) -> None:
    """Data that are not there: one line says so, and MLflow's run ends."""
    missing = (tmp_path / "missing.parquet").as_uri()
    done = train(tmp_path / "run", url, f"--data-uri={missing}", "--tracker=both")
    assert done.returncode == 1
    (run,) = read_runs(url)
    assert run.info.status == "FAILED"


@pytest.mark.slow
@pytest.mark.parametrize("tracker", ["both", "mlflow"])
def test_a_killed_training_goes_on_in_the_same_run(
    tracker: str, tmp_path: Path, url: str, uninterrupted: dict[str, Any]
) -> None:
    """kill -9, and the same job again from its checkpoint: one MLflow run.

    It has the numbers of a training that nothing interrupted.
    """
    flags = [*LONGER_FLAGS, f"--tracker={tracker}", f"--checkpoints-uri={(tmp_path / 'checkpoints').as_uri()}"]
    flags.append("--checkpoint-pause-s=0")
    with training(tmp_path / "run", url, *flags, held_after=8) as process:
        wait_for_epoch(process, 8)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=WAIT_S)
    done = train(tmp_path / "run", url, *flags)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "going on after epoch" in done.stdout
    (run,) = read_runs(url)
    assert (run.info.status, run.tags["switchyard.restart"]) == ("FINISHED", "1" if tracker == "both" else "0")
    record = from_points(run)
    numbers = to_numbers(record)
    for name in ("epochs", "loss", "gradient", "weight_stats", "gradient_stats", "final_metrics"):
        assert numbers[name] == uninterrupted[name], name
    if tracker == "both":
        assert shared(record) == shared(read_metrics(tmp_path / "run"))


def test_a_tracker_without_an_address_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2 before any compute, and nothing is written."""
    from trainer.starting import start as start_trainer

    arguments = [f"--artifacts-uri={(tmp_path / 'run').as_uri()}", "--tracker=mlflow"]
    assert start_trainer(arguments, {}) == 2
    assert "set MLFLOW_TRACKING_URI" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_secrets_of_the_environment_are_in_no_repr() -> None:
    """What is logged of a configuration has neither token nor password."""
    shown = repr(MlflowEnvironment(tracking_uri="https://x", tracking_token="s3cret", tracking_password="s3cret"))
    assert "s3cret" not in shown
