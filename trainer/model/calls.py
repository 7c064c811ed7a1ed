"""Runs many training steps in one call of TensorFlow, to save work between steps.

Python does nothing between two steps of a call, and a step that statistics do not sample need not check for that.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import tensorflow as tf

STEPS_A_CALL: Final = 20
"""Statistics look at one step in this many, always at a call's first, so that no step has to check."""
MOST_WORK: Final = 2**28
"""A step of more batch^2 x dim than this is a call by itself: a call cannot be interrupted, and would save nothing."""

Step = Callable[..., Mapping[str, tf.Tensor]]


@dataclass(frozen=True)
class Pace:
    """How many steps an epoch and a call have; an epoch's last call has the steps that are left.

    >>> Pace(epoch_steps=45, call_steps=20).calls
    3
    """

    epoch_steps: int
    call_steps: int = 1

    @property
    def calls(self) -> int:
        """How many calls an epoch has."""
        return -(-self.epoch_steps // self.call_steps)


def choose_pace(*, rows: int, batch_size: int, dim: int) -> Pace:
    """Returns the pace of a training on `rows` rows, with calls short enough for it to stop soon when asked to.

    >>> choose_pace(rows=60_000, batch_size=512, dim=64), choose_pace(rows=60_000, batch_size=8192, dim=64)
    (Pace(epoch_steps=117, call_steps=20), Pace(epoch_steps=7, call_steps=1))
    """
    return Pace(rows // batch_size, STEPS_A_CALL if batch_size**2 * dim <= MOST_WORK else 1)


def run_steps(
    step: Step, stacks: Sequence[tf.Tensor], *, tell_first: Callable[[bool], None]
) -> Mapping[str, tf.Tensor]:
    """Runs `step` on each of the stacked batches, one after the other, and returns its answers as vectors [steps].

    Step i is ``step(*(stack[i] for stack in stacks))``; it answers a float32 for each name. The first step is traced
    once and all others together once, however many there are; before each trace `tell_first` is told which it is.

    Args:
        stacks: [steps, batch, ...] each, of one or more steps.
    """
    steps = tf.shape(stacks[0])[0]
    tell_first(True)
    first = step(*(stack[0] for stack in stacks))
    names = list(first)
    answers = tf.TensorArray(tf.float32, steps, element_shape=[len(names)])
    answers = answers.write(0, tf.stack([first[name] for name in names]))
    tell_first(False)

    def run(number: tf.Tensor, answers: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
        answer = step(*(stack[number] for stack in stacks))
        return number + 1, answers.write(number, tf.stack([answer[name] for name in names]))

    # Not in parallel: a step begins with what the step before it has written.
    _, answers = tf.while_loop(lambda number, _: number < steps, run, (1, answers), parallel_iterations=1)
    return dict(zip(names, tf.unstack(answers.stack(), axis=1), strict=True))
