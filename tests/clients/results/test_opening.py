"""Opening a results database: what it must have, and what is said where it has not."""

from pathlib import Path

import pytest

from switchyard.clients.results.open import open_results
from switchyard.core.errors import BadSetup
from switchyard.core.runs.rows import NewRun
from tests.clients.results.places import KINDS, NOW, Place, Places
from tests.clients.results.test_predictions import prediction
from tests.predicting import register_folder, write_model


@pytest.mark.parametrize("kind", [kind for kind, (table, _) in KINDS.items() if table])
def test_table_without_needed_columns_is_refused(kind: str, places: Places, tmp_path: Path) -> None:
    """The error names the table and all that it lacks, before anything is asked of it."""
    place = places.make(kind, tmp_path, fresh=True)
    for column in ("status", "training_history_json"):
        place.sql(f"ALTER TABLE {place.table} DROP COLUMN {column}")
    with pytest.raises(BadSetup, match=f"{place.table}.*status, training_history_json"):
        place.open()


def test_table_that_is_not_there_is_refused(own_place: Place) -> None:
    """RESULTS_TABLE misspelt."""
    with pytest.raises(BadSetup, match="RESULTS_TABLE"):
        open_results(own_place.url, "app.misspelt")
    with pytest.raises(BadSetup, match="no table misspelt"):
        open_results(own_place.url, "misspelt")


def test_application_that_was_forgotten_is_pointed_out(application_place: Place) -> None:
    """A database that was migrated for an application's table has none of ours."""
    with pytest.raises(BadSetup, match="RESULTS_TABLE"):
        open_results(application_place.url)


def test_file_that_is_moved_away_is_noticed_and_may_come_back(places: Places, tmp_path: Path) -> None:
    """An open connection would go on with the moved file for ever, without a word."""
    place = places.make("sqlite", tmp_path)
    run = place.runs.create_run(NewRun(request_key="r", display_name="first"), now=NOW)
    file = Path(place.url.removeprefix("sqlite:///"))
    file.rename(tmp_path / "elsewhere.db")
    for ask in (lambda: place.runs.read_run(run.id), lambda: place.predictions.record([prediction()])):
        with pytest.raises(BadSetup, match="the file is missing"):
            ask()
    (tmp_path / "elsewhere.db").rename(file)
    assert place.runs.read_run(run.id) == run


def test_file_that_takes_anothers_place_is_read(places: Places, tmp_path: Path) -> None:
    """Restored from a copy, say, under a running server."""
    place = places.make("sqlite", tmp_path)
    place.models.list_models()
    (tmp_path / "other").mkdir()
    other = places.make("sqlite", tmp_path / "other")
    register_folder(other.models, write_model(tmp_path / "model"))
    other.ports.close()
    Path(other.url.removeprefix("sqlite:///")).replace(place.url.removeprefix("sqlite:///"))
    assert [model.name for model in place.models.list_models()] == ["shop"]


@pytest.mark.parametrize(
    "url",
    ["", "results.db", "sqlite://", "sqlite:///:memory:", "mysql://user:hush@host/db", "postgresql+psycopg://host"],
)
def test_url_of_no_database_is_refused_without_its_password(url: str) -> None:
    """What is accepted is said; what a URL hides stays hidden."""
    with pytest.raises(BadSetup, match="RESULTS_URL") as caught:
        open_results(url)
    assert "hush" not in str(caught.value)
