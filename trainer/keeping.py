"""Early stopping by recall: keeps the best epoch's weights, and tells a real gain from chance.

All epochs are measured on the same pairs, so two epochs differ only in the pairs that one found and the other did not.
If both are equally good, each such pair goes to either with equal chance, and (won - lost) / sqrt(won + lost) is about
normal. Source: McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
Psychometrika 12 (1947), 153-157. docs/model.md has the number of pairs that follows from this.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

import keras
import numpy as np
import numpy.typing as npt

from switchyard.core.errors import BadRecord
from trainer.callbacks import ValidationRecall
from trainer.console import say
from trainer.output.journal import Journal
from trainer.stopping import RECALL_K, FiniteWatch

Z: Final = 1.645
"""The normal distribution's 95th percentile: one in twenty epochs that are no better still counts as a gain."""
GAIN_NEEDED: Final = "val_gain_needed"
"""The metric beside an epoch's recall: how far the recall must be above the level's to count as a gain."""

Hits = npt.NDArray[np.bool_]
Array = np.ndarray[Any, np.dtype[Any]]


class RecallWatch:
    """Finds the best epoch, and the last real gain, from each epoch's hits: one bool per pair, always the same pairs.

    The level is the last epoch that was a gain. An epoch is compared with the level, not with the epoch before it, so
    that small steps can add up to a gain. `best_epoch` is the first epoch with the most hits, whether it was a gain or
    not, because it is the likeliest to be the best.

    >>> watch, few, more = RecallWatch(), np.arange(100) < 10, np.arange(100) < 16
    >>> round(watch.see(0, few), 3), round(watch.see(1, more), 3), watch.level_epoch
    (0.0, 0.04, 1)
    >>> _ = watch.see(2, np.arange(100) < 17); watch.level_epoch, watch.best_epoch  # one pair more may be chance
    (1, 2)
    """

    def __init__(self) -> None:
        self.best_epoch = self.level_epoch = -1
        self._best_hits = -1
        self._level: Hits | None = None

    def see(self, epoch: int, hits: Hits) -> float:
        """Takes in an epoch, and returns how far its recall had to be above the level's; 0 for the first epoch."""
        if self._level is None:
            self._level, self.level_epoch = hits, epoch
        won = int(np.count_nonzero(hits & ~self._level))
        lost = int(np.count_nonzero(self._level & ~hits))
        needed = Z * math.sqrt(won + lost)
        if won - lost > needed:
            self._level, self.level_epoch = hits, epoch
        if (found := int(np.count_nonzero(hits))) > self._best_hits:
            self._best_hits, self.best_epoch = found, epoch
        return needed / len(hits)

    def to_arrays(self) -> dict[str, Array]:
        """Returns its whole state; it must have seen an epoch."""
        assert self._level is not None
        return {"epochs": np.array([self.best_epoch, self._best_hits, self.level_epoch]), "hits": self._level}

    def put_arrays(self, arrays: Mapping[str, Array]) -> None:
        """Goes on from `to_arrays`."""
        best_epoch, best_hits, level_epoch = arrays["epochs"].tolist()
        self._level = np.asarray(arrays["hits"], bool)
        self.best_epoch, self._best_hits, self.level_epoch = best_epoch, best_hits, level_epoch


class KeepBest(keras.callbacks.Callback):
    """Keeps the best epoch's weights in memory, and ends the training `patience` epochs after the last gain.

    Must come after `recall`, which ranks the pairs, and after the callback that fills `watch`: an epoch that is not
    finite is ignored.

    Attributes:
        recall: the callback that has the hits; must be set before `fit`.
    """

    recall: ValidationRecall

    def __init__(self, journal: Journal, watch: FiniteWatch, *, patience: int) -> None:
        super().__init__()
        self._journal = journal
        self._finite = watch
        self._patience = patience
        self._seen = RecallWatch()
        self._weights: list[Array] = []

    @property
    def best_epoch(self) -> int:
        """The epoch of the weights that are kept; -1: no weights are kept."""
        return self._seen.best_epoch

    def is_stalled(self, epochs: int) -> bool:
        """Returns whether none of the last `patience` of the `epochs` done was a gain."""
        return 0 <= self._seen.level_epoch < epochs - self._patience

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Keeps the weights if they are the best so far; asks `fit` to stop when `patience` is used up."""
        if self._finite.epochs:
            return
        needed = self._seen.see(epoch, self.recall.hits)
        self._journal.record.add(epoch, "metrics", {GAIN_NEEDED: needed})
        if self.best_epoch == epoch:
            self._weights = [np.array(variable.numpy()) for variable in self.model.trainable_variables]
        if self.is_stalled(epoch + 1):
            self.model.stop_training = True

    def put_back(self, model: keras.Model, epochs: int) -> None:
        """Sets the model's weights to those of the best of the `epochs` that were trained."""
        for variable, array in zip(model.trainable_variables, self._weights, strict=True):
            variable.assign(array)
        why = f"none of the {self._patience} after epoch {self._seen.level_epoch + 1} was better by more than chance"
        said = f"; {why}" if self.is_stalled(epochs) else ""
        say(
            f"the weights of epoch {self.best_epoch + 1} of {epochs} are kept, with the highest recall@{RECALL_K}{said}"
        )

    def to_arrays(self) -> dict[str, Array]:
        """Returns what a restart needs: what was seen, and the weights."""
        return self._seen.to_arrays() | {f"{number:04}": array for number, array in enumerate(self._weights)}

    def put_arrays(self, model: keras.Model, arrays: Mapping[str, Array]) -> None:
        """Goes on from `to_arrays`. Raises: BadRecord: they are not those of this model."""
        expected = [(tuple(variable.shape), str(variable.dtype)) for variable in model.trainable_variables]
        weights = [array for name, array in sorted(arrays.items()) if name.isdigit()]
        found = [(array.shape, array.dtype.name) for array in weights]
        if found != expected or not arrays.keys() >= {"epochs", "hits"} or arrays["epochs"].shape != (3,):
            raise BadRecord("the checkpoint", [f"the best epoch's weights {expected} were expected; got {found}"])
        self._weights = weights
        self._seen.put_arrays(arrays)
