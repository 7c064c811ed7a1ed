"""The suite of the port `ArtifactCopies`, on every database and every table of runs."""

import msgspec
import pytest

from switchyard.clients.results.migrate import migrate
from switchyard.clients.results.open import open_results
from switchyard.core.artifacts.copies import ArtifactCopy
from tests.clients.results.older import OLDER, make_schema
from tests.clients.results.places import NOW, Place, to_settings

COPY = ArtifactCopy(
    mlflow_run_id="a" * 32,
    to_uri="gs://bucket/mlflow-artifacts",
    digest="sha256:" + "1" * 64,
    objects=3,
    size_bytes=5_000_000_000,
    left_out=1,
    copied_at=NOW,
)


def test_the_newest_copy_of_a_run_is_kept(place: Place) -> None:
    """A second call changes nothing, another copy replaces it, and other runs' copies are their own."""
    copies = place.ports.artifact_copies
    assert copies.read([COPY.mlflow_run_id]) == {}
    copies.keep(COPY)
    copies.keep(COPY)
    other = msgspec.structs.replace(COPY, mlflow_run_id="b" * 32, objects=0)
    copies.keep(other)
    newer = msgspec.structs.replace(COPY, digest="sha256:" + "2" * 64, left_out=0)
    copies.keep(newer)
    assert copies.read(["a" * 32, "b" * 32, "c" * 32]) == {"a" * 32: newer, "b" * 32: other}
    assert copies.read([]) == {}
    assert copies.list_ids() == ["a" * 32, "b" * 32]


def test_many_runs_are_asked_for_at_once(place: Place) -> None:
    """More than one query has room for."""
    copies = place.ports.artifact_copies
    copies.keep(COPY)
    ids = [f"{number:032x}" for number in range(2_500)]
    assert copies.read([*ids, "a" * 32]) == {"a" * 32: COPY}


@pytest.mark.parametrize("version", OLDER)
def test_databases_of_before_get_the_table(version: str, tmp_path: object) -> None:
    """The upgrade works from every older schema."""
    url = f"sqlite:///{tmp_path}/results.db"
    make_schema(url, version)
    migrate(to_settings(url))
    ports = open_results(url)
    ports.artifact_copies.keep(COPY)
    assert ports.artifact_copies.list_ids() == ["a" * 32]
    ports.close()
