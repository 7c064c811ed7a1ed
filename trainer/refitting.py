"""The refit: trains the model once more, from the same seed, on all rows except the test ones, for the export.

The rows that it adds are the newest ones, which were held out for validation. The number of epochs and the numbers of
the score were chosen before, on those rows. The refit now learns from them, so nothing is measured on it.
"""

from collections.abc import Mapping
from typing import Any, Final

import keras

from switchyard.core.errors import JobFailed
from trainer.callbacks import StopAtBatchEnd, StopWhenNotFinite, describe_weights
from trainer.console import say
from trainer.data.splitting import Dataset
from trainer.fitting import fit_epochs
from trainer.model.towers import TwoTower
from trainer.output.journal import Journal
from trainer.output.resuming import Checkpoints, Keeper
from trainer.output.snapshots import Snapshots
from trainer.stopping import FiniteWatch, StopWish

TESTED: Final = "the model before the refit"


class RefitLosses(keras.callbacks.Callback):
    """Adds each epoch's mean loss to the record, and prints one line for the launcher's progress bar.

    In that line the epochs of the refit are counted after those that the run had.

    Args:
        steps: how many an epoch of the refit has.
        steps_before: how many updates the run made before the refit.
    """

    def __init__(self, journal: Journal, *, steps: int, steps_before: int) -> None:
        super().__init__()
        self._journal = journal
        self._steps = steps
        self._steps_before = steps_before

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Adds and prints the loss; `epoch` counts from 0, the message from 1."""
        loss, epochs = float((logs or {})["loss"]), self.params["epochs"]
        self._journal.record.add_refit_loss(self._steps_before + (epoch + 1) * self._steps - 1, loss)
        before = len(self._journal.record.epochs)
        fields = {"epoch": before + epoch, "epochs": before + epochs, "loss": loss}
        say(f"refit: epoch {epoch + 1} of {epochs}: loss {loss:.4g}", fields=fields)


def describe_refit(dataset: Dataset, journal: Journal, *, epochs: int) -> None:
    """Announces in the params and in the log that the model is now trained on `dataset` for `epochs` epochs."""
    said = {"refit_epochs": epochs, "test_measured_on": TESTED, **dataset.counts, **dataset.last_times}
    journal.params.update(said)
    say(
        f"refit: {epochs} epochs on the {dataset.counts['refit_rows']} train and validation rows, up to "
        f"{dataset.last_times['model_trained_until']}; the test figures are those of {TESTED}"
    )


def fit_again(
    model: TwoTower,
    dataset: Dataset,
    journal: Journal,
    wish: StopWish,
    checkpoints: Checkpoints | None,
    keeper: Keeper,
    *,
    seed: int,
    steps_before: int,
    first_epoch: int,
) -> None:
    """Trains `model`, which has done `first_epoch` epochs, until it has done as many as the params say.

    The checkpoints hold the state of `keeper` too.

    Raises: Stopped; JobFailed: the model's numbers are not finite.
    """
    epochs, batch_size = journal.params["refit_epochs"], journal.params["batch_size_used"]
    watch = FiniteWatch()
    if checkpoints:
        checkpoints.begin_refit(watch, keeper)
    steps = len(dataset.train) // batch_size
    if first_epoch < epochs:
        callbacks = [
            StopAtBatchEnd(wish),
            StopWhenNotFinite(watch),
            RefitLosses(journal, steps=steps, steps_before=steps_before),
            Snapshots(journal),
            *([checkpoints] if checkpoints else []),
        ]
        fit_epochs(
            model,
            dataset.train,
            callbacks,
            batch_size=batch_size,
            epochs=epochs,
            seed=seed,
            first_epoch=first_epoch,
        )
    found = watch.began.what if watch.began else describe_weights(model)
    if found:
        raise JobFailed(
            f"the refit diverged: {found}. Nothing is exported; the test figures are those of {TESTED}. Train again "
            "with a lower --learning-rate, or with --no-refit"
        )
