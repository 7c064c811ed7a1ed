"""docs/sweep.md: its command trains and finds the best, and what it says of flags and numbers is so."""

import re
from pathlib import Path

import pytest
import yaml

from flows.sweep_parameters import TRIALS, SweepParameters
from switchyard.clients.sweeps.places import SCHEMA
from switchyard.core.runs.flags import to_flag
from switchyard.core.runs.spec import TrainSpec
from switchyard.core.sweeps.space import parse_space
from tests.docs.pages import open_folder, read_commands, read_page
from tests.optuna_there import HAS_OPTUNA
from tests.root import ROOT

PAGE = read_page("sweep.md")


def test_every_flag_of_the_page_exists() -> None:
    """Of the sweep, but for those of commands that it only names."""
    flags = set(re.findall(r"--[a-z][a-z-]+", PAGE))
    others = {"--attempts", "--no-prune"}
    assert len(flags) > 10
    assert flags - others - {to_flag(name) for name in SweepParameters.__struct_fields__} == set()


def test_every_way_to_write_a_search_is_read() -> None:
    """The table's first column."""
    table = PAGE[PAGE.index("| written |") : PAGE.index("Each value must be")]
    written = re.findall(r"^\| `(.*?)` \|", table, flags=re.MULTILINE)
    assert len(written) == 6
    for text in written:
        assert parse_space([text], TrainSpec())


def test_its_numbers_and_defaults_are_those_of_the_code() -> None:
    sweep = SweepParameters(search=("epochs=2,3",))
    assert (sweep.method, sweep.at_once, sweep.metric, sweep.prune) == ("tpe", 1, "val_recall_at_10", True)
    assert f"{TRIALS} of the other methods" in PAGE
    assert f"`{SCHEMA}`" in PAGE


def test_its_deployment_is_there() -> None:
    """As `prefect.yaml` has it."""
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    assert "sweep/manual" in PAGE
    assert {"name": "manual", "entrypoint": "flows/sweep.py:sweep"}.items() <= next(
        one for one in deployments if one["entrypoint"] == "flows/sweep.py:sweep"
    ).items()


@pytest.mark.needs_optuna
@pytest.mark.skipif(not HAS_OPTUNA, reason="needs Optuna: make test-sweep")
@pytest.mark.timeout(900)
def test_its_command_trains_the_trials_and_names_the_best(tmp_path: Path) -> None:
    """Real trainings on made-up data; the two commands before it are the Makefile's and a variable, which are set."""
    setup, export, command = read_commands(PAGE)
    assert (setup, export) == ("make sweep-setup", "export PYTHONPATH=$PWD/.switchyard/optuna")
    with open_folder(tmp_path / "checkout") as folder:
        said = folder.run(f"cd {ROOT} && {command}", timeout_s=800)
    assert "3 of 3 trials" in said
    assert re.search(r"best +quick test \d: val_recall_at_10 0\.\d+ with embedding_dim=(8|16), learning_rate=", said)
    assert re.search(r"/compare\?ids=\d,\d,\d", said)
