"""The trainer as a process: what it writes, how it ends, and what is left when it is stopped or killed."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pa_parquet
import pytest

from switchyard.core.metrics.reading import read_record
from switchyard.core.metrics.record import MetricsRecord
from tests.trainer.factories import TINY_FLAGS, make_columns, write_parquet
from tests.trainer.forked_trainers import Trainers

WAIT_S = 120


def make_command(folder: Path, *flags: str) -> list[str]:
    return [sys.executable, "-m", "trainer", f"--artifacts-uri={folder.as_uri()}", *flags]


def run(folder: Path, *flags: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(make_command(folder, *flags), capture_output=True, text=True, timeout=WAIT_S, check=False)


def to_held(command: list[str], marks: Path, epoch: int) -> list[str]:
    """The trainer's `command`, held after `epoch` until it gets a signal."""
    at = command.index("trainer")
    return [*command[:at], "tests.trainer.held_trainer", str(marks), str(epoch), *command[at + 1 :]]


@contextmanager
def started(folder: Path, *flags: str, held_after: int | None = None) -> Iterator["subprocess.Popen[str]"]:
    """The trainer at work; `held_after`: it waits after that epoch for a signal."""
    command = make_command(folder, *flags)
    if held_after is not None:
        command = to_held(command, folder.with_name(f"{folder.name}-marks"), held_after)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def read_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def read_metrics(folder: Path) -> MetricsRecord:
    return read_record((folder / "training_metrics.json").read_bytes(), where=str(folder))


def read_ended(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "ended.json").read_bytes()))


def wait_for_epoch(process: "subprocess.Popen[str]", epoch: int) -> None:
    """Reads the process' lines until the one of `epoch`; the pipe's end is the deadline's keeper."""
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line).get("epoch") == epoch:
            return
    raise AssertionError(f"the trainer ended before epoch {epoch}")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A finished run on a file of 64 rows, and its log."""
    folder = tmp_path_factory.mktemp("trained")
    uri = write_parquet(folder / "orders.parquet", make_columns(64, customer_id=[float(row % 4) for row in range(64)]))
    flags = ["--quick-test-id=12", "--key=abc", "--name=a run", f"--data-uri={uri}", "--top-k=3", "--epochs=3"]
    done = run(folder / "run", *flags, "--batch-size=16")
    assert (done.returncode, done.stderr) == (0, "")
    return folder / "run", done.stdout


def test_a_run_leaves_a_whole_record(trained: tuple[Path, str]) -> None:
    """Three epochs asked, three there, all finite, with statistics, counts, final metrics and the last file."""
    folder, _ = trained
    metrics = read_metrics(folder)
    assert (metrics.status, metrics.epochs, metrics.non_finite, metrics.warnings) == ("completed", [0, 1, 2], {}, [])
    assert metrics.run is not None
    assert (metrics.run.quick_test_id, metrics.run.key, metrics.run.name, metrics.run.seed) == (12, "abc", "a run", 7)
    assert set(metrics.loss) == {f"{a}{b}loss" for a in ("", "val_") for b in ("", "total_", "regularization_")}
    assert set(metrics.gradient) == {"total", "query", "candidate"}
    assert set(metrics.metrics) == {"learning_rate", "epoch_seconds"}  # 8 products: no recall at 10
    for statistics in (metrics.weight_stats, metrics.gradient_stats):
        for tower in ("query", "candidate"):
            histogram = statistics[tower].histogram
            assert histogram is not None
            assert len(histogram.counts) == 3
            assert all(sum(filter(None, row or [])) > 0 for row in histogram.counts)
    assert metrics.params["buyers"] == 4
    assert metrics.params["products"] == 8
    assert metrics.params["rows_read"] == 64
    assert metrics.params["rows_dropped_missing_buyer"] == 0
    assert metrics.params["learning_rate"] == 1.0
    expected = {"final_loss", "final_val_loss", "test_loss", "test_recall_at_5", "popularity_recall_at_5"}
    assert set(metrics.final_metrics) == expected
    assert None not in metrics.final_metrics.values()
    assert (read_ended(folder)["status"], read_ended(folder)["exit"]) == ("completed", 0)


def test_the_log_is_one_json_object_a_line(trained: tuple[Path, str]) -> None:
    """The launcher's progress bar reads the epoch lines; nothing else is on stdout."""
    _, log = trained
    lines = read_lines(log)
    assert all({"severity", "message"} <= set(line) for line in lines)
    epochs = [line for line in lines if "epoch" in line]
    assert [(line["epoch"], line["epochs"]) for line in epochs] == [(0, 3), (1, 3), (2, 3)]
    assert all(line["loss"] > 0 for line in epochs)
    assert epochs[0]["message"].startswith("epoch 1 of 3: loss ")


def test_the_model_answers_in_another_process(trained: tuple[Path, str]) -> None:
    """Loaded by TensorFlow alone, it answers known buyers by their vectors and others by popularity."""
    folder, _ = trained
    script = (
        "import json, sys, tensorflow as tf\n"
        "answer = tf.saved_model.load(sys.argv[1]).signatures['serving_default']\n"
        "found = answer(buyer_ids=tf.constant(['2', 'nobody']))\n"
        "ids = [[name.decode() for name in row] for row in found['product_ids'].numpy()]\n"
        "print(json.dumps([ids, found['scores'].numpy().tolist(), found['known'].numpy().tolist()]))"
    )
    command = [sys.executable, "-c", script, str(folder / "model")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=True, cwd=folder)
    ids, scores, known = json.loads(done.stdout)
    tables = {name: pa_parquet.read_table(folder / "embeddings" / f"{name}.parquet") for name in ("query", "candidate")}
    vectors = {name: np.array(table["embedding"].to_pylist()) for name, table in tables.items()}
    assert np.allclose(np.linalg.norm(vectors["candidate"], axis=1), 1, atol=1e-5)
    cosines = vectors["candidate"] @ vectors["query"][tables["query"]["id"].to_pylist().index("2")]
    best = np.argsort(-cosines)[:3]
    products = tables["candidate"]["id"].to_pylist()
    assert known == [True, False]
    assert ids[0] == [products[position] for position in best]
    assert scores[0] == pytest.approx(cosines[best], abs=1e-5)
    assert scores[1] == sorted(scores[1], reverse=True)
    assert 1 / 8 <= scores[1][0] <= 1 / 4


def test_a_blended_run_reports_the_towers_alone_beside(tmp_path: Path, trainers: Trainers) -> None:
    """Each epoch and the test have both recalls, and the params say what was chosen.

    `score/` lies beside the model, and the losses are those of a run without.
    """
    plain, blended = tmp_path / "plain", tmp_path / "blended"
    assert trainers.run(plain, *TINY_FLAGS).returncode == 0
    assert trainers.run(blended, *TINY_FLAGS, "--recent-popularity", "--own-history").returncode == 0
    usual, metrics = read_metrics(plain), read_metrics(blended)
    assert metrics.loss == usual.loss
    assert metrics.metrics["val_tower_recall_at_10"] == usual.metrics["val_recall_at_10"]
    assert metrics.metrics["val_recall_at_10"] != usual.metrics["val_recall_at_10"]
    for k in (5, 10):
        assert metrics.final_metrics[f"test_tower_recall_at_{k}"] == usual.final_metrics[f"test_recall_at_{k}"]
        assert f"test_tower_recall_at_{k}" not in usual.final_metrics
    chosen = {name for name in metrics.params if name.startswith("score_")}
    assert chosen == {f"score_{name}" for name in ("half_life", "shift", "popularity", "bought", "count", "recency")}
    files = {path.name for path in (blended / "score").iterdir()}
    assert files == {"weights.json", "prior.parquet", "purchases.parquet"}
    assert not (plain / "score").exists()


def test_one_seed_gives_one_result(tmp_path: Path, trainers: Trainers) -> None:
    """Two processes with the same flags write the same numbers; another seed writes others."""
    records = []
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        assert trainers.run(tmp_path / name, *TINY_FLAGS, f"--seed={seed}").returncode == 0
        metrics = read_metrics(tmp_path / name)
        del metrics.metrics["epoch_seconds"]
        records.append((metrics.loss, metrics.gradient_stats, metrics.weight_stats, metrics.final_metrics))
    assert records[0] == records[1]
    assert records[0] != records[2]


def test_sigterm_leaves_a_last_snapshot(tmp_path: Path) -> None:
    """Stopped in mid-epoch, the trainer writes the whole epochs, exits 143, and says so in the last file."""
    with started(tmp_path, *TINY_FLAGS, "--epochs=100000") as process:
        wait_for_epoch(process, 3)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=WAIT_S)
    assert process.returncode == 143
    metrics = read_metrics(tmp_path)
    assert metrics.status == "partial"
    assert metrics.epochs == list(range(len(metrics.epochs)))
    assert len(metrics.epochs) >= 4
    assert all(len(series) == len(metrics.epochs) for series in metrics.loss.values())
    assert (read_ended(tmp_path)["status"], read_ended(tmp_path)["exit"]) == ("stopped", 143)


def test_kill_loses_only_what_came_after_the_last_snapshot(tmp_path: Path, trainers: Trainers) -> None:
    """kill -9 leaves the last snapshot whole, and no last file; the same job started again is restart 1."""
    with started(tmp_path, *TINY_FLAGS, "--epochs=100000") as process:
        wait_for_epoch(process, 3)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=WAIT_S)
    metrics = read_metrics(tmp_path)
    assert metrics.status == "partial"
    assert len(metrics.epochs) >= 1
    assert not (tmp_path / "ended.json").exists()
    assert trainers.run(tmp_path, *TINY_FLAGS).returncode == 0
    again = read_metrics(tmp_path)
    assert again.run is not None
    assert (again.status, again.run.restart, again.epochs) == ("completed", 1, [0, 1])


BAD_ARGUMENTS: list[tuple[list[str], str]] = [
    (["--epoch=3"], "unrecognized arguments: --epoch=3"),
    (["--colour=red"], "unrecognized arguments"),
    (["--batch-size=1"], "`--batch-size`"),
    (["--batch-size=many"], "`--batch-size`"),
    (["--learning-rate=-1"], "`--learning-rate`"),
    (["--optimizer=sgd"], "invalid choice: 'sgd'"),
    (["--top-k=100", "--synthetic-products=50"], "top_k must be at most synthetic_products"),
    (["--validation-fraction=0.5", "--test-fraction=0.5"], "must leave something to train on"),
    (["--buyer-column=x", "--product-column=x"], "each column can have one meaning only"),
    (["--early-stopping-patience=5", "--epochs=5"], "early_stopping_patience must be below epochs"),
    (["--data-uri=ftp://host/orders.parquet"], "data_uri must be a path, or start with file:/// or gs://; got 'ftp:"),
    (["--data-uri=/a.csv", "--synthetic-buyers=50"], "synthetic_buyers is not read: data_uri names the interactions"),
    (["--buyer-column=who"], "buyer_column is not read: the interactions are made up"),
    (["--data-uri=/a.csv", "--csv-separator=::"], "`--csv-separator`"),
    (["--data-uri=/a.csv", "--csv-encoding=hex"], "csv_encoding must be an encoding that Python knows"),
    (["--data-uri=/a.csv", "--csv-columns=a,,b"], "csv_columns must name each column; got 'a,,b'"),
]


@pytest.mark.parametrize(("flags", "message"), BAD_ARGUMENTS)
def test_bad_arguments_are_refused_before_any_compute(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2 with the reason on stderr, and nothing written."""
    from trainer.starting import start

    arguments = [f"--artifacts-uri={(tmp_path / 'run').as_uri()}", *flags]
    try:
        status = start(arguments, {})
    except SystemExit as err:  # argparse's own way
        status = int(err.code or 0)
    captured = capsys.readouterr()
    assert (status, captured.out) == (2, "")
    assert message in captured.err
    assert not (tmp_path / "run").exists()


def test_refusing_needs_no_tensorflow(tmp_path: Path) -> None:
    """A typing error is answered at once, and so is a folder of another run."""
    (tmp_path / "training_metrics.json").write_text("{}")
    script = (
        "import sys; from trainer.starting import start\n"
        "print([start([], {}), start(['--epochs=0', '--artifacts-uri=file:///x'], {}), "
        f"start(['--artifacts-uri={tmp_path.as_uri()}'], {{}})])\n"
        "print([name for name in ('tensorflow', 'keras', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=WAIT_S, check=True)
    refusal, statuses, modules = done.stdout.splitlines()
    assert json.loads(refusal)["severity"] == "ERROR"
    assert (statuses, modules) == ("[2, 2, 1]", "[]")
    assert "`artifacts_uri`" in done.stderr or "--artifacts-uri" in done.stderr


BAD_DATA: list[tuple[dict[str, Any] | None, list[str], str]] = [
    (None, [], "there is nothing at"),
    ({}, ["--buyer-column=who"], "columns 'who' were expected"),
    ({}, ["--top-k=100"], "100 products (--top-k), but the catalogue has only 8"),
]


@pytest.mark.parametrize(("columns", "flags", "message"), BAD_DATA)
def test_bad_data_fails_the_run_with_one_line(
    columns: dict[str, Any] | None, flags: list[str], message: str, tmp_path: Path, trainers: Trainers
) -> None:
    """Exit 1, the reason as one ERROR line without a traceback, a failed record without epochs, and the last file."""
    path = tmp_path / "orders.parquet"
    if columns is not None:
        write_parquet(path, make_columns(64, **columns))
    done = trainers.run(tmp_path / "run", f"--data-uri={path.as_uri()}", "--top-k=3", *flags)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    last = read_lines(done.stdout)[-1]
    assert last["severity"] == "ERROR"
    assert message in last["message"]
    metrics = read_metrics(tmp_path / "run")
    assert (metrics.status, metrics.available, metrics.epochs) == ("failed", False, [])
    ended = read_ended(tmp_path / "run")
    assert (ended["status"], ended["exit"]) == ("failed", 1)
    assert message in ended["message"]


def test_a_wish_to_stop_before_the_first_epoch_ends_too(tmp_path: Path) -> None:
    """SIGTERM while TensorFlow loads is remembered, and no record without epochs is left as a result."""
    with started(tmp_path, *TINY_FLAGS, "--epochs=100000") as process:
        assert process.stdout is not None
        process.stdout.readline()  # the first line is said when the handler stands
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=WAIT_S)
    assert process.returncode == 143
    assert read_ended(tmp_path)["status"] == "stopped"
    assert not (tmp_path / "training_metrics.json").exists()


def test_early_stopping_stops_only_when_asked(tmp_path: Path, trainers: Trainers) -> None:
    """Without it all epochs asked are trained, whatever the loss does; with it, no more than the patience allows."""
    flags = [*TINY_FLAGS, "--epochs=6", "--learning-rate=1e-12"]
    for name, patience, epochs in (("never", 0, 6), ("soon", 2, 3)):
        assert trainers.run(tmp_path / name, *flags, f"--early-stopping-patience={patience}").returncode == 0
        metrics = read_metrics(tmp_path / name)
        assert (metrics.status, len(metrics.epochs)) == ("completed", epochs)
