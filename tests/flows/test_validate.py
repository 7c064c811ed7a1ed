"""Validate as a person runs it: two trained models compared, the judgement kept once, and what goes wrong meanwhile."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL

import flows.__main__ as program
import switchyard.services.validating as validating
from flows.__main__ import read_command
from flows.promote import promote
from flows.register import register
from flows.registry_parameters import ValidateParameters
from flows.train import train
from flows.validate import validate
from switchyard.clients.connect import Outside
from switchyard.core.errors import BadRequest, StaleWrite
from switchyard.core.registry.judging import Comparison
from switchyard.core.registry.rows import ModelVersion, Promotion, StageMove, Transition
from switchyard.core.registry.stages import Act, Stage, Validation
from tests.services.validation_world import NAME, Shop

pytestmark = pytest.mark.usefixtures("prefect_server")

TOY: dict[str, Any] = {
    "epochs": 6, "synthetic_buyers": 120, "synthetic_products": 60, "synthetic_interactions": 4_000, "batch_size": 64,
    "embedding_dim": 8, "top_k": 10, "poll_interval_s": 0.05,
}  # fmt: skip


def list_judgements(outside: Outside) -> list[Transition]:
    return [line for line in outside.models.list_transitions(NAME) if line.act is Act.VALIDATED]


def read_version(outside: Outside, number: int) -> ModelVersion:
    return outside.models.find_version(NAME, str(number))


def test_trained_models_are_compared_and_the_better_one_is_promoted_without_force(outside: Outside) -> None:
    """From two trainings on made-up purchases: what was held out of them measures the same recall as in training."""
    recalls = []
    for learning_rate in (0.5, 1.0):
        run = train(**TOY, learning_rate=learning_rate)
        assert run.status == "completed"
        recalls.append(run.final_metrics["test_recall_at_10"])
        register(quick_test_id=run.quick_test_id, name=NAME)
    first = validate(name=NAME, version=1)
    assert (first.status, first.against, first.is_new) == ("passed", None, True), first.checks
    promote(name=NAME, version=1)
    outside.models.move(StageMove(name=NAME, version=2, stage=Stage.STAGING, share=0.0))
    with pytest.raises(BadRequest, match="was not compared with the champion"):
        promote(name=NAME, version=2, expect="1")
    second = validate(name=NAME, version=2, max_recall_loss=1, max_ndcg_loss=1, max_coverage_loss=1, by="ann")
    assert (second.status, second.against) == ("passed", 1), second.checks
    (recall,) = [one for one in second.measured if (one["name"], one["k"]) == ("recall", 10)]
    # Vectors are multiplied row by row here and many at once there: a pair of equal ones may change places.
    assert [recall["champion"], recall["challenger"]] == pytest.approx(recalls, abs=2 / second.held_out["pairs"])
    kept = read_version(outside, 2).judgement
    assert kept.status is Validation.PASSED
    assert kept.evidence["comparison"]["champion"]["said_by"] == "training"
    assert kept.evidence["comparison"]["held_out"] == second.held_out
    done = promote(name=NAME, version=2, expect="1")
    assert (done.version, done.replaced) == (2, 1)
    last = outside.models.list_transitions(NAME)[-1]
    assert (last.act, last.forced, last.evidence["digest"]) == (Act.PROMOTED, False, read_version(outside, 2).digest)


@pytest.fixture
def shop(outside: Outside, tmp_path: Path) -> Shop:
    """A champion that knows its buyers' tastes a little, and a version that knows them well."""
    made = Shop(outside.models, tmp_path)
    made.register(1, noise=0.5)
    made.models.promote(Promotion(name=NAME, version=1, expected=None))
    made.register(2)
    return made


def test_second_call_writes_nothing(outside: Outside, shop: Shop) -> None:
    """With the same request key it answers the first one's judgement; with the same inputs it makes the same again."""
    uri = shop.write(shop.list_purchases())
    first = validate(name=NAME, version=2, data_uri=uri, request_key="once", reason="nightly")
    assert (first.status, first.is_new) == ("passed", True)
    (line,) = list_judgements(outside)
    assert line.reason == "nightly: every threshold was reached"
    assert validate(name=NAME, version=2, data_uri=uri, request_key="once") == first
    again = validate(name=NAME, version=2, data_uri=uri)
    assert (again.status, again.is_new, again.seq) == ("passed", False, 0)
    assert (again.checks, again.measured, again.held_out) == (first.checks, first.measured, first.held_out)
    assert list_judgements(outside) == [line]
    other = validate(name=NAME, version=2, data_uri=uri, min_recall=1.0, k=2)
    assert (other.status, other.is_new) == ("failed", True)
    assert len(list_judgements(outside)) == 2
    assert validate(name=NAME, version=2, data_uri=uri, request_key="once") == first


def test_champion_that_changed_meanwhile_is_told(outside: Outside, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written: the comparison was with another one."""
    shop.register(3)
    compare = validating.compare

    def promote_meanwhile(*given: Any) -> Comparison:
        compared = compare(*given)
        outside.models.promote(Promotion(name=NAME, version=3, expected=1, force=True, reason="a hurry", by="bob"))
        return compared

    monkeypatch.setattr(validating, "compare", promote_meanwhile)
    with pytest.raises(StaleWrite, match=r"version 3 is in Production .*promoted by bob.*was compared with version 1"):
        validate(name=NAME, version=2, data_uri=shop.write(shop.list_purchases()))
    assert list_judgements(outside) == []
    assert read_version(outside, 2).judgement.status is Validation.PENDING


@pytest.mark.parametrize(("when", "kept"), [("before", 0), ("after", 1)])
def test_killed_between_scoring_and_keeping_it_is_done_when_run_again(
    outside: Outside, shop: Shop, when: str, kept: int
) -> None:
    """And once, on whichever side of the write the process died."""
    uri = shop.write(shop.list_purchases())
    environment = os.environ | {"PREFECT_API_URL": str(PREFECT_API_URL.value())}
    command = [sys.executable, "-m", "tests.flows.killed_validation", when, uri, "once"]
    died = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert len(list_judgements(outside)) == kept
    done = validate(name=NAME, version=2, data_uri=uri, request_key="once", resamples=100)
    assert (done.status, done.is_new) == ("passed", True)
    assert len(list_judgements(outside)) == 1


def test_failed_comparison_is_an_exit_status(outside: Outside, shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    """So that a script does not promote after it; the terminal shows both, and which threshold was missed."""
    uri = shop.write(shop.list_purchases())
    assert program.main(["validate", NAME, "2", "--data-uri", uri, "--min-recall", "1", "--k", "2"]) == program.FAILED
    shown = capsys.readouterr().out
    assert "recall@2" in shown
    assert "FAILED  recall@2 is" in shown
    assert "promote" not in shown
    assert program.main(["validate", NAME, "2", "--data-uri", uri]) == 0
    assert f"promote '{NAME}' 2 --expect 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["validate", "shop", "2"], ValidateParameters(name="shop", version=2)),
        (
            ["validate", "shop", "2", "--data-uri", "file:///new.csv", "--trained-until", "2024-02-29", "--k", "5"],
            ValidateParameters(name="shop", version=2, data_uri="file:///new.csv", trained_until="2024-02-29", k=5),
        ),
        (
            ["validate", "shop", "2", "--max-recall-loss", "-0.01", "--no-beat-popularity", "--no-whole-days"],
            ValidateParameters(name="shop", version=2, max_recall_loss=-0.01, beat_popularity=False, whole_days=False),
        ),
    ],
)
def test_command(arguments: list[str], expected: object) -> None:
    """As a person types it."""
    assert read_command(arguments).parameters == expected


def test_plain_path_is_the_caller_s(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The flow may run in another folder."""
    monkeypatch.chdir(tmp_path)
    parameters = read_command(["validate", "shop", "2", "--data-uri", "new.csv"]).parameters
    assert isinstance(parameters, ValidateParameters)
    assert parameters.data_uri == str(tmp_path / "new.csv")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["shop"], "--version is missing"),
        (["shop", "2", "--trained-until", "soon"], "a date"),
        (["shop", "2", "--max-recall-loss", "2"], "max-recall-loss"),
        (["shop", "2", "--buyers", "10"], "min_buyers must be at most buyers"),
    ],
)
def test_odd_commands_are_refused(arguments: list[str], told: str) -> None:
    """Before anything is asked."""
    with pytest.raises(BadRequest, match=told):
        read_command(["validate", *arguments])
