"""Many steps of training in one call of TensorFlow: between two steps Python then does nothing, and a step that is not
looked at closer need not ask whether it is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import tensorflow as tf

STEPS_A_CALL: Final = 20
"""As many as one of which statistics look at: it is a call's first, so that no step has to ask."""
MOST_WORK: Final = 2**28
"""Steps of more batch^2 x dim than this take a call each: a call cannot be interrupted, and saves nothing there."""

Step = Callable[..., Mapping[str, tf.Tensor]]


@dataclass(frozen=True)
class Pace:
    """How many steps an epoch and a call have; an epoch's last call has what is left.

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
    """The pace of a training on `rows` rows, such that it soon ends when it is asked to.

    >>> choose_pace(rows=60_000, batch_size=512, dim=64), choose_pace(rows=60_000, batch_size=8192, dim=64)
    (Pace(epoch_steps=117, call_steps=20), Pace(epoch_steps=7, call_steps=1))
    """
    return Pace(rows // batch_size, STEPS_A_CALL if batch_size**2 * dim <= MOST_WORK else 1)


def run_steps(
    step: Step, stacks: Sequence[tf.Tensor], *, tell_first: Callable[[bool], None]
) -> Mapping[str, tf.Tensor]:
    """Runs `step` on each of the stacked batches, one after the other: ``step(*(stack[i] for stack in stacks))``, and
    returns what it answers, a float32 for each name, as vectors [steps].

    The first step and all others are traced apart, once each, however many there are; `tell_first` is told which it is
    before each trace.

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

    # One after the other: a step begins with what the one before it has written.
    _, answers = tf.while_loop(lambda number, _: number < steps, run, (1, answers), parallel_iterations=1)
    return dict(zip(names, tf.unstack(answers.stack(), axis=1), strict=True))
