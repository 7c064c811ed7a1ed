"""The suite of the port `Catalogue`, on every database and every table of runs."""

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import event

from switchyard.core.errors import NotFound
from switchyard.core.registry.listing import LineQuery
from switchyard.core.registry.rows import Lineage, NewVersion, StageMove
from switchyard.core.registry.stages import Act, Stage
from tests.clients.results.places import Place
from tests.clients.results.test_models import NAME, add, files, promote


def register(place: Place, name: str, key: str = "run:1", run: int | None = None) -> None:
    new = NewVersion(
        name=name, source_key=key, source_uri="file:///x", manifest=files(), lineage=Lineage(quick_test_id=run)
    )
    place.models.register(new)


def test_models_are_listed_by_their_names_bytes_in_pages(place: Place) -> None:
    """Upper case before lower case on every database; a page goes on after the name it is given."""
    names = ["Zebra", "a b", "a-b", "a.b", "ab", "b"]
    for name in reversed(names):
        register(place, name)
    pages = [place.catalogue.list_models(after=after, limit=4) for after in ("", "a.b", "b")]
    assert [[line.model.name for line in page] for page in pages] == [names[:4], names[4:], []]


def test_model_line_says_who_is_champion_since_when_and_what_happened_last(place: Place) -> None:
    """Each model's own; a champion that was archived is none, and the line says when that was."""
    add(place, 3)
    register(place, "empty")
    promote(place, 1, None)
    promote(place, 2, 1)
    place.models.move(StageMove(name=NAME, version=3, stage=Stage.STAGING, by="eve"))
    empty, line = place.catalogue.list_models(limit=9)
    assert (empty.model.name, empty.versions, empty.standing, empty.champion) == ("empty", 1, None, None)
    assert empty.last is not None
    assert empty.last.act is Act.REGISTERED
    assert line == place.catalogue.read_line(NAME)
    assert (line.model, line.versions) == (place.models.read_model(NAME), 3)
    assert line.champion is not None
    assert (line.champion.version, line.champion.act, line.champion.by) == (2, Act.PROMOTED, "bob")
    assert line.last == place.models.list_transitions(NAME)[-1]
    place.models.move(StageMove(name=NAME, version=2, stage=Stage.ARCHIVED, reason="bad"))
    line = place.catalogue.read_line(NAME)
    assert line.champion is None
    assert line.standing is not None
    assert (line.standing.act, line.standing.version) == (Act.MOVED, 2)


def test_no_model_and_unknown_names(place: Place) -> None:
    """Lists are empty; one that is named is not found."""
    assert place.catalogue.list_models(limit=5) == []
    assert place.catalogue.list_versions("nothing", limit=5) == []
    assert place.catalogue.list_lines("nothing", LineQuery(limit=5)) == []
    assert place.catalogue.list_of_run(7) == []
    with pytest.raises(NotFound, match="there is no model nothing"):
        place.catalogue.read_line("nothing")


def test_versions_and_lines_come_in_pages_newest_first(place: Place) -> None:
    """Each once, none left out, as the whole lists have them."""
    add(place, 5)
    promote(place, 4, None)
    versions, lines = place.models.list_versions(NAME), place.models.list_transitions(NAME)[::-1]
    found = place.catalogue.list_versions(NAME, limit=2)
    found += place.catalogue.list_versions(NAME, before=4, limit=2)
    found += place.catalogue.list_versions(NAME, before=2, limit=2)
    assert found == versions
    assert len(lines) == 6
    first = place.catalogue.list_lines(NAME, LineQuery(limit=4))
    assert first + place.catalogue.list_lines(NAME, LineQuery(limit=4, before=first[-1].seq)) == lines


def test_lines_are_narrowed(place: Place) -> None:
    """By version, by act, to the forced ones (the first promotion needs no force), and to a time."""
    add(place, 3)
    for version, expected in ((1, None), (2, 1), (3, 2)):
        promote(place, version, expected)
    lines = place.models.list_transitions(NAME)[::-1]

    def ask(**asked: object) -> list[int]:
        query = LineQuery(limit=99, **asked)  # type: ignore[arg-type]  # as LineQuery takes them
        return [line.seq for line in place.catalogue.list_lines(NAME, query)]

    assert ask(version=2) == [line.seq for line in lines if line.version == 2]
    assert ask(acts=[Act.REPLACED, Act.PROMOTED]) == [8, 7, 6, 5, 4]
    assert ask(acts=[Act.PROMOTED], version=1) == [4]
    assert ask(forced=True) == [line.seq for line in lines if line.forced] == [8, 6]
    assert ask(until=lines[0].at, before=5) == [4, 3, 2, 1]
    assert ask(until=lines[-1].at - timedelta(days=1)) == []


def test_standing_is_the_last_change_of_production_until_then(place: Place) -> None:
    """As `find_production` says it, at every line's time and between."""
    add(place, 2)
    promote(place, 1, None)
    promote(place, 2, 1)
    place.models.move(StageMove(name=NAME, version=2, stage=Stage.ARCHIVED, reason="bad"))
    lines = place.models.list_transitions(NAME)
    assert place.catalogue.find_standing(NAME, lines[0].at - timedelta(days=1)) is None
    moments = [line.at for line in lines] + [a.at + (b.at - a.at) / 2 for a, b in pairwise(lines)]
    for moment in moments:
        found = place.catalogue.find_standing(NAME, moment)
        there = found.version if found is not None and found.to_stage is Stage.PRODUCTION else None
        assert there == place.models.find_production(NAME, moment)


def test_versions_of_a_run_are_found_in_every_model(place: Place) -> None:
    """They are sorted by model and number."""
    register(place, "b", "run:1", run=12)
    register(place, "a", "run:2", run=13)
    register(place, "a", "run:1", run=12)
    assert [(one.name, one.version) for one in place.catalogue.list_of_run(12)] == [("a", 2), ("b", 1)]


def test_tags_are_those_of_one_version(place: Place) -> None:
    """By key; version 0 is the model itself."""
    add(place, 2)
    for version, key in ((0, "team"), (2, "b"), (2, "a")):
        place.sql(
            "INSERT INTO switchyard_model_tags (name, version, key, value) VALUES (:name, :version, :key, 'x')",
            name=NAME,
            version=version,
            key=key,
        )
    assert place.catalogue.read_tags(NAME, 0) == {"team": "x"}
    assert list(place.catalogue.read_tags(NAME, 2)) == ["a", "b"]
    assert place.catalogue.read_tags(NAME, 1) == place.catalogue.read_tags("nothing", 1) == {}


@pytest.mark.parametrize(
    ("asked", "index"),
    [
        (LineQuery(limit=9, acts=(Act.VALIDATED,)), "switchyard_model_transitions_noted (name=?)"),
        (LineQuery(limit=9, acts=(Act.VALIDATED,), before=7), "switchyard_model_transitions_noted (name=? AND seq<?)"),
        (LineQuery(limit=9, forced=True), "switchyard_model_transitions_noted (name=?)"),
        (LineQuery(limit=9, version=2), "switchyard_model_transitions_of_version (name=? AND version=?)"),
    ],
)
def test_lines_of_a_long_history_are_found_by_an_index(
    places: Any, tmp_path: Any, asked: LineQuery, index: str
) -> None:
    """SQLite searches those that are asked for alone, and sorts nothing: a page's time does not grow with the rest."""
    place = places.make("sqlite", tmp_path)
    plans: list[list[str]] = []

    def explain(*given: Any) -> None:
        connection, sql, values = given[0], given[2], given[3]
        if not sql.startswith("EXPLAIN"):
            plans.append([row[-1] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values)])

    assert place.catalogue.list_lines(NAME, asked) == []
    event.listen(place.ports.database.reader, "before_cursor_execute", explain)
    place.catalogue.list_lines(NAME, asked)
    assert plans == [[f"SEARCH switchyard_model_transitions USING INDEX {index}"]]
