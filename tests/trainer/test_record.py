"""The growing record, its snapshots, and the run's folder."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from switchyard.clients.objects.files import FileObjects
from switchyard.core.errors import BadRecord, StaleWrite, TryAgain
from switchyard.core.metrics.reading import read_record
from switchyard.core.metrics.record import MetricsRecord
from switchyard.core.runs.spec import TrainSpec
from tests.root import ROOT
from trainer.options import RunSpec
from trainer.output.epoch_record import EpochRecord
from trainer.output.journal import Journal
from trainer.output.run_folder import RunFolder
from trainer.output.snapshots import PAUSE_S, Snapshots
from trainer.statistics.bins import BIN_EDGES

NOW = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)


def make_run(path: Path, **changes: Any) -> RunSpec:
    return RunSpec(**{"artifacts_uri": path.as_uri(), "quick_test_id": 12, "key": "k1", "attempt": 1, **changes})


def make_record(epochs: int = 2) -> EpochRecord:
    record = EpochRecord()
    for epoch in range(epochs):
        record.add(epoch, "loss", {"loss": 1 / (epoch + 1)})
    return record


def read_metrics(path: Path) -> MetricsRecord:
    return read_record((path / "training_metrics.json").read_bytes(), where="the test's file")


def write(folder: RunFolder, record: EpochRecord, status: Any = "partial") -> None:
    folder.write_metrics(record.to_record(status, saved_at=NOW, run=folder.identity, params={"epochs": 2}))


def test_record_keeps_series_as_long_as_its_epochs() -> None:
    """A series that starts late or has a gap has None there, and one that stops is filled up."""
    record = EpochRecord()
    record.add(0, "loss", {"loss": 1.0})
    record.add(1, "metrics", {"accuracy": 0.5})
    record.add(2, "loss", {"loss": 3.0})
    found = record.to_record("partial", saved_at=NOW, run=None, params={})
    assert found.epochs == [0, 1, 2]
    assert found.loss == {"loss": [1.0, None, 3.0]}
    assert found.metrics == {"accuracy": [None, 0.5, None]}


def test_record_remembers_which_number_was_none() -> None:
    """nan and the infinities stand as null, and beside it what they were, in every section."""
    record = EpochRecord()
    record.add(0, "loss", {"loss": float("nan"), "val_loss": float("inf")})
    record.add_statistics(
        0, "weight_stats", "query", {"min": float("-inf")}, counts=[0] * 25, bin_edges=BIN_EDGES, sampled=False
    )
    record.finish({"test_loss": float("nan")})
    found = record.to_record("completed", saved_at=NOW, run=None, params={})
    assert found.loss == {"loss": [None], "val_loss": [None]}
    assert found.non_finite == {
        "loss": {"loss": {"0": "nan"}, "val_loss": {"0": "inf"}},
        "weight_stats.query": {"min": {"0": "-inf"}},
        "final_metrics": {"test_loss": {"": "nan"}},
    }


def test_record_is_a_copy_and_refuses_an_epoch_twice() -> None:
    """What was taken does not grow; an epoch that is added again, or out of order, is a mistake of the caller."""
    record = make_record(1)
    taken = record.to_record("partial", saved_at=NOW, run=None, params={})
    record.add(1, "loss", {"loss": 2.0})
    assert taken.epochs == [0]
    for epoch in (0, 1):
        with pytest.raises(ValueError, match="once an epoch, in rising order"):
            record.add(epoch, "loss", {"loss": 1.0})


def test_folder_writes_what_the_pipeline_reads(tmp_path: Path) -> None:
    """The file is a whole record of version 1 under this run's identity."""
    folder = RunFolder(make_run(tmp_path / "new", name="first"), seed=7)
    write(folder, make_record())
    found = read_metrics(tmp_path / "new")
    assert found.run is not None
    assert (found.run.quick_test_id, found.run.key, found.run.restart, found.run.name) == (12, "k1", 0, "first")
    assert found.loss["loss"] == [1.0, 0.5]
    assert not found.warnings


def test_folder_counts_restarts_of_one_job(tmp_path: Path) -> None:
    """The same key again is a restart, a later attempt begins from the start."""
    for expected in range(3):
        folder = RunFolder(make_run(tmp_path), seed=7)
        write(folder, make_record())
        assert folder.identity.restart == expected
    later = RunFolder(make_run(tmp_path, attempt=2, key="k2"), seed=7)
    write(later, make_record())
    assert later.identity.restart == 0


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"quick_test_id": 13}, BadRecord, "must be quick test 13, .*got quick test 12.*another run's"),
        ({"key": "other"}, BadRecord, "key 'other'; got .* key 'k2'"),
        ({"attempt": 1, "key": "k1"}, StaleWrite, "attempt 2 of this run has written already; got attempt 1"),
    ],
)
def test_folder_refuses_anothers_file(tmp_path: Path, changes: dict[str, Any], error: Any, message: str) -> None:
    """Another run's, another job's or a later attempt's file is left as it is."""
    write(RunFolder(make_run(tmp_path, attempt=2, key="k2"), seed=7), make_record())
    before = (tmp_path / "training_metrics.json").read_bytes()
    with pytest.raises(error, match=message):
        RunFolder(make_run(tmp_path, **{"attempt": 2, "key": "k2", **changes}), seed=7)
    assert (tmp_path / "training_metrics.json").read_bytes() == before


@pytest.mark.parametrize("data", [b"", b"not json", b"[]", b"{}", b'{"run": null}'])
def test_folder_refuses_a_file_of_unknown_origin(tmp_path: Path, data: bytes) -> None:
    """A file that does not say which run wrote it may be another's."""
    (tmp_path / "training_metrics.json").write_bytes(data)
    with pytest.raises(BadRecord, match="a metrics file with `run` was expected"):
        RunFolder(make_run(tmp_path), seed=7)


def test_folder_refuses_to_overwrite_a_second_process(tmp_path: Path) -> None:
    """Of two processes in one folder, the one that wrote first finds out at its next write."""
    first, second = (RunFolder(make_run(tmp_path), seed=7) for _ in range(2))
    write(first, make_record(1))
    with pytest.raises(StaleWrite):
        write(second, make_record(2))


def test_who_lost_the_folder_leaves_the_other_ones_end(tmp_path: Path) -> None:
    """The process that trains on may have completed before the other one finds out and fails."""
    first, second = (RunFolder(make_run(tmp_path), seed=7) for _ in range(2))
    write(first, make_record(2))
    with pytest.raises(StaleWrite):
        write(second, make_record(1))
    second.write_ended("failed", 1, "none was there yet")
    first.write_ended("completed", 0)
    with pytest.raises(StaleWrite):
        second.write_ended("failed", 1, "somebody else wrote")
    assert json.loads((tmp_path / "ended.json").read_bytes())["status"] == "completed"


def test_ended_says_how_and_whose(tmp_path: Path) -> None:
    """The last file names the status, the exit, and this process."""
    RunFolder(make_run(tmp_path), seed=7).write_ended("failed", 1, "why")
    ended = json.loads((tmp_path / "ended.json").read_bytes())
    assert ended.pop("ended_at").endswith("Z")
    run = {"quick_test_id": 12, "key": "k1", "attempt": 1, "restart": 0}
    assert ended == {"status": "failed", "exit": 1, "message": "why", "run": run}


def test_ended_has_the_fields_that_the_contract_shows(tmp_path: Path) -> None:
    """docs/contracts.md has an example of the last file: same keys, same types."""
    page = (ROOT / "docs" / "contracts.md").read_text()
    example = json.loads(page.split("```json ended\n")[1].split("```")[0])
    RunFolder(make_run(tmp_path), seed=7).write_ended("completed", 0)
    written = json.loads((tmp_path / "ended.json").read_bytes())

    def to_types(tree: Any) -> Any:
        return {name: to_types(item) for name, item in tree.items()} if isinstance(tree, dict) else type(tree)

    assert to_types(written) == to_types(example)


def make_journal(path: Path) -> Journal:
    return Journal(RunFolder(make_run(path), seed=7), TrainSpec())


def test_snapshots_are_written_first_at_once_and_then_with_a_pause(tmp_path: Path) -> None:
    """After the first epoch, and then when the last one is ten seconds old."""
    now, journal, written = [0.0], make_journal(tmp_path), []
    snapshots = Snapshots(journal, clock=lambda: now[0])
    for epoch in range(6):
        journal.record.add(epoch, "loss", {"loss": 1.0})
        snapshots.on_epoch_end(epoch)
        written.append(len(read_metrics(tmp_path).epochs))
        now[0] += PAUSE_S / 2
    assert written == [1, 1, 3, 3, 5, 5]
    assert read_metrics(tmp_path).status == "partial"


def test_the_last_epochs_are_written_when_the_last_one_ends(tmp_path: Path) -> None:
    """Before the evaluation and the export, which may take a while; once is enough."""
    now, journal = [0.0], make_journal(tmp_path)
    snapshots = Snapshots(journal, clock=lambda: now[0])
    for epoch in range(3):
        journal.record.add(epoch, "loss", {"loss": 1.0})
        snapshots.on_epoch_end(epoch)
    assert read_metrics(tmp_path).epochs == [0]
    snapshots.on_train_end()
    assert read_metrics(tmp_path).epochs == [0, 1, 2]
    before = (tmp_path / "training_metrics.json").stat().st_mtime_ns
    snapshots.on_train_end()
    assert (tmp_path / "training_metrics.json").stat().st_mtime_ns == before


def test_a_failing_snapshot_does_not_stop_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is warned about and tried again at the next epoch's end; only the last one's error is the caller's."""
    journal = make_journal(tmp_path)
    journal.record.add(0, "loss", {"loss": 1.0})
    snapshots = Snapshots(journal, clock=lambda: 0.0)

    def refuse(*arguments: Any, **options: Any) -> int:
        raise TryAgain("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(FileObjects, "write", refuse)  # a full disk cannot be had for the asking
        snapshots.on_epoch_end(0)
        with pytest.raises(TryAgain):
            journal.write("completed")
    line = json.loads(capsys.readouterr().out)
    assert line["severity"] == "WARNING"
    assert "the disk is full" in line["message"]
    assert not (tmp_path / "training_metrics.json").exists()
    journal.record.add(1, "loss", {"loss": 0.5})
    snapshots.on_epoch_end(1)
    assert read_metrics(tmp_path).epochs == [0, 1]
