"""An MLflow server read over REST: cold starts, faults, cut and endless answers, and who calls."""

import itertools
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import requests
from starlette.responses import JSONResponse, Response

from switchyard.clients.connect import Outside
from switchyard.clients.mlflow.http import COLD_START_S, MlflowServer, Patience
from switchyard.clients.mlflow.rest import RestTracking
from switchyard.clients.mlflow.server import open_server
from switchyard.clients.settings import read_settings
from switchyard.core.errors import BadRecord, BadSetup, NotFound, TryAgain, TryLater
from switchyard.core.mlflow.mapping import from_points
from switchyard.core.mlflow.raw_run import Keys, LostRun, OwnedPoint, RawRun, to_source_digest
from tests.clients.mlflow.stores import add_runs, make_sqlite
from tests.core.mlflow.factories import make_info, make_points, make_series, make_small
from tests.emulators.faults import Fault
from tests.emulators.mlflow_rest import MlflowEmulator
from tests.emulators.server import serve_in_thread

LOSS = Keys(frozenset({"loss"}))


class Clock:
    """Time that passes only by waiting."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.waited: list[float] = []

    def pause(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.now_s += seconds


Serve = Callable[..., tuple[MlflowEmulator, RestTracking, Clock]]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """A server over the given runs, its reader, and the clock that it waits by."""
    with ExitStack() as stack:

        def start(runs: list[RawRun], **options: Any) -> tuple[MlflowEmulator, RestTracking, Clock]:
            path = make_sqlite(tmp_path / "mlflow.db")
            with sqlite3.connect(path) as connection:
                add_runs(connection, runs)
            connection.close()
            emulator = MlflowEmulator(path, **options)
            stack.callback(emulator.close)
            url = stack.enter_context(serve_in_thread(emulator.app))
            clock = Clock()
            patience = Patience(now=lambda: clock.now_s, pause=clock.pause)
            tracking = RestTracking(MlflowServer(url, requests.Session, patience=patience))
            stack.callback(tracking.close)
            return emulator, tracking, clock

        yield start


def make_runs(count: int, points: int) -> list[RawRun]:
    return [
        make_small(
            {"loss": make_series([i + number / 64 for i in range(points)])}, info=make_info(run_id=f"{number:032x}")
        )
        for number in range(count)
    ]


def digests(runs: Any) -> dict[str, str]:
    return {run.info.run_id: to_source_digest(run) for run in runs}


def test_bulk_answer_that_is_cut_in_silence_is_asked_again_in_parts(serve: Serve) -> None:
    """20 runs of 2,000 points are 40,000, of which one answer has 25,000; nothing of the rest is lost."""
    runs = make_runs(20, 2_000)
    emulator, tracking, _ = serve(runs)
    assert digests(tracking.read_runs([run.info.run_id for run in runs])) == digests(runs)
    assert emulator.faults.count("metrics/get-history-bulk") == 3
    assert emulator.faults.count("metrics/get-history-bulk-interval") == 0


def test_answer_of_exactly_the_limit_is_not_trusted(serve: Serve) -> None:
    """25,000 points may be all of them, or the first 25,000."""
    runs = make_runs(1, 25_000)
    emulator, tracking, _ = serve(runs)
    assert digests(tracking.read_runs([runs[0].info.run_id])) == digests(runs)
    assert emulator.faults.count("metrics/get-history") == 1


def test_one_call_reads_a_key_of_twenty_runs(serve: Serve) -> None:
    """Reading one by one is what takes hours."""
    runs = make_runs(40, 3)
    emulator, tracking, _ = serve(runs)
    assert len(list(tracking.read_runs([run.info.run_id for run in runs], keys=LOSS))) == 40
    assert emulator.faults.count("metrics/get-history-bulk") == 2
    assert emulator.faults.count("metrics/get-history") == 0


def test_cold_server_is_waited_for_with_growing_delays(serve: Serve) -> None:
    """The first calls meet a gateway's 503; then the store is read as if it had been there."""
    runs = make_runs(1, 3)
    emulator, tracking, clock = serve(runs)
    emulator.faults.order(Fault(kind="health", times=5, status=503))
    assert digests(tracking.read_runs([runs[0].info.run_id])) == digests(runs)
    assert len(clock.waited) == 5
    assert clock.waited[0] < clock.waited[-1]


def test_server_that_never_wakes_is_given_up_after_two_minutes(serve: Serve) -> None:
    """Every wait has a deadline, and the message says how long was waited."""
    emulator, tracking, clock = serve([])
    emulator.faults.order(Fault(kind="health", times=10_000, status=503))
    with pytest.raises(TryAgain, match="did not wake in 120 s"):
        list(tracking.list_runs())
    assert COLD_START_S - 15 < clock.now_s <= COLD_START_S


def test_server_that_is_not_there_is_given_up_too() -> None:
    """A refused connection is a cold start that does not end."""
    clock = Clock()
    server = MlflowServer(
        "http://127.0.0.1:9", requests.Session, patience=Patience(now=lambda: clock.now_s, pause=clock.pause)
    )
    with pytest.raises(TryAgain, match=r"did not wake in 120 s: .*no answer"):
        list(RestTracking(server).list_runs())


def test_threads_and_runs_wait_for_one_cold_start_between_them() -> None:
    """A server that is not there costs two minutes, however many calls would like to be made."""
    clock = Clock()
    patience = Patience(now=lambda: clock.now_s, pause=clock.pause)
    tracking = RestTracking(MlflowServer("http://127.0.0.1:9", requests.Session, patience=patience))
    with pytest.raises(TryLater, match="did not wake in 120 s"):
        list(tracking.read_runs([number * 32 for number in "0123456789"]))
    tracking.close()
    assert clock.now_s <= COLD_START_S


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 429}, {"status": 502}, {"broken": True}], ids=str)
@pytest.mark.parametrize("kind", ["runs/get", "metrics/get-history-bulk", "runs/search", "experiments/search"])
def test_fault_that_passes_is_tried_again(serve: Serve, kind: str, fault: dict[str, Any]) -> None:
    """One bad answer among thousands costs one more call."""
    runs = make_runs(3, 3)
    emulator, tracking, clock = serve(runs)
    emulator.faults.order(Fault(kind=kind, times=2, **fault))
    infos = list(tracking.list_runs())
    assert digests(tracking.read_runs([info.run_id for info in infos])) == digests(runs)
    assert len(clock.waited) == 2


@pytest.mark.parametrize("kind", ["runs/get", "metrics/get-history*"])
@pytest.mark.parametrize(
    ("answer", "error"),
    [(Response(status_code=500), TryAgain), (Response(status_code=403), BadSetup), (Response("<html>"), BadSetup)],
    ids=["500", "403", "html"],
)
def test_fault_that_stays_is_that_run_s_alone(
    serve: Serve, kind: str, answer: Response, error: type[Exception]
) -> None:
    """Too large for the server, of an experiment that is not ours to read, ...: the other runs follow."""
    runs = make_runs(3, 3)
    emulator, tracking, _ = serve(runs)
    bad = runs[1].info.run_id

    def fail(called: str, query: Any) -> Response | None:
        asked = query.getlist("run_id") if called.startswith("metrics") else [query.get("run_id")]
        return answer if fnmatchcase(called, kind) and bad in asked else None

    emulator.replace = fail
    found = list(tracking.read_runs([run.info.run_id for run in runs]))
    (lost,) = [run for run in found if isinstance(run, LostRun)]
    assert (lost.run_id, type(lost.error)) == (bad, error)
    assert digests(run for run in found if isinstance(run, RawRun)) == digests([runs[0], runs[2]])


@pytest.mark.parametrize("kind", ["runs/get", "*/*"])
def test_fault_of_every_run_ends_the_reading(serve: Serve, kind: str) -> None:
    """Also where the server answers other questions: no one waits minutes for each of thousands of runs."""
    runs = make_runs(3, 3)
    emulator, tracking, _ = serve(runs)
    emulator.faults.order(Fault(kind=kind, times=1_000, status=500))
    with pytest.raises(TryAgain, match="answered 500"):
        list(tracking.read_runs([run.info.run_id for run in runs]))


def test_server_whose_database_is_away_is_no_run_s_fault(serve: Serve) -> None:
    """/health says OK without one. After five tries the caller's task decides."""
    emulator, tracking, clock = serve(make_runs(1, 3))
    emulator.faults.order(Fault(kind="*/*", times=1_000, status=500))
    with pytest.raises(TryAgain, match="runs/get answered 500"):
        list(tracking.read_runs([f"{0:032x}"]))
    assert emulator.faults.count("runs/get") == 5
    assert len(clock.waited) == 8


@pytest.mark.parametrize("answer", [{}, {"run": None}, {"run": {"info": {"run_id": "x"}}}, {"run": [1]}], ids=str)
def test_json_of_another_shape_is_that_run_s_fault_alone(serve: Serve, answer: dict[str, Any]) -> None:
    """An answer that MLflow would not give is no crash."""
    runs = make_runs(2, 3)
    emulator, tracking, _ = serve(runs)
    bad = runs[0].info.run_id
    emulator.replace = lambda kind, query: (
        JSONResponse(answer) if kind == "runs/get" and query["run_id"] == bad else None
    )
    lost, found = sorted(tracking.read_runs([run.info.run_id for run in runs]), key=lambda run: isinstance(run, RawRun))
    assert isinstance(lost, LostRun)
    assert isinstance(lost.error, BadRecord)
    assert bad in str(lost.error)
    assert isinstance(found, RawRun)


def test_run_that_is_deleted_while_it_is_read_is_lost_alone(serve: Serve) -> None:
    """Gone for good between its head and its history: NotFound, and the others follow."""
    runs = make_runs(2, 3)
    emulator, tracking, _ = serve(runs)
    gone = runs[0].info.run_id

    def delete(kind: str, _query: Any) -> Response | None:
        if kind == "metrics/get-history-bulk":
            for table in ("metrics", "latest_metrics", "params", "tags", "runs"):
                emulator._sql(f"DELETE FROM {table} WHERE run_uuid = ?", gone)
        return None

    emulator.replace = delete
    lost, found = sorted(tracking.read_runs([run.info.run_id for run in runs]), key=lambda run: isinstance(run, RawRun))
    assert isinstance(lost, LostRun)
    assert (lost.run_id, type(lost.error)) == (gone, NotFound)
    assert isinstance(found, RawRun)
    assert to_source_digest(found) == to_source_digest(runs[1])


def test_history_that_lacks_its_end_is_refused(serve: Serve) -> None:
    """A server, or a proxy, that keeps the last points back must not make a shorter history."""
    runs = make_runs(2, 30)
    emulator, tracking, _ = serve(runs)
    emulator._sql("DELETE FROM metrics WHERE run_uuid = ? AND step >= 28", runs[0].info.run_id)
    lost = [run for run in tracking.read_runs([run.info.run_id for run in runs]) if isinstance(run, LostRun)]
    assert [run.run_id for run in lost] == [runs[0].info.run_id]
    assert isinstance(lost[0].error, BadRecord)
    assert "must reach step 29, its latest; got 28 points up to 27" in str(lost[0].error)


@pytest.mark.parametrize("same_token", [True, False])
@pytest.mark.parametrize("kind", ["runs/search", "experiments/search"])
def test_page_that_never_ends_is_noticed(serve: Serve, kind: str, same_token: bool) -> None:
    """A token that leads back, or pages that hold nothing new, would be read for ever."""
    emulator, tracking, _ = serve(make_runs(1, 1))
    tokens = itertools.count()

    def repeat(called: str, _query: Any) -> Response | None:
        if called != kind:
            return None
        experiment = {"experiment_id": "4", "name": "two-tower", "lifecycle_stage": "active"}
        run = {"info": {"run_id": "a" * 32, "experiment_id": "4", "status": "FINISHED", "lifecycle_stage": "active"}}
        token = "again" if same_token else str(next(tokens))
        items = {"experiments": [experiment]} if kind == "experiments/search" else {"runs": [run]}
        return JSONResponse(items | {"next_page_token": token})

    emulator.replace = repeat
    with pytest.raises(BadRecord, match=r"nothing new|twice"):
        list(tracking.list_runs())


def test_history_whose_pages_never_end_is_that_run_s_fault_alone(serve: Serve) -> None:
    """The other runs of the batch are read."""
    runs = make_runs(2, 3)
    emulator, tracking, _ = serve(runs, has_bulk=False)

    def repeat(kind: str, query: Any) -> Response | None:
        if kind == "metrics/get-history" and query["run_id"] == runs[0].info.run_id:
            return JSONResponse({"metrics": [], "next_page_token": "again"})
        return None

    emulator.replace = repeat
    found = list(tracking.read_runs([run.info.run_id for run in runs]))
    assert {type(run).__name__ for run in found} == {"LostRun", "RawRun"}


def test_login_page_is_no_answer(serve: Serve) -> None:
    """HTML with status 200, and a redirect to where one logs in: both say what to look at."""
    emulator, tracking, _ = serve([])
    emulator.replace = lambda kind, _: Response("<html>Sign in</html>") if kind == "experiments/search" else None
    with pytest.raises(BadSetup, match=r"must answer JSON; got .*Sign in.*MLFLOW_TRACKING_URI"):
        list(tracking.list_runs())
    emulator.replace = lambda *_: Response(status_code=302, headers={"Location": "https://accounts.example/login"})
    with pytest.raises(BadSetup, match=r"answered 302, elsewhere \(https://accounts\.example/login\)"):
        list(tracking.list_runs())


def test_json_of_another_kind_is_no_answer(serve: Serve) -> None:
    """A list, where an object must be."""
    emulator, tracking, _ = serve([])
    emulator.replace = lambda kind, _: JSONResponse([1]) if kind == "experiments/search" else None
    with pytest.raises(BadSetup, match="must answer a JSON object"):
        list(tracking.list_runs())


def test_who_may_not_read_is_told_what_to_set(serve: Serve) -> None:
    """401 and 403 do not pass by waiting."""
    _, tracking, clock = serve([], token="a-token")
    with pytest.raises(BadSetup, match=r"answered 401.*MLFLOW_TRACKING_AUTH.*MLFLOW_TRACKING_TOKEN"):
        list(tracking.list_runs())
    assert clock.waited == []


def test_token_of_the_settings_goes_to_the_server(serve: Serve) -> None:
    """As MLflow's own client sends it; and no settings object shows it."""
    _, tracking, _ = serve(make_runs(1, 1), token="a-token")
    settings = read_settings({"MLFLOW_TRACKING_URI": tracking._server.url + "/", "MLFLOW_TRACKING_TOKEN": "a-token"})
    reader = open_server(settings, requests.Session)
    try:
        assert len(list(reader.list_runs())) == 1
        assert reader._server._session().headers["User-Agent"].startswith("switchyard/")
    finally:
        reader.close()
    assert "a-token" not in repr(settings)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("postgresql://user:s3cret@host/db", "database's URL belongs into MLFLOW_BACKEND_STORE_URI"),
        ("https://user:s3cret@host", "without a name or password in it"),
        ("s3://bucket/mlruns", "a path, file:///<path> or gs://"),
        ("localhost:5000", "without a name or password in it"),
        ("databricks", "https://<workspace's host> and MLFLOW_TRACKING_TOKEN"),
        ("databricks://profile", "https://<workspace's host> and MLFLOW_TRACKING_TOKEN"),
    ],
)
def test_address_that_is_no_server_is_refused_without_its_password(uri: str, said: str) -> None:
    """Only when MLflow is used: the variable may be set for other programs. The message names what is known."""
    outside = Outside(read_settings({"MLFLOW_TRACKING_URI": uri}))
    with pytest.raises(BadSetup, match=f"MLFLOW_TRACKING_URI must be .*{said}") as raised:
        outside.tracking  # noqa: B018 - opening it raises
    settings = outside.settings
    assert "s3cret" not in str(raised.value) + repr(settings)


def test_run_that_goes_on_while_it_is_read_is_read(serve: Serve) -> None:
    """More points than the run's head knew of are no fault."""
    runs = make_runs(1, 3)
    emulator, tracking, _ = serve(runs)
    run_id = runs[0].info.run_id
    emulator._sql("UPDATE latest_metrics SET step = 1 WHERE run_uuid = ?", run_id)
    (found,) = tracking.read_runs([run_id])
    assert isinstance(found, RawRun)
    assert list(found.metrics["loss"].steps) == [0, 1, 2]


def test_infinities_are_infinities_and_nan_is_nan(serve: Serve) -> None:
    """By the bulk call, where NaN is a bare token, and by get-history, where it is a text."""
    values = make_points((0, float("inf")), (1, float("-inf")), (2, float("nan")), (3, 1.5))
    run = make_small({"loss": values})
    _, tracking, _ = serve([run])
    bulk = tracking._read_key("loss", [run.info.run_id])[run.info.run_id][:3]
    single = tracking._read_history(run.info.run_id, "loss")[:3]
    assert str(bulk) == str(single) == "([0, 1, 2, 3], " + str(list(values.timestamps_ms)) + ", [inf, -inf, nan, 1.5])"


def test_a_server_that_says_whose_a_point_is_is_understood(serve: Serve) -> None:
    """MLflow 3 over files names the model and the data set of a point; the run's own points have neither."""
    points = make_points((0, 3.0), (1, 2.0), (1, 1_500, 9.0))
    emulator, tracking, _ = serve([make_small({"loss": points}, info=make_info(run_id="a" * 32))])

    def tell(kind: str, query: Any) -> Response | None:
        if not kind.startswith("metrics/"):
            return None
        told = [
            {"key": "loss", "value": value, "timestamp": time, "step": step, "run_id": "a" * 32}
            | ({"model_id": "m-1", "dataset_name": "holdout"} if value == 9.0 else {})
            for step, time, value in zip(points.steps, points.timestamps_ms, points.values, strict=True)
        ]
        return JSONResponse({"metrics": told})

    emulator.replace = tell
    (found,) = tracking.read_runs(["a" * 32])
    assert isinstance(found, RawRun)
    assert found.owned == [OwnedPoint("loss", 1, points.timestamps_ms[-1], 9.0, "m-1", "holdout")]
    assert from_points(found).loss == {"loss": [3.0, 2.0]}
