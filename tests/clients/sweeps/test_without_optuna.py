"""A machine without Optuna: what `make run` sets up."""

import sys
from pathlib import Path

import pytest

from switchyard.clients import connect
from switchyard.clients.settings import read_settings
from switchyard.core.errors import BadSetup


def test_a_sweep_without_optuna_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is made on the way."""
    monkeypatch.setitem(sys.modules, "optuna", None)  # as if it were not there; in .venv it is not
    monkeypatch.delitem(sys.modules, "switchyard.clients.sweeps.optuna_trials", raising=False)
    connect._open_trials.cache_clear()
    with pytest.raises(BadSetup, match=r"pip install -c constraints\.txt -e '\.\[worker,sweep\]'"):
        connect.Outside(read_settings({"STATE_DIR": str(tmp_path)})).trials("a")
    assert list(tmp_path.iterdir()) == []
