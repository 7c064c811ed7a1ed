"""The evaluation report of a training: what it says, and what it costs a run when it cannot be made."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from switchyard.core.metrics.evaluation import EvaluationReport, Lead, read_report
from tests.root import ROOT
from tests.trainer.factories import TINY_FLAGS, make_spec
from tests.trainer.forked_trainers import Trainers
from tests.trainer.test_process import WAIT_S, read_metrics
from trainer import reporting
from trainer.data.preparing import prepare
from trainer.data.splitting import Dataset
from trainer.model import comparing
from trainer.model.baselines import Popularity, Vectors
from trainer.model.blending import Past
from trainer.options import RunSpec
from trainer.output.journal import Journal
from trainer.output.run_folder import RunFolder
from trainer.reporting import Reporter
from trainer.stopping import Stopped

FILES = ("evaluation_report.json", "model_card.md")
SPEC = make_spec(synthetic_buyers=200, synthetic_products=60, synthetic_interactions=4_000)


def open_journal(folder: Path) -> tuple[Journal, Dataset]:
    """A training's journal, once its data are read."""
    run = RunSpec(artifacts_uri=folder.as_uri(), model_uri=f"{folder.as_uri()}/model", quick_test_id=5, key="abc")
    journal = Journal(RunFolder(run, seed=SPEC.seed), SPEC)
    return journal, prepare(SPEC, journal)


def make_vectors(dataset: Dataset) -> Vectors:
    """A model that knows nothing."""
    rng = np.random.default_rng(1)
    query, candidate = (rng.normal(size=(len(ids), 4)) for ids in (dataset.buyer_ids, dataset.product_ids))
    return Vectors(query.astype(np.float32), candidate.astype(np.float32))


def go_on() -> None:
    """Nothing asks to stop."""


def report(folder: Path, model: Any = None, reporter: Reporter | None = None) -> EvaluationReport:
    journal, dataset = open_journal(folder)
    model = make_vectors(dataset) if model is None else model(dataset)
    return read_report((reporter or Reporter()).measure(journal, SPEC, dataset, model, go_on), "the report")


def test_a_run_leaves_its_report_and_its_card(tmp_path: Path, trainers: Trainers) -> None:
    """The report's recall is the run's own, and two runs of one seed leave the same bytes."""
    flags = [
        *TINY_FLAGS,
        "--recent-popularity",
        "--own-history",
        "--quick-test-id=12",
        "--key=abc",
        "--image=i@sha256:1",
    ]
    for name in ("a", "b"):
        assert trainers.run(tmp_path / name, *flags).returncode == 0
    first, second = ([(tmp_path / name / file).read_bytes() for file in FILES] for name in ("a", "b"))
    assert first == second
    found, metrics = read_report(first[0], "here"), read_metrics(tmp_path / "a")
    for k in (5, 10):
        test_recall = metrics.final_metrics[f"test_recall_at_{k}"]
        assert found.model.figures["all"][f"recall_at_{k}"].value == pytest.approx(test_recall, abs=1e-6)
        popularity = metrics.final_metrics[f"popularity_recall_at_{k}"]
        assert found.contenders[1].figures["all"][f"recall_at_{k}"].value == pytest.approx(popularity, abs=1e-6)
    names = ["model", "popularity", "own_counts", "recent_and_own", "item_knn"]
    assert [one.name for one in found.contenders] == names
    assert [one.name for one in found.left_out] == ["ials"]
    assert found.run.quick_test_id == 12
    assert "| image | i@sha256:1 |" in first[1].decode()


KILLED = """
import os, signal, sys
from trainer.output import run_folder
from trainer.starting import start

whole = run_folder.RunFolder.upload

def upload(self, folder):
    write = self._objects.write
    def write_and_die(uri, data, *, if_generation):
        if sys.argv[1] == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        write(uri, data, if_generation=if_generation)
        if uri.endswith(sys.argv[1]):
            os.kill(os.getpid(), signal.SIGKILL)
    self._objects.write = write_and_die
    whole(self, folder)

run_folder.RunFolder.upload = upload
start(sys.argv[2:], os.environ)
"""


@pytest.mark.parametrize("at", ["before", *FILES])
def test_a_run_killed_between_the_reports_files_ends_as_one_that_was_not(
    at: str, tmp_path: Path, trainers: Trainers
) -> None:
    """Started again it writes both, the same to the last byte."""
    assert trainers.run(tmp_path / "whole", *TINY_FLAGS).returncode == 0
    folder = tmp_path / "killed"
    flags = [*TINY_FLAGS, f"--checkpoints-uri={(tmp_path / 'checkpoints').as_uri()}", "--checkpoint-pause-s=0"]
    command = [sys.executable, "-c", KILLED, at, f"--artifacts-uri={folder.as_uri()}", *flags]
    killed = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=WAIT_S, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (folder / FILES[0]).exists() == (at != "before")
    assert trainers.run(folder, *flags).returncode == 0
    for name in FILES:
        assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_report_that_cannot_be_made_costs_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The record says why, and the log warns."""

    def fail(*_: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(reporting, "make_report", fail)
    journal, dataset = open_journal(tmp_path)
    assert Reporter().measure(journal, SPEC, dataset, make_vectors(dataset), go_on) == b""
    assert Reporter().to_files(journal, SPEC, b"") == {}
    assert journal.params["evaluation_report"] == "not made: MemoryError: no room"
    assert '"WARNING", "message": "the evaluation report was not made' in capsys.readouterr().out


def test_a_wish_to_stop_is_no_failure(tmp_path: Path) -> None:
    """SIGTERM during the report stops the run, whose restart makes it."""

    def stop() -> None:
        raise Stopped

    journal, dataset = open_journal(tmp_path)
    with pytest.raises(Stopped):
        Reporter().measure(journal, SPEC, dataset, make_vectors(dataset), stop)
    assert "evaluation_report" not in journal.params


def test_a_report_of_an_earlier_attempt_goes_where_there_is_no_new_one(tmp_path: Path) -> None:
    """It would stand beside another model."""
    journal, _ = open_journal(tmp_path / "run")
    built = tmp_path / "built"
    (built / "model").mkdir(parents=True)
    (built / "model" / "saved_model.pb").write_bytes(b"x")
    for name in FILES:
        (built / name).write_bytes(b"{}")
    journal.folder.upload(built)
    assert all((tmp_path / "run" / name).exists() for name in FILES)
    for name in FILES:
        (built / name).unlink()
    journal.folder.upload(built)
    assert not any((tmp_path / "run" / name).exists() for name in FILES)


def test_a_baseline_that_wins_is_said_to_win(tmp_path: Path) -> None:
    """A model of chance loses to what the buyer bought, on all pairs; popularity is level with itself."""
    found = report(tmp_path / "a")
    leads = {one.name: one.leads["all"]["recall_at_10"] for one in found.contenders[1:]}
    assert {leads[name].verdict for name in ("own_counts", "recent_and_own", "item_knn")} == {"baseline"}
    popular = report(tmp_path / "b", lambda dataset: Popularity(Past(dataset, temperature=0.1)))
    assert popular.contenders[1].leads["new"]["recall_at_10"] == Lead(value=0, low=0, high=0, verdict="level")


def test_groups_share_the_buyers(tmp_path: Path) -> None:
    """Light buyers have at most the median of purchases; both groups together are all."""
    measured = report(tmp_path).measured
    light, heavy = measured.groups["light"], measured.groups["heavy"]
    assert (light.buyers + heavy.buyers, light.pairs + heavy.pairs) == (measured.buyers, measured.pairs)
    assert light.most < heavy.least
    assert light.buyers >= heavy.buyers


def test_of_too_many_scores_buyers_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report says of how many pairs it is, and with few buyers that no one can be said to win."""
    monkeypatch.setattr(comparing, "MOST_SCORES", 1_000)
    found = report(tmp_path)
    assert found.measured.buyers < comparing.ENOUGH_BUYERS
    assert found.measured.pairs < found.measured.of_pairs
    assert {lead.verdict for one in found.contenders[1:] for lead in one.leads["all"].values()} == {"too_few"}


def test_a_baseline_too_large_for_this_machine_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the limit in its reason."""
    monkeypatch.setattr(comparing, "MOST_TOGETHER", 10)
    (left,) = [one for one in report(tmp_path).left_out if one.name == "item_knn"]
    assert "at most 10 are used" in left.reason


@pytest.mark.parametrize(
    ("python", "said"), [(sys.executable, "No module named 'implicit'"), ("/nowhere/python", "could not be started")]
)
def test_an_environment_without_implicit_leaves_ials_out(python: str, said: str, tmp_path: Path) -> None:
    """With what that Python said; all else is measured."""
    found = report(tmp_path, reporter=Reporter(baselines_python=python))
    assert len(found.contenders) == 5
    assert said in found.left_out[0].reason
