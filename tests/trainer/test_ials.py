"""iALS in the evaluation report, fitted by the real `implicit`; and what becomes of a fit that does not end."""

import sys
from pathlib import Path

import numpy as np
import pytest

from switchyard.core.errors import BadSetup
from tests.root import ROOT
from tests.trainer.test_reporting import SPEC, open_journal, report
from trainer.model import comparing, ials
from trainer.model.blending import Past
from trainer.model.ials import BEST, NEIGHBOURS, Setting, fit_all, list_settings
from trainer.reporting import Reporter
from trainer.stopping import Stopped

PYTHON = ROOT / ".switchyard" / "implicit" / "bin" / "python"
SMALL: Setting = {**BEST, "factors": 8, "iterations": 3, "regularization": 1.0}

needs_implicit = [
    pytest.mark.needs_implicit,
    pytest.mark.skipif(not PYTHON.exists(), reason="no environment with implicit: make implicit"),
]
SLEEPS = "import threading; threading.Event().wait()"


def make_past(folder: Path) -> Past:
    _, dataset = open_journal(folder)
    return Past(dataset, temperature=SPEC.temperature)


def test_the_grid_is_the_best_setting_and_ten_neighbours() -> None:
    """Each differs from it in one thing."""
    settings = list_settings()
    assert settings[0] == BEST
    assert (len(settings), len(NEIGHBOURS)) == (11, 10)
    assert all(sum(one[name] != BEST[name] for name in BEST) == 1 for one in settings[1:])


class TestWithImplicit:
    """What `make test-implicit` runs."""

    pytestmark = needs_implicit

    def test_it_is_measured_beside_the_others(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """With the setting that is best on validation, and better than popularity on data that has a structure."""
        tried = [SMALL, {**SMALL, "purchases": "log counts"}, {**SMALL, "iterations": 1, "regularization": 1e6}]
        monkeypatch.setattr(ials, "list_settings", lambda: tried)
        monkeypatch.setattr(comparing, "list_settings", lambda: tried)
        found = report(tmp_path, reporter=Reporter(baselines_python=str(PYTHON)))
        assert found.left_out == []
        measured = found.contenders[-1]
        assert (measured.name, measured.about) == ("ials", "chosen on validation among 3")
        assert measured.settings in tried[:2]
        popularity = found.contenders[1].figures["all"]["recall_at_10"].value
        assert measured.figures["all"]["recall_at_10"].value > popularity

    def test_one_seed_gives_the_same_factors(self, tmp_path: Path) -> None:
        """So that a restart makes the same report; another seed gives others."""
        past = make_past(tmp_path)
        settings: list[Setting] = [{**SMALL, "threads": 1}]
        first, second, other = (
            next(fit_all(str(PYTHON), past, seed=seed, check=lambda: None, settings=settings))[1] for seed in (7, 7, 8)
        )
        assert np.array_equal(first.query, second.query)
        assert np.array_equal(first.candidate, second.candidate)
        assert not np.array_equal(first.query, other.query)
        assert len(first.query) == len(past.starts) - 1
        assert len(first.candidate) == len(past.share)


@pytest.fixture
def endless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fit that never ends."""
    script = tmp_path / "endless.py"
    script.write_text(SLEEPS)
    monkeypatch.setattr(ials, "_SCRIPT", script)
    return script


@pytest.mark.usefixtures("endless")
def test_fits_that_take_too_long_are_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the limit in the reason; no process is left."""
    monkeypatch.setattr(ials, "MOST_S", 0.1)
    with pytest.raises(BadSetup, match="longer than 0 s"):
        next(fit_all(sys.executable, make_past(tmp_path / "run"), seed=7, check=lambda: None))
    assert not _list_children()


@pytest.mark.usefixtures("endless")
def test_a_wish_to_stop_ends_a_fit(tmp_path: Path) -> None:
    """SIGTERM waits for no fit."""
    looks = iter(range(10))

    def stop() -> None:
        if next(looks) == 1:
            raise Stopped

    with pytest.raises(Stopped):
        next(fit_all(sys.executable, make_past(tmp_path / "run"), seed=7, check=stop))
    assert not _list_children()


def _list_children() -> list[str]:
    import psutil

    commands = [" ".join(child.cmdline()) for child in psutil.Process().children(recursive=True)]
    return [command for command in commands if "endless.py" in command]
