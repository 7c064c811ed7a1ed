"""Restarts of one job: what is kept of a training that was interrupted, and that it ends in the same numbers."""

import json
import math
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from switchyard.core.errors import BadRecord
from switchyard.core.metrics.writing import to_json
from switchyard.core.runs.spec import LATER_FIELDS, UNSAID, TrainSpec
from tests.trainer.factories import LONGER_EPOCHS, LONGER_FLAGS, TINY_FLAGS, make_interactions, make_spec, to_numbers
from tests.trainer.forked_trainers import Trainers
from tests.trainer.test_process import WAIT_S, read_ended, read_lines, read_metrics, run, started, wait_for_epoch
from trainer.data.preparing import to_fingerprint
from trainer.data.splitting import split_by_time
from trainer.options import RunSpec
from trainer.output.checkpoints import RECORD_NAME, CheckpointStore
from trainer.output.journal import Journal
from trainer.output.run_folder import RunFolder
from trainer.stopping import is_stalled

FLAGS = [*LONGER_FLAGS, "--checkpoint-pause-s=0"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_training_ends_in_the_same_numbers(
    number: signal.Signals, uninterrupted: dict[str, Any], tmp_path: Path
) -> None:
    """Stopped or killed, and started again: every epoch's numbers are those of the uninterrupted one, to the bit."""
    flags = [*FLAGS, f"--checkpoints-uri={(tmp_path / 'checkpoints').as_uri()}"]
    with started(tmp_path / "run", *flags, held_after=4) as process:
        wait_for_epoch(process, 4)
        process.send_signal(number)
        process.communicate(timeout=WAIT_S)
    assert process.returncode in (143, -signal.SIGKILL)
    assert read_metrics(tmp_path / "run").status == "partial"
    done = run(tmp_path / "run", *flags)
    assert (done.returncode, done.stderr) == (0, "")
    first = next(line for line in read_lines(done.stdout) if "epoch" in line)
    assert 0 < first["epoch"] < LONGER_EPOCHS
    metrics = read_metrics(tmp_path / "run")
    assert to_numbers(metrics) == uninterrupted
    assert metrics.run is not None
    assert metrics.run.restart == 1
    assert read_ended(tmp_path / "run")["run"]["restart"] == 1
    assert not [path for path in (tmp_path / "checkpoints").rglob("*") if path.is_file()]


def test_a_completed_job_that_is_started_again_does_nothing(tmp_path: Path, trainers: Trainers) -> None:
    """Exit 0, the files untouched, and a last file where the first process had no time for it.

    Other flags are an error.
    """
    assert trainers.run(tmp_path, *TINY_FLAGS).returncode == 0
    before = (tmp_path / "training_metrics.json").read_bytes()
    (tmp_path / "ended.json").unlink()
    again = trainers.run(tmp_path, *TINY_FLAGS)
    assert (again.returncode, read_ended(tmp_path)["status"]) == (0, "completed")
    assert "completed already" in again.stdout
    other = trainers.run(tmp_path, *TINY_FLAGS, "--epochs=3")
    assert other.returncode == 1
    assert "epochs 2, not 3" in other.stdout
    assert (tmp_path / "training_metrics.json").read_bytes() == before


def test_a_job_that_an_older_trainer_completed_is_completed(tmp_path: Path, trainers: Trainers) -> None:
    """It stored no settings that came later, and what it did without them is no other training."""
    assert trainers.run(tmp_path, *TINY_FLAGS).returncode == 0
    path = tmp_path / "training_metrics.json"
    stored = json.loads(path.read_bytes())
    assert [stored["params"].pop(name) for name in LATER_FIELDS] == list(LATER_FIELDS.values())
    path.write_text(json.dumps(stored))
    again = trainers.run(tmp_path, *TINY_FLAGS)
    assert (again.returncode, "completed already" in again.stdout) == (0, True)
    other = trainers.run(tmp_path, *TINY_FLAGS, "--own-history")
    assert (other.returncode, "own_history False, not True" in other.stdout) == (1, True)


def make_store(path: Path, *, fingerprint: str = "f", **changes: Any) -> CheckpointStore:
    run = RunSpec(artifacts_uri=(path / "run").as_uri(), checkpoints_uri=(path / "checkpoints").as_uri(), **changes)
    return CheckpointStore(run, fingerprint)


def write_checkpoint(store: CheckpointStore, path: Path, epochs: int) -> None:
    journal = Journal(RunFolder(RunSpec(artifacts_uri=(path / "run").as_uri()), seed=1), make_spec())
    for epoch in range(epochs):
        journal.record.add(epoch, "loss", {"loss": float(epoch)})
    local = path / "local"
    shutil.rmtree(local, ignore_errors=True)
    local.mkdir()
    np.save(local / "0000.npy", np.full(3, epochs, np.float32))
    (local / RECORD_NAME).write_bytes(to_json(journal.to_record("partial")))
    store.write(local, epochs)


def list_files(path: Path) -> list[Path]:
    return sorted(found for found in (path / "checkpoints").rglob("*") if found.is_file())


def test_the_newest_checkpoint_is_found_and_older_ones_are_gone(tmp_path: Path) -> None:
    """A restart reads what was written last, of which alone the files are kept; after `delete` there is none."""
    assert make_store(tmp_path).read() is None
    for epochs in (1, 2):
        store = make_store(tmp_path)
        write_checkpoint(store, tmp_path, epochs)
        write_checkpoint(store, tmp_path, epochs + 5)
    found = make_store(tmp_path).read()
    assert found is not None
    assert found.record.epochs == list(range(7))
    assert [array.tolist() for array in found.arrays] == [[7.0] * 3]
    assert len(list_files(tmp_path)) == 3
    store.delete()
    assert list_files(tmp_path) == []


def test_a_kill_before_the_list_is_replaced_leaves_the_older_checkpoint(tmp_path: Path) -> None:
    """Files of a checkpoint that nothing names are passed over, and deleted with the next one."""
    write_checkpoint(make_store(tmp_path), tmp_path, 3)
    pointer = tmp_path / "checkpoints" / "attempt-1" / "checkpoint.json"
    torn = pointer.parent / "epoch-000004-00000000"
    torn.mkdir()
    (torn / "0000.npy").write_bytes(b"half")
    found = make_store(tmp_path).read()
    assert found is not None
    assert len(found.record.epochs) == 3
    write_checkpoint(make_store(tmp_path), tmp_path, 5)
    assert len(list_files(tmp_path)) == 3


@pytest.mark.parametrize("broken", ["checkpoint.json", "0000.npy", "record.json"])
@pytest.mark.parametrize("how", ["changed", "gone"])
def test_a_broken_checkpoint_is_not_used(
    tmp_path: Path, broken: str, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a warning the training begins again, and its own checkpoint then takes the broken one's place."""
    write_checkpoint(make_store(tmp_path), tmp_path, 3)
    (path,) = (tmp_path / "checkpoints").rglob(broken)
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1])
    store = make_store(tmp_path)
    assert store.read() is None
    assert ("starts from the beginning" in capsys.readouterr().out) == ((broken, how) != ("checkpoint.json", "gone"))
    write_checkpoint(store, tmp_path, 1)
    found = make_store(tmp_path).read()
    assert found is not None
    assert found.record.epochs == [0]


def test_checkpoints_of_others_are_not_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Other data or another configuration: a warning; another job's folder: an error; a later attempt: its own."""
    write_checkpoint(make_store(tmp_path), tmp_path, 3)
    assert make_store(tmp_path, fingerprint="other").read() is None
    assert "another configuration" in capsys.readouterr().out
    with pytest.raises(BadRecord, match="another job's"):
        make_store(tmp_path, key="other")
    assert make_store(tmp_path, key="other", attempt=2).read() is None


def test_a_checkpoint_of_the_trainer_before_the_score_had_terms_is_used() -> None:
    """The digest of a configuration that asks for none of them is what that trainer made; one that asks is another."""
    spec = TrainSpec(**{**UNSAID, "top_k": 5})
    dataset = split_by_time(make_interactions(), spec)
    before = "783e6623ae9b267d9fbd65221cc2c0fe9339b83c092966fc9961909588e5c575"
    assert to_fingerprint(spec, dataset) == before
    assert to_fingerprint(TrainSpec(**{**UNSAID, "top_k": 5, "own_history": True}), dataset) != before


def test_the_next_attempt_goes_on_from_the_last_one_that_got_somewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Attempt 2 died before its first checkpoint, so attempt 3 takes attempt 1's; once completed, all are gone."""
    write_checkpoint(make_store(tmp_path, quick_test_id=5, key="a"), tmp_path, 3)
    make_store(tmp_path, quick_test_id=5, key="b", attempt=2)
    store = make_store(tmp_path, quick_test_id=5, key="c", attempt=3)
    found = store.read()
    assert found is not None
    assert [array.tolist() for array in found.arrays] == [[3.0] * 3]
    assert "after 3 epochs" in capsys.readouterr().out
    write_checkpoint(store, tmp_path, 4)
    again = make_store(tmp_path, quick_test_id=5, key="c", attempt=3)
    own = again.read()
    assert own is not None
    assert own.record.epochs == [0, 1, 2, 3]
    again.delete()
    assert list_files(tmp_path) == []


def test_an_attempt_takes_nothing_of_another_run_or_configuration(tmp_path: Path) -> None:
    """Another run's checkpoints in the same folder are neither read nor deleted; another configuration's not read."""
    write_checkpoint(make_store(tmp_path, quick_test_id=5, key="a"), tmp_path, 3)
    other = make_store(tmp_path, quick_test_id=6, key="b", attempt=2)
    assert other.read() is None
    other.delete()
    assert len(list_files(tmp_path)) == 3
    assert make_store(tmp_path, fingerprint="other", quick_test_id=5, key="b", attempt=2).read() is None


def test_the_next_attempt_ends_in_the_same_numbers(uninterrupted: dict[str, Any], tmp_path: Path) -> None:
    """Killed, and trained again as the run's second attempt: data, order and optimizer go on, to the bit."""
    flags = [*FLAGS, f"--checkpoints-uri={(tmp_path / 'checkpoints').as_uri()}", "--quick-test-id=5"]
    with started(tmp_path / "run", *flags, "--key=a", "--attempt=1", held_after=4) as process:
        wait_for_epoch(process, 4)
        process.kill()
        process.communicate(timeout=WAIT_S)
    done = run(tmp_path / "run", *flags, "--key=b", "--attempt=2")
    assert (done.returncode, done.stderr) == (0, "")
    assert 0 < next(line for line in read_lines(done.stdout) if "epoch" in line)["epoch"] < LONGER_EPOCHS
    metrics = read_metrics(tmp_path / "run")
    assert to_numbers(metrics) == uninterrupted
    assert metrics.run is not None
    assert (metrics.run.attempt, metrics.run.restart, metrics.run.key) == (2, 0, "b")
    assert not [path for path in (tmp_path / "checkpoints").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("losses", "patience", "expected"),
    [
        ([], 1, False),
        ([3, 2, 2.5, 2.5], 2, True),
        ([3, 2, 2.5, 1.9], 2, False),
        ([3, 2, 2, 2], 2, True),  # as low is not lower
        ([3, 2, 2.5], 2, False),
        ([3, math.nan, math.nan], 2, True),
        ([1, 1, 1, 1], 0, False),
    ],
)
def test_a_training_stalls_by_its_losses_alone(losses: list[float], patience: int, expected: bool) -> None:
    """No loss lower than all before it within the patience, which a restart decides from the record as well."""
    assert is_stalled(losses, patience) == expected
