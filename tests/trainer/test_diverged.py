"""Trainings whose numbers stop being numbers: they end as failed, say where, and export nothing."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from switchyard.core.errors import JobFailed
from switchyard.core.metrics.record import MetricsRecord
from tests.trainer.factories import TINY_FLAGS, make_spec
from tests.trainer.forked_trainers import Trainers
from tests.trainer.test_process import read_ended, read_lines, read_metrics
from trainer.data.preparing import prepare
from trainer.options import RunSpec
from trainer.output.checkpoints import CheckpointStore
from trainer.output.journal import Journal
from trainer.output.resuming import list_state, put_state
from trainer.output.run_folder import RunFolder
from trainer.stopping import FiniteWatch, NotFinite, StopWish
from trainer.training import Training

EPOCHS, STEPS = 8, 10
SPEC = make_spec(epochs=EPOCHS, batch_size=48, statistics=False)  # 480 rows to train on: STEPS an epoch


class Spoiler(keras.callbacks.Callback):
    """Makes buyers' vectors nan after step `at` (from 0, over the whole run): `row`, or all.

    After step `until` it puts the whole model back as it was.
    """

    def __init__(self, at: int, *, until: int | None = None, row: int | None = None) -> None:
        super().__init__()
        self._at, self._until, self._row = at, until, row
        self._before: list[Any] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        step = int(self.model.optimizer.iterations.numpy()) - 1
        if step == self._at:
            self._before = [np.array(variable.numpy()) for variable in list_state(self.model)]
            table = self.model.query_tower.embeddings.numpy()
            table[slice(None) if self._row is None else self._row] = np.nan
            self.model.query_tower.embeddings.assign(table)
        if step == self._until:
            put_state(self.model, self._before)


def make_run(folder: Path) -> RunSpec:
    uri = folder.as_uri()
    return RunSpec(artifacts_uri=uri, model_uri=f"{uri}/model", checkpoints_uri=f"{uri}/checkpoints")


def train(
    folder: Path, monkeypatch: pytest.MonkeyPatch, at: int, *, until: int | None = None, patience: int = 0
) -> tuple[MetricsRecord, str]:
    """The record of a training that is spoiled, and how it failed ("": it did not)."""
    return train_with(folder, monkeypatch, Spoiler(at, until=until), patience)


def train_with(
    folder: Path, monkeypatch: pytest.MonkeyPatch, spoiler: Spoiler, patience: int = 0
) -> tuple[MetricsRecord, str]:
    spec = make_spec(epochs=EPOCHS, batch_size=48, statistics=False, early_stopping_patience=patience)
    journal = Journal(RunFolder(make_run(folder), seed=spec.seed), spec)
    dataset = prepare(spec, journal)
    listed = Training._list_callbacks
    monkeypatch.setattr(Training, "_list_callbacks", lambda self, dataset: [spoiler, *listed(self, dataset)])
    said = ""
    try:
        Training(spec, journal, StopWish(), store=CheckpointStore(make_run(folder), "f"), pause_s=0).run(dataset)
    except JobFailed as err:
        said = str(err)
    return journal.to_record("failed" if said else "completed"), said


def test_three_epochs_that_are_not_finite_end_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names epoch and step; what was recorded is kept with its marks; nothing is exported.

    What a restart goes on from is the last finite epoch.
    """
    record, said = train(tmp_path, monkeypatch, at=25)
    assert "at step 27, in epoch 3 of 8, loss was nan, and no later epoch was finite, up to epoch 5" in said
    assert "--learning-rate" in said
    assert record.epochs == [0, 1, 2, 3, 4]
    assert set(record.non_finite["loss"]["val_loss"]) == {"2", "3", "4"}
    assert record.metrics["val_recall_at_10"][2:] == [0.0, 0.0, 0.0]
    assert not (tmp_path / "model").exists()
    assert not (tmp_path / "embeddings").exists()
    found = CheckpointStore(make_run(tmp_path), "f").read()
    assert found is not None
    assert found.record.epochs == [0, 1]


@pytest.mark.parametrize(
    ("at", "said"),
    [
        (72, "at step 74, in epoch 8 of 8, loss was nan."),
        (79, "at step 80, in epoch 8 of 8, val_loss was nan."),  # nothing but validation saw it
        (65, "at step 67, in epoch 7 of 8, loss was nan, and no later epoch was finite, up to epoch 8."),
    ],
)
def test_the_epoch_that_would_be_exported_must_be_finite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, said: str
) -> None:
    """The last epoch's weights are the model: spoiled there, it is not exported, though three epochs are not full."""
    record, why = train(tmp_path, monkeypatch, at=at)
    assert said in why
    assert record.epochs == list(range(EPOCHS))
    assert not (tmp_path / "model").exists()


def test_weights_that_no_loss_looked_at_must_be_finite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One buyer's vector, of whom the validation has no purchase: the losses are finite, the model is not."""
    journal = Journal(RunFolder(make_run(tmp_path), seed=SPEC.seed), SPEC)
    dataset = prepare(SPEC, journal)
    unseen = sorted(set(range(len(dataset.buyer_ids))) - set(dataset.validation.buyers.tolist()))
    record, said = train_with(tmp_path, monkeypatch, Spoiler(EPOCHS * STEPS - 1, row=unseen[0]))
    assert record.non_finite == {}
    assert "at step 80, in epoch 8 of 8, two_tower/query_tower/embeddings was not finite" in said
    assert not (tmp_path / "model").exists()


def test_a_training_that_recovers_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two epochs without numbers, then numbers again to the end."""
    record, said = train(tmp_path, monkeypatch, at=25, until=38)
    assert said == ""
    assert set(record.non_finite["loss"]["loss"]) == {"2", "3"}
    assert (tmp_path / "model").exists()


def test_early_stopping_does_not_hold_up_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A patience longer than three epochs asks for no more of them."""
    record, said = train(tmp_path, monkeypatch, at=25, patience=5)
    assert len(record.epochs) == 5
    assert "diverged" in said


def test_a_diverged_run_fails_as_a_process(tmp_path: Path, trainers: Trainers) -> None:
    """Without any finite epoch: exit 1, a failed file with its partial history, and no model.

    The reason is in the log and the last file. Restarted, it fails the same way.
    """
    for restart in range(2):
        done = trainers.run(tmp_path, *TINY_FLAGS, "--epochs=5", "--temperature=1e-39")
        assert done.returncode == 1
        assert "Traceback" not in done.stdout + done.stderr
        last = read_lines(done.stdout)[-1]
        assert last["severity"] == "ERROR"
        assert "at step 1, in epoch 1 of 5, loss was nan" in last["message"]
        metrics = read_metrics(tmp_path)
        assert metrics.run is not None
        assert (metrics.status, metrics.run.restart, metrics.epochs) == ("failed", restart, [0, 1, 2])
        assert metrics.non_finite["loss"]["loss"] == {"0": "nan", "1": "nan", "2": "nan"}
        assert metrics.final_metrics == {}
        assert read_ended(tmp_path)["message"] == last["message"]
        assert not (tmp_path / "model").exists()


def test_the_watch_counts_epochs_running() -> None:
    """A finite epoch between begins the count again, and where it began with it."""
    watch = FiniteWatch()
    for number, is_bad in enumerate([True, True, False, True, True, True]):
        if is_bad:
            watch.note(NotFinite(number, number * 10, "loss was nan"))
            watch.note(NotFinite(number, number * 10 + 9, "val_loss was nan"))
        watch.end_epoch()
        assert watch.is_lost == (number == 5)
    assert watch.began == NotFinite(3, 30, "loss was nan")
