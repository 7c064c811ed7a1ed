"""MLflow is used, followed, and switched off: real servers of 2.9.2 and of a current version.

They are read by SQL and over REST, as a folder, and by their own client.

`make test-mlflow` runs it; FOLLOW_S=600 has the client log for ten minutes.
"""

import json
import math
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest

from flows.answers.backfill import BackfillFailed, BackfillResult
from flows.answers.verify import VerifyResult
from flows.backfill import backfill
from flows.export import export
from flows.verify import verify
from switchyard.clients.connect import Outside
from switchyard.core.mlflow.facts import to_user_tags
from switchyard.core.mlflow.raw_run import RawRun
from tests.clients.mlflow.real_servers import find_environment, serve
from tests.clients.mlflow.stores import make_mysql
from tests.flows.mlflow_world import read_published
from tests.mariadb import MariaDB
from tests.postgres import Postgres
from tests.root import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.needs_mlflow, pytest.mark.usefixtures("prefect_server")]

SECONDS = float(os.environ.get("FOLLOW_S", "12"))
"""Of a minute's test: the servers' start and the rest take the others."""

Way = Literal["postgres", "mariadb", "rest", "folder"]
WAYS: list[tuple[str, Way]] = [
    ("2.9.2", "postgres"),
    ("current", "postgres"),
    ("2.9.2", "mariadb"),
    ("2.9.2", "rest"),
    ("current", "rest"),
    ("2.9.2", "folder"),
]
"""Which MLflow, and by which way it is followed. 3 opens a folder only where it is told to."""


def follow() -> BackfillResult:
    result = backfill(adopt=True, status="all", full=True)
    assert isinstance(result, BackfillResult)
    return result


def try_to_follow() -> BackfillResult:
    """As `follow`, while a file may be half written: that is its run's trouble alone, and the next look's work."""
    try:
        return follow()
    except BackfillFailed as err:
        assert err.result.failed or err.result.unadopted
        assert not err.result.unasked
        return err.result


@contextmanager
def open_mlflow(
    version: str, way: Way, folder: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """An MLflow that its client may use at this address, and that the settings name.

    It is gone afterwards, with all that it had.
    """
    if way == "folder":
        root = folder / "mlruns"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", str(root))
        yield root.as_uri()
        shutil.rmtree(root)
        return
    server: Postgres | MariaDB = request.getfixturevalue("mariadb" if way == "mariadb" else "postgres")
    database = make_mysql(server) if isinstance(server, MariaDB) else server.make_database()
    store = server.url(database).replace("+psycopg", "+psycopg2")
    # With several workers each of MLflow 3's answers over a kept connection comes 40 ms late.
    with serve(version, store, folder / "server", workers=2 if version == "2.9.2" else 1) as url:
        if way == "rest":
            monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        else:
            monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", store)
        yield url
    server.execute(f"DROP DATABASE {database}{'' if isinstance(server, MariaDB) else ' WITH (FORCE)'}")


@pytest.mark.timeout(900 + int(SECONDS))
@pytest.mark.parametrize(("version", "way"), WAYS)
def test_mlflow_is_followed_while_it_is_used_and_nothing_is_lost_when_it_is_gone(
    version: str,
    way: Way,
    outside: Outside,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The client's own diary, the export, and what is published say the same, to the last bit."""
    environment = find_environment(version)
    to_uri = (tmp_path / "export").as_uri()
    with open_mlflow(version, way, tmp_path, request, monkeypatch) as url:
        script = str(ROOT / "tests" / "flows" / "mlflow_client.py")
        command = [str(environment / "python"), script, url, str(SECONDS), version]
        told = tmp_path / "diary.json"  # a file: a pipe that no one reads meanwhile would fill, and hold the client up
        with told.open("w") as file, subprocess.Popen(command, stdout=file) as client:
            looks = []
            while client.poll() is None:
                if way != "folder" or (tmp_path / "mlruns").exists():
                    looks.append(try_to_follow())
            assert client.returncode == 0
        *_, last = told.read_text().splitlines()  # MLflow 3 prints the address of each run, too
        diary: dict[str, Any] = json.loads(last)
        looks.append(follow())
        assert follow().to_do == 0
        export(to_uri=to_uri)
    for name in ("MLFLOW_BACKEND_STORE_URI", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)

    answer = verify(whole=True, require_safe=True, export_uri=to_uri, give_up=["artifacts", "logged-model-artifacts"])
    assert isinstance(answer, VerifyResult)
    assert len([look for look in looks if look.published]) > 1  # it was followed while it was used

    with closing(outside.open_export(to_uri)) as tracking:
        kept = {run.info.run_id: run for run in tracking.read_runs(diary) if isinstance(run, RawRun)}
    assert kept.keys() == diary.keys()
    rows = {row.mlflow_run_id: row.id for row in outside.ledger.list_backfill()}
    deleted = outside.followed.find_deleted(list(rows.values()))
    for run_id, run in diary.items():
        points = {key: zip(p.steps, p.timestamps_ms, p.values, strict=True) for key, p in kept[run_id].metrics.items()}
        said_of = run["metrics"].items()
        assert {key: to_bits(of_key) for key, of_key in points.items()} == {key: to_bits(one) for key, one in said_of}
        assert kept[run_id].params == run["params"]
        assert to_user_tags(kept[run_id].tags) == run["tags"]
        if run_id not in rows:
            assert run["deleted"]  # before anyone looked
            continue
        history = read_published(outside, rows[run_id])
        assert (history["params"], history["tags"]) == (run["params"], run["tags"])
        assert (rows[run_id] in deleted) == run["deleted"]


def to_bits(points: Any) -> list[tuple[int, int, str]]:
    """In one order; NaN as a text, for it is unequal to itself."""
    return sorted((step, at, "nan" if math.isnan(value) else (value + 0.0).hex()) for step, at, value in points)
