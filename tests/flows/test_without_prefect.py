"""`switchyard register`, `promote` and `rollback` without a Prefect server: at once, and as a flow run does it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from prefect.settings import PREFECT_API_URL

from flows.answers.champion import ChampionResult
from flows.rollback import rollback
from switchyard.clients.connect import Outside
from switchyard.clients.local_servers import to_note_path
from switchyard.core.errors import BadSetup, TryAgain, TryLater
from tasks import plain_registry
from tasks.local_prefect import is_without_server
from tests.flows.test_registry import make_run
from tests.predicting import write_model

CODE = """if True:
    import sys
    from flows.__main__ import main
    status = main(sys.argv[1:], prog="switchyard")
    print("PREFECT", "prefect" in sys.modules, file=sys.stderr)
    sys.exit(status)
"""


def run(outside: Outside, folder: Path, *arguments: str, **more: str) -> tuple[subprocess.CompletedProcess[str], bool]:
    """A command in a folder without settings of anyone's; and whether Prefect was loaded for it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
    environment |= {"STATE_DIR": outside.settings.state_dir, "PYTHONPATH": str(Path(__file__).parents[2]), **more}
    done = subprocess.run(
        [sys.executable, "-c", CODE, *arguments],
        env=environment, cwd=folder, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    *_, last = done.stderr.splitlines()
    return done, last == "PREFECT True"


def test_folder_is_registered_by_a_path_that_is_relative(outside: Outside, tmp_path: Path) -> None:
    """As a shell takes it; a run and a source at once are refused, and so is neither."""
    write_model(tmp_path / "exports" / "shop")
    (tmp_path / "here").mkdir()
    done, loaded = run(
        outside, tmp_path / "here", "register", "--source", "../exports/shop", "--name", "shop", "--json"
    )
    assert (done.returncode, loaded) == (0, False), done.stderr
    answer = json.loads(done.stdout)
    assert (answer["version"], answer["source_uri"]) == (1, (tmp_path / "exports" / "shop").as_uri())
    for wrong in (["register", "1", "--source", "x"], ["register"]):
        done, _ = run(outside, tmp_path, *wrong)
        assert (done.returncode, "name one model: a run by its id, or `source`" in done.stderr) == (2, True), (
            done.stderr
        )


def test_training_that_names_a_model_registers_it_where_no_server_is_named(outside: Outside, tmp_path: Path) -> None:
    """No deployment is there to be started by its end; stdout of ``--json`` is the run's answer alone."""
    small = ("--synthetic-buyers", "60", "--synthetic-products", "40", "--synthetic-interactions", "1000")
    done, _ = run(
        outside,
        tmp_path,
        "train",
        *small,
        "--epochs",
        "1",
        "--top-k",
        "9",
        "--no-statistics",
        "--register-as",
        "my shop",
        "--json",
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    (version,) = outside.models.list_versions("my shop")
    assert version.lineage.quick_test_id == answer["quick_test_id"]
    assert "It is version 1 of model my shop. To promote it: switchyard promote 'my shop' 1" in done.stderr


def test_model_is_registered_promoted_and_taken_back_without_loading_prefect(outside: Outside, tmp_path: Path) -> None:
    """The answers, the exit status and the history are those of a flow run; only events are not sent."""
    for number in (1, 2):
        make_run(outside, tmp_path, number)
        done, loaded = run(outside, tmp_path, "register", str(number), "--name", "shop", "--json")
        assert (done.returncode, loaded) == (0, False), done.stderr
        answer = json.loads(done.stdout)
        assert (answer["version"], answer["stage"], answer["is_new"]) == (number, "None", True)
    done, loaded = run(outside, tmp_path, "promote", "shop", "1", LOGNAME="eve")
    assert (done.returncode, loaded) == (0, False), done.stderr
    assert outside.models.list_transitions("shop")[-1].by == "eve"
    assert done.stdout == "name: shop\nversion: 1\nreplaced: none\nis new: yes\nseq: 3\n"
    done, _ = run(outside, tmp_path, "promote", "shop", "2", "--expect", "1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("promote failed: ")
    force = ("--force", "--reason", "why not", "--by", "ann")
    done, loaded = run(
        outside, tmp_path, "promote", "shop", "2", "--expect", "1", *force, "--request-key", "a", "--json"
    )
    second = done.stdout
    assert (done.returncode, loaded) == (0, False), done.stderr
    assert msgspec.json.decode(second, type=ChampionResult).version == 2
    done, _ = run(outside, tmp_path, "promote", "shop", "2", "--expect", "1", *force, "--request-key", "a", "--json")
    assert done.stdout == second
    done, loaded = run(outside, tmp_path, "rollback", "shop", "--json")
    assert (done.returncode, loaded) == (0, False), done.stderr
    assert json.loads(done.stdout)["version"] == 1
    lines = outside.models.list_transitions("shop")
    assert [line.seq for line in lines] == list(range(1, 8))
    assert lines[-1].request_key
    done, _ = run(outside, tmp_path, "rollback", "shop")
    assert done.returncode == 1
    assert "--to" in done.stderr


def test_promote_without_a_version_says_which_there_are(outside: Outside, tmp_path: Path) -> None:
    """And the command as it is typed; a model that is not there has none to name."""
    for number in (1, 2):
        make_run(outside, tmp_path, number)
        assert run(outside, tmp_path, "register", str(number), "--name", "my shop")[0].returncode == 0
    assert run(outside, tmp_path, "promote", "my shop", "1")[0].returncode == 0
    done, loaded = run(outside, tmp_path, "promote", "my shop")
    assert (done.returncode, done.stdout, loaded) == (2, "", False)
    assert done.stderr.splitlines()[0] == (
        "switchyard: error: name a version of model my shop: 2 (pending), 1 (Production, pending). "
        "For example: switchyard promote 'my shop' 2 --expect 1"
    )
    done, _ = run(outside, tmp_path, "validate", "other")
    assert done.returncode == 2
    assert "name a version: switchyard validate other <number>" in done.stderr


def test_files_that_have_changed_stop_a_rollback_without_prefect_too(outside: Outside, tmp_path: Path) -> None:
    """The bad champion answers on, and the file is named."""
    for number in (1, 2):
        make_run(outside, tmp_path, number)
        assert run(outside, tmp_path, "register", str(number), "--name", "shop")[0].returncode == 0
    assert run(outside, tmp_path, "promote", "shop", "1")[0].returncode == 0
    force = ("--expect", "1", "--force", "--reason", "why not")
    assert run(outside, tmp_path, "promote", "shop", "2", *force)[0].returncode == 0
    (tmp_path / "1" / "embeddings" / "e.npy").write_bytes(b"f")
    done, loaded = run(outside, tmp_path, "rollback", "shop")
    assert (done.returncode, loaded) == (1, False)
    assert "'embeddings/e.npy' must have sha256" in done.stderr
    assert outside.models.read_model("shop").production == 2


def test_named_server_gets_a_flow_run(outside: Outside, tmp_path: Path, prefect_server: None) -> None:
    """With PREFECT_API_URL it is as ever: the server has the flow run, and the history has its id as the key."""
    make_run(outside, tmp_path, 1)
    assert run(outside, tmp_path, "register", "1", "--name", "shop")[0].returncode == 0
    api_url = str(PREFECT_API_URL.value())
    done, loaded = run(outside, tmp_path, "promote", "shop", "1", "--json", PREFECT_API_URL=api_url)
    assert (done.returncode, loaded) == (0, True), done.stderr
    assert json.loads(done.stdout)["version"] == 1


@pytest.mark.parametrize(
    ("name", "text", "without"),
    [
        ("", "", True),
        (".env", "RESULTS_URL=x\n# PREFECT_API_URL=http://a/api\nPREFECT_API_URL=\n", True),
        (".env", "A=1\nexport PREFECT_API_URL=http://a/api\n", False),
        (".env", "PREFECT_PROFILE=team\n", False),
        ("prefect.toml", "", False),
        ("pyproject.toml", "[tool.ruff]\n", True),
        ("pyproject.toml", "[tool.prefect.api]\nurl = 'http://a/api'\n", False),
        ("home/profiles.toml", "", False),
    ],
)
def test_files_that_may_name_a_server_are_left_to_prefect(
    outside: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, *, without: bool
) -> None:
    """They are read where Prefect reads them; where none is there, it is not even loaded."""
    monkeypatch.chdir(tmp_path)
    for variable in ("PREFECT_API_URL", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    if name:
        (tmp_path / name).write_text(text)
    assert is_without_server() is without


@pytest.mark.parametrize("name", ["PREFECT_API_URL", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH"])
def test_variables_that_may_name_a_server_are_left_to_prefect(
    outside: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Each of them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(name, "http://a/api")
    assert not is_without_server()


def test_note_of_servers_that_are_gone_names_none(
    outside: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A `switchyard up` that was killed leaves its note behind."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    note = {"pid": 1, "prefect_api_url": "http://127.0.0.1:1/api", "serving_url": "http://127.0.0.1:1"}
    to_note_path(outside.settings).write_text(json.dumps(note))
    assert is_without_server()


@pytest.mark.parametrize(("error", "calls"), [(TryAgain("away"), 6), (TryLater("busy"), 1), (BadSetup("wrong"), 1)])
def test_plain_act_is_as_patient_as_a_task(monkeypatch: pytest.MonkeyPatch, error: Exception, calls: int) -> None:
    """What may pass is tried again, six times in all; anything else is raised at once."""
    seen: list[str] = []
    waits: list[float] = []

    def fail(name: str) -> None:
        seen.append(name)
        raise error

    monkeypatch.setattr(plain_registry, "read_model", fail)
    monkeypatch.setattr("tasks.plain_registry.time.sleep", waits.append)
    with pytest.raises(type(error)):
        plain_registry.make_plain_acts().read_model("shop")
    assert (len(seen), len(waits)) == (calls, calls - 1)


def test_flow_run_and_plain_call_write_the_same_history(outside: Outside, tmp_path: Path, prefect_server: None) -> None:
    """But for the key, which a flow run has of its own, and the times."""
    histories = []
    for name in ("plain", "flow"):
        for number in (1, 2):
            run_id = make_run(outside, tmp_path / name, number)
            plain_registry.register_run(run_id, name, "ann", "")
        acts = ("--expect", "1", "--force", "--reason", "x", "--by", "ann")
        assert run(outside, tmp_path, "promote", name, "1", "--by", "ann")[0].returncode == 0
        assert run(outside, tmp_path, "promote", name, "2", *acts)[0].returncode == 0
        if name == "plain":
            assert run(outside, tmp_path, "rollback", name, "--by", "ann", "--reason", "bad")[0].returncode == 0
        else:
            rollback(name=name, by="ann", reason="bad")
        lines = [msgspec.structs.asdict(line) for line in outside.models.list_transitions(name)]
        histories.append([{**line, "name": "", "at": "", "request_key": "", "evidence": ""} for line in lines])
    assert histories[0] == histories[1]
