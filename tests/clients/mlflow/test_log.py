"""A run is logged to MLflow over REST, to the emulator in both of its manners and to real servers.

`make test-mlflow` runs it with real servers of 2.9.2 and a current version.
"""

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
import requests

from switchyard.clients.mlflow.http import MlflowServer
from switchyard.clients.mlflow.log import (
    MAX_METRICS,
    Access,
    LatestPoint,
    LoggedRun,
    Patience,
    Place,
    RunOrder,
    open_log,
    to_place,
)
from switchyard.clients.mlflow.rest import RestTracking
from switchyard.clients.objects.open import open_objects
from switchyard.core.errors import BadRequest, BadSetup, NotFound, SwitchyardError, TryAgain
from switchyard.core.mlflow.logged import LoggedPoint
from switchyard.core.mlflow.raw_run import RawRun
from tests.clients.mlflow.stores import make_sqlite
from tests.emulators.faults import Fault
from tests.emulators.mlflow_rest import MlflowEmulator
from tests.emulators.server import serve_in_thread

NOW_MS = 1_760_000_000_000
ORDER = RunOrder(experiment="two towers", name="quick-test-7", training="0a1b", tags={"switchyard.key": "k"})
REAL = [pytest.mark.slow, pytest.mark.needs_mlflow]


@pytest.fixture
def emulator(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[MlflowEmulator]:
    """Runs the emulator, by default as 2.9.2."""
    found = MlflowEmulator(make_sqlite(tmp_path / "mlflow.db"), **getattr(request, "param", {}))
    yield found
    found.close()


@pytest.fixture
def url(emulator: MlflowEmulator) -> Iterator[str]:
    with serve_in_thread(emulator.app) as found:
        yield found


class Server(msgspec.Struct, frozen=True):
    """A server, and an experiment there that is the test's own and does not exist yet."""

    url: str
    experiment: str


@pytest.fixture(scope="module")
def real_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """Starts the server of a version once; they take a minute."""
    with ExitStack() as stack:

        @cache
        def find(version: str) -> str:
            from tests.clients.mlflow.real_servers import serve

            folder = tmp_path_factory.mktemp("server")
            return stack.enter_context(serve(version, f"sqlite:///{folder / 'mlflow.db'}", folder))

        yield find


@pytest.fixture(
    params=[
        "emulator of 2.9.2",
        "emulator of 3.17.2",
        pytest.param("2.9.2", marks=REAL),
        pytest.param("current", marks=REAL),
    ]
)
def place(request: pytest.FixtureRequest, tmp_path: Path, real_servers: Callable[[str], str]) -> Iterator[Server]:
    """Gives a place on each kind of server."""
    experiment = f"two towers {uuid4()}"
    if not request.param.startswith("emulator"):
        yield Server(real_servers(request.param), experiment)
        return
    emulator = MlflowEmulator(make_sqlite(tmp_path / "mlflow.db"), pages_histories=request.param.endswith("3.17.2"))
    with serve_in_thread(emulator.app) as found:
        yield Server(found, experiment)
    emulator.close()


def no_pause(_seconds: float) -> None:
    """Time is not waited for in these tests."""


def open_run(url: str, **changes: Any) -> LoggedRun:
    order = msgspec.structs.replace(ORDER, **changes)
    return open_log(Access(uri=url), order, now_ms=NOW_MS, patience=Patience(pause=no_pause))


def read_run(url: str, run_id: str) -> RawRun:
    tracking = RestTracking(MlflowServer(url, requests.Session, patience=Patience(pause=no_pause)))
    try:
        (found,) = tracking.read_runs([run_id])
    finally:
        tracking.close()
    assert isinstance(found, RawRun)
    return found


def count_runs(url: str, experiment: str) -> int:
    tracking = RestTracking(MlflowServer(url, requests.Session))
    try:
        return len(list(tracking.list_runs(experiments=[experiment])))
    finally:
        tracking.close()


def make_points(count: int, *, step: int = 0) -> list[LoggedPoint]:
    return [LoggedPoint(f"key_{number}", step, number / 7) for number in range(count)]


def test_a_run_is_logged_as_it_is_read_again(place: Server) -> None:
    """Name, experiment, tags, params, and each value to the last bit: NaN, infinities and a subnormal number too."""
    run = open_run(place.url, experiment=place.experiment)
    values = [0.1, 1 / 3, 5e-324, math.nan, math.inf, -math.inf, -0.0, 1e300]
    run.log_points([LoggedPoint("loss", step, value) for step, value in enumerate(values)], NOW_MS)
    run.log_params({"l2": "1e-06", "data_uri": "", "long": "x" * 6000})
    run.log_tags({"switchyard.restart": "0", "switchyard.bin_edges": "constant"})
    run.end("FINISHED", NOW_MS + 5000)
    run.close()
    found = read_run(place.url, run.run_id)
    info = found.info
    assert (info.name, info.experiment, info.status) == ("quick-test-7", place.experiment, "FINISHED")
    assert (info.started_at_ms, info.ended_at_ms) == (NOW_MS, NOW_MS + 5000)
    assert found.params == {"l2": "1e-06", "data_uri": "", "long": "x" * 6000}
    assert found.tags["switchyard.key"] == "k"
    assert found.tags["switchyard.bin_edges"] == "constant"
    assert list(map(repr, found.metrics["loss"].values)) == list(
        map(repr, [*values[:6], *found.metrics["loss"].values[6:]])
    )
    assert [value + 0.0 for value in found.metrics["loss"].values[6:]] == [0.0, 1e300]
    assert found.metrics["loss"].steps == list(range(8))


def test_a_second_process_of_the_training_goes_on_in_its_run(place: Server) -> None:
    """The run is found by its training, runs again, and says what it has; another training has a run of its own."""
    first = open_run(place.url, experiment=place.experiment)
    first.log_points([LoggedPoint("loss", 3, 0.25), LoggedPoint("loss", 4, math.inf)], NOW_MS)
    first.log_params({"epochs": "12"})
    first.end("KILLED", NOW_MS)
    second = open_run(place.url, experiment=place.experiment, tags={"switchyard.restart": "1"})
    assert second.run_id == first.run_id
    assert second.latest["loss"].step == 4
    second.log_params({"epochs": "12", "seed": "7"})
    found = read_run(place.url, second.run_id)
    assert (found.info.status, found.tags["switchyard.restart"]) == ("RUNNING", "1")
    assert found.params == {"epochs": "12", "seed": "7"}
    assert open_run(place.url, experiment=place.experiment, training="ffff").run_id != first.run_id
    assert count_runs(place.url, place.experiment) == 2


def test_racing_creators_share_the_experiment(place: Server) -> None:
    """Four trainings that begin at once make one experiment and four runs, and none of them fails."""
    with ThreadPoolExecutor(4) as pool:
        runs = list(
            pool.map(lambda number: open_run(place.url, experiment=place.experiment, training=f"{number}"), range(4))
        )
    assert len({run.run_id for run in runs}) == 4
    assert {read_run(place.url, run.run_id).info.experiment for run in runs} == {place.experiment}


def test_a_batch_whose_answer_was_lost_is_not_logged_twice(place: Server) -> None:
    """The same call again, after TryAgain, leaves each point once, also if the first call had not come through.

    The batch has 134 keys and a NaN, which 2.9.2 would refuse as a repetition."""
    run = open_run(place.url, experiment=place.experiment)
    points = [*make_points(133), LoggedPoint("broken", 0, math.nan)]
    # The answer is lost on its way: after the server stored the batch, and before it came there.
    for moment, is_stored in ((NOW_MS, True), (NOW_MS + 1, False)):
        create = run._server.create

        def lose(path: str, body: Any, *, create: Any = create, is_stored: bool = is_stored) -> Any:
            if is_stored:
                create(path, body)
            raise TryAgain("the connection was cut")

        run._server.create = lose  # type: ignore[method-assign]  # a real server cannot be told to lose an answer
        with pytest.raises(TryAgain):
            run.log_points(points, moment)
        run._server.create = create  # type: ignore[method-assign]
        run.log_points(points, moment)
    found = read_run(place.url, run.run_id)
    assert {len(series.steps) for series in found.metrics.values()} == {2}
    assert found.metrics["key_1"].timestamps_ms == [NOW_MS, NOW_MS + 1]


def test_a_full_batch_is_taken(place: Server) -> None:
    """MAX_METRICS points in one call; one more is what the server refuses."""
    run = open_run(place.url, experiment=place.experiment)
    points = [LoggedPoint("batch_loss", step, step / 7) for step in range(MAX_METRICS + 1)]
    run.log_points(points[:-1], NOW_MS)
    with pytest.raises(BadRequest, match="at most 1000"):
        run.log_points(points, NOW_MS + 1)
    run.log_params({f"param_{number}": "x" for number in range(250)})
    run.log_tags({f"tag_{number}": "x" for number in range(250)})
    found = read_run(place.url, run.run_id)
    assert (len(found.params), len(found.metrics["batch_loss"].steps)) == (250, MAX_METRICS)


def change_param(run: LoggedRun) -> None:
    for text in ("1", "2"):
        run.log_params({"x": text})


REFUSED: list[tuple[str, Callable[[LoggedRun], None], str]] = [
    ("a key that is none", lambda run: run.log_points([LoggedPoint("a@b", 0, 1.0)], NOW_MS), "a@b"),
    ("a param that changed", lambda run: change_param(run), "not allowed"),
]


@pytest.mark.parametrize(("call", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_the_server_refuses_is_an_error_in_its_words(
    call: Callable[[LoggedRun], None], message: str, place: Server
) -> None:
    """It is a BadRequest, which is not tried again."""
    with pytest.raises(BadRequest, match=message):
        call(open_run(place.url, experiment=place.experiment))


def test_a_deleted_run_or_experiment_says_what_to_do(place: Server) -> None:
    """Neither is logged to: the run's deletion is the server's word, the experiment's comes with the way back."""
    api = f"{place.url}/api/2.0/mlflow"
    run = open_run(place.url, experiment=place.experiment)
    with requests.Session() as session:
        experiment = read_run(place.url, run.run_id).info.experiment_id
        for path, body in (("runs", {"run_id": run.run_id}), ("experiments", {"experiment_id": experiment})):
            assert session.post(f"{api}/{path}/delete", json=body, timeout=60).status_code == 200
    with pytest.raises(BadRequest, match="must be in the 'active' state"):
        run.log_points(make_points(1), NOW_MS)
    with pytest.raises(BadSetup, match=r"is deleted\. Restore it"):
        open_run(place.url, experiment=place.experiment)


def test_a_lost_answer_to_a_create_makes_no_second_run(emulator: MlflowEmulator, url: str) -> None:
    """runs/create has no request id: after an ambiguous end the run is looked for by its tag."""
    emulator.faults.order(Fault(kind="runs/create", status=503, after=True))
    with pytest.raises(TryAgain):
        open_run(url)
    run = open_run(url)
    assert count_runs(url, ORDER.experiment) == 1
    assert run.latest == {}
    assert emulator.faults.count("runs/create") == 1


def test_a_cold_server_is_waited_for(emulator: MlflowEmulator, url: str) -> None:
    """Answers of 503 to the health check are outlasted with growing pauses; nothing else is asked before."""
    emulator.faults.order(Fault(kind="health", times=5, status=503))
    waited: list[float] = []
    open_log(Access(uri=url), ORDER, now_ms=NOW_MS, patience=Patience(pause=waited.append))
    assert len(waited) == 5
    assert waited[4] > waited[0]
    assert list(emulator.faults.counts())[:2] == ["health", "experiments/get-by-name"]


@pytest.mark.parametrize("emulator", [{"token": "s3cret"}], indirect=True)
def test_who_calls_is_proven_and_the_proof_is_never_shown(emulator: MlflowEmulator, url: str) -> None:
    """The bearer token lets us in; without it the error names the settings, and no repr or message has the token."""
    access = Access(uri=url, token="s3cret")
    run = open_log(access, ORDER, now_ms=NOW_MS, patience=Patience(pause=no_pause))
    assert run.run_id
    assert "s3cret" not in repr(access)
    with pytest.raises(BadSetup, match="MLFLOW_TRACKING_AUTH") as caught:
        open_log(Access(uri=url, token="s3cret-no"), ORDER, now_ms=NOW_MS, patience=Patience(pause=no_pause))
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(("path", "error"), [("/elsewhere", NotFound), ("", BadSetup)])
def test_what_is_no_mlflow_server_is_told_once_and_not_repeated(
    path: str, error: type[SwitchyardError], emulator: MlflowEmulator, url: str
) -> None:
    """A page of HTML, or another service's 404, is no reason to make an experiment."""
    from starlette.responses import HTMLResponse

    emulator.replace = lambda kind, _question: HTMLResponse("<html>log in</html>") if kind != "health" else None
    if path:
        emulator.replace = lambda _kind, _question: None
    with pytest.raises(error):
        open_run(url + path)
    assert emulator.faults.count("experiments/create") == 0


def test_the_newest_value_is_known_when_a_run_is_opened_again(url: str) -> None:
    """A final metric that is there already need not be logged again."""
    run = open_run(url)
    run.log_points([LoggedPoint("test_loss", 2, 0.125)], NOW_MS)
    assert open_run(url).latest == {"test_loss": LatestPoint(2, 0.125)}


@pytest.mark.parametrize(
    ("artifact_uri", "place"),
    [
        ("mlflow-artifacts:/1/ab/artifacts", Place("1/ab/artifacts/model/a", through_server=True)),
        ("mlflow-artifacts:/", Place("model/a", through_server=True)),
        ("gs://bucket/mlflow/1/ab/artifacts", Place("gs://bucket/mlflow/1/ab/artifacts/model/a", through_server=False)),
        ("gs://bucket", Place("gs://bucket/model/a", through_server=False)),
        ("file:///data/my%20runs/1", Place("file:///data/my%20runs/1/model/a", through_server=False)),
        ("/data/my runs/1", Place("file:///data/my%20runs/1/model/a", through_server=False)),
    ],
)
def test_an_artifact_goes_where_the_run_keeps_its_own(artifact_uri: str, place: Place) -> None:
    """Through the server, or to the bucket or folder that its URI names."""
    assert to_place(artifact_uri, "model/a") == place


@pytest.mark.parametrize("artifact_uri", ["s3://bucket/1", "mlflow-artifacts://other/1", "dbfs:/1", "mlruns/1", ""])
def test_an_artifact_goes_nowhere_else(artifact_uri: str) -> None:
    """Other stores are MLflow's own client's; another server than the one that is logged to is no one's."""
    with pytest.raises(BadSetup, match="only MLflow's own client can write"):
        to_place(artifact_uri, "model/a")


@pytest.mark.parametrize("data", [b"", b"some bytes", bytes(range(256)) * 8192], ids=len)
def test_a_file_goes_through_the_server(place: Server, tmp_path: Path, data: bytes) -> None:
    """Whole, an empty one too, under a name that is no URL as it is; a second call replaces it."""
    run = open_run(place.url, experiment=place.experiment)
    file = tmp_path / "file"
    for content in (b"other", data):
        file.write_bytes(content)
        run.log_file("model/Größe 1%.bin", file, open_objects)
    run.close()
    found = requests.get(f"{place.url}/api/2.0/mlflow/runs/get", params={"run_id": run.run_id}, timeout=60).json()
    below = found["run"]["info"]["artifact_uri"].removeprefix("mlflow-artifacts:/")
    address = f"{place.url}/api/2.0/mlflow-artifacts/artifacts/{below}/model/Gr%C3%B6%C3%9Fe%201%25.bin"
    answer = requests.get(address, timeout=60)
    assert (answer.status_code, answer.content) == (200, data)


def test_a_file_goes_to_the_bucket_that_the_run_names(gcs_root: str, tmp_path: Path) -> None:
    """Our own adapter puts it there, without the server; it also serves a folder of this machine.

    A second call changes nothing there."""
    file = tmp_path / "file"
    file.write_bytes(b"weights")
    for root in (gcs_root, tmp_path.as_uri()):
        server = MlflowServer("http://127.0.0.1:1", requests.Session)
        run = LoggedRun(server, "ab", {"info": {"artifact_uri": f"{root}/1/ab/artifacts"}})
        for _ in range(2):
            run.log_file("model/weights.bin", file, open_objects)
        assert open_objects(root).read(f"{root}/1/ab/artifacts/model/weights.bin")[0] == b"weights"


def test_a_run_says_which_tags_it_has(place: Server) -> None:
    """To the process that opens it again; another process may have set them."""
    first = open_run(place.url, experiment=place.experiment)
    first.log_tags({"switchyard.model": "sha256:0a"})
    first.close()
    second = open_run(place.url, experiment=place.experiment)
    second.close()
    assert second.tags.items() >= {"switchyard.model": "sha256:0a", "switchyard.key": "k"}.items()
