"""What a training step costs against the same step row by row and a call each, with the same numbers.

That is how it was before distinct rows and many steps a call.

The case is Online Retail's: its numbers of buyers and products, how often they are named, and the default batch. The
control is a second model that trains as the reference does.
"""

import os
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.bench.purchases import ONLINE_RETAIL, Shape, count_distinct, draw_pairs
from tests.bench.timing import time_in_turns, to_ratio

ROUNDS = 150


def main() -> dict[str, float | str]:
    """Prints the table; returns how many times faster than the reference each is, and the numbers that it ends in."""
    return measure(ONLINE_RETAIL, ROUNDS)


def measure(shape: Shape, rounds: int) -> dict[str, float | str]:
    """What `main` returns, of that shape."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    from tests.bench.reference import RowByRow
    from trainer.model.calls import STEPS_A_CALL
    from trainer.model.towers import TwoTower

    pairs = draw_pairs(shape)
    named = [count_distinct(ids, shape.batch) for ids in (pairs.buyers, pairs.products)]
    print(f"a batch of {shape.batch} names {named[0]:.0f} buyers and {named[1]:.0f} products")
    kinds = {"reference": RowByRow, "control": RowByRow, "distinct": TwoTower, "shipped": TwoTower}
    models = {name: make_model(shape, pairs, kind) for name, kind in kinds.items()}
    ways = {name: make_call(model, pairs, shape, is_stacked=name == "shipped") for name, model in models.items()}
    for way in ways.values():
        way()  # traces
    times = time_in_turns(ways, rounds)
    figures: dict[str, float | str] = {}
    for name, model in models.items():
        wall, cpu = (to_ratio(*pair) for pair in zip(times["reference"], times[name], strict=True))
        numbers = read_numbers(model)
        step_ms = statistics.median(times[name].cpu) / STEPS_A_CALL * 1e3
        print(f"{name:10} {step_ms:6.2f} ms of processor time a step; {numbers}")
        print(f"{'':10} faster by the clock {wall.to_times()}, in processor time {cpu.to_times()}")
        figures |= {f"{name}_wall": wall.median, f"{name}_cpu": cpu.median, f"{name}_numbers": numbers}
    return figures


def make_model(shape: Shape, pairs: Any, kind: Any) -> Any:
    """The untrained model with the trainer's default settings."""
    import keras

    from switchyard.core.runs.spec import TrainSpec
    from trainer.model.optimizers import make_optimizer

    spec = TrainSpec()
    keras.utils.set_random_seed(spec.seed)
    model = kind(buyers=shape.buyers, products=shape.products, dim=shape.dim, temperature=spec.temperature, l2=spec.l2)
    model.correct_for(np.bincount(pairs.products, minlength=shape.products) + 1)
    model.compile(optimizer=make_optimizer(spec), jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    return model


def make_call(model: Any, pairs: Any, shape: Shape, *, is_stacked: bool) -> Callable[[], None]:
    """A function that trains STEPS_A_CALL steps, the next ones each time, and waits for their result."""
    from trainer.data.batches import to_train_batches, to_train_stacks
    from trainer.model.calls import STEPS_A_CALL

    wanted: dict[str, Any] = {"batch_size": shape.batch, "epochs": 1_000, "seed": 7}
    if is_stacked:
        batches, _ = to_train_stacks(pairs, **wanted, steps_a_call=STEPS_A_CALL)
    else:
        batches, _ = to_train_batches(pairs, **wanted)
    iterator = iter(batches)
    model.make_train_function(force=True)
    function = model.train_function  # as it is traced now: statistics have one of their own

    def call() -> None:
        for _ in range(1 if is_stacked else STEPS_A_CALL):
            logs = function(iterator)
        float(logs["loss"])

    return call


def read_numbers(model: Any) -> str:
    """The mean loss over all steps, and the norms of both tables."""
    tables = (model.query_tower, model.candidate_tower)
    norms = [float(np.linalg.norm(tower.embeddings.numpy().astype(np.float64))) for tower in tables]
    return f"loss {float(model.means['loss'].result()):.5f}, norms {norms[0]:.4f} and {norms[1]:.4f}"
