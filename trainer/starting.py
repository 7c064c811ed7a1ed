"""From the command line to an exit status: arguments are refused, errors are told, before and after TensorFlow's part.

Exit statuses: 0 completed, by this process or by an earlier one of the same job; 1 failed, with an ERROR line on
stdout; 2 refused, with the reason on stderr, before any compute and any write; 143 stopped by SIGTERM, with what was
trained until then written.
"""

import os
import sys
from collections.abc import Mapping, Sequence

import msgspec

from history.errors import BadRequest, SwitchyardError
from history.spec import TrainSpec
from trainer.console import say
from trainer.environment import Environment, read_environment
from trainer.journal import Journal
from trainer.options import RunSpec, read_arguments
from trainer.run_folder import RunFolder
from trainer.stopping import EXIT_STOPPED, Stopped, StopWish


def start(arguments: Sequence[str], variables: Mapping[str, str]) -> int:
    """Runs a training as `arguments` and the environment's `variables` say, and returns the exit status."""
    try:
        environment = read_environment(variables)
        run, spec = read_arguments(arguments, environment)
    except BadRequest as err:
        sys.stderr.write(f"python -m trainer: {err}\n")
        return 2
    wish = StopWish()
    wish.listen()
    try:
        folder = RunFolder(run, seed=spec.seed)
        if folder.finished_params is not None:
            return _leave(run, spec, folder, folder.finished_params)
    except SwitchyardError as err:
        # Nothing is written: the folder is not ours, or does not answer.
        say(str(err), "ERROR")
        return 1
    _greet(run, folder, environment)
    return _train(run, spec, folder, wish)


def _greet(run: RunSpec, folder: RunFolder, environment: Environment) -> None:
    job = f" as Vertex AI job {environment.job_id}" if environment.job_id else ""
    restart = f", restart {folder.identity.restart}" if folder.identity.restart else ""
    say(f"training {run.name or 'a run'} in {folder.uri}{job}{restart}")
    if not run.model_uri.startswith(f"{folder.uri}/"):
        say(f"the model goes to {run.model_uri}, outside the run's folder, as --model-uri or AIP_MODEL_DIR says")


def _leave(run: RunSpec, spec: TrainSpec, folder: RunFolder, params: Mapping[str, object]) -> int:
    """This job has completed, and Vertex AI started it once more (the machine went away before its exit was seen)."""
    asked = msgspec.structs.asdict(spec)
    other = [f"{name} {params.get(name)!r}, not {item!r}" for name, item in asked.items() if params.get(name) != item]
    if other:
        raise BadRequest(
            f"{folder.uri} has a completed training of the same key with {', '.join(other)}: name another folder with "
            "--artifacts-uri, or another attempt; nothing was changed"
        )
    say(f"the training in {folder.uri} is completed already; nothing is done")
    if run.checkpoints_uri:
        from trainer.checkpoints import CheckpointStore

        CheckpointStore(run, "").delete()
    folder.write_ended("completed", 0)
    return 0


def _train(run: RunSpec, spec: TrainSpec, folder: RunFolder, wish: StopWish) -> int:
    journal = Journal(folder, spec)
    try:
        _run_stages(run, spec, journal, wish)
    except Stopped:
        say(f"stopped by SIGTERM after {len(journal.record.epochs)} of {spec.epochs} epochs", "WARNING")
        folder.write_ended("stopped", EXIT_STOPPED)
        return EXIT_STOPPED
    except SwitchyardError as err:
        _fail(journal, str(err))
        return 1
    except BaseException as err:
        # A fault of ours, or memory that ran out: the record says so, and the traceback goes to the log.
        _fail(journal, f"{type(err).__name__}: {err}")
        raise
    folder.write_ended("completed", 0)
    return 0


def _run_stages(run: RunSpec, spec: TrainSpec, journal: Journal, wish: StopWish) -> None:
    from trainer.checkpoints import CheckpointStore
    from trainer.preparing import prepare, to_fingerprint

    dataset = prepare(spec, journal)
    wish.check()
    store = CheckpointStore(run, to_fingerprint(spec, dataset)) if run.checkpoints_uri else None
    # TensorFlow reads these at import. Its own lines are no JSON and would hide ours; oneDNN adds such lines, and
    # orders sums as suits the processor, so that one seed would give other numbers on another machine.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    say("loading TensorFlow")
    from trainer.training import Training

    wish.check()
    Training(spec, journal, wish, store=store, pause_s=run.checkpoint_pause_s).run(dataset)
    if store:
        store.delete()


def _fail(journal: Journal, message: str) -> None:
    say(message, "ERROR")
    try:
        journal.write("failed")
        journal.folder.write_ended("failed", 1, message)
    except SwitchyardError as err:
        say(f"the end could not be written to {journal.folder.uri}: {err}", "ERROR")
