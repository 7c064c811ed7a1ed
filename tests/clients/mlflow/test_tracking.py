"""`core.ports.Tracking`: one suite on every way of reading an MLflow store."""

import math
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
import requests

from switchyard.clients.connect import Outside
from switchyard.clients.mlflow import postgres as postgres_store
from switchyard.clients.mlflow.export.from_tracking import Answers, export_answers
from switchyard.clients.mlflow.export.reader import open_export
from switchyard.clients.mlflow.http import MlflowServer, Patience
from switchyard.clients.mlflow.rest import RestTracking
from switchyard.clients.mlflow.sql import open_store
from switchyard.clients.objects.open import open_objects
from switchyard.clients.settings import read_settings
from switchyard.core.errors import BadRecord, BadSetup, NotFound
from switchyard.core.mlflow.facts import to_look
from switchyard.core.mlflow.keys import CHARTED, SCALARS
from switchyard.core.mlflow.mapping import from_points
from switchyard.core.mlflow.raw_run import Keys, LostRun, OwnedPoint, RawRun, TrackedRun, to_source_digest
from switchyard.core.ports import ANY, Tracking
from tests.clients.mlflow.export.answering import serve_store as server_over
from tests.clients.mlflow.export.exports import export_to
from tests.clients.mlflow.folders import write_folder
from tests.clients.mlflow.stores import (
    POSTGRES_SCHEMA,
    add_point,
    add_runs,
    find_fixture,
    make_mysql,
    make_sqlite,
    restore,
    to_libpq,
)
from tests.core.mlflow.factories import INF, NAN, START_MS, make_info, make_points, make_run, make_series, make_small
from tests.emulators.mlflow_rest import MlflowEmulator
from tests.emulators.server import serve_in_thread
from tests.mariadb import MariaDB
from tests.postgres import Postgres

MYSQL_WAYS = [
    pytest.param(way, marks=[pytest.mark.slow, pytest.mark.needs_mlflow]) for way in ("mysql", "export of mysql")
]
"""On a real MariaDB, which `make test-mlflow` has: `make test` needs none."""
WAYS = (
    "postgres",
    "sqlite",
    "rest 2.9.2",
    "rest 3",
    "rest without bulk",
    "export of postgres",
    "export of sqlite",
    "export on gs",
    "export of a server",
    "folder",
    "folder on gs",
    *MYSQL_WAYS,
)
SECRET = "s3cret"
SCHEMA = "schema acf3f17fdcc7"
DESCRIBED = {
    "postgres": f"MLflow store {{address}} by SQL ({SCHEMA})",
    "sqlite": f"MLflow store {{address}} by SQL ({SCHEMA})",
    "mysql": f"MLflow store {{address}} by SQL ({SCHEMA})",
    "rest 2.9.2": "the MLflow server {address} over REST",
    "rest 3": "the MLflow server {address} over REST",
    "rest without bulk": "the MLflow server {address} over REST",
    "export of postgres": f"the export at {{address}}, taken at TIME (postgresql, MLflow {SCHEMA}, ROWS rows)",
    "export of sqlite": f"the export at {{address}}, taken at TIME (sqlite, MLflow {SCHEMA}, ROWS rows)",
    "export of mysql": f"the export at {{address}}, taken at TIME (mysql, MLflow {SCHEMA}, ROWS rows)",
    "export on gs": f"the export at {{address}}, taken at TIME (sqlite, MLflow {SCHEMA}, ROWS rows)",
    "export of a server": "the export at {address}, taken at TIME (the MLflow server SERVER over REST, ROWS rows)",
    "folder": "the MLflow folder {address}",
    "folder on gs": "the MLflow folder {address}",
}
"""What manifests say, word for word: they are records, and compared with one another."""
SMALL = [
    make_run(run_id="a" * 32),
    make_small(
        {
            "loss": make_points((0, 3.0), (0, 500, 2.5), (1, INF), (2, NAN)),
            "weight_norm": make_points((0, -INF), (1, -0.0), (-3, 5e-324)),
            "métrique/α b.c": make_series([1.0]),  # noqa: RUF001 - a name as people have them
            "final_loss": make_points((0, 0.5)),
            "finally": make_points((0, 0.5)),
        },
        info=make_info(run_id="b" * 32, name="", status="RUNNING", ended_at_ms=None, artifact_uri="gs://bucket/b"),
        tags={"mlflow.runName": "Übung 训练 🚀", "note": "tab\there, new\nline, back\\slash"},
    ),
    make_small({}, info=make_info(run_id="c" * 32, status="KILLED", lifecycle="deleted")),
    make_run(
        run_id="d" * 32, experiment_id="7", experiment="Отчёты", experiment_lifecycle="deleted", lifecycle="deleted"
    ),
    make_small({"batch_loss": make_series([i / 7 for i in range(25_500)])}, info=make_info(run_id="e" * 32)),
    make_small({"loss": make_points((0, 3.0)), "rmse": make_points((0, 2.0))}, info=make_info(run_id="f1" * 16)),
    make_small({"rmse": make_points((4, 0, 2.0), (4, 500, 1.0))}, info=make_info(run_id="f2" * 16)),
    make_small({"query_weights_mean": make_series([1.0, 2.0])}, info=make_info(run_id="f3" * 16)),
    make_small({"query_hist_bin_3": make_series([1.0, 2.0])}, info=make_info(run_id="f4" * 16)),
]


@dataclass
class Store:
    """One way of reading, and what to compare it with."""

    tracking: Tracking
    way: str
    address: str  # as a manifest may name it

    def read(self, run_ids: list[str], keys: Keys | None = None) -> dict[str, RawRun]:
        found: dict[str, RawRun] = {}
        for run in self.tracking.read_runs(run_ids, keys=keys):
            assert isinstance(run, RawRun), run
            found[run.info.run_id] = run
        return found


class Opener:
    """Opens a store of given runs, or the fixture's, by any way."""

    def __init__(self, folder: Path, postgres: Callable[[], Postgres], mariadb: Callable[[], MariaDB]) -> None:
        self._folder = folder
        self._postgres = postgres
        self._mariadb = mariadb
        self._made: dict[str, str] = {}
        self._exports: dict[str, str] = {}

    def open(self, way: str, runs: list[RawRun] | None, stack: ExitStack, *, name: str = "small") -> Store:
        """`runs` None: the fixture's. Other runs have another `name`."""
        name = "fixture" if runs is None else name
        kind = next((kind for kind in ("postgres", "mysql") if kind in way), "sqlite")
        uri = self.make(kind, name, runs)
        tracking: Tracking
        if way.startswith("folder"):
            address = self._write_folder(way, name, runs, uri)
            tracking = open_tracking({"MLFLOW_TRACKING_URI": address})
        elif way.startswith("rest"):
            emulator = MlflowEmulator(
                Path(uri.removeprefix("sqlite:///")), pages_histories=way == "rest 3", has_bulk="without" not in way
            )
            stack.callback(emulator.close)
            url = stack.enter_context(serve_in_thread(emulator.app))
            tracking = RestTracking(MlflowServer(url, _open_session, patience=Patience(pause=_never)))
            address = url
        elif way.startswith("export"):
            key = f"{way} {name}"
            if key not in self._exports:
                root = "gs://switchyard-test/tracking" if "gs" in way else self._folder.as_uri()
                to_uri = f"{root}/{key.replace(' ', '-')}"
                self._exports[key] = _export_server(uri, to_uri) if "server" in way else export_to(uri, to_uri)
            address = self._exports[key]
            tracking = Outside(read_settings({})).open_export(address)
        else:
            tracking = open_store(uri.replace("postgres:@", f"postgres:{SECRET}@"))  # the tests' server asks for none
            address = uri.partition("?")[0].replace("+psycopg2", "").replace("postgres:@", "postgres:***@")
            address = address.replace("+pymysql", "").replace(f":{SECRET}@", ":***@")
        stack.callback(tracking.close)
        return Store(tracking, way, address)

    def _write_folder(self, way: str, name: str, runs: list[RawRun] | None, uri: str) -> str:
        """The URI of the folder; written once a session."""
        # What became of a folder is in the same place: marks are of the files that are there.
        key = f"{way} {name.replace('after', 'before')}"
        if f"{way} {name}" not in self._made:
            root = "gs://switchyard-test/tracking" if "gs" in way else self._folder.as_uri()
            if runs is None:
                with closing(open_store(uri)) as store:
                    ids = [run.run_id for run in store.list_runs()]
                    runs = [run for run in store.read_runs(ids) if isinstance(run, RawRun)]
            self._made[f"{way} {name}"] = f"{root}/{key.replace(' ', '-')}"
            write_folder(self._made[f"{way} {name}"], runs)
        return self._made[f"{way} {name}"]

    def make(self, kind: str, name: str, runs: list[RawRun] | None) -> str:
        """The store's URI; made once a session."""
        key = f"{kind} {name}"
        if key not in self._made:
            make = {"postgres": self._make_postgres, "mysql": self._make_mysql, "sqlite": self._make_sqlite}[kind]
            self._made[key] = make(name, runs)
        return self._made[key]

    def _make_mysql(self, name: str, runs: list[RawRun] | None) -> str:
        server = self._mariadb()
        database = make_mysql(server, find_fixture() if runs is None else None)
        if runs is not None:
            with closing(server.connect(database)) as connection, connection.cursor() as cursor:
                add_runs(cursor, runs)
                connection.commit()
        return server.url(database)

    def _make_postgres(self, name: str, runs: list[RawRun] | None) -> str:
        dump = find_fixture()
        server = self._postgres()
        database = server.make_database()
        restore(server, database, dump if runs is None else POSTGRES_SCHEMA)
        if runs is not None:
            with psycopg.connect(to_libpq(server.url(database))) as connection:
                add_runs(connection, runs)
        return server.url(database).replace("+psycopg", "+psycopg2")

    def _make_sqlite(self, name: str, runs: list[RawRun] | None) -> str:
        path = make_sqlite(self._folder / f"{name}.db", find_fixture() if runs is None else None)
        if runs is not None:
            with sqlite3.connect(path) as connection:
                add_runs(connection, runs)
            connection.close()
        return f"sqlite:///{path}"


def open_tracking(environ: dict[str, str]) -> Tracking:
    return Outside(read_settings(environ)).tracking


def _export_server(uri: str, to_uri: str) -> str:
    """Exports what a server over that file tells; returns the export's URI."""
    with server_over(Path(uri.removeprefix("sqlite:///"))) as (_, store):
        export_answers(Answers(store, store, store), to_uri, open_objects(to_uri))
    return to_uri


def _open_session() -> requests.Session:
    session = requests.Session()
    session.auth = ("reader", SECRET)
    return session


def _never(seconds: float) -> None:
    raise AssertionError(f"nothing should have to be tried again, after {seconds} s")


@pytest.fixture(scope="module")
def opener(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Opener:
    def server() -> Postgres:
        found = request.getfixturevalue("postgres")
        assert isinstance(found, Postgres)
        return found

    def mysql_server() -> MariaDB:
        found = request.getfixturevalue("mariadb")
        assert isinstance(found, MariaDB)
        return found

    return Opener(tmp_path_factory.mktemp("mlflow"), server, mysql_server)


def _reach(request: pytest.FixtureRequest) -> None:
    if "gs" in request.param:
        request.getfixturevalue("gcs")


@pytest.fixture(params=WAYS)
def small(request: pytest.FixtureRequest, opener: Opener) -> Iterator[Store]:
    """SMALL, by each way."""
    _reach(request)
    with ExitStack() as stack:
        yield opener.open(request.param, SMALL, stack)


@pytest.fixture(params=[way for way in WAYS if way != "folder on gs"])  # 3,000 files, each a call there and back
def legacy(request: pytest.FixtureRequest, opener: Opener) -> Iterator[Store]:
    """The legacy database, by each way."""
    _reach(request)
    with ExitStack() as stack:
        yield opener.open(request.param, None, stack)


def named(run: RawRun) -> TrackedRun:
    """As a reader should see it: with the name from the tag, where there is no other."""
    return msgspec.structs.replace(run.info, name=run.info.name or run.tags.get("mlflow.runName", ""))


def test_all_runs_are_listed_once_with_what_mlflow_says_of_them(small: Store) -> None:
    """Deleted ones, nameless ones and those of deleted experiments too."""
    found = sorted(small.tracking.list_runs(), key=lambda run: run.run_id)
    assert found == [named(run) for run in SMALL]


def test_runs_of_named_experiments_are_listed_alone(small: Store) -> None:
    """An experiment's name may be in any script, and deleted."""
    found = list(small.tracking.list_runs(experiments=["Отчёты"]))
    assert [run.run_id for run in found] == ["d" * 32]


def test_experiment_that_is_not_there_is_named(small: Store) -> None:
    """A misspelt filter must not look like an empty store."""
    with pytest.raises(NotFound, match="no experiment named 'two-towers'"):
        list(small.tracking.list_runs(experiments=["two-tower", "two-towers"]))


def test_every_point_param_and_tag_is_read(small: Store) -> None:
    """True infinities and NaN, repeated and negative steps, 25,500 points of one key, each to the last bit."""
    found = small.read([run.info.run_id for run in SMALL])
    assert found.keys() == {run.info.run_id for run in SMALL}
    for run in SMALL:
        expected = msgspec.structs.replace(run, info=named(run))
        got = found[run.info.run_id]
        assert (got.info, got.params, got.tags) == (expected.info, expected.params, expected.tags)
        assert got.metrics.keys() == expected.metrics.keys()
        assert to_source_digest(got) == to_source_digest(expected)


@pytest.mark.parametrize("many", [2, 1_000])
def test_all_but_the_bins_are_read(small: Store, many: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every key but the histograms' bins is read; params and tags are whole.

    It does not matter whether a store has more keys than are asked for one by one."""
    monkeypatch.setattr(postgres_store, "_MANY_KEYS", many)
    found = small.read([run.info.run_id for run in SMALL], SCALARS)
    assert len(found["a" * 32].metrics) == len(SMALL[0].metrics) - 100
    for run in SMALL:
        scalars = {key: points for key, points in run.metrics.items() if key in SCALARS}
        expected = msgspec.structs.replace(run, info=named(run), metrics=scalars)
        got = found[run.info.run_id]
        assert got.keys == SCALARS
        assert (got.params, got.tags) == (expected.params, expected.tags)
        assert to_source_digest(got) == to_source_digest(expected)


@pytest.mark.parametrize("way", ["postgres", "sqlite", "export of postgres", "export of sqlite", *MYSQL_WAYS])
def test_points_of_models_and_data_sets_are_told_from_the_runs_own(
    way: str, opener: Opener, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """MLflow 3 notes them in a table of their own, and in the run's; a store of MLflow 2 has no such table."""
    run = make_small({"loss": make_points((0, 3.0), (1, 2.0), (1, 1_500, 9.0))}, info=make_info(run_id="a" * 32))
    uri = opener.make(way.rpartition(" ")[2], f"owned by {way}", [run])
    columns = "model_id VARCHAR(36), metric_name VARCHAR(500), metric_timestamp_ms BIGINT, metric_step BIGINT"
    more = "metric_value FLOAT, experiment_id INTEGER, run_id VARCHAR(32), dataset_uuid VARCHAR(36)"
    table = (
        f"CREATE TABLE logged_model_metrics ({columns}, {more}, dataset_name VARCHAR(500), dataset_digest VARCHAR(36))"
    )
    row = f"'m-1', 'loss', {START_MS + 1_500}, 1, 9.0, 4, '{'a' * 32}', 'u', 'holdout', 'd'"
    statements = (table.replace("FLOAT", "DOUBLE PRECISION"), f"INSERT INTO logged_model_metrics VALUES ({row})")
    if "mysql" in way:
        request.getfixturevalue("mariadb").execute(*statements, database=uri.rpartition("/")[2])
    else:
        connect: Any = sqlite3.connect if "sqlite" in way else psycopg.connect
        address = uri.removeprefix("sqlite:///") if "sqlite" in way else to_libpq(uri.replace("+psycopg2", "+psycopg"))
        with closing(connect(address)) as database:
            for statement in statements:
                database.execute(statement)
            database.commit()
    tracking: Tracking = open_store(uri)
    if way.startswith("export"):
        tracking = open_export(export_to(uri, (tmp_path / "export").as_uri()), open_objects(tmp_path.as_uri()))
    with closing(tracking):
        (found,) = tracking.read_runs(["a" * 32], keys=SCALARS)
    assert isinstance(found, RawRun)
    assert list(found.owned) == [OwnedPoint("loss", 1, START_MS + 1_500, 9.0, "m-1", "holdout")]
    assert from_points(found).loss == {"loss": [3.0, 2.0]}
    assert from_points(found).other_series["loss (holdout)"].values == [9.0]


def test_chosen_keys_are_read_alone(small: Store) -> None:
    """By name and by prefix; params and tags are whole. A key that only starts alike is not read."""
    found = small.read([run.info.run_id for run in SMALL], CHARTED)
    assert found["b" * 32].metrics.keys() == {"loss", "weight_norm", "final_loss"}
    assert found["b" * 32].keys == CHARTED
    assert found["b" * 32].tags == SMALL[1].tags
    assert found["e" * 32].metrics == {}
    for run in SMALL:
        whole = {key: points for key, points in run.metrics.items() if key in CHARTED}
        expected = msgspec.structs.replace(run, info=named(run), metrics=whole)
        assert to_source_digest(found[run.info.run_id]) == to_source_digest(expected)


def test_keys_by_name_alone_are_read(small: Store) -> None:
    """Without a prefix no list of all keys is needed."""
    found = small.read(["b" * 32], Keys(frozenset({"loss", "not there"})))
    assert found["b" * 32].metrics.keys() == {"loss"}


def test_run_that_is_not_there_is_lost_and_the_others_follow(small: Store) -> None:
    """Each run asked for is answered once, whatever becomes of the others."""
    asked = ["0" * 32, "a" * 32, "aa", "c" * 32, "a" * 32]
    found = list(small.tracking.read_runs(asked))
    lost = {run.run_id: run.error for run in found if isinstance(run, LostRun)}
    assert lost.keys() == {"0" * 32, "aa"}
    assert all(isinstance(error, NotFound) for error in lost.values())
    assert sorted(run.info.run_id for run in found if isinstance(run, RawRun)) == ["a" * 32, "c" * 32]


def test_look_says_what_reading_says(small: Store) -> None:
    """It says the status, when it was last logged to, and whether there are curves, values or nothing.

    It says nothing of a run that is not there."""
    ids = [run.info.run_id for run in SMALL]
    looks = {look.info.run_id: look for look in small.tracking.look_at_runs([*ids, ids[0], "f" * 32])}
    assert looks == {run_id: to_look(run) for run_id, run in small.read(ids).items()}
    assert [looks[run_id].shows for run_id in ids[:5]] == ["curves", "curves", "nothing", "curves", "curves"]
    # One epoch is a curve of one point; one step that was said again, and what is of no chart, is none.
    assert [looks[run_id].shows for run_id in ids[5:]] == ["curves", "values", "values", "nothing"]


def marked_runs() -> dict[str, tuple[RawRun, RawRun]]:
    """A run and what became of it, by what has changed."""
    curve = make_points((0, 0.1), (1, NAN))
    run = msgspec.structs.replace(
        make_small({"loss": curve, "acc": make_points((1, 0.5))}), params={"lr": "0.1", "of": ""}, tags={"a": "b"}
    )
    deleted = make_info(experiment_id="8", experiment="gone", experiment_lifecycle="deleted")
    infos = {
        "status": make_info(status="RUNNING"),
        "end": make_info(ended_at_ms=START_MS + 60_001),
        "name": make_info(name="another"),
        "deleted": make_info(lifecycle="deleted"),
        "experiment deleted": deleted,
        "experiment": make_info(experiment_id="9", experiment="other"),
    }
    points = {
        "last bit": {"loss": make_points((0, 0.1), (1, math.nextafter(0.1, 1)))},
        "later step": {"loss": make_points((0, 0.1), (2, NAN))},
        "step of the same halves": {"loss": make_points((0, 0.1), (2**32, 1_000, NAN))},
        "later time": {"loss": make_points((0, 0.1), (1, 1_001, NAN))},
        "no longer NaN": {"loss": make_points((0, 0.1), (1, 0.0))},
        "infinite": {"loss": make_points((0, 0.1), (1, INF))},
        "other infinity": {"loss": make_points((0, 0.1), (1, -INF))},
        "another metric": {"loss": curve, "acc": make_points((1, 0.5)), "rmse": make_points((1, 0.5))},
        "metrics exchanged": {"acc": curve, "loss": make_points((1, 0.5))},
        "no metric any more": {},
    }
    pairs: dict[str, dict[str, dict[str, str]]] = {
        "param": {"params": {"lr": "0.2", "of": ""}},
        "new param": {"params": {"lr": "0.1", "of": "", "n": ""}},
        "one param of two": {"params": {"lr": "0.1of"}},
        "tag": {"tags": {"a": "c"}},
        "no tag": {"tags": {}},
        "param for tag": {"params": {"a": "b"}, "tags": {"lr": "0.1", "of": ""}},
    }
    changed = {what: msgspec.structs.replace(run, info=info) for what, info in infos.items()}
    changed |= {what: msgspec.structs.replace(run, metrics=metrics) for what, metrics in points.items()}
    changed |= {what: msgspec.structs.replace(run, **some) for what, some in pairs.items()}
    found = {what: (run, after) for what, after in changed.items()}
    # The other infinity was one before, and an earlier point is not looked for: `verify` finds it.
    found["other infinity"] = (changed["infinite"], changed["other infinity"])
    found |= {"nothing": (run, run), "nothing, without metrics": (changed["no metric any more"],) * 2}
    return {
        what: (_numbered(before, number), _numbered(after, number))
        for number, (what, (before, after)) in enumerate(found.items(), 1)
    }


def _numbered(run: RawRun, number: int) -> RawRun:
    return msgspec.structs.replace(run, info=msgspec.structs.replace(run.info, run_id=f"{number:032x}"))


def _reversed(run: RawRun) -> RawRun:
    """The same run, whose rows are stored the other way round."""
    pairs = {name: dict(reversed(getattr(run, name).items())) for name in ("metrics", "params", "tags")}
    return msgspec.structs.replace(run, **pairs)


@pytest.mark.parametrize("way", WAYS)
def test_mark_differs_where_a_run_has_changed(way: str, opener: Opener, request: pytest.FixtureRequest) -> None:
    """It covers row, experiment, params, tags and latest metrics, to the last bit. An untouched run keeps its mark.

    It does not cover the order in which rows lie, nor the place of the store."""
    if "gs" in way:
        request.getfixturevalue("gcs")
    runs = marked_runs()
    befores = [before for before, _ in runs.values()]
    afters = [_reversed(after) for _, after in reversed(runs.values())]
    with ExitStack() as stack:
        first = list(opener.open(way, befores, stack, name="before").tracking.read_marks())
        store = opener.open(way, afters, stack, name="after").tracking
        second, third = list(store.read_marks()), list(store.read_marks())
    assert sorted(mark.run_id for mark in first) == [before.info.run_id for before in befores]
    assert second == third
    marks = {mark.run_id: mark for mark in second}
    assert len({mark.mark.partition(":")[0] for mark in first + second}) == 1
    same = {mark.run_id for mark in first if mark.mark == marks[mark.run_id].mark}
    assert same == {runs[what][1].info.run_id for what in ("nothing", "nothing, without metrics")}
    for _, after in runs.values():
        mark = marks[after.info.run_id]
        assert (mark.lifecycle, mark.experiment_lifecycle) == (after.info.lifecycle, after.info.experiment_lifecycle)
    deleted = {runs[what][1].info.run_id for what in ("deleted", "experiment deleted")}
    assert {mark.run_id for mark in second if mark.is_deleted} == deleted


def test_marks_of_named_experiments_are_read_alone(small: Store) -> None:
    """As runs are listed; a name that is not there is an error, and no empty store."""
    assert [mark.run_id for mark in small.tracking.read_marks(experiments=["Отчёты"])] == ["d" * 32]
    whole = {mark.run_id: mark for mark in small.tracking.read_marks()}
    assert whole.keys() == {run.info.run_id for run in SMALL}
    assert list(small.tracking.read_marks(experiments=["Отчёты"])) == [whole["d" * 32]]
    with pytest.raises(NotFound, match="no experiment named 'two-towers'"):
        list(small.tracking.read_marks(experiments=["two-tower", "two-towers"]))


def test_store_is_identified_the_same_by_every_way(small: Store) -> None:
    """By its experiments' ids, and when each was made, to the millisecond."""
    identity = small.tracking.identify()
    made = {id_: one.created_at_ms for id_, one in identity.experiments.items() if id_ != "0"}  # MLflow's own
    assert made == dict.fromkeys({run.info.experiment_id for run in SMALL}, 1_690_000_000_000)
    assert identity.is_of(small.tracking.identify())


def test_runs_can_be_read_while_they_are_listed(small: Store) -> None:
    """The natural loop works, and one that is left early leaves nothing behind."""
    found = [small.read([run.run_id], CHARTED)[run.run_id].info for run in small.tracking.list_runs()]
    assert len(found) == len(SMALL)
    next(iter(small.tracking.list_runs()))
    next(iter(small.tracking.read_runs(["a" * 32, "b" * 32])))
    assert len(list(small.tracking.list_runs())) == len(SMALL)


def test_store_says_which_it_is_and_by_what_way(small: Store) -> None:
    """In the words of every manifest: the address, and the schema's version where there is one."""
    found = re.sub(r"taken at \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "taken at TIME", small.tracking.describe())
    found = re.sub(r"[1-9]\d* rows", "ROWS rows", found)
    if small.way == "export of a server":  # which is gone
        found = re.sub(r"http://[\w.:]+", "SERVER", found)
    assert found == DESCRIBED[small.way].format(address=small.address)


def test_store_never_says_its_password(small: Store) -> None:
    """A manifest is kept for years, and shown to many."""
    assert SECRET not in small.tracking.describe() + repr(small.tracking)


@pytest.mark.parametrize("damage", ["other rows", "missing"])
@pytest.mark.parametrize("place", ["file", "gs"])
def test_export_that_was_changed_is_not_described(
    place: str, damage: str, opener: Opener, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Each call reads every part again, also those that no history is made of."""
    uri = (tmp_path / "export").as_uri() if place == "file" else str(request.getfixturevalue("gcs_root"))
    objects = open_objects(export_to(opener.make("sqlite", "small", SMALL), uri))
    tracking = open_export(f"{uri}/", objects)
    assert tracking.describe().startswith(f"the export at {uri}/, taken at ")  # as it was asked for
    (params,) = objects.list(f"{uri}/tables/params/")
    (tags,) = objects.list(f"{uri}/tables/experiment_tags/") or objects.list(f"{uri}/tables/tags/")
    if damage == "missing":
        objects.delete(tags, if_generation=ANY)
    else:
        objects.write(tags, objects.read(params)[0], if_generation=ANY)
    words = "this part of the export is missing" if damage == "missing" else r"must hold \d+ rows"
    with pytest.raises(BadRecord, match=rf"{re.escape(tags)}: .*{words}"):
        tracking.describe()


def test_nothing_asked_nothing_read(small: Store) -> None:
    """An empty list is no error."""
    assert list(small.tracking.read_runs([])) == []


def test_legacy_database_is_read_the_same_by_every_way(legacy: Store, opener: Opener) -> None:
    """Each of its 24 runs has the source digest that the Postgres reader finds, and becomes a record."""
    with ExitStack() as stack:
        reference = opener.open("postgres", None, stack)
        infos = {run.run_id: run for run in reference.tracking.list_runs()}
        assert len(infos) == 24
        expected = {run_id: to_source_digest(run) for run_id, run in reference.read(list(infos)).items()}
    assert {run.run_id: run for run in legacy.tracking.list_runs()} == infos
    found = legacy.read(list(infos))
    assert {run_id: to_source_digest(run) for run_id, run in found.items()} == expected
    records = {run.tags.get("fixture.case", ""): from_points(run) for run in found.values()}
    assert (records["failed"].status, records["killed_empty"].available) == ("failed", False)
    assert len(records["long_key"].other_series["batch_loss"].values) == 30_000
    assert records["inf"].non_finite["loss"]["loss"] == {"3": "inf", "49": "inf"}
    assert len(records["nan"].non_finite["gradient_stats.query"]["mean"]) == 50


def test_source_is_not_touched(opener: Opener) -> None:
    """Every statement that would change something is refused, whatever the role's rights."""
    with ExitStack() as stack:
        store: Any = opener.open("postgres", SMALL, stack).tracking
        with (
            pytest.raises(BadSetup, match="read-only transaction"),
            store._reading() as connection,
        ):
            connection.execute("DELETE FROM tags")
        store = opener.open("sqlite", SMALL, stack).tracking
        with pytest.raises(Exception, match="readonly database"), store._reading() as connection:
            connection.execute("DELETE FROM tags")


def test_reader_needs_no_more_than_select(opener: Opener, postgres: Postgres) -> None:
    """The role that the documentation advises can read everything."""
    uri = opener.make("postgres", "small", SMALL)
    database = uri.partition("?")[0].rpartition("/")[2]
    postgres.execute("CREATE ROLE mlflow_reader LOGIN PASSWORD 'a word'")
    for right in ("USAGE ON SCHEMA public", "SELECT ON ALL TABLES IN SCHEMA public"):
        postgres.execute(f"GRANT {right} TO mlflow_reader", database=database)
    store = open_store(postgres.url(database).replace("postgres:@", "mlflow_reader:a%20word@"))
    try:
        assert len(list(store.read_runs([run.info.run_id for run in SMALL]))) == len(SMALL)
    finally:
        store.close()
        postgres.execute("DROP OWNED BY mlflow_reader", database=database)
        postgres.execute("DROP ROLE mlflow_reader")


@pytest.mark.parametrize("versions", [(), ("ffffffffffff",), ("acf3f17fdcc7", "f4a9b2c7d1e6"), None])
def test_schema_that_we_do_not_know_is_refused(versions: tuple[str, ...] | None, tmp_path: Path) -> None:
    """Its tables may mean something else; nothing is guessed, and nothing migrated."""
    path = make_sqlite(tmp_path / "mlflow.db")
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM alembic_version")
        connection.executemany("INSERT INTO alembic_version VALUES (?)", [(version,) for version in versions or ()])
        if versions is None:
            connection.execute("DROP TABLE alembic_version")
    connection.close()
    before = path.read_bytes()
    store = open_store(f"sqlite:///{path}")
    with pytest.raises(BadSetup, match=r"MLflow 2.9.2 to 3.18 .* Nothing was changed"):
        list(store.list_runs())
    with pytest.raises(BadSetup, match=r"MLflow 2.9.2 to 3.18 .* Nothing was changed"):
        store.describe()
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("mssql+pyodbc://user:s3cret@host/db", r"read any other store over REST \(MLFLOW_TRACKING_URI\)"),
        ("mysql+pymysql://user:s3cret@host/db?ssl_ca=/none", "there is no file at /none, which ssl_ca names"),
        ("mysql+pymysql://user:s3cret@host/db?sslmode=require", "has the option sslmode, which we do not know. Known"),
        ("mysql+pymysql://user:s3cret@host", "must be postgresql"),
        ("not a url", "must be a database URL"),
        ("sqlite://", "sqlite:///<path of a file>"),
    ],
)
def test_store_that_sql_does_not_read_is_refused_without_its_password(uri: str, words: str) -> None:
    """SQL Server and the rest go over REST."""
    with pytest.raises(BadSetup, match=words) as raised:
        open_store(uri)
    assert "s3cret" not in str(raised.value)


def test_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    """At once, and not tried again as a disk that fails; nothing is created, and what is there is named."""
    (tmp_path / "text.db").write_text("hello, this is no database" * 100)
    (tmp_path / "short.db").write_text("hello")
    (tmp_path / "empty.db").touch()
    (tmp_path / "other.db").write_bytes(b"")
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        connection.execute("CREATE TABLE runs (a)")
    for name, said in (
        ("none.db", "there is no such file"),
        ("none/none.db", "there is no such file"),
        ("text.db/none.db", "there is no such file"),
        ("text.db", "not a database of SQLite's"),
        ("short.db", "not a database of SQLite's"),
        ("empty.db", "the file is empty"),
        ("other.db", "found nothing in alembic_version. It is no database of MLflow's"),
    ):
        with pytest.raises(BadSetup, match=rf"{re.escape(name)}.*{said}.*--backend-store-uri"):
            list(open_store(f"sqlite:///{tmp_path / name}").list_runs())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.db", "other.db", "short.db", "text.db"]


@pytest.mark.parametrize("setting", ["MLFLOW_BACKEND_STORE_URI", "MLFLOW_RESTORE_STORE_URI"])
def test_folder_is_no_database(setting: str, tmp_path: Path) -> None:
    """SQLite calls it a disk I/O error, which may pass; the message says what reads MLflow's own folder."""
    with pytest.raises(BadSetup, match=rf"{setting} must name a file .* is read by MLFLOW_TRACKING_URI={tmp_path}"):
        open_store(f"sqlite:///{tmp_path}", setting=setting)
    store = open_store(f"sqlite:///{tmp_path / 'made later'}")
    (tmp_path / "made later").mkdir()
    with pytest.raises(BadSetup, match=r"it is a folder; MLflow's own .* is read by MLFLOW_TRACKING_URI="):
        list(store.list_runs())


@pytest.mark.parametrize("version", ["3500859a5d39", "451aebb31d03"])
def test_schema_before_2_9_2_is_refused_with_the_way_out(version: str, tmp_path: Path) -> None:
    """On a copy, for MLflow upgrades what it is given."""
    path = make_sqlite(tmp_path / "mlflow.db")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (version,))
        connection.commit()
    with pytest.raises(BadSetup, match=rf"'{version}'. That is older. Copy .* `mlflow db upgrade <URL of the copy>`"):
        list(open_store(f"sqlite:///{path}").list_runs())


def test_run_with_bytes_that_are_no_text_is_lost_alone(tmp_path: Path) -> None:
    """One damaged param does not hide the other runs."""
    path = make_sqlite(tmp_path / "mlflow.db")
    with sqlite3.connect(path) as connection:
        add_runs(connection, SMALL[:2])
        connection.execute("UPDATE params SET value = CAST(x'ff41' AS TEXT) WHERE key = 'optimizer'")
        add_point(connection, "b" * 32, "nul\x00byte", 0, 1, math.pi)
    connection.close()
    lost, found = open_store(f"sqlite:///{path}").read_runs(["a" * 32, "b" * 32])
    assert isinstance(lost, LostRun)
    assert "cannot be read" in str(lost.error)
    assert isinstance(found, RawRun)
    assert found.metrics["nul\x00byte"].values == [math.pi]
