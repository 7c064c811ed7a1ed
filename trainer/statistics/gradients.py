"""Collects gradients of every step by wrapping the optimizer, summed up in the training graph in constant memory.

A step's gradient of an embedding table has only the touched rows: those that the batch names, each once, with the sum
of its mentions' gradients. Only the values of those rows are counted. ``touched_fraction`` says how small a part of the
table they are; every statistic over the whole table, zeros included, follows from it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from switchyard.core.metrics.record import HISTOGRAM_BINS
from trainer.model.calls import STEPS_A_CALL
from trainer.model.optimizers import unique_rows
from trainer.output.epoch_record import EpochRecord
from trainer.statistics.bins import BIN_EDGES, LIMIT, count_bins_of_each
from trainer.statistics.patterns import TOWER_PATTERNS, match_towers

EVERY_STEPS = STEPS_A_CALL  # moments and histograms look at every twentieth step, from the epoch's first
SAMPLE_VALUES = 4096  # about how many values of a variable a histogram looks at in such a step
_SUMS = ("steps", "touched", "all", "total", "squares")  # counts of sampled steps and of values; sums of touched values


class GradientSums:
    """The running sums of one epoch for each tower, in a few hundred bytes however many steps there are.

    Every step adds to `steps`: norms, and how many values are clipped or not finite. Every `every_steps`-th step also
    adds to `samples`: moments and histograms.
    """

    def __init__(self, towers: int, every_steps: int) -> None:
        self.every_steps = every_steps
        # Only two variables: each further one costs a read and an assignment, more than all sums of a step.
        # Float64 holds every float32, and whole numbers up to 2^53.
        steps = np.zeros(3 * towers + 1)  # each tower's sum of norms, the number of steps, each tower's `_count_odd`
        samples = np.zeros([towers, len(_SUMS) + HISTOGRAM_BINS + 2])  # the last two: lowest and highest value
        samples[:, -2:] = np.inf, -np.inf
        self.steps, self.samples = (tf.Variable(empty, trainable=False) for empty in (steps, samples))
        self._empty = tf.constant(steps), tf.constant(samples)

    def reset(self) -> None:
        """Sets all sums back for a new epoch."""
        for sums, empty in zip((self.steps, self.samples), self._empty, strict=True):
            sums.assign(empty)

    def add(self, gradients: Sequence[Sequence[tf.Tensor | tf.IndexedSlices]], is_sampled: bool | None = None) -> None:
        """Adds one step: each tower's gradients, where slices have each row once. Called while the step is traced.

        Args:
            is_sampled: whether this is one of the sampled steps; None: the graph decides by counting steps.
        """
        touched = [[_to_values(gradient) for gradient in tower] for tower in gradients]
        halves = tf.stack([*(tf.add_n([tf.nn.l2_loss(values) for values in tower]) for tower in touched), 0.5])
        is_odd = tf.logical_not(tf.reduce_all(halves <= LIMIT**2 / 2))

        def add_sample() -> tf.Tensor:
            self._add_sample(touched, [sum(_count_all(gradient) for gradient in tower) for tower in gradients])
            return tf.constant(True)

        if is_sampled is None:
            is_due = tf.equal(self.steps[len(touched)] % self.every_steps, 0.0)
            tf.cond(is_due, add_sample, lambda: tf.constant(False))
        elif is_sampled:
            add_sample()
        # If a step's squares sum to no more than the limit's square, no value is beyond the limit, and none is nan or
        # infinite (the comparison would be false). So nothing needs counting, for the cost of the norm.
        none = tf.zeros([2 * len(touched)], tf.float64)
        odd = tf.cond(is_odd, lambda: _count_where_odd(touched, halves), lambda: none)
        self.steps.assign_add(tf.concat([tf.cast(tf.sqrt(2.0 * halves), tf.float64), odd], 0))

    def _add_sample(self, touched: Sequence[Sequence[tf.Tensor]], sizes: Sequence[int]) -> None:
        looked_at = [tf.concat([tf.reshape(_sample(part), [-1]) for part in tower], 0) for tower in touched]
        counts = tf.cast(count_bins_of_each(looked_at), tf.float64)
        sums, lowest, highest = [], [], []
        for tower, size in zip(touched, sizes, strict=True):
            values = tf.concat([tf.reshape(part, [-1]) for part in tower], 0) if len(tower) > 1 else tower[0]
            found = [1, tf.size(values, out_type=tf.int64), size, tf.reduce_sum(values), 2.0 * tf.nn.l2_loss(values)]
            sums.append(tf.stack([tf.cast(value, tf.float64) for value in found]))
            lowest.append(tf.reduce_min(values))
            highest.append(tf.reduce_max(values))
        before = self.samples.value()
        ends = [
            tf.minimum(before[:, -2], tf.cast(tf.stack(lowest), tf.float64)),
            tf.maximum(before[:, -1], tf.cast(tf.stack(highest), tf.float64)),
        ]
        added = before[:, :-2] + tf.concat([tf.stack(sums), counts], 1)
        self.samples.assign(tf.concat([added, tf.stack(ends, 1)], 1))

    def read(self) -> list[tuple[dict[str, float], list[int]]]:
        """Returns each tower's statistics of the epoch (see `GradientStatistics`), and its histogram [25]."""
        samples, steps_read = self.samples.numpy(), self.steps.numpy()
        towers = len(samples)
        norms, steps, odd = steps_read[:towers], steps_read[towers], steps_read[towers + 1 :]
        sums = dict(zip(_SUMS, samples.T, strict=False))
        touched, size, total, squares = (sums[name] for name in ("touched", "all", "total", "squares"))
        with np.errstate(invalid="ignore", divide="ignore"):  # nan if no step touched the tower
            mean = total / touched
            values = {
                "mean": mean,
                "std": np.sqrt(np.maximum(squares / touched - mean**2, 0.0)),
                "std_with_zeros": np.sqrt(np.maximum(squares / size - (total / size) ** 2, 0.0)),
                "min": np.where(touched, samples[:, -2], np.nan),
                "max": np.where(touched, samples[:, -1], np.nan),
                "norm": norms / steps,
                "touched_fraction": touched / size,
                "clipped": odd[0::2],
                "non_finite": odd[1::2],
                "steps": np.full(towers, steps),
                "sampled_steps": sums["steps"],
            }
        rows = zip(*(column.tolist() for column in values.values()), strict=True)
        counts = samples[:, len(_SUMS) : -2].astype(np.int64).tolist()
        return [(dict(zip(values, row, strict=True)), found) for row, found in zip(rows, counts, strict=True)]


def _to_values(gradient: tf.Tensor | tf.IndexedSlices) -> tf.Tensor:
    """Returns the values that a step touched: the rows of slices [touched, ...], or all of a dense gradient."""
    values = gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient
    return tf.cast(values, tf.float32)


def _count_all(gradient: tf.Tensor | tf.IndexedSlices) -> int | tf.Tensor:
    """Returns how many values the gradient has, untouched ones included."""
    shape = gradient.shape
    return int(np.prod(shape)) if shape.is_fully_defined() else tf.size(tf.convert_to_tensor(gradient), tf.int64)


def _count_where_odd(touched: Sequence[Sequence[tf.Tensor]], halves: tf.Tensor) -> tf.Tensor:
    """Returns `_count_odd` of each tower, [2 towers], but counts only if there is something to count.

    Most often no single value is beyond the limit. If the sums of squares are finite, there is no nan, and the largest
    value alone tells that, at a fraction of the cost."""
    highest = [tf.reduce_max(tf.abs(part)) for tower in touched for part in tower]
    is_none = tf.reduce_all(tf.math.is_finite(halves)) & tf.reduce_all(tf.stack(highest) <= LIMIT)
    return tf.cond(
        is_none,
        lambda: tf.zeros([2 * len(touched)], tf.float64),
        lambda: tf.concat([_count_odd(tower) for tower in touched], 0),
    )


def _count_odd(values: Sequence[tf.Tensor]) -> tf.Tensor:
    """Returns two counts, [2] float64: finite values beyond the bins' limit, and values that are not finite."""
    finite = [tf.math.is_finite(part) for part in values]
    beyond = [tf.logical_and(tf.abs(part) > LIMIT, ok) for part, ok in zip(values, finite, strict=True)]
    clipped = tf.add_n([tf.math.count_nonzero(part) for part in beyond])
    odd = tf.stack([clipped, tf.add_n([tf.math.count_nonzero(tf.logical_not(ok)) for ok in finite])])
    return tf.cast(odd, tf.float64)


def _sample(values: tf.Tensor) -> tf.Tensor:
    """Returns about SAMPLE_VALUES of the values: every s-th row, or all if there are few."""
    if not values.shape.rank:
        return values
    stride = tf.maximum(1, tf.size(values) // SAMPLE_VALUES)
    rows = values if values.shape.rank > 1 else tf.reshape(values, [-1])
    return tf.gather(rows, tf.range(0, tf.shape(rows)[0], stride))  # slicing with a stride takes six times as long


class GradientStatistics(keras.callbacks.Callback):
    """Adds each tower's gradients to ``gradient_stats``, as the optimizer receives them (before its own clipping).

    Each epoch's row has:

    - ``norm``: the mean over all steps of the step's L2 norm (untouched zeros do not change it);
    - ``clipped``, ``non_finite``: over all steps, how many touched values were beyond 1, which the histogram counts in
      its outer bins, and how many were nan or infinite;
    - ``mean``, ``std``, ``min``, ``max``: of the touched values of the sampled steps, each with the same weight;
    - ``touched_fraction``: touched values / all values of the tower, in the sampled steps;
    - ``std_with_zeros``: the standard deviation with the untouched values counted as zeros,
      sqrt(f E[x^2] - (f E[x])^2), where f is the touched fraction (the mean with zeros is f times the mean);
    - the histogram: of up to SAMPLE_VALUES touched values per variable of each sampled step.

    The moments and the histogram are estimates, marked ``sampled``, unless `every_steps` is 1 (then only the histogram
    of a larger variable is). A nan in a sampled step makes that epoch's moments nan.

    Args:
        every_steps: 1 looks at all steps.

    Raises:
        BadRequest: at the start of ``fit``, where a tower matches no weight.
    """

    def __init__(
        self, record: EpochRecord, towers: Mapping[str, str] = TOWER_PATTERNS, *, every_steps: int = EVERY_STEPS
    ) -> None:
        super().__init__()
        self._record = record
        self._patterns = towers
        self._every_steps = every_steps

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Wraps the optimizer, and makes Keras trace the training step again."""
        matched = match_towers(self.model.trainable_variables, self._patterns)
        self._tower_of = {
            variable.path: position for position, found in enumerate(matched.values()) for variable in found
        }
        self._towers = list(matched)
        self._histograms_sampled = self._every_steps > 1 or any(
            int(np.prod(variable.shape)) > SAMPLE_VALUES for found in matched.values() for variable in found
        )
        self.sums = GradientSums(len(self._towers), self._every_steps)
        optimizer = self.model.optimizer
        optimizer.apply = self._watch(optimizer.apply, sums_rows_once=getattr(optimizer, "takes_unique_rows", False))
        self.model.make_train_function(force=True)

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Restores the optimizer."""
        self.unwrap()

    def unwrap(self) -> None:
        """Restores the optimizer, also after a ``fit`` that an exception ended. A second call does nothing."""
        if "apply" in vars(self.model.optimizer):
            del self.model.optimizer.apply
            self.model.train_function = None

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Starts the epoch's sums."""
        self.sums.reset()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Adds the epoch's row."""
        for tower, (values, counts) in zip(self._towers, self.sums.read(), strict=True):
            self._record.add_statistics(
                epoch,
                "gradient_stats",
                tower,
                values,
                counts=counts,
                bin_edges=BIN_EDGES,
                sampled=self._histograms_sampled,
                other={"sampled": self._every_steps > 1, "every_steps": self._every_steps},
            )

    def _is_sampled(self) -> bool | None:
        """Returns whether the step being traced is a sampled one; None if not known yet, see `GradientSums.add`."""
        if self._every_steps == 1:
            return True
        # A model that trains on stacks of batches says which step of a stack is being traced.
        return getattr(self.model, "is_first_of_call", None) if self._every_steps == STEPS_A_CALL else None

    def _watch(self, apply: Callable[..., Any], *, sums_rows_once: bool) -> Callable[..., Any]:
        def watched(grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> Any:
            variables = (
                self.model.optimizer._trainable_variables if trainable_variables is None else trainable_variables
            )
            seen: list[list[Any]] = [[] for _ in self._towers]
            passed_on = list(grads)
            for position, (gradient, variable) in enumerate(zip(grads, variables, strict=True)):
                tower = self._tower_of.get(variable.path)
                if tower is None:
                    continue
                if gradient is None:  # the loss does not depend on the variable: nothing is touched
                    gradient = tf.zeros([0])
                if isinstance(gradient, tf.IndexedSlices):
                    gradient = unique_rows(gradient)
                    if sums_rows_once:  # it need not sum them again; Keras' own optimizers get the original
                        passed_on[position] = gradient
                seen[tower].append(gradient)
            self.sums.add(seen, self._is_sampled())
            return apply(passed_on, trainable_variables)

        return watched
