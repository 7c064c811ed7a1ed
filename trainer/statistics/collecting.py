"""Everything that is collected from a training, as callbacks for the plain ``fit`` of any Keras model.

Two lines are enough, here for a model of another kind, with layers named after the towers:

>>> import numpy as np, keras
>>> buyer, product = keras.Input((3,), name="buyer"), keras.Input((2,), name="product")
>>> vectors = [keras.layers.Dense(4, name=f"{side.name}_tower")(side) for side in (buyer, product)]
>>> model = keras.Model([buyer, product], keras.layers.Dot(axes=1)(vectors))
>>> model.compile(optimizer="adam", loss="mse")
>>> inputs = [np.ones((8, 3), "float32"), np.ones((8, 2), "float32")]

>>> record = EpochRecord()
>>> fit_result = model.fit(inputs, np.ones(8), epochs=2, verbose=0, callbacks=collect_all(record))

>>> metrics = record.to_record("completed", saved_at=datetime.now(UTC), run=None, params={})
>>> metrics.epochs, sorted(metrics.loss), sorted(metrics.gradient)
([0, 1], ['loss', 'regularization_loss', 'total_loss'], ['candidate', 'query', 'total'])
>>> metrics.weight_stats["query"].histogram.counts[1] == [0] * 25, len(metrics.gradient_stats["query"].series["norm"])
(False, 2)
"""

from collections.abc import Mapping
from datetime import UTC, datetime  # noqa: F401 - the example's

import keras

from trainer.callbacks import EpochLogs
from trainer.output.epoch_record import EpochRecord
from trainer.statistics.gradients import EVERY_STEPS, GradientStatistics
from trainer.statistics.patterns import TOWER_PATTERNS
from trainer.statistics.weights import WeightNorms, WeightStatistics


def collect_all(record: EpochRecord, towers: Mapping[str, str] = TOWER_PATTERNS) -> list[keras.callbacks.Callback]:
    """Returns callbacks that fill `record`: the epochs' logs, and all that `collect_statistics` collects."""
    return [EpochLogs(record), *collect_statistics(record, towers)]


def collect_statistics(
    record: EpochRecord, towers: Mapping[str, str] = TOWER_PATTERNS, *, every_steps: int = EVERY_STEPS
) -> list[keras.callbacks.Callback]:
    """Returns callbacks for weight norms, and for each tower's statistics and histograms of weights and gradients.

    `towers` are patterns that find a tower's weights by their ``variable.path``; see `statistics.patterns`.
    """
    return [
        WeightStatistics(record, towers),
        WeightNorms(record, towers),  # after the statistics, because it takes their norms
        GradientStatistics(record, towers, every_steps=every_steps),
    ]
