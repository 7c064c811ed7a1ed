"""The trainer's arguments: which run this is (`RunSpec`) and what to train (`core.runs.spec.TrainSpec`)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from switchyard.clients.objects.open import open_objects
from switchyard.core.data.files import to_absolute
from switchyard.core.errors import BadRequest
from switchyard.core.runs.flags import FlagParser, add_flags, read_flags
from switchyard.core.runs.spec import UNSAID, TrainSpec
from trainer.environment import Environment


class RunSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which run is trained, and where its folder is. By hand only `artifacts_uri` is needed."""

    artifacts_uri: Annotated[
        str, Meta(min_length=1, description="the run's own folder (file://, gs://); everything is written below it")
    ]
    quick_test_id: Annotated[int, Meta(ge=0, description="the run's id in the results database; 0: it has none")] = 0
    key: Annotated[str, Meta(min_length=1, description="the submission key; all restarts of a job have the same")] = (
        "by-hand"
    )
    attempt: Annotated[int, Meta(ge=1, description="which job of the run this is, from 1")] = 1
    name: Annotated[str, Meta(description="what people call the run")] = ""
    experiment: Annotated[
        str, Meta(description="the MLflow experiment to log to; empty: MLFLOW_EXPERIMENT_NAME, or MLflow's Default")
    ] = ""
    model_uri: Annotated[
        str, Meta(description="where the model goes; empty: AIP_MODEL_DIR, or model/ in the run's own folder")
    ] = ""
    checkpoints_uri: Annotated[
        str, Meta(description="where checkpoints are kept; empty: AIP_CHECKPOINT_DIR, or none are kept")
    ] = ""
    checkpoint_pause_s: Annotated[
        float, Meta(ge=0, description="least number of seconds between two checkpoints; 0: one at each epoch's end")
    ] = 60.0
    baselines_python: Annotated[
        str,
        Meta(
            description="the Python of an environment with implicit, which fits iALS for the evaluation report; empty: "
            "BASELINES_PYTHON, or the report has no iALS"
        ),
    ] = ""
    image: Annotated[
        str, Meta(description="the container image that trains, with its digest, for the model card; empty: TRAINED_IN")
    ] = ""


def read_arguments(arguments: Sequence[str], environment: Environment) -> tuple[RunSpec, TrainSpec]:
    """Returns the run and its configuration, checked as far as possible without reading any data.

    Where a flag and the environment both name a folder, the flag takes precedence. If Vertex AI names a place for the
    model (AIP_MODEL_DIR), the model goes there even if that is outside the run's folder, because the job's
    submitter will look for it there.

    Raises:
        BadRequest: a value is missing, out of range, or contradicts another.
        SystemExit: 2 for an unknown flag, 0 after ``--help``; argparse's own.
    """
    # Abbreviations are off: a shortened flag could mean another flag as soon as a new one is added.
    parser = FlagParser(prog="python -m trainer", description=__doc__)
    add_flags(parser, RunSpec, title="the run")
    add_flags(parser, TrainSpec, title="the training", unsaid=UNSAID)
    # If a default has changed since, an older flow does not pass the setting; the run's row has the older default.
    values = {**UNSAID, **vars(parser.parse_args(list(arguments)))}
    if "data_uri" in values:
        values["data_uri"] = to_absolute(values["data_uri"], str(Path.cwd()))
    run, spec = read_flags(values, RunSpec), read_flags(values, TrainSpec)
    model_uri = run.model_uri or environment.model_uri or f"{run.artifacts_uri.rstrip('/')}/model"
    checkpoints_uri = run.checkpoints_uri or environment.checkpoints_uri
    if spec.tracker != "file" and not environment.mlflow.tracking_uri:
        raise BadRequest(
            f"--tracker {spec.tracker} needs an MLflow server to log to: set MLFLOW_TRACKING_URI to its address "
            "(http(s)://<host>); it is not set"
        )
    for source, uri in (
        ("--artifacts-uri", run.artifacts_uri),
        ("--model-uri" if run.model_uri else "AIP_MODEL_DIR", model_uri),
        ("--checkpoints-uri" if run.checkpoints_uri else "AIP_CHECKPOINT_DIR", checkpoints_uri),
    ):
        _check_uri(source, uri)
    run = msgspec.structs.replace(
        run,
        model_uri=model_uri,
        checkpoints_uri=checkpoints_uri,
        baselines_python=run.baselines_python or environment.baselines_python,
        image=run.image or environment.image,
    )
    return run, spec


def _check_uri(source: str, uri: str) -> None:
    if not uri:
        return
    if not urlsplit(uri).scheme:
        raise BadRequest(f"{source} must be a URI such as file:///data/orders.parquet; got the path {uri!r}")
    try:
        open_objects(uri)
    except BadRequest as err:
        raise BadRequest(f"{source}: {err}") from err
