"""The suite of the port `Models`, on every database and every table of runs."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from switchyard.clients.results.engine import Database
from switchyard.clients.results.guards import KEPT
from switchyard.clients.results.migrate import migrate
from switchyard.clients.results.models import SqlModels
from switchyard.clients.results.tables import SCHEMA
from switchyard.core.errors import BadRecord, BadRequest, BadSetup, NotFound, StaleWrite
from switchyard.core.registry.manifest import Manifest, ModelFile, to_manifest
from switchyard.core.registry.rows import (
    Judgement,
    Lineage,
    Model,
    NewVersion,
    Promotion,
    Rollback,
    ShareChange,
    StageMove,
    Tombstone,
    Verdict,
)
from switchyard.core.registry.stages import Act, Stage, Validation
from tests.clients.results.places import NOW, Place, Places, run_sql, to_settings

NAME = "fraud"
LINEAGE = Lineage(
    quick_test_id=7,
    run_key="k1",
    data_uri="gs://data",
    parameters={"epochs": 3, "lr": 0.1},
    image="trainer@sha256:1",
    code_version="0.2.0",
)


def files(text: str = "a") -> Manifest:
    hashed = [ModelFile(path=path, size_bytes=2**33, sha256=text * 64) for path in ("model/Z", "model/é", "b", "C")]
    return to_manifest(hashed, "here")


def new(key: str = "run:1", *, name: str = NAME, text: str = "a") -> NewVersion:
    return NewVersion(
        name=name,
        source_key=key,
        source_uri=f"file:///runs/{key}",
        manifest=files(text),
        lineage=LINEAGE,
        by="ann",
        description="nightly",
    )


def add(place: Place, count: int) -> None:
    for number in range(1, count + 1):
        place.models.register(new(f"run:{number}"))


def promote(place: Place, version: int, expected: int | None, **more: Any) -> Any:
    given = {"force": True, "reason": "for the test", "by": "bob", **more}
    return place.models.promote(Promotion(name=NAME, version=version, expected=expected, **given))


def pass_(place: Place, version: int, against: int | None) -> Judgement:
    digests = {one.version: one.digest for one in place.models.list_versions(NAME)}
    judgement = Judgement(
        status=Validation.PASSED,
        digest=digests[version],
        against=against,
        against_digest=digests[against] if against else "",
        evidence={"recall_at_10": [0.5, 0.4, 0.6], "data": "sha256:d"},
    )
    place.models.validate(Verdict(name=NAME, version=version, judgement=judgement))
    return judgement


def test_registered_version_is_pending_and_has_its_files(place: Place) -> None:
    """Its number, digest, lineage and files are kept as they were said."""
    made = place.models.register(new())
    version = made.version
    assert made.is_new
    assert (version.version, version.stage, version.judgement.status) == (1, Stage.NONE, Validation.PENDING)
    assert (version.digest, version.lineage, version.description) == (files().digest, LINEAGE, "nightly")
    assert place.models.read_files(NAME, 1) == files()
    assert place.models.read_files(NAME, 1).digest == version.digest
    assert place.models.list_versions(NAME) == [version]
    (line,) = place.models.list_transitions(NAME)
    assert (line.seq, line.act, line.version, line.by, line.at) == (1, Act.REGISTERED, 1, "ann", version.created_at)
    assert place.models.read_model(NAME) == Model(name=NAME, last_number=1, revision=1)


def test_same_source_registers_once(place: Place) -> None:
    """The second call answers the first one's version; its files must be the same."""
    first = place.models.register(new()).version
    again = place.models.register(new())
    assert (again.version, again.is_new) == (first, False)
    with pytest.raises(StaleWrite, match=r"version 1 .*changed since"):
        place.models.register(new(text="b"))
    assert place.models.register(new("run:2", text="b")).version.version == 2
    assert place.models.register(new(name="other")).version.version == 1
    assert [model.name for model in place.models.list_models()] == [NAME, "other"]
    assert len(place.models.list_transitions(NAME)) == 2


def test_judgement_against_who_was_champion_is_told_who_is(place: Place) -> None:
    """Under the lock of the model's row; the same request key answers what was kept, whichever is champion since."""
    add(place, 3)
    promote(place, 1, None)
    judgement = pass_(place, 2, 1)
    kept = Verdict(
        name=NAME,
        version=2,
        judgement=msgspec.structs.replace(judgement, status=Validation.FAILED),
        of_champion=True,
        request_key="once",
    )
    first = place.models.validate(kept)
    promote(place, 3, 1)
    before = place.models.list_transitions(NAME)
    with pytest.raises(StaleWrite, match=r"version 3 is in Production .*by bob.*compared with version 1"):
        place.models.validate(msgspec.structs.replace(kept, request_key="another"))
    assert place.models.validate(kept) == first
    assert place.models.list_transitions(NAME) == before


def test_unknown_model_or_version_is_not_found(place: Place) -> None:
    """Each way to ask for it says so."""
    add(place, 1)
    asks: list[Any] = [
        lambda: place.models.read_model("nothing"),
        lambda: place.models.promote(Promotion(name="nothing", version=1, expected=None)),
        lambda: promote(place, 9, None),
        lambda: place.models.read_files(NAME, 9),
        lambda: place.models.find_version(NAME, "9"),
        lambda: place.models.find_version(NAME, "Production"),
        lambda: place.models.find_version(NAME, "@nightly"),
        lambda: place.models.set_alias(NAME, "nightly", 9),
    ]
    for ask in asks:
        with pytest.raises(NotFound):
            ask()
    with pytest.raises(BadRequest, match="model's name"):
        place.models.register(new(name="a/b"))
    assert place.models.list_versions("nothing") == []
    assert place.models.list_transitions("nothing") == []
    assert place.models.find_source(NAME, "run:9") is None


def test_promotion_swaps_the_champion(place: Place) -> None:
    """The old one is archived, the evidence is kept, and the history has a line for each."""
    add(place, 2)
    first = place.models.promote(Promotion(name=NAME, version=1, expected=None, by="ann"))
    assert (first.act, first.seq, first.replaced) == (Act.PROMOTED, 3, None)
    place.models.move(StageMove(name=NAME, version=2, stage=Stage.STAGING))
    judgement = pass_(place, 2, against=1)
    second = place.models.promote(Promotion(name=NAME, version=2, expected=1, by="bob", reason="better"))
    assert (second.version, second.replaced) == (2, 1)
    assert place.models.read_model(NAME) == Model(name=NAME, production=2, previous=1, last_number=2, revision=7)
    assert {one.version: one.stage for one in place.models.list_versions(NAME)} == {
        1: Stage.ARCHIVED,
        2: Stage.PRODUCTION,
    }
    lines = place.models.list_transitions(NAME)
    assert [(line.seq, line.version, line.act, line.from_stage, line.to_stage) for line in lines] == [
        (1, 1, Act.REGISTERED, Stage.NONE, Stage.NONE),
        (2, 2, Act.REGISTERED, Stage.NONE, Stage.NONE),
        (3, 1, Act.PROMOTED, Stage.NONE, Stage.PRODUCTION),
        (4, 2, Act.MOVED, Stage.NONE, Stage.STAGING),
        (5, 2, Act.VALIDATED, Stage.STAGING, Stage.STAGING),
        (6, 1, Act.REPLACED, Stage.PRODUCTION, Stage.ARCHIVED),
        (7, 2, Act.PROMOTED, Stage.STAGING, Stage.PRODUCTION),
    ]
    assert (lines[-1].by, lines[-1].reason, lines[-1].forced) == ("bob", "better", False)
    assert lines[-1].evidence["evidence"] == judgement.evidence
    assert place.models.find_version(NAME, "2").judgement == judgement


def test_promotion_without_a_passed_comparison_is_refused(place: Place) -> None:
    """Nothing is changed; forced, it shows in the history for ever."""
    add(place, 2)
    promote(place, 1, None)
    before = place.models.read_model(NAME)
    with pytest.raises(BadRequest, match="was not compared with the champion, version 1"):
        place.models.promote(Promotion(name=NAME, version=2, expected=1))
    pass_(place, 2, against=None)
    with pytest.raises(BadRequest, match="passed against no champion"):
        place.models.promote(Promotion(name=NAME, version=2, expected=1))
    assert place.models.read_model(NAME).production == before.production
    promote(place, 2, 1, reason="version 1 is broken")
    assert [line.reason for line in place.models.list_transitions(NAME) if line.forced] == ["version 1 is broken"]


def test_promoter_with_another_champion_in_mind_is_told_who_won(place: Place) -> None:
    """Which version, since when, by whom; nothing is written."""
    add(place, 3)
    promote(place, 1, None)
    promote(place, 2, 1, by="ann")
    with pytest.raises(StaleWrite, match=r"version 2 is in Production of model fraud since .* \(promoted by ann\)"):
        promote(place, 3, 1)
    with pytest.raises(StaleWrite, match="version 2 is in Production"):
        place.models.roll_back(Rollback(name=NAME, expected=1))
    assert place.models.read_model(NAME).production == 2


def test_request_of_the_same_key_is_done_once(place: Place) -> None:
    """It answers what it did then, whatever was done since; for another version the key is refused."""
    add(place, 3)
    first = promote(place, 1, None, request_key="one")
    promote(place, 2, 1)
    lines = place.models.list_transitions(NAME)
    assert promote(place, 1, None, request_key="one") == first
    with pytest.raises(BadRequest, match="'one' belongs to another request"):
        promote(place, 3, 2, request_key="one")
    back = place.models.roll_back(Rollback(name=NAME, expected=2, request_key="two"))
    assert (back.version, back.act, back.replaced) == (1, Act.ROLLED_BACK, 2)
    assert place.models.roll_back(Rollback(name=NAME, expected=2, request_key="two")) == back
    assert promote(place, 1, 2).act is None
    assert len(place.models.list_transitions(NAME)) == len(lines) + 2


def test_rollback_brings_the_champion_before_back(place: Place) -> None:
    """Once: a second one would bring the bad version back, and has to name it."""
    add(place, 3)
    promote(place, 1, None)
    promote(place, 2, 1)
    place.models.roll_back(Rollback(name=NAME, expected=2, by="cy", reason="no answers"))
    model = place.models.read_model(NAME)
    assert (model.production, model.previous) == (1, None)
    assert place.models.find_version(NAME, "2").stage is Stage.ARCHIVED
    with pytest.raises(BadRequest, match="--to"):
        place.models.roll_back(Rollback(name=NAME, expected=1))
    with pytest.raises(BadRequest, match="never in Production"):
        place.models.roll_back(Rollback(name=NAME, expected=1, to=3))
    place.models.roll_back(Rollback(name=NAME, expected=1, to=2))
    assert place.models.read_model(NAME).production == 2


def test_challenger_has_its_share(place: Place) -> None:
    """5 % unless told otherwise; changed only as long as it is the challenger."""
    add(place, 3)
    place.models.move(StageMove(name=NAME, version=1, stage=Stage.STAGING))
    assert place.models.read_model(NAME).share == 0.05
    place.models.share(ShareChange(name=NAME, version=1, share=0.0))
    assert place.models.share(ShareChange(name=NAME, version=1, share=0.0)).act is None
    place.models.move(StageMove(name=NAME, version=2, stage=Stage.STAGING, share=0.25, expected_challenger=1))
    assert {one.version: one.stage for one in place.models.list_versions(NAME)}[1] is Stage.NONE
    with pytest.raises(StaleWrite, match="version 2 is the challenger"):
        place.models.share(ShareChange(name=NAME, version=1, share=0.1))
    model = place.models.read_model(NAME)
    assert (model.challenger, model.share) == (2, 0.25)
    assert [line.share for line in place.models.list_transitions(NAME)][-4:] == [0.05, 0.0, None, 0.25]


def test_aliases(place: Place) -> None:
    """Free ones move at will; the registry's own follow the model's row, and no one sets them."""
    add(place, 3)
    promote(place, 1, None)
    place.models.move(StageMove(name=NAME, version=2, stage=Stage.STAGING))
    place.models.set_alias(NAME, "nightly", 2)
    place.models.set_alias(NAME, "nightly", 3)
    place.models.set_alias(NAME, "nightly", 3)
    place.models.set_alias(NAME, "gone", 3)
    place.models.set_alias(NAME, "gone", None)
    place.models.set_alias(NAME, "gone", None)
    assert place.models.list_aliases(NAME) == {"challenger": 2, "champion": 1, "nightly": 3}
    found = [place.models.find_version(NAME, text).version for text in ("@champion", "Staging", "@nightly", "3")]
    assert found == [1, 2, 3, 3]
    for kept in ("champion", "Challenger", "v3"):
        with pytest.raises(BadRequest):
            place.models.set_alias(NAME, kept, 2)


def test_tombstoned_version_keeps_its_number(place: Place) -> None:
    """It is listed, has its files and history, and goes nowhere; its number is not given again."""
    add(place, 2)
    place.models.tombstone(Tombstone(name=NAME, version=2, reason="its data was wrong"))
    assert place.models.tombstone(Tombstone(name=NAME, version=2, reason="again")).act is None
    dead = place.models.find_version(NAME, "2")
    assert dead.tombstoned_at == place.models.list_transitions(NAME)[-1].at
    assert place.models.read_files(NAME, 2) == files()
    for ask in (lambda: promote(place, 2, None), lambda: place.models.set_alias(NAME, "nightly", 2)):
        with pytest.raises(BadRequest, match="tombstoned"):
            ask()
    assert place.models.register(new("run:2")).version == dead
    assert place.models.register(new("run:3")).version.version == 3


def test_version_in_production_at_a_moment(place: Place) -> None:
    """Before the first: none. After the champion was archived: none. Otherwise the one whose line is the last."""
    add(place, 2)
    start = place.models.list_transitions(NAME)[-1].at
    promote(place, 1, None)
    promote(place, 2, 1)
    place.models.move(StageMove(name=NAME, version=2, stage=Stage.ARCHIVED, reason="closed"))
    place.models.roll_back(Rollback(name=NAME, expected=None))
    lines = place.models.list_transitions(NAME)
    assert [line.at for line in lines] == sorted(line.at for line in lines)
    for moment in {line.at for line in lines}:
        live = None
        for line in lines:
            if line.at <= moment and Stage.PRODUCTION in (line.from_stage, line.to_stage):
                live = line.version if line.to_stage is Stage.PRODUCTION else None
        assert place.models.find_production(NAME, moment) == live
    assert place.models.find_production(NAME, start - timedelta(days=1)) is None
    assert place.models.find_production(NAME, lines[-1].at + timedelta(days=1)) == 2
    assert place.models.find_production("nothing", NOW) is None


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE switchyard_model_transitions SET reason = 'other'",
        "DELETE FROM switchyard_model_transitions",
        "UPDATE switchyard_model_files SET sha256 = 'other'",
        "DELETE FROM switchyard_model_files",
        "DELETE FROM switchyard_model_versions",
    ],
)
def test_what_is_kept_for_ever_is_refused_by_the_database(place: Place, statement: str) -> None:
    """It holds for every writer, past the code too."""
    add(place, 1)
    before = place.models.list_transitions(NAME), place.models.read_files(NAME, 1), place.models.list_versions(NAME)
    with pytest.raises(Exception, match="is refused: it is kept for ever"):
        place.sql(statement)
    after = place.models.list_transitions(NAME), place.models.read_files(NAME, 1), place.models.list_versions(NAME)
    assert after == before


@pytest.mark.parametrize("table", ["model_transitions", "model_files", "model_versions"])
def test_nothing_is_replaced_by_sqlites_own_way(places: Places, tmp_path: Path, table: str) -> None:
    """INSERT OR REPLACE deletes the row that is there, without a DELETE."""
    place = places.make("sqlite", tmp_path)
    add(place, 1)
    with pytest.raises(Exception, match="is refused: it is kept for ever"):
        place.sql(f"INSERT OR REPLACE INTO switchyard_{table} SELECT * FROM switchyard_{table}")


def test_second_production_is_refused_by_the_database(place: Place) -> None:
    """Another program that writes past the lock cannot make one."""
    add(place, 2)
    promote(place, 1, None)
    with pytest.raises(Exception, match=r"(?i)unique"):
        place.sql("UPDATE switchyard_model_versions SET stage = 'Production' WHERE version = 2")
    with pytest.raises(Exception, match=r"(?i)check"):
        place.sql("UPDATE switchyard_model_versions SET stage = 'Live' WHERE version = 2")


def test_rows_that_another_program_has_changed_are_not_written_over(place: Place) -> None:
    """The champion's stage is no longer what the model's row says: nothing is half written."""
    add(place, 2)
    promote(place, 1, None)
    place.sql("UPDATE switchyard_model_versions SET stage = 'None' WHERE version = 1")
    before = place.models.read_model(NAME), place.models.list_transitions(NAME)
    with pytest.raises(BadRecord, match="another program wrote it"):
        promote(place, 2, 1)
    assert (place.models.read_model(NAME), place.models.list_transitions(NAME)) == before


def test_times_never_go_back(place: Place) -> None:
    """Should the clock be set back, a line has its predecessor's time."""
    clock = [datetime(2026, 1, 15, hour, tzinfo=UTC) for hour in (10, 11, 9, 12)]
    database = Database(place.url, place.table)
    models = SqlModels(database, clock=lambda _: clock.pop(0))
    for number in (1, 2, 3, 4):
        models.register(new(f"run:{number}"))
    assert [line.at.hour for line in models.list_transitions(NAME)] == [10, 11, 11, 12]
    database.close()


def test_registry_of_an_older_schema_is_refused(place: Place) -> None:
    """It is refused as in any other use."""
    place.sql("UPDATE switchyard_alembic_version SET version_num = '0004'")
    try:
        with pytest.raises(BadSetup, match="switchyard migrate"):
            SqlModels(Database(place.url, place.table)).list_models()
    finally:
        place.sql("UPDATE switchyard_alembic_version SET version_num = :schema", schema=SCHEMA)


@pytest.mark.parametrize(
    "lost",
    [
        "DROP FUNCTION switchyard_refuse() CASCADE",
        "DROP TRIGGER switchyard_model_files_kept ON switchyard_model_files",
        "ALTER TABLE switchyard_model_versions DISABLE TRIGGER ALL",
        "ALTER TABLE switchyard_model_transitions ENABLE REPLICA TRIGGER switchyard_model_transitions_kept",
    ],
)
def test_triggers_that_a_restore_lost_are_made_again(places: Places, tmp_path: Path, lost: str) -> None:
    """As after a dump of tables, which has no functions; said once, and each table is guarded as before."""
    place = places.make("postgres", tmp_path, fresh=True)
    add(place, 1)
    before = read_triggers(place.url)
    assert {table for table, *_ in before} == set(KEPT)
    run_sql(place.url, lost)
    assert read_triggers(place.url) != before
    assert "triggers again, which were missing or switched off: switchyard_model_" in migrate(to_settings(place.url))
    assert read_triggers(place.url) == before
    for table, acts in KEPT.items():
        for act in acts:
            statement = f"UPDATE {table} SET name = name" if act == "UPDATE" else f"DELETE FROM {table}"
            with pytest.raises(Exception, match="is refused: it is kept for ever"):
                run_sql(place.url, statement)
    assert migrate(to_settings(place.url)).endswith("already")


def read_triggers(url: str) -> list[tuple[str, str, str]]:
    """Returns each trigger's table, when it fires, and its definition."""
    return sorted(
        run_sql(
            url,
            "SELECT tgrelid::regclass::text, tgenabled::text, pg_get_triggerdef(oid) FROM pg_trigger "
            "WHERE NOT tgisinternal",
        )
    )
