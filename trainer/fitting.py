"""Runs Keras' `fit` over our batches, with many steps per call where every callback allows it."""

from collections.abc import Sequence
from typing import Any

import keras

from trainer.callbacks import takes_stacks
from trainer.data.batches import to_train_batches, to_train_stacks
from trainer.data.splitting import Pairs
from trainer.model.calls import Pace, choose_pace
from trainer.model.towers import TwoTower


def fit_epochs(
    model: TwoTower,
    pairs: Pairs,
    callbacks: Sequence[keras.callbacks.Callback],
    *,
    batch_size: int,
    epochs: int,
    seed: int,
    first_epoch: int,
    validation_data: Any = None,
) -> Pace:
    """Trains on the rows of `pairs` from epoch `first_epoch` up to `epochs`; returns its `Pace`.

    Raises: what the callbacks raise.
    """
    pace = choose_pace(rows=len(pairs), batch_size=batch_size, dim=model.query_tower.dim)
    if not all(map(takes_stacks, callbacks)):
        pace = Pace(pace.epoch_steps)
    model.pace = pace
    wanted = {"batch_size": batch_size, "epochs": epochs, "seed": seed, "first_epoch": first_epoch}
    if pace.call_steps == 1:
        batches, _ = to_train_batches(pairs, **wanted)
    else:
        batches, _ = to_train_stacks(pairs, **wanted, steps_a_call=pace.call_steps)
    model.fit(
        batches,
        initial_epoch=first_epoch,
        epochs=epochs,
        steps_per_epoch=pace.calls,  # to Keras a call is a step
        shuffle=False,  # the batches are shuffled already, and Keras warns that it cannot
        validation_data=validation_data,
        callbacks=list(callbacks),
        verbose=0,
    )
    return pace
