"""What of MLflow has files besides runs: the logged models of MLflow 3, and traces.

Each has a place of its own, and its id names its copy as a run's does.
"""

import re
from typing import Final

import msgspec

LOCATION_TAG: Final = "mlflow.artifactLocation"
"""The tag of a trace that says where its artifacts are. Source: mlflow/utils/mlflow_tags.py, 3.17.2"""
_MODEL: Final = re.compile("m-[0-9a-f]{32}")
_TRACE: Final = re.compile("tr-[0-9a-f]{32}")


class ArtifactOwner(msgspec.Struct, frozen=True, kw_only=True):
    """A logged model or a trace, and where its files are."""

    id: str
    artifact_uri: str
    run_id: str = ""  # that made it; empty: none did, or it is not told


def say_owner(id_: str) -> str:
    """Returns the run, logged model or trace of that id, in words. Traces of MLflow 2 have ids like those of runs.

    >>> say_owner("m-" + 32 * "0")[:15], say_owner("tr-" + 32 * "0")[:8], say_owner(32 * "0")[:12]
    ('logged model m-', 'trace tr', 'MLflow run 0')
    """
    if _MODEL.fullmatch(id_):
        return f"logged model {id_}"
    return f"trace {id_}" if _TRACE.fullmatch(id_) else f"MLflow run {id_}"
