"""Logs one training to an MLflow server over REST, without the mlflow package.

Every call may be repeated: what is there already is found again, and nothing is logged twice.

Why repeating takes care: `runs/create` has no request id, and MLflow 2.9.2 answers 400 to a batch that it has stored
already when that has more than 100 values, or a NaN among them (`SqlAlchemyStore._log_metrics`; tried on a server).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import quote, urlsplit

import msgspec
import requests

from switchyard.clients.mlflow.http import MlflowServer, Patience
from switchyard.clients.mlflow.server import Access, check_access, open_http
from switchyard.core.batches import batched
from switchyard.core.errors import BadRequest, BadSetup, NotFound
from switchyard.core.mlflow.logged import LoggedPoint
from switchyard.core.ports import ANY, Objects

RunEnd = Literal["FINISHED", "FAILED", "KILLED"]
TRAINING_TAG: Final = "switchyard.training"
"""Names one training on the server: a restart of it finds its run by this tag."""

# Source: MAX_ENTITIES_PER_BATCH, MAX_METRICS_PER_BATCH, MAX_PARAMS_TAGS_PER_BATCH, mlflow/utils/validation.py, 2.9.2.
MAX_METRICS: Final = 1000
MAX_PAIRS: Final = 100
_API: Final = "/api/2.0/mlflow"
_ARTIFACTS: Final = "/api/2.0/mlflow-artifacts/artifacts"
"""Source: _upload_artifact, mlflow/server/handlers.py, 2.9.2 and 3.17.2."""

__all__ = ["Access", "LoggedRun", "Patience", "RunEnd", "RunOrder", "check_access", "open_log"]


class RunOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Which run is logged to."""

    experiment: str
    name: str
    training: str  # the same for every process of one training, and for no other; letters and digits
    tags: dict[str, str]


class LatestPoint(msgspec.Struct, frozen=True):
    """The newest value that a run has of a key."""

    step: int
    value: float


class LoggedRun:
    """A run of MLflow that is being logged to; made by `open_log`.

    Attributes:
        latest: by key, what the run had when it was opened; empty in a new one.
        tags: those that it had then.
    """

    def __init__(self, server: MlflowServer, run_id: str, run: Mapping[str, Any]) -> None:
        self.run_id = run_id
        self._server = server
        self._unsure: tuple[LoggedPoint, int] | None = None
        self._artifact_uri = str(run.get("info", {}).get("artifact_uri", ""))
        self._params = _to_pairs(run, "params")
        self.tags = _to_pairs(run, "tags")
        self.latest = {
            point["key"]: LatestPoint(int(point.get("step", 0)), float(point.get("value", 0.0)))
            for point in run.get("data", {}).get("metrics", ())
        }

    def log_points(self, points: Sequence[LoggedPoint], timestamp_ms: int) -> None:
        """Logs at most MAX_METRICS `points`, of one moment, all or none.

        The same call again, after TryAgain, logs nothing twice.

        Raises:
            TryAgain: the server does not answer. The next call first asks whether it stored the points.
            BadRequest, NotFound, BadSetup: it refuses: the run is deleted, or a key is not allowed.
        """
        if not points:
            return
        if self._unsure == (points[-1], timestamp_ms) and self._has(points[-1], timestamp_ms):
            self._unsure = None
            return
        body = {"run_id": self.run_id, "metrics": [_to_metric(point, timestamp_ms) for point in points]}
        self._unsure = (points[-1], timestamp_ms)
        self._server.create(f"{_API}/runs/log-batch", body)
        self._unsure = None

    def log_params(self, params: Mapping[str, str]) -> None:
        """Logs those that the run lacks. Raises: as `log_points`; BadRequest: one is there with another value."""
        new = {name: text for name, text in params.items() if self._params.get(name) != text}
        for batch in batched(new.items(), MAX_PAIRS):
            self._server.search(f"{_API}/runs/log-batch", {"run_id": self.run_id, "params": list(map(_to_pair, batch))})
            self._params.update(batch)

    def log_tags(self, tags: Mapping[str, str]) -> None:
        """Sets tags; a second call overwrites with the same. Raises: as `log_points`."""
        for batch in batched(tags.items(), MAX_PAIRS):
            self._server.search(f"{_API}/runs/log-batch", {"run_id": self.run_id, "tags": list(map(_to_pair, batch))})

    def log_file(self, path: str, file: Path, open_objects: Callable[[str], Objects]) -> None:
        """Puts the file under `path` of the run's artifacts. A second call replaces it with the same.

        It goes through the server, or to where the artifacts are, if that is a bucket or a folder of this machine.

        Args:
            open_objects: opens the adapter for a URI.

        Raises:
            BadSetup: neither way leads to the artifacts. Else as `log_points`.
        """
        place = to_place(self._artifact_uri, path)
        if place.through_server:
            self._server.put(f"{_ARTIFACTS}/{quote(place.at)}", file)
            return
        with file.open("rb") as opened:
            open_objects(place.at).write_from(place.at, opened, if_generation=ANY)

    def end(self, status: RunEnd, at_ms: int) -> None:
        """Closes the run; a later end replaces an earlier one. Raises: as `log_points`."""
        self._server.search(f"{_API}/runs/update", {"run_id": self.run_id, "status": status, "end_time": at_ms})

    def close(self) -> None:
        """Ends the connections."""
        self._server.close()

    def _has(self, point: LoggedPoint, timestamp_ms: int) -> bool:
        """Returns whether the point, and so its whole batch, is stored: MLflow does that in one transaction."""
        found = self._server.read(f"{_API}/metrics/get-history", {"run_id": self.run_id, "metric_key": point.key})
        at = (point.step, timestamp_ms)
        return any((int(one.get("step", 0)), int(one.get("timestamp", 0))) == at for one in found.get("metrics", ()))


class Place(msgspec.Struct, frozen=True):
    """Where an artifact goes: a path below the server's artifacts, or a URI."""

    at: str
    through_server: bool


def to_place(artifact_uri: str, path: str) -> Place:
    """Returns the place of the artifact `path` of a run with its artifacts at `artifact_uri`.

    Raises: BadSetup: neither the server nor our own adapters lead there."""
    found = urlsplit(artifact_uri)
    below = f"{found.path.strip('/')}/{path}".lstrip("/")
    if found.scheme == "mlflow-artifacts" and not found.netloc:
        return Place(below, through_server=True)
    if found.scheme == "gs":
        return Place(f"gs://{found.netloc}/{below}", through_server=False)
    if found.scheme in ("", "file") and found.path.startswith("/"):
        return Place(f"file:///{below if found.scheme else quote(below)}", through_server=False)
    raise BadSetup(
        f"the run's artifacts are at {artifact_uri or 'no place'}, where only MLflow's own client can write. Let the "
        "server hand artifacts through (see docs/mlflow-server.md), and use a new experiment"
    )


def open_log(
    access: Access, order: RunOrder, *, now_ms: int, patience: Patience, identity: tuple[str, bool] = ("", False)
) -> LoggedRun:
    """Finds the run that `order` names by its training, or makes it, and sets it running.

    Its experiment is found by its name, or made. A second call finds the first one's run.

    Args:
        now_ms: the start of a run that is made.
        identity: for a server that takes a Google ID token: the service account to call as, and whether gcloud may be
            asked (see `clients.google.identity.Caller`).

    Raises:
        TryAgain: the server does not answer, or did not wake in time; the same call again is safe.
        BadSetup: it does not let us in, or the experiment is deleted.
    """
    server = open_http(access, lambda: _open_identified(access.uri, identity), patience=patience)
    try:
        return _open_run(server, order, now_ms)
    except BaseException:
        server.close()
        raise


def _open_run(server: MlflowServer, order: RunOrder, now_ms: int) -> LoggedRun:
    experiment_id = _find_experiment(server, order.experiment)
    found = _find_run(server, experiment_id, order)
    if found is None:
        body = {
            "experiment_id": experiment_id,
            "run_name": order.name,
            "start_time": now_ms,
            "tags": list(map(_to_pair, {**order.tags, TRAINING_TAG: order.training}.items())),
        }
        # Not repeated here: a second try after a lost answer first looks for the run by its tag.
        found = server.create(f"{_API}/runs/create", body)["run"]
    run = LoggedRun(server, found["info"]["run_id"], found)
    if found["info"].get("status") != "RUNNING":
        server.search(f"{_API}/runs/update", {"run_id": run.run_id, "status": "RUNNING"})
    run.log_tags(order.tags)
    return run


def _open_identified(uri: str, identity: tuple[str, bool]) -> requests.Session:
    from switchyard.clients.google.identity import Caller, open_session

    return open_session(uri, caller=Caller(impersonate=identity[0], gcloud=identity[1]))


def _find_experiment(server: MlflowServer, name: str) -> str:
    """Returns the id of the experiment of that name; makes it if there is none."""
    experiment = _read_experiment(server, name)
    if experiment is None:
        try:
            return str(server.create(f"{_API}/experiments/create", {"name": name})["experiment_id"])
        except BadRequest:
            # RESOURCE_ALREADY_EXISTS: someone made it meanwhile. After any other error there is still none.
            experiment = _read_experiment(server, name)
            if experiment is None:
                raise
    if experiment.get("lifecycle_stage") == "deleted":
        raise BadSetup(
            f"experiment {name!r} of {server.url} is deleted. Restore it: mlflow experiments "
            f"restore --experiment-id {experiment['experiment_id']}. Or name another: --experiment"
        )
    return str(experiment["experiment_id"])


def _read_experiment(server: MlflowServer, name: str) -> dict[str, Any] | None:
    try:
        found = server.read(f"{_API}/experiments/get-by-name", {"experiment_name": name})["experiment"]
    except NotFound as err:
        if "RESOURCE_DOES_NOT_EXIST" not in str(err):  # no MLflow server at all
            raise
        return None
    return dict(found)


def _find_run(server: MlflowServer, experiment_id: str, order: RunOrder) -> dict[str, Any] | None:
    """Returns the training's run; the oldest if a lost answer led to two."""
    body = {
        "experiment_ids": [experiment_id],
        "filter": f"tags.`{TRAINING_TAG}` = '{order.training}'",
        "run_view_type": "ACTIVE_ONLY",
        "order_by": ["attributes.start_time ASC"],
        "max_results": 1,
    }
    found = server.search(f"{_API}/runs/search", body).get("runs", ())
    return dict(found[0]) if found else None


def _to_metric(point: LoggedPoint, timestamp_ms: int) -> dict[str, Any]:
    value: float | str = point.value
    if not math.isfinite(point.value):
        # Source: https://protobuf.dev/programming-guides/json/ (double)
        value = "NaN" if math.isnan(point.value) else "Infinity" if point.value > 0 else "-Infinity"
    return {"key": point.key, "value": value, "timestamp": timestamp_ms, "step": point.step}


def _to_pair(item: tuple[str, str]) -> dict[str, str]:
    return {"key": item[0], "value": item[1]}


def _to_pairs(run: Mapping[str, Any], name: str) -> dict[str, str]:
    return {pair["key"]: pair.get("value", "") for pair in run.get("data", {}).get(name, ())}
