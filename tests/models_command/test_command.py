"""`switchyard models`, as a person and a program use it, on SQLite and Postgres."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from switchyard.clients.settings import Settings
from switchyard.core.registry.manifest import ModelFile, to_manifest
from switchyard.core.registry.rows import Judgement, Lineage, NewVersion, Promotion, Verdict
from switchyard.core.registry.stages import Validation
from switchyard.models_command.command import COMMANDS, main
from tests.clients.results.places import Place

Run = Callable[..., tuple[int, str, str]]
LINEAGE = Lineage(
    quick_test_id=7,
    run_key="k1",
    data_uri="gs://data",
    parameters={"epochs": 3},
    image="trainer@sha256:1",
    code_version="0.2.0",
)


@pytest.fixture
def run(own_place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command on a database with versions 1 to 3 of the model `shop`; its exit status, stdout and stderr."""
    for name in Settings.__struct_fields__:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("RESULTS_URL", own_place.url)
    monkeypatch.delenv("COLUMNS", raising=False)
    for number in (1, 2, 3):
        own_place.models.register(
            NewVersion(
                name="shop",
                source_key=f"run:{number}",
                source_uri=f"file:///runs/{number}",
                manifest=to_manifest([ModelFile(path="model/a", size_bytes=number, sha256="ab" * 32)], ""),
                lineage=LINEAGE,
                by="ann",
                description="nightly [red]\x1b[2J",
            )
        )

    def call(*arguments: str) -> tuple[int, str, str]:
        try:
            status = main(arguments, prog="switchyard models")
        except SystemExit as err:  # argparse's own
            assert isinstance(err.code, int)
            status = err.code
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


def read(run: Run, *arguments: str) -> Any:
    status, out, err = run(*arguments, "--json")
    assert (status, err) == (0, "")
    assert out.count("\n") == 1

    def refuse(constant: str) -> Any:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(out, parse_constant=refuse)


def promote(place: Place, version: int, expected: int | None) -> None:
    wanted = Promotion(name="shop", version=version, expected=expected, force=True, reason="better", by="bob")
    place.models.promote(wanted)


def test_models_are_listed_with_who_answers(own_place: Place, run: Run) -> None:
    """Also where no command is named; one line each for a person."""
    promote(own_place, 1, None)
    run("move", "shop", "3", "staging", "--share", "0.125")
    run("alias", "shop", "best", "2")
    [model] = read(run, "list")["models"]
    assert model == {
        "name": "shop",
        "production": 1,
        "previous": None,
        "challenger": 3,
        "share": 0.125,
        "last_number": 3,
        "aliases": {"best": 2, "challenger": 3, "champion": 1},
    }
    assert read(run) == {"models": [model]}
    status, out, _ = run()
    assert status == 0
    assert out.splitlines()[1].split() == ["shop", "1", "none", "3", "(12.5", "%)", "3", "@best=2"]


def test_an_empty_registry_says_how_to_fill_it(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command that makes the first model."""
    monkeypatch.setenv("RESULTS_URL", f"sqlite:///{tmp_path / 'another.db'}")
    status, out, _ = run("list")
    assert (status, out) == (
        0,
        "There are no models. To make one of a run: switchyard register <run> --name <model>\n",
    )
    assert read(run, "list") == {"models": []}


@pytest.mark.parametrize("command", ["versions", "history", "production"])
def test_a_model_that_is_not_there_is_named(run: Run, command: str) -> None:
    """And how to make it."""
    status, out, err = run(command, "other")
    assert (status, out) == (1, "")
    assert err == (
        f"switchyard models {command}: there is no model other. To make one of a run: switchyard register <run> --name "
        "'other'\n"
    )


def test_versions_are_listed_the_newest_first(own_place: Place, run: Run) -> None:
    """Stage, validation, digest, lineage; what people wrote can do nothing to a terminal."""
    promote(own_place, 1, None)
    digests = {one.version: one.digest for one in own_place.models.list_versions("shop")}
    judged = Judgement(
        status=Validation.PASSED, digest=digests[2], against=1, against_digest=digests[1], evidence={"recall": 0.5}
    )
    own_place.models.validate(Verdict(name="shop", version=2, judgement=judged))
    found = read(run, "versions", "shop")
    assert [(one["version"], one["stage"], one["validation"], one["against"]) for one in found["versions"]] == [
        (3, "None", "pending", None),
        (2, "None", "passed", 1),
        (1, "Production", "pending", None),
    ]
    assert [one["digest"] for one in found["versions"]] == [digests[3], digests[2], digests[1]]
    _, out, _ = run("versions", "shop")
    lines = out.splitlines()
    assert "passed against 1" in lines[3]
    assert digests[2][:19] in lines[3]
    assert "nightly [red]\\u001b[2J" in lines[3]
    assert "\x1b" not in out


@pytest.mark.parametrize("reference", ["2", "staging", "@challenger", "@best"])
def test_one_version_is_shown_whole(own_place: Place, run: Run, reference: str) -> None:
    """By number, stage or alias: its files, lineage, evidence and history."""
    run("move", "shop", "2", "Staging", "--share=0")
    run("alias", "shop", "best", "2")
    version = own_place.models.find_version("shop", "2")
    judged = Judgement(status=Validation.FAILED, digest=version.digest, evidence={"recall": 0.25})
    own_place.models.validate(Verdict(name="shop", version=2, judgement=judged))
    found = read(run, "show", "shop", reference)
    assert found["line"]["aliases"] == ["best", "challenger"]
    assert found["line"]["share"] == 0
    assert found["files"] == [{"path": "model/a", "size_bytes": 2, "sha256": "ab" * 32}]
    assert found["lineage"]["parameters"] == {"epochs": 3}
    assert found["evidence"] == {"recall": 0.25}
    assert [line["act"] for line in found["history"]] == ["registered", "moved", "validated"]
    status, out, _ = run("show", "shop", reference)
    assert status == 0
    for said in (version.digest, "Staging, with 0 % of the traffic", '{"recall": 0.25}', "gs://data", "ab" * 32):
        assert said in out


def test_the_history_is_a_timeline(own_place: Place, run: Run) -> None:
    """The oldest first; a forced promotion shows that, with its reason; --last keeps the newest lines."""
    promote(own_place, 1, None)
    promote(own_place, 2, 1)
    found = read(run, "history", "shop")
    assert [line["seq"] for line in found["transitions"]] == [1, 2, 3, 4, 5, 6]
    assert found["transitions"][5] == {
        "name": "shop",
        "seq": 6,
        "version": 2,
        "act": "promoted",
        "from_stage": "None",
        "to_stage": "Production",
        "at": found["transitions"][5]["at"],
        "by": "bob",
        "reason": "better",
        "forced": True,
        "replaced": 1,
        "share": None,
        "evidence": {},
        "request_key": None,
    }
    assert [line["seq"] for line in read(run, "history", "shop", "--last=2")["transitions"]] == [5, 6]
    _, out, _ = run("history", "shop")
    assert "promoted, forced" in out.splitlines()[-1]
    assert out.splitlines()[-1].rstrip().endswith("better")


def test_the_version_in_production_at_a_moment_is_told(own_place: Place, run: Run) -> None:
    """Before the first promotion, between two, at the very moment of one, and now."""
    promote(own_place, 1, None)
    promote(own_place, 2, 1)
    first, second = (line.at for line in own_place.models.list_transitions("shop") if line.act == "promoted")
    instant = timedelta(microseconds=1)
    for moment, version in ((first - instant, None), (first, 1), (second - instant, 1), (second, 2)):
        found = read(run, "production", "shop", "--at", moment.isoformat())
        assert (found["name"], found["version"]) == ("shop", version)
    assert read(run, "production", "shop")["version"] == 2
    _, out, _ = run("production", "shop", "--at", f"{second.replace(tzinfo=None).isoformat()}")
    assert out == f"version 2 of model shop was in Production at {second:%Y-%m-%d %H:%M:%S} UTC\n"
    _, out, _ = run("production", "shop", "--at", "2020-01-01")
    assert out == "no version of model shop was in Production at 2020-01-01 00:00:00 UTC\n"


@pytest.mark.parametrize(
    ("at", "said"),
    [("yesterday", "--at takes a time such as 2026-11-29T05:30; got 'yesterday'"), ("2999-01-01", "in the future")],
)
def test_a_moment_that_cannot_be_answered_is_refused(run: Run, at: str, said: str) -> None:
    """No answer is made up for the future."""
    status, out, err = run("production", "shop", "--at", at)
    assert (status, out) == (1, "")
    assert said in err


def test_a_version_enters_staging_with_its_share_and_leaves(own_place: Place, run: Run) -> None:
    """5 % unless told otherwise; who was there before goes back to None; each says what became of it."""
    status, out, _ = run("move", "shop", "1", "Staging")
    assert (status, out) == (
        0,
        "version 1 of model shop is in Staging, with 5 % of the traffic. See: switchyard models history 'shop'\n",
    )
    _, out, _ = run("move", "shop", "1", "Staging")
    assert (
        out == "Nothing was changed: version 1 of model shop is in Staging already, with 5 % of the traffic. "
        "For another share: switchyard models share 'shop' 1 <share>\n"
    )
    found = read(run, "move", "shop", "2", "Staging", "--share", "0", "--expect=1", "--by=ann", "--reason=shadow")
    assert (found["stage"], found["share"], found["outcome"]["replaced"]) == ("Staging", 0, 1)
    assert own_place.models.find_version("shop", "1").stage == "None"
    assert read(run, "move", "shop", "2", "none")["share"] is None
    assert read(run, "move", "shop", "2", "Archived")["stage"] == "Archived"
    assert own_place.models.read_model("shop").challenger is None


def test_move_of_the_challenger_to_staging_changes_its_share(own_place: Place, run: Run) -> None:
    """If it is the challenger that is expected; without a share it keeps its own."""
    run("move", "shop", "1", "Staging")
    found = read(run, "move", "shop", "1", "Staging", "--share=0.2", "--expect=1", "--reason=well")
    assert (found["share"], found["outcome"]["act"]) == (0.2, "share changed")
    line = own_place.models.list_transitions("shop")[-1]
    assert (line.share, line.reason, line.to_stage) == (0.2, "well", "Staging")
    status, _, err = run("move", "shop", "1", "Staging", "--share=0.3", "--expect=none")
    assert status == 1
    assert "version 1 is the challenger" in err
    assert read(run, "move", "shop", "1", "Staging")["outcome"]["act"] is None
    assert read(run, "move", "shop", "1", "Staging", "--share=0.2")["outcome"]["act"] is None
    assert own_place.models.read_model("shop").share == 0.2


def test_change_without_a_name_is_the_user_s(own_place: Place, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the history, which would not say it otherwise."""
    monkeypatch.setenv("LOGNAME", "eve")
    run("move", "shop", "1", "Staging")
    assert own_place.models.list_transitions("shop")[-1].by == "eve"


def test_move_to_production_names_the_promotion_as_it_would_be_typed(own_place: Place, run: Run) -> None:
    """With the champion of the moment, and nothing is changed."""
    status, out, err = run("move", "shop", "1", "Production")
    assert (status, out) == (1, "")
    champion = own_place.models.read_model("shop").production
    assert f": switchyard promote shop 1 --expect {champion or 'none'}" in err


def test_who_lost_a_race_for_staging_is_told_who_won(own_place: Place, run: Run) -> None:
    """Who, since when, by whom and with which share. Nothing is changed, and the status says that it was refused."""
    run("move", "shop", "1", "Staging", "--by=ann")
    run("share", "shop", "1", "0.1", "--by=eve")
    at = own_place.models.list_transitions("shop")[-2].at
    won = f"version 1 is the challenger of model shop since {at:%Y-%m-%d %H:%M:%S} UTC (moved by ann), with share 0.1"
    status, out, err = run("move", "shop", "2", "Staging", "--expect", "none")
    assert (status, out) == (1, "")
    assert f"{won}; none was expected. Nothing was changed. To replace it all the same: --expect 1" in err
    status, _, err = run("share", "shop", "2", "0.1")
    assert status == 1
    assert f"{won}; 2 was expected. Nothing was changed. To see who is: switchyard models show shop Staging" in err
    assert own_place.models.read_model("shop").challenger == 1


def test_the_challenger_s_share_is_changed(own_place: Place, run: Run) -> None:
    """And said as a percentage; the same share again changes nothing."""
    run("move", "shop", "1", "Staging")
    _, out, _ = run("share", "shop", "1", "0.25")
    assert out.startswith("version 1 of model shop is in Staging, with 25 % of the traffic.")
    assert own_place.models.read_model("shop").share == 0.25
    assert read(run, "share", "shop", "1", "0.25")["outcome"]["act"] is None


def test_a_request_key_is_done_once(own_place: Place, run: Run) -> None:
    """Whatever happened since."""
    first = read(run, "move", "shop", "1", "Staging", "--request-key=once")
    run("move", "shop", "1", "None")
    assert read(run, "move", "shop", "1", "Staging", "--request-key=once")["outcome"] == first["outcome"]
    assert own_place.models.read_model("shop").challenger is None


def test_a_free_alias_is_set_and_dropped(own_place: Place, run: Run) -> None:
    """One that the registry keeps itself is refused."""
    assert read(run, "alias", "shop", "best", "2") == {"name": "shop", "alias": "best", "version": 2}
    assert own_place.models.list_aliases("shop") == {"best": 2}
    assert read(run, "unalias", "shop", "best")["version"] is None
    assert own_place.models.list_aliases("shop") == {}
    _, out, _ = run("unalias", "shop", "best")
    assert out == "@best names no version of model shop\n"
    status, _, err = run("alias", "shop", "champion", "2")
    assert status == 1
    assert "the registry keeps the alias 'champion' itself" in err


def test_a_version_is_tombstoned_with_a_reason(own_place: Place, run: Run) -> None:
    """Not the champion; and it stays listed."""
    status, _, err = run("tombstone", "shop", "1")
    assert status == 2
    assert "--reason is needed" in err
    promote(own_place, 2, None)
    status, _, err = run("tombstone", "shop", "2", "--reason=wrong data")
    assert status == 1
    assert "is in Production. Archive it first" in err
    _, out, _ = run("tombstone", "shop", "1", "--reason=wrong data")
    assert out == "version 1 of model shop is tombstoned: it stays listed, and never answers again.\n"
    [line] = [line for line in read(run, "versions", "shop")["versions"] if line["version"] == 1]
    assert line["tombstoned_at"] is not None
    _, out, _ = run("tombstone", "shop", "1", "--reason=again")
    assert out == "Nothing was changed: version 1 of model shop is tombstoned already.\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["move", "shop", "1"],
        ["move", "shop", "x", "Staging"],
        ["move", "shop", "1", "Staging", "--share=0.6"],
        ["share", "shop", "1", "nan"],
        ["share", "shop", "1", "-1"],
        ["history", "a/b"],
        ["history", "shop", "--name=other"],
        ["show", "shop"],
        ["drop", "shop"],
        ["list", "--jso"],
    ],
)
def test_wrong_flags_end_with_2_before_anything_is_asked(run: Run, arguments: list[str]) -> None:
    """And nothing is on stdout."""
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert "error" in err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(run: Run, name: str) -> None:
    """With what it takes in its usage."""
    status, out, _ = run(name, "--help")
    assert status == 0
    assert out.startswith(f"usage: switchyard models {name}")
    assert "--json" in out
