"""Finds where the experiments, runs and keys of an MLflow folder lie.

Source: FileStore, mlflow/store/tracking/file_store.py, 2.9.2 and 3.17.2:
``<root>/<experiment>/<run>/{meta.yaml,metrics/<key>,params/<key>,tags/<key>}``, deleted experiments in ``.trash``.
"""

import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar
from urllib.parse import unquote_to_bytes

import msgspec

from switchyard.clients.mlflow.file_store.meta import Experiment, to_experiment, to_run, to_unknown_run
from switchyard.clients.mlflow.file_store.yaml_files import MAX_BYTES, read_mapping
from switchyard.core.errors import BadRecord, BadRequest, BadSetup, NotFound, SwitchyardError
from switchyard.core.mlflow.raw_run import NAME_TAG, Lifecycle, TrackedRun, choose_name
from switchyard.core.ports import Objects

META: Final = "meta.yaml"
MODELS: Final = "models"
"""Folders that are not experiments' or runs': at the root the registry; in an experiment MLflow 3's logged models."""
TRASH: Final = ".trash"
MAX_TEXT_BYTES: Final = 16 << 20
"""The largest param or tag. MLflow itself takes 6,000 and 8,000 characters, and older versions any number."""
_NO_RUNS: Final = frozenset(("tags", "datasets", "traces", MODELS))
KINDS: Final = ("metrics", "params", "tags")
"""A run's folders of keys."""
_RUN_ID: Final = re.compile(r"[0-9a-f]{32}")
SETTLE_SECONDS: Final = 0.25
"""The wait before what could not be read is read once more: MLflow empties a file before it fills it. It waits once
for all experiments, and once for all runs of a batch; `Layout.read_meta` waits for each damaged file."""
_OF_ONE: Final = (NotFound, BadRecord, BadSetup, BadRequest)
"""What may be wrong with one file, while the others can be read."""

T = TypeVar("T")
S = TypeVar("S")
Each = Callable[[Callable[[T], S], Iterable[T]], Iterable[S]]


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """One run's folder."""

    run_id: str
    folder: str  # its URI, with a slash at its end
    experiment: Experiment
    error: SwitchyardError | None = None  # why it is not known which folder is the run's


def _to_run_error(experiment: Experiment) -> SwitchyardError | None:
    """Returns what is wrong with a run's experiment. The run is there, so it must not look deleted."""
    if isinstance(experiment.error, NotFound):
        return BadRecord(experiment.folder + META, ["it is missing, and there are runs below it"])
    return experiment.error


class Layout:
    """Reads the folder at `root`, a URI without a slash at its end.

    Args:
        each: a `map`, perhaps of several items at once.
    """

    def __init__(self, root: str, objects: Objects, each: "Each") -> None:  # type: ignore[type-arg]
        self.root = root
        self._objects = objects
        self._each = each

    def list_experiments(self) -> list[Experiment]:
        """Returns all of them, with deleted and damaged ones.

        Raises:
            BadSetup: this is not an MLflow folder, or it may not be read.
        """
        trash = f"{self.root}/{TRASH}/"
        places: list[tuple[str, Lifecycle]] = [
            *((folder, "active") for folder in self._objects.list_folders(f"{self.root}/") if folder != trash),
            *((folder, "deleted") for folder in self._objects.list_folders(trash)),
        ]
        found = [
            Experiment(experiment_id=self.to_id(folder), folder=folder, lifecycle=lifecycle)
            for folder, lifecycle in places
            if folder != f"{self.root}/{MODELS}/"
        ]
        experiments = self._read_experiments(found)
        if not any(not isinstance(experiment.error, NotFound) for experiment in experiments):
            self._check_store(experiments)
        return experiments

    def find_runs(self, experiments: Iterable[Experiment]) -> dict[str, list[Place]]:
        """Returns where runs may lie, by id, from names alone."""
        found: dict[str, list[Place]] = defaultdict(list)
        experiments = list(experiments)
        for experiment, folders in zip(experiments, self._each(self._list_runs, experiments), strict=True):
            for run_id, folder in folders:
                found[run_id].append(Place(run_id=run_id, folder=folder, experiment=experiment))
        return found

    def choose(self, places: list[Place]) -> Place:
        """Returns the run's folder: MLflow ignores one that lies in another experiment than it says."""
        if len(places) == 1:
            return places[0]
        found = [(place, *self.read_info(place)) for place in places]
        runs = [place for place, info, _ in found if info is not None]
        if len(runs) < 2:  # the others hold only its artifacts: an experiment may have them anywhere in the store
            return (runs or places)[0]
        good = [place for place, info, error in found if info is not None and error is None]
        if len(good) == 1:
            return good[0]
        shown = " and ".join(place.folder for place in good or places)
        error = BadRecord(f"MLflow run {places[0].run_id}", [f"it must be in one experiment; it is at {shown}"])
        return msgspec.structs.replace((good or places)[0], error=error)

    def read_info(self, place: Place) -> tuple[TrackedRun | None, SwitchyardError | None]:
        """Returns what there is to say of the run, and why it cannot be read. No run: the folder is not a run's."""
        unknown = to_unknown_run(place.run_id, place.experiment)
        if place.error:
            return unknown, place.error
        where = place.folder + META
        try:
            meta = read_mapping(self._objects.read(where, max_bytes=MAX_BYTES)[0], where)
        except NotFound:
            if not self._is_run(place):
                return None, None
            return unknown, BadRecord(where, ["it is missing. Without it MLflow knows no such run"])
        except _OF_ONE as err:
            return unknown, err
        info, problems = to_run(meta, place.run_id, place.experiment)
        if not info.name:
            info = msgspec.structs.replace(info, name=self._read_name_tag(place))
        return info, BadRecord(where, problems) if problems else _to_run_error(place.experiment)

    def list_files(self, folder: str, kind: str) -> dict[str, str]:
        """Returns the URIs of one kind of a run's, or a model's, files (`metrics`, `params`, `tags`), by key.

        Raises:
            BadRecord: one is a link, which could lead anywhere, or its name is not a key.
        """
        prefix = f"{folder}{kind}/"
        for uri in self._objects.list_odd(prefix[:-1]):
            if uri == prefix[:-1] or uri.startswith(prefix):
                raise BadRecord(uri, ["it is a link, or no regular file: not followed. Put the file itself there"])
        return {self._to_name(uri, prefix): uri for uri in self._objects.list(prefix)}

    def list_folders(self, prefix: str) -> list[str]:
        """Lists as the port `Objects` does."""
        return self._objects.list_folders(prefix)

    def read_meta(self, folder: str) -> dict[str, Any]:
        """Returns what a folder's own file says. Raises: BadRecord: it is damaged or missing, also a moment later."""
        try:
            return self._read_meta(folder)
        except BadRecord:
            time.sleep(SETTLE_SECONDS)
            return self._read_meta(folder)

    def read_bytes(self, uri: str) -> bytes:
        """Returns all of a file. Raises: NotFound."""
        return self._objects.read(uri)[0]

    def read_text(self, uri: str) -> str:
        """Returns one param's or tag's text. Raises: BadRecord: it is not text."""
        data, _ = self._objects.read(uri, max_bytes=MAX_TEXT_BYTES)
        try:
            return data.decode()
        except UnicodeDecodeError as err:
            raise BadRecord(uri, [f"it must be text in UTF-8; byte {err.start}: {err.reason}"]) from err

    def to_id(self, folder: str) -> str:
        """Returns the last name of a folder's URI. One that is not UTF-8 is not MLflow's, and hides no other."""
        name = folder.rstrip("/").rpartition("/")[2]
        return unquote_to_bytes(name).decode(errors="replace") if folder.startswith("file://") else name

    def check_unlinked(self, uri: str) -> None:
        """Raises BadRecord if a link lies there."""
        if uri in self._objects.list_odd(uri):
            raise BadRecord(uri, ["it is a link: not followed. Put the file itself there"])

    def _list_runs(self, experiment: Experiment) -> list[tuple[str, str]]:
        folders = self._objects.list_folders(experiment.folder)
        named = ((self.to_id(folder), folder) for folder in folders)
        return [(name, folder) for name, folder in named if name not in _NO_RUNS]

    def _read_meta(self, folder: str) -> dict[str, Any]:
        where = folder + META
        try:
            return read_mapping(self._objects.read(where, max_bytes=MAX_BYTES)[0], where)
        except NotFound as err:
            raise BadRecord(where, ["it is missing"]) from err

    def _read_experiments(self, found: list[Experiment]) -> list[Experiment]:
        experiments = {known.folder: known for known in self._each(self._read_experiment, found)}
        odd = [known for known in found if isinstance(experiments[known.folder].error, BadRecord)]
        if odd:
            time.sleep(SETTLE_SECONDS)
            experiments |= {known.folder: known for known in self._each(self._read_experiment, odd)}
        return list(experiments.values())

    def _read_experiment(self, known: Experiment) -> Experiment:
        where = known.folder + META
        try:
            meta = read_mapping(self._objects.read(where, max_bytes=MAX_BYTES)[0], where)
        except _OF_ONE as err:
            return msgspec.structs.replace(known, error=err)
        found, problems = to_experiment(meta, known)
        return msgspec.structs.replace(found, error=BadRecord(where, problems)) if problems else found

    def _is_run(self, place: Place) -> bool:
        """Returns true for a folder without its file that only a run can be."""
        if isinstance(place.experiment.error, NotFound):
            return False
        if _RUN_ID.fullmatch(place.run_id):
            return True
        return any(f"{place.folder}{name}/" in self._objects.list_folders(place.folder) for name in KINDS)

    def _read_name_tag(self, place: Place) -> str:
        try:
            return choose_name("", {NAME_TAG: self.read_text(f"{place.folder}tags/{NAME_TAG}")})
        except _OF_ONE:  # reading the run says so, if more is wrong than that there is none
            return ""

    def _check_store(self, experiments: list[Experiment]) -> None:
        """Raises BadSetup if nothing here is MLflow's."""
        if f"{self.root}/{TRASH}/" in self._objects.list_folders(f"{self.root}/"):
            return
        inner = [experiment for experiment in experiments if experiment.experiment_id == "mlruns"]
        advice = f"Is it {inner[0].folder}?" if inner else "For a server, the address begins with http:// or https://"
        raise BadSetup(
            f"{self.root} is no folder of MLflow's (mlruns): no <experiment>/{META} and no {TRASH} was found in it. "
            f"{advice}"
        )

    def _to_name(self, uri: str, prefix: str) -> str:
        """Returns what follows `prefix` in `uri`, as a key."""
        name = uri[len(prefix) :]
        if uri.startswith("file://"):  # nothing is encoded in a gs:// URI
            try:
                name = unquote_to_bytes(name).decode()
            except UnicodeDecodeError as err:
                raise BadRecord(uri, ["its name must be UTF-8"]) from err
        if {"", ".", ".."} & set(name.split("/")):
            raise BadRecord(uri, [f"{name!r} is no name that MLflow gives"])
        return name
