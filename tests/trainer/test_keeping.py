"""Early stopping by recall: what counts as a gain, which weights are kept, and that a restart decides the same."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest

from switchyard.core.errors import BadRecord, BadRequest
from tests.trainer.factories import make_interactions, make_spec
from tests.trainer.forked_trainers import Trainers
from trainer.data.preparing import prepare
from trainer.keeping import GAIN_NEEDED, KeepBest, RecallWatch, Z
from trainer.options import RunSpec
from trainer.output.journal import Journal
from trainer.output.run_folder import RunFolder
from trainer.stopping import FiniteWatch, NotFinite, StopWish
from trainer.training import Training

PAIRS = 400


def make_hits(*found: tuple[int, int]) -> Any:
    """Hits of the pairs in each of the ranges."""
    hits = np.zeros(PAIRS, bool)
    for begin, end in found:
        hits[begin:end] = True
    return hits


def test_what_is_needed_is_the_noise_of_the_paired_difference() -> None:
    """Z standard errors of (won - lost) / pairs, by the pairs that only one of both epochs found."""
    watch = RecallWatch()
    assert watch.see(0, make_hits((0, 40))) == 0.0
    assert watch.see(1, make_hits((10, 60))) == Z * math.sqrt(10 + 20) / PAIRS
    assert watch.level_epoch == 1  # 10 more than before, of 30 that differ: 1.83 standard errors
    watch.see(2, make_hits((0, 20), (30, 65)))
    assert watch.level_epoch == 1  # 5 more, of 35: chance
    assert watch.best_epoch == 2


def test_equal_epochs_count_as_a_gain_once_in_twenty() -> None:
    """Two epochs that find each pair with the same chance, drawn two thousand times."""
    draw = np.random.default_rng(5)
    gains = 0
    for _ in range(2_000):
        watch = RecallWatch()
        for epoch in range(2):
            watch.see(epoch, draw.random(PAIRS) < 0.3)
        gains += watch.level_epoch
    assert 0.03 < gains / 2_000 < 0.07


def test_small_steps_that_add_up_are_a_gain() -> None:
    """Two pairs more an epoch, none of which is above the noise: the third is, beside the level."""
    watch, levels = RecallWatch(), []
    for epoch in range(4):
        watch.see(epoch, make_hits((0, 40 + 2 * epoch)))
        levels.append(watch.level_epoch)
    assert levels == [0, 0, 2, 2]
    assert watch.best_epoch == 3


class Kept:
    """`KeepBest` over a model of one weight, which is the epoch's number."""

    def __init__(self, folder: Path, patience: int = 2) -> None:
        self.model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
        self.finite = FiniteWatch()
        self.journal = Journal(RunFolder(RunSpec(artifacts_uri=folder.as_uri()), seed=1), make_spec())
        self.best = KeepBest(self.journal, self.finite, patience=patience)
        self.best.set_model(self.model)

    def end_epoch(self, epoch: int, found: int) -> bool:
        """Whether it was made the last one."""
        self.model.stop_training = False
        self.model.trainable_variables[0].assign([[float(epoch)]])
        self.best.recall = SimpleNamespace(hits=make_hits((0, found)))  # type: ignore[assignment]  # all that is read
        self.best.on_epoch_end(epoch)
        return bool(self.model.stop_training)

    def read_weight(self) -> float:
        return float(self.model.trainable_variables[0].numpy()[0, 0])


def test_the_best_epochs_weights_come_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of equal ones the first; the epoch at which the patience is used up is the last."""
    kept = Kept(tmp_path)
    assert [kept.end_epoch(epoch, found) for epoch, found in enumerate((10, 30, 31, 31))] == [False, False, False, True]
    kept.best.put_back(kept.model, 4)
    assert (kept.read_weight(), kept.best.best_epoch) == (2.0, 2)
    assert "the weights of epoch 3 of 4 are kept" in capsys.readouterr().out
    needed = kept.journal.record.view(run=kept.journal.folder.identity, params={}).metrics[GAIN_NEEDED]
    assert needed == pytest.approx([0, Z * math.sqrt(20) / PAIRS, Z / PAIRS, Z / PAIRS])


@pytest.mark.parametrize("interrupted_after", [1, 2, 3])
def test_a_restart_decides_the_same(tmp_path: Path, interrupted_after: int) -> None:
    """What is saved after an epoch is all that the next ones are judged by."""
    found = (10, 31, 30, 30)
    first = Kept(tmp_path / "first")
    for epoch in range(interrupted_after):
        first.end_epoch(epoch, found[epoch])
    second = Kept(tmp_path / "second")
    second.best.put_arrays(second.model, first.best.to_arrays())
    stopped = [second.end_epoch(epoch, found[epoch]) for epoch in range(interrupted_after, 4)]
    assert stopped == [False] * (3 - interrupted_after) + [True]
    assert second.best.is_stalled(4)
    second.best.put_back(second.model, 4)
    assert second.read_weight() == 1.0


def test_an_epoch_that_is_not_finite_is_never_kept(tmp_path: Path) -> None:
    """Whatever its recall seems to be."""
    kept = Kept(tmp_path)
    kept.end_epoch(0, 10)
    kept.finite.note(NotFinite(1, 1, "loss was nan"))
    kept.finite.end_epoch()
    kept.end_epoch(1, 50)
    assert kept.best.best_epoch == 0


@pytest.mark.parametrize("broken", ["epochs", "hits", "0000"])
def test_a_checkpoint_without_the_best_weights_changes_nothing(tmp_path: Path, broken: str) -> None:
    """It is refused, and the training begins again with nothing seen."""
    first, second = Kept(tmp_path / "first"), Kept(tmp_path / "second")
    first.end_epoch(0, 10)
    arrays = {name: array for name, array in first.best.to_arrays().items() if name != broken}
    with pytest.raises(BadRecord, match="the best epoch's weights"):
        second.best.put_arrays(second.model, arrays)
    assert second.best.best_epoch == -1


def test_a_catalogue_that_recall_says_nothing_of_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of at most ten products each is among the first ten."""
    monkeypatch.setattr("trainer.data.preparing.make_interactions", lambda spec: make_interactions())
    spec = make_spec(epochs=3, early_stopping_patience=1, early_stopping_metric="val_recall")
    journal = Journal(RunFolder(RunSpec(artifacts_uri=tmp_path.as_uri()), seed=1), spec)
    with pytest.raises(BadRequest, match="the catalogue has 8 products"):
        prepare(spec, journal)


def test_the_metric_is_not_read_without_a_patience(tmp_path: Path, trainers: Trainers) -> None:
    """It is refused before anything is written."""
    done = trainers.run(tmp_path / "run", "--early-stopping-metric=val_recall")
    assert done.returncode == 2
    assert "early_stopping_metric val_recall is not read without early_stopping_patience" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("metric", "patience", "epochs"), [("val_loss", 1, 9), ("val_recall", 1, 9), ("val_loss", 0, 2)]
)
def test_early_stopping_says_when_it_ended_the_training(
    metric: str, patience: int, epochs: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log's line names the epoch and the patience; a training that goes to its end has none."""
    # So sharp a softmax soon overfits.
    spec = make_spec(
        epochs=epochs,
        learning_rate=1.0,
        temperature=0.02,
        statistics=False,
        early_stopping_patience=patience,
        early_stopping_metric=metric,
    )
    uri = tmp_path.as_uri()
    journal = Journal(RunFolder(RunSpec(artifacts_uri=uri, model_uri=f"{uri}/model"), seed=spec.seed), spec)
    Training(spec, journal, StopWish(), store=None, pause_s=0).run(prepare(spec, journal))
    done, said = len(journal.record.epochs), capsys.readouterr().out
    line = f"early stopping after epoch {done} of 9: {metric} has not improved for {patience} epochs"
    assert (done < epochs) == bool(patience)
    assert (line in said) == bool(patience)
    assert ("early stopping" in said) == bool(patience)
