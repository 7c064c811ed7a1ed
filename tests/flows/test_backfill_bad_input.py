"""Backfill and what goes wrong outside: each run that it hits has a clear error on its ledger line.

The others are published, and the same command ends later as if nothing had happened.
"""

import json
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from prefect.settings import PREFECT_API_URL
from starlette.responses import JSONResponse, Response

from flows.answers.backfill import BackfillFailed, BackfillResult
from flows.backfill import backfill
from switchyard.clients.connect import Outside, connect
from switchyard.clients.mlflow import http as mlflow_http
from switchyard.clients.results.migrate import migrate
from switchyard.core.errors import BadRecord, SwitchyardError, TryAgain
from switchyard.core.mlflow.raw_run import RawRun
from tasks.backfill import backfill_batch, fail_batch
from tests.clients.mlflow.stores import add_runs, to_libpq
from tests.clients.results.places import make_application_table, run_sql
from tests.core.mlflow.factories import make_points, make_run, make_small
from tests.emulators.faults import Fault
from tests.emulators.mlflow_rest import MlflowEmulator
from tests.flows.mlflow_world import (
    add_row,
    make_postgres_store,
    make_sqlite_store,
    read_published,
    serve_store,
)
from tests.postgres import Postgres

pytestmark = pytest.mark.usefixtures("prefect_server", "impatient", "prompt")

IDS = [letter * 32 for letter in "abcd"]
RUNS = [make_run(run_id=run_id, epochs=3 + number) for number, run_id in enumerate(IDS)]
BAD = IDS[1]
STORE, SERVER = "MLFLOW_BACKEND_STORE_URI", "MLFLOW_TRACKING_URI"
HTML = Response("<html>Sign in</html>", media_type="text/html")


@pytest.fixture
def prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks try again once, and at once: what is done after all tries is the same."""
    for task in (backfill_batch, fail_batch):
        monkeypatch.setattr(task, "retries", 1)
        monkeypatch.setattr(task, "retry_delay_seconds", 0)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Ends what a test starts."""
    with ExitStack() as found:
        yield found


@dataclass
class World:
    """A server over RUNS, a results database with a row for each, and what may be done to both."""

    outside: Outside
    emulator: MlflowEmulator
    url: str
    path: Path
    environ: pytest.MonkeyPatch
    stack: ExitStack
    rows: dict[str, int] = field(default_factory=dict)

    def use(self, **settings: str) -> None:
        """Only these of MLflow's settings."""
        for name in (STORE, SERVER, "MLFLOW_TRACKING_TOKEN"):
            self.environ.delenv(name, raising=False)
        for name, value in settings.items():
            self.environ.setenv(name, value)

    def answer(self, kind: str, run_id: str, response: Response) -> None:
        """Instead of the true answer about this run, or (empty) about any."""

        def instead(called: str, query: Any) -> Response | None:
            asked = query.getlist("run_id") if called.startswith("metrics/") else [query.get("run_id")]
            return response if called.startswith(kind) and (not run_id or run_id in asked) else None

        self.emulator.replace = instead

    def mend(self) -> None:
        """All is as it was before."""
        self.emulator.faults.forget()
        self.emulator.replace = lambda _kind, _query: None
        self.emulator._token = ""
        self.use(MLFLOW_TRACKING_URI=self.url)


@pytest.fixture
def world(outside: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stack: ExitStack) -> World:
    path = tmp_path / "mlflow.db"
    emulator, url = stack.enter_context(serve_store(path, RUNS))
    found = World(outside, emulator, url, path, monkeypatch, stack)
    found.use(MLFLOW_TRACKING_URI=url)
    found.rows = {run_id: add_row(outside, run_id, name=run_id) for run_id in IDS}
    return found


def run_now(**parameters: object) -> BackfillResult:
    result = backfill(**parameters)
    assert isinstance(result, BackfillResult)
    return result


def read_lines(outside: Outside) -> dict[int, tuple[str, str]]:
    """State and error of each run's ledger line."""
    return {line.quick_test_id: (line.state, line.error) for line in outside.ledger.read_ledger("backfill")}


def read_all(outside: Outside, rows: list[int]) -> dict[str, Any]:
    """What a backfill leaves, but for times and attempts."""
    histories = {row: read_published(outside, row) for row in rows}
    for history in histories.values():
        history.pop("cached_at", None)
    lines = [
        msgspec.structs.replace(line, attempts=0, updated_at=line.updated_at.min)
        for line in outside.ledger.read_ledger("backfill")
    ]
    return {"histories": histories, "lines": lines, "rows": [outside.runs.read_run(row) for row in rows]}


@pytest.fixture(scope="module")
def undisturbed(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a backfill leaves to which nothing happened."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as environ:
        environ.setenv("STATE_DIR", str(folder / "state"))
        migrate(connect().settings)
        outside = connect()
        environ.setenv(STORE, make_sqlite_store(folder / "mlflow.db", RUNS))
        rows = [add_row(outside, run_id, name=run_id) for run_id in IDS]
        run_now()
        return _without_folder(read_all(outside, rows))


def _without_folder(found: dict[str, Any]) -> dict[str, Any]:
    return found | {"rows": [msgspec.structs.replace(row, gcs_artifacts_path="") for row in found["rows"]]}


# What goes wrong, whom it hits, and what the line says ---------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One thing that goes wrong; `only` names the run that it hits, or all."""

    name: str
    spoil: Callable[[World], None]
    said: str
    only: str = ""


def _leave_server(world: World) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        world.use(MLFLOW_TRACKING_URI=f"http://127.0.0.1:{taken.getsockname()[1]}")


def _be_silent(world: World) -> None:
    """A server that takes calls and never answers."""
    listening = world.stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    world.environ.setattr(mlflow_http, "_TIMEOUT_S", (1.0, 0.05))
    world.use(MLFLOW_TRACKING_URI=f"http://127.0.0.1:{listening.getsockname()[1]}")


def _refuse(world: World) -> None:
    world.emulator._token = "another-token"
    world.environ.setenv("MLFLOW_TRACKING_TOKEN", "s3cret")


def _page_for_ever(world: World) -> None:
    """The documented call alone, whose pages lead back to where they were."""
    world.emulator._has_bulk = False
    world.answer("metrics/get-history", BAD, JSONResponse({"metrics": [], "next_page_token": "again"}))


def _use_unknown_schema(world: World) -> None:
    uri = make_sqlite_store(world.path.with_name("newer.db"), RUNS)
    with sqlite3.connect(uri.removeprefix("sqlite:///")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
    connection.close()
    world.use(MLFLOW_BACKEND_STORE_URI=uri)


def _use_odd_values(world: World) -> None:
    """SQLite takes any type in any column."""
    uri = make_sqlite_store(world.path.with_name("odd.db"), RUNS)
    with sqlite3.connect(uri.removeprefix("sqlite:///")) as connection:
        connection.execute("UPDATE metrics SET value = 'half' WHERE run_uuid = ? AND key = 'loss'", (BAD,))
    connection.close()
    world.use(MLFLOW_BACKEND_STORE_URI=uri)


def _take_database_away(world: World) -> None:
    world.use(MLFLOW_BACKEND_STORE_URI=f"sqlite:///{world.path.with_name('nowhere.db')}")


def _fail_always(world: World) -> None:
    world.emulator.faults.order(Fault(kind="*/*", times=100_000, status=500))


def _fail_for_one(world: World) -> None:
    world.emulator.faults.order(Fault(kind="runs/get", target=BAD, times=100_000, status=500))


def _break_off_for_one(world: World) -> None:
    world.emulator.faults.order(Fault(kind="runs/get", target=BAD, times=100_000, broken=True))


CASES = [
    Case("no server", _leave_server, r"http://127\.0\.0\.1:\d+ did not wake in 5 s: .*no answer"),
    Case("a server that never answers", _be_silent, r"did not wake in 5 s: .*no answer: .*[Rr]ead timed out"),
    Case("wrong credentials", _refuse, r"answered 401: .*MLFLOW_TRACKING_AUTH .*MLFLOW_TRACKING_TOKEN"),
    Case("5xx", _fail_always, r"runs/get answered 500"),
    Case("HTML", lambda world: world.answer("runs/get", "", HTML), r"must answer JSON; got text/html.*Sign in"),
    Case("no MLflow named", lambda world: world.use(), f"set {STORE} or {SERVER}"),
    Case("an unknown schema", _use_unknown_schema, "schema of MLflow 2.9.2 to 3.18 .*found 'ffffffffffff'"),
    Case("no database", _take_database_away, rf"nowhere\.db: unable to open.*{STORE} must name"),
    Case("5xx at one run", _fail_for_one, r"runs/get answered 500", only=BAD),
    Case("JSON that breaks off, at one run", _break_off_for_one, "JSON that breaks off", only=BAD),
    Case("403 at one run", lambda world: world.answer("runs/get", BAD, Response(status_code=403)), "403", only=BAD),
    Case("HTML at one run", lambda world: world.answer("metrics/", BAD, HTML), "must answer JSON", only=BAD),
    Case("pages without an end", _page_for_ever, "every page must lead to a later one; got page 'again'", only=BAD),
    Case("a value of another type", _use_odd_values, f"run {BAD} .*a value has another type", only=BAD),
]
EVERY = {"no server", "wrong credentials", "an unknown schema", "5xx at one run", "pages without an end"}
"""Of each kind one; the others are slow together."""


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=case.name, marks=[] if case.name in EVERY else pytest.mark.slow) for case in CASES],
)
def test_what_goes_wrong_is_on_the_lines_of_the_runs_that_it_hits(
    world: World, undisturbed: dict[str, Any], case: Case
) -> None:
    """The flow fails and names them, the others are published; mended, the same command ends as if nothing had been."""
    case.spoil(world)
    hit = [case.only] if case.only else IDS
    with pytest.raises(BackfillFailed, match=rf"^{len(hit)} of 4 runs could not be published: .*{case.said}") as raised:
        run_now()
    assert set(raised.value.result.failed) == {world.rows[run_id] for run_id in hit}
    lines = read_lines(world.outside)
    for run_id, row in world.rows.items():
        state, error = lines[row]
        assert bool(read_published(world.outside, row)) == (run_id not in hit), run_id
        assert state == ("failed" if run_id in hit else "done"), (run_id, error)
        assert "s3cret" not in error
        assert len(error) < 1_000
    world.mend()
    assert run_now().failed == {}
    assert _without_folder(read_all(world.outside, list(world.rows.values()))) == undisturbed


def test_run_that_is_deleted_while_it_is_read_is_not_found(world: World, undisturbed: dict[str, Any]) -> None:
    """Gone for good between its head and its history. Put back (a backup, say), it is published by the same command."""

    def delete(kind: str, _query: Any) -> Response | None:
        if kind == "metrics/get-history-bulk":
            for table in ("metrics", "latest_metrics", "params", "tags", "runs"):
                world.emulator._sql(f"DELETE FROM {table} WHERE run_uuid = ?", BAD)
        return None

    world.emulator.replace = delete
    for _ in range(2):
        with pytest.raises(BackfillFailed, match=rf"^1 of . runs .*Run with id={BAD} not found"):
            run_now()
    world.mend()
    with sqlite3.connect(world.path) as connection:
        add_runs(connection, [RUNS[1]])
    connection.close()
    assert run_now().published == 1
    assert _without_folder(read_all(world.outside, list(world.rows.values()))) == undisturbed


def test_list_without_an_end_is_one_clear_error(world: World) -> None:
    """Nothing can be said of any run yet: the flow says it, nothing is adopted, and the same command adopts later."""
    page = {"runs": [{"info": {"run_id": "e" * 32, "experiment_id": "4", "status": "FINISHED"}}]}
    world.answer("runs/search", "", JSONResponse(page | {"next_page_token": "again"}))
    with pytest.raises(BadRecord, match="a page with a next one must hold something new"):
        run_now(adopt=True)
    assert read_lines(world.outside) == {}
    world.mend()
    with sqlite3.connect(world.path) as connection:
        add_runs(connection, [make_run(run_id="f" * 32)])
    connection.close()
    result = run_now(adopt=True)
    assert (result.adopted, result.published) == (1, 5)


ODD_TEXTS = {
    "nul": "a\0b",
    "unicode": "größe 训练 🚀 \u202e",
    "quotes": "'; DROP TABLE runs; --\"\\",
    "long": "x" * 6_000,
}


def make_odd_run(run_id: str) -> RawRun:
    """Names and values as no one should give them."""
    run = make_small(
        {
            "loss": make_points((0, 1.0), (1, 0.5)),
            **{f"final_{text}": make_points((0, 0.5)) for text in ODD_TEXTS.values()},
        }
    )
    return msgspec.structs.replace(
        run,
        info=msgspec.structs.replace(run.info, run_id=run_id, name="\0 größe"),
        params={text: text for text in ODD_TEXTS.values()},
        tags={"mlflow.note.content": "\0"},
    )


@pytest.mark.parametrize("way", ["rest", "sqlite"])
def test_odd_names_are_published_as_they_are(world: World, way: str) -> None:
    """NUL, any script, quotes, long ones: among the final metrics and params, to the last character."""
    with sqlite3.connect(world.path) as connection:
        add_runs(connection, [make_odd_run("e" * 32)])
    connection.close()
    if way == "sqlite":
        world.use(MLFLOW_BACKEND_STORE_URI=f"sqlite:///{world.path}")
    row = add_row(world.outside, "e" * 32, name="odd")
    assert run_now(histograms=True).published == 5
    history = read_published(world.outside, row)
    assert history["params"] == {text: text for text in ODD_TEXTS.values()}
    assert history["final_metrics"] == {f"final_{text}": 0.5 for text in ODD_TEXTS.values()}


def test_text_that_is_no_unicode_is_that_run_s_fault_alone(world: World) -> None:
    """Half of a surrogate pair, which JSON can write and UTF-8 cannot."""
    answer = world.emulator._get_run({"run_id": BAD})
    answer["run"]["data"]["params"] = [{"key": "half", "value": "\ud83d"}]
    world.answer("runs/get", BAD, Response(json.dumps(answer)))
    with pytest.raises(BackfillFailed, match=rf"^1 of 4 runs .*{BAD}"):
        run_now()
    assert read_lines(world.outside)[world.rows[BAD]][0] == "failed"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["text", "jsonb"])
def test_application_s_postgres_table_takes_what_it_can(world: World, postgres: Postgres, kind: str) -> None:
    """jsonb alone has no NUL: there it becomes U+FFFD, and the run is published."""
    url = postgres.url(postgres.make_database())
    make_application_table(url, "quicktest", kind)
    world.environ.setenv("RESULTS_URL", url)
    world.environ.setenv("RESULTS_TABLE", "quicktest")
    outside = connect()
    migrate(outside.settings)
    run_sql(
        url,
        "INSERT INTO quicktest (owner_name, is_archived, opened, status, mlflow_run_id) "
        "VALUES ('o', false, now(), 'completed', :run)",
        run="e" * 32,
    )
    with sqlite3.connect(world.path) as connection:
        add_runs(connection, [make_odd_run("e" * 32)])
    connection.close()
    assert run_now().published == 1
    (row,) = run_sql(url, "SELECT id FROM quicktest")
    nul = "a\0b" if kind == "text" else "a\ufffdb"
    assert read_published(outside, row.id)["params"][nul] == nul


@pytest.mark.slow
def test_results_database_that_goes_away_in_mid_batch(
    world: World, postgres: Postgres, undisturbed: dict[str, Any]
) -> None:
    """Gone before the batch is written, and not back in time: one clear error, as no ledger can be written.

    What was published stays, and the same command does the rest.
    """
    url = postgres.url(postgres.make_database())
    world.environ.setenv("RESULTS_URL", url)
    outside = connect()
    migrate(outside.settings)
    rows = [add_row(outside, run_id, name=run_id) for run_id in IDS]
    assert run_now(limit=1).published == 1

    def stop(kind: str, _query: Any) -> Response | None:
        if kind == "metrics/get-history-bulk":
            postgres.stop()
        return None

    world.emulator.replace = stop
    try:
        with pytest.raises(TryAgain, match=r"no connection|terminating connection"):
            run_now()
    finally:
        postgres.start()
    world.mend()
    assert run_now().published == 3
    assert _without_folder(read_all(outside, rows)) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ("role", 'role "nobody" does not exist'),
        ("rights", "permission denied"),
        ("database", 'database "nowhere" does not exist'),
        ("timeout", "canceling statement due to statement timeout"),
    ],
)
def test_postgres_store_that_refuses_says_why(world: World, postgres: Postgres, spoil: str, said: str) -> None:
    """By SQL: who we are, what we may, what there is, and how long it takes."""
    uri = make_postgres_store(postgres, RUNS)
    plain = to_libpq(uri)
    with psycopg.connect(plain, autocommit=True) as connection:
        if spoil == "rights":
            connection.execute("DROP ROLE IF EXISTS stranger")
            connection.execute("CREATE ROLE stranger LOGIN")
        if spoil == "timeout":
            name = psycopg.conninfo.conninfo_to_dict(plain)["dbname"]
            connection.execute(f"ALTER DATABASE {name} SET statement_timeout = '1ms'".encode())
    spoiled = {
        "role": uri.replace("postgres:@", "nobody:@"),
        "rights": uri.replace("postgres:@", "stranger:@"),
        "database": uri.replace("/test_", "/nowhere_test_"),
    }.get(spoil, uri)
    world.use(MLFLOW_BACKEND_STORE_URI=spoiled)
    with pytest.raises(BackfillFailed, match=said.replace("nowhere", "nowhere_test_.*")):
        run_now()
    world.mend()
    assert run_now().failed == {}


@pytest.mark.slow
def test_the_command_exits_1_and_then_goes_on(world: World, prefect_server: None) -> None:
    """A server that has one bad run: one line of `python -m flows backfill` says which, and --json has it too.

    Mended, it exits 0.
    """
    world.answer("runs/get", BAD, Response(status_code=403))
    environ = os.environ | {"PREFECT_API_URL": str(PREFECT_API_URL.value())}
    command = [sys.executable, "-m", "flows", "backfill", "--json"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=240)
    assert done.returncode == 1, done.stderr
    row = world.rows[BAD]
    assert f"backfill failed: 1 of 4 runs could not be published: quick test {row}: " in done.stderr
    assert "Traceback" not in done.stderr
    assert "403" in json.loads(done.stdout)["failed"][str(row)]
    world.mend()
    again = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=240)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["published"] == 1


def test_an_error_that_is_ours_alone_is_said(world: World) -> None:
    """Every error that a flow may end in on purpose is one of ours, so that the command line prints no traceback."""
    world.environ.setenv("RESULTS_URL", f"sqlite:///{world.path}")
    with pytest.raises(SwitchyardError, match="switchyard migrate"):
        run_now()
