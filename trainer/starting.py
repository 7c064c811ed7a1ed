"""From the command line to an exit status: arguments are refused, errors are told, before and after TensorFlow's part.

Exit statuses: 0 completed; 1 failed, with an ERROR line on stdout; 2 refused, with the reason on stderr, before any
compute and any write; 143 stopped by SIGTERM, with what was trained until then written.
"""

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from history.errors import BadRequest, SwitchyardError
from history.spec import TrainSpec
from trainer.console import say
from trainer.options import RunSpec, read_arguments
from trainer.run_folder import RunFolder
from trainer.stopping import EXIT_STOPPED, Stopped, StopWish

if TYPE_CHECKING:
    from trainer.training import Training


def start(arguments: Sequence[str]) -> int:
    """Runs a training as `arguments` say, and returns the exit status."""
    try:
        run, spec = read_arguments(arguments)
    except BadRequest as err:
        sys.stderr.write(f"python -m trainer: {err}\n")
        return 2
    wish = StopWish()
    wish.listen()
    try:
        folder = RunFolder(run, seed=spec.seed)
    except SwitchyardError as err:
        # Nothing is written: the folder is not ours, or does not answer.
        say(str(err), "ERROR")
        return 1
    return _train(run, spec, folder, wish)


def _train(run: RunSpec, spec: TrainSpec, folder: RunFolder, wish: StopWish) -> int:
    # TensorFlow reads these at import. Its own lines are no JSON and would hide ours; oneDNN adds such lines, and
    # orders sums as suits the processor, so that one seed would give other numbers on another machine.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    say(f"loading TensorFlow to train {run.name or 'a run'} in {folder.uri}")
    from trainer.training import Training

    training = Training(spec, folder, wish)
    try:
        training.run()
    except Stopped:
        say(f"stopped by SIGTERM after {len(training.record.epochs)} of {spec.epochs} epochs", "WARNING")
        if training.record.epochs:  # else an earlier process' epochs would be replaced by none
            training.write_last("partial")
        folder.write_ended("stopped", EXIT_STOPPED)
        return EXIT_STOPPED
    except SwitchyardError as err:
        _fail(training, folder, str(err))
        return 1
    except BaseException as err:
        # A fault of ours, or memory that ran out: the record says so, and the traceback goes to the log.
        _fail(training, folder, f"{type(err).__name__}: {err}")
        raise
    folder.write_ended("completed", 0)
    return 0


def _fail(training: "Training", folder: RunFolder, message: str) -> None:
    say(message, "ERROR")
    try:
        training.write_last("failed")
        folder.write_ended("failed", 1, message)
    except SwitchyardError as err:
        say(f"the end could not be written to {folder.uri}: {err}", "ERROR")
