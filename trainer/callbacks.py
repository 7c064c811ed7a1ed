"""Callbacks that fill an `EpochRecord`; they serve the plain ``fit`` of any Keras model."""

import math
import time
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer.console import say
from trainer.data.splitting import Pairs
from trainer.model.blending import Blend
from trainer.model.calls import Pace
from trainer.model.evaluation import rank_by_model, to_recalls
from trainer.output.epoch_record import EpochRecord
from trainer.stopping import RECALL_K, FiniteWatch, NotFinite, StopWish, is_stalled

LOSS_NAMES = {"loss", "regularization_loss", "total_loss"}


class EpochLogs(keras.callbacks.Callback):
    """Adds an epoch's losses, and as metrics its learning rate, its duration in seconds and all else that Keras logged.

    Keras' own ``loss`` includes the weights' regularisation; the record's must not. If a model logs
    ``regularization_loss``, as `model.towers.TwoTower` does, its numbers are used as they are. For any other model,
    Keras' number is the ``total_loss``, the penalty is computed from the weights at the epoch's end, and ``loss`` is
    their difference. That is exact for validation. For training it is off by as much as the penalty changes within an
    epoch.
    """

    def __init__(self, record: EpochRecord) -> None:
        super().__init__()
        self._record = record
        self._began_at = 0.0

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Starts the epoch's clock."""
        self._began_at = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Adds the epoch's row."""
        values = {name: float(value) for name, value in (logs or {}).items()}
        if "regularization_loss" not in values:
            penalty = float(sum(self.model.losses))
            for prefix in ("", "val_"):
                if f"{prefix}loss" in values:
                    values[f"{prefix}total_loss"] = values[f"{prefix}loss"]
                    values[f"{prefix}regularization_loss"] = penalty
                    values[f"{prefix}loss"] -= penalty
        losses = {name: value for name, value in values.items() if name.removeprefix("val_") in LOSS_NAMES}
        metrics = {name: value for name, value in values.items() if name not in losses}
        metrics["learning_rate"] = float(self.model.optimizer.learning_rate)
        metrics["epoch_seconds"] = time.monotonic() - self._began_at
        self._record.add(epoch, "loss", losses)
        self._record.add(epoch, "metrics", metrics)


class ValidationRecall(keras.callbacks.Callback):
    """Adds ``val_recall_at_10`` to the epoch's logs, for the callbacks after it.

    It is the share of `pairs` with a product among their buyers' ten best. A catalogue of fewer than ten products has
    none. With a `blend` the products are ranked by its score, and ``val_tower_recall_at_10`` is added, which ranks them
    by the towers alone.

    Attributes:
        hits: for each pair, whether its product was found in the epoch that ended last, [pairs].
    """

    def __init__(self, pairs: Pairs, products: int, blend: Blend | None = None) -> None:
        super().__init__()
        self._pairs = pairs
        self._products = products
        self._blend = blend
        self.hits = np.zeros(len(pairs), bool)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Ranks the pairs' products with the current towers."""
        query, candidate = self.model.read_vectors()
        named = {"val_recall": self._blend.terms if self._blend else None}
        if self._blend:
            named["val_tower_recall"] = None
        for name, terms in named.items():
            ranks = rank_by_model(query, candidate, self._pairs, terms)
            if name == "val_recall":
                self.hits = ranks < RECALL_K
            recalls = to_recalls(ranks, self._products, (RECALL_K,))
            if logs is not None:
                logs.update({f"{name}_at_{k}": value for k, value in recalls.items()})


class Progress(keras.callbacks.Callback):
    """Prints one line per epoch; the launcher draws its progress bar from these lines."""

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Prints the epoch's line; ``epoch`` counts from 0, the message from 1."""
        epochs = self.params["epochs"]
        values = {name: float(value) for name, value in (logs or {}).items() if "regularization" not in name}
        shown = " ".join(f"{name} {value:.4g}" for name, value in values.items() if "total" not in name)
        fields = {"epoch": epoch, "epochs": epochs, "loss": values.get("loss")}
        say(f"epoch {epoch + 1} of {epochs}: {shown}", fields=fields)


class StopAtBatchEnd(keras.callbacks.Callback):
    """Leaves ``fit`` at the next batch boundary after SIGTERM, by raising `trainer.stopping.Stopped`.

    ``stop_training`` is not used: it would first run the validation, and record the half epoch as a whole one. Where
    batches come in stacks, the boundary is the end of a stack."""

    takes_stacks = True

    def __init__(self, wish: StopWish) -> None:
        super().__init__()
        self._wish = wish

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Checks whether SIGTERM has come. Raises: Stopped."""
        self._wish.check()

    def on_test_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Raises: Stopped. The epoch being validated is lost, because its row is not complete."""
        self._wish.check()


class StopWhenStalled(keras.callbacks.Callback):
    """Ends the training when the record's ``val_loss`` no longer falls, see `is_stalled`."""

    def __init__(self, record: EpochRecord, patience: int) -> None:
        super().__init__()
        self._record = record
        self._patience = patience

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Asks `fit` to stop."""
        if is_stalled(self._record.read_losses("val_loss"), self._patience):
            self.model.stop_training = True


class StopWhenNotFinite(keras.callbacks.Callback):
    """Tells `watch` of losses and weights that are not finite, and ends the training when `watch` gives it up.

    It looks at the loss of each step, and at an epoch's end at the epoch's losses and all weights. Must come before the
    callbacks that read `watch`.

    Keras passes a batch's logs as numbers anyway. They are means over the epoch so far, so the first mean that is not
    finite belongs to the step that caused it. Where a batch is a stack of batches, the model has the logs of each step.
    """

    takes_stacks = True

    def __init__(self, watch: FiniteWatch) -> None:
        super().__init__()
        self._watch = watch
        self._epoch = 0
        self._is_noted = False

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Remembers the epoch's number."""
        self._epoch, self._is_noted = epoch, False

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Notes the epoch's first step with a loss that is not finite."""
        if self._is_noted or not _describe_losses(logs or {}):
            return
        call_steps = self._pace.call_steps
        each = self.model.read_call_logs() if call_steps > 1 else [logs or {}]
        within, found = next((number, said) for number, said in enumerate(map(_describe_losses, each)) if said)
        self._note(batch * call_steps + within, found)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Notes what can only be seen at the epoch's end, and asks `fit` to stop if the training is lost."""
        if found := _describe_losses(logs or {}) or describe_weights(self.model):
            self._note(self._pace.epoch_steps - 1, found)
        self._watch.end_epoch()
        if self._watch.is_lost:
            self.model.stop_training = True

    @property
    def _pace(self) -> Pace:
        return getattr(self.model, "pace", None) or Pace(epoch_steps=self.params["steps"])

    def _note(self, step: int, found: str) -> None:
        self._is_noted = True
        self._watch.note(NotFinite(self._epoch, self._epoch * self._pace.epoch_steps + step, found))


BATCH_HOOKS = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")


def takes_stacks(callback: keras.callbacks.Callback) -> bool:
    """Returns whether `callback` may be called once for many steps: it says so, or does not look at batches at all.

    >>> takes_stacks(Progress()), takes_stacks(keras.callbacks.LambdaCallback(on_train_batch_end=print))
    (True, False)
    """
    if getattr(callback, "takes_stacks", False):
        return True
    stock = keras.callbacks.Callback
    return all(getattr(getattr(callback, name), "__func__", None) is getattr(stock, name) for name in BATCH_HOOKS)


def describe_weights(model: keras.Model) -> str:
    """Returns a phrase on the first of the model's trainable weights that is not finite; "" if all are finite."""
    for weight in model.trainable_weights:
        if not bool(tf.reduce_all(tf.math.is_finite(weight.value))):
            return f"{weight.path} was not finite"
    return ""


def _describe_losses(logs: Mapping[str, Any]) -> str:
    for name, value in logs.items():
        if name.removeprefix("val_") in LOSS_NAMES and not math.isfinite(value):
            return f"{name} was {float(value)}"
    return ""
