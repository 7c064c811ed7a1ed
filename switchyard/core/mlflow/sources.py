"""Where a run's metrics may be besides ``training_metrics.json``, which goes first.

In the MLflow run that its row names, or in the one that ``mlflow_info.json`` beside its files names.
"""

import re
import reprlib
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from switchyard.core.errors import BadRecord

MAX_INFO_BYTES: Final = 64 * 1024
_RUN_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
"""Narrower than MLflow's rule for names, and as long as its column ``runs.run_uuid``: nothing that could change the
meaning of a URL. Source: mlflow/utils/validation.py, mlflow/store/tracking/dbmodels/models.py, 2.9.2."""
_SHOWN: Final = 200


class MlflowInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What ``mlflow_info.json`` says. `tracking_uri` is for people: nothing is ever read from there."""

    run_id: str
    tracking_uri: str = ""


class MlflowChoice(msgspec.Struct, frozen=True, kw_only=True):
    """The MLflow runs that may be this run's, the likeliest first; the row has the first one's id."""

    run_ids: tuple[str, ...] = ()
    warning: str = ""


def read_mlflow_info(data: bytes, *, where: str) -> MlflowInfo:
    """Reads ``mlflow_info.json``. Unknown keys are ignored.

    Raises:
        BadRecord: it is not a JSON object with a run id; all problems at once.
    """
    try:
        found: Any = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise BadRecord(where, [f"it is not JSON: {err}"]) from err
    if not isinstance(found, dict):
        raise BadRecord(where, [f"it is not a JSON object with `run_id` and `tracking_uri`; got {_shown(found)}"])
    run_id: Any = found.get("run_id")
    uri: Any = found.get("tracking_uri", "")
    problems = []
    if not isinstance(run_id, str) or not _RUN_ID.fullmatch(run_id):
        problems.append(
            "`run_id` must be an MLflow run's id (at most 32 letters, digits, `-` and `_`); "
            + ("it is missing" if run_id is None else f"got {_shown(run_id)}")
        )
    if not isinstance(uri, str):
        problems.append(f"`tracking_uri` must be a text; got {_shown(uri)}")
    if problems:
        raise BadRecord(where, problems)
    return MlflowInfo(run_id=run_id, tracking_uri=uri)


def choose_mlflow(row_run_id: str, info: MlflowInfo | None, *, trained_here: bool) -> MlflowChoice:
    """Returns the MLflow runs to read where there is no metrics file, from what the row and ``mlflow_info.json`` say.

    Args:
        row_run_id: empty: the row names none.
        trained_here: a job of ours trained the run. Then the file is the newest job's word, and the row may still name
            an earlier attempt's run; otherwise the row's owner knows best.
    """
    if info is None or info.run_id == row_run_id:
        return MlflowChoice(run_ids=(row_run_id,) if row_run_id else ())
    if not row_run_id:
        return MlflowChoice(run_ids=(info.run_id,))
    if trained_here:
        return MlflowChoice(run_ids=(info.run_id, row_run_id))
    return MlflowChoice(
        run_ids=(row_run_id, info.run_id),
        warning=f"its row names MLflow run {row_run_id}, mlflow_info.json names {info.run_id}; the row's goes first",
    )


def to_shown_uri(uri: str) -> str:
    """Returns a tracking URI as messages may show it: without name and password, query, and control characters."""
    try:
        parts = urlsplit(uri)
        shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.netloc else parts.path
    except ValueError:
        shown = "no address"
    return "".join(character for character in shown if character.isprintable())[:_SHOWN]


def _shown(value: object) -> str:
    """Returns Python's own words for it, but short: someone's file may be nested as deep as it likes."""
    shown = reprlib.Repr()
    shown.maxstring = _SHOWN
    return shown.repr(value)
