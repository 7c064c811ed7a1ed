"""`python -m flows` as people and scripts call it: its output, its errors, its exit status."""

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL
from prefect.utilities.callables import parameter_schema

from flows.__main__ import FLOWS, Command, main, read_command
from flows.parameters import TrainParameters
from flows.train import train
from switchyard.clients.connect import Outside, connect
from switchyard.core.errors import BadRequest
from switchyard.core.runs.jobs import JobState
from switchyard.core.runs.machine import MachineSpec
from switchyard.core.runs.rows import NewRun, RunStatus
from tests.flows.polling import wait_for

TOY = ["--epochs=3", "--synthetic-buyers=60", "--synthetic-products=40", "--synthetic-interactions=1000",
       "--batch-size=64", "--embedding-dim=8", "--top-k=10"]  # fmt: skip


def run_flows(*arguments: str, state: str, api_url: str = "") -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"STATE_DIR": state, "COLUMNS": "120"}
    if api_url:
        environment["PREFECT_API_URL"] = api_url
    return subprocess.run(
        [sys.executable, "-m", "flows", *arguments], env=environment, capture_output=True, text=True, timeout=240
    )


@pytest.fixture
def api_url(prefect_server: None) -> str:
    return str(PREFECT_API_URL.value())


def test_train_prints_one_json_line_at_the_end(outside: Outside, api_url: str) -> None:
    """--json: stdout is that line alone; what a person reads goes to stderr."""
    done = run_flows("train", *TOY, "--json", state=outside.settings.state_dir, api_url=api_url)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert done.stdout.count("\n") == 1
    assert answer["status"] == "completed"
    assert answer["gcs_artifacts_path"] == f"{outside.settings.artifacts_uri}/quick_tests/{answer['quick_test_id']}"
    assert {"test_recall_at_5", "test_recall_at_10"} <= answer["final_metrics"].keys()
    for said in ("sampled epochs", "final metrics", "popularity", answer["gcs_artifacts_path"], answer["url"]):
        assert said in done.stderr, said
    assert connect().runs.read_run(answer["quick_test_id"]).parameters["epochs"] == 3


def test_a_failed_run_exits_1_and_says_why(outside: Outside, api_url: str, tmp_path: Path) -> None:
    """Data of one instant fail the training: one line says so, no traceback; --json still answers."""
    path = tmp_path / "orders.csv"
    path.write_text("customer_id,stock_code,invoice_date\n" + "b,p,2023-11-14\n" * 20)
    uri = path.as_uri()
    done = run_flows("train", f"--data-uri={uri}", "--json", state=outside.settings.state_dir, api_url=api_url)
    assert done.returncode == 1
    assert json.loads(done.stdout)["status"] == "failed"
    assert "train failed: quick test 1 is failed" in done.stderr
    assert "20 rows over 1 instants" in done.stderr
    assert 'File "/' not in done.stderr


def test_a_wrong_column_costs_no_run(outside: Outside, api_url: str, tmp_path: Path) -> None:
    """A plain path, seen from here: the file's columns and the flag are named at once, and no row is made."""
    (tmp_path / "orders.csv").write_text("buyer;product;time\nb;p;2023-11-14\n")
    done = run_flows(
        "train", f"--data-uri={os.path.relpath(tmp_path / 'orders.csv')}", "--buyer-column=who",
        state=outside.settings.state_dir, api_url=api_url,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert "/orders.csv: columns 'who', 'stock_code', 'invoice_date' were expected" in done.stderr
    assert "the file has 'buyer', 'product', 'time'; name the right ones with --buyer-column" in done.stderr
    assert "Traceback" not in done.stderr
    assert outside.runs.list_runs(limit=1) == []


def test_an_unknown_run_is_one_line(outside: Outside, api_url: str) -> None:
    """ingest 4711: exit 1, and what was looked for where."""
    done = run_flows("ingest", "4711", state=outside.settings.state_dir, api_url=api_url)
    assert done.returncode == 1
    assert done.stderr.startswith("ingest failed: ")
    assert "4711" in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_cancels_the_job(outside: Outside, api_url: str) -> None:
    """Interrupted while it waits, train has its job end, publishes what it left, and exits 130."""
    state = outside.settings.state_dir

    def is_training() -> bool:
        runs = outside.runs.list_runs(limit=1)
        return bool(runs) and outside.runs.read_run(runs[0].id).status is RunStatus.RUNNING

    with subprocess.Popen(
        [sys.executable, "-m", "flows", "train", *TOY, "--epochs=100000"],
        env=os.environ | {"STATE_DIR": state, "PREFECT_API_URL": api_url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            wait_for(is_training, deadline_s=120)
            process.send_signal(signal.SIGINT)
            said, _ = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 130, said
    assert "cancelling quick test 1" in said
    run = outside.runs.read_run(1)
    assert run.status is RunStatus.CANCELLED, said
    job = outside.jobs.read_job(1)
    assert job is not None
    assert outside.launcher.report([job.job_name])[job.job_name].state is JobState.CANCELLED


def test_migrate_works_without_prefect(tmp_path: Path) -> None:
    """The first command on a new machine needs no server; a second call changes nothing."""
    first, second = (run_flows("migrate", state=str(tmp_path), api_url="http://127.0.0.1:1/api") for _ in range(2))
    assert (first.returncode, second.returncode) == (0, 0), first.stderr
    assert "already" in second.stdout


def test_the_first_command_needs_no_migration(tmp_path: Path, api_url: str) -> None:
    """The results database on this machine is made by whatever is run first."""
    done = run_flows("reconcile", state=str(tmp_path), api_url=api_url)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "results.db").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "--epochs", "0"], "--epochs"),
        (["train", "--validation-fraction", "0.6", "--test-fraction", "0.5"], "validation_fraction + test_fraction"),
        (["train", "--interval", "x"], "--interval"),
        (["train", "--machine-type", "big"], "--machine-type"),
        (["train", "--machine-accelerator-count", "2"], "must be set together"),
        (["train", "--machine-replica-count", "2"], "machine.replica_count must be 1"),
        (["ingest"], "quick-test-id"),
        (["ingest", "twelve"], "--quick-test-id"),
        (["cancel", "12", "--quick-test-id", "13"], "12 and --quick-test-id 13"),
    ],
)
def test_bad_flags_are_named(arguments: list[str], said: str) -> None:
    """What is wrong with which flag, before anything is started."""
    with pytest.raises(BadRequest, match=said.replace("+", r"\+")):
        read_command(arguments)


def test_the_machine_has_flags_of_its_own() -> None:
    """Each field of MachineSpec is a flag, checked as in the form."""
    command = read_command(["train", "--machine-type", "n1-highmem-8", "--machine-scheduling", "spot"])
    assert isinstance(command.parameters, TrainParameters)
    assert command.parameters.machine == MachineSpec(machine_type="n1-highmem-8", scheduling="spot")


@pytest.mark.parametrize("arguments", [["train", "--epoch", "3"], ["fly"], []])
def test_unknown_flags_and_flows_exit_2(arguments: list[str]) -> None:
    """argparse's own refusal: an abbreviated flag is unknown too."""
    with pytest.raises(SystemExit) as refused:
        read_command(arguments)
    assert refused.value.code == 2


def test_help_of_backfill_says_that_changed_runs_are_read_again(capsys: pytest.CaptureFixture[str]) -> None:
    """And how to follow an MLflow that is in use."""
    with pytest.raises(SystemExit):
        read_command(["backfill", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "read again what has changed" in said
    assert "with --adopt --status all, to follow an MLflow that is in use" in said


@pytest.mark.parametrize("flow", FLOWS)
def test_every_flow_has_help(flow: str, capsys: pytest.CaptureFixture[str]) -> None:
    """--help lists each parameter with what it means."""
    with pytest.raises(SystemExit) as answered:
        read_command([flow, "--help"])
    assert answered.value.code == 0
    shown = capsys.readouterr().out
    for name in FLOWS[flow].__struct_fields__:
        assert name.replace("_", "-") in shown, name


@pytest.mark.parametrize("flow", ["ingest", "cancel", "recover", "verify"])
def test_ids_are_positional_too(flow: str) -> None:
    """`ingest 12` and `ingest --quick-test-id 12` are the same."""
    expected = FLOWS[flow](quick_test_id=12)
    assert read_command([flow, "12"]).parameters == expected
    assert read_command([flow, "--quick-test-id", "12"]).parameters == expected


def test_the_common_flags_of_train_come_first(capsys: pytest.CaptureFixture[str]) -> None:
    """In groups, and each field in the group that someone chose for it."""
    with pytest.raises(SystemExit):
        read_command(["train", "--help"])
    shown = capsys.readouterr().out
    flags = ["--name", "--experiment", "--data-uri", "--epochs", "--csv-separator", "--machine-type"]
    places = [shown.index(f"\n  {flag} ") for flag in flags]
    assert places == sorted(places)
    assert shown.index("\ncommon:\n") < places[0] < shown.index("\nthe data's columns:\n")


def test_the_form_of_train_has_the_same_order() -> None:
    """Prefect's UI draws the fields by their positions."""
    properties = parameter_schema(train).model_dump()["properties"]
    names = sorted(properties, key=lambda name: properties[name]["position"])
    assert names[:4] == ["name", "experiment", "data_uri", "epochs"]
    assert set(names) == set(TrainParameters.__struct_fields__)


def test_json_is_alone_on_stdout(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever a library prints meanwhile goes to stderr."""

    def migrate(command: Command) -> dict[str, str]:
        print("a library's greeting")
        return {"results": "done"}

    monkeypatch.setattr("flows.__main__._migrate", migrate)
    assert main(["migrate", "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {"results": "done"}
    assert "a library's greeting" in shown.err


def test_cancel_of_an_ended_run_says_that_there_was_nothing_to_do(outside: Outside, api_url: str) -> None:
    """Exit 0, its status, and nothing is asked of any job."""
    run = outside.runs.create_run(NewRun(request_key="ended"), now=datetime.now(UTC))
    outside.runs.end_run(run.id, RunStatus.CANCELLED, error="by hand", now=datetime.now(UTC))
    done = run_flows("cancel", str(run.id), state=outside.settings.state_dir, api_url=api_url)
    assert done.returncode == 0, done.stderr
    assert f"quick test {run.id} is cancelled already: there was nothing to cancel" in done.stdout


def test_flags_become_parameters() -> None:
    """Each flag is the field of its name."""
    command = read_command(["train", "--epochs", "11", "--no-wait", "--name", "eleven", "--json"])
    assert isinstance(command.parameters, TrainParameters)
    assert command.parameters.request_key
    assert command.parameters == TrainParameters(
        epochs=11, wait=False, name="eleven", request_key=command.parameters.request_key
    )
    assert command.json


def test_wrong_flags_of_two_words_are_said_as_they_were_typed(capsys: pytest.CaptureFixture[str]) -> None:
    """What is shown can be pasted: a space, where a person types one."""
    with pytest.raises(SystemExit):
        read_command(["decommission", "plan", "extra"], prog="switchyard")
    said = capsys.readouterr().err
    assert "switchyard decommission plan: error: unrecognized arguments: extra" in said
    assert "switchyard decommission plan --help" in said
