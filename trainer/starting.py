"""Runs a training from the command line to an exit status: checks the arguments and reports errors.

Exit statuses: 0 completed, by this process or by an earlier one of the same job; 1 failed, with an ERROR line on
stdout; 2 refused, with the reason on stderr, before any compute and any write; 143 stopped by SIGTERM, after writing
what was trained until then.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from switchyard.core.errors import BadRequest, SwitchyardError
from switchyard.core.runs.spec import UNSAID, TrainSpec
from trainer.console import say
from trainer.environment import Environment, read_environment
from trainer.options import RunSpec, read_arguments
from trainer.output.journal import Journal
from trainer.output.run_folder import RunFolder
from trainer.output.tracking import Tracker, start_tracking
from trainer.stopping import EXIT_STOPPED, Stopped, StopWish

if TYPE_CHECKING:
    from trainer.output.checkpoints import CheckpointStore


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
            return _leave(run, spec, folder, folder.finished_params, partial(_open_tracker, environment, wish))
        tracker = _open_tracker(environment, wish, run, spec, folder)
    except SwitchyardError as err:
        # Nothing is written: the folder belongs to another run, or the store does not answer.
        say(str(err), "ERROR")
        return 1
    _greet(run, folder, environment)
    return _train(run, spec, Journal(folder, spec, tracker), wish)


def _greet(run: RunSpec, folder: RunFolder, environment: Environment) -> None:
    job = f" as Vertex AI job {environment.job_id}" if environment.job_id else ""
    restart = f", restart {folder.identity.restart}" if folder.identity.restart else ""
    say(f"training {run.name or 'a run'} in {folder.uri}{job}{restart}")
    if not run.model_uri.startswith(f"{folder.uri}/"):
        say(f"the model goes to {run.model_uri}, outside the run's folder, as --model-uri or AIP_MODEL_DIR says")


def _open_tracker(
    environment: Environment, wish: StopWish, run: RunSpec, spec: TrainSpec, folder: RunFolder
) -> Tracker | None:
    """Starts the tracker, before the data is read because a server may start cold; None: MLflow is not used."""
    if spec.tracker == "file":
        return None
    return start_tracking(
        spec,
        folder.identity,
        environment.mlflow,
        experiment=run.experiment,
        folder_uri=folder.uri,
        announce=lambda run_id: folder.write_mlflow_info(run_id, environment.mlflow.tracking_uri),
        wish=wish,
    )


def _leave(
    run: RunSpec,
    spec: TrainSpec,
    folder: RunFolder,
    params: Mapping[str, object],
    open_tracker: Callable[[RunSpec, TrainSpec, RunFolder], Tracker | None],
) -> int:
    """Ends a job that has completed already; Vertex AI lost its machine before it saw the exit, and restarted it."""
    asked = msgspec.structs.asdict(spec)
    then = msgspec.structs.asdict(TrainSpec()) | {**UNSAID, **params}  # an older version had fewer settings
    other = [f"{name} {then[name]!r}, not {item!r}" for name, item in asked.items() if then[name] != item]
    if other:
        raise BadRequest(
            f"{folder.uri} has a completed training of the same key with {', '.join(other)}: name another folder with "
            "--artifacts-uri, or another attempt; nothing was changed"
        )
    say(f"the training in {folder.uri} is completed already; nothing is done")
    if run.checkpoints_uri:
        from trainer.output.checkpoints import CheckpointStore

        CheckpointStore(run, "").delete()
    if folder.has_metrics and (tracker := open_tracker(run, spec, folder)):
        # The process before this one may have ended before MLflow had all of it.
        record = folder.read_metrics()
        model_uri = folder.model_uri if spec.mlflow_model else ""
        tracker.finish(record, "FINISHED", len(record.epochs), model_uri=model_uri)
    folder.write_ended("completed", 0, params=None if folder.has_metrics else params)
    return 0


def _train(run: RunSpec, spec: TrainSpec, journal: Journal, wish: StopWish) -> int:
    folder = journal.folder
    try:
        store = _run_stages(run, spec, journal, wish)
    except Stopped:
        refit = f" and {refits} of the refit" if (refits := journal.record.refit_epochs) else ""
        say(f"stopped by SIGTERM after {len(journal.record.epochs)} of {spec.epochs} epochs{refit}", "WARNING")
        journal.end("stopped")
        folder.write_ended("stopped", EXIT_STOPPED, params=journal.params_of_no_file)
        return EXIT_STOPPED
    except SwitchyardError as err:
        _fail(journal, str(err))
        return 1
    except BaseException as err:
        # A bug, or out of memory: the record says so, and the traceback goes to the log.
        _fail(journal, f"{type(err).__name__}: {err}")
        raise
    folder.write_ended("completed", 0, params=journal.params_of_no_file)
    if store:
        store.delete()
    return 0


def _run_stages(run: RunSpec, spec: TrainSpec, journal: Journal, wish: StopWish) -> "CheckpointStore | None":
    """Runs the training; returns its checkpoints, to be deleted once the training's end is reported."""
    from trainer.data.preparing import prepare, to_fingerprint
    from trainer.output.checkpoints import CheckpointStore

    dataset = prepare(spec, journal)
    wish.check()
    store = CheckpointStore(run, to_fingerprint(spec, dataset)) if run.checkpoints_uri else None
    # TensorFlow reads these at import. Its own log lines are not JSON and would hide ours. oneDNN adds such lines, and
    # orders sums to suit the processor: one seed would give different numbers on different machines.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    say("loading TensorFlow")
    from trainer.reporting import Reporter
    from trainer.training import Training

    wish.check()
    reporter = Reporter(baselines_python=run.baselines_python, image=run.image)
    Training(spec, journal, wish, store=store, pause_s=run.checkpoint_pause_s, reporter=reporter).run(dataset)
    journal.end("completed")
    return store


def _fail(journal: Journal, message: str) -> None:
    say(message, "ERROR")
    steps: list[Callable[[], None]] = [
        partial(journal.write, "failed"),
        partial(journal.end, "failed"),
        lambda: journal.folder.write_ended("failed", 1, message, params=journal.params_of_no_file),
    ]
    for step in steps:
        try:
            step()
        except SwitchyardError as err:
            say(f"the end could not be written to {journal.folder.uri}: {err}", "ERROR")
