"""The suite of the port `MirrorNotes`, on every database and every table of runs; and what migration 0007 adds."""

from datetime import timedelta
from pathlib import Path

import pytest

from switchyard.clients.results.migrate import migrate
from switchyard.clients.results.open import open_results
from switchyard.core.registry.mirroring import MirrorLook
from tests.clients.results.older import OLDER, make_schema
from tests.clients.results.places import NOW, Place, run_sql, to_settings
from tests.postgres import Postgres

TARGET = "http://mlflow:5000"
MINUTE = timedelta(minutes=1)


def test_pairs_are_of_one_target_and_model(place: Place) -> None:
    """They are replaced whole, and another mirror's are its own."""
    notes = place.ports.mirrors
    notes.keep_pairs(TARGET, "shop", {1: 4, 2: 5})
    notes.keep_pairs(TARGET, "other", {1: 1})
    notes.keep_pairs("http://elsewhere", "shop", {1: 9})
    notes.keep_pairs(TARGET, "shop", {1: 5, 3: 4})
    assert notes.list_pairs(TARGET, "shop") == {1: 5, 3: 4}
    assert notes.list_pairs(TARGET, "other") == {1: 1}
    assert notes.list_pairs("http://elsewhere", "shop") == {1: 9}
    notes.keep_pairs(TARGET, "shop", {})
    assert notes.list_pairs(TARGET, "shop") == {}


def test_one_at_a_time_holds_a_model(place: Place) -> None:
    """Another holder waits until the first one lets go, or its time is over; a look tells nothing until it ends."""
    notes = place.ports.mirrors
    assert notes.hold(TARGET, "shop", "a", now=NOW, until=NOW + MINUTE)
    assert notes.hold(TARGET, "shop", "a", now=NOW, until=NOW + MINUTE)
    assert not notes.hold(TARGET, "shop", "b", now=NOW, until=NOW + MINUTE)
    assert notes.hold(TARGET, "other", "b", now=NOW, until=NOW + MINUTE)
    assert notes.list_looks(TARGET) == {}
    look = MirrorLook(revision=3, looked_at=NOW, error="refused \u2603")
    notes.note_look(TARGET, "shop", "b", look)
    assert notes.list_looks(TARGET) == {}
    notes.note_look(TARGET, "shop", "a", look)
    assert notes.list_looks(TARGET) == {"shop": look}
    assert notes.hold(TARGET, "shop", "b", now=NOW, until=NOW + MINUTE)
    assert not notes.hold(TARGET, "shop", "c", now=NOW + MINUTE - timedelta(seconds=1), until=NOW + 2 * MINUTE)
    assert notes.hold(TARGET, "shop", "c", now=NOW + MINUTE, until=NOW + 2 * MINUTE)


@pytest.mark.parametrize("version", [version for version in OLDER if "0005" <= version < "0007"])
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_versions_of_before_get_a_flavor(
    kind: str, version: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """The trainer's own models are two-tower models; others are not known. Their history stays."""
    url = f"sqlite:///{tmp_path / 'results.db'}"
    if kind == "postgres":
        server: Postgres = request.getfixturevalue("postgres")
        url = server.url(server.make_database())
    make_schema(url, version)
    run_sql(url, "INSERT INTO switchyard_models (name, share, last_number, revision) VALUES ('shop', 0, 2, 0)")
    for number, path in ((1, "embeddings/query.parquet"), (2, "model/saved_model.pb")):
        run_sql(
            url,
            "INSERT INTO switchyard_model_versions (name, version, stage, validation_status, judgement, digest, "
            "source_key, source_uri, lineage, description, created_at, created_by) VALUES "
            f"('shop', {number}, 'None', 'pending', '{{}}', 'sha256:1', 'run:{number}', 'file:///a', '{{}}', '', "
            "'2026-01-01 00:00:00', '')",
        )
        run_sql(
            url,
            "INSERT INTO switchyard_model_files (name, version, path, size_bytes, sha256) "
            f"VALUES ('shop', {number}, '{path}', 1, 'a')",
        )
    migrate(to_settings(url))
    ports = open_results(url)
    assert {one.version: one.flavor for one in ports.models.list_versions("shop")} == {1: "two-tower", 2: ""}
    assert ports.models.read_model("shop").description == ""
    assert ports.models.list_tags("shop") == {}
    ports.close()
