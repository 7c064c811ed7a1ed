"""The flows `artifacts plan`, `copy` and `verify`, and their command lines."""

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL

from flows.answers.artifacts import ArtifactsFailed
from flows.artifacts_copy import artifacts_copy
from flows.artifacts_plan import artifacts_plan
from flows.artifacts_verify import artifacts_verify
from switchyard.clients.connect import Outside, connect
from switchyard.core.artifacts.plan import ArtifactRun
from switchyard.core.backfill.rows import AdoptedRun
from switchyard.core.errors import TryAgain
from switchyard.core.runs.rows import RunStatus
from switchyard.services import artifacts
from tasks.artifacts import to_how
from tests.clients.mlflow.stores import add_runs, make_sqlite
from tests.clients.results.places import NOW
from tests.core.mlflow.factories import make_run


@pytest.fixture
def places(outside: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Where the artifacts of three runs are, which have a row each, with two artifacts in the first two."""
    found = {letter: tmp_path / "mlruns" / "4" / (letter * 32) / "artifacts" for letter in "abc"}
    for letter in "ab":
        found[letter].mkdir(parents=True)
        (found[letter] / "model.bin").write_bytes(b"m" * 100)
        (found[letter] / f"{letter}.txt").write_text(letter)
    store = make_sqlite(tmp_path / "mlflow.db")
    runs = [make_run(run_id=letter * 32, epochs=1, artifact_uri=str(place)) for letter, place in found.items()]
    with sqlite3.connect(store) as connection:
        add_runs(connection, runs)
    connection.close()
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", f"sqlite:///{store}")
    adopted = [AdoptedRun(mlflow_run_id=run.info.run_id, status=RunStatus.COMPLETED) for run in runs]
    outside.runs.adopt_runs(adopted, now=NOW)
    return found


def run_command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    environ = os.environ | {"PREFECT_API_URL": str(PREFECT_API_URL.value()), "COLUMNS": "120"}
    command = [sys.executable, "-m", "flows", *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=240)


def test_plan_copy_and_verify_are_one_walk(prefect_server: None, places: dict[str, Path]) -> None:
    """Planned, copied, copied again without reading, and verified when MLflow is gone; damage fails it."""
    roots = [str(places["a"].parents[2])]
    planned = artifacts_plan(artifacts_roots=roots)
    assert (planned.totals.objects, planned.totals.size_bytes, planned.totals.to_copy_runs) == (4, 202, 2)
    done = artifacts_copy(artifacts_roots=roots)
    assert done.to_uri == f"{connect().settings.artifacts_uri}/mlflow-artifacts"
    assert sorted(run.state for run in done.runs) == ["copied", "copied", "nothing"]
    assert sum(run.copied for run in artifacts_copy(artifacts_roots=roots).runs) == 0
    assert artifacts_plan(artifacts_roots=roots).totals.copied_runs == 2
    assert not artifacts_verify(against_source=True, artifacts_roots=roots).failed
    Path(os.environ["MLFLOW_BACKEND_STORE_URI"].removeprefix("sqlite:///")).unlink()
    assert not artifacts_verify().failed
    objects = connect().objects(done.to_uri)
    for uri in objects.list(f"{done.to_uri}/objects/"):
        if objects.stat(uri).size_bytes == 100:
            objects.write(uri, b"x" * 100, if_generation=-1)
    with pytest.raises(ArtifactsFailed, match=r"2 of 3 runs are not all kept: .*'model.bin' is damaged.*copy --again"):
        artifacts_verify()


def test_a_batch_that_does_not_come_to_its_end_is_settled(
    prefect_server: None, places: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its tries have not copied is recorded as failed; the same command continues."""
    copy_runs = artifacts.copy_runs

    def fail(outside: Outside, runs: list[ArtifactRun], *rest: object, **more: object) -> object:
        if not more.get("gives_up"):
            raise TryAgain("no answer")
        return copy_runs(outside, runs, *rest, **more)  # type: ignore[arg-type]

    roots = [str(places["a"].parents[2])]
    monkeypatch.setattr("tasks.artifacts.copy_artifacts.retries", 0)
    monkeypatch.setattr(artifacts, "copy_runs", fail)
    done = artifacts_copy(artifacts_roots=roots)
    assert sorted(run.state for run in done.runs) == ["copied", "copied", "nothing"]


def test_the_command_exits_1_where_something_is_not_kept(
    prefect_server: None, places: dict[str, Path], tmp_path: Path
) -> None:
    """`artifacts copy` is two words; --json prints what became of each run, failed or not; the plan is for people."""
    (places["a"] / "link").symlink_to(tmp_path)
    roots = f"--artifacts-roots={tmp_path / 'mlruns'}"
    refused = run_command("artifacts", "copy", "--quick-test-id=1")
    assert (refused.returncode, "--artifacts-roots" in refused.stderr) == (1, True)
    done = run_command("artifacts", "copy", "--json", roots)
    assert done.returncode == 1, done.stderr
    answer = json.loads(done.stdout)
    assert {run["state"] for run in answer["runs"]} == {"partial", "copied", "nothing"}
    assert done.stderr.rstrip().endswith("Run the same command again to try these.")
    assert "artifacts copy failed: the artifacts of 1 of 3 runs are not all copied" in done.stderr
    shown = run_command("artifacts", "plan", "--quick-test-id=1", roots)
    assert shown.returncode == 0, shown.stderr
    assert "will be left out: quick test 1: 'link': it is a link" in shown.stdout.replace("\n", " ")
    wrong = run_command("artifacts", "delete")
    assert (wrong.returncode, "artifacts takes plan, copy or verify; got 'delete'" in wrong.stderr) == (2, True)


def test_the_settings_say_what_may_be_read(outside: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder that is MLflow's store, and the server's destination; of our own files none, wherever they are."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(tmp_path / "mlruns"))
    how = to_how("", "/srv/artifacts", ["/srv/more"], ["mlruns=/srv/old"])
    folder = (tmp_path / "mlruns").as_uri()
    named = ("file:///srv/more", "file:///srv/old", "file:///srv/artifacts", folder)
    assert how.allowed.roots == named
    monkeypatch.setenv("MLFLOW_ARTIFACTS_ROOTS", "/srv/a b, gs://bucket/mlflow")
    assert to_how("", "/srv/artifacts", ["/srv/more"], ["mlruns=/srv/old"]).allowed.roots == (
        *named,
        "file:///srv/a%20b",
        "gs://bucket/mlflow",
    )
    monkeypatch.delenv("MLFLOW_ARTIFACTS_ROOTS")
    settings = connect().settings
    assert how.allowed.ours == (Path(settings.state_dir).as_uri(), settings.artifacts_uri, how.to_uri)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example")
    assert to_how("", "").allowed.roots == ()
